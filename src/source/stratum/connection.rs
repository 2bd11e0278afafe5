//! A connection to a pool: lines come in, lines go out, over TCP or TLS.
//!
//! 1. [`connect`] opens it within ten seconds.
//! 2. The caller reads its lines; none is longer than 64 KiB.
//! 3. A task writes what the caller puts into a queue of fixed length, and gives up when the pool does not read for ten seconds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use super::StratumAddress;

/// The longest line that is read, in bytes.
pub(super) const LINE_BYTES: usize = 64 << 10;
/// The longest time that TCP and TLS may take to connect.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long the pool may leave what is sent to it unread.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// The most lines that wait to be written.
const QUEUE: usize = 1024;

/// TCP or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An open connection.
pub(super) struct Connection {
    lines: FramedRead<ReadHalf<Box<dyn Stream>>, LinesCodec>,
    /// Each text is written as a line. The queue is closed when the pool does not read any more.
    pub(super) out: mpsc::Sender<String>,
}

impl Connection {
    /// Lines over an open stream.
    fn over(stream: Box<dyn Stream>) -> Self {
        let (read, write) = split(stream);
        let (out, lines) = mpsc::channel(QUEUE);
        tokio::spawn(write_lines(write, lines));
        Self { lines: FramedRead::new(read, LinesCodec::new_with_max_length(LINE_BYTES)), out }
    }

    /// Lines over a stream of a test.
    #[cfg(test)]
    #[cfg(feature = "identity")]
    pub(super) fn over_test(stream: tokio::io::DuplexStream) -> Self {
        Self::over(Box::new(stream))
    }

    /// The next line. Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended, or the line is too long or no UTF-8; nothing can be read any further.
    pub(super) async fn line(&mut self) -> Result<String, String> {
        match self.lines.next().await {
            Some(Ok(line)) => Ok(line),
            Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                Err(format!("expected lines of at most {LINE_BYTES} bytes, got a longer one"))
            }
            Some(Err(LinesCodecError::Io(error))) => Err(format!("the connection broke: {error}")),
            None => Err("the pool has closed the connection".into()),
        }
    }
}

/// Connects to the pool, at `port` instead of the address's own; by TLS if there are settings for it.
pub(super) async fn connect(
    address: &StratumAddress,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Connection, String> {
    let connected = timeout(CONNECT_TIME, stream(address, port, tls)).await;
    connected
        .unwrap_or_else(|_| Err(format!("expected a connection within {CONNECT_TIME:?}, got none")))
        .map(Connection::over)
}

async fn stream(
    address: &StratumAddress,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, String> {
    let host = address.bare_host();
    let failed = |error: std::io::Error| format!("expected a connection, got: {error}");
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("expected a host's name: {error}"))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| format!("expected a TLS connection, got: {error}"))?))
}

/// Writes what is in the queue until the queue or the connection ends. Several lines that wait are written as one.
async fn write_lines(write: WriteHalf<Box<dyn Stream>>, mut lines: mpsc::Receiver<String>) {
    let mut write = BufWriter::new(write);
    while let Some(line) = lines.recv().await {
        let written = timeout(WRITE_TIME, async {
            let mut line = Some(line);
            while let Some(text) = line.take() {
                write.write_all(text.as_bytes()).await?;
                write.write_all(b"\n").await?;
                line = lines.try_recv().ok();
            }
            write.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return; // the reader meets the reason, or the queue's end tells it
        }
    }
    let _ = timeout(WRITE_TIME, write.shutdown()).await; // TLS says goodbye
}
