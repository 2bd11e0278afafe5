//! The glue of a node: it turns what happened into calls of the rules, and what the rules ask for into actions and events.
//!
//! ```text
//!  message, timer ────┐                           ┌── Send, SetPeers ──> transport
//!  scanner's event ───┤  Input          Action    ├── Source ──> sessions
//!  source's answer ───┼───────> Driver ────────> ─┼── Write ──> store
//!  store's result ────┤   (owns Cluster, Feed,    ├── ReadRegistry, Status ──> registry
//!  registry's list ───┘    Keeper, Scanner)       └── Tell ──> user
//! ```
//!
//! It is synchronous, and waits for nothing: no clock, no disk, no name look-up, no lock but the scanner's queue. The node's `run`
//! feeds it in real time; the simulation feeds the same driver in virtual time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chain::ChainWatch;
use super::changes::Changes;
use super::feed::{Answer, Feed, News, Request};
use super::handover::{Fetched, Handover, Heard};
use super::luck::Luck;
use super::members::Members;
use super::meter::Meter;
use super::pace::{Done, Pace};
use super::payout_check::PayoutCheck;
use super::shares::ShareTally;
use super::status::Status;
use super::store::{Keeper, Written};
use super::warnings::Warnings;
use super::{Event, Outcome, ShareOutcome, TimedEvent};
use crate::cluster::{self, Assign, Cluster, Message, NodeId, Output, PeerState, Ticket};
use crate::kernel::Choice;
use crate::scan::{self, Scanner};
use crate::source::{Adopted, Verdict};
use crate::transport::Member;
use crate::work::{Job, NonceRange, Puzzle, Search, Solution, Target, WitnessBits};

/// How often progress and speed are handed to the rules: often enough for leases to have the right size soon after the start.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When the speed is first reported, if a heartbeat is longer.
const FIRST_REPORT: Duration = Duration::from_secs(1);

/// How often the status is renewed and the registry is read.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// By the monotonic clock.
    pub(crate) instant: Instant,
    /// By the wall clock, since 1970.
    pub(crate) since_1970: Duration,
}

/// Something has happened.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // it is handed over at once, and never stored
pub(crate) enum Input {
    /// A message has arrived.
    Message(NodeId, Message),
    /// The scanner reports an event.
    Scan(scan::Event),
    /// A source has answered a request.
    Source(Answer),
    /// A write that [`Action::Write`] ordered has ended.
    Written(Written),
    /// The registry lists these servers, or the transport has met them.
    Servers(Vec<Member>),
    /// The kernels were measured again, as [`Action::Measure`] wanted: this one is to be used.
    Kernel(Choice),
    /// This is wrong with the node's certificate files, or nothing any more.
    Certificate(Option<String>),
    /// This source advises an operator, or does not any more.
    Advice(usize, Option<String>),
}

/// Something is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send a message.
    Send(NodeId, Message),
    /// From now on these are the servers.
    SetPeers(Vec<Member>),
    /// Ask a source.
    Source(Request),
    /// Make the store hold these solutions and no others; answer with [`Input::Written`].
    Write(Vec<Solution>),
    /// Read the registry; answer with [`Input::Servers`].
    ReadRegistry,
    /// Report an event to the user.
    Tell(TimedEvent),
    /// Renew the status: [`Driver::make_status`].
    Status,
    /// Measure the kernels again, in place of this choice; answer with [`Input::Kernel`].
    Measure(Choice),
}

/// What a driver needs to know at its start.
pub(crate) struct Setup {
    pub(crate) rules: cluster::Config,
    pub(crate) members: Members,
    pub(crate) scanner: Scanner,
    /// The kernel, why it was chosen, and the number of hashing threads.
    pub(crate) kernel: Choice,
    pub(crate) threads: usize,
    /// The sources' addresses, in order of preference.
    pub(crate) sources: Vec<String>,
    /// For how long a preferred source has to answer before it serves again.
    pub(crate) source_return: Duration,
    /// The solutions that the store holds, if there is a store.
    pub(crate) kept: Option<Vec<Solution>>,
    /// End once this many blocks were accepted.
    pub(crate) blocks: Option<u64>,
    /// Whom the work of other leaders has to pay, if that was said.
    pub(crate) payout: Option<PayoutCheck>,
}

