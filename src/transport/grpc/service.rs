//! The service that peers call: it takes the streams that they open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::peer::Shared;
use super::stream::{Live, Outbox};
use super::wire::{self, node_server::Node};
use crate::cluster::NodeId;

/// Calls on one connection, refused ones included. A peer needs one, or a few if its streams end; one that makes more gets the next on
/// another connection, which costs it a handshake.
const CALLS: usize = 32;

/// What one connection's calls have in common.
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
    /// Whom the certificate names.
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    /// Whether it is among the peers.
    is_peer: bool,
    calls: AtomicUsize,
    /// The tasks that read the connection's streams.
    pub(super) readers: TaskTracker,
    /// Ends the connection.
    pub(super) stop: CancellationToken,
}

impl Caller {
    pub(super) fn new(
        shared: Arc<Shared>,
        node: NodeId,
        address: SocketAddr,
        is_peer: bool,
        stop: CancellationToken,
    ) -> Self {
        Self { shared, node, address, is_peer, calls: AtomicUsize::new(0), readers: TaskTracker::new(), stop }
    }
}

#[tonic::async_trait]
impl Node for Caller {
    type ExchangeStream = Outbox;

    async fn exchange(&self, request: Request<Streaming<wire::Message>>) -> Result<Response<Outbox>, Status> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= CALLS {
            self.stop.cancel();
            return Err(Status::resource_exhausted("too many calls on one connection"));
        }
        if self.shared.closing.is_cancelled() {
            return Err(Status::unavailable("this node is leaving"));
        }
        let (stream, outbox, reader) = Live::new(self.node, self.address);
        if !self.is_peer || !self.shared.opened(self.node, stream) {
            return Err(Status::permission_denied("not one of this node's servers"));
        }
        let (stop, reading) = (self.stop.clone(), reader.run(self.shared.clone(), self.node, request.into_inner()));
        self.readers.spawn_on(async move { stop.run_until_cancelled(reading).await }, &self.shared.runtime);
        Ok(Response::new(outbox))
    }
}
