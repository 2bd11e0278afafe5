//! AVX2 assembler (Intel syntax) for the body of a naked function, whose parameters are those of the AVX-512 code:
//!
//! ```text
//! extern "sysv64" fn(pass: *const Pass, passes: usize, frames: *mut Vector, results: *mut u8)
//! ```
//!
//! One pass after the other; each appends 16 bits of candidates. Of the frames the first is used: the schedule's ring (see
//! `segments`), then what finds no register. The table has the words of `begin`, `middle` and `end`, one after the other, then the
//! constants of the bodies.
//!
//! What was done for speed:
//! 1. all bodies are one piece of code, a subroutine, so that the whole of it fits the op caches of Zen 2 and later;
//! 2. vectors that are used once are used from memory, and the frame's pointers stand where displacements take one byte: longer ones
//!    take room in the op cache;
//! 3. `vzeroupper` at the end, or SSE-encoded code elsewhere in the process would slow down.

use std::fmt::{Arguments, Write as _};

use super::super::Program;
use super::super::allocate::{Code, Instruction, Machine, Memory, Operands, Source, allocate};
use super::super::op::Op;
use super::super::segments::{self, RING};
use super::super::stage::single;

const BYTES: usize = 32;
const PASS_BYTES: usize = 24;
const PASS_VECTORS: usize = 8;
const PASS_WORD: usize = 16;

/// The words that a body replaces.
const HALF: usize = RING / 2;

/// How far into what it points at a pointer stands, so that as much as possible is within reach of one byte.
const BIAS: usize = 128;

const MACHINE: Machine = Machine { registers: 16, operands: Operands::Vectors };

/// The segments of a puzzle.
pub(crate) struct Puzzle {
    begin: Segment,
    body: Segment,
    middle: Segment,
    end: Segment,
}

struct Segment {
    program: Program,
    code: Code,
}

impl Segment {
    fn new(program: Program) -> Self {
        let code = allocate(&program, &single(&program), 1, MACHINE);
        Self { program, code }
    }
}

impl Puzzle {
    /// From its first segment and its last.
    pub(crate) fn new(begin: Program, end: Program) -> Self {
        let [begin, body, middle, end] = [begin, segments::body(), segments::middle(), end].map(Segment::new);
        Self { begin, body, middle, end }
    }

    /// The programs whose words the table has, in order.
    pub(crate) fn tables(&self) -> [&Program; 3] {
        [&self.begin, &self.middle, &self.end].map(|segment| &segment.program)
    }

    /// How many vectors a frame has.
    pub(crate) fn slots(&self) -> usize {
        let spilled = [&self.begin, &self.body, &self.middle, &self.end].map(|segment| segment.code.slots);
        RING + spilled.into_iter().max().unwrap_or(0)
    }

    /// The assembler.
    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        let lengths = self.tables().map(|program| program.table.len());
        let bodies = 4 * lengths.iter().sum::<usize>();
        let body_bytes = 4 * segments::ROUNDS;
        let call_bodies = |text: &mut String, count: usize, label: char| {
            line(text, format_args!("lea rbx, [r9 + {bodies}]"));
            line(text, format_args!("mov ebp, {count}"));
            writeln!(text, "{label}:").expect(INFALLIBLE);
            line(text, format_args!("call 5f"));
            line(text, format_args!("xchg rdx, rcx"));
            line(text, format_args!("add rbx, {body_bytes}"));
            line(text, format_args!("dec ebp"));
            line(text, format_args!("jnz {label}b"));
        };
        // rdi is the pass, rsi how many are left, rcx the older half of the ring, rdx the other, rax the rest of the frame, r8 the
        // results, rbx the body's constants, r9 the table, r11 the vectors.
        line(&mut text, format_args!("push rbx"));
        line(&mut text, format_args!("push rbp"));
        line(&mut text, format_args!("mov r8, rcx"));
        line(&mut text, format_args!("lea rax, [rdx + {}]", RING * BYTES + BIAS));
        line(&mut text, format_args!(".p2align 6"));
        text.push_str("2:\n");
        line(&mut text, format_args!("lea rcx, [rax - {}]", RING * BYTES));
        line(&mut text, format_args!("lea rdx, [rax - {}]", HALF * BYTES));
        line(&mut text, format_args!("mov r9, [rdi]"));
        line(&mut text, format_args!("mov r11, [rdi + {PASS_VECTORS}]"));
        self.begin.print(&mut text, Place::Begin);
        call_bodies(&mut text, segments::BODIES[0], '3');
        self.middle.print(&mut text, Place::After(lengths[0]));
        call_bodies(&mut text, segments::BODIES[1], '4');
        self.end.print(&mut text, Place::After(lengths[0] + lengths[1]));
        line(&mut text, format_args!("add r8, 2"));
        line(&mut text, format_args!("add rdi, {PASS_BYTES}"));
        line(&mut text, format_args!("dec rsi"));
        line(&mut text, format_args!("jnz 2b"));
        line(&mut text, format_args!("vzeroupper"));
        line(&mut text, format_args!("pop rbp"));
        line(&mut text, format_args!("pop rbx"));
        line(&mut text, format_args!("ret"));
        line(&mut text, format_args!(".p2align 6"));
        text.push_str("5:\n");
        self.body.print(&mut text, Place::Body);
        line(&mut text, format_args!("ret"));
        text
    }
}

/// The vector `place` of what `pointer` points into.
fn vector_address(pointer: &str, place: usize) -> String {
    format!("[{pointer}{:+}]", (place * BYTES) as isize - BIAS as isize)
}

/// The word of the ring that stands at `place`, the oldest at 0.
fn ring_address(place: usize) -> String {
    if place < HALF { vector_address("rcx", place) } else { vector_address("rdx", place - HALF) }
}

/// Where a segment finds its vectors and its words.
#[derive(Clone, Copy)]
enum Place {
    /// The pass's vectors, the table's first words.
    Begin,
    /// The ring; the table from a word on.
    After(usize),
    /// The ring; the constants.
    Body,
}

impl Segment {
    fn print(&self, text: &mut String, place: Place) {
        for &instruction in &self.code.instructions {
            self.instruction(text, place, instruction);
        }
    }

    fn address(&self, place: Place, memory: Memory) -> String {
        match (memory, place) {
            (Memory::Table { word, .. }, Place::Begin) => format!("[r9 + {}]", 4 * word),
            (Memory::Table { word, .. }, Place::After(first)) => format!("[r9 + {}]", 4 * (first + word)),
            (Memory::Table { word, .. }, Place::Body) => match *self.program.op(self.program.table[word]) {
                Op::Job(round) => format!("[rbx + {}]", 4 * round),
                other => unreachable!("a body's words are its constants, not {other:?}"),
            },
            (Memory::Pass { .. }, _) => format!("[rdi + {PASS_WORD}]"),
            (Memory::Vector { vector, .. }, Place::Begin) => format!("[r11 + {}]", vector * BYTES),
            (Memory::Vector { vector, .. }, _) => ring_address(vector),
            (Memory::Slot(slot), _) => vector_address("rax", slot),
            (Memory::Relay(_), _) => unreachable!("a single stage has none before it"),
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
            Instruction::Output { place, from, .. } => {
                line(text, format_args!("vmovdqa ymmword ptr {}, ymm{from}", ring_address(place)));
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
