//! Gives the values of a pass registers and places in memory.
//!
//! One walk over the steps. A value that finds no register evicts the one whose next use is furthest away. Vectors and table
//! words stay in memory until they are used, most of them as memory operands; what crosses from one stage to the next is
//! stored as soon as it is made. Frames are double-buffered: a pass writes to one and reads what the pass before wrote to the
//! other.

use std::collections::{HashMap, HashSet};

use super::op::{Op, Truth, Value};
use super::stage::{Action, Step};
use super::{Output, Program};

/// A place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Memory {
    /// A word of the table of the stage's job, for all lanes.
    Table {
        /// The stage.
        stage: usize,
        /// The word's place.
        word: usize,
    },
    /// The word of the stage's pass, for all lanes.
    Pass {
        /// The stage.
        stage: usize,
    },
    /// A vector of the stage's pass.
    Vector {
        /// The stage.
        stage: usize,
        /// The vector's place.
        vector: usize,
    },
    /// A vector of this pass's frame.
    Slot(usize),
    /// A vector of the frame that the pass before wrote.
    Relay(usize),
}

/// A vector register.
pub(crate) type Register = u8;

/// An operand that may be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In a register.
    Register(Register),
    /// In memory.
    Memory(Memory),
}

/// One instruction: an operation whose operands have places. `to` is a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    Load {
        to: Register,
        from: Memory,
    },
    Store {
        slot: usize,
        from: Register,
    },
    Move {
        to: Register,
        from: Register,
    },
    Add {
        to: Register,
        a: Register,
        b: Source,
    },
    Xor {
        to: Register,
        a: Register,
        b: Source,
    },
    And {
        to: Register,
        a: Register,
        b: Source,
    },
    Rotate {
        to: Register,
        of: Source,
        by: u32,
    },
    Shift {
        to: Register,
        of: Source,
        by: u32,
    },
    ShiftLeft {
        to: Register,
        of: Source,
        by: u32,
    },
    /// The first operand is `to` itself.
    Logic {
        truth: Truth,
        to: Register,
        b: Register,
        c: Source,
    },
    /// Puts out the mask of lanes whose `word` has no bit of `mask`.
    Candidates {
        stage: usize,
        word: Register,
        mask: Source,
    },
    /// Puts out a vector.
    Output {
        stage: usize,
        place: usize,
        from: Register,
    },
}

/// A pass as instructions.
#[derive(Debug)]
pub(crate) struct Code {
    /// How many stages are interleaved.
    pub(crate) stages: usize,
    /// In order.
    pub(crate) instructions: Vec<Instruction>,
    /// How many vectors a frame has.
    pub(crate) slots: usize,
}

/// A value that is in memory is loaded for good, rather than used from there, if it is used again within so many steps.
/// Chosen by measurement on Zen 5; anything from 4 to 80 is within 1 %.
const SOON: usize = 16;

/// What instructions may have in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operands {
    /// The last operand of each, and a word for all lanes will do.
    Any,
    /// The last operand of sums and functions, and only as a vector.
    Vectors,
}

/// What the code is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// How many vector registers there are.
    pub(crate) registers: Register,
    /// What may be in memory.
    pub(crate) operands: Operands,
}

/// Finds a place for everything in `steps`, which are those of `program`.
pub(crate) fn allocate(program: &Program, steps: &[Step], machine: Machine) -> Code {
    let mut allocator = Allocator::new(program, steps, machine);
    for (now, step) in steps.iter().enumerate() {
        allocator.begin(now);
        match step.action {
            Action::Compute(value) => allocator.compute(step.stage, value),
            Action::Output(place) => allocator.output(step.stage, place),
        }
    }
    allocator.hold();
    let stages = steps.iter().map(|step| step.stage + 1).max().unwrap_or(0);
    Code { stages, instructions: allocator.instructions, slots: allocator.slots }
}

/// What `program` holds, in the order of the registers.
fn held(program: &Program) -> impl Iterator<Item = Value> {
    program.outputs.iter().filter_map(|output| match *output {
        Output::Hold(value) => Some(value),
        _ => None,
    })
}

