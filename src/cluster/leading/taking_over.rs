//! The begin of a reign: what it goes on from, and what it waits for before it grants anything.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::board::Board;
use super::super::done::Done;
use super::super::ledger::Ledger;
use super::super::liveness::Peers;
use super::super::outbox::Outbox;
use super::super::planted::{Bug, planted};
use super::super::trust::Distrusted;
use super::super::{Config, Epoch, NodeId, PeerState, Standing, Unsettled};
use super::Leading;
use crate::work::Job;

/// What a reign goes on from: how things stood when the last one ended, as far as this node has heard.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Legacy {
    pub(in crate::cluster) board: Board,
    /// Solutions whose final word is not known.
    pub(in crate::cluster) unsettled: Vec<Unsettled>,
    /// Nodes that are not to be believed.
    pub(in crate::cluster) distrusted: Distrusted,
    /// Since when this node's last reign doubted, or did.
    pub(in crate::cluster) doubted: Option<Instant>,
}

/// What a new leader waits for. Nothing is granted until then; all have leases enough in hand for that time.
#[derive(Debug)]
pub(super) struct TakingOver {
    config: Config,
    /// The reign of which the board was heard.
    board_of: Option<Epoch>,
    /// What the board says may be old, since somebody searches a job that it does not name, or there was a reign since. Until then nothing
    /// of it is granted, unless the source is heard, or the last leader.
    doubt_until: Option<Instant>,
    /// Since when, or since when the reign before did.
    doubted: Option<Instant>,
    /// Nodes that have not said yet what they hold: what is free may be theirs. They are waited for until then.
    unheard: BTreeSet<NodeId>,
    gather_until: Option<Instant>,
}

impl TakingOver {
    /// Goes on from the `legacy`, among the `peers`.
    pub(super) fn new(config: Config, legacy: &Legacy, peers: &Peers, now: Instant) -> Self {
        let live = peers.states().filter(|(_, state)| *state != PeerState::Down).map(|(node, _)| node);
        // Reigns that follow each other soon doubt once, lest rumours and a source that is down stop everything.
        let doubted = legacy.doubted.filter(|&at| now < at + config.lease_depth() * 4);
        Self {
            config,
            board_of: legacy.board.of(),
            doubt_until: None,
            doubted,
            unheard: live.chain([config.id]).collect(),
            gather_until: (!legacy.board.jobs().is_empty() && !planted(Bug::GrantsAtOnce))
                .then(|| now + config.gather_time()),
        }
    }

    /// Whether nothing is to be granted yet.
    pub(super) fn waits(&self) -> bool {
        self.gather_until.is_some() || self.doubt_until.is_some()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.gather_until.into_iter().chain(self.doubt_until).min()
    }

    /// Whether a wait has ended.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let has_gathered = self.gather_until.take_if(|until| now >= *until).is_some();
        if has_gathered {
            self.unheard.clear();
        }
        self.doubt_until.take_if(|until| now >= *until).is_some() || has_gathered
    }

    /// Waits for what these nodes say that they hold, too.
    pub(super) fn gather(&mut self, now: Instant, nodes: impl Iterator<Item = NodeId>) {
        self.unheard.extend(nodes);
        self.gather_until = Some(now + self.config.gather_time());
    }

    /// `node` has said what it holds, or does not hold anything any more.
    pub(super) fn hear(&mut self, node: NodeId) {
        self.unheard.remove(&node);
        if self.unheard.is_empty() {
            self.end_gathering();
        }
    }

    /// What was held before is over.
    pub(super) fn end_gathering(&mut self) {
        self.gather_until = None;
    }

    /// The board may be old. By the time this ends, nobody has anything newer to search.
    pub(super) fn doubt(&mut self, now: Instant) {
        let until = *self.doubted.get_or_insert(now) + self.config.lease_depth();
        self.doubt_until = Some(until).filter(|&until| now < until);
    }

    pub(super) fn doubts(&self) -> bool {
        self.doubt_until.is_some()
    }

    /// Since when this reign doubts or did, or the one before.
    pub(super) fn doubted(&self) -> Option<Instant> {
        self.doubted
    }

    /// The block to find is known.
    pub(super) fn end_doubt(&mut self) {
        self.doubt_until = None;
    }

    /// The leader of that reign has said how things stood.
    pub(super) fn trust_board(&mut self, of: Epoch) {
        self.board_of = Some(of);
        self.end_doubt();
    }

    /// Whether a job that the board does not name, and was granted in that reign, may be newer than the board.
    pub(super) fn may_be_newer(&self, granted: Epoch) -> bool {
        Some(granted) >= self.board_of
    }
}

impl Leading {
    /// What the last leader knew and had told everyone.
    pub(in crate::cluster) fn learn(
        &mut self,
        now: Instant,
        epoch: Epoch,
        standing: &Standing,
        distrusted: &Distrusted,
        out: &mut Outbox,
    ) {
        let heard = Board::heard(epoch, standing);
        let is_same = heard.jobs().iter().map(|(job, _)| job).eq(self.ledgers.iter().map(Ledger::job));
        if self.terms.is_none() && (self.taking_over.doubts() || !is_same) {
            // Its board, not this node's, is the one to go on from; and whoever has said what it holds spoke of that.
            let is_named = |ledger: &Ledger| heard.jobs().iter().any(|(job, _)| job == ledger.job());
            for lease in self.ledgers.iter().filter(|ledger| !is_named(ledger)).flat_map(Ledger::leases) {
                self.interrupt(lease.node, None, vec![(self.epoch, lease.number)], out);
            }
            self.ledgers.retain(is_named);
            let is_new = |job: &Job| !self.is_found(job) && self.ledgers.iter().all(|ledger| ledger.job() != job);
            let new: Vec<_> = heard.jobs().iter().map(|(job, _)| *job).filter(is_new).collect();
            self.ledgers.extend(new.into_iter().map(|job| Ledger::new(job, Done::default(), self.config.unit)));
            self.taking_over.trust_board(epoch);
            self.taking_over.gather(now, self.rates.keys().copied());
            self.is_news = true; // that makes them say it again
        }
        for (job, done) in heard.jobs() {
            if let Some(ledger) = self.ledgers.iter_mut().find(|ledger| ledger.job() == job) {
                ledger.learn(done);
            }
        }
        distrusted.iter().for_each(|(&node, &run)| self.trust.distrust(node, run));
        self.disbelieve();
        standing.unsettled.iter().for_each(|&unsettled| self.resume(unsettled, out));
    }
}
