//! Headframe finds nonces: every core of a box, and every box of a cluster, scans for the nonce whose double SHA-256 meets
//! a target.
//!
//! The layers, arrows pointing one way (ARCHITECTURE.md walks a nonce range through them):
//!
//! ```text
//! work <- kernel <- scan        work <- cluster <- transport        work <- source        work <- service
//!                       everything <- node <- cli
//! ```
//!
//! # As a library
//! ```
//! use std::num::NonZeroUsize;
//!
//! use headframe::kernel;
//! use headframe::scan::Solutions;
//! use headframe::work::{Hashing, Job, Puzzle, Search, Target, TextPuzzle, ZeroUnit};
//!
//! let puzzle = Puzzle::Text(TextPuzzle {
//!     prev: "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db".parse()?,
//!     timestamp: "1550766000000".parse()?,
//!     hashing: Hashing::Double,
//! });
//! let job = Job { height: 0, puzzle, target: Target::from_zeros(3, ZeroUnit::Hex)?, search: Search::First };
//! let mut solutions = Solutions::start(kernel::available()[0], NonZeroUsize::MIN, job, job.space())?;
//! assert_eq!(solutions.next(), Some(4750));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cli;
pub mod cluster;
pub mod kernel;
pub mod node;
pub mod scan;
pub mod service;
pub mod source;
pub mod transport;
pub mod work;
