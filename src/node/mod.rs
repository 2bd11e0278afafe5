//! One server: joins the cluster's rules, a transport, a scanner, the sources and the registry. The driver decides, without waiting for
//! anything; [`run()`] feeds it and carries out its actions.
//!
//! ```text
//!  transport ── message ──┐                              ┌── Send, SetPeers ──> transport
//!  scanner ──── event ────┤   Input          Action      ├── Source ──> sessions ──> sources
//!  sessions ─── answer ───┼───────> Driver ────────> ────┼── Write ──> store
//!  clock ────── timer ────┤                              ├── ReadRegistry, status ──> registrar ──> registry
//!  store, registry ───────┘                              └── Tell ──> user
//! ```
//!
//! The clock is read in [`run()`]; the driver and the rules are given the time.

mod chain;
mod changes;
mod cpus;
pub(crate) mod driver;
mod event;
mod event_queue;
pub(crate) mod feed;
#[cfg(test)]
#[cfg(feature = "cli")]
pub(crate) mod fuzz;
mod handover;
mod luck;
pub(crate) mod members;
mod meter;
mod names;
mod pace;
mod payout_check;
mod registrar;
mod registry;
mod renewal;
mod run;
mod scan_events;
mod sessions;
mod shares;
mod status;
mod store;
mod warnings;

#[cfg(test)]
mod sim;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use cpus::CpuUse;
pub use event::{Event, Outcome, ShareOutcome, TimedEvent};
pub use names::addresses_of;
pub use payout_check::{PayoutCheck, Pays};
pub use registry::{Entry, Registration, Registry, RegistryError};
pub use run::run;
pub use shares::{ShareCounts, ShareTally};
pub use status::Status;
pub use store::{Store, StoreError};

use crate::cluster::NodeId;
use crate::kernel::Choice;
use crate::scan::Threads;
use crate::source::BlockSource;
use crate::transport::Transport;

/// Who the other servers are.
#[derive(Clone, Debug)]
pub enum Peers {
    /// These servers; this node may be among them.
    Fixed(BTreeMap<NodeId, SocketAddr>),
    /// These servers, each `host:port`, which is looked up at the start and again while a server is missing.
    Named(BTreeMap<NodeId, String>),
    /// Whoever is registered on this machine.
    Registered(Registry),
}

/// What a server needs to run.
pub struct Config {
    /// Its id.
    pub id: NodeId,
    /// The other servers.
    pub peers: Peers,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// The kernel that it hashes with, and why it was chosen.
    pub kernel: Choice,
    /// Its hashing threads.
    pub threads: Threads,
    /// Where blocks come from, in order of preference.
    pub sources: Vec<Arc<dyn BlockSource>>,
    /// For how long a source that is preferred to the one in use has to answer before it is used again.
    pub source_return: Duration,
    /// How it reaches the others.
    pub transport: Arc<dyn Transport>,
    /// The folder of its certificate files, from which renewed ones are taken up.
    pub certs: Option<PathBuf>,
    /// Its place in this machine's registry, if it has one.
    pub registration: Option<Registration>,
    /// Where its solutions are kept until they are settled; those of an earlier run are reported again.
    pub store: Option<Store>,
    /// Stop once this many blocks were accepted since the start, as far as it knows.
    pub blocks: Option<u64>,
    /// Whom the work of other leaders has to pay; none if that does not matter.
    pub payout: Option<PayoutCheck>,
}
