//! Which reigns a node believes in, and what it learns from their leaders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::board::Board;
use super::super::leading::MAX_UNSETTLED;
use super::super::planted::{Bug, planted};
use super::super::trust::Distrusted;
use super::super::{Epoch, Heartbeat, NodeId, Standing};
use super::Cluster;

/// A node may have missed so many epochs. Whoever names a later one makes it up: counters must never run out.
const MAX_EPOCHS_MISSED: u64 = 1 << 32;

/// What a leader has heard of newer reigns and not acted on yet.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    /// When this node last began anew because others knew of a newer epoch.
    surpassed: Option<Instant>,
    /// The newest epoch that it has to surpass since, and has not yet.
    newest: Option<Epoch>,
    /// What the leader of a newer epoch said to this one, which did not enter that epoch.
    word: Option<(Epoch, Arc<Standing>)>,
}

impl Cluster {
    /// Takes in what another node's heartbeat says of the epoch and of what is done.
    pub(super) fn hear(&mut self, now: Instant, from: NodeId, heartbeat: Heartbeat) {
        let is_newest = self.peers.is_newest(from, heartbeat.incarnation, heartbeat.sent);
        let Some(epoch) = heartbeat.epoch.filter(|_| is_newest) else { return };
        if self.leading.is_some() && !self.peers.is_alive(from, heartbeat.incarnation) {
            // It may not hear this node, and then there is no surpassing what it says.
            return self.remember(from, epoch, heartbeat.standing);
        }
        if self.leading.is_some() && self.is_news(from, epoch) {
            // To surpass it, a leader begins anew. Once a heartbeat at most: else rumours could keep it from ever granting anything.
            let is_soon = self.rumours.surpassed.is_some_and(|at| now < at + self.config.heartbeat);
            if is_soon && !planted(Bug::RumoursBelievedAtOnce) {
                self.rumours.newest = self.rumours.newest.max(Some(epoch));
                return self.remember(from, epoch, heartbeat.standing);
            }
            self.rumours.surpassed = Some(now);
        }
        self.see_epoch(from, epoch);
        let follows = self.leader.is_some_and(|leader| leader < from && leader != self.config.id);
        if heartbeat.standing.is_some() && Some(epoch) > self.epoch && follows {
            // It leads, so for it all lower ids are gone; or it did, and steps down for one. Questions say which. Heartbeats count whole
            // milliseconds, and so will the answers.
            let doubted = self.peers.doubt_below(from, self.started + Duration::from_millis(self.uptime(now)));
            self.send_heartbeats(now, doubted);
        }
        let Some(standing) = heartbeat.standing.filter(|_| epoch.leader == from && from != self.config.id) else {
            return;
        };
        let distrusted = self.believable(epoch, &standing);
        if let Some(leading) = &mut self.leading
            && self.predecessor == Some(epoch)
        {
            // Its last word was overtaken by its successor's first.
            leading.learn(now, epoch, &standing, &distrusted, &mut self.out);
        }
        if self.epoch == Some(epoch) {
            self.take_over(epoch, &standing, distrusted);
        }
    }

    /// A leader may yet have to surpass that epoch, and then goes on from where it stood.
    fn remember(&mut self, from: NodeId, epoch: Epoch, standing: Option<Arc<Standing>>) {
        let is_older = |(other, _): &(Epoch, _)| *other > epoch;
        let is_word =
            epoch.leader == from && Some(epoch) > self.epoch && !self.rumours.word.as_ref().is_some_and(is_older);
        if let Some(standing) = standing.filter(|_| is_word) {
            self.rumours.word = Some((epoch, standing));
        }
    }

    /// Takes in the rumour that had to wait. True if that ends its reign.
    pub(super) fn hear_rumour(&mut self, now: Instant) -> bool {
        let is_news = |epoch: &Epoch| self.leading.is_some() && Some(*epoch) > self.epoch;
        let Some(epoch) = self.rumours.newest.take().filter(is_news) else { return false };
        self.rumours.surpassed = Some(now);
        self.enter(epoch);
        true
    }

    /// Whom the leader of `epoch` does not believe, members only. Of a higher id, which leads where this node was not heard, it takes neither
    /// doubts of itself nor of most: then nobody would be left to do the work.
    fn believable(&self, epoch: Epoch, standing: &Standing) -> Distrusted {
        let (id, peers) = (self.config.id, self.peers.ids().count());
        let follows = epoch.leader < id;
        let is_member = |(node, _): &(NodeId, u64)| self.peers.contains(*node) || follows && *node == id;
        let named: Distrusted = standing.distrusted.iter().copied().filter(is_member).collect();
        if follows || named.len() * 2 <= peers { named } else { Distrusted::new() }
    }

