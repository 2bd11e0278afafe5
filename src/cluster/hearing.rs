//! What other nodes say, and what of it counts.

use std::time::Instant;

use super::liveness::Kind;
use super::message::{MAX_BLOCKS, MAX_JOBS, MAX_REPORTED_NAMES, MAX_REPORTED_SHARES};
use super::probe::probe;
use super::solutions::Judgement;
use super::{Assign, Cluster, Heartbeat, Message, NodeId, Output, Report};
use crate::work::{Solution, SolutionId};

impl Cluster {
    /// Every request is answered, whoever runs there. A node's leader gets its report with the answer.
    pub(super) fn hear_request(&mut self, now: Instant, from: NodeId, heartbeat: &Heartbeat) {
        let report = (self.leader == Some(from)).then(|| self.report(Some(from)));
        let reply = self.heartbeat(Some(heartbeat.stamp));
        self.send(from, Message::HeartbeatReply(reply, report));
        self.hear_heartbeat(now, from, heartbeat);
    }

    /// An answer proves life, if it echoes a request of ours (rule 1).
    pub(super) fn hear_reply(&mut self, now: Instant, from: NodeId, heartbeat: &Heartbeat, report: Option<Report>) {
        let echo = heartbeat.echo.filter(|echo| echo.run == self.config.run);
        if !echo.is_some_and(|echo| self.peers.answered(from, heartbeat.stamp.run, echo.sent)) {
            probe!(AnswerToNothing);
            return;
        }
        self.look_at_peers(now);
        self.hear_heartbeat(now, from, heartbeat);
        if let Some(report) = report {
            self.hear_report(now, from, &report);
        }
    }

    /// A goodbye counts from its arrival and for its run only.
    pub(super) fn hear_leave(&mut self, now: Instant, from: NodeId, heartbeat: &Heartbeat, report: Option<Report>) {
        if self.peers.get(from).and_then(|peer| peer.run) != Some(heartbeat.stamp.run) {
            probe!(GoodbyeOfOtherRun);
            return self.ask(now, from);
        }
        if let Some(report) = report {
            self.hear_report(now, from, &report);
        }
        self.hear_heartbeat(now, from, heartbeat);
        self.peers.leave(from, now);
        self.leading.iter_mut().for_each(|leading| leading.forget(from));
        self.look_at_peers(now);
    }

    /// What a heartbeat says beside that its sender is there.
    fn hear_heartbeat(&mut self, now: Instant, from: NodeId, heartbeat: &Heartbeat) {
        let Some(peer) = self.peers.get(from) else { return };
        let is_strange = peer.run != Some(heartbeat.stamp.run);
        if is_strange || self.peers.state(from).is_away() {
            self.ask(now, from);
        }
        if is_strange {
            return;
        }
        if !self.peers.is_new(from, Kind::Heartbeat, heartbeat.stamp) {
            probe!(HeartbeatOld);
            return;
        }
        let Some(leads) = &heartbeat.leads else { return };
        if self.leader == Some(from) {
            self.learn(leads.current.as_ref());
            for block in leads.blocks.iter().take(MAX_BLOCKS) {
                self.hear_block(now, from, block, block.id());
            }
        }
        // Rule 1: somebody thinks that all lower ids are gone.
        if self.leader.is_some_and(|leader| from > leader) {
            for id in self.peers.probe_below(from, now) {
                probe!(LowerProbed);
                self.request(now, id);
            }
        }
    }

    /// A report counts if it is the newest of the run that answers, and not one of too many (rule 9). Each that is read gets one
    /// assignment.
    pub(super) fn hear_report(&mut self, now: Instant, from: NodeId, report: &Report) {
        if !self.peers.count_report(from, report.shares.len()) {
            return;
        }
        if self.peers.get(from).and_then(|peer| peer.run) != Some(report.stamp.run) {
            probe!(ReportOfOtherRun);
            return self.ask(now, from);
        }
        if self.peers.is_new(from, Kind::Report, report.stamp) {
            self.take_in(now, from, report);
            self.assign(now, from);
        } else {
            probe!(ReportOld);
        }
    }

    /// Takes in a report, which may be this node's own.
    pub(super) fn take_in(&mut self, now: Instant, from: NodeId, report: &Report) {
        let mut named = Vec::new();
        for block in report.blocks.iter().take(MAX_BLOCKS) {
            let id = block.id();
            named.push(id);
            if !self.hear_block(now, from, block, id) {
                break; // whoever says something false has nothing more to say
            }
        }
        if self.leading.is_some() {
            named.extend(self.hear_shares(from, report));
            named.extend(report.taken.iter().copied().take(MAX_REPORTED_NAMES));
        }
        let proves = self.peers.get(from).is_none_or(|peer| peer.proves);
        if let Some(leading) = &mut self.leading
            && !leading.handle_report(now, from, report, named, proves, &mut self.trust)
        {
            self.out.push_back(Output::Distrusted { node: from });
        }
        self.judge(now);
    }

    /// Takes what shares there is room for. Gives the names of those in the report.
    fn hear_shares(&mut self, from: NodeId, report: &Report) -> Vec<SolutionId> {
        let (mut named, mut is_refused) = (Vec::new(), false);
        let mut measures = [None; MAX_JOBS];
        for &(place, nonce) in report.shares.iter().take(MAX_REPORTED_SHARES) {
            let Some(&job) = report.jobs.iter().take(MAX_JOBS).nth(place.into()) else { break };
            let solution = Solution { job, nonce };
            let id = solution.id();
            named.push(id);
            if self.blocks.knows(id) || self.taken_shares.knows(from, id) {
                continue;
            }
            let measure = *measures[usize::from(place)].get_or_insert_with(|| self.measure_shares(&job));
            match self.judge_share(&solution, measure) {
                Judgement::Good if self.taken_shares.take(from, solution, id) => {
                    self.out.push_back(Output::Submit { solution, found_by: from });
                }
                Judgement::Good => {} // there is no room for it yet
                Judgement::Unknown => {
                    probe!(ShareLost);
                    self.taken_shares.lose(from, id);
                    self.out.push_back(Output::ShareLost);
                }
                Judgement::False => {
                    probe!(ShareFalse);
                    // Settled, so that it is in nobody's way. Its finder may have it from a leader that lied.
                    self.taken_shares.lose(from, id);
                    if !std::mem::replace(&mut is_refused, true) {
                        self.out.push_back(Output::Refused { from, solution });
                    }
                }
            }
        }
        named
    }

    /// An assignment counts if it comes from the leader, answers a report of ours, and is newer than what was obeyed.
    pub(super) fn hear_assign(&mut self, now: Instant, from: NodeId, assign: &Assign) {
        if self.leader != Some(from) {
            probe!(AssignmentOfAnother);
            return;
        }
        let Some(peer) = self.peers.get(from) else { return };
        if peer.run != Some(assign.reign.run) {
            probe!(AssignmentOfOtherRun);
            return self.ask(now, from);
        }
        let number = (assign.reign.number, assign.sequence);
        if number <= peer.obeyed {
            probe!(AssignmentOld);
            return;
        }
        if !self.answers_a_report(assign.report) {
            probe!(AssignmentAnswersNothing);
            return;
        }
        self.peers.obeyed(from, number);
        self.is_assigned(now);
        self.obey(from, assign);
    }
}
