//! A cluster under faults for as long as you like: a service and five nodes in processes of their own, whose links go through a proxy.
//!
//! Every three seconds or so it injects a fault or mends one, in whatever order the seed says. Every sixth time it mends all: then
//! all nodes must name node 1, the chain must grow, and all that was told so far must hold. Node 3 and 5 are never killed, so that
//! their memory tells something. `cargo soak --minutes 30 --seed 7`; the same seed makes the same decisions, though processes
//! are what they are and time does the rest.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../tests/suite/cluster/mod.rs"]
mod cluster;
#[path = "../tests/suite/process/mod.rs"]
mod process;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use cluster::proxy::Weather;
use cluster::random::Random;
use cluster::{Cluster, Setup};
use process::Signal;

const NODES: u32 = 5;

/// Never killed.
const ELDERS: [u32; 2] = [3, 5];

/// Faults and repairs between two times at which everything has to be well.
const STEPS: u32 = 6;

/// The share of the steps that mend a fault.
const MENDED: f64 = 0.3;

/// How much an elder's memory may grow after its first minute, in KiB.
const GROWTH: u64 = 4096;

/// Something that is wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Ended by SIGKILL, or by SIGTERM.
    Killed(u32),
    Terminated(u32),
    Paused(u32),
    /// Nothing passes from the one to the other.
    CutOneWay(u32, u32),
    Cut(u32, u32),
    Isolated(u32),
    /// Everything from the one to the other takes seconds.
    Clogged(u32, u32),
    /// All links lose, delay and double.
    Storm,
    ServiceKilled,
    ServicePaused,
    DiskFull,
}

impl Fault {
    const KINDS: usize = 11;

    fn any(random: &mut Random) -> Self {
        let ids: Vec<u32> = (1..=NODES).collect();
        let mortals: Vec<u32> = ids.iter().copied().filter(|id| !ELDERS.contains(id)).collect();
        // The leader is where it hurts, so every other fault is node 1's.
        let one = if random.share() < 0.5 { 1 } else { *random.one_of(&ids) };
        let mortal = if mortals.contains(&one) { one } else { *random.one_of(&mortals) };
        let others: Vec<u32> = ids.into_iter().filter(|&id| id != one).collect();
        let other = *random.one_of(&others);
        let (from, to) = if random.share() < 0.5 { (one, other) } else { (other, one) };
        let kinds: [Self; Self::KINDS] = [
            Self::Killed(mortal),
            Self::Terminated(mortal),
            Self::Paused(one),
            Self::CutOneWay(from, to),
            Self::Cut(from, to),
            Self::Isolated(one),
            Self::Clogged(from, to),
            Self::Storm,
            Self::ServiceKilled,
            Self::ServicePaused,
            Self::DiskFull,
        ];
        *random.one_of(&kinds)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Killed(_) => "killed",
            Self::Terminated(_) => "terminated",
            Self::Paused(_) => "paused",
            Self::CutOneWay(..) => "cut one way",
            Self::Cut(..) => "cut",
            Self::Isolated(_) => "isolated",
            Self::Clogged(..) => "clogged",
            Self::Storm => "storm",
            Self::ServiceKilled => "service killed",
            Self::ServicePaused => "service paused",
            Self::DiskFull => "disk full",
        }
    }

    /// Whether both can be at once: a process has one trouble at a time.
    fn goes_with(self, other: Self) -> bool {
        let node = |fault| match fault {
            Self::Killed(id) | Self::Terminated(id) | Self::Paused(id) => Some(id),
            Self::ServiceKilled | Self::ServicePaused | Self::DiskFull => Some(0),
            _ => None,
        };
        self != other && (node(self).is_none() || node(self) != node(other))
    }
}

struct Soak {
    cluster: Cluster,
    random: Random,
    begin: Instant,
    wrong: Vec<Fault>,
    injected: BTreeMap<&'static str, u64>,
    /// From the last repair until all named one leader.
    agreed: Vec<Duration>,
}

impl Soak {
    fn say(&self, what: std::fmt::Arguments<'_>) {
        println!("{:>6.1} s  {what}", self.begin.elapsed().as_secs_f64());
    }

    /// One more fault, or one less.
    fn step(&mut self) {
        if self.random.share() < MENDED && !self.wrong.is_empty() {
            let at = (self.random.next() % self.wrong.len() as u64) as usize;
            let fault = self.wrong.remove(at);
            self.say(format_args!("no longer {fault:?}"));
            self.mend(fault);
            return;
        }
        let mut fault = Fault::any(&mut self.random);
        while !self.wrong.iter().all(|&other| fault.goes_with(other)) {
            fault = Fault::any(&mut self.random);
        }
        self.say(format_args!("{fault:?}"));
        self.inject(fault);
        *self.injected.entry(fault.name()).or_default() += 1;
        self.wrong.push(fault);
    }

    fn inject(&mut self, fault: Fault) {
        let cluster = &mut self.cluster;
        match fault {
            Fault::Killed(id) => drop(cluster.end_node(id, Signal::KILL)),
            Fault::Terminated(id) => assert_eq!(cluster.end_node(id, Signal::TERM).code, Some(0), "node {id}"),
            Fault::Paused(id) => cluster.signal(id, Signal::STOP),
            Fault::ServiceKilled => cluster.end_service(Signal::KILL),
            Fault::ServicePaused => cluster.service().signal(Signal::STOP),
            Fault::DiskFull => cluster.service().fill_disk(true),
            _ => self.weather(&[self.wrong.clone(), vec![fault]].concat()),
        }
    }

