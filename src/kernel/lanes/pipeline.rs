//! Feeds batches of lanes to pipelined code, and tells whose candidates come out.

use super::code::{Code, Pass, Table};
use super::vectors::Vectors;

/// One batch: the lanes of one pass.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    /// Which of the tables.
    pub(super) table: u32,
    /// Where its vectors begin.
    pub(super) vectors: u32,
    /// The word that all lanes share.
    pub(super) word: u32,
    /// The nonce of the first lane.
    pub(super) nonce: u64,
}

/// What a stage works on that has nothing to do: some pass, under a nonce that is none.
const IDLE: Batch = Batch { table: 0, vectors: 0, word: 0, nonce: u64::MAX };

/// How many batches go through the code in one call, at most. Between two calls this file's code drives some of the scan code out of
/// the instruction cache: 900 to 1,800 cycles where a batch takes 750, measured on Zen 5.
const CHUNK: usize = 512;

/// Batches on their way through the stages.
pub(super) struct Pipeline<'c> {
    code: &'c Code,
    frames: Vectors,
    /// The batches in all stages but the last, and after them those that enter.
    queue: Vec<Batch>,
    masks: Vec<u16>,
}

impl<'c> Pipeline<'c> {
    /// An empty pipeline.
    pub(super) fn new(code: &'c Code) -> Self {
        let mut queue = Vec::with_capacity(code.stages() + CHUNK);
        queue.resize(code.stages() - 1, IDLE);
        Self { code, frames: code.frames(), queue, masks: vec![0; CHUNK] }
    }

    /// Sends in `batches`, whose places in `tables` and `vectors` stay what they are until they have come out, and calls `found`
    /// for each batch that comes out with candidates.
    pub(super) fn feed(
        &mut self,
        batches: impl IntoIterator<Item = Batch>,
        tables: &[Table],
        vectors: &Vectors,
        mut found: impl FnMut(Batch, u16),
    ) {
        let mut batches = batches.into_iter();
        loop {
            for batch in batches.by_ref().take(CHUNK) {
                self.queue.push(batch);
            }
            match self.queue.len() + 1 - self.code.stages() {
                0 => return,
                // An even number of passes.
                odd if odd % 2 == 1 => self.idle(1),
                _ => {}
            }
            self.run(tables, vectors, &mut found);
        }
    }

    /// Waits for the batches that are still on their way.
    pub(super) fn drain(&mut self, tables: &[Table], vectors: &Vectors, found: impl FnMut(Batch, u16)) {
        self.idle(self.code.stages() - 1);
        self.feed([], tables, vectors, found);
    }

    fn idle(&mut self, batches: usize) {
        self.queue.resize(self.queue.len() + batches, IDLE);
    }

    fn run(&mut self, tables: &[Table], vectors: &Vectors, found: &mut impl FnMut(Batch, u16)) {
        let pass =
            |batch: &Batch| Pass::new(&tables[batch.table as usize], vectors, batch.vectors as usize, batch.word);
        let passes: Vec<_> = self.queue.iter().map(pass).collect();
        let entering = self.queue.len() + 1 - self.code.stages();
        let masks = &mut self.masks[..entering];
        self.code.candidates(&passes, &mut self.frames, masks);
        // What comes out is what began as many passes before as there are other stages: it stands at the queue's front.
        let mut place = 0;
        while let Some(next) = masks[place..].iter().position(|&mask| mask != 0) {
            place += next;
            if self.queue[place].nonce != IDLE.nonce {
                found(self.queue[place], masks[place]);
            }
            place += 1;
        }
        self.queue.drain(..entering);
    }
}

/// Calls `name` for the nonces of `batch`'s lanes that `mask` names; a lane is `step` nonces from the next.
pub(super) fn name_lanes(batch: Batch, mask: u16, step: u64, mut name: impl FnMut(u64)) {
    let mut left = mask;
    while left != 0 {
        name(batch.nonce + u64::from(left.trailing_zeros()) * step);
        left &= left - 1;
    }
}
