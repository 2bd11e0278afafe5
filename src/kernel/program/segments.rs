//! Double SHA-256 in segments, of which one is used again and again: for instruction sets that need so many operations to a hash that
//! a straight line of them does not fit the op cache.
//!
//! ```text
//! loop from round 32:
//! a batch's first hash              pair (rounds 0 to 31)   4 bodies (32 to 63)
//! the second, of the batch before   pair (rounds 0 to 31)                         3 bodies (32 to 55)   end (56 on)
//! ```
//!
//! A body is the next 8 words of the schedule and 8 rounds with them; its job inputs are its constants `K`. The first rounds stand
//! there in full because there padding and the job's words fold. Few operations are left of them, and each waits for another, so those
//! of one batch's first hash and of another's second are one segment, [`pair_header`] or [`pair_text`], side by side. Where the
//! loop takes over after 16 rounds instead of 32, with 6 and 5 bodies, there is half the code, and 5 % more operations.
//!
//! From segment to segment the eight working variables of a batch stay in registers, and the last [`RING`] words of its schedule in
//! memory, the oldest first. A body's new words take the places of its oldest, so that then the other half has the oldest. Of the batch
//! that waits for its turn, the working variables are in memory too.

use std::ops::Range;

use super::op::{Builder, Instructions, Op, Pace, Value};
use super::sha256d::{INITIAL, K, STATE, Schedule, candidates, digest_words, header_words, rounds, text_words};
use super::{Output, Program};

/// How many working variables there are.
pub(crate) const VARIABLES: usize = 8;

/// How many words of the schedule go from one segment to the next.
pub(crate) const RING: usize = 16;

/// Rounds of a body.
pub(crate) const ROUNDS: usize = RING / 2;

/// The round that the last segment begins with.
const END: usize = 56;

/// Bodies of the first hash, and of the second, if the first of them begins with round `loop_from`.
pub(crate) fn bodies(loop_from: usize) -> [usize; 2] {
    assert!(
        loop_from >= RING && (END - loop_from).is_multiple_of(ROUNDS),
        "the ring is full, and bodies reach the end"
    );
    [64, END].map(|last| (last - loop_from) / ROUNDS)
}

/// The outputs of a pair that belong to its second batch: its ring, its working variables. Those before are the first batch's ring; what
/// is held, its working variables.
pub(crate) const SECOND: Range<usize> = RING..2 * RING + VARIABLES;

/// The rounds before `loop_from` of the header puzzle's second block for one batch, of the digest's hash for the other.
pub(crate) fn pair_header(loop_from: usize) -> Program {
    let mut b = builder();
    let words = header_words(&mut b);
    pair(b, words, 1, loop_from)
}

/// The rounds before `loop_from` of the text puzzle's second block for one batch, of the digest's hash for the other.
pub(crate) fn pair_text(loop_from: usize) -> Program {
    let mut b = builder();
    let words = text_words(&mut b);
    pair(b, words, 2, loop_from)
}

/// The next [`ROUNDS`] rounds.
pub(crate) fn body() -> Program {
    let mut b = builder();
    let state = held(&mut b);
    let mut message = Schedule::new(ring(&mut b), K);
    let state = rounds(&mut b, state, ROUNDS, |b, t| {
        let word = message.word(b, RING + t);
        let k = b.push(Op::Job(t));
        b.sum(&[word, k])
    });
    let words: [_; ROUNDS] = std::array::from_fn(|t| message.word(&mut b, RING + t));
    Program::paced(b, words.map(Output::Store).into_iter().chain(state.map(Output::Hold)).collect())
}

/// The second hash from round 56 as far as its last word, which is `e` after round 60.
pub(crate) fn end_header() -> Program {
    end(60, INITIAL[7], 4)
}

/// The second hash from round 56 as far as its first word, which is `a` after the last round.
pub(crate) fn end_text() -> Program {
    end(63, INITIAL[0], 0)
}

fn builder() -> Builder {
    Builder::new(Instructions::Binary)
}

/// The vectors are those of the first batch's pass, so many, and then the working variables of the second.
fn pair(mut b: Builder, words: [Value; 16], vectors: usize, loop_from: usize) -> Program {
    let midstate: [_; VARIABLES] = std::array::from_fn(|i| b.push(Op::Job(STATE + i)));
    let (state, ring) = rounds_before(loop_from, &mut b, midstate, words);
    b.pace = Pace::new(0, Pace::ROUND);
    let digest = std::array::from_fn(|i| {
        let variable = b.push(Op::Lanes(vectors + i));
        let sum = b.sum(&[variable, midstate[i]]);
        b.total(sum)
    });
    let words = digest_words(&mut b, digest);
    let initial = INITIAL.map(|word| b.constant(word));
    let (second_state, second_ring) = rounds_before(loop_from, &mut b, initial, words);
    let stored = ring.into_iter().chain(second_ring).chain(second_state).map(Output::Store);
    Program::paced(b, stored.chain(state.map(Output::Hold)).collect())
}

/// The working variables after the rounds before `loop_from`, and the schedule's last words by then.
fn rounds_before(
    loop_from: usize,
    b: &mut Builder,
    state: [Value; VARIABLES],
    words: [Value; 16],
) -> ([Value; VARIABLES], [Value; RING]) {
    let mut message = Schedule::new(words, K);
    let state = rounds(b, state, loop_from, |b, t| message.term(b, t));
    (state, std::array::from_fn(|t| message.word(b, loop_from - RING + t)))
}

/// The rounds from [`END`] to `last`, with `extra` added in the last.
fn end(last: usize, extra: u32, variable: usize) -> Program {
    let mut b = builder();
    let state = held(&mut b);
    let mut k = K;
    k[last] = k[last].wrapping_add(extra);
    let mut message = Schedule::new(ring(&mut b), k);
    let state = rounds(&mut b, state, last + 1 - END, |b, t| {
        let word = message.word(b, RING + t);
        let k = b.constant(k[END + t]);
        b.sum(&[word, k])
    });
    let outputs = candidates(&mut b, state[variable]);
    Program::paced(b, outputs)
}

/// The working variables that the segment before has left.
fn held(b: &mut Builder) -> [Value; VARIABLES] {
    std::array::from_fn(|i| b.push(Op::Held(i)))
}

/// The words of the schedule that it has left.
fn ring(b: &mut Builder) -> [Value; RING] {
    std::array::from_fn(|i| b.push(Op::Lanes(i)))
}