/// A value within one stage.
type Key = (usize, Value);

/// Where a value is, and when it is wanted.
#[derive(Debug, Default)]
struct Place {
    /// The steps that use it, last first.
    uses: Vec<usize>,
    register: Option<Register>,
    memory: Option<Memory>,
    /// The slot in which the next stage looks for it.
    relay: Option<usize>,
}

struct Allocator<'a> {
    program: &'a Program,
    machine: Machine,
    places: HashMap<Key, Place>,
    /// Who is in each register.
    registers: Vec<Option<Key>>,
    free_slots: Vec<usize>,
    /// Slots that nobody needs after this step.
    left_slots: Vec<usize>,
    slots: usize,
    now: usize,
    instructions: Vec<Instruction>,
}

impl<'a> Allocator<'a> {
    fn new(program: &'a Program, steps: &[Step], machine: Machine) -> Self {
        let made: HashSet<Key> = steps
            .iter()
            .filter_map(|step| match step.action {
                Action::Compute(value) => Some((step.stage, value)),
                Action::Output(_) => None,
            })
            .collect();
        let mut places: HashMap<Key, Place> = HashMap::new();
        let mut slots = 0;
        for value in held(program) {
            assert!(made.contains(&(0, value)), "what is held is of the first stage");
            places.entry((0, value)).or_default().uses.push(steps.len());
        }
        for (now, step) in steps.iter().enumerate().rev() {
            let stage = step.stage;
            for value in step.action.operands(program) {
                places.entry((stage, value)).or_default().uses.push(now);
                let memory = match *program.op(value) {
                    Op::Pass => Some(Memory::Pass { stage }),
                    Op::Lanes(vector) => Some(Memory::Vector { stage, vector }),
                    Op::Held(_) => continue,
                    _ => program.table.iter().position(|&word| word == value).map(|word| Memory::Table { stage, word }),
                };
                let memory = memory.or_else(|| {
                    (!made.contains(&(stage, value))).then(|| {
                        let maker = (stage.wrapping_sub(1), value);
                        assert!(made.contains(&maker), "values cross one border between stages");
                        let slot = places.entry(maker).or_default().relay.get_or_insert_with(|| {
                            slots += 1;
                            slots - 1
                        });
                        Memory::Relay(*slot)
                    })
                });
                places.entry((stage, value)).or_default().memory = memory;
            }
        }
        let mut registers = vec![None; usize::from(machine.registers)];
        for (&key, place) in &mut places {
            if let Op::Held(register) = *program.op(key.1) {
                assert_eq!(key.0, 0, "what was held is for the first stage");
                registers[register] = Some(key);
                place.register = Some(register as Register);
            }
        }
        Self {
            program,
            machine,
            places,
            registers,
            free_slots: Vec::new(),
            left_slots: Vec::new(),
            slots,
            now: 0,
            instructions: Vec::new(),
        }
    }

    fn begin(&mut self, now: usize) {
        self.now = now;
        self.free_slots.append(&mut self.left_slots);
    }

    fn compute(&mut self, stage: usize, value: Value) {
        let operands: Vec<Key> = self.program.op(value).operands().into_iter().map(|value| (stage, value)).collect();
        let to = match *self.program.op(value) {
            Op::Add(..) | Op::Xor(..) | Op::And(..) => {
                // The operand in memory, if there is one, comes second.
                let (first, second) = match self.register(operands[0]) {
                    Some(_) => (operands[0], operands[1]),
                    None => (operands[1], operands[0]),
                };
                let a = self.in_register(first, &operands);
                let b = self.source(second, &operands);
                let to = self.replace(&operands, (stage, value));
                self.instructions.push(match self.program.op(value) {
                    Op::Add(..) => Instruction::Add { to, a, b },
                    Op::Xor(..) => Instruction::Xor { to, a, b },
                    _ => Instruction::And { to, a, b },
                });
                to
            }
            Op::Rotate(_, by) | Op::Shift(_, by) | Op::ShiftLeft(_, by) => {
                let of = match self.machine.operands {
                    Operands::Any => self.source(operands[0], &operands),
                    Operands::Vectors => Source::Register(self.in_register(operands[0], &operands)),
                };
                let to = self.replace(&operands, (stage, value));
                self.instructions.push(match self.program.op(value) {
                    Op::Rotate(..) => Instruction::Rotate { to, of, by },
                    Op::Shift(..) => Instruction::Shift { to, of, by },
                    _ => Instruction::ShiftLeft { to, of, by },
                });
                to
            }
            Op::Logic(truth, _) => self.logic(truth, &operands, (stage, value)),
            Op::Constant(_) | Op::Job(_) | Op::Pass | Op::Lanes(_) | Op::Held(_) => {
                unreachable!("inputs are not computed")
            }
        };
        let place = self.places.get_mut(&(stage, value)).expect("only what is used is computed");
        if let Some(slot) = place.relay {
            place.memory = Some(Memory::Slot(slot));
            self.instructions.push(Instruction::Store { slot, from: to });
        }
        self.retire((stage, value));
    }

