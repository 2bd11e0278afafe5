//! While the cluster is well, nobody hashes on for a block whose solution the leader has handed in.

use std::time::Duration;

use super::super::super::NodeId;
use super::super::server::Run;
use super::super::world::Did;
use super::Violation;
use crate::work::BlockId;

/// Blocks that a solution was handed in for while the cluster is well, and when first.
pub(super) struct Ended {
    blocks: Vec<(BlockId, Duration)>,
    /// An interrupt takes so long at most.
    limit: Duration,
}

impl Ended {
    pub(super) fn new(limit: Duration) -> Self {
        Self { blocks: Vec::new(), limit }
    }

    pub(super) fn check(
        &mut self,
        is_well: bool,
        now: Duration,
        id: NodeId,
        run: &Run,
        did: &Did,
    ) -> Result<(), Violation> {
        if !is_well {
            self.blocks.clear(); // a solution may be lost with its finder and the leader
            return Ok(());
        }
        for solution in &did.submitted {
            let block = solution.job.block();
            if !self.blocks.iter().any(|(other, _)| *other == block) {
                self.blocks.push((block, now));
            }
        }
        let Some(scan) = run.scanner.scans().next() else { return Ok(()) };
        match self.blocks.iter().find(|(block, _)| *block == scan.job.block()) {
            Some((block, at)) if now.saturating_sub(*at) > self.limit => Err(Violation::new(
                "a found block is searched no more",
                format!("{id:?} hashes on for block {}, handed in at {at:?}", block.height),
            )),
            _ => Ok(()),
        }
    }
}
