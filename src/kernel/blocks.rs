//! SHA-256's blocks as the kernels prepare them.

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

use crate::work::{HeaderPuzzle, TextPuzzle};

include!("constants.rs");

/// A block of the message.
pub(super) type Block = [u8; 64];

/// One compression by `sha2`'s block function.
pub(super) fn compress(state: &mut [u32; 8], block: &Block) {
    compress256(state, std::slice::from_ref(GenericArray::from_slice(block)));
}

/// The block's 16 words.
#[cfg(target_arch = "x86_64")]
pub(super) fn words(block: &Block) -> [u32; 16] {
    std::array::from_fn(|i| u32::from_be_bytes(std::array::from_fn(|byte| block[4 * i + byte])))
}

/// A second hash's block: room for a digest, then padding and the length of 32 bytes (FIPS 180-4, section 5.1.1).
pub(super) fn digest_block() -> Block {
    let mut block = [0; 64];
    block[32] = 0x80;
    block[62] = 1;
    block
}

/// Writes a first hash's digest into the second hash's block.
pub(super) fn write_digest(block: &mut Block, digest: &[u32; 8]) {
    for (bytes, word) in block.chunks_exact_mut(4).zip(digest) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

/// The state after the first block of the header that `nonce` stands for; only its version matters.
pub(super) fn header_midstate(puzzle: &HeaderPuzzle, nonce: u64) -> [u32; 8] {
    let header = puzzle.at(nonce).to_bytes();
    let mut midstate = INITIAL;
    compress(&mut midstate, &std::array::from_fn(|i| header[i]));
    midstate
}

/// The last 16 bytes of the header with its own nonce, padding and the length of 80 bytes.
pub(super) fn header_block(puzzle: &HeaderPuzzle) -> Block {
    let header = puzzle.header.to_bytes();
    let mut block = [0; 64];
    block[..16].copy_from_slice(&header[64..]);
    block[16] = 0x80;
    block[56..].copy_from_slice(&640u64.to_be_bytes());
    block
}

/// The state after the 64 hex digits.
pub(super) fn text_midstate(puzzle: &TextPuzzle) -> [u32; 8] {
    let mut midstate = INITIAL;
    compress(&mut midstate, &puzzle.prev.to_hex_bytes());
    midstate
}

/// The second block for nonces of `digits` digits, with the nonce's place left zero.
pub(super) fn text_block(puzzle: &TextPuzzle, digits: usize) -> Block {
    let timestamp = puzzle.timestamp.as_bytes();
    let mut block = [0; 64];
    let end = digits + timestamp.len();
    block[digits..end].copy_from_slice(timestamp);
    block[end] = 0x80;
    block[56..].copy_from_slice(&((64 + end as u64) * 8).to_be_bytes());
    block
}
