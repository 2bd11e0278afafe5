//! A certified peer that says anything: every kind of message, with any values, to anybody, at any time.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;

use crate::cluster::{
    Assign, BodyId, BodyPart, BodyRequest, Current, Heartbeat, Leads, Lease, MAX_BLOCKS, MAX_LEASES, Message, NodeId,
    Progress, Reign, Report, Stamp,
};
use crate::work::{Job, NonceRange, Puzzle, RoundId, Run, Slot, Solution, SolutionId, Tag, Template, WitnessBits};

/// Numbers that break what adds to them.
const EXTREME: [u64; 8] = [0, 1, 2, 1 << 31, 1 << 32, (1 << 63) - 1, u64::MAX - 1, u64::MAX];

/// What it knows of the others it has from their messages.
pub(super) struct Traitor {
    pub(super) id: NodeId,
    pub(super) run: Run,
    sent: u64,
    /// Whether it keeps to its own run, so that others go on to hear it.
    is_calm: bool,
    reports: BTreeMap<NodeId, Stamp>,
    held: Option<(Reign, u64)>,
    leases: Vec<Lease>,
    jobs: VecDeque<Job>,
    template: Option<Template>,
    /// A template of a leader's own block.
    header: Option<Template>,
    solutions: VecDeque<Solution>,
}

impl Traitor {
    pub(super) fn new(id: NodeId, rng: &mut Rng) -> Self {
        Self {
            id,
            run: Run(rng.u64(..)),
            sent: 0,
            is_calm: rng.bool(),
            reports: BTreeMap::new(),
            held: None,
            leases: Vec::new(),
            jobs: VecDeque::new(),
            template: None,
            header: None,
            solutions: VecDeque::new(),
        }
    }

    /// What it says to a message.
    pub(super) fn hear(&mut self, rng: &mut Rng, from: NodeId, message: &Message) -> Vec<(NodeId, Message)> {
        let mut said = Vec::new();
        match message {
            Message::HeartbeatRequest(heartbeat) => {
                self.learn_from(heartbeat);
                if rng.u32(..10) > 0 {
                    let report = rng.bool().then(|| self.report(rng));
                    let mut reply = self.heartbeat(rng);
                    reply.echo = Some(heartbeat.stamp);
                    said.push((from, Message::HeartbeatReply(reply, report)));
                }
            }
            Message::HeartbeatReply(heartbeat, report) | Message::Leave(heartbeat, report) => {
                self.learn_from(heartbeat);
                report.iter().for_each(|report| self.learn_of(from, report));
            }
            Message::ProcessRequest(report) | Message::ProcessAnswerNo(report) | Message::ProcessAnswerYes(report) => {
                self.learn_of(from, report);
                if rng.u32(..5) > 0 {
                    said.push((from, self.assign(rng, from)));
                }
            }
            Message::Process(assign) | Message::ProcessInterrupt(assign) => {
                self.held = Some((assign.reign, assign.sequence));
                self.leases.clone_from(&assign.leases);
                assign.jobs.iter().for_each(|job| self.remember(*job));
                if let Some(Current::Header(template)) = &assign.current {
                    self.header = Some(template.clone());
                }
            }
            Message::BodyRequest(request) => {
                let mut part = self.part(rng);
                if rng.u32(..4) > 0 {
                    (part.body, part.start) = (request.body, request.start);
                }
                said.push((from, Message::Body(part)));
            }
            Message::Body(_) => {}
        }
        said
    }

    /// What it says unasked, now and then in floods.
    pub(super) fn tick(&mut self, rng: &mut Rng, ids: &[NodeId]) -> Vec<(NodeId, Message)> {
        let (own, mut said) = (self.id, Vec::new());
        for &to in ids.iter().filter(|id| **id != own) {
            let count = match rng.u32(..20) {
                0 => 40,
                1..=6 => 4,
                7..=13 => 1,
                _ => 0,
            };
            for _ in 0..count {
                said.push((to, self.anything(rng, to)));
            }
        }
        said
    }

    fn anything(&mut self, rng: &mut Rng, to: NodeId) -> Message {
        match rng.u32(..10) {
            0..=2 => Message::HeartbeatRequest(self.heartbeat(rng)),
            3 => {
                let mut reply = self.heartbeat(rng);
                reply.echo = Some(Stamp { run: self.any_run(rng), sent: self.number(rng) });
                Message::HeartbeatReply(reply, Some(self.report(rng)))
            }
            4 => Message::ProcessRequest(self.report(rng)),
            5 => Message::ProcessAnswerYes(self.report(rng)),
            9 if rng.bool() => Message::Body(self.part(rng)),
            9 => Message::BodyRequest(BodyRequest { body: self.body(rng), start: rng.u32(..) }),
            6 if rng.u32(..4) == 0 => Message::Leave(self.heartbeat(rng), Some(self.report(rng))),
            _ => self.assign(rng, to),
        }
    }

