//! What a leader does: hands out ranges, takes answers, ends rounds.
//!
//! ```text
//! handle_job ──> ledger ──grant──> Process          ProcessRequest, ProcessAnswerNo ──> ledger ──grant──> Process
//! ProcessAnswerYes ──verify──> Submit, ProcessInterrupt to the others ──settled──> next job
//! ```
//!
//! A *round* is the search for one block. All ledgers belong to the round under way; when it ends they are gone, and leases of
//! rounds that are over mean nothing any more. How a reign begins is in `taking_over`.

mod leases;
mod solutions;
mod taking_over;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use self::taking_over::TakingOver;
use super::board::{Board, MAX_JOBS};
use super::done::Done;
use super::ledger::Ledger;
use super::liveness::Peers;
use super::outbox::Outbox;
use super::planted::{Bug, planted};
use super::trust::{Distrusted, Trust};
use super::{
    Config, Epoch, JobDone, Message, NodeId, Output, ProcessInterrupt, ProcessRequest, Standing, Unsettled, board,
};
use crate::work::{Job, Solution};

pub(super) use self::taking_over::Legacy;

/// Units that a node gets which has not measured its speed yet: a tenth of a second of a slow core.
const FIRST_LEASE: u64 = 10;

/// Solutions that await the source's final word. Only jobs that go on after a solution have more than one.
pub const MAX_UNSETTLED: usize = 16;

/// A node has so many solutions waiting until the source has named the block to find.
const MAX_UNJUDGED: usize = 4;

/// Leases that lasted too long and are remembered, so that their nodes do not go on with them.
const MAX_ENDED: usize = 1024;

/// A node has at most so many leases at once.
pub(super) const MAX_LEASES: usize = 32;

/// As many as one leader gives, and as many again from the one before.
pub(super) const MAX_HELD: usize = 2 * MAX_LEASES;

/// Finished ranges that a node reports until they are confirmed: several heartbeats' worth of leases.
pub(super) const MAX_FINISHED: usize = 256;

/// Nodes that a heartbeat names as not believed. A cluster with more of them has other troubles.
const MAX_DISTRUSTED: usize = 256;

/// So many settled solutions are remembered, so that one which is offered again is not submitted again.
const MAX_SETTLED: usize = 64;

/// A leader's state, from the begin of its epoch to the end.
#[derive(Debug)]
pub(super) struct Leading {
    config: Config,
    epoch: Epoch,
    /// The round under way. It starts with 1, so that round 0 of an epoch stands for all epochs before.
    round: u64,
    ledgers: VecDeque<Ledger>,
    next_lease: u64,
    /// The last leases that lasted too long.
    ended: BTreeSet<u64>,
    /// Whose they were: until then, others come first.
    resting: BTreeMap<NodeId, Instant>,
    /// A job was asked for and has not come yet.
    asked: bool,
    unsettled: Vec<Unsettled>,
    /// The last solutions that the source has said its final word on.
    settled: VecDeque<Solution>,
    /// The source's last job: the block to find and the terms. None until the source was heard in this reign.
    terms: Option<Job>,
    /// Solutions that came before.
    unjudged: Vec<Unsettled>,
    taking_over: TakingOver,
    is_news: bool,
    trust: Trust,
    /// Nodes at work in this epoch and their speed in nonces per second.
    rates: BTreeMap<NodeId, u64>,
    /// Nodes that asked for more than there was.
    hungry: BTreeSet<NodeId>,
}

impl Leading {
    /// Begins an epoch where the `legacy` says that the last one stopped.
    pub(super) fn new(
        config: Config,
        epoch: Epoch,
        legacy: Legacy,
        peers: &Peers,
        now: Instant,
        out: &mut Outbox,
    ) -> Self {
        let taking_over = TakingOver::new(config, &legacy, peers, now);
        let Legacy { board, unsettled, distrusted, .. } = legacy;
        let mut trust = Trust::new(distrusted);
        let own = (config.id, config.incarnation);
        peers.runs().chain([own]).for_each(|(node, run)| trust.meet(node, run));
        let ledgers = board.into_jobs().map(|(job, done)| Ledger::new(job, done, config.unit));
        let mut leading = Self {
            config,
            epoch,
            round: 1,
            taking_over,
            ledgers: ledgers.collect(),
            next_lease: 1,
            ended: BTreeSet::new(),
            resting: BTreeMap::new(),
            asked: false,
            unsettled: Vec::new(),
            settled: VecDeque::new(),
            terms: None,
            unjudged: Vec::new(),
            is_news: false,
            trust,
            rates: BTreeMap::new(),
            hungry: BTreeSet::new(),
        };
        leading.disbelieve();
        // Even where the board has work left, whether its block is still the one to find is for the source to say.
        leading.ask_for_job(out);
        unsettled.into_iter().for_each(|unsettled| leading.resume(unsettled, out));
        leading
    }

    /// What is left for the next leader.
    pub(super) fn into_legacy(self) -> Legacy {
        let board = self.board();
        let doubted = self.taking_over.doubted();
        Legacy { board, unsettled: self.unsettled, distrusted: self.trust.distrusted().clone(), doubted }
    }

    /// Nodes at work in this epoch and their speed in nonces per second.
    pub(super) fn rates(&self) -> &BTreeMap<NodeId, u64> {
        &self.rates
    }

    #[cfg(test)]
    pub(super) fn unsettled(&self) -> &[Unsettled] {
        &self.unsettled
    }

    pub(super) fn distrusted(&self) -> &Distrusted {
        self.trust.distrusted()
    }

    #[cfg(test)]
    pub(super) fn ledgers(&self) -> impl Iterator<Item = &Ledger> {
        self.ledgers.iter()
    }

