//! What a leader does: hands out ranges, takes answers, ends rounds.
//!
//! ```text
//! handle_job ──> ledger ──grant──> Process          ProcessRequest, ProcessAnswerNo ──> ledger ──grant──> Process
//! ProcessAnswerYes ──verify──> Submit, ProcessInterrupt to the others ──settled──> next job
//! ```
//!
//! A *round* is the search for one block. All ledgers belong to the round under way; when it ends they are gone, and leases of
//! rounds that are over mean nothing any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::board::{Board, MAX_JOBS};
use super::done::Done;
use super::ledger::{Lease, Ledger};
use super::outbox::Outbox;
use super::planted::{Bug, planted};
use super::trust::{Distrusted, LONGEST_LEASE, Trust};
use super::{
    Claim, Config, Epoch, JobDone, Message, NodeId, Output, Process, ProcessAnswerNo, ProcessInterrupt, ProcessRequest,
    Standing, Unsettled, board,
};
use crate::work::{Job, NonceRange, Search, ShareBits, Solution};

/// Units that a node gets which has not measured its speed yet: a tenth of a second of a slow core.
const FIRST_LEASE: u64 = 10;

/// Solutions that await the source's final word. Only jobs that go on after a solution have more than one.
pub(super) const MAX_UNSETTLED: usize = 16;

/// A node has so many solutions waiting until the source has named the block to find.
const MAX_UNJUDGED: usize = 4;

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
    /// A job was asked for and has not come yet.
    asked: bool,
    unsettled: Vec<Unsettled>,
    /// The last solutions that the source has said its final word on.
    settled: VecDeque<Solution>,
    /// The source's last job: the block to find and the terms. None until the source was heard in this reign.
    terms: Option<Job>,
    /// Solutions that came before.
    unjudged: Vec<Unsettled>,
    /// The reign of which the board was heard.
    board_of: Option<Epoch>,
    /// What the board says may be old, since somebody searches a job that it does not name, or there was a reign since. Until then nothing
    /// of it is granted, unless the source is heard, or the last leader.
    doubt_until: Option<Instant>,
    /// Since when, or since when the reign before did.
    doubted: Option<Instant>,
    is_news: bool,
    trust: Trust,
    /// Nodes at work in this epoch and their speed in nonces per second.
    rates: BTreeMap<NodeId, u64>,
    /// Nodes that asked for more than there was.
    hungry: BTreeSet<NodeId>,
    /// While this leader takes over: nodes that have not said yet what they hold, and how long they are waited for. Nothing is
    /// granted until then, since it could be theirs; all have leases enough in hand for that time.
    unheard: BTreeSet<NodeId>,
    gather_until: Option<Instant>,
}

