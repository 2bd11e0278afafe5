//! One suite for every kernel in each of its variants: the same nonces as the reference path, wherever lanes, stages, digits or versions change.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use headframe::kernel::{Hits, Kernel, Prepared, available, available_variants};
use headframe::work::{
    Digest, Hashing, Header, HeaderPuzzle, Job, NonceRange, Puzzle, Search, Target, TextPuzzle, WitnessBits, ZeroUnit,
};

/// The unit tests' inputs; not all of them are needed here.
#[allow(dead_code)]
#[path = "../src/work/fixtures.rs"]
mod fixtures;

use fixtures::{GENESIS, TIMESTAMP, check_text, header, text};

/// The widest kernel's lanes, and the most batches that are on their way at once.
const LANES: u64 = 16;
const STAGES: u64 = 4;

fn job(puzzle: Puzzle, zero_bits: i64) -> Job {
    Job::new(puzzle, Target::from_zeros(zero_bits, ZeroUnit::Bits).unwrap(), Search::Every)
}

/// Every form of puzzle, and a place in its nonces where the fast path runs.
fn puzzles() -> Vec<(Puzzle, u64)> {
    vec![
        (header(0), 1 << 20),
        (header(1 << 13), 1 << 20),
        (header(0x6000), 1 << 20),
        (header(0x1fff_e000), 1 << 20),
        (check_text(), 20_000_000),
        (text(TIMESTAMP, Hashing::Single), 20_000_000),
        (text("1550766000", Hashing::Double), 200_000_000),
        (text("20190221160000", Hashing::Double), 1_200_000_000),
    ]
}

/// Every kernel that takes the fastest of its variants, and every variant.
fn kernels() -> impl Iterator<Item = &'static dyn Kernel> {
    available().into_iter().filter(|kernel| !kernel.variants().is_empty()).chain(available_variants())
}

/// Every kernel finds what the reference path finds.
fn check(job: Job, range: NonceRange) -> usize {
    let expected: Vec<_> = (range.start..range.end).filter(|&nonce| job.check(nonce).is_some()).collect();
    for kernel in kernels() {
        assert_eq!(Prepared::new(kernel, job).scan(range), expected, "{kernel:?}, {job:?}, {range:?}");
    }
    expected.len()
}

