//! The templates that solutions may still come for, each with what else its block needs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bitcoin::Script;

use super::block::{Body, block};
use super::coinbase::coinbase;
use super::template::NodeTemplate;
use crate::source::Adopted;
use crate::work::{BlockId, BlockTime, Blueprint, Digest, Goal, RoundId, Search, Solution, Template};

/// How many are remembered: 64 MB of transactions at most. Templates of one block follow each other in 10 s or more (see `watch`), and jobs
/// are leased for four heartbeats.
const MOST: usize = 16;

/// A template, and what its blocks have beside.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) template: Template,
    pub(super) body: Body,
    /// The height of its blocks.
    pub(super) height: u32,
    /// What the node wants to hear with a block of it.
    pub(super) workid: Option<String>,
}

impl Work {
    /// What jobs are made from for a node's template, and what else their blocks need.
    ///
    /// # Errors
    /// The coinbase does not fit.
    pub(super) fn new(
        given: &NodeTemplate,
        payout: &Script,
        text: &[u8],
        time: BlockTime,
        tag: u64,
    ) -> Result<Self, String> {
        let block = BlockId { height: u64::from(given.height) - 1, hash: given.prev };
        let template = Template {
            round: RoundId { block, generation: 0 },
            goal: Goal { block: given.target, report: given.target, search: Search::First },
            puzzle: Blueprint::Header {
                version: given.version,
                mask: given.mask,
                bits: given.bits,
                time,
                coinbase: Arc::new(coinbase(given, payout, text)?),
                branch: Arc::clone(&given.transactions.branch),
            },
            tag,
        };
        let body = Body::new(&given.transactions, given.is_segwit);
        Ok(Self { template, body, height: given.height, workid: given.workid.clone() })
    }

    /// What another node's session has handed over. Its node's work id says nothing to ours.
    pub(super) fn adopted(adopted: &Adopted) -> Option<Self> {
        let template = adopted.template.clone();
        let height = template.round.block.height.checked_add(1)?.try_into().ok()?;
        Some(Self { template, body: Body::from_bytes(&adopted.body)?, height, workid: None })
    }

    /// The block of a solution, in hex; `None` if the solution is of other work.
    pub(super) fn block(&self, solution: &Solution) -> Option<String> {
        block(&self.template, &self.body, solution).map(hex::encode)
    }
}

/// The newest works of a session, and the block that it has built on with success last.
#[derive(Debug, Default)]
pub(super) struct Works(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    works: VecDeque<Arc<Work>>,
    solved: Option<(Digest, Instant)>,
}

impl Works {
    pub(super) fn remember(&self, work: Arc<Work>) {
        let works = &mut self.kept().works;
        if works.len() == MOST {
            works.pop_front();
        }
        works.push_back(work);
    }

    /// The work that a solution's job was made from, by its tag.
    pub(super) fn find(&self, solution: &Solution) -> Option<Arc<Work>> {
        self.kept().works.iter().find(|work| work.template.tag == solution.job.tag.template).cloned()
    }

    /// The node has taken a block that builds on `prev`.
    pub(super) fn note_solved(&self, prev: Digest, at: Instant) {
        self.kept().solved = Some((prev, at));
    }

    /// When the node took a block that builds on `prev`, if that was the last one that it took.
    pub(super) fn solved(&self, prev: Digest) -> Option<Instant> {
        self.kept().solved.filter(|(solved, _)| *solved == prev).map(|(_, at)| at)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
