//! Jobs: the worked example of the protocol's first description, and every field.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::state::{Heard, State};
use super::super::templates::Unsent;
use super::pool::{COINB1, COINB2, Notify};
use crate::work::{Blueprint, Extranonce, Job, Puzzle, Run, Search, Slot, Solution, Target, Template};

const NOW: Duration = Duration::from_secs(0x504e_86b9 - 30);

/// `mining.notify` as slush's description of Stratum has it.
fn example() -> Value {
    json!([
        "bf",
        "4d16b6f85af6e2198f44ae2a6de67f78487ae5611b77c6c0440b921e00000000",
        COINB1,
        COINB2,
        [],
        "00000002",
        "1c2ac4af",
        "504e86b9",
        false
    ])
}

fn state(extranonce1: &str, size: u8) -> State {
    let mut state = State::new(Arc::default());
    assert_eq!(state.subscribed(&json!([[], extranonce1, size])), Ok(Heard::Nothing));
    state
}

fn hear(state: &mut State, method: &str, params: Value) -> Result<Heard, String> {
    state.hear(method, params.as_array().unwrap(), NOW)
}

fn template(state: &mut State, method: &str, params: Value) -> Template {
    match hear(state, method, params) {
        Ok(Heard::Template(template)) => template,
        other => panic!("expected a template, got {other:?}"),
    }
}

#[test]
fn the_documented_share_comes_out_of_the_documented_job() {
    let mut state = state("08000002", 4);
    let given = template(&mut state, "mining.notify", example());
    // The share that the description submits has extranonce2 00000001, and came 52 seconds after the job: by our clock 30 s more.
    let job = given.job(Slot { run: Run(1), n: 0x0100_0000 }, NOW + Duration::from_secs(52)).unwrap();
    let solution = Solution { job, nonce: 0xb295_7c02 };
    assert_eq!(
        state.submission("slush.miner1", &solution),
        Ok(json!(["slush.miner1", "bf", "00000001", "504e86ed", "b2957c02"]))
    );
    let Puzzle::Header(puzzle) = job.puzzle else { panic!("a header") };
    let header = puzzle.at(solution.nonce);
    assert_eq!(
        header.to_string(),
        "02000000f8b6164d19e2f65a2aae448f787fe66d61e57a48c0c6771b1e920b440000000032414daa9ddac879fd2c62839b9ba710a35463\
         63a5f5e22915d90dc3b1699deced864e50afc42a1c027c95b2"
    );
    assert_eq!(header.hash().to_string(), "000000002076870fe65a2b6eeed84fa892c0db924f1482243a6247d931dcab32");
    // It meets difficulty 1, which counts until the pool names another.
    assert!(solution.verify().is_some());
    assert_eq!(given.goal.report, Target::from_bits(0x1d00_ffff).unwrap());
    assert_eq!((given.goal.block, given.goal.search), (Target::from_bits(0x1c2a_c4af).unwrap(), Search::Every));
}

#[test]
fn a_blocks_time_moves_by_the_time_since_the_job_came() {
    let given = template(&mut state("", 8), "mining.notify", example());
    let time = |job: Job| match job.puzzle {
        Puzzle::Header(puzzle) => puzzle.header.time - 0x504e_86b9,
        Puzzle::Text(_) => panic!("a header"),
    };
    for (later, moved) in [(0, 0), (1, 1), (600, 600), (7_200, 7_200), (10_000, 7_200)] {
        let job = given.job(Slot::default(), NOW + Duration::from_secs(later)).unwrap();
        assert_eq!(time(job), moved, "{later} s later");
        assert!(given.made(&job));
    }
    assert_eq!(time(given.job(Slot::default(), NOW - Duration::from_secs(9)).unwrap()), 0, "a clock that was set back");
}

