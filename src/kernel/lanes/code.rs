//! Generated scan code, and what one pass through it is given.

#![allow(unsafe_code)]

use std::mem::offset_of;

use super::vectors::Vectors;

/// How many inputs a job has: the state after the first block, the second block's words, the mask of the digest word's bits
/// that must be zero.
pub(crate) const INPUTS: usize = 25;

/// A job's words for the scan.
#[repr(C, align(64))]
#[derive(Clone)]
pub(crate) struct Table(pub(crate) [u32; 192]);

/// What the generator says of a piece of code.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// In how many stages it is cut: a batch's candidates are known so many passes after it began, less one.
    pub(crate) stages: usize,
    /// Half the vectors that the code keeps, from pass to pass and within one.
    pub(crate) slots: usize,
    /// How many vectors a pass is given.
    pub(crate) vectors: usize,
    /// How many vectors a pass puts out; none if it puts out candidates.
    pub(crate) stores: usize,
    /// Fills the table from the job's inputs.
    pub(crate) fill: fn(&[u32; INPUTS], &mut Table),
}

/// The code's entry: the pass that the first stage begins with, how many passes, the frames, the results.
pub(crate) type Entry = unsafe extern "sysv64" fn(*const Pass, usize, *mut u32, *mut u8);

/// A function called `$name` that gives the code which the build script has written to `$kernel_$name.s`, a copy of it for each number. Its
/// argument shows that the CPU can run it; `$lanes` are its lanes, and the module `$name` is what the generator says of it.
macro_rules! scan_code {
    ($name:ident, $kernel:literal, $cpu:ty, $lanes:expr) => {
        fn $name<const COPY: usize>(_: $cpu) -> $crate::kernel::lanes::Code {
            #[unsafe(naked)]
            unsafe extern "sysv64" fn entry<const COPY: usize>(
                _: *const $crate::kernel::lanes::Pass,
                _: usize,
                _: *mut u32,
                _: *mut u8,
            ) {
                std::arch::naked_asm!(
                    include_str!(concat!(env!("OUT_DIR"), "/", $kernel, "_", stringify!($name), ".s")),
                    options(raw)
                )
            }
            // SAFETY: the code and its shape bear one name, and so come from one run of the generator, for so many lanes; the CPU has its
            // instructions, as the argument shows.
            unsafe { $crate::kernel::lanes::Code::new(entry::<COPY>, $name::SHAPE, $lanes) }
        }
    };
}
pub(crate) use scan_code;

/// One batch: the lanes of one pass.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    /// Which of the tables.
    pub(super) table: u32,
    /// Where its vectors begin, in words.
    pub(super) vectors: u32,
    /// The word that all lanes share.
    pub(super) word: u32,
    /// The nonce of the first lane, for whoever sends the batch in: the code has no use for it.
    pub(super) nonce: u64,
}

/// One pass of one stage, as the code reads it.
#[repr(C)]
pub(crate) struct Pass {
    table: *const Table,
    vectors: *const u32,
    word: u32,
}

// The generated code knows where these are.
const _: () = {
    assert!(size_of::<Pass>() == 24);
    assert!(offset_of!(Pass, table) == 0 && offset_of!(Pass, vectors) == 8 && offset_of!(Pass, word) == 16);
};

/// Scan code that this CPU can run.
#[derive(Clone, Copy)]
pub(crate) struct Code {
    entry: Entry,
    shape: Shape,
    lanes: usize,
}

impl Code {
    /// # Safety
    /// `entry` is generated code of that shape for so many lanes, and the CPU has the instructions it uses. Code that puts out
    /// candidates may take its passes in twos, code that puts out vectors takes them one by one.
    pub(crate) unsafe fn new(entry: Entry, shape: Shape, lanes: usize) -> Self {
        assert!(lanes.is_power_of_two() && lanes <= 16, "vectors of lanes are aligned within a cache line");
        Self { entry, shape, lanes }
    }

