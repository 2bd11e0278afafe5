//! The command line: parse it, work out the settings, run the command, give the exit code.

mod affinity;
mod args;
mod bench;
mod certs;
mod check;
mod describe;
#[cfg(test)]
pub(crate) mod fuzz;
mod grind;
mod hashing;
mod log;
mod node;
mod run;
mod service;
mod settings;
mod solve;
mod sources;
mod status;
mod transports;
mod up;
mod view;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;

use args::{Cli, Command};

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// It searched everything and found nothing.
    Nothing,
}

/// A wrong usage or configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Shorthand for a usage error.
fn usage(problem: impl ToString) -> anyhow::Error {
    Usage(problem.to_string()).into()
}

/// Runs the program on this process's arguments. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 searched everything and
/// found nothing.
pub fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let result = log::start().and_then(|()| match cli.command {
        Command::Up(args) => up::run(args),
        Command::Node(args) => node::run(args),
        Command::Service(args) => service::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Solve(args) => solve::run(&args),
        Command::Grind(args) => grind::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Check(args) => check::run(args),
        Command::Completions(args) => describe::completions(&args),
        Command::Man(args) => describe::man(&args),
    });
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Nothing) => ExitCode::from(3),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS, // the reader has seen enough
        Err(error) => {
            tell(format_args!("{error:#}"));
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

/// Writes a line for the user, beside the data.
fn tell(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "headframe: {line}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == ErrorKind::BrokenPipe))
}

/// Writes a line of data.
fn print(line: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write to standard output")
}
