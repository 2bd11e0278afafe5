//! Generates the scan code for double SHA-256: a list of single-assignment operations, cut into pipeline stages, given
//! registers and printed as assembler. The build script runs it; the tests run its programs on plain numbers.
//!
//! ```text
//! sha256d, segments   op              mod (Program)   stage           allocate     print
//! the algorithm for   builder: folds  lanes, job;     cut, interleave registers,   assembler; Rust for
//! a puzzle            and shares      no dead code                    memory       the job's part
//! ```
//!
//! A *job* is what stays for many nonces, a *pass* one run through the code with a vector of nonces, a *table* the words that a
//! pass needs from its job. The code's interface is described where it is printed; the drivers are in `kernel/lanes`.
//!
//! **Why a generator.** A round's critical path is four operations with a latency of two cycles each, so one chain of
//! rounds cannot keep four vector ports busy, and two whole hashes side by side do not fit the op cache. So the hash is cut
//! into stages (a software pipeline): one pass through the code advances as many batches as there are stages, each by one
//! stage, interleaved. Compilers' schedulers undo such an order. AVX2 needs twice the operations, so there even one hash is too
//! long, and has half the registers, which two do not fit; its code is a loop over one hash, and two batches are side by side only
//! where folding has left little, see `segments`.

pub(crate) mod allocate;
#[cfg(test)]
mod interpret;
pub(crate) mod op;
pub(crate) mod print;
pub(crate) mod segments;
pub(crate) mod sha256d;
pub(crate) mod stage;
#[cfg(test)]
mod tests;

use op::{Builder, Op, Time, Value};

/// What a pass leaves behind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    /// A mask of the lanes whose `word` has no bit in common with `mask`.
    Candidates {
        /// A word of the digest.
        word: Value,
        /// The bits that must be zero.
        mask: Value,
    },
    /// A vector.
    Store(Value),
    /// A vector that stays in a register for the program that follows; the first of these in the first register.
    Hold(Value),
}

impl Output {
    /// The word that is tested or stored.
    pub(crate) fn word(&self) -> Value {
        let (Self::Candidates { word, .. } | Self::Store(word) | Self::Hold(word)) = *self;
        word
    }

    fn values(&self) -> Vec<Value> {
        match *self {
            Self::Candidates { word, mask } => vec![word, mask],
            Self::Store(value) | Self::Hold(value) => vec![value],
        }
    }
}

/// A builder's operations without those that nothing needs, apart by the time when they are known.
#[derive(Debug)]
pub(crate) struct Program {
    /// Every operation of the builder; a value is its place here.
    pub(crate) ops: Vec<Op>,
    /// The operations of the scan, in order. Their inputs (vectors, the pass's word) and the
    /// words of [`Program::table`] are not among them. Operands stand before their uses.
    pub(crate) lanes: Vec<Value>,
    /// The words that the scan needs from a job, in the order of their first use.
    pub(crate) table: Vec<Value>,
    /// The operations that make those words, in the order in which they were made.
    pub(crate) job: Vec<Value>,
    /// The results, in order.
    pub(crate) outputs: Vec<Output>,
}

impl Program {
    /// Keeps what `outputs` need, in the order in which it was made.
    pub(crate) fn new(builder: Builder, outputs: Vec<Output>) -> Self {
        Self::ordered(builder, outputs, |_, value| value.index() as i64)
    }

    /// Keeps what `outputs` need, in the order in which it is due.
    pub(crate) fn paced(builder: Builder, outputs: Vec<Output>) -> Self {
        Self::ordered(builder, outputs, Builder::due)
    }

    fn ordered(builder: Builder, outputs: Vec<Output>, place: impl Fn(&Builder, Value) -> i64) -> Self {
        let ops = builder.ops();
        let mut needed = vec![false; ops.len()];
        for value in outputs.iter().flat_map(Output::values) {
            needed[value.index()] = true;
        }
        for (i, op) in ops.iter().enumerate().rev() {
            if needed[i] {
                op.operands().iter().for_each(|value| needed[value.index()] = true);
            }
        }
        let alive = || builder.values().filter(|value| needed[value.index()]);
        let op = |value: Value| &ops[value.index()];
        let mut lanes: Vec<_> = alive()
            .filter(|&value| {
                builder.time(value) == Time::Lane && !matches!(op(value), Op::Pass | Op::Lanes(_) | Op::Held(_))
            })
            .collect();
        lanes.sort_by_key(|&value| place(&builder, value));
        let mut table = Vec::new();
        let used = lanes.iter().flat_map(|&value| op(value).operands()).chain(outputs.iter().flat_map(Output::values));
        for value in used.filter(|&value| builder.time(value) != Time::Lane) {
            if !table.contains(&value) {
                table.push(value);
            }
        }
        let job = alive().filter(|&value| builder.time(value) != Time::Lane).collect();
        Self { ops: ops.to_vec(), lanes, table, job, outputs }
    }

    /// How many vectors it is given.
    pub(crate) fn vectors(&self) -> usize {
        self.ops.iter().filter(|op| matches!(op, Op::Lanes(_))).count()
    }

    /// Whether the vectors that it puts out take the places of those that it is given, as segments' do.
    pub(crate) fn is_in_place(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Held(_)))
    }

    /// The operation that makes `value`.
    pub(crate) fn op(&self, value: Value) -> &Op {
        &self.ops[value.index()]
    }
}
