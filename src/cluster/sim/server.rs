//! One simulated server: the rules, and a pretended node around them that does what the real one does with a clock of its own,
//! a scanner and a feed of blocks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::{Cluster, NodeId, Ticket};
use super::hashing;
use super::lies::Lie;
use super::world::Event;
use crate::work::{BlockId, Job, JobId, NonceRange, ShareBits, Solution};

/// A server, whether it runs or not.
pub(super) struct Server {
    pub(super) id: NodeId,
    /// Nothing while it is killed.
    pub(super) run: Option<Box<Run>>,
    /// How often it was started.
    pub(super) runs: u64,
    pub(super) incarnation: u64,
    pub(super) clock: Clock,
    /// Nonces per second, now and when it is well.
    pub(super) rate: u64,
    pub(super) usual_rate: u64,
    /// Whether its scan hangs.
    pub(super) hangs: bool,
    /// What waits while it is paused.
    pub(super) paused: Option<Vec<Event>>,
    pub(super) lie: Option<Lie>,
    /// The solutions on its disk, if it has one.
    pub(super) disk: Option<Vec<Solution>>,
    /// Names the newest wake-up; older ones are stale.
    pub(super) wake: u64,
    /// When that is due.
    pub(super) due: Option<Duration>,
}

/// A node's own clock, which may run a little fast or slow, and jump ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Of a thousand.
    pub(super) pace: u64,
    pub(super) ahead: Duration,
}

impl Clock {
    /// What it shows when so much time has gone by.
    pub(super) fn shows(&self, now: Duration) -> Duration {
        Duration::from_nanos(now.as_nanos() as u64 / 1000 * self.pace) + self.ahead
    }

    /// When it shows `local`, at the latest.
    pub(super) fn when(&self, local: Duration) -> Duration {
        let nanos = local.saturating_sub(self.ahead).as_nanos() as u64;
        Duration::from_nanos((nanos.div_ceil(self.pace) + 1) * 1000)
    }
}

/// One run of a server, from its start to its end.
pub(super) struct Run {
    pub(super) cluster: Cluster,
    pub(super) scanner: Scanner,
    /// The block to find, while it leads and knows it.
    pub(super) template: Option<BlockId>,
    /// Names the request for templates that is under way.
    pub(super) watch: Option<u64>,
    pub(super) last_job: Option<Made>,
    pub(super) under_way: Vec<Solution>,
    /// How it lies, if it does.
    pub(super) lie: Option<Lie>,
}

/// A job that the node has made, and its stamp.
pub(super) type Made = (Job, u64);

/// A range in the scanner's queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    pub(super) ticket: Ticket,
    pub(super) job: Job,
    pub(super) id: JobId,
    pub(super) range: NonceRange,
    /// The first nonce that solves the job, if the range has one.
    pub(super) solution: Option<u64>,
    pub(super) bits: ShareBits,
}

impl Scan {
    /// Where it ends.
    fn end(&self) -> u64 {
        self.solution.unwrap_or(self.range.end)
    }
}

/// Ranges under scan, one after the other.
pub(super) struct Scanner {
    scans: VecDeque<Scan>,
    /// Shares that the first one has met.
    shares: Vec<u64>,
    /// The first one is searched up to here.
    at: u64,
    /// Everything before was hashed by then.
    counted: Duration,
    /// Since when it has had nothing to do.
    pub(super) idle_since: Option<Duration>,
}

impl Scanner {
    pub(super) fn new(now: Duration) -> Self {
        Self { scans: VecDeque::new(), shares: Vec::new(), at: 0, counted: now, idle_since: Some(now) }
    }

    pub(super) fn push(&mut self, now: Duration, scan: Scan) {
        if self.scans.is_empty() {
            (self.at, self.counted, self.idle_since) = (scan.range.start, now, None);
            self.shares.clear();
        }
        self.scans.push_back(scan);
    }

    /// Takes a scan out of the queue.
    pub(super) fn stop(&mut self, now: Duration, ticket: Ticket) {
        let Some(place) = self.scans.iter().position(|scan| scan.ticket == ticket) else { return };
        self.scans.remove(place);
        if place == 0 {
            self.next(now);
        }
    }

    fn next(&mut self, now: Duration) {
        self.counted = self.counted.max(now);
        self.shares.clear();
        match self.scans.front() {
            Some(scan) => self.at = scan.range.start,
            None => self.idle_since = Some(now),
        }
    }

    /// Time that it did not run, up to now, does not count.
    pub(super) fn skip(&mut self, now: Duration) {
        self.counted = now;
    }

    /// Hashes at `rate` until `now`. Gives what was searched of which scan, its shares so far, and whether that is all of it.
    pub(super) fn hash(&mut self, now: Duration, rate: u64) -> Option<(Scan, NonceRange, Vec<u64>, bool)> {
        let scan = *self.scans.front()?;
        let nanos = now.saturating_sub(self.counted).as_nanos() as u64;
        let nonces = (nanos as u128 * u128::from(rate) / 1_000_000_000) as u64;
        let from = self.at;
        let to = from.saturating_add(nonces).min(scan.end());
        self.at = to;
        self.shares.extend(hashing::hits(&scan.job, NonceRange::new(from, to), scan.bits.bits().into()));
        let shares = self.shares.clone();
        let over = to == scan.end();
        if over {
            self.scans.pop_front();
            self.next(now);
        } else {
            self.counted += time_for(to - from, rate);
        }
        Some((scan, NonceRange::new(from, to), shares, over))
    }

    /// When the first scan ends.
    pub(super) fn due(&self, rate: u64) -> Option<Duration> {
        let scan = self.scans.front()?;
        Some(self.counted + time_for(scan.end() - self.at, rate) + Duration::from_nanos(1))
    }

    pub(super) fn scans(&self) -> impl Iterator<Item = &Scan> {
        self.scans.iter()
    }
}

fn time_for(nonces: u64, rate: u64) -> Duration {
    Duration::from_nanos((u128::from(nonces) * 1_000_000_000 / u128::from(rate)) as u64)
}

impl Server {
    /// What its clock shows, as the rules take it.
    pub(super) fn time(&self, epoch: Instant, now: Duration) -> Instant {
        epoch + self.clock.shows(now)
    }

    /// When its clock shows that.
    pub(super) fn when(&self, epoch: Instant, shown: Instant) -> Duration {
        self.clock.when(shown.saturating_duration_since(epoch))
    }

    /// Nonces a second that it claims to hash.
    pub(super) fn pace(&self) -> u64 {
        if self.lie == Some(Lie::Idle) { self.rate * 20 } else { self.rate }
    }

    /// Brings its disk, if it has one, up to what its run keeps.
    pub(super) fn write_down(&mut self) {
        if let (Some(disk), Some(run)) = (&mut self.disk, &self.run) {
            *disk = run.cluster.kept(&run.under_way);
        }
    }

    /// Whether its scan makes no progress.
    pub(super) fn is_stuck(&self) -> bool {
        self.hangs || self.lie == Some(Lie::Hoard)
    }

    /// Whether it is up and not paused.
    pub(super) fn is_awake(&self) -> bool {
        self.run.is_some() && self.paused.is_none()
    }

    /// When it next has something to do by itself.
    pub(super) fn next_due(&self, epoch: Instant) -> Option<Duration> {
        let run = self.run.as_ref()?;
        let timer = run.cluster.poll_timeout().map(|due| self.when(epoch, due));
        timer.into_iter().chain(run.scanner.due(self.pace()).filter(|_| !self.is_stuck())).min()
    }
}
