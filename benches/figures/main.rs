//! Figures of the whole program, all but the third measured on the real binary as a user runs it:
//!
//! 1. `start`: from the start to the first hash;
//! 2. `interrupts`: from a solution to the other node's last hash of the old job;
//! 3. `switches`: from a block's acceptance to each node's first hash of the next block;
//! 4. `blocks`: blocks a second, where they take no time to find;
//! 5. `efficiency`: a mining cluster's hash rate as a share of what `bench` shows, in turns, so that a noisy machine disturbs both; and
//!    resident memory.
//!
//! `cargo figures` runs all and tells the binary's size, `cargo figures switches blocks` these; with `--test` everything is short and
//! only shown to work.

#![allow(clippy::disallowed_methods)] // measuring time is what this is for

mod switches;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nobody fails here, so nothing waits for a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Interrupts and efficiency are measured over each.
const TRANSPORTS: [&str; 4] = ["quic", "grpc", "udp", "memory"];

/// How often a node asks the source, as in the program.
const POLL: Duration = Duration::from_secs(1);

/// A running `headframe` and its JSON lines.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    started: Instant,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(words: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the registry");
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(words.split(' '))
            .env("HEADFRAME_RUN_DIR", folder.path().join("run"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the headframe binary");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines, started, _folder: folder }
    }

    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("a line");
        Some(serde_json::from_str(&line).expect("JSON"))
    }

    /// The next line that says `event`.
    fn event(&mut self, event: &str) -> Value {
        loop {
            let value = self.next().expect("the program ended too early");
            if value["event"] == event {
                return value;
            }
        }
    }

    /// The most memory that was resident so far, in MiB; Linux only.
    fn memory(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib / 1024.0)
    }

    fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was measured, in milliseconds, in one line.
fn print(what: &str, mut millis: Vec<f64>) {
    millis.sort_by(f64::total_cmp);
    if millis.is_empty() {
        return println!("{what}: never");
    }
    let at = |share: f64| millis[((millis.len() - 1) as f64 * share) as usize];
    let (median, most, worst) = (at(0.5), at(0.99), at(1.0));
    println!("{what}: median {median:.2} ms, 99 % {most:.1} ms, worst {worst:.1} ms of {}", millis.len());
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Hashes per second that `bench` shows for the text puzzle on all threads.
fn bench_rate(seconds: u64) -> f64 {
    let mut bench = Running::start(&format!("bench --puzzle text --seconds {seconds} --json"));
    let rates = std::iter::from_fn(|| bench.next()).map(|line| line["hashes_per_second"].as_f64().expect("a rate"));
    let fastest = rates.fold(0.0, f64::max);
    bench.end();
    fastest
}

/// Hashes per second of a cluster of two, and its memory in MiB.
fn cluster_rate(transport: &str, seconds: u64) -> (f64, Option<f64>) {
    let mut up = Running::start(&format!("up --nodes 2 --zeros 64 --heartbeat 1s --json --transport {transport}"));
    let mut hashes = [Vec::new(), Vec::new()];
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(seconds + 1) || hashes.iter().any(|rates| rates.len() < 2) {
        let rate = up.event("rate");
        let node = rate["node"].as_u64().expect("a node") as usize;
        hashes[node - 1].push(rate["hashes_per_second"].as_f64().expect("a rate"));
    }
    let memory = up.memory();
    up.end();
    // The first second is the start's.
    let mean = |rates: &Vec<f64>| rates[1..].iter().sum::<f64>() / (rates.len() - 1) as f64;
    (hashes.iter().map(mean).sum(), memory)
}

fn efficiency(transport: &str, turns: usize, seconds: u64) {
    let mut ratios = Vec::new();
    let mut memory = None;
    let mut before = bench_rate(seconds);
    for _ in 0..turns {
        let (rate, resident) = cluster_rate(transport, seconds);
        let after = bench_rate(seconds);
        ratios.push(rate / ((before + after) / 2.0));
        println!("  cluster {:.2} MH/s, bench {:.2} and {:.2} MH/s", rate / 1e6, before / 1e6, after / 1e6);
        (before, memory) = (after, resident);
    }
    println!(
        "cluster of 2 over {transport} against bench, same kernel and threads: {:.1} % (median of {turns})",
        100.0 * median(ratios)
    );
    if let Some(memory) = memory {
        println!("resident memory of `up --nodes 2 --transport {transport}`: {memory:.1} MiB at most");
    }
}

/// From each solution to the other node's last hash of the old job. More nodes than cores would wait for each other's threads.
fn interrupts(transport: &str, blocks: usize) {
    let mut up = Running::start(&format!("up --nodes 2 --blocks {blocks} --zeros 6 --json --transport {transport}"));
    // Nodes tell independently of each other, so what they tell is put in the order in which it happened.
    let mut moments = Vec::new();
    while let Some(event) = up.next() {
        let is_found = event["event"] == "found";
        if let (true, Some(at)) = (is_found || event["event"] == "interrupted", event["at"].as_f64()) {
            moments.push((at, is_found, event["node"].as_u64()));
        }
    }
    up.end();
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut solution = None;
    let mut latencies = Vec::new();
    for (at, is_found, node) in moments {
        match solution {
            _ if is_found => solution = Some((at, node)),
            Some((since, finder)) if node != finder => latencies.push((at - since) / 1000.0),
            _ => {}
        }
    }
    print(&format!("{transport}: from a solution to the other node's last hash"), latencies);
}

/// Blocks a second, from the first job to the end.
fn blocks(number: usize) {
    let mut up = Running::start(&format!("up --nodes 3 --zeros 1 --blocks {number} --json"));
    up.event("job");
    let begin = Instant::now();
    while up.next().is_some() {}
    let (rest, whole) = (begin.elapsed().as_secs_f64(), up.started.elapsed().as_secs_f64());
    up.end();
    println!(
        "{number} blocks of `up --nodes 3 --zeros 1`: {:.0} a second; with its start, {whole:.2} s",
        number as f64 / rest
    );
}

fn start_time(times: usize) {
    let first_job = |_| {
        let mut up = Running::start("up --nodes 2 --zeros 64 --json");
        up.event("job");
        let time = up.started.elapsed().as_secs_f64() * 1000.0;
        up.end();
        time
    };
    println!("from start to first hash: {:.0} ms (median of {times})", median((0..times).map(first_job).collect()));
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let test = words.iter().any(|word| word == "--test");
    let all = words.iter().all(|word| word == "--test");
    let wanted = |name: &str| all || words.iter().any(|word| word == name);
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_headframe")).expect("the binary").len();
    println!("binary: {:.1} MB", size as f64 / 1e6);
    if wanted("start") {
        start_time(if test { 1 } else { 11 });
    }
    if wanted("interrupts") {
        TRANSPORTS.iter().for_each(|transport| interrupts(transport, if test { 3 } else { 100 }));
    }
    if wanted("switches") {
        let (blocks, zeros) = if test { (3, 4) } else { (200, 6) };
        switches::switches(blocks, zeros);
    }
    if wanted("blocks") {
        blocks(if test { 20 } else { 4000 });
    }
    if wanted("efficiency") {
        for transport in TRANSPORTS {
            efficiency(transport, if test { 1 } else { 3 }, if test { 2 } else { 20 });
        }
    }
}
