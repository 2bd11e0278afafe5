//! `headframe bench`: hash rates that can be compared between kernels and boxes.
//!
//! The machine may be shared and noisy, so kernels alternate in slices of about 2 ms on every thread: whatever disturbs one
//! disturbs all. Of each kernel's slices the 5th percentile says what it does undisturbed, the median what to expect.
//!
//! One more takes its turns with them, the yardstick: headers hashed with `sha2` on a midstate, one after another.

#![allow(clippy::disallowed_methods)] // measuring time is what this is for

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{self, BenchPuzzle};
use super::view::hash_rate;
use super::{Outcome, hashing, print, usage};
use crate::kernel::{Kernel, Prepared, available, self_test, yardstick};
use crate::work::{
    Digest, Hashing, Header, HeaderPuzzle, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, Timestamp, ZeroUnit,
};

/// The share of slices that do better than what counts as the best: flukes of the clock.
const BEST: f64 = 0.05;

const SLICE: Duration = Duration::from_millis(2);

/// Zeros of the target that is measured with: few hits, each of which costs a look by the reference path.
const ZERO_BITS: i64 = 24;

/// Nonces that every kernel searches first on each thread, to be compared, and the zeros of their target: some 64 hits. Where they begin,
/// texts have the lengths of nonce that most nonces have.
const SAMPLE: u64 = 1 << 18;
const SAMPLE_START: u64 = 999_900_000;
const SAMPLE_ZERO_BITS: i64 = 12;

/// What was measured of one kernel.
#[derive(Serialize)]
struct Report {
    kernel: &'static str,
    puzzle: &'static str,
    threads: usize,
    hashes: u64,
    /// Of one thread in this kernel, on average.
    seconds: f64,
    hashes_per_second: f64,
    median_hashes_per_second: f64,
    best_hashes_per_second: f64,
    /// At the best rate; nothing where the clock cannot be worked out.
    cycles_per_hash: Option<f64>,
    /// The best rate as a multiple of the yardstick's.
    times_sha2: f64,
    /// How many solutions it met in the nonces that every kernel searches: a kernel that is wrong shows here.
    found: usize,
    /// The sum of their nonces.
    checksum: u64,
}

pub(super) fn run(args: &args::Bench) -> anyhow::Result<Outcome> {
    let mut kernels = available();
    if args.kernel != "all" {
        let names = kernels.iter().map(|kernel| kernel.name()).collect::<Vec<_>>().join(", ");
        kernels.retain(|kernel| kernel.name() == args.kernel);
        if kernels.is_empty() {
            return Err(usage(format_args!("no kernel {:?} on this CPU; there are: all, {names}", args.kernel)));
        }
    }
    for kernel in &kernels {
        self_test(*kernel)?;
    }
    let cpus = hashing::cpus();
    let threads = args.threads.map_or(cpus, |threads| threads.of(cpus));
    let reports = measure(&kernels, args.puzzle, threads, args.seconds);
    for report in &reports {
        match args.output.json {
            true => print(serde_json::to_string(report)?)?,
            false => print(row(report))?,
        }
    }
    Ok(Outcome::Done)
}

fn row(report: &Report) -> String {
    let Report { kernel, puzzle, threads, times_sha2, found, checksum, .. } = report;
    let cycles = report.cycles_per_hash.map_or(String::new(), |cycles| format!("  {cycles:>6.1} cycles/hash"));
    format!(
        "{kernel:<10} {puzzle:<7} {threads:>3} threads  median {:>11}  best {:>11}{cycles}  {times_sha2:>5.2} x sha2  {found} found, sum {checksum:x}",
        hash_rate(report.median_hashes_per_second),
        hash_rate(report.best_hashes_per_second)
    )
}

/// The job to measure with, and how far apart its slices begin.
fn job(puzzle: BenchPuzzle) -> Job {
    let header = |version_mask| {
        Puzzle::Header(HeaderPuzzle {
            header: Header {
                version: 0x2000_0000,
                prev_blockhash: Digest([0x5a; 32]),
                merkle_root: Digest([0xa5; 32]),
                time: 1_795_342_329,
                bits: 0x1d00_ffff,
                nonce: 0,
            },
            version_mask,
        })
    };
    let puzzle = match puzzle {
        BenchPuzzle::Header => header(0),
        BenchPuzzle::Rolled => header(0x1fff_e000),
        BenchPuzzle::Text => Puzzle::Text(TextPuzzle {
            prev: Digest([0x5a; 32]),
            timestamp: Timestamp::from_seconds(1_795_342_329),
            hashing: Hashing::Double,
        }),
    };
    Job { height: 0, puzzle, target: zero_bits(ZERO_BITS), search: Search::Every }
}

fn zero_bits(bits: i64) -> Target {
    Target::from_zeros(bits, ZeroUnit::Bits).expect("0 to 256")
}

