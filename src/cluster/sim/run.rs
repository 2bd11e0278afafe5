//! One run from its seed to its report.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::invariants::{Violation, at_rest, repetition};
use super::lies::Lie;
use super::plan::Plan;
use super::trace::Trace;
use super::truth::Fates;
use super::world::World;
use crate::cluster::NodeId;

/// What a run came to.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) plan: Plan,
    pub(super) violation: Option<Violation>,
    /// Faults injected, by kind; messages lost, doubled and delayed among them.
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) steps: u64,
    pub(super) hashes: u64,
    pub(super) blocks: u64,
    pub(super) fates: Fates,
    pub(super) trace: String,
}

impl Report {
    /// Faults that were injected one by one.
    pub(super) fn injected(&self) -> u64 {
        self.faults.iter().filter(|(kind, _)| !kind.starts_with("messages")).map(|(_, count)| count).sum()
    }

    /// So little happened that the run says nothing.
    pub(super) fn is_void(&self) -> bool {
        self.injected() < 4 || self.steps < 100 || self.hashes < 1000
    }
}

/// Runs the seed's cluster from its start to its end.
pub(super) fn run(seed: u64, trace: Trace) -> Report {
    let mut rng = Rng::with_seed(seed);
    let plan = Plan::new(seed, &mut rng);
    let mut world = World::new(plan.clone(), rng, trace);
    let violation = phases(&mut world).err();
    if let Some(violation) = &violation {
        let id = world.ids()[0];
        world.trace.line(world.now, id, &format_args!("!! {violation:?}"));
    }
    let mut faults = world.faults;
    faults.insert("messages lost", world.net.mischief.lost);
    faults.insert("messages doubled", world.net.mischief.doubled);
    faults.insert("messages delayed", world.net.mischief.delayed);
    Report {
        plan,
        violation,
        faults,
        steps: world.steps,
        hashes: world.truth.hashes,
        blocks: world.source.accepted.len() as u64,
        fates: world.truth.fates(&world.source),
        trace: world.trace.take(),
    }
}

fn phases(world: &mut World) -> Result<(), Violation> {
    let beat = world.plan.heartbeat;
    let second = Duration::from_secs(1);
    let chaos = beat * world.plan.chaos;
    world.lay_out_faults(chaos);
    world.run_until(chaos)?;

    // Everything heals, but for the nodes that are gone.
    let mut ids = world.ids();
    world.rng.shuffle(&mut ids);
    let core = ids.split_off(ids.len() - world.plan.core as usize);
    let (mut gone, leader) = (ids, core.iter().copied().min().unwrap());
    gone.sort();
    world.invariants.heal(gone.clone());
    world.heal(&gone)?;
    // A node that is gone is noticed after two heartbeats; one that is there, within as many.
    let agreed = world.now + change_of_leader(world);
    world.invariants.agree_from(agreed, leader);
    let settled = agreed + beat * 6;
    world.run_until(settled)?;

    // The cluster is well: nothing is hashed twice, nobody is idle, nothing is left over.
    // A block may be found before everyone has heard of it.
    let blocks = if world.plan.is_endless { 1 } else { 2 };
    let limit =
        second / 10 + world.plan.latency * 4 + world.plan.source_latency * 4 * blocks + Duration::from_millis(200);
    world.invariants.busy_from(world.now, limit);
    world.truth.begin();
    world.run_until(settled + beat * 6)?;
    repetition::check(world, for_lies(world, &core), "since nothing went wrong")?;
    at_rest(world)?;
    pause(world, &core, leader)?;
    if core.len() > 1 {
        leave(world, &core, leader)?;
        hand_over(world, &core, leader)?;
    }
    Ok(())
}

/// One of the others stops for a while, and blames nobody for what it has missed. One that is alone gives itself the same leases again.
fn pause(world: &mut World, core: &[NodeId], leader: NodeId) -> Result<(), Violation> {
    let others: Vec<_> = core.iter().copied().filter(|&id| id != leader).collect();
    let is_alone = others.is_empty();
    let one = if is_alone { leader } else { others[world.rng.usize(..others.len())] };
    world.invariants.rest();
    world.pause(one);
    let beats = 3.0 + 9.0 * world.rng.f64();
    world.run_until(world.now + world.plan.heartbeat.mul_f64(beats))?;
    world.resume(one)?;
    // The others take it back at its next heartbeat, and it drops what they have searched meanwhile.
    world.run_until(world.now + world.plan.heartbeat * 3)?;
    if is_alone {
        repetition::check(world, 0, "since nobody else could have gone on")?;
    }
    world.truth.begin();
    Ok(())
}

/// One of the others says goodbye, so that nothing it has done is lost, and comes back.
fn leave(world: &mut World, core: &[NodeId], leader: NodeId) -> Result<(), Violation> {
    let others: Vec<_> = core.iter().copied().filter(|&id| id != leader).collect();
    let one = others[world.rng.usize(..others.len())];
    world.leave(one)?;
    world.run_until(world.now + world.plan.heartbeat * 2)?;
    repetition::check(world, for_lies(world, core), "since a node has left that said so")?;
    world.servers.get_mut(&one).unwrap().incarnation += 10;
    world.invariants.relax();
    world.start(one)?;
    let agreed = world.now + change_of_leader(world);
    world.invariants.agree_from(agreed, leader);
    world.run_until(agreed)
}

