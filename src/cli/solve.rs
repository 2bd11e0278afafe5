//! `headframe solve`: one search on this box.

use super::{Outcome, args, hashing, print, usage};
use crate::scan::Solutions;
use crate::work::{Hashing, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, ZeroUnit};

pub(super) fn run(args: &args::Solve) -> anyhow::Result<Outcome> {
    if args.start > args.end {
        return Err(usage(format_args!("expected --start to be at most --end, got {} and {}", args.start, args.end)));
    }
    let puzzle = TextPuzzle { prev: args.prev, timestamp: args.timestamp, hashing: Hashing::Double };
    let target = Target::from_zeros(args.zeros, ZeroUnit::Hex).map_err(usage)?;
    let job = Job::new(Puzzle::Text(puzzle), target, if args.all { Search::Every } else { Search::First });
    let range = NonceRange::new(args.start, args.end + 1);
    let (choice, threads) = hashing::resolve(&args.hashing)?;
    let mut outcome = Outcome::Nothing;
    for nonce in Solutions::start(choice.kernel, threads, job, range)? {
        outcome = Outcome::Done;
        let hash = job.puzzle.digest(nonce);
        match args.output.json {
            true => print(serde_json::json!({"nonce": nonce, "hash": hash}))?,
            false => print(format_args!("{nonce} {hash}"))?,
        }
    }
    Ok(outcome)
}
