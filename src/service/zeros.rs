//! How many zeros the next block needs: a fixed number, or one that adapts so that blocks come at a wanted interval. These are pure
//! functions of the accepted blocks and their times; no clock is read.

use std::collections::VecDeque;
use std::time::Duration;

use super::ServiceError;
use super::chain::Block;
use crate::work::{Target, ZeroUnit};

/// The zeros of an adapting chain's first block: about a million hashes, a fraction of a second on any machine.
const START: u32 = 5;
/// The fewest zeros that an adapting service asks for; with none, every submission would be a block.
const FEWEST: u32 = 1;
/// The most zeros: all digits of a hash.
const MOST: u32 = 64;
/// How many gaps between blocks the hash rate is estimated from: so many that chance moves the estimate by about a third (one zero is a
/// factor of 16), so few that a machine that comes or goes shows soon.
const WINDOW: usize = 8;
/// After this many intervals without a block the next one needs one zero less. One zero is a factor of 16, so a cluster that has lost all
/// but a sixteenth of its power then finds a block in about the wanted interval. It is one zero at most, and a longer gap counts as this
/// many intervals, because a clock that was set forward looks like a long wait.
const PATIENCE: u64 = 16;

/// How the number of leading zero digits is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// Always this many, 0 to 64.
    Fixed(i64),
    /// As many, at least 1, as make blocks come about one interval apart, estimated from the last blocks.
    Adapt {
        /// The wanted time between blocks, at least 1 ms.
        interval: Duration,
    },
}

impl Zeros {
    /// Refuses numbers of zeros that no hash can have, and intervals that milliseconds cannot count.
    pub(super) fn check(self) -> Result<(), ServiceError> {
        match self {
            Self::Fixed(zeros) => Ok(Target::from_zeros(zeros, ZeroUnit::Hex).map(drop)?),
            Self::Adapt { interval } if interval < Duration::from_millis(1) => Err(ServiceError::Interval(interval)),
            Self::Adapt { .. } => Ok(()),
        }
    }
}

/// The number of zeros that the next block needs, kept up to date block by block.
#[derive(Clone, Debug)]
pub(super) struct Difficulty {
    policy: Policy,
    /// When the newest block was accepted, or the service started, whichever was later. Milliseconds since 1970.
    since: u64,
    /// Whether `since` is a block's time. The gap before the first block of a run says nothing about the hash rate, as
    /// nobody may have been searching.
    in_run: bool,
    /// The zeros that the next block needs before any easing.
    next: u32,
    /// The fewest zeros that may have been asked for before the service was restarted; until the first block.
    promised: Option<u32>,
    recent: VecDeque<Gap>,
}

#[derive(Clone, Copy, Debug)]
enum Policy {
    Fixed,
    Adapt { interval_ms: u64 },
}

/// A block of this run: the hashes that it takes on average, and the milliseconds that it took.
#[derive(Clone, Copy, Debug)]
struct Gap {
    hashes: f64,
    ms: u64,
}

impl Difficulty {
    /// The difficulty of a service that starts at `now` with a chain whose newest block is `tip`.
    pub(super) fn new(zeros: Zeros, tip: Option<&Block>, now: u64) -> Self {
        let (policy, next, promised) = match zeros {
            Zeros::Fixed(zeros) => (Policy::Fixed, u32::try_from(zeros).unwrap_or(0), None),
            Zeros::Adapt { interval } => {
                let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
                let next = tip.map_or(START, |tip| tip.zeros.clamp(FEWEST, MOST));
                // Before the restart the service asked for one zero less than the tip's at the least, or for one less again if there was
                // time to ease.
                let waited = now.saturating_sub(tip.map_or(now, |tip| tip.accepted_at));
                (Policy::Adapt { interval_ms }, next, Some(eased(next.saturating_sub(1), waited, interval_ms)))
            }
        };
        Self { policy, since: now, in_run: false, next, promised, recent: VecDeque::with_capacity(WINDOW) }
    }

    /// How many zeros a block needs that comes at `now`. Until the next block the number only falls. So a block that was searched for with
    /// an earlier answer has enough zeros, unless the service was restarted since.
    pub(super) fn required(&self, now: u64) -> u32 {
        match self.policy {
            Policy::Fixed => self.next,
            Policy::Adapt { interval_ms } => eased(self.next, now.saturating_sub(self.since), interval_ms),
        }
    }

