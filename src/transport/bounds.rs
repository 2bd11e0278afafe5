//! Numbers and times that the connections between machines share.

use std::time::Duration;

/// Messages received and not yet taken. When it is full, streams are not read, which slows the senders down.
pub(super) const INBOX: usize = 256;

/// The most messages that wait for one peer; further ones are dropped. This is room for several heartbeats' messages, so it fills up only
/// for a peer that is away.
pub(super) const WAITING: usize = 64;

/// How long `close` waits for the last messages to arrive.
pub(super) const FLUSH_LIMIT: Duration = Duration::from_millis(200);

/// The pause after a first failed attempt to dial: a peer that restarts is back within about that time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: a peer that comes up is noticed after at most this time.
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The pause after one more failed attempt.
pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE)
}

/// How long an attempt to dial, or a peer's handshake, may take: several round trips around the world. A new one soon follows.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// The most peers that are dialled at once. A node that begins to lead has a message for all peers at once, and most of them are just
/// dialling it.
pub(super) const DIALS: usize = 32;
/// The longest that a task waits for its turn to dial. Then it dials without one, because the peers that hold the turns may be away.
pub(super) const LONGEST_TURN: Duration = Duration::from_secs(1);

/// How long a silent connection lives: three heartbeats, since a live peer sends something in each; not below 3 s, so that a busy machine
/// is not cut off, nor above 15 s, so that a dead machine's connections end.
pub(super) fn idle_timeout(heartbeat: Duration) -> Duration {
    heartbeat.saturating_mul(3).clamp(Duration::from_secs(3), Duration::from_secs(15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_follows_the_heartbeat_between_its_bounds() {
        let idle = |millis| idle_timeout(Duration::from_millis(millis)).as_millis();
        assert_eq!(
            [idle(100), idle(1_000), idle(2_000), idle(5_000), idle(60_000)],
            [3_000, 3_000, 6_000, 15_000, 15_000]
        );
        assert_eq!(idle_timeout(Duration::MAX).as_secs(), 15);
    }

    #[test]
    fn pauses_grow_from_the_first_to_the_last() {
        let pauses = std::iter::successors(Some(Duration::ZERO), |&pause| Some(longer(pause)));
        let millis: Vec<_> = pauses.skip(1).take(7).map(|pause| pause.as_millis()).collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1_000, 1_000]);
    }
}
