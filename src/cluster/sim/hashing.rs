//! What nonces are worth, by a real kernel: the simulated nodes hash the nonces that they are given, though runs share what they
//! find. They meet the same jobs again and again, since blocks and timestamps do not depend on the seed.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::kernel::{Prepared, available};
use crate::work::{Job, JobId, NonceRange, Search, Target, ZeroUnit};

/// Hashes of fewer leading zero bits are not remembered: one in sixteen is.
pub(super) const FEWEST_BITS: u32 = 4;

/// Nonces that are hashed at once.
const CHUNK: u64 = 4000;

/// So many chunks of hits, 4 KB each, are remembered at most.
const MAX_KNOWN: usize = 20_000;

/// A nonce, and the leading zero bits of its hash as a number.
type Hit = (u64, u32);

/// The hits of each chunk of nonces.
type Chunks = HashMap<(JobId, u64), Arc<[Hit]>>;

static KNOWN: LazyLock<Mutex<Chunks>> = LazyLock::new(Mutex::default);

/// The nonces of `range` whose hashes have at least `bits` leading zero bits, ascending.
pub(super) fn hits(job: &Job, range: NonceRange, bits: u32) -> impl Iterator<Item = u64> {
    let has = |job: &Job, nonce: u64| job.puzzle.value(job.puzzle.digest(nonce)).leading_zero_bits();
    if bits < FEWEST_BITS {
        // Only the shortest ranges have so easy shares.
        let of = *job;
        return (range.start..range.end).filter(|&nonce| has(&of, nonce) >= bits).collect::<Vec<_>>().into_iter();
    }
    // Whatever the target, the hashes are the same.
    let target = Target::from_zeros(FEWEST_BITS.into(), ZeroUnit::Bits).unwrap();
    let job = Job { target, search: Search::Every, ..*job };
    let id = job.id();
    let chunks = if range.is_empty() { 0..0 } else { range.start / CHUNK..range.end.div_ceil(CHUNK) };
    let mut nonces = Vec::new();
    for at in chunks {
        let kept = |&(nonce, has): &Hit| (range.contains(nonce) && has >= bits).then_some(nonce);
        nonces.extend(chunk(&job, id, at).iter().filter_map(kept));
    }
    nonces.into_iter()
}

/// The first nonce of `range` that solves the job.
pub(super) fn solution(job: &Job, range: NonceRange) -> Option<u64> {
    let bits = job.target.leading_zero_bits();
    // Beyond 40 bits, no run gets that far; below, one chunk after the other will do.
    let mut rest = if bits < 40 { range } else { NonceRange::new(0, 0) };
    std::iter::from_fn(|| (!rest.is_empty()).then(|| rest.take_front(CHUNK)))
        .find_map(|part| hits(job, part, bits).next())
}

fn chunk(job: &Job, id: JobId, at: u64) -> Arc<[Hit]> {
    let lock = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hits) = lock().get(&(id, at)) {
        return Arc::clone(hits);
    }
    let bits = |nonce: u64| job.puzzle.value(job.puzzle.digest(nonce)).leading_zero_bits();
    let nonces = Prepared::new(available()[0], *job).scan(NonceRange::new(at * CHUNK, (at + 1) * CHUNK));
    let hits: Arc<[Hit]> = nonces.into_iter().map(|nonce| (nonce, bits(nonce))).collect();
    let mut known = lock();
    if known.len() == MAX_KNOWN {
        known.clear();
    }
    known.insert((id, at), Arc::clone(&hits));
    hits
}
