//! `headframe grind`: a stand-in for `bitcoin-util grind`, as in the `--grind-cmd` of Bitcoin Core's signet miner.
//!
//! 1. The header comes as a word of the command line, or as the first line of standard input.
//! 2. All cores search for the lowest nonce whose hash meets the header's own bits.
//! 3. The header with that nonce goes to standard output. Where there is none, `bitcoin-util`'s message goes to standard error.

use std::io::{self, BufRead};
use std::str::FromStr;

use super::run::end_on_signal;
use super::{Outcome, args, hashing, print, tell, usage};
use crate::work::{Header, HeaderError, HeaderPuzzle, Job, Puzzle, Search, Target};

/// The version bits that BIP 320 leaves to miners.
const BIP_320: u32 = 0x1fff_e000;

/// The longest line that is read from standard input, in bytes: a header and a little more, so that what came can be named.
const MAX_LINE: u64 = 1024;

/// Where the header comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFrom {
    Word(Header),
    StandardInput,
}

impl FromStr for HeaderFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "-" => Ok(Self::StandardInput),
            text => text.parse().map(Self::Word).map_err(|error: HeaderError| undecodable(error)),
        }
    }
}

impl HeaderFrom {
    fn read(self) -> anyhow::Result<Header> {
        match self {
            Self::Word(header) => Ok(header),
            Self::StandardInput => first_line(io::stdin().lock()).map_err(usage),
        }
    }
}

/// A mask of version bits in hex, with or without `0x`: some of those of BIP 320.
pub(super) fn version_mask(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_hex = digits.chars().all(|c| c.is_ascii_hexdigit()); // a sign is none
    let mask = u32::from_str_radix(digits, 16).ok().filter(|mask| is_hex && mask & !BIP_320 == 0);
    mask.ok_or_else(|| {
        format!("expected version bits of BIP 320 in hex, {BIP_320:08x} or some of them, got {text:?}; leave it out to roll none")
    })
}

pub(super) fn run(args: &args::Grind) -> anyhow::Result<Outcome> {
    end_on_signal()?;
    let Some(from) = args.header else {
        return Err(usage(
            "Must specify block header to grind: headframe grind <HEADER>, or - to read it from standard input",
        ));
    };
    let header = from.read()?;
    let puzzle = HeaderPuzzle { header, version_mask: args.version_mask };
    let target = Target::from_bits(header.bits).map_err(|error| usage(unsatisfied(error)))?;
    let job = Job::new(Puzzle::Header(puzzle), target, Search::First);
    match hashing::lowest(&args.hashing, job, job.space())? {
        Some(nonce) => {
            print(puzzle.at(nonce))?;
            Ok(Outcome::Done)
        }
        None => {
            let tried =
                format!("none of {} headers has a good hash; change its time or its merkle root", job.space().len());
            tell(unsatisfied(tried));
            Ok(Outcome::Nothing)
        }
    }
}

/// The header in the first line, without the spaces around it.
fn first_line(input: impl BufRead) -> Result<Header, String> {
    let mut line = String::new();
    input.take(MAX_LINE).read_line(&mut line).map_err(|error| undecodable(format!("standard input: {error}")))?;
    line.trim().parse().map_err(|error: HeaderError| undecodable(format!("standard input: {error}")))
}

/// As `bitcoin-util` says it, so that scripts that look for its message find it; then our own reason.
fn undecodable(reason: impl std::fmt::Display) -> String {
    format!("Could not decode block header: {reason}")
}

/// As for [`undecodable`].
fn unsatisfied(reason: impl std::fmt::Display) -> String {
    format!("Could not satisfy difficulty target: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::fixtures::{GENESIS, genesis};

    #[test]
    fn the_first_line_is_the_header() {
        assert_eq!(first_line(format!("  {GENESIS} \r\nmore").as_bytes()), Ok(genesis()));
        let long = "0".repeat(5000);
        for (input, told) in [
            (&b""[..], "got 0 characters"),
            (b"\n", "got 0 characters"),
            (b"00\n", "got 2 characters"),
            (b"\xff\xfe\n", "UTF-8"),
            (long.as_bytes(), "got 1024 characters"),
        ] {
            let error = first_line(input).unwrap_err();
            assert!(error.starts_with("Could not decode block header: standard input: "), "{error}");
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn only_version_bits_of_bip_320_are_rolled() {
        for (text, mask) in [("1fffe000", BIP_320), ("0x1FFFE000", BIP_320), ("2000", 0x2000), ("0", 0)] {
            assert_eq!(version_mask(text), Ok(mask));
        }
        for wrong in ["", "0x", "+2000", "20000000", "1000", "ffffffff", "1ffffe0000", "xyz", "-1"] {
            let error = version_mask(wrong).unwrap_err();
            assert!(error.contains("1fffe000") && error.contains(&format!("got {wrong:?}")), "{error}");
        }
    }
}
