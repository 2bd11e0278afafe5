//! Four hundred nodes: that they agree, and what each of them has to do for it.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::laws::Violation;
use super::plan::Plan;
use super::world::World;
use crate::cluster::tests::node;
use crate::cluster::{ALL_TO_ALL, CANDIDATES, NodeId};

const NODES: u32 = 400;

const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let plan = Plan {
        seed: 1,
        nodes: NODES,
        heartbeat: SECOND * 5,
        bits: 64,
        latency: Duration::from_millis(2),
        source_latency: Duration::from_millis(20),
        poll: SECOND,
        is_endless: true,
        core: NODES,
        all_to_all: ALL_TO_ALL,
        candidates: CANDIDATES,
        ..Plan::default()
    };
    World::new(plan, Rng::with_seed(1), false)
}

/// After the time that a change of leader may take and `more`, all name `leader`, and nobody is idle.
fn agree(world: &mut World, leader: u32, more: Duration) -> Result<(), Violation> {
    let beat = world.plan.heartbeat;
    let agreed = world.now + beat * 2 + SECOND + beat / 20 + more;
    world.laws.agree_from(agreed, node(leader));
    world.laws.busy_from(agreed, beat / 4 + SECOND / 5);
    world.run_until(agreed + beat)
}

/// What each node sends during a heartbeat.
fn count(world: &mut World) -> Result<BTreeMap<NodeId, u64>, Violation> {
    world.sent.clear();
    world.run_until(world.now + world.plan.heartbeat)?;
    Ok(world.sent.clone())
}

fn check(world: &mut World) -> Result<(), Violation> {
    world.run_until(SECOND * 2)?;
    agree(world, 1, Duration::ZERO)?;
    let sent = count(world)?;
    let nodes = u64::from(NODES);
    // Requests and assignments from the leader, answers and reports back.
    assert!(sent[&node(1)] > 2 * nodes && sent[&node(1)] < 8 * nodes, "the leader sent {}", sent[&node(1)]);
    for id in 2..=CANDIDATES as u32 + 1 {
        assert!(sent[&node(id)] < 2 * nodes, "candidate {id} sent {}", sent[&node(id)]);
    }
    let most = (CANDIDATES as u32 + 2..=NODES).map(|id| sent[&node(id)]).max().unwrap();
    assert!(most <= 2 * CANDIDATES as u64 + 10, "some other node sent {most}");

    // The leader dies; then the next one, with all whom the others watch.
    world.kill(node(1));
    agree(world, 2, Duration::ZERO)?;
    for id in 2..2 + CANDIDATES as u32 {
        world.kill(node(id));
    }
    let next = 2 + CANDIDATES as u32;
    agree(world, next, SECOND * 2)?;
    // The first one comes back, and does not find anybody else where it looks first.
    world.laws.relax();
    world.start(node(1))?;
    agree(world, 1, SECOND * 2)
}

#[test]
fn four_hundred_nodes_agree_and_only_their_leader_is_busy_with_it() {
    check(&mut world()).unwrap();
}
