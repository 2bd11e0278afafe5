//! The accept loop: who may connect, for how long, and how it ends. It knows HTTP/1.1's limits and no page.

use std::num::NonZeroUsize;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::places::{Place, Places};
use super::refusals::{Reason, Refusals};

/// The longest time until a request's head is complete. It ends idle connections, too.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// The largest head, which is the least that hyper allows.
const HEAD_BYTES: usize = 8192;
/// How long a connection lives. It is then closed between two requests.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// How long a request under way may take when its connection is to end. A client that does not read the answer in time is cut off.
const GRACE: Duration = Duration::from_millis(500);
/// The wait after a connection could not be accepted, which happens when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on at most `most` connections at the same time until `cancel`, and returns within [`GRACE`] after it.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    most: NonZeroUsize,
    refusals: &Refusals,
    cancel: CancellationToken,
) {
    let mut places = Places::new(most, cancel.clone());
    let (crowd, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut is_failing = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    is_failing = false;
                    if places.arrive(from.ip(), stream).is_some() {
                        refusals.note(Reason("too many connections"));
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "connections are not accepted");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
        while let Some((stream, place)) = places.next() {
            connections.spawn(converse(stream, router.clone(), place, crowd.subscribe()));
        }
        places.reclaim();
        crowd.send_replace(places.is_crowded());
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers one connection's requests until the client, the time or the place ends it. While others wait, it ends after its answer.
async fn converse(stream: TcpStream, router: Router, place: Place, mut crowd: watch::Receiver<bool>) {
    // Answers are small and complete; waiting to fill a packet would cost 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection was gone at once");
        return;
    }
    let (asked, pages) = (Notify::new(), TowerToHyperService::new(router));
    let answer = service_fn(|request| {
        asked.notify_one();
        pages.call(request)
    });
    let connection = protocol().serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // A connection without a request yet would be closed without an answer, so its first request is waited for.
    let unwanted = async {
        asked.notified().await;
        let _ = crowd.wait_for(|&crowded| crowded).await;
    };
    let over = timeout(CONNECTION_TIME, place.end.cancelled());
    let (mut unwanted, mut over) = (std::pin::pin!(unwanted), std::pin::pin!(over));
    let mut is_last = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = unwanted.as_mut(), if !is_last => {
                is_last = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = over.as_mut() => {
                connection.as_mut().graceful_shutdown();
                break timeout(GRACE, connection).await.unwrap_or(Ok(()));
            }
        }
    };
    if let Err(error) = ended {
        // The client went away, was slow, or did not speak HTTP/1.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// HTTP/1.1 with this service's limits.
pub(super) fn protocol() -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    protocol
}