/// One server without its I/O: rules, scanner, traffic with sources, and counters.
pub(crate) struct Driver {
    id: NodeId,
    heartbeat: Duration,
    cluster: Cluster,
    scanner: Scanner,
    members: Members,
    feed: Feed,
    handover: Handover,
    payout: Option<PayoutCheck>,
    keeper: Option<Keeper>,
    meter: Meter,
    pace: Pace,
    chain: ChainWatch,
    /// The job of the newest scan, which was last reported to the user.
    job: Option<Job>,
    /// Scans that were stopped and have not ended yet.
    stopping: BTreeSet<Ticket>,
    /// How many leaderships this node has reported.
    epoch: u64,
    shares: ShareTally,
    luck: Luck,
    kernel: Choice,
    threads: usize,
    sources: Vec<String>,
    blocks_wanted: Option<u64>,
    warnings: Warnings,
    changes: Changes,
    next_look: Instant,
    next_status: Instant,
    next_report: Instant,
    actions: VecDeque<Action>,
}

impl Driver {
    /// A node that has not started yet.
    pub(crate) fn new(setup: Setup, now: Now) -> Self {
        let Setup { rules, members, scanner, kernel, threads, sources, source_return, kept, blocks, payout } = setup;
        let mut cluster = Cluster::new(rules, now.instant);
        cluster.restore(now.instant, kept.iter().flatten().copied());
        Self {
            id: rules.id,
            heartbeat: rules.heartbeat,
            cluster,
            scanner,
            members,
            feed: Feed::new(sources.len(), rules.run, source_return),
            handover: Handover::new(rules.run, now.instant),
            payout,
            keeper: kept.map(Keeper::new),
            meter: Meter::new(now.instant),
            pace: Pace::new(kernel.promised(), now.instant),
            chain: ChainWatch::default(),
            job: None,
            stopping: BTreeSet::new(),
            epoch: 0,
            shares: ShareTally::default(),
            luck: Luck::default(),
            kernel,
            threads,
            sources,
            blocks_wanted: blocks,
            warnings: Warnings::default(),
            changes: Changes::default(),
            next_look: now.instant,
            next_status: now.instant,
            next_report: now.instant + rules.heartbeat.min(FIRST_REPORT),
            actions: VecDeque::new(),
        }
    }

    /// Begins: reports the start to the user, and names the servers.
    pub(crate) fn start(&mut self, now: Now, listen: std::net::SocketAddr) {
        let (node, kernel, threads, choice) =
            (self.id, self.kernel.kernel.name(), self.threads, self.kernel.to_string());
        self.tell(now, Event::Started { node, listen, kernel, threads, choice });
        self.set_peers(now);
        self.drain(now);
    }

    // ---- getters

    /// The rules.
    #[cfg(test)]
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The scanner, which the simulation works by hand.
    #[cfg(test)]
    pub(crate) fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// Whether as many blocks were accepted as were wanted.
    pub(crate) fn is_done(&self) -> bool {
        self.blocks_wanted.is_some_and(|wanted| self.chain.blocks() >= wanted)
    }

    /// Whether solutions are on their way to a source.
    pub(crate) fn is_submitting(&self) -> bool {
        self.feed.is_submitting()
    }

