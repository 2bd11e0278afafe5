//! Rare branches of the rules, counted in tests: a simulation that never reaches one says nothing about it.
//!
//! `probe!(Name)` marks a branch. Outside tests it is nothing. The simulation of a thousand seeds fails if a name of the list below was
//! never reached.
//!
//! Not in the list, since no simulation gets there in time; the unit tests do: reports beyond the 16,000 of a heartbeat, 512 leases,
//! 1,024 scans that are ending, 32 jobs in one assignment, a job of 2,000,000,000 nonces that is used up, 3,000 witnesses in a report, 800 shares in a report, 4,096
//! shares at a finder, 1,024 of one finder under way, 64 templates, 64 coinbases, 4,096 names of settled solutions; a block that displaces
//! another, a block that no session can submit, a reign that begins while its round's solution is being submitted, a share that two nodes
//! report, and a solution of a scan whose lease was acknowledged to its end.

/// Marks a rare branch.
macro_rules! probe {
    ($name:ident) => {
        #[cfg(test)]
        $crate::cluster::probe::reached($crate::cluster::probe::Probe::$name);
    };
}
pub(super) use probe;

#[cfg(test)]
pub(crate) use list::{Counts, Probe, reached, take};

#[cfg(test)]
mod list {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    macro_rules! probes {
        ($($name:ident: $what:literal,)*) => {
            /// A rare branch.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub(crate) enum Probe {
                $(#[doc = $what] $name,)*
            }

            impl Probe {
                /// Every one that there is.
                pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
            }
        };
    }

    probes! {
        AnswerToNothing: "Rule 1: an answer echoes no request of ours that is remembered.",
        AnswerOutOfOrder: "Rule 1: an answer to an older request than the newest that was answered.",
        AnswerOvertaken: "Rule 1: an answer that the peer's goodbye has overtaken.",
        GoodbyeOfOtherRun: "Rule 1: a goodbye of a run that is not the known one.",
        HeartbeatOld: "Rule 1: a heartbeat older than another of its run.",
        LowerProbed: "Rule 1: a higher id claims to lead, so a lower one is probed.",
        PauseExcused: "Rule 1: this node's own pause does not count as its peers' silence.",
        PauseMetByMessage: "Rule 1: after such a pause a message comes before the timer.",
        WindowMoved: "Rule 1: a large cluster's node watches somebody whom it did not watch.",
        AdoptedSubmitted: "Rule 6: a block of another run's template is submitted with the body that was handed over.",
        AssignmentOfAnother: "Rule 2: an assignment by somebody who does not lead.",
        AssignmentOfOtherRun: "Rule 2: an assignment of a run of the leader that is not the known one.",
        AssignmentOld: "Rule 2: an assignment older than the one obeyed.",
        AssignmentAnswersNothing: "Rule 4: an assignment that answers no report since this node follows its leader.",
        ReportOfOtherRun: "Rule 4: a report of a run that is not the known one.",
        ReportOld: "Rule 4: a report older than another of its run.",
        ReporterStartedAnew: "Rule 4: a node reports as another run in the same reign.",
        LeaseLost: "Rule 4: a node does not hold what it should hold by the assignment that it names.",
        LeaseUnsound: "Rule 4: a lease of nonces that its job does not have.",
        ProgressUnsound: "Rule 4: more is reported as searched than was leased.",
        SelfLeadingBegins: "Rule 5: a node leads itself, since its leader answers and assigns nothing.",
        SelfLeadingEnds: "Rule 5: it is assigned something.",
        TemplateTakenOver: "Rule 5: a new leader begins with the template of the last one.",
        BlockWithoutRoom: "Rule 6: there is no room for a block.",
        BlockFalse: "Rule 6: a block that is none.",
        BlockJudgedFalse: "Rule 6: a block that is none by what the session has named.",
        BlockAnsweredBefore: "Rule 6: a text's block with another goal or tag than one that the source has answered.",
        BlockForgotten: "Rule 6: a block of a job of this run whose template is unknown.",
        BlockOfOldRound: "Rule 6: a block of a round that the session has left.",
        BlockOfUnknownRound: "Rule 6: a block of a round that the session did not name when it was asked again.",
        MakerTold: "Rule 6: the maker of a header's job, which does not lead, is told of its block.",
        OfferOld: "Rule 6: the source's answer to an older question.",
        VerdictWithoutNext: "Rule 6: a final answer without the next block.",
        VerdictsNextIgnored: "Rule 6: a final answer's next block, though the session has moved on.",
        Unanswered: "Rule 6: a solution that the source gives no answer to.",
        OfferWhileSubmitting: "Rule 7: the source names the round whose solution is being submitted.",
        StoppedNotResumed: "Rule 7: a lease of a round that this node has stopped.",
        ShareByName: "Rule 7: a share that is taken is reported by its name.",
        ShareToAnother: "Rule 7: a share that one reign has taken is reported in full to another.",
        ShareLost: "Rule 7: a share of our own job whose template is forgotten.",
        ShareFalse: "Rule 7: a share that is none.",
        ShareUnsubmittable: "Rule 7: a share that no session can submit any more.",
        Refused: "Rule 8: a node cannot have searched what it reports.",
        RefusedGetsNothing: "Rule 8: a node that is refused gets an empty assignment.",
        RefusedStartsAnew: "Rule 8: a node that was refused has started anew.",
    }

    /// How often each was reached.
    pub(crate) type Counts = BTreeMap<Probe, u64>;

    thread_local! {
        static COUNTS: RefCell<Counts> = const { RefCell::new(Counts::new()) };
    }

    /// Counts a branch on this thread.
    pub(crate) fn reached(probe: Probe) {
        COUNTS.with_borrow_mut(|counts| *counts.entry(probe).or_default() += 1);
    }

    /// What this thread has reached since the last time.
    pub(crate) fn take() -> Counts {
        COUNTS.take()
    }
}
