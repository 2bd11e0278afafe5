//! AVX-512 assembler (Intel syntax) for the body of a naked function:
//!
//! ```text
//! extern "sysv64" fn(pass: *const Pass, passes: usize, frames: *mut Vector, results: *mut u8)
//! ```
//!
//! `pass` is the pass that stage 0 begins with; stage `s` works on the one `s` places before it. A `Pass` is 24 bytes: the
//! job's table, the vectors, the pass's word. There are two frames, one after the other; those of an even number of passes
//! end up where they began. Each pass appends its results: 16 bits of candidates, or its output vectors.
//!
//! What was done for speed:
//! 1. words of the table are used from memory, by embedded broadcast, and so are vectors that are used once; as long as there
//!    are at most 128 of a kind, their displacements take one byte each;
//! 2. the loop is aligned;
//! 3. `vzeroupper` at the end, or SSE-encoded code elsewhere in the process would slow down.

use std::fmt::Write as _;

use super::super::allocate::{Code, Instruction, Memory, Source};

const BYTES: usize = 64;
const PASS_BYTES: usize = 24;

/// What no parameter is in. The last six belong to the caller.
const FREE: [&str; 10] = ["rax", "r9", "r10", "r11", "rbx", "rbp", "r12", "r13", "r14", "r15"];
const CALLERS: usize = 4;

/// Prints `code`.
pub(crate) fn print(code: &Code) -> String {
    let mut text = String::new();
    let pointers = Pointers::new(code);
    let saved = &FREE[CALLERS.min(pointers.used.len())..pointers.used.len()];
    for register in saved {
        line(&mut text, format_args!("push {register}"));
    }
    // rdi is the pass, rsi how many are left, rdx this pass's frame, rcx that of the pass before, r8 the results.
    line(&mut text, format_args!("mov r8, rcx"));
    line(&mut text, format_args!("lea rcx, [rdx + {}]", code.slots * BYTES));
    line(&mut text, format_args!(".p2align 6"));
    text.push_str("2:\n");
    for (register, &(kind, stage)) in FREE.iter().zip(&pointers.used) {
        let place = stage as i64 * -(PASS_BYTES as i64) + kind as i64;
        line(&mut text, format_args!("mov {register}, [rdi{place:+}]"));
    }
    let mut results = 0;
    for &instruction in &code.instructions {
        instruction_text(&mut text, &pointers, instruction);
        results += match instruction {
            Instruction::Candidates { .. } => 2,
            Instruction::Output { .. } => BYTES,
            _ => 0,
        };
    }
    line(&mut text, format_args!("add r8, {results}"));
    line(&mut text, format_args!("add rdi, {PASS_BYTES}"));
    line(&mut text, format_args!("xchg rdx, rcx"));
    line(&mut text, format_args!("dec rsi"));
    line(&mut text, format_args!("jnz 2b"));
    line(&mut text, format_args!("vzeroupper"));
    for register in saved.iter().rev() {
        line(&mut text, format_args!("pop {register}"));
    }
    line(&mut text, format_args!("ret"));
    text
}

/// Which of a pass's two pointers, by its offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pointer {
    Table = 0,
    Vectors = 8,
}

const PASS_WORD: i64 = 16;

/// The pointers of each stage's pass that the code uses, in the order of [`FREE`].
struct Pointers {
    used: Vec<(Pointer, usize)>,
}

impl Pointers {
    fn new(code: &Code) -> Self {
        let mut used = Vec::new();
        for instruction in &code.instructions {
            let pointer = match memory_of(*instruction) {
                Some(Memory::Table { stage, .. }) => (Pointer::Table, stage),
                Some(Memory::Vector { stage, .. }) => (Pointer::Vectors, stage),
                _ => continue,
            };
            if !used.contains(&pointer) {
                used.push(pointer);
            }
        }
        assert!(used.len() <= FREE.len(), "a register for each pointer");
        Self { used }
    }

