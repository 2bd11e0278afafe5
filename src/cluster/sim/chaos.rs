//! Faults: which there are, when they come, and how they end.

use std::time::Duration;

use super::super::{Cluster, NodeId};
use super::invariants::{Step, Violation};
use super::world::{Event, World};

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
    /// It hashes at another speed.
    Rate(u64),
    /// Its scan hangs, while all else goes on.
    Hang,
    Unhang,
    /// Its clock jumps ahead.
    Jump(Duration),
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
    SourceSlow(Duration),
    /// Somebody else found the block.
    OtherBlock,
}

impl Fault {
    /// Every name that there is.
    pub(super) const KINDS: [&'static str; 14] = [
        "kill",
        "leave",
        "pause",
        "slow",
        "hang",
        "jump",
        "cut",
        "loss",
        "doubling",
        "delay",
        "clog",
        "source down",
        "source slow",
        "other block",
    ];

    fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Kill => "kill",
            Self::Leave => "leave",
            Self::Pause => "pause",
            Self::Rate(_) => "slow",
            Self::Hang => "hang",
            Self::Jump(_) => "jump",
            Self::Cut(_) => "cut",
            Self::Loss(_, 1..) => "loss",
            Self::Doubling(_, 1..) => "doubling",
            Self::Delay(_, by) if !by.is_zero() => "delay",
            Self::Clog(_) => "clog",
            Self::SourceDown => "source down",
            Self::SourceSlow(_) => "source slow",
            Self::OtherBlock => "other block",
            _ => return None,
        })
    }
}

