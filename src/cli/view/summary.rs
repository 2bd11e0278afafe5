//! What was done, for the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{hash_rate, shares};
use crate::cluster::NodeId;
use crate::node::{Event, Outcome, ShareTally, TimedEvent};

/// Counts what nodes do.
#[derive(Default)]
pub(super) struct Summary {
    /// When the first event happened, since 1970.
    begin: Option<Duration>,
    nodes: BTreeMap<NodeId, Done>,
    blocks: u64,
    shares: ShareTally,
}

#[derive(Clone, Copy, Default)]
struct Done {
    hashes: u64,
    blocks: u64,
}

impl Summary {
    pub(super) fn note(&mut self, timed: &TimedEvent) {
        self.begin.get_or_insert(Duration::from_micros(timed.at));
        self.shares.note(&timed.event);
        match timed.event {
            Event::Rate { node, hashes, .. } => self.nodes.entry(node).or_default().hashes = hashes,
            Event::Block { found_by, status: Outcome::Success, .. } => {
                self.blocks += 1;
                self.nodes.entry(found_by).or_default().blocks += 1;
            }
            _ => {}
        }
    }

    /// The sums until `end`, since 1970: all nodes together, then each.
    pub(super) fn text(&self, end: Duration) -> String {
        let time = self.begin.map_or(Duration::ZERO, |begin| end.saturating_sub(begin));
        let done = |Done { hashes, blocks }| {
            let rate = hash_rate(hashes as f64 / time.as_secs_f64().max(0.001));
            let s = if blocks == 1 { "" } else { "s" };
            format!("{blocks} block{s}, {hashes} hashes, {rate}")
        };
        let hashes = self.nodes.values().map(|node| node.hashes).sum();
        let all = done(Done { hashes, blocks: self.blocks });
        let each = self.nodes.iter().map(|(id, node)| format!("; node {id}: {}", done(*node))).collect::<String>();
        let shares = shares(&self.shares).map(|shares| format!(", {shares}")).unwrap_or_default();
        format!("{:.1} s: {all}{shares}{}", time.as_secs_f64(), if self.nodes.len() > 1 { &each } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ShareOutcome;

    #[test]
    fn shares_are_summed_up_if_there_were_any() {
        let node = NodeId::try_from(1).unwrap();
        let mut summary = Summary::default();
        for status in [ShareOutcome::Accepted, ShareOutcome::Accepted, ShareOutcome::Stale] {
            let (source, reason) = ("pool".to_owned(), None);
            let event = Event::Share { node, source, status, reason, difficulty: 1.0, hash_difficulty: 2.5 };
            summary.note(&TimedEvent { event, at: 1_000_000 });
        }
        assert_eq!(
            summary.text(Duration::from_secs(2)),
            "1.0 s: 0 blocks, 0 hashes, 0 H/s, 2 shares accepted, 1 stale, 0 rejected, 0 lost · best 2.5"
        );
    }

    #[test]
    fn sums_are_those_of_all_nodes_and_of_each() {
        let node = |id| NodeId::try_from(id).unwrap();
        let mut summary = Summary::default();
        let mut rate = |at, id, hashes| {
            let event = Event::Rate { node: node(id), hashes, hashes_per_second: 0.0, luck: None };
            summary.note(&TimedEvent { event, at });
        };
        rate(1_000_000, 1, 5);
        rate(2_000_000, 1, 2_000_000);
        rate(2_000_000, 2, 6_000_000);
        assert_eq!(
            summary.text(Duration::from_secs(3)),
            "2.0 s: 0 blocks, 8000000 hashes, 4.0 MH/s; node 1: 0 blocks, 2000000 hashes, 1.0 MH/s; node 2: 0 blocks, 6000000 hashes, 3.0 MH/s"
        );
    }
}
