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

    fn take(&mut self, event: Event) {
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
                self.take(event);
            }
            if let Some(nonce) = self.next_found(searched_to) {
                return Some(nonce);
            }
            if self.over {
                return None;
            }
            match self.events.recv_timeout(LOOK_EVERY) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}
