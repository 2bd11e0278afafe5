//! A node's settings, and the times that follow from the heartbeat.

use std::time::Duration;

use super::NodeId;

/// With more peers than that, nodes heartbeat the next [`CANDIDATES`] only. With 33 nodes, heartbeats to all cost each 0.15 % of a core and
/// 2 MiB; with 100, 0.4 % and 8 MiB (`benches/record/2026-11-24-scale-zen4-2-cores.md`).
pub const ALL_TO_ALL: usize = 32;

/// So many nodes are watched by all in a large cluster, the leader among them.
pub const CANDIDATES: usize = 5;

/// A node's settings.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// A number that no earlier run of this node had.
    pub incarnation: u64,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Nonces of the ledger's grain: [`UNIT`](crate::work::UNIT), but where a test's nodes hash so slowly that it would last too long.
    pub unit: u64,
    /// Up to so many peers, everyone heartbeats everyone: [`ALL_TO_ALL`], but where a test wants a large cluster's ways in a small one.
    pub all_to_all: usize,
    /// Beyond that, so many of the lowest ids: [`CANDIDATES`], likewise.
    pub candidates: usize,
}

impl Config {
    /// A peer that has not answered for so long is suspect.
    pub(super) fn suspect_after(&self) -> Duration {
        self.heartbeat * 3 / 2
    }

    /// A peer that has not answered for so long is down: two heartbeats went unanswered, and the second had time to be.
    /// With 5 s, 10.75 s: within the two heartbeats and a second in which the next leader has to be known.
    pub(super) fn down_after(&self) -> Duration {
        self.heartbeat * 2 + self.answer_time()
    }

    /// How long an answer may take.
    pub(super) fn answer_time(&self) -> Duration {
        (self.heartbeat / 4).min(Duration::from_millis(750))
    }

    /// A starting node hears its peers out for so long before it leads or follows without them.
    pub(super) fn listen_time(&self) -> Duration {
        self.heartbeat.min(Duration::from_secs(1))
    }

    /// A new leader waits so long for what the others hold: they have to find out first that the last leader is gone.
    pub(super) fn gather_time(&self) -> Duration {
        self.answer_time() * 2
    }

    /// A lease lasts about so long.
    pub(super) fn lease_time(&self) -> Duration {
        self.heartbeat
    }

    /// A node has leases for so long in hand. At worst it has used one heartbeat of that when its leader dies, and what is left
    /// outlasts `down_after` and the first grants of the next leader.
    pub(super) fn lease_depth(&self) -> Duration {
        self.heartbeat * 4
    }

    /// A lease that its node has not mentioned for so long goes to another.
    pub(super) fn lease_expiry(&self) -> Duration {
        self.heartbeat * 4
    }

    /// So does what is left of a lease after this, four times the depth, whatever its node says: it has become more than four times slower
    /// than it was when it got it, or hoards.
    pub(super) fn lease_age(&self) -> Duration {
        self.heartbeat * 16
    }
}
