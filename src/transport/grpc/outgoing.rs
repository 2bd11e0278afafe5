//! One peer's outgoing side: a task that sends the messages that wait for the peer on the live stream, and dials if there is none.
//!
//! 1. There is no stream until there is a message to send. The first one opens a connection and a stream, unless the peer has opened one
//!    already: that one serves both.
//! 2. While there is no stream, messages wait for up to a heartbeat, and the task dials again after growing pauses. After that a message is
//!    dropped: a stale heartbeat helps nobody.
//! 3. A node in another language cannot be dialled. It costs an attempt now and then, until it has opened a stream by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor as _;
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Code;
use tonic::codegen::http::Uri;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use super::MAX_MESSAGE;
use super::http2::{self, Calls, Tasks, Watched, tls_error};
use super::peer::Shared;
use super::stream::Live;
use super::wire::{self, node_client::NodeClient};
use crate::cluster::NodeId;
use crate::transport::bounds::{HANDSHAKE_LIMIT, LONGEST_TURN, longer};
use crate::transport::identity::node_name;
use crate::transport::lock;
use crate::transport::refusal::{By, Complaints, Refusal, Trouble};

/// A stream that lasted for so long was a good one: the peer is dialled again at once.
const GOOD: Duration = Duration::from_secs(1);

/// An outbound message, and the time since when it has been waiting.
pub(super) struct Outbound {
    pub(super) message: wire::Message,
    pub(super) since: Instant,
}

/// Sends the messages that wait for `peer`, until the transport closes and all are delivered. `arrived` tells of streams that the peer
/// opens.
pub(super) async fn run(
    shared: Arc<Shared>,
    peer: NodeId,
    address: SocketAddr,
    mut waiting: mpsc::Receiver<Outbound>,
    (arrived, trouble): (Arc<Notify>, Trouble),
) {
    let complaints = Complaints::new(shared.node, peer, address, shared.heartbeat, trouble);
    let closing = shared.closing.clone();
    let (pause, attempt) = (Duration::ZERO, JoinSet::new());
    let mut link = Link { shared, peer, address, arrived, pause, attempt, dialled: None, complaints };
    loop {
        let outbound = tokio::select! {
            biased;
            outbound = waiting.recv() => outbound,
            () = closing.cancelled() => waiting.try_recv().ok(),
        };
        match outbound {
            Some(outbound) => link.send(outbound).await,
            None => break,
        }
    }
    // The peer ends its half when it has read everything.
    if let Some(ended) = link.shared.end(peer) {
        ended.cancelled().await;
    }
}

/// The attempts to get a stream.
struct Link {
    shared: Arc<Shared>,
    peer: NodeId,
    address: SocketAddr,
    arrived: Arc<Notify>,
    /// How long to wait before dialling.
    pause: Duration,
    /// The attempt that is under way, if there is one.
    attempt: JoinSet<Result<Instant, Failure>>,
    /// When dialling last succeeded.
    dialled: Option<Instant>,
    complaints: Complaints,
}

/// Why an attempt to dial came to nothing.
enum Failure {
    Refused(Refusal),
    Other(String),
}

impl Link {
    async fn send(&mut self, outbound: Outbound) {
        let Outbound { message, since } = outbound;
        while let Some(outcome) = self.attempt.try_join_next() {
            self.note(outcome);
        }
        while since.elapsed() < self.shared.heartbeat {
            if let Some(live) = self.shared.live(self.peer) {
                // There is no room for as long as the peer reads nothing; its stream ends if it is silent, too.
                tokio::select! {
                    room = live.outbound.reserve() => if let Ok(room) = room {
                        return room.send(message);
                    },
                    () = live.ended.cancelled() => {}
                    // The peer has opened another, as after a loss of power.
                    () = self.arrived.notified() => {}
                    () = sleep_until(since + self.shared.heartbeat) => {}
                }
                continue;
            }
            // Boxed, because this future is large and dialling is rare: the task lives as long as the peer and should keep no room for it.
            Box::pin(self.dial()).await;
        }
    }

