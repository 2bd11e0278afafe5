//! Nodes do not drown each other in messages.

use std::time::Duration;

use super::super::plan::Plan;
use super::Violation;

/// What happens in a heartbeat at most, to each node: some hundred times as much as usual.
const MOST: u64 = 20_000;

pub(super) struct Calm {
    heartbeat: Duration,
    most: u64,
    /// Since when it is counted, and what has happened since.
    since: Duration,
    happened: u64,
}

impl Calm {
    pub(super) fn new(plan: &Plan) -> Self {
        let most = MOST * u64::from(plan.nodes);
        Self { heartbeat: plan.heartbeat, most, since: Duration::ZERO, happened: 0 }
    }

    pub(super) fn check(&mut self, now: Duration) -> Result<(), Violation> {
        if now >= self.since + self.heartbeat {
            (self.since, self.happened) = (now, 0);
        }
        self.happened += 1;
        if self.happened > self.most {
            let what = format!("{} things happened within {:?}", self.happened, now - self.since);
            return Err(Violation::new("the cluster is calm", what));
        }
        Ok(())
    }
}