#[test]
fn the_height_is_one_below_the_coinbases() {
    let height = |script: &str| {
        let mut params = example();
        params[2] = json!(format!("{}{script}", &COINB1[..84]));
        let mut state = state("08000002", 4);
        template(&mut state, "mining.notify", params).round.block.height
    };
    for (script, expected) in [
        ("020862062f", 0x6208 - 1),
        ("03a7761404", 0x1476a7 - 1),
        ("51", 0),
        ("60", 15),
        ("0110", 15),
        ("00", 0),
        ("0100", 0),
        ("05ffffffffff", 0xff_ffff_fffe),
        ("06ffffffffffff", 0),
        ("4c", 0),
        ("03a776", 0),
        ("", 0),
    ] {
        assert_eq!(height(script), expected, "{script}");
    }
}

#[test]
fn every_field_of_a_job_is_checked() {
    let hash = "00".repeat(32);
    let branch = |count: usize| json!(vec![hash.clone(); count]);
    assert!(
        hear(&mut state("", 4), "mining.notify", {
            let mut params = example();
            params[4] = branch(32);
            params
        })
        .is_ok()
    );
    let long = "00".repeat(32 << 10);
    for (field, wrong, named) in [
        (0, vec![json!(""), json!(7), json!(null), json!("x".repeat(257))], "job id"),
        (
            1,
            vec![json!(""), json!(&hash[2..]), json!(format!("{hash}00")), json!("g".repeat(64)), json!(null)],
            "prevhash",
        ),
        (2, vec![json!("0"), json!("xx"), json!(null), json!(format!("{long}00"))], "coinb1"),
        (3, vec![json!("0"), json!("xx"), json!([]), json!(format!("{long}00"))], "coinb2"),
        (4, vec![branch(33), json!("00"), json!([7]), json!([&hash[1..]]), json!([null])], "merkle branch"),
        (5, vec![json!("2"), json!(2), json!("000000020"), json!("0x000002")], "version"),
        (6, vec![json!("00000000"), json!("1d80ffff"), json!("ff123456"), json!("1d00ff"), json!(1)], "nbits"),
        (7, vec![json!("504e86"), json!(0x504e_86b9), json!("504e86b9b9")], "ntime"),
        (8, vec![json!(0), json!("true"), json!(null)], "clean_jobs"),
    ] {
        for wrong in wrong {
            let mut params = example();
            params[field] = wrong.clone();
            let problem = hear(&mut state("", 4), "mining.notify", params).unwrap_err();
            assert!(problem.contains(named) && problem.contains("expected"), "{wrong}: {problem}");
            assert!(problem.len() < 400, "{problem}");
        }
    }
    let few: Vec<Value> = example().as_array().unwrap()[..8].to_vec();
    assert!(hear(&mut state("", 4), "mining.notify", json!(few)).unwrap_err().contains("9 parameters"));
}

#[test]
fn coinbases_that_cannot_be_transactions_are_refused() {
    let with = |before: &str, after: &str| {
        let mut params = example();
        (params[2], params[3]) = (json!(before), json!(after));
        hear(&mut state("08000002", 4), "mining.notify", params)
    };
    assert!(with("", "").unwrap_err().contains("at least 60 bytes, got 8"));
    assert!(with(&"00".repeat(26), &"00".repeat(26)).is_ok(), "another chain's transactions may look like that");
    for script in ["00", "01", "65", "ff"] {
        let before = format!("{}{script}{}", &COINB1[..82], &COINB1[84..]);
        assert!(with(&before, COINB2).unwrap_err().contains("script"), "{script}");
    }
    assert!(with(COINB1, &COINB2[60..]).unwrap_err().contains("fits in"));
    // The extranonce comes after the job.
    let mut late = State::new(Arc::default());
    let mut params = example();
    params[3] = json!(&COINB2[60..]);
    assert_eq!(hear(&mut late, "mining.notify", params), Ok(Heard::Nothing));
    assert!(late.subscribed(&json!([[], "08000002", 4])).unwrap_err().contains("fits in"));
}

