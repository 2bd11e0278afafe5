//! A source of headers that lives in this file: a pool, and a chain of one's own. The nodes that mine for it know nothing but the plug, so
//! such a source needs no change in `cluster` or `node`. It checks whatever it is handed with another SHA-256 than the program's.

// Nodes run by the real clock.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, HashSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headframe::cluster::NodeId;
use headframe::kernel::choose;
use headframe::node::{self, Config, Event, Peers, Registry, ShareCounts, ShareOutcome, TimedEvent};
use headframe::source::{BlockSource, BoxFuture, Offer, Session, SourceError, Verdict};
use headframe::transport::Transport;
use headframe::transport::memory::{MemoryNetwork, MemoryTransport};
use headframe::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, Puzzle, RoundId, Search, Solution, Target,
    Template, ZeroUnit,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::process::check::sha256d;

const HEARTBEAT: Duration = Duration::from_millis(500);
/// What should happen has so long to happen, on a box that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

const VERSION: u32 = 0x2000_0004;
const MASK: u32 = 0x1fff_e000;
const BITS: u32 = 0x207f_ffff;
const BRANCH: [[u8; 32]; 2] = [[7; 32], [8; 32]];

fn zero_bits(bits: u32) -> Target {
    Target::from_zeros(bits.into(), ZeroUnit::Bits).unwrap()
}

/// What is wanted: hashes with so many zero bits at their end, as a header's are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wanted {
    height: u64,
    prev: [u8; 32],
    report: u32,
    block: u32,
}

/// A conversation, and all that it was ever asked for.
struct Line {
    node: u32,
    given: Vec<Wanted>,
}

#[derive(Default)]
struct Counts {
    shares: u64,
    blocks: u64,
    stale: u64,
    /// Shares of an easier difficulty than the present one.
    easier: u64,
    /// Shares in the round of a block, after the block.
    after_block: u64,
}

struct State {
    now: Wanted,
    lines: Vec<Line>,
    /// The headers that were accepted.
    seen: HashSet<Vec<u8>>,
    counts: Counts,
    /// Whether a block of the present round was accepted, where the pool takes its time to name the next.
    is_found: bool,
    /// Nodes that get no answer any more.
    mute: HashSet<u32>,
    faults: Vec<String>,
}

