//! The accept loop: who may connect, for how long, and how it ends. It knows HTTP/1.1's limits and no page.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The most connections at the same time; more wait in the system's queue.
const CONNECTIONS: usize = 64;
/// The longest time until a request's head is complete. It ends idle connections, too.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// The largest head, which is the least that hyper allows.
const HEAD_BYTES: usize = 8192;
/// How long a connection lives. It is then closed between two requests, so that nobody holds one of the few for ever.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// How long a request under way may take when its connection is to end. A client that does not read the answer in time is cut off.
const GRACE: Duration = Duration::from_millis(500);
/// The wait after a connection could not be accepted, which happens when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` until `cancel`, and returns within [`GRACE`] after it.
pub(super) async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    while let Some(accepted) = cancel.run_until_cancelled(next(&listener, &permits)).await {
        match accepted {
            Ok((stream, permit)) => {
                let connection = converse(stream, router.clone(), cancel.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, once there is room for one more.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Answers one connection's requests until the client, the time or `cancel` ends it.
async fn converse(stream: TcpStream, router: Router, cancel: CancellationToken) {
    // Answers are small and complete; waiting to fill a packet would cost 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection was gone at once");
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => wind_down(connection).await,
        () = sleep(CONNECTION_TIME) => wind_down(connection).await,
    };
    if let Err(error) = ended {
        // The client went away, was slow, or did not speak HTTP/1.
        tracing::debug!(%error, "a connection ended early");
    }
}

type Connection = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

/// Lets the request under way finish within [`GRACE`].
async fn wind_down(mut connection: std::pin::Pin<&mut Connection>) -> hyper::Result<()> {
    connection.as_mut().graceful_shutdown();
    timeout(GRACE, connection).await.unwrap_or(Ok(()))
}
