//! The commonest searches as one call each.
//!
//! The kernel is chosen once in a process, and only when a search is long enough to be worth that:
//!
//! 1. The first nonces, a few milliseconds' worth, are searched on the calling thread by the first kernel that passes its self-test. This
//!    solves an easy puzzle already.
//! 2. Otherwise the kernels are measured (some sixty milliseconds on a Zen 5 core), and the fastest searches the rest on all threads. Later
//!    calls use it from the start.

use std::sync::{LazyLock, OnceLock};

use crate::kernel::{Kernel, KernelError, Prepared, SelfTestError, available, choose, self_test};
use crate::scan::{ScanError, Solutions, Threads, thread_time};
use crate::work::{
    Digest, Hashing, Header, HeaderPuzzle, Job, NonceRange, Puzzle, Search, Target, TargetError, TextPuzzle, Timestamp,
    ZeroUnit,
};

/// How many nonces the calling thread searches first. It then doubles the number, up to a batch of its kernel (about a millisecond; ten
/// where a text's nonces have few digits). So an easy puzzle costs at most about twice the search that it needs.
const FIRST_NONCES: u64 = 512;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// The header's bits or the number of zeros make no target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No kernel passed its self-test.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The system refuses threads.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// The header with the lowest nonce that makes its hash meet its own bits, searched on all cores. `None` if none of the 2³² nonces does;
/// the caller then changes the time or the merkle root.
///
/// ```
/// use headframe::work::{BlockHash, Digest, Header};
///
/// // The first block of a regtest chain; its bits let every second hash through.
/// let genesis: BlockHash = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206".parse()?;
/// let header = Header {
///     version: 0x2000_0000,
///     prev_blockhash: genesis.into(),
///     merkle_root: Digest([7; 32]),
///     time: 1_795_342_329,
///     bits: 0x207f_ffff,
///     nonce: 0,
/// };
/// let solved = headframe::solve_header(&header)?.expect("one of 2^32 nonces");
/// println!("nonce {} gives {}", solved.nonce, solved.hash());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When Bitcoin's rules refuse the header's bits, no kernel passes its self-test, or the system refuses threads.
pub fn solve_header(header: &Header) -> Result<Option<Header>, SolveError> {
    let puzzle = HeaderPuzzle { header: *header, version_mask: 0 };
    let job = Job::new(Puzzle::Header(puzzle), Target::from_bits(header.bits)?, Search::First);
    Ok(solve(job, Threads::default())?.map(|nonce| puzzle.at(nonce)))
}

/// The lowest of the nonces 1 to 2,000,000,000 whose text, hashed twice, gives a digest with at least `zeros` leading zero hex digits,
/// searched on all cores. `None` if there is none; the caller then takes another timestamp.
///
/// ```
/// let prev = "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db".parse()?;
/// assert_eq!(headframe::solve_text(prev, "1550766000000".parse()?, 3)?, Some(4750));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When `zeros` is above 64, no kernel passes its self-test, or the system refuses threads.
pub fn solve_text(prev: Digest, timestamp: Timestamp, zeros: u32) -> Result<Option<u64>, SolveError> {
    let puzzle = Puzzle::Text(TextPuzzle { prev, timestamp, hashing: Hashing::Double });
    let job = Job::new(puzzle, Target::from_zeros(zeros.into(), ZeroUnit::Hex)?, Search::First);
    solve(job, Threads::default())
}

/// The lowest nonce that solves a job of any kind, on as many threads as the caller says. For every solution, a part of the nonces,
/// progress or an early end, use [`Solutions`] instead.
///
/// # Errors
/// When no kernel passes its self-test, or the system refuses that many threads.
pub fn solve(job: Job, threads: impl Into<Threads>) -> Result<Option<u64>, SolveError> {
    lowest(job, job.space(), threads.into())
}

fn lowest(job: Job, range: NonceRange, threads: Threads) -> Result<Option<u64>, SolveError> {
    lowest_by(job, range, |range| Ok(Solutions::start(fastest_kernel()?, threads, job, range)?))
}

