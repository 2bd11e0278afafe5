//! The scanner around the kernel: what part of the kernel's speed is left of it, and how soon it stops.

#![allow(clippy::disallowed_methods)] // measuring time is what this is for

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel::{Receiver, unbounded};
use headframe::kernel::{Kernel, Prepared, available};
use headframe::scan::{Event, Scanner};
use headframe::work::{
    Digest, Hashing, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, Timestamp, WitnessBits, ZeroUnit,
};

fn job() -> Job {
    let puzzle = Puzzle::Text(TextPuzzle {
        prev: Digest([0x5a; 32]),
        timestamp: Timestamp::from_number(1_795_342_329),
        hashing: Hashing::Double,
    });
    Job::new(puzzle, Target::from_zeros(64, ZeroUnit::Hex).expect("0 to 64"), Search::Every)
}

fn scanner(kernel: &'static dyn Kernel, threads: NonZeroUsize) -> (Scanner, Receiver<Event>) {
    let (sender, events) = unbounded();
    let scanner = Scanner::start(kernel, threads, move |event| {
        let _ = sender.send(event);
    });
    (scanner.expect("threads"), events)
}

/// Leases of a tenth of a second one behind the other, as a node scans them, against the bare kernel on as many threads.
fn efficiency(criterion: &mut Criterion) {
    let kernel = available()[0];
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let lease = 256 * kernel.batch() * threads.get() as u64;
    let mut group = criterion.benchmark_group("scan efficiency");
    group.sample_size(10).throughput(Throughput::Elements(lease));
    let start = 1_000_000_000;
    group.bench_function("bare kernel", |bencher| {
        bencher.iter_custom(|leases| {
            let part = leases * lease / threads.get() as u64;
            let begin = Instant::now();
            std::thread::scope(|scope| {
                for thread in 0..threads.get() as u64 {
                    scope.spawn(move || {
                        let prepared = Prepared::new(kernel, job());
                        let mut rest = NonceRange::new(start, start + part);
                        while !rest.is_empty() {
                            assert!(prepared.scan(rest.take_front(kernel.batch())).is_empty(), "thread {thread}");
                        }
                    });
                }
            });
            begin.elapsed()
        });
    });
    let witnesses = WitnessBits::for_job(&job(), lease);
    for (name, witnesses) in [("scanner, lease after lease", None), ("scanner, with witnesses", Some(witnesses))] {
        group.bench_function(name, |bencher| {
            let (scanner, events) = scanner(kernel, threads);
            bencher.iter_custom(|leases| {
                let begin = Instant::now();
                for ticket in 0..leases {
                    let from = start + ticket * lease % 900_000_000;
                    scanner.push(ticket, job(), NonceRange::new(from, from + lease), witnesses);
                }
                let ended = events.iter().take(leases as usize).count();
                assert_eq!(ended as u64, leases);
                begin.elapsed()
            });
        });
    }
}

/// From `stop` to the last thread's last hash.
fn cancel_latency(criterion: &mut Criterion) {
    let kernel = available()[0];
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let (scanner, events) = scanner(kernel, threads);
    let mut ticket = 0;
    criterion.bench_function("cancel latency", |bencher| {
        bencher.iter_custom(|times| {
            let mut total = Duration::ZERO;
            for _ in 0..times {
                ticket += 1;
                scanner.push(ticket, job(), NonceRange::new(1_000_000_000, 2_000_000_000), None);
                std::thread::sleep(Duration::from_millis(3));
                let begin = Instant::now();
                scanner.stop(ticket);
                events.recv().expect("the end of the scan");
                total += begin.elapsed();
            }
            total
        });
    });
}

criterion_group!(benches, efficiency, cancel_latency);
criterion_main!(benches);
