//! Leases: who holds what, says what of it, and gets how much more.

use std::time::{Duration, Instant};

use super::super::ledger::{Lease, Ledger};
use super::super::outbox::Outbox;
use super::super::planted::{Bug, planted};
use super::super::trust::{LONGEST_LEASE, Trust};
use super::super::{Claim, Message, NodeId, Output, Process, ProcessAnswerNo, ProcessRequest};
use super::{FIRST_LEASE, Leading, MAX_ENDED, MAX_FINISHED, MAX_HELD, MAX_JOBS, MAX_LEASES};
use crate::work::{Job, NonceRange, ShareBits};

impl Leading {
    pub(in crate::cluster) fn handle_request(
        &mut self,
        now: Instant,
        from: NodeId,
        request: ProcessRequest,
        out: &mut Outbox,
    ) {
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
                is_board_old |= believes && self.taking_over.may_be_newer(held.epoch);
                continue;
            };
            if held.epoch == self.epoch && ledger.progress(held.lease, from, place == 0, now) {
                continue;
            }
            // A lease of another reign, or one that was thought lost: where nobody else has it, it goes on as a new one, if it is not too old.
            let number = self.next_lease;
            let has_room = count < MAX_LEASES && held.rest.len() <= longest;
            let bits = held.searched.bits;
            let is_ended = held.epoch == self.epoch && self.ended.contains(&held.lease);
            let is_welcome = believes && has_room && !is_ended && Trust::admits(ledger.job(), bits, longest);
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
        self.taking_over.hear(from);
        self.feed(now, out);
    }

    pub(in crate::cluster) fn handle_answer_no(
        &mut self,
        now: Instant,
        from: NodeId,
        answer: ProcessAnswerNo,
        out: &mut Outbox,
    ) {
        if answer.epoch != self.epoch && !planted(Bug::OldAnswersCount) {
            return;
        }
        self.rates.insert(from, answer.rate);
        self.credit(from, &answer.searched, out);
        let is_own = |lease: &Lease| lease.node == from || planted(Bug::AnswersEndAnyLease);
        let is_over = |lease: &Lease| lease.number == answer.lease && is_own(lease);
        self.ledgers.iter_mut().for_each(|ledger| ledger.reclaim(is_over));
        self.top_up(now, from, out);
    }

    /// Takes a node's word for what it has searched, and weighs what it shows for it. False if its word does not count.
    pub(super) fn credit(&mut self, from: NodeId, claim: &Claim, out: &mut Outbox) -> bool {
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
                self.disbelieve();
            }
            self.is_news = true;
        }
        true
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

    fn process(&self, lease: u64, job: Job, range: NonceRange, bits: ShareBits) -> Message {
        Message::Process(Process { epoch: self.epoch, lease, round: self.round, job, range, bits })
    }

    /// Grants leases until `node` has [`lease_depth`](super::super::Config::lease_depth) in hand.
    pub(super) fn top_up(&mut self, now: Instant, node: NodeId, out: &mut Outbox) {
        if self.taking_over.waits() || self.resting.contains_key(&node) {
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

    fn leases_of(&self, node: NodeId) -> impl Iterator<Item = &Lease> {
        self.ledgers.iter().flat_map(Ledger::leases).filter(move |lease| lease.node == node)
    }

    /// Reclaims leases that their nodes have not mentioned, or not got on with, for long, and those that go on for ever.
    pub(in crate::cluster) fn expire(&mut self, now: Instant, out: &mut Outbox) {
        if planted(Bug::LeasesNeverExpire) {
            return;
        }
        let (expiry, age) = (self.config.lease_expiry(), self.config.lease_age());
        let is_over = |since: Instant, most| now.saturating_duration_since(since) > most;
        let Self { ledgers, ended, resting, .. } = self;
        resting.retain(|_, until| now < *until);
        for ledger in ledgers {
            let old = |lease: &&Lease| is_over(lease.granted, age) && !planted(Bug::LeasesHoarded);
            for lease in ledger.leases().iter().filter(old) {
                ended.insert(lease.number);
                resting.insert(lease.node, now + expiry);
            }
            ledger.reclaim(|lease| is_over(lease.seen, expiry) || ended.contains(&lease.number));
        }
        while self.ended.len() > MAX_ENDED {
            self.ended.pop_first();
        }
        self.feed(now, out);
    }

    /// This node itself was not running for `pause`, so no lease could be named: that time does not count.
    pub(in crate::cluster) fn excuse(&mut self, pause: Duration, now: Instant) {
        self.ledgers.iter_mut().for_each(|ledger| ledger.excuse(pause, now));
    }
}
