//! A thousand nodes: that they agree, and what each of them has to do for it.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::super::tests::node;
use super::super::{ALL_TO_ALL, CANDIDATES, NodeId};
use super::invariants::{Violation, at_rest, repetition};
use super::plan::Plan;
use super::trace::Trace;
use super::world::World;

const NODES: u32 = 1000;

const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let plan = Plan {
        seed: 1,
        nodes: NODES,
        heartbeat: SECOND * 5,
        bits: 64,
        latency: Duration::from_millis(2),
        source_latency: Duration::from_millis(20),
        chaos: 0,
        fault_every: SECOND,
        has_liar: false,
        is_endless: true,
        core: NODES,
        all_to_all: ALL_TO_ALL,
        candidates: CANDIDATES,
        has_store: false,
    };
    let mut world = World::new(plan, Rng::with_seed(1), Trace::default());
    world.invariants.seldom = 1009;
    world
}

/// Nonces that may be hashed twice for a change of leader: a fifth of what the cluster hashes in a second.
const REPEATED: u64 = 45_000;

/// After the time that a change of leader may take and `more`, all name `leader`.
fn agree(world: &mut World, leader: u32, more: Duration) -> Result<(), Violation> {
    let beat = world.plan.heartbeat;
    let agreed = world.now + beat * 2 + SECOND + beat / 20 + more;
    world.invariants.agree_from(agreed, node(leader));
    world.truth.begin();
    world.run_until(agreed + beat * 3)?;
    repetition::check(world, REPEATED, "for a change of leader")?;
    at_rest(world)
}

/// What each node has sent during a heartbeat.
fn count(world: &mut World) -> Result<BTreeMap<NodeId, u64>, Violation> {
    world.sent.clear();
    world.run_until(world.now + world.plan.heartbeat)?;
    Ok(world.sent.clone())
}

fn check(world: &mut World) -> Result<(), Violation> {
    let start = SECOND * 2;
    world.run_until(start)?;
    agree(world, 1, Duration::ZERO)?;
    let limit = SECOND / 5;
    world.invariants.busy_from(world.now, limit);

    let sent = count(world)?;
    let nodes = u64::from(NODES);
    // Heartbeats out and back, leases of 1000 nonces, and what news there is.
    assert!(sent[&node(1)] > 2 * nodes && sent[&node(1)] < 8 * nodes, "the leader sent {}", sent[&node(1)]);
    for id in 2..=CANDIDATES as u32 + 1 {
        assert!(sent[&node(id)] < 2 * nodes, "candidate {id} sent {}", sent[&node(id)]);
    }
    let most = (CANDIDATES as u32 + 2..=NODES).map(|id| sent[&node(id)]).max().unwrap();
    assert!(most <= 2 * CANDIDATES as u64 + 10, "some other node sent {most}");

    let leading = world.servers[&node(1)].run.as_ref().unwrap().cluster.leading().unwrap();
    let leases: usize = leading.ledgers().map(|ledger| ledger.leases().len()).sum();
    let ranges: usize = leading.ledgers().map(|ledger| ledger.done().ranges().len()).sum();
    assert!(leases > NODES as usize && leases < 8 * NODES as usize, "{leases} leases");
    assert!(ranges < 8 * NODES as usize, "{ranges} ranges");
    let brief: usize = leading.brief_standing(1).done.iter().map(|done| done.ranges.len()).sum();
    assert!(brief <= 4 * leading.ledgers().count(), "{brief} ranges for those who will not lead soon");

    // The leader dies; then the next one, with all whom the others watch.
    world.kill(node(1));
    agree(world, 2, Duration::ZERO)?;
    for id in 2..2 + CANDIDATES as u32 {
        world.kill(node(id));
    }
    let next = 2 + CANDIDATES as u32;
    agree(world, next, SECOND)?;
    // The first one comes back, and does not find anybody else where it looks first.
    world.invariants.relax();
    world.servers.get_mut(&node(1)).unwrap().incarnation += 10;
    world.start(node(1))?;
    agree(world, 1, SECOND)?;
    world.invariants.busy_from(world.now, limit);
    world.run_until(world.now + world.plan.heartbeat * 3)?;
    at_rest(world)
}

#[test]
fn a_thousand_nodes_agree_and_only_their_leader_is_busy_with_it() {
    check(&mut world()).unwrap();
}
