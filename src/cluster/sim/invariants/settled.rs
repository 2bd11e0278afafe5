//! No solution is lost that somebody who is well knows, or has on its disk: each reached the source, or its block is over; and nobody
//! keeps one for ever, but for a liar that has told its leader of a time to come: it is not heard until then.

use std::time::Duration;

use super::super::lies::Lie;
use super::super::truth::Found;
use super::super::world::World;
use super::Violation;

pub(super) fn check(world: &World) -> Result<(), Violation> {
    let law = "no solution is lost";
    // On its way from the finder by the leader to the source, at the next heartbeat if not before.
    let patience = world.plan.heartbeat * 2 + Duration::from_secs(3);
    let is_due = |found: &&Found| !found.is_excused && world.now - found.at > patience;
    for found in world.truth.found.iter().filter(is_due) {
        let block = found.solution.job.block();
        if block.height >= world.source.height {
            let what =
                format!("{:?} found {} of block {}, which is still open", found.by, found.solution.nonce, block.height);
            return Err(Violation::new(law, what));
        }
    }
    for server in world.servers.values().filter(|server| server.lie != Some(Lie::OtherId)) {
        let offers =
            |found: &Found| server.run.as_ref().is_some_and(|run| run.cluster.worker().offers(&found.solution));
        if world.truth.found.iter().any(|found| is_due(&found) && offers(found)) {
            return Err(Violation::new(law, format!("{:?} offers a solution for ever", server.id)));
        }
    }
    Ok(())
}
