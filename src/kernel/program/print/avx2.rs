//! AVX2 assembler (Intel syntax) for the body of a naked function, whose parameters are those of the AVX-512 code:
//!
//! ```text
//! extern "sysv64" fn(pass: *const Pass, passes: usize, frames: *mut Vector, results: *mut u8)
//! ```
//!
//! Each pass begins a batch, finishes the one before, and appends 16 bits of candidates. There are two frames, one after the other: the
//! working variables and the schedule's ring (see `segments`) of a batch, which are the next pass's other one; those of an even number
//! of passes end up where they began. Behind them is what finds no register. The table has the words of `pair` and `end`, one after the
//! other, then the constants of the bodies.
//!
//! What was done for speed:
//! 1. all bodies are one piece of code, a subroutine, so that the whole of it, some 4,000 instructions, fits an op cache of 6,000, or, with
//!    more bodies, some 2,000 for smaller ones;
//! 2. vectors that are used once are used from memory, and pointers stand where displacements take one byte: longer ones take room in the
//!    op cache;
//! 3. `vzeroupper` at the end, or SSE-encoded code elsewhere in the process would slow down.

use std::fmt::{Arguments, Write as _};
use std::ops::Range;

use super::super::Program;
use super::super::allocate::{Code, Instruction, Machine, Memory, Operands, Source, allocate};
use super::super::op::{Op, Value};
use super::super::segments::{self, RING, VARIABLES};
use super::super::sha256d::K;
use super::super::stage::{Action, Step, side_by_side};
use super::rust::Layout;

const BYTES: usize = 32;
const PASS_BYTES: usize = 24;
const PASS_VECTORS: usize = 8;
const PASS_WORD: usize = 16;

/// The words that a body replaces.
const HALF: usize = RING / 2;

/// How far into what it points at a pointer stands, so that as much as possible is within reach of one byte.
const BIAS: usize = 128;

const MACHINE: Machine = Machine { registers: 16, operands: Operands::Vectors };

/// The vectors of a frame: the working variables, then the ring.
const FRAME: usize = VARIABLES + RING;

/// The segments of a puzzle.
pub(crate) struct Puzzle {
    loop_from: usize,
    /// How many vectors a pass is given.
    vectors: usize,
    pair: Segment,
    body: Segment,
    end: Segment,
}

struct Segment {
    program: Program,
    code: Code,
}

impl Segment {
    fn new(program: Program, second: Range<usize>) -> Self {
        let is_pair = !second.is_empty();
        let steps = side_by_side(&program, second);
        assert!(
            !is_pair || reads_before_it_writes(&program, &steps),
            "the second batch's variables stand where it leaves them"
        );
        let code = allocate(&program, &steps, MACHINE);
        Self { program, code }
    }
}

impl Puzzle {
    /// From its first segment, which leaves off before the bodies' `loop_from`, and its last.
    pub(crate) fn new(loop_from: usize, pair: fn(usize) -> Program, end: Program) -> Self {
        let pair = pair(loop_from);
        let vectors = pair.vectors() - VARIABLES;
        let pair = Segment::new(pair, segments::SECOND);
        let [body, end] = [segments::body(), end].map(|program| Segment::new(program, 0..0));
        Self { loop_from, vectors, pair, body, end }
    }

    /// The programs whose words the table has, in order.
    pub(crate) fn tables(&self) -> [&Program; 2] {
        [&self.pair, &self.end].map(|segment| &segment.program)
    }

