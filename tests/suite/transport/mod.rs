//! The conformance suite of transports, and what only one of them has to hold.
//!
//! - `native`: every message arrives whole. For transports between Headframe nodes.
//! - `dialect`: which facts survive. For transports that translate to other programs' words, too.
//! - `certified`: what certificates are for, and restarts. For transports whose nodes have some.
//! - `quic`, `grpc`, `files`: what these hold against strangers, and the certificate files.
//! - `python`: a node in another language.
//! - `udp`: text peers, and what comes from everybody else.
//!
//! A transport is added with a line in each part that is for its kind.

// Certificates have to be valid now.
#![allow(clippy::disallowed_methods)]

/// For each network a module, in which each check is a test.
macro_rules! conformance {
    ($($name:ident = $network:expr;)+ => $checks:tt) => {
        $(mod $name { conformance! { @ $network => $checks } })+
    };
    (@ $network:expr => { $($check:ident)+ }) => {
        $(#[tokio::test] async fn $check() { super::$check($network).await })+
    };
}

mod certified;
mod dialect;
mod files;
mod grpc;
mod messages;
mod native;
mod networks;
mod peer;
mod python;
mod quic;
mod udp;
