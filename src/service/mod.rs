//! The block web service that ships with Headframe: a chain of text-puzzle blocks, kept on disk, spoken to over HTTP.
//!
//! ```text
//! accept, places -> http, legacy -> submission -> live -> chain, zeros           what is accepted, and what the next block needs
//! (limits)          (hosts, body)   (field rules)      -> store                  where it is kept
//!     -> refusals       -> refusals                       -> block_file, last_block
//! ```
//!
//! Nothing here reads the time of day: a clock is handed to [`Service::bind`]. Everything that a client can grow has a limit written next
//! to it: connections, headers, body, time for a request, length of an answer, blocks held in memory.

mod accept;
mod block_file;
mod chain;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(crate) mod fuzz;
mod hosts;
mod http;
mod last_block;
mod legacy;
mod live;
mod places;
mod refusals;
mod store;
mod submission;
mod zeros;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::work::TargetError;
use hosts::Hosts;
use live::LiveChain;
use refusals::Refusals;

pub use chain::{Block, ChainError};
pub use hosts::HostNameError;
pub use store::StoreError;
pub use submission::check_pool_name;
pub use zeros::Zeros;

/// The most connections at the same time, unless the settings say otherwise.
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// How often refusals are logged.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// A block service's settings.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The address to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The file that keeps the chain; without one the chain ends with the process.
    pub store: Option<PathBuf>,
    /// How many zeros the next block needs.
    pub zeros: Zeros,
    /// The most connections that are served at the same time.
    pub max_connections: NonZeroUsize,
    /// Names or addresses by which the service is known behind a proxy; a request may name them as its host, with any port.
    pub allowed_hosts: Vec<String>,
    /// Whether each accepted block is logged. Where nodes in the same process tell of their blocks, that would be twice.
    pub log_blocks: bool,
}

impl ServiceConfig {
    /// A service without a file, for 64 connections, that logs its blocks.
    pub fn new(listen: SocketAddr, zeros: Zeros) -> Self {
        let (store, max_connections, allowed_hosts) = (None, MAX_CONNECTIONS, Vec::new());
        Self { listen, store, zeros, max_connections, allowed_hosts, log_blocks: true }
    }
}

/// Why a block service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The number of zeros is impossible.
    #[error(transparent)]
    Zeros(#[from] TargetError),
    /// The interval to adapt to is too short.
    #[error("expected an interval of at least one millisecond between blocks, got {0:?}")]
    Interval(Duration),
    /// A host that is to be allowed is no host.
    #[error(transparent)]
    Host(#[from] HostNameError),
    /// The address is in use, is not this machine's, or is not allowed.
    #[error("cannot listen on {address}: {reason}; choose another address, or stop what listens there")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's reason.
        reason: io::Error,
    },
    /// The chain's file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A block service that listens already. It answers once [`run`](Self::run) is called.
pub struct Service {
    listener: TcpListener,
    address: SocketAddr,
    max_connections: NonZeroUsize,
    hosts: Hosts,
    chain: Arc<LiveChain>,
}

impl Service {
    /// Listens on the address and opens the store, which is created if it is missing. This reads a file, so it blocks.
    ///
    /// `clock` gives the time of day: blocks are stamped with it, and the zeros adapt by it.
    ///
    /// # Errors
    /// The zeros or the interval are impossible, an allowed host is no host, the address cannot be listened on, or the store cannot be used or
    /// holds no whole chain.
    pub fn bind(
        config: ServiceConfig,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Self, ServiceError> {
        config.zeros.check()?;
        let refused = |reason| ServiceError::Listen { address: config.listen, reason };
        let listener = TcpListener::bind(config.listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let hosts = Hosts::new(address.ip(), config.allowed_hosts)?;
        let chain = LiveChain::open(config.store.as_deref(), config.zeros, config.log_blocks, clock)?;
        Ok(Self { listener, address, max_connections: config.max_connections, hosts, chain: Arc::new(chain) })
    }

    /// The address that it listens on, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `cancel`, then lets requests under way finish and ends within a second. Needs a tokio runtime with
    /// time and I/O.
    pub async fn run(self, cancel: CancellationToken) {
        let refusals = Arc::new(Refusals::default());
        let router = http::router(Arc::clone(&self.chain), self.hosts, Arc::clone(&refusals));
        let log = async {
            loop {
                tokio::time::sleep(LOG_PAUSE).await;
                refusals.log();
            }
        };
        match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => tokio::select! {
                () = accept::serve(listener, router, self.max_connections, &refusals, cancel) => {}
                () = log => {}
            },
            Err(error) => tracing::error!(address = %self.address, %error, "the runtime does not take the listener"),
        }
        refusals.log();
        tracing::info!(height = self.chain.next().0.height, "the block service has stopped");
    }
}
