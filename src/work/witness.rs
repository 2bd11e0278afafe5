//! Witnesses: near misses that show that a range was searched.
//!
//! A kernel meets witnesses without extra work. How many of them a range holds is known beforehand, up to chance; which nonces they are is
//! not. So a node that shows as many as can be expected has searched the range.

use serde::{Deserialize, Serialize};

use super::{Digest, Job, Puzzle, Search, Target};

/// The most witnesses of one range that are kept and reported. With bits [for the job](WitnessBits::for_job) a range holds 64 at most on
/// average before it ends or is solved; only one search in ten million lasts sixteen times as long as the average.
pub const MAX_WITNESSES: usize = 1024;

/// How many witnesses a range should hold at least on average: so many that a searched range without any is practically impossible (e^-32),
/// so few that checking them costs nothing noticeable.
const ENOUGH: u64 = 32;

/// A nonce is a witness if its hash, as the puzzle's number, begins with at least this many zero bits: 0 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct WitnessBits(u8);

/// The number of bits is above 64, which is more than any range needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 0 to {most} bits of a witness, got {0}", most = WitnessBits::MAX.0)]
pub struct WitnessBitsError(u8);

impl WitnessBits {
    /// One witness in 2^64 nonces.
    pub const MAX: Self = Self(64);

    /// This many bits; `None` above 64.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits <= Self::MAX.0 { Some(Self(bits)) } else { None }
    }

    /// The bits for which `nonces` nonces hold 32 to 64 witnesses on average; 0 if there are fewer than 64 nonces.
    pub const fn for_range(nonces: u64) -> Self {
        match (nonces / ENOUGH).checked_ilog2() {
            Some(bits) => Self(bits as u8),
            None => Self(0),
        }
    }

    /// The bits for a range of `nonces` nonces of `job`. A job that ends with its first solution is likely to need only a part of a long
    /// range.
    pub fn for_job(job: &Job, nonces: u64) -> Self {
        Self::for_range(likely_search(job, nonces))
    }

    /// Whether a range of `nonces` nonces of `job` is likely to hold no more witnesses than are kept. Checking more of them would cost
    /// noticeable time.
    pub fn suit(self, job: &Job, nonces: u64) -> bool {
        self.expected(likely_search(job, nonces)) <= MAX_WITNESSES as f64
    }

    /// The target that a witness's hash must not exceed.
    pub fn target(self) -> Target {
        let mut bytes = [0xff; 32];
        bytes[..8].copy_from_slice(&u64::MAX.checked_shr(self.0.into()).unwrap_or(0).to_be_bytes());
        Target::from_be_bytes(bytes)
    }

    /// How many witnesses `nonces` nonces hold on average.
    pub fn expected(self, nonces: u64) -> f64 {
        nonces as f64 * (-f64::from(self.0)).exp2()
    }

    /// The digest for `nonce` if it is a witness, by the reference path.
    pub fn check(self, puzzle: &Puzzle, nonce: u64) -> Option<Digest> {
        puzzle.check(nonce, self.target())
    }
}

/// How many of `nonces` nonces are searched on average, or a little more: all of them, or those before the job is solved.
fn likely_search(job: &Job, nonces: u64) -> u64 {
    match job.goal.search {
        Search::First => nonces.min((1.0 / job.target().probability()) as u64), // saturates
        Search::Every => nonces,
    }
}

impl TryFrom<u8> for WitnessBits {
    type Error = WitnessBitsError;

    fn try_from(bits: u8) -> Result<Self, WitnessBitsError> {
        Self::new(bits).ok_or(WitnessBitsError(bits))
    }
}

impl From<WitnessBits> for u8 {
    fn from(bits: WitnessBits) -> Self {
        bits.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::ZeroUnit;
    use crate::work::fixtures::{check_text, genesis, header};

    fn job(zero_bits: i64, search: Search) -> Job {
        Job::new(check_text(), Target::from_zeros(zero_bits, ZeroUnit::Bits).unwrap(), search)
    }

    #[test]
    fn the_target_is_that_of_leading_zero_bits() {
        for bits in 0..=64 {
            let target = Target::from_zeros(bits.into(), ZeroUnit::Bits).unwrap();
            assert_eq!(WitnessBits::new(bits).unwrap().target(), target);
        }
        assert_eq!(WitnessBits::new(65), None);
    }

    #[test]
    fn other_bits_are_refused_when_read() {
        assert_eq!(serde_json::to_string(&WitnessBits(23)).unwrap(), "23");
        assert_eq!(serde_json::from_str::<WitnessBits>("64").unwrap(), WitnessBits::MAX);
        let error = serde_json::from_str::<WitnessBits>("65").unwrap_err();
        assert!(error.to_string().contains("expected 0 to 64 bits of a witness, got 65"), "{error}");
    }

    #[test]
    fn a_range_holds_32_to_64() {
        for nonces in [64, 65, 100, 127, 128, 100_000, 425_000_000, 2_000_000_000, 1 << 48, u64::MAX] {
            let expected = WitnessBits::for_range(nonces).expected(nonces);
            assert!((32.0..=64.0).contains(&expected), "{nonces}: {expected}");
        }
        for nonces in [0, 1, 31, 32, 63] {
            assert_eq!(WitnessBits::for_range(nonces), WitnessBits(0), "{nonces}");
        }
    }

    #[test]
    fn a_job_that_is_solved_sooner_has_them_until_then() {
        assert_eq!(WitnessBits::for_job(&job(20, Search::First), 1 << 30), WitnessBits(15));
        assert_eq!(WitnessBits::for_job(&job(20, Search::First), 1 << 18), WitnessBits(13));
        assert_eq!(WitnessBits::for_job(&job(20, Search::Every), 1 << 30), WitnessBits(25));
        assert_eq!(WitnessBits::for_job(&job(0, Search::First), u64::MAX), WitnessBits(0));
        assert_eq!(WitnessBits::for_job(&job(256, Search::First), u64::MAX), WitnessBits(58));
        assert!(WitnessBits(15).suit(&job(20, Search::First), 1 << 30));
        assert!(!WitnessBits(15).suit(&job(20, Search::Every), 1 << 30));
        assert!(!WitnessBits(15).suit(&job(60, Search::First), 1 << 30));
    }

    // From another SHA-256 implementation: the first nonces with four leading zero digits, and Bitcoin's first block.
    #[test]
    fn both_forms_count_the_zeros_where_their_targets_do() {
        assert!(WitnessBits(16).check(&check_text(), 92_579).is_some());
        assert!(WitnessBits(16).check(&check_text(), 92_580).is_none());
        let (puzzle, nonce) = (header(0), u64::from(genesis().nonce));
        // 000000000019d668…: 43 zero bits.
        assert!(WitnessBits(43).check(&puzzle, nonce).is_some());
        assert!(WitnessBits(44).check(&puzzle, nonce).is_none());
    }
}
