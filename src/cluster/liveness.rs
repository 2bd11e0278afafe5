//! Who is alive. A peer proves it by answering this node's heartbeats, so both directions of the link count.
//!
//! In a small cluster everyone watches everyone. Beyond [`Config::all_to_all`] only a leader does; everyone else watches the
//! lowest ids that are not down, among them the leader ([`window`](super::window)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::planted::{Bug, planted};
use super::window::{Seen, window};
use super::{Config, NodeId};

/// A peer as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Not heard of yet, or not watched, as most are in a large cluster.
    Unknown,
    /// It answers.
    Alive,
    /// It is late.
    Suspect,
    /// It has missed two heartbeats, said goodbye, or never answered.
    Down,
}

impl PeerState {
    /// Whether a peer in this state can lead.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    state: PeerState,
    /// Not heard of yet, and still worth waiting for until then.
    awaited: Option<Instant>,
    /// When it was last known to be alive.
    answered: Instant,
    /// Its newest run that was heard of; 0 for none.
    incarnation: u64,
    /// The run that said goodbye.
    left: Option<u64>,
    /// Since when it is down, or not watched any more.
    gone_since: Option<Instant>,
    /// Another node says that it is gone: it was asked then, and has to answer in time.
    doubted: Option<Instant>,
    /// When somebody last said so: not to be heeded again for a heartbeat.
    last_doubt: Option<Instant>,
    /// Incarnation and `sent` of the newest heartbeat taken in.
    newest: (u64, u64),
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Nothing: it says of too long ago, or of an earlier run, or of a peer that need not be watched.
    Late,
    /// The peer is alive.
    Alive {
        /// Which was not known before.
        news: bool,
        /// And runs anew since it was last alive.
        restarted: bool,
    },
}

/// Every peer.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    config: Config,
    peers: BTreeMap<NodeId, Peer>,
    /// Those that are asked with every heartbeat, and are judged by their silence.
    watched: BTreeSet<NodeId>,
    /// Whether all are watched, however many they are: this node leads.
    leads: bool,
    /// Something has changed since they were chosen.
    is_stale: bool,
}

impl Peers {
    pub(super) fn new(config: Config) -> Self {
        Self { config, peers: BTreeMap::new(), watched: BTreeSet::new(), leads: false, is_stale: false }
    }

    /// Replaces the list of peers; those known already keep their state. Gives those to ask at once.
    pub(super) fn set(&mut self, ids: &[NodeId], now: Instant) -> Vec<NodeId> {
        self.peers.retain(|id, _| ids.contains(id));
        self.watched.retain(|id| self.peers.contains_key(id));
        for &id in ids.iter().filter(|id| **id != self.config.id) {
            let fresh = Peer {
                state: PeerState::Unknown,
                awaited: None,
                answered: now,
                incarnation: 0,
                left: None,
                gone_since: None,
                doubted: None,
                last_doubt: None,
                newest: (0, 0),
            };
            self.peers.entry(id).or_insert(fresh);
        }
        self.rewatch(now)
    }

    fn is_small(&self) -> bool {
        self.peers.len() <= self.config.all_to_all
    }

    fn watches_all(&self) -> bool {
        self.leads || self.is_small()
    }

    /// From now on this node leads, or does not any more, and watches accordingly once refreshed.
    pub(super) fn set_leads(&mut self, leads: bool) {
        (self.leads, self.is_stale) = (leads, true);
    }

    /// Lets the choice of whom to watch follow what has happened. Gives those to ask at once.
    pub(super) fn refresh(&mut self, now: Instant) -> Vec<NodeId> {
        let is_full = self.watches_all() && self.watched.len() == self.peers.len();
        if std::mem::take(&mut self.is_stale) && !is_full { self.rewatch(now) } else { vec![] }
    }

    fn rewatch(&mut self, now: Instant) -> Vec<NodeId> {
        let seen =
            |(&id, peer): (&NodeId, &Peer)| Seen { id, state: peer.state, is_watched: self.watched.contains(&id) };
        let chosen = match self.watches_all() {
            true => self.peers.keys().copied().collect(),
            false => window(self.peers.iter().map(seen), self.config.candidates),
        };
        let fresh: Vec<_> = chosen.difference(&self.watched).copied().collect();
        // A leader waits for nobody: they answer, or are silent.
        let awaited = (self.is_small() || !self.leads).then(|| now + self.config.listen_time());
        for (&id, peer) in &mut self.peers {
            match (self.watched.contains(&id), chosen.contains(&id)) {
                (true, false) if peer.state != PeerState::Down => {
                    (peer.state, peer.gone_since) = (PeerState::Unknown, Some(now));
                    (peer.awaited, peer.doubted) = (None, None);
                }
                (false, true) => {
                    // Who was down long ago and not asked since may be back.
                    let is_sure = peer.gone_since.is_some_and(|since| now - since < self.config.heartbeat);
                    if peer.state != PeerState::Down || !is_sure {
                        (peer.state, peer.answered, peer.awaited) = (PeerState::Unknown, now, awaited);
                    }
                }
                _ => {}
            }
        }
        self.watched = chosen;
        fresh
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.peers.contains_key(&id)
    }

