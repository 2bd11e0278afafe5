//! Whatever others can grow has a limit.

use super::super::super::{Message, NodeId};
use super::super::server::Run;
use super::super::world::Did;
use super::Violation;
use crate::transport::codec;

/// Leases in hand, ranges finished, solutions not settled: as the rules have it.
const MOST: [(&str, usize); 3] = [("leases", 64), ("finished ranges", 256), ("solutions", 64)];

/// Jobs in a heartbeat, and ranges of them.
const MAX_JOBS: usize = 64;
const MAX_RANGES: usize = 2000; // pieces included

/// Framing every message would take most of a run's time: `frames` says whether to do so.
pub(super) fn check(id: NodeId, run: &Run, did: &Did, frames: bool) -> Result<(), Violation> {
    let over =
        |what: &str, count: usize| Err(Violation::new("everything is bounded", format!("{id:?}: {count} {what}")));
    for ((what, most), count) in MOST.into_iter().zip(run.cluster.worker().sizes()) {
        if count > most {
            return over(what, count);
        }
    }
    if run.scanner.scans().count() > MOST[0].1 {
        return over("scans", run.scanner.scans().count());
    }
    for (to, message) in &did.sent {
        if frames && let Err(error) = codec::encode(message) {
            return Err(Violation::new("everything is bounded", format!("{id:?} cannot tell {to:?}: {error}")));
        }
        if let Message::HeartbeatRequest(heartbeat) | Message::HeartbeatReply(heartbeat, _) = message {
            let Some(standing) = &heartbeat.standing else { continue };
            let ranges = standing.done.iter().map(|done| done.ranges.len() + done.pieces.len()).sum();
            if standing.done.len() > MAX_JOBS || ranges > MAX_RANGES {
                return over("ranges in a heartbeat", ranges);
            }
        }
    }
    Ok(())
}