    /// How many zeros suffice for a block that was searched for with an answer from before the restart: the service remembers the chain,
    /// but not its last answer. At most one easing is allowed for, since nobody may have been searching meanwhile.
    pub(super) fn promised(&self) -> Option<u32> {
        self.promised
    }

    /// Takes note of an accepted block.
    pub(super) fn accept(&mut self, block: &Block) {
        let Policy::Adapt { interval_ms } = self.policy else { return };
        self.promised = None;
        if self.in_run {
            if self.recent.len() == WINDOW {
                self.recent.pop_front();
            }
            let ms = block.accepted_at.saturating_sub(self.since).min(interval_ms.saturating_mul(PATIENCE));
            self.recent.push_back(Gap { hashes: hashes_for(block.zeros), ms });
        }
        self.since = block.accepted_at;
        self.in_run = true;
        self.next = following(block.zeros, self.recent.make_contiguous(), interval_ms);
    }
}

/// How many hashes it takes on average to find `zeros` zeros.
fn hashes_for(zeros: u32) -> f64 {
    16f64.powi(zeros.min(MOST) as i32)
}

/// The zeros after a block of `last` zeros: what the estimated rate finds in an interval, but one step away at most, so
/// that one lucky or unlucky block does not throw the chain off.
fn following(last: u32, recent: &[Gap], interval_ms: u64) -> u32 {
    if recent.is_empty() {
        return last.clamp(FEWEST, MOST);
    }
    let hashes: f64 = recent.iter().map(|gap| gap.hashes).sum();
    // Blocks within one millisecond count as one millisecond, a lower bound of the rate.
    let ms = recent.iter().map(|gap| gap.ms).fold(0, u64::saturating_add).max(1);
    let wanted = (hashes / ms as f64 * interval_ms as f64).log2() / 4.0;
    let wanted = wanted.round().clamp(f64::from(FEWEST), f64::from(MOST)) as u32;
    wanted.clamp(last.saturating_sub(1), last + 1).clamp(FEWEST, MOST)
}

