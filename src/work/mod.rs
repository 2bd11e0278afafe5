//! What is searched: jobs, nonce ranges, targets and the two puzzle forms.
//!
//! Values only. Nothing here knows a kernel, a socket or a clock, and every other layer may use all of it.
//!
//! ```text
//! Template (a block to find) + Slot -> Job (puzzle, goal, nonce space)      Job + nonce -> Digest, by the reference path
//! ```

mod block_hash;
mod block_time;
mod digest;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(crate) mod fuzz;
mod header;
mod job;
mod puzzle;
mod range;
pub mod reference;
mod target;
mod template;
mod text;
mod timestamp;
mod witness;

pub use block_hash::BlockHash;
pub use block_time::BlockTime;
pub use digest::{Digest, DigestError};
pub use header::{Header, HeaderError, HeaderPuzzle};
pub use job::{BlockId, Goal, Job, JobId, RoundId, Run, Search, Slot, Solution, SolutionId, Tag};
pub use puzzle::Puzzle;
pub use range::{NonceRange, TEXT_NONCES, UNIT};
pub use target::{Target, TargetError, ZeroUnit};
pub use template::{Blueprint, Coinbase, Extranonce, MAX_BODY, Template};
pub use text::{Hashing, TextForm, TextPuzzle};
pub use timestamp::{Timestamp, TimestampError};
pub use witness::{MAX_WITNESSES, WitnessBits, WitnessBitsError};
