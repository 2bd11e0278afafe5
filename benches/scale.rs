//! What a large cluster costs one of its nodes: a node in a process of its own, with the real rules over real QUIC on loopback, and all
//! others in this process, which speak with each other through memory: so one small machine does. A second's hashing takes 50 µs: a node
//! holds leases for up to four heartbeats, as in the program, with real witnesses. No block is found.
//!
//! `cargo bench --bench scale` prints, for several sizes, what the node takes of a core, its resident memory and its messages, as the leader,
//! as the next one to lead and as the last, with heartbeats from everyone to everyone and to the next candidates only; `-- 300 1000` asks for
//! these sizes, `--test` for one small one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use headframe::cluster::{CANDIDATES, Cluster, Config, Message, NodeId, Output, Ticket};
use headframe::transport::files::create_cluster;
use headframe::transport::identity::Identity;
use headframe::transport::memory::{MemoryNetwork, MemoryTransport};
use headframe::transport::quic::QuicTransport;
use headframe::transport::{Member, Transport};
use headframe::work::{
    BlockId, Blueprint, Digest, Goal, Hashing, Job, NonceRange, RoundId, Run, Search, Target, Template, WitnessBits,
    ZeroUnit,
};
use tokio::time::{sleep, sleep_until};

const HEARTBEAT: Duration = Duration::from_secs(5);

/// Nonces of which leases are made: as in the program, a heartbeat's work is a few of them at least.
const UNIT: u64 = 200;

/// Nonces per second.
const RATE: u64 = 200;

/// Beyond so many nodes, two cores do not bear the others' heartbeats to all.
const MOST_TO_ALL: u32 = 300;

/// Messages that this process' nodes have sent and got.
static MESSAGES: AtomicU64 = AtomicU64::new(0);

fn id(id: u32) -> NodeId {
    NodeId::try_from(id).unwrap()
}

/// A block that nobody finds.
fn template() -> Template {
    let target = Target::from_zeros(250, ZeroUnit::Bits).unwrap();
    Template {
        round: RoundId { block: BlockId { height: 7, hash: Digest([1; 32]) }, generation: 0 },
        goal: Goal { block: target, report: target, search: Search::First },
        puzzle: Blueprint::Text { hashing: Hashing::Double },
        tag: 1,
    }
}

/// A range that is to be scanned or under scan.
struct Scan {
    ticket: Ticket,
    range: NonceRange,
    witnesses: Vec<u64>,
    /// When it began; before that, the ranges before it are scanned.
    began: Option<Instant>,
}

impl Scan {
    fn new(ticket: Ticket, job: &Job, range: NonceRange, bits: WitnessBits) -> Self {
        let is_witness = |nonce: &u64| bits.check(&job.puzzle, *nonce).is_some();
        let witnesses = (range.start..range.end).filter(is_witness).collect();
        Self { ticket, range, witnesses, began: None }
    }

    /// Everything before this nonce is searched by now.
    fn to(&self, now: Instant) -> u64 {
        let time = self.began.map_or(Duration::ZERO, |began| now - began);
        let searched = (time.as_secs_f64() * RATE as f64) as u64;
        self.range.end.min(self.range.start + searched)
    }

    /// When it will be searched to its end.
    fn end(&self) -> Option<Instant> {
        Some(self.began? + Duration::from_secs_f64((self.range.len() + 1) as f64 / RATE as f64))
    }

    /// The witnesses before this nonce.
    fn shown(&self, to: u64) -> &[u64] {
        &self.witnesses[..self.witnesses.partition_point(|&witness| witness < to)]
    }
}

struct Node {
    cluster: Cluster,
    /// To the node that is measured, or from it to all.
    quic: QuicTransport,
    /// Among the others.
    memory: MemoryTransport,
    measured: NodeId,
    scans: VecDeque<Scan>,
}

