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

/// One nonce space to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// Height of the block that is built on.
    pub height: u64,
    /// What is hashed.
    pub puzzle: Puzzle,
    /// What the hash must not exceed.
    pub target: Target,
    /// Whether to go on after a solution.
    pub search: Search,
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

/// A job and a nonce that is said to solve it. It carries all that is needed to verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Solution {
    /// The job.
    pub job: Job,
    /// The nonce, as [`Puzzle::digest`] takes it.
    pub nonce: u64,
}

impl Job {
    /// The job's name: the first 8 bytes of a digest over everything that makes it this job.
    pub fn id(&self) -> JobId {
        let mut content = self.height.to_be_bytes().to_vec();
        content.extend(self.target.to_be_bytes());
        content.push(self.search as u8);
        self.puzzle.write_content(&mut content);
        let digest = reference::sha256(&content);
        JobId(u64::from_be_bytes(std::array::from_fn(|i| digest.0[i])))
    }

    /// The block that this job builds on.
    pub fn block(&self) -> BlockId {
        BlockId { height: self.height, hash: self.puzzle.prev() }
    }

    /// Whether both jobs are for the same block under the same terms, so that a solution of either ends both.
    pub fn is_same_search(&self, other: &Self) -> bool {
        (self.block(), self.target, self.search) == (other.block(), other.target, other.search)
    }

    /// Every nonce of the job.
    pub fn space(&self) -> NonceRange {
        self.puzzle.space()
    }

    /// The digest for `nonce` if it solves the job, by the reference path.
    pub fn check(&self, nonce: u64) -> Option<Digest> {
        self.puzzle.check(nonce, self.target)
    }
}

impl Solution {
    /// Names the solution: its job and its nonce.
    pub fn id(&self) -> (JobId, u64) {
        (self.job.id(), self.nonce)
    }

    /// The digest, if the nonce is one of the job's and does solve it.
    pub fn verify(&self) -> Option<Digest> {
        if !self.job.space().contains(self.nonce) {
            return None;
        }
        self.job.check(self.nonce)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Hashing, TextPuzzle, ZeroUnit};

    fn job(timestamp: &str, zeros: i64) -> Job {
        Job {
            height: 7,
            puzzle: Puzzle::Text(TextPuzzle {
                prev: "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db".parse().unwrap(),
                timestamp: timestamp.parse().unwrap(),
                hashing: Hashing::Double,
            }),
            target: Target::from_zeros(zeros, ZeroUnit::Hex).unwrap(),
            search: Search::First,
        }
    }

    #[test]
    fn a_job_is_named_by_its_content() {
        assert_eq!(job("1550766000000", 3).id(), job("1550766000000", 3).id());
        assert_ne!(job("1550766000000", 3).id(), job("1550766000001", 3).id());
        assert_ne!(job("1550766000000", 3).id(), job("1550766000000", 4).id());
    }

    #[test]
    fn a_solution_outside_the_nonce_space_does_not_count() {
        let every_hash = job("1550766000000", 0);
        assert!(Solution { job: every_hash, nonce: 1 }.verify().is_some());
        assert!(Solution { job: every_hash, nonce: 0 }.verify().is_none());
        assert!(Solution { job: every_hash, nonce: 2_000_000_001 }.verify().is_none());
        assert!(Solution { job: job("1550766000000", 3), nonce: 4750 }.verify().is_some());
        assert!(Solution { job: job("1550766000000", 3), nonce: 4751 }.verify().is_none());
    }
}
