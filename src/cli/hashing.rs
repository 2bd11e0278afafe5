//! How this box hashes: which kernel, on how many threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::Deserialize;

use super::affinity::Affinity;
use super::{args, usage};
use crate::kernel::{Choice, KernelError, choose, measuring_job};
use crate::node::Registry;
use crate::scan::{Solutions, Threads, thread_time, threads_worth};
use crate::solve;
use crate::work::{Job, NonceRange};

/// The most threads: more than any box has CPUs. A slip of the finger should not bring the box down.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// How many threads the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) enum ThreadCount {
    Number(NonZeroUsize),
    /// Per cent of the CPUs that this process may run on; one thread at least.
    PerCent(u8),
}

/// A thread count as it may stand in a config file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Text(String),
}

impl TryFrom<Written> for ThreadCount {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl FromStr for ThreadCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = match text.strip_suffix('%') {
            Some(share) => share.parse().ok().filter(|share| (1..=100).contains(share)).map(Self::PerCent),
            None => text.parse().ok().filter(|count| *count <= MOST).map(Self::Number),
        };
        let wrong =
            || format!("expected threads as a number from 1 to {MOST} or as 1% to 100% of all CPUs, got {text:?}");
        count.ok_or_else(wrong)
    }
}

impl fmt::Display for ThreadCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(count) => write!(f, "{count}"),
            Self::PerCent(share) => write!(f, "{share}%"),
        }
    }
}

impl ThreadCount {
    /// The number of threads where `cpus` CPUs may be used.
    pub(super) fn of(self, cpus: NonZeroUsize) -> NonZeroUsize {
        match self {
            Self::Number(count) => count,
            Self::PerCent(share) => {
                NonZeroUsize::new(cpus.get() * usize::from(share) / 100).unwrap_or(NonZeroUsize::MIN)
            }
        }
    }
}

/// The kernel and the threads that were asked for, or those that are fastest. They are pinned by [`Affinity::pin`].
pub(super) fn resolve(args: &args::Hashing) -> anyhow::Result<(Choice, Threads)> {
    let cpus = Threads::default().count;
    let asked = match (args.threads, &args.affinity) {
        (None, Some(Affinity::Cpus(cpus))) => NonZeroUsize::new(cpus.len()), // one for each
        (threads, _) => threads.map(|threads| threads.of(cpus)),
    };
    if let (Some(count), Some(affinity)) = (asked, &args.affinity) {
        affinity.check(count)?;
    }
    let choice = choose(args.kernel.as_deref(), &thread_time).map_err(|error| match error {
        KernelError::Unknown { .. } => usage(error),
        KernelError::SelfTest(_) => error.into(),
    })?;
    for refused in &choice.refused {
        tracing::warn!("{refused}");
    }
    let count = asked.unwrap_or_else(|| threads_worth(choice.kernel, measuring_job(), cpus, &thread_time));
    Ok((choice, count.into()))
}

/// The same for a command that is no server, with its threads pinned.
pub(super) fn resolve_pinned(args: &args::Hashing) -> anyhow::Result<(Choice, Threads)> {
    let (choice, mut threads) = resolve(args)?;
    if let Some(affinity) = &args.affinity {
        affinity.pin(Registry::open().ok().as_ref(), [(&mut threads, None)]);
    }
    Ok((choice, threads))
}

/// The lowest nonce of `range` that solves the job. Where the user names no kernel and one of the first nonces is it, as with an easy job,
/// nothing is measured.
pub(super) fn lowest(args: &args::Hashing, job: Job, range: NonceRange) -> anyhow::Result<Option<u64>> {
    let start = |range| {
        let (choice, threads) = resolve_pinned(args)?;
        anyhow::Ok(Solutions::start(choice.kernel, threads, job, range)?)
    };
    match args.kernel {
        Some(_) => Ok(start(range)?.next()),
        None => solve::lowest_by(job, range, start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_numbers_or_shares() {
        let number = |number| NonZeroUsize::new(number).unwrap();
        assert_eq!("3".parse(), Ok(ThreadCount::Number(number(3))));
        assert_eq!("50%".parse(), Ok(ThreadCount::PerCent(50)));
        assert_eq!(ThreadCount::PerCent(50).of(number(16)), number(8));
        assert_eq!(ThreadCount::PerCent(1).of(number(16)), number(1));
        for wrong in ["0", "-1", "4097", "0%", "101%", "half", "", "%", "1.5"] {
            assert!(wrong.parse::<ThreadCount>().unwrap_err().contains("expected threads"), "{wrong}");
        }
    }
}
