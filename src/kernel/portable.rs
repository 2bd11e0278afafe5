//! The kernel for every CPU: `sha2`'s block function, which finds SHA-NI, ARM's SHA-2 extension or plain code by itself.
//!
//! For each nonce:
//! 1. write the nonce into the message's second block,
//! 2. compress that block onto the midstate of the first,
//! 3. for a double hash, compress the padded digest onto the initial state,
//! 4. name the nonce if the digest's most significant word is small enough.
//!
//! What was done for speed:
//! 1. the first 64 bytes are compressed once a job (once a version group for headers, see [`HeaderPuzzle`]);
//! 2. text nonces count up in ASCII, in place;
//! 3. of the digest only one word is compared.

use super::blocks::{Block, INITIAL, compress, digest_block, header_block, header_midstate, text_block, text_midstate};
use super::{Candidates, Kernel};
use crate::work::{Hashing, HeaderPuzzle, Job, NonceRange, Puzzle, TextPuzzle};

/// The portable kernel.
pub(super) static PORTABLE: Portable = Portable;

/// See the module.
pub(super) struct Portable;

impl Kernel for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn batch(&self) -> u64 {
        // 0.4 ms at the 11 MH/s of a Zen 5 core with SHA-NI, 2 ms on cores without it.
        4096
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        let limit = job.target.high_word();
        match job.puzzle {
            Puzzle::Text(puzzle) => Box::new(Text { puzzle, midstate: text_midstate(&puzzle), limit }),
            Puzzle::Header(puzzle) => Box::new(HeaderScan { puzzle, limit }),
        }
    }
}

/// The state after the first hash, hashed again.
fn second_hash(first: &[u32; 8], block: &mut Block) -> [u32; 8] {
    for (bytes, word) in block.chunks_exact_mut(4).zip(first) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    let mut state = INITIAL;
    compress(&mut state, block);
    state
}

struct Text {
    puzzle: TextPuzzle,
    midstate: [u32; 8],
    limit: u32,
}

impl Candidates for Text {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let mut second = digest_block();
        let mut nonce = range.start;
        while nonce < range.end {
            // One pass for each length of nonce.
            let first = nonce.to_string();
            let digits = first.len();
            let mut block = text_block(&self.puzzle, digits);
            block[..digits].copy_from_slice(first.as_bytes());
            let end = 10u64.checked_pow(digits as u32).unwrap_or(u64::MAX).min(range.end);
            while nonce < end {
                let mut state = self.midstate;
                compress(&mut state, &block);
                if self.puzzle.hashing == Hashing::Double {
                    state = second_hash(&state, &mut second);
                }
                if state[0] <= self.limit {
                    candidates.push(nonce);
                }
                nonce += 1;
                count_up(&mut block[..digits]);
            }
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
        let mut block = header_block(&self.puzzle);
        let mut second = digest_block();
        let mut nonce = range.start;
        while nonce < range.end {
            let base = nonce - nonce % stretch;
            let midstates: Vec<_> = (0..group).map(|version| header_midstate(&self.puzzle, base + version)).collect();
            let end = range.end.min(base + stretch);
            while nonce < end {
                block[12..16].copy_from_slice(&self.puzzle.field(nonce).to_le_bytes());
                let mut state = midstates[(nonce % group) as usize];
                compress(&mut state, &block);
                state = second_hash(&state, &mut second);
                if state[7].swap_bytes() <= self.limit {
                    candidates.push(nonce);
                }
                nonce += 1;
            }
        }
    }
}
