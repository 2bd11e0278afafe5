//! What nodes say to each other. Values only; how they travel is the transport's affair.
//!
//! | message | from, to | carries |
//! |---|---|---|
//! | `HeartbeatRequest` | a node, those whom it watches | a heartbeat |
//! | `HeartbeatReply` | back | a heartbeat; to its leader, a report on board |
//! | `ProcessRequest` | node, leader | a report: give me work |
//! | `ProcessAnswerNo` | node, leader | a report: a lease is searched to its end |
//! | `ProcessAnswerYes` | node, leader | a report: here is a nonce |
//! | `Process` | leader, node | an assignment: search these ranges |
//! | `ProcessInterrupt` | leader, node | an assignment of nothing: stop |
//! | `Leave` | a node, those who may watch it | a last heartbeat and a last report |
//! | `BodyRequest` | the next to lead, leader | which part of a template's body is wanted |
//! | `Body` | leader, the next to lead | that part |
//!
//! Reports and assignments state the whole, so any of them may be lost, late or doubled: the next one replaces it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Reign;
use crate::work::{Blueprint, Extranonce, Job, NonceRange, RoundId, Run, Solution, SolutionId, Template, WitnessBits};

/// The most leases that a node holds (rule 4).
pub const MAX_LEASES: usize = 512;

/// The most unsettled blocks that a heartbeat or a report carries, and that are kept of one peer (rule 9).
pub const MAX_BLOCKS: usize = 16;

/// The most jobs that a report or an assignment names.
pub const MAX_JOBS: usize = 32;

/// The most witnesses in a report. At 9 bytes each they take half of a frame's 64 KiB, less what the leases' own numbers need.
pub const MAX_REPORTED_WITNESSES: usize = 3_000;

/// The most shares in a report. With their jobs, the blocks and the names below they take the other half.
pub const MAX_REPORTED_SHARES: usize = 800;

/// The most names of taken shares in a report.
pub const MAX_REPORTED_NAMES: usize = 500;

/// A message from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the table above
pub enum Message {
    HeartbeatRequest(Heartbeat),
    HeartbeatReply(Heartbeat, Option<Report>),
    ProcessRequest(Report),
    Process(Assign),
    ProcessAnswerNo(Report),
    ProcessAnswerYes(Report),
    ProcessInterrupt(Assign),
    Leave(Heartbeat, Option<Report>),
    BodyRequest(BodyRequest),
    Body(BodyPart),
}

/// One of a run's requests or reports: `sent` counts what the run sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Whose.
    pub run: Run,
    /// Which: of one run, the higher one is newer.
    pub sent: u64,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The sender's run, and which of its messages this is.
    pub stamp: Stamp,
    /// In a reply: the stamp of the request that it answers.
    pub echo: Option<Stamp>,
    /// The time between two heartbeats of the sender; none if its program does not say.
    pub interval: Option<Duration>,
    /// From a leader.
    pub leads: Option<Leads>,
}

/// What a leader adds to its heartbeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leads {
    /// Which of its run's reigns this is.
    pub reign: u64,
    /// What is searched.
    pub current: Option<Current>,
    /// Blocks that no source has given its final answer to, at most [`MAX_BLOCKS`].
    pub blocks: Vec<Solution>,
}

/// What a leader searches: what the next leader begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Current {
    /// A template of a text, which any session may submit.
    Text(Template),
    /// The round of any other template, or of any header in a heartbeat.
    Round(RoundId),
    /// A template of a block that its leader's session builds itself. With it a node sees whom the block pays, and the next leader can
    /// submit its blocks, if it has the body, too. Only assignments carry it.
    Header(Template),
}

/// The most bytes of a coinbase, without its extranonce, in a template that is told to others.
pub const MAX_COINBASE: usize = 4096;

/// The most hashes in such a template's merkle branch: more than a block's transactions need.
pub const MAX_BRANCH: usize = 32;

impl Current {
    /// What a heartbeat tells of a template.
    pub fn of(template: &Template) -> Self {
        if template.is_text() { Self::Text(template.clone()) } else { Self::Round(template.round) }
    }

