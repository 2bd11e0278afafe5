//! The text puzzle, double hash, nonces of 7 to 10 digits: all but 0.05 % of its space.
//!
//! The lowest four digits, or three of seven, differ from lane to lane. They stand in words 1 and 2 of the second block, whatever the
//! number of digits, so one program serves them all: their ASCII digits come from a table of all groups of so many digits, one for each
//! length of a nonce, which the whole process shares; everything else is worked out once for the row of nonces that differ in these digits.
//!
//! Shorter nonces, and single hashes, go the portable way.

use std::sync::OnceLock;

use super::code::{Batch, Code, INPUTS, Table};
use super::pipeline::{Pipeline, name_lanes};
use super::vectors::Vectors;
use crate::kernel::Candidates;
use crate::kernel::blocks::{text_block, text_midstate, words};
use crate::work::{NonceRange, TextPuzzle};

/// How many of a nonce's digits differ from lane to lane. The first four digits stand in word 0.
const fn low(digits: usize) -> usize {
    if digits < 8 { digits - 4 } else { 4 }
}

/// The nonces of so many digits that one table serves: those that differ in the low digits.
const fn row(digits: usize) -> u64 {
    10u64.pow(low(digits) as u32)
}

/// Tables that are made at once: 8 KB of them.
const ROWS: usize = 16;

/// The first nonce of so many digits.
const fn first_of(digits: usize) -> u64 {
    10u64.pow(digits as u32 - 1)
}

/// A text job for a kernel of lanes.
pub(super) struct Text {
    pub(super) code: Code,
    pub(super) digits: &'static Digits,
    pub(super) puzzle: TextPuzzle,
    /// The digest word's bits that must be zero.
    pub(super) mask: u32,
    /// For all other nonces.
    pub(super) portable: Box<dyn Candidates>,
}

impl Candidates for Text {
    fn scan(&self, range: NonceRange, candidates: &mut Vec<u64>) {
        let below = range.intersection(&NonceRange::new(0, first_of(Digits::FEWEST)));
        if !below.is_empty() {
            self.portable.scan(below, candidates);
        }
        for digits in Digits::FEWEST..=Digits::MOST {
            let part = range.intersection(&NonceRange::new(first_of(digits), first_of(digits + 1)));
            if !part.is_empty() {
                self.scan_digits(digits, part, candidates);
            }
        }
        let above = range.intersection(&NonceRange::new(first_of(Digits::MOST + 1), u64::MAX));
        if !above.is_empty() {
            self.portable.scan(above, candidates);
        }
    }
}

impl Text {
    fn scan_digits(&self, digits: usize, range: NonceRange, candidates: &mut Vec<u64>) {
        let (lanes, row) = (self.code.lanes() as u64, row(digits));
        let vectors = self.digits.vectors(digits);
        // The last batch of a row may have lanes too many.
        let batches_a_row = row.div_ceil(lanes);
        let place = |nonce: u64| nonce / row * batches_a_row + nonce % row / lanes;
        let mut found = |batch: Batch, mask| {
            let end = (batch.nonce / row + 1) * row;
            let is_meant = |nonce: u64| nonce < end && range.contains(nonce);
            name_lanes(batch, mask, 1, |nonce| candidates.extend(is_meant(nonce).then_some(nonce)));
        };
        let mut pipeline = Pipeline::new(&self.code);
        let midstate = text_midstate(&self.puzzle);
        let mut rest = range;
        while !rest.is_empty() {
            let rows = rest.take_front(ROWS as u64 * row - rest.start % row);
            let mut begin = rows.start / row * row;
            let tables: Vec<_> =
                (rows.start / row..rows.end.div_ceil(row)).map(|high| self.table(digits, &midstate, high)).collect();
            let (mut table, mut at) = (0, rows.start % row / lanes);
            let batches = place(rows.end - 1) - place(rows.start) + 1;
            let next = || {
                let batch = Batch { table, vectors: (2 * lanes * at) as u32, word: 0, nonce: begin + lanes * at };
                at += 1;
                if at == batches_a_row {
                    (table, at, begin) = (table + 1, 0, begin + row);
                }
                batch
            };
            pipeline.feed(batches, next, &tables, vectors, &mut found);
            pipeline.drain(&tables, vectors, &mut found);
        }
    }

    /// The table for the row of nonces that begin with the digits of `high`.
    fn table(&self, digits: usize, midstate: &[u32; 8], mut high: u64) -> Table {
        let mut block = text_block(&self.puzzle, digits);
        for byte in block[..digits - low(digits)].iter_mut().rev() {
            *byte = b'0' + (high % 10) as u8;
            high /= 10;
        }
        let mut inputs = [0; INPUTS];
        inputs[..8].copy_from_slice(midstate);
        inputs[8..24].copy_from_slice(&words(&block));
        inputs[24] = self.mask;
        self.code.table(&inputs)
    }
}

/// The ASCII digits of the lowest digits as they stand in words 1 and 2: a vector of each word for each batch of a row.
pub(crate) struct Digits {
    lanes: usize,
    tables: [OnceLock<Vectors>; Self::MOST - Self::FEWEST + 1],
}

impl Digits {
    /// Of shorter nonces too few digits stand in words 1 and 2.
    const FEWEST: usize = 7;
    /// As many as the text puzzle's nonces have.
    const MOST: usize = 10;

    /// For so many lanes.
    pub(crate) const fn new(lanes: usize) -> Self {
        Self { lanes, tables: [const { OnceLock::new() }; Self::MOST - Self::FEWEST + 1] }
    }

    /// The vectors for nonces of so many digits.
    fn vectors(&self, digits: usize) -> &Vectors {
        self.tables[digits - Self::FEWEST].get_or_init(|| {
            let row = row(digits) as usize;
            Vectors::from_fn(2 * row.next_multiple_of(self.lanes), |place| {
                let (vector, lane) = (place / self.lanes, place % self.lanes);
                let (group, low) = ((vector / 2 * self.lanes + lane) % row, low(digits));
                // The digits begin in word 1, and end in word 2 if there are more than eight.
                let ascii = format!("{group:0low$}").bytes().fold(0, |word, digit| word << 8 | u64::from(digit));
                let both = ascii << (64 - 8 * (digits - 4));
                if vector % 2 == 0 { (both >> 32) as u32 } else { both as u32 }
            })
        })
    }
}
