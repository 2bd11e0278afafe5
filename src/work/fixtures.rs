//! Test inputs whose answers are known.
//!
//! `tests/kernels.rs` includes this file too, so everything it needs comes by `super`.

use super::{Hashing, Header, HeaderPuzzle, Job, Puzzle, Search, Target, TextPuzzle, ZeroUnit};

/// The previous hash of the exercise's check text.
pub(crate) const PREV: &str = "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db";

/// The check text's timestamp.
pub(crate) const TIMESTAMP: &str = "1550766000000";

/// Pairs of a number of leading zero hex digits and the first nonce whose hash of the check text has that many, hashed twice; computed with
/// another SHA-256 implementation.
pub(crate) const FIRST_NONCES: [(i64, u64); 4] = [(1, 2), (2, 319), (3, 4750), (4, 92579)];

/// Bitcoin's first block.
pub(crate) const GENESIS: &str = "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e\
    67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c";

/// Its hash, as Bitcoin shows it. It begins with 43 zero bits.
pub(crate) const GENESIS_HASH: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";

/// A text puzzle on the check text's previous hash.
pub(crate) fn text(timestamp: &str, hashing: Hashing) -> Puzzle {
    let (prev, timestamp) = (PREV.parse().unwrap(), timestamp.parse().unwrap());
    Puzzle::Text(TextPuzzle { prev, timestamp, hashing })
}

/// The check text, hashed twice.
pub(crate) fn check_text() -> Puzzle {
    text(TIMESTAMP, Hashing::Double)
}

/// The check text with a target of `zeros` leading zero hex digits: [`FIRST_NONCES`] has the first solutions.
pub(crate) fn check_job(zeros: i64, search: Search) -> Job {
    Job::new(check_text(), Target::from_zeros(zeros, ZeroUnit::Hex).unwrap(), search)
}

/// Bitcoin's first block.
pub(crate) fn genesis() -> Header {
    GENESIS.parse().unwrap()
}

/// Bitcoin's first block as a puzzle.
pub(crate) fn header(version_mask: u32) -> Puzzle {
    Puzzle::Header(HeaderPuzzle { header: genesis(), version_mask })
}
