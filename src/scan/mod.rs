//! Scans ranges of nonces on all cores of one box.
//!
//! ```text
//! push(job, range) ──> queue ──piece──> thread 1 … n ──batch──> kernel
//!                        │                   │
//!                 stop: limit = 0     on_event: Found, Ended        meter: hashes, a counter a thread
//! ```
//!
//! 1. A rayon pool of its own runs one loop on each thread: take the next *piece* of the first unfinished range, scan it batch by batch,
//!    put it back, take the next one. Ranges follow each other without a gap, since no thread waits for another.
//! 2. A range has a *limit* that only falls. A thread looks at it between two batches (a millisecond or less). Stopping a scan sets the
//!    limit to zero; a solution in a job that ends with its first solution sets it to that nonce. So the lowest solution is found whatever
//!    the number of threads.
//! 3. Where witnesses are wanted, a thread puts a piece back together with its witnesses. So the witnesses of everything that counts as
//!    searched are known.
//! 4. Each thread counts its hashes, and the CPU time that they take, on a cache line of its own.

#[cfg(test)]
pub(crate) mod by_hand;
mod clock;
mod cpus;
mod meter;
mod queue;
mod solutions;
mod thread;
mod worth;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

pub use clock::thread_time;
pub use cpus::usable_cpus;
pub use queue::Ticket;
pub use solutions::Solutions;
pub use worth::threads_worth;

use crate::kernel::{Kernel, Prepared};
use crate::work::{Job, NonceRange, Search, WitnessBits};
use meter::Meter;
use queue::Queue;

/// What a scanner reports of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A nonce that solves the job, verified. In a job that ends with its first solution, a lower one may follow.
    Found {
        /// The scan.
        ticket: Ticket,
        /// The nonce.
        nonce: u64,
        /// Whether its hash meets the goal's block target, and not only the one for reports.
        is_block: bool,
    },
    /// The scan is over and no thread works on it any more. No further solution of it follows.
    Ended {
        /// The scan.
        ticket: Ticket,
        /// The nonces searched without a gap from the range's start: the whole range, unless the scan was stopped or ended by a solution.
        searched: NonceRange,
        /// The witnesses of what is searched, as in [`Progress`].
        witnesses: Vec<u64>,
    },
}

/// How far a scan has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The scan.
    pub ticket: Ticket,
    /// The nonces searched without a gap from the range's start.
    pub searched: NonceRange,
    /// The witnesses of what is searched, all of them and no others, ascending; the lowest [`MAX_WITNESSES`](crate::work::MAX_WITNESSES) if
    /// there are more.
    pub witnesses: Vec<u64>,
}

impl Event {
    /// The event for the end of a scan that came this far.
    fn ended(Progress { ticket, searched, witnesses }: Progress) -> Self {
        Self::Ended { ticket, searched, witnesses }
    }
}

/// The hashing threads cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} hashing threads: {problem}; try fewer --threads")]
pub struct ScanError {
    threads: usize,
    problem: rayon::ThreadPoolBuildError,
}

/// How many hashing threads there are, and on which CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threads {
    /// The number of threads.
    pub count: NonZeroUsize,
    /// The CPUs that the threads are pinned to, each to the next one, and round and round if there are fewer CPUs than threads. If there are
    /// none, nothing is pinned (Linux, with the feature `priority`; ignored elsewhere).
    pub cpus: Vec<usize>,
}

/// One thread for each CPU that the process may use, not pinned.
impl Default for Threads {
    fn default() -> Self {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).into()
    }
}

impl From<NonZeroUsize> for Threads {
    fn from(count: NonZeroUsize) -> Self {
        Self { count, cpus: Vec::new() }
    }
}

/// Hashing threads that work on a queue of ranges.
pub struct Scanner {
    kernel: &'static dyn Kernel,
    queue: Arc<Queue>,
    meter: Arc<Meter>,
    /// Held so that it is dropped with the scanner, which ends the threads without waiting for them. A scanner that is worked by hand has
    /// none.
    _pool: Option<rayon::ThreadPool>,
}

impl Scanner {
    /// Starts hashing threads, which wait for work. `on_event` is called on them: it may block, and then hashing waits.
    ///
    /// # Errors
    /// When the system refuses that many threads.
    pub fn start(
        kernel: &'static dyn Kernel,
        threads: impl Into<Threads>,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, ScanError> {
        let Threads { count, cpus } = threads.into();
        let threads = count.get();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|thread| format!("scan-{thread}"))
            .start_handler(move |index| {
                thread::lower_priority();
                if let Some(&cpu) = cpus.iter().cycle().nth(index) {
                    cpus::pin(cpu);
                }
            })
            .build()
            .map_err(|problem| ScanError { threads, problem })?;
        let queue = Arc::new(Queue::new(threads));
        let meter = Arc::new(Meter::new(threads));
        let (shared_queue, shared_meter) = (Arc::clone(&queue), Arc::clone(&meter));
        pool.spawn_broadcast(move |context| {
            thread::work(&shared_queue, shared_meter.counter(context.index()), &on_event);
        });
        Ok(Self { kernel, queue, meter, _pool: Some(pool) })
    }

    /// Adds a range to the end of the queue. With `witnesses`, the scan also collects the witnesses of that many bits, unless the range is
    /// likely to hold more of them than are kept.
    pub fn push(&self, ticket: Ticket, job: Job, range: NonceRange, witnesses: Option<WitnessBits>) {
        let prepared = match witnesses {
            Some(bits) if bits.suit(&job, range.len()) => Prepared::with_witnesses(self.kernel, job, bits),
            _ => Prepared::new(self.kernel, job),
        };
        self.queue.push(ticket, prepared, batch(self.kernel, &job), range);
    }

    /// Stops a scan. Its `Ended` follows once the last thread has left it; unknown tickets are ignored.
    pub fn stop(&self, ticket: Ticket) {
        self.queue.stop(ticket);
    }

    /// How far each scan in the queue has come.
    pub fn progress(&self) -> Vec<Progress> {
        self.queue.progress()
    }

    /// Nonces hashed since the start.
    pub fn hashes(&self) -> u64 {
        self.meter.hashes()
    }

    /// The CPU time that they took, all threads together, as [`thread_time`] tells it. A piece of work counts once it is done.
    pub fn time(&self) -> Duration {
        self.meter.time()
    }

    /// From the next range on, `kernel` searches. Ranges in the queue keep theirs.
    pub fn set_kernel(&mut self, kernel: &'static dyn Kernel) {
        self.kernel = kernel;
    }
}

/// The smallest batch, which takes a few tens of microseconds. Smaller ones would cost more than they search.
const SMALLEST_BATCH: u64 = 1024;

/// How many nonces a thread scans at a time. A search that ends with its first solution gets batches of at most 16 times the hashes that
/// one solution needs on average: whatever a kernel hashes after the solution is wasted.
fn batch(kernel: &dyn Kernel, job: &Job) -> u64 {
    match job.goal.search {
        Search::First => ((16.0 / job.target().probability()) as u64).max(SMALLEST_BATCH).min(kernel.batch()),
        Search::Every => kernel.batch(),
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