    fn body(&self, rng: &mut Rng) -> BodyId {
        BodyId { run: self.any_run(rng), template: self.number(rng) }
    }

    fn part(&self, rng: &mut Rng) -> BodyPart {
        let size = [0, 100, 200, 4_000_000, u32::MAX][rng.usize(..5)];
        let start = if rng.bool() { 0 } else { rng.u32(..) };
        BodyPart { body: self.body(rng), size, start, bytes: vec![7; [0, 1, 100, 60_000][rng.usize(..4)]] }
    }

    fn learn_from(&mut self, heartbeat: &Heartbeat) {
        let Some(leads) = &heartbeat.leads else { return };
        if let Some(Current::Text(template)) = &leads.current {
            self.template = Some(template.clone());
        }
        leads.blocks.iter().for_each(|block| self.keep(*block));
    }

    fn learn_of(&mut self, from: NodeId, report: &Report) {
        self.reports.insert(from, report.stamp);
        report.jobs.iter().for_each(|job| self.remember(*job));
        report.blocks.iter().for_each(|block| self.keep(*block));
    }

    /// Those of late are the most use.
    fn remember(&mut self, job: Job) {
        self.jobs.push_front(job);
        self.jobs.truncate(16);
    }

    fn keep(&mut self, solution: Solution) {
        self.remember(solution.job);
        self.solutions.push_front(solution);
        self.solutions.truncate(16);
    }

    fn number(&self, rng: &mut Rng) -> u64 {
        match rng.u32(..4) {
            0 => rng.u64(..),
            1 => self.sent,
            _ => EXTREME[rng.usize(..EXTREME.len())],
        }
    }

    fn any_run(&self, rng: &mut Rng) -> Run {
        let own = self.is_calm || rng.u32(..5) > 0;
        if own { self.run } else { Run(self.number(rng)) }
    }

    fn stamp(&mut self, rng: &mut Rng) -> Stamp {
        self.sent += 1;
        let is_wild = !self.is_calm && rng.u32(..10) == 0;
        Stamp { run: self.any_run(rng), sent: if is_wild { self.number(rng) } else { self.sent } }
    }

    fn reign(&self, rng: &mut Rng) -> Reign {
        Reign { run: self.any_run(rng), number: if rng.bool() { self.sent } else { self.number(rng) } }
    }

    fn job(&mut self, rng: &mut Rng) -> Option<Job> {
        let job = *self.jobs.get(rng.usize(..self.jobs.len().max(1)))?;
        Some(self.twist(rng, job))
    }

    /// The job, or one that is a little different.
    fn twist(&mut self, rng: &mut Rng, mut job: Job) -> Job {
        match rng.u32(..9) {
            0 => job.goal.report = crate::work::Target::MAX,
            1 => job.goal.block = crate::work::Target::MAX,
            2 => job.round = self.round(rng, job.round),
            3 => {
                let slot = Slot { run: self.any_run(rng), n: self.number(rng) };
                job.tag = Tag { template: self.number(rng), slot };
            }
            4 => (job.goal.report, job.goal.block) = (crate::work::Target::MAX, crate::work::Target::MAX),
            5 => job.tag.slot.n = self.number(rng),
            6 => {
                // A job that its maker's session has never named.
                job.tag.template = self.number(rng);
                (job.goal.report, job.goal.block) = (crate::work::Target::MAX, crate::work::Target::MAX);
            }
            7 => {
                if let Puzzle::Header(puzzle) = &mut job.puzzle {
                    puzzle.header.nonce = rng.u32(..3);
                }
            }
            _ => {}
        }
        job
    }

    fn round(&self, rng: &mut Rng, mut round: RoundId) -> RoundId {
        match rng.u32(..3) {
            0 => round.block.height = self.number(rng),
            1 => round.block.hash = crate::work::Digest([rng.u8(..); 32]),
            _ => round.generation = self.number(rng),
        }
        round
    }

    fn blocks(&mut self, rng: &mut Rng) -> Vec<Solution> {
        let count = [0, 0, 1, MAX_BLOCKS + 4][rng.usize(..4)];
        let mut blocks: Vec<_> = self.solutions.iter().take(count).copied().collect();
        for block in &mut blocks {
            block.job = self.twist(rng, block.job);
        }
        while blocks.len() < count
            && let Some(job) = self.job(rng)
        {
            let nonce = if rng.bool() { rng.u64(1..1000) } else { self.number(rng) };
            blocks.push(Solution { job, nonce });
        }
        blocks
    }

