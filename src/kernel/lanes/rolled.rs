//! The header puzzle with a group of versions below the nonce field: headers that differ only in their first block share the
//! message schedule of the second.
//!
//! 1. For a few batches of nonce fields, the schedule's vectors are worked out and written down.
//! 2. Each of them is read by a pass for every version of the group.
//!
//! There is room for twice as many schedules, since the batches that are still on their way read those of the round before.

use crossbeam::queue::SegQueue;

use super::code::{Batch, Code, Table};
use super::header::{lane_numbers, stretches, table};
use super::pipeline::{Pipeline, name_lanes};
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
    /// Room for schedules that no scan is using: new memory would cost a scan of 100,000 nonces 1 % of its time.
    pub(super) rooms: SegQueue<Vectors>,
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
        let mut schedules = self.schedule.map(|code| {
            let room = self.rooms.pop().unwrap_or_else(|| Vectors::new(2 * SCHEDULES * code.stored()));
            Schedules { code, tables: [table(&code, &self.puzzle, base, self.mask)], vectors: room, half: 0 }
        });
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
            let length = schedules.as_ref().map_or(0, |schedules| schedules.length() as u32);
            let (mut version, mut vectors_at, mut fields) = (0, first as u32, nonces.start);
            let batches = nonces.len().div_ceil(step) * versions;
            let next = || {
                let nonce = fields + version;
                let batch = Batch { table: version as u32, vectors: vectors_at, word: word(fields), nonce };
                version += 1;
                if version == versions {
                    (version, vectors_at, fields) = (0, vectors_at + length, fields + step);
                }
                batch
            };
            let vectors = schedules.as_ref().map_or(&numbers, |schedules| &schedules.vectors);
            pipeline.feed(batches, next, &tables, vectors, &mut found);
        }
        let vectors = schedules.as_ref().map_or(&numbers, |schedules| &schedules.vectors);
        pipeline.drain(&tables, vectors, &mut found);
        if let Some(schedules) = schedules {
            self.rooms.push(schedules.vectors);
        }
    }
}

/// Room for the schedules of two rounds.
struct Schedules {
    code: Code,
    tables: [Table; 1],
    vectors: Vectors,
    /// Which half comes next.
    half: usize,
}

impl Schedules {
    /// Words of one schedule.
    fn length(&self) -> usize {
        self.code.stored()
    }

    /// Works out the schedules of up to [`SCHEDULES`] batches, and tells where they begin.
    fn make(&mut self, words: impl Iterator<Item = u32>, numbers: &Vectors) -> usize {
        let first = self.half * SCHEDULES * self.length();
        self.half = 1 - self.half;
        let batches: Vec<_> = words.map(|word| Batch { table: 0, vectors: 0, word, nonce: 0 }).collect();
        self.code.store(&batches, &self.tables, numbers, &mut self.vectors, first);
        first
    }
}
