//! The text puzzle's timestamp: an opaque decimal string.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Run;

/// 1 to 20 decimal digits, hashed exactly as written. They usually are seconds (10 digits), milliseconds (13) or `yyyyMMddHHmmss` (14);
/// Headframe gives them no meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timestamp {
    digits: [u8; Self::MAX_DIGITS],
    length: u8,
}

/// Why a text is not a timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a timestamp of 1 to 20 decimal digits, got {got:?}")]
pub struct TimestampError {
    /// What was given, cut to 40 characters.
    pub got: String,
}

impl Timestamp {
    /// The most digits of a timestamp. With a nonce of 20 digits beside it, the text puzzle's second block (55 bytes of payload) still has
    /// room.
    pub const MAX_DIGITS: usize = 20;

    /// The decimal digits of `number`, without leading zeros.
    pub fn from_number(number: u64) -> Self {
        number.to_string().parse().expect("a u64 has 1 to 20 digits")
    }

    /// Microseconds since 1970 followed by three digits of the run, so that two clusters at one service search different texts.
    pub(super) fn of_run(now: Duration, run: Run) -> Self {
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        Self::from_number(micros.saturating_mul(1000).saturating_add(run.0 % 1000))
    }

    /// The digits as ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..usize::from(self.length)]
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let length = text.len();
        if !(1..=Self::MAX_DIGITS).contains(&length) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TimestampError { got: text.chars().take(40).collect() });
        }
        let mut digits = [0; Self::MAX_DIGITS];
        digits[..length].copy_from_slice(text.as_bytes());
        Ok(Self { digits, length: length as u8 })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|&digit| write!(f, "{}", char::from(digit)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_kept_as_written() {
        for text in ["0", "007", "1795342329", "1550766000000", "20190221160000", "99999999999999999999"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!(Timestamp::from_number(1795342329).as_bytes(), b"1795342329");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "-1", "+1", "1.5", " 1", "1e9", "١٢", "100000000000000000000"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
        }
    }
}
