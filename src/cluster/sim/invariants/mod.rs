//! What must hold, one law a file. Most are looked at after every step of a node, for that node; some once nothing is under way.

mod agreement;
mod bounds;
mod calm;
mod epochs;
mod fencing;
mod idleness;
mod interrupts;
mod kept;
mod leases;
mod one_block;
mod orphans;
mod proof;
pub(super) mod repetition;
mod rounds;
mod searched;
mod settled;
mod verified;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::super::{Epoch, Message, NodeId};
use super::lies::Lie;
use super::plan::Plan;
use super::server::{Run, Server};
use super::truth::Truth;
use super::world::Did;

/// A law was broken.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) law: &'static str,
    pub(super) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.what)
    }
}

impl Violation {
    fn new(law: &'static str, what: String) -> Self {
        Self { law, what }
    }
}

/// What a node is about to do. Without a message it is a timer, or news of the source or the user.
#[derive(Default)]
pub(super) struct Step {
    /// Whose message it takes in.
    from: Option<NodeId>,
    /// The reign of whose leases that speaks.
    of: Option<Epoch>,
    /// The round that is over, says its leader.
    ended: Option<(Epoch, u64)>,
}

impl Step {
    pub(super) fn of(from: NodeId, message: &Message) -> Self {
        let (of, ended) = match message {
            Message::Process(process) => (Some(process.epoch), None),
            Message::ProcessRequest(request) => (Some(request.epoch), None),
            Message::ProcessAnswerNo(answer) => (Some(answer.epoch), None),
            Message::ProcessInterrupt(interrupt) => {
                let is_own = interrupt.epoch.leader == from;
                (Some(interrupt.epoch), is_own.then_some((interrupt.epoch, interrupt.round)))
            }
            _ => (None, None),
        };
        Self { from: Some(from), of, ended }
    }
}

/// How a node was before a step.
pub(super) struct Before {
    epoch: Option<Epoch>,
    was_leading: bool,
    /// Whose reign the step's message speaks of.
    said_by: Option<NodeId>,
    /// The round that is over, says the step's message.
    ended: Option<(Epoch, u64)>,
    /// The step's message is the liar's; then the leases too.
    lied_to: Option<fencing::Leases>,
    /// The step's message is of an older epoch; then the leases too.
    outdated: Option<fencing::Leases>,
}

/// When which laws hold.
pub(super) struct Invariants {
    /// Where clocks begin.
    epoch: Instant,
    ages: leases::Ages,
    /// From here on no fault happens that is not announced.
    healed: bool,
    /// Reigns of one leader are so far apart at least.
    shortest_reign: Duration,
    /// The node that lies, if any.
    liar: Option<NodeId>,
    /// Servers that are killed for good.
    gone: Vec<NodeId>,
    /// By then all have to name the same leader, and from then on.
    agree_from: Option<(Duration, NodeId)>,
    /// From then on, for so long at most may a node have nothing to do.
    busy_from: Option<(Duration, Duration)>,
    /// The laws that go through all that a leader holds are looked at after so many steps only: after each, if 0.
    pub(super) seldom: u64,
    epochs: epochs::Reigns,
    one_block: one_block::Submitted,
    steps: u64,
    interrupts: interrupts::Ended,
    rounds: rounds::Rounds,
    calm: calm::Calm,
}

impl Invariants {
    pub(super) fn new(epoch: Instant, plan: &Plan, liar: Option<NodeId>) -> Self {
        Self {
            epoch,
            ages: leases::Ages { unnamed: plan.heartbeat * 7, named: plan.heartbeat * 19 },
            healed: false,
            shortest_reign: plan.heartbeat.mul_f64(0.9),
            liar,
            gone: Vec::new(),
            agree_from: None,
            busy_from: None,
            seldom: 0,
            epochs: epochs::Reigns::default(),
            one_block: one_block::Submitted::default(),
            steps: 0,
            interrupts: interrupts::Ended::new(
                // One that lies can make the leader begin anew just then, which has to ask the source first.
                plan.latency * 4 + Duration::from_millis(50) + plan.source_latency * if liar.is_some() { 4 } else { 0 },
            ),
            rounds: rounds::Rounds::default(),
            calm: calm::Calm::new(plan),
        }
    }