    /// The instruction overwrites one operand: best one that is not used again, then one that is in memory too.
    fn logic(&mut self, truth: Truth, operands: &[Key], result: Key) -> Register {
        let cost = |key: Key| {
            let place = &self.places[&key];
            match (self.used_again(key), place.register, place.memory) {
                (false, Some(_), _) => 0,
                (_, None, _) => 1,
                (true, Some(_), Some(_)) => 2,
                (true, Some(_), None) => 3,
            }
        };
        let first = (0..3).min_by_key(|&i| cost(operands[i])).expect("three operands");
        // Of the other two, one may stay in memory, and comes last.
        let (mut second, mut third) = ((first + 1) % 3, (first + 2) % 3);
        if self.register(operands[second]).is_none() {
            (second, third) = (third, second);
        }
        let cost = cost(operands[first]);
        let b = self.in_register(operands[second], operands);
        let c = self.source(operands[third], operands);
        let to = match (cost, self.places[&operands[first]].memory) {
            (0, _) => self.in_register(operands[first], operands),
            // A copy, so that the operand itself stays where it is.
            (1 | 2, Some(from)) => {
                let to = self.claim(operands);
                self.instructions.push(Instruction::Load { to, from });
                to
            }
            _ => {
                let from = self.in_register(operands[first], operands);
                let to = self.claim(operands);
                self.instructions.push(Instruction::Move { to, from });
                to
            }
        };
        operands.iter().for_each(|&key| self.use_up(key));
        self.settle(to, result);
        let truth = truth.reordered([first, second, third]);
        self.instructions.push(Instruction::Logic { truth, to, b, c });
        to
    }

    fn output(&mut self, stage: usize, place: usize) {
        match self.program.outputs[place] {
            Output::Candidates { word, mask } => {
                let keys = [(stage, word), (stage, mask)];
                let word = self.in_register(keys[0], &keys);
                let mask = self.source(keys[1], &keys);
                self.instructions.push(Instruction::Candidates { stage, word, mask });
                keys.iter().for_each(|&key| self.use_up(key));
            }
            Output::Store(value) => {
                let key = (stage, value);
                let from = self.in_register(key, &[key]);
                self.instructions.push(Instruction::Output { stage, place, from });
                self.use_up(key);
            }
            Output::Hold(_) => unreachable!("what is held needs no step"),
        }
    }

    /// Brings what is held to its registers.
    fn hold(&mut self) {
        let mut moves = Vec::new();
        let mut loads = Vec::new();
        for (to, value) in (0..).zip(held(self.program)) {
            let place = &self.places[&(0, value)];
            match place.register {
                Some(from) if from == to => {}
                Some(from) => moves.push((to, from)),
                None => loads.push((to, place.memory.expect("a value is in a register or in memory"))),
            }
        }
        while !moves.is_empty() {
            let read = |register| moves.iter().any(|&(_, from)| from == register);
            match moves.iter().position(|&(to, _)| !read(to)) {
                Some(place) => {
                    let (to, from) = moves.remove(place);
                    self.instructions.push(Instruction::Move { to, from });
                }
                // They are to change places in a circle: one steps aside.
                None => {
                    let held = held(self.program).count() as Register;
                    let aside = (held..self.machine.registers).find(|&register| !read(register));
                    let to = aside.expect("more registers than are held");
                    let from = std::mem::replace(&mut moves[0].1, to);
                    self.instructions.push(Instruction::Move { to, from });
                }
            }
        }
        self.instructions.extend(loads.into_iter().map(|(to, from)| Instruction::Load { to, from }));
    }

