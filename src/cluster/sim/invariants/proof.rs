//! At rest, a node that only says that it hashes is not believed: nothing of what it said counts, and it holds no lease.

use super::super::lies::Lie;
use super::super::world::World;
use super::Violation;

pub(super) fn check(world: &World) -> Result<(), Violation> {
    let idlers = world.servers.values().filter(|server| server.lie == Some(Lie::Idle) && server.is_awake());
    for idler in idlers.map(|server| server.id) {
        let runs = world.servers.values().filter_map(|server| server.run.as_ref());
        for leading in runs.filter(|run| run.cluster.id() != idler).filter_map(|run| run.cluster.leading()) {
            let fail = |what: String| Err(Violation::new("an idle node is not believed", format!("{idler:?} {what}")));
            if !leading.distrusted().contains_key(&idler) {
                return fail("is believed".to_owned());
            }
            for ledger in leading.ledgers() {
                if ledger.done().pieces().any(|(_, by)| by == idler) {
                    return fail(format!("still counts in {:?}", ledger.id()));
                }
                if let Some(gap) = world.truth.unsearched_by_all(ledger.id(), ledger.done().ranges().iter()) {
                    return fail(format!(
                        "may have said that {gap:?} of {:?} is done, which nobody has searched",
                        ledger.id()
                    ));
                }
                if ledger.leases().iter().any(|lease| lease.node == idler) {
                    return fail(format!("has a lease of {:?}", ledger.id()));
                }
            }
        }
    }
    Ok(())
}
