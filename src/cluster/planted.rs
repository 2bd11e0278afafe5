//! Wrong variants of the rules, for the simulation to find: each is what a plausible slip would make of the line that asks for it.
//! Only a test can plant one; in the program itself `planted` is the constant `false`, and nothing is left of it.

/// A slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub(super) enum Bug {
    PausesCount,
    GoodbyesUnheard,
    BoardNotKept,
    ConfirmedByHearsay,
    OldReignsObeyed,
    AnyoneObeyed,
    LeadsOn,
    DeadKeepLeases,
    GrantsAtOnce,
    FoundBlockReopened,
    NobodyInterrupted,
    RoundsNotCounted,
    OldRequestsCount,
    FinishedIgnored,
    VoidLeasesUntold,
    ProgressIgnored,
    LiesStayDone,
    OldAnswersCount,
    SolutionsUnverified,
    LiarsGetLeases,
    DoneAtGrant,
    LeasedIsFree,
    AdoptsWhatIsTaken,
    ReclaimForgetsDone,
    RenamedLeasesStartAnew,
    RenamedPartForgotten,
    InterruptsStopAll,
    InterruptsIgnored,
    SolutionsOfferedOnce,
    RestoredForgotten,
    RoundEndSettles,
    FinishedNotKept,
    SuspectsDoNotLead,
    ClocksNeverSetBack,
    NobodyDies,
    RumoursBelievedAtOnce,
    LeasesNeverExpire,
    LeasesHoarded,
    OldRoundsBegun,
    TwoBlocksAtOnce,
    AnswersEndAnyLease,
}

#[cfg(not(test))]
#[inline(always)]
pub(super) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(super) use test::{ALL, plant, planted};

#[cfg(test)]
mod test {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether the bug is planted on this thread.
    pub(in super::super) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug on this thread, or takes it out.
    pub(in super::super) fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Every bug there is.
    pub(in super::super) const ALL: &[Bug] = &[
        Bug::PausesCount,
        Bug::GoodbyesUnheard,
        Bug::BoardNotKept,
        Bug::ConfirmedByHearsay,
        Bug::OldReignsObeyed,
        Bug::AnyoneObeyed,
        Bug::LeadsOn,
        Bug::DeadKeepLeases,
        Bug::GrantsAtOnce,
        Bug::FoundBlockReopened,
        Bug::NobodyInterrupted,
        Bug::RoundsNotCounted,
        Bug::OldRequestsCount,
        Bug::FinishedIgnored,
        Bug::VoidLeasesUntold,
        Bug::ProgressIgnored,
        Bug::LiesStayDone,
        Bug::OldAnswersCount,
        Bug::SolutionsUnverified,
        Bug::LiarsGetLeases,
        Bug::DoneAtGrant,
        Bug::LeasedIsFree,
        Bug::AdoptsWhatIsTaken,
        Bug::ReclaimForgetsDone,
        Bug::RenamedLeasesStartAnew,
        Bug::RenamedPartForgotten,
        Bug::InterruptsStopAll,
        Bug::InterruptsIgnored,
        Bug::SolutionsOfferedOnce,
        Bug::RestoredForgotten,
        Bug::RoundEndSettles,
        Bug::FinishedNotKept,
        Bug::SuspectsDoNotLead,
        Bug::ClocksNeverSetBack,
        Bug::NobodyDies,
        Bug::RumoursBelievedAtOnce,
        Bug::LeasesNeverExpire,
        Bug::LeasesHoarded,
        Bug::OldRoundsBegun,
        Bug::TwoBlocksAtOnce,
        Bug::AnswersEndAnyLease,
    ];
}
