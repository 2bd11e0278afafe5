//! A server's life, from its start to its end: one wait for whatever happens next, one driver that applies it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::driver::{Action, Driver, Input, Now, Setup};
use super::event_queue::EventQueue;
use super::members::Members;
use super::names::Names;
use super::renewal::Renewal;
use super::scan_events::scan_events;
use super::sessions::Sessions;
use super::store::Store;
use super::{Config, Event, Peers, Status, TimedEvent, registrar};
use crate::cluster::{self, ALL_TO_ALL, CANDIDATES, PeerState};
use crate::kernel::Choice;
use crate::scan::{ScanError, Scanner, thread_time};
use crate::transport::{Member, Transport};
use crate::work::{Run, UNIT};

/// The most answers of the sources that the node has not taken yet; beyond that, sessions wait.
const ANSWERS: usize = 256;

/// How long a node that stops waits for the answers to solutions that are being submitted.
const LAST_SUBMISSIONS: Duration = Duration::from_millis(400);

/// Runs a server until `stop` is cancelled or it has seen enough blocks. It then sends its peers a final report and takes its address out
/// of the registry.
///
/// # Errors
/// The hashing threads cannot be started.
pub async fn run(config: Config, events: mpsc::Sender<TimedEvent>, stop: CancellationToken) -> Result<(), ScanError> {
    let (scanned, scans) = scan_events();
    let (answer, mut answers) = mpsc::channel(ANSWERS);
    let threads = config.threads.count.get();
    let scanner = Scanner::start(config.kernel.kernel, config.threads, scanned)?;
    let (read, reads) = mpsc::channel(1);
    let (list, mut servers) = mpsc::channel(1);
    let members = match config.peers {
        Peers::Fixed(servers) => {
            Members::fixed(servers.into_iter().map(|(id, address)| Member::headframe(id, address)))
        }
        Peers::Named(names) => {
            tokio::spawn(Names::new(names, config.transport.local_address()).run(reads, list));
            Members::named()
        }
        Peers::Registered(registry) => {
            let mut members = Members::registered();
            // The servers that are there already have to be asked before this node leads. A registry that cannot be read now is read, and
            // its problem logged, later.
            members.listed(registrar::read(registry.clone()).await.unwrap_or_default(), |_| false);
            tokio::spawn(registrar::list(registry, reads, list));
            members
        }
    };
    let (status, statuses) = watch::channel(None);
    let registrar = tokio::spawn(registrar::run(config.registration, statuses));

    let start = now();
    let rules = cluster::Config {
        id: config.id,
        run: Run(rand_run()),
        since_1970: start.since_1970,
        heartbeat: config.heartbeat,
        unit: UNIT,
        all_to_all: ALL_TO_ALL,
        candidates: CANDIDATES,
    };
    let setup = Setup {
        rules,
        members,
        scanner,
        kernel: config.kernel,
        threads,
        sources: config.sources.iter().map(|source| source.url().to_owned()).collect(),
        source_return: config.source_return,
        kept: config.store.as_ref().map(|store| store.kept().to_vec()),
        blocks: config.blocks,
        payout: config.payout,
    };
    let (measured, mut choices) = mpsc::channel(1);
    let (problem, mut certificate_problems) = mpsc::channel(1);
    if let Some(dir) = config.certs {
        let wall_clock = || SystemTime::UNIX_EPOCH + now().since_1970;
        tokio::spawn(Renewal::new(dir, config.id).run(config.transport.clone(), wall_clock, problem));
    }
    let (advise, mut advices) = mpsc::channel(1);
    for (at, advice) in config.sources.iter().enumerate().filter_map(|(at, source)| Some((at, source.advice()?))) {
        tokio::spawn(pass_on(at, advice, advise.clone()));
    }
    let mut node = Node {
        driver: Driver::new(setup, start),
        transport: Arc::clone(&config.transport),
        sessions: Sessions::new(config.sources, answer),
        store: config.store,
        events: EventQueue::new(events),
        status,
        read,
        registrar,
        measured,
    };
    node.driver.start(start, config.transport.local_address());
    node.act();

    loop {
        if node.driver.is_done() {
            stop.cancel(); // nodes that share the token stop now, too, instead of taking over
        }
        let due = node.driver.poll_timeout();
        let input = tokio::select! {
            // No branch has precedence, so one that is always ready starves no other.
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(due.into()) => None,
            Some(answer) = answers.recv() => Some(Input::Source(answer)),
            () = scans.urgent() => None,
            Some(written) = async { node.store.as_mut()?.written().await } => Some(Input::Written(written)),
            Some(servers) = servers.recv() => Some(Input::Servers(servers)),
            member = config.transport.introduced() => Some(Input::Servers(vec![member])),
            Some(problem) = certificate_problems.recv() => Some(Input::Certificate(problem)),
            Some((source, problem)) = advices.recv() => Some(Input::Advice(source, problem)),
            Some(choice) = choices.recv() => Some(Input::Kernel(choice)),
            Some((from, message)) = config.transport.recv() => Some(Input::Message(from, message)),
        };
        scans.take().into_iter().for_each(|event| node.driver.handle(now(), Input::Scan(event)));
        match input {
            Some(input) => node.driver.handle(now(), input),
            None => node.driver.handle_timeout(now()),
        }
        node.act();
    }
    // A solution may be among the last ones.
    scans.take().into_iter().for_each(|event| node.driver.handle(now(), Input::Scan(event)));
    drop(servers); // nobody reads them any more
    node.stop(answers).await;
    Ok(())
}

