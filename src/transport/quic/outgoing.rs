//! One peer's outgoing side: a task that owns the connection that this node opens, and sends the outbound messages that wait for the peer.
//!
//! 1. There is no connection until there is a message to send. The first one opens a connection, unless a peer with a higher id has opened
//!    one already: that one serves both. So a leader, which exchanges messages with every node, has one connection a node, at some 50 KiB
//!    each.
//! 2. While there is no connection, messages wait for up to a heartbeat, and the task dials again after growing pauses. After that a
//!    message is dropped: a stale heartbeat helps nobody.
//! 3. A connection on which nothing came or went for a while is closed. In a large cluster a node sends to all others only when it looks
//!    for the leader or leads, and to a few most of the time.
//! 4. Each message gets its stream at once, in order. Writing it and awaiting its answer happen beside the queue, so that a large or
//!    unanswered message never holds up an interrupt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{ConnectError, Connection, ConnectionError, ReadError, ReadToEndError, RecvStream, SendStream, WriteError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::incoming::read_streams;
use super::peer::Shared;
use super::refusal::{LEAVING, UNUSED, refusal};
use crate::cluster::NodeId;
use crate::transport::answers::Answer;
use crate::transport::bounds::{HANDSHAKE_LIMIT, LONGEST_TURN, longer};
use crate::transport::codec;
use crate::transport::identity::node_name;
use crate::transport::lock;
use crate::transport::refusal::{Complaints, Trouble};

/// How long an unused connection is kept. A watched peer is sent a message in each heartbeat, so a silent connection leads to a peer that
/// is not watched. A new one costs a handshake of some milliseconds only.
fn rest(heartbeat: Duration) -> Duration {
    heartbeat.saturating_mul(4)
}

/// An outbound message: the frame, the answer that it awaits, and the time since when it has been waiting.
pub(super) struct Outbound {
    pub(super) frame: Bytes,
    pub(super) awaits: Option<Answer>,
    pub(super) since: Instant,
}

/// Sends the messages that wait for `peer`, until the transport closes and all are delivered.
pub(super) fn run(
    shared: Arc<Shared>,
    peer: NodeId,
    address: SocketAddr,
    waiting: mpsc::Receiver<Outbound>,
    trouble: Trouble,
) -> impl Future<Output = ()> {
    let complaints = Complaints::new(shared.node, peer, address, shared.heartbeat, trouble);
    let link = Link {
        shared,
        peer,
        address,
        connection: None,
        reading: JoinSet::new(),
        used: Instant::now(),
        read: 0,
        pause: Duration::ZERO,
        complaints,
    };
    Outgoing { link, waiting, streams: JoinSet::new() }.run()
}

struct Outgoing {
    link: Link,
    waiting: mpsc::Receiver<Outbound>,
    /// Messages on their way. A task returns its message if that was lost with its connection and has to be resent.
    streams: JoinSet<Option<Outbound>>,
}

