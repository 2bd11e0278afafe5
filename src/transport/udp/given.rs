//! The work that this node, as its leader, has given to a text peer.
//!
//! A text peer has one piece at a time: 100,000 nonces at first, and later up to two seconds of its work. It says nothing of the block, the
//! lease or the job that its answers are about, so they are credited to the piece that it has. It is the node's place to say stop: a piece
//! that is no longer part of the assignment is called back before another is given.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::words::{Words, fits};
use crate::cluster::{Assign, Lease, Progress, Report, Stamp};
use crate::work::{Job, NonceRange, Solution, TextForm, UNIT};

/// A piece takes no longer than that by the speed of the pieces before it.
const LONGEST: Duration = Duration::from_secs(2);

/// Whoever asks for work within twice the time that its piece should take, or within this time, has not lost it: some programs ask with each
/// heartbeat.
const TOO_SOON: Duration = Duration::from_secs(1);

/// A piece that is not answered for so long is lost: its peer asks for work and gets other nonces.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// No text peer is faster, in nonces per second. Whoever answers at once has searched nothing, and nothing proves that.
const FASTEST: u64 = 1 << 29;

/// Jobs of late, of which a block may still be told: the answer may have crossed the call to stop.
const MAX_JOBS: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Given {
    assign: Option<Assign>,
    /// How far each lease of the assignment is searched, or `None` where it was given up.
    progress: Vec<Option<u64>>,
    piece: Option<Piece>,
    jobs: VecDeque<Job>,
    /// Nonces per second; 0 when not measured yet.
    speed: u64,
}

/// What the peer searches.
#[derive(Clone, Copy, Debug)]
struct Piece {
    lease: Lease,
    job: Job,
    range: NonceRange,
    since: Instant,
}

impl Given {
    /// An assignment replaces the one before. Leases of jobs that cannot be told in this form are given back.
    pub(super) fn tell(&mut self, assign: &Assign, form: TextForm, now: Instant) -> Vec<Words> {
        let fits = |lease: &Lease| assign.jobs.get(usize::from(lease.job)).is_some_and(|job| fits(job, form));
        let known = |lease| self.known(assign, lease).filter(|_| fits(lease));
        self.progress = assign.leases.iter().map(known).collect();
        self.assign = Some(assign.clone());
        let mut words = Vec::new();
        match self.piece {
            Some(piece) => match self.place(piece) {
                // The leader does not know yet how far it is.
                Some(place) => self.progress[place] = Some(piece.range.start),
                None => {
                    self.piece = None;
                    words.push(Words::ProcessInterrupt);
                    words.extend(self.next(now));
                }
            },
            None => words.extend(self.next(now)),
        }
        words
    }

    /// The peer asks for work. It gets the piece that it has once more, if that should be answered by now: one of the two datagrams was
    /// lost, or it was started anew.
    pub(super) fn hear_request(&mut self, now: Instant) -> Option<Words> {
        let piece = self.piece?;
        let time = now.saturating_duration_since(piece.since);
        let expected = Duration::from_secs_f64(piece.range.len() as f64 / self.speed.max(UNIT) as f64);
        if time >= LOST_AFTER {
            self.give_up(piece);
            return self.next(now);
        }
        (time >= (expected * 2).max(TOO_SOON)).then_some(Words::Process(piece.job, piece.range))
    }

    /// It has searched its piece and found nothing. `None` if it has none.
    pub(super) fn hear_no(&mut self, now: Instant) -> Option<Option<Words>> {
        let piece = self.piece.take()?;
        if let Some(place) = self.place(piece) {
            self.progress[place] = Some(piece.range.end);
        }
        let time = now.saturating_duration_since(piece.since).max(Duration::from_micros(1));
        let speed = u128::from(piece.range.len()) * 1_000_000 / time.as_micros();
        self.speed = speed.try_into().unwrap_or(u64::MAX).min(FASTEST);
        Some(self.next(now))
    }

    /// It has found this nonce, and stops. `None` if it was given nothing of late.
    pub(super) fn hear_yes(&mut self, nonce: u64) -> Option<Solution> {
        let of = |job: &Job| Solution { job: *job, nonce };
        // The newest job that it solves; if none, the newest, and the rules see that it is false.
        let solved = self.jobs.iter().rev().map(of).find(|solution| solution.verify().is_some());
        let solution = solved.or_else(|| self.jobs.back().map(of))?;
        if let Some(piece) = self.piece.take() {
            self.give_up(piece);
        }
        Some(solution)
    }

    /// Its account for the rules.
    pub(super) fn report(&self, stamp: Stamp) -> Report {
        let Some(assign) = &self.assign else { return Report { stamp, ..Report::default() } };
        let known = assign.leases.iter().zip(&self.progress).filter_map(|(lease, to)| Some((lease, (*to)?)));
        let progress = known.map(|(lease, to)| Progress { lease: lease.number, to, witnesses: vec![] }).collect();
        Report { stamp, held: Some((assign.reign, assign.sequence)), speed: self.speed, progress, ..Report::default() }
    }

    /// How far a lease of the next assignment is searched. The leader may not have read the newest report yet.
    fn known(&self, next: &Assign, lease: &Lease) -> Option<u64> {
        let before = self.assign.as_ref().filter(|before| before.reign == next.reign);
        let place = before.and_then(|before| before.leases.iter().position(|known| known.number == lease.number));
        match place {
            Some(place) => self.progress[place].map(|to| to.max(lease.range.start)),
            None => Some(lease.range.start),
        }
    }

    /// Where the assignment has the piece's lease.
    fn place(&self, piece: Piece) -> Option<usize> {
        let assign = self.assign.as_ref()?;
        let is_its = |lease: &Lease| {
            lease.number == piece.lease.number
                && lease.range.end == piece.lease.range.end
                && assign.jobs.get(usize::from(lease.job)) == Some(&piece.job)
        };
        assign.leases.iter().position(is_its)
    }

    fn give_up(&mut self, piece: Piece) {
        if let Some(place) = self.place(piece) {
            self.progress[place] = None;
        }
        self.piece = None;
    }

    /// The next piece of the assignment.
    fn next(&mut self, now: Instant) -> Option<Words> {
        let assign = self.assign.as_ref()?;
        let open = |(lease, to): (&Lease, &Option<u64>)| {
            let rest = NonceRange::new((*to)?, lease.range.end);
            (!rest.is_empty()).then_some((*lease, rest))
        };
        let (lease, mut rest) = assign.leases.iter().zip(&self.progress).find_map(open)?;
        let job = *assign.jobs.get(usize::from(lease.job))?;
        let most = u128::from(self.speed) * LONGEST.as_millis() / 1000;
        let range = rest.take_front(u64::try_from(most).unwrap_or(u64::MAX).max(UNIT));
        self.piece = Some(Piece { lease, job, range, since: now });
        if self.jobs.back() != Some(&job) {
            if self.jobs.len() == MAX_JOBS {
                self.jobs.pop_front();
            }
            self.jobs.push_back(job);
        }
        Some(Words::Process(job, range))
    }
}
