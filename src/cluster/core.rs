//! One node's state machine: its life, its leader, its work.

use std::collections::VecDeque;
use std::time::Instant;

use super::blocks::{Block, Blocks, Order};
use super::leading::{Leading, Maker, ends_with_first};
use super::liveness::Peers;
use super::probe::probe;
use super::shares::{OwnShares, TakenShares};
use super::solutions::Offers;
use super::trust::Trust;
use super::worker::Worker;
use super::{
    Assign, Config, Current, Heartbeat, Leads, Message, NodeId, Output, PeerState, Reign, Report, Stamp, Ticket,
};
use crate::work::{Job, Run, Search, Solution, Template};

/// The most solutions that a node keeps for a store.
pub const MAX_KEPT: usize = 64;

/// One node's part of the cluster. See the [module](super) for how to drive it.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(super) config: Config,
    /// Counts the requests, answers and reports of this run.
    sent: u64,
    pub(super) peers: Peers,
    /// Who leads, by this node's own count.
    pub(super) leader: Option<NodeId>,
    /// What had been sent when this node began to follow its leader or to lead: assignments must answer a later report.
    followed_from: u64,
    last_assigned: Instant,
    /// Counts this run's reigns (rule 2).
    reigns: u64,
    pub(super) leading: Option<Leading>,
    /// When this node last led with jobs that only its own session can submit.
    led: Option<Instant>,
    pub(super) maker: Maker,
    pub(super) trust: Trust,
    pub(super) worker: Worker,
    pub(super) blocks: Blocks,
    pub(super) own_shares: OwnShares,
    pub(super) taken_shares: TakenShares,
    /// What this node's own session has named.
    pub(super) offers: Offers,
    /// What the leader searches, by its last word.
    pub(super) current: Option<Current>,
    /// The template of a block that the leader builds itself, by its last assignment, and whose it is.
    given: Option<(NodeId, Run, Template)>,
    next_tick: Instant,
    ticks: u64,
    /// When shares are reported at the latest.
    share_due: Option<Instant>,
    /// When solutions that got no answer are submitted again.
    pub(super) submit_again: Option<Instant>,
    left: bool,
    pub(super) out: VecDeque<Output>,
}

/// Why a node reports: it decides under which of the exercise's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It wants work, or has shares.
    Asks,
    /// A lease is searched to its end.
    No,
    /// It has found a block.
    Yes,
}