/// Every kernel, what it needs of the CPU, and whether this one has it.
fn every_kernel() -> Vec<(&'static str, &'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    let of_the_cpu = [
        ("avx512", "AVX-512F", is_x86_feature_detected!("avx512f")),
        ("sha-ni", "SHA extensions with AVX", is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx")),
        ("avx2", "AVX2", is_x86_feature_detected!("avx2")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let of_the_cpu = [("avx512", "x86-64", false), ("sha-ni", "x86-64", false), ("avx2", "x86-64", false)];
    of_the_cpu.into_iter().chain([("portable", "nothing", true)]).collect()
}

/// Says which kernels this suite runs and which it cannot. The test runner shows what a test prints only if it fails, so this goes
/// around it.
#[test]
fn every_kernel_is_tested_or_named_as_skipped() {
    let there: Vec<_> = available().iter().map(|kernel| kernel.name()).collect();
    let line = |(name, needs, _): (_, _, bool)| match there.contains(&name) {
        true => format!("tested: {name}\n"),
        false => format!("SKIPPED: {name} (this CPU has no {needs})\n"),
    };
    let lines: String = every_kernel().into_iter().map(line).collect();
    std::io::stderr().write_all(lines.as_bytes()).unwrap();
    let expected: Vec<_> =
        every_kernel().into_iter().filter(|(.., is_there)| *is_there).map(|(name, ..)| name).collect();
    assert_eq!(there, expected, "kernels that this CPU has, or that are missing in this list");
}
#[test]
fn ranges_of_any_length_from_any_lane() {
    for (puzzle, place) in puzzles() {
        let job = job(puzzle, 4);
        for start in [0, 1, LANES - 1, LANES, LANES + 1] {
            for length in (0..=LANES + 1).chain([3 * LANES - 1, 3 * LANES, 3 * LANES + 1, 8 * LANES + 1]) {
                check(job, NonceRange::new(place + start, place + start + length));
            }
        }
    }
}

#[test]
fn a_hit_in_every_lane_of_every_stage() {
    for (puzzle, place) in puzzles() {
        // The target that every hash meets: no batch comes out without candidates.
        let length = LANES * STAGES * 8 + 3;
        assert_eq!(check(job(puzzle, 0), NonceRange::new(place + 5, place + 5 + length)) as u64, length);
        // Half of them, a quarter: several in one batch, and some without.
        check(job(puzzle, 1), NonceRange::new(place, place + length));
        check(job(puzzle, 2), NonceRange::new(place, place + length));
        // A single lane of a batch, if any.
        assert!(check(job(puzzle, 7), NonceRange::new(place, place + 4000)) > 0);
    }
}

#[test]
fn targets_that_are_no_power_of_two() {
    for (puzzle, place) in puzzles() {
        for high in [0xffff_fffe, 0x8000_0000, 0x7fff_fffe, 0x0123_4567, 0x0080_0000] {
            let mut bytes = [0x37; 32];
            bytes[..4].copy_from_slice(&u32::to_be_bytes(high));
            let job = job(puzzle, 0).with_target(Target::from_be_bytes(bytes));
            check(job, NonceRange::new(place, place + 300));
        }
    }
}

#[test]
fn the_first_and_the_last_nonces() {
    for (puzzle, _) in puzzles() {
        let space = puzzle.space();
        check(job(puzzle, 3), NonceRange::new(space.start, space.start + 100));
        check(job(puzzle, 3), NonceRange::new(space.end - 100, space.end));
        // What is beyond the space is not searched.
        for kernel in kernels() {
            let found = Prepared::new(kernel, job(puzzle, 0)).scan(NonceRange::new(space.end - 2, u64::MAX));
            assert_eq!(found, [space.end - 2, space.end - 1], "{kernel:?}");
        }
    }
}

#[test]
fn where_the_versions_above_the_nonce_field_change() {
    for (mask, group_bits) in [(0x1fff_e000, 3), (0x6000, 2), (0x0100_2000, 2), (0x8000_0001, 2), (0xe000, 3)] {
        let next = 1 << (32 + group_bits);
        let puzzle = header(mask);
        check(job(puzzle, 4), NonceRange::new(next - 300, (next + 300).min(puzzle.space().end)));
    }
}

#[test]
fn where_the_number_of_digits_changes() {
    for timestamp in ["7", "1550766000", TIMESTAMP, "20190221160000", "99999999999999999999"] {
        for hashing in [Hashing::Single, Hashing::Double] {
            for digits in 1..=9 {
                let first = 10u64.pow(digits);
                check(job(text(timestamp, hashing), 3), NonceRange::new(first - 9.min(first - 1), first + 1));
                check(job(text(timestamp, hashing), 3), NonceRange::new(first - 40.min(first - 1), first + 70));
            }
        }
    }
}

#[test]
fn where_the_higher_digits_change() {
    for first in [1_001_000, 1_234_000, 9_998_000, 10_010_000, 12_350_000, 100_160_000, 999_990_000, 1_999_990_000u64] {
        check(job(check_text(), 4), NonceRange::new(first - 50, first + 50));
        check(job(check_text(), 7), NonceRange::new(first - 5, first + 10_005));
    }
}

/// A row of 1,000 nonces is no whole number of batches.
#[test]
fn rows_that_end_within_a_batch() {
    for start in [1_000_000, 4_567_890, 9_990_000u64] {
        check(job(check_text(), 1), NonceRange::new(start, start + 20_000));
    }
}

#[test]
fn timestamps_of_every_length() {
    for length in 1..=20 {
        let timestamp = &"91827364554637281909"[..length];
        for place in [12_345_678, 123_456_789, 1_234_567_890] {
            check(job(text(timestamp, Hashing::Double), 3), NonceRange::new(place, place + 100));
        }
    }
}

/// Numbers without a pattern (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn digest(&mut self) -> Digest {
        Digest(std::array::from_fn(|_| self.below(256) as u8))
    }
}

#[test]
fn random_jobs_and_ranges() {
    let mut numbers = Numbers(0x5eed);
    for _ in 0..60 {
        random_pair(&mut numbers, 1500);
    }
}

/// Checks a random header and a random text over fewer than `most` nonces each. Gives how many there were.
fn random_pair(numbers: &mut Numbers, most: u64) -> u64 {
    let random = HeaderPuzzle {
        header: Header {
            version: numbers.below(1 << 32) as u32,
            prev_blockhash: numbers.digest(),
            merkle_root: numbers.digest(),
            time: numbers.below(1 << 32) as u32,
            bits: numbers.below(1 << 32) as u32,
            nonce: 0,
        },
        version_mask: [0, 0x2000, 0x6000, 0x1fff_e000][numbers.below(4) as usize],
    };
    let timestamp = numbers.below(1 << 62).to_string();
    let hashing = if numbers.below(4) == 0 { Hashing::Single } else { Hashing::Double };
    let prev = numbers.digest();
    let text = TextPuzzle { prev, timestamp: timestamp.parse().unwrap(), hashing };
    let mut searched = 0;
    for puzzle in [Puzzle::Header(random), Puzzle::Text(text)] {
        let space = puzzle.space();
        let start = space.start + numbers.below(space.len());
        let range = NonceRange::new(start, start + numbers.below(most)).intersection(&space);
        check(job(puzzle, 5), range);
        searched += range.len();
    }
    searched
}

/// So long that the pipeline is fed several times.
#[test]
fn long_ranges() {
    for (puzzle, place) in puzzles() {
        let (job, bits) = (job(puzzle, 14), WitnessBits::new(11).unwrap());
        let range = NonceRange::new(place + 3, place + 400_003);
        let hits = |kernel| {
            let hits = Prepared::with_witnesses(kernel, job, bits).hits(range);
            assert_eq!(Prepared::new(kernel, job).scan(range), hits.solutions, "{kernel:?}, {puzzle:?}");
            hits
        };
        let results: Vec<_> = kernels().map(hits).collect();
        assert!(results[0].solutions.len() > 5 && results[0].witnesses.len() > 100, "{puzzle:?}");
        for result in &results {
            assert_eq!(result, results.last().unwrap(), "{puzzle:?}");
        }
    }
}

#[test]
fn a_range_scanned_in_parts_gives_the_same() {
    for (puzzle, place) in puzzles() {
        for kernel in kernels() {
            let prepared = Prepared::new(kernel, job(puzzle, 6));
            let whole = prepared.scan(NonceRange::new(place, place + 3000));
            let mut rest = NonceRange::new(place, place + 3000);
            let mut parts = Vec::new();
            for length in (1..).step_by(7) {
                if rest.is_empty() {
                    break;
                }
                parts.extend(prepared.scan(rest.take_front(length)));
            }
            assert_eq!(whole, parts, "{kernel:?}, {puzzle:?}");
        }
    }
}

/// Every kernel finds the solutions and the witnesses that the reference path finds. Gives how many witnesses there were.
fn check_witnesses(job: Job, bits: u8, range: NonceRange) -> usize {
    let bits = WitnessBits::new(bits).unwrap();
    let mut expected = Hits::default();
    for nonce in range.start..range.end {
        if bits.check(&job.puzzle, nonce).is_some() {
            expected.witnesses.push(nonce);
        }
        if job.check(nonce).is_some() {
            expected.solutions.push(nonce);
            if job.goal.search == Search::First {
                break;
            }
        }
    }
    for kernel in kernels() {
        let prepared = Prepared::with_witnesses(kernel, job, bits);
        assert_eq!(prepared.hits(range), expected, "{kernel:?}, {job:?}, {bits:?}, {range:?}");
        assert_eq!(prepared.scan(range), expected.solutions, "{kernel:?}, {job:?}, {bits:?}, {range:?}");
    }
    expected.witnesses.len()
}

#[test]
fn witnesses_of_ranges_of_any_length_from_any_lane() {
    for (puzzle, place) in puzzles() {
        for (start, bits) in [(0, 0), (1, 1), (LANES - 1, 2), (LANES, 3), (LANES + 1, 4)] {
            for length in [0, 1, LANES - 1, LANES, LANES + 1, STAGES * LANES - 1, STAGES * LANES + 1, 8 * LANES + 1] {
                check_witnesses(job(puzzle, 60), bits, NonceRange::new(place + start, place + start + length));
            }
        }
    }
}

#[test]
fn witnesses_may_be_rarer_or_more_frequent_than_solutions() {
    for (puzzle, place) in puzzles() {
        let range = NonceRange::new(place + 3, place + 6003);
        for (zeros, bits) in [(256, 7), (60, 7), (9, 7), (7, 7), (5, 7), (0, 7), (3, 40)] {
            let witnesses = check_witnesses(job(puzzle, zeros), bits, range);
            assert_eq!(witnesses > 0, bits == 7, "{puzzle:?}");
            // Where a solution ends the search, no witness behind it is looked for.
            let every = job(puzzle, zeros);
            let first = Job::new(puzzle, every.target(), Search::First);
            let before = check_witnesses(first, bits, range);
            assert_eq!(before < witnesses, zeros <= 9 && bits == 7, "{puzzle:?}, {zeros}");
        }
    }
}

#[test]
fn witnesses_where_digits_and_versions_change() {
    for digits in 1..=9 {
        let first = 10u64.pow(digits);
        let puzzle = check_text();
        check_witnesses(job(puzzle, 60), 3, NonceRange::new(first - 40.min(first - 1), first + 70));
    }
    for (mask, group_bits) in [(0x1fff_e000, 3), (0x6000, 2), (0x8000_0001, 2)] {
        let next = 1 << (32 + group_bits);
        let puzzle = header(mask);
        let range = NonceRange::new(next - 300, next + 300).intersection(&puzzle.space());
        assert!(check_witnesses(job(puzzle, 60), 4, range) > 0);
    }
}

/// Blocks 1, 100000 to 100003, and one each of the versions that BIP 34, 66, 65, 9 and 91 brought (version 3 twice).
const REAL: [&str; 11] = [
    "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000982051fd1e4ba744bbbe680e1fee1467\
     7ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299",
    "0100000050120119172a610421a6c3011dd330d9df07b63616c2cc1f1cd00200000000006657a9252aacd5c0b2940996ecff9522\
     28c3067cc38d4885efb5a4ac4247e9f337221b4d4c86041b0f2b5710",
    "0100000006e533fd1ada86391f3f6c343204b0d278d4aaec1c0b20aa27ba0300000000006abbb3eb3d733a9fe18967fd7d4c117e\
     4ccbbac5bec4d910d900b3ae0793e77f54241b4d4c86041b4089cc9b",
    "0100000090f0a9f110702f808219ebea1173056042a714bad51b916cb6800000000000005275289558f51c9966699404ae229473\
     0c3c9f9bda53523ce50e9b95e558da2fdb261b4d4c86041b1ab1bf93",
    "01000000aff7e0c7dc29d227480c2aa79521419640a161023b51cdb28a3b0100000000003779fc09d638c4c6da0840c41fa625a9\
     0b72b125015fd0273f706d61f3be175faa271b4d4c86041b142dca82",
    "02000000b64ea7b7615283a01d9d6019f5bfbd694d2a534ca87a7d07aa0100000000000045ff55adc8d6bc183e9abfa7bdfef3e7\
     b942d786dcd116e776ead8238451a238ac204f516e81021ad0f8cd01",
    "030000000d6ef1e411382c00d8fd5b9d0f1acb1748e4d3de33e4320500000000000000009437e2c5a160c8e40050354ba7eb0ad0\
     df925da3c277d0e2ae7887cab9cd4a8e137f74558b1a1718d1d2bcad",
    "03000000e6a65096db85d2ed2dfab33dea50b338341e1aeb5d0ce411000000000000000098420532fa55a0bca5f043f8f8f16a2b\
     73761e822178692cb99ced039e2a32a0ea3f97558e4116183a9cc34a",
    "040000001cc480a37c0c176d109c45dbdb1289e0ebe83415c5218c0d000000000000000067feb9733954f8a3cb49e9fd0f290952\
     ead9693cae85781e83298bf5dacb6bfd01d64f5689b21018078ee0f5",
    "00000030af7e7389ca428b05d8902fcdc148e70974524d39cb56bc0100000000000000007ce0cd0c9c648d1b585d29b9ab23ebc9\
     87619d43925b3c768d7cb4bc097cfb821441c05614a107187aef1ee1",
    "12000020734713ff00fef0cd9fedd9545fa9316cacc5fd922c55220000000000000000008de88ecac287705b0548490fa5469d1e\
     8ddaad7f0078a0fa73106b32f9a3138a272a7459dc5d01187e183e6d",
];

#[test]
fn bitcoins_own_nonces_are_found() {
    for text in REAL.into_iter().chain([GENESIS]) {
        let header: Header = text.parse().unwrap();
        let puzzle = Puzzle::Header(HeaderPuzzle { header, version_mask: 0 });
        let job = job(puzzle, 0).with_target(Target::from_bits(header.bits).unwrap());
        let nonce = u64::from(header.nonce);
        let range = NonceRange::new(nonce.saturating_sub(10_000), nonce + 10_000);
        for kernel in kernels() {
            assert_eq!(Prepared::new(kernel, job).scan(range), [nonce], "{kernel:?}");
        }
    }
}

/// Ten million nonces of random jobs and ranges: `cargo test --test kernels -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn ten_million_random_nonces() {
    let mut numbers = Numbers(0x1dea);
    let mut searched = 0;
    while searched < 10_000_000 {
        searched += random_pair(&mut numbers, 50_000);
    }
}
