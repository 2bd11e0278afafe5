//! Which message answers which, and the open streams on which peers await an answer.
//!
//! A request and its answer are one bidirectional stream: the answer needs no connection of its own and travels even where
//! only the asker can dial. It is an economy and never needed for correctness, since every message says for itself what
//! it is about: an answer that finds no open stream goes its own way, and so does one that comes unasked.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Message;

/// The kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Heartbeat,
    Process,
}

impl Answer {
    /// What `message` asks for.
    pub(super) fn awaited_by(message: &Message) -> Option<Self> {
        match message {
            Message::HeartbeatRequest(_) => Some(Self::Heartbeat),
            Message::ProcessRequest(_) | Message::ProcessAnswerNo(_) => Some(Self::Process),
            _ => None,
        }
    }

    /// What `message` can be the answer to.
    pub(super) fn given_by(message: &Message) -> Option<Self> {
        match message {
            Message::HeartbeatReply(..) => Some(Self::Heartbeat),
            Message::Process(_) => Some(Self::Process),
            _ => None,
        }
    }
}

/// The streams on which one peer awaits answers, oldest first.
pub(super) struct OpenRequests<S> {
    streams: VecDeque<(Answer, Instant, S)>,
    patience: Duration,
}

impl<S> OpenRequests<S> {
    /// So many of each kind are kept open; when one more comes, the oldest is closed unanswered. Together they stay below
    /// the number of streams that a connection may have, so requests that nobody answers never block others.
    const OF_A_KIND: usize = 4;

    /// None yet. They are of use for `patience`, after which the asker may have given up.
    pub(super) fn new(patience: Duration) -> Self {
        Self { streams: VecDeque::new(), patience }
    }

    /// Keeps a stream on which `answer` is awaited.
    pub(super) fn keep(&mut self, answer: Answer, stream: S, now: Instant) {
        if self.streams.iter().filter(|(kind, ..)| *kind == answer).count() == Self::OF_A_KIND {
            self.oldest(answer);
        }
        self.streams.push_back((answer, now, stream));
    }

    /// The stream on which `answer` has been awaited for longest, among those still of use.
    pub(super) fn take(&mut self, answer: Answer, now: Instant) -> Option<S> {
        let patience = self.patience;
        self.streams.retain(|(_, since, _)| now.saturating_duration_since(*since) < patience);
        self.oldest(answer)
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
    }

    fn oldest(&mut self, answer: Answer) -> Option<S> {
        let place = self.streams.iter().position(|(kind, ..)| *kind == answer)?;
        self.streams.remove(place).map(|(_, _, stream)| stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_open_request_of_the_kind_is_answered_first() {
        let now = Instant::now();
        let mut open = OpenRequests::new(Duration::from_secs(1));
        open.keep(Answer::Process, 1, now);
        open.keep(Answer::Heartbeat, 2, now);
        open.keep(Answer::Process, 3, now);
        assert_eq!(open.take(Answer::Process, now), Some(1));
        assert_eq!(open.take(Answer::Process, now), Some(3));
        assert_eq!(open.take(Answer::Process, now), None);
        assert_eq!(open.take(Answer::Heartbeat, now), Some(2));
    }

    #[test]
    fn only_the_newest_of_a_kind_stay_open() {
        let now = Instant::now();
        let mut open = OpenRequests::new(Duration::from_secs(1));
        open.keep(Answer::Heartbeat, 0, now);
        (1..=6).for_each(|stream| open.keep(Answer::Process, stream, now));
        let taken: Vec<_> = std::iter::from_fn(|| open.take(Answer::Process, now)).collect();
        assert_eq!(taken, [3, 4, 5, 6]);
        assert_eq!(open.take(Answer::Heartbeat, now), Some(0));
    }

    #[test]
    fn what_was_asked_long_ago_is_not_answered_there() {
        let now = Instant::now();
        let mut open = OpenRequests::new(Duration::from_secs(1));
        open.keep(Answer::Process, 1, now);
        open.keep(Answer::Process, 2, now + Duration::from_millis(500));
        assert_eq!(open.take(Answer::Process, now + Duration::from_secs(1)), Some(2));
        open.keep(Answer::Process, 3, now);
        assert_eq!(open.take(Answer::Process, now + Duration::from_secs(1)), None);
    }
}
