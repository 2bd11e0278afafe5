//! The two puzzle forms behind one type.

use serde::{Deserialize, Serialize};

use super::{Digest, HeaderPuzzle, NonceRange, TEXT_NONCES, Target, TextPuzzle};

/// What is hashed for a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Puzzle {
    /// The exercise's text.
    Text(TextPuzzle),
    /// Bitcoin's header.
    Header(HeaderPuzzle),
}

impl Puzzle {
    /// The digest for `nonce`, by the reference path.
    pub fn digest(&self, nonce: u64) -> Digest {
        match self {
            Self::Text(text) => text.digest(nonce),
            Self::Header(header) => header.at(nonce).digest(),
        }
    }

    /// A digest of this puzzle as the 256-bit number that a target bounds: the text's digest is read big-endian (leading hex digits count),
    /// the header's little-endian.
    pub fn value(&self, digest: Digest) -> Target {
        Target::from_be_bytes(self.shown(digest).0)
    }

    /// The digest for `nonce` if it meets `target`.
    pub fn check(&self, nonce: u64, target: Target) -> Option<Digest> {
        let digest = self.digest(nonce);
        (self.value(digest) <= target).then_some(digest)
    }

    /// A digest of this puzzle, or of the block that it builds on, as people write it: the text's in SHA-256's byte order, the header's back to
    /// front, as a [`BlockHash`](super::BlockHash).
    pub fn shown(&self, digest: Digest) -> Digest {
        match self {
            Self::Text(_) => digest,
            Self::Header(_) => digest.reversed(),
        }
    }

    /// The previous block's digest: what this puzzle builds on.
    pub fn prev(&self) -> Digest {
        match self {
            Self::Text(text) => text.prev,
            Self::Header(puzzle) => puzzle.header.prev_blockhash,
        }
    }

    /// The nonces with which a search best begins: those of a text that have eight digits or more. They are nearly all, and are hashed at
    /// full speed; the shortest are hashed at a quarter of it.
    pub fn first_nonces(&self) -> NonceRange {
        let NonceRange { start, end } = self.space();
        match self {
            Self::Text(_) => NonceRange::new(10_000_000, end),
            Self::Header(_) => NonceRange::new(start, end),
        }
    }

    /// The rest of the space, if there is any.
    pub fn last_nonces(&self) -> NonceRange {
        NonceRange::new(self.space().start, self.first_nonces().start)
    }

    /// Appends bytes that no other puzzle appends, for a job's name.
    pub(super) fn write_content(&self, content: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                content.extend([0, text.hashing as u8]);
                content.extend(text.prev.0);
                content.extend(text.timestamp.as_bytes());
            }
            Self::Header(puzzle) => {
                content.push(1);
                content.extend(puzzle.version_mask.to_be_bytes());
                content.extend(puzzle.header.to_bytes());
            }
        }
    }

    /// Every nonce of the puzzle.
    pub fn space(&self) -> NonceRange {
        match self {
            Self::Text(_) => TEXT_NONCES,
            Self::Header(header) => header.space(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::fixtures::{FIRST_NONCES, GENESIS_HASH, PREV, TIMESTAMP, genesis, header, text};
    use crate::work::{Hashing, ZeroUnit};

    // Computed with another SHA-256 implementation: the first nonce for each number of leading zero hex digits.
    #[test]
    fn first_solutions_of_the_check_text() {
        let single = [(1, 26), (2, 236), (3, 2382), (4, 12564)];
        for (hashing, firsts) in [(Hashing::Double, FIRST_NONCES), (Hashing::Single, single)] {
            let puzzle = text(TIMESTAMP, hashing);
            for (zeros, first) in firsts {
                let target = Target::from_zeros(zeros, ZeroUnit::Hex).unwrap();
                assert_eq!((1..).find(|&nonce| puzzle.check(nonce, target).is_some()), Some(first));
            }
        }
    }

    #[test]
    fn first_and_last_nonces_are_the_space() {
        let text = text(TIMESTAMP, Hashing::Double);
        assert_eq!(text.first_nonces(), NonceRange::new(10_000_000, 2_000_000_001));
        assert_eq!(text.last_nonces(), NonceRange::new(1, 10_000_000));
        let header = header(0);
        assert_eq!(header.first_nonces(), header.space());
        assert!(header.last_nonces().is_empty());
    }

    #[test]
    fn genesis_meets_its_own_bits() {
        let (puzzle, nonce) = (header(0), u64::from(genesis().nonce));
        let target = Target::from_bits(genesis().bits).unwrap();
        assert!(puzzle.check(nonce, target).is_some());
        assert!(puzzle.check(nonce + 1, target).is_none());
    }

    #[test]
    fn each_form_shows_its_digests_in_its_own_order() {
        let text = text(TIMESTAMP, Hashing::Double);
        assert_eq!(text.shown(text.prev()).to_string(), PREV);
        assert_eq!(header(0).shown(genesis().digest()).to_string(), GENESIS_HASH);
    }
}
