//! What is searched of one job, and who says so.
//!
//! Searched ranges melt together, whoever searched them, so few are left however long a job lasts. Apart from them it is remembered who
//! searched the latest pieces, so that the word of a node that turns out not to be believed can be taken back.

use std::collections::BTreeMap;

use rangemap::{RangeMap, RangeSet};

use super::NodeId;
use crate::work::NonceRange;

/// Ranges that do not touch each other: many more than a leader's leases make. Beyond, new ones are forgotten, which costs
/// repeated hashing; else a node that reports nonce by nonce could fill the memory of all.
const MAX_ISLANDS: usize = 10_000;

/// Pieces of which it is remembered who searched them. Beyond, the lowest are vouched for: nonces are leased from the lowest on, so
/// they are the oldest, and whoever searched them has been believed ever since.
const MAX_PIECES: usize = 10_000;

/// Searched nonces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    ranges: RangeSet<u64>,
    pieces: RangeMap<u64, NodeId>,
}

impl Done {
    /// The searched ranges.
    pub(super) fn ranges(&self) -> &RangeSet<u64> {
        &self.ranges
    }

    /// The same, ascending, as they travel.
    pub(super) fn told(&self) -> impl Iterator<Item = NonceRange> + '_ {
        self.ranges.iter().map(|range| NonceRange::new(range.start, range.end))
    }

    /// Those of which it is known who searched them.
    pub(super) fn pieces(&self) -> impl DoubleEndedIterator<Item = (NonceRange, NodeId)> + '_ {
        self.pieces.iter().map(|(range, by)| (NonceRange::new(range.start, range.end), *by))
    }

    /// The first part of `range` that is not searched.
    pub(super) fn gap(&self, range: NonceRange) -> Option<NonceRange> {
        let gap = self.ranges.gaps(&(range.start..range.end)).next();
        gap.map(|gap| NonceRange::new(gap.start, gap.end))
    }

    /// `by` has searched `range`. Gives those parts of it that nobody had searched before.
    pub(super) fn add(&mut self, range: NonceRange, by: NodeId) -> Vec<NonceRange> {
        let new = self.vouch(range);
        for part in &new {
            // Room is made first: the newest piece has yet to be weighed.
            while self.pieces.len() >= MAX_PIECES {
                let Some((lowest, _)) = self.pieces.first_range_value() else { break };
                let lowest = lowest.clone();
                self.pieces.remove(lowest);
            }
            self.pieces.insert(part.start..part.end, by);
        }
        new
    }

    /// `range` is searched, never mind who says so. Gives those parts of it that had not been searched before.
    pub(super) fn vouch(&mut self, range: NonceRange) -> Vec<NonceRange> {
        let touching = range.start.saturating_sub(1)..range.end.saturating_add(1);
        let has_room = self.ranges.len() < MAX_ISLANDS || self.ranges.overlaps(&touching);
        if range.is_empty() || !has_room {
            return Vec::new();
        }
        let new = self.ranges.gaps(&(range.start..range.end)).map(|gap| NonceRange::new(gap.start, gap.end)).collect();
        self.ranges.insert(range.start..range.end);
        new
    }

    /// What another account knows: first whose the pieces are, as far as it does.
    pub(super) fn merge(
        &mut self,
        pieces: impl Iterator<Item = (NonceRange, NodeId)>,
        ranges: impl Iterator<Item = NonceRange>,
    ) {
        pieces.for_each(|(range, by)| drop(self.add(range, by)));
        ranges.for_each(|range| drop(self.vouch(range)));
    }

    /// Takes back what these nodes have said.
    pub(super) fn disbelieve(&mut self, nodes: &BTreeMap<NodeId, u64>) {
        let theirs: Vec<_> =
            self.pieces.iter().filter(|(_, by)| nodes.contains_key(by)).map(|(range, _)| range.clone()).collect();
        for range in theirs {
            self.pieces.remove(range.clone());
            self.ranges.remove(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::node;

    fn range(start: u64, end: u64) -> NonceRange {
        NonceRange::new(start, end)
    }

    #[test]
    fn ranges_melt_together_whoever_searched_them() {
        let mut done = Done::default();
        for lease in 0..50_000 {
            done.add(range(lease * 10, (lease + 1) * 10), node(2 + lease as u32 % 2));
        }
        assert_eq!(done.ranges().iter().collect::<Vec<_>>(), [&(0..500_000)]);
        assert_eq!(done.pieces().count(), MAX_PIECES);
        assert_eq!(done.pieces().next_back(), Some((range(499_990, 500_000), node(3))), "the latest");
    }

    #[test]
    fn who_searched_first_answers_for_it() {
        let mut done = Done::default();
        assert_eq!(done.add(range(0, 100), node(2)), [range(0, 100)]);
        assert_eq!(done.add(range(50, 150), node(3)), [range(100, 150)]);
        assert_eq!(done.vouch(range(140, 160)), [range(150, 160)]);
        done.disbelieve(&BTreeMap::from([(node(3), 1)]));
        assert_eq!(done.ranges().iter().collect::<Vec<_>>(), [&(0..100), &(150..160)]);
        assert_eq!(done.gap(range(0, 200)), Some(range(100, 150)));
        done.disbelieve(&BTreeMap::from([(node(2), 1)]));
        assert_eq!(done.ranges().iter().collect::<Vec<_>>(), [&(150..160)]);
    }

    #[test]
    fn islands_are_bounded_and_what_joins_one_is_always_taken() {
        let mut done = Done::default();
        for nonce in 0..2 * MAX_ISLANDS as u64 {
            done.add(range(nonce * 3, nonce * 3 + 1), node(2 + nonce as u32 % 5));
        }
        assert_eq!(done.ranges().len(), MAX_ISLANDS);
        assert_eq!(done.add(range(1, 2), node(9)), [range(1, 2)], "it touches one");
        assert_eq!(done.add(range(0, 1_000_000), node(9)).len(), MAX_ISLANDS, "it swallows them");
        assert_eq!(done.ranges().len(), 1);
    }
}
