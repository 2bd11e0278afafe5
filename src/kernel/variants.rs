//! A kernel in several variants, of which each kind of puzzle gets the one that is fastest here.
//!
//! Which one that is depends on the CPU, and on where the program's pages happen to lie. Zen 5 seems to tell lines of code apart by some ten
//! bits of their physical address: where two pages of a loop have these bits in common, it takes two to four times as long, in every run
//! of that file, until one of the pages is moved. In a virtual machine, whose pages lie anywhere, 2 of 100 files were struck in a given
//! loop of six pages. A copy of the same code is as good a variant as any: it hardly ever meets the same fate.

#![allow(clippy::disallowed_methods)] // measuring time is what this is for; which variant runs has no bearing on what is found

use std::time::{Duration, Instant};

use super::self_test::measuring_jobs;
use super::{Candidates, Clock, Kernel};
use crate::work::{Hashing, Job, NonceRange, Puzzle};

/// What disturbs one variant's turn does not disturb all of its turns.
const TURNS: usize = 5;

/// Brings a variant's code back into the caches from which another's has driven it.
const WARM_UP: NonceRange = NonceRange { start: 999_999_900, end: 1_000_000_000 };

/// 0.01 to 0.05 ms a turn on a Zen 5 core.
const NONCES: NonceRange = NonceRange { start: 1_000_000_000, end: 1_000_001_000 };

/// See the module.
pub(super) struct Variants {
    variants: Vec<Box<dyn Kernel>>,
    /// Which one to take for each kind of puzzle.
    fastest: [usize; 4],
}

impl Variants {
    /// Measures them, which takes some milliseconds. All have one name, and there is at least one.
    pub(super) fn new(variants: Vec<Box<dyn Kernel>>) -> Self {
        let begin = Instant::now();
        Self::by(variants, &|| begin.elapsed())
    }

    fn by(variants: Vec<Box<dyn Kernel>>, clock: Clock) -> Self {
        let fastest = measuring_jobs().map(|job| fastest(&variants, &job, clock));
        Self { variants, fastest }
    }

    /// The variants.
    pub(super) fn each(&self) -> impl Iterator<Item = &dyn Kernel> {
        self.variants.iter().map(AsRef::as_ref)
    }

    fn of(&self, puzzle: &Puzzle) -> &dyn Kernel {
        self.variants[self.fastest[kind(puzzle)]].as_ref()
    }
}

/// The place of such a puzzle among [`measuring_jobs`].
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

impl Kernel for Variants {
    fn name(&self) -> &'static str {
        self.variants[0].name()
    }

    fn batch(&self) -> u64 {
        self.variants[0].batch()
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        self.of(&job.puzzle).prepare(job)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::kernel::{available_variants, self_test};

    /// Takes two microseconds for one kind of puzzle, and one for the others.
    struct SlowFor(usize, Arc<AtomicU64>);

    impl Kernel for SlowFor {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn batch(&self) -> u64 {
            1
        }

        fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
            let time = if kind(&job.puzzle) == self.0 { 2 } else { 1 };
            Box::new(Taking(time, self.1.clone()))
        }
    }

    struct Taking(u64, Arc<AtomicU64>);

    impl Candidates for Taking {
        fn scan(&self, _: NonceRange, _: &mut Vec<u64>) {
            self.1.fetch_add(self.0, Relaxed);
        }
    }

    #[test]
    fn each_kind_of_puzzle_gets_the_variant_that_is_fastest_for_it() {
        let time = Arc::new(AtomicU64::new(0));
        let clock = || Duration::from_micros(time.load(Relaxed));
        for (at, job) in measuring_jobs().iter().enumerate() {
            assert_eq!(kind(&job.puzzle), at);
            let [slow, other] =
                [at, at + 1].map(|slow_for| Box::new(SlowFor(slow_for, time.clone())) as Box<dyn Kernel>);
            let mut expected = [0; 4];
            expected[at] = 1;
            assert_eq!(Variants::by(vec![slow, other], &clock).fastest, expected);
        }
    }

    #[test]
    fn every_variant_is_right() {
        for variant in available_variants() {
            assert_eq!(self_test(variant), Ok(()));
        }
    }
}
