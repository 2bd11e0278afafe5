//! A message of an older epoch changes no lease, starts no scan, stops none; none but its own leader sets a node to work; and a liar ends
//! nobody else's lease, but by a solution.

use super::super::super::{Cluster, NodeId};
use super::super::world::Did;
use super::{Before, Violation};
use crate::work::{JobId, NonceRange};

/// A leader's leases.
pub(super) type Leases = Vec<(JobId, u64, NodeId, NonceRange)>;

pub(super) fn leases(cluster: &Cluster) -> Leases {
    let ledgers = cluster.leading().into_iter().flat_map(|leading| leading.ledgers());
    let leases = ledgers
        .flat_map(|ledger| ledger.leases().iter().map(|lease| (ledger.id(), lease.number, lease.node, lease.rest)));
    leases.collect()
}

pub(super) fn check(id: NodeId, cluster: &Cluster, before: &Before, did: &Did) -> Result<(), Violation> {
    if let Some(leader) = before.said_by
        && !did.scans.is_empty()
        && cluster.leader() != Some(leader)
    {
        let what = format!("{id:?} scans for {leader:?} and names {:?}", cluster.leader());
        return Err(Violation::new("a node searches for its own leader only", what));
    }
    let Some(old) = &before.outdated else { return Ok(()) };
    let changed = leases(cluster) != *old;
    if changed || did.stops > 0 || !did.scans.is_empty() {
        return Err(Violation::new(
            "a message of an older epoch changes nothing",
            format!("{id:?}: leases changed {changed}, {} stops, {} scans", did.stops, did.scans.len()),
        ));
    }
    Ok(())
}

/// A liar's message ends no lease of another node, as long as the job is not over.
pub(super) fn check_liar(
    id: NodeId,
    cluster: &Cluster,
    liar: Option<NodeId>,
    before: &Before,
) -> Result<(), Violation> {
    let Some(old) = &before.lied_to else { return Ok(()) };
    let Some(leading) = cluster.leading().filter(|_| cluster.epoch() == before.epoch) else { return Ok(()) };
    for (job, number, node, rest) in old.iter().filter(|(_, _, node, _)| Some(*node) != liar) {
        let ledger = leading.ledgers().find(|ledger| ledger.id() == *job);
        if ledger.is_some_and(|ledger| ledger.leases().iter().all(|lease| lease.number != *number)) {
            let what = format!("{id:?}: {node:?}'s lease {number} of {rest:?} is over");
            return Err(Violation::new("a liar ends nobody else's lease", what));
        }
    }
    Ok(())
}
