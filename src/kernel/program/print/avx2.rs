//! AVX2 assembler (Intel syntax) for the body of a naked function, whose parameters are those of the AVX-512 code:
//!
//! ```text
//! extern "sysv64" fn(pass: *const Pass, passes: usize, frames: *mut Vector, results: *mut u8)
//! ```
//!
//! The code works on two passes at once, `pass` and the one after it, side by side in every segment (see `segments`), and writes
//! 16 bits of candidates for each. A segment reads the link from the frame that the one before wrote, and writes its own to the
//! other. The table has the words of `begin`, `middle` and `end`, one after the other, then the constants of the bodies.
//!
//! What was done for speed:
//! 1. all bodies are one piece of code, a subroutine, so that the whole of it fits the op cache;
//! 2. vectors that are used once are used from memory;
//! 3. `vzeroupper` at the end, or SSE-encoded code elsewhere in the process would slow down.

use std::fmt::{Arguments, Write as _};

use super::super::Program;
use super::super::allocate::{Code, Instruction, Machine, Memory, Operands, Source, allocate};
use super::super::op::Op;
use super::super::segments::{self, LINK};
use super::super::stage::side_by_side;

const BYTES: usize = 32;
const PASS_BYTES: usize = 24;
const PASS_VECTORS: usize = 8;
const PASS_WORD: usize = 16;

/// Batches side by side.
const PAIR: usize = 2;

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
        let code = allocate(&program, &side_by_side(&program, PAIR), PAIR, MACHINE);
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
        PAIR * LINK + spilled.into_iter().max().unwrap_or(0)
    }

    /// The assembler.
    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        let lengths = self.tables().map(|program| program.table.len());
        let bodies = 4 * lengths.iter().sum::<usize>();
        let body_bytes = 4 * segments::ROUNDS;
        let exchange = "xchg rdx, rcx";
        let call_bodies = |text: &mut String, count: usize, label: char| {
            line(text, format_args!("lea rbx, [r9 + {bodies}]"));
            line(text, format_args!("mov ebp, {count}"));
            writeln!(text, "{label}:").expect(INFALLIBLE);
            line(text, format_args!("{exchange}"));
            line(text, format_args!("call 5f"));
            line(text, format_args!("add rbx, {body_bytes}"));
            line(text, format_args!("dec ebp"));
            line(text, format_args!("jnz {label}b"));
            line(text, format_args!("{exchange}"));
        };
        // rdi is the pass, rsi how many are left, rdx this segment's frame, rcx that of the segment before, r8 the results, rbx the
        // body's constants, r9 and r10 the tables, r11 and rax the vectors.
        line(&mut text, format_args!("push rbx"));
        line(&mut text, format_args!("push rbp"));
        line(&mut text, format_args!("mov r8, rcx"));
        line(&mut text, format_args!("lea rcx, [rdx + {}]", self.slots() * BYTES));
        line(&mut text, format_args!(".p2align 6"));
        text.push_str("2:\n");
        for (pass, (table, vectors)) in TABLES.iter().zip(VECTORS).enumerate() {
            line(&mut text, format_args!("mov {table}, [rdi + {}]", pass * PASS_BYTES));
            line(&mut text, format_args!("mov {vectors}, [rdi + {}]", pass * PASS_BYTES + PASS_VECTORS));
        }
        self.begin.print(&mut text, Place::Begin);
        call_bodies(&mut text, segments::BODIES[0], '3');
        self.middle.print(&mut text, Place::After(lengths[0]));
        call_bodies(&mut text, segments::BODIES[1], '4');
        self.end.print(&mut text, Place::After(lengths[0] + lengths[1]));
        line(&mut text, format_args!("add r8, {}", PAIR * 2));
        line(&mut text, format_args!("add rdi, {}", PAIR * PASS_BYTES));
        line(&mut text, format_args!("sub rsi, {PAIR}"));
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

const TABLES: [&str; PAIR] = ["r9", "r10"];
const VECTORS: [&str; PAIR] = ["r11", "rax"];

/// Where a segment finds its vectors and its words.
#[derive(Clone, Copy)]
enum Place {
    /// The pass's vectors, the table's first words.
    Begin,
    /// The link; the table from a word on.
    After(usize),
    /// The link; the constants.
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
            (Memory::Table { stage, word }, Place::Begin) => format!("[{} + {}]", TABLES[stage], 4 * word),
            (Memory::Table { stage, word }, Place::After(first)) => {
                format!("[{} + {}]", TABLES[stage], 4 * (first + word))
            }
            (Memory::Table { word, .. }, Place::Body) => match *self.program.op(self.program.table[word]) {
                Op::Job(round) => format!("[rbx + {}]", 4 * round),
                other => unreachable!("a body's words are its constants, not {other:?}"),
            },
            (Memory::Pass { stage }, _) => format!("[rdi + {}]", stage * PASS_BYTES + PASS_WORD),
            (Memory::Vector { stage, vector }, Place::Begin) => format!("[{} + {}]", VECTORS[stage], vector * BYTES),
            (Memory::Vector { stage, vector }, _) => format!("[rcx + {}]", (stage * LINK + vector) * BYTES),
            (Memory::Slot(slot), _) => format!("[rdx + {}]", (PAIR * LINK + slot) * BYTES),
            (Memory::Relay(_), _) => unreachable!("copies need nothing of each other"),
        }
    }

    fn instruction(&self, text: &mut String, place: Place, instruction: Instruction) {
        let source = |source| match source {
            Source::Register(register) => format!("ymm{register}"),
            Source::Memory(memory) => format!("ymmword ptr {}", self.address(place, memory)),
        };
        let link = |stage, output| format!("[rdx + {}]", (stage * LINK + output) * BYTES);
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
            Instruction::Candidates { stage, word, mask } => {
                let mask = source(mask);
                line(text, format_args!("vpand ymm{word}, ymm{word}, {mask}"));
                line(text, format_args!("vpxor {mask}, {mask}, {mask}"));
                line(text, format_args!("vpcmpeqd ymm{word}, ymm{word}, {mask}"));
                line(text, format_args!("vmovmskps eax, ymm{word}"));
                line(text, format_args!("mov word ptr [r8 + {}], ax", 2 * stage));
            }
            Instruction::Output { stage, place, from } => {
                line(text, format_args!("vmovdqa ymmword ptr {}, ymm{from}", link(stage, place)));
            }
            Instruction::Move { .. } | Instruction::Rotate { .. } | Instruction::Logic { .. } => {
                unreachable!("programs for AVX2 have shifts and functions of two operands")
            }
        }
    }
}

const INFALLIBLE: &str = "a String takes everything";

fn line(text: &mut String, content: Arguments<'_>) {
    writeln!(text, "    {content}").expect(INFALLIBLE);
}
