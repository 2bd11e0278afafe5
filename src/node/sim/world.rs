//! The simulated world: a clock that jumps from event to event, servers, links and a source.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::faults::Fault;
use super::laws::{Laws, Violation};
use super::net::Net;
use super::plan::Plan;
use super::server::{BLIND, Life, Process, SMALL, Server};
use super::source::{Key, Source};
use super::traitor::Traitor;
use crate::cluster::tests::node;
use crate::cluster::{self, Message, NodeId};
use crate::kernel::{Choice, Kernel};
use crate::node::driver::{Action, Driver, Input, Now, Setup};
use crate::node::feed::{Answer, Request};
use crate::node::members::Members;
use crate::scan::Scanner;
use crate::scan::by_hand::Turn;
use crate::source::{Adopted, Offer, SourceError};
use crate::transport::Member;
use crate::work::{Run, Solution, Template};

/// Nonces of a lease's unit.
const UNIT: u64 = 200;

/// What waits for a paused node beyond this is lost.
const MAX_MAIL: usize = 2000;

/// A disk takes up to so long.
const DISK: u64 = 20_000;

/// What happens at some time. Those that belong to a life of a process say which.
#[derive(Debug)]
pub(super) enum Event {
    /// A message arrives.
    Deliver { from: NodeId, message: Message },
    /// A timer goes off.
    Wake { life: u64, number: u64 },
    /// A thread is done with a piece.
    Piece { life: u64, number: u64 },
    /// A session looks what its source wants.
    Look { key: Key, is_poll: bool },
    /// The source's answer has arrived.
    Answer { key: Key, is_poll: bool, asked: Duration, template: Option<Template> },
    /// A solution arrives at the source.
    HandIn { key: Key, ticket: u64, solution: Solution, adopted: Option<Arc<Adopted>> },
    /// What became of it is known to the node.
    Verdict { life: u64, solution: Solution, answer: Answer },
    /// The disk is written.
    Write { life: u64, solutions: Vec<Solution> },
    /// The registry is read.
    Registry { life: u64 },
    /// The traitor speaks.
    Speak { life: u64 },
    /// A fault begins, or what follows from one.
    Fault(Fault),
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

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    base: Instant,
    pub(super) now: Duration,
    queue: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    pub(super) servers: BTreeMap<NodeId, Server>,
    pub(super) net: Net,
    pub(super) source: Source,
    pub(super) laws: Laws,
    /// Faults injected, by kind.
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) steps: u64,
    /// Messages that each node has sent.
    pub(super) sent: BTreeMap<NodeId, u64>,
    pub(super) trace: Option<String>,
}

fn member(id: NodeId) -> Member {
    Member { id, address: ([127, 0, 0, 1], id.get() as u16).into(), proves: true }
}

