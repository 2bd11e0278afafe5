//! How many threads are worth starting. A second hardware thread of one core adds little to a kernel that fills the core's ports, and on
//! some boxes nothing at all. Where every thread has a core of its own, nothing is measured: all of them are worth it, and on a busy box a
//! measurement could wrongly halve their number.

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::kernel::{self, Kernel, Prepared};
use crate::work::Job;

/// The length of one measurement, during which all threads hash at once.
const TURN: Duration = Duration::from_millis(1);

/// The number of measurements. The best one counts, because whatever else the box does disturbs some of them.
const TURNS: usize = 5;

/// How many threads to start: `most`, or half of that where cores have two hardware threads each and half of the threads hash as fast as
/// all. The measurement takes some 20 ms. `clock` gives the time since some fixed moment.
pub fn threads_worth(
    kernel: &'static dyn Kernel,
    job: Job,
    most: NonZeroUsize,
    clock: &(dyn Fn() -> Duration + Sync),
) -> NonZeroUsize {
    let best = |threads| (0..TURNS).map(|_| rate(kernel, job, threads, clock)).fold(0.0, f64::max);
    worth(most, cores_have_siblings(std::fs::read_to_string(SMT_ACTIVE)), best)
}

/// Calls `rate` only where the answer depends on it.
fn worth(most: NonZeroUsize, siblings: bool, mut rate: impl FnMut(NonZeroUsize) -> f64) -> NonZeroUsize {
    match NonZeroUsize::new(most.get() / 2) {
        Some(half) if siblings && rate(half) >= rate(most) => half,
        _ => most,
    }
}

/// Where Linux says whether a core has several hardware threads.
const SMT_ACTIVE: &str = "/sys/devices/system/cpu/smt/active";

/// Whether a core may have several hardware threads, by what [`SMT_ACTIVE`] says; true if that is unknown.
fn cores_have_siblings(active: std::io::Result<String>) -> bool {
    active.map_or(true, |active| active.trim() != "0")
}

/// Nonces per second of `threads` threads together.
fn rate(kernel: &dyn Kernel, job: Job, threads: NonZeroUsize, clock: &(dyn Fn() -> Duration + Sync)) -> f64 {
    let start = Barrier::new(threads.get());
    let hash = |_| {
        let prepared = Prepared::new(kernel, job);
        start.wait();
        kernel::rate(kernel, &prepared, TURN, clock)
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.get()).map(|thread| scope.spawn(move || hash(thread))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or(0.0)).sum()
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::kernel::available;
    use crate::work::Search;
    use crate::work::fixtures::check_job;

    /// How many of `most` threads are worth starting where `rates[n]` is the rate of n threads.
    fn worth(most: usize, siblings: bool, rates: &[f64]) -> usize {
        super::worth(NonZeroUsize::new(most).unwrap(), siblings, |threads| rates[threads.get()]).get()
    }

    #[test]
    fn half_of_the_threads_are_enough_where_they_hash_as_fast_as_all() {
        assert_eq!(worth(4, true, &[0.0, 1.0, 2.0, 2.0, 2.0]), 2);
        assert_eq!(worth(4, true, &[0.0, 1.0, 2.0, 1.9, 1.8]), 2);
        assert_eq!(worth(2, true, &[0.0, 1.0, 1.0]), 1);
        assert_eq!(worth(5, true, &[0.0, 1.0, 2.0, 2.0, 2.0, 2.0]), 2);
    }

    #[test]
    fn all_are_wanted_where_they_hash_faster() {
        assert_eq!(worth(4, true, &[0.0, 1.0, 2.0, 2.0, 2.1]), 4);
        assert_eq!(worth(2, true, &[0.0, 1.0, 1.01]), 2);
    }

    #[test]
    fn nothing_is_measured_where_nothing_depends_on_it() {
        assert_eq!(worth(4, false, &[]), 4, "each thread has a core of its own");
        assert_eq!(worth(1, true, &[]), 1, "there is but one");
    }

    #[test]
    fn cores_have_siblings_unless_the_system_says_that_they_have_none() {
        let says = |active: &str| cores_have_siblings(Ok(active.to_owned()));
        assert_eq!((says("1\n"), says("0\n")), (true, false));
        assert!(cores_have_siblings(Err(std::io::ErrorKind::NotFound.into())));
    }

    /// Half of [`TURN`].
    const TICK: Duration = Duration::from_micros(500);

    /// A clock of each thread's own that ticks at each look: by it every thread hashes a batch a tick, as if it had a core of its own.
    fn ticking() -> Duration {
        thread_local!(static TICKS: Cell<u32> = const { Cell::new(0) });
        TICK * TICKS.replace(TICKS.get() + 1)
    }

    #[test]
    fn the_rates_of_all_threads_add_up() {
        let kernel = available()[0];
        let one = kernel.batch() as f64 / TICK.as_secs_f64();
        for threads in 1..=4 {
            let rate = rate(kernel, check_job(64, Search::Every), NonZeroUsize::new(threads).unwrap(), &ticking);
            assert!((rate / (threads as f64 * one) - 1.0).abs() < 1e-9, "{threads} threads: {rate}");
        }
    }

    #[test]
    fn all_are_wanted_where_each_has_a_core_of_its_own() {
        for most in (1..=5).map(|most| NonZeroUsize::new(most).unwrap()) {
            assert_eq!(threads_worth(available()[0], check_job(64, Search::Every), most, &ticking), most);
        }
    }
}
