//! What a leader hands out, and to whom (rules 3, 4 and 8).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::message::{MAX_JOBS, MAX_LEASES, place};
use super::probe::probe;
use super::trust::Trust;
use super::{Assign, Config, Current, Lease, NodeId, Reign, Report, Stamp};
use crate::work::{Blueprint, Extranonce, Job, NonceRange, Run, Search, Slot, SolutionId, Template, WitnessBits};

/// An allowance starts with no more than that, whatever speed a node says it has: three seconds of the fastest machine's work.
const FIRST_ALLOWANCE: u64 = 1 << 30;

/// An allowance does not grow beyond that: more than an hour of the fastest machine's work.
const LARGEST_ALLOWANCE: u64 = 1 << 40;

/// Nor beyond that without witnesses, and nobody without them gets more than four times that in a heartbeat: it may say that it has searched
/// what it has not, and use up the nonces of a pool's job. This is three minutes of the fastest machine's work.
const LARGEST_UNPROVED: u64 = 1 << 36;

/// A node's speed is the best of so many measurements: a pause or a busy moment does not count.
const MEASUREMENTS: usize = 8;

/// A lease that was handed out, as far as there is no report of it.
#[derive(Clone, Copy, Debug)]
struct Granted {
    number: u64,
    /// The first assignment that names it.
    sequence: u64,
    job: Job,
    range: NonceRange,
    bits: WitnessBits,
}

/// What a leader knows of a node.
#[derive(Clone, Debug)]
struct Worker {
    /// Its newest report.
    report: Stamp,
    /// The solutions that it names.
    named: Vec<SolutionId>,
    leases: Vec<Granted>,
    /// Nonces that it may hold.
    allowance: u64,
    /// The speeds that it has reported of late, in nonces per second.
    reported: VecDeque<u64>,
    /// The speeds that were measured by its progress.
    measured: VecDeque<u64>,
    /// What it has wasted of late.
    waste: Waste,
    /// Since when the next one is measured, and what it has searched since.
    since: Instant,
    searched: u64,
}

/// Nonces of the template that a node may have used up for nothing, counted for a heartbeat.
#[derive(Clone, Copy, Debug)]
struct Waste {
    since: Instant,
    /// It was assigned them and has lost them.
    lost: u64,
    /// It says that it has searched them, without witnesses.
    unproved: u64,
}

impl Waste {
    fn new(since: Instant) -> Self {
        Self { since, lost: 0, unproved: 0 }
    }
}

fn push(speeds: &mut VecDeque<u64>, speed: u64) {
    if speeds.len() == MEASUREMENTS {
        speeds.pop_front();
    }
    speeds.push_back(speed);
}

fn best(speeds: &VecDeque<u64>) -> Option<u64> {
    speeds.iter().copied().max()
}

/// One reign.
#[derive(Clone, Debug)]
pub(super) struct Leading {
    config: Config,
    pub(super) reign: Reign,
    sequence: u64,
    leases: u64,
    /// What is searched.
    template: Option<Template>,
    /// The current job, and those of its nonces that are handed out next. None while a solution is being submitted.
    job: Option<(Job, NonceRange)>,
    workers: BTreeMap<NodeId, Worker>,
}

impl Leading {
    pub(super) fn new(config: Config, reign: Reign) -> Self {
        Self { config, reign, sequence: 0, leases: 0, template: None, job: None, workers: BTreeMap::new() }
    }

    /// What is searched.
    pub(super) fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// What heartbeats tell of it.
    pub(super) fn current(&self) -> Option<Current> {
        self.template.as_ref().map(Current::of)
    }

    /// Whether nonces are handed out.
    pub(super) fn is_searching(&self) -> bool {
        self.job.is_some()
    }

    /// From now on this is searched, with a new job. Leases of another round or goal end.
    pub(super) fn begin(&mut self, template: Template, maker: &mut Maker, now: Instant) {
        self.job = maker.begin(&template, now);
        self.template = Some(template);
        self.workers.values_mut().for_each(|worker| worker.waste = Waste::new(now));
    }

    /// Nothing is handed out until another job begins: a solution of this template is being submitted (rule 7).
    pub(super) fn interrupt(&mut self, template: Template) {
        (self.template, self.job) = (Some(template), None);
    }

    /// Those who reported in this reign.
    pub(super) fn workers(&self) -> Vec<NodeId> {
        self.workers.keys().copied().collect()
    }

