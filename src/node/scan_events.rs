//! The scanner's events on their way to the node.
//!
//! To wake the node costs more than all else that is done for a share, and a busy pool wants a thousand shares a second. Therefore shares
//! wait until the node looks, which it does ten times a second. A block or the end of a scan wakes the node at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::scan::Event;

/// The most events that wait; beyond that, hashing waits.
const MAX_WAITING: usize = 4096;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
    news: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<Event>,
    is_closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: Event) {
        let can_wait = matches!(event, Event::Found { is_block: false, .. });
        let mut state = self.lock();
        if state.waiting.len() >= MAX_WAITING {
            self.news.notify_one();
            let is_full = |state: &mut State| state.waiting.len() >= MAX_WAITING && !state.is_closed;
            state = self.room.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return;
        }
        state.waiting.push(event);
        drop(state);
        if !can_wait {
            self.news.notify_one();
        }
    }
}

/// The node's end. Once it is dropped, events are dropped, too.
pub(super) struct ScanEvents(Arc<Shared>);

/// What hashing threads call, and the node's end.
pub(super) fn scan_events() -> (impl Fn(Event) + Send + Sync + 'static, ScanEvents) {
    let shared = Arc::new(Shared::default());
    let events = ScanEvents(Arc::clone(&shared));
    (move |event| shared.push(event), events)
}

impl ScanEvents {
    /// Waits until there is an event that cannot wait. Cancel-safe.
    pub(super) async fn urgent(&self) {
        self.0.news.notified().await;
    }

    /// All events that there are.
    pub(super) fn take(&self) -> Vec<Event> {
        let waiting = std::mem::take(&mut self.0.lock().waiting);
        if waiting.len() >= MAX_WAITING {
            self.0.room.notify_all();
        }
        waiting
    }
}

impl Drop for ScanEvents {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn found(nonce: u64, is_block: bool) -> Event {
        Event::Found { ticket: 1, nonce, is_block }
    }

    #[test]
    fn shares_wait_and_a_block_wakes_the_node() {
        let (push, events) = scan_events();
        push(found(1, false));
        assert!(events.urgent().now_or_never().is_none());
        push(found(2, true));
        assert!(events.urgent().now_or_never().is_some());
        assert_eq!(events.take(), [found(1, false), found(2, true)]);
        assert_eq!((events.urgent().now_or_never(), events.take()), (None, vec![]));
    }

    #[test]
    fn hashing_waits_while_there_is_no_room_and_not_for_a_node_that_has_stopped() {
        let (push, events) = scan_events();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..MAX_WAITING as u64 + 1).for_each(|nonce| push(found(nonce, false))));
            let mut taken = Vec::new();
            while taken.len() <= MAX_WAITING {
                let some = events.take();
                assert!(some.len() <= MAX_WAITING);
                taken.extend(some);
                std::thread::yield_now();
            }
            assert!(taken.iter().zip(0..).all(|(event, nonce)| *event == found(nonce, false)), "in their order");
        });
        drop(events);
        (0..MAX_WAITING as u64 * 2).for_each(|nonce| push(found(nonce, false)));
    }
}
