//! Who is alive (rule 1). A peer proves it by answering this node's requests, so both directions of the link count.
//!
//! | state | what happens | next state |
//! |---|---|---|
//! | any | it answers a request, and that is no older than the last one answered | alive |
//! | alive | no answer to a request of the last 1.5 heartbeats | suspect; it is asked once more |
//! | suspect | no answer to a request of the last 2 heartbeats and an answer's time | down |
//! | unknown | it is asked, and does not answer for as long; in a large cluster, for an answer's time, so that the next are asked | down |
//! | any | its present run says goodbye | left, until it answers a later request or runs anew |
//! | unknown, alive, suspect | it need not be watched any more (large clusters only) | unknown |
//!
//! The times stand in [`Config`]. An answer counts from the time of the request that it echoes, which must be one of ours to that peer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::probe::probe;
use super::window::{Seen, window};
use super::{Config, NodeId, Stamp};
use crate::work::Run;

/// Requests to one peer of which answers still count; a few are sent in a heartbeat.
const MAX_REQUESTS: usize = 16;

/// Reports of one peer that are read in a heartbeat of 5 s: eight for each of 400 blocks a second. Eight shares count as one more.
pub(super) const MAX_REPORTS: u32 = 16_000;

/// A peer as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Not heard of yet, or not watched, as most are in a large cluster.
    Unknown,
    /// It answers.
    Alive,
    /// It is late.
    Suspect,
    /// It does not answer.
    Down,
    /// It said goodbye.
    Left,
}

impl PeerState {
    /// Whether a peer in this state can lead.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }

    /// Whether a peer in this state is known to be gone.
    pub fn is_away(self) -> bool {
        matches!(self, Self::Down | Self::Left)
    }

    /// The state's name in events and in `headframe status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        }
    }
}

/// What is ordered by its stamp, each kind apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Heartbeat,
    Report,
}

/// What this node knows of a peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Whether it shows witnesses for its work.
    pub(super) proves: bool,
    /// Its run, by its answer to our latest request.
    pub(super) run: Option<Run>,
    /// The highest assignment of that run that was obeyed: its reign and sequence.
    pub(super) obeyed: (u64, u64),
    state: PeerState,
    /// When the newest of our requests that it has answered was sent.
    answered: Option<Instant>,
    /// Since when it is asked.
    asked_since: Option<Instant>,
    /// When its present run said goodbye.
    left: Option<Instant>,
    requests: VecDeque<(u64, Instant)>,
    /// A question beside the usual heartbeats is unanswered since then.
    question: Option<Instant>,
    /// When it was last probed, since somebody thinks that it is gone.
    probed: Option<Instant>,
    /// The newest heartbeat and report of its run.
    newest: [u64; 2],
    /// Reports since our last heartbeat.
    reports: u32,
}

impl Peer {
    fn new(proves: bool) -> Self {
        Self {
            proves,
            run: None,
            obeyed: (0, 0),
            state: PeerState::Unknown,
            answered: None,
            asked_since: None,
            left: None,
            requests: VecDeque::new(),
            question: None,
            probed: None,
            newest: [0; 2],
            reports: 0,
        }
    }

    /// The state by the table above.
    fn judge(&self, config: &Config, is_small: bool, now: Instant) -> PeerState {
        if self.left.is_some() {
            return PeerState::Left;
        }
        let Some(since) = self.answered.or(self.asked_since) else { return PeerState::Unknown };
        let silence = now.saturating_duration_since(since);
        match self.answered {
            _ if silence >= config.down_after() => PeerState::Down,
            None if !is_small && silence >= config.answer_time() => PeerState::Down,
            None => PeerState::Unknown,
            Some(_) if silence >= config.suspect_after() => PeerState::Suspect,
            Some(_) => PeerState::Alive,
        }
    }

    /// When time alone changes the state or ends the wait for a first answer.
    fn next_change(&self, config: &Config, now: Instant) -> Option<Instant> {
        let since = self.answered.or(self.asked_since).filter(|_| self.left.is_none())?;
        match self.state {
            PeerState::Unknown if now < since + config.answer_time() => Some(since + config.answer_time()),
            PeerState::Unknown => Some(since + config.down_after()),
            PeerState::Alive => Some(since + config.suspect_after()),
            PeerState::Suspect => Some(since + config.down_after()),
            PeerState::Down | PeerState::Left => None,
        }
    }
}

/// Every peer.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    config: Config,
    peers: BTreeMap<NodeId, Peer>,
    /// Those that are asked with every heartbeat, and are judged by their silence.
    watched: BTreeSet<NodeId>,
    /// Whether they were chosen for a leader, and whether something has changed since.
    leads: bool,
    is_stale: bool,
    /// No state changes by time alone before.
    next: Option<Instant>,
}

