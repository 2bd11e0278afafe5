//! What a large cluster costs one of its nodes: a node in a process of its own, with the real rules over real QUIC on loopback, and all
//! others in this process, which speak with each other through memory: so one small machine does. A second's hashing takes 50 µs, so that
//! a lease of 1000 nonces lasts a heartbeat; its shares are real ones.
//!
//! `cargo bench --bench scale` prints, for several sizes, what the node takes of a core, its resident memory and its messages, as the leader,
//! as the next one to lead and as the last, with heartbeats from everyone to everyone and to the next candidates only; `-- 300 1000` asks for
//! these sizes, `--test` for one small one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use headframe::cluster::{CANDIDATES, Cluster, Config, NodeId, Output, Ticket};
use headframe::transport::Transport;
use headframe::transport::memory::{MemoryNetwork, MemoryTransport};
use headframe::transport::quic::files::create_cluster;
use headframe::transport::quic::{Identity, QuicTransport};
use headframe::work::{Digest, Header, HeaderPuzzle, Job, NonceRange, Puzzle, Search, ShareBits, Target, ZeroUnit};
use tokio::time::{sleep, sleep_until};

const HEARTBEAT: Duration = Duration::from_secs(5);

/// The ledger's grain: as in the program, a node's lease is a few of them at least.
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

fn job(time: u32) -> Job {
    let header = Header {
        version: 0x2000_0000,
        prev_blockhash: Digest([1; 32]),
        merkle_root: Digest([2; 32]),
        time,
        bits: 0x207f_ffff,
        nonce: 0,
    };
    Job {
        height: 1,
        puzzle: Puzzle::Header(HeaderPuzzle { header, version_mask: 0 }),
        target: Target::from_zeros(250, ZeroUnit::Bits).unwrap(),
        search: Search::First,
    }
}

/// A range under scan.
struct Scan {
    ticket: Ticket,
    job: Job,
    bits: ShareBits,
    range: NonceRange,
}

struct Node {
    cluster: Cluster,
    /// To the node that is measured, or from it to all.
    quic: QuicTransport,
    /// Among the others.
    memory: MemoryTransport,
    measured: NodeId,
    scans: VecDeque<Scan>,
    /// When the first scan ends.
    end: Option<Instant>,
    jobs: u32,
}

impl Node {
    fn bind(files: &Path, number: u32, all_to_all: usize, measured: u32, network: &MemoryNetwork) -> Self {
        let identity = Identity::load(files, id(number), SystemTime::now()).unwrap();
        let quic = QuicTransport::bind(&identity, "127.0.0.1:0".parse().unwrap(), HEARTBEAT).unwrap();
        let config = Config {
            id: id(number),
            incarnation: 1,
            heartbeat: HEARTBEAT,
            unit: UNIT,
            all_to_all,
            candidates: CANDIDATES,
        };
        let mut cluster = Cluster::new(config, Instant::now());
        // A little apart, so that leases do not end together.
        cluster.set_rate(RATE + u64::from(number) * 37 % 20);
        let memory = network.join(id(number));
        Self { cluster, quic, memory, measured: id(measured), scans: VecDeque::new(), end: None, jobs: 0 }
    }

    async fn run(mut self, peers: BTreeMap<NodeId, SocketAddr>) {
        let is_measured = self.cluster.id() == self.measured;
        self.quic.set_peers(&peers.iter().filter(|(id, _)| is_measured || **id == self.measured).map(pair).collect());
        self.memory.set_peers(&peers);
        self.cluster.set_peers(Instant::now(), &peers.keys().copied().collect::<Vec<_>>());
        loop {
            self.drain();
            let far = Instant::now() + HEARTBEAT;
            let due = self.cluster.poll_timeout().unwrap_or(far).min(self.end.unwrap_or(far));
            tokio::select! {
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    while self.end.is_some_and(|end| end <= now) {
                        let Scan { ticket, job, bits, range } = self.scans.pop_front().unwrap();
                        self.next();
                        let is_share = |nonce: &u64| bits.check(&job.puzzle, *nonce).is_some();
                        self.cluster.handle_searched(now, ticket, (range.start..range.end).filter(is_share).collect());
                        self.drain();
                    }
                    self.cluster.handle_timeout(now);
                }
                Some((from, message)) = self.quic.recv() => {
                    MESSAGES.fetch_add(1, Ordering::Relaxed);
                    self.cluster.handle_message(Instant::now(), from, message);
                }
                Some((from, message)) = self.memory.recv() => {
                    self.cluster.handle_message(Instant::now(), from, message);
                }
            }
        }
    }

    fn next(&mut self) {
        let time = |scan: &Scan| Duration::from_secs_f64(scan.range.len() as f64 / RATE as f64);
        self.end = self.scans.front().map(|scan| Instant::now() + time(scan));
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
                    self.scans.push_back(Scan { ticket, job, bits, range });
                    if self.scans.len() == 1 {
                        self.next();
                    }
                }
                Output::Stop { ticket } => {
                    self.scans.retain(|scan| scan.ticket != ticket);
                    self.next();
                }
                Output::NeedJob => {
                    self.jobs += 1;
                    self.cluster.handle_job(Instant::now(), job(self.jobs));
                }
                Output::Distrusted { node } => panic!("{node} is not believed"),
                _ => {}
            }
        }
    }
}

fn pair((id, address): (&NodeId, &SocketAddr)) -> (NodeId, SocketAddr) {
    (*id, *address)
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
    node.run(addresses(&line)).await;
}

fn addresses(line: &str) -> BTreeMap<NodeId, SocketAddr> {
    let entry = |word: &str| word.split_once('=').map(|(node, at)| (node.parse().unwrap(), at.parse().unwrap()));
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
    let mut all: BTreeMap<_, _> = others.iter().map(|(id, node)| (*id, node.quic.local_address())).collect();
    all.insert(id(number), address.trim().parse().unwrap());
    let list: Vec<_> = all.iter().map(|(id, address)| format!("{id}={address}")).collect();
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
                // Long enough that the account is as long as it gets.
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
