//! Which times a block may have, and which of them a job gets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The times that a block's header may have, in seconds since 1970, and how its source's clock differs from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockTime {
    /// By how many seconds the source's clock is ahead of ours; below 0 if it is behind.
    pub ahead: i64,
    /// The earliest time.
    pub min: u32,
    /// The latest time. One before `min` counts as `min`.
    pub max: u32,
}

impl BlockTime {
    /// Any time from `min` on, by our own clock.
    pub fn from(min: u32) -> Self {
        Self { ahead: 0, min, max: u32::MAX }
    }

    /// The source's time when ours is `now` (since 1970), or the nearest that is allowed.
    pub fn at(self, now: Duration) -> u32 {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_add(self.ahead);
        let now = u32::try_from(now.max(0)).unwrap_or(u32::MAX);
        now.min(self.max).max(self.min)
    }

    /// Whether a block may have this time.
    pub fn allows(self, time: u32) -> bool {
        (self.min..=self.max.max(self.min)).contains(&time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_its_sources_time_within_the_bounds() {
        let time = BlockTime { ahead: -30, min: 1_000, max: 2_000 };
        for (now, then) in [(0, 1_000), (1_029, 1_000), (1_031, 1_001), (2_030, 2_000), (u64::MAX, 2_000)] {
            assert_eq!(time.at(Duration::from_secs(now)), then, "at {now}");
            assert!(time.allows(then));
        }
        assert!(!time.allows(999) && !time.allows(2_001));
    }

    #[test]
    fn no_clock_overflows() {
        for ahead in [i64::MIN, i64::MAX] {
            let time = BlockTime { ahead, min: 7, max: 3 };
            assert_eq!(time.at(Duration::from_secs(u64::MAX)), 7);
            assert!(time.allows(7) && !time.allows(5));
        }
        assert_eq!(BlockTime::from(9).at(Duration::from_secs(u64::MAX)), u32::MAX);
    }
}
