//! One node's state machine.

mod hearing;
mod reign;
mod telling;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::hearing::Rumours;
use self::telling::Told;
use super::board::Board;
use super::leading::{Leading, Legacy};
use super::liveness::{Answered, Peers};
use super::outbox::Outbox;
use super::planted::{Bug, planted};
use super::worker::Worker;
use super::{Config, Epoch, Heartbeat, JobDone, Message, NodeId, Output, PeerState, Ticket, board};
use crate::work::{Job, Solution};

/// One node's part of the cluster. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    peers: Peers,
    /// The newest epoch seen, one's own included.
    epoch: Option<Epoch>,
    /// The one before this node's own.
    predecessor: Option<Epoch>,
    /// Who leads, by this node's own count.
    leader: Option<NodeId>,
    /// Present while this node leads.
    leading: Option<Leading>,
    worker: Worker,
    /// What it would go on from if it led next.
    legacy: Legacy,
    /// What this node last told everyone as leader, until it hears of a newer reign: whoever leads next may not have heard it. It tells
    /// nobody more than that, so that what one node knows to be done, the next leader knows too.
    standing: Option<Told>,
    /// What was done by the last word of this epoch's leader. By the one after it, other nodes know it too.
    last_word: Option<(Epoch, u64, Board)>,
    /// Heartbeats of this node.
    beats: u64,
    rumours: Rumours,
    /// The leader and epoch last put out.
    announced: Option<(NodeId, Epoch)>,
    started: Instant,
    next_heartbeat: Instant,
    left: bool,
    out: Outbox,
}

