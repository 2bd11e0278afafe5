//! The kernel for the SHA extensions: eight, six or four hashes interleaved, whichever is fastest.
//!
//! For so many nonces at a time:
//! 1. write each into the first 16 bytes of the message's second block, where both puzzles have theirs,
//! 2. run the rounds of that block, from the midstate of the first,
//! 3. run those of the digest's own hash,
//! 4. name the nonces whose digest's most significant word is small enough.
//!
//! What was done for speed:
//! 1. `sha256rnds2` takes two cycles on Zen 5 but its result is there after four, so one hash leaves the unit idle more than half the
//!    time. Side by side, four take 142 cycles each for a header, six 132, eight 125.6, and the unit itself 124; most of their words are
//!    in memory, which costs nothing. Ten are more code than the op cache holds (188 cycles); six and four are there for smaller op caches;
//! 2. for headers, rounds 0 and 1 are run once a job, and the last two not at all: word 7 of the digest is known before;
//! 3. in the second hash, the sums of padding and constants are constants;
//! 4. compiled for AVX, whose three-operand forms save moves.

#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::sync::LazyLock;

use super::blocks::{Block, INITIAL, K, header_block, header_midstate, text_block, text_midstate, words};
use super::variants::Variants;
use super::{Candidates, Kernel};
use crate::work::{Hashing, HeaderPuzzle, Job, NonceRange, Puzzle, TextPuzzle};

/// The kernel, if this CPU has the SHA extensions and AVX.
pub(super) fn get() -> Option<&'static dyn Kernel> {
    static KERNEL: LazyLock<Option<Variants>> = LazyLock::new(|| {
        let there = std::arch::is_x86_feature_detected!("sha") && std::arch::is_x86_feature_detected!("avx");
        there.then(|| {
            let eight = ShaNi::<8> { name: "sha-ni, 8 streams" };
            let six = ShaNi::<6> { name: "sha-ni, 6 streams" };
            let four = ShaNi::<4> { name: "sha-ni, 4 streams" };
            Variants::new("sha-ni", vec![Box::new(eight), Box::new(six), Box::new(four)])
        })
    });
    KERNEL.as_ref().map(|kernel| kernel as _)
}

/// See the module. Only [`get`] makes it, so whoever has one may use the instructions.
struct ShaNi<const STREAMS: usize> {
    name: &'static str,
}

impl<const STREAMS: usize> Kernel for ShaNi<STREAMS> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn batch(&self) -> u64 {
        // 1 ms at the 34 MH/s of a Zen 5 core.
        32_768
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        let limit = job.target().high_word();
        match job.puzzle {
            Puzzle::Header(puzzle) => Box::new(Header::<STREAMS> { puzzle, limit }),
            Puzzle::Text(puzzle) => Box::new(Text::<STREAMS> { puzzle, midstate: text_midstate(&puzzle), limit }),
        }
    }
}

/// Rounds `$from` to `$to` with the message's 16 words. Both are even; what does not differ between streams, the compiler works out
/// once. A macro, since as a function it may stay one, which then knows nothing of the padding.
macro_rules! rounds {
    ($from:literal to $to:literal, $states:expr, $message:expr) => {{
        let states: &mut [State; STREAMS] = $states;
        let [mut w0, mut w1, mut w2, mut w3]: [[__m128i; STREAMS]; 4] = $message;
        rounds!(@four 0, $from, $to, states, w0, w1, w2, w3);
        rounds!(@four 1, $from, $to, states, w1, w2, w3, w0);
        rounds!(@four 2, $from, $to, states, w2, w3, w0, w1);
        rounds!(@four 3, $from, $to, states, w3, w0, w1, w2);
        rounds!(@four 4, $from, $to, states, w0, w1, w2, w3);
        rounds!(@four 5, $from, $to, states, w1, w2, w3, w0);
        rounds!(@four 6, $from, $to, states, w2, w3, w0, w1);
        rounds!(@four 7, $from, $to, states, w3, w0, w1, w2);
        rounds!(@four 8, $from, $to, states, w0, w1, w2, w3);
        rounds!(@four 9, $from, $to, states, w1, w2, w3, w0);
        rounds!(@four 10, $from, $to, states, w2, w3, w0, w1);
        rounds!(@four 11, $from, $to, states, w3, w0, w1, w2);
        rounds!(@four 12, $from, $to, states, w0, w1, w2, w3);
        rounds!(@four 13, $from, $to, states, w1, w2, w3, w0);
        rounds!(@four 14, $from, $to, states, w2, w3, w0, w1);
        rounds!(@four 15, $from, $to, states, w3, w0, w1, w2);
    }};
    // Four rounds, then the next four words in place of those that were used.
    (@four $group:literal, $from:literal, $to:literal, $states:ident, $w0:ident, $w1:ident, $w2:ident, $w3:ident) => {
        for stream in 0..STREAMS {
            let message = _mm_add_epi32($w0[stream], constants($group));
            if $group * 4 >= $from {
                $states[stream].two_rounds(message);
            }
            if $group * 4 + 2 < $to {
                $states[stream].two_rounds(_mm_shuffle_epi32::<0x0e>(message));
            }
        }
        if $group < 12 {
            for stream in 0..STREAMS {
                let sum = _mm_sha256msg1_epu32($w0[stream], $w1[stream]);
                let sum = _mm_add_epi32(sum, _mm_alignr_epi8::<4>($w3[stream], $w2[stream]));
                $w0[stream] = _mm_sha256msg2_epu32(sum, $w3[stream]);
            }
        }
    };
}

