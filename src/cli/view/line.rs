//! An event as a line for a person.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::amounts;
use crate::cluster::{NodeId, PeerState};
use crate::node::{Event, Outcome};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warn,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => " INFO",
            Self::Warn => " WARN",
        }
    }
}

/// A line with the day, the time (UTC) and the level.
pub(super) fn stamped(at: Duration, level: Level, text: &str) -> String {
    let time = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + at);
    format!("{time} {} {text}", level.name())
}

/// A line with the time of day (UTC), and the level if it is a warning.
pub(super) fn clocked(at: Duration, level: Level, text: &str) -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + at).to_string();
    let level = if level == Level::Warn { " WARN" } else { "" };
    format!("{}{level} {text}", &time[11..19])
}

/// Makes lines of events.
#[derive(Default)]
pub(super) struct Lines {
    /// The nodes of this process, and who leads them.
    nodes: BTreeSet<NodeId>,
    leader: Option<NodeId>,
}

impl Lines {
    /// The event's line, if it matters to a person, with the first `digits` digits of a hash.
    pub(super) fn text(&mut self, event: &Event, digits: usize) -> Option<(Level, String)> {
        match event {
            Event::Started { node, .. } => drop(self.nodes.insert(*node)),
            Event::Leader { leader, .. } => self.leader = Some(*leader),
            // Several nodes of one process see the same: one of them tells it.
            Event::Peer { node, .. } if self.nodes.len() > 1 && self.leader != Some(*node) => return None,
            _ => {}
        }
        text(event, digits)
    }
}

