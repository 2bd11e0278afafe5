//! The operations that a program is made of, and the builder that folds and shares them.
//!
//! Every operation makes one new value and names the values it is made from (single assignment), so a program is a list in
//! which each value stands before its uses. All values are 32-bit words. What differs is *when* a word is known, its
//! [`Time`]; an operation is as late as its latest operand, which is all that splits the work between the generator (folds
//! constants), the preparation of a job (one scalar run) and the scan (one run per batch of lanes).

use std::collections::HashMap;

/// A value of the program: the number of the operation that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Value(u32);

impl Value {
    /// The place in the builder's list.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// A number.
    Constant(u32),
    /// A word that belongs to the job, by its place among the job's inputs.
    Job(usize),
    /// A word that is the same in all lanes of a pass.
    Pass,
    /// A word for each lane, by the place of its vector among the pass's vectors.
    Lanes(usize),
    /// A word for each lane that the program before has left in the register of that number, see [`super::Output::Hold`].
    Held(usize),
    /// The sum modulo 2^32.
    Add(Value, Value),
    /// Rotated right.
    Rotate(Value, u32),
    /// Shifted right.
    Shift(Value, u32),
    /// Shifted left.
    ShiftLeft(Value, u32),
    /// The bits that differ.
    Xor(Value, Value),
    /// The bits that both have.
    And(Value, Value),
    /// Any function of three bits, bit by bit.
    Logic(Truth, [Value; 3]),
}

/// The truth table of a function of three bits: bit `4a + 2b + c` is its value at `(a, b, c)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Truth(pub(crate) u8);

impl Truth {
    /// FIPS 180-4, equation 4.2: `a ? b : c`.
    pub(crate) const CH: Self = Self(0xca);
    /// FIPS 180-4, equation 4.3: what two of them agree on.
    pub(crate) const MAJ: Self = Self(0xe8);
    /// The sum modulo 2 of three bits.
    pub(crate) const XOR: Self = Self(0x96);

    /// The function, bit by bit.
    pub(crate) fn apply(self, [a, b, c]: [u32; 3]) -> u32 {
        (0..32).fold(0, |word, bit| {
            let row = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1);
            word | u32::from(self.0 >> row & 1) << bit
        })
    }

    /// The same function with its operands in another order: operand `i` of the result is operand `order[i]` of `self`.
    pub(crate) fn reordered(self, order: [usize; 3]) -> Self {
        Self((0..8u8).fold(0, |table, row| {
            let mut bits = [0; 3];
            for (i, &from) in order.iter().enumerate() {
                bits[from] = row >> (2 - i) & 1;
            }
            table | (self.0 >> (bits[0] << 2 | bits[1] << 1 | bits[2]) & 1) << row
        }))
    }
}

/// When a word is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Time {
    /// To the generator.
    Constant,
    /// Once a job is known.
    Job,
    /// In the scan: it differs from pass to pass or from lane to lane.
    Lane,
}

impl Op {
    /// The values it is made from.
    pub(crate) fn operands(&self) -> Vec<Value> {
        match *self {
            Self::Constant(_) | Self::Job(_) | Self::Pass | Self::Lanes(_) | Self::Held(_) => vec![],
            Self::Rotate(a, _) | Self::Shift(a, _) | Self::ShiftLeft(a, _) => vec![a],
            Self::Add(a, b) | Self::Xor(a, b) | Self::And(a, b) => vec![a, b],
            Self::Logic(_, operands) => operands.to_vec(),
        }
    }

    /// The word it makes from words; `None` for inputs.
    pub(crate) fn evaluate(&self, word: impl Fn(Value) -> u32) -> Option<u32> {
        Some(match *self {
            Self::Constant(number) => number,
            Self::Job(_) | Self::Pass | Self::Lanes(_) | Self::Held(_) => return None,
            Self::Add(a, b) => word(a).wrapping_add(word(b)),
            Self::Rotate(a, by) => word(a).rotate_right(by),
            Self::Shift(a, by) => word(a) >> by,
            Self::ShiftLeft(a, by) => word(a) << by,
            Self::Xor(a, b) => word(a) ^ word(b),
            Self::And(a, b) => word(a) & word(b),
            Self::Logic(truth, operands) => truth.apply(operands.map(word)),
        })
    }
}