    /// A node left or is no member any more: its leases are lost.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.workers.remove(&id);
    }

    /// Takes in a report, which is the newest of its run. `named` are the solutions in it; `proves`: whether the node shows witnesses.
    /// False from the report on that the node cannot have searched.
    pub(super) fn handle_report(
        &mut self,
        now: Instant,
        from: NodeId,
        report: &Report,
        named: Vec<SolutionId>,
        proves: bool,
        trust: &mut Trust,
    ) -> bool {
        let stamp = report.stamp;
        let worker = self.workers.entry(from).or_insert_with(|| Worker::new(stamp, now));
        let is_other_run = worker.report.run != stamp.run;
        if is_other_run {
            probe!(ReporterStartedAnew);
            let Worker { leases, waste, .. } = std::mem::replace(worker, Worker::new(stamp, now));
            (worker.leases, worker.waste) = (leases, waste);
        }
        (worker.report, worker.named) = (stamp, named);
        push(&mut worker.reported, report.speed);
        // What this run should hold by the assignment that it names, and does not, is lost or given back.
        let held = report.held.filter(|(reign, _)| *reign == self.reign && !is_other_run).map(|(_, sequence)| sequence);
        let progress = &report.progress[..report.progress.len().min(MAX_LEASES)];
        let named: BTreeSet<_> = progress.iter().map(|progress| progress.lease).collect();
        if now >= worker.waste.since + self.config.heartbeat {
            worker.waste = Waste::new(now);
        }
        let is_held = |lease: &Granted| held.is_some_and(|held| lease.sequence > held || named.contains(&lease.number));
        for lease in worker.leases.extract_if(.., |lease| !is_held(lease)) {
            probe!(LeaseLost);
            worker.waste.lost = worker.waste.lost.saturating_add(lease.range.len());
        }
        let (mut new, mut finished, mut believed) = (0u64, false, true);
        for progress in progress {
            let Ok(place) = worker.leases.binary_search_by_key(&progress.lease, |lease| lease.number) else { continue };
            let lease = &mut worker.leases[place];
            let searched = NonceRange::new(lease.range.start, progress.to);
            if searched.is_empty() {
                continue;
            }
            if searched.end > lease.range.end {
                probe!(ProgressUnsound);
                continue;
            }
            if proves && believed {
                believed = trust.weigh(from, stamp.run, &lease.job, lease.bits, searched, &progress.witnesses);
            }
            new = new.saturating_add(searched.len());
            lease.range.start = searched.end;
            finished |= lease.range.is_empty();
        }
        worker.searched = worker.searched.saturating_add(new);
        if !proves {
            worker.waste.unproved = worker.waste.unproved.saturating_add(new);
        }
        worker.measure(now, &self.config);
        if believed && (if proves { new > 0 } else { finished }) {
            let largest = if proves { LARGEST_ALLOWANCE } else { LARGEST_UNPROVED };
            worker.allowance = worker.allowance.saturating_mul(2).min(largest);
        }
        // The start of the allowance, as soon as a speed is reported.
        let first = self.config.beat_of(best(&worker.reported).unwrap_or(0));
        worker.allowance = worker.allowance.max(first.clamp(self.config.unit, FIRST_ALLOWANCE));
        believed
    }

    /// The next assignment of a node, but for what becomes of the solutions that its report names, which are given too. `None` unless it
    /// has reported as this run. `is_refused`: it gets no leases.
    pub(super) fn grant(
        &mut self,
        id: NodeId,
        run: Run,
        is_refused: bool,
        maker: &mut Maker,
        now: Instant,
    ) -> Option<(Assign, Vec<SolutionId>)> {
        self.workers.get(&id).filter(|worker| worker.report.run == run)?;
        let mut worker = self.workers.remove(&id)?;
        self.sequence += 1;
        if is_refused || self.job.is_none() {
            worker.leases.clear();
        } else {
            self.top_up(&mut worker, maker, now);
        }
        let (mut jobs, mut leases) = (Vec::<Job>::new(), Vec::new());
        for &Granted { number, job, range, bits, .. } in &worker.leases {
            leases.push(Lease { number, job: place(&mut jobs, job), range, bits });
        }
        let current = self.template.as_ref().map(Current::whole);
        let (reign, sequence, report) = (self.reign, self.sequence, worker.report);
        let named = worker.named.clone();
        self.workers.insert(id, worker);
        Some((Assign { reign, sequence, report, current, jobs, leases, taken: vec![], settled: vec![] }, named))
    }

    fn top_up(&mut self, worker: &mut Worker, maker: &mut Maker, now: Instant) {
        let Some(template) = self.template.clone() else { return };
        worker.leases.retain(|lease| {
            lease.job.round == template.round && lease.job.goal == template.goal && !lease.range.is_empty()
        });
        let unit = self.config.unit;
        let most = match best(&worker.measured) {
            Some(speed) => worker.allowance.min(self.config.beat_of(speed).saturating_mul(4)),
            None => worker.allowance.min(FIRST_ALLOWANCE),
        };
        let most = most.max(unit);
        // A template's nonces may be few. Whoever loses more than it may hold twice over gets no more of them in this heartbeat.
        if worker.waste.lost / 2 > most.max(FIRST_ALLOWANCE) || worker.waste.unproved / 4 > LARGEST_UNPROVED {
            return;
        }
        let mut held = worker.leases.iter().map(|lease| lease.range.len()).fold(0, u64::saturating_add);
        // Each lease brings a report at its end, and each report a lease: small ones would become more and more.
        if most.saturating_sub(held) < most / 4 {
            return;
        }
        let mut jobs = worker.leases.chunk_by(|a, b| a.job == b.job).count();
        while worker.leases.len() < MAX_LEASES && most.saturating_sub(held) >= unit {
            let Some((job, rest)) = &mut self.job else { return };
            if rest.is_empty() {
                let last = job.puzzle.last_nonces();
                if rest.end == last.end || last.is_empty() {
                    self.job = maker.begin(&template, now);
                } else {
                    *rest = last;
                }
                continue;
            }
            if worker.leases.last().is_none_or(|last| last.job != *job) {
                jobs += 1;
            }
            if jobs > MAX_JOBS {
                return;
            }
            let range = rest.take_front((most - held) / unit * unit);
            let bits = WitnessBits::for_job(job, range.len());
            held += range.len();
            self.leases += 1;
            worker.leases.push(Granted { number: self.leases, sequence: self.sequence, job: *job, range, bits });
        }
    }
}

