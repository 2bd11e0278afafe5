//! Known answers that every kernel must give before it is used.

use std::sync::LazyLock;

use super::{Kernel, Prepared};
use crate::work::{
    Digest, Hashing, Header, HeaderPuzzle, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, Timestamp,
};

/// A kernel that does not hash right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "kernel {kernel} failed its self-test ({case}): expected nonces {expected:?}, got {got:?}; use another --kernel"
)]
pub struct SelfTestError {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Which known answer it missed.
    pub case: &'static str,
    /// The right nonces.
    pub expected: Vec<u64>,
    /// What the kernel found.
    pub got: Vec<u64>,
}

struct Case {
    name: &'static str,
    job: Job,
    range: NonceRange,
    nonces: Vec<u64>,
}

/// Lets `kernel`, or each of its variants, search a few thousand nonces whose solutions are known, and every lane of it some hundred that
/// the reference path searches too (a few milliseconds).
pub fn self_test(kernel: &dyn Kernel) -> Result<(), SelfTestError> {
    match kernel.variants() {
        [] => self_test_one(kernel),
        variants => variants.iter().try_for_each(|variant| self_test(variant.as_ref())),
    }
}

fn self_test_one(kernel: &dyn Kernel) -> Result<(), SelfTestError> {
    for Case { name: case, job, range, nonces } in &*CASES {
        let got = Prepared::new(kernel, *job).scan(*range);
        if got != *nonces {
            return Err(SelfTestError { kernel: kernel.name(), case, expected: nonces.clone(), got });
        }
    }
    Ok(())
}

/// The same with a target that half of all hashes meet.
fn dense(job: Job) -> Job {
    job.with_target(zero_bits(1))
}

/// `00000004fa2e…d5db`, the previous hash of the exercise's check values.
const CHECK_PREV: Digest = Digest([
    0x00, 0x00, 0x00, 0x04, 0xfa, 0x2e, 0xbd, 0xe0, 0x68, 0x0a, 0x04, 0x34, 0x36, 0x22, 0x69, 0x68, 0x55, 0x83, 0xb2,
    0x46, 0x87, 0x86, 0x44, 0xb1, 0xe6, 0x07, 0x5b, 0x4f, 0x69, 0xf1, 0xd5, 0xdb,
]);

/// The merkle root of Bitcoin's first block.
const GENESIS_MERKLE_ROOT: Digest = Digest([
    0x3b, 0xa3, 0xed, 0xfd, 0x7a, 0x7b, 0x12, 0xb2, 0x7a, 0xc7, 0x2c, 0x3e, 0x67, 0x76, 0x8f, 0x61, 0x7f, 0xc8, 0x1b,
    0xc3, 0x88, 0x8a, 0x51, 0x32, 0x3a, 0x9f, 0xb8, 0xaa, 0x4b, 0x1e, 0x5e, 0x4a,
]);

/// A target of `bits` leading zero bits.
fn zero_bits(bits: u32) -> Target {
    Target::from_be_bytes(std::array::from_fn(|i| match bits.saturating_sub(8 * i as u32) {
        0 => 0xff,
        left => 0xffu8.checked_shr(left).unwrap_or(0),
    }))
}

/// A job with next to no solutions in the form that sources give, for measuring.
pub fn measuring_job() -> Job {
    text(Hashing::Double, 32)
}

/// One like it of each kind that kernels have code of its own for.
#[cfg(target_arch = "x86_64")]
pub(super) fn measuring_jobs() -> [Job; 4] {
    [header(0), header(0x1fff_e000), text(Hashing::Single, 32), measuring_job()]
}

/// The exercise's check text.
fn text(hashing: Hashing, bits: u32) -> Job {
    let timestamp = "1550766000000".parse::<Timestamp>().expect("13 digits");
    let puzzle = Puzzle::Text(TextPuzzle { prev: CHECK_PREV, timestamp, hashing });
    Job::new(puzzle, zero_bits(bits), Search::Every)
}

/// Bitcoin's first block, with a target of 32 zero bits.
pub(super) fn header(version_mask: u32) -> Job {
    let header = Header {
        version: 1,
        prev_blockhash: Digest::default(),
        merkle_root: GENESIS_MERKLE_ROOT,
        time: 0x495f_ab29,
        bits: 0x1d00_ffff,
        nonce: 0,
    };
    let puzzle = Puzzle::Header(HeaderPuzzle { header, version_mask });
    Job::new(puzzle, zero_bits(32), Search::Every)
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let every_lane = |name, job: Job| {
        // From a place where the fast path runs, and long enough to feed a pipeline of wide vectors.
        let range = NonceRange::new(123_456_789, 123_456_789 + 300);
        let nonces = (range.start..range.end).filter(|&nonce| job.check(nonce).is_some()).collect();
        Case { name, job, range, nonces }
    };
    vec![
        Case {
            name: "text, double hash",
            job: text(Hashing::Double, 12),
            range: NonceRange::new(1, 4751),
            nonces: vec![4750],
        },
        Case {
            name: "text, single hash",
            job: text(Hashing::Single, 12),
            range: NonceRange::new(1, 2383),
            nonces: vec![2382],
        },
        Case {
            name: "header, Bitcoin's first block",
            job: header(0),
            range: NonceRange::new(2_083_236_893 - 1000, 2_083_236_893 + 1000),
            nonces: vec![2_083_236_893],
        },
        Case {
            name: "header, rolled version",
            // Version 1 is Bitcoin's; its lowest three rolled bits are 0.
            job: header(0x1fff_e000),
            range: NonceRange::new((2_083_236_893 << 3) - 1001, (2_083_236_893 << 3) + 1001),
            nonces: vec![2_083_236_893 << 3],
        },
        every_lane("every lane, text", text(Hashing::Double, 1)),
        every_lane("every lane, header", dense(header(0))),
        every_lane("every lane, rolled version", dense(header(0x1fff_e000))),
    ]
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::blind::Blind;
    use crate::kernel::portable::{PORTABLE, Portable};
    use crate::kernel::{Candidates, available};

    const BLIND: Blind = Blind { name: "blind", batch: 1 };

    #[test]
    fn every_available_kernel_passes() {
        for kernel in available() {
            assert_eq!(self_test(kernel), Ok(()));
        }
    }

    #[test]
    fn the_known_answers_are_the_reference_paths() {
        for Case { name, job, range, nonces } in &*CASES {
            let found: Vec<_> = (range.start..range.end).filter(|&nonce| job.check(nonce).is_some()).collect();
            assert_eq!(found, *nonces, "{name}");
        }
    }

    #[test]
    fn a_kernel_that_misses_a_solution_is_refused() {
        let error = self_test(&BLIND).unwrap_err();
        assert_eq!((error.expected, error.got), (vec![4750], vec![]));
    }

    /// Right, but made of two, of which one is not.
    struct HalfBlind([Box<dyn Kernel>; 2]);

    impl Kernel for HalfBlind {
        fn name(&self) -> &'static str {
            "half blind"
        }

        fn batch(&self) -> u64 {
            1
        }

        fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
            PORTABLE.prepare(job)
        }

        fn variants(&self) -> &[Box<dyn Kernel>] {
            &self.0
        }
    }

    #[test]
    fn so_is_one_of_which_a_variant_does() {
        assert_eq!(self_test(&HalfBlind([Box::new(Portable), Box::new(BLIND)])).unwrap_err().kernel, "blind");
        assert_eq!(self_test(&HalfBlind([Box::new(Portable), Box::new(Portable)])), Ok(()));
    }
}
