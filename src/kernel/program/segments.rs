//! Double SHA-256 in segments, of which one is used again and again: for instruction sets that need so many operations to a hash that
//! a straight line of them does not fit the op cache.
//!
//! ```text
//! begin (rounds 0 to 31)   4 bodies   middle (adds up the digest; rounds 0 to 31)   3 bodies   end (rounds 56 on)
//! ```
//!
//! A body is the next 8 words of the schedule and 8 rounds with them; its job inputs are its constants `K`. The rounds up to 31 stand
//! there in full because there padding and the job's words fold.
//!
//! From segment to segment the eight working variables stay in registers, and the last [`RING`] words of the schedule in memory, the
//! oldest first. A body's new words take the places of its oldest, so that then the other half has the oldest.

use super::op::{Builder, Instructions, Op, Value};
use super::sha256d::{INITIAL, K, STATE, Schedule, candidates, digest_words, header_words, rounds, text_words};
use super::{Output, Program};

/// How many words of the schedule go from one segment to the next.
pub(crate) const RING: usize = 16;

/// Rounds of a body.
pub(crate) const ROUNDS: usize = RING / 2;

/// Bodies of the first hash, and of the second.
pub(crate) const BODIES: [usize; 2] = [4, 3];

/// The round that the bodies begin with.
pub(crate) const FIRST_ROUND: usize = 64 - BODIES[0] * ROUNDS;

/// The round that the last segment begins with.
const END: usize = FIRST_ROUND + BODIES[1] * ROUNDS;

/// The first rounds of the header puzzle's second block.
pub(crate) fn begin_header() -> Program {
    let mut b = builder();
    let words = header_words(&mut b);
    begin(b, words)
}

/// The first rounds of the text puzzle's second block.
pub(crate) fn begin_text() -> Program {
    let mut b = builder();
    let words = text_words(&mut b);
    begin(b, words)
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
    link(b, state, &words)
}

/// The digest of the first hash, and the first rounds of the second.
pub(crate) fn middle() -> Program {
    let mut b = builder();
    let state = held(&mut b);
    let digest = std::array::from_fn(|i| {
        let midstate = b.push(Op::Job(STATE + i));
        let sum = b.sum(&[state[i], midstate]);
        b.total(sum)
    });
    let words = digest_words(&mut b, digest);
    let initial = INITIAL.map(|word| b.constant(word));
    first_rounds(b, initial, words)
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

fn begin(mut b: Builder, words: [Value; 16]) -> Program {
    let state = std::array::from_fn(|i| b.push(Op::Job(STATE + i)));
    first_rounds(b, state, words)
}

/// The rounds before [`FIRST_ROUND`].
fn first_rounds(mut b: Builder, state: [Value; 8], words: [Value; 16]) -> Program {
    let mut message = Schedule::new(words, K);
    let state = rounds(&mut b, state, FIRST_ROUND, |b, t| message.term(b, t));
    let words: [_; RING] = std::array::from_fn(|t| message.word(&mut b, FIRST_ROUND - RING + t));
    link(b, state, &words)
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
fn held(b: &mut Builder) -> [Value; 8] {
    std::array::from_fn(|i| b.push(Op::Held(i)))
}

/// The words of the schedule that it has left.
fn ring(b: &mut Builder) -> [Value; RING] {
    std::array::from_fn(|i| b.push(Op::Lanes(i)))
}

fn link(b: Builder, state: [Value; 8], words: &[Value]) -> Program {
    let words = words.iter().map(|&word| Output::Store(word));
    Program::paced(b, words.chain(state.map(Output::Hold)).collect())
}
