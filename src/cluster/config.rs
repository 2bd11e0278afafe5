//! A node's settings, and the times that follow from the heartbeat.

use std::time::Duration;

use super::NodeId;
use crate::work::Run;

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
    /// The run of this process: a random number.
    pub run: Run,
    /// The time since 1970 at the moment that is handed to [`Cluster::new`](super::Cluster::new). A clock that is set later changes nothing.
    pub since_1970: Duration,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Nonces of which leases are made: [`UNIT`](crate::work::UNIT), but where a test's nodes hash so slowly that it would last too long.
    pub unit: u64,
    /// Up to so many peers, everyone heartbeats everyone: [`ALL_TO_ALL`], but where a test wants a large cluster's ways in a small one.
    pub all_to_all: usize,
    /// Beyond that, so many of the lowest ids: [`CANDIDATES`], likewise.
    pub candidates: usize,
}

/// The table of timers. All follow from the heartbeat.
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

    /// The time of one answer. A starting node waits so long for lower ids.
    pub(super) fn answer_time(&self) -> Duration {
        (self.heartbeat / 4).min(Duration::from_millis(750))
    }

    /// Who leads, and whether there is work enough, is looked at so often.
    pub(super) fn tick(&self) -> Duration {
        self.heartbeat / 4
    }

    /// A share waits so long for others to travel with.
    pub(super) fn share_delay(&self) -> Duration {
        self.heartbeat / 20
    }

    /// A solution that got no answer from the source is submitted again after so long.
    pub(super) fn submit_again(&self) -> Duration {
        (self.heartbeat / 10).min(Duration::from_millis(500))
    }

    /// A node that is assigned nothing for so long by a leader that answers leads itself.
    pub(super) fn patience(&self) -> Duration {
        self.heartbeat * 2
    }

    /// So long nodes may still search the jobs of a leader that has stepped down: they have four heartbeats of work, and two pass until they
    /// hear of another leader.
    pub(super) fn jobs_outlast(&self) -> Duration {
        self.heartbeat * 8
    }

    /// So many nonces at this speed (nonces per second) take one heartbeat.
    pub(super) fn beat_of(&self, speed: u64) -> u64 {
        (u128::from(speed) * self.heartbeat.as_millis() / 1000).try_into().unwrap_or(u64::MAX)
    }
}
