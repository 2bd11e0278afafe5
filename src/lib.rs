//! Headframe finds nonces: every core of a box, and every box of a cluster, scans for the nonce whose double SHA-256 meets
//! a target.
//!
//! The layers, arrows pointing one way (ARCHITECTURE.md walks a nonce range through them):
//!
//! ```text
//! work <- kernel <- scan        work <- cluster <- transport        work <- source        work <- service
//!                       everything <- node <- cli
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
