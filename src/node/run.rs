//! A server's life, from its start to its last word.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, News};
use super::meter::Meter;
use super::{Config, Event, Outcome, Peers, Registration, Registry, Status};
use crate::cluster::{self, Cluster, Message, NodeId, Output, PeerState, Ticket};
use crate::kernel::Choice;
use crate::scan::{self, ScanError, Scanner};
use crate::source::{Template, Verdict};
use crate::transport::Transport;
use crate::work::{BlockId, JobId, NonceRange, Puzzle, Solution};

/// Events of the scanner that the node has not taken yet; beyond, hashing waits. Found nonces are few, so it never does.
const SCAN_EVENTS: usize = 1024;

/// News of the sources that the node has not taken yet.
const NEWS: usize = 16;

/// How often progress and speed are looked at: often enough for a lease to be of the right size a moment after the start.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the registry is read and written.
const REGISTRY_EVERY: Duration = Duration::from_millis(500);

/// Runs a server until `stop` is cancelled or it has seen enough blocks. It then hands its leases back, says goodbye and takes its
/// address out of the registry.
///
/// # Errors
/// When the hashing threads cannot be started.
pub async fn run(config: Config, events: mpsc::Sender<Event>, stop: CancellationToken) -> Result<(), ScanError> {
    let (scanned, mut scans) = mpsc::channel(SCAN_EVENTS);
    let (told, mut news) = mpsc::channel(NEWS);
    let transport = Arc::clone(&config.transport);
    let scanner = Scanner::start(config.kernel.kernel, config.threads, move |event| {
        let _ = scanned.blocking_send(event); // fails once the node has stopped
    })?;
    let mut node = Node::new(config, scanner, events, told);
    node.start().await;

    let mut look = every(LOOK_EVERY);
    let mut registry = every(REGISTRY_EVERY);
    let mut report = every(node.heartbeat);
    report.reset(); // nothing to report yet
    loop {
        if node.is_done() {
            stop.cancel(); // whoever shares it stops now too, rather than taking over
        }
        let due = node.cluster.poll_timeout();
        let timer = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        let wake = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = timer => Wake::Timer,
            Some((from, message)) = transport.recv() => Wake::Message(from, message),
            Some(event) = scans.recv() => Wake::Scan(event),
            Some(news) = news.recv() => Wake::News(news),
            _ = look.tick() => Wake::Look,
            _ = registry.tick() => Wake::Registry,
            _ = report.tick() => Wake::Report,
        };
        node.apply(wake).await;
    }
    node.stop().await;
    Ok(())
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// The one thing that has happened.
#[derive(Debug)]
pub(super) enum Wake {
    Message(NodeId, Message),
    Scan(scan::Event),
    News(News),
    Timer,
    Look,
    Registry,
    Report,
}

/// Everything that a server owns.
struct Node {
    id: NodeId,
    heartbeat: Duration,
    kernel: Choice,
    threads: usize,
    cluster: Cluster,
    scanner: Scanner,
    transport: Arc<dyn Transport>,
    registration: Registration,
    registry: Option<Registry>,
    peers: BTreeMap<NodeId, std::net::SocketAddr>,
    feed: Feed,
    /// The block to find and the source it is from, while this node leads.
    template: Option<(usize, Template)>,
    needs_job: bool,
    /// The last job made, as its block and its seconds since 1970: each job of a block gets another timestamp.
    last_job: Option<(BlockId, u64)>,
    meter: Meter,
    job: Option<JobId>,
    /// Scans told to stop whose last hash is not done yet.
    stopping: BTreeSet<Ticket>,
    chain: ChainWatch,
    events: mpsc::Sender<Event>,
    outbox: Vec<Event>,
}

/// Counts the blocks that were accepted since the node started, whoever found them.
#[derive(Debug, Default)]
struct ChainWatch {
    first: Option<u64>,
    blocks: u64,
    wanted: Option<u64>,
}

impl ChainWatch {
    /// The chain is at least so high.
    fn see(&mut self, height: u64) {
        let first = *self.first.get_or_insert(height);
        self.blocks = self.blocks.max(height.saturating_sub(first));
    }
}

