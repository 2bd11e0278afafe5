//! A SHA-256 digest and its 64 hex digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The 32 bytes of a SHA-256 digest in the order in which SHA-256 puts them out.
///
/// Shown as 64 lower-case hex digits in that order, as the block web service writes them. Bitcoin shows block hashes in the opposite
/// byte order: see [`BlockHash`](super::BlockHash).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The text is not 64 characters long.
    #[error("expected 64 lower-case hex digits, got {0} characters")]
    Length(usize),
    /// A character is no lower-case hex digit. Case matters since the digits themselves are hashed.
    #[error("expected 64 lower-case hex digits, found {0:?}")]
    Digit(char),
}

impl Digest {
    /// The 64 ASCII hex digits: the first block of the text puzzle's message.
    pub fn to_hex_bytes(self) -> [u8; 64] {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).expect("64 digits hold 32 bytes");
        digits
    }

    /// The same bytes back to front.
    pub fn reversed(mut self) -> Self {
        self.0.reverse();
        self
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let length = text.chars().count();
        if length != 64 {
            return Err(DigestError::Length(length));
        }
        if let Some(odd) = text.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(DigestError::Digit(odd));
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| DigestError::Length(length))?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::fixtures::PREV as HEX;

    #[test]
    fn hex_goes_both_ways() {
        let digest: Digest = HEX.parse().unwrap();
        assert_eq!(digest.to_string(), HEX);
        assert_eq!(digest.to_hex_bytes(), *HEX.as_bytes());
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{HEX}\""));
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"{HEX}\"")).unwrap(), digest);
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        assert_eq!("".parse::<Digest>(), Err(DigestError::Length(0)));
        assert_eq!(HEX[1..].parse::<Digest>(), Err(DigestError::Length(63)));
        assert_eq!(format!("{HEX}0").parse::<Digest>(), Err(DigestError::Length(65)));
        assert_eq!(HEX.to_uppercase().parse::<Digest>(), Err(DigestError::Digit('F')));
        assert_eq!(HEX.replacen('0', "é", 1).parse::<Digest>(), Err(DigestError::Digit('é')));
    }
}
