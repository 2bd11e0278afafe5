//! Where blocks come from and where solutions go. The source is pluggable: [`WebSource`] is the block web service,
//! [`BitcoindSource`] a Bitcoin node, [`StratumSource`] a mining pool.
//!
//! ```text
//! BlockSource::open ──> Session ──next──> Template ──(cluster)──> jobs
//!                          ^────submit─── Solution      Verdict ──> the source's final answer, perhaps with the next template
//! ```
//!
//! A session numbers its templates, and each job carries its template's number. By it the session finds the coinbase or the pool's job of a
//! solution again.

mod backoff;
mod bitcoind;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(crate) mod fuzz;
mod http;
mod legacy;
mod secrets;
mod stratum;
mod web;

pub use backoff::Backoff;
pub use bitcoind::{BitcoindSource, Credentials, NodeConfig, Payout, PayoutError};
pub use stratum::{StratumAddress, StratumSource, Tls, TlsError};
pub use web::WebSource;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::work::{Solution, Template};

/// A template, and how fresh it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The block to find.
    pub template: Template,
    /// When the source was asked for it; for one that came unasked, when it arrived.
    pub asked: Instant,
    /// What a session needs, beside the template, to submit its blocks: any session of a source of the same kind can take them then. None
    /// where only this session can, or where nothing more is needed. At most [`MAX_BODY`](crate::work::MAX_BODY) bytes.
    pub body: Option<Arc<[u8]>>,
}

/// A template of another node's session, whose solutions this node is to submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The template. Its number is that of the other node.
    pub template: Template,
    /// Its body, as the other session gave it.
    pub body: Arc<[u8]>,
}

/// A source's final answer to a solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A block was accepted.
    Block {
        /// Its height, where the source gives it.
        height: Option<u64>,
        /// The block to find next, where the source names it at once.
        next: Option<Template>,
    },
    /// A share was accepted.
    Share,
    /// The solution is for a block that was found already.
    Stale,
    /// The source refused the solution.
    Rejected {
        /// The source's reason.
        reason: String,
    },
    /// The source did not understand the solution, or cannot take one of this kind; with the reason.
    NotUnderstood(String),
}

impl Verdict {
    /// Why the source did not take the solution, in its own words.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Rejected { reason } | Self::NotUnderstood(reason) => Some(reason.clone()),
            Self::Block { .. } | Self::Share | Self::Stale => None,
        }
    }
}

/// Tokio's clock, which a test may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Why a source gave no answer. Unlike a [`Verdict`] this is not final: the source may answer the next time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {problem}")]
pub struct SourceError {
    /// Which source, without credentials.
    pub url: String,
    /// What was expected, and what came.
    pub problem: String,
    /// Whether the session is over, so that another has to be opened. Otherwise the same session may be asked again.
    pub is_over: bool,
}

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A source of blocks to find.
pub trait BlockSource: Send + Sync {
    /// The source's address, without credentials.
    fn url(&self) -> &str;

    /// Opens a session, within bounded time.
    ///
    /// # Errors
    /// The source cannot be reached, or refuses the session.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>>;

    /// What an operator should act on though the source works, as it changes; `None` for a source that never has anything of the kind.
    fn advice(&self) -> Option<watch::Receiver<Option<String>>> {
        None
    }
}

/// A conversation with a source.
pub trait Session: Send {
    /// Waits until the source wants something else than in its last template, be it a block or a difficulty, and gives the new template.
    /// Cancel-safe: nothing is lost when the future is dropped, and a later call goes on.
    ///
    /// # Errors
    /// The source gave no answer, or an unusable one. [`SourceError::is_over`] says whether the session can be used any further.
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>>;

    /// Makes [`next`](Self::next) give the present template, even if it is the same as the last one. A source that can be asked is asked at
    /// once.
    fn ask(&mut self);

    /// Submits a solution, within bounded time. [`next`](Self::next) may be called meanwhile.
    ///
    /// # Errors
    /// The source gave no answer, so the solution may be submitted again.
    fn submit(&self, solution: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>>;

    /// Submits a solution of another node's session, within bounded time.
    ///
    /// # Errors
    /// As [`submit`](Self::submit). A session that gives no bodies takes none; another source of this node may.
    fn submit_adopted(
        &self,
        solution: &Solution,
        adopted: Arc<Adopted>,
    ) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let _ = (solution, adopted);
        let problem = "expected a solution of this session, got one of another node's".to_owned();
        Box::pin(std::future::ready(Err(SourceError { url: "this source".into(), problem, is_over: false })))
    }
}
