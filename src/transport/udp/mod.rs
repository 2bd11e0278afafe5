//! The exercise's own connection: its text messages over UDP, with programs that know nothing else.
//!
//! ```text
//! send ──> peer: our message becomes its words ──> datagram                     recv <── inbox <──┐
//! datagram ──> is it a peer's, and one of the messages? ──> peer: its words become a message ─────┘
//! ```
//!
//! 1. A text peer is known by its IP address, and answers go to that address at the well-known port, not to the port that it sent from. Of
//!    peers that are listed with one address, the port that they send from tells which is which.
//! 2. Ids come from a list or from the order of first contact.
//! 3. There is no TLS: whoever can send from a peer's address is that peer. So it binds to loopback unless more is allowed.
//! 4. `peer` holds what a text peer cannot say, and is all that knows of dialects; the cluster's rules see whole reports and assignments.
//! 5. Every queue and list is bounded. What is not read is counted by reason and told now and then.

mod drops;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(crate) mod fuzz;
mod given;
mod led;
mod peer;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::drops::{Drops, Reason};
use self::peer::Peer;
pub use self::words::Dialect;
use self::words::{MAX_TEXT, Words};
use super::bind::BindError;
use super::inbox::Inbox;
use super::introductions::Introductions;
use super::{BoxFuture, Member, Transport, lock};
use crate::cluster::{Message, NodeId};
use crate::work::{Run, TextForm};

/// Messages received and not yet taken; further ones are dropped.
const INBOX: usize = 256;

/// The most peers that are known by their first contact. When they are all taken, the one that has been silent longest gives its place up,
/// after [`FORGOTTEN_AFTER`] heartbeats at the soonest: whoever answers heartbeats is heard in each.
const MAX_MET: usize = 64;
const FORGOTTEN_AFTER: u32 = 3;

/// Datagrams of one peer that are read in a second, more than 300 blocks a second need.
pub const BUDGET: u32 = 1_000;

/// Datagrams that are read in one go.
const BATCH: usize = 512;

/// If so many of one go were dropped, the next ones wait for a moment: a flood then costs little more than its system calls, because what
/// costs most is that a hashing thread is woken for each.
const MANY_DROPPED: usize = 4;
const MOMENT: Duration = Duration::from_millis(10);

/// How a node speaks with text peers.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// This node.
    pub node: NodeId,
    /// Where it listens. Port 0: any free one.
    pub listen: SocketAddr,
    /// Whether it may listen at an address that other machines reach.
    pub insecure: bool,
    /// What the others' names look like.
    pub dialect: Dialect,
    /// How texts are hashed, and zeros counted.
    pub form: TextForm,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Peers that are there from the start.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// The id of the first peer that is known by its contact only; the next ones have the next ids. `None`: nobody else is heard.
    pub first_met: Option<NodeId>,
    /// Datagrams of one peer that are read in a second: [`BUDGET`].
    pub budget: u32,
}

impl UdpConfig {
    /// Dialect A over loopback, with the peers that [`Transport::set_peers`] names.
    pub fn new(node: NodeId, listen: SocketAddr, heartbeat: Duration) -> Self {
        Self {
            node,
            listen,
            insecure: false,
            dialect: Dialect::default(),
            form: TextForm::default(),
            heartbeat,
            peers: BTreeMap::new(),
            first_met: None,
            budget: BUDGET,
        }
    }
}

/// Why a node cannot be reached by text peers.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// The address cannot be listened on, or the call was made outside of a tokio runtime.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The list has this node under another id.
    #[error(
        "expected the addresses of others, got {address} for text peer {id}, where this node itself listens: correct the list"
    )]
    Own {
        /// The id in the list.
        id: NodeId,
        /// The address.
        address: SocketAddr,
    },
    /// Others can reach the address, and nobody allowed that.
    #[error(
        "udp has no TLS, so whoever reaches {0} can take part as a peer: listen on loopback, or allow it with --insecure"
    )]
    Insecure(SocketAddr),
}

/// One node's UDP socket. Dropping it ends everything.
pub struct UdpTransport {
    shared: Arc<Shared>,
    inbox: Inbox<(NodeId, Message)>,
}

struct Shared {
    config: UdpConfig,
    /// Where it listens. Text peers listen at the same port.
    local: SocketAddr,
    socket: UdpSocket,
    /// The same socket, for sending: the runtime's does not send until it is known to be writable.
    out: std::net::UdpSocket,
    state: Mutex<State>,
    messages: mpsc::Sender<(NodeId, Message)>,
    introductions: Introductions,
    stop: CancellationToken,
    /// Whether the operator was warned of work that is no text in this form.
    is_unfit_told: AtomicBool,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<NodeId, Peer>,
    /// Those that are known by their contact only.
    met: BTreeMap<IpAddr, NodeId>,
    drops: Drops,
}

