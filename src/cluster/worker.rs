//! What every node does, the leader too: holds leases, scans them, keeps solutions until they are settled.

use std::collections::VecDeque;

use rangemap::RangeSet;

use super::board::Board;
use super::leading::{MAX_FINISHED, MAX_HELD};
use super::outbox::Outbox;
use super::planted::{Bug, planted};
use super::trust::{LONGEST_LEASE, Trust};
use super::{
    Claim, Epoch, Held, Message, NodeId, Output, Process, ProcessAnswerNo, ProcessAnswerYes, ProcessInterrupt,
    ProcessRequest, Ticket,
};
use crate::work::{Job, JobId, NonceRange, Search, ShareBits, Solution};

/// Shares that one request shows, a third of a frame of 64 KiB. What is left is claimed once those are confirmed.
const MAX_TOLD: usize = 2400;

/// Solutions not settled yet. Beyond, the oldest are forgotten: only a source that is down for long lets so many gather.
pub const MAX_PENDING: usize = 64;

/// A block that was worked on, across leaders: (epoch, round) in the order in which they were.
type Round = (Epoch, u64);

#[derive(Clone, Debug)]
struct Lease {
    ticket: Ticket,
    round: Round,
    number: u64,
    job: Job,
    id: JobId,
    range: NonceRange,
    bits: ShareBits,
    /// Everything before this is searched.
    searched_to: u64,
    /// The shares there.
    shares: Vec<u64>,
}

impl Lease {
    /// What of it is searched.
    fn claim(&self) -> Claim {
        let range = NonceRange::new(self.range.start, self.searched_to);
        Claim { job: self.id, range, bits: self.bits, shares: self.shares.clone() }
    }
}

/// A range that was searched to its end, or the part of a lease before its new name.
#[derive(Clone, Debug)]
struct Finished {
    claim: Claim,
    /// The leader's last word did not name its job.
    is_missing: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    round: Round,
    solution: Solution,
}

impl Pending {
    /// Whether `job`'s block needs no more search, for all that this node knows.
    fn ends_round_of(&self, job: &Job) -> bool {
        self.solution.job.search == Search::First && self.solution.job.is_same_search(job)
    }
}

/// A node's work in hand.
#[derive(Debug, Default)]
pub(super) struct Worker {
    leases: VecDeque<Lease>,
    /// Rounds up to this one are over.
    over: Option<Round>,
    /// The newest round that a lease was taken of; older ones are late mail.
    newest: Option<Round>,
    finished: VecDeque<Finished>,
    pending: VecDeque<Pending>,
    /// Nonces per second; 0 before the first measurement.
    pub(super) rate: u64,
    last_ticket: Ticket,
}

impl Worker {
    pub(super) fn is_idle(&self) -> bool {
        self.leases.is_empty()
    }

