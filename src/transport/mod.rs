//! Carries messages between nodes. The connection is pluggable: `quic` is the usual one, `grpc` is for other languages, `udp` for the exercise's
//! own programs, [`memory`] for one process; [`several`] makes one of several.
//! [`memory`] the tests'.
//!
//! A transport promises little, so that many kinds of connection can be one: a message that arrives comes from the node that is named
//! beside it, as well as the transport can tell. It may arrive late, twice, out of order or never; the cluster's rules cope. `send` never
//! waits.
//!
//! `tests/suite/transport` is the conformance suite. Its native part is for transports between Headframe nodes: every message arrives whole
//! and unchanged. Its dialect part is for transports that translate to another program's messages: it says which facts must survive.
//!
//! What every transport may need stands beside them: [`codec`] (a message as bytes), [`identity`] and [`files`] (who a node is, and how
//! it proves that), and the table of which message answers which.

#[cfg(feature = "quic")]
mod answers;
#[cfg(any(feature = "grpc", feature = "quic", feature = "udp"))]
mod bind;
#[cfg(any(feature = "grpc", feature = "quic"))]
mod bounds;
pub mod codec;
#[cfg(feature = "identity")]
pub mod files;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(crate) mod fuzz;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "identity")]
pub mod identity;
mod inbox;
#[cfg(any(feature = "grpc", feature = "udp"))]
mod introductions;
pub mod memory;
#[cfg(any(feature = "grpc", feature = "quic"))]
mod places;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(any(feature = "grpc", feature = "quic"))]
mod refusal;
#[cfg(test)]
mod samples;
pub mod several;
#[cfg(any(feature = "grpc", feature = "quic"))]
mod strangers;
#[cfg(any(feature = "grpc", feature = "quic"))]
mod tls;
#[cfg(feature = "udp")]
pub mod udp;

#[cfg(any(feature = "grpc", feature = "quic"))]
pub use bind::BindError;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cluster::{Message, NodeId};

/// What a lock protects is whole after every statement, whoever panicked in between.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A node of the cluster, as the others know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// The address at which the others reach it.
    pub address: SocketAddr,
    /// Whether it can show witnesses of its work, as every Headframe node can. A member that cannot is not judged by them.
    pub proves: bool,
}

impl Member {
    /// A Headframe node.
    pub const fn headframe(id: NodeId, address: SocketAddr) -> Self {
        Self { id, address, proves: true }
    }
}

/// One node's end of the connection to all the others.
pub trait Transport: Send + Sync {
    /// Where the others reach this node.
    fn local_address(&self) -> SocketAddr;

    /// Names the members to exchange messages with, in place of those named before; connections to members that are no longer named are
    /// closed. This node itself may be among them and is passed over. Of two members with one id the last one counts.
    fn set_peers(&self, members: &[Member]);

    /// Sends `message` on its way, or drops it: to an unknown node, over a dead link, or past a full queue.
    fn send(&self, to: NodeId, message: Message);

    /// The next message and its sender. Cancel-safe. `None` after `close`.
    fn recv(&self) -> BoxFuture<'_, Option<(NodeId, Message)>>;

    /// The next member that this transport has met by itself, or knows more of than the list says: to be added to the list, also in place
    /// of a member with the same id. Cancel-safe. Most transports meet nobody.
    fn introduced(&self) -> BoxFuture<'_, Member> {
        Box::pin(std::future::pending())
    }

    /// What keeps this node from reaching a peer, as far as it is known.
    fn trouble(&self, _peer: NodeId) -> Option<String> {
        None
    }

    /// When the certificate that this node shows, or its CA's, ends, since 1970; none where there are no certificates.
    fn certificate_ends(&self) -> Option<Duration> {
        None
    }

    /// Uses this node's renewed certificate, and the CA that comes with it, for new connections. Those that there are go on.
    ///
    /// # Errors
    /// The certificate cannot be used, or this transport takes certificates at its start only.
    #[cfg(feature = "identity")]
    fn take_up(&self, _identity: &identity::Identity) -> Result<(), rustls::Error> {
        Err(rustls::Error::General(
            "this transport takes up a new certificate when the node is started again".to_owned(),
        ))
    }

    /// Delivers the messages sent so far where that is possible at once (within about 200 ms), then ends all connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}
