//! A kernel that finds nothing, for tests of those who must notice.

use super::{Candidates, Kernel};
use crate::work::{Job, NonceRange};

/// See the module.
pub(crate) struct Blind {
    pub(crate) name: &'static str,
    pub(crate) batch: u64,
}

impl Kernel for Blind {
    fn name(&self) -> &'static str {
        self.name
    }

    fn batch(&self) -> u64 {
        self.batch
    }

    fn prepare(&self, _: &Job) -> Box<dyn Candidates> {
        Box::new(Nothing)
    }
}

struct Nothing;

impl Candidates for Nothing {
    fn scan(&self, _: NonceRange, _: &mut Vec<u64>) {}
}
