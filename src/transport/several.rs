//! Several connections as one: a node reaches each peer by the one on which it was heard.
//!
//! 1. A peer that was not heard of late is sent each message on every connection between Headframe nodes. Copies do no harm.
//! 2. Text peers are reached by their own connection only, which introduces them; certified nodes never by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use tokio::time::Instant;

#[cfg(feature = "identity")]
use super::identity::Identity;
use super::{BoxFuture, Member, Transport, lock};
use crate::cluster::{Message, NodeId};

/// The connections of one node.
pub struct Several {
    /// Those between Headframe nodes, and behind them the one to text peers, if there is one.
    parts: Vec<Arc<dyn Transport>>,
    text: Option<usize>,
    /// After so long a silence a peer is sent messages on every connection: a heartbeat and a quarter, before it is suspect.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// On which connection a peer was heard last, and when.
    heard: BTreeMap<NodeId, (usize, Instant)>,
    text_peers: BTreeSet<NodeId>,
    /// The connection that is asked first, so that none starves another.
    turn: usize,
}

impl Several {
    /// Joins the connections between Headframe nodes, of which there is one at least, and one to text peers.
    pub fn new(native: Vec<Arc<dyn Transport>>, text: Option<Arc<dyn Transport>>, heartbeat: Duration) -> Self {
        let place = text.is_some().then_some(native.len());
        let parts = native.into_iter().chain(text).collect();
        Self { parts, text: place, patience: heartbeat.saturating_mul(5) / 4, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The next message of any connection; `None` once all are closed.
    async fn next(&self) -> Option<(NodeId, Message)> {
        let count = self.parts.len();
        let first = {
            let mut state = self.state();
            state.turn = (state.turn + 1) % count;
            state.turn
        };
        let receive = |place: usize| async move { (place, self.parts[place].recv().await) };
        let mut waiting: Vec<_> = (first..first + count).map(|turn| Box::pin(receive(turn % count))).collect();
        while !waiting.is_empty() {
            let ((place, received), _, others) = select_all(waiting).await;
            if let Some((from, message)) = received {
                self.state().heard.insert(from, (place, Instant::now()));
                return Some((from, message));
            }
            waiting = others;
        }
        None
    }

    /// The connections on which `to` is sent a message.
    fn ways(&self, to: NodeId) -> impl Iterator<Item = &Arc<dyn Transport>> {
        let state = self.state();
        let heard = state.heard.get(&to).filter(|(_, at)| at.elapsed() < self.patience).map(|(place, _)| *place);
        let text = self.text.filter(|_| state.text_peers.contains(&to));
        let only = text.or(heard);
        let is_way = move |place: &usize| match only {
            Some(only) => *place == only,
            None => Some(*place) != self.text,
        };
        (0..self.parts.len()).filter(is_way).map(|place| &self.parts[place])
    }
}

impl Transport for Several {
    /// That of the first connection.
    fn local_address(&self) -> SocketAddr {
        self.parts[0].local_address()
    }

    fn set_peers(&self, members: &[Member]) {
        let mut state = self.state();
        state.heard.retain(|id, _| members.iter().any(|member| member.id == *id));
        let (texts, natives): (Vec<Member>, Vec<Member>) =
            members.iter().partition(|member| state.text_peers.contains(&member.id));
        drop(state);
        for (place, part) in self.parts.iter().enumerate() {
            part.set_peers(if Some(place) == self.text { &texts } else { &natives });
        }
    }

    fn send(&self, to: NodeId, message: Message) {
        let ways: Vec<_> = self.ways(to).collect();
        if let Some((last, others)) = ways.split_last() {
            others.iter().for_each(|part| part.send(to, message.clone()));
            last.send(to, message);
        }
    }

    fn recv(&self) -> BoxFuture<'_, Option<(NodeId, Message)>> {
        Box::pin(self.next())
    }

    fn introduced(&self) -> BoxFuture<'_, Member> {
        Box::pin(async {
            let (member, place, _) = select_all(self.parts.iter().map(|part| part.introduced())).await;
            if Some(place) == self.text {
                self.state().text_peers.insert(member.id);
            }
            member
        })
    }

    fn trouble(&self, peer: NodeId) -> Option<String> {
        let ways: Vec<_> = self.ways(peer).collect();
        ways.into_iter().find_map(|part| part.trouble(peer))
    }

    /// Its connections show the same certificate.
    fn certificate_ends(&self) -> Option<Duration> {
        self.parts.iter().find_map(|part| part.certificate_ends())
    }

