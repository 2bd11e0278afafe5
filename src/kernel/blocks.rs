//! SHA-256's blocks as the kernels prepare them.

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

use crate::work::{HeaderPuzzle, TextPuzzle};

/// FIPS 180-4, section 5.3.3.
pub(super) const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// FIPS 180-4, section 4.2.2.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

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