impl Node {
    fn new(config: Config, scanner: Scanner, events: mpsc::Sender<Event>, news: mpsc::Sender<News>) -> Self {
        let now = now();
        let incarnation = since_1970().as_nanos() as u64;
        let rules = cluster::Config { id: config.id, incarnation, heartbeat: config.heartbeat };
        let (registry, peers) = match config.peers {
            Peers::Fixed(peers) => (None, peers),
            Peers::Registered(registry) => (Some(registry), BTreeMap::new()),
        };
        Self {
            id: config.id,
            heartbeat: config.heartbeat,
            kernel: config.kernel,
            threads: config.threads.count.get(),
            cluster: Cluster::new(rules, now),
            scanner,
            transport: config.transport,
            registration: config.registration,
            registry,
            peers,
            feed: Feed::new(config.sources, incarnation, news),
            template: None,
            needs_job: false,
            last_job: None,
            meter: Meter::new(now),
            job: None,
            stopping: BTreeSet::new(),
            chain: ChainWatch { wanted: config.blocks, ..ChainWatch::default() },
            events,
            outbox: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.chain.wanted.is_some_and(|wanted| self.chain.blocks >= wanted)
    }

    async fn start(&mut self) {
        let listen = self.transport.local_address();
        let (kernel, choice) = (self.kernel.kernel.name(), self.kernel.to_string());
        self.tell(Event::Started { node: self.id, listen, kernel, threads: self.threads, choice });
        if let Some(registered) = self.registered() {
            self.peers = registered;
        }
        self.set_peers();
        self.drain().await;
    }

    async fn apply(&mut self, wake: Wake) {
        match wake {
            Wake::Message(from, message) => self.cluster.handle_message(now(), from, message),
            Wake::Scan(event) => self.apply_scan(event),
            Wake::News(news) => self.apply_news(news),
            Wake::Timer => self.cluster.handle_timeout(now()),
            Wake::Look => self.look(),
            Wake::Registry => {
                self.look_at_registry();
                self.renew_status();
            }
            Wake::Report => {
                let hashes = self.scanner.hashes();
                let hashes_per_second = self.meter.report(now(), hashes);
                self.tell(Event::Rate { node: self.id, hashes, hashes_per_second });
            }
        }
        self.drain().await;
    }

    fn apply_scan(&mut self, event: scan::Event) {
        match event {
            scan::Event::Found { ticket, nonce } => {
                if !self.stopping.contains(&ticket) {
                    let at = since_1970().as_micros() as u64;
                    self.tell(Event::Found { node: self.id, nonce, at });
                }
                self.cluster.handle_found(now(), ticket, nonce);
            }
            scan::Event::Ended { ticket, .. } => {
                if self.stopping.remove(&ticket) {
                    if self.stopping.is_empty() {
                        let at = since_1970().as_micros() as u64;
                        self.tell(Event::Interrupted { node: self.id, at });
                    }
                } else {
                    self.look();
                    self.cluster.handle_searched(now(), ticket);
                }
            }
        }
    }

    fn apply_news(&mut self, news: News) {
        match news {
            News::Template { source, template } => {
                self.chain.see(template.prev.height);
                self.template = Some((source, template));
                if self.cluster.is_leading() {
                    self.make_job();
                }
            }
            News::Settled { solution, found_by, verdict } => {
                self.tell_block(&solution, found_by, &verdict);
                self.template = None;
                self.cluster.handle_settled(now(), &solution);
                if self.cluster.is_leading() {
                    self.feed.watch();
                }
            }
            News::Delayed => {
                // Another source may have work while this one is down.
                if self.feed.has_choice() && self.cluster.is_leading() {
                    self.feed.watch();
                }
            }
            News::Trouble(problem) => self.tell(Event::Source { node: self.id, problem }),
        }
    }

    /// Hands the leader's rules another job of the block to find.
    fn make_job(&mut self) {
        let Some((_, template)) = &self.template else {
            self.needs_job = true;
            return;
        };
        self.needs_job = false;
        let earliest = match self.last_job {
            Some((block, seconds)) if block == template.prev => seconds + 1,
            _ => 0,
        };
        let seconds = since_1970().as_secs().max(earliest);
        self.last_job = Some((template.prev, seconds));
        let job = template.job(Duration::from_secs(seconds));
        self.cluster.handle_job(now(), job);
    }

    /// Tells the rules how far and how fast the scanner is.
    fn look(&mut self) {
        for (ticket, to) in self.scanner.progress() {
            self.cluster.handle_progress(ticket, to);
        }
        let busy = self.cluster.job().is_some();
        let rate = self.meter.note(now(), self.scanner.hashes(), busy);
        self.cluster.set_rate(rate);
    }

    fn registered(&mut self) -> Option<BTreeMap<NodeId, std::net::SocketAddr>> {
        let registry = self.registry.as_ref()?;
        match registry.servers() {
            Ok(servers) => Some(servers.into_iter().map(|entry| (entry.id, entry.address)).collect()),
            Err(problem) => {
                tracing::warn!("cannot read the registry, so the list of servers stays as it is: {problem}");
                None
            }
        }
    }

    fn look_at_registry(&mut self) {
        if let Some(mut peers) = self.registered() {
            // A server that is not in the registry any more was stopped or killed: the heartbeats decide, and a killed one may
            // come back at the same address. So servers are added and moved here, never taken out.
            for (&id, &address) in &self.peers {
                peers.entry(id).or_insert(address);
            }
            if peers != self.peers {
                self.peers = peers;
                self.set_peers();
            }
        }
    }

    fn set_peers(&mut self) {
        let mut others = self.peers.clone();
        others.remove(&self.id);
        self.transport.set_peers(&others);
        self.cluster.set_peers(now(), &others.keys().copied().collect::<Vec<_>>());
    }

    fn renew_status(&mut self) {
        let job = self.cluster.job();
        let state = |state| match state {
            PeerState::Alive => "alive",
            PeerState::Suspect => "suspect",
            PeerState::Down => "down",
        };
        let status = Status {
            leader: self.cluster.leader(),
            epoch: self.cluster.epoch().map_or(0, |epoch| epoch.counter),
            height: job.map(|job| job.height),
            zeros: job.map(|job| job.target.zeros()),
            kernel: self.kernel.kernel.name().to_owned(),
            choice: self.kernel.to_string(),
            threads: self.threads,
            hashes: self.scanner.hashes(),
            hashes_per_second: self.meter.last_report(),
            blocks: self.chain.blocks,
            peers: self.cluster.peers().map(|(id, peer)| (id, state(peer).to_owned())).collect(),
            at: since_1970().as_secs(),
        };
        if let Err(problem) = self.registration.set_status(status) {
            tracing::warn!("cannot write this server's status to the registry: {problem}");
        }
    }

    /// Does what the rules ask for, and tells what there is to tell.
    async fn drain(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            self.act(output);
        }
        for event in std::mem::take(&mut self.outbox) {
            let _ = self.events.send(event).await; // fails when nobody listens any more
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => self.transport.send(to, message),
            Output::Scan { ticket, job, range } => self.scan(ticket, job, range),
            Output::Stop { ticket } => {
                self.stopping.insert(ticket);
                self.scanner.stop(ticket);
            }
            Output::NeedJob => self.make_job(),
            Output::Submit { solution, found_by } => {
                let source = self.template.take().map_or(0, |(source, _)| source);
                self.feed.unwatch();
                self.feed.submit(source, solution, found_by);
            }
            Output::Peer { peer, state } => self.tell(Event::Peer { node: self.id, peer, state }),
            Output::Leader { leader, epoch } => {
                self.tell(Event::Leader { node: self.id, leader, epoch: epoch.counter });
                self.template = None;
                if leader == self.id {
                    self.feed.watch();
                } else {
                    self.feed.unwatch();
                }
            }
            Output::Refused { from, solution } => {
                self.tell(Event::Refused { node: self.id, from, nonce: solution.nonce });
            }
        }
    }

