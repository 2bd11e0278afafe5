//! Whom a leader believes: what nodes say to have searched is weighed against the shares that they show for it.
//!
//! A node that cannot have searched what it claims is not believed any more until it starts anew: nothing that it said counts as
//! done, and it gets no leases. Its solutions still do count, since they speak for themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::{Account, expected, verified};
use super::{Claim, NodeId};
use crate::work::{Job, NonceRange, ShareBits};

/// The most nonces that one lease of a job can have, as far as the choice of bits goes: one header's.
const LONGEST: u64 = 1 << 32;

/// What a leader thinks of each node.
#[derive(Debug, Default)]
pub(super) struct Trust {
    accounts: BTreeMap<NodeId, Account>,
    distrusted: BTreeSet<NodeId>,
}

impl Trust {
    /// What the last leader thought.
    pub(super) fn new(distrusted: BTreeSet<NodeId>) -> Self {
        Self { accounts: BTreeMap::new(), distrusted }
    }

    pub(super) fn believes(&self, node: NodeId) -> bool {
        !self.distrusted.contains(&node)
    }

    pub(super) fn distrusted(&self) -> &BTreeSet<NodeId> {
        &self.distrusted
    }

    /// Whether the bits of a claim are such as a leader gives: with too many, next to no shares would have to be shown.
    pub(super) fn admits(job: &Job, bits: ShareBits) -> bool {
        bits <= ShareBits::for_job(job, job.space().len().min(LONGEST))
    }

    /// Weighs the parts of a claim that are `new`, so that no nonce counts twice. False if `node` is not to be believed any more.
    pub(super) fn weigh(&mut self, node: NodeId, job: &Job, claim: &Claim, new: &[NonceRange]) -> bool {
        let is_true = verified(job, claim.bits, claim.range, &claim.shares).is_some();
        let account = self.accounts.entry(node).or_default();
        for part in new {
            let shown = claim.shares.iter().filter(|share| part.contains(**share)).count();
            account.add(expected(job, claim.bits, part.len()), shown as u64);
        }
        let believes = is_true && !account.is_incredible();
        if !believes {
            self.distrusted.insert(node);
        }
        believes
    }

    /// `node` runs anew.
    pub(super) fn forgive(&mut self, node: NodeId) {
        self.accounts.remove(&node);
        self.distrusted.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{job_of_target, node};
    use crate::work::{Target, ZeroUnit};

    fn hard() -> Job {
        job_of_target(Target::from_zeros(60, ZeroUnit::Bits).unwrap())
    }

    /// A claim of the nonces from `start` on, with its true shares.
    fn claim(job: &Job, start: u64, nonces: u64) -> Claim {
        let (bits, range) = (ShareBits::for_job(job, nonces), NonceRange::new(start, start + nonces));
        let shares = (range.start..range.end).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some()).collect();
        Claim { job: job.id(), range, bits, shares }
    }

    #[test]
    fn honest_claims_are_believed_and_empty_ones_are_not() {
        let (mut trust, job) = (Trust::default(), hard());
        for lease in 0..20 {
            let claim = claim(&job, 1 + lease * 2000, 2000);
            assert!(trust.weigh(node(2), &job, &claim, &[claim.range]));
        }
        let mut idle = claim(&job, 100_001, 2000);
        idle.shares.clear();
        assert!(!trust.weigh(node(3), &job, &idle, &[idle.range]));
        assert!(trust.believes(node(2)) && !trust.believes(node(3)));
        trust.forgive(node(3));
        assert!(trust.believes(node(3)));
    }

    #[test]
    fn a_false_share_is_a_lie_at_once() {
        let (mut trust, job) = (Trust::default(), hard());
        let mut lie = claim(&job, 1, 2000);
        lie.shares[5] += 1;
        assert!(!trust.weigh(node(2), &job, &lie, &[lie.range]));
        // A true share, but of nonces that the claim is not about.
        let mut lie = claim(&job, 1, 2000);
        lie.range.start = lie.shares[0] + 1;
        assert!(!trust.weigh(node(3), &job, &lie, &[]));
    }

    #[test]
    fn what_was_claimed_before_does_not_count_again() {
        let (mut trust, job) = (Trust::default(), hard());
        let mut idle = claim(&job, 1, 2000);
        idle.shares.clear();
        for _ in 0..100 {
            assert!(trust.weigh(node(2), &job, &idle, &[]));
        }
    }

    #[test]
    fn bits_that_ask_for_no_shares_are_not_admitted() {
        let job = hard();
        assert!(Trust::admits(&job, ShareBits::for_job(&job, 100_000)));
        assert!(Trust::admits(&job, ShareBits::for_job(&job, job.space().len())));
        assert!(!Trust::admits(&job, ShareBits::MAX));
    }
}
