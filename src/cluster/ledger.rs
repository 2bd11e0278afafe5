//! The account of one job's nonces: done, leased, free.
//!
//! What is done only grows; leases come and go. Whatever is neither done nor leased is free, so nothing can fall between.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rangemap::{RangeMap, RangeSet};

use super::NodeId;
use super::board::remove;
use super::planted::{Bug, planted};
use crate::work::{Job, JobId, NonceRange, ShareBits};

/// Done ranges that do not touch each other: many more than a leader's leases make. Beyond, new ones are forgotten, which costs
/// repeated hashing; else a node that reports nonce by nonce could fill the memory of all.
const MAX_ISLANDS: usize = 10_000;

/// Searched nonces, and who says to have searched them.
pub(super) type Done = RangeMap<u64, NodeId>;

/// Whether `range` may be added to what is done.
pub(super) fn has_room(done: &Done, range: NonceRange) -> bool {
    let touching = range.start.saturating_sub(1)..range.end.saturating_add(1);
    done.len() < MAX_ISLANDS || done.overlaps(&touching)
}

/// One job's nonces.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    job: Job,
    id: JobId,
    /// Grants end on multiples of so many nonces, counted from the start of the space.
    unit: u64,
    done: Done,
    leases: Vec<Lease>,
    /// `done` and `leases` together.
    taken: RangeSet<u64>,
}

/// A range that a node is searching.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) number: u64,
    pub(super) node: NodeId,
    /// What is left of it.
    pub(super) rest: NonceRange,
    /// What counts as a share.
    pub(super) bits: ShareBits,
    /// When it was granted.
    pub(super) granted: Instant,
    /// When the node last said that it holds it.
    pub(super) seen: Instant,
}

impl Ledger {
    pub(super) fn new(job: Job, done: Done, unit: u64) -> Self {
        let taken = ranges(&done);
        Self { job, id: job.id(), unit, taken, done, leases: Vec::new() }
    }

    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    pub(super) fn id(&self) -> JobId {
        self.id
    }

    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> &RangeSet<u64> {
        &self.taken
    }

    pub(super) fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// Whether every nonce was searched, and nobody is at it any more.
    pub(super) fn is_exhausted(&self) -> bool {
        let space = self.job.space();
        self.leases.is_empty() && self.done.gaps(&(space.start..space.end)).next().is_none()
    }

    /// Leases the first free nonces, about `nonces` of them in whole units, in one piece.
    pub(super) fn grant(&mut self, number: u64, node: NodeId, nonces: u64, now: Instant) -> Option<NonceRange> {
        let space = self.job.space();
        let whole = space.start..space.end;
        let gap = match planted(Bug::LeasedIsFree) {
            true => self.done.gaps(&whole).next()?,
            false => self.taken.gaps(&whole).next()?,
        };
        let wanted = gap.start.saturating_add(nonces.max(1)) - space.start;
        let border = space.start.saturating_add(wanted.div_ceil(self.unit).saturating_mul(self.unit));
        let range = NonceRange::new(gap.start, gap.end.min(border));
        self.lease(number, node, range, ShareBits::for_job(&self.job, range.len()), now);
        Some(range)
    }

    /// Leases exactly `range`, if all of it is free.
    pub(super) fn adopt(
        &mut self,
        number: u64,
        node: NodeId,
        range: NonceRange,
        bits: ShareBits,
        now: Instant,
    ) -> bool {
        let free = !range.is_empty()
            && self.job.space().covers(&range)
            && (planted(Bug::AdoptsWhatIsTaken) || !self.taken.overlaps(&(range.start..range.end)));
        if free {
            self.lease(number, node, range, bits, now);
        }
        free
    }

    fn lease(&mut self, number: u64, node: NodeId, rest: NonceRange, bits: ShareBits, now: Instant) {
        self.taken.insert(rest.start..rest.end);
        self.leases.push(Lease { number, node, rest, bits, granted: now, seen: now });
    }

    /// Whether `node` has a lease of some of `range`.
    pub(super) fn is_leased_to(&self, node: NodeId, range: NonceRange) -> bool {
        self.leases.iter().any(|lease| lease.node == node && !lease.rest.intersection(&range).is_empty())
    }

