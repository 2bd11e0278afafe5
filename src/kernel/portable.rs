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

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

use super::{Candidates, Kernel};
use crate::work::{Hashing, HeaderPuzzle, Job, NonceRange, Puzzle, Target, TextPuzzle};

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
            Puzzle::Text(puzzle) => Box::new(Text::new(&puzzle, job.target)),
            Puzzle::Header(puzzle) => Box::new(HeaderScan { puzzle, limit }),
        }
    }
}

/// FIPS 180-4, section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

type Block = [u8; 64];

fn compress(state: &mut [u32; 8], block: &Block) {
    compress256(state, std::slice::from_ref(GenericArray::from_slice(block)));
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

/// A second-hash block: room for a digest, then padding and the length of 32 bytes (FIPS 180-4, section 5.1.1).
fn digest_block() -> Block {
    let mut block = [0; 64];
    block[32] = 0x80;
    block[62] = 1;
    block
}

struct Text {
    midstate: [u32; 8],
    timestamp: Vec<u8>,
    hashing: Hashing,
    limit: u32,
}

impl Text {
    fn new(puzzle: &TextPuzzle, target: Target) -> Self {
        let mut midstate = INITIAL;
        compress(&mut midstate, &puzzle.prev.to_hex_bytes());
        Self {
            midstate,
            timestamp: puzzle.timestamp.as_bytes().to_vec(),
            hashing: puzzle.hashing,
            limit: target.high_word(),
        }
    }

    /// The second block for nonces of `digits` digits, with the nonce's place left open.
    fn block(&self, digits: usize) -> Block {
        let mut block = [0; 64];
        let end = digits + self.timestamp.len();
        block[digits..end].copy_from_slice(&self.timestamp);
        block[end] = 0x80;
        block[56..].copy_from_slice(&((64 + end as u64) * 8).to_be_bytes());
        block
    }
}

impl Candidates for Text {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let mut second = digest_block();
        let mut nonce = range.start;
        while nonce < range.end {
            // One pass for each length of nonce.
            let first = nonce.to_string();
            let digits = first.len();
            let mut block = self.block(digits);
            block[..digits].copy_from_slice(first.as_bytes());
            let end = 10u64.checked_pow(digits as u32).unwrap_or(u64::MAX).min(range.end);
            while nonce < end {
                let mut state = self.midstate;
                compress(&mut state, &block);
                if self.hashing == Hashing::Double {
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

impl HeaderScan {
    fn midstate(&self, nonce: u64) -> [u32; 8] {
        let header = self.puzzle.at(nonce).to_bytes();
        let mut midstate = INITIAL;
        compress(&mut midstate, &std::array::from_fn(|i| header[i]));
        midstate
    }

    /// The last 16 bytes of the header, padding and the length of 80 bytes.
    fn block(&self) -> Block {
        let header = self.puzzle.header.to_bytes();
        let mut block = [0; 64];
        block[..16].copy_from_slice(&header[64..]);
        block[16] = 0x80;
        block[56..].copy_from_slice(&640u64.to_be_bytes());
        block
    }
}

impl Candidates for HeaderScan {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let group = 1 << self.puzzle.group_bits();
        // So many consecutive nonces share the versions that stand above the nonce field.
        let stretch = group << 32;
        let mut block = self.block();
        let mut second = digest_block();
        let mut nonce = range.start;
        while nonce < range.end {
            let base = nonce - nonce % stretch;
            let midstates: Vec<_> = (0..group).map(|version| self.midstate(base + version)).collect();
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