impl Cluster {
    /// A node that has not started yet; [`Cluster::set_peers`] starts it.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            config,
            peers: Peers::new(config),
            epoch: None,
            predecessor: None,
            leader: None,
            leading: None,
            worker: Worker::default(),
            legacy: Legacy::default(),
            standing: None,
            last_word: None,
            beats: 0,
            rumours: Rumours::default(),
            announced: None,
            started: now,
            next_heartbeat: now,
            left: false,
            out: Outbox::new(config.id),
        }
    }

    // ---- getters

    /// This node.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// The newest epoch seen.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Who leads as far as this node knows. `None` while it is still listening.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Whether this node leads.
    pub fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    /// The peers and their states.
    pub fn peers(&self) -> impl Iterator<Item = (NodeId, PeerState)> + '_ {
        self.peers.states()
    }

    /// The job that this node scans.
    pub fn job(&self) -> Option<&Job> {
        self.worker.job()
    }

    /// As a leader: the nodes at work and their speed in nonces per second.
    pub fn rates(&self) -> BTreeMap<NodeId, u64> {
        self.leading.as_ref().map(|leading| leading.rates().clone()).unwrap_or_default()
    }

    /// Nodes that are not believed, as far as this node knows: they cannot have searched what they claimed.
    pub fn distrusted(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.leading.as_ref().map_or(&self.legacy.distrusted, Leading::distrusted).keys().copied()
    }

    /// What is done of the jobs under way, as far as this node knows.
    pub fn done(&self) -> Vec<JobDone> {
        match &self.leading {
            Some(leading) => leading.done(),
            None => board::in_full(self.legacy.board.jobs().iter().map(|(job, done)| (job, done))),
        }
    }

    /// What this node must not forget when it is killed: the solutions that it has found and whose settlement it has not heard of, oldest
    /// first, [`MAX_PENDING`](super::MAX_PENDING) at most, and then those that it is handing in as leader.
    pub fn kept<'a>(&self, handed_in: impl IntoIterator<Item = &'a Solution>) -> Vec<Solution> {
        let mut kept: Vec<_> = self.worker.pending().collect();
        for solution in handed_in {
            if !kept.contains(solution) {
                kept.push(*solution);
            }
        }
        kept
    }

    #[cfg(test)]
    pub(super) fn leading(&self) -> Option<&Leading> {
        self.leading.as_ref()
    }

    #[cfg(test)]
    pub(super) fn next_heartbeat(&self) -> Instant {
        self.next_heartbeat
    }

    #[cfg(test)]
    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }

    // ---- events

    /// A message from another node has arrived.
    pub fn handle_message(&mut self, now: Instant, from: NodeId, message: Message) {
        if !self.left && self.peers.contains(from) {
            self.apply(now, from, message);
            self.settle(now);
        }
    }

    /// The time that [`Cluster::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.left {
            return;
        }
        let Some(due) = self.poll_timeout().filter(|&due| due <= now) else { return };
        // A timer that fires late means that this node was slow, not that its peers are gone.
        let late = now - due;
        if late > self.config.answer_time() {
            if !planted(Bug::PausesCount) {
                self.peers.excuse(late, now);
            }
            if let Some(leading) = &mut self.leading {
                leading.excuse(late, now);
            }
        }
        for (peer, state) in self.peers.expire(now) {
            self.peer_changed(now, peer, state);
            if state == PeerState::Down {
                self.send_heartbeat(now, peer); // it may run anew with a clock that was set back, and is believed from now on
            }
        }
        if let Some(leading) = &mut self.leading {
            leading.handle_timeout(now, &mut self.out);
        }
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.config.heartbeat;
            let begins_anew = self.hear_rumour(now); // in a moment, and then all hear of it
            if !begins_anew {
                self.beat(now);
            }
        }
        self.settle(now);
    }

    /// A job to lead the search for: the answer to [`Output::NeedJob`], or news from the source.
    pub fn handle_job(&mut self, now: Instant, job: Job) {
        if let Some(leading) = &mut self.leading {
            leading.handle_job(now, job, &mut self.out);
            self.settle(now);
        }
    }

    /// The source has said its final word on a solution that [`Output::Submit`] named.
    pub fn handle_settled(&mut self, now: Instant, solution: &Solution) {
        if let Some(leading) = &mut self.leading {
            leading.handle_settled(solution, &mut self.out);
            self.settle(now);
        }
    }

    /// A scan has met a nonce that solves its job.
    pub fn handle_found(&mut self, now: Instant, ticket: Ticket, nonce: u64) {
        self.worker.handle_found(ticket, nonce, self.leader, &mut self.out);
        self.settle(now);
    }

    /// A scan has searched everything before the nonce `to`, and met these shares there.
    pub fn handle_progress(&mut self, ticket: Ticket, to: u64, shares: Vec<u64>) {
        self.worker.handle_progress(ticket, to, shares);
    }

    /// A scan has searched its whole range, and met these shares.
    pub fn handle_searched(&mut self, now: Instant, ticket: Ticket, shares: Vec<u64>) {
        self.worker.handle_searched(ticket, shares, self.leader, &mut self.out);
        self.settle(now);
    }

    // ---- commands

    /// Solutions of this node's earlier run that were not settled: offered to every leader until they are, as if found now. Call it before
    /// [`Cluster::set_peers`], with solutions that verify.
    pub fn restore(&mut self, solutions: impl IntoIterator<Item = Solution>) {
        self.worker.restore(self.first_epoch(), solutions);
    }

    /// Who the others are (this node may be among them). Call it once to start, and whenever the list changes.
    pub fn set_peers(&mut self, now: Instant, ids: &[NodeId]) {
        let gone: Vec<_> = self.peers.ids().filter(|id| !ids.contains(id)).collect();
        let fresh = self.peers.set(ids, now);
        if let Some(leading) = &mut self.leading {
            gone.into_iter().for_each(|id| leading.remove(now, id, &mut self.out));
        }
        self.send_heartbeats(now, fresh);
        self.settle(now);
    }

    /// This node's measured speed in nonces per second.
    pub fn set_rate(&mut self, rate: u64) {
        self.worker.rate = rate;
    }

    /// Stops all scans, hands everything back and says goodbye. Nothing is done afterwards.
    pub fn leave(&mut self, now: Instant) {
        if self.left {
            return;
        }
        let request = self.request();
        if let (Some(leading), Some(request)) = (&mut self.leading, request.clone()) {
            leading.handle_leave(now, self.config.id, request, &mut self.out);
            self.standing = Some(Told::by(leading, self.beats)); // its last word
        }
        self.worker.stop_all(&mut self.out);
        if let Some(leader) = self.leader {
            self.worker.offer_pending(leader, &mut self.out);
        }
        // Whoever may watch it hears of it.
        let peers = match self.leading.is_some() || self.peers.is_candidate(self.config.id) {
            true => self.peers.ids().collect(),
            false => self.peers.audience(),
        };
        for peer in peers {
            let request = request.clone().filter(|_| Some(peer) == self.leader);
            self.out.send(peer, Message::Leave(self.heartbeat(now, peer), request));
        }
        (self.leading, self.standing) = (None, None);
        self.left = true;
    }

    // ---- polls

    /// The next thing to do, if there is any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.outputs.pop_front()
    }

    /// When [`Cluster::handle_timeout`] has to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let leading = self.leading.as_ref().and_then(Leading::next_timeout);
        let due = self.peers.next_change().into_iter().chain(leading).chain([self.next_heartbeat]).min();
        due.filter(|_| !self.left)
    }

    // ---- the rest, top down

    fn apply(&mut self, now: Instant, from: NodeId, message: Message) {
        match message {
            Message::HeartbeatRequest(heartbeat) => {
                let is_alive = self.peers.is_alive(from, heartbeat.incarnation);
                let echo = Some(heartbeat.sent);
                self.hear(now, from, heartbeat);
                let request = self.request().filter(|_| self.leader == Some(from));
                self.out.send(from, Message::HeartbeatReply(Heartbeat { echo, ..self.heartbeat(now, from) }, request));
                if !is_alive && self.peers.wants(from) {
                    self.send_heartbeat(now, from); // it is there: find out at once whether it hears this node too
                }
            }
            Message::HeartbeatReply(heartbeat, request) => {
                let asked = self.started + Duration::from_millis(heartbeat.echo.unwrap_or(0).min(self.uptime(now)));
                match self.peers.answered(from, heartbeat.incarnation, asked, now) {
                    Answered::Late => return,
                    Answered::Alive { news, restarted } => {
                        if let Some(leading) = &mut self.leading {
                            leading.meet(from, heartbeat.incarnation);
                            if restarted {
                                leading.forget(now, from, &mut self.out);
                            }
                        }
                        if news {
                            self.peer_changed(now, from, PeerState::Alive);
                            if self.leader.is_some() {
                                self.elect(now); // whom it names counts if it leads now
                            } // else what it says comes first: this node may be about to lead
                        }
                    }
                }
                self.hear(now, from, heartbeat);
                if let (Some(leading), Some(request)) = (&mut self.leading, request) {
                    leading.handle_request(now, from, request, &mut self.out);
                }
            }
            Message::ProcessRequest(_) | Message::ProcessAnswerNo(_) if self.peers.is_mute(from) => {} // late mail
            Message::ProcessRequest(request) => {
                if let Some(leading) = &mut self.leading {
                    leading.handle_request(now, from, request, &mut self.out);
                }
            }
            Message::Process(process) => {
                if self.obeys(from, process.epoch) {
                    self.see_epoch(from, process.epoch);
                    self.worker.handle_process(process, &mut self.out);
                }
            }
            Message::ProcessAnswerNo(answer) => {
                if let Some(leading) = &mut self.leading {
                    leading.handle_answer_no(now, from, answer, &mut self.out);
                }
            }
            Message::ProcessAnswerYes(answer) => {
                if let Some(leading) = &mut self.leading {
                    leading.handle_solution(from, answer.solution, &mut self.out);
                }
            }
            Message::ProcessInterrupt(interrupt) => {
                if self.obeys(from, interrupt.epoch) {
                    self.see_epoch(from, interrupt.epoch);
                    if self.worker.handle_interrupt(interrupt, &mut self.out) {
                        self.ask(self.leader);
                    }
                }
            }
            Message::Leave(heartbeat, request) => {
                let incarnation = heartbeat.incarnation;
                self.hear(now, from, heartbeat);
                if planted(Bug::GoodbyesUnheard) {
                    return;
                }
                if let Some(state) = self.peers.left(from, incarnation, now) {
                    if let (Some(leading), Some(request)) = (&mut self.leading, request) {
                        leading.handle_leave(now, from, request, &mut self.out);
                    }
                    self.peer_changed(now, from, state);
                }
            }
        }
    }

    /// Takes in what this node has told itself.
    fn hear_itself(&mut self, now: Instant) {
        while let Some(message) = self.out.to_self.pop_front() {
            self.apply(now, self.config.id, message);
        }
    }

    fn peer_changed(&mut self, now: Instant, peer: NodeId, state: PeerState) {
        self.out.push(Output::Peer { peer, state });
        match state {
            PeerState::Unknown | PeerState::Alive => {}
            // One more chance before it counts as down.
            PeerState::Suspect => self.send_heartbeat(now, peer),
            PeerState::Down => {
                if let Some(leading) = &mut self.leading
                    && !planted(Bug::DeadKeepLeases)
                {
                    leading.forget(now, peer, &mut self.out);
                }
            }
        }
    }

    /// After every event: who leads now? And whatever this node has told itself, and what others should not wait for.
    fn settle(&mut self, now: Instant) {
        if self.left {
            return;
        }
        let fresh = self.peers.refresh(now);
        self.send_heartbeats(now, fresh);
        self.elect(now);
        self.hear_itself(now);
        if self.leading.as_mut().is_some_and(Leading::take_news) {
            self.tell(now);
        }
    }
}
