//! A node's bounded inbox: many tasks put messages in, one waits for them, until it is closed.

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// The receiving end. Dropping it, or closing it, makes the senders' messages go nowhere.
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
            // What came before the end is still handed out.
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

    /// Ends [`recv`](Self::recv), waiting or yet to come, after what is already here.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}