impl Cluster {
    /// A node that has not started yet; [`Cluster::set_peers`] starts it.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            config,
            sent: 0,
            peers: Peers::new(config),
            leader: None,
            followed_from: 0,
            last_assigned: now,
            reigns: 0,
            leading: None,
            led: None,
            maker: Maker::new(&config, now),
            trust: Trust::default(),
            worker: Worker::default(),
            blocks: Blocks::default(),
            own_shares: OwnShares::default(),
            taken_shares: TakenShares::default(),
            offers: Offers::default(),
            current: None,
            given: None,
            next_tick: now,
            ticks: 0,
            share_due: None,
            submit_again: None,
            left: false,
            out: VecDeque::new(),
        }
    }

    // ---- getters

    /// This node.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// Who leads as far as this node knows. `None` while it waits for lower ids to answer.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Whether this node leads.
    pub fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    /// Whether a session is of use: this node leads, or only its own session can submit blocks that it knows of or that may still be found
    /// in its jobs.
    pub fn wants_session(&self, now: Instant) -> bool {
        let may_be_found = self.led.is_some_and(|led| now < led + self.config.jobs_outlast());
        self.is_leading() || may_be_found || self.blocks.iter().any(|block| self.made(block))
    }

    /// The peers and their states.
    pub fn peers(&self) -> impl Iterator<Item = (NodeId, PeerState)> + '_ {
        self.peers.states()
    }

    /// A peer's state; unknown if it is no member.
    pub fn state(&self, peer: NodeId) -> PeerState {
        self.peers.state(peer)
    }

    /// The job that this node scans.
    pub fn job(&self) -> Option<&Job> {
        self.worker.job()
    }

    /// The job of a scan that has not ended.
    pub fn job_of(&self, ticket: Ticket) -> Option<&Job> {
        self.worker.scanned(ticket).map(|lease| &lease.job)
    }

    /// Who leads next if the leader is gone: the lowest id that is up, this node included.
    pub fn next_leader(&self) -> Option<NodeId> {
        let up = self.peers.states().filter(|(_, state)| state.is_up()).map(|(id, _)| id);
        up.chain([self.config.id]).filter(|&id| Some(id) != self.leader).min()
    }

    /// The template of a block that the leader whom this node follows builds itself, with the leader and its run.
    pub fn given(&self) -> Option<(NodeId, Run, &Template)> {
        let given = self.given.as_ref().filter(|(leader, ..)| self.leader == Some(*leader) && !self.is_leading());
        given.map(|(leader, run, template)| (*leader, *run, template))
    }

    /// Whether this node holds a lease of the job.
    pub fn holds(&self, job: &Job) -> bool {
        self.worker.holds(job)
    }

    /// Nodes that get no work from this process, since they cannot have searched what they reported.
    pub fn distrusted(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.trust.refused()
    }

    /// What this node must not forget when it is killed: the unsettled blocks that it knows of, those first that it has found itself, at
    /// most 64.
    pub fn kept(&self) -> Vec<Solution> {
        let (own, others): (Vec<&Block>, Vec<&Block>) = self.blocks.iter().partition(|block| block.is_own);
        own.into_iter().chain(others).take(MAX_KEPT).map(|block| block.solution).collect()
    }

    // ---- events

    /// A message from another node has arrived.
    pub fn handle_message(&mut self, now: Instant, from: NodeId, message: Message) {
        if self.left || self.peers.get(from).is_none() {
            return;
        }
        // After a pause of our own, the timers that are late come first: they know that nobody else is to blame.
        if self.poll_timeout().is_some_and(|due| now > due + self.config.answer_time()) {
            probe!(PauseMetByMessage);
            self.handle_timeout(now);
        }
        match message {
            Message::HeartbeatRequest(heartbeat) => self.hear_request(now, from, &heartbeat),
            Message::HeartbeatReply(heartbeat, report) => self.hear_reply(now, from, &heartbeat, report),
            Message::ProcessRequest(report) | Message::ProcessAnswerNo(report) | Message::ProcessAnswerYes(report) => {
                self.hear_report(now, from, &report)
            }
            Message::Process(assign) | Message::ProcessInterrupt(assign) => self.hear_assign(now, from, &assign),
            Message::Leave(heartbeat, report) => self.hear_leave(now, from, &heartbeat, report),
            Message::BodyRequest(_) | Message::Body(_) => {} // not for the rules, but for the node
        }
        self.settle(now);
    }

    /// The time that [`Cluster::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(due) = self.poll_timeout().filter(|&due| due <= now) else { return };
        // A timer that fires late means that this node was slow, not that its peers are gone.
        let late = now - due;
        if late > self.config.answer_time() {
            probe!(PauseExcused);
            self.peers.excuse(late, now);
            self.last_assigned = (self.last_assigned + late).min(now);
        }
        self.look_at_peers(now);
        if self.share_due.is_some_and(|due| due <= now) {
            self.send_report(now, Reason::Asks);
        }
        if self.submit_again.is_some_and(|due| due <= now) {
            self.submit_again = None;
            self.judge(now);
            self.resubmit_shares();
        }
        if self.next_tick <= now {
            self.next_tick = now + self.config.tick();
            self.tick(now);
        }
        self.settle(now);
    }

    /// A scan has met a nonce that is to be reported.
    pub fn handle_found(&mut self, now: Instant, ticket: Ticket, nonce: u64) {
        let Some((solution, leader)) = self.worker.solution(ticket, nonce) else { return };
        if !solution.is_block() {
            if self.own_shares.add(solution, leader) {
                self.out.push_back(Output::ShareLost);
            }
            self.share_due.get_or_insert(now + self.config.share_delay());
            return;
        }
        // The bounds of what is found here are those of the leader whose lease it was found in (rule 6).
        self.blocks.add(solution, leader, true, self.order(), now);
        if solution.job.goal.search == Search::First {
            self.worker.stop(solution.job.round, self.sent + 1, &mut self.out);
        }
        self.send_report(now, Reason::Yes);
        self.judge(now);
        self.tell_makers(Some(&solution));
    }

    /// A scan has searched everything before the nonce `to`, and met these witnesses there, ascending.
    pub fn handle_progress(&mut self, ticket: Ticket, to: u64, witnesses: &[u64]) {
        self.worker.handle_progress(ticket, to, witnesses);
    }

    /// A scan has ended after searching everything before the nonce `to`, and met these witnesses there, ascending.
    pub fn handle_searched(&mut self, now: Instant, ticket: Ticket, to: u64, witnesses: &[u64]) {
        // Who has plenty of work tells the end of a lease with its next answer to the leader.
        if self.worker.handle_searched(ticket, to, witnesses) && self.has_less_than(2) {
            self.send_report(now, Reason::No);
        }
    }

    /// A peer is reached at another address from now on. It is asked at once, since what it was asked at the old one is lost.
    pub fn handle_moved(&mut self, now: Instant, peer: NodeId) {
        if !self.left && self.peers.get(peer).is_some() {
            self.request(now, peer);
        }
    }

    // ---- commands

    /// Blocks of this node's earlier run that were not settled: reported to every leader until they are. Call it before
    /// [`Cluster::set_peers`], with solutions that verify.
    pub fn restore(&mut self, now: Instant, solutions: impl IntoIterator<Item = Solution>) {
        for solution in solutions.into_iter().take(MAX_KEPT) {
            self.blocks.restore(solution, self.config.id, now);
        }
    }

    /// Who the others are (this node may be among them), and whether each shows witnesses for its work. Call it once to start, and
    /// whenever the list changes.
    pub fn set_peers(&mut self, now: Instant, members: &[(NodeId, bool)]) {
        let gone: Vec<_> = self.peers.states().map(|(id, _)| id).collect();
        self.peers.set(members);
        for id in gone.into_iter().filter(|id| self.peers.get(*id).is_none()) {
            self.leading.iter_mut().for_each(|leading| leading.forget(id));
            self.trust.forget(id);
            self.blocks.forget_finals(id);
            self.taken_shares.forget(id);
        }
        self.settle(now);
    }

    /// This node's measured speed in nonces per second.
    pub fn set_speed(&mut self, speed: u64) {
        self.worker.speed = speed;
    }

    /// Stops all scans, hands everything back and says goodbye. Nothing is done afterwards.
    pub fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let report = self.report(self.leader);
        let peers = match self.is_leading() || self.peers.is_candidate(self.config.id) {
            true => self.peers.states().map(|(id, _)| id).collect(),
            false => self.peers.audience(),
        };
        for peer in peers {
            let heartbeat = self.heartbeat(None);
            self.send(peer, Message::Leave(heartbeat, Some(report.clone())));
        }
        self.worker.stop_all(&mut self.out);
        self.leading = None;
    }

    // ---- polls

    /// The next thing to do, if there is any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Cluster::handle_timeout`] has to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [Some(self.next_tick), self.share_due, self.submit_again, self.peers.next_change()];
        due.into_iter().flatten().min().filter(|_| !self.left)
    }

    // ---- the rest, top down

    /// After whatever may have changed a peer's state: who leads now, and who is to be watched?
    fn settle(&mut self, now: Instant) {
        self.watch(now);
        self.elect(now);
        self.watch(now);
    }

    /// Four times in a heartbeat: who leads, is there work, is there something to say again?
    fn tick(&mut self, now: Instant) {
        self.elect(now);
        let is_beat = self.ticks.is_multiple_of(4);
        self.ticks += 1;
        if is_beat {
            self.peers.begin_beat();
            for peer in self.peers.audience() {
                self.request(now, peer);
            }
            self.tell_makers(None);
        }
        let follows = self.leader.is_some_and(|leader| leader != self.config.id);
        // Rule 5: a leader that answers and assigns nothing is as good as none.
        let is_idle = now.saturating_duration_since(self.last_assigned) > self.config.patience();
        let answers = self.leader.is_some_and(|leader| self.peers.state(leader) == PeerState::Alive);
        if follows && !self.is_leading() && is_idle && answers {
            probe!(SelfLeadingBegins);
            self.begin(now);
        }
        let has_little = self.has_less_than(1);
        self.judge(now);
        self.ask_if_idle();
        if has_little || follows && self.is_leading() {
            self.send_report(now, Reason::Asks);
        }
    }

    /// Works out who leads (rule 1), and begins to follow or to lead.
    pub(super) fn elect(&mut self, now: Instant) {
        let Some(leader) = self.peers.leader(now).filter(|&leader| Some(leader) != self.leader) else { return };
        self.leader = Some(leader);
        self.last_assigned = now;
        self.step_down(now);
        self.followed_from = self.sent;
        if leader == self.config.id {
            self.begin(now);
        } else {
            self.out.push_back(Output::Leader { leader });
            self.send_report(now, Reason::Asks);
        }
    }

    /// A reign of this node ends, if there is one.
    fn step_down(&mut self, now: Instant) {
        if self.leading.take().is_some_and(|leading| leading.template().is_some_and(|template| !template.is_text())) {
            self.led = Some(now);
        }
    }

    /// A reign of this node begins (rule 2).
    fn begin(&mut self, now: Instant) {
        self.reigns += 1;
        let reign = Reign { run: self.config.run, number: self.reigns };
        let mut leading = Leading::new(self.config, reign);
        self.followed_from = self.sent;
        // Rule 5: it starts at once from the last template of its own leader, if its session can submit for it.
        if let Some(Current::Text(template)) = &self.current
            && self.offers.takes_texts()
        {
            // Unless its solution is being submitted since an earlier reign (rule 7).
            if self.is_submitting_for(template.round) && ends_with_first(template) {
                leading.interrupt(template.clone());
            } else {
                probe!(TemplateTakenOver);
                leading.begin(template.clone(), &mut self.maker, now);
            }
        }
        self.leading = Some(leading);
        if self.leader == Some(self.config.id) {
            self.out.push_back(Output::Leader { leader: self.config.id });
        }
        self.out.push_back(Output::Ask);
        self.judge(now);
        self.report_to_self(now);
    }

    /// Lets time pass for the peers.
    pub(super) fn look_at_peers(&mut self, now: Instant) {
        for (peer, state) in self.peers.expire(now) {
            self.out.push_back(Output::Peer { peer, state });
            if state == PeerState::Suspect {
                self.request(now, peer);
            }
        }
    }

    /// Watches whoever is to be watched now, and asks those who were not.
    fn watch(&mut self, now: Instant) {
        for peer in self.peers.watch(self.is_leading(), now) {
            self.request(now, peer);
        }
    }

    /// Takes in an assignment of this node's leader, or of itself (rules 4 and 7).
    pub(super) fn obey(&mut self, from: NodeId, assign: &Assign) {
        self.learn(assign.current.as_ref());
        self.given = match &assign.current {
            Some(Current::Header(template)) => Some((from, assign.reign.run, template.clone())),
            _ => None,
        };
        self.blocks.drop_settled(&assign.settled);
        self.own_shares.drop_settled(&assign.settled);
        self.own_shares.take(&assign.taken, (from, assign.reign));
        self.worker.obey(from, assign, &mut self.out);
    }

    /// Whether an assignment answers a report of this run that was made since this node began to follow its leader or to lead.
    pub(super) fn answers_a_report(&self, report: Stamp) -> bool {
        report.run == self.config.run && self.followed_from < report.sent && report.sent <= self.sent
    }

    /// The leader that this node follows has assigned something: it need not lead itself.
    pub(super) fn is_assigned(&mut self, now: Instant) {
        self.last_assigned = now;
        if self.is_leading() {
            probe!(SelfLeadingEnds);
            self.step_down(now);
        }
    }

    /// What the leader searches.
    pub(super) fn learn(&mut self, current: Option<&Current>) {
        match current {
            Some(Current::Text(template)) if !template.is_text() => {}
            Some(Current::Header(template)) => self.current = Some(Current::Round(template.round)),
            Some(current) => self.current = Some(current.clone()),
            None => {}
        }
    }

    /// Assigns a node all that it should hold, if it has reported in this reign.
    pub(super) fn assign(&mut self, now: Instant, to: NodeId) {
        let Some(leading) = &mut self.leading else { return };
        let run = if to == self.config.id { Some(self.config.run) } else { self.peers.live_run(to) };
        let Some(run) = run else { return };
        let is_refused = self.trust.refuses(to, run);
        if is_refused {
            probe!(RefusedGetsNothing);
        }
        let Some((mut assign, named)) = leading.grant(to, run, is_refused, &mut self.maker, now) else { return };
        let is_settled = |id: &_| self.blocks.is_settled(*id) || self.taken_shares.is_settled(to, *id);
        assign.taken = named.iter().copied().filter(|id| self.taken_shares.is_taken(to, *id)).collect();
        assign.settled = named.into_iter().filter(is_settled).collect();
        if to == self.config.id {
            return self.obey(to, &assign);
        }
        let is_interrupt = assign.leases.is_empty();
        self.send(to, if is_interrupt { Message::ProcessInterrupt(assign) } else { Message::Process(assign) });
    }

    /// Assigns everyone: a round has ended, or the next has begun.
    pub(super) fn assign_all(&mut self, now: Instant) {
        for worker in self.leading.as_ref().map(Leading::workers).unwrap_or_default() {
            self.assign(now, worker);
        }
    }

    /// A block of this template is being submitted: everyone is assigned nothing until another job begins.
    pub(super) fn interrupt(&mut self, now: Instant, template: Template) {
        if let Some(leading) = &mut self.leading {
            leading.interrupt(template);
            self.assign_all(now);
        }
    }

    /// Whether this node's work lasts for less than so many heartbeats.
    fn has_less_than(&self, heartbeats: u64) -> bool {
        let beat = self.config.beat_of(self.worker.speed).max(self.config.unit);
        self.worker.work() < beat.saturating_mul(heartbeats)
    }

    /// A leader without a job asks its session again, unless a solution is being submitted; so does one that knows blocks of rounds that
    /// the session has not named.
    pub(super) fn ask_if_idle(&mut self) {
        let Some(leading) = &self.leading else { return };
        let is_idle = !leading.is_searching() && !self.offers.is_submitting() && self.submit_again.is_none();
        if is_idle || self.blocks.iter().any(|block| !self.offers.knows(block.solution.job.round)) {
            self.out.push_back(Output::Ask);
        }
    }

    /// Reports to the leader; to itself, where it leads.
    pub(super) fn send_report(&mut self, now: Instant, reason: Reason) {
        self.share_due = None;
        if self.is_leading() {
            self.report_to_self(now);
        }
        if let Some(leader) = self.leader.filter(|&leader| leader != self.config.id) {
            let report = self.report(Some(leader));
            let message = match reason {
                Reason::Asks => Message::ProcessRequest(report),
                Reason::No => Message::ProcessAnswerNo(report),
                Reason::Yes => Message::ProcessAnswerYes(report),
            };
            self.send(leader, message);
        }
    }

    fn report_to_self(&mut self, now: Instant) {
        let report = self.report(Some(self.config.id));
        self.take_in(now, self.config.id, &report);
        self.assign(now, self.config.id);
    }

    /// This node's whole account of itself, for this leader.
    pub(super) fn report(&mut self, to: Option<NodeId>) -> Report {
        let mut report = Report {
            stamp: self.stamp(),
            held: self.worker.held,
            speed: self.worker.speed,
            progress: self.worker.progress(),
            blocks: self.blocks.reported(self.order()),
            ..Report::default()
        };
        self.own_shares.report(to.zip(self.worker.held.map(|(reign, _)| reign)), &mut report);
        report
    }

    /// Tells the makers of header jobs of the blocks found here: only they can submit them (rule 6). One of them, or all.
    fn tell_makers(&mut self, one: Option<&Solution>) {
        let is_told = |block: &&Block| block.is_own && !super::is_text(&block.solution);
        let all: Vec<_> = self.blocks.iter().filter(is_told).map(|block| block.solution).collect();
        for solution in all.iter().filter(|solution| one.is_none_or(|one| one == *solution)) {
            let makers = self.peers.running_as(solution.job.tag.slot.run);
            for maker in makers.filter(|&maker| Some(maker) != self.leader).collect::<Vec<_>>() {
                probe!(MakerTold);
                let report = Report { stamp: self.stamp(), blocks: vec![*solution], ..Report::default() };
                self.send(maker, Message::ProcessAnswerYes(report));
            }
        }
    }

    /// Sends `to` a heartbeat that it has to answer.
    pub(super) fn request(&mut self, now: Instant, to: NodeId) {
        let heartbeat = self.heartbeat(None);
        self.peers.requested(to, heartbeat.stamp.sent, now);
        self.send(to, Message::HeartbeatRequest(heartbeat));
    }

    /// Asks `peer` who it is now, unless it was just asked.
    pub(super) fn ask(&mut self, now: Instant, peer: NodeId) {
        if self.peers.may_ask(peer, now) {
            self.request(now, peer);
        }
    }

    pub(super) fn heartbeat(&mut self, echo: Option<Stamp>) -> Heartbeat {
        let leads = self.leading.as_ref().map(|leading| Leads {
            reign: leading.reign.number,
            current: leading.current(),
            blocks: self.blocks.reported(self.order()),
        });
        Heartbeat { stamp: self.stamp(), echo, interval: Some(self.config.heartbeat), leads }
    }

    fn stamp(&mut self) -> Stamp {
        self.sent += 1;
        Stamp { run: self.config.run, sent: self.sent }
    }

    /// Which blocks come first where there is room for some only.
    pub(super) fn order(&self) -> Order {
        if self.is_leading() {
            return Order { round: self.offers.round(), run: Some(self.config.run) };
        }
        let run = self.leader.and_then(|leader| self.peers.get(leader)).and_then(|peer| peer.run);
        Order { round: self.current.as_ref().map(Current::round), run }
    }

    /// Whether only this run's session can submit the block.
    pub(super) fn made(&self, block: &Block) -> bool {
        !super::is_text(&block.solution) && block.solution.job.tag.slot.run == self.config.run
    }

    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.out.push_back(Output::Send { to, message });
    }
}
