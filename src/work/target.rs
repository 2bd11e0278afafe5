//! Targets: the numbers that a hash must not exceed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A 256-bit number, big-endian, that a hash must not exceed.
///
/// The puzzle decides which end of a digest is the number's high end: see [`Puzzle::value`](super::Puzzle::value).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target([u8; 32]);

/// The unit in which zeros are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZeroUnit {
    /// Leading hex digits, 4 bits each: the exercise.
    #[default]
    Hex,
    /// Leading bits.
    Bits,
    /// Leading bytes, 8 bits each.
    Bytes,
}

impl ZeroUnit {
    /// How many bits one zero stands for.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Hex => 4,
            Self::Bits => 1,
            Self::Bytes => 8,
        }
    }
}

/// Why a number is no target.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// The number of zeros is negative, or larger than a digest has digits, bits or bytes.
    #[error("expected 0 to {most} zeros, got {got}")]
    Zeros {
        /// How many were asked for.
        got: i64,
        /// The most there can be: 64 hex digits, 256 bits or 32 bytes.
        most: i64,
    },
    /// The compact bits are refused by Bitcoin's rules.
    #[error("expected compact bits of a positive 256-bit target, got {0:#010x}")]
    Bits(u32),
    /// A difficulty that is no positive number, or so high that no hash meets it.
    #[error("expected a difficulty above 0 and below 2.7e67, got {0:e}")]
    Difficulty(f64),
}

impl Target {
    /// The largest target: every hash meets it.
    pub const MAX: Self = Self([0xff; 32]);

    /// The number itself, high byte first.
    pub const fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The number, high byte first.
    pub const fn to_be_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The target of hashes that start with `zeros` zero digits, bits or bytes.
    ///
    /// # Errors
    /// [`TargetError::Zeros`] for fewer than 0 zeros, or more than 64 digits, 256 bits or 32 bytes.
    pub fn from_zeros(zeros: i64, unit: ZeroUnit) -> Result<Self, TargetError> {
        let width = unit.bits();
        let most = i64::from(256 / width);
        if !(0..=most).contains(&zeros) {
            return Err(TargetError::Zeros { got: zeros, most });
        }
        let bits = zeros as usize * width as usize;
        let mut bytes = [0xff; 32];
        bytes[..bits / 8].fill(0);
        if let Some(byte) = bytes.get_mut(bits / 8) {
            *byte = 0xff >> (bits % 8);
        }
        Ok(Self(bytes))
    }

    /// Bitcoin's compact form ("nBits"): a byte of exponent in base 256, three of mantissa with a sign bit.
    ///
    /// # Errors
    /// [`TargetError::Bits`] for negative, zero and overflowing values, which Bitcoin's `CheckProofOfWork` refuses, too.
    pub fn from_bits(bits: u32) -> Result<Self, TargetError> {
        let exponent = (bits >> 24) as usize;
        let mantissa = bits & 0x007f_ffff;
        let mut bytes = [0; 32];
        // Byte `i` of the mantissa, low first, has the weight 256^(exponent - 3 + i).
        for (i, byte) in mantissa.to_le_bytes().into_iter().take(3).enumerate() {
            match (exponent + i).checked_sub(3) {
                None => {}
                Some(place @ 0..32) => bytes[31 - place] = byte,
                Some(_) if byte == 0 => {}
                Some(_) => return Err(TargetError::Bits(bits)),
            }
        }
        if bits & 0x0080_0000 != 0 || bytes == [0; 32] {
            return Err(TargetError::Bits(bits));
        }
        Ok(Self(bytes))
    }

    /// How many leading bits of the number are zero: 0 to 256.
    pub fn leading_zero_bits(self) -> u32 {
        match self.0.iter().position(|&byte| byte != 0) {
            Some(place) => place as u32 * 8 + self.0[place].leading_zeros(),
            None => 256,
        }
    }

