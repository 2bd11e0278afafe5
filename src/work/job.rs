//! Jobs, which nodes are given to search, and the solutions that they find.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Digest, NonceRange, Puzzle, Target, reference};

/// Whether a job ends with its first solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Search {
    /// The first solution ends the job: a block is found.
    #[default]
    First,
    /// Every solution is reported, and the search goes on: shares.
    Every,
}

/// Which hashes are wanted, and whether the search goes on after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Goal {
    /// The target that a block's hash must not exceed.
    pub block: Target,
    /// The target that a hash must not exceed to be reported: the block's, or a pool's easier one for shares.
    pub report: Target,
    /// Whether the first reported hash ends the search.
    pub search: Search,
}

/// One life of a process, named by a random number that is drawn at its start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Run(pub u64);

/// A job's number within one run. No two jobs of a template have the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Slot {
    /// The run of the process that makes the job.
    pub run: Run,
    /// Counts the jobs of that run.
    pub n: u64,
}

/// By its tag the session that made a job's template finds what belongs to the job: its coinbase, or the pool's job. A tag is valid only in
/// the run of the process that made the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Tag {
    /// The template's number in its session.
    pub template: u64,
    /// The run that made the job, and the job's number in it.
    pub slot: Slot,
}

/// One nonce space to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// The round that it belongs to.
    pub round: RoundId,
    /// Which hashes are wanted.
    pub goal: Goal,
    /// What is hashed.
    pub puzzle: Puzzle,
    /// The tag by which its maker's session finds it again.
    pub tag: Tag,
}

/// Names a job by its content: equal jobs have the same id on every node.
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

/// The search for one block. When the round changes, jobs of the round before are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoundId {
    /// The block that is built on.
    pub block: BlockId,
    /// Counts how often a source has restarted the search on that block; 0 if sources of its kind do not.
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
    /// A job that no source gave, for a single search on this box.
    pub fn new(puzzle: Puzzle, target: Target, search: Search) -> Self {
        let block = BlockId { height: 0, hash: puzzle.prev() };
        let goal = Goal { block: target, report: target, search };
        Self { round: RoundId { block, generation: 0 }, goal, puzzle, tag: Tag::default() }
    }

    /// The same job with `target` for blocks and for reports.
    pub fn with_target(self, target: Target) -> Self {
        Self { goal: Goal { block: target, report: target, ..self.goal }, ..self }
    }

    /// The target that a hash must not exceed to be reported: the goal's `report`.
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

    /// The digest for `nonce`, by the reference path, if it meets the job's target.
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

    /// Whether the hash meets the job's own block target, and not only the share's. A node that did not make the job has to judge by its
    /// own template instead.
    pub fn is_block(&self) -> bool {
        self.job.puzzle.check(self.nonce, self.job.goal.block).is_some()
    }

    /// The digest, if the nonce lies in the job's nonce space and solves the job.
    pub fn verify(&self) -> Option<Digest> {
        if !self.job.space().contains(self.nonce) {
            return None;
        }
        self.job.check(self.nonce)
    }
}

/// These three ids are numbers without meaning: hex is easiest to find again in a log.
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
    fn another_target_is_that_of_blocks_and_of_reports() {
        let target = Target::from_zeros(5, ZeroUnit::Hex).unwrap();
        let goal = job(TIMESTAMP, 3).with_target(target).goal;
        assert_eq!((goal.block, goal.report, goal.search), (target, target, Search::First));
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