    pub(super) fn liar(&self) -> Option<NodeId> {
        self.liar
    }

    pub(super) fn is_healed(&self) -> bool {
        self.healed
    }

    pub(super) fn is_gone(&self, id: NodeId) -> bool {
        self.gone.contains(&id)
    }

    pub(super) fn heal(&mut self, gone: Vec<NodeId>) {
        (self.healed, self.gone) = (true, gone);
    }

    /// Until further notice, nobody has to name anyone, or have work.
    pub(super) fn relax(&mut self) {
        (self.agree_from, self.busy_from) = (None, None);
    }

    /// Until further notice, nobody has to have work.
    pub(super) fn rest(&mut self) {
        self.busy_from = None;
    }

    pub(super) fn agree_from(&mut self, from: Duration, leader: NodeId) {
        self.agree_from = Some((from, leader));
    }

    pub(super) fn busy_from(&mut self, from: Duration, limit: Duration) {
        self.busy_from = Some((from, limit));
    }

    pub(super) fn before(&self, run: &Run, step: Step) -> Before {
        let epoch = run.cluster.epoch();
        let is_outdated = step.of.is_some_and(|of| Some(of) < epoch);
        let lies = self.liar.is_some() && self.liar == step.from;
        Before {
            epoch,
            was_leading: run.cluster.is_leading(),
            said_by: step.of.map(|of| of.leader),
            ended: step.ended,
            lied_to: lies.then(|| fencing::leases(&run.cluster)),
            outdated: is_outdated.then(|| fencing::leases(&run.cluster)),
        }
    }

    pub(super) fn after(
        &mut self,
        truth: &Truth,
        height: u64,
        now: Duration,
        server: &Server,
        before: Before,
        did: &Did,
    ) -> Result<(), Violation> {
        let Some(run) = &server.run else { return Ok(()) };
        let local = server.time(self.epoch, now);
        let id = server.id;
        let is_well = self.agree_from.is_some_and(|(from, _)| now >= from);
        let shortest = is_well.then_some(self.shortest_reign);
        self.epochs.check(id, &run.cluster, &before, did, now, shortest)?;
        fencing::check(id, &run.cluster, &before, did)?;
        fencing::check_liar(id, &run.cluster, self.liar, &before)?;
        self.rounds.check(server, run, &before, did)?;
        verified::check(id, did)?;
        self.one_block.check(id, run, did)?;
        self.steps += 1;
        if self.steps.is_multiple_of(self.seldom.max(1)) {
            leases::check(id, &run.cluster, local, &self.ages)?;
            searched::check(id, &run.cluster, truth)?;
        }
        self.interrupts.check(self.busy_from.is_some(), now, id, run, did)?;
        bounds::check(id, run, did, self.steps.is_multiple_of(16))?;
        kept::check(height, truth, server)?;
        if server.lie.is_none() {
            agreement::check(self.agree_from, now, id, &run.cluster)?;
            idleness::check(self.busy_from, now, id, run)?;
        }
        Ok(())
    }

    /// Something is about to happen.
    pub(super) fn calm(&mut self, now: Duration) -> Result<(), Violation> {
        self.calm.check(now)
    }

    /// `by` does not believe `node` any more.
    pub(super) fn distrusted(&self, by: NodeId, node: NodeId) -> Result<(), Violation> {
        match self.liar == Some(node) || self.liar == Some(by) {
            true => Ok(()),
            false => Err(Violation::new("honest nodes are believed", format!("{by:?} does not believe {node:?}"))),
        }
    }

    /// `from` claimed what is not so.
    pub(super) fn refused(&self, servers: &BTreeMap<NodeId, Server>, from: NodeId) -> Result<(), Violation> {
        match servers.get(&from).and_then(|server| server.lie) {
            Some(Lie::WrongNonce) => Ok(()),
            _ => Err(Violation::new("solutions verify", format!("{from:?}, which does not lie, was refused"))),
        }
    }
}

/// What must hold once nothing is under way.
pub(super) fn at_rest(world: &super::world::World) -> Result<(), Violation> {
    settled::check(world)?;
    proof::check(world)?;
    orphans::check(world)
}
