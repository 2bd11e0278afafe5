//! Double SHA-256 as a program, written once for every puzzle, lane width and printer.
//!
//! Names follow FIPS 180-4, section 6.2.2: the working variables `a` to `h`, the message schedule `W`, the constants `K`.
//!
//! What saves operations:
//! 1. everything that the job alone decides is worked out once a job (the first block's compression by the caller, the first
//!    rounds, the constant parts of the schedule, `K + W` where `W` is constant): that is what [`Time`] is for;
//! 2. in the second hash half the words are padding and the state is constant, so the same folding shortens it;
//! 3. only one word of the digest is worked out, with its initial value folded into the last round's constant; what it does
//!    not need is left out by [`Program`]'s dead-code elimination;
//! 4. headers that differ in their first block only (rolled versions) share the schedule of the second: [`schedule`] and
//!    [`rolled`].
//!
//! What keeps dependencies short: `h + K + W` is made a round ahead, which also makes `ch` the last user of `g`, so that it
//! may overwrite it; and `ch` is added to it before `sigma1` is there, which leaves four operations from one `e` to the next.

use super::op::{Builder, Instructions, Op, Pace, Sum, Time, Value};
use super::{Output, Program};

include!("../constants.rs");

/// Where a job's inputs stand: the state after the first block, the second block's words, the mask of the digest word's bits
/// that must be zero. (The drivers' `INPUTS` is how many that are.)
pub(crate) const STATE: usize = 0;
const WORDS: usize = 8;
const MASK: usize = 24;

/// The header puzzle: word 3 of the second block, the nonce, is the sum of the pass's word and a vector.
pub(crate) fn header() -> Program {
    let mut b = Builder::new(Instructions::Ternary);
    let mut message = Schedule::new(header_words(&mut b), K);
    let first = first_hash(&mut b, |b, t| message.term(b, t));
    header_candidates(b, first)
}

/// The part of the header puzzle that headers with the same second block share: a vector of `K + W` for each round whose
/// word depends on the nonce.
pub(crate) fn schedule() -> Program {
    let mut b = Builder::new(Instructions::Ternary);
    let mut message = Schedule::new(header_words(&mut b), K);
    let mut outputs = Vec::new();
    for t in 0..64 {
        let term = message.term(&mut b, t);
        if term.lanes.is_some() {
            outputs.push(Output::Store(b.total(term)));
        }
    }
    Program::new(b, outputs)
}

/// The rest of the header puzzle: the vectors are what [`schedule`] made.
pub(crate) fn rolled() -> Program {
    let mut b = Builder::new(Instructions::Ternary);
    let mut message = Schedule::new(header_words(&mut b), K);
    let mut vectors = 0;
    let first = first_hash(&mut b, |b, t| {
        let term = message.term(b, t);
        if term.lanes.is_none() {
            return term;
        }
        let vector = b.push(Op::Lanes(vectors));
        vectors += 1;
        b.sum(&[vector])
    });
    header_candidates(b, first)
}

/// The text puzzle: words 1 and 2 of the second block are sums of the job's words and a vector each.
pub(crate) fn text() -> Program {
    let mut b = Builder::new(Instructions::Ternary);
    let mut message = Schedule::new(text_words(&mut b), K);
    let first = first_hash(&mut b, |b, t| message.term(b, t));
    // The leading hex digits are those of word 0: the whole of the last round's `a`.
    let word = second_hash(&mut b, first, 64, 63, INITIAL[0])[0];
    let outputs = candidates(&mut b, word);
    Program::new(b, outputs)
}

/// The hash of the header's hash as far as its last word: that is `h` after round 63, `e` after round 60.
fn header_candidates(mut b: Builder, first: [Value; 8]) -> Program {
    let word = second_hash(&mut b, first, 61, 60, INITIAL[7])[4];
    let outputs = candidates(&mut b, word);
    Program::new(b, outputs)
}

pub(super) fn candidates(b: &mut Builder, word: Value) -> Vec<Output> {
    let mask = b.push(Op::Job(MASK));
    vec![Output::Candidates { word, mask }]
}

pub(super) fn job_words(b: &mut Builder) -> [Value; 16] {
    std::array::from_fn(|i| b.push(Op::Job(WORDS + i)))
}

pub(super) fn header_words(b: &mut Builder) -> [Value; 16] {
    let mut words = job_words(b);
    let (pass, lanes) = (b.push(Op::Pass), b.push(Op::Lanes(0)));
    let nonce = b.sum(&[lanes, pass]);
    words[3] = b.total(nonce);
    words
}

pub(super) fn text_words(b: &mut Builder) -> [Value; 16] {
    let mut words = job_words(b);
    for (vector, word) in words[1..3].iter_mut().enumerate() {
        let vector = b.push(Op::Lanes(vector));
        let sum = b.sum(&[vector, *word]);
        *word = b.total(sum);
    }
    words
}

/// The digest of the message whose first block left the job's state.
fn first_hash(b: &mut Builder, term: impl FnMut(&mut Builder, usize) -> Sum) -> [Value; 8] {
    let state = std::array::from_fn(|i| b.push(Op::Job(STATE + i)));
    let last = rounds(b, state, 64, term);
    std::array::from_fn(|i| {
        let sum = b.sum(&[last[i], state[i]]);
        b.total(sum)
    })
}

