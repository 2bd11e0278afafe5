//! What a node searches: its assignment, and how far it has come (rules 4, 5 and 7).

use std::collections::VecDeque;

use super::message::{MAX_JOBS, MAX_LEASES, MAX_REPORTED_WITNESSES, Progress};
use super::probe::probe;
use super::{Assign, Lease, NodeId, Output, Reign, Ticket};
use crate::work::{Job, NonceRange, RoundId, Solution, WitnessBits};

/// While so many scans have still to end, no further one begins: assignments may come faster than scans can end.
const MAX_ENDING: usize = 2 * MAX_LEASES;

/// A lease in the node's hands.
#[derive(Clone, Debug)]
pub(super) struct Held {
    number: u64,
    /// Who assigned it.
    leader: NodeId,
    pub(super) job: Job,
    /// The nonces that the leader has no report of.
    range: NonceRange,
    bits: WitnessBits,
    /// Everything before this nonce is searched.
    to: u64,
    /// The witnesses from the range's start to there.
    witnesses: Vec<u64>,
    /// The scan, while it is under way.
    scan: Option<Ticket>,
}

impl Held {
    fn is_searched(&self) -> bool {
        self.to >= self.range.end
    }

    /// The leader has a report of everything before `start`.
    fn acknowledge(&mut self, start: u64) {
        self.range.start = start;
        self.to = self.to.max(start);
        let known = self.witnesses.partition_point(|&witness| witness < start);
        self.witnesses.drain(..known);
    }
}

/// A round that this node has found a block of.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    round: RoundId,
    /// The number of the report that tells of it: an assignment that answers this or a later one counts again.
    told: u64,
}

/// The work of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Worker {
    /// The assignment that it holds.
    pub(super) held: Option<(Reign, u64)>,
    /// Measured speed in nonces per second; 0 when not measured yet.
    pub(super) speed: u64,
    leases: Vec<Held>,
    /// Leases that are over, though their scans are not: a scan's last solutions are on their way here.
    ending: Vec<Held>,
    stopped: Option<Stopped>,
    tickets: Ticket,
}

impl Worker {
    /// The job under scan.
    pub(super) fn job(&self) -> Option<&Job> {
        self.leases.iter().find(|lease| lease.scan.is_some()).map(|lease| &lease.job)
    }

    /// Whether there is a lease of the job.
    pub(super) fn holds(&self, job: &Job) -> bool {
        self.leases.iter().any(|lease| lease.job == *job)
    }

    /// Nonces that are left to search.
    pub(super) fn work(&self) -> u64 {
        let left = |lease: &Held| lease.range.end.saturating_sub(lease.to);
        self.leases.iter().map(left).fold(0, u64::saturating_add)
    }

