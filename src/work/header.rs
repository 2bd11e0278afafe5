//! The header puzzle: Bitcoin's 80 bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{BlockHash, Digest, NonceRange, reference};

/// A block header, as in Bitcoin's protocol: 80 bytes, numbers little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Header {
    /// Block version; BIP 320 leaves 16 of its bits to miners.
    pub version: u32,
    /// Digest of the previous block's header, in SHA-256's byte order.
    pub prev_blockhash: Digest,
    /// Root of the transactions' merkle tree, in SHA-256's byte order.
    pub merkle_root: Digest,
    /// The block's time, in seconds since 1970.
    pub time: u32,
    /// The target in compact form.
    pub bits: u32,
    /// The number that the search varies.
    pub nonce: u32,
}

/// Why a text is not a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The text is not 160 characters long.
    #[error("expected an 80-byte header as 160 hex digits, got {0} characters")]
    Length(usize),
    /// The text has a character that is no hex digit.
    #[error("expected an 80-byte header as 160 hex digits, found something else in them")]
    Digit,
}

impl Header {
    /// The 80 bytes that are hashed.
    pub fn to_bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes[0..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..36].copy_from_slice(&self.prev_blockhash.0);
        bytes[36..68].copy_from_slice(&self.merkle_root.0);
        bytes[68..72].copy_from_slice(&self.time.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.bits.to_le_bytes());
        bytes[76..80].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }

    /// The header that the 80 bytes hold.
    pub fn from_bytes(bytes: &[u8; 80]) -> Self {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let digest = |at: usize| Digest(std::array::from_fn(|i| bytes[at + i]));
        Self {
            version: word(0),
            prev_blockhash: digest(4),
            merkle_root: digest(36),
            time: word(68),
            bits: word(72),
            nonce: word(76),
        }
    }

    /// The double SHA-256 of the 80 bytes, by the reference path.
    pub fn digest(&self) -> Digest {
        reference::sha256d(&self.to_bytes())
    }

    /// The digest as a block hash, which is shown in Bitcoin's byte order.
    pub fn hash(&self) -> BlockHash {
        self.digest().into()
    }
}

/// 160 hex digits in the order in which the bytes are hashed.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

impl FromStr for Header {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let mut bytes = [0; 80];
        if text.len() != 160 {
            return Err(HeaderError::Length(text.chars().count()));
        }
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HeaderError::Digit)?;
        Ok(Self::from_bytes(&bytes))
    }
}

/// A header whose nonce, and where `version_mask` allows it the version, is searched.
///
/// A *nonce* of the search is one number for both. From its lowest bit upwards it consists of:
/// 1. up to [`HeaderPuzzle::GROUP_BITS`] bits of the version. Headers that differ only in these have the same second SHA-256 block, and a
///    kernel may share the work on it;
/// 2. the 32 bits of the nonce field;
/// 3. the remaining version bits.
///
/// Without a mask the nonce is simply the nonce field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeaderPuzzle {
    /// The header; its own nonce does not matter.
    pub header: Header,
    /// The version bits that may be rolled (BIP 320: `0x1fffe000`), or 0.
    pub version_mask: u32,
}

impl HeaderPuzzle {
    /// The most version bits that stand below the nonce field: groups of up to 8 versions.
    pub const GROUP_BITS: u32 = 3;

    /// How many version bits stand below the nonce field in this puzzle's nonces.
    pub fn group_bits(&self) -> u32 {
        self.version_mask.count_ones().min(Self::GROUP_BITS)
    }

    /// Every nonce of the search: 2^32 for each version, 2^63 at most.
    pub fn space(&self) -> NonceRange {
        NonceRange::new(0, 1 << (32 + self.version_mask.count_ones()).min(63))
    }

    /// The version that `nonce` stands for.
    pub fn version(&self, nonce: u64) -> u32 {
        let group = self.group_bits();
        let low = nonce & ((1 << group) - 1);
        let high = nonce >> (32 + group);
        (self.header.version & !self.version_mask) | deposit(low | (high << group), self.version_mask)
    }

    /// The nonce field that `nonce` stands for.
    pub fn field(&self, nonce: u64) -> u32 {
        (nonce >> self.group_bits()) as u32
    }

    /// The header that `nonce` stands for.
    pub fn at(&self, nonce: u64) -> Header {
        // Without a mask the version stays as given.
        Header { version: self.version(nonce), nonce: self.field(nonce), ..self.header }
    }
}

/// Puts the low bits of `value` into the places of the one bits of `mask`, lowest first.
fn deposit(mut value: u64, mask: u32) -> u32 {
    let mut placed = 0;
    let mut left = mask;
    while left != 0 {
        let lowest = left & left.wrapping_neg();
        if value & 1 != 0 {
            placed |= lowest;
        }
        value >>= 1;
        left &= left - 1;
    }
    placed
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::work::fixtures::{GENESIS, genesis};

    #[test]
    fn genesis_goes_both_ways() {
        let header = genesis();
        assert_eq!(header.nonce, 2_083_236_893);
        assert_eq!(header.bits, 0x1d00_ffff);
        assert_eq!(header.to_string(), GENESIS);
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!("".parse::<Header>(), Err(HeaderError::Length(0)));
        assert_eq!(GENESIS[2..].parse::<Header>(), Err(HeaderError::Length(158)));
        assert_eq!(GENESIS.replace('f', "g").parse::<Header>(), Err(HeaderError::Digit));
    }

    #[test]
    fn without_a_mask_a_nonce_is_the_nonce_field() {
        let puzzle = HeaderPuzzle { header: genesis(), version_mask: 0 };
        assert_eq!(puzzle.space(), NonceRange::new(0, 1 << 32));
        assert_eq!(puzzle.at(2_083_236_893), puzzle.header);
    }

    #[test]
    fn every_rolled_nonce_is_another_header_and_other_bits_stay() {
        let header = genesis();
        let puzzle = HeaderPuzzle { header: Header { version: 0x2000_0001, ..header }, version_mask: 0x1fff_e000 };
        assert_eq!(puzzle.space().len(), 1 << 48);
        let step = 1 << 35;
        let nonces = (0..64).chain((0..64).map(|i| step - 32 + i)).chain((0..64).map(|i| i * step + 64));
        let mut seen = HashSet::new();
        for nonce in nonces.collect::<HashSet<_>>() {
            let rolled = puzzle.at(nonce);
            assert_eq!(rolled.version & !0x1fff_e000, 0x2000_0001);
            assert!(seen.insert((rolled.version, rolled.nonce)), "{nonce} repeats a header");
        }
        assert_eq!(puzzle.version(7), 0x2000_0001 | 7 << 13);
        assert_eq!((puzzle.version(8), puzzle.field(8)), (0x2000_0001, 1));
    }
}