/// The leader of a cluster that is well dies, and comes back.
fn hand_over(world: &mut World, core: &[NodeId], leader: NodeId) -> Result<(), Violation> {
    let (beat, second) = (world.plan.heartbeat, Duration::from_secs(1));
    let next = core.iter().copied().filter(|&id| id != leader).min().unwrap();
    if world.rng.bool() {
        // It dies amid its heartbeats: some hear its last word, and others do not.
        world.run_until(world.next_heartbeat(leader))?;
    }
    // What each change of leader may cost besides.
    let slip = rate(world, core) / 4;
    // Only where no block ends meanwhile is there work for all the time without a leader.
    world.invariants.relax();
    if world.plan.is_endless {
        // A node whose leases were all void waits until the new leader has heard everyone.
        let gather = (beat / 2).min(second * 3 / 2);
        world.invariants.busy_from(world.now, gather + Duration::from_millis(50) + world.plan.latency * 4);
    }
    // A leader says in each heartbeat how far it has come itself.
    let untold = beat.mul_f64(1.3) + world.plan.latency * 4;
    let hashed =
        |world: &World, id: NodeId, time: Duration| (world.servers[&id].rate as f64 * time.as_secs_f64()) as u64 + 1000;
    // Told to stop, it says goodbye, and nothing has to be found out or searched again.
    let leaves = world.rng.u32(..3) == 0;
    let unreported = hashed(world, leader, if leaves { Duration::ZERO } else { untold });
    let killed = world.now;
    let mut agreed = world.now + change_of_leader(world);
    if leaves {
        world.leave(leader)?;
        agreed = world.now + second / 5 + world.plan.latency * 2 + asking_on(world);
    } else {
        world.kill(leader);
    }
    world.invariants.agree_from(agreed, next);
    let third = core.iter().copied().filter(|&id| id != leader && id != next).min().filter(|_| world.rng.u32(..3) == 0);
    let later = beat.mul_f64(if third.is_some() { 0.5 } else { 4.0 } * world.rng.f64());
    world.run_until(agreed + later)?;
    repetition::check(world, slip + unreported, "since the leader was killed")?;

    let mut repeated = slip + unreported;
    if let Some(third) = third {
        // Its successor dies, too, before it has told much.
        world.invariants.relax();
        // Since that word of the first leader nobody has heard what it has done.
        repeated += slip + hashed(world, next, untold + (world.now - killed));
        world.kill(next);
        let agreed = world.now + change_of_leader(world);
        world.invariants.agree_from(agreed, third);
        let later = beat.mul_f64(world.rng.f64());
        world.run_until(agreed + later)?;
        repetition::check(world, repeated, "since two leaders were killed")?;
        world.servers.get_mut(&next).unwrap().incarnation += 10;
        world.invariants.relax();
        world.start(next)?;
    }

    world.invariants.relax();
    if world.plan.is_endless {
        // In a large one, it finds out that lower ids are dead, and waits in vain for what they hold, too.
        let asks = asking_on(world);
        let more = if asks.is_zero() { asks } else { asks.max(beat * 2) + (beat / 2).min(second * 3 / 2) };
        world.invariants.busy_from(world.now + second, second / 2 + world.plan.latency * 8 + more);
    }
    world.servers.get_mut(&leader).unwrap().incarnation += 10;
    world.start(leader)?;
    let agreed = world.now + change_of_leader(world);
    world.invariants.agree_from(agreed, leader);
    world.run_until(agreed + beat * 6)?;
    // One that lies may tell the returning leader of a reign that never was, or of its own, and nothing of what was done.
    let liar = world.invariants.liar();
    if !misleads(world) && (liar.is_none() || liar != Some(next) && liar != third) {
        repetition::check(world, repeated + slip, "since the leader was killed and came back")?;
    }
    at_rest(world)
}

/// Nonces a second.
fn rate(world: &World, ids: &[NodeId]) -> u64 {
    ids.iter().map(|id| world.servers[id].rate).sum()
}

/// Whether one speaks as if it led: who hears of newer reigns from it begins anew, again and again.
fn misleads(world: &World) -> bool {
    world.servers.values().any(|server| server.lie == Some(Lie::OtherId))
}

/// So many nonces may be hashed twice because of that.
fn for_lies(world: &World, core: &[NodeId]) -> u64 {
    if misleads(world) { rate(world, core) / 10 } else { 0 }
}

/// So long after a death, all have to name the next leader.
fn change_of_leader(world: &World) -> Duration {
    world.plan.heartbeat * 2 + Duration::from_secs(1) + slack(world) + asking_on(world)
}

/// Of a large cluster, nodes do not know who else is alive: they ask on where nobody answers.
fn asking_on(world: &World) -> Duration {
    let is_large = world.plan.nodes as usize > world.plan.all_to_all + 1;
    if is_large { Duration::from_secs(2) } else { Duration::ZERO }
}

/// Clocks are a little slow, and messages on their way.
fn slack(world: &World) -> Duration {
    world.plan.heartbeat / 10 + world.plan.latency * 4
}
