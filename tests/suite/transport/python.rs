//! A node in Python (`python/node.py`), whose messages are made from the `.proto` alone, in a cluster of two Headframe nodes. It answers
//! heartbeats, reports, is assigned work, searches it, finds a block, is interrupted, and leaves.
//!
//! It needs Python 3 and its packages `grpcio` and `grpcio-tools`, which are installed into the folder of cargo's targets at the first time.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use headframe::cluster::PeerState;
use headframe::kernel::{Candidates, Choice, Kernel};
use headframe::node::{self, Config, Event, Outcome, Peers, TimedEvent};
use headframe::source::{BlockSource, BoxFuture, Offer, Session, SourceError, Verdict};
use headframe::transport::Transport as _;
use headframe::transport::files::add_node;
use headframe::transport::grpc::GrpcTransport;
use headframe::transport::identity::Identity;
use headframe::work::{
    BlockId, Blueprint, Digest, Goal, Hashing, Job, NonceRange, Puzzle, RoundId, Search, Solution, Target, Template,
    ZeroUnit,
};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::messages::id;
use super::quic::Files;
use crate::process::check::sha256d;

const HEARTBEAT: Duration = Duration::from_millis(500);
/// What should happen has so long to happen, on a box that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the client needs, in versions that this test has been run with.
const PACKAGES: [&str; 2] = ["grpcio==1.76.0", "grpcio-tools==1.76.0"];
/// Where it is set, as in CI, the test fails if there is no Python or no packages.
const NEEDED: &str = "HEADFRAME_NEEDS_PYTHON";

/// The client's id: above those of the Headframe nodes, so that it never leads.
const CLIENT: u32 = 7;

/// A Python with the packages, or why there is none.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpc-python");
    let (python, ready) = (folder.join("bin/python"), folder.join(PACKAGES.join("-")));
    if !ready.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        std::fs::write(ready, []).unwrap();
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {text}")) }
}

/// A chain of texts whose difficulty the test sets.
struct Chain {
    state: Mutex<(u64, [u8; 32])>,
    /// How many zero bits a hash must begin with.
    bits: watch::Sender<u32>,
}

impl Chain {
    fn template(&self) -> Template {
        let (height, hash) = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let target = Target::from_zeros((*self.bits.borrow()).into(), ZeroUnit::Bits).unwrap();
        Template {
            round: RoundId { block: BlockId { height, hash: Digest(hash) }, generation: 0 },
            goal: Goal { block: target, report: target, search: Search::First },
            puzzle: Blueprint::Text { hashing: Hashing::Double },
            tag: 0,
        }
    }

    /// Checks a block with another SHA-256 than the program's.
    fn judge(&self, solution: &Solution) -> Verdict {
        let wanted = self.template();
        let Puzzle::Text(text) = solution.job.puzzle else { panic!("expected a text, got {solution:?}") };
        if solution.job.round != wanted.round {
            return Verdict::Stale;
        }
        let message = format!("{}{}{}", text.prev, solution.nonce, text.timestamp);
        let hash = sha256d(message.as_bytes());
        if text.prev != wanted.round.block.hash || Target::from_be_bytes(hash) > wanted.goal.block {
            return Verdict::Rejected { reason: format!("{message} hashes to {}", Digest(hash)) };
        }
        let height = wanted.round.block.height + 1;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (height, hash);
        self.bits.send_modify(|_| {});
        Verdict::Block { height: Some(height), next: None }
    }
}

struct Way(Arc<Chain>);

impl BlockSource for Way {
    fn url(&self) -> &str {
        "chain"
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>> {
        let talk = Talk { chain: self.0.clone(), changed: self.0.bits.subscribe(), told: None };
        Box::pin(async move { Ok(Box::new(talk) as Box<dyn Session>) })
    }
}

struct Talk {
    chain: Arc<Chain>,
    changed: watch::Receiver<u32>,
    told: Option<Template>,
}

impl Session for Talk {
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>> {
        Box::pin(async move {
            loop {
                self.changed.borrow_and_update();
                let template = self.chain.template();
                if self.told.as_ref() != Some(&template) {
                    self.told = Some(template.clone());
                    return Ok(Offer { template, asked: Instant::now() });
                }
                if self.changed.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        })
    }

    fn ask(&mut self) {
        self.told = None;
    }

    fn submit(&self, solution: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let verdict = self.chain.judge(solution);
        Box::pin(async move { Ok(verdict) })
    }
}

/// An honest kernel that is far slower than Python, so that it is the client that finds the blocks.
struct Slow;

impl Kernel for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn batch(&self) -> u64 {
        50
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        Box::new(SlowJob(*job))
    }
}

struct SlowJob(Job);

impl Candidates for SlowJob {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        std::thread::sleep(Duration::from_micros(range.len() * 1000));
        candidates.extend((range.start..range.end).filter(|&nonce| self.0.check(nonce).is_some()));
    }
}

