//! The header puzzle, one version at a time: a lane's nonce field is the batch's, which is a multiple of the lanes, and its own
//! number. The field stands little-endian in a big-endian word, so the number is added to the word's high byte.

use super::code::{Batch, Code, INPUTS, Table};
use super::pipeline::{Pipeline, name_lanes};
use super::vectors::Vectors;
use crate::kernel::Candidates;
use crate::kernel::blocks::{header_block, header_midstate, words};
use crate::work::{HeaderPuzzle, NonceRange};

/// A header job for a kernel of lanes.
pub(super) struct Header {
    pub(super) code: Code,
    pub(super) puzzle: HeaderPuzzle,
    /// The digest word's bits that must be zero.
    pub(super) mask: u32,
}

impl Candidates for Header {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let lanes = self.code.lanes() as u64;
        let vectors = lane_numbers(self.code.lanes());
        let mut pipeline = Pipeline::new(&self.code);
        for stretch in stretches(range, 0) {
            let tables = [table(&self.code, &self.puzzle, stretch.start, self.mask)];
            let mut next = stretch.start - stretch.start % lanes;
            let batches = (stretch.end - next).div_ceil(lanes);
            let next = || {
                let nonce = next;
                next += lanes;
                // The nonce field: without a group of versions, the low half of the nonce.
                Batch { table: 0, vectors: 0, word: (nonce as u32).swap_bytes(), nonce }
            };
            let mut found = |batch, mask| {
                name_lanes(batch, mask, 1, |nonce| candidates.extend(stretch.contains(nonce).then_some(nonce)));
            };
            pipeline.feed(batches, next, &tables, &vectors, &mut found);
            pipeline.drain(&tables, &vectors, &mut found);
        }
    }
}

/// Cuts `range` where the versions above the nonce field change.
pub(super) fn stretches(range: NonceRange, group_bits: u32) -> impl Iterator<Item = NonceRange> {
    let length = 1 << (32 + group_bits);
    let mut rest = range;
    std::iter::from_fn(move || (!rest.is_empty()).then(|| rest.take_front(length - rest.start % length)))
}

/// What each lane adds to the word of the nonce field.
pub(super) fn lane_numbers(lanes: usize) -> Vectors {
    Vectors::from_fn(lanes, |lane| (lane as u32).swap_bytes())
}

/// The table for the version that `nonce` stands for.
pub(super) fn table(code: &Code, puzzle: &HeaderPuzzle, nonce: u64, mask: u32) -> Table {
    let mut inputs = [0; INPUTS];
    inputs[..8].copy_from_slice(&header_midstate(puzzle, nonce));
    inputs[8..24].copy_from_slice(&words(&header_block(puzzle)));
    inputs[24] = mask;
    code.table(&inputs)
}
