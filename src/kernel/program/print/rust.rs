//! Rust for what the drivers know of a program: its shape, and the function that fills its table from a job.

use std::fmt::{Arguments, Write as _};

use super::super::op::{Op, Truth, Value};
use super::super::{Output, Program};

/// What the drivers have to know of generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// In how many stages it is cut.
    pub(crate) stages: usize,
    /// Half the vectors that it keeps, from pass to pass and within one.
    pub(crate) slots: usize,
    /// How many vectors a pass is given.
    pub(crate) vectors: usize,
}

/// Prints a module called `name` with a constant `SHAPE`, of the type `Shape`, and the function that it refers to, which fills the table
/// with the words of `programs` and then the numbers `constants`.
pub(crate) fn shape(
    name: &str,
    Layout { stages, slots, vectors }: Layout,
    programs: &[&Program],
    constants: &[u32],
) -> String {
    let mut text = String::new();
    // What the last program puts out leaves the code.
    let outputs = programs.iter().flat_map(|program| &program.outputs);
    let candidates = outputs.clone().any(|output| matches!(output, Output::Candidates { .. }));
    let stores = if candidates { 0 } else { outputs.count() };
    line(&mut text, format_args!("mod {name} {{"));
    line(&mut text, format_args!("use super::{{INPUTS, Shape, Table}};"));
    line(&mut text, format_args!("pub(super) const SHAPE: Shape ="));
    line(
        &mut text,
        format_args!("    Shape {{ stages: {stages}, slots: {slots}, vectors: {vectors}, stores: {stores}, fill }};"),
    );
    line(&mut text, format_args!("fn fill(job: &[u32; INPUTS], table: &mut Table) {{"));
    let mut first = 0;
    for program in programs {
        line(&mut text, format_args!("    {{"));
        fill(&mut text, program, first);
        line(&mut text, format_args!("    }}"));
        first += program.table.len();
    }
    for (place, number) in constants.iter().enumerate() {
        line(&mut text, format_args!("    table.0[{}] = {number:#x};", first + place));
    }
    line(&mut text, format_args!("}}"));
    line(&mut text, format_args!("}}"));
    text
}

/// Fills the table from its word `first` on.
fn fill(text: &mut String, program: &Program, first: usize) {
    for &value in &program.job {
        if let Some(expression) = expression(program, value) {
            line(text, format_args!("    let v{} = {expression};", value.index()));
        }
    }
    for (place, &value) in program.table.iter().enumerate() {
        line(text, format_args!("    table.0[{}] = {};", first + place, operand(program, value)));
    }
}

fn line(text: &mut String, content: Arguments<'_>) {
    writeln!(text, "{content}").expect("a String takes everything");
}

/// `None` for what stands where it is used.
fn expression(program: &Program, value: Value) -> Option<String> {
    let word = |value| operand(program, value);
    Some(match *program.op(value) {
        Op::Constant(_) | Op::Job(_) => return None,
        Op::Add(a, b) => format!("u32::wrapping_add({}, {})", word(a), word(b)),
        Op::Rotate(a, by) => format!("u32::rotate_right({}, {by})", word(a)),
        Op::Shift(a, by) => format!("{} >> {by}", word(a)),
        Op::ShiftLeft(a, by) => format!("{} << {by}", word(a)),
        Op::Xor(a, b) => format!("{} ^ {}", word(a), word(b)),
        Op::And(a, b) => format!("{} & {}", word(a), word(b)),
        Op::Logic(truth, operands) => {
            let [a, b, c] = operands.map(word);
            match truth {
                Truth::CH => format!("({a} & {b}) ^ (!{a} & {c})"),
                Truth::MAJ => format!("({a} & {b}) ^ ({a} & {c}) ^ ({b} & {c})"),
                Truth::XOR => format!("{a} ^ {b} ^ {c}"),
                Truth(table) => unreachable!("SHA-256 has no function {table:#x}"),
            }
        }
        Op::Pass | Op::Lanes(_) | Op::Held(_) => unreachable!("lanes are no part of the job"),
    })
}

fn operand(program: &Program, value: Value) -> String {
    match *program.op(value) {
        Op::Constant(number) => format!("{number:#x}u32"),
        Op::Job(place) => format!("job[{place}]"),
        _ => format!("v{}", value.index()),
    }
}