/// The working variables of the digest's hash after `count` rounds, with `extra` added in round `at`.
fn second_hash(b: &mut Builder, digest: [Value; 8], count: usize, at: usize, extra: u32) -> [Value; 8] {
    let words = digest_words(b, digest);
    let mut k = K;
    k[at] = k[at].wrapping_add(extra);
    let mut message = Schedule::new(words, k);
    let state = INITIAL.map(|word| b.constant(word));
    rounds(b, state, count, |b, t| message.term(b, t))
}

/// The digest as a message of one block.
pub(super) fn digest_words(b: &mut Builder, digest: [Value; 8]) -> [Value; 16] {
    let mut words = [b.constant(0); 16];
    words[..8].copy_from_slice(&digest);
    // FIPS 180-4, section 5.1.1: one bit, zeros, the length in bits.
    words[8] = b.constant(1 << 31);
    words[15] = b.constant(256);
    words
}

/// The message schedule, worked out as far as asked for.
pub(super) struct Schedule {
    words: Vec<Value>,
    k: [u32; 64],
}

impl Schedule {
    pub(super) fn new(words: [Value; 16], k: [u32; 64]) -> Self {
        Self { words: words.to_vec(), k }
    }

    /// `K + W` of round `t`.
    pub(super) fn term(&mut self, b: &mut Builder, t: usize) -> Sum {
        let word = self.word(b, t);
        let k = b.constant(self.k[t]);
        b.sum(&[word, k])
    }

    /// `W` of round `t`.
    pub(super) fn word(&mut self, b: &mut Builder, t: usize) -> Value {
        while self.words.len() <= t {
            let mut pace = b.pace.ahead(SCHEDULE_LEAD, SCHEDULE_PACE);
            let next = b.at(&mut pace, |b| self.next(b));
            self.words.push(next);
        }
        self.words[t]
    }

    fn next(&self, b: &mut Builder) -> Value {
        let word = |back: usize| self.words[self.words.len() - back];
        let (old, recent) = (word(15), word(2));
        let [rotated7, rotated18] = [7, 18].map(|by| b.rotate(old, by));
        let shifted = b.push(Op::Shift(old, 3));
        let sigma0 = b.xor([rotated7, rotated18, shifted]);
        let [rotated17, rotated19] = [17, 19].map(|by| b.rotate(recent, by));
        let shifted = b.push(Op::Shift(recent, 10));
        let sigma1 = b.xor([rotated17, rotated19, shifted]);
        let sum = b.sum(&[word(16), word(7), sigma0, sigma1]);
        b.total(sum)
    }
}

/// About the operations of the three chains in a round, without rotates and three-operand functions: the one from `e` to the next `e`, the
/// one from `a` to the next `a`, and the schedule's. These were found to be best on Zen 5.
const E_PACE: i64 = 18;
const A_PACE: i64 = 20;
const SCHEDULE_PACE: i64 = 22;

/// How far the chain of `a`, whose next use in the other chain is four rounds later, is due behind that of `e`: side by side, they leave
/// the core fewer operations that wait. Measured on Zen 5: without it 13 % are lost, with a whole round 4 %.
const A_LAG: i64 = 600;

/// How far the schedule's is due ahead of `e`'s. Measured on Zen 5: without it, 2.5 % are lost.
const SCHEDULE_LEAD: i64 = 300;

/// `count` rounds on `state`; `term` gives `K + W` of a round.
pub(super) fn rounds(
    b: &mut Builder,
    state: [Value; 8],
    count: usize,
    mut term: impl FnMut(&mut Builder, usize) -> Sum,
) -> [Value; 8] {
    let [mut a, mut bb, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    let first = term(b, 0);
    let mut ahead = with(b, first, h);
    for t in 0..count {
        let begin = t as i64 * Pace::ROUND;
        b.pace = Pace::new(begin, E_PACE);
        let mut a_pace = Pace::new(begin + A_LAG, A_PACE);
        let sigma0 = b.at(&mut a_pace, |b| sigma(b, a, [2, 13, 22]));
        let sigma1 = sigma(b, e, [6, 11, 25]);
        let mut x = ahead;
        if b.time(d) == Time::Lane {
            // Both the new `a` and the new `e` need it whole. In the first rounds, where `d` is known, the fixed parts fold
            // into one number for each of the two.
            x = Sum { fixed: b.constant(0), lanes: Some(b.total(x)) };
        }
        if t + 1 < count {
            let next = term(b, t + 1);
            ahead = with(b, next, g);
        }
        let ch = b.ch([e, f, g]);
        let maj = b.at(&mut a_pace, |b| b.maj([a, bb, c]));
        let x_ch = with(b, x, ch);
        let t1 = with(b, x_ch, sigma1);
        let t2 = b.at(&mut a_pace, |b| b.sum(&[maj, sigma0]));
        let new_e = with(b, t1, d);
        let new_a = b.at(&mut a_pace, |b| b.sum_of(t1, t2));
        (d, c, bb, h, g, f) = (c, bb, a, g, f, e);
        e = b.total(new_e);
        a = b.at(&mut a_pace, |b| b.total(new_a));
    }
    [a, bb, c, d, e, f, g, h]
}

/// `sum` and one more term.
fn with(b: &mut Builder, sum: Sum, term: Value) -> Sum {
    let term = b.sum(&[term]);
    b.sum_of(sum, term)
}

fn sigma(b: &mut Builder, word: Value, by: [u32; 3]) -> Value {
    let rotations = by.map(|by| b.rotate(word, by));
    b.xor(rotations)
}
