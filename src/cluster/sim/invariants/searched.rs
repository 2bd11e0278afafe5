//! What a leader takes for done was searched, if no liar said so.

use super::super::super::{Cluster, NodeId};
use super::super::truth::Truth;
use super::Violation;

pub(super) fn check(id: NodeId, cluster: &Cluster, truth: &Truth) -> Result<(), Violation> {
    let Some(leading) = cluster.leading() else { return Ok(()) };
    for ledger in leading.ledgers() {
        if let Some(gap) = truth.unsearched(ledger.id(), ledger.done().ranges().iter()) {
            return Err(Violation::new("what is done was searched", format!("{id:?}: {gap:?} of {:?}", ledger.id())));
        }
    }
    Ok(())
}