impl UdpTransport {
    /// Listens.
    ///
    /// # Errors
    /// The address cannot be listened on, others could reach it and that is not allowed, a peer has this node's own address, or there is no
    /// tokio runtime.
    pub fn bind(config: UdpConfig) -> Result<Self, UdpError> {
        let listen = config.listen;
        let runtime = Handle::try_current().map_err(BindError::from)?;
        let refused = |cause| BindError::of(listen, cause);
        if !listen.ip().is_loopback() {
            if !config.insecure {
                return Err(UdpError::Insecure(listen));
            }
            tracing::warn!("udp listens on {listen} without TLS: whoever reaches it can take part as a peer");
        }
        let socket = std::net::UdpSocket::bind(listen).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        let out = socket.try_clone().map_err(refused)?;
        let socket = UdpSocket::from_std(socket).map_err(refused)?;
        let local = socket.local_addr().map_err(refused)?;
        let (messages, inbox) = Inbox::new(INBOX);
        let shared = Arc::new(Shared {
            local,
            socket,
            out,
            state: Mutex::default(),
            messages,
            introductions: Introductions::default(),
            stop: CancellationToken::new(),
            is_unfit_told: AtomicBool::new(false),
            config,
        });
        for (&id, &address) in shared.config.peers.iter().filter(|(id, _)| **id != shared.config.node) {
            if is_own(local, address) {
                return Err(UdpError::Own { id, address });
            }
            shared.add(&mut shared.state(), id, address);
        }
        let (stop, reading) = (shared.stop.clone(), read(shared.clone()));
        runtime.spawn(async move { stop.run_until_cancelled(reading).await });
        Ok(Self { shared, inbox })
    }

    fn stop(&self) {
        self.shared.stop.cancel();
        self.inbox.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn new_peer(&self, address: SocketAddr) -> Peer {
        let run = Run(RandomState::new().hash_one(address));
        Peer::new(address, run, self.config.budget, Instant::now())
    }

    /// A peer that no list of members has named yet.
    fn add(&self, state: &mut State, id: NodeId, address: SocketAddr) {
        state.peers.insert(id, self.new_peer(address));
        self.introduce(id, address);
    }

    /// A text peer shows no witnesses, whatever a list of addresses says.
    fn introduce(&self, id: NodeId, address: SocketAddr) {
        self.introductions.add(Member { id, address, proves: false });
    }

    /// Takes in a datagram; tells why it was dropped, if it was.
    fn take_in(&self, datagram: &[u8], from: SocketAddr) -> Result<(), Reason> {
        let now = Instant::now();
        let mut state = self.state();
        let known = state.find(from);
        if let Some(peer) = known.and_then(|id| state.peers.get_mut(&id))
            && !peer.may_speak(self.config.budget, now)
        {
            return Err(Reason::TooMany);
        }
        if known.is_none() && self.config.first_met.is_none() {
            return Err(Reason::Stranger);
        }
        let words = Words::read(datagram, self.config.form).map_err(Reason::NoWords)?;
        let id = match known {
            Some(id) => id,
            // Whoever wants to take part asks for something.
            None if !matches!(words, Words::HeartbeatRequest | Words::ProcessRequest) => return Err(Reason::Stranger),
            None => self.meet(&mut state, from.ip(), now).ok_or(Reason::NoPlace)?,
        };
        let place = self.messages.try_reserve().map_err(|_| Reason::Busy)?;
        let Some(peer) = state.peers.get_mut(&id) else { return Err(Reason::Stranger) };
        peer.heard = now;
        let heard = peer.hear(words, self.config.heartbeat, now)?;
        if let Some(words) = heard.words {
            self.say(words, peer.address);
        }
        if let Some(message) = heard.message {
            place.send((id, message));
        }
        Ok(())
    }

    /// An id for whoever is heard from this address for the first time.
    fn meet(&self, state: &mut State, from: IpAddr, now: Instant) -> Option<NodeId> {
        let (id, forgotten) = self.place(state, now)?;
        let address = (from, self.local.port()).into();
        if is_own(self.local, address) {
            return None; // it would answer itself
        }
        forgotten.map(|address| state.met.remove(&address));
        state.met.insert(from, id);
        self.add(state, id, address);
        tracing::info!("text peer {id} is at {from}");
        Some(id)
    }

    /// An id that is free, or that of the peer at the address beside it, which has been silent for long.
    fn place(&self, state: &State, now: Instant) -> Option<(NodeId, Option<IpAddr>)> {
        let first = self.config.first_met?.get();
        if state.met.len() < MAX_MET {
            let is_free = |id: &NodeId| *id != self.config.node && !state.peers.contains_key(id);
            let free = (first..).map_while(|id| NodeId::try_from(id).ok()).find(is_free)?;
            return Some((free, None));
        }
        let heard = |(_, id): &(&IpAddr, &NodeId)| state.peers.get(id).map(|peer| peer.heard);
        let (&address, &id) = state.met.iter().min_by_key(heard)?;
        let silence = state.peers.get(&id).map(|peer| now.saturating_duration_since(peer.heard));
        let is_gone = silence.is_none_or(|silence| silence >= self.config.heartbeat * FORGOTTEN_AFTER);
        is_gone.then_some((id, Some(address)))
    }

    fn say(&self, words: Words, to: SocketAddr) {
        if let Some(text) = words.write(self.config.dialect, self.config.form) {
            // What does not fit into the socket's buffer is lost, as it may be on the way.
            let _ = self.out.send_to(text.as_bytes(), to);
        }
    }

    /// Warns, once, that text peers get no work.
    fn look_for_unfit(&self, message: &Message) {
        let Message::Process(assign) = message else { return };
        let is_unfit = assign.jobs.iter().any(|job| !words::fits(job, self.config.form));
        if is_unfit && !self.is_unfit_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the block to find is no text that is hashed as text peers hash it, so they get no work: check --text-hashing"
            );
        }
    }

    fn tell_drops(&self) {
        let told = self.state().drops.take(Instant::now());
        match told {
            Some(told) if told.is_worth_it => tracing::warn!("udp: {}", told.text),
            Some(told) => tracing::debug!("udp: {}", told.text),
            None => {}
        }
    }
}