#[test]
fn extranonces_have_sizes_within_bounds() {
    for (extranonce1, size) in [("", 1), ("08000002", 4), (&*"ab".repeat(32), 8)] {
        let mut state = state(extranonce1, size);
        let Blueprint::Header { coinbase, .. } = template(&mut state, "mining.notify", example()).puzzle else {
            panic!("a header")
        };
        assert_eq!(coinbase.extranonce, Extranonce::Counter(size));
        assert_eq!(hex::encode(&coinbase.before), format!("{COINB1}{extranonce1}"));
    }
    for (extranonce1, size) in [
        (json!("ab".repeat(33)), json!(4)),
        (json!("abc"), json!(4)),
        (json!(7), json!(4)),
        (json!(null), json!(4)),
        (json!(""), json!(0)),
        (json!(""), json!(9)),
        (json!(""), json!(17)),
        (json!(""), json!(260)),
        (json!(""), json!(-1)),
        (json!(""), json!(4.5)),
        (json!(""), json!("4")),
        (json!(""), json!(null)),
    ] {
        let mut fresh = State::new(Arc::default());
        let problem = fresh.subscribed(&json!([[], extranonce1, size])).unwrap_err();
        assert!(problem.contains("extranonce"), "{problem}");
        let problem = hear(&mut state("", 4), "mining.set_extranonce", json!([extranonce1, size])).unwrap_err();
        assert!(problem.contains("extranonce"), "{problem}");
    }
    for other in [json!(null), json!({}), json!(true), json!([]), json!([[], ""])] {
        assert!(State::new(Arc::default()).subscribed(&other).is_err(), "{other}");
    }
}

#[test]
fn difficulties_are_positive_and_possible() {
    let mut state = state("", 4);
    for good in [json!(1), json!(0.5), json!(1e-5), json!(65_536), json!(1e15)] {
        assert!(hear(&mut state, "mining.set_difficulty", json!([good])).is_ok(), "{good}");
        assert_eq!(Some(state.difficulty()), good.as_f64());
    }
    for bad in [json!(0), json!(-1), json!(-0.0), json!(1e308), json!("1"), json!(null), json!([1])] {
        let problem = hear(&mut state, "mining.set_difficulty", json!([bad])).unwrap_err();
        assert!(problem.contains("difficulty") && problem.contains("expected"), "{problem}");
        assert_eq!(state.difficulty(), 1e15);
    }
    assert!(hear(&mut state, "mining.set_difficulty", json!([])).is_err());
}

#[test]
fn masks_are_words_within_bip_320() {
    let configured = |result: Value| {
        let mut state = state("", 4);
        state.configured(&result)?;
        match template(&mut state, "mining.notify", example()).puzzle {
            Blueprint::Header { mask, .. } => Ok::<u32, String>(mask),
            Blueprint::Text { .. } => panic!("a header"),
        }
    };
    let rolling = |mask: Value| configured(json!({"version-rolling": true, "version-rolling.mask": mask}));
    assert_eq!(rolling(json!("1fffe000")), Ok(0x1fff_e000));
    assert_eq!(rolling(json!("ffffffff")), Ok(0x1fff_e000));
    assert_eq!(rolling(json!("00000000")), Ok(0));
    for wrong in [json!("1fffe0"), json!(7), json!(null), json!("1fffe000ff")] {
        assert!(rolling(wrong).unwrap_err().contains("mask"));
    }
    for without in
        [json!(null), json!({}), json!({"version-rolling": false}), json!({"version-rolling": "no"}), json!([])]
    {
        assert_eq!(configured(without), Ok(0));
    }
}

