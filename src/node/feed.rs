//! What to ask which source, and what its answers mean. There is no clock and no I/O: the node's [`sessions`](super::sessions) carry the
//! requests out, and in the simulation virtual ones do.
//!
//! ```text
//! want, ask, submit ──> Feed ──> Request: Open, Ask, Close, Submit
//!                        ^ └───> News: a template, what became of a solution, which source serves
//!                        └────── Answer: opened, an offer, a verdict
//! ```
//!
//! 1. Sources stand in order of preference. The first one that answers serves; the ones before it are tried again at times.
//! 2. A preferred source that answers again serves again once it has done so for a settable time, so that one that comes and goes does not
//!    take the work along each time. If the serving one fails meanwhile, it serves at once. Its newest offer is kept for that.
//! 3. The session of a source that is left stays open for a moment, for the solutions that are still on their way to it.
//! 4. Which session takes a solution is decided in [`submissions`].
//! 5. A session that gave no answer is asked again after a growing pause, one that is over is replaced.

mod submissions;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use submissions::{Next, Submissions, UnderWay};

use crate::cluster::NodeId;
use crate::source::{Adopted, Backoff, Offer, SourceError, Verdict};
use crate::work::{Run, Solution, Template};

/// While a source that is not the preferred one serves, the preferred ones are tried again at least this often, and more often where they
/// may serve again sooner, but not more often than other sources that have failed.
const RETRY_PREFERRED: Duration = Duration::from_secs(30);

/// A session that is left stays open for so long. Solutions of its jobs arrive within a few heartbeats at most.
const STAYS_OPEN: Duration = Duration::from_secs(10);

/// The longest pause before a source is asked again: a cluster without work is worth a request that often.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Which session of which source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId {
    pub(crate) source: usize,
    /// Counts the sessions of this node.
    pub(crate) number: u64,
}

/// What the feed wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // a few wait at a time
pub(crate) enum Request {
    /// Open a session. Each of its offers is an answer to this, until the session fails.
    Open(SessionId),
    /// Make the session give its template once more, also after a failure.
    Ask(SessionId),
    /// End the session. What is being submitted goes on.
    Close(SessionId),
    /// Submit a solution, whose tag is the session's own, or that of an adopted template.
    Submit { session: SessionId, ticket: u64, solution: Solution, adopted: Option<Arc<Adopted>> },
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The session gives a template, or cannot be opened, or fails.
    Offer(SessionId, Result<Offer, SourceError>),
    /// The source's answer to a solution.
    Verdict { ticket: u64, result: Result<Verdict, SourceError> },
}

/// What the driver has to know.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // a few wait at a time
pub(crate) enum News {
    /// A template, when it was asked for, and its body.
    Template { template: Template, asked: Instant, body: Option<Arc<[u8]>> },
    /// The final answer to a solution, with templates renumbered, and the source.
    Verdict { solution: Solution, found_by: NodeId, source: usize, verdict: Verdict },
    /// No session can submit the solution any more.
    Unsubmittable { solution: Solution, found_by: NodeId },
    /// The source gave no answer.
    Unanswered { solution: Solution },
    /// Which source serves now, if any does, and why none or not the first, or what else is wrong with it.
    Source { source: Option<usize>, problem: Option<String> },
}

/// What is known of one source.
#[derive(Debug)]
struct Source {
    session: Option<SessionId>,
    /// Whether the session has given a template since it was opened or failed.
    answers: bool,
    /// Why it was left or cannot be used. It stays until the source serves again.
    problem: Option<String>,
    backoff: Backoff,
    /// When it is tried again.
    retry: Option<Instant>,
    /// Since when it answers again, and its newest offer, while a less preferred source serves.
    back: Option<(Instant, Offer)>,
    /// When the session is closed, since a preferred source serves.
    closes: Option<Instant>,
}

