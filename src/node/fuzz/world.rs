//! Nodes 2 and 3, which run, and nodes 1 and 4, which say what the input has them say. If 1 is heard, it leads; else 2 does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Bytes, limits};
use crate::cluster::tests::node;
use crate::cluster::{
    Assign, Cluster, Config, Heartbeat, MAX_KEPT, MAX_LEASES, Message, NodeId, Output, Reign, Report, Stamp, Ticket,
};
use crate::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, Hashing, RoundId, Run, Search, Solution, Target,
    Template, ZeroUnit,
};

const BEAT: Duration = Duration::from_secs(4);

/// The most that an input has happen.
const STEPS: usize = 64;

/// The most that nodes do after one thing that has happened: all scans of two assignments stop, and those of a third begin.
const MOST_OUTPUTS: usize = 4 * MAX_LEASES;

/// The most scans and solutions that are remembered.
const REMEMBERED: usize = 64;

/// A node that runs, and what is known of it.
struct Node {
    cluster: Cluster,
    scans: VecDeque<(Ticket, u64)>,
    submitted: VecDeque<Solution>,
}

/// What a peer has been told by a node.
#[derive(Default)]
struct Heard {
    request: Option<Stamp>,
    report: Option<Stamp>,
    assigned: Option<(Reign, u64)>,
}

pub(super) struct World {
    now: Instant,
    nodes: [Node; 2],
    /// By peer, then by node.
    heard: [[Heard; 2]; 2],
    /// What each peer has sent.
    sent: [u64; 2],
    /// Whether a node has followed node 1, and whether it has begun to scan what that has assigned.
    pub(super) has_followed: bool,
    pub(super) has_obeyed: bool,
}

impl World {
    pub(super) fn play(bytes: &[u8], message: fn(&mut Bytes) -> Option<Message>) -> Self {
        let (mut world, mut bytes) = (Self::new(), Bytes(bytes));
        for _ in 0..STEPS {
            if bytes.0.is_empty() {
                break;
            }
            world.step(&mut bytes, message);
            world.deliver();
            world.check();
        }
        // Whatever was said, time goes on.
        world.pass(BEAT * 3);
        world.check();
        world.nodes.iter_mut().for_each(|node| node.cluster.leave());
        world.deliver();
        world
    }

    fn new() -> Self {
        let now = begin();
        let run = |id| {
            let (scans, submitted) = Default::default();
            Node { cluster: Cluster::new(config(id), now), scans, submitted }
        };
        let (heard, sent, has_followed, has_obeyed) = Default::default();
        let mut world = Self { now, nodes: [run(2), run(3)], heard, sent, has_followed, has_obeyed };
        for node in &mut world.nodes {
            node.cluster.set_speed(1000);
            node.cluster.set_peers(now, &[1, 2, 3, 4].map(|id| (self::node(id), true)));
        }
        world.deliver();
        world
    }

    fn step(&mut self, bytes: &mut Bytes, message: fn(&mut Bytes) -> Option<Message>) {
        let what = bytes.byte();
        let (peer, at) = (usize::from(what >> 3 & 1), usize::from(what >> 4 & 1));
        let now = self.now;
        match what % 8 {
            0..=2 => {
                let likely = bytes.byte();
                let Some(mut message) = message(bytes) else { return };
                self.make_likely(peer, at, &mut message, likely);
                self.nodes[at].cluster.handle_message(now, peers()[peer], message);
            }
            3 => {
                let stamp = self.stamp(peer);
                let reply = Heartbeat { stamp, echo: self.heard[peer][at].request, interval: None, leads: None };
                self.nodes[at].cluster.handle_message(now, peers()[peer], Message::HeartbeatReply(reply, None));
            }
            4 => self.pass(Duration::from_millis(u64::from(bytes.byte()) * 50)),
            // A pause, or a timer that fires late.
            5 => {
                self.now += Duration::from_millis(u64::from(bytes.byte()) * 1000);
                self.nodes[at].cluster.handle_timeout(self.now);
            }
            6 => self.nodes[at].cluster.handle_template(now, template(bytes.byte()), now),
            _ => self.nodes[at].happen(now, bytes),
        }
    }

