//! Nodes of this cluster that are not where this node expects them: not on its list of servers, or at two addresses at the same time. An
//! operator is told once of what does not pass by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock;
use crate::cluster::NodeId;

/// Within this time after a node's start its peers have it on their lists, where these come from a registry.
pub(super) fn passes_within(heartbeat: Duration) -> Duration {
    heartbeat.saturating_mul(3)
}

/// The nodes with a certificate of this cluster that were refused, since they are no peers.
pub(super) struct Strangers {
    /// This node.
    node: NodeId,
    heartbeat: Duration,
    met: Mutex<BTreeMap<NodeId, Stranger>>,
}

#[derive(Clone, Copy)]
struct Stranger {
    /// Since when it has tried, and when it did so last.
    since: Instant,
    last: Instant,
    /// Whether the operator was told.
    is_told: bool,
}

impl Strangers {
    pub(super) fn new(node: NodeId, heartbeat: Duration) -> Self {
        Self { node, heartbeat, met: Mutex::default() }
    }

    /// Warns of a node that is not among the peers, once it has tried for longer than it takes to get onto a list.
    pub(super) fn refused(&self, id: NodeId, address: SocketAddr) {
        tracing::debug!("refused node {id} at {address}: it is not among this node's servers");
        let now = Instant::now();
        let mut met = lock(&self.met);
        // After a long rest it begins anew.
        met.retain(|_, stranger| stranger.last.elapsed() < self.heartbeat.saturating_mul(20));
        let stranger = met.entry(id).or_insert(Stranger { since: now, last: now, is_told: false });
        stranger.last = now;
        let is_news = !stranger.is_told && stranger.since.elapsed() >= passes_within(self.heartbeat);
        stranger.is_told |= is_news;
        if is_news && id == self.node {
            tracing::warn!(
                "a server at {address} has this node's own certificate, that of node {id}: stop one of them, and make it a certificate of its own with `headframe certs --add ID`"
            );
        } else if is_news {
            tracing::warn!(
                "node {id} at {address} is not among this node's servers, so each of you leads without the other: add --peer {id}={address} here, or stop it"
            );
        }
    }

    /// It is a peer now.
    pub(super) fn accepted(&self, id: NodeId) {
        lock(&self.met).remove(&id);
    }
}

/// How often connections of one peer from different addresses have replaced each other, one soon after the other. A peer that has moved does
/// so once.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    count: u32,
    last: Option<Instant>,
}

impl Rivals {
    /// More often than a peer moves.
    const MANY: u32 = 4;

    /// Warns once of two servers that take the place of node `id` from each other: a connection from `here` replaces the one from `there`.
    pub(super) fn meet(&mut self, id: NodeId, there: SocketAddr, here: SocketAddr, heartbeat: Duration) {
        if there != here && self.count(Instant::now(), passes_within(heartbeat)) {
            tracing::warn!(
                "two servers have the certificate of node {id}, at {there} and at {here}, and take its place from each other: stop one of them, and make it a certificate of its own with `headframe certs --add ID`"
            );
        }
    }

    /// It happens again; soon means within `soon`. True once, when it has happened too often for a peer that moves.
    fn count(&mut self, now: Instant, soon: Duration) -> bool {
        let goes_on = self.last.is_some_and(|last| now.saturating_duration_since(last) < soon);
        self.count = if goes_on { self.count.saturating_add(1) } else { 1 };
        self.last = Some(now);
        self.count == Self::MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_moves_is_no_rival_and_two_servers_are_told_of_once() {
        let (mut rivals, soon, start) = (Rivals::default(), Duration::from_secs(3), Instant::now());
        let mut told = Vec::new();
        for second in [0, 10, 20, 30, 40, 41, 42, 43, 44, 45] {
            if rivals.count(start + Duration::from_secs(second), soon) {
                told.push(second);
            }
        }
        assert_eq!(told, [43]);
    }
}
