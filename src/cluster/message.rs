//! What nodes say to each other. Values only; how they travel is the transport's affair.
//!
//! | message | from, to | says |
//! |---|---|---|
//! | `HeartbeatRequest` | a node, those whom it watches | I am up; a leader adds how things stand |
//! | `HeartbeatReply` | back | the same; to a leader, with a `ProcessRequest` on board |
//! | `ProcessRequest` | node, leader | what I hold, what I finished, how fast I am: give me work |
//! | `Process` | leader, node | search this range of this job |
//! | `ProcessAnswerNo` | node, leader | nothing there; it is also the request for the next lease |
//! | `ProcessAnswerYes` | node, leader | here is a nonce |
//! | `ProcessInterrupt` | leader, node | stop: that block is found or replaced; or: those leases are void; or: that solution is settled |
//! | `Leave` | a node, those who may watch it | I am going: a last heartbeat; to the leader, what I hold comes back |
//!
//! Every message may be lost, late or doubled. Those that speak of leases carry the epoch in which they were granted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Epoch, NodeId};
use crate::work::{Job, JobId, NonceRange, Search, ShareBits, Solution};

/// A message from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the table above
pub enum Message {
    HeartbeatRequest(Heartbeat),
    HeartbeatReply(Heartbeat, Option<ProcessRequest>),
    ProcessRequest(ProcessRequest),
    Process(Process),
    ProcessAnswerNo(ProcessAnswerNo),
    ProcessAnswerYes(ProcessAnswerYes),
    ProcessInterrupt(ProcessInterrupt),
    Leave(Heartbeat, Option<ProcessRequest>),
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// When the sender started, by its own clock: a greater one means that it has restarted since.
    pub incarnation: u64,
    /// Milliseconds from then to now, as the sender counts them. Tells the order of its heartbeats.
    pub sent: u64,
    /// In a reply: what the request said there. So the asker knows since when the other must have been alive.
    pub echo: Option<u64>,
    /// The newest epoch that the sender has seen.
    pub epoch: Option<Epoch>,
    /// From the node that leads in that epoch, or was the last to: how things stand, so that the next leader goes on from there.
    pub standing: Option<Arc<Standing>>,
}

/// How things stand in an epoch. One value serves all heartbeats of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Counts the leader's heartbeats: what is said in between has the same number.
    pub word: u64,
    /// The jobs under way and what is done of each.
    pub done: Vec<JobDone>,
    /// Solutions that the source has not said its final word on.
    pub unsettled: Vec<Unsettled>,
    /// Runs of nodes, by id and incarnation, that showed too few shares for what they claimed: what they say to have searched does not
    /// count.
    pub distrusted: Vec<(NodeId, u64)>,
}

/// A verified solution on its way to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// The solution.
    pub solution: Solution,
    /// Who found it.
    pub found_by: NodeId,
}

impl Unsettled {
    /// Whether the search for its block has ended with it.
    pub(super) fn ends_round(&self) -> bool {
        self.solution.job.search == Search::First
    }
}

/// What is done of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDone {
    /// The job.
    pub job: Job,
    /// Searched ranges, ascending and disjoint. Where there were too many to send, some are missing.
    pub ranges: Vec<NonceRange>,
    /// The latest pieces of them, and who says to have searched each.
    pub pieces: Vec<(NonceRange, NodeId)>,
}

/// A node's account of itself, for its leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRequest {
    /// The leader's epoch that the sender has seen. The leases below may be of older ones.
    pub epoch: Epoch,
    /// Measured speed in nonces per second; 0 when not measured yet.
    pub rate: u64,
    /// Leases that the sender is at work on or has waiting, in that order.
    pub held: Vec<Held>,
    /// Ranges finished that were not done yet by the leader's word before the last.
    pub finished: Vec<Claim>,
}

/// Nonces that a node says to have searched, and what it can show for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// The nonces.
    pub range: NonceRange,
    /// What counts as a share.
    pub bits: ShareBits,
    /// The shares among them, ascending; at most [`MAX_SHARES`](crate::work::MAX_SHARES).
    pub shares: Vec<u64>,
}

/// A lease in a node's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The epoch that granted it.
    pub epoch: Epoch,
    /// Its number in that epoch.
    pub lease: u64,
    /// What of it is searched already, from its start.
    pub searched: Claim,
    /// What is left to search.
    pub rest: NonceRange,
}

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The epoch that grants it.
    pub epoch: Epoch,
    /// Its number in that epoch.
    pub lease: u64,
    /// Counts the blocks that this epoch's leader has worked on; an interrupt ends rounds.
    pub round: u64,
    /// What is searched.
    pub job: Job,
    /// Where.
    pub range: NonceRange,
    /// What counts as a share, to be shown for it.
    pub bits: ShareBits,
}

/// A lease searched to its end without an (unreported) solution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessAnswerNo {
    /// The epoch that granted the lease.
    pub epoch: Epoch,
    /// Its number.
    pub lease: u64,
    /// The whole range.
    pub searched: Claim,
    /// Measured speed in nonces per second; 0 when not measured yet.
    pub rate: u64,
}

/// A solution. It speaks for itself: whoever gets it verifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessAnswerYes {
    /// The epoch that granted the lease.
    pub epoch: Epoch,
    /// The job and the nonce.
    pub solution: Solution,
}

/// The end of all rounds up to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInterrupt {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The last round that is over.
    pub round: u64,
    /// A solution of the receiver's on which the last word is spoken: it may forget it.
    pub settled: Option<(JobId, u64)>,
    /// Leases that the receiver holds and that are void, each by its epoch and number: others search there, or have.
    pub void: Vec<(Epoch, u64)>,
}
