//! A kernel in several variants, of which each kind of puzzle gets the one that is fastest here.
//!
//! Which one that is depends on the CPU, and on where the program's pages happen to lie. Zen 5 seems to tell lines of code apart by some ten
//! bits of their physical address: where two pages of a loop have these bits in common, it takes up to four times as long, in every run of
//! that file, until one of the pages is moved. In a virtual machine, whose pages lie anywhere, 1 to 3 of 100 files were struck in a given
//! loop of six pages. A copy of the same code is as good a variant as any: it hardly ever meets the same fate.
//!
//! A variant that is wrong may well be the fastest. Then the whole kernel fails its self-test, and another one is used.

#![allow(clippy::disallowed_methods)] // measuring time is what this is for; which variant runs has no bearing on what is found

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{Candidates, Clock, Kernel};
use crate::work::{Hashing, Job, NonceRange, Puzzle};

/// What disturbs one variant's turn does not disturb all of its turns.
const TURNS: usize = 10;

/// 0.01 to 0.05 ms a turn on a Zen 5 core. Every job has these nonces, and kernels of lanes search texts of eight digits with their own code.
const NONCES: NonceRange = NonceRange { start: 10_000_000, end: 10_001_000 };

/// Brings a variant's code back into the caches from which another's has driven it.
const WARM_UP: NonceRange = NonceRange { start: 10_001_000, end: 10_001_100 };

/// See the module.
pub(super) struct Variants {
    name: &'static str,
    variants: Vec<Box<dyn Kernel>>,
    /// Which one to take, for each kind of puzzle; measured when the first job of that kind comes.
    fastest: [OnceLock<usize>; 4],
}

impl Variants {
    /// At least one variant, with their batches alike.
    pub(super) fn new(name: &'static str, variants: Vec<Box<dyn Kernel>>) -> Self {
        Self { name, variants, fastest: Default::default() }
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
        let fastest = self.fastest[kind(&job.puzzle)].get_or_init(|| {
            let begin = Instant::now();
            fastest(&self.variants, job, &|| begin.elapsed())
        });
        self.variants[*fastest].prepare(job)
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

/// Which of `variants` takes the least time for `job` in its best turn.
fn fastest(variants: &[Box<dyn Kernel>], job: &Job, clock: Clock) -> usize {
    let prepared: Vec<_> = variants.iter().map(|variant| variant.prepare(job)).collect();
    let mut best = vec![Duration::MAX; variants.len()];
    for _ in 0..TURNS {
        for (prepared, best) in prepared.iter().zip(&mut best) {
            prepared.scan(WARM_UP, &mut Vec::new());
            let start = clock();
            prepared.scan(NONCES, &mut Vec::new());
            *best = clock().saturating_sub(start).min(*best);
        }
    }
    (0..variants.len()).min_by_key(|&at| best[at]).expect("there is at least one")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::kernel::{available_variants, measuring_job, self_test};

    /// Takes so many microseconds for a scan, more at first.
    #[derive(Clone)]
    struct Taking(u64, Arc<AtomicU64>);

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
            let time = self.1.load(Relaxed);
            self.1.store(time + self.0 + 100_u64.saturating_sub(time), Relaxed);
        }
    }

    #[test]
    fn the_variant_that_takes_the_least_time_is_taken() {
        for (times, expected) in [([3, 2, 4], 1), ([2, 3, 4], 0), ([4, 3, 2], 2), ([2, 2, 2], 0)] {
            let time = Arc::new(AtomicU64::new(0));
            let variants = times.map(|taken| Box::new(Taking(taken, time.clone())) as Box<dyn Kernel>);
            assert_eq!(fastest(&variants, &measuring_job(), &|| Duration::from_micros(time.load(Relaxed))), expected);
        }
    }

    #[test]
    fn every_variant_is_right() {
        for variant in available_variants() {
            assert_eq!(self_test(variant), Ok(()));
        }
    }
}
