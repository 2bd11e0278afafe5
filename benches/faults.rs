//! Figures of a cluster under faults, each measured on real processes:
//!
//! 1. `kills`: from a SIGKILL of the leader until all others name the next one, with heartbeats of 500 ms and of 5 s;
//! 2. `hashes`: how much the others hash in the minute after a death, goodbye, pause or return of the leader, against a quiet spell before;
//! 3. `goodbye`: from a SIGTERM of a node until the leader knows of it; of the leader, until all name the next;
//! 4. `pauses`: a leader that is paused and comes back, which must set nobody back;
//! 5. `saturated`: changes of leader on a machine with far more work than cores, where nobody fails. `--minutes 10`.
//!
//! `cargo faults` runs all, `cargo faults kills pauses` these; with `--test` everything is short and only shown to work.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../tests/suite/cluster/mod.rs"]
mod cluster;
#[path = "../tests/suite/process/mod.rs"]
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{available_parallelism, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use cluster::random::Random;
use cluster::{Cluster, Setup};
use process::Signal;

/// No nonce solves this in a lifetime: nodes only hash.
const NO_BLOCKS: [&str; 2] = ["--zeros", "32"];

/// A block in a second or so.
const SOME_BLOCKS: [&str; 2] = ["--zeros", "6"];

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What was measured, in one line.
fn print(what: &str, mut times: Vec<Duration>, limit: Option<Duration>) {
    times.sort();
    let at = |share: f64| millis(times[((times.len() - 1) as f64 * share) as usize]);
    let within = |limit: Duration| times.iter().filter(|&&time| time <= limit).count();
    let within = limit.map(|limit| format!("; {} within {limit:?}", within(limit))).unwrap_or_default();
    println!(
        "{what}: median {:.0} ms, 90 % {:.0} ms, 99 % {:.0} ms, worst {:.0} ms of {}{within}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        times.len()
    );
}

/// Waits until all these nodes name `leader` after the marks; gives when the last one did.
fn named(cluster: &Cluster, nodes: &[u32], marks: &[usize], leader: u32) -> Instant {
    let when = |id: u32, mark: usize| {
        let since = cluster.log(id).since(mark);
        since.iter().find(|told| told.is("leader") && told.event["leader"] == leader).map(|told| told.at)
    };
    let all = || -> Option<Instant> {
        nodes.iter().zip(marks).map(|(&id, &mark)| when(id, mark)).collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    cluster.wait("the next leader", || all().is_some());
    all().unwrap()
}

fn marks(cluster: &Cluster, nodes: &[u32]) -> Vec<usize> {
    nodes.iter().map(|&id| cluster.log(id).mark()).collect()
}

fn kills(heartbeat: &'static str, seconds: f64, times: usize) {
    let mut cluster = Cluster::start(Setup { heartbeat, blocks: SOME_BLOCKS, ..Setup::default() });
    let mut random = Random::new(1);
    let others = [2, 3];
    let measured = (0..times).map(|_| {
        // At any moment between two heartbeats, with leases in hand.
        sleep(Duration::from_secs_f64(seconds * random.between(1.0, 2.0)));
        let marks = marks(&cluster, &others);
        let killed = Instant::now();
        cluster.signal(1, Signal::KILL);
        let time = named(&cluster, &others, &marks, 2).duration_since(killed);
        drop(cluster.end_node(1, Signal::KILL));
        cluster.start_node(1);
        cluster.wait_for_leader(1, &[1, 2, 3]);
        time
    });
    let measured = measured.collect();
    let limit = Duration::from_secs_f64(if seconds < 1.0 { 1.5 } else { 2.0 * seconds + 1.0 });
    print(&format!("SIGKILL of the leader, heartbeat {heartbeat}, until all name the next"), measured, Some(limit));
    cluster.end();
}

/// What a node's hashing threads did so far.
#[derive(Clone, Copy, Debug)]
struct Work {
    hashes: u64,
    /// When so many were counted, in µs.
    at: u64,
    /// Time in which they ran or waited for a core, in ns: the rest they had nothing to do.
    busy: u64,
}

/// The system's account of a thread: ns on a core, ns waiting for one.
fn schedule(pid: u32, thread: &str) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
}

fn work(cluster: &Cluster, id: u32) -> Work {
    let pid = cluster.process(id).pid();
    let is_hashing = |thread: &String| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm")).unwrap_or_default();
        name.starts_with("scan-")
    };
    let hashing = threads(pid).into_iter().filter(is_hashing);
    let busy = hashing.filter_map(|thread| schedule(pid, &thread)).map(|(running, waiting)| running + waiting).sum();
    let told = cluster.log(id).told();
    let (hashes, at) = told
        .iter()
        .rev()
        .find(|told| told.is("rate"))
        .map_or((0, 0), |told| (told.number("hashes"), told.number("at")));
    Work { hashes, at, busy }
}