fn measure(kernels: &[&'static dyn Kernel], puzzle: BenchPuzzle, threads: NonZeroUsize, time: Duration) -> Vec<Report> {
    let (job, header) = (job(puzzle), job(BenchPuzzle::Header));
    let end = Instant::now() + time;
    let runs: Vec<_> = thread::scope(|scope| {
        let run = |thread| {
            scope.spawn(move || {
                let runs = kernels.iter().map(|kernel| Run::new(*kernel, job, thread));
                alternate(runs.chain([Run::new(yardstick(), header, thread)]).collect(), end)
            })
        };
        let handles: Vec<_> = (0..threads.get() as u64).map(run).collect();
        handles.into_iter().map(|handle| handle.join().expect("a measuring thread never panics")).collect()
    });
    let mut clocks: Vec<_> = runs.iter().flat_map(|(_, clocks)| clocks.clone()).collect();
    let clock = (!clocks.is_empty()).then(|| percentile(&mut clocks, BEST));
    let of_kernel = |at: usize| -> Vec<&Run> { runs.iter().map(|(runs, _)| &runs[at]).collect() };
    let best_of = |runs: &[&Run]| runs.iter().map(|run| run.percentile(BEST)).sum::<f64>();
    let yardstick = best_of(&of_kernel(kernels.len()));
    let report = |(at, kernel): (usize, &&'static dyn Kernel)| {
        let runs = of_kernel(at);
        let sum = |rate: fn(&Run) -> f64| runs.iter().map(|run| rate(run)).sum::<f64>();
        let seconds = sum(|run| run.seconds()) / threads.get() as f64;
        let hashes = runs.iter().map(|run| run.hashes()).sum();
        let best = best_of(&runs);
        Report {
            kernel: kernel.name(),
            puzzle: match puzzle {
                BenchPuzzle::Header => "header",
                BenchPuzzle::Rolled => "rolled",
                BenchPuzzle::Text => "text",
            },
            threads: threads.get(),
            hashes,
            seconds,
            hashes_per_second: hashes as f64 / seconds,
            median_hashes_per_second: sum(|run| run.percentile(0.5)),
            best_hashes_per_second: best,
            cycles_per_hash: clock.map(|hertz| hertz * threads.get() as f64 / best),
            times_sha2: best / yardstick,
            found: runs.iter().map(|run| run.found.len()).sum(),
            checksum: runs.iter().flat_map(|run| &run.found).sum(),
        }
    };
    kernels.iter().enumerate().map(report).collect()
}

/// Slices of all kernels in turn until `end`; also the core's clock in hertz, measured in between as often.
fn alternate(mut runs: Vec<Run>, end: Instant) -> (Vec<Run>, Vec<f64>) {
    let mut clocks = Vec::new();
    loop {
        for run in &mut runs {
            run.slice();
        }
        clocks.extend(hertz());
        if Instant::now() >= end {
            return (runs, clocks);
        }
    }
}

/// One kernel on one thread.
struct Run {
    prepared: Prepared,
    batch: u64,
    batches: u64,
    next: u64,
    slices: Vec<(u64, f64)>,
    /// The solutions of the nonces that every kernel searches.
    found: Vec<u64>,
}

impl Run {
    fn new(kernel: &dyn Kernel, job: Job, thread: u64) -> Self {
        let next = SAMPLE_START + thread * SAMPLE;
        let sample = Prepared::new(kernel, Job { target: zero_bits(SAMPLE_ZERO_BITS), ..job });
        let found = sample.scan(NonceRange::new(next, next + SAMPLE));
        Self { prepared: Prepared::new(kernel, job), batch: kernel.batch(), batches: 1, next, slices: vec![], found }
    }

    /// About [`SLICE`] of hashing.
    fn slice(&mut self) {
        let space = self.prepared.job().space();
        let count = self.batch * self.batches;
        // Strides that are no round number, so that nonces of every length have their share.
        self.next = space.start + (self.next - space.start + 123_456_789) % (space.len().min(1 << 40) - count);
        let range = NonceRange::new(self.next, self.next + count);
        let start = Instant::now();
        let mut rest = range;
        while !rest.is_empty() {
            black_box(self.prepared.scan(rest.take_front(self.batch)));
        }
        let seconds = start.elapsed().as_secs_f64();
        self.slices.push((count, seconds));
        let wanted = self.batches as f64 * SLICE.as_secs_f64() / seconds.max(1e-9);
        self.batches = (wanted.round() as u64).clamp(1, self.batches * 2);
    }

    fn hashes(&self) -> u64 {
        self.slices.iter().map(|(count, _)| count).sum()
    }

    fn seconds(&self) -> f64 {
        self.slices.iter().map(|(_, seconds)| seconds).sum()
    }

    /// The rate that all but `share` of the slices stay below.
    fn percentile(&self, share: f64) -> f64 {
        let mut rates: Vec<_> = self.slices.iter().map(|&(count, seconds)| count as f64 / seconds.max(1e-9)).collect();
        percentile(&mut rates, share)
    }
}

/// The rate that all but `share` stay below.
fn percentile(rates: &mut [f64], share: f64) -> f64 {
    rates.sort_by(|a, b| b.total_cmp(a));
    rates[((rates.len() - 1) as f64 * share).round() as usize]
}

/// The core's clock, from a chain of multiplications that each wait for the one before: 3 cycles on every x86-64 core of the last
/// fifteen years.
#[cfg(target_arch = "x86_64")]
fn hertz() -> Option<f64> {
    const STEPS: u32 = 20_000;
    let start = Instant::now();
    let mut x = black_box(0x9e37_79b9_7f4a_7c15u64);
    for _ in 0..STEPS {
        x = x.wrapping_mul(x);
    }
    black_box(x);
    Some(f64::from(STEPS) * 3.0 / start.elapsed().as_secs_f64())
}

#[cfg(not(target_arch = "x86_64"))]
fn hertz() -> Option<f64> {
    None
}
