//! The kernel for every CPU: `sha2`'s block function, which finds SHA-NI, ARM's SHA-2 extension or plain code by itself.
//!
//! For [`WIDTH`] nonces at a time:
//! 1. write each nonce into a copy of the message's second block,
//! 2. compress those blocks, one after another, onto the midstate of the first,
//! 3. for a double hash, compress the padded digests onto the initial state,
//! 4. name the nonces whose digest's most significant word is small enough.
//!
//! What was done for speed:
//! 1. the first 64 bytes are compressed once a job (once a version group for headers, see [`HeaderPuzzle`]);
//! 2. no compression waits for the one before, so that a CPU works on two at a time, and no block is read back while the parts it was
//!    written in are still on their way to the cache: with SHA-NI on Zen 5, 205 cycles a hash where one nonce after another takes 345;
//! 3. text nonces count up in ASCII, in place;
//! 4. of the digest only one word is compared.

use super::blocks::{
    Block, INITIAL, compress, digest_block, header_block, header_midstate, text_block, text_midstate, write_digest,
};
use super::{Candidates, Kernel};
use crate::work::{Hashing, HeaderPuzzle, Job, NonceRange, Puzzle, TextPuzzle};

/// The portable kernel.
pub(super) static PORTABLE: Portable = Portable;

/// See the module.
pub(super) struct Portable;

/// Nonces side by side. On Zen 5 8, 16 and 32 are within 5 % of each other, 4 take 10 % more.
const WIDTH: usize = 16;

impl Kernel for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn batch(&self) -> u64 {
        // 0.2 ms at the 20 MH/s of a Zen 5 core with SHA-NI, 2 ms on cores without it.
        4096
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        let limit = job.target().high_word();
        match job.puzzle {
            Puzzle::Text(puzzle) => Box::new(Text { puzzle, midstate: text_midstate(&puzzle), limit }),
            Puzzle::Header(puzzle) => Box::new(HeaderScan { puzzle, limit }),
        }
    }
}

/// The states, first and second blocks of nonces side by side.
struct Batch {
    states: [[u32; 8]; WIDTH],
    blocks: [Block; WIDTH],
    second: [Block; WIDTH],
}

impl Batch {
    fn new(block: Block) -> Self {
        Self { states: [INITIAL; WIDTH], blocks: [block; WIDTH], second: [digest_block(); WIDTH] }
    }

    /// Appends to `candidates` those of `nonces` whose digest `passes`; `write` makes the midstate and the block of each, in their order.
    fn scan(
        &mut self,
        mut nonces: NonceRange,
        hashing: Hashing,
        mut write: impl FnMut(u64, &mut [u32; 8], &mut Block),
        passes: impl Fn(&[u32; 8]) -> bool,
        candidates: &mut Vec<u64>,
    ) {
        while !nonces.is_empty() {
            let batch = nonces.take_front(WIDTH as u64);
            for ((nonce, state), block) in (batch.start..batch.end).zip(&mut self.states).zip(&mut self.blocks) {
                write(nonce, state, block);
            }
            let digests = self.hash(batch.len() as usize, hashing);
            let found = (batch.start..).zip(digests).filter(|(_, digest)| passes(digest));
            candidates.extend(found.map(|(nonce, _)| nonce));
        }
    }

    /// The digests of the first `count` blocks.
    fn hash(&mut self, count: usize, hashing: Hashing) -> &[[u32; 8]] {
        let states = &mut self.states[..count];
        for (state, block) in states.iter_mut().zip(&self.blocks) {
            compress(state, block);
        }
        if hashing == Hashing::Double {
            for (state, block) in states.iter().zip(&mut self.second) {
                write_digest(block, state);
            }
            for (state, block) in states.iter_mut().zip(&self.second) {
                *state = INITIAL;
                compress(state, block);
            }
        }
        states
    }
}

struct Text {
    puzzle: TextPuzzle,
    midstate: [u32; 8],
    limit: u32,
}

impl Candidates for Text {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let mut rest = range;
        while !rest.is_empty() {
            // One pass for each length of nonce.
            let first = rest.start.to_string();
            let digits = first.len();
            let end = 10u64.checked_pow(digits as u32).unwrap_or(u64::MAX);
            let mut next = text_block(&self.puzzle, digits);
            next[..digits].copy_from_slice(first.as_bytes());
            let mut batch = Batch::new(next);
            let write = |_, state: &mut _, block: &mut _| {
                (*state, *block) = (self.midstate, next);
                count_up(&mut next[..digits]);
            };
            let passes = |digest: &[u32; 8]| digest[0] <= self.limit;
            let same_length = rest.take_front(end - rest.start);
            batch.scan(same_length, self.puzzle.hashing, write, passes, candidates);
        }
    }
}

/// Adds one to a decimal number in ASCII; 99 becomes 00.
fn count_up(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        if *digit != b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

struct HeaderScan {
    puzzle: HeaderPuzzle,
    limit: u32,
}

impl Candidates for HeaderScan {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let group = 1 << self.puzzle.group_bits();
        // So many consecutive nonces share the versions that stand above the nonce field.
        let stretch = group << 32;
        let mut batch = Batch::new(header_block(&self.puzzle));
        let mut rest = range;
        while !rest.is_empty() {
            let base = rest.start - rest.start % stretch;
            let midstates: Vec<_> = (0..group).map(|version| header_midstate(&self.puzzle, base + version)).collect();
            let write = |nonce, state: &mut _, block: &mut Block| {
                *state = midstates[(nonce % group) as usize];
                block[12..16].copy_from_slice(&self.puzzle.field(nonce).to_le_bytes());
            };
            let passes = |digest: &[u32; 8]| digest[7].swap_bytes() <= self.limit;
            batch.scan(rest.take_front(base + stretch - rest.start), Hashing::Double, write, passes, candidates);
        }
    }
}
