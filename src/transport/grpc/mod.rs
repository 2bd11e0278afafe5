//! gRPC between the nodes of one cluster, with mutual TLS 1.3: for nodes in other languages, and for networks that let no UDP pass.
//!
//! ```text
//! send ──> a queue for each peer ──> outgoing: one task for each peer ──> the live stream of that pair, whoever has opened it
//! recv <── inbox <── reading: one task for each stream <── incoming: connections that peers open; outgoing: those that this node opens
//! ```
//!
//! 1. `headframe.proto` is the interface, and says all that a node in another language needs to know. `wire.rs` is generated from it.
//! 2. Two nodes exchange all messages on one bidirectional stream. A node dials a peer when it has a message for it and there is no such
//!    stream. Of two, both sides send on the one that the higher id has opened, and the other one is ended.
//! 3. Heartbeats prove life. There are no HTTP/2 pings: a stream on which nothing is heard for a while is ended, and another one opened when
//!    there is something to send.
//! 4. Every queue, window and count is bounded; what does not fit is dropped, and the cluster's rules cope.

mod convert;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(crate) mod fuzz;
mod http2;
mod incoming;
mod outgoing;
mod peer;
#[cfg(test)]
mod regenerate;
mod service;
mod stream;
#[cfg(test)]
mod tests;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::doc_lazy_continuation, clippy::enum_variant_names)] // generated
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message as _;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::outgoing::Outbound;
use self::peer::Shared;
use super::bounds::{DIALS, FLUSH_LIMIT, INBOX};
use super::identity::Identity;
use super::inbox::Inbox;
use super::introductions::Introductions;
use super::strangers::Strangers;
use super::{BoxFuture, Member, Transport, lock, tls};
use crate::cluster::{Message, NodeId};

/// Why a node cannot be reached over gRPC.
pub use super::bind::BindError as GrpcError;

/// The most bytes of a message. What fits a frame of the codec fits here: an element of a list takes at most twice the room, but for shares
/// with very small numbers, and of these the rules allow few.
const MAX_MESSAGE: usize = 128 * 1024;

/// HTTP/2 in TLS, RFC 9113 section 3.2.
const ALPN: &[u8] = b"h2";

/// How long `close` waits at the end until its tasks have let go of the sockets.
const GOODBYE_LIMIT: Duration = Duration::from_millis(100);

/// One node's gRPC server and its connections. Dropping it ends them.
pub struct GrpcTransport {
    local: SocketAddr,
    shared: Arc<Shared>,
    inbox: Inbox<(NodeId, Message)>,
}

impl GrpcTransport {
    /// Listens on `listen` (port 0: any free one) as the node that `identity` names. `heartbeat` is the cluster's; the time limits follow
    /// from it. Nobody is dialled, or let in, until peers are set.
    ///
    /// # Errors
    /// The address cannot be listened on, the certificates cannot be used for TLS, or there is no tokio runtime.
    pub fn bind(identity: &Identity, listen: SocketAddr, heartbeat: Duration) -> Result<Self, GrpcError> {
        let runtime = Handle::try_current()?;
        let (client, server) = (tls::client(identity, ALPN)?, tls::server(identity, ALPN)?);
        let refused = |cause| GrpcError::of(listen, cause);
        let listener = TcpListener::bind(listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(refused)?;
        let local = listener.local_addr().map_err(refused)?;
        let (sender, inbox) = Inbox::new(INBOX);
        let shared = Arc::new(Shared {
            node: identity.node(),
            heartbeat,
            runtime,
            connector: Mutex::new(TlsConnector::from(Arc::new(client))),
            acceptor: Mutex::new(TlsAcceptor::from(Arc::new(server))),
            certificate_ends: Mutex::new(identity.ends()),
            inbox: sender,
            peers: Mutex::default(),
            strangers: Strangers::new(identity.node(), heartbeat),
            introductions: Introductions::default(),
            places: Arc::default(),
            entries: Arc::default(),
            deliveries: TaskTracker::new(),
            tasks: TaskTracker::new(),
            dials: Semaphore::new(DIALS),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        let (stop, incoming) = (shared.stop.clone(), incoming::run(shared.clone(), listener));
        shared.tasks.spawn_on(async move { stop.run_until_cancelled(incoming).await }, &shared.runtime);
        Ok(Self { local, shared, inbox })
    }

    fn post(&self, to: NodeId, message: Message) {
        let message = convert::to_wire(message);
        let length = message.encoded_len();
        if length > MAX_MESSAGE {
            return tracing::warn!(
                "dropped a message to peer {to}: expected at most {MAX_MESSAGE} bytes, got {length}: shorten its lists"
            );
        }
        let outbound = Outbound { message, since: Instant::now() };
        if let Some(peer) = self.shared.peers().get(&to)
            && peer.outbound.try_send(outbound).is_err()
        {
            tracing::debug!("dropped a message: too many wait for peer {to}");
        }
    }

    async fn end(&self) {
        let shared = &self.shared;
        shared.closing.cancel();
        shared.deliveries.close();
        // Past the limit, what is left could not be delivered.
        let _ = timeout(FLUSH_LIMIT, shared.deliveries.wait()).await;
        self.stop();
        shared.tasks.close();
        let _ = timeout(GOODBYE_LIMIT, shared.tasks.wait()).await;
    }

    fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.peers().clear();
        self.inbox.close();
    }
}

impl Transport for GrpcTransport {
    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn set_peers(&self, members: &[Member]) {
        let others = members.iter().filter(|member| member.id != self.shared.node);
        let others = others.map(|member| (member.id, *member)).collect();
        if !self.shared.closing.is_cancelled() {
            self.shared.set_peers(&others);
        }
    }

    fn send(&self, to: NodeId, message: Message) {
        if !self.shared.closing.is_cancelled() {
            self.post(to, message);
        }
    }

    fn recv(&self) -> BoxFuture<'_, Option<(NodeId, Message)>> {
        Box::pin(self.inbox.recv())
    }

    /// A peer that says in a report that it shows no witnesses.
    fn introduced(&self) -> BoxFuture<'_, Member> {
        Box::pin(self.shared.introductions.next())
    }

    fn trouble(&self, peer: NodeId) -> Option<String> {
        self.shared.peers().get(&peer)?.trouble.get()
    }

    fn certificate_ends(&self) -> Option<Duration> {
        Some(*lock(&self.shared.certificate_ends))
    }

    fn take_up(&self, identity: &Identity) -> Result<(), rustls::Error> {
        let (client, server) = (tls::client(identity, ALPN)?, tls::server(identity, ALPN)?);
        *lock(&self.shared.connector) = TlsConnector::from(Arc::new(client));
        *lock(&self.shared.acceptor) = TlsAcceptor::from(Arc::new(server));
        *lock(&self.shared.certificate_ends) = identity.ends();
        Ok(())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}

impl Drop for GrpcTransport {
    fn drop(&mut self) {
        self.stop();
    }
}