/// The sources, in order of preference, and what is under way with them.
#[derive(Debug)]
pub(crate) struct Feed {
    sources: Vec<Source>,
    /// For how long a preferred source has to answer before it serves again.
    source_return: Duration,
    is_wanted: bool,
    /// Which source's templates count; it may have failed since, while no other has taken its place.
    serving: Option<usize>,
    retry_preferred: Option<Instant>,
    /// When the newest template that was passed on was asked for, and the newest of those before the serving source's.
    asked: Option<Instant>,
    asked_before: Option<Instant>,
    sessions: u64,
    submissions: Submissions,
    /// Why the sources before the serving one were left.
    left: Option<String>,
    /// Why the last solution got no answer.
    unanswered: Option<String>,
    /// The source in use and the problem, as last told.
    told: (Option<usize>, Option<String>),
    requests: VecDeque<Request>,
    news: VecDeque<News>,
}

impl Feed {
    /// A feed of `sources` sources, of which a preferred one serves again once it has answered for `source_return`.
    pub(crate) fn new(sources: usize, run: Run, source_return: Duration) -> Self {
        let source = |at: usize| Source {
            session: None,
            answers: false,
            problem: None,
            backoff: Backoff::new(run.0.wrapping_add(at as u64)),
            retry: None,
            back: None,
            closes: None,
        };
        Self {
            sources: (0..sources).map(source).collect(),
            source_return,
            is_wanted: false,
            serving: None,
            retry_preferred: None,
            asked: None,
            asked_before: None,
            sessions: 0,
            submissions: Submissions::new(run),
            left: None,
            unanswered: None,
            told: (None, None),
            requests: VecDeque::new(),
            news: VecDeque::new(),
        }
    }

    // ---- commands

    /// Opens sessions when they become useful, and closes them when they are no longer.
    pub(crate) fn want(&mut self, is_wanted: bool) {
        if self.is_wanted == is_wanted {
            return;
        }
        self.is_wanted = is_wanted;
        if is_wanted {
            self.open(0);
        } else {
            (0..self.sources.len()).for_each(|at| self.close(at));
            (self.serving, self.retry_preferred, self.left, self.unanswered) = (None, None, None, None);
            self.tell();
        }
    }

    /// Asks for the block to find, even if it was given before.
    pub(crate) fn ask(&mut self) {
        let source = self.serving.map(|at| &self.sources[at]).filter(|source| source.retry.is_none());
        if let Some(session) = source.and_then(|source| source.session) {
            self.requests.push_back(Request::Ask(session));
        }
    }

    /// Submits a solution once.
    pub(crate) fn submit(&mut self, solution: Solution, found_by: NodeId) {
        if !self.submissions.push(solution, found_by) {
            self.news.push_back(News::Unanswered { solution });
        }
        self.submit_waiting();
    }

    /// Solutions of this template of another run can be submitted from now on.
    pub(crate) fn adopt(&mut self, run: Run, adopted: Arc<Adopted>) {
        self.submissions.adopt(run, adopted);
    }

    // ---- events

    /// A request was answered.
    pub(crate) fn handle(&mut self, now: Instant, answer: Answer) {
        match answer {
            Answer::Offer(session, result) if self.is_open(session) => match result {
                Ok(offer) => self.offered(now, session, offer),
                Err(error) => self.failed(now, session, &error),
            },
            Answer::Offer(..) => {} // of a session that was closed
            Answer::Verdict { ticket, result } => self.answered(now, ticket, result),
        }
        self.submit_waiting();
    }