impl World {
    /// All servers down; the first start is an event too.
    pub(super) fn new(plan: Plan, mut rng: Rng, trace: bool) -> Self {
        let mut server = |id: u32| {
            let rate = (rng.u64(300..2000) as f64 / plan.heartbeat.as_secs_f64()) as u64;
            Server {
                id: node(id),
                process: Process::None,
                lives: 0,
                pace: rng.u64(980..=1020),
                ahead: Duration::from_secs(rng.u64(1..1000)),
                wall: Duration::from_secs(1_795_000_000 + rng.u64(..1000)),
                rate,
                usual_rate: rate,
                threads: rng.u32(1..=3),
                paused: None,
                disk: plan.has_store.then(Vec::new),
                is_blind: plan.blind == Some(id),
                is_cut_off: false,
            }
        };
        let servers: BTreeMap<_, _> = (1..=plan.nodes).map(|id| (node(id), server(id))).collect();
        let mut world = Self {
            net: Net::new(plan.latency),
            source: Source::new(&plan),
            laws: Laws::new(&plan),
            plan,
            rng,
            base: tokio::time::Instant::now().into_std(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            sequence: 0,
            servers,
            faults: BTreeMap::new(),
            steps: 0,
            sent: BTreeMap::new(),
            trace: trace.then(String::new),
        };
        for id in world.ids() {
            let after = Duration::from_millis(world.rng.u64(..2000));
            world.schedule(after, id, Event::Fault(Fault::Start));
        }
        world
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.servers.keys().copied().collect()
    }

    /// The node that finds nothing, if there is one.
    pub(super) fn blind(&self) -> Option<&Server> {
        self.servers.values().find(|server| server.is_blind)
    }

    pub(super) fn line(&mut self, id: NodeId, what: std::fmt::Arguments) {
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "{:>11.6} {id:?} {what}", self.now.as_secs_f64()).unwrap();
        }
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
            self.steps += 1;
            self.happen(node, event)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, id: NodeId, event: Event) -> Result<(), Violation> {
        match event {
            Event::Fault(fault) => return self.inject(id, fault),
            Event::HandIn { key, ticket, solution, adopted } => {
                return self.hand_in(key, ticket, solution, adopted.as_deref());
            }
            Event::Look { key, is_poll } => {
                self.look(key, is_poll);
                return Ok(());
            }
            _ => {}
        }
        let server = self.servers.get_mut(&id).unwrap();
        let lives = server.lives;
        if let Some(mail) = &mut server.paused {
            if mail.len() < MAX_MAIL || !matches!(event, Event::Deliver { .. }) {
                mail.push(event);
            }
            return Ok(());
        }
        let is_current = |life: u64| life == lives;
        match event {
            Event::Deliver { from, message } => self.deliver(id, from, message),
            Event::Wake { life, number } if is_current(life) => {
                let Some(life) = self.servers.get_mut(&id).unwrap().life_mut().filter(|life| life.wake.0 == number)
                else {
                    return Ok(());
                };
                life.wake.1 = Duration::MAX; // it has gone off
                self.act(id, None, Driver::handle_timeout)
            }
            Event::Piece { life, number } if is_current(life) => self.finish(id, number),
            Event::Answer { key, is_poll, asked, template } if is_current(key.1) => {
                self.answer(key, is_poll, asked, template)
            }
            Event::Verdict { life, solution, answer } if is_current(life) => {
                let is_final = matches!(&answer, Answer::Verdict { result: Ok(_), .. });
                self.laws.answered(id, life, &solution, is_final);
                self.act(id, None, |driver, now| driver.handle(now, Input::Source(answer)))
            }
            Event::Write { life, solutions } if is_current(life) => {
                self.servers.get_mut(&id).unwrap().disk = Some(solutions.clone());
                self.act(id, None, |driver, now| driver.handle(now, Input::Written(Ok(solutions))))
            }
            Event::Registry { life } if is_current(life) => {
                let is_there = |server: &&Server| !matches!(server.process, Process::None);
                let servers = self.servers.values().filter(is_there).map(|server| member(server.id)).collect();
                self.act(id, None, |driver, now| driver.handle(now, Input::Servers(servers)))
            }
            Event::Speak { life } if is_current(life) => {
                let (ids, rng) = (self.ids(), &mut self.rng);
                let Process::Traitor(traitor) = &mut self.servers.get_mut(&id).unwrap().process else { return Ok(()) };
                let said = traitor.tick(rng, &ids);
                self.lie(id, said);
                self.schedule(self.plan.heartbeat / 4, id, Event::Speak { life });
                Ok(())
            }
            _ => Ok(()), // of an earlier life
        }
    }

    fn lie(&mut self, id: NodeId, said: Vec<(NodeId, Message)>) {
        for (to, message) in said {
            self.laws.lied(&message);
            self.send(id, to, message);
        }
    }

    fn deliver(&mut self, id: NodeId, from: NodeId, message: Message) -> Result<(), Violation> {
        if let Some(trace) = &mut self.trace {
            let text = format!("{message:?}");
            let cut: String = text.chars().take(600).collect();
            writeln!(trace, "{:>11.6} {id:?} <- {from:?} {cut}", self.now.as_secs_f64()).unwrap();
        }
        let rng = &mut self.rng;
        match &mut self.servers.get_mut(&id).unwrap().process {
            Process::None => Ok(()),
            Process::Traitor(traitor) => {
                let said = traitor.hear(rng, from, &message);
                self.lie(id, said);
                Ok(())
            }
            Process::Node(life) if life.peers.contains(&from) => {
                self.act(id, Some(from), |driver, now| driver.handle(now, Input::Message(from, message)))
            }
            Process::Node(_) => Ok(()), // its transport knows no such peer
        }
    }

    /// Lets a node that is up do something, and whatever follows. `from`: whose message it is about.
    pub(super) fn act(
        &mut self,
        id: NodeId,
        from: Option<NodeId>,
        action: impl FnOnce(&mut Driver, Now),
    ) -> Result<(), Violation> {
        let Some(mut server) = self.servers.remove(&id) else { return Ok(()) };
        let now = server.time(self.base, self.now);
        let Some(life) = server.life_mut() else {
            self.servers.insert(id, server);
            return Ok(());
        };
        let before = self.laws.before(&life.driver);
        action(&mut life.driver, now);
        self.follow(&mut server, now);
        let result = self.laws.after(self.now, &server, from, before, &self.source, &self.servers);
        self.servers.insert(id, server);
        result
    }

    /// Carries out what a driver wants, lets idle threads take pieces, and sets its timer.
    fn follow(&mut self, server: &mut Server, now: Now) {
        loop {
            self.carry_out(server);
            let threads = server.threads as usize;
            let Some(life) = server.life_mut() else { return };
            if life.pieces.len() == threads {
                break;
            }
            match life.driver.scanner().take() {
                None => break,
                Some(Turn::Ended(event)) => life.driver.handle(now, Input::Scan(event)),
                Some(Turn::Piece(piece)) => {
                    let is_honest =
                        life.driver.cluster().held().is_some_and(|(reign, _)| self.laws.is_honest(reign.run));
                    life.honest.entry(piece.ticket()).or_insert(is_honest);
                    self.sequence += 1;
                    let (number, nonces) = (self.sequence, piece.len());
                    life.pieces.insert(number, piece);
                    let event = Event::Piece { life: server.lives, number };
                    self.schedule(server.time_for(nonces), server.id, event);
                }
            }
        }
        let (base, world_now, lives) = (self.base, self.now, server.lives);
        let Some(due) = server.life().map(|life| life.driver.poll_timeout()) else { return };
        let due = server.when(base, due).max(world_now);
        let Some(life) = server.life_mut() else { return };
        if life.pieces.is_empty() {
            life.idle_since.get_or_insert(world_now);
        } else {
            life.idle_since = None;
        }
        if life.wake.1 != due || life.wake.0 == 0 {
            life.wake = (life.wake.0 + 1, due);
            let event = Event::Wake { life: lives, number: life.wake.0 };
            self.schedule(due - world_now, server.id, event);
        }
    }

    fn carry_out(&mut self, server: &mut Server) {
        let (id, lives) = (server.id, server.lives);
        while let Some(action) = server.life_mut().and_then(|life| life.driver.poll_action()) {
            match action {
                Action::Send(to, message) => {
                    self.laws.sent(id, to, &message);
                    if server.life().is_some_and(|life| life.peers.contains(&to)) {
                        self.send(id, to, message);
                    }
                }
                Action::SetPeers(members) => {
                    let others = members.into_iter().map(|member| member.id).filter(|&other| other != id);
                    server.life_mut().unwrap().peers = others.collect();
                }
                Action::Source(request) => {
                    if let (Request::Submit { solution, .. }, Some(life)) = (&request, server.life()) {
                        let is_leading = life.driver.cluster().is_leading();
                        self.laws.submitted(id, lives, is_leading, solution);
                    }
                    self.request(id, lives, request);
                }
                Action::Write(solutions) => {
                    let after = Duration::from_micros(self.rng.u64(..DISK));
                    self.schedule(after, id, Event::Write { life: lives, solutions });
                }
                Action::ReadRegistry => {
                    let after = Duration::from_micros(self.rng.u64(..DISK));
                    self.schedule(after, id, Event::Registry { life: lives });
                }
                Action::Tell(told) => {
                    self.line(id, format_args!("-- {:?}", told.event));
                    self.laws.told(id, &told.event);
                }
                Action::Status | Action::Measure(_) => {}
            }
        }
    }

    fn finish(&mut self, id: NodeId, number: u64) -> Result<(), Violation> {
        let server = self.servers.get_mut(&id).unwrap();
        let Some(life) = server.life_mut() else { return Ok(()) };
        let Some(piece) = life.pieces.remove(&number) else { return Ok(()) };
        let (job, range, ticket) = (piece.job(), piece.range(), piece.ticket());
        let (before, is_honest) = (life.driver.scanner().hashes(), life.honest[&ticket]);
        let events = life.driver.scanner().finish(piece);
        let hashed = life.driver.scanner().hashes() - before;
        if !server.is_blind && is_honest {
            self.laws.hashed(id, &job, range.start, hashed)?;
        }
        // A liar's job may be an honest one of which something is twisted.
        for event in events.iter().filter(|_| is_honest) {
            self.laws.found(self.now, id, &job, event, &self.source);
        }
        self.act(id, None, |driver, now| events.into_iter().for_each(|event| driver.handle(now, Input::Scan(event))))
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
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

    /// The faults of the first phase are over.
    pub(super) fn drop_faults(&mut self) {
        self.queue.retain(|Reverse(due)| !matches!(due.event, Event::Fault(_)));
    }

    /// What a slow server has under way goes on at its usual rate.
    pub(super) fn hurry(&mut self, id: NodeId) {
        let Server { rate, usual_rate, .. } = self.servers[&id];
        let (now, is_piece) = (self.now, |due: &Due| due.node == id && matches!(due.event, Event::Piece { .. }));
        if rate < usual_rate {
            let due = std::mem::take(&mut self.queue).into_iter().map(|Reverse(mut due)| {
                if is_piece(&due) {
                    due.at = now + due.at.saturating_sub(now).mul_f64(rate as f64 / usual_rate as f64);
                }
                Reverse(due)
            });
            self.queue = due.collect();
        }
    }

    // ---- the source

    fn request(&mut self, id: NodeId, life: u64, request: Request) {
        match request {
            Request::Open(session) => {
                let key = (id, life, session);
                let known = self.source.sessions.entry(key).or_default();
                (known.is_asked, known.polls) = (true, true);
                self.schedule(Duration::ZERO, id, Event::Look { key, is_poll: true });
            }
            Request::Ask(session) => {
                let key = (id, life, session);
                if let Some(known) = self.source.sessions.get_mut(&key) {
                    known.is_asked = true;
                    let is_poll = !std::mem::replace(&mut known.polls, true);
                    self.schedule(Duration::ZERO, id, Event::Look { key, is_poll });
                }
            }
            Request::Close(session) => {
                if let Some(known) = self.source.sessions.get_mut(&(id, life, session)) {
                    (known.told, known.is_asked) = (None, false);
                }
            }
            Request::Submit { session, ticket, solution, adopted } => {
                let way = self.way_to_source();
                self.schedule(way, id, Event::HandIn { key: (id, life, session), ticket, solution, adopted });
            }
        }
    }

    fn way_to_source(&mut self) -> Duration {
        self.source.latency.mul_f64(0.2 + 0.8 * self.rng.f64())
    }

    /// A session asks its source what it wants; the answer is as old as the question.
    fn look(&mut self, key: Key, is_poll: bool) {
        let server = &self.servers[&key.0];
        let is_silent = self.source.is_down || server.is_cut_off;
        let is_alive = server.lives == key.1 && server.life().is_some();
        let template = (!is_silent && is_alive).then(|| self.source.template(key));
        let way = self.way_to_source() + self.way_to_source();
        if is_alive {
            self.schedule(way, key.0, Event::Answer { key, is_poll, asked: self.now, template });
        }
    }

    fn answer(
        &mut self,
        key: Key,
        is_poll: bool,
        asked: Duration,
        template: Option<Template>,
    ) -> Result<(), Violation> {
        let (id, _, session) = key;
        let asked = self.servers[&id].time(self.base, asked).instant;
        let body = template.as_ref().and_then(|template| self.source.body(template));
        let Some(known) = self.source.sessions.get_mut(&key) else { return Ok(()) };
        let result = match template {
            Some(template) if known.told.as_ref() == Some(&template) && !known.is_asked => None,
            Some(template) => {
                (known.told, known.is_asked) = (Some(template.clone()), false);
                Some(Ok(Offer { template, asked, body }))
            }
            None => Some(Err(SourceError { url: "sim".into(), problem: "silent".into(), is_over: false })),
        };
        if is_poll {
            known.polls = !matches!(result, Some(Err(_)));
            if known.polls {
                self.schedule(self.plan.poll, id, Event::Look { key, is_poll });
            }
        }
        match result {
            Some(result) => {
                let answer = Answer::Offer(session, result);
                self.act(id, None, |driver, now| driver.handle(now, Input::Source(answer)))
            }
            None => Ok(()),
        }
    }

    fn hand_in(
        &mut self,
        key: Key,
        ticket: u64,
        solution: Solution,
        adopted: Option<&Adopted>,
    ) -> Result<(), Violation> {
        let (id, life, _) = key;
        if self.servers[&id].lives != life {
            return Ok(()); // the process is gone, and its connection with it
        }
        let lost = || Err(SourceError { url: "sim".into(), problem: "no answer".into(), is_over: false });
        let result = if self.source.is_down || self.servers[&id].is_cut_off {
            lost()
        } else {
            let adopted = adopted.map(|adopted| (adopted, self.laws.is_honest(solution.job.tag.slot.run)));
            let verdict = self.source.submit(self.now, key, &solution, adopted)?;
            self.line(
                id,
                format_args!("hands in {} of height {}: {verdict:?}", solution.nonce, solution.job.round.block.height),
            );
            // The answer may be lost, too.
            if self.source.is_flaky && self.rng.u32(..8) == 0 { lost() } else { Ok(verdict) }
        };
        let way = self.way_to_source() + if result.is_err() { self.plan.heartbeat / 10 } else { Duration::ZERO };
        self.schedule(way, id, Event::Verdict { life, solution, answer: Answer::Verdict { ticket, result } });
        Ok(())
    }

    // ---- lives

    /// Starts a server that is down.
    pub(super) fn start(&mut self, id: NodeId) -> Result<(), Violation> {
        let server = self.servers.get_mut(&id).unwrap();
        if !matches!(server.process, Process::None) {
            return Ok(());
        }
        server.lives += 1;
        let now = server.time(self.base, self.now);
        let run = Run(self.rng.u64(..));
        self.laws.honest_run(run);
        let kernel: &'static dyn Kernel = if server.is_blind { &BLIND } else { &SMALL };
        let scanner = Scanner::by_hand(kernel, server.threads as usize);
        let members = match self.plan.is_registered {
            true => Members::registered(),
            false => Members::fixed((1..=self.plan.nodes).map(|id| member(node(id)))),
        };
        let setup = Setup {
            rules: cluster::Config {
                id,
                run,
                since_1970: now.since_1970,
                heartbeat: self.plan.heartbeat,
                unit: UNIT,
                all_to_all: self.plan.all_to_all,
                candidates: self.plan.candidates,
            },
            members,
            scanner,
            kernel: Choice::by_hand(kernel),
            threads: server.threads as usize,
            sources: vec!["sim".to_owned()],
            source_return: self.plan.heartbeat,
            kept: server.disk.clone(),
            blocks: None,
            payout: None,
        };
        server.process = Process::Node(Box::new(Life {
            driver: Driver::new(setup, now),
            run,
            pieces: BTreeMap::new(),
            idle_since: Some(self.now),
            peers: Default::default(),
            wake: (0, Duration::ZERO),
            honest: BTreeMap::new(),
        }));
        self.act(id, None, |driver, now| driver.start(now, member(id).address))
    }

    /// SIGKILL: whatever it has not written or sent is gone.
    pub(super) fn kill(&mut self, id: NodeId) {
        let server = self.servers.get_mut(&id).unwrap();
        (server.process, server.paused) = (Process::None, None);
        self.drop_mail_of(id);
        self.laws.killed(id, &self.servers);
    }

    /// SIGTERM: a goodbye, and the last solutions written.
    pub(super) fn leave(&mut self, id: NodeId) -> Result<(), Violation> {
        if !self.servers[&id].is_up() {
            return Ok(());
        }
        self.act(id, None, Driver::leave)?;
        let server = self.servers.get_mut(&id).unwrap();
        if let (Some(kept), true) = (server.life().map(|life| life.driver.cluster().kept()), server.disk.is_some()) {
            server.disk = Some(kept);
        }
        server.process = Process::None;
        self.laws.killed(id, &self.servers);
        Ok(())
    }

    /// The node that ran there is gone, and something else speaks with its key.
    pub(super) fn betray(&mut self, id: NodeId) {
        self.kill(id);
        let server = self.servers.get_mut(&id).unwrap();
        server.lives += 1;
        let life = server.lives;
        server.process = Process::Traitor(Box::new(Traitor::new(id, &mut self.rng)));
        self.laws.betrayed(id);
        self.schedule(Duration::ZERO, id, Event::Speak { life });
    }

    pub(super) fn resume(&mut self, id: NodeId) -> Result<(), Violation> {
        let mail = self.servers.get_mut(&id).unwrap().paused.take();
        self.laws.resumed(id);
        for event in mail.into_iter().flatten() {
            self.happen(id, event)?;
        }
        Ok(())
    }
}
