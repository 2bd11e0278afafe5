//! One box: ranges of nonces over all its cores.
//!
//! ```text
//! push(job, range) ──> queue ──piece──> thread 1 … n ──batch──> kernel
//!                        │                   │
//!                 stop: limit = 0     on_event: Found, Ended        meter: hashes, a counter a thread
//! ```
//!
//! 1. A rayon pool of its own runs one loop on each thread: take the next *piece* of the first unfinished range, scan it batch by
//!    batch, put it back, take the next one. Ranges follow each other without a gap, since nobody waits for the others.
//! 2. A range has a *limit* that only falls. A thread looks at it between two batches (a millisecond or less): stopping
//!    a scan sets it to zero, a solution found in a job that ends with its first sets it to that nonce. So the lowest solution
//!    is found whatever the number of threads.
//! 3. Where witnesses are wanted, a thread puts a piece back together with its witnesses. So whatever counts as searched has its witnesses
//!    with it.
//! 4. Hashes are counted a thread, each on a cache line of its own.

#[cfg(test)]
pub(crate) mod by_hand;
mod meter;
mod queue;
mod solutions;
mod thread;
mod worth;

use std::num::NonZeroUsize;
use std::sync::Arc;

pub use queue::Ticket;
pub use solutions::Solutions;
pub use worth::threads_worth;

use crate::kernel::{Kernel, Prepared};
use crate::work::{Job, NonceRange, Search, WitnessBits};
use meter::Meter;
use queue::Queue;

/// What a scan has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A nonce that solves the job, verified. In a job that ends with its first solution, a lower one may follow.
    Found {
        /// The scan.
        ticket: Ticket,
        /// The nonce.
        nonce: u64,
    },
    /// The scan is over and no thread works on it any more; it has found whatever it will.
    Ended {
        /// The scan.
        ticket: Ticket,
        /// Searched without a gap: the whole range, unless it was stopped or ended by a solution.
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
    /// Searched without a gap.
    pub searched: NonceRange,
    /// The witnesses of what is searched, all of them and no others, ascending; the lowest [`MAX_WITNESSES`](crate::work::MAX_WITNESSES) if
    /// there are more.
    pub witnesses: Vec<u64>,
}

impl Event {
    /// The end of a scan that comes no further.
    fn ended(Progress { ticket, searched, witnesses }: Progress) -> Self {
        Self::Ended { ticket, searched, witnesses }
    }
}

/// Why there is no scanner.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} hashing threads: {problem}; try fewer --threads")]
pub struct ScanError {
    threads: usize,
    problem: rayon::ThreadPoolBuildError,
}

/// Hashing threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// How many.
    pub count: NonZeroUsize,
    /// Pin each to a CPU of its own, beginning with this one of those that the process may run on (Linux, with the feature
    /// `priority`; ignored elsewhere).
    pub pin_from: Option<usize>,
}

/// A thread for each CPU that the process may use.
impl Default for Threads {
    fn default() -> Self {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).into()
    }
}

impl From<NonZeroUsize> for Threads {
    fn from(count: NonZeroUsize) -> Self {
        Self { count, pin_from: None }
    }
}

/// A box's cores at work on a queue of ranges.
pub struct Scanner {
    kernel: &'static dyn Kernel,
    queue: Arc<Queue>,
    meter: Arc<Meter>,
    /// Held so that dropping the scanner waits for nothing but ends the threads. A scanner that is worked by hand has none.
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
        let Threads { count, pin_from } = threads.into();
        let threads = count.get();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|thread| format!("scan-{thread}"))
            .start_handler(move |index| {
                thread::lower_priority();
                if let Some(first) = pin_from {
                    thread::pin(first + index);
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

    /// Adds a range to the end of the queue, with the bits of a witness where witnesses are wanted. None are looked for if the range is
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
        self.meter.total()
    }
}

/// A batch so small takes a few tens of microseconds; smaller ones would cost more than they search.
const SMALLEST_BATCH: u64 = 1024;

/// What a thread scans at a time. A search that ends with its first solution needs some multiple of one solution's hashes: what a kernel hashes
/// of its batch behind the solution is for nothing.
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