    fn mend(&mut self, fault: Fault) {
        let cluster = &mut self.cluster;
        match fault {
            Fault::Killed(id) | Fault::Terminated(id) => cluster.start_node(id),
            Fault::Paused(id) => cluster.signal(id, Signal::CONT),
            Fault::ServiceKilled => cluster.start_service(),
            Fault::ServicePaused => cluster.service().signal(Signal::CONT),
            Fault::DiskFull => cluster.service().fill_disk(false),
            _ => self.weather(&self.wrong),
        }
    }

    /// The links under all faults of links.
    fn weather(&self, faults: &[Fault]) {
        let millis = Duration::from_millis;
        let proxy = &self.cluster.proxy;
        let has = |fault| faults.contains(&fault);
        for (from, to) in proxy.directions() {
            let mut weather = Weather::default();
            if has(Fault::Storm) {
                weather = Weather { loss: 0.2, doubled: 0.2, delay: millis(10), jitter: millis(60), cut: false };
            }
            if has(Fault::Clogged(from, to)) {
                (weather.delay, weather.jitter) = (millis(1000), millis(2000));
            }
            weather.cut = has(Fault::CutOneWay(from, to))
                || has(Fault::Cut(from, to))
                || has(Fault::Cut(to, from))
                || has(Fault::Isolated(from))
                || has(Fault::Isolated(to));
            proxy.set(from, to, weather);
        }
    }

    /// Mends everything; then everything has to be well.
    fn heal(&mut self) {
        while let Some(fault) = self.wrong.pop() {
            self.mend(fault);
        }
        let healed = Instant::now();
        self.cluster.wait_for_leader(1, &self.cluster.ids());
        let agreed = healed.elapsed();
        self.agreed.push(agreed);
        self.cluster.grow(1);
        self.cluster.check();
        let height = self.cluster.height().unwrap();
        self.say(format_args!("all is well: all named node 1 after {:.2} s, height {height}", agreed.as_secs_f64()));
    }

    /// Resident memory in KiB; of the elders by their id, of the service by 0.
    fn memory(&self) -> BTreeMap<u32, u64> {
        let nodes = ELDERS.map(|id| (id, self.cluster.process(id)));
        let all = nodes.into_iter().chain([(0, self.cluster.service())]);
        all.map(|(id, process)| (id, process.memory().expect("the memory of a running process"))).collect()
    }
}

fn number(words: &[String], name: &str) -> Option<f64> {
    let at = words.iter().position(|word| word == name)?;
    Some(
        words
            .get(at + 1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("expected a number after {name}")),
    )
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let test = words.iter().any(|word| word == "--test");
    let minutes = number(&words, "--minutes").unwrap_or(if test { 0.3 } else { 5.0 });
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    // A test is too short for a disk to be full from its begin to its end, as one in some ten seeds wants it.
    let seed = if test { 1 } else { clock.as_secs() % 1_000_000 };
    let seed = number(&words, "--seed").map_or(seed, |seed| seed as u64);
    println!("{minutes} minutes, --seed {seed}");

    let cluster = Cluster::start(Setup { nodes: NODES, seed, blocks: ["--interval", "1"], ..Setup::default() });
    let mut soak = Soak {
        cluster,
        random: Random::new(seed),
        begin: Instant::now(),
        wrong: Vec::new(),
        injected: BTreeMap::new(),
        agreed: Vec::new(),
    };
    let (mut memory, mut minute) = (Vec::new(), 0);
    while soak.begin.elapsed().as_secs_f64() < minutes * 60.0 {
        for _ in 0..STEPS {
            soak.step();
            sleep(Duration::from_secs_f64(soak.random.between(2.0, 4.0)));
        }
        soak.heal();
        if soak.begin.elapsed().as_secs() / 60 > minute {
            minute = soak.begin.elapsed().as_secs() / 60;
            let now = soak.memory();
            soak.say(format_args!("KiB resident: node 3 {}, node 5 {}, service {}", now[&3], now[&5], now[&0]));
            memory.push(now);
        }
    }
    report(&soak, &memory, minutes);
    soak.cluster.end();
}

fn report(soak: &Soak, memory: &[BTreeMap<u32, u64>], minutes: f64) {
    let cluster = &soak.cluster;
    let blocks = cluster.height().unwrap();
    let changes: usize =
        cluster.ids().iter().map(|&id| cluster.log(id).told().iter().filter(|told| told.is("leader")).count()).sum();
    let faults: u64 = soak.injected.values().sum();
    let mut agreed = soak.agreed.clone();
    agreed.sort();
    println!("faults: {faults}, {:?}", soak.injected);
    println!("links: {:?}", cluster.proxy.traffic());
    println!("blocks: {blocks}; leader events: {changes}");
    println!(
        "from the last repair until all named one leader: median {:.2} s, worst {:.2} s of {}",
        agreed[agreed.len() / 2].as_secs_f64(),
        agreed[agreed.len() - 1].as_secs_f64(),
        agreed.len()
    );
    // A run in which little happened shows nothing.
    let at_least = |what: &str, number: u64, each_minute: f64| {
        assert!(number as f64 >= minutes * each_minute, "void: {number} {what} in {minutes} minutes");
    };
    at_least("faults", faults, 6.0);
    at_least("blocks", blocks, 4.0);
    at_least("leader events", changes as u64, 6.0);
    assert!(minutes < 5.0 || soak.injected.len() == Fault::KINDS, "void: some kinds of faults never were");
    let (Some(first), Some(last)) = (memory.first(), memory.last()) else { return };
    for id in ELDERS {
        println!("node {id}, KiB resident: {} after a minute, {} at the end", first[&id], last[&id]);
        assert!(last[&id] <= first[&id] + GROWTH, "node {id} has grown");
    }
}
