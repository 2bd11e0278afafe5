//! What a large cluster costs one of its nodes: a node in a process of its own, with the real rules over real QUIC on loopback, and all
//! others in this process. Nobody hashes; scans are pretended, at a speed that makes a lease a heartbeat.
//!
//! `cargo bench --bench scale` prints, for several sizes, the node's share of a core and its resident memory, as the leader and as the last
//! one to lead, with heartbeats from everyone to everyone and to the next candidates only; with `--test` one small size.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use headframe::cluster::{CANDIDATES, Cluster, Config, NodeId, Output, Ticket};
use headframe::transport::Transport;
use headframe::transport::quic::files::create_cluster;
use headframe::transport::quic::{Identity, QuicTransport};
use headframe::work::{Digest, Header, HeaderPuzzle, Job, NonceRange, Puzzle, Search, Target, UNIT, ZeroUnit};
use tokio::time::{sleep, sleep_until};

const HEARTBEAT: Duration = Duration::from_secs(5);

/// Nonces per second: a lease of one heartbeat is five units.
const RATE: u64 = 100_000;

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

struct Node {
    cluster: Cluster,
    transport: QuicTransport,
    scans: VecDeque<(Ticket, NonceRange)>,
    /// When the first scan ends.
    end: Option<Instant>,
    jobs: u32,
}

impl Node {
    fn bind(files: &Path, number: u32, all_to_all: usize) -> Self {
        let identity = Identity::load(files, id(number), SystemTime::now()).unwrap();
        let transport = QuicTransport::bind(&identity, "127.0.0.1:0".parse().unwrap(), HEARTBEAT).unwrap();
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
        cluster.set_rate(RATE + u64::from(number) * 37 % 5000);
        Self { cluster, transport, scans: VecDeque::new(), end: None, jobs: 0 }
    }

    async fn run(mut self, peers: BTreeMap<NodeId, SocketAddr>) {
        self.transport.set_peers(&peers);
        self.cluster.set_peers(Instant::now(), &peers.keys().copied().collect::<Vec<_>>());
        loop {
            self.drain();
            let far = Instant::now() + HEARTBEAT;
            let due = self.cluster.poll_timeout().unwrap_or(far).min(self.end.unwrap_or(far));
            tokio::select! {
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    while self.end.is_some_and(|end| end <= now) {
                        let (ticket, range) = self.scans.pop_front().unwrap();
                        self.next();
                        self.cluster.handle_progress(ticket, range.end);
                        self.cluster.handle_searched(now, ticket);
                        self.drain();
                    }
                    self.cluster.handle_timeout(now);
                }
                Some((from, message)) = self.transport.recv() => {
                    self.cluster.handle_message(Instant::now(), from, message);
                }
            }
        }
    }

    fn next(&mut self) {
        let time = |range: &NonceRange| Duration::from_secs_f64(range.len() as f64 / RATE as f64);
        self.end = self.scans.front().map(|(_, range)| Instant::now() + time(range));
    }

    fn drain(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            match output {
                Output::Send { to, message } => self.transport.send(to, message),
                Output::Scan { ticket, range, .. } => {
                    self.scans.push_back((ticket, range));
                    if self.scans.len() == 1 {
                        self.next();
                    }
                }
                Output::Stop { ticket } => {
                    self.scans.retain(|(other, _)| *other != ticket);
                    self.next();
                }
                Output::NeedJob => {
                    self.jobs += 1;
                    self.cluster.handle_job(Instant::now(), job(self.jobs));
                }
                _ => {}
            }
        }
    }
}

/// `node FILES NUMBER ALL_TO_ALL`: one node; it says its address, and reads those of all.
async fn node(words: &[String]) {
    let node = Node::bind(Path::new(&words[0]), words[1].parse().unwrap(), words[2].parse().unwrap());
    println!("{}", node.transport.local_address());
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    node.run(addresses(&line)).await;
}

fn addresses(line: &str) -> BTreeMap<NodeId, SocketAddr> {
    let entry = |word: &str| word.split_once('=').map(|(node, at)| (node.parse().unwrap(), at.parse().unwrap()));
    line.split_whitespace().filter_map(entry).collect()
}

struct Measured(Child);

impl Measured {
    /// Seconds on a core, and MiB resident.
    fn costs(&self) -> (f64, f64) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap();
        let (stat, status) = (read("stat"), read("status"));
        let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.map(|word| word.parse::<f64>().unwrap()).sum();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        (ticks / 100.0, kib.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0)
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Node `number` of `nodes` is measured.
async fn measure(nodes: u32, number: u32, all_to_all: usize, settle: Duration, time: Duration) -> (f64, f64) {
    let files = tempfile::tempdir().unwrap();
    create_cluster(files.path(), (1..=nodes).map(id), SystemTime::now()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["node".as_ref(), files.path().as_os_str()])
        .args([number.to_string(), all_to_all.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let others = (1..=nodes).filter(|other| *other != number);
    let others: Vec<_> = others.map(|other| (id(other), Node::bind(files.path(), other, all_to_all))).collect();
    let mut all: BTreeMap<_, _> = others.iter().map(|(id, node)| (*id, node.transport.local_address())).collect();
    all.insert(id(number), line.trim().parse().unwrap());
    let list: Vec<_> = all.iter().map(|(id, address)| format!("{id}={address}")).collect();
    writeln!(child.stdin.take().unwrap(), "{}", list.join(" ")).unwrap();
    let measured = Measured(child);
    let mut tasks = tokio::task::JoinSet::new();
    for (_, node) in others {
        tasks.spawn(node.run(all.clone()));
    }
    sleep(settle).await;
    let before = measured.costs().0;
    sleep(time).await;
    let (after, memory) = measured.costs();
    ((after - before) / time.as_secs_f64(), memory)
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    if words.first().is_some_and(|word| word == "node") {
        return runtime().block_on(node(&words[1..]));
    }
    let is_test = words.iter().any(|word| word == "--test");
    let few = |all: &[u32]| if is_test { vec![8] } else { all.to_vec() };
    println!("| nodes | heartbeats | node | share of a core | MiB resident |\n|---|---|---|---|---|");
    for (what, all_to_all, sizes) in
        [("to all", usize::MAX, few(&[10, 33, 100])), ("to candidates", 0, few(&[10, 33, 100, 300, 1000]))]
    {
        for nodes in sizes {
            for number in [1, nodes] {
                let settle = Duration::from_secs(if is_test { 4 } else { 20 + u64::from(nodes) / 20 });
                let time = HEARTBEAT * if is_test { 1 } else { 4 };
                let (share, memory) = runtime().block_on(measure(nodes, number, all_to_all, settle, time));
                let name = if number == 1 { "leader" } else { "last" };
                println!("| {nodes} | {what} | {name} | {:.2} % | {memory:.1} |", share * 100.0);
            }
        }
    }
}
