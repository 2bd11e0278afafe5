//! The events that a node reports to its user; with `--json` each is one JSON object on a line.

use std::net::SocketAddr;

use serde::Serialize;

use crate::cluster::{NodeId, PeerState};
use crate::work::{Digest, Timestamp};

/// An event and when it happened. Serialised, it is a line of `--json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimedEvent {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// When it happened, in microseconds since 1970.
    pub at: u64,
}

/// Something that the user may want to know. Scripts depend on the names of events and fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The node is up.
    Started {
        /// The node.
        node: NodeId,
        /// Where the others reach it.
        listen: SocketAddr,
        /// The kernel that was chosen.
        kernel: &'static str,
        /// Hashing threads.
        threads: usize,
        /// Why this kernel was chosen.
        choice: String,
    },
    /// Another node's state has changed.
    Peer {
        /// The node that reports this.
        node: NodeId,
        /// The other node.
        peer: NodeId,
        /// Its state now.
        state: PeerState,
        /// Why it cannot be reached, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How many changes this event stands for; more than one if the peer comes and goes.
        #[serde(skip_serializing_if = "is_one")]
        count: u64,
    },
    /// The node's view of who leads has changed.
    Leader {
        /// The node that reports this.
        node: NodeId,
        /// The leader.
        leader: NodeId,
        /// How many leaderships the node has reported, this one included.
        epoch: u64,
    },
    /// The node has begun to search for a job.
    Job {
        /// The node.
        node: NodeId,
        /// Height of the block that is built on.
        height: u64,
        /// The hash of that block, as people write it: a header's back to front.
        prev: Digest,
        /// Leading zero hex digits wanted.
        zeros: u32,
        /// The text puzzle's timestamp; `None` for a header.
        timestamp: Option<Timestamp>,
        /// The difficulty that a header has to meet to be reported, be it a share or a block; `None` for a text.
        #[serde(skip_serializing_if = "Option::is_none")]
        difficulty: Option<f64>,
        /// The difficulty that a block has to meet.
        block_difficulty: f64,
    },
    /// The node's own scan has met a solution.
    Found {
        /// The node.
        node: NodeId,
        /// The nonce.
        nonce: u64,
    },
    /// The node has hashed its last nonce of a search that was ended from outside or by its own solution.
    Interrupted {
        /// The node.
        node: NodeId,
    },
    /// A solution has got its final answer; the leader that submitted it reports this.
    Block {
        /// The node that reports this.
        node: NodeId,
        /// The new block's height.
        height: u64,
        /// The block that it was built on.
        prev: Digest,
        /// Its own hash.
        hash: Digest,
        /// The nonce that solves it.
        nonce: u64,
        /// The text puzzle's timestamp; `None` for a header.
        timestamp: Option<Timestamp>,
        /// Leading zero hex digits that were wanted.
        zeros: u32,
        /// The node that found it.
        found_by: NodeId,
        /// The source's answer.
        status: Outcome,
        /// Why the source did not accept it, in its own words.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The difficulty that a header had to meet; `None` for a text.
        #[serde(skip_serializing_if = "Option::is_none")]
        difficulty: Option<f64>,
    },
    /// A node cannot have searched what it claims, so it gets no more work until it starts anew.
    Distrusted {
        /// The leader, which reports this.
        node: NodeId,
        /// The distrusted node, perhaps the leader itself.
        peer: NodeId,
        /// How often since the last event about it: it may start anew, and claim so again.
        count: u64,
    },
    /// A node claimed a solution that does not solve its job.
    Refused {
        /// The node that reports this.
        node: NodeId,
        /// The node that claimed it.
        from: NodeId,
        /// The nonce.
        nonce: u64,
        /// How many such claims of that node this event stands for.
        count: u64,
    },
    /// Something that an operator should act on; reported when it begins and when it ends.
    Warning {
        /// The node that reports this.
        node: NodeId,
        /// What is wrong, and what to do.
        problem: String,
        /// The other node that it concerns, if it concerns one.
        peer: Option<NodeId>,
        /// Whether it has ended.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        over: bool,
    },
    /// A source gives no answer, or an unusable one, or another source is used; reported when that begins, changes and ends.
    Source {
        /// The node that reports this.
        node: NodeId,
        /// What is wrong: why no source answers, or why those before the one in use were left. `None` when it has ended.
        problem: Option<String>,
        /// The address of the source in use; `None` if none is.
        source: Option<String>,
    },
    /// The store cannot be written, or the disk hangs, so that solutions would be lost with the node; reported when that begins and ends.
    Store {
        /// The node.
        node: NodeId,
        /// What is wrong; `None` when it has ended.
        problem: Option<String>,
    },
    /// A source has given its final answer to a share.
    Share {
        /// The leader, which reports this.
        node: NodeId,
        /// The source's address; empty if no session was left that could submit the share.
        source: String,
        /// The source's answer.
        status: ShareOutcome,
        /// Why it was rejected, else `None`.
        reason: Option<String>,
        /// The difficulty that it was to meet: 1 takes 2^32 hashes on average.
        difficulty: f64,
        /// The difficulty that its hash meets.
        hash_difficulty: f64,
    },
    /// The node's speed, reported every heartbeat.
    Rate {
        /// The node.
        node: NodeId,
        /// Nonces hashed since the start.
        hashes: u64,
        /// Nonces per second since the last such event, pauses included.
        hashes_per_second: f64,
        /// What the node's own scans have found, blocks or shares, against what so many hashes find on average: 1 is what is to be expected.
        luck: Option<f64>,
    },
    /// The node has stopped. No event follows.
    Stopped {
        /// The node.
        node: NodeId,
    },
}