impl World {
    /// Lays out the faults of the first phase, up to `end`.
    pub(super) fn lay_out_faults(&mut self, end: Duration) {
        // In the smallest clusters many a fault finds nobody.
        let every = if self.plan.nodes <= 3 { self.plan.fault_every.min(end / 24) } else { self.plan.fault_every };
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
        match self.rng.u32(..18) {
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
                let by = some(self, 12.0);
                self.later(at, victim, Fault::Jump(by));
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
            15 if ids.len() > 2 => {
                // The leader dies, and comes back where its successor cannot hear it: the others have two to choose from.
                let (first, second) = (ids[0], ids[1]);
                self.later(at, first, Fault::Kill);
                let back = at + heartbeat * 3;
                self.for_a_while(back, heartbeat * 10, first, second, Fault::Cut, Fault::Uncut);
                self.for_a_while(back, heartbeat * 10, second, first, Fault::Cut, Fault::Uncut);
                self.later(back + heartbeat / 10, first, Fault::Start);
            }
            16 => {
                self.later(at, victim, Fault::Hang);
                self.later(at + long, victim, Fault::Unhang);
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
        if self.trace.is_on() {
            self.trace.line(self.now, id, &format_args!("## {fault:?}"));
        }
        if self.invariants.is_healed() && !matches!(fault, Fault::Start | Fault::Resume) {
            return Ok(()); // the faults of the first phase are over
        }
        if let Some(name) = fault.name() {
            *self.faults.entry(name).or_default() += 1;
        }
        match fault {
            Fault::Start if self.invariants.is_gone(id) => {}
            Fault::Start => {
                // A wall clock that was set back gives a restarted node a lower incarnation.
                let server = self.servers.get_mut(&id).unwrap();
                if server.run.is_none() {
                    let back = server.runs > 0 && self.rng.u32(..8) == 0;
                    server.incarnation = if back { server.incarnation - 1 } else { server.incarnation + 10 };
                }
                self.start(id)?;
            }
            Fault::Kill => self.kill(id),
            Fault::Leave => self.leave(id)?,
            Fault::Pause => self.pause(id),
            Fault::Resume => self.resume(id)?,
            Fault::Rate(rate) => self.set_rate(id, rate)?,
            Fault::Hang => self.set_hangs(id, true)?,
            Fault::Unhang => self.set_hangs(id, false)?,
            Fault::Jump(by) => {
                let server = self.servers.get_mut(&id).unwrap();
                server.clock.ahead += by;
                server.due = None;
                if server.is_awake() {
                    self.act(id, Step::default(), |run, now| run.cluster.handle_timeout(now))?;
                }
            }
            Fault::Cut(from) => self.net.link(from, id).cuts += 1,
            Fault::Uncut(from) => {
                let link = self.net.link(from, id);
                link.cuts = link.cuts.saturating_sub(1);
            }
            Fault::Loss(from, loss) => self.net.link(from, id).loss = loss,
            Fault::Doubling(from, doubling) => self.net.link(from, id).doubling = doubling,
            Fault::Delay(from, delay) => self.net.link(from, id).delay = delay,
            Fault::Clog(from) => {
                self.net.link(from, id).clogged.get_or_insert_default();
            }
            Fault::Unclog(from) => {
                let mut mail = self.net.link(from, id).clogged.take().unwrap_or_default();
                self.rng.shuffle(&mut mail);
                for message in mail {
                    let after = Duration::from_micros(self.rng.u64(..50_000));
                    self.schedule(after, id, Event::Deliver { from, message });
                }
            }
            Fault::SourceDown => self.source.is_down = true,
            Fault::SourceSlow(by) => self.source.latency = by,
            Fault::SourceUp => (self.source.is_down, self.source.latency) = (false, self.plan.source_latency),
            Fault::OtherBlock => self.source.height += 1,
        }
        Ok(())
    }

    /// The server hashes at another speed from now on.
    fn set_rate(&mut self, id: NodeId, rate: u64) -> Result<(), Violation> {
        if !self.servers[&id].is_awake() {
            self.servers.get_mut(&id).unwrap().rate = rate;
            return Ok(());
        }
        self.act(id, Step::default(), |_, _| {})?; // what it hashed so far was at the old one
        let server = self.servers.get_mut(&id).unwrap();
        (server.rate, server.due) = (rate, None);
        self.act(id, Step::default(), |run, _| run.cluster.set_rate(rate))
    }

    /// The server's scan hangs from now on, or does not any more.
    fn set_hangs(&mut self, id: NodeId, hangs: bool) -> Result<(), Violation> {
        if self.servers[&id].is_awake() {
            self.act(id, Step::default(), |_, _| {})?; // what it hashed so far
        }
        let now = self.now;
        let server = self.servers.get_mut(&id).unwrap();
        (server.hangs, server.due) = (hangs, None);
        if let Some(run) = &mut server.run {
            run.scanner.skip(now);
        }
        if server.is_awake() { self.act(id, Step::default(), |_, _| {}) } else { Ok(()) }
    }

    /// Ends a server with a goodbye, if it can say one.
    pub(super) fn leave(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.servers[&id].is_awake() {
            self.act(id, Step::default(), |run, now| Cluster::leave(&mut run.cluster, now))?;
            self.end(id);
        }
        Ok(())
    }

    /// Ends a server without a word, even amid what it was sending.
    pub(super) fn kill(&mut self, id: NodeId) {
        self.drop_mail_of(id);
        self.end(id);
    }

    /// Solutions that only it knew are lost with it, unless they are on its disk and it comes back.
    fn end(&mut self, id: NodeId) {
        let server = self.servers.get_mut(&id).unwrap();
        server.run = None;
        (server.paused, server.due) = (None, None);
        server.wake += 1;
        if server.disk.is_none() || self.invariants.is_gone(id) {
            self.truth.excuse(id, &self.source);
        }
    }

    pub(super) fn pause(&mut self, id: NodeId) {
        let server = self.servers.get_mut(&id).unwrap();
        if server.is_awake() {
            server.paused = Some(Vec::new());
        }
    }

    pub(super) fn resume(&mut self, id: NodeId) -> Result<(), Violation> {
        let server = self.servers.get_mut(&id).unwrap();
        let Some(mail) = server.paused.take() else { return Ok(()) };
        server.due = None;
        if let Some(run) = &mut server.run {
            run.scanner.skip(self.now);
        }
        // Its timer first, as the real node has it; then what was waiting for it.
        self.act(id, Step::default(), |run, now| run.cluster.handle_timeout(now))?;
        for event in mail {
            if !matches!(event, Event::Wake { .. }) {
                self.schedule(Duration::ZERO, id, event);
            }
        }
        Ok(())
    }

    /// Ends all faults: `gone` servers are killed for good, all others are up and well.
    pub(super) fn heal(&mut self, gone: &[NodeId]) -> Result<(), Violation> {
        for (from, to, message) in self.net.heal() {
            self.schedule(Duration::ZERO, to, Event::Deliver { from, message });
        }
        (self.source.is_down, self.source.latency) = (false, self.plan.source_latency);
        for id in self.ids() {
            if gone.contains(&id) {
                self.kill(id);
            } else {
                self.resume(id)?;
                let rate = self.servers[&id].usual_rate;
                self.set_rate(id, rate)?;
                self.set_hangs(id, false)?;
                if self.servers[&id].run.is_none() {
                    self.servers.get_mut(&id).unwrap().incarnation += 10;
                    self.start(id)?;
                }
            }
        }
        Ok(())
    }
}
