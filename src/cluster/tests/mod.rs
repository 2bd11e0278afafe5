//! The rules in scenes: a few nodes, some of them played by hand, mail that is carried at once, and a clock that moves when it is told to.
//!
//! A test plays those nodes whose words it wants to choose. They answer heartbeats unless they are silent, hold what they are assigned,
//! and search nothing of it. What a node does beside sending is kept until the test looks: an empty list is silence.

mod adopted;
mod assignments;
mod attacks;
mod blocks;
mod leases;
mod liveness;
mod shares;
mod witnesses;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, Hashing, Job, NonceRange, RoundId, Run, Search,
    Slot, Solution, SolutionId, Tag, Target, Template, WitnessBits, ZeroUnit,
};

/// The heartbeat: a tick is 1 s; suspect after 6 s, down after 8.75 s; shares wait 0.2 s, unanswered solutions 0.4 s.
const BEAT: Duration = Duration::from_secs(4);

/// A lease's unit.
const UNIT: u64 = 100;

/// Where a text's leases begin is 1, counted from here.
const BEFORE: u64 = 9_999_999;

/// What only tests look at.
impl Cluster {
    /// The assignment that this node holds.
    pub(crate) fn held(&self) -> Option<(Reign, u64)> {
        self.worker.held
    }

    /// As a leader: the round that is searched.
    pub(crate) fn round(&self) -> Option<RoundId> {
        self.leading.as_ref()?.template().map(|template| template.round)
    }

    /// Shares found here that are not settled.
    fn pending_shares(&self) -> usize {
        self.own_shares.len()
    }
}

pub(crate) fn node(id: u32) -> NodeId {
    NodeId::try_from(id).unwrap()
}

fn config(id: u32) -> Config {
    let since_1970 = Duration::from_secs(1_795_000_000);
    let run = Run(u64::from(id));
    Config { id: node(id), run, since_1970, heartbeat: BEAT, unit: UNIT, all_to_all: 4, candidates: 2 }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Any moment will do to begin with.
#[allow(clippy::disallowed_methods)]
fn begin() -> Instant {
    Instant::now()
}

/// A node that the test plays.
struct Played {
    run: Run,
    sent: u64,
    is_silent: bool,
    /// What it says to lead.
    leads: Option<Leads>,
    /// The assignment that it holds.
    holds: Option<Assign>,
    /// What it was sent beside heartbeats, and how many of those.
    heard: Vec<Message>,
    asked: u32,
}

impl Played {
    fn stamp(&mut self) -> Stamp {
        self.sent += 1;
        Stamp { run: self.run, sent: self.sent }
    }

    fn heartbeat(&mut self, echo: Option<Stamp>) -> Heartbeat {
        Heartbeat { stamp: self.stamp(), echo, interval: None, leads: self.leads.clone() }
    }

    fn hear(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::HeartbeatRequest(heartbeat) => {
                self.asked += 1;
                return (!self.is_silent).then(|| Message::HeartbeatReply(self.heartbeat(Some(heartbeat.stamp)), None));
            }
            Message::HeartbeatReply(_, None) => {}
            other => self.heard.push(other),
        }
        if let Some(Message::Process(assign) | Message::ProcessInterrupt(assign)) = self.heard.last() {
            self.holds = Some(assign.clone());
        }
        None
    }

    /// A report that nothing was searched since the last assignment.
    fn report(&mut self) -> Report {
        let told = |lease: &Lease| Progress { lease: lease.number, to: lease.range.start, witnesses: vec![] };
        let progress = self.holds.iter().flat_map(|assign| &assign.leases).map(told).collect();
        let held = self.holds.as_ref().map(|assign| (assign.reign, assign.sequence));
        Report { stamp: self.stamp(), held, progress, ..Report::default() }
    }
}

/// Nodes, those that are played, and what is between them.
struct Scene {
    now: Instant,
    nodes: BTreeMap<NodeId, Cluster>,
    played: BTreeMap<NodeId, Played>,
    /// Their messages to each other are lost.
    cut: BTreeSet<(NodeId, NodeId)>,
    done: Vec<(NodeId, Output)>,
    /// Each node's newest report to somebody who is played.
    reported: BTreeMap<NodeId, Stamp>,
}

impl Scene {
    /// Nodes 1 to `count` have met; those of `played` are played by hand, and the others run.
    fn new(count: u32, played: &[u32]) -> Self {
        Self::with(count, played, |_| true)
    }

