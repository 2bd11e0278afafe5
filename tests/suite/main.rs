//! Everything but the kernels from outside: the real binary as its users run it, and what the library promises to others.
//!
//! All of it is one program, so that what the tests share is compiled and linked once. Its tests run at the same time in one process:
//! each has folders, addresses and child processes of its own, and none changes what belongs to all of them, like the environment.

// A test ends where it fails; clippy knows that of test functions, but not of what they call.
#![allow(clippy::unwrap_used)]

mod bcoin;
mod cli;
mod faults;
mod grind;
mod headers;
mod links;
mod mine;
mod output;
mod refusals;
mod service;
mod service_process;
mod source_web;
mod sources;
mod store;
mod stratum;
mod text_peers;
mod transport;

// What they stand on; the benches use `cluster` and `process` too.
mod cluster;
mod fixtures;
mod http;
mod process;
