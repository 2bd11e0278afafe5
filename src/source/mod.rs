//! Where blocks come from and where solutions go. The source is pluggable: [`WebSource`] is the block web service.
//!
//! A source gives *templates* (a block to find), a template gives any number of *jobs* for that block, and a solved job goes
//! back with `submit` until the source has said its final word.

mod backoff;
mod http;
mod legacy;
mod web;

pub use backoff::Backoff;
pub use web::WebSource;

use std::pin::Pin;
use std::time::Duration;

use crate::work::{BlockId, Hashing, Job, Puzzle, Search, Solution, Target, TextPuzzle, Timestamp};

/// A block to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The block to build on.
    pub prev: BlockId,
    /// What the next block's hash must not exceed.
    pub target: Target,
    /// Once or twice.
    pub hashing: Hashing,
}

impl Template {
    /// A job for this block, made at `now` (time since 1970). Another second makes another job, so nonces never run out.
    pub fn job(&self, now: Duration) -> Job {
        Job {
            height: self.prev.height,
            puzzle: Puzzle::Text(TextPuzzle {
                prev: self.prev.hash,
                timestamp: Timestamp::from_seconds(now.as_secs()),
                hashing: self.hashing,
            }),
            target: self.target,
            search: Search::First,
        }
    }
}

/// A source's final word on a solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accepted; the new block's height.
    Success(u64),
    /// For a block that was found already.
    Stale,
    /// Does not solve the block.
    Wrong,
    /// Not understood, and why.
    Incomplete(String),
}

/// Why a source gave no answer. It may the next time; a [`Verdict`] is final, this is not.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {problem}")]
pub struct SourceError {
    /// Which source, without credentials.
    pub url: String,
    /// What came and what was expected.
    pub problem: String,
}

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place that has blocks to find.
pub trait BlockSource: Send + Sync {
    /// The source's address, without credentials.
    fn url(&self) -> &str;

    /// Waits until there is a template other than `known`, and gives it. Cancel-safe.
    fn template<'a>(&'a self, known: Option<&'a Template>) -> BoxFuture<'a, Result<Template, SourceError>>;

    /// Hands in a solution.
    fn submit<'a>(&'a self, solution: &'a Solution) -> BoxFuture<'a, Result<Verdict, SourceError>>;
}
