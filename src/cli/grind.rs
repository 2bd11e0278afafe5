//! `headframe grind`: a stand-in for `bitcoin-util grind`.

use super::{Outcome, args, hashing, print, usage};
use crate::scan::Solutions;
use crate::work::{HeaderPuzzle, Job, Puzzle, Search, Target};

pub(super) fn run(args: &args::Grind) -> anyhow::Result<Outcome> {
    let puzzle = HeaderPuzzle { header: args.header, version_mask: 0 };
    let target = Target::from_bits(args.header.bits).map_err(usage)?;
    let job = Job::new(Puzzle::Header(puzzle), target, Search::First);
    let (choice, threads) = hashing::resolve(&args.hashing)?;
    match Solutions::start(choice.kernel, threads, job, job.space())?.next() {
        Some(nonce) => {
            print(puzzle.at(nonce))?;
            Ok(Outcome::Done)
        }
        None => Ok(Outcome::Nothing),
    }
}
