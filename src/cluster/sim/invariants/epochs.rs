//! The epoch that a node believes in only grows, and no two reigns have the same one. While the cluster is well, a leader surpasses
//! others, as rumours make it do, once a heartbeat at most.

use std::collections::HashMap;
use std::time::Duration;

use super::super::super::{Cluster, Epoch, NodeId};
use super::super::world::Did;
use super::{Before, Violation};

/// Every reign so far, and whose it was.
#[derive(Default)]
pub(super) struct Reigns {
    begun: HashMap<Epoch, u64>,
    count: u64,
    /// The reign that each node last began, which it may tell of more than once.
    last: HashMap<NodeId, Epoch>,
    /// When each last began one to surpass another.
    surpassed: HashMap<NodeId, Duration>,
}

impl Reigns {
    pub(super) fn check(
        &mut self,
        id: NodeId,
        cluster: &Cluster,
        before: &Before,
        did: &Did,
        now: Duration,
        shortest: Option<Duration>,
    ) -> Result<(), Violation> {
        let epoch = cluster.epoch();
        if epoch < before.epoch {
            let what = format!("{id:?} went from {:?} to {epoch:?}", before.epoch);
            return Err(Violation::new("epochs only grow", what));
        }
        if let Some(epoch) = epoch.filter(|_| did.led)
            && self.last.get(&id).is_none_or(|last| *last != epoch)
        {
            self.last.insert(id, epoch);
            let last = if before.was_leading { self.surpassed.insert(id, now) } else { None };
            if let (Some(last), Some(shortest)) = (last, shortest)
                && now - last < shortest
            {
                return Err(Violation::new("no rumour unseats a leader", format!("{id:?} begins {epoch:?} so soon")));
            }
            self.count += 1;
            if self.begun.insert(epoch, self.count).is_some() {
                return Err(Violation::new("each reign has its own epoch", format!("{id:?} began {epoch:?} again")));
            }
        }
        if cluster.is_leading() && epoch.is_some_and(|epoch| epoch.leader != id) {
            return Err(Violation::new("a newer epoch ends one's own", format!("{id:?} leads on in {epoch:?}")));
        }
        Ok(())
    }
}