#[test]
fn a_restart_is_another_round_and_the_same_block_is_not() {
    let mut state = state("08000002", 4);
    let notify =
        |block: u8, is_clean| Notify { prev: super::pool::prev(block), is_clean, ..Notify::default() }.params();
    let first = template(&mut state, "mining.notify", notify(1, true));
    let more = template(&mut state, "mining.notify", notify(1, false));
    assert_eq!(more.round, first.round);
    let clean = template(&mut state, "mining.notify", notify(1, true));
    assert_eq!(clean.round.block, first.round.block);
    assert_ne!(clean.round, first.round);
    let next = template(&mut state, "mining.notify", notify(2, true));
    assert_eq!(
        (next.round.generation, next.round.block.hash == first.round.block.hash),
        (clean.round.generation, false)
    );
    let easier = template(&mut state, "mining.set_difficulty", json!([0.5]));
    assert_eq!((easier.round, easier.goal.report), (next.round, Target::from_difficulty(0.5).unwrap()));
    assert_eq!(hear(&mut state, "mining.set_difficulty", json!([0.5])), Ok(Heard::Nothing));
    let problem = hear(&mut state, "mining.notify", notify(1, true)).unwrap_err();
    assert!(problem.contains("left") && problem.contains(&super::pool::prev(1)), "{problem}");
}

#[test]
fn a_new_mask_counts_at_once_and_a_new_extranonce_for_the_next_job() {
    let mut state = state("08000002", 4);
    assert_eq!(hear(&mut state, "mining.set_version_mask", json!(["1fffe000"])), Ok(Heard::Nothing), "not negotiated");
    state.configured(&json!({"version-rolling": true, "version-rolling.mask": "00ffe000"})).unwrap();
    let first = template(&mut state, "mining.notify", Notify::default().params());
    let wider = template(&mut state, "mining.set_version_mask", json!(["1fffe000"]));
    assert_eq!(wider.round, first.round);
    let solution = Solution { job: wider.job(Slot::default(), NOW).unwrap(), nonce: 0 };
    let submitted = |state: &State, nonce| state.submission("u", &Solution { nonce, ..solution });
    let rolled = 1 << 46; // a bit of the mask's high end
    assert_eq!(submitted(&state, rolled).unwrap()[5], "08000000");
    let narrower = template(&mut state, "mining.set_version_mask", json!(["0000e000"]));
    assert_ne!(narrower.round, first.round, "versions that are searched are no use any more");
    assert_eq!(submitted(&state, rolled), Err(Unsent::Stale));
    assert_eq!(submitted(&state, 1).unwrap()[5], "00002000");
    assert_eq!(hear(&mut state, "mining.set_version_mask", json!(["0000e000"])), Ok(Heard::Nothing));
    assert_eq!(hear(&mut state, "mining.set_extranonce", json!(["aa", 2])), Ok(Heard::Nothing));
    let harder = template(&mut state, "mining.set_difficulty", json!([2]));
    assert_eq!(harder.puzzle, narrower.puzzle, "of the present job");
    let next = template(&mut state, "mining.notify", Notify::default().params());
    let Blueprint::Header { coinbase, .. } = &next.puzzle else { panic!("a header") };
    assert_eq!((coinbase.before.last(), coinbase.extranonce), (Some(&0xaa), Extranonce::Counter(2)));
    assert_eq!(submitted(&state, 0).unwrap()[2], "00000000", "the earlier job's size");
    for bad in [json!([]), json!(["1"]), json!([7])] {
        assert!(hear(&mut state, "mining.set_version_mask", bad).unwrap_err().contains("mask"));
    }
}

#[test]
fn only_solutions_of_remembered_templates_are_submitted() {
    let mut state = state("08000002", 4);
    let first = template(&mut state, "mining.notify", Notify::default().params());
    let solution = Solution { job: first.job(Slot::default(), NOW).unwrap(), nonce: 0 };
    for _ in 0..63 {
        template(&mut state, "mining.notify", Notify::default().params());
    }
    assert!(state.submission("u", &solution).is_ok());
    template(&mut state, "mining.notify", Notify::default().params());
    assert_eq!(state.submission("u", &solution), Err(Unsent::Stale));
    let text = Solution { job: crate::work::fixtures::check_job(3, Search::First), nonce: 1 };
    assert!(matches!(state.submission("u", &text), Err(Unsent::NotUnderstood(_))));
}
