//! The source of blocks: one chain, one accepted solution a block.

use std::time::Duration;

use crate::work::{BlockId, Digest, Header, HeaderPuzzle, Job, Puzzle, Search, Solution, Target, ZeroUnit};

/// Where blocks come from.
pub(super) struct Source {
    /// The block to build on.
    pub(super) height: u64,
    /// Leading zero bits of a solution's hash.
    pub(super) bits: u32,
    /// It gives no answer.
    pub(super) is_down: bool,
    /// An answer takes so long.
    pub(super) latency: Duration,
    /// What it was handed and accepted.
    pub(super) accepted: Vec<Solution>,
}

impl Source {
    /// The block to build on. Hashes do not depend on what was found, so that all runs meet the same jobs.
    pub(super) fn block(&self) -> BlockId {
        BlockId { height: self.height, hash: Digest([self.height as u8; 32]) }
    }

    /// A job for that block, by the maker's clock.
    pub(super) fn job(&self, block: BlockId, stamp: u64) -> Job {
        Job {
            height: block.height,
            puzzle: Puzzle::Header(HeaderPuzzle {
                header: Header {
                    version: 0x2000_0000,
                    prev_blockhash: block.hash,
                    merkle_root: Digest([0xa5; 32]),
                    time: 1_700_000_000 + stamp as u32,
                    bits: 0x207f_ffff,
                    nonce: 0,
                },
                version_mask: 0,
            }),
            target: Target::from_zeros(self.bits.into(), ZeroUnit::Bits).unwrap(),
            search: Search::First,
        }
    }

    /// Its word on a solution: whether it is accepted.
    pub(super) fn submit(&mut self, solution: &Solution) -> bool {
        let success = solution.job.block() == self.block() && solution.verify().is_some();
        if success {
            self.height += 1;
            self.accepted.push(*solution);
        }
        success
    }
}
