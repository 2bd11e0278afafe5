//! Cuts a program into pipeline stages and interleaves them.
//!
//! In one pass through the code, stage 0 begins with a batch of lanes, stage 1 goes on with the batch of the pass before, and
//! so forth: as many independent chains as there are stages, with the code of one.
//!
//! 1. Cut the operations into stages of about the same length.
//! 2. Rank each stage's operations: as they stand in the program, but brought forward if much depends on them.
//! 3. Let an imaginary core with four ports, two of them for rotates and shifts, take the stages' operations side by side, and
//!    note in which order it does: it spreads the rotates, and puts distance between an operation and its uses.
//!
//! Where the stages are two parts of a program that share no operation ([`side_by_side`]), the program's own order is that of both, and
//! only the last step is left.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::op::{Op, Value};
use super::{Output, Program};

/// One step of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// The stage it belongs to.
    pub(crate) stage: usize,
    /// What is done.
    pub(crate) action: Action,
}

/// See [`Step`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// The value's operation.
    Compute(Value),
    /// The output of that place.
    Output(usize),
}

impl Action {
    /// The values it needs.
    pub(crate) fn operands(self, program: &Program) -> Vec<Value> {
        match self {
            Self::Compute(value) => program.op(value).operands(),
            Self::Output(place) => program.outputs[place].values(),
        }
    }

    fn result(self) -> Option<Value> {
        match self {
            Self::Compute(value) => Some(value),
            Self::Output(_) => None,
        }
    }
}

/// The core that an order is made for.
#[derive(Clone, Copy)]
pub(crate) struct Core {
    /// Operations a cycle.
    ports: usize,
    /// Rotates and shifts a cycle.
    rotates: usize,
    /// Cycles from an operation to its use.
    latency: usize,
    /// How far it looks ahead: what is brought forward further needs registers for longer.
    window: usize,
}

/// For many registers and several stages. Chosen by measurement on Zen 5: latencies of 2 to 4 and windows of 24 to 128 are up to 6 %
/// apart.
pub(crate) const NEAR_SIGHTED: Core = Core { ports: 4, rotates: 2, latency: 3, window: 48 };

/// The same, for the longest program.
pub(crate) const FAR_SIGHTED: Core = Core { ports: 4, rotates: 2, latency: 4, window: 96 };

/// For few registers. Chosen by measurement on Zen 5: windows of 8 to 16 are within 0.5 %, a latency of 2 loses 1 %.
const FEW_REGISTERS: Core = Core { ports: 4, rotates: 2, latency: 1, window: 16 };

/// The steps of `program` for `core`, cut into stages of the same length, but that each cut is moved by so many steps. Which parts of their
/// rounds the stages are at together makes up to 2 %.
pub(crate) fn interleave(program: &Program, moved: &[isize], core: Core) -> Vec<Step> {
    let actions = actions(program);
    let stages = moved.len() + 1;
    let cut = |(stage, &by): (usize, &isize)| ((stage + 1) * actions.len() / stages).strict_add_signed(by);
    let cuts: Vec<_> = [0].into_iter().chain(moved.iter().enumerate().map(cut)).chain([actions.len()]).collect();
    let parts: Vec<_> = cuts.windows(2).map(|ends| &actions[ends[0]..ends[1]]).collect();
    let length = parts.iter().map(|part| part.len()).max().unwrap_or(0);
    let mut ranked = Vec::new();
    for (stage, part) in parts.iter().enumerate() {
        for (place, action) in rank(program, part).into_iter().enumerate() {
            ranked.push((place * length / part.len(), Step { stage, action }));
        }
    }
    ranked.sort_by_key(|&(place, step)| (place, step.stage));
    core.run(program, ranked.into_iter().map(|(_, step)| step).collect())
}

/// The steps of `program` near to its own order: stage 1 makes the outputs whose places are in `second`, for a batch of its own.
pub(crate) fn side_by_side(program: &Program, second: Range<usize>) -> Vec<Step> {
    let mut needed: HashSet<_> = second.clone().map(|place| program.outputs[place].word()).collect();
    for &value in program.lanes.iter().rev() {
        if needed.contains(&value) {
            needed.extend(program.op(value).operands());
        }
    }
    let is_second = |action| match action {
        Action::Compute(value) => needed.contains(&value),
        Action::Output(place) => second.contains(&place),
    };
    let step = |action| Step { stage: usize::from(is_second(action)), action };
    FEW_REGISTERS.run(program, actions(program).into_iter().map(step).collect())
}

