//! While there is a block to find, every node hashes.

use std::time::Duration;

use super::super::super::NodeId;
use super::super::server::Run;
use super::Violation;

pub(super) fn check(busy: Option<(Duration, Duration)>, now: Duration, id: NodeId, run: &Run) -> Result<(), Violation> {
    let Some((from, limit)) = busy.filter(|(from, _)| now >= *from) else { return Ok(()) };
    match run.scanner.idle_since {
        // It may wait for the source's word on what it has found.
        Some(_) if run.cluster.worker().sizes()[2] > 0 => Ok(()),
        Some(since) if now.saturating_sub(since.max(from)) > limit => Err(Violation::new(
            "while there is work, everyone hashes",
            format!("{id:?} has had nothing to do since {since:?}"),
        )),
        _ => Ok(()),
    }
}
