//! Once faults are over, all nodes name the same leader: the lowest that is up.

use std::time::Duration;

use super::super::super::{Cluster, NodeId};
use super::Violation;

pub(super) fn check(
    from: Option<(Duration, NodeId)>,
    now: Duration,
    id: NodeId,
    cluster: &Cluster,
) -> Result<(), Violation> {
    match from {
        Some((from, leader)) if now >= from && cluster.leader() != Some(leader) => Err(Violation::new(
            "all name the same leader",
            format!("{id:?} names {:?}, not {leader:?}", cluster.leader()),
        )),
        _ => Ok(()),
    }
}