impl Peers {
    pub(super) fn new(config: Config) -> Self {
        Self { config, peers: BTreeMap::new(), watched: BTreeSet::new(), leads: false, is_stale: true, next: None }
    }

    /// Replaces the list of peers; those known already keep their state.
    pub(super) fn set(&mut self, members: &[(NodeId, bool)]) {
        let listed: BTreeMap<_, _> = members.iter().copied().filter(|(id, _)| *id != self.config.id).collect();
        self.peers.retain(|id, _| listed.contains_key(id));
        self.watched.retain(|id| listed.contains_key(id));
        self.is_stale = true;
        for (id, proves) in listed {
            self.peers.entry(id).or_insert_with(|| Peer::new(proves)).proves = proves;
        }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Peer> {
        self.peers.get(&id)
    }

    /// The peers and their states.
    pub(super) fn states(&self) -> impl Iterator<Item = (NodeId, PeerState)> + '_ {
        self.peers.iter().map(|(&id, peer)| (id, peer.state))
    }

    pub(super) fn state(&self, id: NodeId) -> PeerState {
        self.peers.get(&id).map_or(PeerState::Unknown, |peer| peer.state)
    }

    /// The run of a peer that is up.
    pub(super) fn live_run(&self, id: NodeId) -> Option<Run> {
        self.peers.get(&id).filter(|peer| peer.state.is_up())?.run
    }

