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
//! before a kernel is used, and its *witnesses* afterwards: where they are wanted, the kernel is given the looser of both targets, so that
//! it meets them by the way.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod baseline;
#[cfg(test)]
pub(crate) mod blind;
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
#[cfg(target_arch = "x86_64")]
mod variants;

use std::fmt;

pub use baseline::baseline;
pub(crate) use choice::rate;
pub use choice::{Choice, Clock, KernelError, choose};
pub use self_test::{SelfTestError, measuring_job, self_test};

use crate::work::{Job, NonceRange, Search, Target, WitnessBits};

/// One way to hash, for one instruction set.
pub trait Kernel: Send + Sync {
    /// The name that `--kernel` takes and events show; a variant's is for messages only.
    fn name(&self) -> &'static str;

    /// How many nonces a caller should scan between two looks at its cancellation flag: few enough to last about a
    /// millisecond on the CPUs this kernel is chosen for, enough to make the call's own cost vanish.
    fn batch(&self) -> u64;

    /// Works out once what does not change from nonce to nonce.
    fn prepare(&self, job: &Job) -> Box<dyn Candidates>;

    /// The variant that searches such a job: the kernel itself, unless it is made of several.
    fn variant(&self, _: &Job) -> &'static str {
        self.name()
    }

    /// The kernels of which this one takes the fastest for each kind of puzzle, if it is made of such.
    fn variants(&self) -> &[Box<dyn Kernel>] {
        &[]
    }

    /// Gives each variant one more turn at each kind of puzzle (less than a millisecond in all); jobs prepared from then on get the one whose
    /// best turn is best. What disturbs one moment does not disturb all, so this is for several moments.
    fn measure(&self, _: Clock) {}

    /// Forgets what was measured before, after `turns` new turns: jobs prepared from then on get the variant that is best by these alone.
    fn measure_anew(&self, _turns: usize, _: Clock) {}
}

/// A job prepared by one kernel.
pub trait Candidates: Send + Sync {
    /// Appends to `candidates`, in ascending order, nonces of `range` that may solve the job: all that do, few that do not.
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>);
}

/// A job ready to be scanned by one kernel; what leaves it was verified by the reference path.
pub struct Prepared {
    job: Job,
    /// What a witness has to meet, if witnesses are wanted.
    witness_target: Option<Target>,
    candidates: Box<dyn Candidates>,
}

/// What a range holds, each in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// The nonces that solve the job; only the first where the job ends with it.
    pub solutions: Vec<u64>,
    /// The witnesses, solutions that are witnesses among them; none beyond a solution that ends the job.
    pub witnesses: Vec<u64>,
}

impl Prepared {
    /// Prepares `job` for `kernel`, to find solutions alone.
    pub fn new(kernel: &dyn Kernel, job: Job) -> Self {
        Self { job, witness_target: None, candidates: kernel.prepare(&job) }
    }

    /// Prepares `job` for `kernel`, to find solutions and witnesses. Each witness costs a hash by the reference path.
    pub fn with_witnesses(kernel: &dyn Kernel, job: Job, bits: WitnessBits) -> Self {
        let looser = job.with_target(job.target().max(bits.target()));
        Self { job, witness_target: Some(bits.target()), candidates: kernel.prepare(&looser) }
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Every nonce of `range` that solves the job, ascending; only the first where the job ends with it. Nonces outside the job's
    /// space are not searched.
    pub fn scan(&self, range: NonceRange) -> Vec<u64> {
        self.hits(range).solutions
    }

    /// The same, and the witnesses.
    pub fn hits(&self, range: NonceRange) -> Hits {
        let range = range.intersection(&self.job.space());
        let (mut candidates, mut hits) = (Vec::new(), Hits::default());
        if !range.is_empty() {
            self.candidates.scan(range, &mut candidates);
        }
        let puzzle = &self.job.puzzle;
        for nonce in candidates {
            let value = puzzle.value(puzzle.digest(nonce));
            if self.witness_target.is_some_and(|target| value <= target) {
                hits.witnesses.push(nonce);
            }
            if value <= self.job.target() {
                hits.solutions.push(nonce);
                // An easy target may make a whole batch of candidates.
                if self.job.goal.search == Search::First {
                    break;
                }
            }
        }
        hits
    }
}

impl fmt::Debug for dyn Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every kernel that this CPU can run, the one first that is fastest on most; [`choose`] measures which it is here, and in which variant.
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

/// The same in all their variants: each must be right, as any of them may run.
pub fn available_variants() -> Vec<&'static dyn Kernel> {
    let variants = |kernel: &'static dyn Kernel| match kernel.variants() {
        [] => vec![kernel],
        variants => variants.iter().map(AsRef::as_ref).collect(),
    };
    available().into_iter().flat_map(variants).collect()
}
