//! Whether the hashing threads keep the pace that their kernel showed when it was measured, by the CPU time that they get.
//!
//! A kernel may have been chosen in a bad moment, or the box has changed since: pages were moved, a virtual machine came to another host,
//! the other hardware thread of the core has work now. Then measuring again may find a better one.

use std::time::{Duration, Instant};

/// The part of the promised rate that counts as kept. Clocks that fall with the temperature, and neighbours in the caches, take less.
const KEPT: f64 = 0.8;

/// How long the rate has to be lower before the kernels are measured again.
const SOON: Duration = Duration::from_secs(60);

/// Each time that measuring has not helped, it is tried again after twice the time, up to this.
const SELDOM: Duration = Duration::from_secs(60 * 60);

/// The CPU time from which on a rate is judged, for a node that is mostly idle.
const ENOUGH: Duration = Duration::from_secs(10);

/// What the hashing threads have done so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) hashes: u64,
    /// The CPU time of all threads together.
    pub(super) time: Duration,
}

/// The pace of one node's hashing threads.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nonces a second of one thread, as measured; none if the user has named the kernel, which is never given up.
    promised: Option<f64>,
    since: Instant,
    before: Done,
    wait: Duration,
}

impl Pace {
    pub(super) fn new(promised: Option<f64>, now: Instant) -> Self {
        Self { promised, since: now, before: Done { hashes: 0, time: Duration::ZERO }, wait: SOON }
    }

    /// Takes note of what is done so far. Gives the part of the promised rate that was kept if that was too little for too long: then the
    /// kernels should be measured again.
    pub(super) fn note(&mut self, now: Instant, done: Done) -> Option<f64> {
        let promised = self.promised?;
        if now < self.since + self.wait {
            return None;
        }
        let time = done.time.saturating_sub(self.before.time);
        let rate = done.hashes.saturating_sub(self.before.hashes) as f64 / time.as_secs_f64().max(1e-9);
        (self.since, self.before) = (now, done);
        if time < ENOUGH {
            return None;
        }
        let part = rate / promised;
        let is_slow = part < KEPT;
        self.wait = if is_slow { (self.wait * 2).min(SELDOM) } else { SOON };
        is_slow.then_some(part)
    }

    /// The kernels were measured again, and this is promised from now on.
    pub(super) fn promise(&mut self, promised: Option<f64>, now: Instant, done: Done) {
        (self.promised, self.since, self.before) = (promised, now, done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: [usize; 0] = [];

    /// A second later at each step; each second brings so many hashes and so much CPU time.
    struct Run {
        pace: Pace,
        now: Instant,
        done: Done,
    }

    impl Run {
        fn new(promised: Option<f64>) -> Self {
            let now = tokio::time::Instant::now().into_std();
            Self { pace: Pace::new(promised, now), now, done: Done { hashes: 0, time: Duration::ZERO } }
        }

        /// The seconds after which it wants the kernels to be measured.
        fn pass(&mut self, seconds: usize, hashes: u64, millis: u64) -> Vec<usize> {
            let mut wanted = Vec::new();
            for second in 1..=seconds {
                self.now += Duration::from_secs(1);
                self.done.hashes += hashes;
                self.done.time += Duration::from_millis(millis);
                if self.pace.note(self.now, self.done).is_some() {
                    wanted.push(second);
                }
            }
            wanted
        }
    }

    #[test]
    fn a_rate_below_four_fifths_for_a_minute_is_too_slow_and_then_less_often() {
        let mut run = Run::new(Some(100.0));
        assert_eq!(run.pass(130, 160, 2000), NEVER, "two threads of 80 each");
        assert_eq!(run.pass(600, 158, 2000), [50, 170, 410]);
        assert_eq!(run.pass(900, 200, 2000), NEVER);
        assert_eq!(run.pass(60, 100, 2000).len(), 1, "soon again after it was good");
    }

    #[test]
    fn what_others_take_of_the_cpu_does_not_count_and_little_time_tells_nothing() {
        let mut run = Run::new(Some(100.0));
        assert_eq!(run.pass(300, 50, 500), NEVER, "half of the time");
        assert_eq!(run.pass(300, 1, 100), NEVER, "hardly any work");
        assert_eq!(Run::new(None).pass(300, 1, 1000), NEVER, "the user has named the kernel");
    }

    #[test]
    fn after_a_measurement_the_new_promise_counts_from_then_on() {
        let mut run = Run::new(Some(100.0));
        assert_eq!(run.pass(60, 50, 1000), [60]);
        run.pace.promise(Some(60.0), run.now, run.done);
        assert_eq!(run.pass(600, 50, 1000), NEVER);
    }
}
