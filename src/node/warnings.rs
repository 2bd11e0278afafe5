//! What an operator should act on: told once when it begins, and once when it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Event, PayoutCheck};
use crate::cluster::NodeId;
use crate::transport::Member;

/// The shortest time between two events about one peer's false claims, or about what it cannot have searched.
const CLAIMS_EVERY: Duration = Duration::from_secs(1);

/// The shortest time between two warnings about the pace of one peer's heartbeats.
const PACES_EVERY: Duration = Duration::from_secs(60 * 60);

/// The warnings of one node.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    /// The warning that this node leads alone, while it does.
    alone: Option<String>,
    /// What is wrong with this node's certificate.
    certificate: Option<String>,
    /// What each source advises.
    advice: BTreeMap<usize, Option<String>>,
    /// That the leader assigns work which does not pay whom it has to pay.
    unpaid: Option<String>,
    /// The peers whose heartbeats come at another pace, each with the time of the warning, and the warning while it lasts.
    paces: BTreeMap<NodeId, (Instant, Option<String>)>,
    /// The false claims of each peer that no event has told of.
    claims: BTreeMap<NodeId, Claims>,
    /// How often each peer was distrusted since the last event about it, and when that was.
    distrusted: BTreeMap<NodeId, Counted>,
}

/// What is told once in a while, with the number of times that it has happened.
#[derive(Debug, Default)]
struct Counted {
    told: Option<Instant>,
    count: u64,
}

impl Counted {
    /// The number of times, if there are any and an event is due.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.count > 0 && self.told.is_none_or(|told| now >= told + CLAIMS_EVERY);
        is_due.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

#[derive(Debug, Default)]
struct Claims {
    counted: Counted,
    nonce: u64,
}

impl Warnings {
    /// This node leads alone, and these members do not answer; none if it does not lead, or somebody answers. Gives the event if that is
    /// news.
    pub(super) fn alone(&mut self, node: NodeId, silent: &[Member]) -> Option<Event> {
        let event = |problem, over| Event::Warning { node, problem, peer: None, over };
        if silent.is_empty() {
            return self.alone.take().map(|problem| event(problem, true));
        }
        if self.alone.is_some() {
            return None;
        }
        let list: Vec<_> = silent.iter().map(|member| format!("node {} at {}", member.id, member.address)).collect();
        let problem = format!(
            "leading alone: 0 of {} peers answer ({}); see whether they run, speak the same transport, their addresses are right, and packets get through (UDP of 1,200 bytes; TCP for grpc)",
            silent.len(),
            list.join(", ")
        );
        self.alone = Some(problem.clone());
        Some(event(problem, false))
    }

    /// What is wrong with this node's certificate now, if anything. Gives the events if that is news.
    pub(super) fn certificate(&mut self, node: NodeId, problem: Option<String>) -> Vec<Event> {
        change(&mut self.certificate, problem, node, None)
    }

    /// What a source advises now, if anything. Gives the events if that is news.
    pub(super) fn advice(&mut self, node: NodeId, source: usize, problem: Option<String>) -> Vec<Event> {
        change(self.advice.entry(source).or_default(), problem, node, None)
    }

    /// Whether `leader` has assigned work that does not pay this payout. Gives the events if that is news.
    pub(super) fn unpaid(&mut self, node: NodeId, leader: NodeId, is_unpaid: bool, payout: &PayoutCheck) -> Vec<Event> {
        let problem = is_unpaid.then(|| {
            format!(
                "node {leader} assigns work that does not pay {}, and node {node} refuses it: give both the same --payout, or this one none",
                payout.address
            )
        });
        change(&mut self.unpaid, problem, node, Some(leader))
    }

    /// A peer sends heartbeats at this interval, and this node at `own`. Gives the event if that is news: each peer is told of once, and if
    /// it changes all the time, once an hour.
    pub(super) fn interval(
        &mut self,
        node: NodeId,
        own: Duration,
        peer: NodeId,
        theirs: Duration,
        now: Instant,
    ) -> Option<Event> {
        let event = |problem, over| Some(Event::Warning { node, problem, peer: Some(peer), over });
        match (theirs == own, self.paces.get_mut(&peer)) {
            (true, Some((_, told))) => event(told.take()?, true),
            (false, known) if known.as_ref().is_none_or(|(at, told)| told.is_none() && now >= *at + PACES_EVERY) => {
                let problem = format!(
                    "node {peer} sends a heartbeat every {theirs:?}, and node {node} every {own:?}: start both with the same --heartbeat, or the one with the shorter time takes the other for late or down"
                );
                self.paces.insert(peer, (now, Some(problem.clone())));
                event(problem, false)
            }
            _ => None,
        }
    }

    /// `from` claims that a nonce is a solution, and it is not.
    pub(super) fn claimed(&mut self, from: NodeId, nonce: u64) {
        let claims = self.claims.entry(from).or_default();
        (claims.counted.count, claims.nonce) = (claims.counted.count + 1, nonce);
    }

    /// A peer cannot have searched what it claims.
    pub(super) fn distrusted(&mut self, peer: NodeId) {
        self.distrusted.entry(peer).or_default().count += 1;
    }