/// A sum that is not added up yet: what is known before the scan, and what is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    /// A constant or a word of the job.
    pub(crate) fixed: Value,
    /// The rest, if any.
    pub(crate) lanes: Option<Value>,
}

/// What the vector instructions can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// Rotates, and any function of three operands.
    Ternary,
    /// Shifts, and functions of two operands.
    Binary,
}

/// When the operations of one chain are due, should programs be ordered by it: one after the other, evenly over a round. The
/// unit is a thousandth of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    next: i64,
    step: i64,
}

impl Pace {
    /// The length of a round.
    pub(crate) const ROUND: i64 = 1000;

    /// A chain that begins at `start` and has `operations` to a round.
    pub(crate) fn new(start: i64, operations: i64) -> Self {
        Self { next: start, step: Self::ROUND / operations }
    }

    /// A chain that begins so long before.
    pub(crate) fn ahead(self, by: i64, operations: i64) -> Self {
        Self::new(self.next - by, operations)
    }
}

/// Makes operations, folding constants and giving equal operations the same value.
pub(crate) struct Builder {
    instructions: Instructions,
    ops: Vec<Op>,
    times: Vec<Time>,
    due: Vec<i64>,
    known: HashMap<Op, Value>,
    /// Of the chain that is being made.
    pub(crate) pace: Pace,
}

impl Builder {
    /// No operations yet.
    pub(crate) fn new(instructions: Instructions) -> Self {
        let pace = Pace::new(0, Pace::ROUND);
        Self { instructions, ops: Vec::new(), times: Vec::new(), due: Vec::new(), known: HashMap::new(), pace }
    }

