//! What each hashing thread does.

use std::sync::atomic::{AtomicU64, Ordering};

use super::queue::{Next, Piece, Queue};
use super::{Event, Progress};
use crate::work::NonceRange;

/// Hashing threads are this nice: an idle box is theirs, while heartbeats and the network come first. With 5, Linux gives a thread
/// of ordinary priority three times their share when both want the same core.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Lowers the calling thread's priority below that of the network's threads. Where the system refuses, it stays as it is.
pub(super) fn lower_priority() {
    // On Linux the "process" that is named by nothing is the calling thread.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Keeps the calling thread on one CPU: the `number`th of those that it may run on, counted round and round. Where the system
/// refuses, it stays free.
pub(super) fn pin(number: usize) {
    #[cfg(target_os = "linux")]
    if let Ok(allowed) = rustix::thread::sched_getaffinity(None) {
        use rustix::thread::CpuSet;
        let cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).cycle();
        if let Some(cpu) = cpus.clone().nth(number) {
            let mut one = CpuSet::new();
            one.set(cpu);
            let _ = rustix::thread::sched_setaffinity(None, &one);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = number;
}

/// Scans pieces until the queue is closed.
pub(super) fn work(queue: &Queue, hashes: &AtomicU64, on_event: &impl Fn(Event)) {
    loop {
        match queue.next() {
            Next::Piece(piece) => {
                let shares = scan(&piece, hashes, on_event);
                queue.put_back(&piece, shares);
            }
            Next::Ended(Progress { ticket, searched, shares }) => on_event(Event::Ended { ticket, searched, shares }),
            Next::Closed => return,
        }
    }
}

/// Scans a piece up to its scan's limit and gives its shares, ascending. Some may lie behind the limit, if that fell meanwhile.
fn scan(Piece { scan, range }: &Piece, hashes: &AtomicU64, on_event: &impl Fn(Event)) -> Vec<u64> {
    let (mut rest, mut shares) = (*range, Vec::new());
    loop {
        rest = rest.intersection(&NonceRange::new(rest.start, scan.limit()));
        let batch = rest.take_front(scan.batch);
        if batch.is_empty() {
            return shares;
        }
        let hits = scan.prepared.hits(batch);
        shares.extend(hits.shares);
        for nonce in hits.solutions {
            if scan.found(nonce) {
                on_event(Event::Found { ticket: scan.ticket, nonce });
            }
        }
        hashes.fetch_add(batch.len(), Ordering::Relaxed);
    }
}
