//! The epoch that a node believes in only grows, and no two reigns have the same one. While the cluster is well, a leader begins no
//! third one within a heartbeat, as rumours might make it do.

use std::collections::HashMap;
use std::time::Duration;

use super::super::super::{Cluster, Epoch, NodeId};
use super::super::world::Did;
use super::Violation;

/// Every reign so far, and whose it was.
#[derive(Default)]
pub(super) struct Reigns {
    begun: HashMap<Epoch, u64>,
    count: u64,
    /// The reign that each node last began, which it may tell of more than once; when, and when the one before.
    last: HashMap<NodeId, (Epoch, Option<Duration>, Option<Duration>)>,
}

impl Reigns {
    pub(super) fn check(
        &mut self,
        id: NodeId,
        cluster: &Cluster,
        before: Option<Epoch>,
        did: &Did,
        now: Duration,
        shortest: Option<Duration>,
    ) -> Result<(), Violation> {
        let epoch = cluster.epoch();
        if epoch < before {
            return Err(Violation::new("epochs only grow", format!("{id:?} went from {before:?} to {epoch:?}")));
        }
        if let Some(epoch) = epoch.filter(|_| did.led)
            && self.last.get(&id).is_none_or(|(last, ..)| *last != epoch)
        {
            let (_, last, before_last) = self.last.get(&id).copied().unwrap_or((epoch, None, None));
            self.last.insert(id, (epoch, Some(now), last));
            if let (Some(began), Some(shortest)) = (before_last, shortest)
                && now - began < shortest
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
