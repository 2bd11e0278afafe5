//! `headframe bench`: hash rates that can be compared between kernels and boxes.
//!
//! The machine may be shared and noisy, so kernels alternate in slices of about 2 ms on every thread: whatever disturbs one disturbs all.
//! The 5th percentile of a kernel's slices shows its undisturbed rate, the median the rate to expect.
//!
//! The baseline takes its turns with them: headers hashed with `sha2` on a midstate, one after another.

#![allow(clippy::disallowed_methods)] // measuring time is what this is for

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{self, BenchPuzzle};
use super::run::end_on_signal;
use super::view::hash_rate;
use super::{Outcome, print, tell, usage};
use crate::kernel::{Kernel, Prepared, available, baseline, self_test};
use crate::scan::{Threads, thread_time};
use crate::work::{
    Digest, Hashing, Header, HeaderPuzzle, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, Timestamp, ZeroUnit,
};

/// The share of slices that are faster than the rate which counts as the best: these are flukes of the clock.
const BEST: f64 = 0.05;

const SLICE: Duration = Duration::from_millis(2);

/// The part of the CPUs that the threads get at least on a machine that does nothing else.
const QUIET: f64 = 0.9;

/// Zero bits of the target that is measured with: few hits, each of which the reference path checks.
const ZERO_BITS: i64 = 24;

/// Nonces that every kernel searches first, so that their solutions can be compared, and the zero bits of their target, which gives some 64
/// hits. Within this range texts get to the length that most of them have.
const SAMPLE: NonceRange = NonceRange { start: 999_900_000, end: 999_900_000 + (1 << 18) };
const SAMPLE_ZERO_BITS: i64 = 12;

/// How many times kernels choose among their variants before they are measured.
const MOMENTS: usize = 16;

/// What was measured of one kernel.
#[derive(Serialize)]
struct Report {
    kernel: &'static str,
    puzzle: &'static str,
    threads: usize,
    hashes: u64,
    /// Seconds that one thread spent in this kernel, on average.
    seconds: f64,
    hashes_per_second: f64,
    median_hashes_per_second: f64,
    best_hashes_per_second: f64,
    /// The variant of the kernel that searches this puzzle.
    variant: &'static str,
    /// Cycles at the best rate; `None` where the core's clock cannot be measured.
    cycles_per_hash: Option<f64>,
    /// The best rate as a multiple of the baseline's.
    times_sha2: f64,
    #[serde(flatten)]
    sample: Sample,
}

/// What a kernel found in the nonces that every kernel searches.
#[derive(Serialize, Clone, Copy, Debug, PartialEq)]
struct Sample {
    found: usize,
    /// The sum of the nonces found.
    checksum: u64,
}

pub(super) fn run(args: &args::Bench) -> anyhow::Result<Outcome> {
    end_on_signal()?;
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
    let sample = sample(&kernels, args.puzzle)?;
    for _ in 0..MOMENTS {
        kernels.iter().for_each(|kernel| kernel.measure(&thread_time));
    }
    let cpus = Threads::default().count;
    let threads = args.threads.map_or(cpus, |threads| threads.of(cpus));
    let (reports, load) = measure(&kernels, sample, args.puzzle, threads, args.seconds);
    if threads > cpus {
        tell(format_args!("{threads} threads share {cpus} CPUs: median and best are those of {cpus} threads"));
    }
    if load < QUIET {
        let percent = load * 100.0;
        tell(format_args!("this machine is busy: the threads got {percent:.0} % of its CPUs; mean is what they did"));
    }
    for report in &reports {
        match args.output.json {
            true => print(serde_json::to_string(report)?)?,
            false => print(row(report))?,
        }
    }
    Ok(Outcome::Done)
}

fn row(report: &Report) -> String {
    let Report { kernel, puzzle, threads, variant, times_sha2, sample: Sample { found, checksum }, .. } = report;
    let cycles = report.cycles_per_hash.map_or(String::new(), |cycles| format!("  {cycles:>6.1} cycles/hash"));
    format!(
        "{kernel:<10} {puzzle:<7} {threads:>3} threads  mean {:>11}  median {:>11}  best {:>11}{cycles}  {times_sha2:>5.2} x sha2  {found} found, sum {checksum}  {variant}",
        hash_rate(report.hashes_per_second),
        hash_rate(report.median_hashes_per_second),
        hash_rate(report.best_hashes_per_second)
    )
}

