//! `headframe grind`: a stand-in for `bitcoin-util grind`.

use super::run::end_on_signal;
use super::{Outcome, args, hashing, print, tell, usage};
use crate::work::{HeaderPuzzle, Job, Puzzle, Search, Target};

pub(super) fn run(args: &args::Grind) -> anyhow::Result<Outcome> {
    end_on_signal()?;
    let puzzle = HeaderPuzzle { header: args.header, version_mask: 0 };
    let target = Target::from_bits(args.header.bits).map_err(usage)?;
    let job = Job::new(Puzzle::Header(puzzle), target, Search::First);
    match hashing::lowest(&args.hashing, job, job.space())? {
        Some(nonce) => {
            print(puzzle.at(nonce))?;
            Ok(Outcome::Done)
        }
        None => {
            tell("none of the 4,294,967,296 nonces solves this header; change its time or its merkle root");
            Ok(Outcome::Nothing)
        }
    }
}
