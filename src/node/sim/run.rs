//! One run from its seed to its report.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::laws::Violation;
use super::plan::{Kind, Plan};
use super::server::Server;
use super::world::World;
use crate::cluster::{NodeId, probe};

/// What a run came to, or many together.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) violation: Option<Violation>,
    /// Faults injected, by kind.
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Messages lost, doubled, delayed.
    pub(super) harmed: [u64; 3],
    pub(super) steps: u64,
    pub(super) hashes: u64,
    pub(super) found: u64,
    pub(super) blocks: u64,
    pub(super) shares: u64,
    /// Nodes that were distrusted.
    pub(super) distrusted: u64,
    /// Which rare branches of the rules were reached.
    pub(super) probes: probe::Counts,
    pub(super) trace: String,
}

impl Report {
    /// Adds what another run came to.
    pub(super) fn add(&mut self, other: &Self) {
        other.faults.iter().for_each(|(&kind, count)| *self.faults.entry(kind).or_default() += count);
        self.harmed.iter_mut().zip(other.harmed).for_each(|(sum, count)| *sum += count);
        self.steps += other.steps;
        self.hashes += other.hashes;
        self.found += other.found;
        self.blocks += other.blocks;
        self.shares += other.shares;
        self.distrusted += other.distrusted;
        other.probes.iter().for_each(|(&probe, count)| *self.probes.entry(probe).or_default() += count);
    }

    /// So little happened that the run says nothing.
    pub(super) fn is_void(&self) -> bool {
        self.faults.values().sum::<u64>() < 4 || self.steps < 100 || self.hashes < 1000
    }
}

/// Runs the seed's cluster from its start to its end.
pub(super) fn run(seed: u64, trace: bool) -> Report {
    probe::take();
    let mut rng = Rng::with_seed(seed);
    let plan = Plan::new(seed, &mut rng);
    let mut world = World::new(plan, rng, trace);
    let plan = format!("{:?}", world.plan);
    let id = world.ids()[0];
    world.line(id, format_args!("{plan}"));
    let violation = phases(&mut world).err();
    if let Some(violation) = &violation {
        world.line(id, format_args!("!! {violation}"));
    }
    Report {
        violation,
        faults: world.faults,
        harmed: world.net.harmed,
        steps: world.steps,
        hashes: world.laws.hashes,
        found: world.laws.blocks_found,
        blocks: world.source.blocks,
        shares: world.source.shares,
        distrusted: world.laws.distrusted.len() as u64,
        probes: probe::take(),
        trace: world.trace.unwrap_or_default(),
    }
}

fn phases(world: &mut World) -> Result<(), Violation> {
    let beat = world.plan.heartbeat;
    let chaos = beat * world.plan.chaos;
    world.lay_out_faults(chaos);
    world.run_until(chaos)?;

    // Everything heals, but for the nodes that are gone.
    let mut ids = world.ids();
    world.rng.shuffle(&mut ids);
    let mut core = ids.split_off(ids.len() - world.plan.core as usize);
    core.sort();
    ids.sort();
    world.heal(&ids)?;
    let agreed = world.now + change_of_leader(world);
    world.laws.agree_from(agreed, core[0]);
    // A source that was silent is asked again after five seconds at most.
    world.run_until(agreed + beat * 2 + Duration::from_secs(5))?;

    // The cluster is well: nobody is idle, blocks are found, nothing is left over.
    let limit = patience(world);
    world.laws.busy_from(world.now, limit);
    let (start, blocks) = (world.now, world.source.blocks);
    let before = world.blind().map_or(0, Server::hashes);
    world.run_until(start + beat * 8)?;
    let rate: u64 = core.iter().map(|id| world.servers[id].rate).sum();
    let hashes = rate as f64 * (beat * 8).as_secs_f64();
    world.laws.must_find(world.source.blocks - blocks, hashes / f64::from(world.plan.bits.min(60)).exp2())?;
    world.laws.at_rest(world.now, &world.source, &world.servers)?;
    world.laws.shares_are_submitted(world.now)?;
    if world.blind().is_some_and(|blind| can_be_judged(blind, blind.hashes() - before, beat * 8)) {
        world.laws.blind_are_refused(&world.servers[&core[0]])?;
    }
    if core.len() > 1 {
        hiccup(world, &core)?;
        hand_over(world, &core)?;
    }
    Ok(())
}