    /// The nonces were searched, says `by`, whoever was to do it. Gives those of which nobody had said so before.
    pub(super) fn mark_done(&mut self, range: NonceRange, by: NodeId) -> Vec<NonceRange> {
        let range = range.intersection(&self.job.space());
        if range.is_empty() || !has_room(&self.done, range) {
            return Vec::new();
        }
        let new: Vec<_> = self.done.gaps(&(range.start..range.end)).collect();
        new.iter().for_each(|gap| self.done.insert(gap.clone(), by));
        self.taken.insert(range.start..range.end);
        new.into_iter().map(|gap| NonceRange::new(gap.start, gap.end)).collect()
    }

    /// Nothing that these nodes said counts any more, and their leases end.
    pub(super) fn disbelieve(&mut self, nodes: &BTreeSet<NodeId>) {
        remove(&mut self.done, nodes);
        self.leases.retain(|lease| !nodes.contains(&lease.node));
        self.take_stock();
    }

    /// `node` holds the lease; what is done at its start is no part of it any more. False if there is no such lease.
    pub(super) fn progress(&mut self, number: u64, node: NodeId, now: Instant) -> bool {
        let Some(lease) = self.leases.iter_mut().find(|lease| lease.number == number && lease.node == node) else {
            return false;
        };
        lease.seen = now;
        let rest = lease.rest.start..lease.rest.end;
        lease.rest.start = self.done.gaps(&rest).next().map_or(rest.end, |gap| gap.start);
        true
    }

    /// Time in which no lease could be named does not count.
    pub(super) fn excuse(&mut self, pause: Duration, now: Instant) {
        self.leases.iter_mut().for_each(|lease| lease.seen = (lease.seen + pause).min(now));
    }

    /// Ends the leases that `over` names; what of them is not done is free again.
    pub(super) fn reclaim(&mut self, over: impl Fn(&Lease) -> bool) {
        let before = self.leases.len();
        self.leases.retain(|lease| !over(lease));
        if self.leases.len() != before {
            self.take_stock();
        }
    }

    fn take_stock(&mut self) {
        self.taken = if planted(Bug::ReclaimForgetsDone) { RangeSet::new() } else { ranges(&self.done) };
        let rests = self.leases.iter().map(|lease| lease.rest).filter(|rest| !rest.is_empty());
        self.taken.extend(rests.map(|rest| rest.start..rest.end));
    }
}

