//! Headframe finds nonces: every core of a box, and every box of a cluster, scans for the nonce whose double SHA-256 meets
//! a target.
//!
//! The layers; an arrow points to the layer that is used (ARCHITECTURE.md follows a nonce range through them):
//!
//! ```text
//! work <- kernel <- scan        work <- cluster <- transport        work <- source        work <- service
//!                       everything <- node <- cli
//! ```
//!
//! `work`, `kernel` and `scan` are always built. Every other layer is a feature of its name; the default feature `cli` brings all of them.
//! The feature `priority`, which `node` brings, keeps hashing threads below ordinary priority and lets them be pinned.
//!
//! # As a library
//! Two calls serve the commonest purposes, on all cores and with the kernel that is fastest on this CPU:
//! ```
//! // A block header, whose own bits are its target. This is Bitcoin's first block with regtest's bits.
//! let header: headframe::work::Header = "01000000000000000000000000000000000000000000000000000000000000000000\
//!     00003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff7f2000000000"
//!     .parse()?;
//! let solved = headframe::solve_header(&header)?.expect("one of 2^32 nonces");
//! println!("nonce {} gives {}", solved.nonce, solved.hash());
//!
//! // A text: the double SHA-256 of the previous hash, a nonce and a timestamp has to begin with three zero hex digits.
//! let prev = "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db".parse()?;
//! assert_eq!(headframe::solve_text(prev, "1550766000000".parse()?, 3)?, Some(4750));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! One level below, the caller chooses the kernel, the threads, the target and the nonces, and gets every solution:
//! ```
//! use std::num::NonZeroUsize;
//!
//! use headframe::kernel;
//! use headframe::scan::{Solutions, thread_time};
//! use headframe::work::{Hashing, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, ZeroUnit};
//!
//! let puzzle = Puzzle::Text(TextPuzzle {
//!     prev: "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db".parse()?,
//!     timestamp: "1550766000000".parse()?,
//!     hashing: Hashing::Double,
//! });
//! let job = Job::new(puzzle, Target::from_zeros(3, ZeroUnit::Hex)?, Search::Every);
//!
//! let choice = kernel::choose(None, &thread_time)?;
//! println!("{choice}");
//! let solutions = Solutions::start(choice.kernel, NonZeroUsize::MIN, job, NonceRange::new(1, 10_000))?;
//! assert_eq!(solutions.collect::<Vec<_>>(), [4750, 4902]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`scan::Scanner`] searches one range after another without a gap and can be stopped; [`kernel::Prepared`] hashes on the calling
//! thread.

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cluster")]
pub mod cluster;
#[cfg(test)]
#[cfg(feature = "cli")]
mod fuzz;
pub mod kernel;
#[cfg(feature = "node")]
pub mod node;
#[cfg(any(feature = "grpc", feature = "quic", feature = "service"))]
mod origin;
#[cfg(any(feature = "identity", feature = "node", feature = "service", feature = "source"))]
mod regular;
pub mod scan;
#[cfg(feature = "service")]
pub mod service;
mod solve;
#[cfg(feature = "source")]
pub mod source;
#[cfg(feature = "transport")]
pub mod transport;
pub mod work;

pub use solve::{SolveError, solve, solve_header, solve_text};