    pub(super) fn states(&self) -> impl Iterator<Item = (NodeId, PeerState)> + '_ {
        self.peers.iter().map(|(&id, peer)| (id, peer.state))
    }

    /// The peers that were ever heard, and their newest run.
    pub(super) fn runs(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.incarnation != 0).map(|(&id, peer)| (id, peer.incarnation))
    }

    /// Whom to send a heartbeat: all that are watched, and the lowest of the others that are down, since one of them would lead if it
    /// were back.
    pub(super) fn audience(&self) -> Vec<NodeId> {
        let down = self.peers.iter().filter(|(id, peer)| peer.state == PeerState::Down && !self.watched.contains(id));
        let lowest = down.map(|(&id, _)| id).take(self.config.candidates);
        self.watched.iter().copied().chain(lowest).collect()
    }

    /// Whether `id` is one of the next to lead, for all that this node knows. In a small cluster all are.
    pub(super) fn is_candidate(&self, id: NodeId) -> bool {
        let lower = self.peers.range(..id).filter(|(_, peer)| peer.state == PeerState::Alive);
        self.is_small() || lower.take(self.config.candidates).count() < self.config.candidates
    }

    /// Whether to ask `id`, which has been heard, if it is alive.
    pub(super) fn wants(&self, id: NodeId) -> bool {
        self.watches_all() || self.is_candidate(id)
    }

    /// The lowest live id, this node's included. `None` while a lower one than that may be about to answer.
    pub(super) fn leader(&self) -> Option<NodeId> {
        for &id in self.watched.range(..self.config.id) {
            let Some(peer) = self.peers.get(&id) else { continue };
            let may_lead = peer.state != PeerState::Suspect || !planted(Bug::SuspectsDoNotLead);
            if peer.state.is_up() && may_lead {
                return Some(id);
            }
            if peer.awaited.is_some() && !self.is_small() {
                return None;
            }
        }
        Some(self.config.id)
    }

    /// The peers that are watched.
    fn watched(&self) -> impl Iterator<Item = &Peer> {
        self.watched.iter().filter_map(|id| self.peers.get(id))
    }

    /// Whether there are peers that were never heard and are still worth waiting for: in a large cluster, those of which one may lead.
    pub(super) fn is_listening(&self) -> bool {
        let is_behind = |peer: &&Peer| peer.state == PeerState::Alive && !self.is_small();
        self.watched().take_while(|peer| !is_behind(peer)).any(|peer| peer.awaited.is_some())
    }

    /// `id`, running as `incarnation`, has answered what it was asked at the time `asked`: it was alive then.
    pub(super) fn answered(&mut self, id: NodeId, incarnation: u64, asked: Instant, now: Instant) -> Answered {
        let (down_after, is_wanted) = (self.config.down_after(), self.wants(id));
        let Some(peer) = self.peers.get_mut(&id) else { return Answered::Late };
        // A lower incarnation is an earlier run, unless the peer's clock was set back while it was down, or nobody watched: then it has
        // answered what was asked after its last run was heard of.
        let set_back = !planted(Bug::ClocksNeverSetBack)
            && !peer.state.is_up()
            // Heartbeats count whole milliseconds.
            && peer.gone_since.is_some_and(|since| asked + Duration::from_millis(1) > since);
        if incarnation < peer.incarnation && !set_back || peer.left == Some(incarnation) {
            return Answered::Late; // from an earlier run, or overtaken by its goodbye
        }
        let restarted = peer.incarnation != 0 && incarnation != peer.incarnation;
        peer.awaited = None;
        peer.answered = peer.answered.max(asked.min(now));
        if now.saturating_duration_since(peer.answered) >= down_after {
            return Answered::Late;
        }
        if peer.newest.0 != incarnation {
            peer.newest = (0, 0); // heartbeats of another run, which may have had a higher number
        }
        peer.incarnation = incarnation;
        if !is_wanted {
            // It is back, and there are enough below it.
            (peer.state, peer.gone_since) = (PeerState::Unknown, Some(now));
            return Answered::Late;
        }
        let news = peer.state != PeerState::Alive;
        (peer.state, peer.gone_since) = (PeerState::Alive, None);
        peer.doubted = peer.doubted.filter(|&since| asked < since);
        self.watched.insert(id);
        self.is_stale |= news;
        Answered::Alive { news, restarted }
    }

    /// `id` says that all lower ones are gone. Gives those that have to be asked, and to answer in time; each once a heartbeat at most, lest
    /// one lost answer among many should bring a leader down.
    pub(super) fn doubt_below(&mut self, id: NodeId, now: Instant) -> Vec<NodeId> {
        let mut doubted = Vec::new();
        for (&lower, peer) in self.peers.range_mut(..id) {
            let is_due = peer.last_doubt.is_none_or(|at| now >= at + self.config.heartbeat);
            if peer.state.is_up() && peer.doubted.is_none() && is_due {
                (peer.doubted, peer.last_doubt) = (Some(now), Some(now));
                doubted.push(lower);
            }
        }
        doubted
    }

    /// Whether a heartbeat of `id` is newer than all that were taken in before, and is taken in now.
    pub(super) fn is_newest(&mut self, id: NodeId, incarnation: u64, sent: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let newest = (incarnation, sent) >= peer.newest;
        peer.newest = peer.newest.max((incarnation, sent));
        newest
    }

    /// Whether `id` is a peer that is not known to be up.
    pub(super) fn is_mute(&self, id: NodeId) -> bool {
        self.peers.get(&id).is_some_and(|peer| !peer.state.is_up())
    }

    /// Whether this run of `id` is known to be alive.
    pub(super) fn is_alive(&self, id: NodeId, incarnation: u64) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.state == PeerState::Alive && peer.incarnation == incarnation)
    }

    /// `id` has said goodbye. Gives its state if that is new.
    pub(super) fn left(&mut self, id: NodeId, incarnation: u64, now: Instant) -> Option<PeerState> {
        let is_watched = self.watched.contains(&id);
        let peer = self.peers.get_mut(&id).filter(|peer| incarnation >= peer.incarnation)?;
        (peer.incarnation, peer.left) = (incarnation, Some(incarnation));
        peer.awaited = None;
        let news = is_watched && peer.state != PeerState::Down;
        (peer.state, peer.gone_since, peer.doubted) = (PeerState::Down, Some(now), None);
        self.is_stale = true;
        news.then_some(PeerState::Down)
    }

    /// This node itself was not running for `pause`, so nobody could have been heard: that time does not count.
    pub(super) fn excuse(&mut self, pause: Duration, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.answered = (peer.answered + pause).min(now);
            peer.awaited = peer.awaited.map(|until| until + pause);
            peer.doubted = peer.doubted.map(|since| (since + pause).min(now));
        }
    }

    /// Lets time pass. Gives the peers whose state has changed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(NodeId, PeerState)> {
        let (suspect, down) = (self.config.suspect_after(), self.config.down_after());
        let answer = self.config.answer_time();
        let mut changed = Vec::new();
        for &id in &self.watched {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let is_over = peer.awaited.is_some_and(|until| now >= until);
            if is_over {
                peer.awaited = None;
            }
            let silence = now.saturating_duration_since(peer.answered);
            let has_failed = peer.doubted.is_some_and(|since| now >= since + answer);
            let state = match peer.state {
                PeerState::Down => PeerState::Down,
                PeerState::Unknown if peer.awaited.is_some() => PeerState::Unknown,
                _ if (is_over || silence >= down || has_failed) && !planted(Bug::NobodyDies) => PeerState::Down,
                PeerState::Unknown => PeerState::Unknown,
                _ if silence >= suspect => PeerState::Suspect,
                _ => PeerState::Alive,
            };
            if state == peer.state {
                continue;
            }
            // That somebody of whom nothing is known does not answer is no news.
            if peer.state != PeerState::Unknown {
                changed.push((id, state));
            }
            if state == PeerState::Down {
                (peer.gone_since, peer.doubted) = (Some(now), None);
            }
            self.is_stale = true;
            peer.state = state;
        }
        changed
    }

    /// When a peer's state can next change by time alone.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let due = |peer: &Peer| match (peer.awaited, peer.state) {
            (Some(until), _) => Some(until),
            (None, PeerState::Alive) => Some(peer.answered + self.config.suspect_after()),
            (None, PeerState::Suspect | PeerState::Unknown) => Some(peer.answered + self.config.down_after()),
            (None, PeerState::Down) => None,
        };
        let doubts = self.watched().filter_map(|peer| peer.doubted).map(|since| since + self.config.answer_time());
        self.watched().filter_map(due).chain(doubts).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{clock, config, node};

    const ALIVE: Answered = Answered::Alive { news: false, restarted: false };
    const NEWS: Answered = Answered::Alive { news: true, restarted: false };

    #[test]
    fn silence_makes_suspect_then_down_and_an_answer_alive() {
        let start = clock();
        let after = |millis| start + Duration::from_millis(millis);
        let mut peers = Peers::new(config(2));
        assert_eq!(peers.set(&[node(1), node(2), node(3)], start), [node(1), node(3)]);
        assert!(peers.is_listening(), "nobody was heard yet");
        assert_eq!(peers.answered(node(1), 7, start, start), NEWS);
        assert_eq!(peers.answered(node(1), 7, start, start), ALIVE);
        assert_eq!(peers.answered(node(3), 7, start, start), NEWS);
        assert!(!peers.is_listening());
        assert_eq!(peers.leader(), Some(node(1)));
        peers.answered(node(3), 7, after(5000), after(5000));
        assert_eq!(peers.next_change(), Some(after(7500)));
        assert_eq!(peers.expire(after(7500)), [(node(1), PeerState::Suspect)]);
        assert_eq!(peers.leader(), Some(node(1)), "a suspect still leads");
        assert_eq!(peers.next_change(), Some(after(10_750)));
        peers.answered(node(3), 7, after(10_000), after(10_000));
        assert_eq!(peers.expire(after(10_750)), [(node(1), PeerState::Down)]);
        assert_eq!(peers.leader(), Some(node(2)));
        let back = peers.answered(node(1), 8, after(11_000), after(11_000));
        assert_eq!(back, Answered::Alive { news: true, restarted: true });
        assert_eq!(peers.leader(), Some(node(1)));
    }

    #[test]
    fn late_answers_prove_nothing() {
        let start = clock();
        let after = |millis| start + Duration::from_millis(millis);
        let mut peers = Peers::new(config(2));
        peers.set(&[node(1)], start);
        peers.answered(node(1), 7, start, start);
        peers.expire(after(20_000));
        assert_eq!(peers.answered(node(1), 7, after(5000), after(20_000)), Answered::Late, "of long ago");
        assert_eq!(peers.answered(node(1), 7, after(19_000), after(20_000)), NEWS);
        assert_eq!(peers.answered(node(1), 6, after(20_000), after(20_000)), Answered::Late, "of an earlier run");
        assert_eq!(peers.left(node(1), 6, after(20_000)), None);
        assert_eq!(peers.left(node(1), 7, after(20_000)), Some(PeerState::Down));
        assert_eq!(
            peers.answered(node(1), 7, after(20_000), after(20_000)),
            Answered::Late,
            "overtaken by its goodbye"
        );
        assert_eq!(
            peers.answered(node(1), 8, after(20_000), after(20_000)),
            Answered::Alive { news: true, restarted: true }
        );
    }

    #[test]
    fn a_peer_whose_clock_was_set_back_while_it_was_down_is_taken_back() {
        let start = clock();
        let after = |millis| start + Duration::from_millis(millis);
        let mut peers = Peers::new(config(2));
        peers.set(&[node(1)], start);
        peers.answered(node(1), 7, start, start);
        assert!(peers.is_newest(node(1), 7, 100));
        peers.expire(after(11_000));
        assert_eq!(peers.answered(node(1), 3, after(10_000), after(12_000)), Answered::Late, "may be an earlier run");
        assert_eq!(
            peers.answered(node(1), 3, after(12_000), after(12_000)),
            Answered::Alive { news: true, restarted: true }
        );
        assert!(peers.is_newest(node(1), 3, 1));
    }

    #[test]
    fn older_heartbeats_are_known_as_such() {
        let mut peers = Peers::new(config(2));
        peers.set(&[node(1)], clock());
        for (incarnation, sent, newest) in [(7, 10, true), (7, 10, true), (7, 9, false), (8, 1, true), (7, 99, false)] {
            assert_eq!(peers.is_newest(node(1), incarnation, sent), newest, "{incarnation} {sent}");
        }
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
        assert_eq!(peers.leader(), Some(node(2)));
    }

    #[test]
    fn the_time_of_ones_own_pause_does_not_count() {
        let start = clock();
        let after = |millis| start + Duration::from_millis(millis);
        let mut peers = Peers::new(config(2));
        peers.set(&[node(1), node(3)], start);
        peers.answered(node(1), 7, start, start);
        peers.answered(node(3), 7, after(61_000), after(61_000));
        peers.excuse(Duration::from_secs(60), after(61_000));
        assert_eq!(peers.expire(after(62_000)), []);
        // An answer that came in meanwhile does not count twice.
        assert_eq!(peers.expire(after(61_000 + 10_750)), [(node(1), PeerState::Down), (node(3), PeerState::Down)]);
    }
}
