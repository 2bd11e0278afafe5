//! The header puzzle with a group of versions below the nonce field: headers that differ only in their first block share the
//! message schedule of the second.
//!
//! 1. For a few batches of nonce fields, the schedule's vectors are worked out and written down.
//! 2. Each of them is read by a pass for every version of the group.
//!
//! There is room for twice as many schedules, since the batches that are still on their way read those of the round before.

use super::code::{Code, Pass, Table};
use super::header::{lane_numbers, stretches, table};
use super::pipeline::{Batch, Pipeline, name_lanes};
use super::vectors::Vectors;
use crate::kernel::Candidates;
use crate::work::{HeaderPuzzle, NonceRange};

/// Schedules that are worked out at once, 3 KB each. They go through the second-level cache; four, which would not, lose 5 % at the
/// calls, and 16, of which more would fit a smaller cache, 1 % (measured on Zen 5).
const SCHEDULES: usize = 64;

/// A header job with rolled versions for a kernel of lanes.
pub(super) struct Rolled {
    /// Works out the schedules, which `code` reads; without it, `code` works out its own.
    pub(super) schedule: Option<Code>,
    pub(super) code: Code,
    pub(super) puzzle: HeaderPuzzle,
    /// The digest word's bits that must be zero.
    pub(super) mask: u32,
}

impl Candidates for Rolled {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let begin = candidates.len();
        for stretch in stretches(range, self.puzzle.group_bits()) {
            self.scan_stretch(stretch, candidates);
        }
        // A pass names one version's nonces of 16 fields.
        candidates[begin..].sort_unstable();
    }
}

impl Rolled {
    fn scan_stretch(&self, stretch: NonceRange, candidates: &mut Vec<u64>) {
        let lanes = self.code.lanes() as u64;
        let group_bits = self.puzzle.group_bits();
        let versions = 1 << group_bits;
        let base = stretch.start - stretch.start % versions;
        let tables: Vec<_> = (0..versions).map(|v| table(&self.code, &self.puzzle, base + v, self.mask)).collect();
        let numbers = lane_numbers(self.code.lanes());
        let mut schedules = self.schedule.map(|code| Schedules::new(code, table(&code, &self.puzzle, base, self.mask)));
        let mut found = |batch, mask| {
            name_lanes(batch, mask, versions, |nonce| candidates.extend(stretch.contains(nonce).then_some(nonce)));
        };
        let mut pipeline = Pipeline::new(&self.code);
        // Nonces between two batches of fields.
        let step = lanes * versions;
        let mut rest = NonceRange::new(stretch.start - stretch.start % step, stretch.end);
        let word = |nonce: u64| ((nonce >> group_bits) as u32).swap_bytes();
        loop {
            let nonces = rest.take_front(SCHEDULES as u64 * step);
            if nonces.is_empty() {
                break;
            }
            let first = match &mut schedules {
                Some(schedules) => {
                    schedules.make((nonces.start..nonces.end).step_by(step as usize).map(word), &numbers)
                }
                None => 0,
            };
            let mut next = Batch { table: 0, vectors: first as u32, word: word(nonces.start), nonce: nonces.start };
            let batches = std::iter::from_fn(|| {
                let batch = next;
                next.table += 1;
                next.nonce += 1;
                if next.table == versions as u32 {
                    next.table = 0;
                    next.nonce += step - versions;
                    next.word = word(next.nonce);
                    next.vectors += schedules.as_ref().map_or(0, |schedules| schedules.length() as u32);
                }
                (batch.nonce < nonces.end).then_some(batch)
            });
            let vectors = schedules.as_ref().map_or(&numbers, |schedules| &schedules.vectors);
            pipeline.feed(batches, &tables, vectors, &mut found);
        }
        let vectors = schedules.as_ref().map_or(&numbers, |schedules| &schedules.vectors);
        pipeline.drain(&tables, vectors, &mut found);
    }
}

/// Room for the schedules of two rounds.
struct Schedules {
    code: Code,
    table: Table,
    vectors: Vectors,
    /// Which half comes next.
    half: usize,
}

impl Schedules {
    fn new(code: Code, table: Table) -> Self {
        Self { code, table, vectors: Vectors::new(2 * SCHEDULES * code.stored()), half: 0 }
    }

    /// Words of one schedule.
    fn length(&self) -> usize {
        self.code.stored()
    }

    /// Works out the schedules of up to [`SCHEDULES`] batches, and tells where they begin.
    fn make(&mut self, words: impl Iterator<Item = u32>, numbers: &Vectors) -> usize {
        let first = self.half * SCHEDULES * self.length();
        self.half = 1 - self.half;
        let passes: Vec<_> = words.map(|word| Pass::new(&self.table, numbers, 0, word)).collect();
        self.code.store(&passes, &mut self.vectors, first);
        first
    }
}
