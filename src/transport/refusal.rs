//! Why one node refuses another, in words that say what to do, and who is told of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::lock;
use super::strangers::passes_within;
use crate::cluster::NodeId;

/// A peer that is up and refuses this node, or that this node refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The two nodes' certificates or versions do not go together: an operator has to put that right.
    Handshake {
        /// What is wrong. The text stays the same while the same thing is wrong.
        text: &'static str,
        /// What TLS reports, with details such as times.
        cause: String,
    },
    /// The peer does not list this node among its servers, or not yet: while a cluster starts, this passes by itself.
    UnknownNode,
}

/// Which side of a handshake refuses the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Us,
    Them,
}

impl Refusal {
    /// The refusal behind a TLS alert.
    pub(super) fn handshake(alert: u8, by: By, cause: String) -> Self {
        let words = match by {
            By::Us => OURS,
            By::Them => THEIRS,
        };
        let text = match alert {
            UNKNOWN_CA | DECRYPT_ERROR => words.cluster,
            BAD_CERTIFICATE => words.name,
            CERTIFICATE_EXPIRED => words.validity,
            NO_APPLICATION_PROTOCOL => VERSION,
            _ => words.other,
        };
        Self::Handshake { text, cause }
    }
}

/// TLS alerts, RFC 8446 section 6; the last one is RFC 7301's.
pub(super) const BAD_CERTIFICATE: u8 = 42;
const CERTIFICATE_EXPIRED: u8 = 45;
pub(super) const UNKNOWN_CA: u8 = 48;
const DECRYPT_ERROR: u8 = 51;
pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The text for versions that differ, whichever side notices it.
const VERSION: &str = "runs another version of Headframe, whose messages differ (run the same version on all nodes)";

struct Words {
    cluster: &'static str,
    name: &'static str,
    validity: &'static str,
    other: &'static str,
}

const OURS: Words = Words {
    cluster: "has a certificate of another cluster (all nodes need files of one `headframe certs` directory)",
    name: "has another node's certificate (its address or its id is wrong)",
    validity: "has a certificate that is not valid today (make a new one, or set a clock)",
    other: "does not offer this cluster's TLS",
};

const THEIRS: Words = Words {
    cluster: "takes this node for one of another cluster (all nodes need files of one `headframe certs` directory)",
    name: "does not accept this node's certificate",
    validity: "finds this node's certificate not valid today (make a new one, or set a clock)",
    other: "does not accept this node's TLS",
};

/// Why the last attempt to dial a peer failed, for the node to tell; nothing if it did not.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(super) fn get(&self) -> Option<String> {
        lock(&self.0).clone()
    }

    pub(super) fn set(&self, trouble: Option<String>) {
        *lock(&self.0) = trouble;
    }
}

/// What is wrong with a peer that refuses this node as unknown.
const UNLISTED: &str = "does not list this node among its servers";

/// What an operator is told of one peer that cannot be dialled: each complaint once, until the peer could be dialled again.
#[derive(Debug)]
pub(super) struct Complaints {
    /// This node.
    node: NodeId,
    peer: NodeId,
    address: SocketAddr,
    heartbeat: Duration,
    /// The last complaint that was logged.
    last: Option<&'static str>,
    /// Since when the peer has said that it does not list this node.
    unlisted: Option<Instant>,
    trouble: Trouble,
}

impl Complaints {
    pub(super) fn new(node: NodeId, peer: NodeId, address: SocketAddr, heartbeat: Duration, trouble: Trouble) -> Self {
        Self { node, peer, address, heartbeat, last: None, unlisted: None, trouble }
    }

    fn note(&self, trouble: &str) {
        self.trouble.set(Some(format!("{} {trouble}", self.address)));
    }

    /// The peer does not answer.
    pub(super) fn silent(&self, cause: &dyn fmt::Display) {
        tracing::debug!("peer {} at {} does not answer: {cause}", self.peer, self.address);
        self.note("does not answer");
    }

    /// The peer could be dialled.
    pub(super) fn dialled(&self) {
        self.trouble.set(None);
    }

    /// The peer and this node do not accept each other.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::Handshake { text, cause } => {
                self.note(text);
                self.warn(text, cause);
            }
            Refusal::UnknownNode => {
                self.note(UNLISTED);
                tracing::debug!("peer {} at {} does not list this node", self.peer, self.address);
                if self.unlisted.get_or_insert_with(Instant::now).elapsed() >= passes_within(self.heartbeat) {
                    let cure = format!(
                        "both of you lead, each alone; add --peer {}=ADDRESS there, or stop one of them",
                        self.node
                    );
                    self.warn(UNLISTED, &cure);
                }
            }
        }
    }

    /// The connection was, or is, a good one: whatever was wrong is over.
    pub(super) fn clear(&mut self) {
        self.dialled();
        (self.last, self.unlisted) = (None, None);
    }

    pub(super) fn warn(&mut self, complaint: &'static str, cause: &dyn fmt::Display) {
        if self.last != Some(complaint) {
            tracing::warn!("peer {} at {} {complaint}: {cause}", self.peer, self.address);
            self.last = Some(complaint);
        }
    }
}