    #[cfg(feature = "identity")]
    fn take_up(&self, identity: &Identity) -> Result<(), rustls::Error> {
        let natives = self.parts.iter().enumerate().filter(|(place, _)| Some(*place) != self.text);
        natives.map(|(_, part)| part.take_up(identity)).fold(Ok(()), Result::and)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            join_all(self.parts.iter().map(|part| part.close())).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::node as id;
    use crate::transport::memory::{MemoryNetwork, MemoryTransport};
    use crate::transport::samples::numbered;

    fn member(node: u32) -> Member {
        Member::headframe(id(node), ([127, 0, 0, 1], 1).into())
    }

    /// A transport that introduces node 9.
    struct Introducing(MemoryTransport, tokio::sync::Semaphore);

    impl Transport for Introducing {
        fn local_address(&self) -> SocketAddr {
            self.0.local_address()
        }
        fn set_peers(&self, members: &[Member]) {
            self.0.set_peers(members);
        }
        fn send(&self, to: NodeId, message: Message) {
            self.0.send(to, message);
        }
        fn recv(&self) -> BoxFuture<'_, Option<(NodeId, Message)>> {
            self.0.recv()
        }
        fn introduced(&self) -> BoxFuture<'_, Member> {
            Box::pin(async {
                self.1.acquire().await.unwrap().forget();
                member(9)
            })
        }
        fn close(&self) -> BoxFuture<'_, ()> {
            self.0.close()
        }
    }

    #[tokio::test]
    async fn each_peer_is_reached_where_it_was_heard_and_others_everywhere() {
        let (a, b) = (MemoryNetwork::new(), MemoryNetwork::new());
        let parts = || [Arc::new(a.join(id(1))) as Arc<dyn Transport>, Arc::new(b.join(id(1)))];
        let one = Several::new(parts().into(), None, Duration::from_millis(400));
        let (on_a, on_b) = (a.join(id(2)), b.join(id(2)));
        one.set_peers(&[member(2)]);
        on_a.set_peers(&[member(1)]);
        on_b.set_peers(&[member(1)]);
        one.send(id(2), numbered(1));
        assert_eq!((on_a.recv().await, on_b.recv().await), (Some((id(1), numbered(1))), Some((id(1), numbered(1)))));
        on_b.send(id(1), numbered(2));
        assert_eq!(one.recv().await, Some((id(2), numbered(2))));
        one.send(id(2), numbered(3));
        assert_eq!(on_b.recv().await, Some((id(1), numbered(3))));
        tokio::time::sleep(Duration::from_millis(500)).await;
        one.send(id(2), numbered(4));
        assert_eq!(on_a.recv().await, Some((id(1), numbered(4))), "3 went another way, and it was silent since");
        one.close().await;
        assert_eq!(one.recv().await, None);
    }

    /// A peer that answers on one connection is asked on the other one, too, before it is suspect.
    #[tokio::test]
    async fn when_a_connection_is_cut_the_other_takes_over_within_a_heartbeat_and_a_half() {
        let (a, b, heartbeat) = (MemoryNetwork::new(), MemoryNetwork::new(), Duration::from_millis(400));
        let parts = |node| [Arc::new(a.join(id(node))) as Arc<dyn Transport>, Arc::new(b.join(id(node)))];
        let [one, two] = [1, 2].map(|node| Several::new(parts(node).into(), None, heartbeat));
        [&one, &two].iter().for_each(|end| end.set_peers(&[member(1), member(2)]));
        a.cut_both(id(1), id(2));
        two.send(id(1), numbered(1));
        assert_eq!(one.recv().await, Some((id(2), numbered(1))));
        a.restore_both(id(1), id(2));
        b.cut_both(id(1), id(2));
        one.send(id(2), numbered(2));
        tokio::time::sleep(heartbeat * 3 / 2).await;
        one.send(id(2), numbered(3));
        assert_eq!(two.recv().await, Some((id(1), numbered(3))), "2 went the way that was cut");
    }

    #[tokio::test]
    async fn text_peers_and_certified_nodes_are_kept_apart() {
        let (native, text) = (MemoryNetwork::new(), MemoryNetwork::new());
        let guests = Introducing(text.join(id(1)), tokio::sync::Semaphore::new(1));
        let one = Several::new(vec![Arc::new(native.join(id(1)))], Some(Arc::new(guests)), Duration::from_secs(1));
        assert_eq!(one.introduced().await, member(9));
        one.set_peers(&[member(2), member(9)]);
        let ends = [native.join(id(2)), native.join(id(9)), text.join(id(2)), text.join(id(9))];
        ends.iter().for_each(|end| end.set_peers(&[member(1)]));
        for (from, end) in [(2, &ends[2]), (9, &ends[1])] {
            end.send(id(1), numbered(from));
        }
        for (to, end) in [(2, &ends[0]), (9, &ends[3])] {
            one.send(id(to), numbered(u64::from(to)));
            assert_eq!(end.recv().await, Some((id(1), numbered(u64::from(to)))));
            end.send(id(1), numbered(100));
            assert_eq!(one.recv().await, Some((id(to), numbered(100))), "nobody is heard on the other's connection");
        }
    }
}
