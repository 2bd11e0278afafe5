//! What is searched: jobs, nonce ranges, targets and the two puzzle forms.
//!
//! Values only. Nothing here knows a kernel, a socket or a clock, and every other layer may use all of it.
//!
//! ```text
//! Puzzle (text | header) + Target + nonce space = Job      Job + nonce -> Digest, by the reference path
//! ```

mod digest;
mod header;
mod job;
mod puzzle;
mod range;
pub mod reference;
mod share;
mod target;
mod text;
mod timestamp;

pub use digest::{Digest, DigestError};
pub use header::{Header, HeaderError, HeaderPuzzle};
pub use job::{BlockId, Job, JobId, Search, Solution};
pub use puzzle::Puzzle;
pub use range::{NonceRange, TEXT_NONCES, UNIT};
pub use share::{MAX_SHARES, ShareBits, ShareBitsError};
pub use target::{Target, TargetError, ZeroUnit};
pub use text::{Hashing, TextPuzzle};
pub use timestamp::{Timestamp, TimestampError};
