//! Feeds batches of lanes to pipelined code, and tells whose candidates come out.

use super::code::{Batch, Code, Table};
use super::vectors::Vectors;

/// What a stage works on that has nothing to do: some pass, under a nonce that is none.
const IDLE: Batch = Batch { table: 0, vectors: 0, word: 0, nonce: u64::MAX };

/// How many batches go through the code in one call, at most: twice as many are no faster. Between two calls this file's code drives some
/// of the scan code out of the instruction cache: 900 to 1,800 cycles where a batch takes 750, measured on Zen 5.
const CHUNK: u64 = 1024;

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
        let mut queue = Vec::with_capacity(code.stages() + CHUNK as usize);
        queue.resize(code.stages() - 1, IDLE);
        Self { code, frames: code.frames(), queue, masks: vec![0; CHUNK as usize] }
    }

    /// Sends in so many batches, each what `next` gives, whose places in `tables` and `vectors` stay what they are until they have come out, and
    /// calls `found` for each batch that comes out with candidates.
    pub(super) fn feed(
        &mut self,
        batches: u64,
        mut next: impl FnMut() -> Batch,
        tables: &[Table],
        vectors: &Vectors,
        mut found: impl FnMut(Batch, u16),
    ) {
        let mut left = batches;
        while left > 0 {
            let chunk = left.min(CHUNK);
            left -= chunk;
            self.queue.extend((0..chunk).map(|_| next()));
            // An even number of passes.
            self.idle(chunk as usize % 2);
            self.run(tables, vectors, &mut found);
        }
    }

    /// Waits for the batches that are still on their way.
    pub(super) fn drain(&mut self, tables: &[Table], vectors: &Vectors, found: impl FnMut(Batch, u16)) {
        self.feed(self.code.stages() as u64 - 1, || IDLE, tables, vectors, found);
    }

    fn idle(&mut self, batches: usize) {
        self.queue.resize(self.queue.len() + batches, IDLE);
    }

    fn run(&mut self, tables: &[Table], vectors: &Vectors, found: &mut impl FnMut(Batch, u16)) {
        let entering = self.queue.len() + 1 - self.code.stages();
        let masks = &mut self.masks[..entering];
        self.code.candidates(&self.queue, tables, vectors, &mut self.frames, masks);
        // What comes out is what began as many passes before as there are other stages: it stands at the queue's front. Most often
        // there is nothing, which is quickly seen of all.
        if masks.iter().fold(0, |any, mask| any | mask) != 0 {
            let out = self.queue.iter().zip(&*masks);
            out.filter(|(batch, mask)| **mask != 0 && batch.nonce != IDLE.nonce)
                .for_each(|(&batch, &mask)| found(batch, mask));
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
