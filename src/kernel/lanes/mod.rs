//! Kernels whose lanes are the 32-bit words of a vector: what they do with generated scan code, whatever the instruction set.
//!
//! ```text
//! avx512, avx2   code              pipeline                  header, rolled, text
//! generated      what a pass is    batches through           which batches a range of nonces is, and
//! scan code      given, the call   the stages                which nonces the lanes of a batch are
//! ```

mod code;
mod header;
mod pipeline;
mod rolled;
mod text;
mod vectors;

pub(super) use code::{Code, INPUTS, Pass, Shape, Table, scan_code};
pub(super) use text::Digits;

use crossbeam::queue::SegQueue;

use super::portable::PORTABLE;
use super::{Candidates, Kernel};
use crate::work::{Hashing, Job, Puzzle};

/// A kernel of lanes.
pub(super) struct LaneKernel {
    pub(super) name: &'static str,
    pub(super) batch: u64,
    pub(super) header: Code,
    pub(super) text: Code,
    /// The shared part of headers that differ in their version, and the rest, if the kernel has them apart.
    pub(super) rolled: Option<[Code; 2]>,
    pub(super) digits: &'static Digits,
}

/// The mask of the bits that are zero in every word up to `limit`, high bits first.
fn zero_bits(limit: u32) -> u32 {
    !u32::MAX.checked_shr(limit.leading_zeros()).unwrap_or(0)
}

impl Kernel for LaneKernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn batch(&self) -> u64 {
        self.batch
    }

    fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
        let mask = zero_bits(job.target().high_word());
        match job.puzzle {
            // The word that decides stands in the digest, little-endian, with its most significant byte last.
            Puzzle::Header(puzzle) if puzzle.group_bits() == 0 => {
                Box::new(header::Header { code: self.header, puzzle, mask: mask.swap_bytes() })
            }
            Puzzle::Header(puzzle) => {
                let (schedule, code) = match self.rolled {
                    Some([schedule, code]) => (Some(schedule), code),
                    None => (None, self.header),
                };
                Box::new(rolled::Rolled { schedule, code, puzzle, mask: mask.swap_bytes(), rooms: SegQueue::new() })
            }
            Puzzle::Text(puzzle) if puzzle.hashing == Hashing::Double => Box::new(text::Text {
                code: self.text,
                digits: self.digits,
                puzzle,
                mask,
                portable: PORTABLE.prepare(job),
            }),
            Puzzle::Text(_) => PORTABLE.prepare(job),
        }
    }
}

/// Copies of code begin at different places: a linker that folds identical code would leave one.
#[cfg(test)]
pub(super) fn assert_apart(copies: &[Code]) {
    let mut addresses: Vec<_> = copies.iter().map(Code::address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), copies.len());
}

/// Says that a test does not run here. The test runner shows what a test prints only if it fails, so this goes around it.
#[cfg(test)]
pub(super) fn skip(test: &str, missing: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test} (this CPU has no {missing})");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_lets_every_solution_through() {
        for (limit, mask) in [(u32::MAX, 0), (0x7fff_ffff, 1 << 31), (0xff, 0xffff_ff00), (1, !1), (0, u32::MAX)] {
            assert_eq!(zero_bits(limit), mask, "{limit:#x}");
            assert_eq!(limit & mask, 0);
        }
    }
}