    fn stamp(&mut self, peer: usize) -> Stamp {
        self.sent[peer] += 1;
        Stamp { run: run(peer), sent: self.sent[peer] }
    }

    /// Puts right what a message has to have right to be heard at all; each bit of `likely` is for one of these.
    fn make_likely(&mut self, peer: usize, at: usize, message: &mut Message, likely: u8) {
        let (stamp, heard) = (self.stamp(peer), &self.heard[peer][at]);
        let on = |bit: u8| likely >> bit & 1 != 0;
        let beat = |heartbeat: &mut Heartbeat| {
            if on(0) {
                heartbeat.stamp = stamp;
            }
            if on(1) {
                heartbeat.echo = heard.request;
            }
        };
        let tell = |report: &mut Report| {
            if on(2) {
                report.stamp = stamp;
            }
            if on(3) {
                report.held = heard.assigned;
            }
        };
        let order = |assign: &mut Assign| {
            if on(4) {
                assign.reign.run = run(peer);
            }
            if on(5) {
                assign.report = heard.report.unwrap_or_default();
            }
            if on(6) {
                assign.sequence = stamp.sent;
            }
        };
        match message {
            Message::HeartbeatRequest(heartbeat) => beat(heartbeat),
            Message::HeartbeatReply(heartbeat, report) | Message::Leave(heartbeat, report) => {
                beat(heartbeat);
                report.iter_mut().for_each(tell);
            }
            Message::ProcessRequest(report) | Message::ProcessAnswerNo(report) | Message::ProcessAnswerYes(report) => {
                tell(report)
            }
            Message::Process(assign) | Message::ProcessInterrupt(assign) => order(assign),
            Message::BodyRequest(_) | Message::Body(_) => {}
        }
    }

    /// Time passes, and timers fire when they are due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut fired = 0;
        while let Some(due) =
            self.nodes.iter().filter_map(|node| node.cluster.poll_timeout()).min().filter(|due| *due <= end)
        {
            self.now = due.max(self.now);
            for node in &mut self.nodes {
                node.cluster.handle_timeout(self.now);
            }
            self.deliver();
            fired += 1;
            assert!(fired < 10_000, "timers fire again and again");
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        let (mut mail, mut done) = (VecDeque::new(), 0);
        loop {
            for (at, node) in self.nodes.iter_mut().enumerate() {
                while let Some(output) = node.cluster.poll_output() {
                    done += 1;
                    assert!(done <= MOST_OUTPUTS, "one word has begotten {done}");
                    match output {
                        Output::Send { to, message } => mail.push_back((at, to, message)),
                        output => {
                            let follows = !node.cluster.is_leading() && node.cluster.leader() == Some(peers()[0]);
                            self.has_followed |= follows;
                            self.has_obeyed |= follows && matches!(output, Output::Scan { .. });
                            node.act(output);
                        }
                    }
                }
            }
            let Some((from, to, message)) = mail.pop_front() else { return };
            limits::check(&message);
            match (peers().iter().position(|&peer| peer == to), to.get().checked_sub(2)) {
                (Some(peer), _) => self.heard[peer][from].hear(&message),
                (None, Some(at)) => {
                    let sender = self.nodes[from].cluster.id();
                    self.nodes[at as usize].cluster.handle_message(self.now, sender, message);
                }
                (None, None) => panic!("{to} is nobody"),
            }
        }
    }

    fn check(&self) {
        for node in &self.nodes {
            assert!(node.cluster.kept().len() <= MAX_KEPT);
            assert!(node.cluster.distrusted().all(|id| (1..=4).contains(&id.get())));
            assert!(node.cluster.leader().is_none_or(|id| (1..=4).contains(&id.get())));
            assert!(node.cluster.poll_timeout().is_some());
        }
    }
}