    /// What is done, as it travels.
    pub(super) fn done(&self) -> Vec<JobDone> {
        board::in_full(self.jobs())
    }

    fn jobs(&self) -> impl Iterator<Item = (&Job, &Done)> {
        self.ledgers.iter().map(|ledger| (ledger.job(), ledger.done()))
    }

    /// What is done.
    pub(super) fn board(&self) -> Board {
        Board::new(self.epoch, self.ledgers.iter().map(|ledger| (*ledger.job(), ledger.done().clone())))
    }

    /// How things stand by the leader's `word` of that number, for those who may lead next.
    pub(super) fn standing(&self, word: u64) -> Standing {
        self.standing_of(word, self.done())
    }

    /// The same for those who will not lead soon.
    pub(super) fn brief_standing(&self, word: u64) -> Standing {
        self.standing_of(word, board::in_brief(self.jobs()))
    }

    fn standing_of(&self, word: u64, done: Vec<JobDone>) -> Standing {
        let distrusted = self.trust.distrusted().iter().take(MAX_DISTRUSTED).map(|(&node, &run)| (node, run)).collect();
        Standing { word, done, unsettled: self.unsettled.clone(), distrusted }
    }

    /// Whether there is news that the other nodes should not have to wait for until the next heartbeat.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    fn current(&self) -> Option<&Job> {
        self.ledgers.front().map(Ledger::job)
    }

    fn ask_for_job(&mut self, out: &mut Outbox) {
        if !self.asked {
            self.asked = true;
            out.push(Output::NeedJob);
        }
    }

    /// A job from the source: more of the block under way, or the end of its round.
    pub(super) fn handle_job(&mut self, now: Instant, job: Job, out: &mut Outbox) {
        if self.is_found(&job) && !planted(Bug::FoundBlockReopened) {
            return; // a solution of this very block is with the source
        }
        self.asked = false;
        if self.current().is_some_and(|current| !current.is_same_search(&job)) {
            self.end_round(None, out);
        }
        self.terms = Some(job);
        self.taking_over.end_doubt();
        let is_known = self.ledgers.iter().any(|ledger| ledger.id() == job.id());
        if !is_known && self.ledgers.len() < MAX_JOBS {
            self.is_news |= self.ledgers.is_empty();
            self.ledgers.push_back(Ledger::new(job, Default::default(), self.config.unit));
        }
        // Now it can be said which of the solutions that came before are for this block.
        for Unsettled { solution, found_by } in std::mem::take(&mut self.unjudged) {
            self.handle_solution(found_by, solution, out);
        }
        self.feed(now, out);
    }

    /// Ends the round under way: all its leases are over, and everyone but `finder` hears it.
    fn end_round(&mut self, finder: Option<NodeId>, out: &mut Outbox) {
        let interrupt = ProcessInterrupt { epoch: self.epoch, round: self.round, settled: None, void: vec![] };
        for &node in self.rates.keys().filter(|node| Some(**node) != finder) {
            if planted(Bug::NobodyInterrupted) {
                break;
            }
            out.send(node, Message::ProcessInterrupt(interrupt.clone()));
        }
        self.round += u64::from(!planted(Bug::RoundsNotCounted));
        self.ledgers.clear();
        self.taking_over.end_gathering();
        self.hungry = self.rates.keys().copied().collect();
        self.is_news = true;
    }

    /// Tells `node` that everything before this round is over, and so are the `void` leases; and if so, that its solution is settled.
    fn interrupt(&self, node: NodeId, settled: Option<&Solution>, void: Vec<(Epoch, u64)>, out: &mut Outbox) {
        let settled = settled.map(Solution::id);
        let interrupt = ProcessInterrupt { epoch: self.epoch, round: self.round - 1, settled, void };
        out.send(node, Message::ProcessInterrupt(interrupt));
    }

    /// When [`Leading::handle_timeout`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.taking_over.next_timeout()
    }

    /// What the board says may be old.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.taking_over.doubt(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if self.taking_over.handle_timeout(now) {
            self.feed(now, out);
        }
    }

    /// Gives nodes that got too little what there is now.
    fn feed(&mut self, now: Instant, out: &mut Outbox) {
        for node in std::mem::take(&mut self.hungry) {
            self.top_up(now, node, out);
        }
    }

    /// Nothing counts any more that those have said who are not believed.
    fn disbelieve(&mut self) {
        self.ledgers.iter_mut().for_each(|ledger| ledger.disbelieve(self.trust.distrusted()));
    }

    /// `node` runs as `incarnation`.
    pub(super) fn meet(&mut self, node: NodeId, incarnation: u64) {
        self.trust.meet(node, incarnation);
    }

    /// `node` is no member of the cluster any more.
    pub(super) fn remove(&mut self, now: Instant, node: NodeId, out: &mut Outbox) {
        self.trust.forget(node);
        self.forget(now, node, out);
    }

    /// `node` does not search any more: what it held is lost.
    pub(super) fn forget(&mut self, now: Instant, node: NodeId, out: &mut Outbox) {
        self.rates.remove(&node);
        self.hungry.remove(&node);
        self.resting.remove(&node);
        self.taking_over.hear(node);
        for ledger in &mut self.ledgers {
            ledger.reclaim(|lease| lease.node == node);
        }
        self.feed(now, out);
    }

    /// What a node that leaves hands back: its progress counts, the rest is free.
    pub(super) fn handle_leave(&mut self, now: Instant, from: NodeId, request: ProcessRequest, out: &mut Outbox) {
        let held = request.held.iter().take(MAX_HELD).map(|held| &held.searched);
        for claim in held.chain(request.finished.iter().take(MAX_FINISHED)) {
            self.credit(from, claim, out);
        }
        self.forget(now, from, out);
    }
}