    /// Dials once, after a pause. Returns when that has come to something, or when the peer has opened a stream. An attempt that has begun
    /// is never given up for that: the peer may have sent something on the new stream already.
    async fn dial(&mut self) {
        if self.dialled.take_if(|dialled| dialled.elapsed() >= GOOD).is_some() {
            self.pause = Duration::ZERO;
        }
        if self.attempt.is_empty() {
            tokio::select! {
                biased;
                () = self.arrived.notified() => return,
                () = sleep(self.pause) => {}
            }
            self.pause = longer(self.pause);
            let (shared, peer, address) = (self.shared.clone(), self.peer, self.address);
            let attempt = async move {
                let _turn = timeout(LONGEST_TURN, shared.dials.acquire()).await;
                match timeout(HANDSHAKE_LIMIT, connect(&shared, peer, address)).await {
                    Ok(outcome) => outcome.map(|()| Instant::now()),
                    Err(elapsed) => Err(Failure::Other(elapsed.to_string())),
                }
            };
            self.attempt.spawn(attempt);
        }
        let outcome = tokio::select! {
            biased;
            outcome = self.attempt.join_next() => outcome,
            () = self.arrived.notified() => return,
        };
        if let Some(outcome) = outcome {
            self.note(outcome);
        }
    }

    /// What has come of an attempt.
    fn note(&mut self, outcome: Result<Result<Instant, Failure>, JoinError>) {
        match outcome {
            Ok(Ok(dialled)) => {
                self.dialled = Some(dialled);
                self.complaints.clear();
            }
            Ok(Err(Failure::Refused(refusal))) => self.complaints.refused(&refusal),
            Ok(Err(Failure::Other(cause))) => self.complaints.silent(&cause),
            Err(_) => {}
        }
    }
}

/// Opens a connection, and a stream on it.
async fn connect(shared: &Arc<Shared>, peer: NodeId, address: SocketAddr) -> Result<(), Failure> {
    let name = node_name(peer);
    let server = ServerName::try_from(name.clone()).map_err(|error| Failure::Other(error.to_string()))?;
    let origin = Uri::builder().scheme("https").authority(name).path_and_query("/").build();
    let origin = origin.map_err(|error| Failure::Other(error.to_string()))?;

    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let connector = lock(&shared.connector).clone();
    let tls = Watched::new(connector.connect(server, tcp).await?);
    let fault = tls.fault();
    let explain = |error: String| match fault.get() {
        Some(error) => Failure::of_tls(error),
        None => Failure::Other(error),
    };

    // From here on the connection's tasks end with the peer, with newer connections, or when nothing is to be done any more.
    let Some(stop) = shared.connected(peer, shared.node) else { return Ok(()) };
    let unfinished = stop.clone().drop_guard();
    let tasks = Tasks { runtime: shared.runtime.clone(), stop: stop.clone() };
    let handshake = http2::client(tasks.clone()).handshake(TokioIo::new(tls)).await;
    let (calls, connection) = handshake.map_err(|error| explain(error.to_string()))?;
    tasks.execute(connection);
    let client = NodeClient::with_origin(Calls(calls), origin);
    let mut client = client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let (stream, outbox, reader) = Live::new(shared.node, address);
    let inbound = match client.exchange(ReceiverStream::new(outbox.messages)).await {
        Ok(response) => response.into_inner(),
        Err(status) if status.code() == Code::PermissionDenied => return Err(Failure::Refused(Refusal::UnknownNode)),
        Err(status) => return Err(explain(status.to_string())),
    };
    let _ = unfinished.disarm();
    shared.opened(peer, stream);
    let reading = reader.run(shared.clone(), peer, inbound);
    tasks.execute(async move {
        reading.await;
        // The connection ends when nobody can call any more and its streams have ended.
        drop(client);
    });
    Ok(())
}

impl Failure {
    fn of_tls(error: &rustls::Error) -> Self {
        let refused =
            |alert: AlertDescription, by| Self::Refused(Refusal::handshake(alert.into(), by, error.to_string()));
        match error {
            rustls::Error::AlertReceived(alert) => refused(*alert, By::Them),
            rustls::Error::InvalidCertificate(cause) => refused(cause.clone().into(), By::Us),
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match tls_error(&error) {
            Some(error) => Self::of_tls(error),
            None => Self::Other(error.to_string()),
        }
    }
}