/// The client's process, and what it has told.
struct Client {
    process: Child,
    /// Closing it has the client leave.
    input: Option<ChildStdin>,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Client {
    /// Makes the messages' modules of the `.proto`, and starts the client.
    fn start(python: &Path, folder: &Path, certs: &Path, nodes: &[String]) -> Self {
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/transport/grpc");
        let [include, modules, stubs] = [("-I", &*proto), ("--python_out=", folder), ("--grpc_python_out=", folder)]
            .map(|(option, path)| {
                let mut argument = std::ffi::OsString::from(option);
                argument.push(path);
                argument
            });
        run(Command::new(python)
            .args(["-m", "grpc_tools.protoc"])
            .args([include, modules, stubs])
            .arg("headframe.proto"))
        .unwrap();
        let mut process = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/transport/python/node.py"))
            .args(["--id", &CLIENT.to_string(), "--heartbeat", &HEARTBEAT.as_secs_f64().to_string(), "--certs"])
            .arg(certs)
            .args(nodes)
            .env("PYTHONPATH", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (process.stdin.take(), process.stdout.take().unwrap());
        let told = Arc::<Mutex<Vec<Value>>>::default();
        let lines = told.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let line = serde_json::from_str(&line.unwrap()).unwrap();
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { process, input, told }
    }

    fn told(&self, event: &str) -> Vec<Value> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|line| line["event"] == event).cloned().collect()
    }

    /// Waits until it has told this so often.
    async fn until(&self, event: &str, count: usize) {
        until(&format!("the client to tell {count} times {event}"), || self.told(event).len() >= count).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "expected {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_in_another_language_lives_works_and_leaves() {
    let python = match python() {
        Ok(python) => python,
        Err(problem) if std::env::var_os(NEEDED).is_some() => panic!("expected Python and its packages: {problem}"),
        Err(problem) => return eprintln!("skipped: no Python with grpcio can be had here: {problem}"),
    };
    let (files, folder) = (Files::new(), tempfile::tempdir().unwrap());
    add_node(files.path(), id(CLIENT), SystemTime::now()).unwrap();
    // At first nobody can find anything.
    let chain = Arc::new(Chain { state: Mutex::new((1, [1; 32])), bits: watch::Sender::new(60) });
    let transports = [1, 2].map(|node| {
        let identity = Identity::load(files.path(), id(node), SystemTime::now()).unwrap();
        Arc::new(GrpcTransport::bind(&identity, ([127, 0, 0, 1], 0).into(), HEARTBEAT).unwrap())
    });
    let addresses = transports.each_ref().map(|transport| transport.local_address());
    // Nobody listens at the client's address.
    let servers = [(id(1), addresses[0]), (id(2), addresses[1]), (id(CLIENT), ([127, 0, 0, 1], 9).into())];
    let (tell, mut events) = mpsc::channel::<TimedEvent>(100_000);
    let stop = CancellationToken::new();
    let nodes = [1, 2].map(|node| {
        let config = Config {
            id: id(node),
            peers: Peers::Fixed(servers.into()),
            heartbeat: HEARTBEAT,
            kernel: Choice { kernel: &Slow, named: true, measured: vec![], refused: vec![] },
            threads: std::num::NonZeroUsize::MIN.into(),
            sources: vec![Arc::new(Way(chain.clone()))],
            transport: transports[node as usize - 1].clone(),
            registration: None,
            store: None,
            blocks: None,
        };
        let (tell, stop) = (tell.clone(), stop.clone());
        tokio::spawn(async move { node::run(config, tell, stop).await.unwrap() })
    });
    let mut told = Vec::new();
    let mut happens = async |what: &str, is_it: &dyn Fn(&Event) -> bool| {
        let begin = Instant::now();
        while !told.iter().any(is_it) {
            assert!(begin.elapsed() < PATIENCE, "expected {what}, got {told:?}");
            let next = tokio::time::timeout(PATIENCE, events.recv()).await;
            told.extend(next.unwrap_or_else(|_| panic!("expected {what}")).map(|event| event.event));
        }
    };

    let listed = [1, 2].map(|node| format!("{node}={}", addresses[node - 1]));
    let mut client = Client::start(&python, folder.path(), files.path(), &listed);
    for node in [1, 2] {
        let is_alive = |event: &Event| matches!(event, Event::Peer { node: by, peer, state: PeerState::Alive } if *by == id(node) && *peer == id(CLIENT));
        happens("the client to be alive", &is_alive).await;
    }
    // It gets work, and more when it has searched that, though it shows no witnesses.
    client.until("searched", 3).await;
    assert_eq!(client.told("leader").last().unwrap()["leader"], 1);
    // Somebody else can be faster, so it may take a few blocks.
    chain.bits.send_replace(16);
    let is_found = |event: &Event| matches!(event, Event::Block { found_by, status: Outcome::Success, .. } if *found_by == id(CLIENT));
    happens("a block of the client", &is_found).await;
    client.until("found", 1).await;
    client.until("settled", 1).await;
    client.until("interrupted", 1).await;
    client.input.take();
    let has_left = |event: &Event| matches!(event, Event::Peer { node, peer, state: PeerState::Left } if *node == id(1) && *peer == id(CLIENT));
    happens("the client to leave", &has_left).await;
    client.until("left", 1).await;
    assert!(client.process.wait().unwrap().success());
    assert_eq!(client.told("ended"), Vec::<Value>::new(), "expected no stream to end with an error");
    stop.cancel();
    for node in nodes {
        node.await.unwrap();
    }
    while let Ok(event) = events.try_recv() {
        told.push(event.event);
    }
    let is_against = |event: &Event| matches!(event, Event::Distrusted { .. } | Event::Refused { .. });
    assert!(!told.iter().any(is_against), "{told:?}");
}