/// All ranges, whoever searched them.
fn ranges(done: &Done) -> RangeSet<u64> {
    done.iter().map(|(range, _)| range.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{clock, job, node};
    use crate::work::UNIT;
    use proptest::prelude::*;

    fn range(start: u64, end: u64) -> NonceRange {
        NonceRange::new(start, end)
    }

    const BITS: ShareBits = ShareBits::MAX;

    fn ledger() -> Ledger {
        Ledger::new(job(1), Done::new(), UNIT)
    }

    #[test]
    fn grants_follow_each_other_in_whole_units() {
        let (mut ledger, now) = (ledger(), clock());
        assert_eq!(ledger.grant(1, node(1), 1, now), Some(range(1, 100_001)));
        assert_eq!(ledger.grant(2, node(2), 100_001, now), Some(range(100_001, 300_001)));
        assert_eq!(ledger.grant(3, node(1), u64::MAX, now), Some(range(300_001, 2_000_000_001)));
        assert_eq!(ledger.grant(4, node(1), 1, now), None);
        assert!(!ledger.is_exhausted());
        ledger.mark_done(ledger.job().space(), node(1));
        assert!(!ledger.is_exhausted(), "somebody is at it");
        ledger.reclaim(|_| true);
        assert!(ledger.is_exhausted());
    }

    #[test]
    fn a_reclaimed_lease_keeps_what_was_reported() {
        let (mut ledger, now) = (ledger(), clock());
        ledger.grant(1, node(2), 200_000, now);
        ledger.grant(2, node(3), 100_000, now);
        assert_eq!(ledger.mark_done(range(1, 50_000), node(2)), [range(1, 50_000)]);
        assert!(ledger.progress(1, node(2), now));
        ledger.reclaim(|lease| lease.node == node(2));
        assert_eq!(ledger.grant(3, node(3), 1000, now), Some(range(50_000, 100_001)));
        assert_eq!(ledger.grant(4, node(3), 100_001, now), Some(range(100_001, 200_001)));
        assert_eq!(ledger.grant(5, node(3), 100_000, now), Some(range(300_001, 400_001)));
    }

    #[test]
    fn another_nodes_lease_makes_no_progress() {
        let (mut ledger, now) = (ledger(), clock());
        ledger.grant(1, node(2), 1, now);
        assert!(!ledger.progress(1, node(3), now));
        assert!(ledger.done().is_empty());
    }

    #[test]
    fn what_a_node_said_that_is_not_believed_is_free_again() {
        let (mut ledger, now) = (ledger(), clock());
        ledger.grant(1, node(2), 100_000, now);
        ledger.grant(2, node(3), 100_000, now);
        ledger.mark_done(range(1, 50_000), node(2));
        assert_eq!(ledger.mark_done(range(40_000, 60_000), node(3)), [range(50_000, 60_000)]);
        ledger.disbelieve(&BTreeSet::from([node(2)]));
        assert_eq!(ledger.grant(3, node(4), 1, now), Some(range(1, 50_000)));
        assert_eq!(ledger.grant(4, node(4), 1, now), Some(range(60_000, 100_001)));
        assert_eq!(ledger.leases()[0].node, node(3));
    }

    #[test]
    fn only_free_ranges_are_adopted() {
        let (mut ledger, now) = (ledger(), clock());
        ledger.mark_done(range(1, 1000), node(2));
        assert!(!ledger.adopt(1, node(2), range(999, 2000), BITS, now));
        assert!(ledger.adopt(2, node(2), range(1000, 2000), BITS, now));
        assert!(!ledger.adopt(3, node(3), range(1500, 2500), BITS, now));
        assert!(!ledger.adopt(4, node(3), range(2000, 2000), BITS, now));
        assert!(!ledger.adopt(5, node(3), range(0, 1), BITS, now));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Grant(u32, u64),
        Adopt(u32, u64, u64),
        Progress(usize, u64),
        Complete(usize),
        Done(u64, u64),
        Disbelieve(u32),
        Reclaim(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let nonce = 0..2_100_000_000u64;
        prop_oneof![
            (1..5u32, 0..300_000_000u64).prop_map(|(node, count)| Step::Grant(node, count)),
            (1..5u32, nonce.clone(), 0..1_000_000u64).prop_map(|(node, at, count)| Step::Adopt(node, at, count)),
            (0..8usize, 0..500_000u64).prop_map(|(lease, count)| Step::Progress(lease, count)),
            (0..8usize).prop_map(Step::Complete),
            (nonce, 0..5_000_000u64).prop_map(|(at, count)| Step::Done(at, count)),
            (1..5u32).prop_map(Step::Disbelieve),
            (1..5u32).prop_map(Step::Reclaim),
        ]
    }

    proptest! {
        #[test]
        fn leases_never_overlap_and_nothing_is_lost(steps in prop::collection::vec(step(), 1..60)) {
            let (mut ledger, now) = (ledger(), clock());
            for (number, step) in (0..).zip(steps) {
                let lease = |i: usize| ledger.leases().get(i).copied();
                let (done_before, disbelief) = (ledger.done().clone(), matches!(step, Step::Disbelieve(_)));
                match step {
                    Step::Grant(id, count) => { ledger.grant(number, node(id), count, now); }
                    Step::Adopt(id, at, count) => { ledger.adopt(number, node(id), range(at, at + count), BITS, now); }
                    Step::Progress(i, count) => if let Some(Lease { number, node, rest, .. }) = lease(i) {
                        ledger.mark_done(range(rest.start, (rest.start + count).min(rest.end)), node);
                        ledger.progress(number, node, now);
                    },
                    Step::Complete(i) => if let Some(Lease { number, node, rest, .. }) = lease(i) {
                        ledger.mark_done(rest, node);
                        ledger.reclaim(|lease| lease.number == number);
                    },
                    Step::Done(at, count) => { ledger.mark_done(range(at, at + count), node(9)); }
                    Step::Disbelieve(id) => ledger.disbelieve(&BTreeSet::from([node(id)])),
                    Step::Reclaim(id) => ledger.reclaim(|lease| lease.node == node(id)),
                }
                let mut leased = RangeSet::new();
                for lease in ledger.leases().iter().filter(|lease| !lease.rest.is_empty()) {
                    prop_assert!(!leased.overlaps(&(lease.rest.start..lease.rest.end)), "leases overlap");
                    leased.insert(lease.rest.start..lease.rest.end);
                }
                let mut together = ranges(ledger.done());
                together.extend(leased.iter().cloned());
                prop_assert_eq!(&together, &ledger.taken);
                let is_done = |(range, _): (&std::ops::Range<u64>, _)| ledger.done().gaps(range).next().is_none();
                prop_assert!(disbelief || done_before.iter().all(is_done), "done shrank");
            }
        }
    }
}
