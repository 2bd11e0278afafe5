//! The scanner against the reference path, on 1 to 4 threads.

use std::collections::BTreeSet;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, after, bounded, unbounded};

use super::queue::Next;
use super::*;
use crate::kernel::available;
use crate::work::fixtures::{FIRST_NONCES, check_job as job, header};
use crate::work::{MAX_WITNESSES, Target};

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn scanner(count: usize) -> (Scanner, Receiver<Event>) {
    let (sender, events) = unbounded();
    let scanner = Scanner::start(available()[0], threads(count), move |event| {
        let _ = sender.send(event); // a test that has seen enough has dropped the receiver
    });
    (scanner.unwrap(), events)
}

/// The longest wait before a test fails, for a scanner that hangs. Every test here takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(LIMIT).expect("an event")
}

/// Every solution that a search gives until it ends.
fn all(search: Solutions) -> Vec<u64> {
    let (sender, found) = bounded(1);
    std::thread::spawn(move || sender.send(search.collect()));
    found.recv_timeout(LIMIT).expect("the end of the search")
}

/// Calls `look` again and again until it gives something.
fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let limit = after(LIMIT);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(limit.is_empty(), "nothing to see within {LIMIT:?}");
        std::thread::yield_now();
    }
}

/// More nonces than any box searches while a test runs.
fn endless() -> (Job, NonceRange) {
    let job = Job::new(header(0x1fff_e000), Target::from_be_bytes([0; 32]), Search::Every);
    (job, job.space())
}

#[test]
fn every_solution_is_found_whatever_the_threads() {
    let job = job(2, Search::Every);
    let range = NonceRange::new(1, 300_000);
    let expected: Vec<_> = (range.start..range.end).filter(|&nonce| job.check(nonce).is_some()).collect();
    assert!(expected.len() > 1000, "so many that every piece has some");
    for count in 1..=4 {
        let search = Solutions::start(available()[0], threads(count), job, range).unwrap();
        assert_eq!(all(search), expected, "{count} threads");
    }
}

#[test]
fn the_first_solution_is_the_lowest_whatever_the_threads() {
    for (zeros, first) in FIRST_NONCES {
        for count in 1..=4 {
            let range = NonceRange::new(1, 2_000_000_001);
            let search = Solutions::start(available()[0], threads(count), job(zeros, Search::First), range);
            assert_eq!(all(search.unwrap()), [first]);
        }
    }
}

#[test]
fn ranges_follow_each_other_and_all_end() {
    let (scanner, events) = scanner(3);
    // The ranges are: empty, one nonce, less than a batch, a batch and one, many pieces, outside the job.
    let ends = [1, 2, 100, 4200, 400_000, 400_000];
    let mut start = 1;
    for (ticket, end) in (0..).zip(ends) {
        scanner.push(ticket, job(64, Search::First), NonceRange::new(start, end), None);
        start = end;
    }
    scanner.push(6, job(64, Search::First), NonceRange::new(2_000_000_001, 3_000_000_000), None);
    let mut over = BTreeSet::new();
    let mut searched = 0;
    while over.len() < 7 {
        match next(&events) {
            Event::Ended { ticket, searched: range, .. } => {
                assert!(over.insert(ticket), "{ticket} ended twice");
                searched += range.len();
            }
            found => panic!("{found:?}"),
        }
    }
    assert_eq!(searched, 399_999);
    assert_eq!(scanner.hashes(), 399_999);
}

