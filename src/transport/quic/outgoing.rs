//! One peer's outgoing side: a task that owns the connection this node opens, and sends what waits for the peer.
//!
//! 1. Nothing to send, no connection. The first letter makes one, unless a peer with a higher id has opened one: that serves both. So a
//!    leader, whom everyone speaks with, has one connection a node, at some 50 KiB each.
//! 2. While there is none, letters wait up to a heartbeat and the task tries again after growing pauses: a stale
//!    heartbeat helps nobody.
//! 3. A connection on which nothing came or went for a while is closed: in a large cluster a node speaks with everyone at times, as
//!    when it looks for the leader or leads, and with a few most of the time.
//! 4. Each letter gets its stream at once, in order; writing it and awaiting its answer happen beside the queue, so that a
//!    large or unanswered letter never holds up an interrupt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectError, Connection, ConnectionError, ReadError, ReadToEndError, RecvStream, SendStream, WriteError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answers::Answer;
use super::identity::node_name;
use super::incoming::read_streams;
use super::peer::Shared;
use super::refusal::{LEAVING, Refusal, UNUSED, refusal};
use crate::cluster::NodeId;
use crate::transport::codec;

/// The pause after a first failed attempt: a peer that restarts is back within about that time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: what a peer that comes up waits at most until it is noticed.
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// How long an attempt may take: several round trips around the world. A new one soon follows.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// So many peers are dialled at once. A node that begins to lead has something to tell to all at once, and most of them are just dialling it.
pub(super) const DIALS: usize = 32;
/// Longer than that nobody waits for others to be dialled, who may be away.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// How long a connection that nothing is sent on is kept. Whoever is watched is sent something in each heartbeat, so it is not needed any
/// more; and a new one costs a handshake of some milliseconds only.
fn rest(heartbeat: Duration) -> Duration {
    heartbeat.saturating_mul(4)
}

/// A message on its way to a peer.
pub(super) struct Letter {
    pub(super) frame: codec::Pieces,
    pub(super) awaits: Option<Answer>,
    pub(super) since: Instant,
}

/// Sends `letters` to `peer` until the transport closes and all are delivered.
pub(super) fn run(
    shared: Arc<Shared>,
    peer: NodeId,
    address: SocketAddr,
    letters: mpsc::Receiver<Letter>,
) -> impl Future<Output = ()> {
    let link = Link {
        shared,
        peer,
        address,
        connection: None,
        reading: JoinSet::new(),
        used: Instant::now(),
        read: 0,
        pause: Duration::ZERO,
        complaint: None,
    };
    Outgoing { link, letters, streams: JoinSet::new() }.run()
}

struct Outgoing {
    link: Link,
    letters: mpsc::Receiver<Letter>,
    /// What is on its way; gives back what was lost with its connection.
    streams: JoinSet<Option<Letter>>,
}

/// The connection, or the attempts to get one.
struct Link {
    shared: Arc<Shared>,
    peer: NodeId,
    address: SocketAddr,
    connection: Option<Connection>,
    /// What the peer sends on it, if it has the lower id. Ends with the link.
    reading: JoinSet<()>,
    /// When it was last known to be of use.
    used: Instant,
    /// What had come in on it by then, in frames.
    read: u64,
    pause: Duration,
    /// What was last complained about, so that it is said once.
    complaint: Option<&'static str>,
}

enum Stream {
    OneWay(SendStream),
    Request(SendStream, RecvStream),
}

