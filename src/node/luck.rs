//! How lucky a node is: what it has found, against what its hashes find on average.
//!
//! Each solution counts as many hashes as it takes on average. So the measure stays right when the difficulty changes, and the node needs to
//! know nothing of what others search. What the source makes of a solution is no matter of luck, so it does not count here.

use crate::work::Target;

/// The luck of one node since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Luck {
    /// How many hashes all that was found takes on average.
    found: f64,
}

impl Luck {
    /// The node's own scan has met a solution, whose hash was not to exceed `target`: a block or a share.
    pub(super) fn found(&mut self, target: Target) {
        self.found += 1.0 / target.probability();
    }

    /// 1 is what is to be expected of so many hashes, 2 is twice as much; nothing before the first hash.
    pub(super) fn of(self, hashes: u64) -> Option<f64> {
        (hashes > 0).then(|| self.found / hashes as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::ZeroUnit;

    #[test]
    fn a_solution_counts_as_many_hashes_as_it_takes_on_average() {
        let zero_bits = |bits| Target::from_zeros(bits, ZeroUnit::Bits).unwrap();
        let mut luck = Luck::default();
        assert_eq!((luck.of(0), luck.of(5)), (None, Some(0.0)));
        luck.found(zero_bits(10));
        luck.found(zero_bits(10));
        luck.found(zero_bits(11));
        assert_eq!((luck.of(4096), luck.of(2048)), (Some(1.0), Some(2.0)));
    }
}
