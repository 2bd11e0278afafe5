//! What a server says of itself in the registry, for `headframe status`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::NodeId;

/// What became of shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareCounts {
    /// Accepted.
    pub accepted: u64,
    /// Refused.
    pub rejected: u64,
    /// For a block that was found already.
    pub stale: u64,
    /// Found here, and there was no room for them; or handed to this leader, and their session was over.
    pub lost: u64,
}

/// A server's account of itself, renewed twice a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Counts the leaderships that it has named.
    pub epoch: u64,
    /// Height of the block that it builds on; nothing while it has no work.
    pub height: Option<u64>,
    /// Leading zero hex digits wanted.
    pub zeros: Option<u32>,
    /// Its kernel.
    pub kernel: String,
    /// Why this kernel.
    pub choice: String,
    /// Its hashing threads.
    pub threads: usize,
    /// Nonces hashed since it started.
    pub hashes: u64,
    /// Over the last heartbeat.
    pub hashes_per_second: f64,
    /// Blocks accepted since it started, as far as it knows.
    pub blocks: u64,
    /// What became of the shares that it handed in as leader.
    #[serde(default)]
    pub shares: ShareCounts,
    /// The other servers and their states: unknown, alive, suspect, down, left.
    pub peers: BTreeMap<NodeId, String>,
    /// Servers that are not believed any more: they cannot have searched what they claimed.
    #[serde(default)]
    pub distrusted: Vec<NodeId>,
    /// When it said so, in seconds since 1970.
    pub at: u64,
}
