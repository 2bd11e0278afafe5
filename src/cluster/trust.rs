//! Whom a leader believes: what nodes say to have searched is weighed against the shares that they show for it.
//!
//! A node that cannot have searched what it claims is not believed any more until it starts anew: nothing that it said counts as
//! done, and it gets no leases. Its solutions still do count, since they speak for themselves.

use std::collections::BTreeMap;

use super::audit::{Account, expected, verified};
use super::{Claim, NodeId};
use crate::work::{Job, NonceRange, ShareBits};

/// The most nonces that one lease can have: more than an hour of the fastest machine's work.
pub(super) const LONGEST_LEASE: u64 = 1 << 40;

/// Nodes that are not believed, and which run of each.
pub(super) type Distrusted = BTreeMap<NodeId, u64>;

/// What a leader knows of a node.
#[derive(Debug, Default)]
struct Record {
    /// Its incarnation.
    run: u64,
    /// What it has shown, by what counted as a share: otherwise the many shares of a short lease would make up for the few of a long one.
    accounts: BTreeMap<ShareBits, Account>,
}

/// What a leader thinks of each node.
#[derive(Debug, Default)]
pub(super) struct Trust {
    records: BTreeMap<NodeId, Record>,
    distrusted: Distrusted,
}

impl Trust {
    /// What the last leader thought.
    pub(super) fn new(distrusted: Distrusted) -> Self {
        Self { records: BTreeMap::new(), distrusted }
    }

    pub(super) fn believes(&self, node: NodeId) -> bool {
        !self.distrusted.contains_key(&node)
    }

    pub(super) fn distrusted(&self) -> &Distrusted {
        &self.distrusted
    }

    /// `node` runs as `run`. If another run of it was not believed, it begins anew; otherwise what it has shown goes on to count.
    pub(super) fn meet(&mut self, node: NodeId, run: u64) {
        let record = self.records.entry(node).or_default();
        record.run = run;
        if self.distrusted.get(&node).is_some_and(|&other| other != run) {
            self.distrusted.remove(&node);
            record.accounts.clear();
        }
    }

    /// The last leader does not believe that run of `node`.
    pub(super) fn distrust(&mut self, node: NodeId, run: u64) {
        if self.records.get(&node).is_none_or(|record| record.run == run) {
            self.distrusted.insert(node, run);
        }
    }

    /// `node` is no member of the cluster any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.records.remove(&node);
        self.distrusted.remove(&node);
    }

    /// Whether the bits of a claim are such as a leader gives for leases of up to `longest` nonces: with too many, next to no shares would
    /// have to be shown.
    pub(super) fn admits(job: &Job, bits: ShareBits, longest: u64) -> bool {
        bits <= ShareBits::for_job(job, job.space().len().min(longest))
    }

    /// Weighs the parts of a claim that are `new`, so that no nonce counts twice. False if `node` is not to be believed any more.
    pub(super) fn weigh(&mut self, node: NodeId, job: &Job, claim: &Claim, new: &[NonceRange]) -> bool {
        let is_true = verified(job, claim.bits, claim.range, &claim.shares).is_some();
        let Record { run, accounts } = self.records.entry(node).or_default();
        let account = accounts.entry(claim.bits).or_default();
        for part in new {
            let shown = claim.shares.iter().filter(|share| part.contains(**share)).count();
            account.add(expected(job, claim.bits, part.len()), shown as u64);
        }
        let believes = is_true && !account.is_incredible();
        if !believes {
            self.distrusted.insert(node, *run);
        }
        believes
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
    }

    #[test]
    fn a_distrusted_node_that_starts_anew_is_believed_again_and_no_other_forgets_what_it_showed() {
        let (mut trust, job) = (Trust::default(), hard());
        let half = |start: u64| {
            let mut claim = claim(&job, start, 2000);
            claim.shares.retain(|share| share % 3 == 0);
            claim
        };
        trust.meet(node(2), 1);
        for lease in 0.. {
            // It restarts with every lease, so that nobody should notice.
            trust.meet(node(2), 1 + lease);
            let claim = half(1 + lease * 2000);
            if !trust.weigh(node(2), &job, &claim, &[claim.range]) {
                break;
            }
            assert!(lease < 20, "never found");
        }
        let run = trust.distrusted()[&node(2)];
        trust.meet(node(2), run);
        assert!(!trust.believes(node(2)));
        trust.meet(node(2), run + 1);
        assert!(trust.believes(node(2)));
        let honest = claim(&job, 100_001, 2000);
        assert!(trust.weigh(node(2), &job, &honest, &[honest.range]), "a new account");
    }

    #[test]
    fn what_the_last_leader_thought_counts_for_the_run_that_it_knew() {
        let mut trust = Trust::new(Distrusted::from([(node(2), 5), (node(3), 5)]));
        trust.meet(node(2), 5);
        trust.meet(node(3), 6);
        trust.meet(node(4), 5);
        trust.distrust(node(3), 5);
        trust.distrust(node(4), 5);
        assert_eq!(trust.distrusted().keys().copied().collect::<Vec<_>>(), [node(2), node(4)]);
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
        assert!(Trust::admits(&job, ShareBits::for_job(&job, 100_000), LONGEST_LEASE));
        assert!(Trust::admits(&job, ShareBits::for_job(&job, job.space().len()), LONGEST_LEASE));
        assert!(!Trust::admits(&job, ShareBits::for_job(&job, job.space().len()), 1_000_000));
        assert!(!Trust::admits(&job, ShareBits::MAX, u64::MAX));
    }

    #[test]
    fn honest_short_leases_do_not_make_up_for_long_ones_that_were_not_searched() {
        let (mut trust, job) = (Trust::default(), hard());
        let bits = ShareBits::for_job(&job, 1_000_000);
        for lease in 0.. {
            let start = 1 + lease * 1_000_000;
            let honest = claim(&job, start, 2000);
            assert!(trust.weigh(node(2), &job, &honest, &[honest.range]));
            // A third of a long one, without a share.
            let range = NonceRange::new(start + 2000, start + 350_000);
            let empty = Claim { job: job.id(), range, bits, shares: vec![] };
            if !trust.weigh(node(2), &job, &empty, &[range]) {
                break;
            }
            assert!(lease < 5, "never found");
        }
    }
}
