//! How a pool's shares end: counted by outcome and by reason, and the best of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Event, Outcome, ShareOutcome};
use crate::work::Target;

/// The most reasons that are counted apart; a pool may give any text as one. All others count as [`OTHERS`].
const MAX_REASONS: usize = 16;

/// The longest reason, in characters; what is longer is cut.
const MAX_REASON: usize = 80;

const OTHERS: &str = "other reasons";

/// How many shares ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareCounts {
    /// Accepted by the source.
    pub accepted: u64,
    /// Refused by the source.
    pub rejected: u64,
    /// For a block that was found already.
    pub stale: u64,
    /// Never submitted: found here when there was no room for them, or reported to this leader when their session was over.
    pub lost: u64,
}

/// What became of shares, by the events that tell it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShareTally {
    counts: ShareCounts,
    reasons: BTreeMap<String, u64>,
    best: Option<f64>,
}

impl ShareTally {
    /// How many shares ended in which way.
    pub fn counts(&self) -> ShareCounts {
        self.counts
    }

    /// Why shares were rejected, and how often: 17 reasons at most, each of 80 characters and an ellipsis at most.
    pub fn reasons(&self) -> &BTreeMap<String, u64> {
        &self.reasons
    }

    /// The highest difficulty that an accepted header has met, be it a share or a block.
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// Takes note of an event, if it tells what became of a share or of a header that is a block.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Share { status: ShareOutcome::Accepted, hash_difficulty, .. } => {
                self.counts.accepted += 1;
                self.see(*hash_difficulty);
            }
            Event::Share { status: ShareOutcome::Stale, .. } => self.counts.stale += 1,
            Event::Share { status: ShareOutcome::Rejected, source, .. } if source.is_empty() => self.lose(),
            Event::Share { status: ShareOutcome::Rejected, reason, .. } => {
                self.counts.rejected += 1;
                self.count(reason.as_deref().unwrap_or(OTHERS));
            }
            // The event has a header's hash as people write it, which is the number.
            Event::Block { status: Outcome::Success, difficulty: Some(_), hash, .. } => {
                self.see(Target::from_be_bytes(hash.0).difficulty());
            }
            _ => {}
        }
    }

    /// A share was lost before it could be submitted.
    pub(super) fn lose(&mut self) {
        self.counts.lost += 1;
    }

    fn see(&mut self, difficulty: f64) {
        self.best = Some(self.best.map_or(difficulty, |best| best.max(difficulty)));
    }

    fn count(&mut self, reason: &str) {
        let mut short: String = reason.chars().take(MAX_REASON).collect();
        if short.len() < reason.len() {
            short.push('…');
        }
        let is_known = self.reasons.contains_key(&short);
        let reason = if is_known || self.reasons.len() < MAX_REASONS { short } else { OTHERS.to_owned() };
        *self.reasons.entry(reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::node;
    use crate::work::fixtures::{genesis, header};

    fn share(status: ShareOutcome, reason: Option<&str>, hash_difficulty: f64) -> Event {
        let (source, reason) = ("pool".to_owned(), reason.map(str::to_owned));
        Event::Share { node: node(1), source, status, reason, difficulty: 1.0, hash_difficulty }
    }

    #[test]
    fn shares_are_counted_by_outcome_and_reason_and_the_best_accepted_one_is_known() {
        let mut tally = ShareTally::default();
        tally.note(&share(ShareOutcome::Accepted, None, 2.0));
        tally.note(&share(ShareOutcome::Accepted, None, 1.5));
        tally.note(&share(ShareOutcome::Stale, None, 9.0));
        tally.note(&share(ShareOutcome::Rejected, Some("low difficulty"), 9.0));
        tally.note(&share(ShareOutcome::Rejected, Some("low difficulty"), 9.0));
        tally.note(&share(ShareOutcome::Rejected, None, 9.0));
        let mut lost = share(ShareOutcome::Rejected, Some("its session is over"), 9.0);
        if let Event::Share { source, .. } = &mut lost {
            source.clear();
        }
        tally.note(&lost);
        assert_eq!(tally.counts(), ShareCounts { accepted: 2, rejected: 3, stale: 1, lost: 1 });
        assert_eq!(tally.best(), Some(2.0));
        let reasons: Vec<_> = tally.reasons().iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(reasons, [("low difficulty", 2), ("other reasons", 1)]);
    }

    #[test]
    fn reasons_are_bounded_in_number_and_length() {
        let mut tally = ShareTally::default();
        for number in 0..1000 {
            tally.note(&share(ShareOutcome::Rejected, Some(&format!("{number}{}", "é".repeat(5000))), 1.0));
        }
        tally.note(&share(ShareOutcome::Rejected, Some("new"), 1.0));
        assert_eq!(tally.reasons().len(), MAX_REASONS + 1);
        assert_eq!(tally.reasons()[OTHERS], 1001 - MAX_REASONS as u64);
        assert!(tally.reasons().keys().all(|reason| reason.chars().count() <= MAX_REASON + 1));
        assert_eq!(tally.reasons().values().sum::<u64>(), tally.counts().rejected);
    }

    #[test]
    fn the_first_blocks_hash_meets_a_difficulty_of_some_2536() {
        let difficulty = header(0).value(genesis().digest()).difficulty();
        assert!((2536.0..2537.0).contains(&difficulty), "{difficulty}");
    }
}
