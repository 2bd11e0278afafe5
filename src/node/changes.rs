//! How peers' changes of state reach the user: at once, unless a peer changes all the time. Then its changes are counted, and told together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Event;
use crate::cluster::{NodeId, PeerState};

/// So many changes of one peer are told at once: more than a day's worth of restarts.
const AT_ONCE: u32 = 20;

/// Beyond that, the time between two events of one peer. A peer that comes and goes writes some hundred lines a day.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// The changes of all peers.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<NodeId, Change>);

#[derive(Debug)]
struct Change {
    state: PeerState,
    /// The changes that no event has told.
    untold: u64,
    /// How many events may be told at once; one more each [`EVERY`] since the time beside it.
    budget: u32,
    since: Instant,
}

impl Changes {
    /// A peer's state has changed.
    pub(super) fn note(&mut self, peer: NodeId, state: PeerState, now: Instant) {
        let new = Change { state, untold: 0, budget: AT_ONCE, since: now };
        let change = self.0.entry(peer).or_insert(new);
        (change.state, change.untold) = (state, change.untold + 1);
    }

    /// The events that are due, each with its peer's present state.
    pub(super) fn due(&mut self, node: NodeId, now: Instant) -> Vec<Event> {
        let untold = self.0.iter_mut().filter(|(_, change)| change.untold > 0);
        let due = untold.filter_map(|(&peer, change)| {
            change.refill(now);
            change.budget = change.budget.checked_sub(1)?;
            let count = std::mem::take(&mut change.untold);
            Some(Event::Peer { node, peer, state: change.state, reason: None, count })
        });
        due.collect()
    }
}

impl Change {
    fn refill(&mut self, now: Instant) {
        while self.budget < AT_ONCE && now >= self.since + EVERY {
            (self.budget, self.since) = (self.budget + 1, self.since + EVERY);
        }
        if self.budget == AT_ONCE {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::try_from(id).unwrap()
    }

    fn peer(id: u32, state: PeerState, count: u64) -> Event {
        Event::Peer { node: node(1), peer: node(id), state, reason: None, count }
    }

    #[test]
    fn a_peer_that_comes_and_goes_is_told_at_once_at_first_and_then_seldom() {
        let (mut changes, start) = (Changes::default(), tokio::time::Instant::now().into_std());
        let mut told = Vec::new();
        for second in 0..24 * 60 * 60 {
            let now = start + Duration::from_secs(second);
            changes.note(node(2), if second % 2 == 0 { PeerState::Alive } else { PeerState::Left }, now);
            told.extend(changes.due(node(1), now));
        }
        let (at_once, later) = told.split_at(AT_ONCE as usize);
        assert_eq!(at_once[..2], [peer(2, PeerState::Alive, 1), peer(2, PeerState::Left, 1)]);
        assert!(at_once.iter().all(|event| matches!(event, Event::Peer { count: 1, .. })));
        assert_eq!(later.len(), 24 * 12 - 1);
        assert_eq!(later[1], peer(2, PeerState::Alive, 300), "the present state");
    }

    #[test]
    fn what_could_not_be_told_at_once_is_told_later_and_others_are_not_held_up() {
        let (mut changes, now) = (Changes::default(), tokio::time::Instant::now().into_std());
        for _ in 0..AT_ONCE {
            changes.note(node(2), PeerState::Alive, now);
            assert_eq!(changes.due(node(1), now).len(), 1);
        }
        changes.note(node(2), PeerState::Suspect, now);
        changes.note(node(2), PeerState::Down, now);
        changes.note(node(3), PeerState::Down, now);
        assert_eq!(changes.due(node(1), now), [peer(3, PeerState::Down, 1)]);
        assert_eq!(changes.due(node(1), now + EVERY - Duration::from_secs(1)), []);
        assert_eq!(changes.due(node(1), now + EVERY), [peer(2, PeerState::Down, 2)]);
        assert_eq!(changes.due(node(1), now + EVERY * 9), []);
        for _ in 0..8 {
            changes.note(node(2), PeerState::Alive, now + EVERY * 9);
            assert_eq!(changes.due(node(1), now + EVERY * 9).len(), 1, "after a rest it may change again");
        }
        changes.note(node(2), PeerState::Down, now + EVERY * 9);
        assert_eq!(changes.due(node(1), now + EVERY * 9), []);
    }
}
