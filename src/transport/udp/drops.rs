//! What was not read, counted by reason and told now and then.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::words::NoWords;

/// So long the first drops are counted before they are told, and the following ones ten times as long.
const FIRST: Duration = Duration::from_secs(1);

/// Fewer than that are nothing that an operator has to know: they come when nodes start, and when datagrams cross.
const FEW: u64 = 5;

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    NoWords(NoWords),
    /// It comes from an address that is no peer's.
    Stranger,
    /// All places for peers that no list names are taken.
    NoPlace,
    /// It answers nothing that was asked, or work that was never given.
    AnswersNothing,
    /// Its sender says too much.
    TooMany,
    /// The node is too busy to read it.
    Busy,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWords(NoWords::TooLong) => "longer than any message",
            Self::NoWords(NoWords::NotAscii) => "not ASCII",
            Self::NoWords(NoWords::UnknownName) => "none of the exercise's messages",
            Self::NoWords(NoWords::Fields) => "fields missing or wrong",
            Self::Stranger => "from an address that is no peer's",
            Self::NoPlace => "from new peers, for whom no place is free (name peers with --udp-peers)",
            Self::AnswersNothing => "answers to nothing that was asked",
            Self::TooMany => "too many from one peer",
            Self::Busy => "while this node was busy",
        })
    }
}

/// The datagrams that were dropped since they were told.
#[derive(Debug, Default)]
pub(super) struct Drops {
    counts: BTreeMap<Reason, u64>,
    /// When they are told.
    due: Option<Instant>,
    is_told: bool,
}

/// What there is to tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) text: String,
    /// Whether an operator should know.
    pub(super) is_worth_it: bool,
}

impl Drops {
    pub(super) fn count(&mut self, reason: Reason, now: Instant) {
        *self.counts.entry(reason).or_default() += 1;
        let wait = if self.is_told { FIRST * 10 } else { FIRST };
        self.due.get_or_insert(now + wait);
    }

    /// When something is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What was dropped since it was told last, if it is time to tell.
    pub(super) fn take(&mut self, now: Instant) -> Option<Told> {
        self.due.filter(|due| *due <= now)?;
        (self.due, self.is_told) = (None, true);
        let counts = std::mem::take(&mut self.counts);
        let all: u64 = counts.values().sum();
        let each: Vec<_> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        Some(Told { text: format!("{all} datagrams dropped: {}", each.join(", ")), is_worth_it: all >= FEW })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_by_reason_and_told_at_times() {
        let (mut drops, start) = (Drops::default(), Instant::now());
        assert_eq!((drops.due(), drops.take(start)), (None, None));
        for _ in 0..3 {
            drops.count(Reason::Stranger, start);
        }
        drops.count(Reason::NoWords(NoWords::TooLong), start);
        assert_eq!(drops.take(start), None);
        let told = drops.take(start + FIRST).unwrap();
        assert_eq!(told.text, "4 datagrams dropped: 1 longer than any message, 3 from an address that is no peer's");
        assert!(!told.is_worth_it);
        drops.count(Reason::Busy, start + FIRST);
        assert_eq!(drops.due(), Some(start + FIRST * 11));
    }
}
