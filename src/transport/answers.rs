//! Which message answers which, and the requests of one peer that still await an answer.
//!
//! | request | its answer |
//! |---|---|
//! | `HeartbeatRequest` | `HeartbeatReply` |
//! | `ProcessRequest`, `ProcessAnswerNo`, `ProcessAnswerYes`: a report | `Process`, `ProcessInterrupt`: an assignment |
//! | `BodyRequest` | `Body` |
//!
//! A transport may use this table to send an answer back on the way that its request came: then the answer needs no connection of
//! its own, and it travels even where only the asker can dial. This saves work and is never needed for correctness, because every
//! message says for itself what it is about. An answer that finds no open request is sent as any other message.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Message;

/// The kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Heartbeat,
    Assignment,
    Body,
}

impl Answer {
    /// What `message` asks for.
    pub(super) fn awaited_by(message: &Message) -> Option<Self> {
        match message {
            Message::HeartbeatRequest(_) => Some(Self::Heartbeat),
            Message::ProcessRequest(_) | Message::ProcessAnswerNo(_) | Message::ProcessAnswerYes(_) => {
                Some(Self::Assignment)
            }
            Message::BodyRequest(_) => Some(Self::Body),
            _ => None,
        }
    }

    /// What `message` can be the answer to.
    pub(super) fn given_by(message: &Message) -> Option<Self> {
        match message {
            Message::HeartbeatReply(..) => Some(Self::Heartbeat),
            Message::Process(_) | Message::ProcessInterrupt(_) => Some(Self::Assignment),
            Message::Body(_) => Some(Self::Body),
            _ => None,
        }
    }
}

/// One peer's requests that await an answer, oldest first. Of each request it holds the way back `W`: a stream, an address, a call.
pub(super) struct OpenRequests<W> {
    ways: VecDeque<(Answer, Instant, W)>,
    patience: Duration,
}

impl<W> OpenRequests<W> {
    /// How many requests of each kind are kept; when one more comes, the oldest is dropped unanswered. All kinds together stay below the
    /// number of streams that a QUIC connection may have, so requests that nobody answers never block others.
    const OF_A_KIND: usize = 4;

    /// No requests yet. A request is kept for `patience`, after which the asker may have given up.
    pub(super) fn new(patience: Duration) -> Self {
        Self { ways: VecDeque::new(), patience }
    }

    /// Keeps the way back of a request that awaits `answer`.
    pub(super) fn keep(&mut self, answer: Answer, way: W, now: Instant) {
        if self.ways.iter().filter(|(kind, ..)| *kind == answer).count() == Self::OF_A_KIND {
            self.oldest(answer);
        }
        self.ways.push_back((answer, now, way));
    }

    /// The way back of the oldest request that awaits `answer` and is not older than the patience.
    pub(super) fn take(&mut self, answer: Answer, now: Instant) -> Option<W> {
        let patience = self.patience;
        self.ways.retain(|(_, since, _)| now.saturating_duration_since(*since) < patience);
        self.oldest(answer)
    }

    /// Drops all requests unanswered.
    pub(super) fn clear(&mut self) {
        self.ways.clear();
    }

    fn oldest(&mut self, answer: Answer) -> Option<W> {
        let place = self.ways.iter().position(|(kind, ..)| *kind == answer)?;
        self.ways.remove(place).map(|(_, _, way)| way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_open_request_of_the_kind_is_answered_first() {
        let now = Instant::now();
        let mut open = OpenRequests::new(Duration::from_secs(1));
        open.keep(Answer::Assignment, 1, now);
        open.keep(Answer::Heartbeat, 2, now);
        open.keep(Answer::Assignment, 3, now);
        assert_eq!(open.take(Answer::Assignment, now), Some(1));
        assert_eq!(open.take(Answer::Assignment, now), Some(3));
        assert_eq!(open.take(Answer::Assignment, now), None);
        assert_eq!(open.take(Answer::Heartbeat, now), Some(2));
    }

    #[test]
    fn only_the_newest_of_a_kind_stay_open() {
        let now = Instant::now();
        let mut open = OpenRequests::new(Duration::from_secs(1));
        open.keep(Answer::Heartbeat, 0, now);
        (1..=6).for_each(|way| open.keep(Answer::Assignment, way, now));
        let taken: Vec<_> = std::iter::from_fn(|| open.take(Answer::Assignment, now)).collect();
        assert_eq!(taken, [3, 4, 5, 6]);
        assert_eq!(open.take(Answer::Heartbeat, now), Some(0));
    }

    #[test]
    fn a_request_of_long_ago_is_not_answered() {
        let now = Instant::now();
        let mut open = OpenRequests::new(Duration::from_secs(1));
        open.keep(Answer::Assignment, 1, now);
        open.keep(Answer::Assignment, 2, now + Duration::from_millis(500));
        assert_eq!(open.take(Answer::Assignment, now + Duration::from_secs(1)), Some(2));
        open.keep(Answer::Assignment, 3, now);
        assert_eq!(open.take(Answer::Assignment, now + Duration::from_secs(1)), None);
    }
}
