//! Double SHA-256 over consecutive nonces: one interface, a file per instruction set.
//!
//! A kernel is *prepared* once for a job (midstate and constant words worked out) and then *scans* ranges of its nonces.
//! Kernels know nothing of threads, cancellation or sockets. This is the only layer that may hold `unsafe` code.
//!
//! ```text
//! available() -> [Kernel]    Kernel::prepare(job) -> Prepared    Prepared::scan(range) -> verified nonces
//! ```
//!
//! A backend's `scan` only has to name *candidates*: every nonce that solves the job must be among them, others may be. The
//! reference path decides, so a faulty kernel can miss a solution but never claim one. [`self_test()`] catches the former
//! before a kernel is used.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod choice;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;
#[cfg(test)]
mod program;
mod self_test;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

use std::fmt;

pub use choice::{Choice, Clock, KernelError, choose};
pub use self_test::{SelfTestError, measuring_job, self_test};

use crate::work::{Job, NonceRange, Search};

/// One way to hash, for one instruction set.
pub trait Kernel: Send + Sync {
    /// The name that `--kernel` takes and events show.
    fn name(&self) -> &'static str;

    /// How many nonces a caller should scan between two looks at its cancellation flag: few enough to last about a
    /// millisecond on the CPUs this kernel is chosen for, enough to make the call's own cost vanish.
    fn batch(&self) -> u64;

    /// Works out once what does not change from nonce to nonce.
    fn prepare(&self, job: &Job) -> Box<dyn Candidates>;
}

/// A job prepared by one kernel.
pub trait Candidates: Send + Sync {
    /// Appends to `candidates`, in ascending order, nonces of `range` that may solve the job: all that do, few that do not.
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>);
}

/// A job ready to be scanned by one kernel; what leaves it was verified by the reference path.
pub struct Prepared {
    job: Job,
    candidates: Box<dyn Candidates>,
}

impl Prepared {
    /// Prepares `job` for `kernel`.
    pub fn new(kernel: &dyn Kernel, job: Job) -> Self {
        Self { job, candidates: kernel.prepare(&job) }
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Every nonce of `range` that solves the job, ascending; only the first where the job ends with it. Nonces outside the job's
    /// space are not searched.
    pub fn scan(&self, range: NonceRange) -> Vec<u64> {
        let mut nonces = Vec::new();
        let range = range.intersection(&self.job.space());
        if !range.is_empty() {
            self.candidates.scan(range, &mut nonces);
            let solves = |nonce: &u64| self.job.check(*nonce).is_some();
            match self.job.search {
                // An easy target may make a whole batch of candidates.
                Search::First => nonces = nonces.into_iter().find(solves).into_iter().collect(),
                Search::Every => nonces.retain(solves),
            }
        }
        nonces
    }
}

impl fmt::Debug for dyn Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every kernel that this CPU can run, the one first that is fastest on most.
pub fn available() -> Vec<&'static dyn Kernel> {
    let mut kernels: Vec<&'static dyn Kernel> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        kernels.extend(avx512::get());
        kernels.extend(sha_ni::get());
        kernels.extend(avx2::get());
    }
    kernels.push(&portable::PORTABLE);
    kernels
}
