//! Whole clusters under a virtual clock: one seed decides everything.
//!
//! ```text
//! seed ──> Plan ──> World: a queue of events        after every step
//!                   │ servers: the rules, a clock,   invariants: one law a file
//!                   │          a scanner, a feed     truth: what really happened
//!                   │ net: loss, delay, cuts …       trace: line by line
//!                   │ source: blocks
//!                   └ chaos: faults, and their ends
//! ```
//!
//! A run has three phases. In the first, faults of every kind come and go, and what must never happen is looked for after every step.
//! Then everything heals, but for some nodes that are gone for good: the others have to agree on a leader in time, to hash without a
//! pause, to settle what was found. In the third, one node of that well cluster pauses, one says goodbye and comes back, then the leader is
//! killed and comes back; what that costs is counted.
//!
//! In half of the runs each server has a disk, which holds at the end of every step what the real node has written some milliseconds later.
//! There no solution may be lost at all, but those of servers that are gone for good.
//!
//! The nodes hash for real, by the fastest kernel, though all runs of a process share the results.

mod chaos;
mod hashing;
mod invariants;
pub(super) mod lies;
mod net;
mod plan;
mod run;
mod scale;
mod server;
mod source;
mod tests;
mod trace;
mod truth;
mod world;
