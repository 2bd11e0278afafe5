//! Where blocks come from and where solutions go. The source is pluggable: [`WebSource`] is the block web service.
//!
//! ```text
//! BlockSource::open ──> Session ──next──> Template ──(cluster)──> jobs
//!                          ^────submit─── Solution      Verdict ──> the source's final answer, perhaps with the next template
//! ```
//!
//! A session numbers its templates, and each job carries that number: so the session finds the coinbase or the pool's job of a solution
//! again.

mod backoff;
mod http;
mod legacy;
mod web;

pub use backoff::Backoff;
pub use web::WebSource;

use std::pin::Pin;
use std::time::Instant;

use crate::work::{Solution, Template};

/// A template, and how fresh it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The block to find.
    pub template: Template,
    /// When the source was asked for it; for one that came unasked, when it arrived.
    pub asked: Instant,
}

/// A source's final answer to a solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A block was accepted.
    Block {
        /// Its height, where the source tells it.
        height: Option<u64>,
        /// The block to find next, where the source names it at once.
        next: Option<Template>,
    },
    /// A share was accepted.
    Share,
    /// For a block that was found already.
    Stale,
    /// Refused.
    Rejected {
        /// The source's reason.
        reason: String,
    },
    /// Not understood, and why.
    NotUnderstood(String),
}

/// Why a source gave no answer. It may the next time; a [`Verdict`] is final, this is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {problem}")]
pub struct SourceError {
    /// Which source, without credentials.
    pub url: String,
    /// What came and what was expected.
    pub problem: String,
    /// Whether the session is over, so that another has to be opened. Otherwise it may be asked again.
    pub is_over: bool,
}

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place that has blocks to find.
pub trait BlockSource: Send + Sync {
    /// The source's address, without credentials.
    fn url(&self) -> &str;

    /// Begins a session. Ends in bounded time.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>>;
}

/// A conversation with a source.
pub trait Session: Send {
    /// Waits until the source wants something else than it last said, a block or a difficulty, and gives it. Cancel-safe: nothing is lost
    /// when the future is dropped, and a later call goes on.
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>>;

    /// Lets [`next`](Self::next) give what the source wants now, though it may be what it last said. Where the source can be asked, it is
    /// asked at once.
    fn ask(&mut self);

    /// Hands a solution in. Ends in bounded time; [`next`](Self::next) may be called meanwhile.
    fn submit(&self, solution: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>>;
}
