//! The connections that peers open, and which ones are let in.
//!
//! 1. A connection has a place until it has shown whose it is. Addresses where peers are have places for these; strangers share a few.
//! 2. TLS lets in this cluster's certificates only. The certificate names the node; a node that is not in the list of peers is refused.
//! 3. Each peer has two connections at most, the newest ones. One without a stream is closed after a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::MAX_MESSAGE;
use super::http2::{self, Tasks};
use super::peer::Shared;
use super::service::Caller;
use super::wire::node_server::NodeServer;
use crate::cluster::NodeId;
use crate::transport::bounds::{HANDSHAKE_LIMIT, idle_timeout};
use crate::transport::identity::node_of;
use crate::transport::lock;
use crate::transport::places::Place;

/// The pause after a connection that could not be accepted, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a refused client has to read why. A connection that is closed before all that came on it is read is reset, and then the client may
/// not get to see the alert.
const LINGER: Duration = Duration::from_millis(500);

/// Accepts connections for ever.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, address)) => match shared.enter(address.ip()) {
                    Some(place) => drop(connections.spawn(serve(shared.clone(), tcp, address, place))),
                    None => tracing::debug!("refused a connection from {address}: all places for strangers are taken"),
                },
                Err(error) => {
                    tracing::debug!("no connection could be accepted: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(shared: Arc<Shared>, tcp: TcpStream, address: SocketAddr, place: Place) {
    let _ = tcp.set_nodelay(true);
    let acceptor = lock(&shared.acceptor).clone();
    let tls = match timeout(HANDSHAKE_LIMIT, acceptor.accept(tcp).into_fallible()).await {
        Ok(Ok(tls)) => tls,
        Ok(Err((error, tcp))) => {
            tracing::debug!("refused a connection from {address}: {error}");
            return linger(tcp).await;
        }
        Err(_) => return tracing::debug!("a connection from {address} did not complete its handshake"),
    };
    let Some(node) = identify(&tls) else { return };
    match shared.connected(node, node) {
        Some(stop) => {
            shared.strangers.accepted(node);
            drop(place);
            let caller = Caller::new(shared, node, address, true, stop.clone());
            stop.run_until_cancelled(http2(caller, tls)).await;
        }
        None => {
            shared.strangers.refused(node, address);
            let stop = shared.stop.child_token();
            let caller = Caller::new(shared, node, address, false, stop.clone());
            // Long enough for a call, which is told why it is refused.
            let _ = timeout(HANDSHAKE_LIMIT, stop.run_until_cancelled(http2(caller, tls))).await;
            stop.cancel();
            drop(place);
        }
    }
}

/// The node that the verified certificate names.
fn identify(tls: &TlsStream<TcpStream>) -> Option<NodeId> {
    node_of(tls.get_ref().1.peer_certificates()?.first()?).ok()
}

/// Serves a connection until it ends, or has had no stream for a while.
async fn http2(caller: Caller, tls: TlsStream<TcpStream>) {
    let caller = Arc::new(caller);
    let idle = idle_timeout(caller.shared.heartbeat);
    let tasks = Tasks { runtime: caller.shared.runtime.clone(), stop: caller.stop.clone() };
    let _tasks = caller.stop.clone().drop_guard();
    let server = NodeServer::from_arc(caller.clone());
    let server = server.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let connection = http2::server(tasks).serve_connection(TokioIo::new(tls), TowerToHyperService::new(server));
    let mut connection = Box::pin(connection);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("the connection of node {} at {} ended: {error}", caller.node, caller.address);
                }
                break;
            }
            () = sleep(idle) => if caller.readers.is_empty() {
                return;
            },
        }
    }
    // What had arrived by then is still read: the last may be a `Leave`.
    caller.readers.close();
    caller.readers.wait().await;
}

async fn linger(mut tcp: TcpStream) {
    let rest = async {
        let _ = tcp.shutdown().await;
        let mut unread = [0; 1024];
        while matches!(tcp.read(&mut unread).await, Ok(1..)) {}
    };
    let _ = timeout(LINGER, rest).await;
}
