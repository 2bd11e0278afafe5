//! Faults: which there are, when they come, and how they end.

use std::time::Duration;

use super::laws::Violation;
use super::server::Process;
use super::world::{Event, World};
use crate::cluster::NodeId;
use crate::cluster::tests::node;
use crate::work::reference;

/// A fault, or the end of one, at one node.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Start,
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Leave,
    /// SIGSTOP.
    Pause,
    Resume,
    /// It hashes at another speed, nonces per second.
    Rate(u64),
    /// Its clock on the wall is set.
    Clock(Duration),
    /// Nothing arrives from that node to this one.
    Cut(NodeId),
    Uncut(NodeId),
    Loss(NodeId, u32),
    Doubling(NodeId, u32),
    Delay(NodeId, Duration),
    Clog(NodeId),
    Unclog(NodeId),
    SourceDown,
    SourceUp,
    /// The source does not answer this node.
    SourceCut(bool),
    SourceSlow(Duration),
    /// Somebody else found the block.
    OtherBlock,
    /// A pool wants other shares.
    Difficulty(u32),
    /// A traitor takes the node's place.
    Betray,
}

impl Fault {
    /// How many names there are.
    pub(super) const KINDS: usize = 16;

    fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Kill => "kill",
            Self::Leave => "leave",
            Self::Pause => "pause",
            Self::Rate(_) => "slow",
            Self::Clock(_) => "clock",
            Self::Cut(_) => "cut",
            Self::Loss(_, 1..) => "loss",
            Self::Doubling(_, 1..) => "doubling",
            Self::Delay(_, by) if !by.is_zero() => "delay",
            Self::Clog(_) => "clog",
            Self::SourceDown => "source down",
            Self::SourceCut(true) => "source cut",
            Self::SourceSlow(_) => "source slow",
            Self::OtherBlock => "other block",
            Self::Difficulty(_) => "difficulty",
            Self::Betray => "traitor",
            _ => return None,
        })
    }
}

impl World {
    /// Lays out the faults of the first phase, up to `end`.
    pub(super) fn lay_out_faults(&mut self, end: Duration) {
        if let Some(id) = self.plan.traitor {
            let at = self.plan.heartbeat.mul_f64(1.0 + 5.0 * self.rng.f64());
            self.later(at, node(id), Fault::Betray);
        }
        // In the smallest clusters many a fault finds nobody.
        let at_least = if self.plan.nodes <= 3 { 24 } else { 12 };
        let every = self.plan.fault_every.min(end / at_least);
        let mut at = self.plan.heartbeat;
        while at < end {
            self.lay_out_fault(at);
            at += every.mul_f64(0.2 + 1.6 * self.rng.f64());
        }
    }

    fn lay_out_fault(&mut self, at: Duration) {
        let ids = self.ids();
        let pick = |world: &mut Self| ids[world.rng.usize(..ids.len())];
        // The leader is worth more trouble than anyone else.
        let victim = if self.rng.u32(..3) == 0 { ids[0] } else { pick(self) };
        let other = pick(self);
        let heartbeat = self.plan.heartbeat;
        let some = |world: &mut Self, beats: f64| heartbeat.mul_f64(beats * world.rng.f64());
        let (length, long) = (some(self, 4.0), some(self, 12.0));
        match self.rng.u32(..19) {
            0 | 1 => {
                self.later(at, victim, Fault::Kill);
                self.later(at + length, victim, Fault::Start);
            }
            2 => {
                self.later(at, victim, Fault::Leave);
                self.later(at + length, victim, Fault::Start);
            }
            3 | 4 => {
                self.later(at, victim, Fault::Pause);
                let length = if self.rng.bool() { length } else { long };
                self.later(at + length, victim, Fault::Resume);
            }
            5 => {
                let rate = self.servers[&victim].usual_rate;
                self.later(at, victim, Fault::Rate((rate / 10).max(1)));
                self.later(at + long, victim, Fault::Rate(rate));
            }
            6 => {
                let wall = Duration::from_secs(1_795_000_000 + self.rng.u64(..2000));
                self.later(at, victim, Fault::Clock(wall));
            }
            7 => self.for_a_while(at, length, victim, other, Fault::Cut, Fault::Uncut),
            8 => {
                let length = if self.rng.bool() { length } else { long };
                self.for_a_while(at, length, victim, other, Fault::Cut, Fault::Uncut);
                self.for_a_while(at, length, other, victim, Fault::Cut, Fault::Uncut);
            }
            9 => {
                // Everyone on one side of a line through the cluster.
                let side: Vec<_> = ids.iter().map(|_| self.rng.bool()).collect();
                for (i, &a) in ids.iter().enumerate() {
                    for (j, &b) in ids.iter().enumerate() {
                        if side[i] != side[j] {
                            self.for_a_while(at, length, a, b, Fault::Cut, Fault::Uncut);
                        }
                    }
                }
            }
            10 => {
                let loss = self.rng.u32(10..700);
                self.for_a_while(at, long, victim, other, |from| Fault::Loss(from, loss), |from| Fault::Loss(from, 0));
            }
            11 => {
                let of = self.rng.u32(100..900);
                let (begin, end) = (|from| Fault::Doubling(from, of), |from| Fault::Doubling(from, 0));
                self.for_a_while(at, long, victim, other, begin, end);
            }
            12 => {
                let by = some(self, 1.5);
                let (begin, end) = (|from| Fault::Delay(from, by), |from| Fault::Delay(from, Duration::ZERO));
                self.for_a_while(at, long, victim, other, begin, end);
            }
            13 => {
                // Links clog one by one and are cleared in another order.
                for _ in 0..self.rng.u32(1..=4) {
                    let (to, from) = (pick(self), pick(self));
                    let (begin, length) = (some(self, 2.0), some(self, 5.0));
                    self.for_a_while(at + begin, length, to, from, Fault::Clog, Fault::Unclog);
                }
            }
            14 => {
                let fault = match self.rng.bool() {
                    true => Fault::SourceDown,
                    false => Fault::SourceSlow(some(self, 1.0)),
                };
                self.later(at, victim, fault);
                self.later(at + length, victim, Fault::SourceUp);
            }
            15 => {
                self.later(at, victim, Fault::SourceCut(true));
                self.later(at + length, victim, Fault::SourceCut(false));
            }
            16 if ids.len() > 2 => {
                // The leader dies, and comes back where its successor cannot hear it: the others have two to choose from.
                let (first, second) = (ids[0], ids[1]);
                self.later(at, first, Fault::Kill);
                let back = at + heartbeat * 3;
                self.for_a_while(back, heartbeat * 10, first, second, Fault::Cut, Fault::Uncut);
                self.for_a_while(back, heartbeat * 10, second, first, Fault::Cut, Fault::Uncut);
                self.later(back + heartbeat / 10, first, Fault::Start);
            }
            17 => {
                let harder = self.rng.u32(..4);
                self.later(at, victim, Fault::Difficulty(harder));
            }
            _ => self.later(at, victim, Fault::OtherBlock),
        }
    }

