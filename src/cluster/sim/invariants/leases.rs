//! Live leases of one epoch do not overlap; done, leased and free together are the whole nonce space.

use rangemap::RangeSet;

use super::super::super::{Cluster, NodeId};
use super::Violation;

pub(super) fn check(id: NodeId, cluster: &Cluster) -> Result<(), Violation> {
    let Some(leading) = cluster.leading() else { return Ok(()) };
    for ledger in leading.ledgers() {
        let fail = |what: String| Err(Violation::new("leases do not overlap", format!("{id:?}: {what}")));
        let mut leased = RangeSet::new();
        for lease in ledger.leases().iter().filter(|lease| !lease.rest.is_empty()) {
            let range = lease.rest.start..lease.rest.end;
            if leased.overlaps(&range) {
                return fail(format!("{lease:?} overlaps another"));
            }
            if !ledger.job().space().covers(&lease.rest) {
                return fail(format!("{lease:?} is not in the job's space"));
            }
            leased.insert(range);
        }
        leased.extend(ledger.done().iter().map(|(range, _)| range.clone()));
        if leased != *ledger.taken() {
            return fail("what is taken is not what is done or leased".to_owned());
        }
    }
    Ok(())
}