    fn scan(&mut self, ticket: Ticket, job: crate::work::Job, range: NonceRange) {
        let id = job.id();
        if self.job != Some(id) {
            self.job = Some(id);
            self.chain.see(job.height);
            self.tell(Event::Job {
                node: self.id,
                height: job.height,
                prev: job.puzzle.prev(),
                zeros: job.target.zeros(),
                timestamp: timestamp(&job.puzzle),
            });
        }
        self.scanner.push(ticket, job, range);
        let busy = true;
        self.meter.note(now(), self.scanner.hashes(), busy);
    }

    fn tell_block(&mut self, solution: &Solution, found_by: NodeId, verdict: &Verdict) {
        let job = &solution.job;
        let BlockId { height: before, hash: prev } = job.block();
        let (height, status) = match verdict {
            Verdict::Success(height) => (*height, Outcome::Success),
            Verdict::Stale => (before + 1, Outcome::Stale),
            Verdict::Wrong => (before + 1, Outcome::Wrong),
            Verdict::Incomplete(problem) => {
                tracing::warn!("the source did not understand a solution: {problem}");
                (before + 1, Outcome::Incomplete)
            }
        };
        if status == Outcome::Success {
            self.chain.see(before);
            self.chain.see(height);
        }
        self.tell(Event::Block {
            node: self.id,
            height,
            prev,
            hash: job.puzzle.digest(solution.nonce),
            nonce: solution.nonce,
            timestamp: timestamp(&job.puzzle),
            zeros: job.target.zeros(),
            found_by,
            status,
        });
    }

    fn tell(&mut self, event: Event) {
        self.outbox.push(event);
    }

    /// Hands everything back and takes the address out of the registry.
    async fn stop(mut self) {
        self.look();
        self.cluster.leave(now());
        self.drain().await;
        self.feed.unwatch();
        self.transport.close().await;
        let (id, events) = (self.id, self.events.clone());
        drop(self); // with it the registration
        let _ = events.send(Event::Stopped { node: id }).await;
    }
}

fn timestamp(puzzle: &Puzzle) -> Option<crate::work::Timestamp> {
    match puzzle {
        Puzzle::Text(text) => Some(text.timestamp),
        Puzzle::Header(_) => None,
    }
}

#[allow(clippy::disallowed_methods)] // the one place where a node's time comes from
fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods)] // likewise
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
