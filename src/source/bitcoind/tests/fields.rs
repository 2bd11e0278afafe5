//! Every field of a template, right and wrong.

use serde_json::{Value, json};

use super::{answer, given, transaction};
use crate::source::bitcoind::chain::Chain;
use crate::source::bitcoind::template::{Answer, NodeTemplate, Times};
use crate::work::{BlockHash, Target};

fn check_on(chain: Chain, answer: Value) -> Result<NodeTemplate, String> {
    serde_json::from_value::<Answer>(answer).map_err(|error| error.to_string())?.check(chain)
}

/// The template of regtest, changed.
fn with(field: &str, value: Value) -> Result<NodeTemplate, String> {
    let mut answer = answer(Chain::Regtest, &[]);
    answer[field] = value;
    check_on(Chain::Regtest, answer)
}

fn without(field: &str) -> Result<NodeTemplate, String> {
    let mut answer = answer(Chain::Regtest, &[]);
    answer.as_object_mut().unwrap().remove(field);
    check_on(Chain::Regtest, answer)
}

#[test]
fn a_good_answer_is_read_on_every_chain() {
    for chain in Chain::ALL {
        let template = check_on(chain, answer(chain, &[transaction(1, true)])).unwrap();
        assert_eq!(template.version, 0x2000_0000);
        assert_eq!(template.mask, 0x1fff_e000);
        assert_eq!(BlockHash::from(template.prev).to_string(), format!("{:064x}", 0xabc));
        assert_eq!((template.height, template.value), (500, 5_000_000_000));
        assert_eq!(template.times, Times { now: 1_700_000_600, min: 1_700_000_000, max: u32::MAX });
        assert!(template.is_segwit && template.takes_proposals && template.workid.is_none());
        assert_eq!(template.transactions.count, 1);
    }
}

#[test]
fn what_is_missing_or_of_another_kind_is_named() {
    let kinds = [json!(null), json!(true), json!([]), json!({}), json!("zz"), json!(-1), json!(1.5), json!(1e300)];
    for field in ["version", "previousblockhash", "height", "bits", "curtime", "coinbasevalue", "transactions"] {
        assert!(without(field).is_err(), "{field}");
    }
    let fields = ["previousblockhash", "height", "bits", "curtime", "coinbasevalue"];
    for (field, kind) in fields.into_iter().flat_map(|field| kinds.iter().map(move |kind| (field, kind))) {
        let problem = with(field, kind.clone()).unwrap_err();
        assert!(problem.contains(field) && problem.contains("expected"), "{field} = {kind}: {problem}");
        assert!(problem.len() < 250, "{problem}");
    }
    for (field, value) in [
        ("version", json!(1u64 << 32)),
        ("rules", json!("segwit")),
        ("rules", json!([7])),
        ("vbavailable", json!([])),
        ("vbavailable", json!({"x": 32})),
        ("vbavailable", json!({"x": -1})),
        ("vbrequired", json!("0")),
        ("capabilities", json!({})),
        ("coinbaseaux", json!([])),
        ("coinbaseaux", json!({"flags": "6"})),
        ("coinbaseaux", json!({"flags": 6})),
        ("mintime", json!(-1)),
        ("maxtime", json!(1u64 << 32)),
        ("workid", json!(7)),
        ("workid", json!("x".repeat(2000))),
        ("longpollid", json!({})),
        ("longpolluri", json!(1)),
    ] {
        let problem = with(field, value.clone()).unwrap_err();
        assert!(problem.contains(field) && problem.contains("expected"), "{field} = {value}: {problem}");
        assert!(problem.len() < 250, "{problem}");
    }
}

#[test]
fn hashes_are_64_digits() {
    let hash = format!("{:064x}", 0xabc);
    for wrong in [&hash[1..], &format!("{hash}0"), &hash.to_uppercase(), &hash.replacen('0', "g", 1)] {
        assert!(with("previousblockhash", json!(wrong)).unwrap_err().contains("previousblockhash"), "{wrong}");
    }
}

#[test]
fn heights_go_as_far_as_a_coinbase_can_say_them() {
    for height in [1, 16, 17, 499_999_999, 500_000_000] {
        assert_eq!(with("height", json!(height)).unwrap().height, height);
    }
    for height in [json!(0), json!(-1), json!(500_000_001), json!(u32::MAX), json!(u64::MAX)] {
        assert!(with("height", height.clone()).unwrap_err().contains("height"), "{height}");
    }
}

#[test]
fn targets_are_above_0_within_the_limit_and_as_bits_say() {
    for (bits, target) in [("00000000", ""), ("207fffff", "0"), ("1d00ffff", "f")] {
        let mut answer = answer(Chain::Regtest, &[]);
        (answer["bits"], answer["target"]) = (json!(bits), json!(target.repeat(64)));
        assert!(check_on(Chain::Regtest, answer).is_err(), "{bits} {target}");
    }
    // Negative, 0, beyond 256 bits, and easier than each chain allows.
    for bits in ["20800001", "01003456", "ff123456", "2100ffff"] {
        assert!(with("bits", json!(bits)).unwrap_err().contains("bits"), "{bits}");
    }
    for (chain, bits) in [(Chain::Main, "1d010000"), (Chain::Signet, "1e0377af"), (Chain::Test4, "207fffff")] {
        let mut answer = answer(chain, &[]);
        answer["bits"] = json!(bits);
        let problem = check_on(chain, answer).unwrap_err();
        assert!(problem.contains("limit") && problem.contains(chain.name()), "{problem}");
    }
    // bits alone are enough.
    assert_eq!(without("target").unwrap().target, Target::from_bits(0x207f_ffff).unwrap());
}

