//! Who is alive. A peer proves it by answering this node's heartbeats, so both directions of the link count.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Config, NodeId};

/// A peer as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// It answers.
    Alive,
    /// It is late.
    Suspect,
    /// It has missed two heartbeats, said goodbye, or never answered.
    Down,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    state: PeerState,
    /// Not heard of yet, and still worth waiting for until then.
    awaited: Option<Instant>,
    /// When it last answered.
    answered: Instant,
    incarnation: Option<u64>,
}

/// Every peer.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    config: Config,
    peers: BTreeMap<NodeId, Peer>,
}

impl Peers {
    pub(super) fn new(config: Config) -> Self {
        Self { config, peers: BTreeMap::new() }
    }

    /// Replaces the list of peers; those known already keep their state. Gives the new ones.
    pub(super) fn set(&mut self, ids: &[NodeId], now: Instant) -> Vec<NodeId> {
        self.peers.retain(|id, _| ids.contains(id));
        let fresh: Vec<_> =
            ids.iter().copied().filter(|id| *id != self.config.id && !self.peers.contains_key(id)).collect();
        for &id in &fresh {
            let awaited = Some(now + self.config.listen_time());
            self.peers.insert(id, Peer { state: PeerState::Down, awaited, answered: now, incarnation: None });
        }
        fresh
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.peers.contains_key(&id)
    }

    pub(super) fn state(&self, id: NodeId) -> Option<PeerState> {
        self.peers.get(&id).map(|peer| peer.state)
    }

    pub(super) fn states(&self) -> impl Iterator<Item = (NodeId, PeerState)> + '_ {
        self.peers.iter().map(|(&id, peer)| (id, peer.state))
    }

    /// The lowest live id, this node's included.
    pub(super) fn leader(&self) -> NodeId {
        let live = self.peers.iter().filter(|(_, peer)| peer.state != PeerState::Down).map(|(&id, _)| id);
        live.fold(self.config.id, NodeId::min)
    }

    /// Whether there are peers that were never heard and are still worth waiting for.
    pub(super) fn is_listening(&self) -> bool {
        self.peers.values().any(|peer| peer.awaited.is_some())
    }

    /// `id` has answered. Gives its state if that is new.
    pub(super) fn answered(&mut self, id: NodeId, incarnation: u64, now: Instant) -> Option<PeerState> {
        let peer = self.peers.get_mut(&id)?;
        peer.answered = now;
        peer.awaited = None;
        peer.incarnation = Some(incarnation);
        let news = peer.state != PeerState::Alive;
        peer.state = PeerState::Alive;
        news.then_some(PeerState::Alive)
    }

    /// `id` says that it runs as `incarnation`. True if that means that it has restarted since it last answered.
    pub(super) fn restarted(&self, id: NodeId, incarnation: u64) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.incarnation.is_some_and(|known| known != incarnation))
    }

    /// `id` is gone for sure. Gives its state if that is new.
    pub(super) fn gone(&mut self, id: NodeId) -> Option<PeerState> {
        let peer = self.peers.get_mut(&id)?;
        peer.awaited = None;
        let news = peer.state != PeerState::Down;
        peer.state = PeerState::Down;
        news.then_some(PeerState::Down)
    }

    /// This node itself was not running for `pause`, so nobody could have been heard: that time does not count.
    pub(super) fn excuse(&mut self, pause: Duration) {
        for peer in self.peers.values_mut() {
            peer.answered += pause;
            peer.awaited = peer.awaited.map(|until| until + pause);
        }
    }

    /// Lets time pass. Gives the peers whose state has changed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(NodeId, PeerState)> {
        let (suspect, down) = (self.config.suspect_after(), self.config.down_after());
        let mut changed = Vec::new();
        for (&id, peer) in &mut self.peers {
            if peer.awaited.is_some_and(|until| now >= until) {
                peer.awaited = None;
            }
            let silence = now.saturating_duration_since(peer.answered);
            let state = match peer.state {
                PeerState::Down => PeerState::Down,
                _ if silence >= down => PeerState::Down,
                _ if silence >= suspect => PeerState::Suspect,
                _ => PeerState::Alive,
            };
            if state != peer.state {
                peer.state = state;
                changed.push((id, state));
            }
        }
        changed
    }

    /// When a peer's state can next change by time alone.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let due = |peer: &Peer| match (peer.awaited, peer.state) {
            (Some(until), _) => Some(until),
            (None, PeerState::Alive) => Some(peer.answered + self.config.suspect_after()),
            (None, PeerState::Suspect) => Some(peer.answered + self.config.down_after()),
            (None, PeerState::Down) => None,
        };
        self.peers.values().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{clock, config, node};

    #[test]
    fn silence_makes_suspect_then_down_and_an_answer_alive() {
        let start = clock();
        let after = |millis| start + Duration::from_millis(millis);
        let mut peers = Peers::new(config(2));
        assert_eq!(peers.set(&[node(1), node(2), node(3)], start), [node(1), node(3)]);
        assert!(peers.is_listening(), "nobody was heard yet");
        assert_eq!(peers.answered(node(1), 7, start), Some(PeerState::Alive));
        assert_eq!(peers.answered(node(1), 7, start), None);
        assert_eq!(peers.answered(node(3), 7, start), Some(PeerState::Alive));
        assert!(!peers.is_listening());
        assert_eq!(peers.leader(), node(1));
        peers.answered(node(3), 7, after(5000));
        assert_eq!(peers.next_change(), Some(after(7500)));
        assert_eq!(peers.expire(after(7500)), [(node(1), PeerState::Suspect)]);
        assert_eq!(peers.leader(), node(1), "a suspect still leads");
        assert_eq!(peers.next_change(), Some(after(10_750)));
        peers.answered(node(3), 7, after(10_000));
        assert_eq!(peers.expire(after(10_750)), [(node(1), PeerState::Down)]);
        assert_eq!(peers.leader(), node(2));
        assert_eq!(peers.answered(node(1), 8, after(11_000)), Some(PeerState::Alive));
        assert_eq!(peers.leader(), node(1));
    }

    #[test]
    fn peers_that_never_answer_are_not_waited_for_forever() {
        let start = clock();
        let mut peers = Peers::new(config(2));
        peers.set(&[node(1)], start);
        let until = peers.next_change().unwrap();
        assert_eq!(until, start + Duration::from_secs(1));
        assert_eq!(peers.expire(until), []);
        assert!(!peers.is_listening());
        assert_eq!(peers.leader(), node(2));
    }

    #[test]
    fn the_time_of_ones_own_pause_does_not_count() {
        let start = clock();
        let mut peers = Peers::new(config(2));
        peers.set(&[node(1)], start);
        peers.answered(node(1), 7, start);
        peers.excuse(Duration::from_secs(60));
        assert_eq!(peers.expire(start + Duration::from_secs(62)), []);
    }
}
