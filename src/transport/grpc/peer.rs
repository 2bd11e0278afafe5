//! What this node knows of each peer, and the state that all tasks of a transport share.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::Status;

use super::outgoing::{self, Outbound};
use super::stream::{Live, Reader};
use crate::cluster::{Message, NodeId};
use crate::origin::Origin;
use crate::transport::Member;
use crate::transport::bounds::WAITING;
use crate::transport::introductions::Introductions;
use crate::transport::lock;
use crate::transport::places::{Place, Places};
use crate::transport::refusal::Trouble;
use crate::transport::strangers::{Rivals, Strangers};

/// Shared by a transport and its tasks.
pub(super) struct Shared {
    /// This node.
    pub(super) node: NodeId,
    pub(super) heartbeat: Duration,
    pub(super) runtime: Handle,
    pub(super) connector: Mutex<TlsConnector>,
    pub(super) acceptor: Mutex<TlsAcceptor>,
    pub(super) certificate_ends: Mutex<Duration>,
    pub(super) inbox: mpsc::Sender<(NodeId, Message)>,
    pub(super) peers: Mutex<BTreeMap<NodeId, Peer>>,
    /// The nodes of this cluster that were refused, since they are no peers.
    pub(super) strangers: Strangers,
    pub(super) introductions: Introductions,
    /// The places of connections that have not shown yet that they are a peer's: from elsewhere, and from where peers are.
    pub(super) places: Arc<Places>,
    pub(super) entries: Arc<Places>,
    /// The tasks that may still have messages to deliver when the transport closes.
    pub(super) deliveries: TaskTracker,
    /// The tasks that have sockets.
    pub(super) tasks: TaskTracker,
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
    /// Whether it shows witnesses, as far as it has said.
    proves: bool,
    /// The messages that wait to be sent to it.
    pub(super) outbound: mpsc::Sender<Outbound>,
    /// The stream to send on, if there is one.
    live: Option<Live>,
    /// Tells the task that sends of a stream that the peer has opened.
    arrived: Arc<Notify>,
    rivals: Rivals,
    /// Why it cannot be dialled.
    pub(super) trouble: Trouble,
    incoming: Recent,
    dialled: Recent,
    stop: CancellationToken,
    _stop: DropGuard,
}

/// The newest two connections of one kind to one peer: the present one, and the one that it replaces. Older ones are ended.
#[derive(Default)]
struct Recent(VecDeque<DropGuard>);

impl Recent {
    const KEPT: usize = 2;

    fn add(&mut self, connection: CancellationToken) {
        if self.0.len() == Self::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(connection.drop_guard());
    }
}

impl Shared {
    pub(super) fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        lock(&self.peers)
    }

    /// Takes over a new list of peers. Peers whose address is unchanged keep their connections.
    pub(super) fn set_peers(self: &Arc<Self>, wanted: &BTreeMap<NodeId, Member>) {
        let mut peers = self.peers();
        peers.retain(|id, peer| wanted.get(id).is_some_and(|member| member.address == peer.address));
        for (&id, member) in wanted {
            peers.entry(id).or_insert_with(|| Peer::new(self, member));
        }
    }

    /// A place for a connection from this address until it has shown whose it is. Two for each peer there: its present connection, and
    /// one that replaces it. Strangers have places of their own.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let origin = Origin::of(address);
        let here = self.peers().values().filter(|peer| Origin::of(peer.address.ip()) == origin).count();
        self.entries.enter_within(address, 2 * here, usize::MAX).or_else(|| self.places.enter(address))
    }

    /// Counts a connection that this peer has opened, or that was opened to it. It has to end when the token is cancelled. `None` when there
    /// is no such peer.
    pub(super) fn connected(&self, id: NodeId, opener: NodeId) -> Option<CancellationToken> {
        let mut peers = self.peers();
        let peer = peers.get_mut(&id)?;
        let connection = peer.stop.child_token();
        let recent = if opener == self.node { &mut peer.dialled } else { &mut peer.incoming };
        recent.add(connection.clone());
        Some(connection)
    }

    /// The stream to send to a peer on.
    pub(super) fn live(&self, id: NodeId) -> Option<Live> {
        self.peers().get(&id)?.live.clone().filter(Live::is_open)
    }

    /// A stream to a peer has been opened. False when there is no such peer.
    pub(super) fn opened(&self, id: NodeId, stream: Live) -> bool {
        let mut peers = self.peers();
        let Some(peer) = peers.get_mut(&id) else { return false };
        if let Some(older) = &peer.live
            && older.is_open()
        {
            if older.outlasts(&stream) {
                return true; // and the new one ends
            }
            if older.has_opener_of(&stream) {
                peer.rivals.meet(id, older.address, stream.address, self.heartbeat);
            }
            older.explain(Status::aborted("replaced by a newer stream of this node"));
        }
        peer.live = Some(stream);
        peer.trouble.set(None);
        peer.arrived.notify_one();
        true
    }

    /// Nothing more is sent on the stream that this reader reads.
    pub(super) fn forget(&self, id: NodeId, reader: &Reader) {
        if let Some(peer) = self.peers().get_mut(&id) {
            peer.live.take_if(|live| reader.reads(live));
        }
    }

    /// Ends the stream to a peer, and gives the token that is cancelled when the peer has ended it, too.
    pub(super) fn end(&self, id: NodeId) -> Option<CancellationToken> {
        self.peers().get_mut(&id)?.live.take().map(|live| live.ended)
    }

    /// A peer says that it shows no witnesses.
    pub(super) fn shows_none(&self, id: NodeId) {
        if let Some(peer) = self.peers().get_mut(&id)
            && std::mem::replace(&mut peer.proves, false)
        {
            self.introductions.add(Member { id, address: peer.address, proves: false });
        }
    }

    /// Puts a message into the inbox, waiting for room.
    pub(super) async fn deliver(&self, from: NodeId, message: Message) {
        // Fails only once the transport is gone.
        let _ = self.inbox.send((from, message)).await;
    }
}

impl Peer {
    fn new(shared: &Arc<Shared>, member: &Member) -> Self {
        let &Member { id, address, proves } = member;
        let (outbound, waiting) = mpsc::channel(WAITING);
        let (stop, arrived, trouble) = (shared.stop.child_token(), Arc::new(Notify::new()), Trouble::default());
        // Boxed: whatever awaits a future keeps room for it twice, and there may be a thousand peers.
        let outgoing =
            Box::pin(outgoing::run(shared.clone(), id, address, waiting, (arrived.clone(), trouble.clone())));
        let ended = stop.clone();
        let task = async move { ended.run_until_cancelled(outgoing).await };
        shared.deliveries.spawn_on(task, &shared.runtime);
        Self {
            address,
            proves,
            outbound,
            live: None,
            arrived,
            rivals: Rivals::default(),
            trouble,
            incoming: Recent::default(),
            dialled: Recent::default(),
            stop: stop.clone(),
            _stop: stop.drop_guard(),
        }
    }
}
