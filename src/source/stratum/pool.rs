//! What all sessions with one pool share: its address, and what was learnt of it in earlier sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use super::{StratumAddress, Tls};
use crate::source::{SourceError, secrets};
use crate::work::Target;

/// How many hashes a share of difficulty 1 takes on average.
const HASHES: f64 = Target::HASHES_PER_DIFFICULTY;
/// A share is wanted this often.
const SHARE_EVERY: f64 = 10.0;
/// No more shares a second than these are wanted.
const MOST_SHARES: f64 = 1000.0;
/// More shares a second than these are worth a warning.
const MANY_SHARES: f64 = 10_000.0;
/// A share that is expected later than this is worth a warning, in seconds.
const LATE: f64 = 600.0;

/// A pool.
#[derive(Debug)]
pub(super) struct Pool {
    address: StratumAddress,
    url: String,
    tls: Tls,
    settings: OnceCell<Arc<ClientConfig>>,
    /// Hashes a second; `None` if nobody knows.
    rate: Option<f64>,
    /// The time since 1970 at the start. Time goes on by tokio's clock, as the rules' time goes on by a monotonic one.
    began: Duration,
    started: Instant,
    /// See [`State`](super::state::State).
    pub(super) generations: Arc<AtomicU64>,
    /// Whether the pool is known to work only without `mining.configure`.
    pub(super) dislikes_configure: AtomicBool,
    /// The port to which the pool wants the next connection; 0 if it is the address's.
    port: AtomicU16,
    /// That shares come late, or too often, while they do.
    late: watch::Sender<Option<String>>,
}

impl Pool {
    pub(super) fn new(address: StratumAddress, tls: Tls, rate: f64, since_1970: Duration) -> Self {
        Self {
            url: address.url(),
            address,
            tls,
            settings: OnceCell::new(),
            rate: Some(rate).filter(|rate| rate.is_finite() && *rate > 0.0),
            began: since_1970,
            started: Instant::now(),
            generations: Arc::default(),
            dislikes_configure: AtomicBool::new(false),
            port: AtomicU16::new(0),
            late: watch::Sender::new(None),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn address(&self) -> &StratumAddress {
        &self.address
    }

    pub(super) fn user(&self) -> &str {
        &self.address.user
    }

    /// A pool's words without the user and the password, which it may repeat.
    pub(super) fn masked(&self, text: &str) -> String {
        secrets::masked(text, [self.address.user.as_str(), &self.address.password])
    }

    pub(super) fn late(&self) -> watch::Receiver<Option<String>> {
        self.late.subscribe()
    }

    /// An error that ends a session.
    pub(super) fn error(&self, problem: String) -> SourceError {
        SourceError { url: self.url.clone(), problem: self.masked(&problem), is_over: true }
    }

    pub(super) fn since_1970(&self) -> Duration {
        self.began + self.started.elapsed()
    }

    /// The settings of TLS, which are made once; `None` where the pool is not reached by TLS.
    pub(super) async fn settings(&self) -> Result<Option<Arc<ClientConfig>>, String> {
        if !self.address.is_tls {
            return Ok(None);
        }
        let make = || async {
            let tls = self.tls.clone();
            let made = tokio::task::spawn_blocking(move || tls.config()).await;
            made.unwrap_or_else(|error| Err(format!("the TLS settings' task ended: {error}"))).map(Arc::new)
        };
        self.settings.get_or_try_init(make).await.cloned().map(Some)
    }

    /// The port for the next connection. A port that the pool has named is tried once.
    pub(super) fn take_port(&self) -> u16 {
        match self.port.swap(0, Relaxed) {
            0 => self.address.port,
            port => port,
        }
    }

    /// Whether the pool may move a session there: only to its own host. The port is kept for the next connection.
    pub(super) fn may_move(&self, host: Option<&str>, port: Option<u16>) -> bool {
        let is_same = host.is_none_or(|host| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.eq_ignore_ascii_case(self.address.bare_host())
        });
        if is_same {
            self.port.store(port.unwrap_or(0), Relaxed);
        }
        is_same
    }

    /// The difficulty at which a share takes 10 s at the promised hash rate.
    pub(super) fn wanted_difficulty(&self) -> Option<f64> {
        self.rate.map(|rate| rounded(rate * SHARE_EVERY / HASHES))
    }

    /// The difficulty below which there would be more than 1,000 shares a second.
    pub(super) fn least_difficulty(&self) -> Option<f64> {
        self.rate.map(|rate| rounded(rate / MOST_SHARES / HASHES))
    }

    /// Advises an operator where a share of this difficulty is expected later than in 10 minutes, or far too often.
    pub(super) fn weigh(&self, difficulty: f64) {
        let seconds = self.rate.map_or(1.0, |rate| difficulty * HASHES / rate);
        let url = &self.url;
        let advice = if seconds > LATE {
            let minutes = seconds / 60.0;
            Some(format!(
                "{url}: a share of difficulty {difficulty} is expected every {minutes:.0} minutes only; ask the pool for an easier one"
            ))
        } else if seconds * MANY_SHARES < 1.0 {
            let many = 1.0 / seconds;
            Some(format!(
                "{url}: {many:.0} shares a second of difficulty {difficulty} are expected, which leave little time for hashing; ask the pool for harder ones"
            ))
        } else {
            None
        };
        self.late.send_replace(advice);
    }
}

/// Three digits, as people and old pools read them: a whole number from 1 on.
fn rounded(difficulty: f64) -> f64 {
    if difficulty >= 1.0 {
        return difficulty.round();
    }
    let unit = 10f64.powf(difficulty.log10().floor() - 2.0);
    (difficulty / unit).round() * unit
}