#[test]
fn times_that_are_not_given_bound_nothing() {
    let times = |template: NodeTemplate| (template.times.min, template.times.max);
    assert_eq!(times(without("mintime").unwrap()), (1_700_000_600, u32::MAX));
    assert_eq!(times(with("maxtime", json!(1_700_007_200)).unwrap()), (1_700_000_000, 1_700_007_200));
    assert!(with("maxtime", json!(1_699_999_999)).unwrap_err().contains("maxtime"));
}

#[test]
fn only_rules_that_are_known_may_be_demanded() {
    assert!(with("rules", json!(["csv", "!segwit", "!taproot", "novel"])).unwrap().is_segwit);
    let problem = with("rules", json!(["!segwit", "!novel\u{1b}"])).unwrap_err();
    assert!(problem.contains("novel") && !problem.contains('\u{1b}'), "{problem}");
    // The rules decide, not the commitment, which some nodes give before segwit is active.
    let mut early = answer(Chain::Regtest, &[]);
    (early["rules"], early["default_witness_commitment"]) = (json!([]), json!("6a24aa21a9ed"));
    assert!(!check_on(Chain::Regtest, early.clone()).unwrap().is_segwit);
    early["rules"] = json!(null);
    assert!(check_on(Chain::Regtest, early).unwrap().is_segwit, "a node that names no rules");
}

#[test]
fn a_signet_that_wants_signatures_is_refused() {
    for (challenge, told) in
        [(json!("5121ff"), "headframe grind"), (json!(null), "signet_challenge"), (json!("5"), "hex")]
    {
        let mut answer = answer(Chain::Signet, &[]);
        answer["signet_challenge"] = challenge;
        assert!(check_on(Chain::Signet, answer).unwrap_err().contains(told), "{told}");
    }
}

#[test]
fn bits_that_signal_are_not_rolled() {
    assert_eq!(with("vbavailable", json!({"a": 13, "b": 28, "c": 2})).unwrap().mask, 0x0fff_c000);
    assert_eq!(with("vbrequired", json!(1 << 14)).unwrap().mask, 0x1fff_a000);
    assert_eq!(with("version", json!(0x2000_8000)).unwrap().mask, 0x1fff_6000);
    for version in [1, 4, 0x4000_0000, -1] {
        assert_eq!(with("version", json!(version)).unwrap().mask, 0, "{version}");
    }
    assert_eq!(with("version", json!(-1)).unwrap().version, u32::MAX);
}

#[test]
fn transactions_are_whole_and_their_own() {
    let good = given(&transaction(1, true));
    let data = good["data"].as_str().unwrap();
    let mut old = good.clone();
    old.as_object_mut().unwrap().remove("txid");
    for (field, value) in [
        ("data", json!(null)),
        ("data", json!("")),
        ("data", json!(&data[1..])),
        ("data", json!(&data[2..])),
        ("data", json!(format!("{data}00"))),
        ("data", json!("ff".repeat(500))),
        ("data", json!([data])),
        ("txid", json!("00".repeat(32))),
        ("txid", json!("00")),
        ("txid", json!(7)),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value.clone();
        let problem = with("transactions", json!([good, wrong])).unwrap_err();
        assert!(problem.contains("transaction 1") && problem.len() < 300, "{field} = {value}: {problem}");
    }
    // Without witnesses, `hash` alone names a transaction, as nodes from before segwit have it.
    let mut old = given(&transaction(1, false));
    old.as_object_mut().unwrap().remove("txid");
    assert_eq!(with("transactions", json!([old])).unwrap().transactions.count, 1);
    for wrong in [json!({}), json!([7]), json!("")] {
        assert!(with("transactions", wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn more_transactions_than_a_block_holds_are_refused() {
    let mut large = transaction(1, false);
    large.output[0].script_pubkey = vec![0x6a; 999_000].into();
    let large = given(&large);
    assert!(with("transactions", json!(vec![&large; 4])).is_ok());
    assert!(with("transactions", json!(vec![&large; 5])).unwrap_err().contains("4000000 bytes"));
}

proptest::proptest! {
    /// Nothing that a node says ends the program.
    #[test]
    fn any_value_is_taken_or_refused(field in 0usize..20, text in ".{0,80}", number in proptest::num::i64::ANY, kind in 0..6) {
        let mut answer = answer(Chain::Regtest, &[transaction(1, true)]);
        let name = answer.as_object().unwrap().keys().nth(field).unwrap().clone();
        answer[&name] = match kind {
            0 => json!(null),
            1 => json!(text),
            2 => json!(number),
            3 => json!([text]),
            4 => json!({&text: number}),
            _ => json!(number as f64 / 3.0),
        };
        if let Err(problem) = check_on(Chain::Regtest, answer) {
            assert!(problem.chars().count() < 400 && !problem.contains(char::is_control), "{problem:?}");
        }
    }
}