    /// All operations so far.
    pub(crate) fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// All values so far.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> {
        (0..self.ops.len() as u32).map(Value)
    }

    /// When `value` is known.
    pub(crate) fn time(&self, value: Value) -> Time {
        self.times[value.index()]
    }

    /// When `value` is due, never before its operands.
    pub(crate) fn due(&self, value: Value) -> i64 {
        self.due[value.index()]
    }

    /// Lets `make` make operations of another chain.
    pub(crate) fn at<T>(&mut self, pace: &mut Pace, make: impl FnOnce(&mut Self) -> T) -> T {
        std::mem::swap(&mut self.pace, pace);
        let made = make(self);
        std::mem::swap(&mut self.pace, pace);
        made
    }

    /// The value of `op`.
    pub(crate) fn push(&mut self, op: Op) -> Value {
        let time = match op {
            Op::Constant(_) => Time::Constant,
            Op::Job(_) => Time::Job,
            Op::Pass | Op::Lanes(_) | Op::Held(_) => Time::Lane,
            _ => op.operands().into_iter().map(|value| self.time(value)).max().unwrap_or(Time::Constant),
        };
        let op = match op.evaluate(|value| self.constant_of(value).unwrap_or(0)) {
            Some(number) if time == Time::Constant => Op::Constant(number),
            _ => op,
        };
        if let Some(&value) = self.known.get(&op) {
            return value;
        }
        let value = Value(self.ops.len() as u32);
        let operands_due = op.operands().into_iter().map(|operand| self.due(operand) + 1).max();
        let due = match (time, operands_due) {
            (Time::Lane, Some(earliest)) => {
                let due = self.pace.next.max(earliest);
                self.pace.next += self.pace.step;
                due
            }
            _ => i64::MIN / 2,
        };
        self.ops.push(op);
        self.times.push(time);
        self.due.push(due);
        self.known.insert(op, value);
        value
    }

    /// Rotated right.
    pub(crate) fn rotate(&mut self, word: Value, by: u32) -> Value {
        match self.instructions {
            Instructions::Ternary => self.push(Op::Rotate(word, by)),
            Instructions::Binary => {
                let [right, left] = [Op::Shift(word, by), Op::ShiftLeft(word, 32 - by)].map(|op| self.push(op));
                self.push(Op::Xor(right, left))
            }
        }
    }

    /// A number.
    pub(crate) fn constant(&mut self, number: u32) -> Value {
        self.push(Op::Constant(number))
    }

    /// The sum modulo 2, bit by bit.
    pub(crate) fn xor(&mut self, [a, b, c]: [Value; 3]) -> Value {
        match self.instructions {
            Instructions::Ternary => self.push(Op::Logic(Truth::XOR, [a, b, c])),
            Instructions::Binary => {
                let both = self.push(Op::Xor(a, b));
                self.push(Op::Xor(both, c))
            }
        }
    }

    /// FIPS 180-4, equation 4.2.
    pub(crate) fn ch(&mut self, [e, f, g]: [Value; 3]) -> Value {
        match self.instructions {
            Instructions::Ternary => self.push(Op::Logic(Truth::CH, [e, f, g])),
            Instructions::Binary => {
                let differ = self.push(Op::Xor(f, g));
                let chosen = self.push(Op::And(e, differ));
                self.push(Op::Xor(chosen, g))
            }
        }
    }

    /// FIPS 180-4, equation 4.3. In the next round `a` is `b`, so that its `b ^ c` is this one's `a ^ b`.
    pub(crate) fn maj(&mut self, [a, b, c]: [Value; 3]) -> Value {
        match self.instructions {
            Instructions::Ternary => self.push(Op::Logic(Truth::MAJ, [a, b, c])),
            Instructions::Binary => {
                let [ab, bc] = [Op::Xor(a, b), Op::Xor(b, c)].map(|op| self.push(op));
                let differ = self.push(Op::And(ab, bc));
                self.push(Op::Xor(differ, b))
            }
        }
    }

    /// The sum of `terms`, those known before the scan apart from the others.
    pub(crate) fn sum(&mut self, terms: &[Value]) -> Sum {
        let mut sum = Sum { fixed: self.constant(0), lanes: None };
        for &term in terms {
            let single = match self.time(term) {
                Time::Lane => Sum { fixed: self.constant(0), lanes: Some(term) },
                _ => Sum { fixed: term, lanes: None },
            };
            sum = self.sum_of(sum, single);
        }
        sum
    }

    /// The sum of two sums.
    pub(crate) fn sum_of(&mut self, a: Sum, b: Sum) -> Sum {
        let fixed = self.add(a.fixed, b.fixed);
        let lanes = match (a.lanes, b.lanes) {
            (Some(a), Some(b)) => Some(self.add(a, b)),
            (a, b) => a.or(b),
        };
        Sum { fixed, lanes }
    }

    /// The sum as one value.
    pub(crate) fn total(&mut self, sum: Sum) -> Value {
        match sum.lanes {
            Some(lanes) => self.add(lanes, sum.fixed),
            None => sum.fixed,
        }
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        match (self.constant_of(a), self.constant_of(b)) {
            (Some(0), _) => b,
            (_, Some(0)) => a,
            _ => self.push(Op::Add(a, b)),
        }
    }

    fn constant_of(&self, value: Value) -> Option<u32> {
        match self.ops[value.index()] {
            Op::Constant(number) => Some(number),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_tables_are_the_functions() {
        let [a, b, c] = [0x0f0f_1234, 0x3333_5678, 0x5555_9abc];
        assert_eq!(Truth::CH.apply([a, b, c]), (a & b) ^ (!a & c));
        assert_eq!(Truth::MAJ.apply([a, b, c]), (a & b) ^ (a & c) ^ (b & c));
        assert_eq!(Truth::XOR.apply([a, b, c]), a ^ b ^ c);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let words = [a, b, c];
            assert_eq!(Truth::CH.reordered(order).apply(order.map(|i| words[i])), Truth::CH.apply(words));
        }
    }

    #[test]
    fn constants_fold_and_equal_operations_are_one() {
        let mut builder = Builder::new(Instructions::Ternary);
        let seven = builder.constant(7);
        let rotated = builder.push(Op::Rotate(seven, 4));
        assert_eq!(builder.ops()[rotated.index()], Op::Constant(0x7000_0000));
        let lanes = builder.push(Op::Lanes(0));
        assert_eq!(builder.push(Op::Lanes(0)), lanes);
        let job = builder.push(Op::Job(3));
        let sum = builder.sum(&[seven, lanes, job]);
        assert_eq!(builder.time(sum.fixed), Time::Job);
        assert_eq!(sum.lanes, Some(lanes));
        let zero = builder.constant(0);
        assert_eq!(builder.add(lanes, zero), lanes);
    }
}
