//! The text puzzle: the exercise's form.

use serde::{Deserialize, Serialize};

use super::{Digest, Timestamp, ZeroUnit, reference};

/// How many times the text is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hashing {
    /// Once, as other published programs of the exercise do.
    Single,
    /// Twice, the second time over the raw 32 bytes of the first digest, as this exercise states.
    #[default]
    Double,
}

/// How a block service, or another program, states its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TextForm {
    /// How many times a text is hashed.
    pub hashing: Hashing,
    /// In what the zeros of a goal are counted.
    pub zeros: ZeroUnit,
}

/// A text: ASCII of the previous hash's 64 hex digits, then the decimal nonce, then the timestamp, without separators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TextPuzzle {
    /// The previous block's hash. Its 64 digits fill SHA-256's first block exactly.
    pub prev: Digest,
    /// The digits after the nonce.
    pub timestamp: Timestamp,
    /// Whether the text is hashed once or twice.
    pub hashing: Hashing,
}

impl TextPuzzle {
    /// The message that is hashed for `nonce`: 66 to 104 bytes.
    pub fn message(&self, nonce: u64) -> Vec<u8> {
        let mut message = self.prev.to_hex_bytes().to_vec();
        message.extend_from_slice(nonce.to_string().as_bytes());
        message.extend_from_slice(self.timestamp.as_bytes());
        message
    }

    /// The digest for `nonce`, by the reference path.
    pub fn digest(&self, nonce: u64) -> Digest {
        reference::hash(&self.message(nonce), self.hashing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Check values computed with another SHA-256 implementation (Python's hashlib).
    #[test]
    fn digests_agree_with_another_implementation() {
        let puzzle = |hashing| TextPuzzle {
            prev: "0000000000000000e067a478024addfecdc93628978aa52d91fabd4292982a50".parse().unwrap(),
            timestamp: "9876".parse().unwrap(),
            hashing,
        };
        assert_eq!(
            puzzle(Hashing::Single).digest(123_456).to_string(),
            "68763dc34ed271a0d738c22592a2d4e8f38f9d477aa4d7951c7cf933835e190e"
        );
        assert_eq!(
            puzzle(Hashing::Double).digest(123_456).to_string(),
            "c5202795ba3b4f33b7ef9869e333998262394c3c1bd0a43d670562365bb763b6"
        );
    }

    #[test]
    fn the_longest_message_fits_two_blocks() {
        let puzzle = TextPuzzle {
            prev: Digest::default(),
            timestamp: "99999999999999999999".parse().unwrap(),
            hashing: Hashing::Double,
        };
        assert!(puzzle.message(u64::MAX).len() <= 64 + 55);
    }
}
