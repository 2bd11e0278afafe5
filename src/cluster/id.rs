//! Who a node is, and in whose reign something was said.

use std::cmp::Reverse;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

/// One leader's reign. Newer ones are greater; of two that began with the same counter, the lower leader's is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// One more than any that the leader had seen when it began to lead.
    pub counter: u64,
    /// Who leads.
    pub leader: NodeId,
    /// The leader's incarnation, so that a restarted leader's epochs are other ones.
    pub incarnation: u64,
}

impl Epoch {
    fn rank(&self) -> (u64, Reverse<NodeId>, u64) {
        (self.counter, Reverse(self.leader), self.incarnation)
    }
}

impl Ord for Epoch {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Epoch {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}/{:?}", self.counter, self.leader)
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

    #[test]
    fn a_higher_counter_then_a_lower_leader_is_newer() {
        let epoch =
            |counter, leader, incarnation| Epoch { counter, leader: NodeId::try_from(leader).unwrap(), incarnation };
        assert!(epoch(2, 9, 0) > epoch(1, 1, 0));
        assert!(epoch(2, 1, 0) > epoch(2, 2, 0));
        assert!(epoch(2, 1, 1) > epoch(2, 1, 0));
    }
}