/// The connection, or the attempts to get one.
struct Link {
    shared: Arc<Shared>,
    peer: NodeId,
    address: SocketAddr,
    connection: Option<Connection>,
    /// The task that reads what the peer sends on this connection; a peer does so if it has the lower id. It ends with the link.
    reading: JoinSet<()>,
    /// When the connection was last known to be in use.
    used: Instant,
    /// How many QUIC STREAM frames had arrived on it by then.
    read: u64,
    /// How long to wait before dialling.
    pause: Duration,
    complaints: Complaints,
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
            let outbound = tokio::select! {
                biased;
                outbound = self.waiting.recv() => outbound,
                () = closing.cancelled() => self.waiting.try_recv().ok(),
                () = self.link.lost() => continue,
                () = come(unused) => {
                    self.link.hang_up();
                    continue;
                }
                // The old connection to a restarted peer ends at the first message that is sent on it. That message is resent.
                Some(ended) = self.streams.join_next() => match ended.ok().flatten() {
                    Some(outbound) => Some(outbound),
                    None => continue,
                },
            };
            match outbound {
                Some(outbound) => self.send(outbound).await,
                None => break,
            }
        }
        while self.streams.join_next().await.is_some() {}
        if let Some(connection) = &self.link.connection {
            connection.close(LEAVING, b"leaving");
        }
    }

    async fn send(&mut self, outbound: Outbound) {
        loop {
            if let Some(stream) = self.link.open(outbound.awaits.is_some()).await {
                let (shared, peer) = (self.link.shared.clone(), self.link.peer);
                match stream {
                    Stream::OneWay(stream) => self.streams.spawn(send_one_way(stream, outbound)),
                    Stream::Request(send, answer) => self.streams.spawn(request(shared, peer, send, answer, outbound)),
                };
                return;
            }
            if outbound.since.elapsed() >= self.link.shared.heartbeat {
                return;
            }
            // Boxed, because this future is large and dialling is rare: the task lives as long as the peer and should keep no room for it.
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
        match open(self.connection.as_ref()?, request).await {
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

    /// The connection that the peer has opened, if that is the one to send on: of two, both sides take the one of the higher id.
    fn theirs(&self) -> Option<Connection> {
        let is_higher = self.peer > self.shared.node;
        let theirs = self.shared.peers().get(&self.peer).filter(|_| is_higher)?.incoming.clone();
        // A connection that has ended stays in the list of peers until all that came on it is read.
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
        match refusal(error) {
            Some(refusal) => self.complaints.refused(&refusal),
            // It was a good connection, so the peer is dialled again at once.
            None => {
                self.pause = Duration::ZERO;
                self.complaints.clear();
            }
        }
    }

    async fn dial(&mut self) {
        sleep(self.pause).await;
        let shared = self.shared.clone();
        let _turn = timeout(LONGEST_TURN, shared.dials.acquire()).await;
        if self.theirs().is_some() {
            return; // the peer was quicker
        }
        self.pause = longer(self.pause);
        let (client, name) = (lock(&self.shared.client).clone(), node_name(self.peer));
        match self.shared.endpoint.connect_with(client, self.address, &name) {
            Ok(connecting) => match timeout(HANDSHAKE_LIMIT, connecting).await {
                Ok(Ok(connection)) => self.dialled(connection),
                Ok(Err(error)) => match refusal(&error) {
                    Some(refusal) => self.complaints.refused(&refusal),
                    None => self.complaints.silent(&error),
                },
                Err(elapsed) => self.complaints.silent(&elapsed),
            },
            Err(ConnectError::EndpointStopping) => {} // it is this node that leaves
            Err(error) => self.complaints.warn("cannot be dialled", &error),
        }
    }

    fn dialled(&mut self, connection: Connection) {
        while self.reading.try_join_next().is_some() {}
        let (shared, peer, streams) = (self.shared.clone(), self.peer, connection.clone());
        self.reading.spawn(async move { read_streams(&shared, peer, &streams).await });
        (self.connection, self.used, self.read) = (Some(connection), Instant::now(), 0);
        self.complaints.dialled();
    }
}

/// A stream on `connection`.
async fn open(connection: &Connection, request: bool) -> Result<Stream, ConnectionError> {
    if request {
        // Where too many requests await answers, this one is sent one-way, and so will its answer be.
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

/// Waits until `moment`, or for ever.
async fn come(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Sends a frame and waits until the peer has it, so that `close` knows.
pub(super) async fn deliver(stream: &mut SendStream, frame: Bytes) -> Result<(), WriteError> {
    stream.write_chunk(frame).await?;
    // Fails only for a stream that was finished before.
    let _ = stream.finish();
    match stream.stopped().await {
        Ok(None) => Ok(()),
        Ok(Some(code)) => Err(WriteError::Stopped(code)),
        Err(error) => Err(error.into()),
    }
}

/// Whether a message that was written to the connection may never have arrived and has to be resent: the connection broke, or one side
/// closed it as unused.
fn is_lost(error: &ConnectionError) -> bool {
    match error {
        // Closed on this side: the peer was restarted, or has dialled another connection.
        ConnectionError::Reset | ConnectionError::TimedOut | ConnectionError::LocallyClosed => true,
        ConnectionError::ApplicationClosed(close) => close.error_code == UNUSED,
        _ => false,
    }
}

/// Sends a message on a stream of its own; returns it if it has to be resent.
async fn send_one_way(mut stream: SendStream, outbound: Outbound) -> Option<Outbound> {
    match deliver(&mut stream, outbound.frame.clone()).await {
        Err(WriteError::ConnectionLost(error)) if is_lost(&error) => Some(outbound),
        _ => None,
    }
}

/// Sends a request and receives its answer on the same stream; returns the request if it has to be resent.
async fn request(
    shared: Arc<Shared>,
    peer: NodeId,
    mut send: SendStream,
    mut answer: RecvStream,
    outbound: Outbound,
) -> Option<Outbound> {
    let answered = async {
        match timeout(shared.heartbeat, answer.read_to_end(codec::MAX_FRAME)).await {
            // An empty answer means that there is none.
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
        let _ = deliver(&mut send, outbound.frame.clone()).await;
        shared.closing.cancelled().await;
    };
    let lost = tokio::select! {
        lost = answered => lost,
        () = closed => false,
    };
    lost.then_some(outbound)
}