/// Binds a node to a core, so that nodes on another core neither gain nor lose by its end.
fn bind(cluster: &Cluster, id: u32, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    for thread in threads(cluster.process(id).pid()) {
        sched_setaffinity(Pid::from_raw(thread.parse().unwrap()), &cores).unwrap();
    }
}

/// The nodes that stay.
const OTHERS: [u32; 2] = [2, 3];

/// So many seconds of the others: their hashes per second, and the part of the time in which their threads had work.
fn spell(cluster: &Cluster, seconds: u64) -> (f64, f64) {
    let begin = (Instant::now(), OTHERS.map(|id| work(cluster, id)));
    sleep(Duration::from_secs(seconds));
    let wall = begin.0.elapsed().as_nanos() as f64;
    let end = OTHERS.map(|id| work(cluster, id));
    let pairs = || begin.1.iter().zip(&end);
    let rate = |(begin, end): (&Work, &Work)| (end.hashes - begin.hashes) as f64 * 1e6 / (end.at - begin.at) as f64;
    let busy = |(begin, end): (&Work, &Work)| (end.busy - begin.busy) as f64 / wall / OTHERS.len() as f64;
    (pairs().map(rate).sum(), pairs().map(busy).sum())
}

/// What happens to the leader.
type Change = (&'static str, fn(&mut Cluster));

const CHANGES: [Change; 6] = [
    ("death (SIGKILL)", |cluster| drop(cluster.end_node(1, Signal::KILL))),
    ("return after its death", start_leader),
    ("goodbye (SIGTERM)", |cluster| drop(cluster.end_node(1, Signal::TERM))),
    ("return after its goodbye", start_leader),
    ("pause (SIGSTOP)", |cluster| cluster.signal(1, Signal::STOP)),
    ("return after its pause (SIGCONT)", |cluster| cluster.signal(1, Signal::CONT)),
];

fn start_leader(cluster: &mut Cluster) {
    cluster.start_node(1);
    bind_leader(cluster);
}

/// The leader has a core to itself, where there are two.
fn bind_leader(cluster: &Cluster) {
    bind(cluster, 1, available_parallelism().unwrap().get() - 1);
}

fn hashes(heartbeat: &'static str, quiet: u64, seconds: u64) {
    let mut cluster = Cluster::start(Setup { heartbeat, blocks: NO_BLOCKS, ..Setup::default() });
    bind_leader(&cluster);
    OTHERS.into_iter().for_each(|id| bind(&cluster, id, 0));
    for (what, change) in CHANGES {
        sleep(Duration::from_secs(quiet / 2));
        let before = spell(&cluster, quiet);
        change(&mut cluster);
        let after = spell(&cluster, seconds);
        let leader = if what.starts_with("return") { 1 } else { 2 };
        cluster.wait_for_leader(leader, &OTHERS);
        println!(
            "heartbeat {heartbeat}, the others in the {seconds} s after the leader's {what}, against {quiet} s before: hashes {:.1} %; hashing threads had work {:.2} % of the time, before {:.2} %",
            100.0 * after.0 / before.0,
            100.0 * after.1,
            100.0 * before.1
        );
    }
    cluster.end();
}

fn goodbye(times: usize) {
    // With so long a heartbeat nothing that happens soon comes from a timer.
    let mut cluster = Cluster::start(Setup { heartbeat: "5s", blocks: SOME_BLOCKS, ..Setup::default() });
    let (mut follower, mut leader) = (Vec::new(), Vec::new());
    for _ in 0..times {
        sleep(Duration::from_millis(500));
        let mark = cluster.log(1).mark();
        let asked = Instant::now();
        cluster.signal(3, Signal::TERM);
        let heard = || {
            let since = cluster.log(1).since(mark);
            since
                .iter()
                .find(|told| told.is("peer") && told.event["peer"] == 3 && told.event["state"] == "left")
                .map(|told| told.at)
        };
        cluster.wait("the leader hears of it", || heard().is_some());
        follower.push(heard().unwrap().duration_since(asked));
        assert_eq!(cluster.end_node(3, Signal::TERM).code, Some(0));
        cluster.start_node(3);
        cluster.wait_for_leader(1, &[1, 2, 3]);

        sleep(Duration::from_millis(500));
        let others = [2, 3];
        let marks = marks(&cluster, &others);
        let asked = Instant::now();
        cluster.signal(1, Signal::TERM);
        leader.push(named(&cluster, &others, &marks, 2).duration_since(asked));
        assert_eq!(cluster.end_node(1, Signal::TERM).code, Some(0));
        cluster.start_node(1);
        cluster.wait_for_leader(1, &[1, 2, 3]);
    }
    let limit = Some(Duration::from_millis(200));
    print("SIGTERM of a node, until the leader knows of it", follower, limit);
    print("SIGTERM of the leader, until all name the next", leader, limit);
    cluster.end();
}

fn pauses(times: usize, longest: f64) {
    let cluster = Cluster::start(Setup { nodes: 4, ..Setup::default() });
    let mut random = Random::new(1);
    let others = [2, 3, 4];
    let (mut replaced, mut back, mut stale) = (0, Vec::new(), 0);
    for _ in 0..times {
        cluster.grow(2);
        let mark = cluster.log(1).mark();
        cluster.signal(1, Signal::STOP);
        sleep(Duration::from_secs_f64(random.between(longest / 40.0, longest)));
        let was_replaced = others.iter().all(|&id| cluster.leader(id).unwrap().0 == 2);
        let marks = marks(&cluster, &others);
        let resumed = Instant::now();
        cluster.signal(1, Signal::CONT);
        if was_replaced {
            replaced += 1;
            back.push(named(&cluster, &others, &marks, 1).duration_since(resumed));
        } else {
            sleep(Duration::from_secs(2));
            cluster.wait_for_leader(1, &[1, 2, 3, 4]);
        }
        stale += cluster.log(1).since(mark).iter().filter(|told| told.event["status"] == "stale").count();
        cluster.check();
        cluster.check_heights();
    }
    println!(
        "leaders paused for up to {longest} s that came back: {times}, of which {replaced} had been replaced; nobody was set back to an older block under one leader; its solutions that the source refused as stale: {stale}"
    );
    if !back.is_empty() {
        print("from SIGCONT until all name it again", back, None);
    }
    cluster.end();
}

/// Threads that do nothing but keep cores busy, until dropped.
struct Load(Arc<AtomicBool>);

impl Load {
    fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stop = Arc::clone(&stop);
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn saturated(heartbeat: &'static str, minutes: f64) {
    let cores = available_parallelism().unwrap().get();
    let words = &["--threads", "2", "--kernel", "portable"];
    let cluster = Cluster::start(Setup { nodes: 5, heartbeat, blocks: SOME_BLOCKS, words, ..Setup::default() });
    let load = Load::start(2 * cores);
    cluster.grow(1);
    let begin = marks(&cluster, &cluster.ids());
    sleep(Duration::from_secs_f64(60.0 * minutes));
    let since: Vec<_> =
        cluster.ids().into_iter().zip(begin).flat_map(|(id, mark)| cluster.log(id).since(mark)).collect();
    let count = |name: &str, state: &str| {
        since.iter().filter(|told| told.is(name) && (state.is_empty() || told.event["state"] == state)).count()
    };
    println!(
        "heartbeat {heartbeat}, {minutes} minutes, 5 nodes of 2 threads each and {} busy threads beside them on {cores} cores: {} changes of leader, {} times suspect, {} times down, {} blocks",
        2 * cores,
        count("leader", ""),
        count("peer", "suspect"),
        count("peer", "down"),
        count("block", "")
    );
    drop(load);
    cluster.end();
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let test = words.iter().any(|word| word == "--test");
    let minutes = words.iter().position(|word| word == "--minutes").map(|at| words[at + 1].parse::<f64>().unwrap());
    let named: Vec<&str> = ["kills", "hashes", "goodbye", "pauses", "saturated"]
        .into_iter()
        .filter(|name| words.iter().any(|word| word == name))
        .collect();
    let wanted = |name| named.is_empty() || named.contains(&name);
    if wanted("kills") {
        kills("500ms", 0.5, if test { 1 } else { 100 });
        if !test {
            kills("5s", 5.0, 5);
        }
    }
    if wanted("hashes") {
        let (quiet, seconds) = if test { (2, 3) } else { (20, 60) };
        hashes("500ms", quiet, seconds);
        if !test {
            hashes("5s", quiet, seconds);
        }
    }
    if wanted("goodbye") {
        goodbye(if test { 1 } else { 50 });
    }
    if wanted("pauses") {
        pauses(if test { 1 } else { 30 }, 8.0);
        if !test {
            pauses(4, 60.0);
        }
    }
    if wanted("saturated") {
        let minutes = minutes.unwrap_or(if test { 0.05 } else { 5.0 });
        saturated("500ms", minutes);
        if !test {
            saturated("5s", minutes);
        }
    }
}