    fn heartbeat(&mut self, rng: &mut Rng) -> Heartbeat {
        let current = match rng.u32(..3) {
            0 => self.template.clone().map(|mut template| {
                if rng.bool() {
                    template.round = self.round(rng, template.round);
                }
                Current::Text(template)
            }),
            1 => self.job(rng).map(|job| Current::Round(self.round(rng, job.round))),
            _ => None,
        };
        let leads = rng.bool().then(|| Leads { reign: self.number(rng), current, blocks: self.blocks(rng) });
        Heartbeat { stamp: self.stamp(rng), echo: None, interval: None, leads }
    }

    fn any_progress(&self, rng: &mut Rng) -> Vec<Progress> {
        let count = [0, 1, 4, MAX_LEASES + 8][rng.usize(..4)];
        let progress = |_| Progress {
            lease: if rng.bool() { rng.u64(..64) } else { self.number(rng) },
            to: if rng.bool() { rng.u64(..100_000) } else { self.number(rng) },
            witnesses: (0..rng.u64(..8)).map(|_| rng.u64(..100_000)).collect(),
        };
        (0..count).map(progress).collect()
    }

    /// As a node that has searched a little of its leases, or says so.
    fn own_progress(&self, rng: &mut Rng) -> Vec<Progress> {
        let progress = |lease: &Lease| {
            let to = lease.range.start.saturating_add([0, 1, 1, rng.u64(..5000)][rng.usize(..4)]);
            let shown = (lease.range.start..to).filter(|_| rng.u32(..200) == 0).collect();
            Progress { lease: lease.number, to, witnesses: if rng.bool() { shown } else { vec![] } }
        };
        self.leases.iter().map(progress).collect()
    }

    fn report(&mut self, rng: &mut Rng) -> Report {
        let progress = if rng.bool() { self.any_progress(rng) } else { self.own_progress(rng) };
        let mut jobs: Vec<_> = (0..rng.u32(..4)).filter_map(|_| self.job(rng)).collect();
        let mut shares: Vec<_> = (0..rng.u64(..20)).map(|_| (rng.u16(..5), rng.u64(..5000))).collect();
        // Others' blocks, as shares.
        let known: Vec<_> = self.solutions.iter().filter(|_| rng.u32(..8) == 0).copied().collect();
        for solution in known {
            shares.push((jobs.len() as u16, solution.nonce));
            jobs.push(self.twist(rng, solution.job));
        }
        let held = match rng.u32(..3) {
            0 => None,
            1 => self.held,
            _ => Some((self.reign(rng), self.number(rng))),
        };
        Report {
            stamp: self.stamp(rng),
            held,
            speed: self.number(rng),
            progress,
            shares,
            taken: (0..rng.u64(..20)).map(|_| SolutionId(rng.u64(..))).collect(),
            jobs,
            blocks: self.blocks(rng),
        }
    }

    fn assign(&mut self, rng: &mut Rng, to: NodeId) -> Message {
        let jobs: Vec<_> = (0..rng.u32(..4)).filter_map(|_| self.job(rng)).collect();
        let count = [0, 1, 3, MAX_LEASES + 8][rng.usize(..4)];
        let lease = |_| {
            let start = if rng.bool() { rng.u64(..100_000) } else { self.number(rng) };
            let end = if rng.bool() { start.saturating_add(rng.u64(..5000)) } else { self.number(rng) };
            let bits = WitnessBits::new(rng.u8(..=64)).unwrap();
            Lease { number: self.number(rng), job: rng.u16(..5), range: NonceRange::new(start, end), bits }
        };
        let leases = (0..count).map(lease).collect();
        let known = self.reports.get(&to).copied().filter(|_| rng.u32(..5) > 0);
        let report = known.unwrap_or(Stamp { run: self.any_run(rng), sent: self.number(rng) });
        let settled = self.solutions.iter().filter(|_| rng.u32(..5) == 0).map(Solution::id).collect();
        let text = self.template.clone().map(Current::Text);
        let mut header = self.header.clone();
        if let Some(template) = &mut header
            && rng.bool()
        {
            template.tag = self.number(rng);
        }
        let current = text.or(header.map(Current::Header)).filter(|_| rng.bool());
        let (reign, sequence) = (self.reign(rng), if rng.bool() { self.sent } else { self.number(rng) });
        Message::Process(Assign { reign, sequence, report, current, jobs, leases, taken: vec![], settled })
    }
}