/// A source's final answer to a block, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The block was accepted.
    Success,
    /// The nonce does not solve the block.
    Wrong,
    /// The block had been found already.
    Stale,
    /// The source did not understand the solution.
    Incomplete,
}

/// A source's final answer to a share, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareOutcome {
    /// The share was accepted.
    Accepted,
    /// The source refused the share, or no session was left that could submit it.
    Rejected,
    /// The share is for a block that was found already.
    Stale,
}

fn is_one(count: &u64) -> bool {
    *count == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_scripts_expect_them() {
        let node = |id| NodeId::try_from(id).unwrap();
        let line = |event: &Event| serde_json::to_string(event).unwrap();
        assert_eq!(
            line(&Event::Started {
                node: node(1),
                listen: ([127, 0, 0, 1], 7701).into(),
                kernel: "sha-ni",
                threads: 2,
                choice: "sha-ni, as asked for".to_owned()
            }),
            r#"{"event":"started","node":1,"listen":"127.0.0.1:7701","kernel":"sha-ni","threads":2,"choice":"sha-ni, as asked for"}"#
        );
        assert_eq!(
            line(&Event::Peer { node: node(2), peer: node(1), state: PeerState::Suspect, reason: None, count: 1 }),
            r#"{"event":"peer","node":2,"peer":1,"state":"suspect"}"#
        );
        let reason = Some("10.0.0.1:7701 does not answer".to_owned());
        assert_eq!(
            line(&Event::Peer { node: node(2), peer: node(1), state: PeerState::Down, reason, count: 3 }),
            r#"{"event":"peer","node":2,"peer":1,"state":"down","reason":"10.0.0.1:7701 does not answer","count":3}"#
        );
        assert_eq!(
            line(&Event::Leader { node: node(2), leader: node(1), epoch: 4 }),
            r#"{"event":"leader","node":2,"leader":1,"epoch":4}"#
        );
        let (prev, hash) = (Digest([1; 32]), Digest([2; 32]));
        let timestamp = Some(Timestamp::from_number(1_795_342_329));
        assert_eq!(
            line(&Event::Job {
                node: node(1),
                height: 7,
                prev,
                zeros: 6,
                timestamp,
                difficulty: None,
                block_difficulty: 0.5
            }),
            format!(
                r#"{{"event":"job","node":1,"height":7,"prev":"{prev}","zeros":6,"timestamp":"1795342329","block_difficulty":0.5}}"#
            )
        );
        let block = Event::Block {
            node: node(1),
            height: 8,
            prev,
            hash,
            nonce: 123,
            timestamp,
            zeros: 6,
            found_by: node(2),
            status: Outcome::Success,
            reason: None,
            difficulty: None,
        };
        assert_eq!(
            line(&block),
            format!(
                r#"{{"event":"block","node":1,"height":8,"prev":"{prev}","hash":"{hash}","nonce":123,"timestamp":"1795342329","zeros":6,"found_by":2,"status":"success"}}"#
            )
        );
        assert_eq!(
            line(&Event::Rate { node: node(1), hashes: 123, hashes_per_second: 8.1e7, luck: Some(1.25) }),
            r#"{"event":"rate","node":1,"hashes":123,"hashes_per_second":81000000.0,"luck":1.25}"#
        );
        assert_eq!(line(&Event::Stopped { node: node(1) }), r#"{"event":"stopped","node":1}"#);
        let share = Event::Share {
            node: node(1),
            source: "stratum+tcp://pool:3333".to_owned(),
            status: ShareOutcome::Accepted,
            reason: None,
            difficulty: 1e-3,
            hash_difficulty: 2.0,
        };
        assert_eq!(
            line(&share),
            r#"{"event":"share","node":1,"source":"stratum+tcp://pool:3333","status":"accepted","reason":null,"difficulty":0.001,"hash_difficulty":2.0}"#
        );
        let source = Some("http://127.0.0.1:8480".to_owned());
        assert_eq!(
            line(&Event::Source { node: node(1), problem: None, source }),
            r#"{"event":"source","node":1,"problem":null,"source":"http://127.0.0.1:8480"}"#
        );
        let timed = TimedEvent { event: Event::Found { node: node(1), nonce: 123 }, at: 1_795_342_329_000_001 };
        assert_eq!(
            serde_json::to_string(&timed).unwrap(),
            r#"{"event":"found","node":1,"nonce":123,"at":1795342329000001}"#
        );
    }
}
