//! What kind of run a seed makes.

use std::time::Duration;

use fastrand::Rng;

use super::super::{ALL_TO_ALL, CANDIDATES};

/// The settings of a run. Everything follows from the seed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: u32,
    pub(super) heartbeat: Duration,
    /// A solution's zero bits: how long blocks take.
    pub(super) bits: u32,
    pub(super) latency: Duration,
    pub(super) source_latency: Duration,
    /// How long faults go on, in heartbeats.
    pub(super) chaos: u32,
    /// Between two faults, on average.
    pub(super) fault_every: Duration,
    /// Whether the node with the highest id lies.
    pub(super) has_liar: bool,
    /// Whether a block can be found before the end of the run.
    pub(super) is_endless: bool,
    /// Nodes that will be well in the end.
    pub(super) core: u32,
    /// Up to so many peers everyone heartbeats everyone, and beyond that so many candidates.
    pub(super) all_to_all: usize,
    pub(super) candidates: usize,
    /// Whether every node has a disk, so that its solutions survive it.
    pub(super) has_store: bool,
}

impl Plan {
    /// Draws the settings.
    pub(super) fn new(seed: u64, rng: &mut Rng) -> Self {
        let nodes = match rng.u32(..100) {
            0 => 1,
            1..=59 => rng.u32(2..=5),
            60..=89 => rng.u32(3..=9),
            90..=97 => rng.u32(9..=20),
            _ => rng.u32(20..=50),
        };
        let heartbeat = Duration::from_millis([500, 2000, 5000, 5000][rng.usize(..4)]);
        let is_endless = rng.u32(..3) == 0;
        let is_narrow = rng.u32(..3) == 0;
        Self {
            seed,
            nodes,
            heartbeat,
            bits: if is_endless { 64 } else { rng.u32(11..=15) },
            latency: Duration::from_micros(rng.u64(200..20_000)),
            source_latency: Duration::from_millis(rng.u64(1..200)),
            chaos: rng.u32(10..=24),
            fault_every: heartbeat.mul_f64(0.1 + 0.9 * rng.f64()),
            has_liar: nodes > 2 && rng.u32(..4) == 0,
            is_endless,
            core: rng.u32(nodes.div_ceil(2)..=nodes),
            all_to_all: if is_narrow { rng.usize(..4) } else { ALL_TO_ALL },
            candidates: if is_narrow { rng.usize(2..=3) } else { CANDIDATES },
            // Not from the same stream: with disks and without, a seed has the same faults.
            has_store: Rng::with_seed(!seed).bool(),
        }
    }
}
