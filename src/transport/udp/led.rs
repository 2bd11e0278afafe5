//! The work that a text peer, which leads, has given this node.
//!
//! Its work becomes whole assignments of one reign, and this node's reports become its words. It echoes nothing and settles nothing: work
//! for another block is taken as the settlement of what was found for the block before.

use std::collections::VecDeque;

use super::words::Words;
use crate::cluster::{Assign, Lease, Reign, Report, Stamp};
use crate::work::{Job, NonceRange, Run, SolutionId, WitnessBits};

/// Ranges that are kept at a time. A leader gives one, and the next when it is answered.
const MAX_LEASES: usize = 4;

/// Jobs of late, of which blocks may still be told.
const MAX_JOBS: usize = 4;

/// Blocks that were told and not settled.
const MAX_TOLD: usize = 16;

/// Why this node reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It may want work.
    Asks,
    /// A range is searched to its end.
    End,
    /// It has found a block.
    Block,
}

#[derive(Debug)]
pub(super) struct Led {
    reign: Reign,
    sequence: u64,
    /// Counts the ranges.
    number: u64,
    leases: Vec<Held>,
    jobs: VecDeque<Job>,
    /// This node's newest report to it.
    report: Stamp,
    /// Blocks that it was told of: their names, and what they build on.
    told: Vec<(SolutionId, Job)>,
}

/// A range that it has given.
#[derive(Debug)]
struct Held {
    lease: Lease,
    job: Job,
    /// The assignment that first named it.
    sequence: u64,
}

impl Led {
    pub(super) fn new(run: Run) -> Self {
        Self {
            reign: Reign { run, number: 1 },
            sequence: 0,
            number: 0,
            leases: Vec::new(),
            jobs: VecDeque::new(),
            report: Stamp::default(),
            told: Vec::new(),
        }
    }

    /// It gives a range.
    pub(super) fn hear_process(&mut self, job: Job, range: NonceRange) -> Assign {
        let (told, over) = self.told.drain(..).partition(|(_, told)| told.round.block == job.round.block);
        self.told = told;
        if self.jobs.back() != Some(&job) {
            if self.jobs.len() == MAX_JOBS {
                self.jobs.pop_front();
            }
            self.jobs.push_back(job);
            self.leases.clear();
        }
        self.sequence += 1;
        // The same range again is an answer to a question that was asked twice.
        let is_known = self.leases.iter().any(|given| given.lease.range == range);
        if !is_known {
            if self.leases.len() == MAX_LEASES {
                self.leases.remove(0);
            }
            self.number += 1;
            let lease = Lease { number: self.number, job: 0, range, bits: WitnessBits::for_job(&job, range.len()) };
            self.leases.push(Held { lease, job, sequence: self.sequence });
        }
        self.assign(over)
    }

    /// It says stop.
    pub(super) fn hear_interrupt(&mut self) -> Assign {
        self.leases.clear();
        self.sequence += 1;
        self.assign(vec![])
    }

    /// All that it has given. `over` are the blocks that it does not ask for any more.
    fn assign(&self, over: Vec<(SolutionId, Job)>) -> Assign {
        Assign {
            reign: self.reign,
            sequence: self.sequence,
            report: self.report,
            current: None,
            jobs: self.leases.first().map(|given| given.job).into_iter().collect(),
            leases: self.leases.iter().map(|given| given.lease).collect(),
            taken: vec![],
            settled: over.into_iter().map(|(id, _)| id).collect(),
        }
    }

    /// What this node's report means in its words.
    pub(super) fn tell(&mut self, report: &Report, why: Why) -> Vec<Words> {
        self.report = report.stamp;
        let mut words = Vec::new();
        for block in &report.blocks {
            let (id, is_its) = (block.id(), self.jobs.iter().any(|job| *job == block.job));
            let is_known = self.told.iter().any(|(told, _)| *told == id);
            // It is repeated with each request for work: the first datagram may be lost.
            if is_its && (why != Why::End || !is_known) {
                words.push(Words::ProcessAnswerYes(block.nonce));
            }
            if is_its && !is_known {
                if self.told.len() == MAX_TOLD {
                    self.told.remove(0);
                }
                self.told.push((id, block.job));
            }
        }
        let progress = |number| report.progress.iter().find(|progress| progress.lease == number);
        let before = self.leases.len();
        self.leases.retain(|given| progress(given.lease.number).is_none_or(|known| known.to < given.lease.range.end));
        words.extend((self.leases.len()..before).map(|_| Words::ProcessAnswerNo));
        // What the node should hold by the assignment that it names, and does not, it has given back.
        let held = report.held.filter(|(reign, _)| *reign == self.reign).map(|(_, sequence)| sequence);
        let is_held = |given: &Held| {
            held.is_none_or(|held| given.sequence > held) || progress(given.lease.number).is_some() || why == Why::Block
        };
        self.leases.retain(is_held);
        if why == Why::Asks && self.leases.is_empty() {
            words.push(Words::ProcessRequest);
        }
        words
    }
}