    /// How many whole leading hex digits are zero: the exercise's "zeros".
    pub fn zeros(self) -> u32 {
        self.leading_zero_bits() / 4
    }

    /// How likely a hash is to meet it: 1 for [`Target::MAX`], never 0.
    pub fn probability(self) -> f64 {
        // From the lowest byte on this sums up to (target + 1) / 2^256: the target itself meets it, too.
        self.0.iter().rev().fold(1.0, |below, &byte| (f64::from(byte) + below) / 256.0)
    }

    /// How many hashes a solution of difficulty 1 takes on average: 2^48 / 65,535.
    pub const HASHES_PER_DIFFICULTY: f64 = 281_474_976_710_656.0 / 65_535.0;

    /// The difficulty as pools count it. Difficulty 1 is that of the compact bits 0x1d00ffff: about 2^32 hashes on average.
    pub fn difficulty(self) -> f64 {
        1.0 / (self.probability() * Self::HASHES_PER_DIFFICULTY)
    }

    /// The target of this difficulty, as pools count it: 0xffff · 2^208, that of the compact bits 0x1d00ffff, divided by the difficulty and
    /// rounded down. A difficulty below 2^-32 or so is met by every hash.
    ///
    /// # Errors
    /// [`TargetError::Difficulty`] for what is not finite, not above 0, or so high that the target would be 0.
    pub fn from_difficulty(difficulty: f64) -> Result<Self, TargetError> {
        if !(difficulty.is_finite() && difficulty > 0.0) {
            return Err(TargetError::Difficulty(difficulty));
        }
        // The difficulty is mantissa · 2^scale (IEEE 754), so this is a division of 0xffff · 2^shift by the mantissa, bit by bit.
        let (exponent, fraction) = (difficulty.to_bits() >> 52, difficulty.to_bits() & ((1 << 52) - 1));
        let (mantissa, scale) = match exponent as i32 {
            0 => (fraction, -1074),
            exponent => (fraction | 1 << 52, exponent - 1075),
        };
        let shift = 208 - scale;
        let (mut bytes, mut rest) = ([0; 32], 0);
        for place in (0..shift + 16).rev() {
            rest = rest << 1 | u64::from(place >= shift);
            if rest >= mantissa {
                rest -= mantissa;
                match place {
                    0..256 => bytes[31 - place as usize / 8] |= 1 << (place % 8),
                    _ => return Ok(Self::MAX),
                }
            }
        }
        if bytes == [0; 32] { Err(TargetError::Difficulty(difficulty)) } else { Ok(Self(bytes)) }
    }