    fn for_a_while(
        &mut self,
        at: Duration,
        length: Duration,
        to: NodeId,
        from: NodeId,
        begin: impl Fn(NodeId) -> Fault,
        end: impl Fn(NodeId) -> Fault,
    ) {
        if to != from {
            self.later(at, to, begin(from));
            self.later(at + length, to, end(from));
        }
    }

    fn later(&mut self, at: Duration, node: NodeId, fault: Fault) {
        self.schedule(at.saturating_sub(self.now), node, Event::Fault(fault));
    }

    /// Lets a fault begin or end.
    pub(super) fn inject(&mut self, id: NodeId, fault: Fault) -> Result<(), Violation> {
        self.line(id, format_args!("## {fault:?}"));
        let is_traitor = matches!(self.servers[&id].process, Process::Traitor(_));
        if let Some(name) = fault.name() {
            *self.faults.entry(name).or_default() += 1;
        }
        match fault {
            Fault::Start => return self.start(id),
            Fault::Kill | Fault::Leave | Fault::Pause if is_traitor => {}
            Fault::Kill => self.kill(id),
            Fault::Leave => return self.leave(id),
            Fault::Pause => {
                if self.servers[&id].is_up() {
                    self.servers.get_mut(&id).unwrap().paused = Some(Vec::new());
                }
            }
            Fault::Resume => return self.resume(id),
            Fault::Rate(rate) => self.servers.get_mut(&id).unwrap().rate = rate,
            Fault::Clock(wall) => self.servers.get_mut(&id).unwrap().wall = wall,
            Fault::Cut(from) => self.net.link(from, id).cuts += 1,
            Fault::Uncut(from) => {
                let link = self.net.link(from, id);
                link.cuts = link.cuts.saturating_sub(1);
            }
            Fault::Loss(from, of) => self.net.link(from, id).loss = of,
            Fault::Doubling(from, of) => self.net.link(from, id).doubling = of,
            Fault::Delay(from, by) => self.net.link(from, id).delay = by,
            Fault::Clog(from) => drop(self.net.link(from, id).clogged.get_or_insert_default()),
            Fault::Unclog(from) => {
                let waiting = self.net.link(from, id).clogged.take();
                waiting.into_iter().flatten().for_each(|message| self.send(from, id, message));
            }
            Fault::SourceDown => self.source.is_down = true,
            Fault::SourceUp => (self.source.is_down, self.source.latency) = (false, self.plan.source_latency),
            Fault::SourceCut(is_cut) => self.servers.get_mut(&id).unwrap().is_cut_off = is_cut,
            Fault::SourceSlow(latency) => self.source.latency = latency,
            Fault::OtherBlock => {
                let hash = reference::sha256(&self.rng.u64(..).to_be_bytes());
                self.source.advance(self.now, hash);
            }
            Fault::Difficulty(harder) => self.source.set_difficulty(harder),
            Fault::Betray => self.betray(id),
        }
        Ok(())
    }

    /// No more faults: everyone is back and well, but for those that are gone, and the traitor has left.
    pub(super) fn heal(&mut self, gone: &[NodeId]) -> Result<(), Violation> {
        self.drop_faults();
        (self.source.is_down, self.source.is_flaky, self.source.latency) = (false, false, self.plan.source_latency);
        for (from, to, message) in self.net.heal() {
            self.send(from, to, message);
        }
        for id in self.ids() {
            self.hurry(id);
            let server = self.servers.get_mut(&id).unwrap();
            (server.rate, server.is_cut_off) = (server.usual_rate, false);
            let is_traitor = matches!(server.process, Process::Traitor(_));
            if is_traitor || gone.contains(&id) {
                self.kill(id);
            }
            if !gone.contains(&id) {
                self.resume(id)?;
                self.start(id)?;
            }
        }
        Ok(())
    }
}
