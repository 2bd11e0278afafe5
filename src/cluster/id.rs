//! Who a node is, and who reigns.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::work::Run;

/// A server's id: 1, 2, 3 … The lowest live one leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(NonZeroU32);

/// Why a text or number is no node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a node id from 1 to 4294967295, got {0:?}")]
pub struct NodeIdError(String);

impl NodeId {
    /// The id as a number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for NodeId {
    type Error = NodeIdError;

    fn try_from(id: u32) -> Result<Self, NodeIdError> {
        NonZeroU32::new(id).map(Self).ok_or_else(|| NodeIdError(id.to_string()))
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let id = text.parse().ok().filter(|_| plain).and_then(NonZeroU32::new);
        id.map(Self).ok_or_else(|| NodeIdError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// One leader's reign: its process's run, and how often that has begun to lead. Of one run the higher number is newer; of two runs neither is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reign {
    /// The leader's run.
    pub run: Run,
    /// Counts that run's reigns from 1 on.
    pub number: u64,
}

impl fmt::Debug for Reign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.run, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_positive_numbers_are_ids() {
        assert_eq!("7".parse::<NodeId>().unwrap().get(), 7);
        for text in ["", "0", "-1", "+1", "01", "1.0", "4294967296", "one"] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?}");
        }
    }
}