#[test]
fn a_stopped_scan_ends_and_the_next_one_goes_on() {
    let (scanner, events) = scanner(2);
    let (endless, range) = endless();
    scanner.push(1, endless, range, None);
    scanner.push(2, job(64, Search::First), NonceRange::new(1, 2_000_000_001), None);
    scanner.push(3, job(3, Search::First), NonceRange::new(1, 2_000_000_001), None);
    wait(|| (scanner.hashes() > 0).then_some(()));
    scanner.stop(2);
    assert_eq!(next(&events), Event::Ended { ticket: 2, searched: NonceRange::new(1, 1), witnesses: vec![] });
    scanner.stop(1);
    scanner.stop(99);
    let mut found = None;
    loop {
        match next(&events) {
            Event::Found { ticket: 3, nonce, .. } => found = Some(nonce),
            Event::Ended { ticket: 1, searched, .. } => assert!(range.covers(&searched) && searched != range),
            Event::Ended { ticket: 3, searched, .. } => {
                assert_eq!(searched, NonceRange::new(1, 4750));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, Some(4750));
}

#[test]
fn progress_never_runs_ahead_of_the_search() {
    let (scanner, events) = scanner(2);
    scanner.push(1, job(64, Search::First), NonceRange::new(1, 2_000_001), None);
    let mut last = 1;
    wait(|| match &scanner.progress()[..] {
        [] => Some(()),
        [Progress { ticket, searched, .. }, ..] => {
            assert_eq!((*ticket, searched.start), (1, 1));
            assert!(searched.end >= last, "progress fell from {last} to {}", searched.end);
            last = searched.end;
            None
        }
    });
    assert_eq!(next(&events), Event::Ended { ticket: 1, searched: NonceRange::new(1, 2_000_001), witnesses: vec![] });
}

#[test]
fn dropping_a_scanner_at_work_ends_its_threads() {
    let (scanner, events) = scanner(2);
    let (job, range) = endless();
    scanner.push(1, job, range, None);
    wait(|| (scanner.hashes() > 0).then_some(()));
    drop(scanner);
    // The sender belongs to the threads' closure: when all have gone, the channel is disconnected. Until then a time-out is a failure.
    loop {
        match events.recv_timeout(LIMIT) {
            Ok(Event::Ended { ticket: 1, .. }) => {}
            Ok(other) => panic!("{other:?}"),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("threads are still there after {LIMIT:?}"),
        }
    }
}

/// Small batches, so that there are many pieces.
pub(super) fn portable() -> &'static dyn Kernel {
    *available().last().expect("the portable kernel")
}

fn scanner_of_small_pieces(count: usize) -> (Scanner, Receiver<Event>) {
    let (sender, events) = unbounded();
    let scanner = Scanner::start(portable(), threads(count), move |event| {
        let _ = sender.send(event);
    });
    (scanner.unwrap(), events)
}

pub(super) fn bits(bits: u8) -> WitnessBits {
    WitnessBits::new(bits).unwrap()
}

/// Those of `witnesses` that are below `end`.
fn below(witnesses: &[u64], end: u64) -> &[u64] {
    &witnesses[..witnesses.partition_point(|&witness| witness < end)]
}

#[test]
fn whatever_counts_as_searched_has_its_witnesses_with_it() {
    let (job, range, bits) = (job(64, Search::First), NonceRange::new(12_345, 3_000_000), bits(12));
    let all: Vec<_> = (range.start..range.end).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some()).collect();
    assert!(all.len() > 600, "so many that every piece has some");
    for count in 1..=4 {
        let (scanner, events) = scanner_of_small_pieces(count);
        scanner.push(1, job, range, Some(bits));
        // The scans are stopped early, in the middle, and never.
        for (ticket, stop_at) in [(2, 1), (3, 900_000), (4, range.end)] {
            scanner.push(ticket, job, range, Some(bits));
            let mut last = range.start;
            let (searched, witnesses) = wait(|| {
                for Progress { ticket, searched, witnesses } in scanner.progress() {
                    assert_eq!(witnesses, below(&all, searched.end), "{count} threads, {ticket}");
                    if ticket >= 2 && searched.end > range.start {
                        last = searched.end;
                    }
                }
                if last > range.start && last - range.start >= stop_at {
                    scanner.stop(ticket);
                }
                match events.try_recv().ok()? {
                    Event::Ended { ticket: 1, searched, witnesses } => {
                        assert_eq!((searched, &witnesses), (range, &all));
                        None
                    }
                    Event::Ended { ticket: ended, searched, witnesses } if ended == ticket => {
                        Some((searched, witnesses))
                    }
                    other => panic!("{other:?}"),
                }
            });
            assert!(searched.start == range.start && searched.end >= last, "{searched} is less than was told before");
            assert!(range.covers(&searched) && (stop_at < range.end || searched == range), "{searched}");
            assert_eq!(witnesses, below(&all, searched.end), "{count} threads, {ticket}");
        }
    }
}

#[test]
fn witnesses_end_where_a_solution_ends_the_search() {
    for (zeros, first) in FIRST_NONCES {
        let (job, bits) = (job(zeros, Search::First), bits(4 * zeros as u8 - 3));
        let expected: Vec<_> = (1..first).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some()).collect();
        for count in 1..=4 {
            let (scanner, events) = scanner_of_small_pieces(count);
            scanner.push(1, job, NonceRange::new(1, 2_000_000_001), Some(bits));
            let mut found = Vec::new();
            let end = loop {
                match next(&events) {
                    Event::Found { ticket: 1, nonce, .. } => found.push(nonce),
                    other => break other,
                }
            };
            let searched = NonceRange::new(1, first);
            assert_eq!(end, Event::Ended { ticket: 1, searched, witnesses: expected.clone() }, "{count} threads");
            assert_eq!(found.last(), Some(&first), "{count} threads");
        }
    }
}

#[test]
fn pieces_that_overtake_others_wait_with_their_witnesses() {
    let queue = Queue::new(2);
    let prepared = Prepared::with_witnesses(portable(), job(64, Search::First), bits(0));
    queue.push(1, prepared, 10, NonceRange::new(1, 31));
    let piece = || match queue.try_next() {
        Some(Next::Piece(piece)) => piece,
        _ => panic!("no piece"),
    };
    let pieces = [piece(), piece(), piece()];
    let progress = |end, witnesses: &[u64]| {
        vec![Progress { ticket: 1, searched: NonceRange::new(1, end), witnesses: witnesses.to_vec() }]
    };
    queue.put_back(&pieces[1], vec![11, 20]);
    assert_eq!(queue.progress(), progress(1, &[]));
    queue.put_back(&pieces[0], vec![10]);
    assert_eq!(queue.progress(), progress(21, &[10, 11, 20]));
    // A piece that is put back after the stop counts as not searched.
    queue.stop(1);
    queue.put_back(&pieces[2], vec![21]);
    assert!(queue.progress().is_empty());
    assert!(matches!(queue.try_next(), Some(Next::Ended(last)) if vec![last.clone()] == progress(21, &[10, 11, 20])));
}

