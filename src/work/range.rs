//! Half-open ranges of nonces.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many nonces the exercise puts into one range: the unit of which leases are made.
pub const UNIT: u64 = 100_000;

/// The text puzzle's nonces, 1 to 2,000,000,000 inclusive.
pub const TEXT_NONCES: NonceRange = NonceRange { start: 1, end: 2_000_000_001 };

/// The nonces `start..end`; empty when `start >= end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NonceRange {
    /// The first nonce.
    pub start: u64,
    /// The nonce after the last one.
    pub end: u64,
}

impl NonceRange {
    /// The nonces `start..end`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// How many nonces there are.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether `nonce` is one of them.
    pub const fn contains(&self, nonce: u64) -> bool {
        self.start <= nonce && nonce < self.end
    }

    /// Whether every nonce of `other` is one of these; true of an empty `other`.
    pub const fn covers(&self, other: &Self) -> bool {
        other.is_empty() || (self.start <= other.start && other.end <= self.end)
    }

    /// The nonces that both have.
    pub fn intersection(&self, other: &Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// Takes up to `count` nonces off the front and gives them.
    pub fn take_front(&mut self, count: u64) -> Self {
        let front = Self { start: self.start, end: self.start.saturating_add(count).min(self.end) };
        self.start = front.end;
        front
    }
}

impl fmt::Display for NonceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

impl fmt::Debug for NonceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_comes_off_until_nothing_is_left() {
        let mut rest = NonceRange::new(1, 11);
        assert_eq!(rest.take_front(4), NonceRange::new(1, 5));
        assert_eq!(rest.take_front(4), NonceRange::new(5, 9));
        assert_eq!(rest.take_front(4), NonceRange::new(9, 11));
        assert!(rest.is_empty());
        assert!(rest.take_front(4).is_empty());
    }

    #[test]
    fn the_end_of_u64_does_not_overflow() {
        let mut rest = NonceRange::new(u64::MAX - 2, u64::MAX);
        assert_eq!(rest.take_front(u64::MAX).len(), 2);
        assert!(rest.is_empty());
    }

    #[test]
    fn the_exercise_has_twenty_thousand_units() {
        assert_eq!(TEXT_NONCES.len(), 20_000 * UNIT);
        assert!(TEXT_NONCES.contains(2_000_000_000) && !TEXT_NONCES.contains(0));
    }
}
