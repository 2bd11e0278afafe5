//! The cluster's rules: heartbeats, leader, ranges handed out. A state machine without clock, I/O or threads.
//!
//! ```text
//!                     ┌──────────────────────────── Cluster ────────────────────────────┐
//!  handle_message ───>│ Peers: who is alive ──> who leads                       (rule 1) │───> poll_output: Send, Scan, Stop,
//!  handle_timeout ───>│ Leading: job, leases, allowances   (only a leader; rules 2 to 4) │     Ask, Submit, Peer, Leader …
//!  handle_template ──>│ Worker: the assignment                 (every node; rules 4, 5)  │───> poll_timeout
//!  handle_found … ───>│ Blocks, shares: until they are settled              (rules 6, 7) │
//!                     │ Trust: whose work is believed                           (rule 8) │
//!                     └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! # How to drive it
//! Call any `handle_` method or command with the time. Then take outputs from [`Cluster::poll_output`] until there are none, and
//! call [`Cluster::handle_timeout`] when [`Cluster::poll_timeout`] is due, unless something else was called before. Time
//! must not run backwards.
//!
//! # The rules
//! 1. **Liveness.** A peer is alive while it answers. Every node works out the leader alone: the lowest id that is up.
//! 2. **Reigns.** A reign begins whenever a node becomes leader in its own view. A node obeys its own leader only.
//! 3. **Fresh nonces.** A leader makes jobs that nobody else makes.
//! 4. **Leases.** A nonce is leased once. A node holds what its allowance permits, so that hashing outlasts a change of leader.
//! 5. **Work goes on.** A node scans its last assignment until it receives another.
//! 6. **Solutions** are verified by whoever receives them, and reported to each new leader until they are settled.
//! 7. **Ends.** A round ends when its solution is being submitted: every node is assigned nothing, or the next job.
//! 8. **Witnesses.** A node that cannot have searched what it reports gets no work from this process until its run changes.
//! 9. **Bounds.** Everything that a peer can make grow has its bound next to it, and numbers from outside are only compared.
//!
//! Reports and assignments state the whole, and the newest replaces the last one: so loss, delay and reordering need no rules of their
//! own. A range that is lost on the way is searched by nobody, which wastes no hash, as no nonce is better than another.

mod audit;
mod blocks;
mod config;
mod core;
mod hearing;
mod id;
mod leading;
mod liveness;
mod message;
mod output;
pub(crate) mod probe;
mod shares;
mod solutions;
mod trust;
mod window;
mod worker;

pub use config::{ALL_TO_ALL, CANDIDATES, Config};
pub use core::{Cluster, MAX_KEPT};
pub use id::{NodeId, NodeIdError, Reign};
pub use liveness::PeerState;
pub use message::{
    Assign, BodyId, BodyPart, BodyRequest, Current, Heartbeat, Leads, Lease, MAX_BLOCKS, MAX_BODY_PART, MAX_BRANCH,
    MAX_COINBASE, MAX_JOBS, MAX_LEASES, MAX_REPORTED_NAMES, MAX_REPORTED_SHARES, MAX_REPORTED_WITNESSES, Message,
    Progress, Report, Stamp,
};
pub use output::{Output, Ticket};
pub use solutions::MAX_ADOPTED;

use crate::work::{Puzzle, Solution};

/// Whether any session may submit the solution, and not only that of the run that made its job.
fn is_text(solution: &Solution) -> bool {
    matches!(solution.job.puzzle, Puzzle::Text(_))
}

#[cfg(test)]
pub(crate) mod tests;
