//! A leader's traffic with its sources: templates in, solutions out. Runs in tasks of its own, so that a slow source never holds
//! up a heartbeat.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use crate::cluster::{MAX_UNSETTLED, NodeId};
use crate::source::{Backoff, BlockSource, Template, Verdict};
use crate::work::{BlockId, Solution};

/// While a source that is not the preferred one serves, the preferred one is asked again this often.
const RETRY_PREFERRED: Duration = Duration::from_secs(30);

/// More blocks than a leader has solutions of under way.
const MAX_ORIGINS: usize = 16;

/// Solutions under way at most, several reigns' worth. Whoever has found one that is given up offers it again.
const MAX_UNDER_WAY: usize = 64;
const _: () = assert!(MAX_UNDER_WAY >= 2 * MAX_UNSETTLED, "those of this reign are never given up");

/// A solution that could not be handed in is tried again at least this often.
const RETRY_SUBMISSION: Duration = Duration::from_secs(5);

/// What the sources have to say.
#[derive(Debug)]
pub(super) enum News {
    /// There is another block to find, says the watch of this number.
    Template { watch: u64, source: usize, template: Template },
    /// The final word on a solution.
    Settled { solution: Solution, found_by: NodeId, verdict: Verdict },
    /// A solution could not be handed in yet; it is tried again.
    Delayed,
    /// No source answers, or one does again.
    Trouble(Option<String>),
}

/// The sources, in order of preference, and what is under way with them.
pub(super) struct Feed {
    sources: Arc<[Arc<dyn BlockSource>]>,
    news: mpsc::Sender<News>,
    seed: u64,
    watch: Option<JoinHandle<()>>,
    /// Counts the watches.
    watches: u64,
    submissions: JoinSet<()>,
    /// Solutions under way, so that none is submitted twice at once; last those that were asked for last.
    under_way: VecDeque<(Solution, AbortHandle)>,
    /// Which source the last blocks were from: solutions go back there.
    origins: VecDeque<(BlockId, usize)>,
}

impl Feed {
    pub(super) fn new(sources: Vec<Arc<dyn BlockSource>>, seed: u64, news: mpsc::Sender<News>) -> Self {
        Self {
            sources: sources.into(),
            news,
            seed,
            watch: None,
            watches: 0,
            submissions: JoinSet::new(),
            under_way: VecDeque::new(),
            origins: VecDeque::new(),
        }
    }

    /// Tells the block to find now, and from then on every change.
    pub(super) fn watch(&mut self) {
        self.unwatch();
        self.watches += 1;
        let (sources, news, backoff) = (Arc::clone(&self.sources), self.news.clone(), self.backoff());
        self.watch = Some(tokio::spawn(watch(self.watches, sources, news, backoff)));
    }

    /// Whether this watch still goes on. Templates of others are old: they were on their way when theirs ended.
    pub(super) fn is_watching(&self, watch: u64) -> bool {
        self.watch.is_some() && watch == self.watches
    }

    /// Tells no more templates.
    pub(super) fn unwatch(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
    }

    /// `block` is what `source` wants to have built on.
    pub(super) fn note_origin(&mut self, block: BlockId, source: usize) {
        if self.origins.contains(&(block, source)) {
            return;
        }
        if self.origins.len() == MAX_ORIGINS {
            self.origins.pop_front();
        }
        self.origins.push_back((block, source));
    }

