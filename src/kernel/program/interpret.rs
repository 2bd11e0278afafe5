//! Runs programs on plain numbers: the proof, on any machine, that the generated code is right. One lane stands for all, since
//! no operation looks across lanes.

use super::allocate::{Code, Instruction, Memory, Source};
use super::op::{Op, Value};
use super::{Output, Program};

/// What a pass gets.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// The job's inputs.
    pub(crate) job: Vec<u32>,
    /// The pass's word.
    pub(crate) word: u32,
    /// The lane's word in each vector.
    pub(crate) vectors: Vec<u32>,
    /// The lane's word in each register that the program before held.
    pub(crate) held: Vec<u32>,
}

/// The word of every value of `program`.
fn values(program: &Program, pass: &Pass) -> Vec<u32> {
    let mut words: Vec<u32> = Vec::new();
    for op in &program.ops {
        words.push(match *op {
            Op::Job(place) => pass.job[place],
            Op::Pass => pass.word,
            Op::Held(place) => pass.held[place],
            // What elimination has removed may ask for vectors that the program does not have.
            Op::Lanes(place) => pass.vectors.get(place).copied().unwrap_or(0),
            _ => op.evaluate(|value| words[value.index()]).expect("inputs are above"),
        });
    }
    words
}

/// The words that `program` puts out: of the digest for candidates, of the vector for a store.
pub(crate) fn program(program: &Program, pass: &Pass) -> Vec<u32> {
    let words = values(program, pass);
    let word = |output: &Output| match *output {
        Output::Candidates { word, .. } | Output::Store(word) | Output::Hold(word) => words[Value::index(word)],
    };
    program.outputs.iter().map(word).collect()
}

/// A core that runs allocated code: registers, two frames, and no operation but the instructions'.
pub(crate) struct Machine<'a> {
    program: &'a Program,
    code: &'a Code,
    /// The passes that the stages are at, that of stage 0 first, with their tables.
    passes: Vec<(Pass, Vec<u32>)>,
    frames: [Vec<u32>; 2],
}

impl<'a> Machine<'a> {
    pub(crate) fn new(program: &'a Program, code: &'a Code) -> Self {
        let frame = vec![0xdead_beef; code.slots];
        Self { program, code, passes: Vec::new(), frames: [frame.clone(), frame] }
    }

    /// Lets stage 0 begin with `pass`, and returns what the stages put out (of a pipeline, the last one).
    pub(crate) fn pass(&mut self, pass: Pass) -> Vec<u32> {
        let words = values(self.program, &pass);
        let table = self.program.table.iter().map(|value| words[value.index()]).collect();
        self.passes.insert(0, (pass, table));
        while self.passes.len() < self.code.stages {
            self.passes.push(self.passes[0].clone());
        }
        self.passes.truncate(self.code.stages);
        self.frames.swap(0, 1);
        let mut registers = [0xbad_c0de; 32];
        registers[..self.passes[0].0.held.len()].copy_from_slice(&self.passes[0].0.held);
        let mut outputs = Vec::new();
        for &instruction in &self.code.instructions {
            let source = |source, registers: &[u32; 32]| match source {
                Source::Register(register) => registers[usize::from(register)],
                Source::Memory(memory) => self.load(memory),
            };
            match instruction {
                Instruction::Load { to, from } => registers[usize::from(to)] = self.load(from),
                Instruction::Store { slot, from } => self.frames[0][slot] = registers[usize::from(from)],
                Instruction::Move { to, from } => registers[usize::from(to)] = registers[usize::from(from)],
                Instruction::Add { to, a, b } => {
                    registers[usize::from(to)] = registers[usize::from(a)].wrapping_add(source(b, &registers));
                }
                Instruction::Xor { to, a, b } => {
                    registers[usize::from(to)] = registers[usize::from(a)] ^ source(b, &registers)
                }
                Instruction::And { to, a, b } => {
                    registers[usize::from(to)] = registers[usize::from(a)] & source(b, &registers)
                }
                Instruction::ShiftLeft { to, of, by } => registers[usize::from(to)] = source(of, &registers) << by,
                Instruction::Rotate { to, of, by } => {
                    registers[usize::from(to)] = source(of, &registers).rotate_right(by)
                }
                Instruction::Shift { to, of, by } => registers[usize::from(to)] = source(of, &registers) >> by,
                Instruction::Logic { truth, to, b, c } => {
                    let operands = [registers[usize::from(to)], registers[usize::from(b)], source(c, &registers)];
                    registers[usize::from(to)] = truth.apply(operands);
                }
                Instruction::Candidates { word, .. } => outputs.push((0, registers[usize::from(word)])),
                Instruction::Output { stage, place, from } => {
                    if self.program.is_in_place() {
                        self.passes[stage].0.vectors[place] = registers[usize::from(from)];
                    }
                    outputs.push((place, registers[usize::from(from)]));
                }
            }
        }
        let held =
            (0..self.program.outputs.len()).filter(|&place| matches!(self.program.outputs[place], Output::Hold(_)));
        outputs.extend(held.zip(registers));
        outputs.sort_unstable();
        outputs.into_iter().map(|(_, word)| word).collect()
    }

    fn load(&self, memory: Memory) -> u32 {
        match memory {
            Memory::Table { stage, word } => self.passes[stage].1[word],
            Memory::Pass { stage } => self.passes[stage].0.word,
            Memory::Vector { stage, vector } => self.passes[stage].0.vectors[vector],
            Memory::Slot(slot) => self.frames[0][slot],
            Memory::Relay(slot) => self.frames[1][slot],
        }
    }
}
