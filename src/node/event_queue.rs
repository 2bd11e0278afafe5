//! Hands events to the user without ever waiting for a slow reader, because heartbeats must not wait.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;

use super::TimedEvent;

/// The most events kept for a user who does not read at the moment, some minutes' worth; beyond that, the oldest are dropped.
const MOST: usize = 10_000;

/// How long the user has at the end to read the events that are left.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Events on their way to the user.
pub(super) struct EventQueue {
    events: mpsc::Sender<TimedEvent>,
    waiting: VecDeque<TimedEvent>,
}

impl EventQueue {
    pub(super) fn new(events: mpsc::Sender<TimedEvent>) -> Self {
        Self { events, waiting: VecDeque::new() }
    }

    /// Adds an event, which is handed over with the next flush.
    pub(super) fn push(&mut self, event: TimedEvent) {
        if self.waiting.len() == MOST {
            self.waiting.pop_front();
        }
        self.waiting.push_back(event);
    }

    /// Hands over what the user has room for.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
                Err(TrySendError::Closed(_)) => self.waiting.clear(), // nobody listens any more
            }
        }
    }

    /// Hands over the rest, as far as the user reads it in time.
    pub(super) async fn end(mut self) {
        let rest = async {
            for event in self.waiting.drain(..) {
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(LAST_WORDS, rest).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeId;
    use crate::node::Event;

    fn stopped(id: u32) -> TimedEvent {
        TimedEvent { event: Event::Stopped { node: NodeId::try_from(id).unwrap() }, at: 0 }
    }

    #[tokio::test]
    async fn a_slow_reader_gets_everything_in_order_and_nobody_waits() {
        let (events, mut told) = mpsc::channel(2);
        let mut queue = EventQueue::new(events);
        for id in 1..=5 {
            queue.push(stopped(id));
            queue.flush();
        }
        for id in 1..=4 {
            assert_eq!(told.recv().await, Some(stopped(id)));
            queue.flush();
        }
        queue.push(stopped(6));
        queue.end().await;
        assert_eq!(told.recv().await, Some(stopped(5)));
        assert_eq!(told.recv().await, Some(stopped(6)));
        assert_eq!(told.recv().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_has_stopped_is_not_waited_for() {
        let (events, _told) = mpsc::channel(1);
        let mut queue = EventQueue::new(events);
        for _ in 0..MOST + 10 {
            queue.push(stopped(1));
            queue.flush();
        }
        assert_eq!(queue.waiting.len(), MOST);
        queue.end().await;
    }
}
