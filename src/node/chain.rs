//! Counts the blocks that were accepted since the node started, whoever found them.

use std::collections::VecDeque;

use crate::work::Digest;

/// How many tips are remembered, so that sources that take turns, or late news of an older tip, do not count as new blocks.
const TIPS: usize = 16;

/// The chain as far as this node has seen it grow.
#[derive(Debug, Default)]
pub(super) struct ChainWatch {
    tips: VecDeque<Digest>,
    blocks: u64,
}

impl ChainWatch {
    /// Takes note that `tip` is the block to build on now. Not every source gives heights, so changes of the tip are counted.
    pub(super) fn see(&mut self, tip: Digest) {
        if self.tips.contains(&tip) {
            return;
        }
        if !self.tips.is_empty() {
            self.blocks += 1;
        }
        if self.tips.len() == TIPS {
            self.tips.pop_front();
        }
        self.tips.push_back(tip);
    }

    /// How many blocks it has grown by.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_new_tip_after_the_first_look_is_a_block() {
        let mut chain = ChainWatch::default();
        for (tip, blocks) in [(1, 0), (1, 0), (2, 1), (1, 1), (2, 1), (3, 2)] {
            chain.see(Digest([tip; 32]));
            assert_eq!(chain.blocks(), blocks);
        }
    }
}
