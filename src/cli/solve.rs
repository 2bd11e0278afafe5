//! `headframe solve`: one search on this box.

use super::run::end_on_signal;
use super::{Outcome, args, hashing, print, tell, usage};
use crate::scan::Solutions;
use crate::work::{Hashing, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, ZeroUnit};

pub(super) fn run(args: &args::Solve) -> anyhow::Result<Outcome> {
    end_on_signal()?;
    if args.start > args.end {
        return Err(usage(format_args!("expected --start to be at most --end, got {} and {}", args.start, args.end)));
    }
    let puzzle = TextPuzzle { prev: args.prev, timestamp: args.timestamp, hashing: Hashing::Double };
    let target = Target::from_zeros(args.zeros, ZeroUnit::Hex).map_err(usage)?;
    let job = Job::new(Puzzle::Text(puzzle), target, if args.all { Search::Every } else { Search::First });
    let range = NonceRange::new(args.start, args.end + 1);
    let show = |nonce| {
        let hash = job.puzzle.digest(nonce);
        match args.output.json {
            true => print(serde_json::json!({"nonce": nonce, "hash": hash})),
            false => print(format_args!("{nonce} {hash}")),
        }
    };
    let mut outcome = Outcome::Nothing;
    if args.all {
        let (choice, threads) = hashing::resolve_pinned(&args.hashing)?;
        for nonce in Solutions::start(choice.kernel, threads, job, range)? {
            outcome = Outcome::Done;
            show(nonce)?;
        }
    } else if let Some(nonce) = hashing::lowest(&args.hashing, job, range)? {
        outcome = Outcome::Done;
        show(nonce)?;
    }
    if outcome == Outcome::Nothing {
        tell(format_args!("no nonce from {} to {} gives {} leading zeros", args.start, args.end, args.zeros));
    }
    Ok(outcome)
}