impl Node {
    fn bind(files: &Path, number: u32, all_to_all: usize, measured: u32, network: &MemoryNetwork) -> Self {
        let identity = Identity::load(files, id(number), SystemTime::now()).unwrap();
        let quic = QuicTransport::bind(&identity, "127.0.0.1:0".parse().unwrap(), HEARTBEAT).unwrap();
        let config = Config {
            id: id(number),
            run: Run(number.into()),
            since_1970: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap(),
            heartbeat: HEARTBEAT,
            unit: UNIT,
            all_to_all,
            candidates: CANDIDATES,
        };
        let mut cluster = Cluster::new(config, Instant::now());
        cluster.set_speed(RATE);
        Self { cluster, quic, memory: network.join(id(number)), measured: id(measured), scans: VecDeque::new() }
    }

    async fn run(mut self, members: Vec<Member>) {
        let is_measured = self.cluster.id() == self.measured;
        let over_quic = members.iter().filter(|member| is_measured || member.id == self.measured);
        self.quic.set_peers(&over_quic.copied().collect::<Vec<_>>());
        self.memory.set_peers(&members);
        let all: Vec<_> = members.iter().map(|member| (member.id, member.proves)).collect();
        self.cluster.set_peers(Instant::now(), &all);
        loop {
            self.drain();
            let now = Instant::now();
            let end = self.scans.front().and_then(Scan::end);
            let due = [self.cluster.poll_timeout(), end].into_iter().flatten().min().unwrap_or(now + HEARTBEAT);
            tokio::select! {
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    self.look_at_scans(now);
                    self.cluster.handle_timeout(now);
                }
                Some((from, message)) = self.quic.recv() => {
                    MESSAGES.fetch_add(1, Ordering::Relaxed);
                    self.hear(from, message);
                }
                Some((from, message)) = self.memory.recv() => self.hear(from, message),
            }
        }
    }

    fn hear(&mut self, from: NodeId, message: Message) {
        let now = Instant::now();
        if matches!(message, Message::HeartbeatRequest(_)) {
            self.look_at_scans(now); // the answer may carry a report
        }
        self.cluster.handle_message(now, from, message);
    }

    /// Tells the rules how far the scans are.
    fn look_at_scans(&mut self, now: Instant) {
        while let Some(scan) = self.scans.front() {
            let (ticket, to) = (scan.ticket, scan.to(now));
            if to < scan.range.end {
                return self.cluster.handle_progress(ticket, to, scan.shown(to));
            }
            let (end, done) = (scan.end(), self.scans.pop_front().unwrap());
            if let Some(next) = self.scans.front_mut() {
                next.began = end;
            }
            self.cluster.handle_searched(now, ticket, to, &done.witnesses);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            match output {
                Output::Send { to, message } if self.measured == to || self.measured == self.cluster.id() => {
                    MESSAGES.fetch_add(1, Ordering::Relaxed);
                    self.quic.send(to, message);
                }
                Output::Send { to, message } => self.memory.send(to, message),
                Output::Scan { ticket, job, range, bits } => {
                    self.scans.push_back(Scan::new(ticket, &job, range, bits));
                    self.go_on();
                }
                Output::Stop { ticket } => {
                    self.scans.retain(|scan| scan.ticket != ticket);
                    self.go_on();
                }
                Output::Ask => {
                    let now = Instant::now();
                    self.cluster.handle_template(now, template(), now);
                }
                Output::Distrusted { node } => panic!("{node} is not believed"),
                _ => {}
            }
        }
    }

    /// The first scan is under way.
    fn go_on(&mut self) {
        if let Some(scan) = self.scans.front_mut() {
            scan.began.get_or_insert_with(Instant::now);
        }
    }
}

/// `node FILES NUMBER ALL_TO_ALL`: one node; it says its address, and reads those of all. To each further line it answers with its messages.
async fn node(words: &[String]) {
    let (number, network) = (words[1].parse().unwrap(), MemoryNetwork::new());
    let node = Node::bind(Path::new(&words[0]), number, words[2].parse().unwrap(), number, &network);
    println!("{}", node.quic.local_address());
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    std::thread::spawn(|| {
        for _ in std::io::stdin().lines() {
            println!("{}", MESSAGES.load(Ordering::Relaxed));
        }
    });
    node.run(members(&line)).await;
}