/// The job to measure with.
fn job(puzzle: BenchPuzzle) -> Job {
    let puzzle = match puzzle {
        BenchPuzzle::Header => Puzzle::Header(header(0)),
        BenchPuzzle::Rolled => Puzzle::Header(header(0x1fff_e000)),
        BenchPuzzle::Text => Puzzle::Text(TextPuzzle {
            prev: Digest([0x5a; 32]),
            timestamp: Timestamp::from_number(1_795_342_329),
            hashing: Hashing::Double,
        }),
    };
    Job::new(puzzle, zero_bits(ZERO_BITS), Search::Every)
}

fn header(version_mask: u32) -> HeaderPuzzle {
    let header = Header {
        version: 0x2000_0000,
        prev_blockhash: Digest([0x5a; 32]),
        merkle_root: Digest([0xa5; 32]),
        time: 1_795_342_329,
        bits: 0x1d00_ffff,
        nonce: 0,
    };
    HeaderPuzzle { header, version_mask }
}

fn zero_bits(bits: i64) -> Target {
    Target::from_zeros(bits, ZeroUnit::Bits).expect("0 to 256")
}

/// What every kernel finds in the same nonces.
///
/// # Errors
/// The kernels do not find the same.
fn sample(kernels: &[&'static dyn Kernel], puzzle: BenchPuzzle) -> anyhow::Result<Sample> {
    let job = job(puzzle).with_target(zero_bits(SAMPLE_ZERO_BITS));
    let sample = |kernel: &&'static dyn Kernel| {
        let found = Prepared::new(*kernel, job).scan(SAMPLE);
        Sample { found: found.len(), checksum: found.iter().sum() }
    };
    let samples: Vec<_> = kernels.iter().map(sample).collect();
    if samples.iter().any(|sample| *sample != samples[0]) {
        let told = |(kernel, Sample { found, checksum }): (&&dyn Kernel, &Sample)| {
            format!("{} found {found}, sum {checksum}", kernel.name())
        };
        let told: Vec<_> = kernels.iter().zip(&samples).map(told).collect();
        anyhow::bail!("kernels disagree on the nonces {SAMPLE}: {}; one of them is wrong", told.join("; "));
    }
    Ok(samples[0])
}

/// A report of each kernel, and which part of the CPUs the threads got.
fn measure(
    kernels: &[&'static dyn Kernel],
    sample: Sample,
    puzzle: BenchPuzzle,
    threads: NonZeroUsize,
    time: Duration,
) -> (Vec<Report>, f64) {
    // A slice ends before another thread's turn comes, as a rule: the rates of more threads than CPUs do not add up.
    let (cpus, begin) = (Threads::default().count, Instant::now());
    let in_turn = threads.min(cpus).get() as f64 / threads.get() as f64;
    let threads_runs: Vec<_> = thread::scope(|scope| {
        let thread = |thread| scope.spawn(move || Runs::new(kernels, puzzle, thread).alternate(time));
        let handles: Vec<_> = (0..threads.get() as u64).map(thread).collect();
        handles.into_iter().map(|handle| handle.join().expect("a measuring thread never panics")).collect()
    });
    let wall = begin.elapsed().as_secs_f64() * threads.min(cpus).get() as f64;
    let load = threads_runs.iter().map(|runs| runs.time.as_secs_f64()).sum::<f64>() / wall;
    let mut clocks: Vec<_> = threads_runs.iter().flat_map(|runs: &Runs| runs.clocks.clone()).collect();
    let clock = (!clocks.is_empty()).then(|| percentile(&mut clocks, BEST));
    let baseline: f64 = threads_runs.iter().map(|runs| runs.baseline.percentile(BEST)).sum();
    let report = |(at, kernel): (usize, &&'static dyn Kernel)| {
        let sum = |of: fn(&Run) -> f64| threads_runs.iter().map(|runs| of(&runs.kernels[at])).sum::<f64>();
        let seconds = sum(Run::seconds) / threads.get() as f64;
        let hashes = threads_runs.iter().map(|runs| runs.kernels[at].hashes()).sum();
        let best = sum(|run| run.percentile(BEST));
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
            median_hashes_per_second: sum(|run| run.percentile(0.5)) * in_turn,
            best_hashes_per_second: best * in_turn,
            variant: kernel.variant(&job(puzzle)),
            cycles_per_hash: clock.map(|hertz| hertz * threads.get() as f64 / best),
            times_sha2: best / baseline,
            sample,
        }
    };
    (kernels.iter().enumerate().map(report).collect(), load)
}

