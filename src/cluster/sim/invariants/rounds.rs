//! No node goes back: it begins no scan of a round that its leader has told it is over, nor of an older one than it has begun; and it works
//! on one block at a time.

use std::collections::BTreeMap;

use super::super::super::{Epoch, NodeId};
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
}

#[derive(Default)]
pub(super) struct Rounds(BTreeMap<NodeId, Known>);

impl Rounds {
    pub(super) fn check(&mut self, server: &Server, run: &Run, before: &Before, did: &Did) -> Result<(), Violation> {
        let id = server.id;
        let known = self.0.entry(id).or_default();
        if known.run != server.runs {
            *known = Known { run: server.runs, ..Known::default() };
        }
        for round in did.scans.iter().filter_map(|scan| run.cluster.worker().round_of(scan.ticket)) {
            if Some(round) <= known.over || Some(round) < known.newest {
                let what = format!("{id:?} begins {round:?} after {:?}, with {:?} over", known.newest, known.over);
                return Err(Violation::new("no node goes back to an older round", what));
            }
            known.newest = Some(round);
        }
        let mut scans = run.scanner.scans();
        if let Some(first) = scans.next()
            && let Some(other) = scans.find(|scan| !scan.job.is_same_search(&first.job))
        {
            let what = format!("{id:?} searches {:?} and {:?}", first.id, other.id);
            return Err(Violation::new("a node works on one block", what));
        }
        // Did it take the interrupt in? (A liar can talk to itself, and does not listen.)
        let is_heeded = |(epoch, _): &Round| {
            epoch.leader != id && run.cluster.epoch() == Some(*epoch) && run.cluster.leader() == Some(epoch.leader)
        };
        known.over = known.over.max(before.ended.filter(is_heeded));
        Ok(())
    }
}