    /// Goes on from what the leader of this epoch says of how things stand.
    fn take_over(&mut self, epoch: Epoch, standing: &Standing, distrusted: Distrusted) {
        if epoch.leader < self.config.id {
            if distrusted.iter().any(|(id, run)| self.legacy.distrusted.get(id) != Some(run)) {
                self.legacy.board = Board::default(); // it may be what they said; the leader knows better
            }
            self.legacy.distrusted = distrusted;
        } else {
            self.legacy.distrusted.extend(distrusted); // it led where this node was not heard
        }
        if !planted(Bug::BoardNotKept) {
            self.legacy.board.merge(epoch, standing);
        }
        self.legacy.unsettled = standing.unsettled.iter().take(MAX_UNSETTLED).copied().collect();
        // What an earlier leader knew may be news to this one.
        if planted(Bug::ConfirmedByHearsay) {
            self.worker.confirm(&self.legacy.board, &self.legacy.board);
        }
        self.confirm(epoch, standing.word, Board::heard(epoch, standing));
    }

    /// Lets the worker forget what the leader's word before this one said to be done: by now the next leader knows it too, even if it
    /// was just about to lead, and this word was too late for it. What is said again between two heartbeats is no word of its own.
    pub(super) fn confirm(&mut self, epoch: Epoch, word: u64, board: Board) {
        let is_old = |(of, last, _): &(Epoch, u64, Board)| (*of, *last) >= (epoch, word);
        if self.last_word.as_ref().is_some_and(is_old) {
            return;
        }
        if let Some((of, _, before)) = self.last_word.take()
            && of == epoch
        {
            self.worker.confirm(&before, &board);
        }
        self.last_word = Some((epoch, word, board));
    }

    /// Whether leases and interrupts of `epoch` count when `from` sends them: only one's own leader's, and no older ones.
    pub(super) fn obeys(&self, from: NodeId, epoch: Epoch) -> bool {
        let is_new = Some(epoch) >= self.epoch || planted(Bug::OldReignsObeyed);
        let is_leader = Some(from) == self.leader || planted(Bug::AnyoneObeyed);
        epoch.leader == from && is_leader && is_new && (self.heeds(from, epoch) || planted(Bug::AnyoneObeyed))
    }

    /// Whether this node believes that there is such an epoch. A follower believes only its leader, and only from itself: so nobody can
    /// speak in another's name, and two nodes which both lead (a link is cut, or works one way) do not drive each other to ever newer
    /// epochs through those in between. A leader has to surpass what others believe in, but not a lower id that is just coming back:
    /// that one will lead itself.
    fn heeds(&self, from: NodeId, epoch: Epoch) -> bool {
        let id = self.config.id;
        let is_near = epoch.counter <= self.epoch.map_or(0, |epoch| epoch.counter).saturating_add(MAX_EPOCHS_MISSED);
        let is_ours = match self.leader {
            Some(leader) if leader == id => from == id || from != epoch.leader || epoch.leader > id,
            leader => from == epoch.leader && leader.is_none_or(|leader| leader == from),
        };
        is_near && is_ours
    }

    /// Whether `from` names an epoch newer than all that this node knew, and is heeded.
    fn is_news(&self, from: NodeId, epoch: Epoch) -> bool {
        Some(epoch) > self.epoch && self.heeds(from, epoch)
    }

    /// Takes in that there is such an epoch, if that is news.
    pub(super) fn see_epoch(&mut self, from: NodeId, epoch: Epoch) {
        if self.is_news(from, epoch) {
            self.enter(epoch);
        }
    }

    /// A newer epoch ends one's own: its leases are void, though what was done stays known.
    fn enter(&mut self, epoch: Epoch) {
        self.epoch = Some(epoch);
        if !planted(Bug::LeadsOn) {
            self.step_down();
        }
        self.standing = None; // others know better by now
        if let Some((_, standing)) = self.rumours.word.take().filter(|(of, _)| *of == epoch) {
            let distrusted = self.believable(epoch, &standing);
            self.take_over(epoch, &standing, distrusted);
        }
    }
}
