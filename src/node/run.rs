//! A server's life, from its start to its last word.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::chain::ChainWatch;
use super::feed::{Feed, News};
use super::members::Members;
use super::meter::Meter;
use super::store::Store;
use super::teller::Teller;
use super::{Config, Event, Outcome, Status};
use crate::cluster::{self, ALL_TO_ALL, CANDIDATES, Cluster, Epoch, Message, NodeId, Output, PeerState, Ticket};
use crate::kernel::Choice;
use crate::scan::{self, Progress, ScanError, Scanner};
use crate::source::{Template, Verdict};
use crate::transport::Transport;
use crate::work::{BlockId, Job, JobId, NonceRange, Puzzle, ShareBits, Solution, UNIT};

/// Events of the scanner that the node has not taken yet; beyond, hashing waits. Found nonces are few, so it never does.
const SCAN_EVENTS: usize = 1024;

/// News of the sources that the node has not taken yet.
const NEWS: usize = 16;

/// How often progress and speed are looked at: often enough for a lease to be of the right size a moment after the start.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the registry is read and written.
const REGISTRY_EVERY: Duration = Duration::from_millis(500);

/// Solutions under way to the source when the node has to stop have so long to arrive.
const LAST_SUBMISSIONS: Duration = Duration::from_millis(400);

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
    node.start();

    let mut look = every(LOOK_EVERY);
    let mut registry = every(REGISTRY_EVERY);
    let mut report = every(node.heartbeat);
    report.reset(); // nothing to report yet
    loop {
        if node.is_done() {
            stop.cancel(); // whoever shares it stops now too, rather than taking over
        }
        let due = node.cluster.poll_timeout();
        let store = &mut node.store;
        let written = async move {
            match store {
                Some(store) => store.written().await,
                None => pending().await,
            }
        };
        let timer = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        let wake = tokio::select! {
            biased;
            // Messages last: peers can send as many as they like, everything else is rare.
            () = stop.cancelled() => break,
            () = timer => Wake::Timer,
            _ = look.tick() => Wake::Look,
            _ = registry.tick() => Wake::Registry,
            _ = report.tick() => Wake::Report,
            Some(event) = scans.recv() => Wake::Scan(event),
            Some(news) = news.recv() => Wake::News(news),
            () = written => Wake::Written,
            Some((from, message)) = transport.recv() => Wake::Message(from, message),
        };
        node.apply(wake);
    }
    while let Ok(event) = scans.try_recv() {
        node.apply(Wake::Scan(event)); // a solution may be among them
    }
    node.stop(news).await;
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
    /// The store has written, or could not.
    Written,
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
    members: Members,
    feed: Feed,
    store: Option<Store>,
    /// The block to find and the source it is from, as this reign has heard it.
    template: Option<(usize, Template)>,
    /// This node's reign that the sources are watched for.
    reign: Option<Epoch>,
    /// The last job made, as its block and its seconds since 1970: each job of a block gets another timestamp.
    last_job: Option<(BlockId, u64)>,
    meter: Meter,
    job: Option<JobId>,
    /// Scans told to stop whose last hash is not done yet.
    stopping: BTreeSet<Ticket>,
    chain: ChainWatch,
    /// What the sources' trouble was when it was last told.
    trouble: Option<String>,
    teller: Teller,
    /// End after so many blocks.
    blocks_wanted: Option<u64>,
}

impl Node {
    fn new(config: Config, scanner: Scanner, events: mpsc::Sender<Event>, news: mpsc::Sender<News>) -> Self {
        let now = now();
        let incarnation = since_1970().as_nanos() as u64;
        let rules = cluster::Config {
            id: config.id,
            incarnation,
            heartbeat: config.heartbeat,
            unit: UNIT,
            all_to_all: ALL_TO_ALL,
            candidates: CANDIDATES,
        };
        let mut cluster = Cluster::new(rules, now);
        if let Some(store) = &config.store {
            cluster.restore(store.kept().iter().copied());
        }
        Self {
            id: config.id,
            heartbeat: config.heartbeat,
            kernel: config.kernel,
            threads: config.threads.count.get(),
            cluster,
            scanner,
            transport: config.transport,
            members: Members::new(config.peers, config.registration, now),
            feed: Feed::new(config.sources, incarnation, news),
            store: config.store,
            template: None,
            reign: None,
            last_job: None,
            meter: Meter::new(now),
            job: None,
            stopping: BTreeSet::new(),
            chain: ChainWatch::default(),
            trouble: None,
            teller: Teller::new(events),
            blocks_wanted: config.blocks,
        }
    }

