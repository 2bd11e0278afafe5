//! The chain's rules: what a block is, what follows it, and what becomes of a submission. Values only.

use serde::{Deserialize, Serialize};

use crate::work::{
    BlockId, Digest, Hashing, Puzzle, TEXT_NONCES, Target, TargetError, TextPuzzle, Timestamp, ZeroUnit, reference,
};

/// An accepted block. Its JSON form is what `/api/v1/chain` lists and what the store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The height; the first accepted block has 1.
    pub height: u64,
    /// The hash of the block below.
    pub prev: Digest,
    /// The double SHA-256 of `prev`'s digits, `nonce` and `timestamp`.
    pub hash: Digest,
    /// The nonce, 1 to 2,000,000,000.
    pub nonce: u64,
    /// The timestamp, as the finder wrote it.
    pub timestamp: Timestamp,
    /// How many leading zero digits were asked for when the block was accepted.
    pub zeros: u32,
    /// The name that the finder gave; may be empty.
    pub pool: String,
    /// When it was accepted by the service's clock: milliseconds since 1970.
    pub accepted_at: u64,
}

/// A nonce that is said to solve a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Submission {
    /// The block that it builds on; `None` means the newest.
    pub(super) prev: Option<Digest>,
    pub(super) timestamp: Timestamp,
    pub(super) nonce: u64,
    pub(super) pool: String,
}

/// How a submission is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is the next block.
    Success(Block),
    /// It builds on a block that is not, or no longer, the newest.
    Stale,
    /// Its hash has too few zeros.
    Wrong,
}

/// Why a block does not follow the one before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The one before has the greatest height that there is.
    #[error("expected no block above the greatest height, {}", u64::MAX)]
    End,
    /// A block is missing, or there is one too many.
    #[error("expected height {expected}, found {found}")]
    Height {
        /// One more than the height of the block before.
        expected: u64,
        /// The height that the block states.
        found: u64,
    },
    /// It builds on another block.
    #[error("expected it to build on {expected}, found {found}")]
    Prev {
        /// The hash of the block before.
        expected: Digest,
        /// The hash of the block that it builds on.
        found: Digest,
    },
    /// Its hash is not the hash of its own text.
    #[error("expected the hash {expected}, found {found}")]
    Hash {
        /// The hash of the block's text.
        expected: Digest,
        /// The hash that the block states.
        found: Digest,
    },
    /// Its hash has too few zeros, or it asks for an impossible number of them.
    #[error("expected a hash with {zeros} leading zeros, found {hash}")]
    Zeros {
        /// How many leading zeros the block was to have.
        zeros: u32,
        /// The hash that it has.
        hash: Digest,
    },
}

/// What the first block builds on: height 0, the double SHA-256 of the ASCII `headframe`.
pub(super) fn genesis() -> BlockId {
    BlockId { height: 0, hash: reference::sha256d(b"headframe") }
}

/// Judges a submission for the block after `tip`, which needs `zeros`; `now` is in milliseconds since 1970.
pub(super) fn judge(tip: BlockId, zeros: u32, submission: &Submission, now: u64) -> Judgement {
    let &Submission { prev, timestamp, nonce, ref pool } = submission;
    // After the greatest height the chain has ended, which takes longer than anybody will wait.
    let Some(height) = tip.height.checked_add(1) else { return Judgement::Stale };
    if prev.is_some_and(|prev| prev != tip.hash) {
        return Judgement::Stale;
    }
    let solved = target(zeros).ok().and_then(|target| puzzle(tip.hash, timestamp).check(nonce, target));
    match solved {
        Some(hash) if TEXT_NONCES.contains(nonce) => Judgement::Success(Block {
            height,
            prev: tip.hash,
            hash,
            nonce,
            timestamp,
            zeros,
            pool: pool.clone(),
            accepted_at: now,
        }),
        _ => Judgement::Wrong,
    }
}

impl Block {
    /// Its height and hash.
    pub fn id(&self) -> BlockId {
        BlockId { height: self.height, hash: self.hash }
    }

    /// Checks that it is a valid block which follows `before`.
    pub(super) fn check_follows(&self, before: BlockId) -> Result<(), ChainError> {
        let expected = before.height.checked_add(1).ok_or(ChainError::End)?;
        if self.height != expected {
            return Err(ChainError::Height { expected, found: self.height });
        }
        if self.prev != before.hash {
            return Err(ChainError::Prev { expected: before.hash, found: self.prev });
        }
        let puzzle = puzzle(self.prev, self.timestamp);
        let expected = puzzle.digest(self.nonce);
        if self.hash != expected {
            return Err(ChainError::Hash { expected, found: self.hash });
        }
        match target(self.zeros) {
            Ok(target) if puzzle.value(self.hash) <= target => Ok(()),
            _ => Err(ChainError::Zeros { zeros: self.zeros, hash: self.hash }),
        }
    }
}

