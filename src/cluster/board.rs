//! Every node's copy of what is done, so that any of them can lead next.
//!
//! The leader's heartbeats carry it. It only ever helps: what is missing from it is searched again, nothing else.

use super::done::Done;
use super::{Epoch, JobDone, Standing};
use crate::work::{Job, JobId};

/// At most so many jobs are under way at once: at 100 messages of lease traffic a second, more than a cluster of a thousand
/// nodes opens in the time that a lease lasts.
pub(super) const MAX_JOBS: usize = 64;

/// A heartbeat carries at most so many ranges, and so many pieces of them, about 40 KB of a 64 KiB frame.
const MAX_RANGES: usize = 1400;
const MAX_PIECES: usize = 600;

/// Ranges a job that those are told who will not lead soon. What is searched soon joins the longest of them, and then whoever has
/// searched it may forget it.
const BRIEF_RANGES: usize = 4;

/// Jobs under way and what is done of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// The last reign that it was heard of from its leader.
    of: Option<Epoch>,
    jobs: Vec<(Job, Done)>,
}

impl Board {
    /// What a leader's heartbeat said, and nothing else.
    pub(super) fn heard(epoch: Epoch, standing: &Standing) -> Self {
        let mut board = Self::default();
        board.merge(epoch, standing);
        board
    }

    /// Takes in what the heartbeat of the leader of `epoch` said. For jobs known already, what is done grows; jobs no longer named are over.
    pub(super) fn merge(&mut self, epoch: Epoch, heard: &Standing) {
        self.of = Some(epoch);
        let mut known = std::mem::take(&mut self.jobs);
        for JobDone { job, ranges, pieces } in heard.done.iter().take(MAX_JOBS) {
            let mut done = match known.iter().position(|(other, _)| other == job) {
                Some(at) => known.swap_remove(at).1,
                None => Done::default(),
            };
            let space = job.space();
            let pieces = pieces.iter().map(|(range, by)| (range.intersection(&space), *by));
            done.merge(pieces, ranges.iter().map(|range| range.intersection(&space)));
            self.jobs.push((*job, done));
        }
    }

    /// What the leader of `epoch` knows itself.
    pub(super) fn new(epoch: Epoch, jobs: impl Iterator<Item = (Job, Done)>) -> Self {
        Self { of: Some(epoch), jobs: jobs.collect() }
    }

    /// The reign that it is of.
    pub(super) fn of(&self) -> Option<Epoch> {
        self.of
    }

    pub(super) fn into_jobs(self) -> impl Iterator<Item = (Job, Done)> {
        self.jobs.into_iter()
    }

    pub(super) fn jobs(&self) -> &[(Job, Done)] {
        &self.jobs
    }

    /// What is done of a job, if it is under way.
    pub(super) fn done(&self, job: JobId) -> Option<&Done> {
        self.jobs.iter().find(|(other, _)| other.id() == job).map(|(_, done)| done)
    }
}

/// The form in which what is done travels, for those who may lead next: beyond [`MAX_RANGES`] the longest go, and the latest
/// [`MAX_PIECES`].
pub(super) fn in_full<'a>(jobs: impl Iterator<Item = (&'a Job, &'a Done)>) -> Vec<JobDone> {
    to_message(jobs, MAX_RANGES, MAX_PIECES)
}

/// The same for those who will not lead soon: as much as lets them forget what they have searched.
pub(super) fn in_brief<'a>(jobs: impl Iterator<Item = (&'a Job, &'a Done)>) -> Vec<JobDone> {
    to_message(jobs, BRIEF_RANGES, 0)
}

fn to_message<'a>(jobs: impl Iterator<Item = (&'a Job, &'a Done)>, most: usize, pieces: usize) -> Vec<JobDone> {
    let (mut room, mut room_for_pieces) = (MAX_RANGES, pieces);
    let mut message = Vec::new();
    for (job, done) in jobs.take(MAX_JOBS) {
        let mut ranges: Vec<_> = done.told().collect();
        let most = most.min(room);
        if ranges.len() > most {
            ranges.sort_by_key(|range| std::cmp::Reverse(range.len()));
            ranges.truncate(most);
            ranges.sort();
        }
        let mut pieces: Vec<_> = done.pieces().rev().take(room_for_pieces).collect();
        pieces.reverse();
        room -= ranges.len();
        room_for_pieces -= pieces.len();
        message.push(JobDone { job: *job, ranges, pieces });
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{job, node};
    use crate::work::NonceRange;

    fn epoch() -> Epoch {
        Epoch { counter: 1, leader: node(1), incarnation: 1 }
    }

    fn range(&(start, end): &(u64, u64)) -> NonceRange {
        NonceRange::new(start, end)
    }

    fn done(ranges: &[(u64, u64)]) -> Done {
        let mut done = Done::default();
        for searched in ranges.iter().map(range) {
            done.add(searched, node(2));
        }
        done
    }

    fn standing(done: Vec<JobDone>) -> Standing {
        Standing { done, ..Standing::default() }
    }

    #[test]
    fn what_is_done_grows_and_jobs_end() {
        let mut board = Board::default();
        let said = |number, ranges| standing(in_full([(&job(number), &done(ranges))].into_iter()));
        board.merge(epoch(), &said(1, &[(1, 100)]));
        board.merge(epoch(), &said(1, &[(200, 300)]));
        assert_eq!(board.jobs(), [(job(1), done(&[(1, 100), (200, 300)]))]);
        assert_eq!(board.done(job(1).id()), Some(&done(&[(1, 100), (200, 300)])));
        board.merge(epoch(), &said(2, &[]));
        assert_eq!(board.jobs(), [(job(2), done(&[]))]);
        assert_eq!(board.done(job(1).id()), None, "job 1 is over");
    }

    #[test]
    fn of_too_many_the_longest_ranges_and_the_latest_pieces_travel() {
        let ranges: Vec<_> = (0..3000u64).map(|i| (1 + i * 1000, 2 + i * 1000 + i % 3)).collect();
        let done = done(&ranges);
        let message = &in_full([(&job(1), &done)].into_iter())[0];
        assert_eq!(message.ranges.len(), MAX_RANGES);
        assert!(message.ranges.is_sorted());
        assert!(message.ranges.iter().all(|range| range.len() > 1));
        let latest: Vec<_> = ranges[3000 - MAX_PIECES..].iter().map(|ends| (range(ends), node(2))).collect();
        assert_eq!(message.pieces, latest);
        let brief = &in_brief([(&job(1), &done)].into_iter())[0];
        assert_eq!((brief.ranges.len(), brief.pieces.len()), (BRIEF_RANGES, 0));
    }

    #[test]
    fn ranges_outside_the_job_are_cut() {
        let mut board = Board::default();
        let ranges = vec![NonceRange::new(0, 10), NonceRange::new(9, 3), NonceRange::new(5_000_000_000, u64::MAX)];
        let pieces = ranges.iter().map(|&range| (range, node(2))).collect();
        board.merge(epoch(), &standing(vec![JobDone { job: job(1), ranges, pieces }]));
        assert_eq!(board.jobs(), [(job(1), done(&[(1, 10)]))]);
    }
}