    fn with(count: u32, played: &[u32], proves: fn(u32) -> bool) -> Self {
        let now = begin();
        let (nodes, played, done) =
            (BTreeMap::new(), played.iter().map(|&id| (node(id), Self::part(id))).collect(), vec![]);
        let mut scene = Self { now, nodes, played, cut: BTreeSet::new(), done, reported: BTreeMap::new() };
        let members: Vec<_> = (1..=count).map(|id| (node(id), proves(id))).collect();
        for id in (1..=count).filter(|&id| !scene.played.contains_key(&node(id))) {
            scene.nodes.insert(node(id), Cluster::new(config(id), now));
        }
        scene.nodes.values_mut().for_each(|node| node.set_peers(now, &members));
        scene.deliver();
        scene.pass(0.0); // a first heartbeat
        scene.done.clear();
        for played in scene.played.values_mut() {
            (played.heard, played.asked) = (vec![], 0);
        }
        scene
    }

    fn part(id: u32) -> Played {
        let (leads, holds, heard) = (None, None, vec![]);
        Played { run: Run(id.into()), sent: 0, is_silent: false, leads, holds, heard, asked: 0 }
    }

    fn played(&mut self, id: u32) -> &mut Played {
        self.played.get_mut(&node(id)).unwrap()
    }

    /// A node does something, and mail is carried until there is none. Gives what that node does beside sending.
    fn on<T>(&mut self, id: u32, action: impl FnOnce(&mut Cluster, Instant) -> T) -> Vec<Output> {
        action(self.nodes.get_mut(&node(id)).unwrap(), self.now);
        self.deliver();
        self.done(id)
    }

    fn deliver(&mut self) {
        let mut mail = VecDeque::new();
        loop {
            for (&from, node) in &mut self.nodes {
                while let Some(output) = node.poll_output() {
                    match output {
                        Output::Send { to, message } => mail.push_back((from, to, message)),
                        output => self.done.push((from, output)),
                    }
                }
            }
            let Some((from, to, message)) = mail.pop_front() else { return };
            if self.cut.contains(&(from, to)) {
                continue;
            }
            if let Some(node) = self.nodes.get_mut(&to) {
                node.handle_message(self.now, from, message);
            } else if let Some(played) = self.played.get_mut(&to) {
                if let Message::ProcessRequest(report)
                | Message::ProcessAnswerNo(report)
                | Message::ProcessAnswerYes(report) = &message
                {
                    self.reported.insert(from, report.stamp);
                }
                mail.extend(played.hear(message).map(|answer| (to, from, answer)));
            }
        }
    }

    /// Time passes.
    fn pass(&mut self, time: f64) {
        let end = self.now + seconds(time);
        while let Some(due) = self.nodes.values().filter_map(|node| node.poll_timeout()).min().filter(|due| *due <= end)
        {
            self.now = due.max(self.now);
            let now = self.now;
            self.nodes.values_mut().for_each(|node| node.handle_timeout(now));
            self.deliver();
        }
        self.now = end;
    }

    /// Somebody who is played answers heartbeats from now on, or does not, and time passes.
    fn answers(&mut self, id: u32, answers: bool, time: f64) {
        self.played(id).is_silent = !answers;
        self.pass(time);
    }

    /// What a node has done since the last look.
    fn done(&mut self, id: u32) -> Vec<Output> {
        self.done.extract_if(.., |(by, _)| *by == node(id)).map(|(_, output)| output).collect()
    }

    /// What somebody who is played has been sent since the last look, beside heartbeats.
    fn heard(&mut self, id: u32) -> Vec<Message> {
        std::mem::take(&mut self.played(id).heard)
    }

    /// How often somebody who is played was asked for a heartbeat since the last look.
    fn asked(&mut self, id: u32) -> u32 {
        std::mem::take(&mut self.played(id).asked)
    }

    /// Somebody who is played says something. Gives what the node does beside answering.
    fn say(&mut self, from: u32, to: u32, message: Message) -> Vec<Output> {
        self.on(to, |cluster, now| cluster.handle_message(now, node(from), message))
    }

    /// Somebody who is played reports to node 1. Gives the assignment that answers, if one does.
    fn report(&mut self, from: u32, change: impl FnOnce(&mut Report)) -> Option<Assign> {
        let played = self.played(from);
        let mut report = played.report();
        change(&mut report);
        played.heard.clear();
        let now = self.now;
        self.nodes.get_mut(&node(1)).unwrap().handle_message(now, node(from), Message::ProcessRequest(report));
        self.deliver();
        match self.heard(from).pop() {
            Some(Message::Process(assign) | Message::ProcessInterrupt(assign)) => Some(assign),
            _ => None,
        }
    }

