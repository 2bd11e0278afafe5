//! A kernel in several variants, of which each kind of puzzle gets the one that is fastest here.
//!
//! Which one that is depends on the CPU, and on where the program's pages happen to lie. Zen 5 seems to tell lines of code apart by some ten
//! bits of their physical address: where two pages of a loop have these bits in common, it takes up to four times as long, in every run of
//! that file, until one of the pages is moved. In a virtual machine, whose pages lie anywhere, 1 to 3 of 100 files were struck in a given
//! loop of six pages. A copy of the same code is as good a variant as any: it hardly ever meets the same fate.
//!
//! Each variant has to pass the self-test, or the whole kernel is left out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::self_test::measuring_jobs;
use super::{Candidates, Clock, Kernel};
use crate::work::{Hashing, Job, NonceRange, Puzzle};

/// 0.01 to 0.05 ms a turn on a Zen 5 core. Every job has these nonces, and kernels of lanes search texts of eight digits with their own code.
const NONCES: NonceRange = NonceRange { start: 10_000_000, end: 10_001_000 };

/// Brings a variant's code back into the caches from which another's has driven it.
const WARM_UP: NonceRange = NonceRange { start: 10_001_000, end: 10_001_100 };

/// See the module.
pub(super) struct Variants {
    name: &'static str,
    variants: Vec<Box<dyn Kernel>>,
    /// For each kind of puzzle, the best turn of each variant; nothing before the first.
    best: Mutex<Best>,
}

type Best = [Vec<Duration>; 4];

impl Variants {
    /// At least one variant, with their batches alike.
    pub(super) fn new(name: &'static str, variants: Vec<Box<dyn Kernel>>) -> Self {
        Self { name, variants, best: Mutex::default() }
    }

    /// The variant for such a puzzle: the one with the best turn.
    fn fastest(&self, puzzle: &Puzzle) -> &dyn Kernel {
        let best = &self.best()[kind(puzzle)];
        self.variants[(0..best.len()).min_by_key(|&at| best[at]).unwrap_or(0)].as_ref()
    }

    fn best(&self) -> MutexGuard<'_, Best> {
        self.best.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives each variant a turn at each kind of puzzle.
    fn turn(&self, best: &mut Best, clock: Clock) {
        for job in measuring_jobs() {
            let best = &mut best[kind(&job.puzzle)];
            best.resize(self.variants.len(), Duration::MAX);
            for (variant, best) in self.variants.iter().zip(best) {
                let prepared = variant.prepare(&job);
                prepared.scan(WARM_UP, &mut Vec::new());
                let start = clock();
                prepared.scan(NONCES, &mut Vec::new());
                *best = clock().saturating_sub(start).min(*best);
            }
        }
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
        self.fastest(&job.puzzle).prepare(job)
    }

    fn variant(&self, job: &Job) -> &'static str {
        self.fastest(&job.puzzle).name()
    }

    fn variants(&self) -> &[Box<dyn Kernel>] {
        &self.variants
    }

    fn measure(&self, clock: Clock) {
        self.turn(&mut self.best(), clock);
    }

    fn measure_anew(&self, turns: usize, clock: Clock) {
        let mut best = Best::default(); // the old one counts, and is not locked, until the new one is whole
        (0..turns).for_each(|_| self.turn(&mut best, clock));
        *self.best() = best;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    /// A variant and its clock: takes so many microseconds for a scan of one kind of puzzle, and others for the rest.
    #[derive(Clone)]
    struct Taking {
        name: &'static str,
        kind: usize,
        time: Arc<AtomicU64>,
        other: Arc<AtomicU64>,
        now: Arc<AtomicU64>,
    }

    impl Kernel for Taking {
        fn name(&self) -> &'static str {
            self.name
        }

        fn batch(&self) -> u64 {
            1
        }

        fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
            let time = if kind(&job.puzzle) == self.kind { &self.time } else { &self.other };
            Box::new(Scan(time.load(Relaxed), self.now.clone()))
        }
    }

    struct Scan(u64, Arc<AtomicU64>);

    impl Candidates for Scan {
        fn scan(&self, _: NonceRange, _: &mut Vec<u64>) {
            self.1.fetch_add(self.0, Relaxed);
        }
    }

    #[test]
    fn each_kind_of_puzzle_gets_the_variant_with_the_best_turn() {
        let jobs = measuring_jobs();
        for at in 0..jobs.len() {
            let now = Arc::new(AtomicU64::new(0));
            let number = |number| Arc::new(AtomicU64::new(number));
            let variant = |name, time, other| Taking {
                name,
                kind: at,
                time: number(time),
                other: number(other),
                now: now.clone(),
            };
            let (first, second) = (variant("first", 3, 1), variant("second", 2, 2));
            let variants = Variants::new("both", vec![Box::new(first.clone()), Box::new(second)]);
            let clock = || Duration::from_micros(now.load(Relaxed));
            let names = || jobs.map(|job| variants.fastest(&job.puzzle).name());
            assert_eq!(names(), ["first"; 4], "before anything is measured");
            variants.measure(&clock);
            let mut expected = ["first"; 4];
            expected[at] = "second";
            assert_eq!(names(), expected);
            // Undisturbed, the first is the faster one after all; and what was seen once counts.
            first.time.store(1, Relaxed);
            variants.measure(&clock);
            assert_eq!(names(), ["first"; 4]);
            first.time.store(9, Relaxed);
            variants.measure(&clock);
            assert_eq!(names(), ["first"; 4]);
            variants.measure_anew(2, &clock);
            assert_eq!(names(), expected, "unless it is measured anew");
        }
    }
}
