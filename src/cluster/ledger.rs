//! The account of one job's nonces: done, leased, free.
//!
//! What is done only grows; leases come and go. Whatever is neither done nor leased is free, so nothing can fall between.

use std::time::{Duration, Instant};

use rangemap::RangeSet;

use super::NodeId;
use super::done::Done;
use super::planted::{Bug, planted};
use super::trust::Distrusted;
use crate::work::{Job, JobId, NonceRange, ShareBits};

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
    /// When the node last said that it holds it and has got on with it, or will.
    pub(super) seen: Instant,
}

impl Ledger {
    pub(super) fn new(job: Job, done: Done, unit: u64) -> Self {
        Self { job, id: job.id(), unit, taken: done.ranges().clone(), done, leases: Vec::new() }
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
        self.leases.is_empty() && self.done.gap(self.job.space()).is_none()
    }

    /// Leases the first free nonces, about `nonces` of them in whole units, in one piece.
    pub(super) fn grant(&mut self, number: u64, node: NodeId, nonces: u64, now: Instant) -> Option<NonceRange> {
        let space = self.job.space();
        let whole = space.start..space.end;
        let gap = match planted(Bug::LeasedIsFree) {
            true => self.done.ranges().gaps(&whole).next()?,
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

    /// Whether `node` has a lease of all of `range`.
    pub(super) fn is_leased_to(&self, node: NodeId, range: NonceRange) -> bool {
        self.leases.iter().any(|lease| lease.node == node && lease.rest.covers(&range))
    }

    /// The nonces were searched, says `by`, whoever was to do it. Gives those of which nobody had said so before.
    pub(super) fn mark_done(&mut self, range: NonceRange, by: NodeId) -> Vec<NonceRange> {
        let new = self.done.add(range.intersection(&self.job.space()), by);
        self.taken.extend(new.iter().map(|part| part.start..part.end));
        new
    }

    /// What another leader knows to be done.
    pub(super) fn learn(&mut self, done: &Done) {
        self.done.merge(done.pieces(), done.told());
        self.take_stock();
    }

    /// Nothing that these nodes said counts any more, and their leases end.
    pub(super) fn disbelieve(&mut self, nodes: &Distrusted) {
        if nodes.is_empty() {
            return;
        }
        self.done.disbelieve(nodes);
        self.leases.retain(|lease| !nodes.contains_key(&lease.node));
        self.take_stock();
    }

    /// `node` holds the lease; what is done at its start is no part of it any more. A lease that `is_scanned` has to make progress to
    /// be kept. False if there is no such lease.
    pub(super) fn progress(&mut self, number: u64, node: NodeId, is_scanned: bool, now: Instant) -> bool {
        let Some(lease) = self.leases.iter_mut().find(|lease| lease.number == number && lease.node == node) else {
            return false;
        };
        let before = lease.rest.start;
        lease.rest.start = self.done.gap(lease.rest).map_or(lease.rest.end, |gap| gap.start);
        if lease.rest.start > before || !is_scanned {
            lease.seen = now;
        }
        true
    }

    /// Time in which no lease could be named does not count.
    pub(super) fn excuse(&mut self, pause: Duration, now: Instant) {
        for time in self.leases.iter_mut().flat_map(|lease| [&mut lease.seen, &mut lease.granted]) {
            *time = (*time + pause).min(now);
        }
    }

    /// Ends the leases that `over` names; what of them is not done is free again.
    pub(super) fn reclaim(&mut self, over: impl Fn(&Lease) -> bool) {
        let Self { done, leases, taken, .. } = self;
        for lease in leases.extract_if(.., |lease| over(lease)) {
            // No other lease touches it, but some of it may be done.
            let rest = lease.rest.start..lease.rest.end;
            if !lease.rest.is_empty() {
                taken.remove(rest.clone());
                if !planted(Bug::ReclaimForgetsDone) {
                    let kept = done.ranges().overlapping(&rest);
                    taken.extend(kept.map(|done| done.start.max(rest.start)..done.end.min(rest.end)));
                }
            }
        }
    }

    fn take_stock(&mut self) {
        self.taken = self.done.ranges().clone();
        let rests = self.leases.iter().map(|lease| lease.rest).filter(|rest| !rest.is_empty());
        self.taken.extend(rests.map(|rest| rest.start..rest.end));
    }
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
        Ledger::new(job(1), Done::default(), UNIT)
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
        assert!(ledger.progress(1, node(2), true, now));
        ledger.reclaim(|lease| lease.node == node(2));
        assert_eq!(ledger.grant(3, node(3), 1000, now), Some(range(50_000, 100_001)));
        assert_eq!(ledger.grant(4, node(3), 100_001, now), Some(range(100_001, 200_001)));
        assert_eq!(ledger.grant(5, node(3), 100_000, now), Some(range(300_001, 400_001)));
    }

    #[test]
    fn another_nodes_lease_makes_no_progress() {
        let (mut ledger, now) = (ledger(), clock());
        ledger.grant(1, node(2), 1, now);
        assert!(!ledger.progress(1, node(3), true, now));
        assert!(ledger.done().ranges().is_empty());
    }

    #[test]
    fn a_lease_of_part_of_a_range_is_none_of_all_of_it() {
        let (mut ledger, now) = (ledger(), clock());
        ledger.grant(1, node(2), 100_000, now);
        ledger.grant(2, node(3), 100_000, now);
        ledger.grant(3, node(2), 100_000, now);
        assert!(ledger.is_leased_to(node(2), range(40_000, 100_001)));
        assert!(!ledger.is_leased_to(node(3), range(40_000, 100_001)));
        assert!(!ledger.is_leased_to(node(2), range(40_000, 300_001)), "node 3 has what is in the middle");
    }

    #[test]
    fn only_a_lease_that_gets_on_stays_with_its_node() {
        let (mut ledger, start) = (ledger(), clock());
        let after = |seconds| start + Duration::from_secs(seconds);
        ledger.grant(1, node(2), 100_000, start);
        ledger.grant(2, node(2), 100_000, start);
        ledger.mark_done(range(1, 10), node(2));
        let name = |ledger: &mut Ledger, now| {
            [(1, true), (2, false)].map(|(number, is_scanned)| ledger.progress(number, node(2), is_scanned, now))
        };
        assert_eq!(name(&mut ledger, after(1)), [true, true]);
        assert_eq!(name(&mut ledger, after(2)), [true, true]);
        let seen: Vec<_> = ledger.leases().iter().map(|lease| lease.seen).collect();
        assert_eq!(seen, [after(1), after(2)]);
    }

    #[test]
    fn what_a_node_said_that_is_not_believed_is_free_again() {
        let (mut ledger, now) = (ledger(), clock());
        ledger.grant(1, node(2), 100_000, now);
        ledger.grant(2, node(3), 100_000, now);
        ledger.mark_done(range(1, 50_000), node(2));
        assert_eq!(ledger.mark_done(range(40_000, 60_000), node(3)), [range(50_000, 60_000)]);
        ledger.disbelieve(&Distrusted::from([(node(2), 1)]));
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
                        ledger.progress(number, node, true, now);
                    },
                    Step::Complete(i) => if let Some(Lease { number, node, rest, .. }) = lease(i) {
                        ledger.mark_done(rest, node);
                        ledger.reclaim(|lease| lease.number == number);
                    },
                    Step::Done(at, count) => { ledger.mark_done(range(at, at + count), node(9)); }
                    Step::Disbelieve(id) => ledger.disbelieve(&Distrusted::from([(node(id), 1)])),
                    Step::Reclaim(id) => ledger.reclaim(|lease| lease.node == node(id)),
                }
                let mut leased = RangeSet::new();
                for lease in ledger.leases().iter().filter(|lease| !lease.rest.is_empty()) {
                    prop_assert!(!leased.overlaps(&(lease.rest.start..lease.rest.end)), "leases overlap");
                    leased.insert(lease.rest.start..lease.rest.end);
                }
                let mut together = ledger.done().ranges().clone();
                together.extend(leased.iter().cloned());
                prop_assert_eq!(&together, &ledger.taken);
                let is_done = |range: &std::ops::Range<u64>| ledger.done().gap(self::range(range.start, range.end)).is_none();
                prop_assert!(disbelief || done_before.ranges().iter().all(is_done), "done shrank");
            }
        }
    }
}
