//! Signet's blocks (BIP 325): each has to satisfy a challenge, by a solution that stands in the coinbase's witness commitment.
//!
//! Only the trivial challenge is met here, which anybody satisfies. For any other a signature is needed, and its key is the signer's affair.

/// What announces the solution in the commitment's script.
const HEADER: [u8; 4] = [0xec, 0xc7, 0xda, 0xa2];

/// The challenge `OP_TRUE`.
const TRIVIAL: [u8; 1] = [0x51];

/// The data that a block's commitment carries behind the witness root: the header, an empty script and an empty witness.
pub(super) const EMPTY_SOLUTION: [u8; 6] = [HEADER[0], HEADER[1], HEADER[2], HEADER[3], 0, 0];

/// Whether blocks of a signet with this challenge can be made.
///
/// # Errors
/// The challenge asks for a signature.
pub(super) fn check_challenge(challenge: &[u8]) -> Result<(), String> {
    match challenge == TRIVIAL {
        true => Ok(()),
        false => Err(format!(
            "expected a signet whose challenge is OP_TRUE (51), got {} bytes that ask for a signature; sign with Bitcoin Core's \
             contrib/signet/miner, and give it --grind-cmd='headframe grind'",
            challenge.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_trivial_challenge_is_met() {
        assert_eq!(check_challenge(&[0x51]), Ok(()));
        for other in [&[][..], &[0x00], &[0x51, 0x51], &[0x51, 0x21, 2]] {
            assert!(check_challenge(other).unwrap_err().contains("headframe grind"));
        }
    }
}
