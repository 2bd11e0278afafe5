//! Whole clusters under a virtual clock: one seed decides everything.
//!
//! ```text
//! seed ──> Plan ──> World: a queue of events                 after every step
//!                   │ servers: the product's own Driver,      laws: what must never happen
//!                   │          its scanner worked by hand     trace: line by line
//!                   │ net: loss, delay, cuts …
//!                   │ source: blocks and shares
//!                   │ faults, and their ends
//!                   └ traitor: a certified peer that says anything
//! ```
//!
//! A run has three phases. In the first, faults of every kind come and go, and a traitor in some runs. Then everything heals and the
//! traitor leaves: all have to name the same leader in time, hash without a pause, and settle what was found. In the third, the leader of
//! that well cluster is killed or says goodbye, and comes back.
//!
//! Nodes hash for real, some thousand nonces in a heartbeat, by the portable kernel.

mod faults;
mod laws;
mod net;
mod plan;
mod run;
mod scale;
mod server;
mod source;
mod tests;
mod traitor;
mod world;
