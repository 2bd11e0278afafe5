//! How fast this node hashes: for its leader while it has work, for its user with pauses included.

use std::time::{Duration, Instant};

/// The shortest measurement, whose error is a few per cent at most.
const SHORTEST: Duration = Duration::from_millis(20);

/// Weight of the newest measurement: a change of speed is followed within a few of them, a hiccup is smoothed.
const WEIGHT: f64 = 0.3;

/// Hashes counted at some time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    hashes: u64,
}

impl Mark {
    /// Nonces per second since this mark.
    fn rate(&self, now: Instant, hashes: u64) -> f64 {
        (hashes - self.hashes) as f64 / (now - self.at).as_secs_f64().max(1e-9)
    }
}

/// A node's speed.
#[derive(Debug)]
pub(super) struct Meter {
    /// Since when the scanner has had work without a break.
    busy: Option<Mark>,
    measured: f64,
    reported: Mark,
    last_report: f64,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self { busy: None, measured: 0.0, reported: Mark { at: now, hashes: 0 }, last_report: 0.0 }
    }

    /// Takes note of the hashes counted so far, and whether the scanner has work from now on. Gives the speed at work in nonces
    /// per second; 0 before the first measurement.
    pub(super) fn note(&mut self, now: Instant, hashes: u64, busy: bool) -> u64 {
        let here = Mark { at: now, hashes };
        match self.busy {
            Some(mark) if now - mark.at >= SHORTEST => {
                let rate = mark.rate(now, hashes);
                self.measured = match self.measured {
                    0.0 => rate,
                    old => old + WEIGHT * (rate - old),
                };
                self.busy = Some(here);
            }
            Some(_) => {}
            None => self.busy = Some(here),
        }
        if !busy {
            self.busy = None;
        }
        self.measured as u64
    }

    /// Nonces per second since the last report, pauses included.
    pub(super) fn report(&mut self, now: Instant, hashes: u64) -> f64 {
        self.last_report = self.reported.rate(now, hashes);
        self.reported = Mark { at: now, hashes };
        self.last_report
    }

    /// The rate that was last reported.
    pub(super) fn last_report(&self) -> f64 {
        self.last_report
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn pauses_do_not_count_for_the_leader_but_do_for_the_user() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut meter = Meter::new(start);
        assert_eq!(meter.note(start, 0, true), 0);
        assert_eq!(meter.note(after(5), 5_000, true), 0, "too short to tell");
        assert_eq!(meter.note(after(100), 100_000, false), 1_000_000);
        assert_eq!(meter.note(after(1000), 100_000, true), 1_000_000);
        assert_eq!(meter.note(after(2000), 1_100_000, true), 1_000_000);
        assert_eq!(meter.report(after(2000), 1_100_000), 550_000.0);
    }
}
