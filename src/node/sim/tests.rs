//! Seeds by the thousand, the same trace twice, and a way to replay one.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::faults::Fault;
use super::run::{Report, run};
use crate::cluster::probe::{self, Probe};

/// Seeds that an ordinary test run tries.
const SEEDS: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// What happened in many runs.
#[derive(Debug, Default)]
struct Total {
    seeds: u64,
    faults: BTreeMap<&'static str, u64>,
    harmed: [u64; 3],
    steps: u64,
    hashes: u64,
    found: u64,
    blocks: u64,
    shares: u64,
    distrusted: u64,
    probes: probe::Counts,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        for (&kind, &count) in &report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.harmed.iter_mut().zip(report.harmed).for_each(|(sum, count)| *sum += count);
        self.steps += report.steps;
        self.hashes += report.hashes;
        self.found += report.found;
        self.blocks += report.blocks;
        self.shares += report.shares;
        self.distrusted += report.distrusted;
        report.probes.iter().for_each(|(&probe, count)| *self.probes.entry(probe).or_default() += count);
    }
}

/// What is wrong with a seed's run, if anything is.
fn try_seed(seed: u64, total: &Mutex<Total>) -> Option<String> {
    let Ok(report) = catch_unwind(|| run(seed, false)) else { return Some("a panic".to_owned()) };
    total.lock().unwrap().add(&report);
    let void = || report.is_void().then(|| format!("too little happened: {:?}", report.faults));
    report.violation.as_ref().map(|violation| format!("{violation:?}")).or_else(void)
}

/// Tries `count` seeds from `first` on, on all cores; gives what happened in all of them, and the seeds that failed. `goes_on` decides
/// after a failure whether further seeds are begun.
fn try_seeds(first: u64, count: u64, goes_on: bool) -> (Total, BTreeMap<u64, String>) {
    let next = AtomicU64::new(first);
    let end = AtomicU64::new(first + count);
    let failures = Mutex::new(BTreeMap::new());
    let total = Mutex::new(Total::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let problem = try_seed(seed, &total);
                    if !goes_on {
                        println!("seed {seed} is done"); // a sign of life
                    }
                    if let Some(problem) = problem {
                        println!("seed {seed}: {problem}");
                        failures.lock().unwrap().insert(seed, problem);
                        if !goes_on {
                            end.fetch_min(seed, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    (total.into_inner().unwrap(), failures.into_inner().unwrap())
}

#[test]
fn seeds_by_the_thousand_break_no_law() {
    let seeds = number("HEADFRAME_SIM_SEEDS").unwrap_or(SEEDS);
    let (total, failures) = try_seeds(1, seeds, true);
    println!("{total:?}");
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed; HEADFRAME_SIM_SEED=… cargo sim-replay shows one",
        failures.len()
    );
    if seeds < SEEDS {
        return; // cargo mutate, which has no time for more
    }
    let never: Vec<_> = Fault::KINDS.iter().filter(|kind| !total.faults.contains_key(*kind)).collect();
    assert!(never.is_empty(), "{never:?} never came: {:?}", total.faults);
    let never: Vec<_> = Probe::ALL.iter().filter(|probe| !total.probes.contains_key(probe)).collect();
    assert!(never.is_empty(), "branches that no seed has reached: {never:?}");
    assert!(total.blocks > SEEDS && total.shares > SEEDS && total.distrusted > 0, "{total:?}");
}

#[test]
#[ignore = "takes as long as it is told to: cargo sim"]
fn any_number_of_seeds() {
    let first = number("HEADFRAME_SIM_FIRST").unwrap_or(1_000_000);
    let count = number("HEADFRAME_SIM_SEEDS").unwrap_or(100_000);
    let (total, failures) = try_seeds(first, count, true);
    println!("{count} seeds from {first}: {total:#?}");
    assert!(failures.is_empty(), "{} seeds failed", failures.len());
}

/// What `tests/planted` runs on a copy of this code in which something is wrong.
#[test]
#[ignore = "stops at the first seed that fails: cargo planted"]
fn first_failure() {
    let (_, failures) = try_seeds(1, number("HEADFRAME_SIM_SEEDS").unwrap_or(SEEDS), false);
    match failures.first_key_value() {
        Some((seed, problem)) => println!("\nthe first seed that fails is {seed}: {problem}"),
        None => println!("\nno seed fails"),
    }
}

#[test]
#[ignore = "shows one seed: HEADFRAME_SIM_SEED=… cargo sim-replay"]
fn replay() {
    let report = run(number("HEADFRAME_SIM_SEED").expect("HEADFRAME_SIM_SEED is set"), true);
    println!("{}", report.trace);
    assert_eq!(report.violation, None);
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in [1, 2, 3, 4, 5] {
        assert_eq!(run(seed, true).trace, run(seed, true).trace);
    }
}