    fn register(&self, pointer: Pointer, stage: usize) -> &'static str {
        let place = self.used.iter().position(|&used| used == (pointer, stage));
        FREE[place.expect("every pointer was collected")]
    }

    fn address(&self, memory: Memory) -> String {
        match memory {
            Memory::Table { stage, word } => format!("[{}{:+}]", self.register(Pointer::Table, stage), word * 4),
            Memory::Pass { stage } => format!("[rdi{:+}]", PASS_WORD - (stage * PASS_BYTES) as i64),
            Memory::Vector { stage, vector } => {
                format!("[{}{:+}]", self.register(Pointer::Vectors, stage), vector * BYTES)
            }
            Memory::Slot(slot) => format!("[rdx{:+}]", slot * BYTES),
            Memory::Relay(slot) => format!("[rcx{:+}]", slot * BYTES),
        }
    }

    fn source(&self, source: Source) -> String {
        match source {
            Source::Register(register) => format!("zmm{register}"),
            Source::Memory(memory) => {
                let address = self.address(memory);
                if is_word(memory) { format!("dword ptr {address}{{1to16}}") } else { format!("zmmword ptr {address}") }
            }
        }
    }
}

fn is_word(memory: Memory) -> bool {
    matches!(memory, Memory::Table { .. } | Memory::Pass { .. })
}

fn memory_of(instruction: Instruction) -> Option<Memory> {
    match instruction {
        Instruction::Load { from, .. } => Some(from),
        Instruction::Add { b: Source::Memory(memory), .. }
        | Instruction::Rotate { of: Source::Memory(memory), .. }
        | Instruction::Shift { of: Source::Memory(memory), .. }
        | Instruction::Logic { c: Source::Memory(memory), .. }
        | Instruction::Candidates { mask: Source::Memory(memory), .. } => Some(memory),
        _ => None,
    }
}

fn instruction_text(text: &mut String, pointers: &Pointers, instruction: Instruction) {
    let source = |source| pointers.source(source);
    match instruction {
        Instruction::Load { to, from } if is_word(from) => {
            line(text, format_args!("vpbroadcastd zmm{to}, dword ptr {}", pointers.address(from)));
        }
        Instruction::Load { to, from } => {
            line(text, format_args!("vmovdqa64 zmm{to}, zmmword ptr {}", pointers.address(from)));
        }
        Instruction::Store { slot, from } => {
            line(text, format_args!("vmovdqa64 zmmword ptr {}, zmm{from}", pointers.address(Memory::Slot(slot))));
        }
        Instruction::Move { to, from } => line(text, format_args!("vmovdqa64 zmm{to}, zmm{from}")),
        Instruction::Add { to, a, b } => line(text, format_args!("vpaddd zmm{to}, zmm{a}, {}", source(b))),
        Instruction::Rotate { to, of, by } => line(text, format_args!("vprord zmm{to}, {}, {by}", source(of))),
        Instruction::Shift { to, of, by } => line(text, format_args!("vpsrld zmm{to}, {}, {by}", source(of))),
        Instruction::Logic { truth, to, b, c } => {
            line(text, format_args!("vpternlogd zmm{to}, zmm{b}, {}, {}", source(c), truth.0));
        }
        Instruction::Xor { .. } | Instruction::And { .. } | Instruction::ShiftLeft { .. } => {
            unreachable!("programs for AVX-512 have three-operand functions and rotates instead")
        }
        Instruction::Candidates { word, mask, .. } => {
            line(text, format_args!("vptestnmd k1, zmm{word}, {}", source(mask)));
            line(text, format_args!("kmovw word ptr [r8], k1"));
        }
        Instruction::Output { place, from, .. } => {
            line(text, format_args!("vmovdqa64 zmmword ptr [r8{:+}], zmm{from}", place * BYTES));
        }
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "    {content}").expect("a String takes everything");
}