    /// An assignment of node 1, which is played: it answers the newest report of node `to`.
    fn assignment(&mut self, to: u32, sequence: u64, leases: &[(Job, NonceRange)]) -> Assign {
        let reign = Reign { run: self.played(1).run, number: 1 };
        let jobs: Vec<_> = leases.iter().map(|(job, _)| *job).collect();
        let lease = |(number, (_, range)): (u64, &(Job, NonceRange))| Lease {
            number,
            job: number as u16 - 1,
            range: *range,
            bits: BITS,
        };
        let leases = (1..).zip(leases).map(lease).collect();
        let (current, taken, settled) = Default::default();
        Assign { reign, sequence, report: self.reported[&node(to)], current, jobs, leases, taken, settled }
    }

    /// Node 1, which is played, assigns these ranges.
    fn assign(&mut self, to: u32, sequence: u64, leases: &[(Job, NonceRange)]) -> Vec<Output> {
        let assign = self.assignment(to, sequence, leases);
        self.say(1, to, Message::Process(assign))
    }

    /// The session of a node gives a template now.
    fn template(&mut self, id: u32, template: Template) -> Vec<Output> {
        self.on(id, |cluster, now| cluster.handle_template(now, template, now))
    }
}

/// One witness in four nonces.
const BITS: WitnessBits = WitnessBits::new(2).unwrap();

fn round(height: u64) -> RoundId {
    RoundId { block: BlockId { height, hash: Digest([height as u8; 32]) }, generation: 0 }
}

fn zero_bits(bits: i64) -> Target {
    Target::from_zeros(bits, ZeroUnit::Bits).unwrap()
}

/// A text whose blocks take a thousand hashes.
fn text(height: u64) -> Template {
    let goal = Goal { block: zero_bits(10), report: zero_bits(10), search: Search::First };
    Template { round: round(height), goal, puzzle: Blueprint::Text { hashing: Hashing::Double }, tag: 0 }
}

/// A header with this before its extranonce, and the same goal.
fn header(height: u64, before: u8, extranonce: Extranonce) -> Template {
    let coinbase = Arc::new(Coinbase { before: vec![before], extranonce, after: vec![3] });
    let branch = Arc::from([]);
    let puzzle =
        Blueprint::Header { version: 2, mask: 0, bits: 0x207f_ffff, time: BlockTime::from(9), coinbase, branch };
    Template { puzzle, ..text(height) }
}

/// A pool's header: every hash is a share, one in a thousand is a block.
fn pool(height: u64) -> Template {
    let goal = Goal { block: zero_bits(10), report: Target::MAX, search: Search::Every };
    Template { goal, ..header(height, 1, Extranonce::Counter(4)) }
}

/// The `n`th job that this run makes of a template.
fn job(template: &Template, run: u64, n: u64) -> Job {
    let slot = Slot { run: Run(run), n };
    template.job(slot, Duration::from_micros(n)).unwrap()
}

/// The job's solutions from this nonce on that are blocks, or are none.
fn solutions(job: Job, from: u64, are_blocks: bool) -> impl Iterator<Item = Solution> {
    let all = (from.max(job.space().start)..).map(move |nonce| Solution { job, nonce });
    all.filter(move |solution| solution.verify().is_some() && solution.is_block() == are_blocks)
}

fn block(job: Job) -> Solution {
    solutions(job, 0, true).next().unwrap()
}

/// The jobs and ranges that a node begins to scan.
fn scans(outputs: &[Output]) -> Vec<(Job, NonceRange)> {
    let scan = |output: &Output| match output {
        Output::Scan { job, range, .. } => Some((*job, *range)),
        _ => None,
    };
    outputs.iter().filter_map(scan).collect()
}

fn witnesses(job: &Job, bits: WitnessBits, range: NonceRange) -> Vec<u64> {
    (range.start..range.end).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some()).collect()
}

/// The report says of one of the leases, truthfully, that it is searched up to the nonce `to`.
fn search(report: &mut Report, held: &Assign, at: usize, to: u64) {
    let Lease { job, range, bits, .. } = held.leases[at];
    let shown = witnesses(&held.jobs[usize::from(job)], bits, NonceRange::new(range.start, to));
    (report.progress[at].to, report.progress[at].witnesses) = (to, shown);
}
