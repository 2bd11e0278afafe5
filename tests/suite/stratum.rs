//! Nodes that mine for a pool by Stratum, over TCP. The pool is in this file. It works each submission out for itself, with another SHA-256
//! than the program's, and no header may come twice, whichever node has found it.

// Nodes run by the real clock.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headframe::cluster::NodeId;
use headframe::kernel::choose;
use headframe::node::{self, Config, Event, Peers, Registry, ShareOutcome, TimedEvent};
use headframe::source::{StratumAddress, StratumSource, Tls};
use headframe::transport::Transport;
use headframe::transport::memory::{MemoryNetwork, MemoryTransport};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::process::check::sha256d;

const HEARTBEAT: Duration = Duration::from_millis(500);
/// What should happen has so long to happen, on a box that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

const USER: &str = "bc1qsecret.rig";
const COINB1: &str = "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff20020862062f503253482f04b8864e5008";
const COINB2: &str =
    "072f736c7573682f000000000100f2052a010000001976a914d23fcdf86f7e756a64a7a9688ef9903327048ed988ac00000000";
const BRANCH: [[u8; 32]; 2] = [[7; 32], [8; 32]];
const VERSION: u32 = 0x2000_0000;
const MASK: u32 = 0x1fff_e000;
const BITS: u32 = 0x1703_31db;
const TIME: u32 = 1_800_000_000;

/// A difficulty of 2^-15: a share takes 131,072 hashes. Shares are so rare that few are on their way at a time.
fn difficulty() -> Value {
    json!((-15f64).exp2())
}

/// Whether the hash is at most 0xffff · 2^(208 + 15), but for one hash in 2^33.
fn is_share(hash: &[u8; 32]) -> bool {
    hash.last_chunk().is_some_and(|high| u64::from_le_bytes(*high) >> 31 < 0xffff)
}

#[derive(Default)]
struct State {
    /// The present job, and the block that it builds on.
    job: usize,
    block: u8,
    /// Connections so far; each has an extranonce1 of its own.
    connections: u32,
    /// Those that are to be closed.
    closed: u32,
    /// The headers that were submitted.
    seen: HashSet<Vec<u8>>,
    /// Shares of each job while it was the present one.
    shares: Vec<u64>,
    /// Shares of a job that was not the present one.
    stale: u64,
    /// The extranonce1 and extranonce2 of each share.
    spaces: HashSet<(u32, String)>,
    faults: Vec<String>,
}

/// The pool.
struct Pool {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    port: u16,
}

impl Pool {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State { shares: vec![0], block: 1, ..State::default() };
        let port = listener.local_addr().unwrap().port();
        let pool = Arc::new(Self { state: Mutex::new(state), changed: watch::Sender::new(()), port });
        let serving = Arc::clone(&pool);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        pool
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A clean job, on a new block or on the same.
    fn restart(&self, is_new_block: bool) {
        let mut state = self.state();
        state.job += 1;
        state.block += u8::from(is_new_block);
        state.shares.push(0);
        drop(state);
        self.changed.send_replace(());
    }

