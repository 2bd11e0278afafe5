//! A node's bounded inbox: many tasks put messages in, and one takes them out until it is closed.

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// The receiving end. Once it is dropped or closed, further messages are lost.
pub(super) struct Inbox<T> {
    messages: Mutex<mpsc::Receiver<T>>,
    closed: CancellationToken,
}

impl<T> Inbox<T> {
    /// An inbox that holds up to `capacity` messages, and its other end.
    pub(super) fn new(capacity: usize) -> (mpsc::Sender<T>, Self) {
        let (sender, messages) = mpsc::channel(capacity);
        (sender, Self { messages: Mutex::new(messages), closed: CancellationToken::new() })
    }

    /// The next message; `None` once the inbox is closed and empty. Cancel-safe.
    pub(super) async fn recv(&self) -> Option<T> {
        let mut messages = self.messages.lock().await;
        tokio::select! {
            // Messages that came before the end are still handed out.
            biased;
            message = messages.recv() => message,
            () = self.closed.cancelled() => {
                messages.close();
                messages.try_recv().ok()
            }
        }
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends every present and future [`recv`](Self::recv), after the messages that are already here.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}