/// What one thread measures.
struct Runs {
    kernels: Vec<Run>,
    baseline: Run,
    /// The core's clock in hertz, once after each round of slices.
    clocks: Vec<f64>,
    /// The time that the thread spent on a CPU.
    time: Duration,
}

impl Runs {
    fn new(kernels: &[&'static dyn Kernel], puzzle: BenchPuzzle, thread: u64) -> Self {
        let job = job(puzzle);
        let run = |kernel: &&'static dyn Kernel| {
            let prepared = Prepared::new(*kernel, job);
            Run::new(kernel.batch(), job.space(), thread, move |nonces| prepared.scan(nonces))
        };
        let header = header(0);
        // Batches of 0.3 ms at the 12 MH/s of a Zen 5 core.
        let scan = move |nonces| baseline(&header, nonces);
        let baseline = Run::new(4096, Puzzle::Header(header).space(), thread, scan);
        Self { kernels: kernels.iter().map(run).collect(), baseline, clocks: Vec::new(), time: Duration::ZERO }
    }

    /// Measures slices of all kernels in turn, for `time`.
    fn alternate(mut self, time: Duration) -> Self {
        let (begin, end) = (thread_time(), Instant::now() + time);
        loop {
            self.kernels.iter_mut().chain([&mut self.baseline]).for_each(Run::slice);
            self.clocks.extend(hertz());
            if Instant::now() >= end {
                self.time = thread_time() - begin;
                return self;
            }
        }
    }
}

/// Slices of one scan on one thread.
struct Run {
    scan: Box<dyn Fn(NonceRange) -> Vec<u64> + Send>,
    space: NonceRange,
    batch: u64,
    batches: u64,
    next: u64,
    /// The nonces and seconds of each slice.
    slices: Vec<(u64, f64)>,
}

impl Run {
    fn new(batch: u64, space: NonceRange, thread: u64, scan: impl Fn(NonceRange) -> Vec<u64> + Send + 'static) -> Self {
        Self { scan: Box::new(scan), space, batch, batches: 1, next: space.start + (thread << 20), slices: vec![] }
    }

    /// Hashes for about [`SLICE`] and records it.
    fn slice(&mut self) {
        let count = self.batch * self.batches;
        // Strides that are no round number, so that nonces of every length have their share.
        let start = self.space.start;
        self.next = start + (self.next - start + 123_456_789) % (self.space.len().min(1 << 40) - count);
        let begin = Instant::now();
        let mut rest = NonceRange::new(self.next, self.next + count);
        while !rest.is_empty() {
            black_box((self.scan)(rest.take_front(self.batch)));
        }
        let seconds = begin.elapsed().as_secs_f64();
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

/// The core's clock in hertz, from a chain of multiplications that each wait for the one before: 3 cycles on every x86-64 core of the last
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::blind::Blind;

    #[test]
    fn kernels_that_disagree_are_not_measured() {
        let mut kernels = available();
        let all = sample(&kernels, BenchPuzzle::Text).unwrap();
        assert!(all.found > 32 && all.checksum > SAMPLE.start, "{} found", all.found);
        kernels.push(&Blind { name: "blind", batch: 1 });
        let error = sample(&kernels, BenchPuzzle::Text).unwrap_err().to_string();
        assert!(error.contains("blind found 0, sum 0; one of them is wrong"), "{error}");
    }
}
