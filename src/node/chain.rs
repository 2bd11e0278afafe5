//! Counts the blocks that were accepted since the node started, whoever found them.

use crate::work::Digest;

/// The chain as far as this node has seen it grow.
#[derive(Debug, Default)]
pub(super) struct ChainWatch {
    tip: Option<Digest>,
    blocks: u64,
}

impl ChainWatch {
    /// `tip` is the block to build on now. (Not every source tells heights, so it is the change that counts.)
    pub(super) fn see(&mut self, tip: Digest) {
        let before = self.tip.replace(tip);
        if before.is_some_and(|before| before != tip) {
            self.blocks += 1;
        }
    }

    /// How often it has changed.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_after_the_first_look_is_a_block() {
        let mut chain = ChainWatch::default();
        for (tip, blocks) in [(1, 0), (1, 0), (2, 1), (2, 1), (3, 2)] {
            chain.see(Digest([tip; 32]));
            assert_eq!(chain.blocks(), blocks);
        }
    }
}
