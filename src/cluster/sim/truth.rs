//! What really happened, whatever the nodes believe.

use std::collections::HashMap;
use std::fmt;
use std::ops::{AddAssign, Range};
use std::time::Duration;

use rangemap::RangeSet;

use super::super::{Claim, Message, NodeId};
use super::source::Source;
use crate::work::{JobId, NonceRange, Solution};

/// A solution that a node has met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) solution: Solution,
    pub(super) by: NodeId,
    pub(super) at: Duration,
    /// Its finder was killed while its block was open, and has no disk or never comes back: nobody may know of it any more.
    pub(super) is_excused: bool,
}

/// What became of the solutions that were found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fates {
    pub(super) found: u64,
    /// The source has taken it.
    pub(super) accepted: u64,
    /// The source had another one of its block before, or another block.
    pub(super) late: u64,
    /// Excused, and the source has never had it.
    pub(super) lost: u64,
    /// On its way when the run ended.
    pub(super) under_way: u64,
    /// How often one was on the disk of a server that started.
    pub(super) restored: u64,
}

impl AddAssign for Fates {
    fn add_assign(&mut self, more: Self) {
        self.found += more.found;
        self.accepted += more.accepted;
        self.late += more.late;
        self.lost += more.lost;
        self.under_way += more.under_way;
        self.restored += more.restored;
    }
}

impl fmt::Display for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, accepted, late, lost, under_way, restored } = self;
        write!(
            f,
            "{found} found: {accepted} accepted, {late} late, {under_way} under way at the end, {lost} lost; {restored} restored"
        )
    }
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
    /// Solutions on the disks of servers that started.
    pub(super) restored: u64,
}

impl Truth {
    /// Counts repetitions anew: what was hashed before may be hashed again, by whoever does not know of it.
    pub(super) fn begin(&mut self) {
        self.recent.clear();
        self.repeated = 0;
    }

    /// A node has searched `range`. Gives how much of it had been searched recently. What a node searches that is found lying may be
    /// searched again: nobody has to believe it.
    pub(super) fn search(&mut self, id: JobId, range: NonceRange, is_liar: bool) -> u64 {
        if range.is_empty() {
            return 0;
        }
        self.hashes += range.len();
        let range = range.start..range.end;
        self.searched.entry(id).or_default().insert(range.clone());
        if is_liar {
            return 0;
        }
        let recent = self.recent.entry(id).or_default();
        let again = recent.overlapping(&range).map(|old| old.end.min(range.end) - old.start.max(range.start)).sum();
        self.repeated += again;
        recent.insert(range);
        again
    }

    /// `finder` ends for good, or without a disk.
    pub(super) fn excuse(&mut self, finder: NodeId, source: &Source) {
        let is_open = |found: &&mut Found| found.by == finder && found.solution.job.height >= source.height;
        self.found.iter_mut().filter(is_open).for_each(|found| found.is_excused = true);
    }

    /// What became of all that was found.
    pub(super) fn fates(&self, source: &Source) -> Fates {
        let mut fates = Fates { found: self.found.len() as u64, restored: self.restored, ..Fates::default() };
        for found in &self.found {
            let fate = match () {
                () if source.accepted.contains(&found.solution) => &mut fates.accepted,
                () if found.is_excused => &mut fates.lost,
                () if found.solution.job.height < source.height => &mut fates.late,
                () => &mut fates.under_way,
            };
            *fate += 1;
        }
        fates
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
        ranges: impl Iterator<Item = &'a Range<u64>>,
    ) -> Option<Range<u64>> {
        let pretended = self.pretended.get(&job);
        self.gaps(job, ranges)
            .find_map(|gap| pretended.map_or(Some(gap.clone()), |pretended| pretended.gaps(&gap).next()))
    }

    /// A part of `ranges` that nobody has searched, whoever says so.
    pub(super) fn unsearched_by_all<'a>(
        &self,
        job: JobId,
        ranges: impl Iterator<Item = &'a Range<u64>>,
    ) -> Option<Range<u64>> {
        self.gaps(job, ranges).next()
    }

    fn gaps<'a>(&self, job: JobId, ranges: impl Iterator<Item = &'a Range<u64>>) -> impl Iterator<Item = Range<u64>> {
        let searched = self.searched.get(&job);
        ranges.flat_map(move |range| match searched {
            Some(searched) => searched.gaps(range).collect(),
            None => vec![range.clone()],
        })
    }
}
