//! A Bitcoin block's hash, as people write it.

use std::fmt;
use std::str::FromStr;

use super::{Digest, DigestError};

/// The hash of a block header. It is written with its bytes in the reverse of SHA-256's order, as Bitcoin's programs and block explorers
/// do: the zeros come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(Digest);

impl From<Digest> for BlockHash {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

/// The bytes in SHA-256's order, as they stand in the next header.
impl From<BlockHash> for Digest {
    fn from(hash: BlockHash) -> Self {
        hash.0
    }
}

impl fmt::Display for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.reversed().fmt(f)
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for BlockHash {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Ok(Self(text.parse::<Digest>()?.reversed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Header;
    use crate::work::fixtures::{GENESIS_HASH, genesis};

    #[test]
    fn genesis_has_its_known_hash() {
        let hash = genesis().hash();
        assert_eq!(hash.to_string(), GENESIS_HASH);
        assert_eq!(format!("{hash:?}"), GENESIS_HASH);
        assert_eq!(GENESIS_HASH.parse(), Ok(hash));
        assert_eq!(Digest::from(hash), genesis().digest());
    }

    /// Bitcoin's second block, whose hash is well known, too.
    #[test]
    fn a_hash_stands_in_the_next_header_in_the_order_of_its_bytes() {
        let second = "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000982051fd1e4ba744bbbe680e1fee1467\
            7ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299";
        let second: Header = second.parse().unwrap();
        assert_eq!(second.prev_blockhash, genesis().hash().into());
        assert_eq!(second.hash().to_string(), "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048");
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!("00".parse::<BlockHash>(), Err(DigestError::Length(2)));
        assert_eq!(GENESIS_HASH.replace('f', "g").parse::<BlockHash>(), Err(DigestError::Digit('g')));
    }
}
