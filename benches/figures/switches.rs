//! From the source's answer that a block is accepted to each node's first hash of the next block. It is measured in this process: the program's
//! own nodes, over QUIC on loopback, with a kernel and a source that look at the clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use headframe::cluster::NodeId;
use headframe::kernel::{Candidates, Choice, Kernel, choose};
use headframe::node::{self, Config, Peers, Registry};
use headframe::service::{Service, ServiceConfig, Zeros};
use headframe::source::{BlockSource, BoxFuture, Offer, Session, SourceError, Verdict, WebSource};
use headframe::transport::Transport;
use headframe::transport::identity::ClusterCa;
use headframe::transport::quic::QuicTransport;
use headframe::work::{Digest, Job, NonceRange, Solution};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{HEARTBEAT, POLL, print};

/// Of one thread each. More nodes than cores would wait for each other's threads.
const NODES: u32 = 2;

/// When something happened first with the block that is built on.
#[derive(Clone, Default)]
struct Moments(Arc<Mutex<BTreeMap<Digest, Instant>>>);

impl Moments {
    fn note(&self, prev: Digest) {
        let now = Instant::now();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(prev).or_insert(now);
    }

    fn all(&self) -> BTreeMap<Digest, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A kernel that notes the first hash of each block.
struct Watched {
    kernel: &'static dyn Kernel,
    hashed: Moments,
}

struct WatchedJob {
    candidates: Box<dyn Candidates>,
    prev: Digest,
    hashed: Moments,
    is_noted: AtomicBool,
}

impl Kernel for Watched {
    fn name(&self) -> &'static str {
        self.kernel.name()
    }

    fn batch(&self) -> u64 {
        self.kernel.batch()
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        let (candidates, prev) = (self.kernel.prepare(job), job.puzzle.prev());
        Box::new(WatchedJob { candidates, prev, hashed: self.hashed.clone(), is_noted: AtomicBool::new(false) })
    }
}

impl Candidates for WatchedJob {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        if !self.is_noted.swap(true, Ordering::Relaxed) {
            self.hashed.note(self.prev);
        }
        self.candidates.scan(range, candidates);
    }
}

/// A source that notes when the answer to a solution came, by the block that it names.
struct WatchedSource {
    source: WebSource,
    accepted: Moments,
}

struct WatchedSession {
    session: Box<dyn Session>,
    accepted: Moments,
}

impl BlockSource for WatchedSource {
    fn url(&self) -> &str {
        self.source.url()
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>> {
        Box::pin(async {
            let session = WatchedSession { session: self.source.open().await?, accepted: self.accepted.clone() };
            Ok(Box::new(session) as Box<dyn Session>)
        })
    }
}

impl Session for WatchedSession {
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>> {
        self.session.next()
    }

    fn ask(&mut self) {
        self.session.ask();
    }

    fn submit(&self, solution: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let (verdict, accepted) = (self.session.submit(solution), self.accepted.clone());
        Box::pin(async move {
            let verdict = verdict.await;
            if let Ok(Verdict::Block { next: Some(next), .. }) = &verdict {
                accepted.note(next.round.block.hash);
            }
            verdict
        })
    }
}

/// Mines so many blocks, and prints how soon each went on.
pub(super) fn switches(blocks: u64, zeros: i64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let (accepted, hashed) = runtime.block_on(mine(blocks, zeros));
    let accepted = accepted.all();
    for (id, hashed) in hashed {
        let hashed = hashed.all();
        let latency = |(prev, at): (&Digest, &Instant)| {
            Some(hashed.get(prev)?.saturating_duration_since(*at).as_secs_f64() * 1000.0)
        };
        let latencies = accepted.iter().filter_map(latency).collect();
        let who = if id.get() == 1 { "the leader".to_owned() } else { format!("node {id}") };
        print(&format!("from a block's acceptance to the next one's first hash, {who}"), latencies);
    }
}

async fn mine(blocks: u64, zeros: i64) -> (Moments, BTreeMap<NodeId, Moments>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = ServiceConfig::new(any, Zeros::Fixed(zeros));
    let service = Service::bind(config, SystemTime::now).expect("a service");
    let (url, stop_service) = (format!("http://{}", service.local_addr()), CancellationToken::new());
    let service = tokio::spawn(service.run(stop_service.clone()));

    let folder = tempfile::tempdir().expect("a folder for the registry");
    let registry = Registry::at(folder.path().join("run")).expect("a registry");
    let ca = ClusterCa::generate(SystemTime::now()).expect("a CA");
    let begin = Instant::now();
    let choice = choose(None, &|| begin.elapsed()).expect("a kernel");
    let ids = (1..=NODES).map(|id| NodeId::try_from(id).expect("positive"));
    let transports: BTreeMap<_, _> = ids
        .map(|id| {
            let identity = ca.issue(id, SystemTime::now()).expect("a certificate");
            (id, Arc::new(QuicTransport::bind(&identity, any, HEARTBEAT).expect("an address")))
        })
        .collect();
    let addresses: BTreeMap<_, _> = transports.iter().map(|(&id, transport)| (id, transport.local_address())).collect();

    let (tell, mut events) = mpsc::channel(1024);
    let (accepted, mut hashed, stop) = (Moments::default(), BTreeMap::new(), CancellationToken::new());
    let mut nodes = tokio::task::JoinSet::new();
    for (id, transport) in transports {
        let source = WebSource::new(&url, "figures".to_owned(), POLL).expect("an address");
        let kernel = Watched { kernel: choice.kernel, hashed: Moments::default() };
        hashed.insert(id, kernel.hashed.clone());
        let config = Config {
            id,
            peers: Peers::Fixed(addresses.clone()),
            heartbeat: HEARTBEAT,
            kernel: Choice { kernel: Box::leak(Box::new(kernel)), ..choice.clone() },
            threads: NonZeroUsize::MIN.into(),
            sources: vec![Arc::new(WatchedSource { source, accepted: accepted.clone() })],
            source_return: HEARTBEAT,
            registration: Some(registry.register(id, addresses[&id], 0).expect("a place in the registry")),
            transport,
            certs: None,
            store: None,
            payout: None,
            blocks: Some(blocks),
        };
        nodes.spawn(node::run(config, tell.clone(), stop.clone()));
    }
    drop(tell);
    while events.recv().await.is_some() {}
    while let Some(ended) = nodes.join_next().await {
        ended.expect("a node's end").expect("hashing threads");
    }
    stop_service.cancel();
    service.await.expect("the service's end");
    (accepted, hashed)
}