fn text(event: &Event, digits: usize) -> Option<(Level, String)> {
    let info = |text: String| Some((Level::Info, text));
    let warn = |text: String| Some((Level::Warn, text));
    match event {
        Event::Started { node, listen, kernel, threads, .. } => {
            let s = if *threads == 1 { "" } else { "s" };
            info(format!("node {node} listens on {listen}, kernel {kernel}, {threads} thread{s}"))
        }
        Event::Peer { node, peer, state, reason, count } => {
            let more = if *count > 1 { format!(" (the last of {count} changes)") } else { String::new() };
            match (state, reason) {
                (PeerState::Unknown, _) => None,
                (PeerState::Alive, _) => info(format!("node {node}: node {peer} is alive{more}")),
                (PeerState::Suspect, _) => info(format!("node {node}: node {peer} is late{more}")),
                (PeerState::Down, Some(reason)) => warn(format!("node {node}: node {peer} is down: {reason}{more}")),
                (PeerState::Down, None) => warn(format!("node {node}: node {peer} is down, it does not answer{more}")),
                (PeerState::Left, _) => info(format!("node {node}: node {peer} has left, it said goodbye{more}")),
            }
        }
        Event::Leader { node, leader, epoch } if node == leader => info(format!("node {leader} leads (epoch {epoch})")),
        Event::Leader { node, leader, epoch } => info(format!("node {node} follows node {leader} (epoch {epoch})")),
        Event::Block { height, hash, nonce, zeros, found_by, status, reason, difficulty, .. } => match status {
            Outcome::Success => {
                let hash = &hash.to_string()[..digits];
                let more = if digits < 64 { "…" } else { "" };
                let wanted = match difficulty {
                    Some(wanted) => format!("difficulty {}", amounts::difficulty(*wanted)),
                    None => format!("{zeros} zeros"),
                };
                info(format!("block {height} found by node {found_by}: nonce {nonce}, {wanted}, {hash}{more}"))
            }
            Outcome::Stale => info(format!("block {height}: the solution of node {found_by} was stale")),
            Outcome::Wrong => {
                let reason = reason.as_deref().filter(|reason| *reason != "wrong");
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                warn(format!("block {height}: the source calls the nonce {nonce} of node {found_by} wrong{reason}"))
            }
            Outcome::Incomplete => {
                let reason = reason.as_deref().unwrap_or("no reason given");
                warn(format!("block {height}: the source did not understand the solution of node {found_by}: {reason}"))
            }
        },
        Event::Distrusted { node, peer, count } => {
            let more = if *count > 1 { format!(" (seen {count} times)") } else { String::new() };
            warn(format!(
                "node {node}: node {peer} shows too few witnesses for what it claims to have searched; it gets no more work until it is restarted{more}"
            ))
        }
        Event::Refused { node, from, nonce, count } => {
            let more = if *count > 1 { format!(", the last of {count}") } else { String::new() };
            warn(format!("node {node}: node {from} claims that nonce {nonce} is a solution, and it is not{more}"))
        }
        Event::Source { node, problem: Some(problem), source: None } => {
            warn(format!("node {node}: the source gives no answer: {problem}"))
        }
        Event::Source { node, problem: Some(problem), source: Some(source) } => {
            warn(format!("node {node}: source {source} is in use, but: {problem}"))
        }
        Event::Source { node, problem: None, source: Some(source) } => {
            info(format!("node {node}: the source answers again, {source} is in use"))
        }
        Event::Source { node, problem: None, source: None } => info(format!("node {node}: needs no source any more")),
        Event::Store { node, problem: Some(problem) } => {
            warn(format!("node {node}: the store cannot be written, it mines on without: {problem}"))
        }
        Event::Store { node, problem: None } => info(format!("node {node}: the store can be written again")),
        Event::Warning { node, problem, over: false, .. } => warn(format!("node {node}: {problem}")),
        Event::Warning { node, problem, over: true, .. } => info(format!("node {node}: over: {problem}")),
        Event::Stopped { node } => info(format!("node {node} has stopped, its leases are returned")),
        Event::Job { .. }
        | Event::Found { .. }
        | Event::Interrupted { .. }
        | Event::Share { .. }
        | Event::Rate { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::try_from(id).unwrap()
    }

    #[test]
    fn a_line_has_its_time_and_its_level() {
        let at = Duration::from_millis(1_795_844_401_123);
        assert_eq!(stamped(at, Level::Info, "node 1 leads"), "2026-11-28T05:40:01.123Z  INFO node 1 leads");
        assert_eq!(clocked(at, Level::Warn, "node 1 is late"), "05:40:01 WARN node 1 is late");
        assert_eq!(clocked(at, Level::Info, "node 1 leads"), "05:40:01 node 1 leads");
    }

    #[test]
    fn one_of_several_nodes_tells_of_their_peers() {
        let peer = |id, peer, state| Event::Peer { node: node(id), peer: node(peer), state, reason: None, count: 1 };
        let started = |id| Event::Started {
            node: node(id),
            listen: ([127, 0, 0, 1], 1).into(),
            kernel: "portable",
            threads: 1,
            choice: String::new(),
        };
        let mut lines = Lines::default();
        lines.text(&started(2), 64);
        let (level, text) = lines.text(&peer(2, 1, PeerState::Down), 64).unwrap();
        assert_eq!((level, text.as_str()), (Level::Warn, "node 2: node 1 is down, it does not answer"));
        let reason = Some("10.0.0.1:7701 does not answer".to_owned());
        let often = Event::Peer { node: node(2), peer: node(1), state: PeerState::Down, reason, count: 7 };
        assert_eq!(
            lines.text(&often, 64).unwrap().1,
            "node 2: node 1 is down: 10.0.0.1:7701 does not answer (the last of 7 changes)"
        );
        lines.text(&started(1), 64);
        assert_eq!(
            lines.text(&Event::Leader { node: node(2), leader: node(1), epoch: 1 }, 64).unwrap().1,
            "node 2 follows node 1 (epoch 1)"
        );
        assert_eq!(lines.text(&peer(2, 1, PeerState::Alive), 64), None);
        assert_eq!(lines.text(&peer(1, 2, PeerState::Left), 64).unwrap().1, "node 1: node 2 has left, it said goodbye");
    }
}