/// Passes a source's advice on until one of both is gone.
async fn pass_on(
    source: usize,
    mut advice: watch::Receiver<Option<String>>,
    advise: mpsc::Sender<(usize, Option<String>)>,
) {
    while advice.changed().await.is_ok() {
        let now = advice.borrow_and_update().clone();
        if advise.send((source, now)).await.is_err() {
            return;
        }
    }
}

/// The driver, and whatever carries out its actions.
struct Node {
    driver: Driver,
    transport: Arc<dyn Transport>,
    sessions: Sessions,
    store: Option<Store>,
    events: EventQueue,
    status: watch::Sender<Option<Status>>,
    read: mpsc::Sender<()>,
    registrar: JoinHandle<()>,
    /// Where the next kernel comes from.
    measured: mpsc::Sender<Choice>,
}

impl Node {
    fn act(&mut self) {
        while let Some(action) = self.driver.poll_action() {
            match action {
                Action::Send(to, message) => self.transport.send(to, message),
                Action::SetPeers(members) => self.transport.set_peers(&members),
                Action::Source(request) => {
                    if let Some(answer) = self.sessions.carry_out(request) {
                        self.driver.handle(now(), Input::Source(answer));
                    }
                }
                Action::Write(solutions) => {
                    if let Some(store) = &self.store {
                        store.write(solutions);
                    }
                }
                Action::ReadRegistry => drop(self.read.try_send(())), // full if it is just being read
                Action::Tell(mut told) => {
                    if let Event::Peer { peer, state: PeerState::Down, reason, .. } = &mut told.event {
                        *reason = self.transport.trouble(*peer);
                    }
                    self.events.push(told);
                }
                Action::Measure(kernel) => self.measure(kernel),
                Action::Status => {
                    let certificate_ends = self.transport.certificate_ends().map(|ends| ends.as_secs());
                    let status = Status { certificate_ends, ..self.driver.make_status(now()) };
                    self.status.send_replace(Some(status));
                }
            }
        }
        self.events.flush();
    }

    /// Measures the kernels again, on a thread of its own: hashing and network go on.
    fn measure(&self, kernel: Choice) {
        let measured = self.measured.clone();
        drop(spawn_blocking(move || measured.blocking_send(kernel.again(&thread_time)))); // fails once the node has stopped
    }

    /// Leaves the cluster, waits for the last answers and writes, and takes the address out of the registry.
    async fn stop(mut self, mut answers: mpsc::Receiver<super::feed::Answer>) {
        self.driver.leave(now());
        self.act();
        let transport = Arc::clone(&self.transport);
        let settle = async {
            while self.driver.is_submitting()
                && let Some(answer) = answers.recv().await
            {
                self.driver.handle(now(), Input::Source(answer));
                self.act();
            }
        };
        let _ = tokio::join!(tokio::time::timeout(LAST_SUBMISSIONS, settle), transport.close());
        while self.driver.is_writing()
            && let Some(store) = &mut self.store
            && let Some(written) = store.last().await
        {
            self.driver.handle(now(), Input::Written(written));
            self.act();
        }
        self.driver.end(now());
        self.act();
        let Self { events, status, read, registrar, .. } = self;
        drop((status, read));
        let _ = registrar.await;
        events.end().await;
    }
}

/// A random number, so that no two processes have the same.
fn rand_run() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[allow(clippy::disallowed_methods)] // the one place where a node's time comes from
fn now() -> Now {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), since_1970 }
}