fn target(zeros: u32) -> Result<Target, TargetError> {
    Target::from_zeros(i64::from(zeros), ZeroUnit::Hex)
}

fn puzzle(prev: Digest, timestamp: Timestamp) -> Puzzle {
    Puzzle::Text(TextPuzzle { prev, timestamp, hashing: Hashing::Double })
}

/// A chain of `length` blocks of one zero each, a second apart.
#[cfg(test)]
pub(super) fn mined(length: usize) -> Vec<Block> {
    let mut tip = genesis();
    let mut blocks = Vec::new();
    for second in 1..=length as u64 {
        let block = (1..).find_map(|nonce| {
            let submission = Submission {
                prev: Some(tip.hash),
                timestamp: Timestamp::from_number(second),
                nonce,
                pool: String::new(),
            };
            match judge(tip, 1, &submission, second * 1000) {
                Judgement::Success(block) => Some(block),
                _ => None,
            }
        });
        blocks.extend(block);
        tip = blocks.last().map_or(tip, Block::id);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::fixtures::{PREV, TIMESTAMP};

    /// The check text of the exercise, at height 7.
    fn tip() -> BlockId {
        BlockId { height: 7, hash: PREV.parse().unwrap() }
    }

    fn submission(prev: Option<Digest>, nonce: u64) -> Submission {
        Submission { prev, timestamp: TIMESTAMP.parse().unwrap(), nonce, pool: "p".into() }
    }

    #[test]
    fn genesis_is_fixed() {
        // By another SHA-256 implementation (Python's hashlib).
        assert_eq!(genesis().hash.to_string(), "c5bf8d56085efdf040afbf62f1a1d1da9908cd4567c2cbe4dd0eab6336845481");
        assert_eq!(genesis().height, 0);
    }

    #[test]
    fn a_solution_is_the_next_block() {
        for prev in [Some(tip().hash), None] {
            let Judgement::Success(block) = judge(tip(), 3, &submission(prev, 4750), 99) else {
                panic!("not accepted")
            };
            assert!(block.hash.to_string().starts_with("000"));
            assert_eq!((block.height, block.prev, block.nonce), (8, tip().hash, 4750));
            assert_eq!((block.zeros, block.accepted_at, block.pool.as_str()), (3, 99, "p"));
            assert_eq!(block.check_follows(tip()), Ok(()));
        }
    }

    #[test]
    fn too_few_zeros_are_wrong_and_another_block_is_stale() {
        assert_eq!(judge(tip(), 4, &submission(Some(tip().hash), 4750), 0), Judgement::Wrong);
        assert_eq!(judge(tip(), 3, &submission(None, 4751), 0), Judgement::Wrong);
        assert_eq!(judge(tip(), 3, &submission(Some(genesis().hash), 4750), 0), Judgement::Stale);
    }

    #[test]
    fn the_greatest_height_is_the_last() {
        let almost = BlockId { height: u64::MAX - 1, ..tip() };
        let Judgement::Success(last) = judge(almost, 0, &submission(None, 1), 0) else { panic!("not accepted") };
        assert_eq!((last.height, last.check_follows(almost)), (u64::MAX, Ok(())));
        assert_eq!(judge(last.id(), 0, &submission(None, 1), 0), Judgement::Stale);
        for height in [0, 1, u64::MAX] {
            let above = Block { height, ..last.clone() };
            assert_eq!(above.check_follows(last.id()), Err(ChainError::End));
        }
    }

    #[test]
    fn nonces_outside_the_exercise_are_wrong_even_if_every_hash_will_do() {
        assert!(matches!(judge(tip(), 0, &submission(None, 2_000_000_000), 0), Judgement::Success(_)));
        assert_eq!(judge(tip(), 0, &submission(None, 0), 0), Judgement::Wrong);
        assert_eq!(judge(tip(), 0, &submission(None, 2_000_000_001), 0), Judgement::Wrong);
    }

    #[test]
    fn each_way_to_break_a_chain_is_named() {
        let blocks = mined(2);
        let (first, second) = (blocks[0].clone(), blocks[1].clone());
        assert_eq!(second.check_follows(first.id()), Ok(()));
        assert!(matches!(second.check_follows(genesis()), Err(ChainError::Height { expected: 1, found: 2 })));
        let elsewhere = BlockId { height: 1, hash: genesis().hash };
        assert!(matches!(second.check_follows(elsewhere), Err(ChainError::Prev { .. })));
        let altered = Block { nonce: second.nonce + 1, ..second.clone() };
        assert!(matches!(altered.check_follows(first.id()), Err(ChainError::Hash { .. })));
        for zeros in [40, 65] {
            let boasting = Block { zeros, ..second.clone() };
            assert!(matches!(boasting.check_follows(first.id()), Err(ChainError::Zeros { .. })));
        }
    }
}
