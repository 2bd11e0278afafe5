//! Links between nodes that lose, delay, double and reorder datagrams, or are cut, as a test wants.
//!
//! ```text
//!            node A ──> [B as A sees it]   [A as B sees it] ──> node B
//! ```
//!
//! For each pair of nodes there are two sockets, each standing for one of the two as the other sees it. What A sends to the one that
//! stands for B leaves from the one that stands for A: so each node meets each other at one address, the one it was told, in both
//! directions. Each direction is a link with its own weather and its own random numbers, all from one seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::random::Random;

/// Datagrams that one link holds back at the same time; further ones are lost, as in a router.
const HELD_BACK: usize = 256;

/// The largest UDP datagram.
const DATAGRAM: usize = 65_535;

/// What happens to the datagrams of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weather {
    /// The share that is lost.
    pub(crate) loss: f64,
    /// The share that arrives twice.
    pub(crate) doubled: f64,
    /// How long each is under way at least.
    pub(crate) delay: Duration,
    /// And how much longer at most; more than the pause between two datagrams reorders them.
    pub(crate) jitter: Duration,
    /// Nothing arrives.
    pub(crate) cut: bool,
}

/// Datagrams since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) passed: u64,
    pub(crate) lost: u64,
    pub(crate) delayed: u64,
    pub(crate) doubled: u64,
}

/// From, to.
type Direction = (u32, u32);

#[derive(Debug, Default)]
struct Link {
    weather: Mutex<Weather>,
    passed: AtomicU64,
    lost: AtomicU64,
    delayed: AtomicU64,
    doubled: AtomicU64,
}

/// The links of a cluster. Dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Proxy {
    links: BTreeMap<Direction, Arc<Link>>,
    addresses: BTreeMap<Direction, SocketAddr>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Links between the nodes at these addresses, all in fine weather.
    pub(crate) fn start(seed: u64, nodes: &BTreeMap<u32, SocketAddr>) -> Self {
        let ids = || nodes.keys().copied();
        let directions: Vec<Direction> =
            ids().flat_map(|from| ids().filter(move |&to| to != from).map(move |to| (from, to))).collect();
        let sockets: BTreeMap<Direction, std::net::UdpSocket> =
            directions.iter().map(|&direction| (direction, bind())).collect();
        let addresses = sockets.iter().map(|(&direction, socket)| (direction, socket.local_addr().unwrap())).collect();
        let links: BTreeMap<Direction, Arc<Link>> =
            directions.iter().map(|&direction| (direction, Arc::default())).collect();
        let stop = CancellationToken::new();
        let mut seeds = Random::new(seed);
        let ends: Vec<_> = links
            .iter()
            .map(|(&(from, to), link)| {
                let random = Random::new(seeds.next());
                ((from, to), nodes[&from], nodes[&to], Arc::clone(link), random)
            })
            .collect();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let sockets: BTreeMap<_, _> = sockets
                    .into_iter()
                    .map(|(direction, socket)| (direction, Arc::new(UdpSocket::from_std(socket).unwrap())))
                    .collect();
                for ((from, to), source, target, link, random) in ends {
                    let (inward, outward) = (Arc::clone(&sockets[&(from, to)]), Arc::clone(&sockets[&(to, from)]));
                    tokio::spawn(carry(inward, source, outward, target, link, random));
                }
                stopped.cancelled().await;
            });
        });
        Self { links, addresses, stop, thread: Some(thread) }
    }

    /// Where `from` reaches `to`.
    pub(crate) fn address(&self, from: u32, to: u32) -> SocketAddr {
        self.addresses[&(from, to)]
    }

    /// Every direction.
    pub(crate) fn directions(&self) -> Vec<(u32, u32)> {
        self.links.keys().copied().collect()
    }

    pub(crate) fn set(&self, from: u32, to: u32, weather: Weather) {
        *self.lock(from, to) = weather;
    }

    /// The same weather everywhere.
    pub(crate) fn set_all(&self, weather: Weather) {
        self.links.keys().for_each(|&(from, to)| self.set(from, to, weather));
    }

    /// Cuts what goes from `from` to `to`, and nothing else.
    pub(crate) fn cut(&self, from: u32, to: u32) {
        self.lock(from, to).cut = true;
    }

    /// All links as new.
    pub(crate) fn heal(&self) {
        self.set_all(Weather::default());
    }

    /// What went over all links.
    pub(crate) fn traffic(&self) -> Traffic {
        let sum = |count: fn(&Link) -> &AtomicU64| {
            self.links.values().map(|link| count(link).load(Ordering::Relaxed)).sum::<u64>()
        };
        Traffic {
            passed: sum(|link| &link.passed),
            lost: sum(|link| &link.lost),
            delayed: sum(|link| &link.delayed),
            doubled: sum(|link| &link.doubled),
        }
    }

    fn lock(&self, from: u32, to: u32) -> std::sync::MutexGuard<'_, Weather> {
        self.links[&(from, to)].weather.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind() -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Carries what `source` sends to `inward` from `outward` to `target`.
async fn carry(
    inward: Arc<UdpSocket>,
    source: SocketAddr,
    outward: Arc<UdpSocket>,
    target: SocketAddr,
    link: Arc<Link>,
    mut random: Random,
) {
    let room = Arc::new(Semaphore::new(HELD_BACK));
    let mut bytes = vec![0; DATAGRAM];
    loop {
        // An error tells that an earlier datagram met nobody: that node is down, and this goes on.
        let Ok((length, from)) = inward.recv_from(&mut bytes).await else { continue };
        if from != source {
            continue;
        }
        let weather = *link.weather.lock().unwrap_or_else(PoisonError::into_inner);
        // As many draws whatever the weather, so that the decisions depend on the seed and the datagram's number only.
        let (lost, doubled, late) = (random.share(), random.share(), [random.share(), random.share()]);
        if weather.cut || lost < weather.loss {
            link.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let copies = 1 + usize::from(doubled < weather.doubled);
        link.doubled.fetch_add(copies as u64 - 1, Ordering::Relaxed);
        for late in &late[..copies] {
            let wait = weather.delay + weather.jitter.mul_f64(*late);
            if wait.is_zero() {
                link.passed.fetch_add(1, Ordering::Relaxed);
                let _ = outward.send_to(&bytes[..length], target).await;
                continue;
            }
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                link.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            link.passed.fetch_add(1, Ordering::Relaxed);
            link.delayed.fetch_add(1, Ordering::Relaxed);
            let (datagram, outward) = (bytes[..length].to_vec(), Arc::clone(&outward));
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let _ = outward.send_to(&datagram, target).await;
                drop(place);
            });
        }
    }
}