    /// What an assignment tells of a template.
    pub fn whole(template: &Template) -> Self {
        match &template.puzzle {
            Blueprint::Header { coinbase, branch, .. }
                if coinbase.extranonce == Extranonce::Run
                    && coinbase.before.len() + coinbase.after.len() <= MAX_COINBASE
                    && branch.len() <= MAX_BRANCH =>
            {
                Self::Header(template.clone())
            }
            _ => Self::of(template),
        }
    }

    /// The round.
    pub fn round(&self) -> RoundId {
        match self {
            Self::Text(template) | Self::Header(template) => template.round,
            Self::Round(round) => *round,
        }
    }
}

/// A node's account of itself, for its leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The node's run, and which of its messages this is.
    pub stamp: Stamp,
    /// The assignment that it holds: whose reign's, and which.
    pub held: Option<(Reign, u64)>,
    /// Measured speed in nonces per second; 0 when not measured yet.
    pub speed: u64,
    /// How far each of its leases is searched, in their order.
    pub progress: Vec<Progress>,
    /// The jobs that the shares are of, at most [`MAX_JOBS`].
    pub jobs: Vec<Job>,
    /// Shares that this leader has not taken yet: which of the jobs, and the nonce. At most [`MAX_REPORTED_SHARES`].
    pub shares: Vec<(u16, u64)>,
    /// Shares that this leader has taken, by name. At most [`MAX_REPORTED_NAMES`].
    pub taken: Vec<SolutionId>,
    /// Unsettled blocks that it knows of, at most [`MAX_BLOCKS`].
    pub blocks: Vec<Solution>,
}

/// How far a lease is searched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The lease's number.
    pub lease: u64,
    /// The first nonce that is not searched.
    pub to: u64,
    /// The witnesses among the nonces that the last assignment did not acknowledge, ascending.
    pub witnesses: Vec<u64>,
}

/// All that a node should do, and what became of its solutions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assign {
    /// The leader's reign.
    pub reign: Reign,
    /// Counts the reign's assignments.
    pub sequence: u64,
    /// The newest report of the node that the leader has received.
    pub report: Stamp,
    /// What is searched.
    pub current: Option<Current>,
    /// The jobs that the leases are of, at most [`MAX_JOBS`].
    pub jobs: Vec<Job>,
    /// All leases that the node should hold, at most [`MAX_LEASES`].
    pub leases: Vec<Lease>,
    /// Those shares of the report that are on their way to the source: from now on a name is enough.
    pub taken: Vec<SolutionId>,
    /// Those blocks and shares of the report that are settled.
    pub settled: Vec<SolutionId>,
}

/// Nonces that one node is to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its number in the reign.
    pub number: u64,
    /// Which of the assignment's jobs.
    pub job: u16,
    /// The nonces that the leader has no report of.
    pub range: NonceRange,
    /// What counts as a witness.
    pub bits: WitnessBits,
}

/// The most bytes of a body in one message.
pub const MAX_BODY_PART: usize = 60_000;

/// Names the body of a template: what its session needs, beside the template, to submit its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyId {
    /// The run of the leader.
    pub run: Run,
    /// The template's number in that run.
    pub template: u64,
}

/// Whoever leads next asks for the bytes of a body from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRequest {
    /// Which body.
    pub body: BodyId,
    /// How many bytes it has already.
    pub start: u32,
}

/// Some bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyPart {
    /// Which body.
    pub body: BodyId,
    /// How many bytes the whole body has, at most [`MAX_BODY`](crate::work::MAX_BODY); 0 if the leader does not have it.
    pub size: u32,
    /// Where these bytes stand in it.
    pub start: u32,
    /// At most [`MAX_BODY_PART`].
    pub bytes: Vec<u8>,
}

/// Where a message's jobs have this one; it is put at their end if they do not have it yet.
pub(super) fn place(jobs: &mut Vec<Job>, job: Job) -> u16 {
    let place = jobs.iter().rposition(|known| *known == job).unwrap_or_else(|| {
        jobs.push(job);
        jobs.len() - 1
    });
    place as u16
}
