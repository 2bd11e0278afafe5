//! A reign submits a solution once, and grants nothing of a block while a solution of it is with the source.

use std::collections::HashSet;

use super::super::super::{Epoch, Message, NodeId};
use super::super::server::Run;
use super::super::world::Did;
use super::Violation;
use crate::work::Solution;

/// What was submitted so far, in which reign.
#[derive(Default)]
pub(super) struct Submitted {
    solutions: HashSet<(Epoch, Solution)>,
}

impl Submitted {
    pub(super) fn check(&mut self, id: NodeId, run: &Run, did: &Did) -> Result<(), Violation> {
        let law = "a block's solution is submitted once, and ends the search";
        let Some(leading) = run.cluster.leading() else { return Ok(()) };
        for solution in &did.submitted {
            let epoch = run.cluster.epoch().unwrap();
            if !self.solutions.insert((epoch, *solution)) {
                return Err(Violation::new(law, format!("{id:?} submits {} again in {epoch:?}", solution.nonce)));
            }
        }
        for (to, message) in &did.sent {
            if let Message::Process(process) = message
                && leading.unsettled().iter().any(|other| other.solution.job.block() == process.job.block())
                && did.submitted.is_empty()
            {
                return Err(Violation::new(law, format!("{id:?} grants {to:?} more of a block that is found")));
            }
        }
        Ok(())
    }
}
