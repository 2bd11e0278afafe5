//! A solution is submitted only after it was verified.

use super::super::super::NodeId;
use super::super::world::Did;
use super::Violation;

pub(super) fn check(id: NodeId, did: &Did) -> Result<(), Violation> {
    match did.submitted.iter().find(|solution| solution.verify().is_none()) {
        Some(solution) => {
            Err(Violation::new("only solutions are submitted", format!("{id:?} submits {}", solution.nonce)))
        }
        None => Ok(()),
    }
}
