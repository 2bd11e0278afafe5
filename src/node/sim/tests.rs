//! Seeds by the thousand, the same trace twice, and a way to replay one.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::faults::Fault;
use super::run::{Report, run};
use crate::cluster::probe::Probe;

/// Seeds that an ordinary test run tries.
const SEEDS: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// What is wrong with a seed's run, if anything is.
fn try_seed(seed: u64, total: &Mutex<Report>) -> Option<String> {
    let Ok(report) = catch_unwind(|| run(seed, false)) else { return Some("a panic".to_owned()) };
    total.lock().unwrap().add(&report);
    let void = || report.is_void().then(|| format!("too little happened: {:?}", report.faults));
    report.violation.clone().or_else(void)
}

/// Tries `count` seeds from `first` on, on all cores; gives what happened in all of them, and the seeds that failed. `goes_on` decides
/// after a failure whether further seeds are begun.
fn try_seeds(first: u64, count: u64, goes_on: bool) -> (Report, BTreeMap<u64, String>) {
    let end = AtomicU64::new(first + count);
    let failures = Mutex::new(BTreeMap::new());
    let total = Mutex::new(Report::default());
    // The bridge hands the seeds out in their order, so that no lower one is left when one has failed.
    (first..first + count).par_bridge().for_each(|seed| {
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
    });
    (total.into_inner().unwrap(), failures.into_inner().unwrap())
}

#[test]
fn seeds_by_the_thousand_break_no_law() {
    let seeds = number("HEADFRAME_SIM_SEEDS").unwrap_or(SEEDS);
    let (total, failures) = try_seeds(1, seeds, true);
    println!("{seeds} seeds: {total:?}");
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed; HEADFRAME_SIM_SEED=… cargo sim-replay shows one",
        failures.len()
    );
    if seeds < SEEDS {
        return; // cargo mutate, which has no time for more
    }
    assert_eq!(total.faults.len(), Fault::KINDS, "some never came: {:?}", total.faults);
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
