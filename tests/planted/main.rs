//! Wrong variants of the rules, each of which the simulation has to find: `cargo planted [NAME…]`, all of them if none is named.
//!
//! A variant is a patch beside this file, a slip that somebody could plausibly make. Its first line says which rule it breaks. Each is applied
//! to a copy of the source, and the simulation runs there until a seed fails. A variant that no seed of a thousand shows is an error: then
//! a law or a fault is missing in `src/node/sim`, or the variant does no harm. So is a patch that no longer applies.
//!
//! The copy and its build stay in the target directory, so that from one variant to the next only what has changed is compiled.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Seeds that are tried before a variant counts as not found, unless HEADFRAME_SIM_SEEDS says how many.
const SEEDS: u64 = 1000;

/// A seed takes a tenth of a second. One that takes so long goes round in circles.
const LONGEST_SEED: Duration = Duration::from_secs(60);

/// Address space of the simulation, in KiB: a variant in which messages beget messages must not take the machine's memory.
const MEMORY: u64 = 8 << 20;

/// What is not copied.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// How the copy is tested: the simulation needs the node only, and what is compiled anew each time had better be compiled fast.
const BUILD: [&str; 8] =
    ["test", "--locked", "--profile", "planted", "--no-default-features", "--features", "node", "--lib"];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches = root.join("tests/planted");
    let mut all: Vec<String> =
        fs::read_dir(&patches).unwrap().filter_map(|entry| name(&entry.unwrap().path())).collect();
    all.sort();
    let asked: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let variants = if asked.is_empty() { all } else { asked };
    let seeds = std::env::var("HEADFRAME_SIM_SEEDS")
        .map_or(SEEDS, |seeds| seeds.parse().expect("HEADFRAME_SIM_SEEDS is a number"));
    let copy = place().join("copy");
    let begin = Instant::now();
    let mut failures = Vec::new();
    for variant in &variants {
        let started = Instant::now();
        let result = restore(root, &copy)
            .and_then(|()| apply(&copy, &patches.join(format!("{variant}.patch"))))
            .and_then(|()| build(&copy))
            .and_then(|program| simulate(&program, seeds));
        let seconds = started.elapsed().as_secs_f64();
        let line = match &result {
            Ok(how) => format!("{variant}: found ({seconds:.0} s): {how}"),
            Err(problem) => format!("{variant}: {problem} ({seconds:.0} s)"),
        };
        println!("{line}");
        failures.extend(result.is_err().then_some(line));
    }
    let (count, seconds) = (variants.len(), begin.elapsed().as_secs());
    println!("{} of {count} variants found in {seconds} s", count - failures.len());
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where the copy and its build are.
fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted")
}

fn name(path: &Path) -> Option<String> {
    let is_patch = path.extension().is_some_and(|extension| extension == "patch");
    is_patch.then(|| path.file_stem().unwrap().to_str().unwrap().to_owned())
}

/// Makes the copy what the source is. Files that are right already are not touched, so that they need not be compiled again.
fn restore(root: &Path, copy: &Path) -> Result<(), String> {
    let (wanted, present) = (files(root), files(copy));
    for file in present.difference(&wanted) {
        fs::remove_file(copy.join(file)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    for file in &wanted {
        let (from, to) = (root.join(file), copy.join(file));
        let content = fs::read(&from).map_err(|error| format!("{}: {error}", from.display()))?;
        if fs::read(&to).is_ok_and(|present| present == content) {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap())
            .and_then(|()| fs::write(&to, content))
            .map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}

/// Every file below a directory, by its path from there.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let (mut files, mut directories) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory)).into_iter().flatten().flatten() {
            let path = directory.join(entry.file_name());
            match entry.file_type() {
                _ if LEFT_OUT.iter().any(|&name| path == Path::new(name)) => {}
                Ok(kind) if kind.is_dir() => directories.push(path),
                Ok(kind) if kind.is_file() => drop(files.insert(path)),
                _ => {}
            }
        }
    }
    files
}

/// Applies a patch to the copy, exactly. Git must not take the copy for a part of the repository around it.
fn apply(copy: &Path, patch: &Path) -> Result<(), String> {
    let mut git = Command::new("git");
    git.args(["apply", "--whitespace=nowarn"]).arg(patch).current_dir(copy);
    let output = git.env("GIT_CEILING_DIRECTORIES", copy.parent().unwrap()).output();
    let output = output.map_err(|error| format!("git cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("the patch does not apply: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Compiles the copy's unit tests. Gives the program.
fn build(copy: &Path) -> Result<PathBuf, String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(BUILD).args(["--no-run", "--message-format", "json-render-diagnostics"]).current_dir(copy);
    // What cargo says of this test must not reach the build of the copy: dependencies that look at it would be compiled anew.
    for (name, _) in std::env::vars_os() {
        let is_said = ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.to_string_lossy().starts_with(start));
        if is_said {
            cargo.env_remove(name);
        }
    }
    cargo.arg("--target-dir").arg(place().join("target"));
    let output = cargo.output().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("it does not compile: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let values = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let program = values.filter_map(|value| value["executable"].as_str().map(PathBuf::from)).next_back();
    program.ok_or_else(|| "cargo names no program".to_owned())
}

/// Runs the simulation until a seed fails. Gives how the variant was found, which it also is if the simulation ends without a verdict, or
/// not at all.
fn simulate(program: &Path, seeds: u64) -> Result<String, String> {
    let command = format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &command])
        .arg(program)
        .args(["--exact", "node::sim::tests::first_failure", "--ignored", "--nocapture"])
        .env("HEADFRAME_SIM_SEEDS", seeds.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("the simulation cannot be run: {error}"))?;
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        output.lines().map_while(Result::ok).for_each(|line| sender.send(line).unwrap_or_default());
    });
    let (mut first, mut is_clean) = (None, false);
    let hangs = loop {
        match lines.recv_timeout(LONGEST_SEED) {
            Ok(line) => {
                is_clean |= line.starts_with("no seed fails");
                first = first.or_else(|| line.strip_prefix("the first seed that fails is ").map(str::to_owned));
            }
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    if hangs {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let _ = reader.join();
    match first {
        Some(seed) => Ok(format!("at seed {seed}")),
        None if hangs => Ok(format!("a seed does not end within {LONGEST_SEED:?}")),
        None if is_clean => Err(format!("NOT FOUND within {seeds} seeds")),
        None => Ok(format!("the simulation ends with {status}")),
    }
}
