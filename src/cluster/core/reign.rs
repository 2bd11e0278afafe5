//! Who leads: how a reign begins, and how it ends.

use std::time::Instant;

use super::super::leading::Leading;
use super::super::{Epoch, Output};
use super::Cluster;

impl Cluster {
    /// Takes the lowest live id for the leader, this node's own included.
    pub(super) fn elect(&mut self, now: Instant) {
        if self.leader.is_none() && self.peers.is_listening() {
            return; // it has just started, and whoever leads may be about to say so
        }
        let Some(leader) = self.peers.leader() else { return };
        let is_new = self.leader.replace(leader) != Some(leader);
        if leader == self.config.id {
            if self.leading.is_none() {
                self.lead(now);
            }
        } else if is_new {
            self.step_down();
            // It hears of everything, and says what its epoch is; with that known, this node asks it for work.
            self.send_heartbeat(now, leader);
        }
        if let Some(epoch) = self.epoch
            && epoch.leader == leader
            && self.announced != Some((leader, epoch))
        {
            self.announced = Some((leader, epoch));
            self.out.push(Output::Leader { leader, epoch });
            self.worker.offer_pending(leader, &mut self.out);
            self.ask(Some(leader));
        }
    }

    /// Stands before all reigns of this node.
    pub(super) fn first_epoch(&self) -> Epoch {
        Epoch { counter: 0, leader: self.config.id, incarnation: self.config.incarnation }
    }

    /// Begins a reign, newer than all that this node has heard of.
    fn lead(&mut self, now: Instant) {
        self.predecessor = self.epoch;
        let counter = self.epoch.map_or(0, |epoch| epoch.counter).saturating_add(1);
        let epoch = Epoch { counter, ..self.first_epoch() };
        self.epoch = Some(epoch);
        self.peers.set_leads(true);
        self.peers.refresh(now); // all are told in a moment
        let is_board_old = self.legacy.board.of() != self.predecessor;
        let legacy = std::mem::take(&mut self.legacy);
        let mut leading = Leading::new(self.config, epoch, legacy, &self.peers, now, &mut self.out);
        if is_board_old {
            leading.doubt(now); // others know of a reign that this node knows nothing of
        }
        self.leading = Some(leading);
        self.next_heartbeat = now + self.config.heartbeat;
        self.beat(now);
    }

    /// Ends its own reign, if it has one. What was done stays known.
    pub(super) fn step_down(&mut self) {
        if let Some(leading) = self.leading.take() {
            self.legacy = leading.into_legacy();
            self.peers.set_leads(false);
        }
    }
}