    /// The most significant 32 bits, which alone decide for nearly every hash.
    pub const fn high_word(self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(target: Target) -> String {
        format!("{target:?}")
    }

    #[test]
    fn zeros_count_from_the_front() {
        assert_eq!(Target::from_zeros(0, ZeroUnit::Hex), Ok(Target::MAX));
        assert_eq!(hex(Target::from_zeros(5, ZeroUnit::Hex).unwrap()), format!("00000{}", "f".repeat(59)));
        assert_eq!(hex(Target::from_zeros(64, ZeroUnit::Hex).unwrap()), "0".repeat(64));
        assert_eq!(hex(Target::from_zeros(7, ZeroUnit::Bits).unwrap()), format!("01{}", "f".repeat(62)));
        assert_eq!(Target::from_zeros(3, ZeroUnit::Bytes), Target::from_zeros(6, ZeroUnit::Hex));
        for zeros in 0..=64 {
            assert_eq!(Target::from_zeros(zeros, ZeroUnit::Hex).unwrap().zeros(), zeros as u32);
        }
    }

    #[test]
    fn impossible_zeros_are_refused() {
        assert_eq!(Target::from_zeros(65, ZeroUnit::Hex), Err(TargetError::Zeros { got: 65, most: 64 }));
        assert_eq!(Target::from_zeros(-1, ZeroUnit::Hex), Err(TargetError::Zeros { got: -1, most: 64 }));
        assert_eq!(Target::from_zeros(257, ZeroUnit::Bits), Err(TargetError::Zeros { got: 257, most: 256 }));
        assert_eq!(Target::from_zeros(33, ZeroUnit::Bytes), Err(TargetError::Zeros { got: 33, most: 32 }));
    }

    #[test]
    fn the_probability_is_halved_by_every_zero_bit() {
        for zeros in 0..=256 {
            let target = Target::from_zeros(zeros, ZeroUnit::Bits).unwrap();
            assert_eq!(target.probability(), (-zeros as f64).exp2());
        }
        // Difficulty 1: 2^32 hashes and a little on average.
        let hashes = 1.0 / Target::from_bits(0x1d00_ffff).unwrap().probability();
        assert!((hashes / 4_295_032_833.0 - 1.0).abs() < 1e-9, "{hashes}");
    }

    #[test]
    fn difficulty_one_is_the_easiest_of_bitcoins_main_chain() {
        assert!((Target::from_bits(0x1d00_ffff).unwrap().difficulty() - 1.0).abs() < 1e-9);
        assert!((Target::from_bits(0x1b04_04cb).unwrap().difficulty() - 16_307.420938523983).abs() < 1e-3);
    }

    #[test]
    fn difficulties_become_targets() {
        let target = |difficulty| Target::from_difficulty(difficulty).unwrap();
        assert_eq!(Target::from_bits(0x1d00_ffff), Target::from_difficulty(1.0));
        assert_eq!(hex(target(16.0)), format!("000000000ffff{}", "0".repeat(51)));
        assert_eq!(hex(target(0.5)), format!("00000001fffe{}", "0".repeat(52)));
        // 0xffff · 2^208 / 3: 0x5555 and then fives to the end.
        assert_eq!(hex(target(3.0)), format!("000000005555{}", "0".repeat(52)));
        assert_eq!(hex(target(65_535.0)), format!("000000000001{}", "0".repeat(52)));
        for difficulty in [1e-5, 0.001, 1.5, 512.0, 16_307.420938523983, 1e14, 1e60] {
            assert!((target(difficulty).difficulty() / difficulty - 1.0).abs() < 1e-6, "{difficulty}");
        }
        assert_eq!(target(1e-10), Target::MAX);
        assert_eq!(target(f64::from_bits(1)), Target::MAX);
        for refused in [0.0, -0.0, -1.0, 1e68, 1e308, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let error = Target::from_difficulty(refused).unwrap_err().to_string();
            assert!(error.contains("expected a difficulty above 0"), "{error}");
        }
    }

    #[test]
    fn compact_bits_follow_bitcoin() {
        // Genesis, a mainnet target of 2012, regtest; then Bitcoin Core's arith_uint256 tests.
        assert_eq!(hex(Target::from_bits(0x1d00_ffff).unwrap()), format!("00000000ffff{}", "0".repeat(52)));
        assert_eq!(hex(Target::from_bits(0x1b04_04cb).unwrap()), format!("00000000000404cb{}", "0".repeat(48)));
        assert_eq!(hex(Target::from_bits(0x207f_ffff).unwrap()), format!("7fffff{}", "0".repeat(58)));
        assert_eq!(hex(Target::from_bits(0x0200_8000).unwrap()), format!("{}80", "0".repeat(62)));
        assert_eq!(hex(Target::from_bits(0x0500_9234).unwrap()), format!("{}92340000", "0".repeat(56)));
        assert_eq!(hex(Target::from_bits(0x2100_ffff).unwrap()), format!("ffff{}", "0".repeat(60)));
        for refused in [0, 0x0100_3456, 0x0180_3456, 0x04923456, 0xff12_3456, 0x2200_0100] {
            assert_eq!(Target::from_bits(refused), Err(TargetError::Bits(refused)), "{refused:#x}");
        }
    }
}
