//! HTTP/2 connections and their limits, which are those of the QUIC connections wherever both have the same.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::{error, io};

use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};

/// Streams at the same time: the present one, and one that replaces it.
const STREAMS: u32 = 2;
/// Half a message of the largest size; most fit easily.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The most that a peer can make this node hold for one connection beside the message that is being read.
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// What this node holds for a slow peer, in bytes of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// A call has a dozen short header fields.
const HEADERS: u32 = 16 * 1024;
/// Streams that a peer may have reset before they were looked at, or that were reset for its mistakes. With one more the connection ends.
const RESETS: usize = 8;

/// Settings of connections that peers open.
pub(super) fn server(tasks: Tasks) -> server::Builder<Tasks> {
    let mut builder = server::Builder::new(tasks);
    builder
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADERS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS);
    builder
}

/// Settings of connections that this node opens.
pub(super) fn client(tasks: Tasks) -> client::Builder<Tasks> {
    let mut builder = client::Builder::new(tasks);
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADERS)
        .max_concurrent_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS);
    builder
}

/// Where a connection's tasks run: they end with it.
#[derive(Clone)]
pub(super) struct Tasks {
    pub(super) runtime: Handle,
    pub(super) stop: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let stop = self.stop.clone();
        self.runtime.spawn(async move { stop.run_until_cancelled(task).await.map(drop) });
    }
}

/// A connection that this node has opened, for the generated client to call.
#[derive(Clone)]
pub(super) struct Calls(pub(super) client::SendRequest<Body>);

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A TLS connection that remembers what TLS says when it ends. With TLS 1.3, the other side may refuse this node's certificate after the
/// handshake is over on this side, and HTTP/2 would pass on the text only.
pub(super) struct Watched<T> {
    inner: T,
    fault: Arc<OnceLock<rustls::Error>>,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, fault: Arc::default() }
    }

    /// Where the TLS error will be, should there be one.
    pub(super) fn fault(&self) -> Arc<OnceLock<rustls::Error>> {
        self.fault.clone()
    }

    fn watch<V>(&self, result: io::Result<V>) -> io::Result<V> {
        if let Err(error) = &result
            && let Some(error) = tls_error(error)
        {
            let _ = self.fault.set(error.clone()); // fails if there was one before
        }
        result
    }
}

/// What TLS says, if that is behind an I/O error.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner: &(dyn error::Error + 'static) = error.get_ref()?;
    inner.downcast_ref()
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        Poll::Ready(self.watch(result))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
