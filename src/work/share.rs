//! Shares: near misses that show that a range was searched.
//!
//! A kernel meets them anyway. How many a range holds is known beforehand but for chance, which ones is not: so who shows as many as
//! there must be has searched the range.

use serde::{Deserialize, Serialize};

use super::{Digest, Job, Puzzle, Search, Target};

/// Shares of one range that are kept and told at most. With bits [for the job](ShareBits::for_job) a range holds 64 on average before
/// it ends or is solved; only one range in ten million goes on sixteen times as long.
pub const MAX_SHARES: usize = 1024;

/// How many shares a range should hold at least: enough that a range without any is no chance, so few that checking them costs nothing.
const ENOUGH: u64 = 32;

/// A nonce is a share if its hash, as the puzzle's number, begins with so many zero bits: 0 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct ShareBits(u8);

/// More bits than any range needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 0 to {most} bits of a share, got {0}", most = ShareBits::MAX.0)]
pub struct ShareBitsError(u8);

impl ShareBits {
    /// One share in 2^64 nonces.
    pub const MAX: Self = Self(64);

    /// So many bits.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits <= Self::MAX.0 { Some(Self(bits)) } else { None }
    }

    /// The bits for which so many nonces hold 32 to 64 shares on average; 0 if there are fewer than 64.
    pub const fn for_range(nonces: u64) -> Self {
        match (nonces / ENOUGH).checked_ilog2() {
            Some(bits) => Self(bits as u8),
            None => Self(0),
        }
    }

    /// The bits for a range of so many nonces of `job`, of which a job that ends with its first solution may need only a part.
    pub fn for_job(job: &Job, nonces: u64) -> Self {
        Self::for_range(likely_search(job, nonces))
    }

    /// Whether a range of so many nonces of `job` is likely to hold no more shares than are kept. With more, checking them would cost
    /// time, too.
    pub fn suit(self, job: &Job, nonces: u64) -> bool {
        self.expected(likely_search(job, nonces)) <= MAX_SHARES as f64
    }

    /// How many bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// What a share's hash must not exceed.
    pub fn target(self) -> Target {
        let mut bytes = [0xff; 32];
        bytes[..8].copy_from_slice(&u64::MAX.checked_shr(self.0.into()).unwrap_or(0).to_be_bytes());
        Target::from_be_bytes(bytes)
    }

    /// How many shares so many nonces hold on average.
    pub fn expected(self, nonces: u64) -> f64 {
        nonces as f64 * (-f64::from(self.0)).exp2()
    }

    /// The digest for `nonce` if it is a share, by the reference path.
    pub fn check(self, puzzle: &Puzzle, nonce: u64) -> Option<Digest> {
        puzzle.check(nonce, self.target())
    }
}

/// How many of so many nonces are searched on average, or more: all of them, or until the job is solved.
fn likely_search(job: &Job, nonces: u64) -> u64 {
    match job.search {
        Search::First => nonces.min((1.0 / job.target.probability()) as u64), // saturates
        Search::Every => nonces,
    }
}

impl TryFrom<u8> for ShareBits {
    type Error = ShareBitsError;

    fn try_from(bits: u8) -> Result<Self, ShareBitsError> {
        Self::new(bits).ok_or(ShareBitsError(bits))
    }
}

impl From<ShareBits> for u8 {
    fn from(bits: ShareBits) -> Self {
        bits.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Hashing, Header, HeaderPuzzle, TextPuzzle, ZeroUnit};

    fn text() -> Puzzle {
        Puzzle::Text(TextPuzzle {
            prev: "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db".parse().unwrap(),
            timestamp: "1550766000000".parse().unwrap(),
            hashing: Hashing::Double,
        })
    }

    fn job(zero_bits: i64, search: Search) -> Job {
        Job { height: 0, puzzle: text(), target: Target::from_zeros(zero_bits, ZeroUnit::Bits).unwrap(), search }
    }

    #[test]
    fn the_target_is_that_of_leading_zero_bits() {
        for bits in 0..=64 {
            let target = Target::from_zeros(bits.into(), ZeroUnit::Bits).unwrap();
            assert_eq!(ShareBits::new(bits).unwrap().target(), target);
        }
        assert_eq!(ShareBits::new(65), None);
    }

    #[test]
    fn other_bits_are_refused_when_read() {
        assert_eq!(serde_json::to_string(&ShareBits(23)).unwrap(), "23");
        assert_eq!(serde_json::from_str::<ShareBits>("64").unwrap(), ShareBits::MAX);
        let error = serde_json::from_str::<ShareBits>("65").unwrap_err();
        assert!(error.to_string().contains("expected 0 to 64 bits of a share, got 65"), "{error}");
    }

    #[test]
    fn a_range_holds_32_to_64() {
        for nonces in [64, 65, 100, 127, 128, 100_000, 425_000_000, 2_000_000_000, 1 << 48, u64::MAX] {
            let expected = ShareBits::for_range(nonces).expected(nonces);
            assert!((32.0..=64.0).contains(&expected), "{nonces}: {expected}");
        }
        for nonces in [0, 1, 31, 32, 63] {
            assert_eq!(ShareBits::for_range(nonces), ShareBits(0), "{nonces}");
        }
    }

    #[test]
    fn a_job_that_is_solved_sooner_has_them_until_then() {
        assert_eq!(ShareBits::for_job(&job(20, Search::First), 1 << 30), ShareBits(15));
        assert_eq!(ShareBits::for_job(&job(20, Search::First), 1 << 18), ShareBits(13));
        assert_eq!(ShareBits::for_job(&job(20, Search::Every), 1 << 30), ShareBits(25));
        assert_eq!(ShareBits::for_job(&job(0, Search::First), u64::MAX), ShareBits(0));
        assert_eq!(ShareBits::for_job(&job(256, Search::First), u64::MAX), ShareBits(58));
        assert!(ShareBits(15).suit(&job(20, Search::First), 1 << 30));
        assert!(!ShareBits(15).suit(&job(20, Search::Every), 1 << 30));
        assert!(!ShareBits(15).suit(&job(60, Search::First), 1 << 30));
    }

    // From another SHA-256 implementation: the first nonces with four leading zero digits, and Bitcoin's first block.
    #[test]
    fn both_forms_count_the_zeros_where_their_targets_do() {
        assert!(ShareBits(16).check(&text(), 92_579).is_some());
        assert!(ShareBits(16).check(&text(), 92_580).is_none());
        let header: Header =
            "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61\
             7fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
                .parse()
                .unwrap();
        let puzzle = Puzzle::Header(HeaderPuzzle { header, version_mask: 0 });
        // 000000000019d668…: 43 zero bits.
        assert!(ShareBits(43).check(&puzzle, header.nonce.into()).is_some());
        assert!(ShareBits(44).check(&puzzle, header.nonce.into()).is_none());
    }
}
