//! The scanner against the reference path, on 1 to 4 threads.

use std::collections::BTreeSet;
use std::time::Duration;

use crossbeam::channel::{Receiver, unbounded};

use super::*;
use crate::kernel::available;
use crate::work::{Hashing, Puzzle, Search, Target, TextPuzzle, ZeroUnit};

pub(super) fn job(zeros: i64, search: Search) -> Job {
    Job {
        height: 0,
        puzzle: Puzzle::Text(TextPuzzle {
            prev: "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db".parse().unwrap(),
            timestamp: "1550766000000".parse().unwrap(),
            hashing: Hashing::Double,
        }),
        target: Target::from_zeros(zeros, ZeroUnit::Hex).unwrap(),
        search,
    }
}

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

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(Duration::from_secs(60)).expect("an event")
}

#[test]
fn every_solution_is_found_whatever_the_threads() {
    let job = job(2, Search::Every);
    let range = NonceRange::new(1, 300_000);
    let expected: Vec<_> = (range.start..range.end).filter(|&nonce| job.check(nonce).is_some()).collect();
    assert!(expected.len() > 1000, "so many that every piece has some");
    for count in 1..=4 {
        let found: Vec<_> = Solutions::start(available()[0], threads(count), job, range).unwrap().collect();
        assert_eq!(found, expected, "{count} threads");
    }
}

#[test]
fn the_first_solution_is_the_lowest_whatever_the_threads() {
    for (zeros, first) in [(1, 2), (2, 319), (3, 4750), (4, 92579)] {
        for count in 1..=4 {
            let range = NonceRange::new(1, 2_000_000_001);
            let search = Solutions::start(available()[0], threads(count), job(zeros, Search::First), range);
            assert_eq!(search.unwrap().collect::<Vec<_>>(), [first]);
        }
    }
}

#[test]
fn ranges_follow_each_other_and_all_end() {
    let (scanner, events) = scanner(3);
    // Empty, one nonce, less than a batch, a batch and one, many pieces, outside the job.
    let ends = [1, 2, 100, 4200, 400_000, 400_000];
    let mut start = 1;
    for (ticket, end) in (0..).zip(ends) {
        scanner.push(ticket, job(64, Search::First), NonceRange::new(start, end));
        start = end;
    }
    scanner.push(6, job(64, Search::First), NonceRange::new(2_000_000_001, 3_000_000_000));
    let mut over = BTreeSet::new();
    let mut searched = 0;
    while over.len() < 7 {
        match next(&events) {
            Event::Ended { ticket, searched: range } => {
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
    scanner.push(1, job(64, Search::First), NonceRange::new(1, 2_000_000_001));
    scanner.push(2, job(64, Search::First), NonceRange::new(1, 2_000_000_001));
    scanner.push(3, job(3, Search::First), NonceRange::new(1, 2_000_000_001));
    while scanner.hashes() == 0 {
        std::thread::yield_now();
    }
    scanner.stop(2);
    assert_eq!(next(&events), Event::Ended { ticket: 2, searched: NonceRange::new(1, 1) });
    scanner.stop(1);
    scanner.stop(99);
    let mut found = None;
    loop {
        match next(&events) {
            Event::Found { ticket: 3, nonce } => found = Some(nonce),
            Event::Ended { ticket: 1, .. } => {}
            Event::Ended { ticket: 3, searched } => {
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
    scanner.push(1, job(64, Search::First), NonceRange::new(1, 2_000_001));
    let mut last = 1;
    while let Some(&(ticket, to)) = scanner.progress().first() {
        assert_eq!(ticket, 1);
        assert!(to >= last, "progress fell from {last} to {to}");
        last = to;
        std::thread::yield_now();
    }
    assert_eq!(next(&events), Event::Ended { ticket: 1, searched: NonceRange::new(1, 2_000_001) });
}

#[test]
fn dropping_a_scanner_at_work_ends_its_threads() {
    let (scanner, events) = scanner(2);
    scanner.push(1, job(64, Search::First), NonceRange::new(1, 2_000_000_001));
    drop(scanner);
    // The sender belongs to the threads' closure: when all have gone, the channel is closed.
    while events.recv_timeout(Duration::from_secs(60)).is_ok() {}
    assert!(events.is_empty());
}
