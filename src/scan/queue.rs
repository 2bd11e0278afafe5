//! Ranges waiting to be scanned, cut into pieces.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::kernel::Prepared;
use crate::work::{NonceRange, Search};

/// Names a scan; the caller's choice.
pub type Ticket = u64;

/// A piece is at most so many batches (a few milliseconds), so that the queue's lock is taken some hundred times a second and
/// thread.
const BATCHES_A_PIECE: u64 = 16;

/// One range under scan, shared by the threads that are at it.
pub(super) struct Scan {
    pub(super) ticket: Ticket,
    pub(super) prepared: Prepared,
    pub(super) batch: u64,
    range: NonceRange,
    /// No nonce from here on need be searched. Only falls.
    limit: AtomicU64,
}

impl Scan {
    /// The nonce from which on nothing need be searched any more.
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// `nonce` solves the job. False if a lower one was found before, so that it does not count.
    pub(super) fn found(&self, nonce: u64) -> bool {
        match self.prepared.job().search {
            Search::First => nonce < self.limit.fetch_min(nonce, Ordering::Relaxed),
            Search::Every => nonce < self.limit(),
        }
    }
}

/// A part of a scan in the hands of one thread.
pub(super) struct Piece {
    pub(super) scan: Arc<Scan>,
    pub(super) range: NonceRange,
}

struct Running {
    scan: Arc<Scan>,
    /// Start of the next piece.
    next: u64,
    piece: u64,
    /// Starts of the pieces that threads are at.
    busy: Vec<u64>,
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

    /// Everything before this is searched.
    fn searched_to(&self) -> u64 {
        let to = self.busy.iter().copied().min().unwrap_or(self.next);
        to.min(self.limit()).max(self.scan.range.start)
    }
}

#[derive(Default)]
struct State {
    running: VecDeque<Running>,
    /// Stopped or empty scans whose end no thread has told yet.
    ended: Vec<(Ticket, NonceRange)>,
    closed: bool,
}

/// What a thread has to do next.
pub(super) enum Next {
    Piece(Piece),
    /// Tell that this scan is over.
    Ended(Ticket, NonceRange),
    Closed,
}

/// The queue.
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
        let share = range.len().div_ceil(self.threads * 4).div_ceil(batch);
        let piece = batch * share.clamp(1, BATCHES_A_PIECE);
        let limit = AtomicU64::new(range.end);
        let scan = Arc::new(Scan { ticket, prepared, batch, range, limit });
        let mut state = self.lock();
        if range.is_empty() {
            state.ended.push((ticket, range));
        } else {
            state.running.push_back(Running { scan, next: range.start, piece, busy: Vec::new() });
        }
        drop(state);
        self.news.notify_all();
    }

    pub(super) fn stop(&self, ticket: Ticket) {
        let mut state = self.lock();
        let State { running, ended, .. } = &mut *state;
        running.retain(|running| {
            if running.scan.ticket != ticket {
                return true;
            }
            let searched = NonceRange::new(running.scan.range.start, running.searched_to());
            running.scan.limit.store(0, Ordering::Relaxed);
            if running.busy.is_empty() {
                ended.push((ticket, searched));
            }
            !running.busy.is_empty()
        });
        drop(state);
        self.news.notify_all();
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for running in &state.running {
            running.scan.limit.store(0, Ordering::Relaxed);
        }
        drop(state);
        self.news.notify_all();
    }

    pub(super) fn progress(&self) -> Vec<(Ticket, u64)> {
        self.lock().running.iter().map(|running| (running.scan.ticket, running.searched_to())).collect()
    }

    /// Puts back a finished piece.
    pub(super) fn put_back(&self, piece: &Piece) {
        let mut state = self.lock();
        let State { running, ended, .. } = &mut *state;
        let Some(at) = running.iter().position(|running| Arc::ptr_eq(&running.scan, &piece.scan)) else { return };
        running[at].busy.retain(|&start| start != piece.range.start);
        if running[at].is_over() {
            let scan = &running[at].scan;
            ended.push((scan.ticket, NonceRange::new(scan.range.start, running[at].searched_to())));
            running.remove(at);
        }
    }

    /// Waits until there is something to do.
    pub(super) fn next(&self) -> Next {
        let mut state = self.lock();
        loop {
            if let Some((ticket, searched)) = state.ended.pop() {
                return Next::Ended(ticket, searched);
            }
            if state.closed {
                return Next::Closed;
            }
            if let Some(piece) = state.running.iter_mut().find_map(Running::take_piece) {
                return Next::Piece(piece);
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
