//! What a node says of itself, and a leader of how things stand.

use std::sync::Arc;
use std::time::Instant;

use super::super::leading::Leading;
use super::super::{Heartbeat, Message, NodeId, ProcessRequest, Standing};
use super::Cluster;

/// How things stand, as a leader last told it.
#[derive(Debug)]
pub(super) struct Told {
    /// For the next candidates: all of it.
    full: Arc<Standing>,
    /// For everyone else.
    brief: Arc<Standing>,
}

impl Told {
    pub(super) fn by(leading: &Leading, word: u64) -> Self {
        Self { full: Arc::new(leading.standing(word)), brief: Arc::new(leading.brief_standing(word)) }
    }
}

impl Cluster {
    /// Everything that happens once a heartbeat.
    pub(super) fn beat(&mut self, now: Instant) {
        self.beats += 1;
        if self.leading.is_some() {
            self.ask(self.leader);
            self.hear_itself(now); // what it searched itself is told with the rest
        }
        self.tell(now);
        if let Some(leading) = &mut self.leading {
            leading.expire(now, &mut self.out);
            let board = leading.board();
            if let Some(epoch) = self.epoch {
                self.confirm(epoch, self.beats, board);
            }
        }
        if let Some(leader) = self.leader {
            self.worker.offer_pending(leader, &mut self.out);
        }
        if self.leading.is_none() && self.worker.is_idle() {
            self.ask(self.leader);
        }
    }

    /// Heartbeats to all whom this node watches; from a leader, with what is new.
    pub(super) fn tell(&mut self, now: Instant) {
        if let Some(leading) = &self.leading {
            self.standing = Some(Told::by(leading, self.beats));
        }
        let peers = self.peers.audience();
        self.send_heartbeats(now, peers);
    }

    /// Milliseconds since the start.
    pub(super) fn uptime(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }

    pub(super) fn heartbeat(&self, now: Instant, to: NodeId) -> Heartbeat {
        let standing = |told: &Told| if self.peers.is_candidate(to) { &told.full } else { &told.brief }.clone();
        Heartbeat {
            incarnation: self.config.incarnation,
            sent: self.uptime(now),
            echo: None,
            epoch: self.epoch,
            standing: self.standing.as_ref().map(standing),
        }
    }

    pub(super) fn send_heartbeats(&mut self, now: Instant, to: Vec<NodeId>) {
        to.into_iter().for_each(|peer| self.send_heartbeat(now, peer));
    }

    pub(super) fn send_heartbeat(&mut self, now: Instant, to: NodeId) {
        let heartbeat = self.heartbeat(now, to);
        self.out.send(to, Message::HeartbeatRequest(heartbeat));
    }

    /// What this node has to tell the leader of the newest epoch.
    pub(super) fn request(&self) -> Option<ProcessRequest> {
        self.epoch.filter(|epoch| Some(epoch.leader) == self.leader).map(|epoch| self.worker.request(epoch))
    }

    pub(super) fn ask(&mut self, leader: Option<NodeId>) {
        if let (Some(leader), Some(request)) = (leader, self.request()) {
            self.out.send(leader, Message::ProcessRequest(request));
        }
    }
}