/// A header job; only [`ShaNi`] makes it.
struct Header<const STREAMS: usize> {
    puzzle: HeaderPuzzle,
    limit: u32,
}

impl<const STREAMS: usize> Candidates for Header<STREAMS> {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        // SAFETY: a `Header` comes from a `ShaNi`, which exists only where the CPU has these extensions.
        unsafe { self.scan_streams(range, candidates) }
    }
}

impl<const STREAMS: usize> Header<STREAMS> {
    #[target_feature(enable = "sha,avx")]
    fn scan_streams(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let group_bits = self.puzzle.group_bits();
        let group = 1 << group_bits;
        let [first, rest @ ..] = quads(&header_block(&self.puzzle));
        let stretch = group << 32;
        let mut nonce = range.start;
        while nonce < range.end {
            let base = nonce - nonce % stretch;
            let end = range.end.min(base + stretch);
            let starts: Vec<_> = (0..group)
                .map(|version| {
                    let midstate = State::new(&header_midstate(&self.puzzle, base + version));
                    let mut start = midstate;
                    start.two_rounds(_mm_add_epi32(first, constants(0)));
                    (midstate, start)
                })
                .collect();
            while nonce < end {
                let (mut firsts, mut midstates) = ([first; STREAMS], [starts[0].0; STREAMS]);
                let mut states = midstates;
                for stream in 0..STREAMS {
                    let nonce = nonce + stream as u64;
                    let word = ((nonce >> group_bits) as u32).swap_bytes();
                    firsts[stream] = _mm_insert_epi32::<3>(first, word as i32);
                    (midstates[stream], states[stream]) = starts[(nonce & (group - 1)) as usize];
                }
                rounds!(2 to 64, &mut states, [firsts, [rest[0]; STREAMS], [rest[1]; STREAMS], [rest[2]; STREAMS]]);
                let message = digest_message(&states, &midstates);
                let mut states = [State::new(&INITIAL); STREAMS];
                rounds!(0 to 62, &mut states, message);
                for (stream, state) in states.iter().enumerate() {
                    // After round 61, `f` is what will be `h` after round 63.
                    let word = (_mm_extract_epi32::<0>(state.abef) as u32).wrapping_add(INITIAL[7]);
                    let nonce = nonce + stream as u64;
                    if word.swap_bytes() <= self.limit && nonce < end {
                        candidates.push(nonce);
                    }
                }
                nonce += STREAMS as u64;
            }
            nonce = end;
        }
    }
}

/// A text job; only [`ShaNi`] makes it.
struct Text<const STREAMS: usize> {
    puzzle: TextPuzzle,
    midstate: [u32; 8],
    limit: u32,
}

impl<const STREAMS: usize> Candidates for Text<STREAMS> {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        // SAFETY: a `Text` comes from a `ShaNi`, which exists only where the CPU has these extensions.
        unsafe {
            match self.puzzle.hashing {
                Hashing::Single => self.scan_streams::<false>(range, candidates),
                Hashing::Double => self.scan_streams::<true>(range, candidates),
            }
        }
    }
}

impl<const STREAMS: usize> Text<STREAMS> {
    #[target_feature(enable = "sha,avx")]
    fn scan_streams<const DOUBLE: bool>(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let midstate = State::new(&self.midstate);
        let mut nonce = range.start;
        while nonce < range.end {
            // One pass for each length of nonce.
            let digits = nonce.checked_ilog10().unwrap_or(0) + 1;
            let end = 10u64.checked_pow(digits).unwrap_or(u64::MAX).min(range.end);
            let block = text_block(&self.puzzle, digits as usize);
            let [_, rest @ ..] = quads(&block);
            let mut first = FirstWords::new(&block, nonce, digits);
            while nonce < end {
                let mut firsts = [rest[0]; STREAMS];
                for words in &mut firsts {
                    *words = first.next();
                }
                let mut states = [midstate; STREAMS];
                rounds!(0 to 64, &mut states, [firsts, [rest[0]; STREAMS], [rest[1]; STREAMS], [rest[2]; STREAMS]]);
                let mut before = midstate;
                if DOUBLE {
                    let message = digest_message(&states, &[midstate; STREAMS]);
                    before = State::new(&INITIAL);
                    states = [before; STREAMS];
                    rounds!(0 to 64, &mut states, message);
                }
                for (nonce, state) in (nonce..end).zip(&states) {
                    let word = _mm_extract_epi32::<3>(_mm_add_epi32(state.abef, before.abef)) as u32;
                    if word <= self.limit {
                        candidates.push(nonce);
                    }
                }
                nonce += STREAMS as u64;
            }
            nonce = end;
        }
    }
}

