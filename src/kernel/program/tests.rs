//! Every program against `sha2`, as operations and as allocated code.

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

use super::allocate::{Machine as Target, Operands, allocate};
use super::interpret::{self, Machine, Pass};
use super::print::rust::Layout;
use super::segments;
use super::sha256d::{self, INITIAL};
use super::stage::{FAR_SIGHTED, NEAR_SIGHTED, interleave, side_by_side};
use super::{Program, print};

/// Numbers without a pattern (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }
}

fn compress(mut state: [u32; 8], words: &[u32]) -> [u32; 8] {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    compress256(&mut state, std::slice::from_ref(GenericArray::from_slice(&bytes)));
    state
}

/// The double hash of a message whose first block left `state`.
fn reference(state: [u32; 8], words: &[u32]) -> [u32; 8] {
    let mut second = compress(state, words).to_vec();
    second.extend([1 << 31, 0, 0, 0, 0, 0, 0, 256]);
    compress(INITIAL, &second)
}

fn job(numbers: &mut Numbers) -> Vec<u32> {
    (0..25).map(|_| numbers.next()).collect()
}

fn state(job: &[u32]) -> [u32; 8] {
    std::array::from_fn(|i| job[i])
}

/// A pass of the header puzzle, and word 7 of its digest.
fn header_case(numbers: &mut Numbers) -> (Pass, u32) {
    let pass = Pass { job: job(numbers), word: numbers.next(), vectors: vec![numbers.next()], held: vec![] };
    let mut words = pass.job[8..24].to_vec();
    words[3] = pass.word.wrapping_add(pass.vectors[0]);
    let digest = reference(state(&pass.job), &words);
    (pass, digest[7])
}

/// The same, its vectors made by the schedule program.
fn rolled_case(numbers: &mut Numbers) -> (Pass, u32) {
    let (pass, word) = header_case(numbers);
    let vectors = interpret::program(&sha256d::schedule(), &pass);
    (Pass { word: 0, vectors, ..pass }, word)
}

/// A pass of the text puzzle, and word 0 of its digest.
fn text_case(numbers: &mut Numbers) -> (Pass, u32) {
    let pass = Pass { job: job(numbers), word: 0, vectors: vec![numbers.next(), numbers.next()], held: vec![] };
    let mut words = pass.job[8..24].to_vec();
    words[1] = words[1].wrapping_add(pass.vectors[0]);
    words[2] = words[2].wrapping_add(pass.vectors[1]);
    let digest = reference(state(&pass.job), &words);
    (pass, digest[0])
}

fn target(registers: u8) -> Target {
    Target { registers, operands: Operands::Any }
}

type MakeCase = fn(&mut Numbers) -> (Pass, u32);

type MakeProgram = fn() -> Program;

type MakePair = fn(usize) -> Program;

const PUZZLES: [(&str, MakeProgram, MakeCase); 3] = [
    ("header", sha256d::header, header_case),
    ("rolled", sha256d::rolled, rolled_case),
    ("text", sha256d::text, text_case),
];

#[test]
fn programs_give_the_words_of_sha2() {
    let mut numbers = Numbers(1);
    for (name, program, make_case) in PUZZLES {
        let program = program();
        for _ in 0..20 {
            let (pass, word) = make_case(&mut numbers);
            assert_eq!(interpret::program(&program, &pass), [word], "{name}");
        }
    }
}

#[test]
fn allocated_code_gives_them_too_whatever_the_stages_and_registers() {
    let mut numbers = Numbers(2);
    for (name, program, make_case) in PUZZLES {
        let program = program();
        let shapes =
            [(1, 32, 0), (2, 32, 0), (3, 32, -20), (4, 32, -28), (5, 32, 7), (1, 16, 0), (3, 16, -32), (3, 8, 0)];
        for (stages, registers, moved) in shapes {
            let code =
                allocate(&program, &interleave(&program, &vec![moved; stages - 1], NEAR_SIGHTED), target(registers));
            let mut machine = Machine::new(&program, &code);
            let mut expected = Vec::new();
            for pass in 0..3 * stages {
                let (inputs, word) = make_case(&mut numbers);
                expected.push(word);
                let outputs = machine.pass(inputs);
                // A batch comes out when it has passed the last stage.
                if let Some(begun) = (pass + 1).checked_sub(stages) {
                    assert_eq!(outputs, [expected[begun]], "{name}, {stages} stages, {registers} registers");
                }
            }
        }
    }
}

/// Runs the segments of a puzzle one after the other, each by `run`, and finds the word of `second`'s digest. The pair runs once to begin
/// with `second`, and once more beside `first`.
fn run_segments(
    loop_from: usize,
    [pair, end]: [Program; 2],
    [first, second]: [&Pass; 2],
    run: impl Fn(&Program, [&Pass; 2]) -> Vec<u32>,
) -> u32 {
    let with = |pass: &Pass, vectors: &[u32], held: &[u32]| Pass {
        vectors: [&pass.vectors[..], vectors].concat(),
        held: held.to_vec(),
        ..pass.clone()
    };
    let body = segments::body();
    let bodies = |mut ring: Vec<u32>, mut state: Vec<u32>, count: usize| {
        for body_at in 0..count {
            let round = loop_from + body_at * segments::ROUNDS;
            let job = sha256d::K[round..round + segments::ROUNDS].to_vec();
            let pass = Pass { job, word: 0, vectors: ring.clone(), held: state };
            let mut words = run(&body, [&pass; 2]);
            state = words.split_off(segments::ROUNDS);
            ring.drain(..segments::ROUNDS);
            ring.extend(words);
        }
        (ring, state)
    };
    let [first_bodies, second_bodies] = segments::bodies(loop_from);
    let waits = [0xbad; segments::VARIABLES];
    let begun = run(&pair, [&with(second, &waits, &[]), &with(first, &waits, &[])]);
    let (ring, state) = (&begun[..segments::RING], &begun[segments::SECOND.end..]);
    let (_, state) = bodies(ring.to_vec(), state.to_vec(), first_bodies);
    let turned = run(&pair, [&with(first, &waits, &[]), &with(second, &state, &[])]);
    let (ring, state) = turned[segments::SECOND].split_at(segments::RING);
    let (ring, state) = bodies(ring.to_vec(), state.to_vec(), second_bodies);
    let ends = Pass { vectors: ring, held: state, ..second.clone() };
    let [word] = run(&end, [&ends; 2])[..] else { panic!("one word of the digest") };
    word
}

