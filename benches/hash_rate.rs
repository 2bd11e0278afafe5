//! Hashes per second of every kernel this CPU has, for each puzzle, on one thread and on all.

#![allow(clippy::disallowed_methods)] // measuring time is what this is for

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use headframe::kernel::{Kernel, Prepared, available};
use headframe::scan::Solutions;
use headframe::work::{
    Digest, Hashing, Header, HeaderPuzzle, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, Timestamp, ZeroUnit,
};

/// A target that next to nothing meets, so that hashing is all that is measured.
fn job(puzzle: Puzzle) -> Job {
    Job::new(puzzle, Target::from_zeros(60, ZeroUnit::Bits).expect("0 to 256"), Search::Every)
}

fn header(version_mask: u32) -> Puzzle {
    let header = Header {
        version: 0x2000_0000,
        prev_blockhash: Digest([0x5a; 32]),
        merkle_root: Digest([0xa5; 32]),
        time: 1_795_342_329,
        bits: 0x1d00_ffff,
        nonce: 0,
    };
    Puzzle::Header(HeaderPuzzle { header, version_mask })
}

fn puzzles() -> [(&'static str, Job); 3] {
    let text = TextPuzzle {
        prev: Digest([0x5a; 32]),
        timestamp: Timestamp::from_number(1_795_342_329),
        hashing: Hashing::Double,
    };
    [("header", job(header(0))), ("rolled", job(header(0x1fff_e000))), ("text", job(Puzzle::Text(text)))]
}

/// The kernels, with their choice among variants made.
fn kernels() -> Vec<&'static dyn Kernel> {
    let (kernels, begin) = (available(), Instant::now());
    for _ in 0..16 {
        kernels.iter().for_each(|kernel| kernel.measure(&|| begin.elapsed()));
    }
    kernels
}

fn one_thread(criterion: &mut Criterion) {
    for (puzzle, job) in puzzles() {
        let mut group = criterion.benchmark_group(format!("{puzzle}, one thread"));
        for kernel in kernels() {
            let prepared = Prepared::new(kernel, job);
            let nonces = NonceRange::new(1_000_000_000, 1_000_000_000 + 16 * kernel.batch());
            group.throughput(Throughput::Elements(nonces.len()));
            group.bench_function(kernel.name(), |bencher| bencher.iter(|| prepared.scan(black_box(nonces))));
        }
    }
}

fn all_threads(criterion: &mut Criterion) {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    for (puzzle, job) in puzzles() {
        let mut group = criterion.benchmark_group(format!("{puzzle}, all threads"));
        group.sample_size(10);
        for kernel in kernels() {
            // Long enough that starting and ending the threads does not show.
            let nonces = NonceRange::new(1_000_000_000, 1_000_000_000 + 1024 * kernel.batch() * threads.get() as u64);
            group.throughput(Throughput::Elements(nonces.len()));
            group.bench_with_input(BenchmarkId::new(kernel.name(), threads), &threads, |bencher, &threads| {
                bencher.iter(|| Solutions::start(kernel, threads, job, nonces).expect("threads").count());
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(40);
    targets = one_thread, all_threads
}
criterion_main!(benches);