/// The first 16 bytes of the text's second block, which hold the digits of the nonce (a nonce of the text puzzle has 10 at most).
struct FirstWords {
    /// As a big-endian number.
    bytes: u128,
    /// How far the nonce's last digit is from the end, in bits.
    last_digit: u32,
}

impl FirstWords {
    fn new(block: &Block, nonce: u64, digits: u32) -> Self {
        let mut bytes = u128::from_be_bytes(std::array::from_fn(|i| block[i]));
        let last_digit = 128 - 8 * digits;
        let mut left = nonce;
        for place in 0..digits {
            bytes |= u128::from(b'0' + (left % 10) as u8) << (last_digit + 8 * place);
            left /= 10;
        }
        Self { bytes, last_digit }
    }

    /// These words, and on to the next nonce; after the last of its length, to what nobody looks at.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn next(&mut self) -> __m128i {
        let words = _mm_set_epi64x((self.bytes >> 64) as i64, self.bytes as i64);
        let mut digit = self.last_digit;
        while digit < 120 && (self.bytes >> digit) as u8 == b'9' {
            self.bytes -= 9 << digit;
            digit += 8;
        }
        self.bytes += 1 << digit;
        // The first word is the number's highest.
        _mm_shuffle_epi32::<0x1b>(words)
    }
}

/// The working variables as the instructions want them: `f` is the lowest word of `abef`, `h` that of `cdgh`.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

impl State {
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn new(words: &[u32; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = *words;
        Self {
            abef: _mm_set_epi32(a as i32, b as i32, e as i32, f as i32),
            cdgh: _mm_set_epi32(c as i32, d as i32, g as i32, h as i32),
        }
    }

    /// Two rounds with the lower two words of `message`, constants included.
    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn two_rounds(&mut self, message: __m128i) {
        let abef = _mm_sha256rnds2_epu32(self.cdgh, self.abef, message);
        *self = Self { abef, cdgh: self.abef };
    }

    #[inline]
    #[target_feature(enable = "sha,avx")]
    fn plus(self, other: Self) -> Self {
        Self { abef: _mm_add_epi32(self.abef, other.abef), cdgh: _mm_add_epi32(self.cdgh, other.cdgh) }
    }
}

/// The constants of four rounds.
#[inline]
#[target_feature(enable = "sha,avx")]
fn constants(group: usize) -> __m128i {
    let first = 4 * group;
    quad(&[K[first], K[first + 1], K[first + 2], K[first + 3]])
}

#[inline]
#[target_feature(enable = "sha,avx")]
fn quad(words: &[u32; 4]) -> __m128i {
    let [a, b, c, d] = *words;
    _mm_setr_epi32(a as i32, b as i32, c as i32, d as i32)
}

/// The block's words, four at a time.
#[inline]
#[target_feature(enable = "sha,avx")]
fn quads(block: &Block) -> [__m128i; 4] {
    let words = words(block);
    std::array::from_fn(|i| quad(&std::array::from_fn(|word| words[4 * i + word])))
}

/// The digests, which are the sums of the states before and after, as messages with padding and length.
#[inline]
#[target_feature(enable = "sha,avx")]
fn digest_message<const STREAMS: usize>(
    after: &[State; STREAMS],
    before: &[State; STREAMS],
) -> [[__m128i; STREAMS]; 4] {
    let padding = quad(&[1 << 31, 0, 0, 0]);
    let (mut low, mut high) = ([padding; STREAMS], [padding; STREAMS]);
    for stream in 0..STREAMS {
        let State { abef, cdgh } = after[stream].plus(before[stream]);
        // Messages have their words lowest first.
        low[stream] = _mm_shuffle_epi32::<0x1b>(_mm_unpackhi_epi64(cdgh, abef));
        high[stream] = _mm_shuffle_epi32::<0x1b>(_mm_unpacklo_epi64(cdgh, abef));
    }
    [low, high, [padding; STREAMS], [quad(&[0, 0, 0, 256]); STREAMS]]
}
