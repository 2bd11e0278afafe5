//! A mining pool that speaks Stratum (version 1), over TCP or TLS.
//!
//! ```text
//! StratumSource::open:  connect ─> configure ─> subscribe ─> authorize ─> Talk, a task     Session: next, submit
//!                                  (BIP 310; without it where the pool does not answer)
//! ```
//!
//! 1. `connection` moves lines, `words` turns them into typed values, `job` makes templates of the pool's jobs.
//! 2. `state` knows what the pool has said and does no I/O, `templates` finds the pool's job of a solution again, `shares` judges what the pool
//!    says to shares; `talk` joins them with the connection.
//! 3. `pool` is what all sessions of a source share, `session` is what the node holds.

mod address;
mod connection;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(super) mod fuzz;
mod job;
mod pool;
mod session;
mod shares;
mod state;
mod talk;
mod templates;
#[cfg(test)]
#[cfg(feature = "identity")] // certificates for TLS
mod tests;
mod tls;
mod words;

pub use address::StratumAddress;
pub use tls::{Tls, TlsError};

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::{BlockSource, BoxFuture, Session, SourceError};
use connection::Connection;
use pool::Pool;
use session::StratumSession;
use state::{AGENT, ROLLED, State};
use talk::Talk;

/// How long a pool may take to answer `mining.configure`, which old ones do not know.
const CONFIGURE_TIME: Duration = Duration::from_secs(5);
/// How long a pool may take to answer any other question at the start.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The pool at an address.
#[derive(Clone, Debug)]
pub struct StratumSource {
    pool: Arc<Pool>,
}

/// Why a session was not opened.
#[derive(Debug)]
enum Failure {
    /// The pool did not answer `mining.configure`.
    Unconfigured,
    Other(String),
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Other(problem)
    }
}

impl StratumSource {
    /// The pool at `address`; `tls` says whom it has to prove to be where it is reached by TLS. `rate` is what the miners behind this source
    /// promise, in hashes a second: it decides which difficulty is suggested. Where it is not known it is 0. The clock is read here once, so
    /// make the source when the node starts.
    ///
    /// # Errors
    /// The address has no user.
    pub fn new(address: StratumAddress, tls: Tls, rate: f64) -> Result<Self, SourceError> {
        if !address.has_user() {
            let problem =
                "expected a user, as stratum+tcp://user@host:port or by HEADFRAME_SOURCE_USER, got none".into();
            return Err(SourceError { url: address.url(), problem, is_over: false });
        }
        #[allow(clippy::disallowed_methods)] // jobs need the time since 1970, and go on by a monotonic clock from here
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Self { pool: Arc::new(Pool::new(address, tls, rate, since_1970)) })
    }

    /// How long a share takes on average, where the pool's difficulty is so high that it is more than 10 minutes at the promised hash rate;
    /// otherwise `None`.
    pub fn late_shares(&self) -> watch::Receiver<Option<Duration>> {
        self.pool.late()
    }

    async fn open_session(&self) -> Result<Box<dyn Session>, String> {
        let port = self.pool.take_port();
        let dislikes = &self.pool.dislikes_configure;
        if !dislikes.load(Relaxed) {
            match self.start(port, true).await {
                Ok(session) => return Ok(session),
                Err(Failure::Other(problem)) => return Err(problem),
                Err(Failure::Unconfigured) => {}
            }
        }
        match self.start(port, false).await {
            Ok(session) => {
                dislikes.store(true, Relaxed);
                Ok(session)
            }
            Err(Failure::Other(problem)) => Err(problem),
            Err(Failure::Unconfigured) => Err("expected a session, got none".into()),
        }
    }

    async fn start(&self, port: u16, configures: bool) -> Result<Box<dyn Session>, Failure> {
        let connection = connection::connect(self.pool.address(), port, self.pool.settings().await?).await?;
        self.greet(connection, configures).await
    }

    async fn greet(&self, connection: Connection, configures: bool) -> Result<Box<dyn Session>, Failure> {
        let pool = &self.pool;
        let mut talk = Talk::new(Arc::clone(pool), connection, State::new(Arc::clone(&pool.generations)));
        if configures {
            let answer = talk.ask("mining.configure", &extensions(pool), CONFIGURE_TIME).await;
            let answer = answer.map_err(|_| Failure::Unconfigured)?;
            talk.state().configured(&answer.result)?;
        }
        let answer = talk.ask("mining.subscribe", &json!([AGENT]), ANSWER_TIME).await?;
        let result = answer.done().map_err(|refusal| format!("the pool refuses mining.subscribe: {}", refusal.text))?;
        let heard = talk.state().subscribed(result)?;
        talk.act(heard, &Value::Null)?;
        let StratumAddress { user, password, .. } = pool.address();
        let answer = talk.ask("mining.authorize", &json!([user, password]), ANSWER_TIME).await?;
        answer.done().map_err(|refusal| format!("the pool refuses the user: {}", refusal.text))?;
        if let Some(difficulty) = pool.wanted_difficulty() {
            talk.tell("mining.suggest_difficulty", &json!([number(difficulty)]))?;
        }
        talk.tell("mining.extranonce.subscribe", &json!([]))?;
        let (orders, present) = talk.start();
        Ok(Box::new(StratumSession::new(Arc::clone(pool), orders, present)))
    }
}

impl BlockSource for StratumSource {
    fn url(&self) -> &str {
        self.pool.url()
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>> {
        Box::pin(async { self.open_session().await.map_err(|problem| self.pool.error(problem)) })
    }
}

/// The parameters of `mining.configure` (BIP 310).
fn extensions(pool: &Pool) -> Value {
    let mut names = vec!["version-rolling"];
    let mut parameters = Map::new();
    parameters.insert("version-rolling.mask".into(), json!(format!("{ROLLED:08x}")));
    parameters.insert("version-rolling.min-bit-count".into(), json!(2));
    if let Some(least) = pool.least_difficulty() {
        names.push("minimum-difficulty");
        parameters.insert("minimum-difficulty.value".into(), number(least));
    }
    json!([names, parameters])
}

/// A whole number without a fraction, which old pools do not read.
fn number(difficulty: f64) -> Value {
    if difficulty >= 1.0 { json!(difficulty as u64) } else { json!(difficulty) }
}
