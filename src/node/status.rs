//! The status that a server writes into the registry, for `headframe status`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ShareCounts;
use crate::cluster::NodeId;

/// A server's status, renewed twice a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// How many leaderships it has reported.
    pub epoch: u64,
    /// Height of the block that it builds on; nothing while it has no work.
    pub height: Option<u64>,
    /// Leading zero hex digits wanted.
    pub zeros: Option<u32>,
    /// The difficulty that a header has to meet to be reported, be it a share or a block: 1 takes 2^32 hashes on average. Nothing for texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<f64>,
    /// The difficulty that a block has to meet, counted in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_difficulty: Option<f64>,
    /// After how many seconds a block is found on average, at the speed of this server alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_block: Option<f64>,
    /// What it has found itself, blocks or shares, against what its hashes find on average: 1 is what is to be expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub luck: Option<f64>,
    /// The kernel that it hashes with.
    pub kernel: String,
    /// Why this kernel was chosen.
    pub choice: String,
    /// Its hashing threads.
    pub threads: usize,
    /// Nonces hashed since it started.
    pub hashes: u64,
    /// Nonces per second over the last heartbeat, pauses included.
    pub hashes_per_second: f64,
    /// Blocks accepted since it started, as far as it knows.
    pub blocks: u64,
    /// How the shares ended that it submitted as leader.
    #[serde(default)]
    pub shares: ShareCounts,
    /// Why the source rejected shares, and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejections: BTreeMap<String, u64>,
    /// The highest difficulty that a header met that the source has accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_share: Option<f64>,
    /// The address of the source that it uses; nothing while none answers, or it needs none, since it does not lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why it uses no source, or not the first, or what else is wrong with its sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_problem: Option<String>,
    /// The other servers and their states: unknown, alive, suspect, down, left.
    pub peers: BTreeMap<NodeId, String>,
    /// Servers that it distrusts, because they cannot have searched what they claimed.
    #[serde(default)]
    pub distrusted: Vec<NodeId>,
    /// Time between two heartbeats, in seconds.
    #[serde(default)]
    pub heartbeat: f64,
    /// When the server's certificate or that of its cluster's CA ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<u64>,
    /// When this status was made, in seconds since 1970.
    pub at: u64,
}
