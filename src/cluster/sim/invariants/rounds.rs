//! No node goes back: it begins no scan of a round that its leader has told it is over, nor of an older one than it has begun, nor of a
//! lease that it has begun before.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::{Epoch, NodeId, ProcessInterrupt};
use super::super::server::{Run, Server};
use super::super::world::Did;
use super::{Before, Violation};

type Round = (Epoch, u64);

/// What a node was told in its present run.
#[derive(Default)]
struct Known {
    run: u64,
    over: Option<Round>,
    newest: Option<Round>,
    /// Leases of the reign of the newest.
    begun: BTreeSet<u64>,
}

#[derive(Default)]
pub(super) struct Rounds(BTreeMap<NodeId, Known>);

impl Rounds {
    pub(super) fn check(&mut self, server: &Server, run: &Run, before: &Before, did: &Did) -> Result<(), Violation> {
        let known = self.0.entry(server.id).or_default();
        if known.run != server.runs {
            *known = Known { run: server.runs, ..Known::default() };
        }
        for (round, lease) in did.scans.iter().filter_map(|scan| run.cluster.worker().lease_of(scan.ticket)) {
            if Some(round) <= known.over || Some(round) < known.newest {
                let what =
                    format!("{:?} begins {round:?} after {:?}, with {:?} over", server.id, known.newest, known.over);
                return Err(Violation::new("no node goes back to an older round", what));
            }
            if known.newest.is_none_or(|(reign, _)| reign != round.0) {
                known.begun.clear();
            }
            known.newest = Some(round);
            if !known.begun.insert(lease) {
                let what = format!("{:?} begins lease {lease} of {round:?} again", server.id);
                return Err(Violation::new("no lease is searched twice", what));
            }
        }
        let mut scans = run.scanner.scans();
        if let Some(first) = scans.next()
            && let Some(other) = scans.find(|scan| !scan.job.is_same_search(&first.job))
        {
            let what = format!("{:?} searches {:?} and {:?}", server.id, first.id, other.id);
            return Err(Violation::new("a node works on one block", what));
        }
        // Did it take the interrupt in? (A liar can talk to itself, and does not listen.)
        let is_heeded = |epoch: Epoch| {
            epoch.leader != server.id
                && run.cluster.epoch() == Some(epoch)
                && run.cluster.leader() == Some(epoch.leader)
        };
        if let Some(ProcessInterrupt { epoch, round, void, .. }) = &before.interrupt
            && is_heeded(*epoch)
        {
            known.over = known.over.max(Some((*epoch, *round)));
            // A copy of its lease may still be on the way.
            known.begun.retain(|lease| !void.contains(&(*epoch, *lease)));
        }
        Ok(())
    }
}
