//! `headframe completions` and `headframe man`: what the commands and options are, for shells and for `man`.

use std::fs;
use std::io;

use anyhow::Context;

use super::args::{self, Cli};
use super::{Outcome, print};

pub(super) fn completions(args: &args::Completions) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::definition(), "headframe", &mut script);
    io::Write::write_all(&mut io::stdout(), &script).context("cannot write to standard output")?;
    Ok(Outcome::Done)
}

pub(super) fn man(args: &args::Man) -> anyhow::Result<Outcome> {
    let dir = &args.dir;
    let cannot = || format!("cannot write man pages into {}", dir.display());
    fs::create_dir_all(dir).with_context(cannot)?;
    clap_mangen::generate_to(Cli::definition(), dir).with_context(cannot)?;
    print(format_args!("wrote man pages into {}", dir.display()))?;
    Ok(Outcome::Done)
}