impl Outgoing {
    async fn run(mut self) {
        let closing = self.link.shared.closing.clone();
        loop {
            let may_rest = self.link.connection.is_some() && self.streams.is_empty();
            let unused = self.link.used.checked_add(rest(self.link.shared.heartbeat)).filter(|_| may_rest);
            let letter = tokio::select! {
                biased;
                letter = self.letters.recv() => letter,
                () = closing.cancelled() => self.letters.try_recv().ok(),
                () = self.link.lost() => continue,
                () = come(unused) => {
                    self.link.hang_up();
                    continue;
                }
                // A restarted peer's old connection dies of the first letter; the letter is none the worse for it.
                Some(ended) = self.streams.join_next() => match ended.ok().flatten() {
                    Some(letter) => Some(letter),
                    None => continue,
                },
            };
            match letter {
                Some(letter) => self.send(letter).await,
                None => break,
            }
        }
        while self.streams.join_next().await.is_some() {}
        if let Some(connection) = &self.link.connection {
            connection.close(LEAVING, b"leaving");
        }
    }

    async fn send(&mut self, letter: Letter) {
        loop {
            if let Some(stream) = self.link.open(letter.awaits.is_some()).await {
                let (shared, peer) = (self.link.shared.clone(), self.link.peer);
                match stream {
                    Stream::OneWay(stream) => self.streams.spawn(tell(stream, letter)),
                    Stream::Request(send, answer) => self.streams.spawn(ask(shared, peer, send, answer, letter)),
                };
                return;
            }
            if letter.since.elapsed() >= self.link.shared.heartbeat {
                return;
            }
            // Large and rare: the task, which is there as long as the peer, keeps no room for it.
            Box::pin(self.link.dial()).await;
        }
    }
}

impl Link {
    /// A stream on a live connection; `None` when there is none.
    async fn open(&mut self, request: bool) -> Option<Stream> {
        if let Some(theirs) = self.theirs()
            && let Ok(stream) = open(&theirs, request).await
        {
            return Some(stream);
        }
        let ours = self.connection.clone()?;
        match open(&ours, request).await {
            Ok(stream) => {
                self.used = Instant::now();
                Some(stream)
            }
            Err(error) => {
                self.ended(&error);
                None
            }
        }
    }

    /// The connection that the peer has opened, if that is the one to speak on: of two, both sides take the one of the higher id.
    fn theirs(&self) -> Option<Connection> {
        let is_higher = self.peer > self.shared.node;
        let theirs = self.shared.peers().get(&self.peer).filter(|_| is_higher)?.incoming.clone();
        // One that has ended is still there until what came on it is read.
        theirs.filter(|connection| connection.close_reason().is_none())
    }

    /// Waits until the live connection is lost; for ever when there is none.
    async fn lost(&mut self) {
        match &self.connection {
            Some(connection) => {
                let error = connection.closed().await;
                self.ended(&error);
            }
            None => std::future::pending().await,
        }
    }

    /// Closes the connection if the peer does not use it either.
    fn hang_up(&mut self) {
        let read = self.connection.as_ref().map_or(0, |connection| connection.stats().frame_rx.stream);
        if read != std::mem::replace(&mut self.read, read) {
            self.used = Instant::now();
        } else if let Some(connection) = self.connection.take() {
            connection.close(UNUSED, b"not used");
            self.pause = Duration::ZERO;
        }
    }

    fn ended(&mut self, error: &ConnectionError) {
        self.connection = None;
        tracing::debug!("connection to peer {} at {} ended: {error}", self.peer, self.address);
        if !self.complain(error) {
            // It was a good one: try again at once.
            self.pause = Duration::ZERO;
            self.complaint = None;
        }
    }

