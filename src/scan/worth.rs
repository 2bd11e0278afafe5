//! How many threads pay. A second hardware thread of one core adds little to a kernel that fills the core's ports, and on some boxes
//! nothing at all. Where every thread has a core of its own there is nothing to measure: on a box that is busy at the moment a
//! measurement would be wrong about half of them.

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::kernel::{Kernel, Prepared};
use crate::work::{Job, NonceRange};

/// All threads hash for so long at once.
const TURN: Duration = Duration::from_millis(1);

/// Of so many turns the best counts: whatever else the box is doing disturbs some of them.
const TURNS: usize = 5;

/// Up to `most` threads, fewer where cores have two and half of the threads hash as fast as all. Takes some 20 ms by `clock`, which
/// tells the time since some fixed moment.
pub fn threads_worth(
    kernel: &'static dyn Kernel,
    job: Job,
    most: NonZeroUsize,
    clock: &(dyn Fn() -> Duration + Sync),
) -> NonZeroUsize {
    let rate = |threads: NonZeroUsize| (0..TURNS).map(|_| rate(kernel, job, threads, clock)).fold(0.0, f64::max);
    match NonZeroUsize::new(most.get() / 2) {
        Some(half) if cores_have_siblings() && rate(half) >= rate(most) => half,
        _ => most,
    }
}

/// Whether a core may have several hardware threads. Unknown counts as yes.
fn cores_have_siblings() -> bool {
    std::fs::read_to_string("/sys/devices/system/cpu/smt/active").map_or(true, |active| active.trim() != "0")
}

/// Nonces per second of so many threads.
fn rate(kernel: &dyn Kernel, job: Job, threads: NonZeroUsize, clock: &(dyn Fn() -> Duration + Sync)) -> f64 {
    let start = Barrier::new(threads.get());
    let hash = |_| {
        let prepared = Prepared::new(kernel, job);
        let mut rest = job.space();
        start.wait();
        let (begin, mut hashes) = (clock(), 0);
        loop {
            let batch: NonceRange = rest.take_front(kernel.batch());
            prepared.scan(batch);
            hashes += batch.len();
            let time = clock().saturating_sub(begin);
            if time >= TURN || rest.is_empty() {
                return hashes as f64 / time.as_secs_f64().max(1e-9);
            }
        }
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.get()).map(|thread| scope.spawn(move || hash(thread))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or(0.0)).sum()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::scan::tests::job;
    use crate::work::Search;

    #[test]
    fn there_is_always_one_and_never_more_than_allowed() {
        let ticks = AtomicU64::new(0);
        let clock = || Duration::from_micros(100 * ticks.fetch_add(1, Ordering::Relaxed));
        for most in 1..=5 {
            let kernel = crate::kernel::available()[0];
            let most = NonZeroUsize::new(most).unwrap();
            assert!(threads_worth(kernel, job(64, Search::Every), most, &clock) <= most);
        }
    }
}