/// The lowest solution in `range`. The calling thread searches the first nonces; if there is none among them, `start` begins the search of
/// the others.
pub(crate) fn lowest_by<E: From<KernelError>>(
    job: Job,
    mut range: NonceRange,
    start: impl FnOnce(NonceRange) -> Result<Solutions, E>,
) -> Result<Option<u64>, E> {
    let kernel = kernel_at_hand()?;
    let prepared = Prepared::new(kernel, job);
    let mut nonces = FIRST_NONCES;
    while nonces <= kernel.batch() && !range.is_empty() {
        if let Some(&nonce) = prepared.scan(range.take_front(nonces)).first() {
            return Ok(Some(nonce));
        }
        nonces *= 2;
    }
    if range.is_empty() { Ok(None) } else { Ok(start(range)?.next()) }
}

static FASTEST: OnceLock<Result<&'static dyn Kernel, KernelError>> = OnceLock::new();

/// The chosen kernel, or before the choice the first one that passes its self-test.
fn kernel_at_hand() -> Result<&'static dyn Kernel, KernelError> {
    static WORKING: LazyLock<Result<&'static dyn Kernel, SelfTestError>> = LazyLock::new(|| {
        let mut tested = available().into_iter().map(|kernel| self_test(kernel).map(|()| kernel));
        let first = tested.next().expect("the portable kernel at least");
        first.or_else(|error| tested.find_map(Result::ok).ok_or(error))
    });
    match FASTEST.get() {
        Some(fastest) => fastest.clone(),
        None => WORKING.clone().map_err(KernelError::from),
    }
}

/// The fastest kernel. The first call measures the kernels.
fn fastest_kernel() -> Result<&'static dyn Kernel, KernelError> {
    FASTEST.get_or_init(|| choose(None, &thread_time).map(|choice| choice.kernel)).clone()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::work::fixtures::{self, PREV, TIMESTAMP, check_job, genesis, header};

    #[test]
    fn a_texts_first_nonces_are_found() {
        for (zeros, first) in fixtures::FIRST_NONCES {
            let found = solve_text(PREV.parse().unwrap(), TIMESTAMP.parse().unwrap(), zeros as u32);
            assert_eq!(found.unwrap(), Some(first));
        }
    }

    #[test]
    fn a_solved_header_meets_its_own_bits_and_is_otherwise_the_same() {
        // The target has 15 zero bits: the calling thread solves it as a rule.
        let header = Header { bits: 0x1f01_ffff, nonce: 7, ..genesis() };
        let solved = solve_header(&header).unwrap().unwrap();
        let puzzle = Puzzle::Header(HeaderPuzzle { header, version_mask: 0 });
        let target = Target::from_bits(header.bits).unwrap();
        assert_eq!(solved, Header { nonce: solved.nonce, ..header });
        assert_eq!((0..).find(|&nonce| puzzle.check(nonce, target).is_some()), Some(solved.nonce.into()));
    }

    /// The solution may be found by the calling thread or by all threads, or there may be none.
    #[test]
    fn the_lowest_is_found_wherever_it_lies() {
        let job = Job::new(header(0), Target::from_bits(genesis().bits).unwrap(), Search::First);
        let nonce = u64::from(genesis().nonce);
        for threads in [Threads::default(), NonZeroUsize::MIN.into()] {
            for before in [0, 10, 20_000_000] {
                let range = NonceRange::new(nonce - before, nonce + 30_000_000);
                assert_eq!(lowest(job, range, threads.clone()).unwrap(), Some(nonce), "{before} before");
                let range = NonceRange::new(nonce - before, nonce);
                assert_eq!(lowest(job, range, threads.clone()).unwrap(), None, "{before} before");
            }
        }
    }

    #[test]
    fn of_every_solution_the_lowest_is_given() {
        assert_eq!(solve(check_job(3, Search::Every), NonZeroUsize::MIN).unwrap(), Some(4750));
    }

    #[test]
    fn what_makes_no_target_is_refused() {
        let header = Header { bits: 0, ..genesis() };
        assert!(matches!(solve_header(&header), Err(SolveError::Target(TargetError::Bits(0)))));
        let text = solve_text(PREV.parse().unwrap(), TIMESTAMP.parse().unwrap(), 65);
        assert!(matches!(text, Err(SolveError::Target(TargetError::Zeros { got: 65, most: 64 }))));
    }
}
