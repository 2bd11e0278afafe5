//! What really happened, whatever the nodes believe.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use rangemap::RangeSet;

use super::super::{Claim, Message, NodeId};
use crate::work::{JobId, NonceRange, Solution};

/// A solution that a node has met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) solution: Solution,
    pub(super) by: NodeId,
    pub(super) at: Duration,
    /// Its finder was killed, so that nobody may know of it any more.
    pub(super) is_excused: bool,
}

/// Searched nonces of each job.
type Searched = HashMap<JobId, RangeSet<u64>>;

/// What really happened.
#[derive(Default)]
pub(super) struct Truth {
    searched: Searched,
    /// What a liar says to have searched.
    pretended: Searched,
    /// The same since the last [`Truth::begin`].
    recent: Searched,
    /// Nonces hashed.
    pub(super) hashes: u64,
    /// Nonces hashed again that had been hashed since the last [`Truth::begin`].
    pub(super) repeated: u64,
    pub(super) found: Vec<Found>,
}

impl Truth {
    /// Counts repetitions anew: what was hashed before may be hashed again, by whoever does not know of it.
    pub(super) fn begin(&mut self) {
        self.recent.clear();
        self.repeated = 0;
    }

    /// A node has searched `range`. Gives how much of it had been searched recently.
    pub(super) fn search(&mut self, id: JobId, range: NonceRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let range = range.start..range.end;
        self.searched.entry(id).or_default().insert(range.clone());
        let recent = self.recent.entry(id).or_default();
        let again = recent.overlapping(&range).map(|old| old.end.min(range.end) - old.start.max(range.start)).sum();
        self.repeated += again;
        self.hashes += range.end - range.start;
        recent.insert(range);
        again
    }

    /// A liar says this.
    pub(super) fn told(&mut self, message: &Message) {
        let claims: Vec<&Claim> = match message {
            Message::ProcessAnswerNo(answer) => vec![&answer.searched],
            Message::ProcessRequest(request)
            | Message::HeartbeatReply(_, Some(request))
            | Message::Leave(_, Some(request)) => {
                request.held.iter().map(|held| &held.searched).chain(&request.finished).collect()
            }
            _ => return,
        };
        claims.into_iter().for_each(|claim| self.pretend(claim.job, claim.range));
    }

    /// A liar has not searched `range`, and will say that it has.
    pub(super) fn pretend(&mut self, job: JobId, range: NonceRange) {
        if !range.is_empty() {
            self.pretended.entry(job).or_default().insert(range.start..range.end);
        }
    }

    /// A part of `ranges` that nobody has searched, and no liar says to have.
    pub(super) fn unsearched<'a>(
        &self,
        job: JobId,
        mut ranges: impl Iterator<Item = &'a Range<u64>>,
    ) -> Option<Range<u64>> {
        let pretended = self.pretended.get(&job);
        let not_pretended =
            |gap: Range<u64>| pretended.map_or(Some(gap.clone()), |pretended| pretended.gaps(&gap).next());
        match self.searched.get(&job) {
            Some(searched) => ranges.find_map(|range| searched.gaps(range).find_map(not_pretended)),
            None => ranges.find_map(|range| not_pretended(range.clone())),
        }
    }
}