    fn close_all(&self) {
        let mut state = self.state();
        state.closed = state.connections;
        drop(state);
        self.changed.send_replace(());
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let mut changed = self.changed.subscribe();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let number = {
            let mut state = self.state();
            state.connections += 1;
            state.connections
        };
        let mut is_open = false;
        loop {
            let mut said = String::new();
            tokio::select! {
                line = lines.next_line() => {
                    let Ok(Some(line)) = line else { return };
                    let request: Value = serde_json::from_str(&line).unwrap();
                    let (result, error) = self.answer(number, &request);
                    said += &format!("{}\n", json!({"id": request["id"], "result": result, "error": error}));
                    if request["method"] == "mining.authorize" {
                        is_open = true;
                        said += &format!("{}\n", json!({"id": null, "method": "mining.set_difficulty", "params": [difficulty()]}));
                        said += &self.notify();
                    }
                }
                _ = changed.changed() => {
                    if self.state().closed >= number {
                        return;
                    }
                    if is_open {
                        said += &self.notify();
                    }
                }
            }
            if write.write_all(said.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn notify(&self) -> String {
        let state = self.state();
        let mut prev = prev(state.block);
        prev.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        let [version, bits, time] = [VERSION, BITS, TIME].map(|word| format!("{word:08x}"));
        let job = format!("{:x}", state.job);
        let params =
            json!([job, hex::encode(prev), COINB1, COINB2, BRANCH.map(hex::encode), version, bits, time, true]);
        format!("{}\n", json!({"id": null, "method": "mining.notify", "params": params}))
    }

    fn answer(&self, number: u32, request: &Value) -> (Value, Value) {
        match request["method"].as_str().unwrap() {
            "mining.configure" => {
                (json!({"version-rolling": true, "version-rolling.mask": format!("{MASK:08x}")}), Value::Null)
            }
            "mining.subscribe" => (json!([[], format!("{number:08x}"), 4]), Value::Null),
            "mining.submit" => self.judge(number, request["params"].as_array().unwrap()),
            _ => (json!(true), Value::Null),
        }
    }

    fn judge(&self, number: u32, params: &[Value]) -> (Value, Value) {
        let state = &mut *self.state();
        let text = |at: usize| params[at].as_str().unwrap();
        let word = |at: usize| u32::from_str_radix(text(at), 16).unwrap();
        let job = usize::from_str_radix(text(1), 16).unwrap();
        let coinbase = hex::decode(format!("{COINB1}{number:08x}{}{COINB2}", text(2))).unwrap();
        let root = BRANCH.iter().fold(sha256d(&coinbase), |left, right| sha256d(&[left, *right].concat()));
        let version = VERSION & !MASK | word(5) & MASK;
        let numbers = [word(3), BITS, word(4)].map(u32::to_le_bytes).concat();
        let is_present = job == state.job;
        // Old jobs are only recognised: the pool keeps no old blocks.
        if !is_present {
            state.stale += 1;
            return (Value::Null, json!([21, "Job not found", null]));
        }
        let header = [&version.to_le_bytes()[..], &prev(state.block), &root, &numbers].concat();
        let is_new = state.seen.insert(header.clone());
        let is_in_time = (TIME..TIME + 600).contains(&word(3));
        if text(0) != USER || !is_new || !is_in_time || word(5) & !MASK != 0 || !is_share(&sha256d(&header)) {
            state.faults.push(format!("connection {number}, new {is_new}: {params:?}"));
            return (json!(false), json!([20, "no share", null]));
        }
        state.shares[job] += 1;
        state.spaces.insert((number, text(2).to_owned()));
        (json!(true), Value::Null)
    }
}

/// The block's hash in the header's order.
fn prev(block: u8) -> [u8; 32] {
    std::array::from_fn(|at| if at < 24 { block.wrapping_mul(31).wrapping_add(at as u8) } else { 0 })
}

/// Nodes 1 to n that mine for one pool.
struct Cluster {
    pool: Arc<Pool>,
    nodes: BTreeMap<u32, JoinHandle<()>>,
    stop: CancellationToken,
    events: mpsc::Receiver<TimedEvent>,
    told: Vec<Event>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn start(count: u32, pool: Arc<Pool>) -> Self {
        let (network, folder) = (MemoryNetwork::new(), tempfile::tempdir().unwrap());
        let registry = Registry::at(folder.path().join("run")).unwrap();
        let (tell, events) = mpsc::channel(100_000);
        let (stop, begin) = (CancellationToken::new(), Instant::now());
        let id = |id| NodeId::try_from(id).unwrap();
        let ends: BTreeMap<_, _> = (1..=count).map(|node| (node, Arc::new(network.join(id(node))))).collect();
        let servers: BTreeMap<_, _> = ends.iter().map(|(&node, end)| (id(node), end.local_address())).collect();
        let address = StratumAddress::parse(&format!("stratum+tcp://{USER}@127.0.0.1:{}", pool.port)).unwrap();
        let start = |(node, transport): (u32, Arc<MemoryTransport>)| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let registration = registry.register(id(node), servers[&id(node)], since).unwrap();
            let config = Config {
                id: id(node),
                peers: Peers::Fixed(servers.clone()),
                heartbeat: HEARTBEAT,
                kernel: choose(Some("portable"), &|| begin.elapsed()).unwrap(),
                threads: std::num::NonZeroUsize::MIN.into(),
                sources: vec![Arc::new(StratumSource::new(address.clone(), Tls::default(), 1e6).unwrap())],
                transport,
                certs: None,
                registration: Some(registration),
                store: None,
                payout: None,
                source_return: Duration::ZERO,
                blocks: None,
            };
            let (tell, stop) = (tell.clone(), stop.clone());
            (node, tokio::spawn(async move { node::run(config, tell, stop).await.unwrap() }))
        };
        let nodes = ends.into_iter().map(start).collect();
        Self { pool, nodes, stop, events, told: vec![], _folder: folder }
    }

    /// Waits until it is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&State, &[Event]) -> bool) {
        let begin = Instant::now();
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.told.push(event.event);
            }
            {
                let state = self.pool.state();
                assert_eq!(state.faults, [""; 0]);
                if is_so(&state, &self.told) {
                    return;
                }
            }
            assert!(begin.elapsed() < PATIENCE, "expected {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn shares(&mut self, count: u64) {
        let before: u64 = self.pool.state().shares.iter().sum();
        self.until("shares", |state, _| state.shares.iter().sum::<u64>() >= before + count).await;
    }

    /// Stops all nodes, and reads what they have told.
    async fn stop(mut self) -> Vec<Event> {
        self.stop.cancel();
        for (_, node) in self.nodes {
            node.await.unwrap();
        }
        while let Ok(event) = self.events.try_recv() {
            self.told.push(event.event);
        }
        assert_eq!(self.pool.state().faults, [""; 0]);
        self.told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_mines_for_a_pool_and_clean_jobs_interrupt_all_of_it() {
    let pool = Pool::start().await;
    let mut cluster = Cluster::start(2, Arc::clone(&pool));
    cluster.shares(60).await;
    // A restart on the same block, and a new block.
    for is_new_block in [false, true] {
        pool.restart(is_new_block);
        let job = pool.state().job;
        cluster.until("shares of the new job", |state, _| state.shares[job] >= 90).await;
    }
    let told = cluster.stop().await;
    let state = pool.state();
    // What was on its way when a job ended: 2 to 15 shares. Where the restart on the same block interrupts nobody, they are 141 at least.
    assert!(state.stale <= 60, "{} shares of jobs that had ended", state.stale);
    assert!(state.spaces.len() >= 3, "each job has an extranonce2 of its own: {:?}", state.spaces);
    let count = |outcome| {
        let is_it = |event: &&Event| matches!(event, Event::Share { status, .. } if *status == outcome);
        told.iter().filter(is_it).count() as u64
    };
    let (shares, accepted) = (state.shares.iter().sum::<u64>(), count(ShareOutcome::Accepted));
    // The answers to the last ones, 512 under way at most, may come after the end.
    assert!(accepted <= shares && shares - accepted <= 512, "{accepted} of {shares}");
    assert!(count(ShareOutcome::Stale) <= state.stale);
    let shown = format!("{told:?}");
    assert!(!shown.contains(USER) && shown.contains("stratum+tcp://127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_session_and_another_leader_go_on_without_repeating_anything() {
    let pool = Pool::start().await;
    let mut cluster = Cluster::start(3, Arc::clone(&pool));
    cluster.shares(40).await;
    for _ in 0..2 {
        pool.close_all();
        let closed = pool.state().closed;
        let is_newer =
            |state: &State, _: &[Event]| state.spaces.iter().filter(|(number, _)| *number > closed).count() > 0;
        cluster.until("shares of another session", is_newer).await;
        cluster.shares(40).await;
    }
    let connections = pool.state().connections;
    cluster.nodes.remove(&1).unwrap().abort();
    let by_next = move |state: &State, _: &[Event]| state.spaces.iter().any(|(number, _)| *number > connections);
    cluster.until("shares of the next leader", by_next).await;
    cluster.shares(40).await;
    cluster.stop().await;
}
