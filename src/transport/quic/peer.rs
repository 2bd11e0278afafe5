//! What this node knows of each peer, and the state that all tasks of a transport share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, SendStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::outgoing::{self, Outbound};
use super::refusal::LEAVING;
use crate::cluster::{Message, NodeId};
use crate::transport::answers::OpenRequests;
use crate::transport::bounds::WAITING;
use crate::transport::codec;
use crate::transport::lock;
use crate::transport::places::Places;
use crate::transport::refusal::Trouble;
use crate::transport::strangers::{Rivals, Strangers};

/// Shared by a transport and its tasks.
pub(super) struct Shared {
    /// This node.
    pub(super) node: NodeId,
    pub(super) endpoint: Endpoint,
    /// For connections that this node opens.
    pub(super) client: Mutex<ClientConfig>,
    pub(super) certificate_ends: Mutex<Duration>,
    pub(super) heartbeat: Duration,
    pub(super) runtime: Handle,
    pub(super) inbox: mpsc::Sender<(NodeId, Message)>,
    pub(super) peers: Mutex<BTreeMap<NodeId, Peer>>,
    /// The nodes of this cluster that were refused, since they are no peers.
    pub(super) strangers: Strangers,
    /// The places of connections from addresses that are no peer's.
    pub(super) places: Arc<Places>,
    /// The tasks that may still have messages to deliver when the transport closes.
    pub(super) deliveries: TaskTracker,
    /// A permit for each task that dials.
    pub(super) dials: Semaphore,
    /// The transport closes: no further message is taken, and those that wait are delivered.
    pub(super) closing: CancellationToken,
    /// Every task ends now.
    pub(super) stop: CancellationToken,
}

/// A peer in the current list. Dropping it ends its tasks and connections.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The messages that wait to be sent to it.
    pub(super) outbound: mpsc::Sender<Outbound>,
    /// The newest connection that the peer opened.
    pub(super) incoming: Option<Connection>,
    pub(super) rivals: Rivals,
    /// Why the last attempt to dial it failed.
    pub(super) trouble: Trouble,
    /// The requests that came on it and await an answer.
    pub(super) awaits: OpenRequests<SendStream>,
    _stop: DropGuard,
}

impl Shared {
    pub(super) fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        lock(&self.peers)
    }

    /// Takes over a new list of peers. Peers whose address is unchanged keep their connections.
    pub(super) fn set_peers(self: &Arc<Self>, wanted: &BTreeMap<NodeId, SocketAddr>) {
        let mut peers = self.peers();
        peers.retain(|id, peer| wanted.get(id) == Some(&peer.address));
        for (&id, &address) in wanted {
            peers.entry(id).or_insert_with(|| Peer::new(self, id, address));
        }
    }

    /// The message in a peer's frame, if it is one.
    pub(super) fn decode(&self, from: NodeId, frame: &[u8]) -> Option<Message> {
        match codec::decode(frame) {
            Ok(Some(message)) => return Some(message),
            Ok(None) => tracing::debug!("passed over a newer version's message of peer {from}"),
            Err(error) => tracing::debug!("dropped a frame of peer {from}: {error}"),
        }
        None
    }

    /// Puts a message into the inbox, waiting for room.
    pub(super) async fn deliver(&self, from: NodeId, message: Message) {
        // Fails only once the transport is gone.
        let _ = self.inbox.send((from, message)).await;
    }
}

impl Peer {
    fn new(shared: &Arc<Shared>, id: NodeId, address: SocketAddr) -> Self {
        let (outbound, waiting) = mpsc::channel(WAITING);
        let trouble = Trouble::default();
        let stop = shared.stop.child_token();
        // Boxed: whatever awaits a future keeps room for it twice, and there may be a thousand peers.
        let outgoing = Box::pin(outgoing::run(shared.clone(), id, address, waiting, trouble.clone()));
        let ended = stop.clone();
        let task = async move { ended.run_until_cancelled(outgoing).await };
        shared.deliveries.spawn_on(task, &shared.runtime);
        // The asker waits for one heartbeat; an answer within the first half of it surely arrives in time.
        let awaits = OpenRequests::new(shared.heartbeat / 2);
        Self { address, outbound, incoming: None, rivals: Rivals::default(), trouble, awaits, _stop: stop.drop_guard() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(connection) = &self.incoming {
            connection.close(LEAVING, b"leaving");
        }
    }
}
