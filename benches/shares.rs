//! What a thousand shares a second cost: nodes mine for a pool whose shares are as easy as that, and for the same pool with shares as hard as
//! its blocks, in turns of some seconds. One node alone; and one with a second node, which reports its shares to the first over QUIC on
//! loopback. The pool is in this process and answers after 40 ms, so what a connection to it costs is left out.
//!
//! `cargo bench --bench shares` prints what is left of the hashes for each CPU second of the process and for each second on the wall; `-- 40`
//! asks for so many turns of either kind, `--test` for one short one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use headframe::cluster::NodeId;
use headframe::kernel::choose;
use headframe::node::{self, Config, Event, Peers, Registry, ShareOutcome, TimedEvent};
use headframe::scan::Threads;
use headframe::source::{BlockSource, BoxFuture, Offer, Session, SourceError, Verdict};
use headframe::transport::Transport;
use headframe::transport::identity::ClusterCa;
use headframe::transport::quic::QuicTransport;
use headframe::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, RoundId, Search, Solution, Target, Template,
    ZeroUnit,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const HEARTBEAT: Duration = Duration::from_secs(1);

/// Shares a second, of each node.
const SHARES: f64 = 1000.0;

/// How far away the pool is.
const ANSWER: Duration = Duration::from_millis(40);

/// A turn: so many heartbeats, of which the first does not count, since its jobs are new.
const BEATS: usize = 5;

/// A pool that accepts everything, and what it wants of a share at the moment.
struct Pool {
    report: watch::Sender<Target>,
    shares: AtomicU64,
}

struct Line {
    pool: Arc<Pool>,
    wanted: watch::Receiver<Target>,
    templates: u64,
}

struct Way(Arc<Pool>);

impl BlockSource for Way {
    fn url(&self) -> &str {
        "pool"
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>> {
        let mut wanted = self.0.report.subscribe();
        wanted.mark_changed();
        let line = Line { pool: Arc::clone(&self.0), wanted, templates: 0 };
        Box::pin(async move { Ok(Box::new(line) as Box<dyn Session>) })
    }
}

/// What no hash meets while this runs.
fn block() -> Target {
    Target::from_zeros(100, ZeroUnit::Bits).unwrap()
}

impl Session for Line {
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>> {
        Box::pin(async {
            let _ = self.wanted.changed().await;
            let report = *self.wanted.borrow_and_update();
            self.templates += 1;
            let coinbase = Coinbase { before: vec![1; 60], extranonce: Extranonce::Counter(4), after: vec![2; 60] };
            let template = Template {
                round: RoundId { block: BlockId { height: 1, hash: Digest([1; 32]) }, generation: 0 },
                goal: Goal { block: block(), report, search: Search::Every },
                puzzle: Blueprint::Header {
                    version: 0x2000_0000,
                    mask: 0x1fff_e000,
                    bits: 0x1d00_ffff,
                    time: BlockTime::from(1),
                    coinbase: Arc::new(coinbase),
                    branch: Arc::from([Digest([3; 32]); 12]),
                },
                tag: self.templates,
            };
            Ok(Offer { template, asked: Instant::now(), body: None })
        })
    }

    fn ask(&mut self) {
        self.wanted.mark_changed();
    }

    fn submit(&self, _: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let pool = Arc::clone(&self.pool);
        Box::pin(async move {
            tokio::time::sleep(ANSWER).await;
            pool.shares.fetch_add(1, Relaxed);
            Ok(Verdict::Share)
        })
    }
}

/// CPU seconds of this process so far: all threads, and those that hash.
fn cpu() -> (f64, f64) {
    let (mut all, mut hashing) = (0.0, 0.0);
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let nanoseconds: f64 = read("schedstat").split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0);
        all += nanoseconds / 1e9;
        if read("comm").starts_with("scan-") {
            hashing += nanoseconds / 1e9;
        }
    }
    (all, hashing)
}

/// What a turn came to, a second on the wall.
#[derive(Clone, Copy, Debug)]
struct Turn {
    hashes: f64,
    cpu: f64,
    hashing: f64,
    shares: f64,
}

/// Nodes that mine for one pool.
struct Nodes {
    count: usize,
    pool: Arc<Pool>,
    events: mpsc::Receiver<TimedEvent>,
    stop: CancellationToken,
    running: tokio::task::JoinSet<()>,
}

impl Nodes {
    fn start(count: u32, folder: &std::path::Path) -> Self {
        let pool = Arc::new(Pool { report: watch::Sender::new(block()), shares: AtomicU64::new(0) });
        let ca = ClusterCa::generate(SystemTime::now()).unwrap();
        let registry = Registry::at(folder.join("run")).unwrap();
        let (tell, events) = mpsc::channel(100_000);
        let (stop, begin, mut running) = (CancellationToken::new(), Instant::now(), tokio::task::JoinSet::new());
        let id = |id: u32| NodeId::try_from(id).unwrap();
        let bind = |node| {
            let identity = ca.issue(id(node), SystemTime::now()).unwrap();
            (node, Arc::new(QuicTransport::bind(&identity, "127.0.0.1:0".parse().unwrap(), HEARTBEAT).unwrap()))
        };
        let ends: BTreeMap<_, _> = (1..=count).map(bind).collect();
        let servers: BTreeMap<_, _> = ends.iter().map(|(&node, end)| (id(node), end.local_address())).collect();
        let cores = std::thread::available_parallelism().unwrap().get();
        let threads: Threads = NonZeroUsize::new((cores / count as usize).max(1)).unwrap().into();
        for (node, transport) in ends {
            let config = Config {
                id: id(node),
                peers: Peers::Fixed(servers.clone()),
                heartbeat: HEARTBEAT,
                kernel: choose(None, &|| begin.elapsed()).unwrap(),
                threads: threads.clone(),
                sources: vec![Arc::new(Way(Arc::clone(&pool)))],
                source_return: Duration::from_secs(30),
                registration: Some(registry.register(id(node), servers[&id(node)], 0).unwrap()),
                transport,
                certs: None,
                store: None,
                payout: None,
                blocks: None,
            };
            let (tell, stop) = (tell.clone(), stop.clone());
            running.spawn(async move { node::run(config, tell, stop).await.unwrap() });
        }
        Self { count: count as usize, pool, events, stop, running }
    }

