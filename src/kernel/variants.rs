//! A kernel in several variants, of which each kind of puzzle gets the one that is fastest here.
//!
//! Which one that is depends on the CPU, and on where the program's pages happen to lie. Zen 5 seems to tell lines of code apart by some ten
//! bits of their physical address: where two pages of a loop have these bits in common, it takes up to four times as long, in every run of
//! that file, until one of the pages is moved. In a virtual machine, whose pages lie anywhere, 1 to 3 of 100 files were struck in a given
//! loop of six pages. A copy of the same code is as good a variant as any: it hardly ever meets the same fate.
//!
//! Each variant has to pass the self-test, or the whole kernel is left out.

#![allow(clippy::disallowed_methods)] // measuring time is what this is for; which variant runs has no bearing on what is found

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Candidates, Clock, Kernel};
use crate::work::{Hashing, Job, NonceRange, Puzzle, Target};

/// Turns when a job of a kind is prepared for the first time, the next times, and in all. What disturbs one moment, a neighbour on the same
/// core perhaps, is not there at all of them.
const FIRST_TURNS: u32 = 10;
const TURNS: u32 = 2;
const ALL_TURNS: u32 = 30;

/// 0.01 to 0.05 ms a turn on a Zen 5 core. Every job has these nonces, and kernels of lanes search texts of eight digits with their own code.
const NONCES: NonceRange = NonceRange { start: 10_000_000, end: 10_001_000 };

/// Brings a variant's code back into the caches from which another's has driven it.
const WARM_UP: NonceRange = NonceRange { start: 10_001_000, end: 10_001_100 };

/// See the module.
pub(super) struct Variants {
    name: &'static str,
    variants: Vec<Box<dyn Kernel>>,
    /// For each kind of puzzle, by the first times that one is prepared.
    measured: [Mutex<Measured>; 4],
}

/// What the variants do for one kind of puzzle.
#[derive(Default)]
struct Measured {
    turns: u32,
    /// Each variant's best turn.
    best: Vec<Duration>,
}

impl Variants {
    /// At least one variant, with their batches alike.
    pub(super) fn new(name: &'static str, variants: Vec<Box<dyn Kernel>>) -> Self {
        Self { name, variants, measured: Default::default() }
    }

    /// The variant for `job`, after some turns more by `clock`, if there were not enough yet.
    fn fastest(&self, job: &Job, clock: Clock) -> &dyn Kernel {
        let mut measured = self.measured[kind(&job.puzzle)].lock().unwrap_or_else(PoisonError::into_inner);
        if measured.turns < ALL_TURNS {
            measured.measure(&self.variants, job, clock);
        }
        self.variants[measured.fastest()].as_ref()
    }
}

impl Kernel for Variants {
    fn name(&self) -> &'static str {
        self.name
    }

    fn batch(&self) -> u64 {
        self.variants[0].batch()
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        let begin = Instant::now();
        self.fastest(job, &|| begin.elapsed()).prepare(job)
    }

    fn variants(&self) -> &[Box<dyn Kernel>] {
        &self.variants
    }
}

/// Puzzles of one kind run through the same code.
fn kind(puzzle: &Puzzle) -> usize {
    match puzzle {
        Puzzle::Header(puzzle) if puzzle.group_bits() == 0 => 0,
        Puzzle::Header(_) => 1,
        Puzzle::Text(puzzle) if puzzle.hashing == Hashing::Single => 2,
        Puzzle::Text(_) => 3,
    }
}

impl Measured {
    /// Some turns more.
    fn measure(&mut self, variants: &[Box<dyn Kernel>], job: &Job, clock: Clock) {
        // Without hits.
        let job = Job { target: Target::from_be_bytes([0; 32]), ..*job };
        let prepared: Vec<_> = variants.iter().map(|variant| variant.prepare(&job)).collect();
        self.best.resize(variants.len(), Duration::MAX);
        let turns = if self.turns == 0 { FIRST_TURNS } else { TURNS };
        for _ in 0..turns {
            for (prepared, best) in prepared.iter().zip(&mut self.best) {
                prepared.scan(WARM_UP, &mut Vec::new());
                let start = clock();
                prepared.scan(NONCES, &mut Vec::new());
                *best = clock().saturating_sub(start).min(*best);
            }
        }
        self.turns += turns;
    }

    /// Which variant takes the least time in its best turn.
    fn fastest(&self) -> usize {
        (0..self.best.len()).min_by_key(|&at| self.best[at]).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::kernel::measuring_job;
    use crate::kernel::self_test::header;

    /// A clock, and variants that take so many microseconds for a scan, or others before its tenth millisecond.
    #[derive(Clone)]
    struct Taking {
        name: &'static str,
        later: u64,
        at_first: u64,
        now: Arc<AtomicU64>,
    }

    impl Kernel for Taking {
        fn name(&self) -> &'static str {
            self.name
        }

        fn batch(&self) -> u64 {
            1
        }

        fn prepare(&self, _: &Job) -> Box<dyn Candidates> {
            Box::new(self.clone())
        }
    }

    impl Candidates for Taking {
        fn scan(&self, _: NonceRange, _: &mut Vec<u64>) {
            let now = self.now.load(Relaxed);
            self.now.store(now + if now < 10_000 { self.at_first } else { self.later }, Relaxed);
        }
    }

    fn variants(now: &Arc<AtomicU64>) -> Variants {
        let variant =
            |name, later, at_first| Box::new(Taking { name, later, at_first, now: now.clone() }) as Box<dyn Kernel>;
        // The first is hindered most at first.
        Variants::new("all", vec![variant("first", 2, 30), variant("second", 3, 10), variant("third", 4, 20)])
    }

    #[test]
    fn the_variant_with_the_best_turn_is_taken() {
        let now = Arc::new(AtomicU64::new(0));
        let variants = variants(&now);
        let fastest = |time| {
            now.store(time, Relaxed);
            variants.fastest(&measuring_job(), &|| Duration::from_micros(now.load(Relaxed))).name()
        };
        assert_eq!(fastest(0), "second");
        assert_eq!(fastest(10_000), "first");
        assert_eq!(fastest(0), "first", "what was seen once counts");
    }

    #[test]
    fn each_kind_of_puzzle_is_measured_and_not_for_ever() {
        let now = Arc::new(AtomicU64::new(0));
        let variants = variants(&now);
        let fastest = |job| variants.fastest(&job, &|| Duration::from_micros(now.load(Relaxed))).name();
        let jobs = [header(0), header(0x1fff_e000), measuring_job()];
        for job in jobs {
            now.store(0, Relaxed);
            assert_eq!(fastest(job), "second");
        }
        for _ in 0..ALL_TURNS {
            now.store(0, Relaxed);
            assert_eq!(fastest(jobs[0]), "second");
        }
        now.store(10_000, Relaxed);
        assert_eq!(jobs.map(fastest), ["second", "first", "first"]);
    }
}