    /// Whether the store is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::is_writing)
    }

    // ---- events

    /// Applies what has happened.
    pub(crate) fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Message(from, message) => {
                let Some(message) = self.inspect(now, from, message) else { return self.drain(now) };
                if matches!(message, Message::HeartbeatRequest(_)) {
                    if self.cluster.leader() == Some(from) {
                        self.look_at_scans(); // the answer carries a report
                    }
                    self.members.heard(self.cluster.state(from).is_up());
                }
                if let Message::HeartbeatRequest(heartbeat) | Message::HeartbeatReply(heartbeat, _) = &message
                    && let Some(theirs) = heartbeat.interval.filter(|interval| !interval.is_zero())
                {
                    let news = self.warnings.interval(self.id, self.heartbeat, from, theirs, now.instant);
                    news.into_iter().for_each(|event| self.tell(now, event));
                }
                self.cluster.handle_message(now.instant, from, message);
            }
            Input::Scan(event) => self.handle_scan(now, event),
            Input::Source(answer) => self.feed.handle(now.instant, answer),
            Input::Written(result) => {
                let next = self.keeper.as_mut().and_then(|keeper| keeper.written(now.instant, result));
                self.actions.extend(next.map(Action::Write));
            }
            Input::Servers(servers) => self.list(now, servers),
            Input::Kernel(choice) => self.set_kernel(now, choice),
            Input::Advice(source, problem) => {
                self.warnings.advice(self.id, source, problem).into_iter().for_each(|event| self.tell(now, event));
            }
            Input::Certificate(problem) => {
                self.warnings.certificate(self.id, problem).into_iter().for_each(|event| self.tell(now, event));
            }
        }
        self.drain(now);
    }

    /// The time that [`Driver::poll_timeout`] named has come.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let instant = now.instant;
        self.look_at_scans();
        self.cluster.handle_timeout(instant);
        self.feed.handle_timeout(instant);
        if self.next_look <= instant {
            self.next_look = instant + LOOK_EVERY;
            let busy = self.cluster.job().is_some();
            self.cluster.set_speed(self.meter.note(instant, self.scanner.hashes(), busy));
            self.tell_due(now);
            self.fetch_body(now);
        }
        if self.next_status <= instant {
            self.next_status = instant + STATUS_EVERY;
            self.members.want(self.cluster.peers().any(|(_, state)| state.is_away()));
            self.actions.push_back(Action::Status);
            self.look_at_pace(now);
        }
        if self.next_report <= instant {
            self.next_report = instant + self.heartbeat;
            self.tell_rate(now);
            let again = self.keeper.as_mut().and_then(|keeper| keeper.retry(instant));
            self.actions.extend(again.map(Action::Write));
        }
        self.drain(now);
    }

    /// Leaves the cluster: stops all scans and sends the peers a final report.
    pub(crate) fn leave(&mut self, now: Now) {
        self.look_at_scans();
        self.cluster.leave();
        self.drain(now);
    }

    /// Reports that the node has stopped. No event follows.
    pub(crate) fn end(&mut self, now: Now) {
        self.drain(now);
        self.tell_rate(now);
        self.tell(now, Event::Stopped { node: self.id });
    }

    // ---- polls

    /// The next thing to do, if there is any.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Driver::handle_timeout`] has to be called.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let due = [self.cluster.poll_timeout(), self.feed.poll_timeout()];
        let own = self.next_look.min(self.next_status).min(self.next_report);
        due.into_iter().flatten().fold(own, Instant::min)
    }

    // ---- the rest, top down

    fn handle_scan(&mut self, now: Now, event: scan::Event) {
        match event {
            scan::Event::Found { ticket, nonce, .. } => {
                let job = self.cluster.job_of(ticket);
                if let Some(job) = job {
                    self.luck.found(job.target());
                }
                // Shares are too frequent to report each of them.
                let ends_job = job.is_some_and(|job| job.goal.search == Search::First);
                if ends_job && !self.stopping.contains(&ticket) {
                    self.tell(now, Event::Found { node: self.id, nonce });
                }
                self.cluster.handle_found(now.instant, ticket, nonce);
            }
            scan::Event::Ended { ticket, searched, witnesses } => {
                self.look_at_scans();
                if self.stopping.remove(&ticket) && self.stopping.is_empty() {
                    self.tell(now, Event::Interrupted { node: self.id });
                }
                self.cluster.handle_searched(now.instant, ticket, searched.end, &witnesses);
            }
        }
    }

    /// What of a message is for the rules: none of what bodies are fetched with, and no work that pays somebody else.
    fn inspect(&mut self, now: Now, from: NodeId, mut message: Message) -> Option<Message> {
        // The rules read both kinds of assignments alike.
        if let Message::Process(assign) | Message::ProcessInterrupt(assign) = &mut message {
            self.refuse_unpaid(now, from, assign);
        }
        match message {
            // Only whoever leads next gets bodies: others could take what there is to give.
            Message::BodyRequest(request) if self.cluster.is_leading() && self.cluster.next_leader() == Some(from) => {
                let reply = self.handover.hear_request(now.instant, request);
                self.actions.extend(reply.map(|part| Action::Send(from, part)));
                None
            }
            Message::Body(part) => {
                match self.handover.hear_part(now.instant, from, part) {
                    Heard::Nothing => {}
                    Heard::Part(to, request) => self.actions.push_back(Action::Send(to, request)),
                    Heard::Whole(Fetched { run, template, bytes: body }) => {
                        tracing::debug!("node {}: has the body of node {from}'s template {}", self.id, template.tag);
                        self.feed.adopt(run, Arc::new(Adopted { template: template.clone(), body }));
                        self.cluster.adopt(now.instant, run, template);
                    }
                }
                None
            }
            Message::BodyRequest(_) => None,
            other => Some(other),
        }
    }

    /// Takes out of an assignment what does not pay whom it has to pay.
    fn refuse_unpaid(&mut self, now: Now, from: NodeId, assign: &mut Assign) {
        let Some(payout) = &self.payout else { return };
        let paid = |job: &Job| payout.takes(job, assign.current.as_ref()) || self.cluster.holds(job);
        let paid: Vec<_> = assign.jobs.iter().map(paid).collect();
        let all = assign.leases.len();
        assign.leases.retain(|lease| paid.get(usize::from(lease.job)).is_some_and(|&paid| paid));
        let news = self.warnings.unpaid(self.id, from, assign.leases.len() < all, payout);
        news.into_iter().for_each(|event| self.tell(now, event));
    }

    /// Fetches the body of the leader's template, if this node leads next.
    fn fetch_body(&mut self, now: Now) {
        if self.cluster.next_leader() == Some(self.id)
            && let Some(given) = self.cluster.given()
        {
            let request = self.handover.fetch(now.instant, given);
            self.actions.extend(request.map(|(leader, request)| Action::Send(leader, request)));
        }
    }

    /// Hands the scanner's progress to the rules.
    fn look_at_scans(&mut self) {
        for scan::Progress { ticket, searched, witnesses } in self.scanner.progress() {
            self.cluster.handle_progress(ticket, searched.end, &witnesses);
        }
    }

    fn done(&self) -> Done {
        Done { hashes: self.scanner.hashes(), time: self.scanner.time() }
    }

    /// Orders a measurement of the kernels if hashing stays slower than this one promised to be.
    fn look_at_pace(&mut self, now: Now) {
        if let Some(part) = self.pace.note(now.instant, self.done()) {
            let per_cent = part * 100.0;
            tracing::debug!(
                "node {}: hashes at {per_cent:.0} % of the rate that kernel {} was measured with, so all kernels are measured again",
                self.id,
                self.kernel.variant
            );
            self.actions.push_back(Action::Measure(self.kernel.clone()));
        }
    }

    /// Hashes with this kernel from the next scan on.
    fn set_kernel(&mut self, now: Now, choice: Choice) {
        self.pace.promise(choice.promised(), now.instant, self.done());
        if choice.variant != self.kernel.variant {
            tracing::info!(
                "node {}: kernel {} was slower than it was measured to be; from now on {choice}",
                self.id,
                self.kernel.variant
            );
        }
        self.scanner.set_kernel(choice.kernel);
        self.kernel = choice;
    }

    /// Takes over servers that a list names or the transport has met.
    fn list(&mut self, now: Now, servers: Vec<Member>) {
        let known: BTreeSet<_> = self.cluster.peers().map(|(id, _)| id).collect();
        let news = self.members.listed(servers, |id| self.cluster.state(id).is_away());
        if !news.is_empty() {
            self.set_peers(now);
        }
        for id in news.into_iter().filter(|id| known.contains(id)) {
            self.cluster.handle_moved(now.instant, id);
        }
    }

    fn set_peers(&mut self, now: Now) {
        let members = self.members.all();
        self.cluster
            .set_peers(now.instant, &members.iter().map(|member| (member.id, member.proves)).collect::<Vec<_>>());
        self.actions.push_back(Action::SetPeers(members));
    }

    /// Does what the rules and the feed ask for, until neither asks for anything.
    fn drain(&mut self, now: Now) {
        loop {
            self.feed.want(self.cluster.wants_session(now.instant));
            if let Some(output) = self.cluster.poll_output() {
                self.act(now, output);
            } else if let Some(request) = self.feed.poll_request() {
                self.actions.push_back(Action::Source(request));
            } else if let Some(news) = self.feed.poll_news() {
                self.hear(now, news);
            } else {
                break;
            }
        }
        if self.cluster.job().is_none() {
            self.meter.note(now.instant, self.scanner.hashes(), false);
        }
        if self.members.take_wish(now.instant) {
            self.actions.push_back(Action::ReadRegistry);
        }
        self.keep(now);
    }

    /// Warns of leading alone, or that it is over; to be called when a peer's state or the leader has changed.
    fn warn_if_alone(&mut self, now: Now) {
        let is_alone = self.cluster.is_leading() && !self.cluster.peers().any(|(_, state)| state.is_up());
        let mut silent = if is_alone { self.members.all() } else { vec![] };
        silent.retain(|member| member.id != self.id && self.cluster.state(member.id) == PeerState::Down);
        if let Some(event) = self.warnings.alone(self.id, &silent) {
            self.tell(now, event);
        }
    }

    /// Tells of the false claims and the peers' changes that are due.
    fn tell_due(&mut self, now: Now) {
        let claims = self.warnings.due(self.id, now.instant);
        let changes = self.changes.due(self.id, now.instant);
        claims.into_iter().chain(changes).for_each(|event| self.tell(now, event));
    }

    /// Orders a write of the blocks that would otherwise be lost with this node.
    fn keep(&mut self, now: Now) {
        let Some(keeper) = &mut self.keeper else { return };
        self.actions.extend(keeper.keep(now.instant, self.cluster.kept()).map(Action::Write));
        if let Some(problem) = keeper.take_news() {
            self.tell(now, Event::Store { node: self.id, problem });
        }
    }

    fn act(&mut self, now: Now, output: Output) {
        let node = self.id;
        match output {
            Output::Send { to, message } => self.actions.push_back(Action::Send(to, message)),
            Output::Scan { ticket, job, range, bits } => self.scan(now, ticket, job, range, bits),
            Output::Stop { ticket } => {
                tracing::debug!("node {node}: stops a search, whose lease has ended");
                self.stopping.insert(ticket);
                self.scanner.stop(ticket);
            }
            Output::Ask => self.feed.ask(),
            Output::Submit { .. } if self.is_done() => {} // whoever leads next submits it
            Output::Submit { solution, found_by } => {
                tracing::debug!("node {node}: submits nonce {} of node {found_by}", solution.nonce);
                self.feed.submit(solution, found_by);
            }
            Output::Peer { peer, state } => {
                tracing::debug!("node {node}: node {peer} is {}", state.name());
                self.changes.note(peer, state, now.instant);
                self.tell_due(now);
                self.warn_if_alone(now);
            }
            Output::Leader { leader } => {
                tracing::debug!("node {node}: node {leader} has the lowest id of those that answer, and leads");
                self.epoch += 1;
                self.tell(now, Event::Leader { node, leader, epoch: self.epoch });
                self.warn_if_alone(now);
            }
            Output::Distrusted { node: peer } => {
                self.warnings.distrusted(peer);
                self.tell_due(now);
            }
            Output::Refused { from, solution } => {
                tracing::debug!("node {node}: refuses nonce {} of node {from}", solution.nonce);
                self.warnings.claimed(from, solution.nonce);
                self.tell_due(now);
            }
            Output::ShareLost => self.shares.lose(),
        }
    }

    fn scan(&mut self, now: Now, ticket: Ticket, job: Job, range: NonceRange, bits: WitnessBits) {
        if self.job != Some(job) {
            self.job = Some(job);
            self.chain.see(job.puzzle.prev());
            self.tell(
                now,
                Event::Job {
                    node: self.id,
                    height: job.round.block.height,
                    prev: job.puzzle.shown(job.puzzle.prev()),
                    zeros: job.target().zeros(),
                    timestamp: timestamp(&job.puzzle),
                    difficulty: difficulty(&job.puzzle, job.target()),
                    block_difficulty: job.goal.block.difficulty(),
                },
            );
        }
        tracing::debug!("node {}: searches {range} for block {}", self.id, job.round.block.height.saturating_add(1));
        self.scanner.push(ticket, job, range, Some(bits));
        self.meter.note(now.instant, self.scanner.hashes(), true);
    }

    fn hear(&mut self, now: Now, news: News) {
        match news {
            News::Template { template, asked, body } => {
                self.chain.see(template.round.block.hash);
                body.into_iter().for_each(|body| self.handover.keep(template.tag, body));
                self.cluster.handle_template(now.instant, template, asked);
            }
            News::Verdict { solution, found_by, source, verdict } => {
                let is_share = solution.job.goal.search == Search::Every && !matches!(verdict, Verdict::Block { .. });
                match is_share {
                    true => self.tell_verdict(now, &solution, source, &verdict),
                    false => self.tell_block(now, &solution, found_by, &verdict),
                }
                let next = match verdict {
                    Verdict::Block { next, .. } if !self.is_done() => next,
                    _ => None,
                };
                self.cluster.handle_verdict(now.instant, &solution, next);
            }
            News::Unsubmittable { solution, .. } => {
                if solution.job.goal.search == Search::Every {
                    let reason = Some("its session is over".to_owned());
                    self.tell_share(now, &solution, String::new(), ShareOutcome::Rejected, reason);
                }
                self.cluster.handle_unsubmittable(now.instant, &solution);
            }
            News::Unanswered { solution } => self.cluster.handle_unanswered(now.instant, &solution),
            News::Source { source, problem } => {
                let source = source.map(|at| self.sources[at].clone());
                self.tell(now, Event::Source { node: self.id, problem, source });
            }
        }
    }

    fn tell_rate(&mut self, now: Now) {
        let hashes = self.scanner.hashes();
        let (hashes_per_second, luck) = (self.meter.report(now.instant, hashes), self.luck.of(hashes));
        self.tell(now, Event::Rate { node: self.id, hashes, hashes_per_second, luck });
    }

    fn tell_block(&mut self, now: Now, solution: &Solution, found_by: NodeId, verdict: &Verdict) {
        let job = &solution.job;
        let (prev, hash) = (job.puzzle.prev(), job.puzzle.digest(solution.nonce));
        let next_height = job.round.block.height.saturating_add(1);
        let (height, status) = match verdict {
            Verdict::Block { height, .. } => (height.unwrap_or(next_height), Outcome::Success),
            Verdict::Share => (next_height, Outcome::Success),
            Verdict::Stale => (next_height, Outcome::Stale),
            Verdict::Rejected { .. } => (next_height, Outcome::Wrong),
            Verdict::NotUnderstood(_) => (next_height, Outcome::Incomplete),
        };
        if status == Outcome::Success {
            self.chain.see(prev);
            self.chain.see(hash);
        }
        let (timestamp, zeros) = (timestamp(&job.puzzle), job.goal.block.zeros());
        let (node, nonce, difficulty) = (self.id, solution.nonce, difficulty(&job.puzzle, job.goal.block));
        let (prev, hash, reason) = (job.puzzle.shown(prev), job.puzzle.shown(hash), verdict.reason());
        self.tell(
            now,
            Event::Block { node, height, prev, hash, nonce, timestamp, zeros, found_by, status, reason, difficulty },
        );
    }

    fn tell_verdict(&mut self, now: Now, solution: &Solution, source: usize, verdict: &Verdict) {
        let status = match verdict {
            Verdict::Block { .. } | Verdict::Share => ShareOutcome::Accepted,
            Verdict::Stale => ShareOutcome::Stale,
            Verdict::Rejected { .. } | Verdict::NotUnderstood(_) => ShareOutcome::Rejected,
        };
        self.tell_share(now, solution, self.sources[source].clone(), status, verdict.reason());
    }

    fn tell_share(
        &mut self,
        now: Now,
        solution: &Solution,
        source: String,
        status: ShareOutcome,
        reason: Option<String>,
    ) {
        let Solution { job, nonce } = solution;
        let difficulty = job.target().difficulty();
        let hash_difficulty = job.puzzle.value(job.puzzle.digest(*nonce)).difficulty();
        self.tell(now, Event::Share { node: self.id, source, status, reason, difficulty, hash_difficulty });
    }

    /// This node's status, without what its transport knows.
    pub(crate) fn make_status(&self, now: Now) -> Status {
        let job = self.cluster.job();
        Status {
            leader: self.cluster.leader(),
            epoch: self.epoch,
            height: job.map(|job| job.round.block.height),
            zeros: job.map(|job| job.target().zeros()),
            difficulty: job.and_then(|job| difficulty(&job.puzzle, job.target())),
            block_difficulty: job.map(|job| job.goal.block.difficulty()),
            expected_block: job.map(|job| self.expected_block(job)).filter(|seconds| seconds.is_finite()),
            luck: self.luck.of(self.scanner.hashes()),
            kernel: self.kernel.kernel.name().to_owned(),
            choice: self.kernel.to_string(),
            threads: self.threads,
            hashes: self.scanner.hashes(),
            hashes_per_second: self.meter.last_report(),
            blocks: self.chain.blocks(),
            shares: self.shares.counts(),
            rejections: self.shares.reasons().clone(),
            best_share: self.shares.best(),
            source: self.feed.in_use().map(|at| self.sources[at].clone()),
            source_problem: self.feed.problem().map(str::to_owned),
            distrusted: self.cluster.distrusted().collect(),
            peers: self.cluster.peers().map(|(id, state)| (id, state.name().to_owned())).collect(),
            heartbeat: self.heartbeat.as_secs_f64(),
            certificate_ends: None,
            at: now.since_1970.as_secs(),
        }
    }

    /// After how many seconds this node alone finds a block on average.
    fn expected_block(&self, job: &Job) -> f64 {
        1.0 / (job.goal.block.probability() * self.meter.last_report())
    }

    fn tell(&mut self, now: Now, event: Event) {
        self.shares.note(&event);
        let at = now.since_1970.as_micros() as u64;
        self.actions.push_back(Action::Tell(TimedEvent { event, at }));
    }
}

/// The difficulty of a header's target. A text's is counted in zeros.
fn difficulty(puzzle: &Puzzle, target: Target) -> Option<f64> {
    match puzzle {
        Puzzle::Text(_) => None,
        Puzzle::Header(_) => Some(target.difficulty()),
    }
}

fn timestamp(puzzle: &Puzzle) -> Option<crate::work::Timestamp> {
    match puzzle {
        Puzzle::Text(text) => Some(text.timestamp),
        Puzzle::Header(_) => None,
    }
}

#[cfg(test)]
mod tests;
