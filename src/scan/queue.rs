//! The queue of ranges to be scanned, which are cut into pieces.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Progress;
use crate::kernel::Prepared;
#[cfg(test)]
use crate::work::Job;
use crate::work::{MAX_WITNESSES, NonceRange, Search};

/// Names a scan. The caller chooses it.
pub type Ticket = u64;

/// The most batches in a piece (a few milliseconds of hashing), so that each thread takes the queue's lock some hundred times a second.
const BATCHES_A_PIECE: u64 = 16;

/// The limit of a scan that is to stop: none of its nonces need be searched any more.
const STOPPED: u64 = 0;

/// One range under scan, shared by the threads that work on it.
pub(super) struct Scan {
    pub(super) ticket: Ticket,
    pub(super) prepared: Prepared,
    pub(super) batch: u64,
    range: NonceRange,
    /// No nonce from this one on need be searched. The limit only falls.
    limit: AtomicU64,
}

impl Scan {
    /// The nonce from which on nothing need be searched any more.
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Takes note that `nonce` solves the job. False if a lower solution was found before, so that this one does not count. A solution in
    /// the last batch of a stopped scan does count: it has been hashed.
    pub(super) fn found(&self, nonce: u64) -> bool {
        let limit = match self.prepared.job().goal.search {
            Search::First => self.limit.fetch_min(nonce, Ordering::Relaxed),
            Search::Every => self.limit(),
        };
        nonce < limit || limit == STOPPED
    }
}

/// A part of a scan in the hands of one thread.
pub(crate) struct Piece {
    pub(super) scan: Arc<Scan>,
    pub(super) range: NonceRange,
}

#[cfg(test)]
impl Piece {
    /// How many nonces it has. Fewer are hashed if the scan is stopped or solved meanwhile.
    pub(crate) fn len(&self) -> u64 {
        self.range.len()
    }

    /// The nonces that it consists of.
    pub(crate) fn range(&self) -> NonceRange {
        self.range
    }

    /// The job.
    pub(crate) fn job(&self) -> Job {
        *self.scan.prepared.job()
    }

    /// The scan that it is a part of.
    pub(crate) fn ticket(&self) -> Ticket {
        self.scan.ticket
    }
}

struct Running {
    scan: Arc<Scan>,
    /// Start of the next piece.
    next: u64,
    piece: u64,
    /// Starts of the pieces that threads work on.
    busy: Vec<u64>,
    /// The witnesses of the pieces that were put back, ascending; only the lowest [`MAX_WITNESSES`] are kept.
    witnesses: Vec<u64>,
    /// The end of the gapless search when the scan was stopped.
    stopped_at: Option<u64>,
}

impl Running {
    fn limit(&self) -> u64 {
        self.scan.limit().min(self.scan.range.end)
    }

    fn take_piece(&mut self) -> Option<Piece> {
        let mut rest = NonceRange::new(self.next, self.limit());
        let range = rest.take_front(self.piece);
        if range.is_empty() {
            return None;
        }
        self.next = range.end;
        self.busy.push(range.start);
        Some(Piece { scan: Arc::clone(&self.scan), range })
    }

    fn is_over(&self) -> bool {
        self.busy.is_empty() && self.next >= self.limit()
    }

    /// Everything before this nonce is searched, and its witnesses are known: a piece counts once it is put back, together with its
    /// witnesses.
    fn searched_to(&self) -> u64 {
        let to = self.busy.iter().copied().min().unwrap_or(self.next);
        self.stopped_at.unwrap_or(to.min(self.limit()).max(self.scan.range.start))
    }

    fn add_witnesses(&mut self, witnesses: Vec<u64>) {
        if !witnesses.is_empty() {
            self.witnesses.extend(witnesses);
            self.witnesses.sort_unstable();
            self.witnesses.truncate(MAX_WITNESSES);
        }
    }

    fn progress(&self) -> Progress {
        let searched = NonceRange::new(self.scan.range.start, self.searched_to());
        let known = self.witnesses.partition_point(|&witness| witness < searched.end);
        Progress { ticket: self.scan.ticket, searched, witnesses: self.witnesses[..known].to_vec() }
    }

    fn stop(&mut self) {
        self.stopped_at = Some(self.searched_to());
        self.scan.limit.store(STOPPED, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    running: VecDeque<Running>,
    /// Scans that are over, and whose end no thread has reported yet.
    ended: Vec<Progress>,
    closed: bool,
}

impl State {
    fn next(&mut self) -> Option<Next> {
        if let Some(last) = self.ended.pop() {
            return Some(Next::Ended(last));
        }
        if self.closed {
            return Some(Next::Closed);
        }
        self.running.iter_mut().find_map(Running::take_piece).map(Next::Piece)
    }
}

/// What a thread has to do next.
pub(super) enum Next {
    Piece(Piece),
    /// Report that this scan is over, and how far it came.
    Ended(Progress),
    Closed,
}

/// The queue, which all threads share.
pub(super) struct Queue {
    threads: u64,
    state: Mutex<State>,
    news: Condvar,
}

impl Queue {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads: threads as u64, state: Mutex::default(), news: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between would have been a bug in this file; the state is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, ticket: Ticket, prepared: Prepared, batch: u64, range: NonceRange) {
        let range = range.intersection(&prepared.job().space());
        let range = if range.is_empty() { NonceRange::new(range.start, range.start) } else { range };
        // Small ranges are cut so that every thread gets some.
        let batches = range.len().div_ceil(self.threads * 4).div_ceil(batch);
        let piece = batch * batches.clamp(1, BATCHES_A_PIECE);
        let limit = AtomicU64::new(range.end);
        let scan = Arc::new(Scan { ticket, prepared, batch, range, limit });
        let (busy, witnesses) = (Vec::new(), Vec::new());
        let running = Running { scan, next: range.start, piece, busy, witnesses, stopped_at: None };
        let mut state = self.lock();
        if range.is_empty() {
            state.ended.push(running.progress());
        } else {
            state.running.push_back(running);
        }
        drop(state);
        self.news.notify_all();
    }

    pub(super) fn stop(&self, ticket: Ticket) {
        let mut state = self.lock();
        let State { running, ended, .. } = &mut *state;
        running.retain_mut(|running| {
            if running.scan.ticket != ticket {
                return true;
            }
            running.stop();
            if running.busy.is_empty() {
                ended.push(running.progress());
            }
            !running.busy.is_empty()
        });
        drop(state);
        self.news.notify_all();
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.running.iter_mut().for_each(Running::stop);
        drop(state);
        self.news.notify_all();
    }

    pub(super) fn progress(&self) -> Vec<Progress> {
        self.lock().running.iter().map(Running::progress).collect()
    }

    /// Puts back a finished piece and its witnesses.
    pub(super) fn put_back(&self, piece: &Piece, witnesses: Vec<u64>) {
        let mut state = self.lock();
        let State { running, ended, .. } = &mut *state;
        let Some(at) = running.iter().position(|running| Arc::ptr_eq(&running.scan, &piece.scan)) else { return };
        running[at].busy.retain(|&start| start != piece.range.start);
        running[at].add_witnesses(witnesses);
        if running[at].is_over() {
            ended.push(running[at].progress());
            running.remove(at);
        }
    }

    /// What there is to do at the moment, if anything.
    #[cfg(test)]
    pub(super) fn try_next(&self) -> Option<Next> {
        self.lock().next()
    }

    /// Waits until there is something to do.
    pub(super) fn next(&self) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(next) = state.next() {
                return next;
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