    /// Lets them mine for a turn with this target of shares.
    async fn turn(&mut self, report: Target, beats: usize) -> Turn {
        self.pool.report.send_replace(report);
        tokio::time::sleep(HEARTBEAT).await;
        while self.events.try_recv().is_ok() {}
        let mut rates: BTreeMap<NodeId, Vec<f64>> = BTreeMap::new();
        let (begin, (cpu_before, hashing_before), before) = (Instant::now(), cpu(), self.pool.shares.load(Relaxed));
        while rates.len() < self.count || rates.values().any(|rates| rates.len() < beats) {
            match self.events.recv().await.unwrap().event {
                Event::Rate { node, hashes_per_second, .. } => rates.entry(node).or_default().push(hashes_per_second),
                Event::Share { status, .. } if status != ShareOutcome::Accepted => panic!("a share was {status:?}"),
                _ => {}
            }
        }
        let ((cpu, hashing), wall) = (cpu(), begin.elapsed().as_secs_f64());
        // The first one began before the turn did.
        let mean = |rates: &Vec<f64>| rates[1..].iter().sum::<f64>() / (rates.len() - 1) as f64;
        Turn {
            hashes: rates.values().map(mean).sum(),
            cpu: (cpu - cpu_before) / wall,
            hashing: (hashing - hashing_before) / wall,
            shares: (self.pool.shares.load(Relaxed) - before) as f64 / wall,
        }
    }
}

/// The target that a hash meets with this probability.
fn target(probability: f64) -> Target {
    let mut bytes = [0xff; 32];
    bytes[..8].copy_from_slice(&((probability * 2f64.powi(64)) as u64).to_be_bytes());
    Target::from_be_bytes(bytes)
}

/// The mean, and its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0).max(1.0);
    (mean, (variance / values.len() as f64).sqrt())
}

async fn measure(count: u32, turns: usize, beats: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::start(count, folder.path());
    tokio::time::sleep(HEARTBEAT * 2).await;
    let first = nodes.turn(block(), 2).await;
    let easy = target(SHARES * f64::from(count) / first.hashes);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        // A, B, B, A: so that a drift of the box counts for neither.
        for is_easy in [turn % 2 == 0, turn % 2 == 1] {
            let report = if is_easy { easy } else { block() };
            let result = nodes.turn(report, beats).await;
            if is_easy { &mut with } else { &mut without }.push(result);
        }
    }
    let ratios = |of: fn(&Turn) -> f64| {
        let ratios: Vec<_> = with.iter().zip(&without).map(|(with, without)| of(with) / of(without) - 1.0).collect();
        let (mean, error) = mean(&ratios);
        format!("{:+.2} % (± {:.2})", mean * 100.0, error * 100.0)
    };
    let means = |turns: &[Turn], of: fn(&Turn) -> f64| mean(&turns.iter().map(of).collect::<Vec<_>>()).0;
    println!("{count} node(s), {:.0} shares a second, {turns} turns of either kind:", means(&with, |turn| turn.shares));
    println!("  hashes for each CPU second of the process  {}", ratios(|turn| turn.hashes / turn.cpu));
    println!("  hashes for each CPU second of hashing      {}", ratios(|turn| turn.hashes / turn.hashing));
    println!("  hashes for each second on the wall         {}", ratios(|turn| turn.hashes));
    // This holds on a busy box, too, where threads that hash get little of it.
    let others = |turns: &[Turn]| means(turns, |turn| turn.cpu - turn.hashing);
    let each = (others(&with) - others(&without)) / means(&with, |turn| turn.shares);
    let cores = std::thread::available_parallelism().unwrap().get();
    let part = each * SHARES * 100.0 / cores as f64;
    println!("  CPU of other threads for each share        {:.0} µs", each * 1e6);
    println!("  so a thousand a second take                {part:.1} % of {cores} cores");
    let rate = |turns: &[Turn]| means(turns, |turn| turn.hashes / 1e6);
    println!("  MH/s                                       {:.1}, without shares {:.1}", rate(&with), rate(&without));
    nodes.stop.cancel();
    while nodes.running.join_next().await.is_some() {}
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let is_test = words.iter().any(|word| word == "--test");
    let turns = words.iter().find_map(|word| word.parse().ok()).unwrap_or(12);
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).thread_name("network").enable_all().build().unwrap();
    for count in [1, 2] {
        match is_test {
            true => runtime.block_on(measure(count, 1, 2)),
            false => runtime.block_on(measure(count, turns, BEATS)),
        }
    }
}