    /// The events about these two that are due: one a second for each peer at most.
    pub(super) fn due(&mut self, node: NodeId, now: Instant) -> Vec<Event> {
        let refused = self.claims.iter_mut().filter_map(|(&from, claims)| {
            let count = claims.counted.take(now)?;
            Some(Event::Refused { node, from, nonce: claims.nonce, count })
        });
        let distrusted = self.distrusted.iter_mut().filter_map(|(&peer, counted)| {
            let count = counted.take(now)?;
            Some(Event::Distrusted { node, peer, count })
        });
        refused.chain(distrusted).collect()
    }
}

/// What is wrong from now on. Gives the events if that is news: that the last problem is over, and that this one begins.
fn change(known: &mut Option<String>, problem: Option<String>, node: NodeId, peer: Option<NodeId>) -> Vec<Event> {
    let event = |problem, over| Event::Warning { node, problem, peer, over };
    let before = std::mem::replace(known, problem.clone());
    if before == problem {
        return vec![];
    }
    let (over, begins) = (before.map(|problem| event(problem, true)), problem.map(|problem| event(problem, false)));
    over.into_iter().chain(begins).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::try_from(id).unwrap()
    }

    #[test]
    fn who_leads_alone_is_told_so_once_with_the_addresses_and_once_that_it_is_over() {
        let mut warnings = Warnings::default();
        let silent = [2, 3].map(|id| Member::headframe(node(id), ([10, 0, 0, id as u8], 7700).into()));
        let Some(Event::Warning { problem, over: false, .. }) = warnings.alone(node(1), &silent) else { panic!() };
        assert!(
            problem.contains("0 of 2 peers answer (node 2 at 10.0.0.2:7700, node 3 at 10.0.0.3:7700)"),
            "{problem}"
        );
        assert_eq!(warnings.alone(node(1), &silent), None);
        assert_eq!(
            warnings.alone(node(1), &[]),
            Some(Event::Warning { node: node(1), problem, peer: None, over: true })
        );
        assert_eq!(warnings.alone(node(1), &[]), None);
    }

    #[test]
    fn a_certificates_problem_is_told_when_it_begins_changes_and_ends() {
        let mut warnings = Warnings::default();
        let event =
            |problem: &str, over| Event::Warning { node: node(1), problem: problem.to_owned(), peer: None, over };
        let mut news = |problem: Option<&str>| warnings.certificate(node(1), problem.map(str::to_owned));
        assert_eq!(news(None), []);
        assert_eq!(news(Some("bad")), [event("bad", false)]);
        assert_eq!(news(Some("bad")), []);
        assert_eq!(news(Some("worse")), [event("bad", true), event("worse", false)]);
        assert_eq!(news(None), [event("worse", true)]);
    }

    #[test]
    fn a_peer_with_another_heartbeat_is_told_of_once_and_once_that_it_is_over() {
        let mut warnings = Warnings::default();
        let (own, start) = (Duration::from_secs(5), tokio::time::Instant::now().into_std());
        let mut news_at =
            |now, peer, millis| warnings.interval(node(1), own, node(peer), Duration::from_millis(millis), now);
        let mut news = |peer, millis| news_at(start, peer, millis);
        assert_eq!(news(2, 5000), None);
        let Some(Event::Warning { problem, peer, over: false, .. }) = news(2, 500) else { panic!("a warning") };
        assert!(problem.contains("node 2 sends a heartbeat every 500ms, and node 1 every 5s: start both"), "{problem}");
        assert_eq!((peer, news(2, 700)), (Some(node(2)), None));
        assert!(news(3, 500).is_some());
        assert_eq!(news(2, 5000), Some(Event::Warning { node: node(1), problem, peer, over: true }));
        assert_eq!((news(2, 5000), news(2, 500)), (None, None), "it changes all the time");
        assert!(news_at(start + PACES_EVERY, 2, 500).is_some(), "an hour later it is news again");
        assert_eq!(news_at(start + PACES_EVERY * 3, 2, 700), None, "while it lasts, it is not told again");
    }

    #[test]
    fn false_claims_are_told_once_a_second_and_counted() {
        let (mut warnings, now) = (Warnings::default(), tokio::time::Instant::now().into_std());
        let refused = |nonce, count| Event::Refused { node: node(1), from: node(2), nonce, count };
        warnings.claimed(node(2), 5);
        assert_eq!(warnings.due(node(1), now), [refused(5, 1)]);
        warnings.claimed(node(2), 6);
        warnings.claimed(node(2), 7);
        assert_eq!(warnings.due(node(1), now + CLAIMS_EVERY / 2), []);
        assert_eq!(warnings.due(node(1), now + CLAIMS_EVERY), [refused(7, 2)]);
        assert_eq!(warnings.due(node(1), now + CLAIMS_EVERY * 3), []);
    }

    #[test]
    fn a_distrusted_node_is_told_of_once_a_second_and_counted() {
        let (mut warnings, now) = (Warnings::default(), tokio::time::Instant::now().into_std());
        let distrusted = |count| Event::Distrusted { node: node(1), peer: node(2), count };
        warnings.distrusted(node(2));
        assert_eq!(warnings.due(node(1), now), [distrusted(1)]);
        (0..3).for_each(|_| warnings.distrusted(node(2)));
        assert_eq!(warnings.due(node(1), now), []);
        assert_eq!(warnings.due(node(1), now + CLAIMS_EVERY), [distrusted(3)]);
    }
}
