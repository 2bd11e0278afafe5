//! Takes an input apart. Where it ends, zeros follow.

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 8] = [0xffff, 0xffff_ffff, 1 << 32, 2_000_000_000, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX];

/// The rest of an input.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// As many as there are, at most `count`.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A small number in one byte, an edge in one, or eight bytes after one.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..0xf0 => small.into(),
            edge @ 0xf0..0xf8 => EDGES[usize::from(edge & 7)],
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// Up to 255 of whatever `one` takes, fewer where the input ends.
    pub(super) fn list<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = self.byte();
        (0..count).map_while(|_| (!self.0.is_empty()).then(|| one(self))).collect()
    }
}
