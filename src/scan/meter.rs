//! Counts hashes without contention.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// One counter for each thread, each on a cache line of its own.
pub(super) struct Meter(Vec<CachePadded<AtomicU64>>);

impl Meter {
    pub(super) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| CachePadded::default()).collect())
    }

    pub(super) fn counter(&self, thread: usize) -> &AtomicU64 {
        &self.0[thread]
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}