/// Whether whoever sends there is heard at `local`, this node's own address.
fn is_own(local: SocketAddr, there: SocketAddr) -> bool {
    let is_here = || std::net::UdpSocket::bind((there.ip(), 0)).is_ok();
    local.port() == there.port() && (local.ip() == there.ip() || local.ip().is_unspecified() && is_here())
}

impl State {
    /// The peer at this address.
    fn find(&self, from: SocketAddr) -> Option<NodeId> {
        let ip = from.ip().to_canonical();
        let mut at_ip = self.peers.iter().filter(|(_, peer)| peer.address.ip().to_canonical() == ip);
        let (&first, _) = at_ip.next()?;
        if at_ip.next().is_none() {
            return Some(first);
        }
        let is_at =
            |(_, peer): &(&NodeId, &Peer)| peer.address.port() == from.port() && peer.address.ip().to_canonical() == ip;
        self.peers.iter().find(is_at).map(|(&id, _)| id)
    }
}

/// Reads datagrams until the transport is closed.
async fn read(shared: Arc<Shared>) {
    let mut buffer = [0; MAX_TEXT + 1];
    loop {
        let due = shared.state().drops.due();
        let tell = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = shared.socket.readable() => {}
            () = tell => shared.tell_drops(),
        }
        let mut dropped = 0;
        for _ in 0..BATCH {
            match shared.socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => {
                    if let Err(reason) = shared.take_in(&buffer[..length], from) {
                        dropped += 1;
                        shared.state().drops.count(reason, Instant::now());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What an earlier datagram met on its way.
                Err(_) => dropped += 1,
            }
        }
        if dropped >= MANY_DROPPED {
            sleep(MOMENT).await;
        }
    }
}

impl Transport for UdpTransport {
    fn local_address(&self) -> SocketAddr {
        self.shared.local
    }

    /// Those who were listed at the start, or met, stay.
    fn set_peers(&self, members: &[Member]) {
        let mut state = self.shared.state();
        let config = &self.shared.config;
        let State { peers, met, .. } = &mut *state;
        let is_wanted = |id: &NodeId| {
            members.iter().any(|member| member.id == *id)
                || config.peers.contains_key(id)
                || met.values().any(|known| known == id)
        };
        peers.retain(|id, _| is_wanted(id));
        let others = members.iter().filter(|member| member.id != config.node);
        for member in others.filter(|member| !is_own(self.shared.local, member.address)) {
            let peer = peers.entry(member.id).or_insert_with(|| self.shared.new_peer(member.address));
            // A list may be older than the contact.
            if !met.values().any(|known| *known == member.id) {
                peer.address = member.address;
            }
            if member.proves {
                self.shared.introduce(member.id, member.address);
            }
        }
    }

    fn send(&self, to: NodeId, message: Message) {
        if self.inbox.is_closed() {
            return;
        }
        let mut state = self.shared.state();
        let Some(peer) = state.peers.get_mut(&to) else { return };
        let (words, address) = (peer.tell(&message, self.shared.config.form, Instant::now()), peer.address);
        drop(state);
        self.shared.look_for_unfit(&message);
        words.into_iter().for_each(|words| self.shared.say(words, address));
    }

    fn recv(&self) -> BoxFuture<'_, Option<(NodeId, Message)>> {
        Box::pin(self.inbox.recv())
    }

    fn introduced(&self) -> BoxFuture<'_, Member> {
        Box::pin(self.shared.introductions.next())
    }

    /// Datagrams that were sent are on their way already.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.stop() })
    }
}

impl Drop for UdpTransport {
    fn drop(&mut self) {
        self.stop();
    }
}
