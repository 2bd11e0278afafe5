//! What a leader takes for done was searched, if an honest node said so.

use super::super::super::{Cluster, NodeId};
use super::super::truth::Truth;
use super::Violation;

pub(super) fn check(id: NodeId, cluster: &Cluster, truth: &Truth, liar: Option<NodeId>) -> Result<(), Violation> {
    let Some(leading) = cluster.leading() else { return Ok(()) };
    for ledger in leading.ledgers() {
        let honest = ledger.done().iter().filter(|(_, by)| Some(**by) != liar).map(|(range, _)| range);
        if let Some(gap) = truth.unsearched(ledger.id(), honest) {
            return Err(Violation::new("what is done was searched", format!("{id:?}: {gap:?} of {:?}", ledger.id())));
        }
    }
    Ok(())
}