#[test]
fn segments_give_the_words_of_sha2() {
    let mut numbers = Numbers(4);
    let puzzles: [(MakePair, MakeProgram, MakeCase); 2] = [
        (segments::pair_header, segments::end_header, header_case),
        (segments::pair_text, segments::end_text, text_case),
    ];
    let interpreted = |program: &Program, [first, second]: [&Pass; 2]| {
        let mut words = interpret::program(program, first);
        if words.len() > segments::SECOND.end {
            words[segments::SECOND].copy_from_slice(&interpret::program(program, second)[segments::SECOND]);
        }
        words
    };
    let allocated = |program: &Program, [first, second]: [&Pass; 2]| {
        let machine = Target { registers: 16, operands: Operands::Vectors };
        let is_pair = program.outputs.len() > segments::SECOND.end;
        let places = if is_pair { segments::SECOND } else { 0..0 };
        let code = allocate(program, &side_by_side(program, places), machine);
        let mut machine = Machine::new(program, &code);
        if is_pair {
            machine.pass(second.clone());
        }
        machine.pass(first.clone())
    };
    for (pair, end, make_case) in puzzles {
        for loop_from in [16, 24, 32, 40] {
            for _ in 0..3 {
                let [(first, _), (second, word)] = [make_case(&mut numbers), make_case(&mut numbers)];
                let programs = || [pair(loop_from), end()];
                assert_eq!(run_segments(loop_from, programs(), [&first, &second], interpreted), word);
                assert_eq!(run_segments(loop_from, programs(), [&first, &second], allocated), word);
            }
        }
    }
}

#[test]
fn the_schedule_survives_allocation() {
    let program = sha256d::schedule();
    let code = allocate(&program, &interleave(&program, &[], NEAR_SIGHTED), target(32));
    let (pass, _) = header_case(&mut Numbers(3));
    assert_eq!(Machine::new(&program, &code).pass(pass.clone()), interpret::program(&program, &pass));
}

#[test]
fn a_hash_takes_no_more_operations_than_it_did() {
    let lengths =
        [sha256d::header, sha256d::rolled, sha256d::text, sha256d::schedule].map(|program| program().lanes.len());
    assert_eq!(lengths, [2853, 2386, 3028, 468]);
    let body = segments::body().lanes.len();
    for (loop_from, expected) in [(32, [5773, 6119]), (16, [6086, 6387])] {
        let bodies = segments::bodies(loop_from).iter().sum::<usize>() * body;
        let puzzles = [
            [segments::pair_header(loop_from), segments::end_header()],
            [segments::pair_text(loop_from), segments::end_text()],
        ];
        let lengths = puzzles.map(|ends| bodies + ends.iter().map(|program| program.lanes.len()).sum::<usize>());
        assert_eq!(lengths, expected);
    }
}

#[test]
fn tables_are_within_reach_of_one_byte() {
    for (name, program, _) in PUZZLES {
        assert!(program().table.len() <= 128, "{name}");
    }
}

#[test]
fn every_instruction_and_every_table_word_is_printed() {
    for (name, program, _) in PUZZLES {
        let program = program();
        let code = allocate(&program, &interleave(&program, &[-20, 0], FAR_SIGHTED), target(32));
        let assembler = print::avx512::print(&code);

        let lines = assembler.lines().filter(|line| line.contains("zmm")).count();
        assert_eq!(lines, code.instructions.len(), "{name}");
        let layout = Layout { stages: code.stages, slots: code.slots, vectors: program.vectors() };
        let rust = print::rust::shape(name, layout, &[&program], &[]);
        assert_eq!(rust.matches("    table.0[").count(), program.table.len(), "{name}");
    }
}

#[test]
fn segments_are_printed_once_each() {
    for loop_from in [16, 32] {
        let header = print::avx2::Puzzle::new(loop_from, segments::pair_header, segments::end_header());
        let assembler = header.print();
        // Bodies of two hashes, but one piece of code.
        assert_eq!(assembler.matches("call 5f").count(), 2);
        assert_eq!(assembler.matches("\n5:\n").count(), 1);
        let text = print::avx2::Puzzle::new(loop_from, segments::pair_text, segments::end_text());
        for (puzzle, given) in [(header, 1), (text, 2)] {
            let Layout { stages, slots, vectors } = puzzle.layout();
            assert_eq!([stages, vectors], [2, given]);
            assert!(slots <= 24 + 17, "{slots} vectors in a frame");
            let words = puzzle.tables().iter().map(|program| program.table.len()).sum::<usize>();
            assert!(words + puzzle.constants().len() <= 192);
        }
    }
}
