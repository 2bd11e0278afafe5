//! One stream between this node and a peer: its two halves, and which of two streams stays.
//!
//! A stream is ended by dropping all senders of its [`Live`]: what was handed over is still sent, then this side's half is closed. The
//! other side then closes its own half, and what it had sent until then is still read.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::peer::Shared;
use super::{convert, wire};
use crate::cluster::NodeId;
use crate::transport::bounds::HANDSHAKE_LIMIT;

/// Messages between a peer's queue and HTTP/2's buffers. They are lost with their stream, so there are few.
const HANDED_OVER: usize = 1;

/// How long a stream may be silent: three heartbeats, in each of which a live peer sends something, and 3 s at least, so that a busy machine
/// is not cut off.
fn silence(heartbeat: Duration) -> Duration {
    heartbeat.saturating_mul(3).max(Duration::from_secs(3))
}

/// A stream that messages can be sent on.
#[derive(Clone)]
pub(super) struct Live {
    opener: NodeId,
    pub(super) address: SocketAddr,
    since: Instant,
    pub(super) outbound: mpsc::Sender<wire::Message>,
    /// Cancelled when nothing more is read from the stream.
    pub(super) ended: CancellationToken,
    /// Why the stream ends, for a peer that has opened it.
    reason: Arc<OnceLock<Status>>,
}

/// What is to be sent on a stream, for HTTP/2 to take.
pub(super) struct Outbox {
    pub(super) messages: mpsc::Receiver<wire::Message>,
    reason: Arc<OnceLock<Status>>,
}

/// The task that reads a stream needs to know this of it.
pub(super) struct Reader {
    live: mpsc::WeakSender<wire::Message>,
    reason: Arc<OnceLock<Status>>,
    _ended: DropGuard,
}

impl Live {
    /// The three parts of a stream that node `opener` has opened; the other node's address is `address`.
    pub(super) fn new(opener: NodeId, address: SocketAddr) -> (Self, Outbox, Reader) {
        let (outbound, messages) = mpsc::channel(HANDED_OVER);
        let (ended, reason) = (CancellationToken::new(), Arc::<OnceLock<Status>>::default());
        let reader = Reader { live: outbound.downgrade(), reason: reason.clone(), _ended: ended.clone().drop_guard() };
        let outbox = Outbox { messages, reason: reason.clone() };
        (Self { opener, address, since: Instant::now(), outbound, ended, reason }, outbox, reader)
    }

    /// Whether messages can still be sent on it.
    pub(super) fn is_open(&self) -> bool {
        !self.outbound.is_closed() && !self.ended.is_cancelled()
    }

    /// Whether it stays when `newer` comes: of two that were opened at the same time, both sides keep the one of the higher id. A peer that
    /// opens another one later has lost this one.
    pub(super) fn outlasts(&self, newer: &Self) -> bool {
        self.is_open() && self.opener > newer.opener && self.since.elapsed() < HANDSHAKE_LIMIT
    }

    #[cfg(test)]
    pub(super) fn opener(&self) -> NodeId {
        self.opener
    }

    /// Whether both were opened by the same node.
    pub(super) fn has_opener_of(&self, other: &Self) -> bool {
        self.opener == other.opener
    }

    /// Tells the peer, if it has opened the stream, why it ends. The first reason counts.
    pub(super) fn explain(&self, reason: Status) {
        let _ = self.reason.set(reason);
    }
}

/// The answer to a peer that has opened a stream.
impl Stream for Outbox {
    type Item = Result<wire::Message, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The reason is given once: what is polled after it has neither messages nor a reason.
        self.messages.poll_recv(context).map(|message| match message {
            Some(message) => Some(Ok(message)),
            None => std::mem::take(&mut self.reason).get().cloned().map(Err),
        })
    }
}

impl Reader {
    /// Whether `live` is this stream.
    pub(super) fn reads(&self, live: &Live) -> bool {
        self.live.upgrade().is_some_and(|sender| sender.same_channel(&live.outbound))
    }

    /// Reads messages of `peer` until it has closed its half, is silent for too long, or says what cannot be understood.
    pub(super) async fn run(self, shared: Arc<Shared>, peer: NodeId, mut inbound: Streaming<wire::Message>) {
        let limit = silence(shared.heartbeat);
        let end = hear(limit, &shared, peer, &mut inbound).await;
        let reason = match &end {
            End::Closed => None,
            End::Silent => Some(Status::deadline_exceeded(format!("expected a message within {limit:?}, got none"))),
            End::Fault(status) => Some(status.clone()),
        };
        if let Some(reason) = reason {
            tracing::debug!("the stream of peer {peer} ends: {reason}");
            let _ = self.reason.set(reason); // fails if it ends for another reason already
        }
        shared.forget(peer, &self);
        if matches!(end, End::Silent) {
            // What was on its way is still heard.
            let _ = timeout(HANDSHAKE_LIMIT, hear(HANDSHAKE_LIMIT, &shared, peer, &mut inbound)).await;
        }
    }
}

/// Why nothing more is heard on a stream.
enum End {
    /// The peer has closed its half.
    Closed,
    /// It said nothing for too long.
    Silent,
    /// The connection is lost, or what came was no message.
    Fault(Status),
}

/// Delivers what `peer` says until it says no more.
async fn hear(limit: Duration, shared: &Shared, peer: NodeId, inbound: &mut Streaming<wire::Message>) -> End {
    loop {
        let message = match timeout(limit, inbound.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return End::Closed,
            Ok(Err(status)) => return End::Fault(status),
            Err(_) => return End::Silent,
        };
        match convert::from_wire(message) {
            Ok(Some((message, shows_witnesses))) => {
                if shows_witnesses == Some(false) {
                    shared.shows_none(peer);
                }
                shared.deliver(peer, message).await;
            }
            Ok(None) => tracing::debug!("passed over a newer version's message of peer {peer}"),
            Err(error) => return End::Fault(Status::invalid_argument(error.to_string())),
        }
    }
}
