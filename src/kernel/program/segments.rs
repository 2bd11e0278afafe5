//! Double SHA-256 in segments that share their code: for instruction sets that need so many operations to a hash that a straight
//! line of them does not fit the op cache.
//!
//! ```text
//! begin (rounds 0 to 15)   6 bodies   middle (adds up the digest; rounds 0 to 15)   5 bodies   end (rounds 56 on)
//! ```
//!
//! A body is the next 8 words of the schedule and 8 rounds with them. From segment to segment go [`LINK`] vectors: the eight
//! working variables and the last 16 words of the schedule. A body's job inputs are its constants `K`.

use super::op::{Builder, Instructions, Op, Value};
use super::sha256d::{INITIAL, K, STATE, Schedule, candidates, digest_words, header_words, rounds, text_words};
use super::{Output, Program};

/// How many vectors go from one segment to the next.
pub(crate) const LINK: usize = 24;

/// Rounds of a body.
pub(crate) const ROUNDS: usize = 8;

/// Bodies of the first hash, and of the second.
pub(crate) const BODIES: [usize; 2] = [6, 5];

/// The round that the bodies begin with: those before take the message's own words.
pub(crate) const FIRST_ROUND: usize = 16;

/// The round that the last segment begins with.
const END: usize = FIRST_ROUND + BODIES[1] * ROUNDS;

/// Rounds 0 to 15 of the header puzzle's second block.
pub(crate) fn begin_header() -> Program {
    let mut b = builder();
    let words = header_words(&mut b);
    begin(b, words)
}

/// Rounds 0 to 15 of the text puzzle's second block.
pub(crate) fn begin_text() -> Program {
    let mut b = builder();
    let words = text_words(&mut b);
    begin(b, words)
}

/// The next [`ROUNDS`] rounds.
pub(crate) fn body() -> Program {
    let mut b = builder();
    let [state, words] = linked(&mut b);
    let mut message = Schedule::new(words.try_into().expect("16 words"), K);
    let state = rounds(&mut b, state.try_into().expect("8 variables"), ROUNDS, |b, t| {
        let word = message.word(b, FIRST_ROUND + t);
        let k = b.push(Op::Job(t));
        b.sum(&[word, k])
    });
    let words = std::array::from_fn(|t| message.word(&mut b, ROUNDS + t));
    link(b, state, words)
}

/// The digest of the first hash, and the first 16 rounds of the second.
pub(crate) fn middle() -> Program {
    let mut b = builder();
    let [state, _] = linked(&mut b);
    let digest = std::array::from_fn(|i| {
        let midstate = b.push(Op::Job(STATE + i));
        let sum = b.sum(&[state[i], midstate]);
        b.total(sum)
    });
    let words = digest_words(&mut b, digest);
    let mut message = Schedule::new(words, K);
    let initial = INITIAL.map(|word| b.constant(word));
    let state = rounds(&mut b, initial, FIRST_ROUND, |b, t| message.term(b, t));
    link(b, state, words)
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
    let mut message = Schedule::new(words, K);
    let state = rounds(&mut b, state, FIRST_ROUND, |b, t| message.term(b, t));
    link(b, state, words)
}

/// The rounds from [`END`] to `last`, with `extra` added in the last.
fn end(last: usize, extra: u32, variable: usize) -> Program {
    let mut b = builder();
    let [state, words] = linked(&mut b);
    let mut k = K;
    k[last] = k[last].wrapping_add(extra);
    let mut message = Schedule::new(words.try_into().expect("16 words"), k);
    let state = rounds(&mut b, state.try_into().expect("8 variables"), last + 1 - END, |b, t| {
        let word = message.word(b, FIRST_ROUND + t);
        let k = b.constant(k[END + t]);
        b.sum(&[word, k])
    });
    candidates(b, state[variable])
}

/// What the segment before has left: the working variables and the words.
fn linked(b: &mut Builder) -> [Vec<Value>; 2] {
    let vectors: Vec<_> = (0..LINK).map(|vector| b.push(Op::Lanes(vector))).collect();
    [vectors[..8].to_vec(), vectors[8..].to_vec()]
}

fn link(b: Builder, state: [Value; 8], words: [Value; 16]) -> Program {
    Program::new(b, state.into_iter().chain(words).map(Output::Store).collect())
}
