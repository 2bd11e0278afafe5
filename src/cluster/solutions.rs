//! What this node's own session has named, and what is submitted to it (rule 6).

use std::collections::VecDeque;
use std::time::Instant;

use super::blocks::Block;
use super::leading::ends_with_first;
use super::probe::probe;
use super::{Cluster, NodeId, Output};
use crate::work::{Job, Puzzle, RoundId, Run, Search, Solution, SolutionId, Target, Template};

/// Templates that solutions are judged by: more than there are blocks or difficulties in the time that a solution takes to arrive.
const MAX_KNOWN: usize = 64;

/// Templates of earlier leaders whose bodies are here, too: a leader's last few.
pub const MAX_ADOPTED: usize = 4;

/// What the session has named, and what it is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Offers {
    /// The templates of late, the newest last.
    known: VecDeque<Template>,
    /// Templates of other runs, for whose blocks this node has all that its session needs to submit them.
    adopted: VecDeque<(Run, Template)>,
    /// When the newest was asked for. Answers to older questions are ignored.
    asked: Option<Instant>,
    /// The block that is being submitted, and its round: one at a time of the round that is searched.
    submitting: Option<(SolutionId, RoundId)>,
}

/// What this node's session would say of a solution, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The session has never named that round or has forgotten it, or only another run's session knows the job.
    Unknown,
    Good,
    False,
}

impl Offers {
    /// The round that the session has named last.
    pub(super) fn round(&self) -> Option<RoundId> {
        self.known.back().map(|template| template.round)
    }

    /// Whether a block of the round that the session has named last is being submitted.
    pub(super) fn is_submitting(&self) -> bool {
        self.submitting.is_some_and(|(_, round)| Some(round) == self.round())
    }

    /// The source has said something, or nothing, to this block.
    fn is_over(&mut self, id: SolutionId) -> bool {
        self.submitting.take_if(|(submitted, _)| *submitted == id).is_some()
    }

    /// Whether the session submits texts, as far as it is known.
    pub(super) fn takes_texts(&self) -> bool {
        self.known.back().is_none_or(Template::is_text)
    }

    pub(super) fn knows(&self, round: RoundId) -> bool {
        self.known.iter().any(|template| template.round == round)
    }

    fn name(&mut self, template: Template) {
        self.known.retain(|known| *known != template);
        if self.known.len() == MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(template);
    }

    /// What hashes of this job must not exceed, by the block, goal and coinbase that the session itself has named, never by those that the
    /// job carries. It takes some microseconds: the coinbase and its branch are hashed.
    fn measure(&self, job: &Job, is_ours: bool, goal: fn(&Template) -> Option<Target>) -> Measure {
        let names = |known: &Template| known.round == job.round && (known.is_text() || known.tag == job.tag.template);
        if !is_ours {
            return self.measure_adopted(job, goal);
        }
        if !self.known.iter().any(names) {
            return Measure::Unknown; // or its template is forgotten
        }
        // Of several templates that would have made it, the easiest counts.
        let made = self.known.iter().filter(|template| template.made(job));
        made.filter_map(goal).max().map_or(Measure::None, Measure::Target)
    }

    /// Whether the job is of a template that another run has handed over.
    fn has_adopted(&self, job: &Job) -> bool {
        self.adopted.iter().any(|(run, template)| *run == job.tag.slot.run && template.made(job))
    }

    /// The same for a job of an earlier leader: the coinbase is that of the template which the leader has handed over, but the block and the
    /// goal are those that our session has named.
    fn measure_adopted(&self, job: &Job, goal: fn(&Template) -> Option<Target>) -> Measure {
        if !self.has_adopted(job) {
            return Measure::Unknown;
        }
        let named = self.known.iter().filter(|known| known.round == job.round && !known.is_text());
        named.filter_map(goal).max().map_or(Measure::Unknown, Measure::Target)
    }
}

/// What a job's solutions are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// The session has never named that round, or the job is one that only another run's session knows.
    Unknown,
    /// No template of the session makes such a job, or none in which that kind of solution counts.
    None,
    /// A hash must not exceed it.
    Target(Target),
}

impl Measure {
    fn judge(self, solution: &Solution) -> Judgement {
        let puzzle = &solution.job.puzzle;
        match self {
            _ if !solution.job.space().contains(solution.nonce) => Judgement::False,
            Self::Unknown => Judgement::Unknown,
            Self::Target(target) if puzzle.check(solution.nonce, target).is_some() => Judgement::Good,
            Self::None | Self::Target(_) => Judgement::False,
        }
    }
}