    /// What a report says of the leases: progress up to the first witness that there is no room for.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let mut room = MAX_REPORTED_WITNESSES;
        let tell = |lease: &Held| {
            let known = lease.witnesses.partition_point(|&witness| witness < lease.to);
            let told = &lease.witnesses[..known.min(room)];
            room -= told.len();
            let to = lease.witnesses[..known].get(told.len()).copied().unwrap_or(lease.to);
            Progress { lease: lease.number, to, witnesses: told.to_vec() }
        };
        self.leases.iter().map(tell).collect()
    }

    /// Takes over an assignment: it replaces the last one, but leases that both have go on where they are.
    pub(super) fn obey(&mut self, leader: NodeId, assign: &Assign, out: &mut VecDeque<Output>) {
        self.held = Some((assign.reign, assign.sequence));
        if self.stopped.is_some_and(|stopped| assign.report.sent >= stopped.told) {
            self.stopped = None;
        }
        let mut old = std::mem::take(&mut self.leases);
        for lease in assign.leases.iter().take(MAX_LEASES) {
            let Some(&job) = assign.jobs.iter().take(MAX_JOBS).nth(lease.job.into()) else { continue };
            let is_same = |held: &Held| held.range.end == lease.range.end && held.bits == lease.bits && held.job == job;
            let is_sound = !lease.range.is_empty() && job.space().covers(&lease.range);
            let is_over = self.stopped.is_some_and(|stopped| stopped.round == job.round);
            if !is_sound {
                probe!(LeaseUnsound);
                continue;
            }
            if is_over {
                probe!(StoppedNotResumed);
                continue;
            }
            if self.leases.iter().any(is_same) {
                continue;
            }
            let mut held = match old.iter().position(is_same) {
                Some(at) => old.remove(at),
                None if self.ending.len() >= MAX_ENDING => continue,
                None => {
                    self.tickets += 1;
                    let Lease { number, range, bits, .. } = *lease;
                    out.push_back(Output::Scan { ticket: self.tickets, job, range, bits });
                    let (to, witnesses, scan) = (range.start, vec![], Some(self.tickets));
                    Held { number, leader, job, range, bits, to, witnesses, scan }
                }
            };
            (held.number, held.leader) = (lease.number, leader);
            held.acknowledge(lease.range.start.max(held.range.start));
            self.leases.push(held);
        }
        self.end(old, out);
    }

    /// Ends the search of the round in which this node has found a block, until an assignment answers the report `told`. Its leases are
    /// given back: how much of them is hashed beyond what is known to be searched, nobody could say.
    pub(super) fn stop(&mut self, round: RoundId, told: u64, out: &mut VecDeque<Output>) {
        self.stopped = Some(Stopped { round, told });
        let over = self.leases.extract_if(.., |lease| lease.job.round == round).collect();
        self.end(over, out);
    }

    /// Ends everything.
    pub(super) fn stop_all(&mut self, out: &mut VecDeque<Output>) {
        let over = std::mem::take(&mut self.leases);
        self.end(over, out);
    }

    /// Stops the scans of these leases, and waits for what they still have to tell.
    fn end(&mut self, leases: Vec<Held>, out: &mut VecDeque<Output>) {
        let scanned = |lease: &Held| lease.scan.filter(|_| !lease.is_searched());
        out.extend(leases.iter().filter_map(scanned).map(|ticket| Output::Stop { ticket }));
        self.ending.extend(leases.into_iter().filter(|lease| lease.scan.is_some()));
    }

    /// The lease that a scan searches, which may be over already: progress can be known before the solutions.
    pub(super) fn scanned(&self, ticket: Ticket) -> Option<&Held> {
        self.leases.iter().chain(&self.ending).find(|lease| lease.scan == Some(ticket))
    }

    /// The solution that a scan has met, and who assigned its lease.
    pub(super) fn solution(&self, ticket: Ticket, nonce: u64) -> Option<(Solution, NodeId)> {
        let lease = self.scanned(ticket)?;
        (nonce < lease.range.end).then_some((Solution { job: lease.job, nonce }, lease.leader))
    }

    /// A scan has searched everything before the nonce `to`, and met these witnesses there.
    pub(super) fn handle_progress(&mut self, ticket: Ticket, to: u64, witnesses: &[u64]) {
        let its = |lease: &&mut Held| lease.scan == Some(ticket);
        let Some(lease) = self.leases.iter_mut().find(its) else { return };
        lease.to = lease.to.max(to.min(lease.range.end));
        // The scan tells all of its witnesses each time.
        let start = lease.range.start;
        lease.witnesses = witnesses.iter().copied().filter(|&witness| witness >= start && witness < to).collect();
    }

    /// A scan has ended after searching everything before the nonce `to`. True if its lease is searched to the end.
    pub(super) fn handle_searched(&mut self, ticket: Ticket, to: u64, witnesses: &[u64]) -> bool {
        self.ending.retain(|lease| lease.scan != Some(ticket));
        self.handle_progress(ticket, to, witnesses);
        let its = |lease: &&mut Held| lease.scan == Some(ticket);
        let Some(lease) = self.leases.iter_mut().find(its) else { return false };
        lease.scan = None;
        lease.is_searched()
    }
}
