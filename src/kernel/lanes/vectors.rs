//! Words at addresses that vector instructions like.

/// A cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u32; 16]);

/// A buffer of words that begins at a cache line.
pub(crate) struct Vectors {
    lines: Vec<Line>,
}

impl Vectors {
    /// Zeros.
    pub(super) fn new(words: usize) -> Self {
        Self { lines: vec![Line([0; 16]); words.div_ceil(16)] }
    }

    /// What `word` says of each place.
    pub(super) fn from_fn(words: usize, word: impl Fn(usize) -> u32) -> Self {
        let mut vectors = Self::new(words);
        for place in 0..words {
            vectors.lines[place / 16].0[place % 16] = word(place);
        }
        vectors
    }

    /// How many words there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len() * 16
    }

    /// Where the words begin; there are [`Vectors::len`] of them.
    pub(super) fn as_ptr(&self) -> *const u32 {
        self.lines.as_ptr().cast()
    }

    /// The same, to write.
    pub(super) fn as_mut_ptr(&mut self) -> *mut u32 {
        self.lines.as_mut_ptr().cast()
    }
}