/// The solution's name without what a source does not see: a text's goal and tag are whatever its finder or a liar says.
fn plain(solution: &Solution) -> SolutionId {
    let job = match solution.job.puzzle {
        Puzzle::Text(_) => {
            Job { round: solution.job.round, ..Job::new(solution.job.puzzle, Target::MAX, Search::First) }
        }
        Puzzle::Header(_) => solution.job,
    };
    Solution { job, ..*solution }.id()
}

impl Cluster {
    /// The source names what it wants, asked for at `asked`.
    pub fn handle_template(&mut self, now: Instant, template: Template, asked: Instant) {
        if self.offers.asked.is_some_and(|newer| asked < newer) {
            probe!(OfferOld);
            // The session thinks that it has told this; it may have changed since.
            return self.out.push_back(Output::Ask);
        }
        self.offers.asked = Some(asked);
        self.offers.name(template.clone());
        // A block of a round that the session did not name, neither before nor now that it has been asked since.
        let is_stale = |block: &&Block| !self.offers.knows(block.solution.job.round) && block.since <= asked;
        if self.is_leading() {
            let stale: Vec<_> = self.blocks.iter().filter(is_stale).map(|block| (block.id, block.from)).collect();
            for (id, from) in stale {
                probe!(BlockOfUnknownRound);
                self.blocks.settle(id, from);
            }
        }
        self.judge(now);
        let Some(leading) = &self.leading else { return };
        let is_new = leading.template().is_none_or(|known| *known != template);
        if self.is_submitting_for(template.round) && ends_with_first(&template) {
            probe!(OfferWhileSubmitting);
            if leading.is_searching() {
                self.interrupt(now, template);
            }
        } else if is_new || !leading.is_searching() {
            if let Some(leading) = &mut self.leading {
                leading.begin(template, &mut self.maker, now);
            }
            self.assign_all(now);
        }
    }

    /// This node now has all that its session needs to submit the blocks of another run's template.
    pub fn adopt(&mut self, now: Instant, run: Run, template: Template) {
        let adopted = &mut self.offers.adopted;
        adopted.retain(|known| (known.0, known.1.tag) != (run, template.tag));
        if adopted.len() == MAX_ADOPTED {
            adopted.pop_front();
        }
        adopted.push_back((run, template));
        self.judge(now);
    }

    /// Whether this node can submit blocks of the job, which is another run's.
    #[cfg(test)]
    pub(crate) fn has_adopted(&self, job: &Job) -> bool {
        self.offers.has_adopted(job)
    }

    /// The source has given its final answer to a solution that [`Output::Submit`] named, perhaps with what is to be found next.
    pub fn handle_verdict(&mut self, now: Instant, solution: &Solution, next: Option<Template>) {
        let id = solution.id();
        if self.taken_shares.settle(id).is_some() {
            return;
        }
        self.offers.is_over(id);
        let from = self.blocks.iter().find(|block| block.id == id).map_or(self.config.id, |block| block.from);
        self.blocks.settle(id, from);
        self.blocks.settle(plain(solution), from);
        if next.is_none() {
            probe!(VerdictWithoutNext);
        } else if self.offers.round() != Some(solution.job.round) {
            probe!(VerdictsNextIgnored);
        }
        // The next block counts only while the session is still at the solved one, and then outdates every earlier question.
        match next.filter(|_| self.offers.round() == Some(solution.job.round)) {
            Some(next) => self.handle_template(now, next, now),
            None if self.is_leading() => self.out.push_back(Output::Ask),
            None => {}
        }
        self.judge(now);
    }

    /// The source gave no answer to a solution that [`Output::Submit`] named: it is submitted again in a moment.
    pub fn handle_unanswered(&mut self, now: Instant, solution: &Solution) {
        probe!(Unanswered);
        let id = solution.id();
        if !self.taken_shares.put_back(id) && self.offers.is_over(id) {
            self.blocks.put_last(id);
        }
        self.submit_again.get_or_insert(now + self.config.submit_again());
    }

    /// No session of this node can submit the solution any more: a share is lost, with a block the round goes on.
    pub fn handle_unsubmittable(&mut self, now: Instant, solution: &Solution) {
        let id = solution.id();
        if self.taken_shares.settle(id).is_some() {
            probe!(ShareUnsubmittable);
            return;
        }
        self.offers.is_over(id);
        self.blocks.give_up(id);
        self.judge(now);
        self.ask_if_idle();
    }

