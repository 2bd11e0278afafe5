//! A simulated server: the product's driver, and whatever of its box is not the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::traitor::Traitor;
use super::world::Event;
use crate::cluster::NodeId;
use crate::kernel::blind::Blind;
use crate::kernel::{Candidates, Kernel};
use crate::node::driver::{Driver, Now};
use crate::scan::by_hand::Piece;
use crate::work::{Job, Run, Solution};

/// The portable kernel in batches so small that a piece is a small part of a heartbeat.
pub(super) struct Small;

const BATCH: u64 = 16;

impl Kernel for Small {
    fn name(&self) -> &'static str {
        "small"
    }

    fn batch(&self) -> u64 {
        BATCH
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        crate::kernel::available().last().expect("the portable kernel").prepare(job)
    }
}

/// A kernel that finds nothing, neither solutions nor witnesses.
pub(super) static BLIND: Blind = Blind { name: "blind", batch: BATCH };
pub(super) static SMALL: Small = Small;

/// One life of a process.
pub(super) struct Life {
    pub(super) driver: Driver,
    pub(super) run: Run,
    /// Pieces under scan, by their number.
    pub(super) pieces: BTreeMap<u64, Piece>,
    /// Since when nothing is under scan.
    pub(super) idle_since: Option<Duration>,
    /// Whom its transport sends to and hears.
    pub(super) peers: BTreeSet<NodeId>,
    /// The timer that counts, and when it is due.
    pub(super) wake: (u64, Duration),
    /// Scans that an honest leader assigned, or did not.
    pub(super) honest: BTreeMap<u64, bool>,
}

/// What runs on a server.
pub(super) enum Process {
    None,
    Node(Box<Life>),
    Traitor(Box<Traitor>),
}

/// A server, whether anything runs on it or not.
pub(super) struct Server {
    pub(super) id: NodeId,
    pub(super) process: Process,
    /// Counts the lives.
    pub(super) lives: u64,
    /// Its clock: what it makes of a thousand of the world's seconds, and how far it is ahead.
    pub(super) pace: u64,
    pub(super) ahead: Duration,
    /// Its clock on the wall.
    pub(super) wall: Duration,
    /// Nonces per second, of all threads together.
    pub(super) rate: u64,
    /// When nothing slows it down.
    pub(super) usual_rate: u64,
    pub(super) threads: u32,
    /// What waits for it while it is paused.
    pub(super) paused: Option<Vec<Event>>,
    /// What its store holds, if it has one.
    pub(super) disk: Option<Vec<Solution>>,
    pub(super) is_blind: bool,
    /// The source does not answer it.
    pub(super) is_cut_off: bool,
}

impl Server {
    pub(super) fn life(&self) -> Option<&Life> {
        match &self.process {
            Process::Node(life) => Some(life),
            _ => None,
        }
    }

    pub(super) fn life_mut(&mut self) -> Option<&mut Life> {
        match &mut self.process {
            Process::Node(life) => Some(life),
            _ => None,
        }
    }

    /// Nonces that it has hashed in this life.
    pub(super) fn hashes(&self) -> u64 {
        self.life().map_or(0, |life| life.driver.scanner().hashes())
    }

    /// Whether a node runs here that has this block to submit.
    pub(super) fn holds(&self, block: &Solution) -> bool {
        self.life().is_some_and(|life| life.driver.cluster().kept().contains(block))
    }

    pub(super) fn is_up(&self) -> bool {
        self.life().is_some() && self.paused.is_none()
    }

    /// The world's time by this server's clocks.
    pub(super) fn time(&self, base: Instant, now: Duration) -> Now {
        let local = now * self.pace as u32 / 1000 + self.ahead;
        Now { instant: base + local, since_1970: self.wall + local }
    }

    /// When it is that late by this server's clock.
    pub(super) fn when(&self, base: Instant, at: Instant) -> Duration {
        let local = at.saturating_duration_since(base).saturating_sub(self.ahead);
        // Rounded up, so that a timer never fires before its time.
        Duration::from_nanos(((local * 1000).as_nanos() as u64).div_ceil(self.pace))
    }

    /// How long a thread is at so many nonces.
    pub(super) fn time_for(&self, nonces: u64) -> Duration {
        let each = (self.rate / u64::from(self.threads)).max(1);
        Duration::from_secs_f64(nonces as f64 / each as f64)
    }
}