    /// The numbers that follow them.
    pub(crate) fn constants(&self) -> &'static [u32] {
        &K[self.loop_from..]
    }

    /// Two frames, and behind them what finds no register.
    pub(crate) fn layout(&self) -> Layout {
        let spilled = [&self.pair, &self.body, &self.end].map(|segment| segment.code.slots);
        let slots = FRAME + spilled.into_iter().max().unwrap_or(0).div_ceil(2);
        Layout { stages: self.pair.code.stages, slots, vectors: self.vectors }
    }

    /// The assembler.
    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        let lengths = self.tables().map(|program| program.table.len());
        let constants = 4 * lengths.iter().sum::<usize>();
        let [first_bodies, second_bodies] = segments::bodies(self.loop_from);
        // rdi is the pass, rsi how many are left, r8 the results; r9 the table, r11 the vectors and r13 the frame of the batch that begins,
        // r12 the table and r14 the frame of the one before; rax what finds no register. In the bodies, rcx is the older half of the
        // ring, rdx the other, rbx the constants.
        let saved = ["rbx", "rbp", "r12", "r13", "r14"];
        saved.iter().for_each(|register| line(&mut text, format_args!("push {register}")));
        line(&mut text, format_args!("mov r8, rcx"));
        line(&mut text, format_args!("lea r13, [rdx + {BIAS}]"));
        line(&mut text, format_args!("lea r14, [rdx + {}]", FRAME * BYTES + BIAS));
        line(&mut text, format_args!("lea rax, [rdx + {}]", 2 * FRAME * BYTES + BIAS));
        line(&mut text, format_args!(".p2align 6"));
        text.push_str("2:\n");
        line(&mut text, format_args!("mov r9, [rdi]"));
        line(&mut text, format_args!("mov r11, [rdi + {PASS_VECTORS}]"));
        line(&mut text, format_args!("mov r12, [rdi - {PASS_BYTES}]"));
        self.pair.print(&mut text, Place::Pair(self.vectors));
        bodies(&mut text, first_bodies, ["r9", "r13"], constants);
        for variable in 0..VARIABLES {
            line(&mut text, format_args!("vmovdqa ymmword ptr {}, ymm{variable}", vector_address("r13", variable)));
        }
        for variable in 0..VARIABLES {
            line(&mut text, format_args!("vmovdqa ymm{variable}, ymmword ptr {}", vector_address("r14", variable)));
        }
        bodies(&mut text, second_bodies, ["r12", "r14"], constants);
        self.end.print(&mut text, Place::End(lengths[0]));
        line(&mut text, format_args!("xchg r13, r14"));
        line(&mut text, format_args!("add r8, 2"));
        line(&mut text, format_args!("add rdi, {PASS_BYTES}"));
        line(&mut text, format_args!("dec rsi"));
        line(&mut text, format_args!("jnz 2b"));
        line(&mut text, format_args!("vzeroupper"));
        saved.iter().rev().for_each(|register| line(&mut text, format_args!("pop {register}")));
        line(&mut text, format_args!("ret"));
        line(&mut text, format_args!(".p2align 6"));
        text.push_str("5:\n");
        self.body.print(&mut text, Place::Body);
        line(&mut text, format_args!("ret"));
        text
    }
}

/// Whether the second batch's working variables are all read before the new ones, which take their places.
fn reads_before_it_writes(program: &Program, steps: &[Step]) -> bool {
    let is_variable =
        |value: &Value| matches!(*program.op(*value), Op::Lanes(vector) if vector >= program.vectors() - VARIABLES);
    let last_read = steps.iter().rposition(|step| step.action.operands(program).iter().any(is_variable));
    let variables = segments::SECOND.end - VARIABLES..segments::SECOND.end;
    let is_write = |step: &Step| matches!(step.action, Action::Output(place) if variables.contains(&place));
    last_read < steps.iter().position(is_write)
}

/// Calls the body `count` times for the batch with that table, whose constants begin at that byte, and that frame.
fn bodies(text: &mut String, count: usize, [table, frame]: [&str; 2], constants: usize) {
    line(text, format_args!("lea rcx, [{frame} + {}]", VARIABLES * BYTES));
    line(text, format_args!("lea rdx, [{frame} + {}]", (VARIABLES + HALF) * BYTES));
    line(text, format_args!("lea rbx, [{table} + {constants}]"));
    line(text, format_args!("mov ebp, {count}"));
    text.push_str("3:\n");
    line(text, format_args!("call 5f"));
    line(text, format_args!("xchg rdx, rcx"));
    line(text, format_args!("add rbx, {}", 4 * segments::ROUNDS));
    line(text, format_args!("dec ebp"));
    line(text, format_args!("jnz 3b"));
}

/// The vector `place` of what `pointer` points into.
fn vector_address(pointer: &str, place: usize) -> String {
    format!("[{pointer}{:+}]", (place * BYTES) as isize - BIAS as isize)
}

/// The word of the ring that stands at `place`, the oldest at 0.
fn ring_address(place: usize) -> String {
    if place < HALF { vector_address("rcx", place) } else { vector_address("rdx", place - HALF) }
}

/// Where a segment finds its vectors and its words, and leaves what it puts out.
#[derive(Clone, Copy)]
enum Place {
    /// The pass's vectors, so many of them, and the frames of two batches; the first words of their tables.
    Pair(usize),
    /// The ring; the constants.
    Body,
    /// The ring; the table of the batch that ends, from a word on.
    End(usize),
}

impl Segment {
    fn print(&self, text: &mut String, place: Place) {
        for &instruction in &self.code.instructions {
            self.instruction(text, place, instruction);
        }
    }

