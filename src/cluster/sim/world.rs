//! The simulated world: a clock that jumps from event to event, servers, links and a source.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::super::tests::{clock, node};
use super::super::{Cluster, Config, Message, NodeId, Output};
use super::chaos::Fault;
use super::hashing;
use super::invariants::{Invariants, Step, Violation};
use super::lies::{Lie, hoard, lies};
use super::net::Net;
use super::plan::Plan;
use super::server::{Clock, Made, Run, Scan, Scanner, Server};
use super::source::Source;
use super::trace::Trace;
use super::truth::{Found, Truth};
use crate::work::{BlockId, Solution};

/// Nonces of a unit: nodes hash some thousand in a heartbeat.
const UNIT: u64 = 1000;

/// What happens at some time.
#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        from: NodeId,
        message: Message,
    },
    /// A timer of the node's, or the end of a scan.
    Wake {
        number: u64,
    },
    /// The source names the block to find.
    Template {
        run: u64,
        watch: u64,
    },
    /// A solution arrives at the source.
    HandIn {
        run: u64,
        solution: Solution,
    },
    /// The source's word arrives at the node.
    Verdict {
        run: u64,
        solution: Solution,
    },
    /// A fault begins, or what follows from one.
    Fault(Fault),
}

/// A node tries again after so long when the source does not answer.
const RETRY: Duration = Duration::from_secs(2);

/// What waits for a paused node beyond this is lost.
const MAX_MAIL: usize = 2000;

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    epoch: Instant,
    pub(super) now: Duration,
    queue: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    pub(super) servers: BTreeMap<NodeId, Server>,
    pub(super) net: Net,
    pub(super) source: Source,
    pub(super) truth: Truth,
    pub(super) trace: Trace,
    pub(super) invariants: Invariants,
    /// Faults injected, by kind.
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) steps: u64,
    /// Messages that each node has sent.
    pub(super) sent: BTreeMap<NodeId, u64>,
    watches: u64,
}

struct Due {
    at: Duration,
    sequence: u64,
    node: NodeId,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl World {
    /// All servers down; the first start is an event too.
    pub(super) fn new(plan: Plan, mut rng: Rng, trace: Trace) -> Self {
        let servers = (1..=plan.nodes).map(|id| {
            let is_last = id == plan.nodes;
            let lie = (plan.has_liar && is_last)
                .then(|| [Lie::WrongNonce, Lie::OtherId, Lie::Idle, Lie::Hoard][rng.usize(..4)]);
            let rate = (rng.u64(300..2000) as f64 / plan.heartbeat.as_secs_f64()) as u64;
            let clock = Clock { pace: rng.u64(980..=1020), ahead: Duration::from_secs(rng.u64(1..1000)) };
            let server = Server {
                id: node(id),
                run: None,
                runs: 0,
                incarnation: 1000,
                clock,
                rate,
                usual_rate: rate,
                hangs: false,
                paused: None,
                lie,
                disk: plan.has_store.then(Vec::new),
                wake: 0,
                due: None,
            };
            (node(id), server)
        });
        let servers: BTreeMap<_, _> = servers.collect();
        let epoch = clock();
        let liar = servers.values().find(|server| server.lie.is_some()).map(|server| server.id);
        let invariants = Invariants::new(epoch, &plan, liar);
        let source =
            Source { height: 1, bits: plan.bits, is_down: false, latency: plan.source_latency, accepted: Vec::new() };
        let mut world = Self {
            net: Net::new(plan.latency),
            plan,
            rng,
            epoch,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            sequence: 0,
            servers,
            source,
            truth: Truth::default(),
            trace,
            invariants,
            faults: BTreeMap::new(),
            steps: 0,
            sent: BTreeMap::new(),
            watches: 0,
        };
        for id in world.ids() {
            let after = Duration::from_millis(world.rng.u64(..2000));
            world.schedule(after, id, Event::Fault(Fault::Start));
        }
        world
    }

    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.servers.keys().copied().collect()
    }

