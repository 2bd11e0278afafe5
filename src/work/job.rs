//! What nodes are given, and what they find.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Digest, NonceRange, Puzzle, Target, reference};

/// Whether a job ends with its first solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Search {
    /// The first solution ends it: a block is found.
    #[default]
    First,
    /// Every solution is reported and the search goes on: shares.
    Every,
}

/// What is wanted of a hash, and whether the search goes on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Goal {
    /// What a block's hash must not exceed.
    pub block: Target,
    /// What a hash must not exceed to be reported: the block's target, or a pool's easier one for shares.
    pub report: Target,
    /// Whether the first reported hash ends the search.
    pub search: Search,
}

/// One life of a process: a number drawn at its start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Run(pub u64);

/// A place among the jobs of one run. No two jobs of a template have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Slot {
    /// The run of the process that makes the job.
    pub run: Run,
    /// Counts the jobs of that run.
    pub n: u64,
}

/// How the session that made a job's template finds what belongs to it. It counts for that run of the process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Tag {
    /// The template's number in its session.
    pub template: u64,
    /// Who made the job, and which of its jobs it is.
    pub slot: Slot,
}

/// One nonce space to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// The search that it belongs to.
    pub round: RoundId,
    /// What is wanted.
    pub goal: Goal,
    /// What is hashed.
    pub puzzle: Puzzle,
    /// What its maker's session knows it by.
    pub tag: Tag,
}

/// Names a job by its content, so that two nodes which make the same job mean the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

/// The block that a job builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockId {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: Digest,
}

/// The search for one block. When it changes, jobs of the last one are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoundId {
    /// The block that is built on.
    pub block: BlockId,
    /// Counts a source's fresh starts on that block, where it has any; otherwise 0.
    pub generation: u64,
}

/// Names a solution by its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SolutionId(pub u64);

/// A job and a nonce that is said to solve it. It carries all that is needed to verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Solution {
    /// The job.
    pub job: Job,
    /// The nonce, as [`Puzzle::digest`] takes it.
    pub nonce: u64,
}

impl Job {
    /// A job of no source: one search, whose first hit or every hit is wanted.
    pub fn new(puzzle: Puzzle, target: Target, search: Search) -> Self {
        let block = BlockId { height: 0, hash: puzzle.prev() };
        let goal = Goal { block: target, report: target, search };
        Self { round: RoundId { block, generation: 0 }, goal, puzzle, tag: Tag::default() }
    }

    /// The same job with another target.
    pub fn with_target(self, target: Target) -> Self {
        Self { goal: Goal { block: target, report: target, ..self.goal }, ..self }
    }

    /// What a hash must not exceed to be reported.
    pub fn target(&self) -> Target {
        self.goal.report
    }

    /// The job's name: the first 8 bytes of a digest over everything that makes it this job.
    pub fn id(&self) -> JobId {
        JobId(short(&self.content()))
    }

    fn content(&self) -> Vec<u8> {
        let Self { round, goal, puzzle, tag } = self;
        let mut content = Vec::with_capacity(320);
        for number in [round.block.height, round.generation, tag.template, tag.slot.run.0, tag.slot.n] {
            content.extend(number.to_be_bytes());
        }
        content.extend(round.block.hash.0);
        content.extend(goal.block.to_be_bytes());
        content.extend(goal.report.to_be_bytes());
        content.push(goal.search as u8);
        puzzle.write_content(&mut content);
        content
    }

    /// Every nonce of the job.
    pub fn space(&self) -> NonceRange {
        self.puzzle.space()
    }

    /// The digest for `nonce` if it is to be reported, by the reference path.
    pub fn check(&self, nonce: u64) -> Option<Digest> {
        self.puzzle.check(nonce, self.target())
    }
}

fn short(content: &[u8]) -> u64 {
    let digest = reference::sha256(content);
    u64::from_be_bytes(std::array::from_fn(|i| digest.0[i]))
}

impl Solution {
    /// The solution's name: the first 8 bytes of a digest over its job and its nonce.
    pub fn id(&self) -> SolutionId {
        let mut content = self.job.content();
        content.extend(self.nonce.to_be_bytes());
        SolutionId(short(&content))
    }

    /// Whether the hash meets the job's own target of a block, and not only that of a share. Whoever did not make the job asks its own
    /// template instead.
    pub fn is_block(&self) -> bool {
        self.job.puzzle.check(self.nonce, self.job.goal.block).is_some()
    }

    /// The digest, if the nonce is one of the job's and does solve it.
    pub fn verify(&self) -> Option<Digest> {
        if !self.job.space().contains(self.nonce) {
            return None;
        }
        self.job.check(self.nonce)
    }
}

/// The three names are numbers without meaning: hex is easiest to find again in a log.
macro_rules! hex {
    ($($name:ident)+) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        })+
    };
}

hex! { JobId SolutionId Run }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::fixtures::{TIMESTAMP, text};
    use crate::work::{Hashing, ZeroUnit};

    fn job(timestamp: &str, zeros: i64) -> Job {
        Job::new(text(timestamp, Hashing::Double), Target::from_zeros(zeros, ZeroUnit::Hex).unwrap(), Search::First)
    }

    #[test]
    fn a_job_is_named_by_its_content() {
        assert_eq!(job(TIMESTAMP, 3).id(), job(TIMESTAMP, 3).id());
        assert_ne!(job(TIMESTAMP, 3).id(), job("1550766000001", 3).id());
        assert_ne!(job(TIMESTAMP, 3).id(), job(TIMESTAMP, 4).id());
    }

    #[test]
    fn a_solution_outside_the_nonce_space_does_not_count() {
        let every_hash = job(TIMESTAMP, 0);
        assert!(Solution { job: every_hash, nonce: 1 }.verify().is_some());
        assert!(Solution { job: every_hash, nonce: 0 }.verify().is_none());
        assert!(Solution { job: every_hash, nonce: 2_000_000_001 }.verify().is_none());
        assert!(Solution { job: job(TIMESTAMP, 3), nonce: 4750 }.verify().is_some());
        assert!(Solution { job: job(TIMESTAMP, 3), nonce: 4751 }.verify().is_none());
    }
}
