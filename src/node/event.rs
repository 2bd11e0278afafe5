//! What a node tells its user: one JSON object a line with `--json`.

use std::net::SocketAddr;

use serde::Serialize;

use crate::cluster::{NodeId, PeerState};
use crate::work::{Digest, Timestamp};

/// An event and when it happened. Serialised, it is a line of `--json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimedEvent {
    /// What has happened.
    #[serde(flatten)]
    pub event: Event,
    /// When, in microseconds since 1970.
    pub at: u64,
}

/// Something worth telling. Scripts depend on its names.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The node is up.
    Started {
        /// Which node.
        node: NodeId,
        /// Where the others reach it.
        listen: SocketAddr,
        /// The kernel that was chosen.
        kernel: &'static str,
        /// Hashing threads.
        threads: usize,
        /// Why this kernel.
        choice: String,
    },
    /// Another node's state has changed.
    Peer {
        /// Who tells.
        node: NodeId,
        /// Of whom.
        peer: NodeId,
        /// Its state now.
        state: PeerState,
    },
    /// The node's view of who leads has changed.
    Leader {
        /// Who tells.
        node: NodeId,
        /// Who leads.
        leader: NodeId,
        /// Counts the leaderships that the node has named.
        epoch: u64,
    },
    /// The node has begun to search for a job.
    Job {
        /// Which node.
        node: NodeId,
        /// Height of the block that is built on.
        height: u64,
        /// Its hash.
        prev: Digest,
        /// Leading zero hex digits wanted.
        zeros: u32,
        /// The text puzzle's timestamp.
        timestamp: Option<Timestamp>,
    },
    /// The node's own scan has met a solution.
    Found {
        /// Which node.
        node: NodeId,
        /// The nonce.
        nonce: u64,
    },
    /// The node has hashed its last nonce of a search that was ended from outside or by its own solution.
    Interrupted {
        /// Which node.
        node: NodeId,
    },
    /// A solution has got its final answer; told by the leader that submitted it.
    Block {
        /// Who tells.
        node: NodeId,
        /// The new block's height.
        height: u64,
        /// The block that it was built on.
        prev: Digest,
        /// Its own hash.
        hash: Digest,
        /// The solution.
        nonce: u64,
        /// The text puzzle's timestamp.
        timestamp: Option<Timestamp>,
        /// Leading zero hex digits that were wanted.
        zeros: u32,
        /// Who found it.
        found_by: NodeId,
        /// What the source said.
        status: Outcome,
    },
    /// A node cannot have searched what it claims, so it gets no more work until it starts anew.
    Distrusted {
        /// Who tells: the leader.
        node: NodeId,
        /// Which node, perhaps the leader itself.
        peer: NodeId,
    },
    /// A node claimed a solution that does not solve its job.
    Refused {
        /// Who tells.
        node: NodeId,
        /// Who claimed it.
        from: NodeId,
        /// The nonce.
        nonce: u64,
    },
    /// A source gives no answer, or an unusable one; told when that begins or changes.
    Source {
        /// Who tells.
        node: NodeId,
        /// What is wrong, or that all is well again.
        problem: Option<String>,
    },
    /// The store cannot be written, or the disk hangs, so that solutions would be lost with the node; told when that begins and ends.
    Store {
        /// Which node.
        node: NodeId,
        /// What is wrong, or that all is well again.
        problem: Option<String>,
    },
    /// A source has given its final answer to a share.
    Share {
        /// Who tells: the leader.
        node: NodeId,
        /// The source's address.
        source: String,
        /// What the source said.
        status: ShareOutcome,
        /// Why, unless it was accepted.
        reason: Option<String>,
        /// The difficulty that it was to meet: 1 takes 2^32 hashes on average.
        difficulty: f64,
    },
    /// Every heartbeat.
    Rate {
        /// Which node.
        node: NodeId,
        /// Nonces hashed since the start.
        hashes: u64,
        /// Since the last such line.
        hashes_per_second: f64,
    },
    /// The last word.
    Stopped {
        /// Which node.
        node: NodeId,
    },
}

/// A source's final word, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Accepted.
    Success,
    /// Does not solve the block.
    Wrong,
    /// For a block that was found already.
    Stale,
    /// Not understood.
    Incomplete,
}

/// A source's final answer to a share, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareOutcome {
    /// Accepted.
    Accepted,
    /// Refused, or there is nobody any more who could take it.
    Rejected,
    /// For a block that was found already.
    Stale,
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
            line(&Event::Peer { node: node(2), peer: node(1), state: PeerState::Suspect }),
            r#"{"event":"peer","node":2,"peer":1,"state":"suspect"}"#
        );
        assert_eq!(
            line(&Event::Leader { node: node(2), leader: node(1), epoch: 4 }),
            r#"{"event":"leader","node":2,"leader":1,"epoch":4}"#
        );
        let (prev, hash) = (Digest([1; 32]), Digest([2; 32]));
        let timestamp = Some(Timestamp::from_number(1_795_342_329));
        assert_eq!(
            line(&Event::Job { node: node(1), height: 7, prev, zeros: 6, timestamp }),
            format!(r#"{{"event":"job","node":1,"height":7,"prev":"{prev}","zeros":6,"timestamp":"1795342329"}}"#)
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
        };
        assert_eq!(
            line(&block),
            format!(
                r#"{{"event":"block","node":1,"height":8,"prev":"{prev}","hash":"{hash}","nonce":123,"timestamp":"1795342329","zeros":6,"found_by":2,"status":"success"}}"#
            )
        );
        assert_eq!(
            line(&Event::Rate { node: node(1), hashes: 123, hashes_per_second: 8.1e7 }),
            r#"{"event":"rate","node":1,"hashes":123,"hashes_per_second":81000000.0}"#
        );
        assert_eq!(line(&Event::Stopped { node: node(1) }), r#"{"event":"stopped","node":1}"#);
        let share = Event::Share {
            node: node(1),
            source: "stratum+tcp://pool:3333".to_owned(),
            status: ShareOutcome::Accepted,
            reason: None,
            difficulty: 1e-3,
        };
        assert_eq!(
            line(&share),
            r#"{"event":"share","node":1,"source":"stratum+tcp://pool:3333","status":"accepted","reason":null,"difficulty":0.001}"#
        );
        let timed = TimedEvent { event: Event::Found { node: node(1), nonce: 123 }, at: 1_795_342_329_000_001 };
        assert_eq!(
            serde_json::to_string(&timed).unwrap(),
            r#"{"event":"found","node":1,"nonce":123,"at":1795342329000001}"#
        );
    }
}
