//! The connections that peers open: which ones are let in, and the frames that arrive on them.
//!
//! 1. A client at an address that is no peer's first has to show that it can be reached there (Retry, RFC 9000 section 8.1.2), before it
//!    costs anything.
//! 2. TLS lets in this cluster's certificates only. The certificate names the node; a node that is not in the list of peers is refused.
//! 3. Each peer has one incoming connection: a newer one replaces the older, as after a restart.
//! 4. Each stream brings one frame. If that is a request, the stream's other half is kept for the answer.

use std::sync::Arc;

use quinn::{Connection, Incoming, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::peer::Shared;
use super::refusal::{REPLACED, UNKNOWN_NODE};
use crate::cluster::NodeId;
use crate::transport::answers::Answer;
use crate::transport::bounds::{HANDSHAKE_LIMIT, idle_timeout};
use crate::transport::codec;
use crate::transport::identity::node_of;
use crate::transport::places::Place;

/// Accepts connections until the endpoint is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = shared.endpoint.accept() => match incoming {
                Some(incoming) => admit(&shared, incoming, &mut connections),
                None => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn admit(shared: &Arc<Shared>, incoming: Incoming, connections: &mut JoinSet<()>) {
    let address = incoming.remote_address();
    let (is_known, peers) = {
        let peers = shared.peers();
        (peers.values().any(|peer| peer.address == address), peers.len())
    };
    // Two for each peer: the present one, and one that replaces it. Strangers have places of their own.
    let of_peers = connections.len().saturating_sub(shared.places.taken());
    // Whoever only claims a peer's address must not take the peers' places.
    let is_trusted = is_known && of_peers <= peers;
    if !is_trusted && !incoming.remote_address_validated() {
        if incoming.retry().is_err() {
            tracing::debug!("{address} could not be asked to retry");
        }
    } else if is_known && of_peers < 2 * peers {
        connections.spawn(serve(shared.clone(), incoming, None));
    } else if let Some(place) = shared.places.enter(address.ip()) {
        connections.spawn(serve(shared.clone(), incoming, Some(place)));
    } else {
        incoming.refuse();
    }
}

/// `place`: a stranger's, which it keeps until it turns out to be a peer.
async fn serve(shared: Arc<Shared>, incoming: Incoming, place: Option<Place>) {
    let address = incoming.remote_address();
    let connection = match timeout(HANDSHAKE_LIMIT, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!("refused a connection from {address}: {error}"),
        Err(_) => return tracing::debug!("a connection from {address} did not complete its handshake"),
    };
    match identify(&connection) {
        Some(peer) if register(&shared, peer, &connection) => {
            shared.strangers.accepted(peer);
            drop(place);
            read_streams(&shared, peer, &connection).await;
            forget(&shared, peer, &connection);
        }
        stranger => {
            connection.close(UNKNOWN_NODE, b"not one of this node's servers");
            if let Some(stranger) = stranger {
                shared.strangers.refused(stranger, address);
            }
        }
    }
}

/// The node that the verified certificate names.
fn identify(connection: &Connection) -> Option<NodeId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    node_of(chain.first()?).ok()
}

/// Makes `connection` the peer's; false when there is no such peer.
fn register(shared: &Shared, id: NodeId, connection: &Connection) -> bool {
    let mut peers = shared.peers();
    let Some(peer) = peers.get_mut(&id) else { return false };
    if let Some(older) = peer.incoming.replace(connection.clone()) {
        let (there, here) = (older.remote_address(), connection.remote_address());
        if older.close_reason().is_none() {
            peer.rivals.meet(id, there, here, shared.heartbeat);
        }
        older.close(REPLACED, b"replaced by a newer connection");
    }
    peer.awaits.clear();
    true
}

fn forget(shared: &Shared, id: NodeId, connection: &Connection) {
    let mut peers = shared.peers();
    let Some(peer) = peers.get_mut(&id) else { return };
    if peer.incoming.as_ref().is_some_and(|newest| newest.stable_id() == connection.stable_id()) {
        peer.incoming = None;
        peer.awaits.clear();
    }
}

/// Reads frames until the connection ends, whichever side has opened it. Frames that had arrived by that time are still read: the last may
/// be a `Leave`. At most as many streams are read at once as a connection may have open.
pub(super) async fn read_streams(shared: &Arc<Shared>, peer: NodeId, connection: &Connection) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            Ok(stream) = connection.accept_uni() => {
                streams.spawn(read(shared.clone(), peer, stream, None));
            }
            Ok((answer, stream)) = connection.accept_bi() => {
                let answer = Some((answer, connection.clone()));
                streams.spawn(read(shared.clone(), peer, stream, answer));
            }
            Some(_) = streams.join_next() => {}
            else => return,
        }
    }
}

/// Reads one frame. Longer streams are stopped at the limit, unfinished ones after the idle time.
async fn read(shared: Arc<Shared>, peer: NodeId, mut stream: RecvStream, answer: Option<(SendStream, Connection)>) {
    let frame = match timeout(idle_timeout(shared.heartbeat), stream.read_to_end(codec::MAX_FRAME)).await {
        Ok(Ok(frame)) => frame,
        Ok(Err(error)) => return tracing::debug!("dropped a stream of peer {peer}: {error}"),
        Err(_) => return tracing::debug!("dropped a stream of peer {peer} that did not end"),
    };
    let Some(message) = shared.decode(peer, &frame) else { return };
    // The stream is kept before the message is delivered, so that its answer finds it.
    if let (Some((stream, connection)), Some(awaited)) = (answer, Answer::awaited_by(&message)) {
        keep_open(&shared, peer, &connection, awaited, stream);
    }
    shared.deliver(peer, message).await;
}

/// Keeps the half of a request's stream on which its answer is awaited, unless the connection has ended meanwhile.
fn keep_open(shared: &Shared, id: NodeId, connection: &Connection, awaited: Answer, stream: SendStream) {
    if let Some(peer) = shared.peers().get_mut(&id)
        && connection.close_reason().is_none()
    {
        peer.awaits.keep(awaited, stream, Instant::now());
    }
}