    /// Leases, finished ranges, pending solutions.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.leases.len(), self.finished.len(), self.pending.len()]
    }

    #[cfg(test)]
    pub(super) fn holds(&self, epoch: Epoch, number: u64) -> bool {
        self.leases.iter().any(|lease| lease.round.0 == epoch && lease.number == number)
    }

    #[cfg(test)]
    pub(super) fn round_of(&self, ticket: Ticket) -> Option<(Epoch, u64)> {
        self.leases.iter().find(|lease| lease.ticket == ticket).map(|lease| lease.round)
    }

    #[cfg(test)]
    pub(super) fn offers(&self, solution: &Solution) -> bool {
        self.pending.iter().any(|pending| pending.solution == *solution)
    }

    /// The job that is scanned now.
    pub(super) fn job(&self) -> Option<&Job> {
        self.leases.front().map(|lease| &lease.job)
    }

    /// What this node tells its leader of itself.
    pub(super) fn request(&self, epoch: Epoch) -> ProcessRequest {
        let mut room = MAX_TOLD;
        let mut fits = |shares: &[u64]| match room.checked_sub(shares.len()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        };
        let mut held = Vec::new();
        for lease in &self.leases {
            let mut searched = lease.claim();
            if !fits(&searched.shares) {
                // What cannot be shown is not claimed yet.
                searched.range.end = searched.range.start;
                searched.shares.clear();
            }
            let rest = NonceRange::new(searched.range.end, lease.range.end);
            held.push(Held { epoch: lease.round.0, lease: lease.number, searched, rest });
        }
        let finished = self.finished.iter().map(|finished| &finished.claim);
        let finished = finished.take_while(|claim| fits(&claim.shares)).cloned().collect();
        ProcessRequest { epoch, rate: self.rate, held, finished }
    }

    /// Whether all of `range` is searched and told, in one piece or several.
    fn has_finished(&self, job: JobId, range: NonceRange) -> bool {
        let claims = self.finished.iter().map(|finished| &finished.claim).filter(|claim| claim.job == job);
        let finished: RangeSet<u64> = claims.map(|claim| claim.range.start..claim.range.end).collect();
        finished.gaps(&(range.start..range.end)).next().is_none()
    }

    /// A lease, or an old lease's new name. The caller has checked that it comes from the leader of a current epoch.
    pub(super) fn handle_process(&mut self, process: Process, out: &mut Outbox) {
        let Process { epoch, lease: number, round, job, range, bits } = process;
        let round = (epoch, round);
        let is_over = self.over.is_some_and(|over| round <= over) || self.newest.is_some_and(|newest| round < newest);
        let is_known = self.leases.iter().any(|lease| lease.round.0 == epoch && lease.number == number);
        let id = job.id();
        // A name of before, in whole or in part: late mail.
        let is_renamed = |lease: &Lease| {
            lease.id == id
                && (lease.round, lease.number) > (round, number)
                && !lease.range.intersection(&range).is_empty()
        };
        let is_old_name = self.leases.iter().any(is_renamed);
        let is_solved = self.pending.iter().any(|pending| pending.ends_round_of(&job) && round <= pending.round);
        // With other bits, what this node has searched could not be shown, and would be held against it.
        let is_absurd =
            !job.space().covers(&range) || !Trust::admits(&job, bits, LONGEST_LEASE) || !bits.suit(&job, range.len());
        let is_late = is_over && !planted(Bug::OldRoundsBegun);
        if range.is_empty()
            || is_late
            || is_known
            || is_old_name
            || self.has_finished(id, range)
            || is_solved
            || is_absurd
        {
            return;
        }
        self.newest = Some(round);
        // A node works on one block: the newest that it was told of. A newer round of one reign ends the older ones, too.
        let other_block = |lease: &Lease| !lease.job.is_same_search(&job);
        let older_round = |lease: &Lease| lease.round.0 == epoch && lease.round < round;
        self.stop(|lease| other_block(lease) && !planted(Bug::TwoBlocksAtOnce) || older_round(lease), out);
        let is_same = |lease: &&mut Lease| {
            !planted(Bug::RenamedLeasesStartAnew)
                && lease.id == id
                && lease.range.end == range.end
                && (lease.range.start..=lease.searched_to).contains(&range.start)
        };
        if let Some(lease) = self.leases.iter_mut().find(is_same) {
            // What was searched under the old name may be known to the leader that gave it the new one, and to nobody else.
            let kept = lease.shares.split_off(lease.shares.partition_point(|&share| share < range.start));
            let shares = std::mem::replace(&mut lease.shares, kept);
            let before = NonceRange::new(lease.range.start, range.start);
            let claim = Claim { job: id, range: before, bits: lease.bits, shares };
            (lease.round, lease.number, lease.range) = (round, number, range);
            if !planted(Bug::RenamedPartForgotten) {
                self.finish(claim);
            }
            return;
        }
        if self.leases.len() == MAX_HELD {
            return;
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.leases.push_back(Lease {
            ticket,
            round,
            number,
            job,
            id,
            range,
            bits,
            searched_to: range.start,
            shares: vec![],
        });
        out.push(Output::Scan { ticket, job, range, bits });
    }

    /// All rounds up to one are over, and with them their leases. True if that was news.
    pub(super) fn handle_interrupt(&mut self, interrupt: ProcessInterrupt, out: &mut Outbox) -> bool {
        if let Some(settled) = interrupt.settled {
            self.pending.retain(|pending| pending.solution.id() != settled);
        }
        let over = Some((interrupt.epoch, interrupt.round));
        let news = over > self.over;
        self.over = self.over.max(over);
        if planted(Bug::RoundEndSettles) {
            self.pending.retain(|pending| Some(pending.round) > over);
        }
        if planted(Bug::InterruptsStopAll) {
            return self.stop(|_| true, out);
        }
        if planted(Bug::InterruptsIgnored) {
            return false;
        }
        let void = &interrupt.void[..interrupt.void.len().min(MAX_HELD)];
        let is_void = |lease: &Lease| void.contains(&(lease.round.0, lease.number));
        self.stop(|lease| Some(lease.round) <= over || is_void(lease), out) || news
    }

    /// Stops the leases that are over. True if there were any.
    fn stop(&mut self, over: impl Fn(&Lease) -> bool, out: &mut Outbox) -> bool {
        let before = self.leases.len();
        self.leases.retain(|lease| {
            let stopped = over(lease);
            if stopped {
                out.push(Output::Stop { ticket: lease.ticket });
            }
            !stopped
        });
        self.leases.len() != before
    }

    /// Stops everything, for good.
    pub(super) fn stop_all(&mut self, out: &mut Outbox) {
        self.stop(|_| true, out);
    }

    /// The scan has met a solution.
    pub(super) fn handle_found(&mut self, ticket: Ticket, nonce: u64, leader: Option<NodeId>, out: &mut Outbox) {
        let Some(lease) = self.leases.iter().find(|lease| lease.ticket == ticket) else { return };
        let job = lease.job;
        // It ends the newest round of this search, which this lease may be older than: a node works on one block.
        let round = self.newest.unwrap_or(lease.round);
        let solution = Solution { job, nonce };
        self.keep(round, solution);
        if job.search == Search::First {
            self.stop(|other| other.job.is_same_search(&job), out);
        }
        if let Some(leader) = leader {
            let answer = ProcessAnswerYes { epoch: round.0, solution };
            out.send(leader, Message::ProcessAnswerYes(answer));
        }
    }

    /// The solutions that are not settled, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = Solution> + '_ {
        self.pending.iter().map(|pending| pending.solution)
    }

    /// Solutions of an earlier run, as of a round `before_all`: what that was is not known any more, so they keep this node from no lease.
    pub(super) fn restore(&mut self, before_all: Epoch, solutions: impl IntoIterator<Item = Solution>) {
        if planted(Bug::RestoredForgotten) {
            return;
        }
        solutions.into_iter().for_each(|solution| self.keep((before_all, 0), solution));
    }

    fn keep(&mut self, round: Round, solution: Solution) {
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending { round, solution });
    }

    /// Offers every solution that is not settled again.
    pub(super) fn offer_pending(&self, leader: NodeId, out: &mut Outbox) {
        if planted(Bug::SolutionsOfferedOnce) {
            return;
        }
        for Pending { round, solution } in &self.pending {
            let answer = ProcessAnswerYes { epoch: round.0, solution: *solution };
            out.send(leader, Message::ProcessAnswerYes(answer));
        }
    }

    /// The scan has searched everything before `to`, and met `shares` there: all since its start.
    pub(super) fn handle_progress(&mut self, ticket: Ticket, to: u64, shares: Vec<u64>) {
        if let Some(lease) = self.leases.iter_mut().find(|lease| lease.ticket == ticket)
            && (lease.searched_to..=lease.range.end).contains(&to)
        {
            lease.searched_to = to;
            // Some of them may have been told under the lease's old name.
            lease.shares = shares;
            lease.shares.retain(|share| (lease.range.start..to).contains(share));
        }
    }

    /// The scan has searched its whole range.
    pub(super) fn handle_searched(
        &mut self,
        ticket: Ticket,
        shares: Vec<u64>,
        leader: Option<NodeId>,
        out: &mut Outbox,
    ) {
        let Some(at) = self.leases.iter().position(|lease| lease.ticket == ticket) else { return };
        self.handle_progress(ticket, self.leases[at].range.end, shares);
        let Some(lease) = self.leases.remove(at) else { return };
        let searched = lease.claim();
        if !planted(Bug::FinishedNotKept) {
            self.finish(searched.clone());
        }
        if let Some(leader) = leader {
            let answer = ProcessAnswerNo { epoch: lease.round.0, lease: lease.number, searched, rate: self.rate };
            out.send(leader, Message::ProcessAnswerNo(answer));
        }
    }

    /// Remembers what is searched, until everyone knows.
    fn finish(&mut self, claim: Claim) {
        if claim.range.is_empty() {
            return;
        }
        if self.finished.len() == MAX_FINISHED {
            self.finished.pop_front();
        }
        self.finished.push_back(Finished { claim, is_missing: false });
    }

    /// The leader has spoken `now`. Forgets finished ranges that were done by its word `before`, and those of jobs that two words did not name:
    /// they are over. (One may have been spoken just before the job began.)
    pub(super) fn confirm(&mut self, before: &Board, now: &Board) {
        self.finished.retain_mut(|Finished { claim, is_missing }| {
            let is_known = before.done(claim.job).is_some_and(|done| done.gap(claim.range).is_none());
            let was_missing = std::mem::replace(is_missing, now.done(claim.job).is_none());
            !(is_known || was_missing && *is_missing)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{hard_job, node};

    #[test]
    fn what_a_request_has_no_room_to_show_is_not_claimed_yet() {
        let (mut worker, mut out) = (Worker::default(), Outbox::new(node(2)));
        let epoch = Epoch { counter: 1, leader: node(1), incarnation: 1 };
        for lease in 1..=4 {
            let range = NonceRange::new(lease * 100_000, (lease + 1) * 100_000);
            let bits = ShareBits::for_range(range.len());
            worker.handle_process(Process { epoch, lease, round: 1, job: hard_job(), range, bits }, &mut out);
            worker.handle_progress(lease, range.end - 1, (range.start..range.start + 1000).collect());
        }
        let request = worker.request(epoch);
        let shown: Vec<_> = request.held.iter().map(|held| held.searched.shares.len()).collect();
        assert_eq!(shown, [1000, 1000, 0, 0]);
        for (held, is_shown) in request.held.iter().zip([true, true, false, false]) {
            assert_eq!(held.searched.range.is_empty(), !is_shown);
            assert_eq!(held.rest.start, held.searched.range.end);
            assert_eq!(held.rest.end, (held.lease + 1) * 100_000);
        }
        // What is finished is told as far as there is room for it, and no half of a claim.
        worker.handle_searched(1, (100_000..101_000).collect(), None, &mut out);
        let request = worker.request(epoch);
        assert_eq!((request.held.len(), request.finished.len()), (3, 0));
    }

    #[test]
    fn a_lease_keeps_its_newest_name_whatever_comes_late() {
        let (mut worker, mut out, job) = (Worker::default(), Outbox::new(node(2)), hard_job());
        let epoch = Epoch { counter: 1, leader: node(1), incarnation: 1 };
        let range = NonceRange::new(1, 100_001);
        let bits = ShareBits::for_range(range.len());
        let mut take = |worker: &mut Worker, lease, range| {
            worker.handle_process(Process { epoch, lease, round: 1, job, range, bits }, &mut out);
        };
        let rest = NonceRange::new(50_001, 100_001);
        take(&mut worker, 3, range);
        worker.handle_progress(1, rest.start, vec![]);
        take(&mut worker, 6, rest);
        for late in [range, rest] {
            take(&mut worker, 3, late);
            assert!(worker.holds(epoch, 6) && !worker.holds(epoch, 3));
        }
        worker.handle_searched(1, vec![], None, &mut Outbox::new(node(2)));
        for late in [range, rest, NonceRange { start: 9, end: 3 }] {
            take(&mut worker, 3, late);
            assert!(worker.is_idle(), "searched under two names");
        }
    }

    #[test]
    fn a_solution_met_in_an_earlier_reigns_lease_ends_the_search_in_this_one() {
        let (mut worker, mut out, job) = (Worker::default(), Outbox::new(node(3)), hard_job());
        let reign = |leader: u32| Epoch { counter: 10 - u64::from(leader), leader: node(leader), incarnation: 1 };
        let lease = |leader: u32, lease: u64| {
            let range = NonceRange::new(lease * 100_000, (lease + 1) * 100_000);
            Process { epoch: reign(leader), lease, round: 1, job, range, bits: ShareBits::for_range(range.len()) }
        };
        worker.handle_process(lease(2, 1), &mut out);
        worker.handle_process(lease(1, 2), &mut out);
        worker.handle_found(1, 100_001, Some(node(1)), &mut out);
        assert!(worker.is_idle());
        worker.handle_process(lease(1, 2), &mut out);
        worker.handle_process(lease(1, 3), &mut out);
        assert!(worker.is_idle(), "sent before the leader heard of it");
    }

    #[test]
    fn finished_ranges_are_told_until_the_word_before_the_last_knew_them_or_their_job_is_over() {
        let epoch = Epoch { counter: 1, leader: node(1), incarnation: 1 };
        let job = hard_job();
        let range = NonceRange::new(1, 100_001);
        let board = |jobs: &[(Job, NonceRange)]| {
            let done = |range| {
                let mut done = crate::cluster::done::Done::default();
                done.add(range, node(2));
                done
            };
            Board::new(epoch, jobs.iter().map(|&(job, range)| (job, done(range))))
        };
        let claim = Claim { job: job.id(), range, bits: ShareBits::for_range(range.len()), shares: vec![] };
        let (none, part, all) = (board(&[]), board(&[(job, NonceRange::new(1, 50))]), board(&[(job, range)]));
        for (words, is_told) in [
            (vec![&part, &all], true),
            (vec![&part, &all, &all], false),
            (vec![&none], true),
            (vec![&none, &part], true),
            (vec![&none, &none], false),
        ] {
            let mut worker = Worker::default();
            worker.finish(claim.clone());
            let mut before = none.clone();
            for word in &words {
                worker.confirm(&before, word);
                before = (*word).clone();
            }
            assert_eq!(worker.request(epoch).finished.len(), usize::from(is_told), "{words:?}");
        }
    }
}
