//! One search on this box: a scanner, a range, and its solutions in ascending order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};

use super::{Event, ScanError, Scanner, Threads};
use crate::kernel::Kernel;
use crate::work::{Job, NonceRange, Search};

/// The most solutions that are found and not taken yet; beyond that, hashing waits until some are taken.
const FOUND_AHEAD: usize = 1024;

/// How often to look whether a solution's turn has come: unnoticeable to a person, cheap for the queue.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A search under way. Iterating gives the job's solutions in ascending order, each once everything before it is searched. A job that ends
/// with its first solution gives only the lowest.
pub struct Solutions {
    scanner: Scanner,
    events: Receiver<Event>,
    search: Search,
    /// Solutions that are found and whose turn has not come.
    found: BinaryHeap<Reverse<u64>>,
    over: bool,
}

impl Solutions {
    /// Starts to search `range` on threads of its own.
    ///
    /// # Errors
    /// When the system refuses that many threads.
    pub fn start(
        kernel: &'static dyn Kernel,
        threads: impl Into<Threads>,
        job: Job,
        range: NonceRange,
    ) -> Result<Self, ScanError> {
        let (sender, events) = bounded(FOUND_AHEAD);
        let scanner = Scanner::start(kernel, threads, move |event| {
            let _ = sender.send(event); // fails once the receiver is dropped
        })?;
        scanner.push(0, job, range, None);
        Ok(Self { scanner, events, search: job.goal.search, found: BinaryHeap::new(), over: false })
    }

    /// Nonces hashed so far.
    pub fn hashes(&self) -> u64 {
        self.scanner.hashes()
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Found { nonce, .. } => self.found.push(Reverse(nonce)),
            Event::Ended { .. } => self.over = true,
        }
    }

    /// The lowest solution found, if its turn has come: everything before it is searched.
    fn next_found(&mut self, searched_to: u64) -> Option<u64> {
        let Reverse(nonce) = *self.found.peek()?;
        if !self.over && nonce >= searched_to {
            return None;
        }
        match self.search {
            Search::First => self.found.clear(), // the others are higher
            Search::Every => drop(self.found.pop()),
        }
        Some(nonce)
    }
}

impl Iterator for Solutions {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            // A solution is sent before its piece counts as searched. So the progress has to be read before the events.
            let searched_to = self.scanner.progress().first().map_or(0, |scan| scan.searched.end);
            while let Ok(event) = self.events.try_recv() {
                self.note(event);
            }
            if let Some(nonce) = self.next_found(searched_to) {
                return Some(nonce);
            }
            if self.over {
                return None;
            }
            match self.events.recv_timeout(LOOK_EVERY) {
                Ok(event) => self.note(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::Turn;
    use super::super::tests::portable;
    use super::*;
    use crate::work::fixtures::check_job;

    /// A search that the test works by hand. Gives the other end of its events.
    fn by_hand(search: Search) -> (Solutions, crossbeam::channel::Sender<Event>) {
        let (sender, events) = bounded(FOUND_AHEAD);
        let scanner = Scanner::by_hand(portable(), 1);
        scanner.push(0, check_job(2, search), NonceRange::new(1, 1_000_001), None);
        (Solutions { scanner, events, search, found: BinaryHeap::new(), over: false }, sender)
    }

    #[test]
    fn each_solutions_turn_comes_once_everything_before_it_is_searched() {
        let (mut search, _events) = by_hand(Search::Every);
        assert_eq!(search.next_found(9), None);
        for nonce in [7, 3, 5] {
            search.note(Event::Found { ticket: 0, nonce, is_block: true });
        }
        assert_eq!([3, 4, 4, 6, 7].map(|to| search.next_found(to)), [None, Some(3), None, Some(5), None]);
        search.note(Event::Ended { ticket: 0, searched: NonceRange::new(1, 7), witnesses: vec![] });
        assert_eq!([7, 7].map(|to| search.next_found(to)), [Some(7), None], "it is over");
    }

    #[test]
    fn solutions_are_given_while_the_search_goes_on() {
        let (mut search, events) = by_hand(Search::Every);
        assert_eq!(search.hashes(), 0);
        let Some(Turn::Piece(piece)) = search.scanner.take() else { panic!("a piece") };
        let (job, range) = (piece.job(), piece.range());
        let found = search.scanner.finish(piece);
        found.into_iter().for_each(|event| events.send(event).unwrap());
        let expected: Vec<_> = (range.start..range.end).filter(|&nonce| job.check(nonce).is_some()).collect();
        assert!(!expected.is_empty());
        assert_eq!(search.by_ref().take(expected.len()).collect::<Vec<_>>(), expected);
        assert_eq!((search.over, search.hashes()), (false, range.len()));
    }
}