    pub(super) fn schedule(&mut self, after: Duration, node: NodeId, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Due { at: self.now + after, sequence: self.sequence, node, event }));
    }

    /// Lets time pass until `end`.
    pub(super) fn run_until(&mut self, end: Duration) -> Result<(), Violation> {
        while self.queue.peek().is_some_and(|Reverse(due)| due.at <= end) {
            let Some(Reverse(Due { at, node, event, .. })) = self.queue.pop() else { break };
            self.now = at;
            self.invariants.calm(at)?;
            self.happen(node, event)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, node: NodeId, event: Event) -> Result<(), Violation> {
        self.steps += 1;
        let event = match event {
            Event::Fault(fault) => return self.inject(node, fault),
            Event::HandIn { run, solution } => {
                self.hand_in(node, run, solution);
                return Ok(());
            }
            event => event,
        };
        let server = self.servers.get_mut(&node).unwrap();
        if let Event::Wake { number } = event
            && number != server.wake
        {
            return Ok(());
        }
        if let Some(mail) = &mut server.paused {
            if mail.len() < MAX_MAIL {
                mail.push(event);
            }
            return Ok(());
        }
        if self.trace.is_on() && !matches!(event, Event::Wake { .. }) {
            self.trace.line(self.now, node, &format_args!("<- {event:?}"));
        }
        match event {
            Event::Deliver { from, message } => {
                self.act(node, Step::of(from, &message), |run, now| run.cluster.handle_message(now, from, message))
            }
            Event::Wake { .. } => {
                let lie = server.lie;
                self.act(node, Step::default(), |run, now| run.cluster.handle_timeout(now))?;
                let server = &self.servers[&node];
                if let (Some(lie), Some(run)) = (lie, &server.run) {
                    let mut told = Vec::new();
                    for _ in 0..self.rng.u32(..8) {
                        told.extend(lies(lie, self.now, server.incarnation, &run.cluster, &mut self.rng));
                    }
                    for (to, message) in told {
                        self.send(node, to, message);
                    }
                }
                Ok(())
            }
            Event::Template { run, watch } if server.runs == run => self.template(node, watch),
            Event::Verdict { run, solution } if server.runs == run => self.verdict(node, solution),
            _ => Ok(()),
        }
    }

    /// Lets a node that is up do something, and whatever follows.
    pub(super) fn act(
        &mut self,
        id: NodeId,
        step: Step,
        action: impl FnOnce(&mut Run, Instant),
    ) -> Result<(), Violation> {
        let Some(mut server) = self.servers.remove(&id) else { return Ok(()) };
        let result = self.act_on(&mut server, step, action);
        self.servers.insert(id, server);
        result
    }

    fn act_on(
        &mut self,
        server: &mut Server,
        step: Step,
        action: impl FnOnce(&mut Run, Instant),
    ) -> Result<(), Violation> {
        let now = server.time(self.epoch, self.now);
        let rate = server.pace();
        let is_idler = server.lie == Some(Lie::Idle);
        // What its scans meet is an event of its own each time.
        loop {
            if server.is_stuck() {
                break;
            }
            let Some(run) = &mut server.run else { return Ok(()) };
            let Some((scan, searched, mut shares, is_over)) = run.scanner.hash(self.now, rate) else { break };
            if is_idler {
                shares.clear(); // it does not hash at all
                self.truth.pretend(scan.id, searched);
            } else {
                let again = self.truth.search(scan.id, searched, server.lie == Some(Lie::OtherId));
                if again > 0 {
                    self.trace.line(self.now, server.id, &format_args!("hashed {again} of {searched:?} again"));
                }
            }
            run.cluster.handle_progress(scan.ticket, searched.end, shares.clone());
            if !is_over {
                break;
            }
            let before = self.invariants.before(run, Step::default());
            match scan.solution {
                Some(nonce) => {
                    let solution = Solution { job: scan.job, nonce };
                    self.trace.line(self.now, server.id, &format_args!("found {nonce} of {:?}", scan.id));
                    self.truth.found.push(Found { solution, by: server.id, at: self.now, is_excused: false });
                    run.cluster.handle_found(now, scan.ticket, nonce);
                }
                None => run.cluster.handle_searched(now, scan.ticket, shares),
            }
            let did = drain(self, server.id, server.runs, run, now)?;
            server.write_down();
            self.invariants.after(&self.truth, self.source.height, self.now, server, before, &did)?;
        }
        let Some(run) = &mut server.run else { return Ok(()) };
        let before = self.invariants.before(run, step);
        action(run, now);
        let did = drain(self, server.id, server.runs, run, now)?;
        if !run.cluster.is_leading() {
            (run.template, run.watch) = (None, None);
        }
        server.write_down();
        let due = server.next_due(self.epoch);
        if due != server.due {
            server.due = due;
            server.wake += 1;
            if let Some(due) = due {
                let event = Event::Wake { number: server.wake };
                self.schedule(due.saturating_sub(self.now), server.id, event);
            }
        }
        self.invariants.after(&self.truth, self.source.height, self.now, server, before, &did)
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.invariants.liar() == Some(from) {
            self.truth.told(&message);
        }
        *self.sent.entry(from).or_default() += 1;
        for way in self.net.ways(&mut self.rng, from, to, &message) {
            self.schedule(way, to, Event::Deliver { from, message: message.clone() });
        }
    }

    /// Of what a server has sent that is still on its way, some never arrives.
    pub(super) fn drop_mail_of(&mut self, id: NodeId) {
        let rng = &mut self.rng;
        let is_its = |event: &Event| matches!(event, Event::Deliver { from, .. } if *from == id);
        self.queue.retain(|Reverse(due)| !is_its(&due.event) || rng.bool());
    }

    /// When a server that is up sends its next heartbeats.
    pub(super) fn next_heartbeat(&self, id: NodeId) -> Duration {
        let server = &self.servers[&id];
        server.run.as_ref().map_or(self.now, |run| server.when(self.epoch, run.cluster.next_heartbeat()))
    }

    fn watch(&mut self, id: NodeId, runs: u64, run: &mut Run) {
        self.watches += 1;
        run.watch = Some(self.watches);
        self.schedule(self.source.latency, id, Event::Template { run: runs, watch: self.watches });
    }

    /// The source is asked for the block to find, and then again and again for the next one.
    fn template(&mut self, id: NodeId, watch: u64) -> Result<(), Violation> {
        let server = &self.servers[&id];
        let Some(run) = server.run.as_ref().filter(|run| run.watch == Some(watch)) else { return Ok(()) };
        let (runs, known, last) = (server.runs, run.template, run.last_job);
        let block = self.source.block();
        let after = if self.source.is_down { RETRY } else { self.source.latency.max(Duration::from_millis(50)) };
        self.schedule(after, id, Event::Template { run: runs, watch });
        if self.source.is_down || known == Some(block) {
            return Ok(());
        }
        let made = make_job(&self.source, self.now, last, block);
        self.act(id, Step::default(), |run, now| {
            if run.cluster.is_leading() {
                (run.template, run.last_job) = (Some(block), Some(made));
                run.cluster.handle_job(now, made.0);
            }
        })
    }

    fn hand_in(&mut self, id: NodeId, runs: u64, solution: Solution) {
        if self.servers[&id].runs != runs {
            return; // the node that did so is gone
        }
        if self.source.is_down {
            if self.servers[&id].run.is_none() {
                return; // nobody tries again
            }
            return self.schedule(RETRY, id, Event::HandIn { run: runs, solution });
        }
        let accepted = self.source.submit(&solution);
        self.trace.line(self.now, id, &format_args!("handed in {} accepted {accepted}", solution.nonce));
        self.schedule(self.source.latency, id, Event::Verdict { run: runs, solution });
    }

    fn verdict(&mut self, id: NodeId, solution: Solution) -> Result<(), Violation> {
        let runs = self.servers[&id].runs;
        self.act(id, Step::default(), |run, now| {
            run.under_way.retain(|other| *other != solution);
            run.template = None;
            run.cluster.handle_settled(now, &solution);
        })?;
        let mut server = self.servers.remove(&id).unwrap();
        if let Some(run) = &mut server.run
            && run.cluster.is_leading()
        {
            self.watch(id, runs, run);
        }
        self.servers.insert(id, server);
        Ok(())
    }

    /// Starts a server that is down.
    pub(super) fn start(&mut self, id: NodeId) -> Result<(), Violation> {
        let ids = self.ids();
        let (epoch, world_now, heartbeat) = (self.epoch, self.now, self.plan.heartbeat);
        let server = self.servers.get_mut(&id).unwrap();
        if server.run.is_some() {
            return Ok(());
        }
        let now = server.time(epoch, world_now);
        let Plan { all_to_all, candidates, .. } = self.plan;
        let config = Config { id, incarnation: server.incarnation, heartbeat, unit: UNIT, all_to_all, candidates };
        let mut cluster = Cluster::new(config, now);
        cluster.set_rate(server.rate);
        if let Some(disk) = &server.disk {
            self.truth.restored += disk.len() as u64;
            cluster.restore(disk.iter().copied());
        }
        server.runs += 1;
        (server.paused, server.due, server.hangs) = (None, None, false);
        server.run = Some(Box::new(Run {
            cluster,
            scanner: Scanner::new(world_now),
            template: None,
            watch: None,
            last_job: None,
            under_way: Vec::new(),
            lie: server.lie,
        }));
        self.trace.line(self.now, id, &"started");
        self.act(id, Step::default(), |run, now| run.cluster.set_peers(now, &ids))
    }
}