/// Whether a node that has hashed so many nonces in that time has shown enough: little of its work was ended from outside, and its leases
/// do not last longer than that.
fn can_be_judged(server: &Server, hashed: u64, time: Duration) -> bool {
    let leases = server.life().map(|life| life.driver.scanner().progress()).unwrap_or_default();
    4 * hashed > 3 * server.usual_rate * time.as_secs() && leases.iter().all(|lease| lease.searched.len() < hashed)
}

/// What a cluster that is well bears without a change of leader: a leader that is slow, but not for as long as it takes to be down; a node
/// that does not run for long; a node that starts anew.
fn hiccup(world: &mut World, core: &[NodeId]) -> Result<(), Violation> {
    let beat = world.plan.heartbeat;
    let other = core[world.rng.usize(1..core.len())];
    world.laws.rest();
    match world.rng.u32(..3) {
        0 => pause(world, core[0], 0.3, 0.9)?,
        1 => pause(world, other, 3.0, 6.0)?,
        // Whoever reads in the registry first who there is leads itself until then, and so does whoever has to ask many.
        _ if world.plan.is_registered || world.plan.is_large() => {}
        _ => {
            world.kill(other);
            world.run_until(world.now + beat / 10)?;
            world.laws.starts_at(other, world.now);
            world.start(other)?;
            // It soon has as much work in hand as the others.
            world.run_until(world.now + beat * 2)?;
        }
    }
    world.run_until(world.now + beat * 2)
}

/// A node does not run for so many heartbeats.
fn pause(world: &mut World, id: NodeId, least: f64, most: f64) -> Result<(), Violation> {
    let beats = least + (most - least) * world.rng.f64();
    world.servers.get_mut(&id).unwrap().paused = Some(Vec::new());
    world.run_until(world.now + world.plan.heartbeat.mul_f64(beats))?;
    world.resume(id)
}

/// The leader of a cluster that is well dies or says goodbye, and comes back.
fn hand_over(world: &mut World, core: &[NodeId]) -> Result<(), Violation> {
    let beat = world.plan.heartbeat;
    let (leader, next) = (core[0], core[1]);
    let echoes = world.rng.bool();
    if echoes {
        // What it says last comes again, late.
        for other in world.ids() {
            world.net.link(leader, other).late_copies = Some(beat * 8);
        }
        world.run_until(world.now + beat)?;
    }
    // Its successor has a template to begin with.
    world.source.is_down = world.plan.kind == Kind::Text && world.plan.is_endless && world.rng.bool();
    world.laws.relax();
    let mut agreed = world.now + change_of_leader(world);
    if world.rng.u32(..3) == 0 {
        world.leave(leader)?;
        agreed = world.now + beat / 2 + world.plan.latency * 4 + asking_on(world);
    } else {
        world.kill(leader);
    }
    world.laws.agree_from(agreed, next);
    // Where no block ends, what nodes have in hand outlasts the change of leader.
    if world.plan.is_endless && !world.plan.is_large() {
        let limit = patience(world);
        world.laws.busy_from(world.now, limit);
    }
    let later = beat.mul_f64(4.0 * world.rng.f64());
    world.run_until(agreed + later)?;

    for other in world.ids() {
        world.net.link(leader, other).late_copies = None;
    }
    world.source.is_down = false;
    world.laws.relax();
    world.start(leader)?;
    let agreed = world.now + change_of_leader(world);
    world.laws.agree_from(agreed, leader);
    if world.plan.is_endless {
        // Whoever has asked in vain, since it heard an echo, asks again with the next heartbeat.
        let limit = patience(world) + if echoes { beat } else { Duration::ZERO };
        world.laws.busy_from(world.now, limit);
    }
    world.run_until(agreed + beat * 6)?;
    world.laws.at_rest(world.now, &world.source, &world.servers)
}

/// So long nobody is idle in a cluster that is well: a block's end, a message lost in a full report's time, the source.
fn patience(world: &World) -> Duration {
    let plan = &world.plan;
    plan.heartbeat / 4 + plan.latency * 6 + plan.source_latency * 6 + plan.poll + Duration::from_millis(50)
}

/// So long after a death or a return, all have to name the right leader.
fn change_of_leader(world: &World) -> Duration {
    let slack = world.plan.heartbeat / 10 + world.plan.latency * 4;
    let registry = if world.plan.is_registered { Duration::from_millis(700) } else { Duration::ZERO };
    world.plan.heartbeat * 2 + Duration::from_secs(1) + slack + asking_on(world) + registry
}

/// Of a large cluster, nodes do not know who else is alive: they ask on where nobody answers.
fn asking_on(world: &World) -> Duration {
    if world.plan.is_large() { world.plan.heartbeat + Duration::from_secs(2) } else { Duration::ZERO }
}
