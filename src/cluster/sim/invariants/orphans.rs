//! At rest, every lease is in the hands of the node that the leader thinks has it.

use super::super::world::World;
use super::Violation;

pub(super) fn check(world: &World) -> Result<(), Violation> {
    let leaders = world.servers.values().filter_map(|server| server.run.as_ref());
    for run in leaders.filter(|run| run.cluster.is_leading()) {
        let leading = run.cluster.leading().unwrap();
        // Its end may be on the way.
        let patience = world.plan.heartbeat * 3;
        for lease in leading.ledgers().flat_map(|ledger| ledger.leases()) {
            let server = &world.servers[&lease.node];
            let is_held = server.run.as_ref().is_some_and(|holder| {
                let epoch = run.cluster.epoch().unwrap();
                holder.cluster.worker().holds(epoch, lease.number)
            });
            let age = server_time(world, run.cluster.id()).saturating_duration_since(lease.seen);
            if !is_held && age > patience {
                return Err(Violation::new(
                    "no lease is orphaned",
                    format!("{:?}'s lease {}, last named {age:?} ago, is not in its hands", lease.node, lease.number),
                ));
            }
        }
    }
    Ok(())
}

fn server_time(world: &World, id: super::super::super::NodeId) -> std::time::Instant {
    world.servers[&id].time(world.epoch(), world.now)
}