    async fn dial(&mut self) {
        sleep(self.pause).await;
        let shared = self.shared.clone();
        let _turn = timeout(LONGEST_TURN, shared.dials.acquire()).await;
        if self.theirs().is_some() {
            return; // it was quicker
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        let (client, name) = (self.shared.client.clone(), node_name(self.peer));
        match self.shared.endpoint.connect_with(client, self.address, &name) {
            Ok(connecting) => match timeout(HANDSHAKE_LIMIT, connecting).await {
                Ok(Ok(connection)) => self.dialled(connection),
                Ok(Err(error)) => {
                    self.complain(&error);
                }
                Err(_) => tracing::debug!("peer {} at {} does not answer", self.peer, self.address),
            },
            Err(ConnectError::EndpointStopping) => {} // it is this node that leaves
            Err(error) => self.warn("cannot be dialled", &error),
        }
    }

    fn dialled(&mut self, connection: Connection) {
        while self.reading.try_join_next().is_some() {}
        let (shared, peer, streams) = (self.shared.clone(), self.peer, connection.clone());
        self.reading.spawn(async move { read_streams(&shared, peer, &streams).await });
        (self.connection, self.used, self.read) = (Some(connection), Instant::now(), 0);
    }

    /// Whether `error` is a refusal; if so, it is said.
    fn complain(&mut self, error: &ConnectionError) -> bool {
        match refusal(error) {
            Some(Refusal::Certificate { text, cause }) => self.warn(text, &cause),
            Some(Refusal::UnknownNode) => {
                tracing::debug!("peer {} at {} does not list this node", self.peer, self.address);
            }
            None => return false,
        }
        true
    }

    fn warn(&mut self, complaint: &'static str, cause: &dyn std::fmt::Display) {
        if self.complaint != Some(complaint) {
            tracing::warn!("peer {} at {} {complaint}: {cause}", self.peer, self.address);
            self.complaint = Some(complaint);
        }
    }
}

/// A stream on `connection`.
async fn open(connection: &Connection, request: bool) -> Result<Stream, ConnectionError> {
    if request {
        // Where too many requests await answers, this one goes one-way, and so will its answer.
        let opened = tokio::select! {
            biased;
            opened = connection.open_bi() => Some(opened),
            () = std::future::ready(()) => None,
        };
        if let Some(opened) = opened {
            return opened.map(|(send, answer)| Stream::Request(send, answer));
        }
    }
    connection.open_uni().await.map(Stream::OneWay)
}

/// Waits for a moment that may never be.
async fn come(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Sends a frame and waits until the peer has it, so that `close` knows. It is not copied.
pub(super) async fn deliver(stream: &mut SendStream, mut frame: codec::Pieces) -> Result<(), WriteError> {
    stream.write_all_chunks(&mut frame).await?;
    // Fails only for a stream that was finished before.
    let _ = stream.finish();
    match stream.stopped().await {
        Ok(None) => Ok(()),
        Ok(Some(code)) => Err(WriteError::Stopped(code)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the connection died without a word, or was thought not to be used, so that what was written to it may never have arrived.
fn is_lost(error: &ConnectionError) -> bool {
    match error {
        // Closed on this side: the peer runs anew, or has dialled another one.
        ConnectionError::Reset | ConnectionError::TimedOut | ConnectionError::LocallyClosed => true,
        ConnectionError::ApplicationClosed(close) => close.error_code == UNUSED,
        _ => false,
    }
}

async fn tell(mut stream: SendStream, letter: Letter) -> Option<Letter> {
    match deliver(&mut stream, letter.frame.clone()).await {
        Err(WriteError::ConnectionLost(error)) if is_lost(&error) => Some(letter),
        _ => None,
    }
}

async fn ask(
    shared: Arc<Shared>,
    peer: NodeId,
    mut send: SendStream,
    mut answer: RecvStream,
    letter: Letter,
) -> Option<Letter> {
    let answered = async {
        match timeout(shared.heartbeat, answer.read_to_end(codec::MAX_FRAME)).await {
            // An empty answer says that there is none.
            Ok(Ok(frame)) if !frame.is_empty() => {
                if let Some(message) = shared.decode(peer, &frame) {
                    shared.deliver(peer, message).await;
                }
                false
            }
            Ok(Err(ReadToEndError::Read(ReadError::ConnectionLost(error)))) => is_lost(&error),
            _ => false,
        }
    };
    let closed = async {
        // When the transport closes, only the request itself still has to arrive.
        let _ = deliver(&mut send, letter.frame.clone()).await;
        shared.closing.cancelled().await;
    };
    let lost = tokio::select! {
        lost = answered => lost,
        () = closed => false,
    };
    lost.then_some(letter)
}