fn members(line: &str) -> Vec<Member> {
    let entry = |word: &str| {
        word.split_once('=').map(|(node, at)| Member::headframe(node.parse().unwrap(), at.parse().unwrap()))
    };
    line.split_whitespace().filter_map(entry).collect()
}

struct Measured {
    process: Child,
    questions: ChildStdin,
    answers: std::io::BufReader<ChildStdout>,
}

impl Measured {
    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// Seconds on a core, messages sent and got, and MiB resident.
    fn costs(&mut self) -> [f64; 3] {
        writeln!(self.questions).unwrap();
        let messages: f64 = self.read_line().trim().parse().unwrap();
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap();
        let (stat, status) = (read("stat"), read("status"));
        let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.map(|word| word.parse::<f64>().unwrap()).sum();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        [ticks / 100.0, messages, kib.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0]
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Node `number` of `nodes` is measured: its part of a core, messages a second, and MiB.
async fn measure(nodes: u32, number: u32, all_to_all: usize, settle: Duration, time: Duration) -> [f64; 3] {
    let files = tempfile::tempdir().unwrap();
    create_cluster(files.path(), (1..=nodes).map(id), SystemTime::now()).unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["node".as_ref(), files.path().as_os_str()])
        .args([number.to_string(), all_to_all.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (questions, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    let mut measured = Measured { process, questions, answers: std::io::BufReader::new(answers) };
    let address = measured.read_line();
    let network = MemoryNetwork::new();
    let bind = |other| Node::bind(files.path(), other, all_to_all, number, &network);
    let others = (1..=nodes).filter(|other| *other != number);
    let others: Vec<_> = others.map(|other| (id(other), bind(other))).collect();
    let mut all: Vec<_> = others.iter().map(|(id, node)| Member::headframe(*id, node.quic.local_address())).collect();
    all.push(Member::headframe(id(number), address.trim().parse().unwrap()));
    let list: Vec<_> = all.iter().map(|member| format!("{}={}", member.id, member.address)).collect();
    writeln!(measured.questions, "{}", list.join(" ")).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for (_, node) in others {
        tasks.spawn(node.run(all.clone()));
    }
    sleep(settle).await;
    let [core, messages, _] = measured.costs();
    sleep(time).await;
    let after = measured.costs();
    // A node that panics is a task that has ended; the others never end.
    assert!(tasks.try_join_next().is_none(), "a node has stopped");
    [(after[0] - core) / time.as_secs_f64(), (after[1] - messages) / time.as_secs_f64(), after[2]]
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    if words.first().is_some_and(|word| word == "node") {
        return runtime().block_on(node(&words[1..]));
    }
    let is_test = words.iter().any(|word| word == "--test");
    let asked: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let sizes = match (is_test, asked.is_empty()) {
        (true, _) => vec![8],
        (false, true) => vec![5, 10, 33, 100, 300, 1000],
        (false, false) => asked,
    };
    println!("| nodes | heartbeats | node | of a core | messages/s | MiB resident |\n|---|---|---|---|---|---|");
    for nodes in sizes {
        for (what, all_to_all) in [("to all", usize::MAX), ("to candidates", 0)] {
            if all_to_all > 0 && nodes > MOST_TO_ALL {
                continue;
            }
            for number in [1, 2, nodes] {
                // Long enough that the leases are as large as they get.
                let settle = Duration::from_secs(if is_test { 4 } else { 20 + u64::from(nodes) / 20 });
                let time = HEARTBEAT * if is_test { 1 } else { 4 };
                let [core, messages, memory] = runtime().block_on(measure(nodes, number, all_to_all, settle, time));
                let name = ["leader", "next", "last"][number.min(3) as usize - 1];
                let core = core * 100.0;
                println!("| {nodes} | {what} | {name} | {core:.2} % | {messages:.1} | {memory:.1} |");
            }
        }
    }
}