    fn address(&self, place: Place, memory: Memory) -> String {
        match (memory, place) {
            (Memory::Table { stage: 0, word }, Place::Pair(_)) => format!("[r9 + {}]", 4 * word),
            (Memory::Table { word, .. }, Place::Pair(_)) => format!("[r12 + {}]", 4 * word),
            (Memory::Table { word, .. }, Place::Body) => match *self.program.op(self.program.table[word]) {
                Op::Job(round) => format!("[rbx + {}]", 4 * round),
                other => unreachable!("a body's words are its constants, not {other:?}"),
            },
            (Memory::Table { word, .. }, Place::End(first)) => format!("[r12 + {}]", 4 * (first + word)),
            (Memory::Pass { stage: 0 }, Place::Pair(_)) => format!("[rdi + {PASS_WORD}]"),
            (Memory::Vector { stage: 0, vector }, Place::Pair(vectors)) if vector < vectors => {
                format!("[r11 + {}]", vector * BYTES)
            }
            (Memory::Vector { stage: 1, vector }, Place::Pair(vectors)) => vector_address("r14", vector - vectors),
            (Memory::Vector { stage: 0, vector }, Place::Body | Place::End(_)) => ring_address(vector),
            (Memory::Slot(slot), _) => vector_address("rax", slot),
            (other, _) => unreachable!("no segment has {other:?}"),
        }
    }

    /// Where the output of that place goes.
    fn output(place: Place, output: usize) -> String {
        match place {
            Place::Pair(_) if output < segments::SECOND.start => vector_address("r13", VARIABLES + output),
            // Its ring, then its working variables.
            Place::Pair(_) => vector_address("r14", (VARIABLES + output - segments::SECOND.start) % FRAME),
            Place::Body | Place::End(_) => ring_address(output),
        }
    }

    fn instruction(&self, text: &mut String, place: Place, instruction: Instruction) {
        let source = |source| match source {
            Source::Register(register) => format!("ymm{register}"),
            Source::Memory(memory) => format!("ymmword ptr {}", self.address(place, memory)),
        };
        match instruction {
            Instruction::Load { to, from: from @ (Memory::Table { .. } | Memory::Pass { .. }) } => {
                line(text, format_args!("vpbroadcastd ymm{to}, dword ptr {}", self.address(place, from)));
            }
            Instruction::Load { to, from } => {
                line(text, format_args!("vmovdqa ymm{to}, ymmword ptr {}", self.address(place, from)));
            }
            Instruction::Store { slot, from } => {
                line(text, format_args!("vmovdqa ymmword ptr {}, ymm{from}", self.address(place, Memory::Slot(slot))));
            }
            Instruction::Add { to, a, b } => line(text, format_args!("vpaddd ymm{to}, ymm{a}, {}", source(b))),
            Instruction::Xor { to, a, b } => line(text, format_args!("vpxor ymm{to}, ymm{a}, {}", source(b))),
            Instruction::And { to, a, b } => line(text, format_args!("vpand ymm{to}, ymm{a}, {}", source(b))),
            Instruction::Shift { to, of, by } => line(text, format_args!("vpsrld ymm{to}, {}, {by}", source(of))),
            Instruction::ShiftLeft { to, of, by } => line(text, format_args!("vpslld ymm{to}, {}, {by}", source(of))),
            Instruction::Candidates { word, mask, .. } => {
                let mask = source(mask);
                line(text, format_args!("vpand ymm{word}, ymm{word}, {mask}"));
                line(text, format_args!("vpxor {mask}, {mask}, {mask}"));
                line(text, format_args!("vpcmpeqd ymm{word}, ymm{word}, {mask}"));
                line(text, format_args!("vmovmskps r10d, ymm{word}"));
                line(text, format_args!("mov word ptr [r8], r10w"));
            }
            Instruction::Output { place: output, from, .. } => {
                line(text, format_args!("vmovdqa ymmword ptr {}, ymm{from}", Self::output(place, output)));
            }
            Instruction::Move { to, from } => line(text, format_args!("vmovdqa ymm{to}, ymm{from}")),
            Instruction::Rotate { .. } | Instruction::Logic { .. } => {
                unreachable!("programs for AVX2 have shifts and functions of two operands")
            }
        }
    }
}

const INFALLIBLE: &str = "a String takes everything";

fn line(text: &mut String, content: Arguments<'_>) {
    writeln!(text, "    {content}").expect(INFALLIBLE);
}