/// The program's operations, each output right after the operation that makes it; first the outputs that the job alone makes. What is
/// held needs no action.
fn actions(program: &Program) -> Vec<Action> {
    let made: HashSet<_> = program.lanes.iter().copied().collect();
    let outputs = || program.outputs.iter().enumerate().filter(|(_, output)| !matches!(output, Output::Hold(_)));
    let mut actions = Vec::new();
    for (place, output) in outputs() {
        if !made.contains(&output.word()) {
            actions.push(Action::Output(place));
        }
    }
    for &value in &program.lanes {
        actions.push(Action::Compute(value));
        for (place, output) in outputs() {
            if output.word() == value {
                actions.push(Action::Output(place));
            }
        }
    }
    actions
}

/// A stage's actions, each at its place by the program or by its height, whichever is earlier. The height is the longest way
/// from an action to the end of the stage.
fn rank(program: &Program, part: &[Action]) -> Vec<Action> {
    let mut below: HashMap<Value, usize> = HashMap::new();
    let mut by_height = Vec::new();
    for (place, &action) in part.iter().enumerate().rev() {
        let height = 1 + action.result().and_then(|value| below.get(&value)).copied().unwrap_or(0);
        for operand in action.operands(program) {
            let longest = below.entry(operand).or_default();
            *longest = height.max(*longest);
        }
        by_height.push((height, place));
    }
    by_height.sort_by_key(|&(height, place)| (std::cmp::Reverse(height), place));
    let mut places: Vec<_> = by_height.iter().enumerate().map(|(rank, &(_, place))| (rank.min(place), place)).collect();
    places.sort_unstable();
    places.into_iter().map(|(_, place)| part[place]).collect()
}

impl Core {
    /// The order in which the core takes `steps`: in each cycle the first ones whose operands are there.
    fn run(&self, program: &Program, mut steps: Vec<Step>) -> Vec<Step> {
        // When a stage's value is there; what is not in here comes from outside.
        let mut there: HashMap<(usize, Value), usize> =
            steps.iter().filter_map(|step| Some(((step.stage, step.action.result()?), usize::MAX))).collect();
        let mut vectors = Vectors::new(program, &steps);
        let mut order = Vec::with_capacity(steps.len());
        for now in 0.. {
            if steps.is_empty() {
                break;
            }
            let (mut ports, mut rotates) = (self.ports, self.rotates);
            let mut place = 0;
            while place < steps.len().min(self.window) && ports > 0 {
                let Step { stage, action } = steps[place];
                let rotate = action.result().is_some_and(|value| {
                    matches!(program.op(value), Op::Rotate(..) | Op::Shift(..) | Op::ShiftLeft(..))
                });
                let ready = action
                    .operands(program)
                    .iter()
                    .all(|&operand| there.get(&(stage, operand)).is_none_or(|&cycle| cycle <= now));
                if !ready || (rotate && rotates == 0) || vectors.are_in_the_way(action) {
                    place += 1;
                    continue;
                }
                ports -= 1;
                rotates -= usize::from(rotate);
                if let Some(value) = action.result() {
                    there.insert((stage, value), now + self.latency);
                }
                vectors.take(action);
                order.push(steps.remove(place));
            }
        }
        order
    }
}

/// How many steps are left that use each vector, of a program that puts others in their places.
struct Vectors<'a> {
    program: &'a Program,
    uses: HashMap<usize, usize>,
}

impl<'a> Vectors<'a> {
    fn new(program: &'a Program, steps: &[Step]) -> Self {
        let mut vectors = Self { program, uses: HashMap::new() };
        if program.is_in_place() {
            for step in steps {
                for vector in vectors.used(step.action) {
                    *vectors.uses.entry(vector).or_default() += 1;
                }
            }
        }
        vectors
    }

    fn used(&self, action: Action) -> Vec<usize> {
        let vector = |value| match *self.program.op(value) {
            Op::Lanes(vector) => Some(vector),
            _ => None,
        };
        action.operands(self.program).into_iter().filter_map(vector).collect()
    }

    fn are_in_the_way(&self, action: Action) -> bool {
        matches!(action, Action::Output(place) if self.uses.get(&place).is_some_and(|&uses| uses > 0))
    }

    fn take(&mut self, action: Action) {
        for vector in self.used(action) {
            if let Some(uses) = self.uses.get_mut(&vector) {
                *uses -= 1;
            }
        }
    }
}
