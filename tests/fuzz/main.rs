//! Each fuzz target for a minute, by libFuzzer with feedback from coverage: `cargo fuzz-minute [NAME…]`, all of them if none is named.
//!
//! The targets are tests of the library, `src/fuzz/`. This builds them with coverage's counters, which the stable compiler can do, and runs
//! each in a process of its own. HEADFRAME_FUZZ_SECONDS says for how long instead of a minute; HEADFRAME_FUZZ_RUNS, how often, for that
//! time at most if both are given; HEADFRAME_FUZZ_SEED, by which seed. An input that takes longer than ten seconds or 2 GiB is a fault like a panic.
//!
//! New inputs that reach more stay in the target directory, and the next run begins with them. An input that shows a fault is named: once
//! it is in `tests/corpus/`, `cargo test` shows the fault, too.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What makes the compiler count, and bolero hand its inputs over to libFuzzer. Only code for the target is built so: build scripts have
/// nobody to count for.
const FLAGS: &str = "--cfg fuzzing --cfg fuzzing_libfuzzer -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

fn main() -> ExitCode {
    let program = match build() {
        Ok(program) => program,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    let mut all: Vec<String> =
        fs::read_dir(kept()).unwrap().map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    let asked: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let targets = if asked.is_empty() { all } else { asked };
    let mut failed = false;
    for target in &targets {
        let result = fuzz(&program, target);
        failed |= result.is_err();
        println!("{target}: {}", result.unwrap_or_else(|problem| problem));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The inputs that are in the repository, by target.
fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Where the build is, the inputs that were found, and those that show faults.
fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz")
}

/// Compiles the unit tests. Gives the program.
fn build() -> Result<PathBuf, String> {
    let rustc = Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc cannot be run: {error}"))?;
    let version = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc names no host")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "--locked", "--profile", "fuzz", "--lib", "--no-run", "--target", host])
        .args(["--message-format", "json-render-diagnostics", "--target-dir"])
        .arg(place().join("target"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", FLAGS)
        .stderr(std::process::Stdio::inherit());
    // What cargo says of this test must not reach the other build: dependencies that look at it would be compiled anew.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.output().map_err(|error| format!("cargo cannot be run: {error}"))?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let values = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let program = values.filter_map(|value| value["executable"].as_str().map(PathBuf::from)).next_back();
    program.filter(|_| output.status.success()).ok_or_else(|| "the targets do not compile".to_owned())
}

/// Runs one target. Gives how often it ran.
fn fuzz(program: &Path, target: &str) -> Result<String, String> {
    let folder = |name: &str| place().join(target).join(name);
    let (grown, faults, log) = (folder("grown"), folder("faults"), folder("log"));
    [&grown, &faults].iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    let setting = |name: &str| std::env::var(format!("HEADFRAME_FUZZ_{name}")).ok();
    let mut words = vec![grown.display().to_string(), kept().join(target).display().to_string()];
    words.push(format!("-artifact_prefix={}/", faults.display()));
    let (runs, seconds) = (setting("RUNS"), setting("SECONDS"));
    let seconds = seconds.or_else(|| runs.is_none().then(|| "60".to_owned()));
    words.extend(runs.map(|runs| format!("-runs={runs}")));
    words.extend(seconds.map(|seconds| format!("-max_total_time={seconds}")));
    words.extend(setting("SEED").map(|seed| format!("-seed={seed}")));
    words.extend(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"].map(str::to_owned));
    let written = fs::File::create(&log).unwrap();
    let started = Instant::now();
    let status = Command::new(program)
        .args(["--exact", &format!("fuzz::{target}"), "--nocapture"])
        .env("BOLERO_LIBFUZZER_ARGS", words.join(" "))
        .stdout(written.try_clone().unwrap())
        .stderr(written)
        .status()
        .map_err(|error| format!("it cannot be run: {error}"))?;
    let told = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    let executed = told.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units: "));
    match executed.filter(|_| status.success()) {
        Some(count) => Ok(format!("{} times in {} s", count.trim(), started.elapsed().as_secs())),
        None => Err(format!("FAILED with {status}: {} says why, {} has the input", log.display(), faults.display())),
    }
}