    /// The time that [`Feed::poll_timeout`] named has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        for at in 0..self.sources.len() {
            if is_due(self.sources[at].closes) {
                self.close(at);
            }
            if is_due(self.sources[at].retry) {
                self.sources[at].retry = None;
                self.try_again(at);
            }
        }
        if let Some(at) = (0..self.sources.len()).find(|&at| is_due(self.returns(at))) {
            self.take_back(now, at);
        }
        if is_due(self.retry_preferred) {
            self.retry_preferred = Some(now + self.retry_preferred_every());
            self.try_preferred();
        }
    }

    // ---- polls

    pub(crate) fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    pub(crate) fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = |at: usize| [self.sources[at].retry, self.sources[at].closes, self.returns(at)];
        (0..self.sources.len()).flat_map(due).flatten().chain(self.retry_preferred).min()
    }

    /// The source in use, if one is.
    pub(crate) fn in_use(&self) -> Option<usize> {
        self.told.0
    }

    /// Why no source is in use, or not the first, or what else is wrong.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.told.1.as_deref()
    }

    /// Whether solutions are on their way to a source.
    pub(crate) fn is_submitting(&self) -> bool {
        self.submissions.is_under_way()
    }

    // ---- the rest, top down

    fn is_open(&self, session: SessionId) -> bool {
        self.sources[session.source].session == Some(session)
    }

    fn open(&mut self, at: usize) {
        if self.sources[at].session.is_none() {
            self.sessions += 1;
            let session = SessionId { source: at, number: self.sessions };
            (self.sources[at].session, self.sources[at].retry) = (Some(session), None);
            self.requests.push_back(Request::Open(session));
        }
    }

    fn close(&mut self, at: usize) {
        let source = &mut self.sources[at];
        (source.answers, source.problem, source.retry, source.back, source.closes) = (false, None, None, None, None);
        if let Some(session) = source.session.take() {
            self.requests.push_back(Request::Close(session));
        }
    }

    fn try_again(&mut self, at: usize) {
        self.sources[at].closes = None;
        match self.sources[at].session {
            Some(session) => self.requests.push_back(Request::Ask(session)),
            None => self.open(at),
        }
    }

    fn retry_preferred_every(&self) -> Duration {
        self.source_return.clamp(LONGEST_PAUSE, RETRY_PREFERRED)
    }

    /// Tries the sources before the serving one, except those that are back.
    fn try_preferred(&mut self) {
        for at in 0..self.serving.unwrap_or(0) {
            if self.sources[at].back.is_none() {
                self.try_again(at);
            }
        }
    }

    /// The serving source, unless it has failed.
    fn works(&self) -> Option<usize> {
        self.serving.filter(|&at| self.sources[at].answers)
    }

    /// When a preferred source that is back serves again.
    fn returns(&self, at: usize) -> Option<Instant> {
        self.sources[at].back.as_ref().map(|(since, _)| *since + self.source_return)
    }

    fn offered(&mut self, now: Instant, session: SessionId, offer: Offer) {
        let (at, works) = (session.source, self.works());
        let source = &mut self.sources[at];
        (source.answers, source.retry) = (true, None);
        source.backoff.reset();
        match works {
            Some(serving) if serving < at => {} // it is open for the last solutions only
            Some(serving) if serving > at && !self.source_return.is_zero() => {
                let since = source.back.take().map_or(now, |(since, _)| since);
                source.back = Some((since, offer));
            }
            _ => self.take(now, session, offer),
        }
    }

    /// A source that is back serves again.
    fn take_back(&mut self, now: Instant, at: usize) {
        let source = &mut self.sources[at];
        if let (Some(session), Some((_, offer))) = (source.session, source.back.take()) {
            self.take(now, session, offer);
        }
    }

    /// The source of this session serves from now on, if it does not yet, and this is what it wants.
    fn take(&mut self, now: Instant, session: SessionId, offer: Offer) {
        let at = session.source;
        let source = &mut self.sources[at];
        (source.problem, source.back, source.closes, self.unanswered) = (None, None, None, None);
        if self.serving != Some(at) {
            (self.serving, self.asked_before) = (Some(at), self.asked);
            self.retry_preferred = (at > 0).then_some(now + self.retry_preferred_every());
        }
        if self.told.0 != Some(at) {
            self.left = self.problems(at);
        }
        for other in at + 1..self.sources.len() {
            let source = &mut self.sources[other];
            (source.problem, source.retry, source.back) = (None, None, None);
            match source.answers {
                true => drop(source.closes.get_or_insert(now + STAYS_OPEN)),
                false => self.close(other),
            }
        }
        self.tell();
        // What the last source wanted is outdated, even if it was asked later.
        let asked = self.asked_before.map_or(offer.asked, |before| before.max(offer.asked));
        self.asked = self.asked.max(Some(asked));
        let template = self.submissions.renumber(session, offer.template);
        self.news.push_back(News::Template { template, asked, body: offer.body });
    }

    fn failed(&mut self, now: Instant, session: SessionId, error: &SourceError) {
        let at = session.source;
        let delay = self.sources[at].backoff.next_delay().min(LONGEST_PAUSE);
        let source = &mut self.sources[at];
        (source.answers, source.problem, source.back) = (false, Some(error.to_string()), None);
        if error.is_over {
            source.session = None;
        }
        match self.works() {
            Some(serving) if serving > at => return, // it is tried again with the others that are preferred
            Some(_) => return self.close(at),        // it was open for the last solutions only
            None => self.sources[at].retry = Some(now + delay),
        }
        if let Some(back) = self.sources.iter().position(|source| source.back.is_some()) {
            return self.take_back(now, back);
        }
        if self.serving == Some(at) {
            // Those before it have been away, and may be back.
            self.try_preferred();
        }
        if let Some(next) = (at + 1..self.sources.len()).find(|&other| self.sources[other].retry.is_none()) {
            self.try_again(next);
        }
        self.tell();
    }

    fn answered(&mut self, now: Instant, ticket: u64, result: Result<Verdict, SourceError>) {
        let Some(UnderWay { session, solution, found_by }) = self.submissions.take(ticket) else { return };
        match result {
            Ok(verdict) => {
                let verdict = match verdict {
                    Verdict::Block { height, next: Some(next) } if self.is_at(session) => {
                        self.asked = Some(now);
                        Verdict::Block { height, next: Some(self.submissions.renumber(session, next)) }
                    }
                    Verdict::Block { height, .. } => Verdict::Block { height, next: None },
                    other => other,
                };
                self.unanswered = None;
                self.tell();
                self.news.push_back(News::Verdict { solution, found_by, source: session.source, verdict });
            }
            Err(error) => {
                self.unanswered = Some(error.to_string());
                self.tell();
                self.news.push_back(News::Unanswered { solution });
            }
        }
    }

    /// Whether it is the serving source's session.
    fn is_at(&self, session: SessionId) -> bool {
        self.is_open(session) && self.serving == Some(session.source)
    }

    fn submit_waiting(&mut self) {
        let sources = &self.sources;
        let is_open = |session: SessionId| sources[session.source].session == Some(session);
        let serving = self.serving.and_then(|at| sources[at].session);
        while let Some(next) = self.submissions.next(is_open, serving) {
            match next {
                Next::Submit { session, ticket, solution, adopted } => {
                    self.requests.push_back(Request::Submit { session, ticket, solution, adopted });
                }
                Next::Nowhere { solution } => self.news.push_back(News::Unanswered { solution }),
                Next::Gone { solution, found_by } => {
                    self.news.push_back(News::Unsubmittable { solution, found_by });
                }
            }
        }
    }

    /// What is wrong with the first `count` sources; `None` if nothing is.
    fn problems(&self, count: usize) -> Option<String> {
        let problems: Vec<_> = self.sources[..count].iter().filter_map(|source| source.problem.as_deref()).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// The source that is in use as long as not all have failed, and what is wrong.
    fn state(&self) -> (Option<usize>, Option<String>) {
        let all = self.sources.len();
        match self.serving {
            _ if self.sources.iter().all(|source| source.problem.is_some() && !source.answers) => {
                (None, self.problems(all))
            }
            Some(at) => (Some(at), self.unanswered.clone().or_else(|| self.left.clone())),
            None => (None, self.unanswered.clone()),
        }
    }

    /// Reports when a problem begins, changes or ends, whichever request meets it, and when another source serves. That the first one serves
    /// at the beginning, or that none is needed any more, is no news.
    fn tell(&mut self) {
        let state = self.state();
        if self.told == state {
            return;
        }
        let is_usual = (self.told.0.is_none() || state.0.is_none()) && self.told.1.is_none() && state.1.is_none();
        self.told.clone_from(&state);
        if !is_usual {
            self.news.push_back(News::Source { source: state.0, problem: state.1 });
        }
    }
}

#[cfg(test)]
mod tests;
