//! Generates the scan code of the vector kernels (x86-64 only; see `src/kernel/program/mod.rs`).

#[path = "src/kernel/program/mod.rs"]
mod program;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use program::allocate::{Machine, Operands, allocate};
use program::print::avx2::Puzzle;
use program::print::rust::Layout;
use program::stage::{Core, FAR_SIGHTED, NEAR_SIGHTED, interleave};
use program::{Program, print, segments, sha256d};

/// A program, what it is called, how the cuts between its stages are moved, and for which core.
struct Staged {
    name: &'static str,
    program: fn() -> Program,
    moved: &'static [isize],
    core: Core,
}

/// Chosen by measurement on Zen 5: of 2 to 4 stages, these are fastest, by 2 % or more; of cuts that are moved by up to 100 steps, too, by
/// up to 2 %.
const AVX512: [Staged; 4] = [
    Staged { name: "header", program: sha256d::header, moved: &[-20; 2], core: NEAR_SIGHTED },
    Staged { name: "text", program: sha256d::text, moved: &[-20, 0], core: FAR_SIGHTED },
    Staged { name: "schedule", program: sha256d::schedule, moved: &[], core: NEAR_SIGHTED },
    Staged { name: "rolled", program: sha256d::rolled, moved: &[-28; 3], core: NEAR_SIGHTED },
];
const AVX512_MACHINE: Machine = Machine { registers: 32, operands: Operands::Any };

/// A puzzle in segments, what it is called, and the round from which on it is a loop.
struct Segmented {
    name: &'static str,
    pair: fn(usize) -> Program,
    end: fn() -> Program,
    loop_from: usize,
}

/// Each puzzle twice: with more of it in the loop the code is half as long, for smaller op caches, and takes 7 % longer on Zen 5, whose op
/// cache holds both.
const AVX2: [Segmented; 4] = [
    Segmented { name: "header", pair: segments::pair_header, end: segments::end_header, loop_from: 32 },
    Segmented { name: "text", pair: segments::pair_text, end: segments::end_text, loop_from: 32 },
    Segmented { name: "short_header", pair: segments::pair_header, end: segments::end_header, loop_from: 16 },
    Segmented { name: "short_text", pair: segments::pair_text, end: segments::end_text, loop_from: 16 },
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    describe();
    println!("cargo::rerun-if-changed=src/kernel/program");
    println!("cargo::rerun-if-changed=src/kernel/constants.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return;
    }
    let out = env::var("OUT_DIR").expect("cargo names the output directory");
    let mut shapes = String::new();
    for Staged { name, program, moved, core } in AVX512 {
        let program = program();
        let code = allocate(&program, &interleave(&program, moved, core), AVX512_MACHINE);
        write(&out, &format!("avx512_{name}.s"), &print::avx512::print(&code));
        let layout = Layout { stages: code.stages, slots: code.slots, vectors: program.vectors() };
        shapes += &print::rust::shape(name, layout, &[&program], &[]);
    }
    write(&out, "avx512.rs", &shapes);
    let mut shapes = String::new();
    for Segmented { name, pair, end, loop_from } in AVX2 {
        let puzzle = Puzzle::new(loop_from, pair, end());
        write(&out, &format!("avx2_{name}.s"), &puzzle.print());
        shapes += &print::rust::shape(name, puzzle.layout(), &puzzle.tables(), puzzle.constants());
    }
    write(&out, "avx2.rs", &shapes);
}

/// What the version names: the commit, if this is a checkout, and the target.
fn describe() {
    let commit = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = commit.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let commit = commit.and_then(|text| String::from_utf8(text).ok()).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=HEADFRAME_COMMIT={}", commit.trim());
    println!("cargo::rustc-env=HEADFRAME_TARGET={}", env::var("TARGET").expect("cargo names the target"));
    let grows_with_commits = Path::new(".git/logs/HEAD");
    if grows_with_commits.exists() {
        println!("cargo::rerun-if-changed={}", grows_with_commits.display());
    }
}

fn write(directory: &str, name: &str, text: &str) {
    fs::write(Path::new(directory).join(name), text).expect("the output directory can be written to");
}
