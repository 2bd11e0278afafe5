//! Where nodes are started, and how long a check waits.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, SystemTime};

use headframe::cluster::{Message, NodeId};
use headframe::transport::grpc::GrpcTransport;
use headframe::transport::identity::ClusterCa;
use headframe::transport::memory::MemoryNetwork;
use headframe::transport::quic::QuicTransport;
use headframe::transport::{BindError, Member, Transport};
use tokio::time::{sleep, timeout};

use super::messages::id;
use crate::process::own_host;

/// An event that should happen has so long to happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// An event that should not happen is waited for so long.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// Where nodes are started: one kind of transport.
pub(crate) enum Network {
    Memory(MemoryNetwork),
    Quic(Box<ClusterCa>),
    Grpc(Box<ClusterCa>),
}

impl Network {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryNetwork::new())
    }

    pub(crate) fn quic() -> Self {
        Self::Quic(Box::new(ClusterCa::generate(SystemTime::now()).unwrap()))
    }

    pub(crate) fn grpc() -> Self {
        Self::Grpc(Box::new(ClusterCa::generate(SystemTime::now()).unwrap()))
    }

    /// An address at which a node can be started later.
    pub(crate) fn reserve(&self) -> SocketAddr {
        let any = (own_host(), 0);
        match self {
            Self::Grpc(_) => TcpListener::bind(any).unwrap().local_addr().unwrap(),
            _ => UdpSocket::bind(any).unwrap().local_addr().unwrap(),
        }
    }

    /// A node at `address`, as soon as its predecessor there has let go of it.
    pub(crate) async fn start_at(&self, node: u32, address: SocketAddr) -> Box<dyn Transport> {
        match self {
            Self::Memory(network) => Box::new(network.join(id(node))),
            Self::Quic(ca) => {
                let identity = ca.issue(id(node), SystemTime::now()).unwrap();
                Box::new(soon(freed(|| QuicTransport::bind(&identity, address, HEARTBEAT))).await)
            }
            Self::Grpc(ca) => {
                let identity = ca.issue(id(node), SystemTime::now()).unwrap();
                Box::new(soon(freed(|| GrpcTransport::bind(&identity, address, HEARTBEAT))).await)
            }
        }
    }

    pub(crate) async fn start(&self, node: u32) -> Box<dyn Transport> {
        self.start_at(node, (own_host(), 0).into()).await
    }

    /// Nodes 1, 2 and 3, who know each other.
    pub(crate) async fn trio(&self) -> [Box<dyn Transport>; 3] {
        let nodes = [self.start(1).await, self.start(2).await, self.start(3).await];
        introduce(&[(1, &*nodes[0]), (2, &*nodes[1]), (3, &*nodes[2])]);
        nodes
    }
}

/// A transport at an address that is free, or soon will be.
pub(crate) async fn freed<T>(bind: impl Fn() -> Result<T, BindError>) -> T {
    loop {
        match bind() {
            Err(BindError::AddressInUse(_)) => sleep(Duration::from_millis(10)).await,
            bound => return bound.unwrap(),
        }
    }
}

/// Tells every node of every other.
pub(crate) fn introduce(nodes: &[(u32, &dyn Transport)]) {
    let members: Vec<_> = nodes.iter().map(|&(node, transport)| member(node, transport.local_address())).collect();
    nodes.iter().for_each(|(_, transport)| transport.set_peers(&members));
}

pub(crate) fn member(node: u32, address: SocketAddr) -> Member {
    Member::headframe(id(node), address)
}

pub(crate) async fn soon<T>(event: impl IntoFuture<Output = T>) -> T {
    timeout(PATIENCE, event).await.expect("expected to happen in time")
}

pub(crate) async fn next(transport: &dyn Transport) -> (NodeId, Message) {
    soon(transport.recv()).await.expect("expected an open transport")
}

pub(crate) async fn silent(transport: &dyn Transport) {
    let message = timeout(SILENCE, transport.recv()).await;
    assert!(message.is_err(), "expected nothing, got {message:?}");
}

/// Repeats a message, as heartbeats do, until one arrives.
pub(crate) async fn reaches(from: &dyn Transport, to: (u32, &dyn Transport), message: Message) -> NodeId {
    let repeat = async {
        loop {
            from.send(id(to.0), message.clone());
            sleep(Duration::from_millis(20)).await;
        }
    };
    let arrive = async {
        loop {
            match to.1.recv().await {
                Some((sender, arrived)) if arrived == message => return sender,
                other => assert!(other.is_some(), "expected an open transport"),
            }
        }
    };
    soon(async {
        tokio::select! {
            sender = arrive => sender,
            () = repeat => unreachable!("repeats for ever"),
        }
    })
    .await
}