    /// Where it begins.
    #[cfg(test)]
    pub(crate) fn address(&self) -> usize {
        self.entry as usize
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    pub(super) fn stages(&self) -> usize {
        self.shape.stages
    }

    /// Words in the vectors that a pass is given.
    pub(super) fn words(&self) -> usize {
        self.shape.vectors * self.lanes
    }

    /// Words in the vectors that a pass puts out.
    pub(super) fn stored(&self) -> usize {
        self.shape.stores * self.lanes
    }

    /// What the code keeps.
    pub(super) fn frames(&self) -> Vectors {
        Vectors::new(2 * self.shape.slots * self.lanes)
    }

    /// The table of a job.
    pub(super) fn table(&self, job: &[u32; INPUTS]) -> Table {
        let mut table = Table([0; 192]);
        (self.shape.fill)(job, &mut table);
        table
    }

    /// Lets the first stage begin with each batch but the first `stages - 1`, which are those that the last run ended with, and
    /// notes for each which lanes of the batch that leaves the last stage are candidates. An even number of batches begins. What a
    /// batch names is in `tables` and `vectors`.
    pub(super) fn candidates(
        &self,
        batches: &[Batch],
        tables: &[Table],
        vectors: &Vectors,
        frames: &mut Vectors,
        masks: &mut [u16],
    ) {
        assert_eq!(batches.len(), masks.len() + self.shape.stages - 1, "a mask for each batch that begins");
        assert!(!masks.is_empty() && masks.len().is_multiple_of(2), "frames are exchanged after each pass");
        assert_eq!(self.shape.stores, 0, "code that puts out candidates");
        self.run(batches, tables, vectors, frames, masks.as_mut_ptr().cast());
    }

    /// Runs the single stage over `batches`, and writes each one's vectors to `stored`, one after the other.
    pub(super) fn store(
        &self,
        batches: &[Batch],
        tables: &[Table],
        vectors: &Vectors,
        stored: &mut Vectors,
        first: usize,
    ) {
        let room = stored.len().checked_sub(first).expect("the first word is one of the vectors'");
        assert!(!batches.is_empty() && self.shape.stages == 1, "batches for a single stage");
        assert!(self.shape.stores > 0, "code that puts out vectors");
        assert!(room >= batches.len() * self.stored(), "room for what is put out");
        assert!(first.is_multiple_of(self.lanes), "vectors begin where a vector begins");
        self.run(batches, tables, vectors, &mut self.frames(), stored.as_mut_ptr().wrapping_add(first).cast());
    }

    fn run(&self, batches: &[Batch], tables: &[Table], vectors: &Vectors, frames: &mut Vectors, results: *mut u8) {
        let begun = self.shape.stages - 1;
        let last = vectors.len().checked_sub(self.words()).expect("as many vectors as a pass is given");
        let within = self.lanes - 1; // a power of two
        let pass = |batch: &Batch| {
            let first = batch.vectors as usize;
            assert!(first <= last && first & within == 0, "every batch has its vectors");
            let vectors = vectors.as_ptr().wrapping_add(first);
            Pass { table: &raw const tables[batch.table as usize], vectors, word: batch.word }
        };
        let passes: Vec<_> = batches.iter().map(pass).collect();
        assert!(frames.len() >= 2 * self.shape.slots * self.lanes, "room for two frames");
        assert!(passes.len() > begun, "the passes before the first one, and at least that one");
        // SAFETY:
        // - The CPU has the instructions: the constructor's caller saw to it.
        // - The code reads `passes[begun - stage..][..passes.len() - begun]` for each stage, all of it in `passes`, through a
        //   pointer that comes from the slice `passes` (asserted to reach that far).
        // - Of each pass it reads a table, one of `tables` (and of that no word but those that `fill` writes, which are in it, or the
        //   compiler would refuse their numbers), and `words()` words of `vectors`: there are as many from where the pass's
        //   begin, and they are aligned (asserted for each). Both are borrowed until the code has returned.
        // - It reads and writes `2 * slots` vectors, which are `frames` (asserted): initialised, and aligned by `Vectors`.
        // - It writes the results: 16 bits a pass, or `stores` vectors; the two callers have checked that there is room.
        // - It takes passes one by one or, where candidates are put out, in twos: then there is an even number (asserted there).
        // - It keeps the registers that the calling convention preserves, and never unwinds.
        unsafe {
            (self.entry)(passes.as_ptr().add(begun), passes.len() - begun, frames.as_mut_ptr(), results);
        }
    }
}
