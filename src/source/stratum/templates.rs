//! The templates that a session has given, by which the pool's job of a solution is found again.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use super::job::PoolJob;
use crate::work::{Extranonce, Puzzle, Solution};

/// The most templates that are remembered, as many as the node remembers.
const MAX_KNOWN: usize = 64;

/// Why a solution is not sent to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// Its template is forgotten, or its version is not allowed any more.
    Stale,
    /// It is of no job of a pool.
    NotUnderstood(&'static str),
}

/// What is remembered of a template.
#[derive(Debug)]
struct Known {
    tag: u64,
    job: Arc<str>,
    size: u8,
    version: u32,
}

/// The templates of late.
#[derive(Debug, Default)]
pub(super) struct Templates {
    known: VecDeque<Known>,
    /// Counts all of them.
    tags: u64,
}

impl Templates {
    /// The number of a new template of this job, whose extranonce2 has so many bytes.
    pub(super) fn number(&mut self, job: &PoolJob, size: u8) -> u64 {
        self.tags += 1;
        if self.known.len() == MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(Known { tag: self.tags, job: Arc::clone(&job.name), size, version: job.version });
        self.tags
    }

    /// The parameters of `mining.submit`: user, job, extranonce2, time and nonce; and the rolled bits of the version where `mask` says which may
    /// be rolled at the moment (BIP 310).
    ///
    /// # Errors
    /// No pool would take the solution.
    pub(super) fn submission(&self, user: &str, mask: Option<u32>, solution: &Solution) -> Result<Value, Unsent> {
        let Puzzle::Header(puzzle) = &solution.job.puzzle else {
            return Err(Unsent::NotUnderstood("expected a solution of a header puzzle, got one of a text puzzle"));
        };
        let tag = solution.job.tag;
        let known = self.known.iter().find(|known| known.tag == tag.template).ok_or(Unsent::Stale)?;
        let extranonce = Extranonce::Counter(known.size).bytes(tag.slot);
        let too_large = "expected a job's number that fits into extranonce2, got a larger one";
        let extranonce = extranonce.ok_or(Unsent::NotUnderstood(too_large))?;
        let header = puzzle.at(solution.nonce);
        let hex = |word: u32| format!("{word:08x}");
        let mut params = vec![user.to_owned(), known.job.to_string(), hex::encode(extranonce)];
        params.extend([hex(header.time), hex(header.nonce)]);
        if let Some(mask) = mask {
            // The pool takes the bits of its present mask from this word and all others from its job.
            if (header.version ^ known.version) & !mask != 0 {
                return Err(Unsent::Stale);
            }
            params.push(hex(header.version & mask));
        }
        Ok(json!(params))
    }
}
