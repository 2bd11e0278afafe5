//! How long to wait before asking a source again that gave no answer.

use std::time::Duration;

/// The first wait is at most this.
const BASE: Duration = Duration::from_millis(100);
/// No wait is longer.
const CAP: Duration = Duration::from_secs(60);

/// Waits of random length below a bound that doubles with each failure ("full jitter"), so that nodes which lost a source
/// at the same moment do not come back at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// Two with the same `seed` wait alike, so every node needs a seed of its own.
    pub const fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed }
    }

    /// How long to wait after one more failure: between nothing and 100 ms, 200 ms, 400 ms … 60 s.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.bound().as_nanos() as u64;
        self.failures = self.failures.saturating_add(1);
        // The high half of the product: evenly spread over 0..=bound.
        let nanos = (u128::from(self.next_random()) * u128::from(bound + 1)) >> 64;
        Duration::from_nanos(nanos as u64)
    }

    /// The source answered: the next failure waits for 100 ms at most again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn bound(&self) -> Duration {
        BASE.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(CAP)
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): plenty for spreading waits, and no dependency.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The published first outputs for seed 1234567.
        let mut backoff = Backoff::new(1_234_567);
        assert_eq!(backoff.next_random(), 6_457_827_717_110_365_317);
        assert_eq!(backoff.next_random(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn bounds_double_up_to_a_minute() {
        let bounds = |failures| Backoff { failures, random: 0 }.bound();
        assert_eq!(bounds(0), Duration::from_millis(100));
        assert_eq!(bounds(1), Duration::from_millis(200));
        assert_eq!(bounds(9), Duration::from_millis(51_200));
        for failures in [10, 11, 31, 32, 1000, u32::MAX] {
            assert_eq!(bounds(failures), CAP);
        }
    }

    #[test]
    fn waits_fill_their_bounds_and_never_pass_them() {
        for failures in [0, 3, 20] {
            let waits: Vec<Duration> = (0..1000)
                .map(|seed| Backoff { failures, random: seed })
                .map(|mut backoff| backoff.next_delay())
                .collect();
            let bound = Backoff { failures, random: 0 }.bound();
            assert!(waits.iter().all(|&wait| wait <= bound));
            let mean = waits.iter().sum::<Duration>() / 1000;
            assert!(bound * 45 / 100 < mean && mean < bound * 55 / 100, "{mean:?} of {bound:?}");
        }
    }

    #[test]
    fn seeds_decide_and_an_answer_begins_anew() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            std::array::from_fn::<_, 20, _>(|_| backoff.next_delay())
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
        let mut backoff = Backoff::new(3);
        for _ in 0..50 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= BASE);
    }
}