    fn register(&self, key: Key) -> Option<Register> {
        self.places[&key].register
    }

    /// Whether a later step uses it.
    fn used_again(&self, key: Key) -> bool {
        self.next_use(key).is_some()
    }

    fn next_use(&self, key: Key) -> Option<usize> {
        self.places[&key].uses.iter().rev().copied().find(|&step| step > self.now)
    }

    /// `key` as an operand that may be in memory.
    fn source(&mut self, key: Key, operands: &[Key]) -> Source {
        let place = &self.places[&key];
        match (place.register, place.memory) {
            (None, Some(memory)) if self.is_operand(memory) && !self.is_used_soon(key) => Source::Memory(memory),
            _ => Source::Register(self.in_register(key, operands)),
        }
    }

    fn is_operand(&self, memory: Memory) -> bool {
        self.machine.operands == Operands::Any || !matches!(memory, Memory::Table { .. } | Memory::Pass { .. })
    }

    fn is_used_soon(&self, key: Key) -> bool {
        self.next_use(key).is_some_and(|step| step <= self.now + SOON)
    }

    /// Loads `key` if it is in memory only, keeping `operands` where they are.
    fn in_register(&mut self, key: Key, operands: &[Key]) -> Register {
        if let Some(register) = self.register(key) {
            return register;
        }
        let to = self.claim(operands);
        let from = self.places[&key].memory.expect("a value is in a register or in memory");
        self.instructions.push(Instruction::Load { to, from });
        self.settle(to, key);
        to
    }

    /// Uses up the operands and finds a register for the result, perhaps that of an operand.
    fn replace(&mut self, operands: &[Key], result: Key) -> Register {
        operands.iter().for_each(|&key| self.use_up(key));
        let to = self.claim(operands);
        self.settle(to, result);
        to
    }

    /// A register that nobody is in.
    fn claim(&mut self, operands: &[Key]) -> Register {
        if let Some(free) = self.registers.iter().position(Option::is_none) {
            return free as Register;
        }
        let (register, key) = (self.registers.iter().enumerate())
            .filter_map(|(register, &key)| key.map(|key| (register as Register, key)))
            .filter(|(_, key)| !operands.contains(key))
            .max_by_key(|&(_, key)| self.next_use(key))
            .expect("more registers than operands");
        let place = self.places.get_mut(&key).expect("it is in a register");
        place.register = None;
        if place.memory.is_none() {
            let slot = self.free_slots.pop().unwrap_or_else(|| {
                self.slots += 1;
                self.slots - 1
            });
            place.memory = Some(Memory::Slot(slot));
            self.instructions.push(Instruction::Store { slot, from: register });
        }
        self.registers[usize::from(register)] = None;
        register
    }

    fn settle(&mut self, register: Register, key: Key) {
        self.registers[usize::from(register)] = Some(key);
        self.places.get_mut(&key).expect("only what is used is computed").register = Some(register);
    }

    /// Counts this step's use of `key`.
    fn use_up(&mut self, key: Key) {
        let place = self.places.get_mut(&key).expect("an operand has a place");
        place.uses.retain(|&step| step > self.now);
        self.retire(key);
    }

    /// Frees what a value holds that is not used any more.
    fn retire(&mut self, key: Key) {
        let place = self.places.get_mut(&key).expect("it has a place");
        if !place.uses.is_empty() {
            return;
        }
        if let Some(register) = place.register.take() {
            self.registers[usize::from(register)] = None;
        }
        if let (Some(Memory::Slot(slot)), None) = (place.memory.take(), place.relay) {
            self.left_slots.push(slot);
        }
    }
}
