//! A network inside one process: for tests, and to run several nodes without sockets.
//!
//! 1. [`MemoryNetwork`] is the hub; each node joins it and gets its [`MemoryTransport`].
//! 2. Messages really are encoded and decoded, so a message that passes here passes on the wire.
//! 3. Each direction of each link can be cut, restored and delayed by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;

use super::inbox::Inbox;
use super::{BoxFuture, Member, Transport, codec, lock};
use crate::cluster::{Message, NodeId};

/// The most messages that wait for a node, those still on a delayed link included; further ones are dropped.
pub const INBOX: usize = 1024;

type Frame = (NodeId, Vec<u8>);

/// The hub. All clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<Hub>>);

#[derive(Default)]
struct Hub {
    inboxes: BTreeMap<NodeId, mpsc::Sender<Frame>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    delays: BTreeMap<(NodeId, NodeId), Duration>,
}

impl MemoryNetwork {
    /// A network without nodes whose links all work.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node. One that joins again takes the earlier one's place, as a restarted process does.
    pub fn join(&self, id: NodeId) -> MemoryTransport {
        let (sender, inbox) = Inbox::new(INBOX);
        self.hub().inboxes.insert(id, sender);
        MemoryTransport { id, network: self.clone(), peers: Mutex::default(), inbox }
    }

    /// Drops every message from one node to another from now on. The other direction is a link of its own.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.hub().cut.insert((from, to));
    }

    /// Drops every message between two nodes from now on.
    pub fn cut_both(&self, a: NodeId, b: NodeId) {
        self.hub().cut.extend([(a, b), (b, a)]);
    }

    /// Restores one direction.
    pub fn restore(&self, from: NodeId, to: NodeId) {
        self.hub().cut.remove(&(from, to));
    }

    /// Restores both directions.
    pub fn restore_both(&self, a: NodeId, b: NodeId) {
        self.hub().cut.retain(|link| *link != (a, b) && *link != (b, a));
    }

    /// Delays every message from one node to another by `delay` from now on. This needs a tokio runtime with time.
    pub fn delay(&self, from: NodeId, to: NodeId, delay: Duration) {
        self.hub().delays.insert((from, to), delay);
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        lock(&self.0)
    }

    fn carry(&self, from: NodeId, to: NodeId, frame: Vec<u8>) {
        let hub = self.hub();
        let Some(inbox) = hub.inboxes.get(&to).filter(|_| !hub.cut.contains(&(from, to))) else { return };
        // The place in the inbox is taken at once, so that delayed messages are bounded too.
        let Ok(place) = inbox.clone().try_reserve_owned() else { return };
        match hub.delays.get(&(from, to)).copied().unwrap_or_default() {
            Duration::ZERO => {
                place.send((from, frame));
            }
            delay => {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    place.send((from, frame));
                });
            }
        }
    }
}

/// One node's end of a [`MemoryNetwork`].
pub struct MemoryTransport {
    id: NodeId,
    network: MemoryNetwork,
    peers: Mutex<BTreeSet<NodeId>>,
    inbox: Inbox<Frame>,
}

impl MemoryTransport {
    fn is_peer(&self, id: NodeId) -> bool {
        lock(&self.peers).contains(&id)
    }

    async fn next(&self) -> Option<(NodeId, Message)> {
        loop {
            let (from, frame) = self.inbox.recv().await?;
            match codec::decode(&frame) {
                Ok(Some(message)) if self.is_peer(from) => return Some((from, message)),
                Ok(_) => {}
                Err(error) => tracing::warn!("dropped a frame of peer {from}: {error}"),
            }
        }
    }
}

impl Transport for MemoryTransport {
    /// An invented address of this machine: it names the id, and nobody listens there.
    fn local_address(&self) -> SocketAddr {
        let [high, a, b, c] = self.id.get().to_be_bytes();
        SocketAddr::from(([127, a, b, c], 7700 + u16::from(high)))
    }

    /// Only the ids matter here; the addresses do not.
    fn set_peers(&self, members: &[Member]) {
        let others = members.iter().map(|member| member.id).filter(|&id| id != self.id).collect();
        *lock(&self.peers) = others;
    }

    fn send(&self, to: NodeId, message: Message) {
        if self.inbox.is_closed() || !self.is_peer(to) {
            return;
        }
        match codec::encode(&message) {
            Ok(frame) => self.network.carry(self.id, to, frame),
            Err(error) => tracing::warn!("dropped a message to peer {to}: {error}"),
        }
    }

    fn recv(&self) -> BoxFuture<'_, Option<(NodeId, Message)>> {
        Box::pin(self.next())
    }

    /// Messages that were sent are on their way already.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.inbox.close() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::node as id;
    use crate::transport::samples::numbered;

    fn pair() -> (MemoryNetwork, MemoryTransport, MemoryTransport) {
        let network = MemoryNetwork::new();
        let (one, two) = (network.join(id(1)), network.join(id(2)));
        let peers = [Member::headframe(id(1), one.local_address()), Member::headframe(id(2), two.local_address())];
        one.set_peers(&peers);
        two.set_peers(&peers);
        (network, one, two)
    }

    #[tokio::test]
    async fn each_direction_of_a_link_is_cut_and_restored_by_itself() {
        let (network, one, two) = pair();
        network.cut(id(1), id(2));
        one.send(id(2), numbered(1));
        two.send(id(1), numbered(2));
        assert_eq!(one.recv().await, Some((id(2), numbered(2))));
        network.cut_both(id(1), id(2));
        two.send(id(1), numbered(3));
        network.restore_both(id(1), id(2));
        two.send(id(1), numbered(4));
        one.send(id(2), numbered(5));
        assert_eq!(one.recv().await, Some((id(2), numbered(4))));
        assert_eq!(two.recv().await, Some((id(1), numbered(5))));
    }

    #[tokio::test]
    async fn a_delayed_message_is_overtaken() {
        let (network, one, two) = pair();
        network.delay(id(1), id(2), Duration::from_millis(100));
        one.send(id(2), numbered(1));
        network.delay(id(1), id(2), Duration::ZERO);
        one.send(id(2), numbered(2));
        assert_eq!(two.recv().await, Some((id(1), numbered(2))));
        assert_eq!(two.recv().await, Some((id(1), numbered(1))));
    }

    #[tokio::test]
    async fn a_full_inbox_drops_what_comes_after() {
        let (_network, one, two) = pair();
        (0..INBOX as u64 + 5).for_each(|i| one.send(id(2), numbered(i)));
        two.close().await;
        for i in 0..INBOX as u64 {
            assert_eq!(two.recv().await, Some((id(1), numbered(i))));
        }
        assert_eq!(two.recv().await, None);
    }

    #[test]
    fn every_id_has_an_address_of_its_own() {
        let network = MemoryNetwork::new();
        let address = |number| network.join(id(number)).local_address().to_string();
        assert_eq!(address(1), "127.0.0.1:7700");
        assert_eq!(address(u32::MAX), "127.255.255.255:7955");
    }
}
