//! The rules among several nodes, on a net without faults but those that a test makes.

mod net;
mod reigns;
mod solutions;
mod work;

use std::time::{Duration, Instant};

use super::*;
use crate::work::{
    Digest, Hashing, Job, NonceRange, Puzzle, Search, ShareBits, Solution, Target, TextPuzzle, Timestamp, UNIT,
};

/// Where a test's time begins.
#[allow(clippy::disallowed_methods)]
pub(super) fn clock() -> Instant {
    Instant::now()
}

pub(super) fn node(id: u32) -> NodeId {
    NodeId::try_from(id).unwrap()
}

pub(super) fn config(id: u32) -> Config {
    Config {
        id: node(id),
        incarnation: u64::from(id) * 1000,
        heartbeat: Duration::from_secs(5),
        unit: UNIT,
        all_to_all: ALL_TO_ALL,
        candidates: CANDIDATES,
    }
}

/// A job of block `block`. Its target is one that every hash meets: then no shares have to be shown, so scans can be pretended.
fn job_of(block: u8, number: u64) -> Job {
    Job {
        height: u64::from(block),
        puzzle: Puzzle::Text(TextPuzzle {
            prev: Digest([block; 32]),
            timestamp: Timestamp::from_seconds(number),
            hashing: Hashing::Double,
        }),
        target: Target::MAX,
        search: Search::First,
    }
}

pub(super) fn job(number: u64) -> Job {
    job_of(1, number)
}

pub(super) fn job_of_target(target: Target) -> Job {
    Job { target, ..job(1) }
}

/// A job with a target that nothing meets.
pub(super) fn hard_job() -> Job {
    job_of_target(Target::from_be_bytes([0; 32]))
}