impl Leading {
    /// Begins an epoch where the board says that the last one stopped, among the `live` nodes. If another reign has
    /// `doubted` lately, the time that it did so counts.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        config: Config,
        epoch: Epoch,
        board: &Board,
        trust: Trust,
        live: BTreeSet<NodeId>,
        doubted: Option<Instant>,
        now: Instant,
        out: &mut Outbox,
    ) -> Self {
        let mut ledgers: VecDeque<_> =
            board.jobs().iter().map(|(job, done)| Ledger::new(*job, done.clone(), config.unit)).collect();
        ledgers.iter_mut().for_each(|ledger| ledger.disbelieve(trust.distrusted()));
        let mut leading = Self {
            config,
            epoch,
            round: 1,
            gather_until: (!ledgers.is_empty() && !planted(Bug::GrantsAtOnce)).then(|| now + config.gather_time()),
            unheard: live,
            ledgers,
            next_lease: 1,
            asked: false,
            unsettled: Vec::new(),
            settled: VecDeque::new(),
            terms: None,
            unjudged: Vec::new(),
            board_of: board.of(),
            doubt_until: None,
            doubted,
            is_news: false,
            trust,
            rates: BTreeMap::new(),
            hungry: BTreeSet::new(),
        };
        // Even where the board has work left, whether its block is still the one to find is for the source to say.
        leading.ask_for_job(out);
        leading
    }

    /// Nodes at work in this epoch and their speed in nonces per second.
    pub(super) fn rates(&self) -> &BTreeMap<NodeId, u64> {
        &self.rates
    }

    pub(super) fn distrusted(&self) -> &Distrusted {
        self.trust.distrusted()
    }

    pub(super) fn unsettled(&self) -> &[Unsettled] {
        &self.unsettled
    }

    #[cfg(test)]
    pub(super) fn ledgers(&self) -> impl Iterator<Item = &Ledger> {
        self.ledgers.iter()
    }

    /// What is done, as it travels.
    pub(super) fn done(&self) -> Vec<JobDone> {
        board::in_full(self.jobs())
    }

    fn leases_of(&self, node: NodeId) -> impl Iterator<Item = &Lease> {
        self.ledgers.iter().flat_map(Ledger::leases).filter(move |lease| lease.node == node)
    }

    fn jobs(&self) -> impl Iterator<Item = (&Job, &Done)> {
        self.ledgers.iter().map(|ledger| (ledger.job(), ledger.done()))
    }

    /// How things stand, for those who may lead next.
    pub(super) fn standing(&self) -> Standing {
        self.standing_of(self.done())
    }

    /// The same for those who will not lead soon.
    pub(super) fn brief_standing(&self) -> Standing {
        self.standing_of(board::in_brief(self.jobs()))
    }

    fn standing_of(&self, done: Vec<JobDone>) -> Standing {
        let distrusted = self.trust.distrusted().iter().take(MAX_DISTRUSTED).map(|(&node, &run)| (node, run)).collect();
        Standing { word: 0, done, unsettled: self.unsettled.clone(), distrusted }
    }

    /// What the last leader knew and had told everyone.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        epoch: Epoch,
        standing: &Standing,
        distrusted: &Distrusted,
        out: &mut Outbox,
    ) {
        let heard = Board::heard(epoch, standing);
        let is_same = heard.jobs().iter().map(|(job, _)| job).eq(self.ledgers.iter().map(Ledger::job));
        if self.terms.is_none() && (self.doubt_until.is_some() || !is_same) {
            // Its board, not this node's, is the one to go on from; and whoever has said what it holds spoke of that.
            let is_named = |ledger: &Ledger| heard.jobs().iter().any(|(job, _)| job == ledger.job());
            for lease in self.ledgers.iter().filter(|ledger| !is_named(ledger)).flat_map(Ledger::leases) {
                self.interrupt(lease.node, None, vec![(self.epoch, lease.number)], out);
            }
            self.ledgers.retain(is_named);
            let is_new = |job: &Job| !self.is_found(job) && self.ledgers.iter().all(|ledger| ledger.job() != job);
            let new: Vec<_> = heard.jobs().iter().filter(|(job, _)| is_new(job)).cloned().collect();
            self.ledgers.extend(new.into_iter().map(|(job, done)| Ledger::new(job, done, self.config.unit)));
            (self.board_of, self.doubt_until) = (Some(epoch), None);
            self.gather_until = Some(now + self.config.gather_time());
            self.unheard.extend(self.rates.keys());
            self.is_news = true; // that makes them say it again
        }
        for (job, done) in heard.jobs() {
            if let Some(ledger) = self.ledgers.iter_mut().find(|ledger| ledger.job() == job) {
                ledger.learn(done);
            }
        }
        distrusted.iter().for_each(|(&node, &run)| self.trust.distrust(node, run));
        self.ledgers.iter_mut().for_each(|ledger| ledger.disbelieve(self.trust.distrusted()));
        standing.unsettled.iter().for_each(|&unsettled| self.resume(unsettled, out));
    }

    /// What is done, for this node's own board.
    pub(super) fn save(&self, board: &mut Board) {
        board.set(self.epoch, self.ledgers.iter().map(|ledger| (*ledger.job(), ledger.done().clone())));
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
        (self.terms, self.doubt_until) = (Some(job), None);
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

    /// Whether there is news that the other nodes should not have to wait for until the next heartbeat.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// When [`Leading::handle_timeout`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.gather_until.into_iter().chain(self.doubt_until).min()
    }

    /// Since when this reign doubts or did, or the one before.
    pub(super) fn doubted(&self) -> Option<Instant> {
        self.doubted
    }

    /// The board may be old. By the time this ends, nobody has anything newer to search.
    pub(super) fn doubt(&mut self, now: Instant) {
        let until = *self.doubted.get_or_insert(now) + self.config.lease_depth();
        self.doubt_until = Some(until).filter(|&until| now < until);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if self.gather_until.is_some_and(|until| now >= until) {
            self.unheard.clear();
            self.feed(now, out);
        }
        if self.doubt_until.take_if(|until| now >= *until).is_some() {
            self.feed(now, out);
        }
    }

    /// Gives nodes that got too little what there is now.
    fn feed(&mut self, now: Instant, out: &mut Outbox) {
        if self.unheard.is_empty() {
            self.gather_until = None;
        }
        for node in std::mem::take(&mut self.hungry) {
            self.top_up(now, node, out);
        }
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
        self.gather_until = None; // whatever was held before is over
        self.hungry = self.rates.keys().copied().collect();
        self.is_news = true;
    }

    /// Tells `node` that everything before this round is over, and so are the `void` leases; and if so, that its solution is settled.
    fn interrupt(&self, node: NodeId, settled: Option<&Solution>, void: Vec<(Epoch, u64)>, out: &mut Outbox) {
        let settled = settled.map(Solution::id);
        let interrupt = ProcessInterrupt { epoch: self.epoch, round: self.round - 1, settled, void };
        out.send(node, Message::ProcessInterrupt(interrupt));
    }

    pub(super) fn handle_request(&mut self, now: Instant, from: NodeId, request: ProcessRequest, out: &mut Outbox) {
        if request.epoch != self.epoch && !planted(Bug::OldRequestsCount) {
            return; // from before this epoch: the sender will hear of it and ask again
        }
        self.rates.insert(from, request.rate);
        for claim in request.finished.iter().take(MAX_FINISHED) {
            if !self.credit(from, claim, out) {
                continue;
            }
            if planted(Bug::FinishedIgnored) {
                break;
            }
            let is_over = |lease: &Lease| lease.node == from && claim.range.covers(&lease.rest);
            self.ledgers
                .iter_mut()
                .filter(|ledger| ledger.id() == claim.job)
                .for_each(|ledger| ledger.reclaim(is_over));
        }
        let (mut outdated, mut is_board_old, mut void) = (false, false, Vec::new());
        let longest = self.longest_claim(from);
        let mut count = self.leases_of(from).count();
        for (place, held) in request.held.iter().take(MAX_HELD).enumerate() {
            self.credit(from, &held.searched, out);
            let believes = self.trust.believes(from);
            let Some(ledger) = self.ledgers.iter_mut().find(|ledger| ledger.id() == held.searched.job) else {
                outdated = true;
                is_board_old |= believes && Some(held.epoch) >= self.board_of;
                continue;
            };
            if held.epoch == self.epoch && ledger.progress(held.lease, from, place == 0, now) {
                continue;
            }
            // A lease of another reign, or one that was thought lost: where nobody else has it, it goes on as a new one.
            let number = self.next_lease;
            let has_room = count < MAX_LEASES && held.rest.len() <= longest;
            let bits = held.searched.bits;
            let is_welcome = believes && has_room && Trust::admits(ledger.job(), bits, longest);
            if is_welcome && ledger.adopt(number, from, held.rest, bits, now) {
                self.next_lease += 1;
                count += 1;
                let job = *ledger.job();
                out.send(from, self.process(number, job, held.rest, bits));
            } else if !ledger.is_leased_to(from, held.rest) {
                void.push((held.epoch, held.lease)); // otherwise its new name is on its way
            }
        }
        // Before the source has named the block to find, a job that this leader does not know may well be for it.
        if is_board_old && self.terms.is_none() {
            self.doubt(now);
        }
        if planted(Bug::VoidLeasesUntold) {
            void.clear();
        }
        if outdated && self.terms.is_some() || !void.is_empty() {
            self.interrupt(from, None, void, out);
        }
        self.resend(now, from, &request, out);
        self.hungry.insert(from);
        self.unheard.remove(&from);
        self.feed(now, out);
    }

    /// Takes a node's word for what it has searched, and weighs what it shows for it. False if its word does not count.
    fn credit(&mut self, from: NodeId, claim: &Claim, out: &mut Outbox) -> bool {
        let longest = self.longest_claim(from);
        let Some(ledger) = self.ledgers.iter_mut().find(|ledger| ledger.id() == claim.job) else { return false };
        // What counts as a share is for the leader to say that gives the lease. Of another's leases it is known about how long they were.
        let is_own = |lease: &&Lease| lease.node == from && !lease.rest.intersection(&claim.range).is_empty();
        let is_right = match ledger.leases().iter().find(is_own) {
            Some(lease) => lease.bits == claim.bits,
            None => Trust::admits(ledger.job(), claim.bits, longest),
        };
        if !self.trust.believes(from) || !is_right {
            return false;
        }
        if planted(Bug::ProgressIgnored) && ledger.leases().iter().any(|lease| lease.rest.end > claim.range.end) {
            return false;
        }
        let new = ledger.mark_done(claim.range, from);
        if !self.trust.weigh(from, ledger.job(), claim, &new) {
            out.push(Output::Distrusted { node: from });
            if !planted(Bug::LiesStayDone) {
                self.ledgers.iter_mut().for_each(|ledger| ledger.disbelieve(self.trust.distrusted()));
            }
            self.is_news = true;
        }
        true
    }

    fn process(&self, lease: u64, job: Job, range: NonceRange, bits: ShareBits) -> Message {
        Message::Process(Process { epoch: self.epoch, lease, round: self.round, job, range, bits })
    }

    /// Sends those leases again that `from` should hold but does not name: their `Process` was lost on the way.
    fn resend(&self, now: Instant, from: NodeId, request: &ProcessRequest, out: &mut Outbox) {
        let patience = self.config.answer_time();
        for ledger in &self.ledgers {
            for lease in ledger.leases().iter().filter(|lease| lease.node == from) {
                let named = request.held.iter().any(|held| held.epoch == self.epoch && held.lease == lease.number);
                if !named && now.saturating_duration_since(lease.seen.max(lease.granted)) > patience {
                    out.send(from, self.process(lease.number, *ledger.job(), lease.rest, lease.bits));
                }
            }
        }
    }

    pub(super) fn handle_answer_no(&mut self, now: Instant, from: NodeId, answer: ProcessAnswerNo, out: &mut Outbox) {
        if answer.epoch != self.epoch && !planted(Bug::OldAnswersCount) {
            return;
        }
        self.rates.insert(from, answer.rate);
        self.credit(from, &answer.searched, out);
        let is_over = |lease: &Lease| lease.number == answer.lease && lease.node == from;
        self.ledgers.iter_mut().for_each(|ledger| ledger.reclaim(is_over));
        self.top_up(now, from, out);
    }

    /// Takes a solution that some node found in whatever epoch. It speaks for itself, but for which block is wanted and on
    /// what terms is for the source to say.
    pub(super) fn handle_solution(&mut self, from: NodeId, solution: Solution, out: &mut Outbox) {
        if solution.verify().is_none() && !planted(Bug::SolutionsUnverified) {
            out.push(Output::Refused { from, solution });
            return;
        }
        // Of a block that this leader has not heard of yet, the source may be about to tell.
        if self.terms.is_some_and(|terms| terms.height >= solution.job.height) {
            self.judge(from, solution, out);
        } else if self.unjudged.iter().filter(|unjudged| unjudged.found_by == from).count() < MAX_UNJUDGED
            && !self.unjudged.iter().any(|unjudged| unjudged.solution == solution)
        {
            self.unjudged.push(Unsettled { solution, found_by: from });
        }
    }

    /// Takes over a solution that the last leader had accepted, and perhaps submitted.
    pub(super) fn resume(&mut self, Unsettled { solution, found_by }: Unsettled, out: &mut Outbox) {
        let current = self.current().filter(|current| current.block() == solution.job.block());
        let is_of_other_terms = current.is_some_and(|current| !current.is_same_search(&solution.job));
        let is_known =
            self.settled.contains(&solution) || self.unsettled.iter().any(|unsettled| unsettled.solution == solution);
        if solution.verify().is_some() && self.unsettled.len() < MAX_UNSETTLED && !is_of_other_terms && !is_known {
            self.accept(found_by, solution, out);
        }
    }

    fn judge(&mut self, from: NodeId, solution: Solution, out: &mut Outbox) {
        if self.unsettled.iter().any(|unsettled| unsettled.solution == solution) {
            return; // it is with the source
        }
        let is_wanted = self.terms.is_some_and(|terms| terms.is_same_search(&solution.job));
        let is_found =
            self.ledgers.is_empty() && self.settled.iter().any(|other| other.job.block() == solution.job.block());
        if !is_wanted || is_found || self.settled.contains(&solution) {
            self.interrupt(from, Some(&solution), vec![], out);
            return;
        }
        let ends_round = solution.job.search == Search::First;
        if self.unsettled.len() < MAX_UNSETTLED && !(ends_round && self.is_found(&solution.job)) {
            self.accept(from, solution, out);
        } // otherwise one is enough; the finder offers it again
    }

    /// Whether a solution that ends the search for the job's block is with the source.
    fn is_found(&self, job: &Job) -> bool {
        let same = |unsettled: &Unsettled| unsettled.ends_round() && unsettled.solution.job.block() == job.block();
        self.unsettled.iter().any(same)
    }

    fn accept(&mut self, from: NodeId, solution: Solution, out: &mut Outbox) {
        self.unsettled.push(Unsettled { solution, found_by: from });
        out.push(Output::Submit { solution, found_by: from });
        let ends_round = solution.job.search == Search::First;
        if ends_round && self.current().is_some_and(|current| current.block() == solution.job.block()) {
            self.end_round(Some(from), out);
        }
    }

    /// The source has said its final word.
    pub(super) fn handle_settled(&mut self, solution: &Solution, out: &mut Outbox) {
        let Some(at) = self.unsettled.iter().position(|unsettled| unsettled.solution == *solution) else { return };
        let Unsettled { found_by, .. } = self.unsettled.swap_remove(at);
        if self.settled.len() == MAX_SETTLED {
            self.settled.pop_front();
        }
        self.settled.push_back(*solution);
        self.interrupt(found_by, Some(solution), vec![], out);
        if solution.job.search == Search::First {
            self.asked = false;
            self.ask_for_job(out);
        }
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
        self.unheard.remove(&node);
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

    /// This node itself was not running for `pause`, so no lease could be named: that time does not count.
    pub(super) fn excuse(&mut self, pause: Duration, now: Instant) {
        self.ledgers.iter_mut().for_each(|ledger| ledger.excuse(pause, now));
    }

    /// Reclaims leases that their nodes have not mentioned, or not got on with, for long.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Outbox) {
        if planted(Bug::LeasesNeverExpire) {
            return;
        }
        let expiry = self.config.lease_expiry();
        for ledger in &mut self.ledgers {
            ledger.reclaim(|lease| now.saturating_duration_since(lease.seen) > expiry);
        }
        self.feed(now, out);
    }

    /// How many nonces a lease of `node` should have, and all its leases together.
    fn wants(&self, node: NodeId) -> (u64, u64) {
        let unit = self.config.unit;
        let nonces = |rate: u64, time: Duration| ((rate as f64 * time.as_secs_f64()) as u64).max(unit);
        match self.rates.get(&node) {
            None | Some(0) => (FIRST_LEASE * unit, 2 * FIRST_LEASE * unit),
            Some(&rate) => (nonces(rate, self.config.lease_time()), nonces(rate, self.config.lease_depth())),
        }
    }

    /// How long a lease of `node` may be that another leader has given: it may have been faster then.
    fn longest_claim(&self, node: NodeId) -> u64 {
        self.wants(node).0.saturating_mul(16).min(LONGEST_LEASE)
    }

    /// Grants leases until `node` has [`Config::lease_depth`] in hand.
    fn top_up(&mut self, now: Instant, node: NodeId, out: &mut Outbox) {
        if self.gather_until.is_some() || self.doubt_until.is_some() {
            self.hungry.insert(node);
            return;
        }
        if !self.trust.believes(node) && !planted(Bug::LiarsGetLeases) {
            return;
        }
        // The last job stays even if nothing of it is left, so that the leader remembers which block it is on.
        let last = self.ledgers.back().map(Ledger::id);
        self.ledgers.retain(|ledger| Some(ledger.id()) == last || !ledger.is_exhausted());
        let (lease, depth) = self.wants(node);
        // Of what can be open at once, half is shared among the nodes, so that the fastest do not take it all.
        let open = self.current().map_or(0, |job| job.space().len()).saturating_mul(MAX_JOBS as u64 / 2);
        let share = (open / self.rates.len().max(1) as u64).max(self.config.unit);
        let (lease, depth) = (lease.min(share).min(LONGEST_LEASE), depth.min(share));
        let (mut held, mut count) = self
            .leases_of(node)
            .fold((0u64, 0), |(held, count), lease| (held.saturating_add(lease.rest.len()), count + 1));
        while held < depth && count < MAX_LEASES {
            let number = self.next_lease;
            let grant = self.ledgers.iter_mut().find_map(|ledger| {
                let range = ledger.grant(number, node, lease, now)?;
                Some((*ledger.job(), range, ShareBits::for_job(ledger.job(), range.len())))
            });
            let Some((job, range, bits)) = grant else {
                self.hungry.insert(node);
                if self.ledgers.len() < MAX_JOBS && !self.terms.is_some_and(|terms| self.is_found(&terms)) {
                    self.ask_for_job(out);
                }
                return;
            };
            if planted(Bug::DoneAtGrant)
                && let Some(ledger) = self.ledgers.iter_mut().find(|l| l.job() == &job)
            {
                ledger.mark_done(range, node);
            }
            self.next_lease += 1;
            count += 1;
            held = held.saturating_add(range.len());
            out.send(node, self.process(number, job, range, bits));
        }
    }
}
