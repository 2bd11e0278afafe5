//! What each hashing thread does.

use super::Event;
use super::clock::thread_time;
use super::meter::Counter;
use super::queue::{Next, Piece, Queue};
use crate::work::{NonceRange, Solution};

/// The niceness of hashing threads: they take the CPU time that is left over, while heartbeats and the network come first. Linux gives a
/// thread this nice a weight of 15, and one of ordinary priority 1024, which then runs at once when it wakes up. Beside threads of niceness
/// 5, whose weight is 335, it was seen to wait for the scheduler's next tick, 4 ms and more (Zen 5, kernel without preemption).
#[cfg(all(target_os = "linux", feature = "priority"))]
const NICENESS: i32 = 19;

/// Lowers the calling thread's priority below that of the network's threads. Where the system refuses, it stays as it is.
pub(super) fn lower_priority() {
    // On Linux, `None` stands for the calling thread.
    #[cfg(all(target_os = "linux", feature = "priority"))]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Scans pieces until the queue is closed.
pub(super) fn work(queue: &Queue, counter: &Counter, on_event: &impl Fn(Event)) {
    let mut counted = thread_time(); // it stands still while the thread waits
    loop {
        match queue.next() {
            Next::Piece(piece) => {
                finish(queue, &piece, counter, on_event);
                let now = thread_time();
                counter.add_time(now.saturating_sub(std::mem::replace(&mut counted, now)));
            }
            Next::Ended(last) => on_event(Event::ended(last)),
            Next::Closed => return,
        }
    }
}

/// Scans a piece, counts its hashes, and puts it back.
pub(super) fn finish(queue: &Queue, piece: &Piece, counter: &Counter, on_event: &impl Fn(Event)) {
    let witnesses = scan(piece, counter, on_event);
    queue.put_back(piece, witnesses);
}

/// Scans a piece up to its scan's limit and gives its witnesses, ascending. Some may lie above the limit, if that fell meanwhile.
///
/// Solutions are reported together at the end of the piece: each report wakes the thread that takes it, which costs more than all else that
/// is done for a share. A solution that ends its job ends the piece, since it has lowered the limit.
fn scan(Piece { scan, range }: &Piece, counter: &Counter, on_event: &impl Fn(Event)) -> Vec<u64> {
    let (mut rest, mut witnesses, mut found) = (*range, Vec::new(), Vec::new());
    loop {
        rest = rest.intersection(&NonceRange::new(rest.start, scan.limit()));
        let batch = rest.take_front(scan.batch);
        if batch.is_empty() {
            break;
        }
        let hits = scan.prepared.hits(batch);
        witnesses.extend(hits.witnesses);
        found.extend(hits.solutions.into_iter().filter(|&nonce| scan.found(nonce)));
        counter.add_hashes(batch.len());
    }
    for nonce in found {
        let is_block = Solution { job: *scan.prepared.job(), nonce }.is_block();
        on_event(Event::Found { ticket: scan.ticket, nonce, is_block });
    }
    witnesses
}
