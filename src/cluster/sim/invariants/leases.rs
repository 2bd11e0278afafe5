//! Live leases of one epoch do not overlap; done, leased and free together are the whole nonce space; and no lease is kept that its node
//! has not named for long, or does not come to the end of.

use std::time::{Duration, Instant};

use rangemap::RangeSet;

use super::super::super::ledger::Lease;
use super::super::super::{Cluster, NodeId};
use super::Violation;

/// How long a lease that is not named is kept at most, and how long one that is.
pub(super) struct Ages {
    pub(super) unnamed: Duration,
    pub(super) named: Duration,
}

pub(super) fn check(id: NodeId, cluster: &Cluster, now: Instant, ages: &Ages) -> Result<(), Violation> {
    let Some(leading) = cluster.leading() else { return Ok(()) };
    for ledger in leading.ledgers() {
        let fail = |what: String| Err(Violation::new("leases do not overlap", format!("{id:?}: {what}")));
        let kept = |lease: &Lease, how| {
            let what = format!("{id:?} keeps lease {} of {:?}, {how}", lease.number, lease.node);
            Err(Violation::new("no lease is kept for ever", what))
        };
        let mut leased = RangeSet::new();
        for lease in ledger.leases().iter().filter(|lease| !lease.rest.is_empty()) {
            let range = lease.rest.start..lease.rest.end;
            if now.saturating_duration_since(lease.seen) > ages.unnamed {
                return kept(lease, "though not named for long");
            }
            if now.saturating_duration_since(lease.granted) > ages.named {
                return kept(lease, "for ever");
            }
            if leased.overlaps(&range) {
                return fail(format!("{lease:?} overlaps another"));
            }
            if !ledger.job().space().covers(&lease.rest) {
                return fail(format!("{lease:?} is not in the job's space"));
            }
            leased.insert(range);
        }
        leased.extend(ledger.done().ranges().iter().cloned());
        if leased != *ledger.taken() {
            return fail("what is taken is not what is done or leased".to_owned());
        }
    }
    Ok(())
}
