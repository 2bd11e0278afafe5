//! Counts hashes, and the CPU time that they take, without contention.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;

/// What one thread has done.
#[derive(Default)]
pub(super) struct Counter {
    hashes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Counter {
    pub(super) fn add_hashes(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
    }

    pub(super) fn add_time(&self, time: Duration) {
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// One counter for each thread, each on a cache line of its own.
pub(super) struct Meter(Vec<CachePadded<Counter>>);

impl Meter {
    pub(super) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| CachePadded::default()).collect())
    }

    pub(super) fn counter(&self, thread: usize) -> &Counter {
        &self.0[thread]
    }

    pub(super) fn hashes(&self) -> u64 {
        self.0.iter().map(|counter| counter.hashes.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(self.0.iter().map(|counter| counter.nanoseconds.load(Ordering::Relaxed)).sum())
    }
}
