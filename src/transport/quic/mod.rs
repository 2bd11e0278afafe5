//! The product's connection: QUIC between the nodes of one cluster, with mutual TLS 1.3.
//!
//! ```text
//! send ──> a queue for each peer ──> outgoing: one task and connection for each peer ──> its requests, one-way messages
//!      └─> the stream on which the peer awaits this answer                                     │ answers
//! recv <── inbox <── incoming: one connection for each peer, one frame for each stream         │
//!              └─────────────────────────────────────────────────────────────────────────────<┘
//! ```
//!
//! 1. Each node dials whom it has something to tell, unless a peer with a higher id has dialled it: then both speak on that connection.
//!    Both sides prove by certificate who they are: [`identity`] and [`files`].
//! 2. A request and its answer are one bidirectional stream, every other message a unidirectional one. That is an
//!    economy, never needed for correctness: a message says for itself what it is about.
//! 3. Every queue, stream count and window is bounded; what does not fit is dropped, and the cluster's rules cope.

mod answers;
mod config;
pub mod files;
pub mod identity;
mod incoming;
mod outgoing;
mod peer;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::{Endpoint, SendStream, TokioRuntime};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::answers::Answer;
use self::outgoing::Letter;
use self::peer::Shared;
use self::refusal::LEAVING;
use super::inbox::Inbox;
use super::{BoxFuture, Transport, codec};
use crate::cluster::{Message, NodeId};

pub use files::CertificateFileError;
pub use identity::{ClusterCa, Identity, IdentityError};

/// Messages received and not yet taken. When it is full, streams are not read, which slows the senders down.
const INBOX: usize = 256;

/// How long `close` waits for the last messages to arrive.
const FLUSH_LIMIT: Duration = Duration::from_millis(200);

/// How long `close` waits after that for peers to hear of the end; a peer that does not finds out by itself.
const GOODBYE_LIMIT: Duration = Duration::from_millis(100);

/// Why a node cannot be reached over QUIC.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// Another process, or another node of this one, listens there.
    #[error("expected {0} to be free, but something listens there already: stop it, or choose another with --listen")]
    AddressInUse(SocketAddr),
    /// The address cannot be listened to.
    #[error("expected to listen on {address}: {cause}; choose an address of this machine with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The certificates do not make a TLS configuration.
    #[error("expected certificates that can be used for TLS: {0}; make new ones with `headframe certs`")]
    Tls(#[from] rustls::Error),
    /// Called where no tokio runtime is.
    #[error("expected to be called in a tokio runtime: {0}")]
    Runtime(#[from] tokio::runtime::TryCurrentError),
}

/// One node's QUIC endpoint and its connections. Dropping it ends them.
pub struct QuicTransport {
    local: SocketAddr,
    shared: Arc<Shared>,
    inbox: Inbox<(NodeId, Message)>,
    encoder: codec::Encoder,
}

impl QuicTransport {
    /// Listens on `listen` (port 0: any free one) as the node that `identity` names. `heartbeat` is the cluster's; the
    /// time limits follow from it. Nobody is dialled, or let in, until peers are set.
    pub fn bind(identity: &Identity, listen: SocketAddr, heartbeat: Duration) -> Result<Self, QuicError> {
        let runtime = Handle::try_current()?;
        let client = config::client(identity, heartbeat)?;
        let server = config::server(identity, heartbeat)?;
        let refused = |cause: io::Error| match cause.kind() {
            io::ErrorKind::AddrInUse => QuicError::AddressInUse(listen),
            _ => QuicError::Listen { address: listen, cause },
        };
        let socket = UdpSocket::bind(listen).map_err(refused)?;
        let endpoint = Endpoint::new(config::endpoint(identity), Some(server), socket, Arc::new(TokioRuntime));
        let endpoint = endpoint.map_err(refused)?;
        let local = endpoint.local_addr().map_err(refused)?;
        let (sender, inbox) = Inbox::new(INBOX);
        let shared = Arc::new(Shared {
            node: identity.node(),
            endpoint,
            client,
            heartbeat,
            runtime,
            inbox: sender,
            peers: Mutex::default(),
            deliveries: TaskTracker::new(),
            dials: Semaphore::new(outgoing::DIALS),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        let (stop, incoming) = (shared.stop.clone(), incoming::run(shared.clone()));
        shared.runtime.spawn(async move { stop.run_until_cancelled(incoming).await });
        Ok(Self { local, shared, inbox, encoder: codec::Encoder::default() })
    }

    fn post(&self, to: NodeId, message: &Message) {
        let frame = match self.encoder.encode(message) {
            Ok(frame) => frame,
            Err(error) => return tracing::warn!("dropped a message to peer {to}: {error}"),
        };
        let since = Instant::now();
        let letter = Letter { frame, awaits: Answer::awaited_by(message), since };
        let mut peers = self.shared.peers();
        let Some(peer) = peers.get_mut(&to) else { return };
        match Answer::given_by(message).and_then(|answer| peer.awaits.take(answer, since)) {
            Some(stream) => self.answer(stream, letter, peer.letters.clone()),
            None => queue(&peer.letters, letter),
        }
    }

    /// Answers on the request's own stream, or by letter where that fails.
    fn answer(&self, mut stream: SendStream, letter: Letter, letters: mpsc::Sender<Letter>) {
        let stop = self.shared.stop.clone();
        let answer = async move {
            if outgoing::deliver(&mut stream, letter.frame.clone()).await.is_err() {
                queue(&letters, letter);
            }
        };
        let task = async move { stop.run_until_cancelled(answer).await };
        self.shared.deliveries.spawn_on(task, &self.shared.runtime);
    }

    async fn end(&self) {
        let shared = &self.shared;
        shared.closing.cancel();
        shared.deliveries.close();
        // Past the limit, what is left could not be delivered.
        let _ = timeout(FLUSH_LIMIT, shared.deliveries.wait()).await;
        self.stop();
        let _ = timeout(GOODBYE_LIMIT, shared.endpoint.wait_idle()).await;
    }

    fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.peers().clear();
        self.shared.endpoint.close(LEAVING, b"leaving");
        self.inbox.close();
    }
}

fn queue(letters: &mpsc::Sender<Letter>, letter: Letter) {
    if letters.try_send(letter).is_err() {
        tracing::debug!("dropped a message: too many wait for that peer");
    }
}

impl Transport for QuicTransport {
    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn set_peers(&self, peers: &BTreeMap<NodeId, SocketAddr>) {
        let mut others = peers.clone();
        others.remove(&self.shared.node);
        if !self.shared.closing.is_cancelled() {
            self.shared.set_peers(&others);
        }
    }

    fn send(&self, to: NodeId, message: Message) {
        if !self.shared.closing.is_cancelled() {
            self.post(to, &message);
        }
    }

    fn recv(&self) -> BoxFuture<'_, Option<(NodeId, Message)>> {
        Box::pin(self.inbox.recv())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.stop();
    }
}
