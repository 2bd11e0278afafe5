//! What kernels are compared with: `sha2`'s block function on the midstate, one header after another, as anybody would write it.

use super::blocks::{INITIAL, compress, digest_block, header_block, header_midstate, write_digest};
use crate::work::{HeaderPuzzle, NonceRange};

/// The nonces of `nonces` whose header's hash begins with 32 zero bits. Only headers of one version.
pub fn baseline(puzzle: &HeaderPuzzle, nonces: NonceRange) -> Vec<u64> {
    let midstate = header_midstate(puzzle, nonces.start);
    let (mut block, mut second) = (header_block(puzzle), digest_block());
    let mut found = Vec::new();
    for nonce in nonces.start..nonces.end {
        block[12..16].copy_from_slice(&(nonce as u32).to_le_bytes());
        let mut state = midstate;
        compress(&mut state, &block);
        write_digest(&mut second, &state);
        state = INITIAL;
        compress(&mut state, &second);
        if state[7] == 0 {
            found.push(nonce);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::self_test::header;
    use crate::work::Puzzle;

    #[test]
    fn it_finds_the_nonce_of_bitcoins_first_block() {
        let job = header(0);
        let Puzzle::Header(puzzle) = job.puzzle else { panic!("a header") };
        let nonces = NonceRange::new(2_083_236_893 - 1000, 2_083_236_893 + 1000);
        assert_eq!(baseline(&puzzle, nonces), [2_083_236_893]);
    }
}
