//! Solutions: which are worth the source's time, and what it said of them.

use super::super::outbox::Outbox;
use super::super::planted::{Bug, planted};
use super::super::{NodeId, Output, Unsettled};
use super::{Leading, MAX_SETTLED, MAX_UNJUDGED, MAX_UNSETTLED};
use crate::work::{Job, Search, Solution};

impl Leading {
    /// Takes a solution that some node found in whatever epoch. It speaks for itself, but for which block is wanted and on
    /// what terms is for the source to say.
    pub(in crate::cluster) fn handle_solution(&mut self, from: NodeId, solution: Solution, out: &mut Outbox) {
        if solution.verify().is_none() && !planted(Bug::SolutionsUnverified) {
            out.push(Output::Refused { from, solution });
            return;
        }
        // Of a block that this leader has not heard of yet, the source may be about to tell.
        if self.terms.is_some_and(|terms| terms.height >= solution.job.height) {
            self.judge(from, solution, out);
        } else if self.unjudged.iter().filter(|unjudged| unjudged.found_by == from).count() < MAX_UNJUDGED
            && !self.unjudged.iter().any(|unjudged| unjudged.solution == solution)
        {
            self.unjudged.push(Unsettled { solution, found_by: from });
        }
    }

    /// Takes over a solution that the last leader had accepted, and perhaps submitted.
    pub(super) fn resume(&mut self, Unsettled { solution, found_by }: Unsettled, out: &mut Outbox) {
        let current = self.current().filter(|current| current.block() == solution.job.block());
        let is_of_other_terms = current.is_some_and(|current| !current.is_same_search(&solution.job));
        let is_known =
            self.settled.contains(&solution) || self.unsettled.iter().any(|unsettled| unsettled.solution == solution);
        if solution.verify().is_some() && self.unsettled.len() < MAX_UNSETTLED && !is_of_other_terms && !is_known {
            self.accept(found_by, solution, out);
        }
    }

    fn judge(&mut self, from: NodeId, solution: Solution, out: &mut Outbox) {
        if self.unsettled.iter().any(|unsettled| unsettled.solution == solution) {
            return; // it is with the source
        }
        let is_wanted = self.terms.is_some_and(|terms| terms.is_same_search(&solution.job));
        let is_found =
            self.ledgers.is_empty() && self.settled.iter().any(|other| other.job.block() == solution.job.block());
        if !is_wanted || is_found || self.settled.contains(&solution) {
            self.interrupt(from, Some(&solution), vec![], out);
            return;
        }
        let ends_round = solution.job.search == Search::First;
        if self.unsettled.len() < MAX_UNSETTLED && !(ends_round && self.is_found(&solution.job)) {
            self.accept(from, solution, out);
        } // otherwise one is enough; the finder offers it again
    }

    fn accept(&mut self, from: NodeId, solution: Solution, out: &mut Outbox) {
        self.unsettled.push(Unsettled { solution, found_by: from });
        out.push(Output::Submit { solution, found_by: from });
        let ends_round = solution.job.search == Search::First;
        if ends_round && self.current().is_some_and(|current| current.block() == solution.job.block()) {
            self.end_round(Some(from), out);
        }
    }

    /// Whether a solution that ends the search for the job's block is with the source.
    pub(super) fn is_found(&self, job: &Job) -> bool {
        let same = |unsettled: &Unsettled| unsettled.ends_round() && unsettled.solution.job.block() == job.block();
        self.unsettled.iter().any(same)
    }

    /// The source has said its final word.
    pub(in crate::cluster) fn handle_settled(&mut self, solution: &Solution, out: &mut Outbox) {
        let Some(at) = self.unsettled.iter().position(|unsettled| unsettled.solution == *solution) else { return };
        let Unsettled { found_by, .. } = self.unsettled.swap_remove(at);
        if self.settled.len() == MAX_SETTLED {
            self.settled.pop_front();
        }
        self.settled.push_back(*solution);
        self.interrupt(found_by, Some(solution), vec![], out);
        if solution.job.search == Search::First {
            self.asked = false;
            self.ask_for_job(out);
        }
    }
}
