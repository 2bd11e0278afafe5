//! What must never happen, looked at after every step. RULES of the cluster, "Invariants".

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::plan::{Kind, Plan};
use super::server::{Life, Server};
use super::source::Source;
use crate::cluster::{Current, MAX_BLOCKS, MAX_KEPT, MAX_LEASES, Message, NodeId, PeerState, Reign};
use crate::node::Event;
use crate::node::driver::Driver;
use crate::scan;
use crate::work::{Job, JobId, NonceRange, RoundId, Run, Search, Solution, SolutionId};

/// How a law was broken.
pub(super) type Violation = String;

/// What a node held before a step.
pub(super) struct Before {
    leader: Option<NodeId>,
    held: Option<(Reign, u64)>,
    kept: Vec<Solution>,
    is_leading: bool,
}

/// A block has to be on its finder's disk after so long.
const WRITTEN: Duration = Duration::from_secs(1);

/// The laws and what they remember.
#[derive(Default)]
pub(super) struct Laws {
    plan: Plan,
    traitor: Option<NodeId>,
    /// The rounds that the traitor has named: whoever hears it may search for them.
    lies: BTreeSet<RoundId>,
    honest: BTreeSet<Run>,
    /// From then on everyone names this leader.
    agree: Option<(Duration, NodeId)>,
    /// Who starts anew in a well cluster, and when.
    started: Option<(NodeId, Duration)>,
    /// From then on nobody is idle for longer than this.
    busy: Option<(Duration, Duration)>,
    hashed: HashMap<JobId, Vec<NonceRange>>,
    pub(super) hashes: u64,
    /// Blocks for what the source wanted then, and when they were found. Nobody is to blame for those that are not here any more.
    found: BTreeMap<SolutionId, (Solution, Duration)>,
    pub(super) blocks_found: u64,
    /// Whose job is whose, and how far each is handed out.
    jobs: BTreeMap<JobId, (Reign, u64)>,
    /// The leases of each reign, by their number.
    leases: BTreeMap<(Reign, u64), (JobId, u64)>,
    /// Final answers, by life and solution.
    finals: BTreeSet<(NodeId, u64, SolutionId)>,
    /// Rounds that end with the solution that a node is submitting.
    ending: BTreeMap<NodeId, (u64, RoundId)>,
    /// Since when each node has been told nothing by a leader that answers.
    waits: BTreeMap<NodeId, Duration>,
    /// The blocks that each node with a disk knows and that were not seen there yet, and since when.
    unwritten: BTreeMap<NodeId, Vec<(Solution, Duration)>>,
    /// Shares that were found for the leader of a well cluster and not handed in yet.
    shares: BTreeMap<SolutionId, (NodeId, Duration)>,
    /// Whom a leader has refused, by both runs; and whom it has assigned something last.
    refused: BTreeSet<(Run, Run)>,
    assigned: BTreeMap<(NodeId, NodeId), (Run, Run)>,
    pub(super) distrusted: BTreeSet<NodeId>,
    broken: Option<Violation>,
}

