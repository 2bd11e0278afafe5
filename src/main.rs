//! The `headframe` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    headframe::cli::main()
}