    fn is_done(&self) -> bool {
        self.blocks_wanted.is_some_and(|wanted| self.chain.blocks() >= wanted)
    }

    fn start(&mut self) {
        let listen = self.transport.local_address();
        let (kernel, choice) = (self.kernel.kernel.name(), self.kernel.to_string());
        self.tell(Event::Started { node: self.id, listen, kernel, threads: self.threads, choice });
        self.set_peers();
        self.drain();
    }

    fn apply(&mut self, wake: Wake) {
        match wake {
            Wake::Message(from, message) => {
                if matches!(message, Message::HeartbeatRequest(_))
                    && !self.cluster.peers().any(|peer| peer == (from, PeerState::Alive))
                {
                    self.members.want();
                    self.look_if_due();
                }
                self.cluster.handle_message(now(), from, message);
            }
            Wake::Scan(event) => self.apply_scan(event),
            Wake::News(news) => self.apply_news(news),
            Wake::Written => {}
            Wake::Timer => self.cluster.handle_timeout(now()),
            Wake::Look => {
                self.look();
                self.look_if_due();
            }
            Wake::Registry => {
                self.look_at_registry();
                self.renew_status();
            }
            Wake::Report => {
                let hashes = self.scanner.hashes();
                let hashes_per_second = self.meter.report(now(), hashes);
                self.tell(Event::Rate { node: self.id, hashes, hashes_per_second });
                self.store.iter_mut().for_each(|store| store.retry(now()));
            }
        }
        self.drain();
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
            scan::Event::Ended { ticket, shares, .. } => {
                if self.stopping.remove(&ticket) {
                    if self.stopping.is_empty() {
                        let at = since_1970().as_micros() as u64;
                        self.tell(Event::Interrupted { node: self.id, at });
                    }
                } else {
                    self.look();
                    self.cluster.handle_searched(now(), ticket, shares);
                }
            }
        }
    }

    fn apply_news(&mut self, news: News) {
        match news {
            News::Template { watch, source, template } => {
                self.tell_trouble(None);
                if self.cluster.is_leading() && self.feed.is_watching(watch) {
                    self.chain.see(template.prev.hash);
                    self.template = Some((source, template));
                    self.make_job();
                }
            }
            News::Settled { solution, found_by, verdict } => {
                self.tell_trouble(None);
                self.tell_block(&solution, found_by, &verdict);
                self.feed.settled(&solution);
                self.template = None;
                self.cluster.handle_settled(now(), &solution);
                if self.cluster.is_leading() {
                    self.feed.watch();
                }
            }
            News::Delayed => {
                // Another source may have work while this one is down, or this one another block by now.
                if self.cluster.is_leading() {
                    self.feed.watch();
                }
            }
            News::Trouble(problem) => self.tell_trouble(problem),
        }
    }

    /// Hands the leader's rules another job of the block to find; if that is not known yet, as soon as it is.
    fn make_job(&mut self) {
        let Some((source, template)) = &self.template else { return };
        self.feed.note_origin(template.prev, *source);
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
        for Progress { ticket, searched, shares } in self.scanner.progress() {
            self.cluster.handle_progress(ticket, searched.end, shares);
        }
        let busy = self.cluster.job().is_some();
        let rate = self.meter.note(now(), self.scanner.hashes(), busy);
        self.cluster.set_rate(rate);
    }

    /// Looks into the registry, if somebody may have moved.
    fn look_if_due(&mut self) {
        if self.members.is_due(now()) {
            self.look_at_registry();
        }
    }

    fn look_at_registry(&mut self) {
        if let Some(stayed) = self.members.look(now()) {
            // A server at another address is another run of it: forget the old one, then greet the new one.
            self.cluster.set_peers(now(), &stayed);
            self.set_peers();
        }
    }

    fn set_peers(&mut self) {
        let others = self.members.without(self.id);
        self.transport.set_peers(&others);
        self.cluster.set_peers(now(), &others.keys().copied().collect::<Vec<_>>());
    }

    fn renew_status(&mut self) {
        let job = self.cluster.job();
        let state = |state| match state {
            PeerState::Unknown => "unknown",
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
            blocks: self.chain.blocks(),
            distrusted: self.cluster.distrusted().collect(),
            peers: self.cluster.peers().map(|(id, peer)| (id, state(peer).to_owned())).collect(),
            at: since_1970().as_secs(),
        };
        self.members.set_status(status);
    }

    /// Does what the rules ask for, and tells what there is to tell.
    fn drain(&mut self) {
        // A reign can follow another within one step, others' reigns between them: what was the block to find then is not now.
        let reign = self.cluster.epoch().filter(|_| self.cluster.is_leading());
        if reign != self.reign {
            self.begin_reign(reign);
        }
        while let Some(output) = self.cluster.poll_output() {
            self.act(output);
        }
        self.keep();
        if self.cluster.job().is_none() {
            self.meter.note(now(), self.scanner.hashes(), false);
        }
        self.teller.flush();
    }

    /// Has those solutions written down that end with this node otherwise: found and not settled, or on their way to the source.
    fn keep(&mut self) {
        let Some(store) = &mut self.store else { return };
        store.keep(self.cluster.kept(self.feed.under_way()));
        self.tell_store();
    }

    fn tell_store(&mut self) {
        if let Some(problem) = self.store.as_mut().and_then(Store::take_news) {
            self.tell(Event::Store { node: self.id, problem });
        }
    }

    /// Another reign of this node's, or none: it knows nothing of the sources yet.
    fn begin_reign(&mut self, reign: Option<Epoch>) {
        self.reign = reign;
        self.template = None;
        self.feed.unwatch();
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => self.transport.send(to, message),
            Output::Scan { ticket, job, range, bits } => self.scan(ticket, job, range, bits),
            Output::Stop { ticket } => {
                self.stopping.insert(ticket);
                self.scanner.stop(ticket);
            }
            Output::NeedJob => self.make_job(),
            Output::Submit { solution, found_by } => {
                if self.template.as_ref().is_some_and(|(_, template)| template.prev == solution.job.block()) {
                    self.template = None;
                    self.feed.unwatch(); // its next block is asked for once this solution is settled
                }
                self.feed.submit(solution, found_by);
            }
            Output::Peer { peer, state } => self.tell(Event::Peer { node: self.id, peer, state }),
            Output::Leader { leader, epoch } => {
                self.tell(Event::Leader { node: self.id, leader, epoch: epoch.counter });
                if leader == self.id {
                    self.begin_reign(Some(epoch));
                    self.feed.watch();
                }
            }
            Output::Distrusted { node } => self.tell(Event::Distrusted { node: self.id, peer: node }),
            Output::Refused { from, solution } => {
                self.tell(Event::Refused { node: self.id, from, nonce: solution.nonce });
            }
        }
    }

    fn scan(&mut self, ticket: Ticket, job: Job, range: NonceRange, bits: ShareBits) {
        let id = job.id();
        if self.job != Some(id) {
            self.job = Some(id);
            self.chain.see(job.puzzle.prev());
            self.tell(Event::Job {
                node: self.id,
                height: job.height,
                prev: job.puzzle.prev(),
                zeros: job.target.zeros(),
                timestamp: timestamp(&job.puzzle),
            });
        }
        self.scanner.push(ticket, job, range, Some(bits));
        self.meter.note(now(), self.scanner.hashes(), true);
    }

    fn tell_block(&mut self, solution: &Solution, found_by: NodeId, verdict: &Verdict) {
        let job = &solution.job;
        let BlockId { height: before, hash: prev } = job.block();
        let hash = job.puzzle.digest(solution.nonce);
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
            self.chain.see(prev);
            self.chain.see(hash);
        }
        self.tell(Event::Block {
            node: self.id,
            height,
            prev,
            hash,
            nonce: solution.nonce,
            timestamp: timestamp(&job.puzzle),
            zeros: job.target.zeros(),
            found_by,
            status,
        });
    }

    /// Told when it begins, changes or ends, whichever of the requests that are under way meets it.
    fn tell_trouble(&mut self, problem: Option<String>) {
        if self.trouble != problem {
            self.trouble.clone_from(&problem);
            self.tell(Event::Source { node: self.id, problem });
        }
    }

    fn tell(&mut self, event: Event) {
        self.teller.tell(event);
    }

    /// Hands everything back and takes the address out of the registry.
    async fn stop(mut self, mut news: mpsc::Receiver<News>) {
        self.look();
        self.cluster.leave(now());
        self.drain();
        let transport = Arc::clone(&self.transport);
        let settle = async {
            while self.feed.is_submitting()
                && let Some(news) = news.recv().await
            {
                if let News::Settled { solution, found_by, verdict } = news {
                    self.tell_block(&solution, found_by, &verdict);
                    self.feed.settled(&solution);
                    self.keep();
                }
            }
        };
        let _ = tokio::join!(tokio::time::timeout(LAST_SUBMISSIONS, settle), transport.close());
        if let Some(store) = &mut self.store {
            store.end().await;
            self.tell_store();
        }
        self.teller.tell(Event::Stopped { node: self.id });
        let Self { teller, members, .. } = self;
        drop(members); // takes the address out
        teller.end().await;
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