impl Laws {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { plan: plan.clone(), ..Self::default() }
    }

    // ---- what the world tells

    pub(super) fn honest_run(&mut self, run: Run) {
        self.honest.insert(run);
    }

    pub(super) fn is_honest(&self, run: Run) -> bool {
        self.honest.contains(&run)
    }

    pub(super) fn betrayed(&mut self, id: NodeId) {
        self.traitor = Some(id);
    }

    pub(super) fn agree_from(&mut self, at: Duration, leader: NodeId) {
        self.agree = Some((at, leader));
    }

    pub(super) fn busy_from(&mut self, at: Duration, limit: Duration) {
        self.busy = Some((at, limit));
    }

    /// A node of a well cluster starts anew. It may name nobody for the time of an answer.
    pub(super) fn starts_at(&mut self, id: NodeId, at: Duration) {
        self.started = Some((id, at));
    }

    fn is_starting(&self, id: NodeId, now: Duration) -> bool {
        self.started.is_some_and(|(starting, at)| starting == id && now < at + Duration::from_secs(1))
    }

    /// Nodes may be idle.
    pub(super) fn rest(&mut self) {
        self.busy = None;
    }

    pub(super) fn relax(&mut self) {
        (self.agree, self.busy) = (None, None);
    }

    /// An honest node sends something. Its leases are disjoint and of the round that it searches, and its jobs nobody else's. It assigns
    /// nothing of a round that ends with what it is submitting, and nothing to whom it has refused.
    pub(super) fn sent(&mut self, id: NodeId, to: NodeId, message: &Message) {
        let (Message::Process(assign) | Message::ProcessInterrupt(assign)) = message else { return };
        let (own, theirs) = (assign.reign.run, assign.report.run);
        self.assigned.insert((id, to), (own, theirs));
        if !assign.leases.is_empty() && self.refused.contains(&(own, theirs)) {
            self.broken = Some(format!("{id:?} assigns work to {to:?}, which it has refused"));
        }
        for lease in &assign.leases {
            let round = assign.jobs[usize::from(lease.job)].round;
            if assign.current.as_ref().map(Current::round) != Some(round) {
                self.broken = Some(format!("{id:?} leases of {round:?}, which it does not search"));
            }
            if self.ending.get(&id).is_some_and(|&(_, ending)| ending == round) {
                self.broken = Some(format!("{id:?} leases of {round:?} while it submits its solution"));
            }
            let puzzle = &assign.jobs[usize::from(lease.job)].puzzle;
            // A text's shortest nonces come after the others.
            let is_last = puzzle.last_nonces().covers(&lease.range);
            let begin = lease.range.start + if is_last { puzzle.space().end } else { 0 };
            let job = assign.jobs[usize::from(lease.job)].id();
            let (owner, cursor) = self.jobs.entry(job).or_insert((assign.reign, 0));
            if *owner != assign.reign {
                let text = format!("{id:?} leases of {job:?} in {:?}, which is of {owner:?}", assign.reign);
                self.broken = Some(text);
            }
            let (known_job, end) = *self.leases.entry((assign.reign, lease.number)).or_insert_with(|| {
                if begin < *cursor {
                    self.broken = Some(format!("{id:?} leases {lease:?} of {job:?} twice, to {cursor}"));
                }
                *cursor = begin + lease.range.len();
                (job, lease.range.end)
            });
            if (known_job, end) != (job, lease.range.end) {
                self.broken = Some(format!("{id:?} changes its lease {lease:?}"));
            }
        }
    }

    pub(super) fn told(&mut self, id: NodeId, event: &Event) {
        if let Event::Distrusted { peer, .. } = *event {
            self.distrusted.insert(peer);
            self.refused.extend(self.assigned.get(&(id, peer)));
            if Some(peer) != self.traitor && Some(peer.get()) != self.plan.blind {
                self.broken = Some(format!("{id:?} distrusts {peer:?}, which is honest"));
            }
        }
    }

    /// A node has hashed so many nonces of a job from this one on.
    pub(super) fn hashed(&mut self, id: NodeId, job: &Job, start: u64, count: u64) -> Result<(), Violation> {
        self.hashes += count;
        let new = NonceRange::new(start, start + count);
        if new.is_empty() {
            return Ok(());
        }
        let known = self.hashed.entry(job.id()).or_default();
        let at = known.partition_point(|range| range.end <= new.start);
        if known.get(at).is_some_and(|range| range.start < new.end) {
            return Err(format!("{id:?} hashes {new} of {:?} again: {} is hashed", job.id(), known[at]));
        }
        match at.checked_sub(1).map(|before| &mut known[before]) {
            Some(before) if before.end == new.start => before.end = new.end,
            _ => known.insert(at, new),
        }
        Ok(())
    }

    /// A scan has met something.
    pub(super) fn found(&mut self, now: Duration, id: NodeId, job: &Job, event: &scan::Event, source: &Source) {
        let scan::Event::Found { nonce, .. } = *event else { return };
        let solution = Solution { job: *job, nonce };
        let is_ours = self.is_honest(job.tag.slot.run);
        if is_ours && job.round == source.round() && source.is_block(&solution) && solution.is_block() {
            self.blocks_found += 1;
            self.found.insert(solution.id(), (solution, now));
        }
        if self.busy.is_some_and(|(at, _)| now >= at) && !solution.is_block() {
            self.shares.insert(name(&solution), (id, now));
        }
    }

    /// A solution is on its way to the source. None is after its final answer.
    pub(super) fn submitted(&mut self, id: NodeId, life: u64, is_leading: bool, solution: &Solution) {
        if self.finals.contains(&(id, life, name(solution))) {
            self.broken = Some(format!("{id:?} submits {solution:?} again after its final answer"));
        }
        if is_leading && solution.job.goal.search == Search::First {
            self.ending.insert(id, (life, solution.job.round));
        }
        self.shares.remove(&name(solution));
    }

    /// The source's answer to a solution has arrived, perhaps a final one.
    pub(super) fn answered(&mut self, id: NodeId, life: u64, solution: &Solution, is_final: bool) {
        if is_final {
            self.finals.insert((id, life, name(solution)));
        }
        if self.ending.get(&id) == Some(&(life, solution.job.round)) {
            self.ending.remove(&id);
        }
    }

    /// Somebody is gone: what only it knew is nobody's fault.
    pub(super) fn killed(&mut self, id: NodeId, servers: &BTreeMap<NodeId, Server>) {
        self.resumed(id);
        self.ending.remove(&id);
        self.shares.retain(|_, &mut (finder, _)| finder != id);
        self.found.retain(|_, (solution, _)| has_holder(solution, servers));
    }

    /// A node was paused, so that its waits do not count.
    pub(super) fn resumed(&mut self, id: NodeId) {
        self.waits.remove(&id);
        self.unwritten.remove(&id);
    }

    /// The traitor says something.
    pub(super) fn lied(&mut self, message: &Message) {
        let current = match message {
            Message::HeartbeatRequest(heartbeat)
            | Message::HeartbeatReply(heartbeat, _)
            | Message::Leave(heartbeat, _) => heartbeat.leads.as_ref().and_then(|leads| leads.current.as_ref()),
            Message::Process(assign) | Message::ProcessInterrupt(assign) => assign.current.as_ref(),
            _ => None,
        };
        self.lies.extend(current.map(Current::round));
    }

    // ---- the laws themselves

    pub(super) fn before(&self, driver: &Driver) -> Before {
        let cluster = driver.cluster();
        Before {
            leader: cluster.leader(),
            held: cluster.held(),
            kept: cluster.kept(),
            is_leading: cluster.is_leading(),
        }
    }

    /// What must hold after a step of this server. `others` are all but it; `from`: whose message it has heard.
    pub(super) fn after(
        &mut self,
        now: Duration,
        server: &Server,
        from: Option<NodeId>,
        before: Before,
        source: &Source,
        others: &BTreeMap<NodeId, Server>,
    ) -> Result<(), Violation> {
        let Some(life) = server.life() else { return Ok(()) };
        let (id, cluster) = (server.id, life.driver.cluster());
        if let Some(violation) = self.broken.take() {
            return Err(violation);
        }
        // The assignment is one's own leader's, and only gets newer.
        let held = cluster.held();
        if held != before.held
            && let Some((reign, sequence)) = held
        {
            let is_own = reign.run == life.run;
            let is_leaders = from.is_some() && (from == before.leader || from == cluster.leader());
            if !is_own && !is_leaders {
                return Err(format!(
                    "{id:?} obeys {reign:?} by the word of {from:?}, its leader is {:?}",
                    before.leader
                ));
            }
            if let Some((old, last)) = before.held
                && old.run == reign.run
                && self.is_honest(reign.run)
                && (reign.number, sequence) <= (old.number, last)
            {
                return Err(format!("{id:?} goes back from {old:?} {last} to {reign:?} {sequence}"));
            }
        }
        // Bounds.
        let kept = cluster.kept();
        if kept.len() > MAX_KEPT || life.driver.scanner().progress().len() > MAX_LEASES + server.threads as usize {
            return Err(format!("{id:?} keeps {} blocks, more than {MAX_BLOCKS} of each", kept.len()));
        }
        // What is searched is what the source has named, or what the traitor has.
        if let Some(round) = cluster.round()
            && !self.lies.contains(&round)
            && !source.had(round)
        {
            return Err(format!("{id:?} leads the search for {round:?}, which no source has named"));
        }
        let is_liars_word = self.traitor.is_some() && from == self.traitor && before.leader == from;
        self.nothing_is_lost(id, is_liars_word, &before.kept, &kept, source, others)?;
        self.all_is_written(now, server, &before.kept, &kept)?;
        self.nobody_waits(now, server, &before, others)?;
        if let Some((at, leader)) = self.agree
            && now >= at
            && cluster.leader() != Some(leader)
            && (cluster.leader().is_some() || !self.is_starting(id, now))
        {
            return Err(format!("{id:?} names {:?}, and not {leader:?}", cluster.leader()));
        }
        self.nobody_idles(now, server, source)
    }

    /// A block for what the source wants is known to somebody until it is settled.
    fn nothing_is_lost(
        &mut self,
        id: NodeId,
        is_liars_word: bool,
        before: &[Solution],
        kept: &[Solution],
        source: &Source,
        others: &BTreeMap<NodeId, Server>,
    ) -> Result<(), Violation> {
        for dropped in before.iter().filter(|solution| !kept.contains(solution)) {
            if is_liars_word {
                // The lowest live id may lie about what is settled.
                self.found.remove(&dropped.id());
                continue;
            }
            let is_wanted = dropped.job.round == source.round() && self.found.contains_key(&dropped.id());
            if is_wanted && self.can_be_submitted(dropped, others) && !has_holder(dropped, others) {
                return Err(format!("{id:?} drops {dropped:?}, and nobody else knows it"));
            }
        }
        Ok(())
    }

    /// A header's block needs the process that made its job, or one to which that has handed its template's body over.
    fn can_be_submitted(&self, solution: &Solution, servers: &BTreeMap<NodeId, Server>) -> bool {
        let can =
            |life: &Life| life.run == solution.job.tag.slot.run || life.driver.cluster().has_adopted(&solution.job);
        self.plan.kind == Kind::Text || servers.values().any(|server| server.life().is_some_and(can))
    }

    /// What a node with a disk comes to know is on it a moment later.
    fn all_is_written(
        &mut self,
        now: Duration,
        server: &Server,
        before: &[Solution],
        kept: &[Solution],
    ) -> Result<(), Violation> {
        let (id, Some(disk)) = (server.id, &server.disk) else { return Ok(()) };
        let unwritten = self.unwritten.entry(id).or_default();
        if before != kept {
            let new = kept.iter().filter(|solution| !before.contains(solution));
            unwritten.extend(new.map(|solution| (*solution, now)));
            unwritten.retain(|(solution, _)| kept.contains(solution));
        }
        if unwritten.first().is_some_and(|(_, since)| now.saturating_sub(*since) > WRITTEN) {
            unwritten.retain(|(solution, _)| !disk.contains(solution));
            if let Some((solution, _)) = unwritten.iter().find(|(_, since)| now.saturating_sub(*since) > WRITTEN) {
                return Err(format!("{id:?} has not written {solution:?}"));
            }
        }
        Ok(())
    }

    /// A node whose leader answers and assigns nothing for two heartbeats leads itself (rule 5); in a well cluster nobody does.
    fn nobody_waits(
        &mut self,
        now: Duration,
        server: &Server,
        before: &Before,
        others: &BTreeMap<NodeId, Server>,
    ) -> Result<(), Violation> {
        let Some(life) = server.life() else { return Ok(()) };
        let (id, cluster) = (server.id, life.driver.cluster());
        let (leader, held) = (cluster.leader(), cluster.held());
        let is_leading = cluster.is_leading();
        let is_well = self.busy.is_some_and(|(at, _)| now >= at) && self.agree.is_some_and(|(at, _)| now >= at);
        let is_led = leader.and_then(|leader| others.get(&leader)).is_some_and(Server::is_up);
        if is_leading && is_led && is_well {
            return Err(format!("{id:?} leads itself, though {leader:?} leads"));
        }
        // A liar may assign the same again as another run.
        let honest = leader.filter(|_| leader != self.traitor);
        let answers = honest.is_some_and(|leader| cluster.state(leader) == PeerState::Alive);
        let since = self.waits.entry(id).or_insert(now);
        if (before.leader, before.held) != (leader, held) || is_leading || before.is_leading || !answers {
            *since = now;
        }
        if now.saturating_sub(*since) > self.plan.heartbeat * 5 / 2 + Duration::from_millis(100) {
            return Err(format!("{id:?} waits for {leader:?} since {since:?}"));
        }
        Ok(())
    }

    fn nobody_idles(&self, now: Duration, server: &Server, source: &Source) -> Result<(), Violation> {
        let Some((at, limit)) = self.busy else { return Ok(()) };
        let Some(life) = server.life() else { return Ok(()) };
        let Some(since) = life.idle_since else { return Ok(()) };
        let refuses = |leader: Run| self.refused.contains(&(leader, life.run));
        let is_refused = life.driver.cluster().held().is_some_and(|(reign, _)| refuses(reign.run));
        // A blind one may refuse itself.
        if server.is_blind || server.paused.is_some() || is_refused {
            return Ok(());
        }
        let from = since.max(at).max(source.since);
        if now.saturating_sub(from) > limit {
            return Err(format!("{:?} is idle since {since:?}", server.id));
        }
        Ok(())
    }

    /// At rest: whatever was found is settled, and nobody offers anything for ever.
    pub(super) fn at_rest(
        &self,
        now: Duration,
        source: &Source,
        servers: &BTreeMap<NodeId, Server>,
    ) -> Result<(), Violation> {
        let is_late = |since: Duration| now.saturating_sub(since) > self.plan.heartbeat * 4;
        for (solution, at) in self.found.values().filter(|(solution, _)| solution.job.round == source.round()) {
            let is_known = servers.values().any(|server| server.holds(solution));
            if is_late(source.since.max(*at)) && is_known && self.can_be_submitted(solution, servers) {
                return Err(format!("{solution:?} is not submitted"));
            }
        }
        for server in servers.values() {
            let kept = server.life().map(|life| life.driver.cluster().kept()).unwrap_or_default();
            // What a traitor told of the current block may fill a report until that is found.
            let is_old = |solution: &&Solution| solution.job.round != source.round();
            let hides = self.traitor.is_some() && kept.iter().filter(|kept| !is_old(kept)).count() >= MAX_BLOCKS;
            if let Some(old) = kept.iter().find(is_old).filter(|_| !hides && is_late(source.since)) {
                return Err(format!("{:?} still offers {old:?}", server.id));
            }
        }
        Ok(())
    }

    /// In a cluster that is well every share is handed in soon.
    pub(super) fn shares_are_submitted(&self, now: Duration) -> Result<(), Violation> {
        match self.shares.iter().find(|(_, (_, at))| now.saturating_sub(*at) > self.plan.heartbeat) {
            Some((share, (id, at))) => Err(format!("{share:?}, which {id:?} found at {at:?}, is not submitted")),
            None => Ok(()),
        }
    }

    /// Whoever finds nothing is refused by now.
    pub(super) fn blind_are_refused(&self, leader: &Server) -> Result<(), Violation> {
        let Some(cluster) = leader.life().map(|life| life.driver.cluster()) else { return Ok(()) };
        let is_seen = |id: NodeId| cluster.distrusted().any(|refused| refused == id);
        match cluster.peers().find(|&(id, state)| Some(id.get()) == self.plan.blind && state.is_up() && !is_seen(id)) {
            Some((id, _)) => Err(format!("{id:?} finds nothing, and {:?} has not noticed", leader.id)),
            None => Ok(()),
        }
    }

    /// Whether enough blocks were found since everything was well.
    pub(super) fn must_find(&self, blocks: u64, expected: f64) -> Result<(), Violation> {
        if !self.plan.is_endless && expected > 16.0 && blocks == 0 {
            return Err(format!("no block where {expected:.0} were to be expected"));
        }
        Ok(())
    }
}

/// A solution's name, whatever number its template has: the source numbers templates for each session, a node for all of them.
fn name(solution: &Solution) -> SolutionId {
    let mut solution = *solution;
    solution.job.tag.template = 0;
    solution.id()
}

/// Whether an honest node or a disk has the block.
fn has_holder(solution: &Solution, servers: &BTreeMap<NodeId, Server>) -> bool {
    let is_on_disk = |server: &Server| server.disk.as_ref().is_some_and(|disk| disk.contains(solution));
    servers.values().any(|server| server.holds(solution) || is_on_disk(server))
}
