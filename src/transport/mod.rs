//! Carries messages between nodes. The connection is pluggable: [`quic`] is the product's, [`memory`] the tests'.
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

mod answers;
pub mod codec;
pub mod files;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(crate) mod fuzz;
pub mod identity;
mod inbox;
pub mod memory;
pub mod quic;

use std::net::SocketAddr;
use std::pin::Pin;

use crate::cluster::{Message, NodeId};

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

    /// Delivers the messages sent so far where that is possible at once (within about 200 ms), then ends all connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}
