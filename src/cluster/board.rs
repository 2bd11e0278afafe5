//! Every node's copy of what is done, so that any of them can lead next.
//!
//! The leader's heartbeats carry it. It only ever helps: what is missing from it is searched again, nothing else.

use std::collections::BTreeSet;

use rangemap::RangeMap;

use super::ledger::{Done, has_room};
use super::{JobDone, NodeId, Standing};
use crate::work::{Job, JobId, NonceRange};

/// At most so many jobs are under way at once: at 100 messages of lease traffic a second, more than a cluster of a thousand
/// nodes opens in the time that a lease lasts.
pub(super) const MAX_JOBS: usize = 64;

/// A heartbeat carries at most so many ranges, about 40 KB of a 64 KiB frame.
pub(super) const MAX_RANGES: usize = 2000;

/// Ranges a job that those are told who will not lead soon. What is searched soon joins the longest of them, and then whoever has
/// searched it may forget it.
pub(super) const BRIEF_RANGES: usize = 4;

/// Jobs under way and what is done of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    jobs: Vec<(Job, Done)>,
}

impl Board {
    /// What a leader's heartbeat said, and nothing else.
    pub(super) fn heard(standing: &Standing) -> Self {
        let mut board = Self::default();
        board.merge(standing);
        board
    }

    /// Takes in what a leader's heartbeat said. For jobs known already, what is done grows, but for what nodes said that are not
    /// believed any more; jobs no longer named are over.
    pub(super) fn merge(&mut self, heard: &Standing) {
        let mut known = std::mem::take(&mut self.jobs);
        let distrusted: BTreeSet<_> = heard.distrusted.iter().copied().collect();
        for JobDone { job, ranges } in heard.done.iter().take(MAX_JOBS) {
            let mut done = match known.iter().position(|(other, _)| other == job) {
                Some(at) => known.swap_remove(at).1,
                None => RangeMap::new(),
            };
            let space = job.space();
            for (range, by) in ranges.iter().map(|&(range, by)| (range.intersection(&space), by)) {
                if !range.is_empty() && has_room(&done, range) {
                    done.insert(range.start..range.end, by);
                }
            }
            remove(&mut done, &distrusted);
            self.jobs.push((*job, done));
        }
    }

    /// Replaces everything.
    pub(super) fn set(&mut self, jobs: impl Iterator<Item = (Job, Done)>) {
        self.jobs = jobs.collect();
    }

    pub(super) fn jobs(&self) -> &[(Job, Done)] {
        &self.jobs
    }

    /// Whether `range` of the job is known to be done, or the job is over.
    pub(super) fn confirms(&self, job: JobId, range: NonceRange) -> bool {
        match self.jobs.iter().find(|(other, _)| other.id() == job) {
            Some((_, done)) => done.gaps(&(range.start..range.end)).next().is_none(),
            None => true,
        }
    }
}

/// Takes out what these nodes say to have searched.
pub(super) fn remove(done: &mut Done, nodes: &BTreeSet<NodeId>) {
    let theirs: Vec<_> = done.iter().filter(|(_, by)| nodes.contains(by)).map(|(range, _)| range.clone()).collect();
    theirs.into_iter().for_each(|range| done.remove(range));
}

/// The form in which what is done travels: at most `most` ranges of a job, and [`MAX_RANGES`] of all; beyond, the longest go.
pub(super) fn to_message<'a>(jobs: impl Iterator<Item = (&'a Job, &'a Done)>, most: usize) -> Vec<JobDone> {
    let mut room = MAX_RANGES;
    let mut message = Vec::new();
    for (job, done) in jobs.take(MAX_JOBS) {
        let mut ranges: Vec<_> =
            done.iter().map(|(range, by)| (NonceRange::new(range.start, range.end), *by)).collect();
        let most = most.min(room);
        if ranges.len() > most {
            ranges.sort_by_key(|(range, _)| std::cmp::Reverse(range.len()));
            ranges.truncate(most);
            ranges.sort();
        }
        room -= ranges.len();
        message.push(JobDone { job: *job, ranges });
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{job, node};

    fn done(ranges: &[(u64, u64)]) -> Done {
        ranges.iter().map(|&(start, end)| (start..end, node(2))).collect()
    }

    fn standing(done: Vec<JobDone>) -> Standing {
        Standing { done, ..Standing::default() }
    }

    #[test]
    fn what_is_done_grows_and_jobs_end() {
        let mut board = Board::default();
        let said = |number, ranges| standing(to_message([(&job(number), &done(ranges))].into_iter(), MAX_RANGES));
        board.merge(&said(1, &[(1, 100)]));
        board.merge(&said(1, &[(200, 300)]));
        assert_eq!(board.jobs(), [(job(1), done(&[(1, 100), (200, 300)]))]);
        assert!(board.confirms(job(1).id(), NonceRange::new(1, 100)));
        assert!(!board.confirms(job(1).id(), NonceRange::new(1, 101)));
        board.merge(&said(2, &[]));
        assert_eq!(board.jobs(), [(job(2), done(&[]))]);
        assert!(board.confirms(job(1).id(), NonceRange::new(1, 101)), "job 1 is over");
    }

    #[test]
    fn of_too_many_ranges_the_longest_travel() {
        let ranges: Vec<_> = (0..3000u64).map(|i| (1 + i * 1000, 2 + i * 1000 + i % 3)).collect();
        let message = to_message([(&job(1), &done(&ranges))].into_iter(), MAX_RANGES);
        assert_eq!(message[0].ranges.len(), MAX_RANGES);
        assert!(message[0].ranges.is_sorted());
        assert!(message[0].ranges.iter().all(|(range, _)| range.len() > 1));
    }

    #[test]
    fn ranges_outside_the_job_are_cut() {
        let mut board = Board::default();
        let ranges = vec![NonceRange::new(0, 10), NonceRange::new(9, 3), NonceRange::new(5_000_000_000, u64::MAX)];
        let ranges = ranges.into_iter().map(|range| (range, node(2))).collect();
        board.merge(&standing(vec![JobDone { job: job(1), ranges }]));
        assert_eq!(board.jobs(), [(job(1), done(&[(1, 10)]))]);
    }

    #[test]
    fn what_a_distrusted_node_said_is_forgotten() {
        let mut board = Board::default();
        let ranges = vec![(NonceRange::new(1, 100), node(2)), (NonceRange::new(100, 200), node(3))];
        board.merge(&standing(vec![JobDone { job: job(1), ranges }]));
        let distrusted = vec![node(3)];
        board.merge(&Standing {
            done: vec![JobDone { job: job(1), ranges: vec![] }],
            distrusted,
            ..Standing::default()
        });
        assert_eq!(board.jobs(), [(job(1), done(&[(1, 100)]))]);
    }
}