impl Node {
    fn act(&mut self, output: Output) {
        match output {
            Output::Scan { ticket, job, range, .. } => {
                assert!(!range.is_empty() && job.space().covers(&range), "{range:?} of {:?}", job.space());
                self.scans.push_back((ticket, range.start));
                if self.scans.len() > REMEMBERED {
                    self.scans.pop_front();
                }
            }
            Output::Submit { solution, .. } => {
                assert!(solution.verify().is_some(), "{solution:?}");
                self.submitted.push_back(solution);
                if self.submitted.len() > REMEMBERED {
                    self.submitted.pop_front();
                }
            }
            _ => {}
        }
    }

    /// A scan or the source has something to say.
    fn happen(&mut self, now: Instant, bytes: &mut Bytes) {
        let what = bytes.byte();
        let place = usize::from(what >> 3);
        if what & 4 == 0 {
            let Some(&(ticket, start)) = self.scans.get(place) else { return };
            let to = start.saturating_add(u64::from(bytes.byte()));
            match what & 3 {
                0 => self.cluster.handle_found(now, ticket, to),
                1 => self.cluster.handle_progress(ticket, to, &[start]),
                _ => self.cluster.handle_searched(now, ticket, to, &[]),
            }
        } else if let Some(solution) = self.submitted.pop_front() {
            match what & 3 {
                0 => self.cluster.handle_verdict(now, &solution, None),
                1 => self.cluster.handle_verdict(now, &solution, Some(template(bytes.byte()))),
                2 => self.cluster.handle_unanswered(now, &solution),
                _ => self.cluster.handle_unsubmittable(now, &solution),
            }
        }
    }
}

impl Heard {
    fn hear(&mut self, message: &Message) {
        match message {
            Message::HeartbeatRequest(heartbeat) => self.request = Some(heartbeat.stamp),
            Message::HeartbeatReply(_, Some(report))
            | Message::ProcessRequest(report)
            | Message::ProcessAnswerNo(report)
            | Message::ProcessAnswerYes(report) => self.report = Some(report.stamp),
            Message::Process(assign) | Message::ProcessInterrupt(assign) => {
                self.assigned = Some((assign.reign, assign.sequence));
            }
            Message::HeartbeatReply(_, None) | Message::Leave(..) | Message::BodyRequest(_) | Message::Body(_) => {}
        }
    }
}

fn peers() -> [NodeId; 2] {
    [node(1), node(4)]
}

fn run(peer: usize) -> Run {
    Run(u64::from(peers()[peer].get()))
}

fn config(id: u32) -> Config {
    let (run, since_1970) = (Run(u64::from(id)), Duration::from_secs(1_795_000_000));
    Config { id: node(id), run, since_1970, heartbeat: BEAT, unit: 100, all_to_all: 4, candidates: 2 }
}

/// A text, a header of one's own, or a pool's, whose blocks take a few hashes.
fn template(what: u8) -> Template {
    let zeros = |bits| Target::from_zeros(bits, ZeroUnit::Bits).unwrap();
    let block = BlockId { height: (what >> 2).into(), hash: Digest([what >> 2; 32]) };
    let round = RoundId { block, generation: 0 };
    let goal = Goal { block: zeros(3), report: zeros(3), search: Search::First };
    let header = |extranonce| {
        let coinbase = Arc::new(Coinbase { before: vec![what], extranonce, after: vec![3] });
        Blueprint::Header {
            version: 2,
            mask: 0x1fff_e000,
            bits: 0x207f_ffff,
            time: BlockTime { ahead: -5, min: 9, max: u32::MAX },
            coinbase,
            branch: Arc::from([]),
        }
    };
    match what % 4 {
        0 | 1 => Template { round, goal, puzzle: Blueprint::Text { hashing: Hashing::Double }, tag: 0 },
        2 => Template { round, goal, puzzle: header(Extranonce::Run), tag: what.into() },
        _ => {
            let goal = Goal { report: Target::MAX, search: Search::Every, ..goal };
            Template { round, goal, puzzle: header(Extranonce::Counter(1)), tag: what.into() }
        }
    }
}

/// Any moment will do to begin with.
#[allow(clippy::disallowed_methods)]
fn begin() -> Instant {
    Instant::now()
}