    /// The peers that run as `run`, as far as is known.
    pub(super) fn running_as(&self, run: Run) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.iter().filter(move |(_, peer)| peer.run == Some(run)).map(|(&id, _)| id)
    }

    fn is_small(&self) -> bool {
        self.peers.len() <= self.config.all_to_all
    }

    /// Chooses whom to watch: all in a small cluster and where this node leads, otherwise the window of candidates. Gives those to ask at
    /// once.
    pub(super) fn watch(&mut self, leads: bool, now: Instant) -> Vec<NodeId> {
        if !std::mem::take(&mut self.is_stale) && leads == self.leads {
            return vec![];
        }
        self.leads = leads;
        let everyone = leads || self.is_small();
        let seen =
            |(&id, peer): (&NodeId, &Peer)| Seen { id, state: peer.state, is_watched: self.watched.contains(&id) };
        let chosen = match everyone {
            true => self.peers.keys().copied().collect(),
            false => window(self.peers.iter().map(seen), self.config.candidates),
        };
        let fresh = chosen.difference(&self.watched).copied().collect();
        for (id, peer) in &mut self.peers {
            match (self.watched.contains(id), chosen.contains(id)) {
                (false, true) => {
                    if !everyone {
                        probe!(WindowMoved);
                    }
                    peer.asked_since = Some(now);
                    self.next = Some(now); // to be worked out
                }
                (_, false) if matches!(peer.state, PeerState::Alive | PeerState::Suspect | PeerState::Unknown) => {
                    (peer.state, peer.answered, peer.asked_since) = (PeerState::Unknown, None, None);
                }
                _ => {}
            }
        }
        self.watched = chosen;
        fresh
    }

    /// Whom to send a heartbeat: all that are watched, and the lowest of the others that are down, since one of them would lead if it
    /// were back.
    pub(super) fn audience(&self) -> Vec<NodeId> {
        let down = self.peers.iter().filter(|(id, peer)| peer.state.is_away() && !self.watched.contains(id));
        let lowest = down.map(|(&id, _)| id).take(self.config.candidates);
        self.watched.iter().copied().chain(lowest).collect()
    }

    /// The lowest id that is up, this node's included. `None` while a lower one may be about to answer for the first time.
    pub(super) fn leader(&self, now: Instant) -> Option<NodeId> {
        for (&id, peer) in self.peers.range(..self.config.id) {
            let is_awaited = peer.state == PeerState::Unknown
                && peer.asked_since.is_some_and(|since| now < since + self.config.answer_time());
            if is_awaited {
                return None;
            }
            if peer.state.is_up() {
                return Some(id);
            }
        }
        Some(self.config.id)
    }

    /// A request with this number goes to `id`.
    pub(super) fn requested(&mut self, id: NodeId, sent: u64, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            if peer.requests.len() == MAX_REQUESTS {
                peer.requests.pop_front();
            }
            peer.requests.push_back((sent, now));
        }
    }

    /// Whether `id` may be asked beside the usual heartbeats: one unanswered question at a time, which lapses after a heartbeat.
    pub(super) fn may_ask(&mut self, id: NodeId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let is_free = peer.question.is_none_or(|since| now >= since + self.config.heartbeat);
        if is_free {
            peer.question = Some(now);
        }
        is_free
    }

    /// Those below `id` that are up, and may be probed again: once a heartbeat at most.
    pub(super) fn probe_below(&mut self, id: NodeId, now: Instant) -> Vec<NodeId> {
        let heartbeat = self.config.heartbeat;
        let is_due = |peer: &Peer| peer.state.is_up() && peer.probed.is_none_or(|at| now >= at + heartbeat);
        let due = self.peers.range_mut(..id).filter(|(_, peer)| is_due(peer));
        due.map(|(&id, peer)| {
            peer.probed = Some(now);
            id
        })
        .collect()
    }

    /// `id`, running as `run`, answers our request `sent`. False if that was none of ours, or the answer was overtaken by its goodbye.
    pub(super) fn answered(&mut self, id: NodeId, run: Run, sent: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let Some(&(_, asked)) = peer.requests.iter().find(|(number, _)| *number == sent) else { return false };
        let is_same_run = peer.run == Some(run);
        if is_same_run && peer.left.is_some_and(|left| asked <= left) {
            probe!(AnswerOvertaken);
            return false;
        }
        self.is_stale |= self.watched.insert(id); // until it is looked who is to be watched
        if peer.answered.is_none_or(|before| asked >= before) {
            (peer.answered, peer.question, peer.left) = (Some(asked), None, None);
            if !is_same_run {
                (peer.run, peer.newest, peer.obeyed) = (Some(run), [0; 2], (0, 0));
            }
        } else {
            probe!(AnswerOutOfOrder);
        }
        true
    }

    /// Whether this heartbeat or report is of the run that answers, and newer than the others of that run.
    pub(super) fn is_new(&mut self, id: NodeId, kind: Kind, stamp: Stamp) -> bool {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.run == Some(stamp.run)) else { return false };
        let newest = &mut peer.newest[kind as usize];
        let is_new = stamp.sent > *newest;
        *newest = stamp.sent.max(*newest);
        is_new
    }

    /// Counts a report of so many shares; false when the peer has sent too many since our last heartbeat.
    pub(super) fn count_report(&mut self, id: NodeId, shares: usize) -> bool {
        self.peers.get_mut(&id).is_some_and(|peer| {
            peer.reports = peer.reports.saturating_add(1 + shares as u32 / 8);
            peer.reports <= MAX_REPORTS
        })
    }

    /// Another heartbeat: reports are counted anew.
    pub(super) fn begin_beat(&mut self) {
        self.peers.values_mut().for_each(|peer| peer.reports = 0);
    }

    /// An assignment of `id` is obeyed: its reign and its sequence.
    pub(super) fn obeyed(&mut self, id: NodeId, number: (u64, u64)) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.obeyed = number;
        }
    }

    /// Whether `id` is one of the next to lead, for all that this node knows. In a small cluster all are.
    pub(super) fn is_candidate(&self, id: NodeId) -> bool {
        let lower = self.peers.range(..id).filter(|(_, peer)| peer.state == PeerState::Alive);
        self.is_small() || lower.take(self.config.candidates).count() < self.config.candidates
    }

    /// The run that answers says goodbye.
    pub(super) fn leave(&mut self, id: NodeId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.left = Some(now);
            self.is_stale |= self.watched.insert(id);
        }
    }

    /// This node itself was not running for `pause`, so nobody could have been heard: that time does not count.
    pub(super) fn excuse(&mut self, pause: Duration, now: Instant) {
        for peer in self.peers.values_mut() {
            for since in [&mut peer.answered, &mut peer.asked_since] {
                *since = since.map(|since| (since + pause).min(now));
            }
        }
    }

    /// Lets time pass. Gives the peers whose state has changed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(NodeId, PeerState)> {
        let (is_small, mut changed) = (self.is_small(), Vec::new());
        for &id in &self.watched {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let state = peer.judge(&self.config, is_small, now);
            if state != peer.state && (peer.state != PeerState::Down || state != PeerState::Unknown) {
                peer.state = state;
                changed.push((id, state));
                self.is_stale = true;
            }
        }
        let watched = self.watched.iter().filter_map(|id| self.peers.get(id));
        self.next = watched.filter_map(|peer| peer.next_change(&self.config, now)).min();
        changed
    }

    /// When a peer's state can next change by time alone; never too late.
    pub(super) fn next_change(&self) -> Option<Instant> {
        self.next
    }
}
