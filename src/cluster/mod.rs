//! The cluster's rules: heartbeats, leader, ranges handed out. A state machine without clock, I/O or threads.
//!
//! ```text
//!                     ┌───────────────────────── Cluster ─────────────────────────┐
//!  handle_message ───>│ Peers: who is alive ──> who leads                         │───> poll_output: Send, Scan, Stop,
//!  handle_timeout ───>│ Leading: rounds, ledgers, leases        (only the leader) │     NeedJob, Submit, Peer, Leader
//!  handle_job … ─────>│ Worker: leases in hand, solutions       (every node)      │───> poll_timeout
//!                     │ Board: what is done, for the next leader                  │
//!                     └───────────────────────────────────────────────────────────┘
//! ```
//!
//! # How to drive it
//! Call any `handle_` method or command with the time. Then take outputs from [`Cluster::poll_output`] until there are none, and
//! call [`Cluster::handle_timeout`] when [`Cluster::poll_timeout`] is due, unless something else was called before. Time
//! must not run backwards.
//!
//! # The rules, in short
//! 1. A peer is alive while it answers heartbeats. The lowest live id leads; everyone works that out alone.
//! 2. A new leader begins an [`Epoch`] newer than any it has seen. Nothing of an older epoch changes what is leased or done.
//! 3. A leader hands out free nonces as leases; what is searched only grows, and travels with its heartbeats.
//! 4. A solution is verified, submitted, and ends the round: everyone else is interrupted; then the next job comes.
//! 5. What a node claims to have searched is weighed against the shares that it shows; whoever cannot have done it is not believed.
//! 6. Whatever is said may be lost. Requests tell all that a node holds and has finished, so that the next one mends it.

mod audit;
mod board;
mod config;
mod core;
mod done;
mod id;
mod leading;
mod ledger;
mod liveness;
mod message;
mod outbox;
mod output;
mod planted;
mod trust;
mod window;
mod worker;

pub use config::{ALL_TO_ALL, CANDIDATES, Config};
pub use core::Cluster;
pub use id::{Epoch, NodeId, NodeIdError};
pub use leading::MAX_UNSETTLED;
pub use liveness::PeerState;
pub use message::{
    Claim, Heartbeat, Held, JobDone, Message, Process, ProcessAnswerNo, ProcessAnswerYes, ProcessInterrupt,
    ProcessRequest, Standing, Unsettled,
};
pub use output::{Output, Ticket};
pub use worker::MAX_PENDING;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
