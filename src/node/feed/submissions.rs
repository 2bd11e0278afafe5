//! The solutions that are to be submitted: which session takes each of them, how many are under way, and which wait.
//!
//! Each session numbers its own templates. Here each template gets a number of the node's, by which a solution finds its session again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::SessionId;
use crate::cluster::{MAX_ADOPTED, NodeId};
use crate::source::Adopted;
use crate::work::{Puzzle, RoundId, Run, Solution, Template};

/// The most solutions that are submitted at the same time: a thousand shares a second for a pool whose answers take half a second. (With
/// 64, a pool 120 ms away got 530 a second.) A session's queue holds twice as many requests.
pub(super) const MAX_UNDER_WAY: usize = 512;

/// The most solutions that wait for their turn; beyond that, the rules submit them again later.
pub(super) const MAX_WAITING: usize = 4096;

/// How many templates are remembered, so that their solutions find their session: as many as a leader judges by.
const MAX_ORIGINS: usize = 64;

/// A template that was passed on, and where it came from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// The number of the node's.
    tag: u64,
    session: SessionId,
    /// The session's own number.
    own_tag: u64,
    round: RoundId,
}

/// What is to be done with a solution whose turn has come.
pub(super) enum Next {
    /// Submit it; its tag is the session's own, or that of an adopted template.
    Submit { session: SessionId, ticket: u64, solution: Solution, adopted: Option<Arc<Adopted>> },
    /// No session is open at the moment.
    Nowhere { solution: Solution },
    /// Its session is over for good.
    Gone { solution: Solution, found_by: NodeId },
}

/// A solution that is on its way to a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    pub(super) session: SessionId,
    /// Its tag is the node's.
    pub(super) solution: Solution,
    pub(super) found_by: NodeId,
}

/// The templates' origins, and the solutions.
#[derive(Debug)]
pub(super) struct Submissions {
    run: Run,
    tags: u64,
    tickets: u64,
    origins: VecDeque<Origin>,
    /// Templates of other runs that this node's sessions can submit for.
    adopted: VecDeque<(Run, Arc<Adopted>)>,
    under_way: BTreeMap<u64, UnderWay>,
    waiting: VecDeque<(Solution, NodeId)>,
}

impl Submissions {
    pub(super) fn new(run: Run) -> Self {
        let (origins, adopted, under_way, waiting) = Default::default();
        Self { run, tags: 0, tickets: 0, origins, adopted, under_way, waiting }
    }

    /// Whether solutions are on their way.
    pub(super) fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Gives a template the number by which its solutions come back.
    pub(super) fn renumber(&mut self, session: SessionId, template: Template) -> Template {
        let (own_tag, round) = (template.tag, template.round);
        let is_same = |origin: &Origin| (origin.session, origin.own_tag, origin.round) == (session, own_tag, round);
        let known = self.origins.iter().position(is_same).and_then(|at| self.origins.remove(at));
        let origin = known.unwrap_or_else(|| {
            self.tags += 1;
            Origin { tag: self.tags, session, own_tag, round }
        });
        if self.origins.len() == MAX_ORIGINS {
            self.origins.pop_front();
        }
        self.origins.push_back(origin);
        Template { tag: origin.tag, ..template }
    }

    /// Solutions of this template of another run can be submitted from now on.
    pub(super) fn adopt(&mut self, run: Run, adopted: Arc<Adopted>) {
        self.adopted.retain(|(known, other)| (*known, other.template.tag) != (run, adopted.template.tag));
        if self.adopted.len() == MAX_ADOPTED {
            self.adopted.pop_front();
        }
        self.adopted.push_back((run, adopted));
    }

    /// Has a solution wait for its turn; false if too many wait.
    pub(super) fn push(&mut self, solution: Solution, found_by: NodeId) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.push_back((solution, found_by));
        }
        has_room
    }

    /// The solution that was submitted by this ticket, which is on its way no more.
    pub(super) fn take(&mut self, ticket: u64) -> Option<UnderWay> {
        self.under_way.remove(&ticket)
    }

    /// The next solution whose turn it is, and what is to be done with it. `serving` is the session of the serving source.
    pub(super) fn next(&mut self, is_open: impl Fn(SessionId) -> bool, serving: Option<SessionId>) -> Option<Next> {
        if self.under_way.len() >= MAX_UNDER_WAY {
            return None;
        }
        let (solution, found_by) = self.waiting.pop_front()?;
        // A text goes to any session, preferably to one that named its block; a header to the one that made its template or, if another
        // run's template was adopted, to any.
        let (is_text, tag) = (matches!(solution.job.puzzle, Puzzle::Text(_)), solution.job.tag);
        let made_it = |origin: &&Origin| match is_text {
            true => origin.round == solution.job.round,
            false => origin.tag == tag.template && tag.slot.run == self.run,
        };
        let origin = self.origins.iter().rev().filter(made_it).find(|origin| is_open(origin.session));
        let adopted = self.adopted_of(&solution);
        let (session, own_tag) = match (origin, serving) {
            (Some(origin), _) => (origin.session, origin.own_tag),
            (None, _) if !is_text && adopted.is_none() => return Some(Next::Gone { solution, found_by }),
            (None, None) => return Some(Next::Nowhere { solution }),
            (None, Some(session)) => (session, if is_text { 0 } else { tag.template }),
        };
        self.tickets += 1;
        self.under_way.insert(self.tickets, UnderWay { session, solution, found_by });
        let mut submitted = solution;
        submitted.job.tag.template = own_tag;
        Some(Next::Submit { session, ticket: self.tickets, solution: submitted, adopted })
    }

    /// The adopted template that a solution of another run is of.
    fn adopted_of(&self, solution: &Solution) -> Option<Arc<Adopted>> {
        let run = solution.job.tag.slot.run;
        let is_its = |(of, adopted): &&(Run, Arc<Adopted>)| {
            *of == run && run != self.run && adopted.template.made(&solution.job)
        };
        self.adopted.iter().find(is_its).map(|(_, adopted)| Arc::clone(adopted))
    }
}
