//! Everything that reads what others have written, fed with whatever a machine can think of.
//!
//! ```text
//! tests/corpus/TARGET/*  ──> mutated by seeds (cargo test: a second each)        ──> a target: fn(&[u8]) -> bool, which panics where a law is broken
//!                        ──> libFuzzer, by coverage (cargo fuzz-minute: a minute)
//! ```
//!
//! A target stands in the file `fuzz.rs` of the layer that it feeds, and the table below has all of them. It takes any bytes, and checks more
//! than that nothing panics: what was decoded can be encoded and is the same again, a file that opens keeps what is written to it. It says
//! whether the bytes were taken for what they should be. Of those in the corpus some have to be, or the target would test nothing.
//!
//! An input that has found a fault belongs into the corpus, which every `cargo test` tries first. A seed that fails is named, and
//! `BOLERO_RANDOM_SEED=… cargo test fuzz::TARGET` tries it again. `BOLERO_RANDOM_ITERATIONS` says how many seeds are tried instead of
//! as many as a second allows.

#[cfg(not(fuzzing_libfuzzer))]
mod mutate;

use std::path::Path;

/// A test of each target.
macro_rules! targets {
    ($($name:ident => $target:path;)+) => {$(
        #[test]
        fn $name() {
            run(bolero::check!(), stringify!($name), $target);
        }
    )+};
}

targets! {
    answers => crate::source::fuzz::answers;
    calls => crate::transport::grpc::fuzz::calls;
    certificates => crate::transport::fuzz::certificates;
    chain => crate::service::fuzz::chain;
    clusters => crate::node::fuzz::clusters;
    config => crate::cli::fuzz::config;
    entries => crate::cli::fuzz::entries;
    frames => crate::transport::fuzz::frames;
    headers => crate::work::fuzz::headers;
    heartbeats => crate::node::fuzz::heartbeats;
    requests => crate::service::fuzz::requests;
    solutions => crate::node::fuzz::solutions;
    stratum => crate::source::fuzz::stratum;
    texts => crate::transport::udp::fuzz::texts;
    timestamps => crate::work::fuzz::timestamps;
}

/// A folder for the files of one input: in memory, where the system has such a place.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// What `bolero::check!` gives.
type Check = bolero::TestTarget<bolero::ByteSliceGenerator, bolero::DefaultEngine, bolero::BorrowedInput>;

/// libFuzzer reads the corpus and mutates it by itself.
#[cfg(fuzzing_libfuzzer)]
fn run(check: Check, _: &str, target: fn(&[u8]) -> bool) {
    check.for_each(|bytes: &[u8]| {
        target(bytes);
    });
}

#[cfg(not(fuzzing_libfuzzer))]
fn run(check: Check, name: &str, target: fn(&[u8]) -> bool) {
    let kept = kept(name);
    let is_taken = |(file, bytes): &&(String, Vec<u8>)| {
        println!("{file}"); // shown if it fails
        target(bytes)
    };
    let taken = kept.iter().filter(is_taken).count();
    assert!(0 < taken && taken < kept.len(), "{taken} of {} inputs are taken", kept.len());
    let corpus: Vec<Vec<u8>> = kept.into_iter().map(|(_, bytes)| bytes).collect();
    let (second, nothing) = (std::time::Duration::from_secs(1), std::time::Duration::ZERO);
    let check = check.with_test_time(second).with_shrink_time(nothing); // a smaller seed makes no smaller input
    check.with_type::<u64>().map(move |seed| mutate::mutated(&corpus, seed)).for_each(|bytes: &Vec<u8>| {
        target(bytes);
    });
}

/// The target's kept inputs, each with its file's name.
#[cfg(not(fuzzing_libfuzzer))]
fn kept(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort(); // so that a seed makes the same input on every machine
    files.into_iter().map(|file| (file.display().to_string(), std::fs::read(file).unwrap())).collect()
}