    /// Hands in a solution, again and again until its source has said its final word, or another has accepted it. (Which is its own
    /// is not known of one that comes from the last leader.)
    pub(super) fn submit(&mut self, solution: Solution, found_by: NodeId) {
        if let Some(at) = self.under_way.iter().position(|(other, _)| *other == solution) {
            let known = self.under_way.remove(at);
            return self.under_way.extend(known);
        }
        if self.under_way.len() == MAX_UNDER_WAY
            && let Some((_, oldest)) = self.under_way.pop_front()
        {
            oldest.abort();
        }
        while self.submissions.try_join_next().is_some() {}
        let block = solution.job.block();
        // Its own source first; if that does not answer, another may have the same block.
        let origin = self.origins.iter().rev().find(|(other, _)| *other == block).map(|&(_, source)| source);
        let others = (0..self.sources.len()).filter(|&source| Some(source) != origin);
        let sources: Vec<_> =
            origin.into_iter().chain(others).map(|source| Arc::clone(&self.sources[source])).collect();
        let has_origin = origin.is_some();
        let (news, backoff) = (self.news.clone(), self.backoff());
        let task = self.submissions.spawn(submit(sources, has_origin, news, backoff, solution, found_by));
        self.under_way.push_back((solution, task));
    }

    /// The final word on a solution has been heard.
    pub(super) fn settled(&mut self, solution: &Solution) {
        self.under_way.retain(|(other, _)| other != solution);
    }

    /// Solutions that are handed in, and have no final word yet.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Solution> {
        self.under_way.iter().map(|(solution, _)| solution)
    }

    /// Whether a solution is under way.
    pub(super) fn is_submitting(&self) -> bool {
        !self.under_way.is_empty()
    }

    fn backoff(&mut self) -> Backoff {
        self.seed = self.seed.wrapping_add(1);
        Backoff::new(self.seed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.unwatch();
    }
}

async fn watch(number: u64, sources: Arc<[Arc<dyn BlockSource>]>, news: mpsc::Sender<News>, mut backoff: Backoff) {
    let mut known: Option<(usize, Template)> = None;
    let mut trouble: Option<String> = None;
    loop {
        let mut problems = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            let old = known.as_ref().filter(|(from, _)| *from == at).map(|(_, template)| template);
            let next = source.template(old);
            let answer = match (at, old) {
                // Waiting for the next block of a source that is not the preferred one.
                (1.., Some(_)) => match tokio::time::timeout(RETRY_PREFERRED, next).await {
                    Ok(answer) => answer,
                    Err(_) => break,
                },
                _ => next.await,
            };
            match answer {
                Ok(template) => {
                    backoff.reset();
                    known = Some((at, template.clone()));
                    if trouble.take().is_some() {
                        let _ = news.send(News::Trouble(None)).await;
                    }
                    let _ = news.send(News::Template { watch: number, source: at, template }).await;
                    problems.clear();
                    break;
                }
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        if problems.len() == sources.len() {
            let told = problems.join("; ");
            if trouble.as_ref() != Some(&told) {
                let _ = news.send(News::Trouble(Some(told.clone()))).await;
                trouble = Some(told);
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

async fn submit(
    sources: Vec<Arc<dyn BlockSource>>,
    has_origin: bool,
    news: mpsc::Sender<News>,
    mut backoff: Backoff,
    solution: Solution,
    found_by: NodeId,
) {
    let mut told = None;
    loop {
        let (mut refusal, mut problem) = (None, None);
        for (at, source) in sources.iter().enumerate() {
            match source.submit(&solution).await {
                Ok(verdict) if matches!(verdict, Verdict::Success(_)) || has_origin && at == 0 => {
                    let _ = news.send(News::Settled { solution, found_by, verdict }).await;
                    return;
                }
                Ok(verdict) => refusal = Some(verdict),
                Err(error) => problem = Some(error.to_string()),
            }
        }
        match (refusal, problem) {
            (Some(verdict), None) => {
                let _ = news.send(News::Settled { solution, found_by, verdict }).await;
                return;
            }
            // It may belong to the source that did not answer.
            (_, problem) => {
                if told != problem {
                    let _ = news.send(News::Trouble(problem.clone())).await;
                    let _ = news.send(News::Delayed).await;
                    told = problem;
                }
                // The whole cluster may be waiting for this.
                tokio::time::sleep(backoff.next_delay().min(RETRY_SUBMISSION)).await;
            }
        }
    }
}
