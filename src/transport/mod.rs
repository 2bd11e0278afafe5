//! Carries messages between nodes. The connection is pluggable: [`quic`] is the product's, [`memory`] the tests'.
//!
//! A transport promises little, so that many things can be one: a message that arrives is whole, unchanged, and from the
//! node that it says it is from. It may arrive late, twice, out of order or never; the cluster's rules cope. `send` never
//! waits. `tests/transport.rs` is the conformance suite that each one passes.

pub mod codec;
mod inbox;
pub mod memory;
pub mod quic;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;

use crate::cluster::{Message, NodeId};

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One node's end of the connection to all the others.
pub trait Transport: Send + Sync {
    /// Where the others reach this node.
    fn local_address(&self) -> SocketAddr;

    /// Who the others are and where. Replaces what was said before; connections to those no longer named are closed.
    fn set_peers(&self, peers: &BTreeMap<NodeId, SocketAddr>);

    /// Sends `message` on its way, or drops it: to an unknown node, over a dead link, or past a full queue.
    fn send(&self, to: NodeId, message: Message);

    /// The next message and its sender. Cancel-safe. `None` after `close`.
    fn recv(&self) -> BoxFuture<'_, Option<(NodeId, Message)>>;

    /// Delivers what was sent so far where that is possible at once (within about 200 ms), then ends all connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}