/// Another job for `block`, by the maker's last one. Stamps are coarse, so that runs meet the same jobs.
fn make_job(source: &Source, now: Duration, last: Option<Made>, block: BlockId) -> Made {
    let earliest = last.filter(|(job, _)| job.block() == block).map_or(0, |(_, stamp)| stamp + 1);
    let stamp = (now.as_secs() / 32).max(earliest);
    (source.job(block, stamp), stamp)
}

/// What a node did in one step.
#[derive(Default)]
pub(super) struct Did {
    pub(super) scans: Vec<Scan>,
    pub(super) stops: u64,
    pub(super) submitted: Vec<Solution>,
    pub(super) sent: Vec<(NodeId, Message)>,
    pub(super) led: bool,
}

/// Does what the rules ask for, as the real node does.
fn drain(world: &mut World, id: NodeId, runs: u64, run: &mut Run, now: Instant) -> Result<Did, Violation> {
    let mut did = Did::default();
    while let Some(output) = run.cluster.poll_output() {
        if world.trace.is_on() {
            world.trace.line(world.now, id, &format_args!("-> {output:?}"));
        }
        match output {
            Output::Send { to, message } => {
                let message = if run.lie == Some(Lie::Hoard) { hoard(message) } else { message };
                did.sent.push((to, message.clone()));
                world.send(id, to, message);
            }
            Output::Scan { ticket, job, range, bits } => {
                // A node that does not hash finds nothing.
                let solution = hashing::solution(&job, range).filter(|_| run.lie != Some(Lie::Idle));
                let scan = Scan { ticket, job, id: job.id(), range, solution, bits };
                run.scanner.push(world.now, scan);
                did.scans.push(scan);
            }
            Output::Stop { ticket } => {
                run.scanner.stop(world.now, ticket);
                did.stops += 1;
            }
            Output::NeedJob => {
                if let Some(block) = run.template {
                    let made = make_job(&world.source, world.now, run.last_job, block);
                    run.last_job = Some(made);
                    run.cluster.handle_job(now, made.0);
                }
            }
            Output::Submit { solution, .. } => {
                did.submitted.push(solution);
                if run.template == Some(solution.job.block()) {
                    (run.template, run.watch) = (None, None);
                }
                if !run.under_way.contains(&solution) {
                    run.under_way.push(solution);
                    world.schedule(world.source.latency, id, Event::HandIn { run: runs, solution });
                }
            }
            Output::Leader { leader, .. } => {
                run.template = None;
                did.led |= leader == id;
                if leader == id {
                    world.watch(id, runs, run);
                }
            }
            Output::Peer { .. } => {}
            Output::Distrusted { node } => world.invariants.distrusted(id, node)?,
            Output::Refused { from, .. } => world.invariants.refused(&world.servers, from)?,
        }
    }
    Ok(did)
}
