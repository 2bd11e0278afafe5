//! The product's connection: QUIC between the nodes of one cluster, with mutual TLS 1.3.
//!
//! ```text
//! send ──> a queue for each peer ──> outgoing: one task and connection for each peer ──> its requests, one-way messages
//!      └─> the stream on which the peer awaits this answer                                     │ answers
//! recv <── inbox <── incoming: one connection for each peer, one frame for each stream         │
//!              └─────────────────────────────────────────────────────────────────────────────<┘
//! ```
//!
//! 1. A node dials a peer when it has a message for it, unless a peer with a higher id has dialled it already: then both send on that
//!    connection. Both sides prove by certificate who they are: [`identity`](super::identity).
//! 2. A request and its answer (`transport/answers.rs`) are one bidirectional stream, every other message is a unidirectional one.
//! 3. Every queue, stream count and window is bounded; what does not fit is dropped, and the cluster's rules cope.

mod config;
mod incoming;
mod outgoing;
mod peer;
mod refusal;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::{Endpoint, SendStream, TokioRuntime};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::outgoing::Outbound;
use self::peer::Shared;
use self::refusal::LEAVING;
use super::answers::Answer;
use super::bounds::{DIALS, FLUSH_LIMIT, INBOX};
use super::identity::Identity;
use super::inbox::Inbox;
use super::strangers::Strangers;
use super::{BoxFuture, Member, Transport, codec, lock};
use crate::cluster::{Message, NodeId};

/// How long `close` waits after that until the peers know that the connections are closed. A peer that does not learn it in time notices by
/// its own time-out.
const GOODBYE_LIMIT: Duration = Duration::from_millis(100);

/// Why a node cannot be reached over QUIC.
pub use super::bind::BindError as QuicError;

/// One node's QUIC endpoint and its connections. Dropping it ends them.
pub struct QuicTransport {
    local: SocketAddr,
    shared: Arc<Shared>,
    inbox: Inbox<(NodeId, Message)>,
}

impl QuicTransport {
    /// Listens on `listen` (port 0: any free one) as the node that `identity` names. `heartbeat` is the cluster's; the time limits follow
    /// from it. Nobody is dialled, or let in, until peers are set.
    ///
    /// # Errors
    /// The address cannot be listened on, the certificates cannot be used for TLS, or there is no tokio runtime.
    pub fn bind(identity: &Identity, listen: SocketAddr, heartbeat: Duration) -> Result<Self, QuicError> {
        let runtime = Handle::try_current()?;
        let client = config::client(identity, heartbeat)?;
        let server = config::server(identity, heartbeat)?;
        let refused = |cause| QuicError::of(listen, cause);
        let socket = UdpSocket::bind(listen).map_err(refused)?;
        let endpoint = Endpoint::new(config::endpoint(identity), Some(server), socket, Arc::new(TokioRuntime));
        let endpoint = endpoint.map_err(refused)?;
        let local = endpoint.local_addr().map_err(refused)?;
        let (sender, inbox) = Inbox::new(INBOX);
        let shared = Arc::new(Shared {
            node: identity.node(),
            endpoint,
            client: Mutex::new(client),
            certificate_ends: Mutex::new(identity.ends()),
            heartbeat,
            runtime,
            inbox: sender,
            peers: Mutex::default(),
            strangers: Strangers::new(identity.node(), heartbeat),
            places: Arc::default(),
            deliveries: TaskTracker::new(),
            dials: Semaphore::new(DIALS),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        let (stop, incoming) = (shared.stop.clone(), incoming::run(shared.clone()));
        shared.runtime.spawn(async move { stop.run_until_cancelled(incoming).await });
        Ok(Self { local, shared, inbox })
    }

    fn post(&self, to: NodeId, message: &Message) {
        let frame = match codec::encode(message) {
            Ok(frame) => frame.into(),
            Err(error) => return tracing::warn!("dropped a message to peer {to}: {error}"),
        };
        let since = Instant::now();
        let outbound = Outbound { frame, awaits: Answer::awaited_by(message), since };
        let mut peers = self.shared.peers();
        let Some(peer) = peers.get_mut(&to) else { return };
        match Answer::given_by(message).and_then(|answer| peer.awaits.take(answer, since)) {
            Some(stream) => self.answer(stream, outbound, peer.outbound.clone()),
            None => queue(&peer.outbound, outbound),
        }
    }

    /// Answers on the request's own stream; where that fails, the answer is queued as any other message.
    fn answer(&self, mut stream: SendStream, outbound: Outbound, waiting: mpsc::Sender<Outbound>) {
        let stop = self.shared.stop.clone();
        let answer = async move {
            if outgoing::deliver(&mut stream, outbound.frame.clone()).await.is_err() {
                queue(&waiting, outbound);
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

fn queue(waiting: &mpsc::Sender<Outbound>, outbound: Outbound) {
    if waiting.try_send(outbound).is_err() {
        tracing::debug!("dropped a message: too many wait for that peer");
    }
}

impl Transport for QuicTransport {
    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn set_peers(&self, members: &[Member]) {
        let others = members.iter().filter(|member| member.id != self.shared.node);
        let others = others.map(|member| (member.id, member.address)).collect();
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

    fn trouble(&self, peer: NodeId) -> Option<String> {
        self.shared.peers().get(&peer)?.trouble.get()
    }

    fn certificate_ends(&self) -> Option<Duration> {
        Some(*lock(&self.shared.certificate_ends))
    }

    fn take_up(&self, identity: &Identity) -> Result<(), rustls::Error> {
        let client = config::client(identity, self.shared.heartbeat)?;
        let server = config::server(identity, self.shared.heartbeat)?;
        *lock(&self.shared.client) = client;
        self.shared.endpoint.set_server_config(Some(server));
        *lock(&self.shared.certificate_ends) = identity.ends();
        Ok(())
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