impl Worker {
    fn new(report: Stamp, now: Instant) -> Self {
        Self {
            report,
            named: Vec::new(),
            leases: Vec::new(),
            allowance: 0,
            reported: VecDeque::new(),
            measured: VecDeque::new(),
            waste: Waste::new(now),
            since: now,
            searched: 0,
        }
    }

    /// Measures over a quarter of a heartbeat at least, so that what comes in bursts does not count as speed.
    fn measure(&mut self, now: Instant, config: &Config) {
        let time = now.saturating_duration_since(self.since);
        if time >= config.tick() && self.searched > 0 {
            let speed = u128::from(self.searched) * 1000 / time.as_millis().max(1);
            push(&mut self.measured, speed.try_into().unwrap_or(u64::MAX));
            (self.since, self.searched) = (now, 0);
        }
    }
}

/// Makes the jobs of one process: no two are the same, and nobody else makes them (rule 3).
#[derive(Clone, Debug)]
pub(super) struct Maker {
    run: Run,
    started: Instant,
    /// The time since 1970 when the process started, and of the last job.
    began: Duration,
    last: Duration,
    /// Counts the jobs whose coinbase, or timestamp, has the run in it.
    own: u64,
    /// The coinbases of pools of late, each with the number of its next job: a pool's extranonce2 counts up for as long as the rest stays.
    counts: VecDeque<(Vec<u8>, u64)>,
}

/// More coinbases than are in use at a time. Whoever is forgotten has had its templates replaced so often.
const MAX_COUNTS: usize = 64;

impl Maker {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let began = config.since_1970;
        Self { run: config.run, started: now, began, last: Duration::ZERO, own: 0, counts: VecDeque::new() }
    }

    /// Another job of the template, and those of its nonces that are handed out first.
    fn begin(&mut self, template: &Template, now: Instant) -> Option<(Job, NonceRange)> {
        self.make(template, now).map(|job| (job, job.puzzle.first_nonces()))
    }

    /// Another job of the template; `None` when its extranonce is used up.
    fn make(&mut self, template: &Template, now: Instant) -> Option<Job> {
        let time = self.began + now.saturating_duration_since(self.started);
        self.last = time.max(self.last + Duration::from_micros(1));
        let n = self.next_number(template);
        template.job(Slot { run: self.run, n }, self.last)
    }

    fn next_number(&mut self, template: &Template) -> u64 {
        let space = match &template.puzzle {
            Blueprint::Header { coinbase, .. } if coinbase.extranonce != Extranonce::Run => coinbase.before.clone(),
            _ => {
                self.own += 1;
                return self.own - 1;
            }
        };
        let next = match self.counts.iter().position(|(known, _)| *known == space) {
            Some(at) => self.counts.remove(at).map_or(0, |(_, next)| next),
            None => 0,
        };
        if self.counts.len() == MAX_COUNTS {
            self.counts.pop_front();
        }
        self.counts.push_back((space, next + 1));
        next
    }
}

/// Whether the first solution of a template's job ends the round.
pub(super) fn ends_with_first(template: &Template) -> bool {
    template.goal.search == Search::First
}
