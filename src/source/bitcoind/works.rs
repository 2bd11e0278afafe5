//! The templates that solutions may still come for, each with what else its block needs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::block::{Body, block};
use crate::source::Adopted;
use crate::work::{Solution, Template};

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

/// The newest works of a session.
#[derive(Debug, Default)]
pub(super) struct Works(Mutex<VecDeque<Arc<Work>>>);

impl Works {
    pub(super) fn remember(&self, work: Arc<Work>) {
        let mut works = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if works.len() == MOST {
            works.pop_front();
        }
        works.push_back(work);
    }

    /// The work that a solution's job was made from, by its tag.
    pub(super) fn find(&self, solution: &Solution) -> Option<Arc<Work>> {
        let works = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        works.iter().find(|work| work.template.tag == solution.job.tag.template).cloned()
    }
}
