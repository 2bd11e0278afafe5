//! Either puzzle form.

use serde::{Deserialize, Serialize};

use super::{Digest, Header, HeaderPuzzle, NonceRange, TEXT_NONCES, Target, TextPuzzle};

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

    /// A digest of this puzzle as the number that a target bounds: the text's digest is read big-endian (leading hex digits
    /// count), the header's little-endian.
    pub fn value(&self, digest: Digest) -> Target {
        match self {
            Self::Text(_) => Target::from_be_bytes(digest.0),
            Self::Header(_) => Target::from_be_bytes(digest.reversed().0),
        }
    }

    /// The digest for `nonce` if it meets `target`.
    pub fn check(&self, nonce: u64, target: Target) -> Option<Digest> {
        let digest = self.digest(nonce);
        (self.value(digest) <= target).then_some(digest)
    }

    /// The previous block's digest: what this puzzle builds on.
    pub fn prev(&self) -> Digest {
        match self {
            Self::Text(text) => text.prev,
            Self::Header(puzzle) => puzzle.header.prev_blockhash,
        }
    }

    /// Appends bytes that no other puzzle appends.
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
                content.extend(Header { nonce: 0, ..puzzle.header }.to_bytes());
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
    use crate::work::{Hashing, ZeroUnit};

    // From another SHA-256 implementation: the first nonce that has so many leading zero digits.
    #[test]
    fn first_solutions_of_the_check_text() {
        let firsts = [(Hashing::Double, [2, 319, 4750, 92579]), (Hashing::Single, [26, 236, 2382, 12564])];
        for (hashing, nonces) in firsts {
            let puzzle = Puzzle::Text(TextPuzzle {
                prev: "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db".parse().unwrap(),
                timestamp: "1550766000000".parse().unwrap(),
                hashing,
            });
            for (zeros, first) in (1..).zip(nonces) {
                let target = Target::from_zeros(zeros, ZeroUnit::Hex).unwrap();
                assert_eq!((1..).find(|&nonce| puzzle.check(nonce, target).is_some()), Some(first));
            }
        }
    }

    #[test]
    fn genesis_meets_its_own_bits() {
        let header: crate::work::Header =
            "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61\
             7fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
                .parse()
                .unwrap();
        let puzzle = Puzzle::Header(HeaderPuzzle { header, version_mask: 0 });
        let target = Target::from_bits(header.bits).unwrap();
        assert!(puzzle.check(u64::from(header.nonce), target).is_some());
        assert!(puzzle.check(u64::from(header.nonce) + 1, target).is_none());
    }
}
