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
use crate::work::{Hashing, Job, NonceRange, Puzzle};

/// Turns at each job of a kind, and in all. What disturbs one moment, a neighbour on the same core perhaps, is not there at all of them.
const TURNS: u32 = 2;
const ALL_TURNS: u32 = 20;

/// 0.01 to 0.05 ms a turn on a Zen 5 core. Every job has these nonces, and kernels of lanes search texts of eight digits with their own code.
const NONCES: NonceRange = NonceRange { start: 10_000_000, end: 10_001_000 };

/// Brings a variant's code back into the caches from which another's has driven it.
const WARM_UP: NonceRange = NonceRange { start: 10_001_000, end: 10_001_100 };

/// See the module.
pub(super) struct Variants {
    name: &'static str,
    variants: Vec<Box<dyn Kernel>>,
    /// For each kind of puzzle, by its first jobs.
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
}

impl Kernel for Variants {
    fn name(&self) -> &'static str {
        self.name
    }

    fn batch(&self) -> u64 {
        self.variants[0].batch()
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        let mut measured = self.measured[kind(&job.puzzle)].lock().unwrap_or_else(PoisonError::into_inner);
        if measured.turns < ALL_TURNS {
            let begin = Instant::now();
            measured.measure(&self.variants, job, &|| begin.elapsed());
        }
        self.variants[measured.fastest()].prepare(job)
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
        let prepared: Vec<_> = variants.iter().map(|variant| variant.prepare(job)).collect();
        self.best.resize(variants.len(), Duration::MAX);
        for _ in 0..TURNS {
            for (prepared, best) in prepared.iter().zip(&mut self.best) {
                prepared.scan(WARM_UP, &mut Vec::new());
                let start = clock();
                prepared.scan(NONCES, &mut Vec::new());
                *best = clock().saturating_sub(start).min(*best);
            }
        }
        self.turns += TURNS;
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

    /// Takes so many microseconds for a scan, and more before a time.
    #[derive(Clone)]
    struct Taking {
        later: u64,
        at_first: u64,
        until: u64,
        now: Arc<AtomicU64>,
    }

    impl Kernel for Taking {
        fn name(&self) -> &'static str {
            "taking its time"
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
            self.now.store(now + if now < self.until { self.at_first } else { self.later }, Relaxed);
        }
    }

    #[test]
    fn the_variant_with_the_best_turn_is_taken() {
        let now = Arc::new(AtomicU64::new(0));
        let variant =
            |later, at_first| Box::new(Taking { later, at_first, until: 1000, now: now.clone() }) as Box<dyn Kernel>;
        // The first is hindered more at first.
        let variants = [variant(2, 30), variant(3, 10), variant(4, 20)];
        let mut measured = Measured::default();
        let mut measure = || {
            measured.measure(&variants, &measuring_job(), &|| Duration::from_micros(now.load(Relaxed)));
            measured.fastest()
        };
        now.store(0, Relaxed);
        assert_eq!(measure(), 1);
        now.store(1000, Relaxed);
        assert_eq!(measure(), 0);
        now.store(0, Relaxed);
        assert_eq!(measure(), 0, "what was seen once counts");
    }
}
