//! Shares: solutions of jobs in which every solution counts. They flow apart from blocks (rule 7).
//!
//! ```text
//! finder: found ──> queue ──in full──> leader: taken ──> source
//!                     │ <─── taken ────     │
//!                     │ ───by name───>      │ verdict
//!                     └ <── settled ───  final
//! ```
//!
//! A finder keeps a share until its leader says that it is settled, and tells it in full to every leader that has not taken it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::blocks::Finals;
use super::message::{MAX_JOBS, MAX_REPORTED_NAMES, MAX_REPORTED_SHARES, place};
use super::probe::probe;
use super::{NodeId, Reign, Report};
use crate::work::{Solution, SolutionId};

/// Shares that a finder keeps of each leader's leases: four seconds of a thousand a second. Beyond, the oldest are lost, and counted.
pub(super) const MAX_SHARES: usize = 4096;

/// Shares of one node that a leader has under way to the source. Further ones wait at their finder.
const MAX_TAKEN: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Own {
    solution: Solution,
    id: SolutionId,
    /// Whose lease it was found in.
    leader: NodeId,
    /// The leader and reign that have taken it.
    taken_by: Option<(NodeId, Reign)>,
}

/// What a node has found and not heard the end of.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnShares {
    queue: VecDeque<Own>,
}

impl OwnShares {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Keeps a share found in a lease of `leader`. True if the oldest of that leader's is lost for it.
    pub(super) fn add(&mut self, solution: Solution, leader: NodeId) -> bool {
        let is_theirs = |own: &Own| own.leader == leader;
        let is_full =
            self.queue.len() >= MAX_SHARES && self.queue.iter().filter(|own| is_theirs(own)).count() >= MAX_SHARES;
        if is_full && let Some(oldest) = self.queue.iter().position(is_theirs) {
            self.queue.remove(oldest);
        }
        self.queue.push_back(Own { solution, id: solution.id(), leader, taken_by: None });
        is_full
    }

    /// Adds to a report to this leader, in this reign, what there is room for: shares of its own leases first, then the oldest.
    pub(super) fn report(&self, to: Option<(NodeId, Reign)>, report: &mut Report) {
        let is_its = |own: &&Own| to.is_some_and(|(leader, _)| own.leader == leader);
        for own in self.queue.iter().filter(is_its).chain(self.queue.iter().filter(|own| !is_its(own))) {
            if own.taken_by.is_some() && own.taken_by == to {
                probe!(ShareByName);
                if report.taken.len() < MAX_REPORTED_NAMES {
                    report.taken.push(own.id);
                }
                continue;
            }
            if own.taken_by.is_some() {
                probe!(ShareToAnother);
            }
            let Solution { job, nonce } = own.solution;
            let has_room = report.jobs.len() < MAX_JOBS || report.jobs.contains(&job);
            if report.shares.len() < MAX_REPORTED_SHARES && has_room {
                report.shares.push((place(&mut report.jobs, job), nonce));
            }
        }
    }

    /// This leader has taken these in its reign: from now on it is told their names.
    pub(super) fn take(&mut self, ids: &[SolutionId], by: (NodeId, Reign)) {
        let ids: BTreeSet<_> = ids.iter().collect();
        self.queue.iter_mut().filter(|own| ids.contains(&own.id)).for_each(|own| own.taken_by = Some(by));
    }

    /// These are settled.
    pub(super) fn drop_settled(&mut self, ids: &[SolutionId]) {
        let ids: BTreeSet<_> = ids.iter().collect();
        self.queue.retain(|own| !ids.contains(&own.id));
    }
}

/// A share on its way to the source.
#[derive(Clone, Copy, Debug)]
struct Pending {
    solution: Solution,
    /// Whether the source is being asked; otherwise it gave no answer the last time.
    is_asked: bool,
}

/// What a leader has taken.
#[derive(Clone, Debug, Default)]
pub(super) struct TakenShares {
    pending: BTreeMap<NodeId, BTreeMap<SolutionId, Pending>>,
    finals: Finals,
}

impl TakenShares {
    /// Whether it is on its way to the source.
    pub(super) fn is_taken(&self, from: NodeId, id: SolutionId) -> bool {
        self.pending.get(&from).is_some_and(|pending| pending.contains_key(&id))
    }

    /// Whether the source has given its final answer.
    pub(super) fn is_settled(&self, from: NodeId, id: SolutionId) -> bool {
        self.finals.contains_of(from, id)
    }

    /// Whether this or another finder has reported it: it is submitted once, and settled for all of them by the answer.
    pub(super) fn knows(&mut self, from: NodeId, id: SolutionId) -> bool {
        let is_settled = self.finals.contains(id);
        if is_settled {
            self.finals.add(from, id);
        }
        is_settled || self.pending.values().any(|pending| pending.contains_key(&id))
    }

    /// Takes a verified share, which is then to be submitted. False where too many of that finder are under way.
    pub(super) fn take(&mut self, from: NodeId, solution: Solution, id: SolutionId) -> bool {
        let pending = self.pending.entry(from).or_default();
        let has_room = pending.len() < MAX_TAKEN;
        if has_room {
            pending.insert(id, Pending { solution, is_asked: true });
        }
        has_room
    }

    /// The source's final answer: gives the finder.
    pub(super) fn settle(&mut self, id: SolutionId) -> Option<NodeId> {
        let (&from, _) = self.pending.iter().find(|(_, pending)| pending.contains_key(&id))?;
        self.pending.get_mut(&from)?.remove(&id);
        self.finals.add(from, id);
        Some(from)
    }

    /// A share cannot be submitted any more: its finder may forget it.
    pub(super) fn lose(&mut self, from: NodeId, id: SolutionId) {
        self.finals.add(from, id);
    }

    /// The source gave no answer. False if the share is none of these.
    pub(super) fn put_back(&mut self, id: SolutionId) -> bool {
        let found = self.pending.values_mut().find_map(|pending| pending.get_mut(&id));
        found.map(|share| share.is_asked = false).is_some()
    }

    /// Those to be submitted again, and who found them.
    pub(super) fn take_unanswered(&mut self) -> Vec<(Solution, NodeId)> {
        let mut again = Vec::new();
        for (&from, pending) in &mut self.pending {
            for share in pending.values_mut().filter(|share| !share.is_asked) {
                share.is_asked = true;
                again.push((share.solution, from));
            }
        }
        again
    }

    /// A peer is no member any more.
    pub(super) fn forget(&mut self, peer: NodeId) {
        self.pending.remove(&peer);
        self.finals.forget(peer);
    }
}