#[test]
fn only_the_lowest_are_kept_of_too_many() {
    let (job, bits) = (job(64, Search::Every), bits(1));
    let ends = |range| {
        let (scanner, events) = scanner_of_small_pieces(2);
        scanner.push(1, job, range, Some(bits));
        match next(&events) {
            Event::Ended { searched, witnesses, .. } => (searched, witnesses),
            found => panic!("{found:?}"),
        }
    };
    // A range that holds, as likely as not, more witnesses than are kept.
    let all = |start: u64| {
        let range = NonceRange::new(start, start + 2 * MAX_WITNESSES as u64);
        let witnesses = (range.start..range.end).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some());
        (range, witnesses.collect::<Vec<_>>())
    };
    let (range, witnesses) = (1..100).map(all).find(|(_, witnesses)| witnesses.len() > MAX_WITNESSES).unwrap();
    assert_eq!(ends(range), (range, witnesses[..MAX_WITNESSES].to_vec()));
    // In a range that is likely to hold more than are kept, none are looked for.
    let longer = NonceRange::new(range.start, range.end + 2);
    assert_eq!(ends(longer), (longer, vec![]));
}

#[test]
fn an_easy_search_is_done_in_small_batches() {
    let kernel = available()[0];
    assert_eq!(batch(kernel, &job(1, Search::First)), SMALLEST_BATCH);
    assert_eq!(batch(kernel, &job(2, Search::First)), 16 * 256);
    assert_eq!(batch(kernel, &job(6, Search::First)), kernel.batch());
    assert_eq!(batch(kernel, &job(1, Search::Every)), kernel.batch());
}

#[test]
fn a_small_range_is_cut_into_four_pieces_for_each_thread_and_a_large_one_into_sixteen_batches() {
    for (len, pieces) in [(1, vec![1]), (25, vec![10, 10, 5]), (160, vec![20; 8]), (240, vec![30; 8])] {
        assert_eq!(cut(len, None), pieces);
    }
    assert_eq!(cut(100_000, Some(3)), [160; 3]);
}

/// The lengths of the first `most` pieces of a range of so many nonces, for two threads and batches of 10.
fn cut(len: u64, most: Option<usize>) -> Vec<u64> {
    let queue = Queue::new(2);
    queue.push(1, Prepared::new(portable(), job(64, Search::First)), 10, NonceRange::new(1, 1 + len));
    let piece = || match queue.try_next() {
        Some(Next::Piece(piece)) => Some(piece.len()),
        _ => None,
    };
    std::iter::from_fn(piece).take(most.unwrap_or(usize::MAX)).collect()
}

/// What `look` sees on each of so many hashing threads, by their index.
#[cfg(all(target_os = "linux", feature = "priority"))]
fn on_each<T: Send + 'static>(threads: Threads, look: impl Fn() -> T + Send + Sync + 'static) -> Vec<T> {
    use std::cell::Cell;
    thread_local!(static HAS_LOOKED: Cell<bool> = const { Cell::new(false) });
    let (sender, seen) = unbounded();
    let count = threads.count.get();
    let all = std::sync::Barrier::new(count);
    let look_once = move |_| {
        if !HAS_LOOKED.replace(true) {
            let name = std::thread::current().name().map(str::to_owned);
            let _ = sender.send((name, look()));
            all.wait(); // so that each thread has to report something
        }
    };
    let scanner = Scanner::start(portable(), threads, look_once).unwrap();
    scanner.push(1, job(1, Search::Every), NonceRange::new(1, 2_000_001), None);
    let mut seen: Vec<_> = (0..count).map(|_| seen.recv_timeout(LIMIT).expect("a look")).collect();
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    seen.into_iter().map(|(_, seen)| seen).collect()
}

#[cfg(all(target_os = "linux", feature = "priority"))]
#[test]
fn each_thread_is_pinned_to_the_next_cpu_of_the_list_round_and_round() {
    let allowed = usable_cpus();
    let (first, last) = (allowed[0], allowed[allowed.len() - 1]);
    for cpus in [vec![first], vec![last], vec![last, first]] {
        let expected: Vec<_> = cpus.iter().cycle().take(3).map(|&cpu| vec![cpu]).collect();
        assert_eq!(on_each(Threads { count: threads(3), cpus }, usable_cpus), expected);
    }
    assert_eq!(on_each(threads(2).into(), usable_cpus), [allowed.clone(), allowed], "unless they are not pinned");
}

#[cfg(all(target_os = "linux", feature = "priority"))]
#[test]
fn hashing_threads_take_the_time_that_is_left_over() {
    let niceness = || rustix::process::getpriority_process(None).unwrap();
    assert_eq!(on_each(threads(2).into(), niceness), [19, 19]);
}
