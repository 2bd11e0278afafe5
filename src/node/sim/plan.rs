//! What kind of run a seed makes.

use std::time::Duration;

use fastrand::Rng;

use crate::cluster::{ALL_TO_ALL, CANDIDATES};

/// What the source gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Texts, which any session may submit.
    #[default]
    Text,
    /// Blocks of our own: headers that only their maker's session can submit.
    Header,
    /// A pool's headers, with shares.
    Pool,
}

/// The settings of a run. Everything follows from the seed.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: u32,
    pub(super) heartbeat: Duration,
    pub(super) kind: Kind,
    /// A block's zero bits: how long blocks take.
    pub(super) bits: u32,
    pub(super) latency: Duration,
    pub(super) source_latency: Duration,
    /// Between two looks of a session at the source.
    pub(super) poll: Duration,
    /// How long faults go on, in heartbeats.
    pub(super) chaos: u32,
    /// Between two faults, on average.
    pub(super) fault_every: Duration,
    /// Whether a block can be found before the end of the run.
    pub(super) is_endless: bool,
    /// Nodes that will be well in the end.
    pub(super) core: u32,
    /// Up to so many peers everyone heartbeats everyone, and beyond that so many candidates.
    pub(super) all_to_all: usize,
    pub(super) candidates: usize,
    /// Whether nodes have disks.
    pub(super) has_store: bool,
    /// Whether nodes find each other by the registry.
    pub(super) is_registered: bool,
    /// Which node becomes a traitor for a while.
    pub(super) traitor: Option<u32>,
    /// Which node has a kernel that finds nothing.
    pub(super) blind: Option<u32>,
}

impl Plan {
    /// Draws the settings.
    pub(super) fn new(seed: u64, rng: &mut Rng) -> Self {
        let nodes = match rng.u32(..100) {
            0 => 1,
            1..=69 => rng.u32(2..=5),
            70..=95 => rng.u32(3..=8),
            _ => rng.u32(9..=16),
        };
        let heartbeat = Duration::from_millis([500, 2000, 5000, 5000][rng.usize(..4)]);
        let is_endless = rng.u32(..3) == 0;
        let is_narrow = rng.u32(..4) == 0;
        let traitor = match rng.u32(..10) {
            0 | 1 if nodes > 2 => Some(rng.u32(2..=nodes)),
            2 | 3 if nodes > 1 => Some(1),
            _ => None,
        };
        Self {
            seed,
            nodes,
            heartbeat,
            kind: [Kind::Text, Kind::Text, Kind::Header, Kind::Pool][rng.usize(..4)],
            bits: if is_endless { 64 } else { rng.u32(11..=14) },
            latency: Duration::from_micros(rng.u64(200..20_000)),
            source_latency: Duration::from_millis(rng.u64(1..100)),
            poll: heartbeat.mul_f64(0.02 + 0.2 * rng.f64()),
            chaos: rng.u32(8..=24),
            fault_every: heartbeat.mul_f64(0.1 + 0.9 * rng.f64()),
            is_endless,
            core: rng.u32(nodes.div_ceil(2)..=nodes),
            all_to_all: if is_narrow { rng.usize(..4) } else { ALL_TO_ALL },
            candidates: if is_narrow { rng.usize(2..=3) } else { CANDIDATES },
            has_store: rng.bool(),
            is_registered: rng.u32(..4) == 0,
            traitor,
            blind: (nodes > 2 && traitor.is_none() && rng.u32(..8) == 0).then_some(nodes),
        }
    }

    /// Whether nodes watch a window of candidates only.
    pub(super) fn is_large(&self) -> bool {
        self.nodes as usize > self.all_to_all + 1
    }
}