    /// Submits what can be submitted, and settles what is known to be of no use. A leader does that with every block, the maker of header
    /// jobs with its own.
    pub(super) fn judge(&mut self, now: Instant) {
        let blocks: Vec<_> = self.blocks.iter().copied().collect();
        for block in blocks {
            let (solution, is_made_here) = (block.solution, self.made(&block));
            if !self.is_leading() && !is_made_here {
                continue;
            }
            let round = solution.job.round;
            let is_current = self.offers.round() == Some(round);
            let measure = self.measure(&solution.job, |template| Some(template.goal.block));
            match measure.judge(&solution) {
                Judgement::False => {
                    probe!(BlockJudgedFalse);
                    self.blocks.settle(block.id, block.from);
                    // Too easy for our session's goal, it may be good by another session's: nobody has lied.
                    if measure == Measure::None {
                        self.out.push_back(Output::Refused { from: block.from, solution });
                    }
                }
                Judgement::Unknown if is_made_here => {
                    // This run makes header jobs of what its session has named only, and that has been forgotten.
                    probe!(BlockForgotten);
                    self.blocks.settle(block.id, block.from);
                }
                _ if !is_current && self.offers.knows(round) => {
                    probe!(BlockOfOldRound);
                    self.blocks.settle(block.id, block.from);
                }
                Judgement::Good if self.blocks.is_settled(plain(&solution)) => {
                    probe!(BlockAnsweredBefore);
                    self.blocks.settle(block.id, block.from);
                }
                Judgement::Good if is_current && !block.is_given_up && !self.offers.is_submitting() => {
                    if !super::is_text(&solution) && !is_made_here {
                        probe!(AdoptedSubmitted);
                    }
                    self.offers.submitting = Some((block.id, round));
                    let found_by = if block.is_own { self.config.id } else { block.from };
                    self.out.push_back(Output::Submit { solution, found_by });
                    self.end_round(now, round);
                }
                _ => {}
            }
        }
    }

    /// A solution of this round is being submitted: where it ends the round, everyone is assigned nothing (rule 7).
    fn end_round(&mut self, now: Instant, round: RoundId) {
        let Some(leading) = self.leading.as_ref().filter(|leading| leading.is_searching()) else { return };
        let template = leading.template().filter(|template| template.round == round && ends_with_first(template));
        if let Some(template) = template.cloned() {
            self.interrupt(now, template);
        }
    }

    pub(super) fn is_submitting_for(&self, round: RoundId) -> bool {
        self.offers.submitting.is_some_and(|(_, submitted)| submitted == round)
    }

    /// Somebody tells of a block. False if it is none.
    pub(super) fn hear_block(&mut self, now: Instant, from: NodeId, solution: &Solution, id: SolutionId) -> bool {
        if self.blocks.knows(id) {
            return true;
        }
        let is_true = solution.verify().is_some() && solution.is_block();
        if is_true {
            self.blocks.add(*solution, from, false, self.order(), now);
        } else {
            probe!(BlockFalse);
            self.blocks.settle(id, from);
            self.out.push_back(Output::Refused { from, solution: *solution });
        }
        is_true
    }

    /// What the shares of a job are judged by: our session's own template, if every solution counts in it.
    pub(super) fn measure_shares(&self, job: &Job) -> Measure {
        self.measure(job, |template| (!ends_with_first(template)).then_some(template.goal.report))
    }

    fn measure(&self, job: &Job, goal: fn(&Template) -> Option<Target>) -> Measure {
        self.offers.measure(job, self.knows_maker(job), goal)
    }

    /// Judges a share. What becomes of one that is of another run's session is for our session to say. A block is none: it has its own way.
    pub(super) fn judge_share(&self, solution: &Solution, measure: Measure) -> Judgement {
        match measure.judge(solution) {
            _ if solution.is_block() => Judgement::False,
            Judgement::Unknown if !self.knows_maker(&solution.job) && solution.verify().is_some() => Judgement::Good,
            judgement => judgement,
        }
    }

    /// Whether our sessions know the templates of whoever made the job.
    fn knows_maker(&self, job: &Job) -> bool {
        matches!(job.puzzle, Puzzle::Text(_)) || job.tag.slot.run == self.config.run
    }

    /// Submits those shares again that got no answer.
    pub(super) fn resubmit_shares(&mut self) {
        for (solution, found_by) in self.taken_shares.take_unanswered() {
            self.out.push_back(Output::Submit { solution, found_by });
        }
    }
}