/// The source: a pool, where every share counts, or one whose blocks the nodes make themselves.
struct Mint {
    is_pool: bool,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Mint {
    fn new(is_pool: bool, report: u32, block: u32) -> Arc<Self> {
        let state = State {
            now: Wanted { height: 1, prev: [1; 32], report, block },
            lines: vec![],
            seen: HashSet::new(),
            counts: Counts::default(),
            is_found: false,
            mute: HashSet::new(),
            faults: vec![],
        };
        Arc::new(Self { is_pool, state: Mutex::new(state), changed: watch::Sender::new(()) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_replace(());
    }

    /// The bytes before and behind the extranonce. A pool's extranonce1 is the line's number.
    fn coinbase(&self, line: usize) -> (Vec<u8>, Vec<u8>) {
        (["mint".as_bytes(), &(line as u32).to_be_bytes()].concat(), vec![9; 5])
    }

    fn template(&self, line: usize) -> Template {
        let state = &mut *self.state();
        let (now, given) = (state.now, &mut state.lines[line].given);
        if given.last() != Some(&now) {
            given.push(now);
        }
        let (before, after) = self.coinbase(line);
        let (extranonce, search) = match self.is_pool {
            true => (Extranonce::Counter(4), Search::Every),
            false => (Extranonce::Run, Search::First),
        };
        Template {
            round: RoundId { block: BlockId { height: now.height, hash: Digest(now.prev) }, generation: 0 },
            goal: Goal { block: zero_bits(now.block), report: zero_bits(now.report), search },
            puzzle: Blueprint::Header {
                version: VERSION,
                mask: MASK,
                bits: BITS,
                time: BlockTime::from(1_700_000_000),
                coinbase: Arc::new(Coinbase { before, extranonce, after }),
                branch: BRANCH.map(Digest).into(),
            },
            tag: given.len() as u64 - 1,
        }
    }

    /// The header that the solution stands for, by what this line was asked for.
    fn header(&self, state: &State, line: usize, solution: &Solution) -> Result<(Wanted, Vec<u8>), String> {
        let (tag, nonce) = (solution.job.tag, solution.nonce);
        let wanted = *state.lines[line].given.get(tag.template as usize).ok_or("no such template")?;
        let Puzzle::Header(puzzle) = solution.job.puzzle else { return Err("no header".to_owned()) };
        let extranonce = match self.is_pool {
            true => u32::try_from(tag.slot.n).map_err(|_| "no room")?.to_le_bytes().to_vec(),
            false => [tag.slot.run.0.to_le_bytes(), tag.slot.n.to_le_bytes()].concat(),
        };
        let (before, after) = self.coinbase(line);
        let txid = sha256d(&[before, extranonce, after].concat());
        let root = BRANCH.iter().fold(txid, |left, right| sha256d(&[left, *right].concat()));
        let (version, time) = (puzzle.version(nonce), puzzle.header.time);
        if version & !MASK != VERSION || time < 1_700_000_000 {
            return Err(format!("version {version:#x}, time {time}"));
        }
        let numbers = [time, BITS, puzzle.field(nonce)].map(u32::to_le_bytes).concat();
        Ok((wanted, [&version.to_le_bytes()[..], &wanted.prev, &root, &numbers].concat()))
    }

    fn judge(&self, line: usize, solution: &Solution) -> Verdict {
        let state = &mut *self.state();
        let checked = self.header(state, line, solution).and_then(|(wanted, header)| {
            let mut number = sha256d(&header);
            number.reverse();
            let zeros = Target::from_be_bytes(number).leading_zero_bits();
            if header.len() != 80 || zeros < wanted.report {
                return Err(format!("{} bytes, {zeros} zero bits", header.len()));
            }
            if !state.seen.insert(header.clone()) {
                return Err("twice".to_owned());
            }
            Ok((wanted, sha256d(&header), zeros))
        });
        let (wanted, hash, zeros) = match checked {
            Ok(good) => good,
            Err(reason) => {
                state.faults.push(format!("line {line}: {reason}: {solution:?}"));
                return Verdict::Rejected { reason };
            }
        };
        let (now, counts) = (&mut state.now, &mut state.counts);
        if wanted.height != now.height {
            counts.stale += 1;
            return Verdict::Stale;
        }
        if zeros >= wanted.block && !state.is_found {
            counts.blocks += 1;
            if self.is_pool {
                state.is_found = true;
                return Verdict::Block { height: Some(now.height), next: None };
            }
            *now = Wanted { height: now.height + 1, prev: hash, ..*now };
            self.changed.send_replace(());
            return Verdict::Block { height: Some(wanted.height), next: None };
        }
        counts.shares += 1;
        counts.easier += u64::from(wanted.report < now.report);
        counts.after_block += u64::from(state.is_found);
        Verdict::Share
    }

    /// The pool names the next block.
    fn advance(&self) {
        self.change(|state| {
            state.is_found = false;
            let height = state.now.height + 1;
            state.now = Wanted { height, prev: [height as u8; 32], ..state.now };
        });
    }
}

/// One node's way to the source.
struct Way(u32, Arc<Mint>);

impl BlockSource for Way {
    fn url(&self) -> &str {
        "mint"
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>> {
        let Self(node, mint) = self;
        let line = {
            let mut state = mint.state();
            state.lines.push(Line { node: *node, given: vec![] });
            state.lines.len() - 1
        };
        let talk = Talk { line, mint: Arc::clone(mint), changed: mint.changed.subscribe(), told: None };
        Box::pin(async move { Ok(Box::new(talk) as Box<dyn Session>) })
    }
}

struct Talk {
    line: usize,
    mint: Arc<Mint>,
    changed: watch::Receiver<()>,
    told: Option<Template>,
}

impl Talk {
    fn is_mute(&self) -> bool {
        let state = self.mint.state();
        state.mute.contains(&state.lines[self.line].node)
    }
}

impl Session for Talk {
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>> {
        Box::pin(async move {
            loop {
                self.changed.borrow_and_update();
                let template = self.mint.template(self.line);
                if self.told.as_ref() != Some(&template) && !self.is_mute() {
                    self.told = Some(template.clone());
                    return Ok(Offer { template, asked: Instant::now(), body: None });
                }
                if self.changed.changed().await.is_err() {
                    return pending().await;
                }
            }
        })
    }

    fn ask(&mut self) {
        self.told = None;
    }

    fn submit(&self, solution: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let (mint, line, solution, is_mute) = (Arc::clone(&self.mint), self.line, *solution, self.is_mute());
        Box::pin(async move { if is_mute { pending().await } else { Ok(mint.judge(line, &solution)) } })
    }
}

/// Nodes 1 to n that mine for one source.
struct Cluster {
    mint: Arc<Mint>,
    folder: tempfile::TempDir,
    nodes: BTreeMap<u32, JoinHandle<()>>,
    stop: CancellationToken,
    events: mpsc::Receiver<TimedEvent>,
    told: Vec<Event>,
}

impl Cluster {
    fn start(count: u32, mint: Arc<Mint>) -> Self {
        let (network, folder) = (MemoryNetwork::new(), tempfile::tempdir().unwrap());
        let registry = Registry::at(folder.path().join("run")).unwrap();
        let (tell, events) = mpsc::channel(100_000);
        let (stop, begin) = (CancellationToken::new(), Instant::now());
        let id = |id| NodeId::try_from(id).unwrap();
        let ends: BTreeMap<_, _> = (1..=count).map(|node| (node, Arc::new(network.join(id(node))))).collect();
        let servers: BTreeMap<_, _> = ends.iter().map(|(&node, end)| (id(node), end.local_address())).collect();
        let start = |(node, transport): (u32, Arc<MemoryTransport>)| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let registration = registry.register(id(node), servers[&id(node)], since).unwrap();
            let config = Config {
                id: id(node),
                peers: Peers::Fixed(servers.clone()),
                heartbeat: HEARTBEAT,
                kernel: choose(Some("portable"), &|| begin.elapsed()).unwrap(),
                threads: std::num::NonZeroUsize::MIN.into(),
                sources: vec![Arc::new(Way(node, Arc::clone(&mint)))],
                source_return: Duration::from_secs(30),
                transport,
                certs: None,
                registration: Some(registration),
                store: None,
                payout: None,
                blocks: None,
            };
            let (tell, stop) = (tell.clone(), stop.clone());
            (node, tokio::spawn(async move { node::run(config, tell, stop).await.unwrap() }))
        };
        let nodes = ends.into_iter().map(start).collect();
        Self { mint, folder, nodes, stop, events, told: vec![] }
    }

    /// Waits until it is so.
    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&State, &[Event]) -> bool) {
        let begin = Instant::now();
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.told.push(event.event);
            }
            {
                let state = self.mint.state();
                assert_eq!(state.faults, [""; 0]);
                if is_so(&state, &self.told) {
                    return;
                }
            }
            assert!(begin.elapsed() < PATIENCE, "expected {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The node's process is gone.
    fn kill(&mut self, node: u32) {
        self.nodes.remove(&node).unwrap().abort();
        self.mint.state().mute.insert(node);
    }

    /// What a node says of its shares in the registry.
    fn shares(&self, node: u32) -> ShareCounts {
        let servers = Registry::at(self.folder.path().join("run")).unwrap().servers().unwrap();
        let server = servers.into_iter().find(|server| server.id.get() == node);
        server.and_then(|server| server.status).map(|status| status.shares).unwrap_or_default()
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
        assert_eq!(self.mint.state().faults, [""; 0]);
        self.told
    }
}

/// So many shares have had this outcome, by what the nodes have told.
fn shares(told: &[Event], outcome: ShareOutcome) -> u64 {
    told.iter().filter(|event| matches!(event, Event::Share { status, .. } if *status == outcome)).count() as u64
}

#[tokio::test]
async fn a_pool_gets_every_share_under_its_own_goal_and_blocks_do_not_stop_the_search() {
    let mint = Mint::new(true, 13, 19);
    let mut cluster = Cluster::start(2, Arc::clone(&mint));
    cluster.until("shares", |state, _| state.counts.shares >= 20).await;
    // Shares that are on their way when the pool makes them harder still count.
    while mint.state().counts.easier < 3 {
        for report in [14, 13] {
            let before = mint.state().counts.shares;
            mint.change(|state| state.now.report = report);
            cluster.until("shares of the new difficulty", |state, _| state.counts.shares >= before + 20).await;
        }
    }
    for _ in 0..2 {
        let before = mint.state().counts.after_block;
        cluster.until("shares in the round of a block", |state, _| state.counts.after_block >= before + 10).await;
        mint.advance();
    }
    cluster.until("shares of the next block", |state, _| !state.is_found && state.counts.shares > 100).await;
    let told = cluster.stop().await;
    let state = mint.state();
    let counts = &state.counts;
    let outcomes = [ShareOutcome::Accepted, ShareOutcome::Stale, ShareOutcome::Rejected];
    let [accepted, stale, rejected] = outcomes.map(|outcome| shares(&told, outcome));
    // Shares of a node that led for a moment at the start are rejected. The answers to the last ones, 512 under way at most, may come after the end.
    let (untold, unheard) = (counts.shares - accepted, counts.stale - stale);
    assert!(untold + unheard <= 512, "{untold} and {unheard} are not told, {rejected} are rejected");
    let blocks = told.iter().filter(|event| matches!(event, Event::Block { status: node::Outcome::Success, .. }));
    let blocks = blocks.count() as u64;
    assert!(blocks > 0 && counts.blocks - blocks <= 1, "{blocks} of {}", counts.blocks);
}

#[tokio::test]
async fn shares_of_a_dead_leader_reach_the_next_and_are_counted_as_lost() {
    let mint = Mint::new(true, 13, 200);
    let mut cluster = Cluster::start(3, Arc::clone(&mint));
    cluster.until("shares", |state, _| state.counts.shares >= 20).await;
    // The leader has taken what it is told, but its pool says nothing any more.
    mint.state().mute.insert(1);
    tokio::time::sleep(HEARTBEAT / 2).await;
    let before = mint.state().counts.shares;
    cluster.kill(1);
    let is_over = |event: &Event| matches!(event, Event::Share { node, reason: Some(reason), .. } if node.get() == 2 && reason == "its session is over");
    cluster.until("shares without a session", |_, told| told.iter().any(is_over)).await;
    cluster.until("shares for the next leader", |state, _| state.counts.shares >= before + 20).await;
    let lost = cluster.told.iter().filter(|event| is_over(event)).count() as u64;
    tokio::time::sleep(HEARTBEAT * 2).await; // the status is renewed
    assert!(cluster.shares(2).lost >= lost, "{:?} of {lost}", cluster.shares(2));
    cluster.stop().await;
}

#[tokio::test]
async fn blocks_of_ones_own_template_are_submitted_by_its_maker_whoever_finds_them() {
    let mint = Mint::new(false, 18, 18);
    let mut cluster = Cluster::start(3, Arc::clone(&mint));
    let is_by = |event: &Event, by: u32| matches!(event, Event::Block { node, found_by, .. } if node.get() == 1 && found_by.get() == by);
    cluster.until("blocks of every node", |_, told| (1..=3).all(|by| told.iter().any(|event| is_by(event, by)))).await;
    cluster.kill(1);
    let blocks = mint.state().counts.blocks;
    cluster.until("blocks of the next leader", |state, _| state.counts.blocks >= blocks + 3).await;
    let told = cluster.stop().await;
    let state = mint.state();
    let accepted =
        told.iter().filter(|event| matches!(event, Event::Block { status: node::Outcome::Success, .. })).count() as u64;
    assert!(
        accepted <= state.counts.blocks && accepted + 1 >= state.counts.blocks,
        "{accepted} of {}",
        state.counts.blocks
    );
}