/// What is left of `zeros` after `waited` milliseconds without a block, so that a lost machine does not stall the chain.
fn eased(zeros: u32, waited: u64, interval_ms: u64) -> u32 {
    let step = u32::from(waited >= interval_ms.saturating_mul(PATIENCE));
    zeros.saturating_sub(step).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::chain::mined;

    const SECOND: u64 = 1000;

    fn adapting(interval: u64) -> Difficulty {
        Difficulty::new(Zeros::Adapt { interval: Duration::from_secs(interval) }, None, 0)
    }

    /// A block of the required zeros, accepted at `now`.
    fn accept(difficulty: &mut Difficulty, now: u64) {
        let zeros = difficulty.required(now);
        difficulty.accept(&Block { zeros, accepted_at: now, ..mined(1).remove(0) });
    }

    /// A search with average luck at `hashes_per_second`, from `now` on. Gives the time of the last block and the zeros after it.
    fn run(difficulty: &mut Difficulty, mut now: u64, hashes_per_second: f64, blocks: usize) -> (u64, u32) {
        for _ in 0..blocks {
            let zeros = difficulty.required(now);
            now += (hashes_for(zeros) / hashes_per_second * 1000.0) as u64;
            accept(difficulty, now);
        }
        (now, difficulty.required(now))
    }

    #[test]
    fn fixed_zeros_stay() {
        let mut difficulty = Difficulty::new(Zeros::Fixed(3), None, 0);
        accept(&mut difficulty, 1);
        assert_eq!(difficulty.required(u64::MAX), 3);
        for zeros in [0, 64] {
            assert!(Zeros::Fixed(zeros).check().is_ok());
        }
        for zeros in [-1, 65] {
            assert!(matches!(Zeros::Fixed(zeros).check(), Err(ServiceError::Zeros(_))));
        }
        assert!(matches!(Zeros::Adapt { interval: Duration::ZERO }.check(), Err(ServiceError::Interval(_))));
    }

    #[test]
    fn zeros_settle_where_the_rate_meets_the_interval() {
        // 16^6, 16^7 and 16^8 hashes per interval of 10 s; a little more or less rounds to the same.
        for (rate, zeros) in [(1.7e6, 6), (2.7e7, 7), (2.0e7, 7), (4.3e8, 8), (1e3, 3)] {
            let mut difficulty = adapting(10);
            let (now, _) = run(&mut difficulty, 0, rate, 40);
            assert_eq!(difficulty.required(now), zeros, "at {rate} hashes a second");
        }
    }

    #[test]
    fn one_step_a_block_at_most() {
        let mut difficulty = adapting(10);
        let mut last = difficulty.required(0);
        for block in 0..20 {
            accept(&mut difficulty, block);
            let next = difficulty.required(block);
            assert!(next.abs_diff(last) <= 1);
            last = next;
        }
        assert!(last > 15);
    }

    #[test]
    fn blocks_in_the_same_millisecond_and_clocks_that_go_back_do_no_harm() {
        let mut difficulty = adapting(1);
        for now in [500, 500, 500, 100, 100, 0, u64::MAX, 0] {
            accept(&mut difficulty, now);
            assert!((FEWEST..=MOST).contains(&difficulty.required(now)));
        }
    }

    #[test]
    fn zeros_stay_within_a_hash() {
        let mut difficulty = adapting(1_000_000);
        for now in 0..100 {
            accept(&mut difficulty, now);
        }
        assert_eq!(difficulty.required(100), MOST);
    }

    #[test]
    fn the_time_before_a_run_is_not_mining_time() {
        let tip = Block { zeros: 7, accepted_at: 0, ..mined(1).remove(0) };
        let day = 86_400 * SECOND;
        let zeros = Zeros::Adapt { interval: Duration::from_secs(10) };
        let mut difficulty = Difficulty::new(zeros, Some(&tip), day);
        assert_eq!(difficulty.required(day), 7);
        accept(&mut difficulty, day + 60 * SECOND);
        assert_eq!(difficulty.required(day + 60 * SECOND), 7);
    }

    #[test]
    fn a_restarted_service_stands_by_what_it_may_have_told() {
        let tip = Block { zeros: 7, accepted_at: 0, ..mined(1).remove(0) };
        let zeros = Zeros::Adapt { interval: Duration::from_secs(10) };
        for (restarted, least) in [(SECOND, 6), (170 * SECOND, 5), (86_400 * SECOND, 5)] {
            let mut difficulty = Difficulty::new(zeros, Some(&tip), restarted);
            assert_eq!(difficulty.promised(), Some(least));
            accept(&mut difficulty, restarted + 1);
            assert_eq!(difficulty.promised(), None);
        }
        assert_eq!(Difficulty::new(zeros, None, 0).promised(), Some(4));
        assert_eq!(Difficulty::new(Zeros::Fixed(5), Some(&tip), 0).promised(), None);
    }

    #[test]
    fn waiting_sixteen_intervals_eases_one_zero() {
        let mut difficulty = adapting(10);
        let (now, zeros) = run(&mut difficulty, 0, 2.7e7, 20);
        let patience = 160 * SECOND;
        assert_eq!(difficulty.required(now + patience - 1), zeros);
        for waited in [patience, 3 * patience, u64::MAX - now] {
            assert_eq!(difficulty.required(now + waited), zeros - 1);
        }
    }

    #[test]
    fn a_clock_that_is_set_changes_little_and_not_for_long() {
        const DAY: i64 = 86_400_000;
        for step in [DAY, -DAY, 1000 * DAY, -1000 * DAY] {
            let mut difficulty = adapting(3);
            let (now, zeros) = run(&mut difficulty, 2000 * DAY as u64, 5.6e6, 20);
            assert_eq!(zeros, 6);
            let now = now.saturating_add_signed(step);
            assert!((5..=6).contains(&difficulty.required(now)));
            // The next block is found at once.
            accept(&mut difficulty, now + 18);
            for _ in 0..20 {
                let (_, zeros) = run(&mut difficulty, now + 18, 5.6e6, 1);
                assert!((5..=7).contains(&zeros), "{zeros} zeros after a step of {step} ms");
            }
        }
    }

    #[test]
    fn a_lost_machine_and_its_return_are_followed() {
        let mut difficulty = adapting(10);
        let (now, zeros) = run(&mut difficulty, 0, 4.3e8, 30);
        assert_eq!(zeros, 8);
        let (now, zeros) = run(&mut difficulty, now, 1.7e6, 30);
        assert_eq!(zeros, 6);
        let (_, zeros) = run(&mut difficulty, now, 4.3e8, 30);
        assert_eq!(zeros, 8);
    }
}
