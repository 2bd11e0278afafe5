//! A scanner without threads, for a simulation that decides itself when each piece is scanned and how long that takes.
//!
//! ```text
//! Scanner::by_hand -> push, stop -> take -> Turn::Piece -> finish -> Found events
//!                                    └────> Turn::Ended
//! ```
//!
//! Between `take` and `finish` a piece counts as being searched, as if a thread worked on it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::meter::Meter;
pub(crate) use super::queue::Piece;
use super::queue::{Next, Queue};
use super::{Event, Scanner, thread};
use crate::kernel::Kernel;

/// What a hashing thread would do next.
pub(crate) enum Turn {
    /// The caller has to [`finish`](Scanner::finish) this piece.
    Piece(Piece),
    /// A scan is over: an [`Event::Ended`].
    Ended(Event),
}

impl Scanner {
    /// A scanner that cuts its ranges for `threads` threads and starts none.
    pub(crate) fn by_hand(kernel: &'static dyn Kernel, threads: usize) -> Self {
        Self { kernel, queue: Arc::new(Queue::new(threads)), meter: Arc::new(Meter::new(1)), _pool: None }
    }

    /// The next turn, if there is anything to do.
    pub(crate) fn take(&self) -> Option<Turn> {
        match self.queue.try_next()? {
            Next::Piece(piece) => Some(Turn::Piece(piece)),
            Next::Ended(last) => Some(Turn::Ended(Event::ended(last))),
            Next::Closed => None,
        }
    }

    /// Counts hashes and CPU time that no piece took.
    pub(crate) fn count(&self, hashes: u64, time: Duration) {
        self.meter.counter(0).add_hashes(hashes);
        self.meter.counter(0).add_time(time);
    }

    /// Scans a piece up to its scan's limit, counts the hashes and puts the piece back. Gives the [`Event::Found`] of each solution.
    pub(crate) fn finish(&self, piece: Piece) -> Vec<Event> {
        let events = RefCell::new(Vec::new());
        thread::finish(&self.queue, &piece, self.meter.counter(0), &|event| events.borrow_mut().push(event));
        events.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::available;
    use crate::scan::tests::{bits, portable};
    use crate::work::fixtures::check_job as job;
    use crate::work::{NonceRange, Search};

    fn piece(scanner: &Scanner) -> Piece {
        let Some(Turn::Piece(piece)) = scanner.take() else { panic!("expected a piece") };
        piece
    }

    fn ended(scanner: &Scanner) -> Event {
        let Some(Turn::Ended(event)) = scanner.take() else { panic!("expected an end") };
        event
    }

    fn end(ticket: u64, searched: NonceRange) -> Event {
        Event::Ended { ticket, searched, witnesses: vec![] }
    }

    #[test]
    fn pieces_cover_a_range_and_its_end_follows() {
        let scanner = Scanner::by_hand(portable(), 2);
        assert!(scanner.take().is_none());
        let (range, job) = (NonceRange::new(1, 100_001), job(2, Search::Every));
        scanner.push(7, job, range, None);
        let (mut events, mut hashes) = (Vec::new(), 0);
        let last = loop {
            match scanner.take().expect("a turn until the end") {
                Turn::Piece(piece) => {
                    hashes += piece.len();
                    events.extend(scanner.finish(piece));
                    assert_eq!(scanner.hashes(), hashes);
                }
                Turn::Ended(event) => break event,
            }
        };
        let solutions = (range.start..range.end).filter(|&nonce| job.check(nonce).is_some());
        assert_eq!(
            events,
            solutions.map(|nonce| Event::Found { ticket: 7, nonce, is_block: true }).collect::<Vec<_>>()
        );
        assert_eq!((hashes, last), (range.len(), end(7, range)));
        assert!(scanner.take().is_none());
    }

    #[test]
    fn witnesses_come_with_the_end() {
        let scanner = Scanner::by_hand(portable(), 1);
        let (job, range, bits) = (job(64, Search::First), NonceRange::new(1, 2001), bits(6));
        scanner.push(1, job, range, Some(bits));
        while !scanner.progress().is_empty() {
            let piece = piece(&scanner);
            assert_eq!(scanner.finish(piece), []);
        }
        let witnesses: Vec<_> = (1..2001).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some()).collect();
        assert!(!witnesses.is_empty());
        assert_eq!(ended(&scanner), Event::Ended { ticket: 1, searched: range, witnesses });
    }

    #[test]
    fn a_stopped_scan_ends_once_its_last_piece_is_finished() {
        let kernel = available()[0];
        let scanner = Scanner::by_hand(kernel, 2);
        let range = NonceRange::new(1, 2_000_000_001);
        scanner.push(1, job(64, Search::First), range, None);
        let (first, second) = (piece(&scanner), piece(&scanner));
        let searched = first.len();
        assert!(searched >= kernel.batch() && scanner.finish(first).is_empty());
        scanner.stop(1);
        assert!(scanner.take().is_none(), "the second piece is not finished");
        assert!(scanner.finish(second).is_empty());
        assert_eq!(scanner.hashes(), searched, "a piece that was stopped before its first batch is not hashed");
        assert_eq!(ended(&scanner), end(1, NonceRange::new(1, 1 + searched)));
        assert!(scanner.take().is_none());
    }

    #[test]
    fn a_solution_ends_a_search_for_the_first() {
        let scanner = Scanner::by_hand(portable(), 1);
        scanner.push(1, job(1, Search::First), NonceRange::new(1, 1_000_001), None);
        let hit = piece(&scanner);
        assert_eq!(scanner.finish(hit), [Event::Found { ticket: 1, nonce: 2, is_block: true }]);
        assert_eq!(ended(&scanner), end(1, NonceRange::new(1, 2)));
    }
}
