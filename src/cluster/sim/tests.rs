//! Seeds by the thousand, the same trace twice, and a way to replay one.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::catch_unwind;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::planted::{ALL, Bug, plant};
use super::chaos::Fault;
use super::run::{Report, run};
use super::trace::Trace;
use super::truth::Fates;

/// Seeds that an ordinary test run tries.
const SEEDS: u64 = 2000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// What happened in many runs.
#[derive(Debug, Default)]
struct Total {
    faults: BTreeMap<&'static str, u64>,
    steps: u64,
    hashes: u64,
    blocks: u64,
    /// Where nodes have no disk, and where they have one.
    solutions: [Fates; 2],
    /// Kills, pauses and cuts there.
    blows: [u64; 2],
}

impl Total {
    fn add(&mut self, report: &Report) {
        let has_store = usize::from(report.plan.has_store);
        for (&kind, &count) in &report.faults {
            *self.faults.entry(kind).or_default() += count;
            if ["kill", "pause", "cut"].contains(&kind) {
                self.blows[has_store] += count;
            }
        }
        self.solutions[has_store] += report.fates;
        self.steps += report.steps;
        self.hashes += report.hashes;
        self.blocks += report.blocks;
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let injected = self.faults.iter().filter(|(kind, _)| !kind.starts_with("messages"));
        let injected: u64 = injected.map(|(_, count)| count).sum();
        writeln!(
            f,
            "{} steps, {} hashes, {} blocks, {injected} faults injected",
            self.steps, self.hashes, self.blocks
        )?;
        writeln!(f, "{:?}", self.faults)?;
        let ([without, with], [blows_without, blows_with]) = (self.solutions, self.blows);
        writeln!(f, "solutions under {blows_without} kills, pauses and cuts without stores: {without}")?;
        write!(
            f,
            "solutions under {blows_with} kills, pauses and cuts with stores (lost: of servers that never came back): {with}"
        )
    }
}

/// A simulation that does not find this says nothing at all.
const CANARY: Bug = Bug::DoneAtGrant;

/// Tries `count` seeds from `first` on, on all cores; gives what happened in all of them.
fn try_seeds(first: u64, count: u64) -> Total {
    assert!(first_seed_with(CANARY).is_some_and(|(seed, _)| seed < 20), "the canary was not found");
    let next = AtomicU64::new(first);
    let failures = AtomicU64::new(0);
    let total = Mutex::new(Total::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let report = run(seed, Trace::default());
                    if let Err(problem) = check(&report) {
                        println!("{problem}");
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                    total.lock().unwrap().add(&report);
                }
            });
        }
    });
    let failures = failures.into_inner();
    assert_eq!(failures, 0, "{failures} of {count} seeds failed; HEADFRAME_SIM_SEED=… cargo sim-replay shows one");
    total.into_inner().unwrap()
}

fn check(report: &Report) -> Result<(), String> {
    let seed = report.plan.seed;
    match &report.violation {
        Some(violation) => Err(format!("seed {seed}: {violation}")),
        None if report.is_void() => Err(format!("seed {seed}: too little happened: {:?}", report.faults)),
        None => Ok(()),
    }
}

#[test]
fn thousands_of_seeds_break_no_law() {
    let total = try_seeds(1, SEEDS);
    println!("{SEEDS} seeds: {total}");
    let never: Vec<_> = Fault::KINDS.iter().filter(|kind| !total.faults.contains_key(*kind)).collect();
    assert!(
        never.is_empty() && total.faults.values().all(|&count| count > 0),
        "{never:?} never came: {:?}",
        total.faults
    );
    assert!(total.blocks > SEEDS, "{} blocks", total.blocks);
    // What is found is at risk, and stores are of use.
    let ([without, with], [_, blows]) = (total.solutions, total.blows);
    assert!(without.lost > SEEDS / 100 && with.restored > SEEDS / 100 && blows > 1000, "{total}");
}

/// `cargo sim`: `HEADFRAME_SIM_SEEDS` seeds from `HEADFRAME_SIM_FIRST` on.
#[test]
#[ignore = "as many seeds as asked for"]
fn any_number_of_seeds() {
    let first = number("HEADFRAME_SIM_FIRST").unwrap_or(1_000_000);
    let count = number("HEADFRAME_SIM_SEEDS").unwrap_or(100_000);
    let total = try_seeds(first, count);
    println!("seeds {first} to {}: no violation", first + count - 1);
    println!("{total}");
}

/// `cargo sim-replay`: the seed `HEADFRAME_SIM_SEED`, line by line; with `HEADFRAME_SIM_BUG`, that bug planted.
#[test]
#[ignore = "replays one seed"]
fn replay() {
    let seed = number("HEADFRAME_SIM_SEED").unwrap_or(1);
    plant(chosen().copied().next());
    let report = run(seed, Trace::on());
    plant(None);
    print!("{}", report.trace);
    println!("{:?}\n{:?}, {} steps, {} hashes", report.plan, report.faults, report.steps, report.hashes);
    check(&report).unwrap();
}

/// The bug that `HEADFRAME_SIM_BUG` names, to be tried alone.
fn chosen() -> impl Iterator<Item = &'static Bug> {
    let name = std::env::var("HEADFRAME_SIM_BUG").ok();
    ALL.iter().filter(move |bug| name.as_ref().is_some_and(|name| *name == format!("{bug:?}")))
}

/// The seeds within which each planted bug has to be found.
const WITHIN: u64 = 1000;

/// The first seed that shows the bug, and the law that it broke.
fn first_seed_with(bug: Bug) -> Option<(u64, &'static str)> {
    plant(Some(bug));
    let found = (1..=WITHIN).find_map(|seed| {
        // A wrong variant may also run into one of the rules' own assertions.
        match catch_unwind(|| run(seed, Trace::default())) {
            Ok(report) => report.violation.map(|violation| (seed, violation.law)),
            Err(_) => Some((seed, "no panic")),
        }
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    assert!(ALL.len() >= 30);
    let is_one_chosen = chosen().next().is_some();
    let next = Mutex::new(ALL.iter().filter(|bug| !is_one_chosen || chosen().any(|chosen| chosen == *bug)));
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(&bug) = next.lock().unwrap().next() else { return };
                    match first_seed_with(bug) {
                        Some((seed, law)) => println!("{bug:?}: seed {seed}, {law}"),
                        None => missed.lock().unwrap().push(bug),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found within {WITHIN} seeds: {missed:?}");
}

#[test]
fn a_seed_gives_the_same_trace_in_two_processes() {
    for seed in [3, 17] {
        let here = run(seed, Trace::on()).trace;
        let program = std::env::current_exe().unwrap();
        let there = Command::new(program)
            .args(["--exact", "cluster::sim::tests::replay", "--ignored", "--nocapture"])
            .env("HEADFRAME_SIM_SEED", seed.to_string())
            .output()
            .unwrap();
        let there = String::from_utf8(there.stdout).unwrap();
        assert!(here.len() > 10_000, "a trace of {} bytes", here.len());
        assert!(there.contains(&here), "the traces of seed {seed} differ");
    }
}
