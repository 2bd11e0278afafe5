//! What is built, read back by the crate `bitcoin`.

use std::time::Duration;

use bitcoin::hashes::Hash;
use bitcoin::{Block, ScriptBuf, Transaction, consensus::deserialize};
use proptest::prelude::*;
use serde_json::json;

use super::{answer, transaction};
use crate::source::bitcoind::block::{Body, block};
use crate::source::bitcoind::chain::Chain;
use crate::source::bitcoind::coinbase::coinbase;
use crate::source::bitcoind::template::{Answer, NodeTemplate};
use crate::source::bitcoind::works::Work;
use crate::work::{BlockTime, Digest, Extranonce, Run, Slot, Solution, Template};

fn template(chain: Chain, change: impl FnOnce(&mut serde_json::Value), transactions: &[Transaction]) -> NodeTemplate {
    let mut answer = answer(chain, transactions);
    change(&mut answer);
    serde_json::from_value::<Answer>(answer).unwrap().check(chain).unwrap()
}

fn payout() -> ScriptBuf {
    ScriptBuf::from_bytes([&[0, 20][..], &[9; 20]].concat())
}

fn solution(template: &Template, slot: Slot, nonce: u64) -> Solution {
    let job = template.job(slot, Duration::from_secs(1_700_000_700)).unwrap();
    Solution { job, nonce }
}

proptest! {
    #[test]
    fn a_block_is_what_its_template_says(
        height in prop_oneof![1u32..40, 100u32..70_000, 499_999_990u32..=500_000_000],
        value in 0u64..2_100_000_000_000_000,
        witnesses in proptest::collection::vec(any::<bool>(), 0..40),
        text in "[ -~]{0,60}",
        is_segwit: bool,
        is_signet: bool,
        (run, n, nonce) in (any::<u64>(), any::<u64>(), 0u64..1 << 48),
    ) {
        let chain = if is_signet { Chain::Signet } else { Chain::Regtest };
        // Before segwit no transaction has a witness.
        let transactions: Vec<_> =
            witnesses.iter().enumerate().map(|(at, &has)| transaction(at as u32, has && is_segwit)).collect();
        let given = template(chain, |answer| {
            (answer["height"], answer["coinbasevalue"]) = (json!(height), json!(value));
            if !is_segwit {
                answer["rules"] = json!(["csv"]);
            }
        }, &transactions);
        let work = Work::new(&given, &payout(), text.as_bytes(), BlockTime::from(1_700_000_000), 3).unwrap();
        let slot = Slot { run: Run(run), n };
        let solution = solution(&work.template, slot, nonce);
        let bytes = hex::decode(work.block(&solution).unwrap()).unwrap();
        let block: Block = deserialize(&bytes).unwrap();
        prop_assert!(block.check_merkle_root());
        if is_segwit {
            prop_assert!(block.check_witness_commitment());
        }
        prop_assert_eq!(block.block_hash().to_byte_array(), solution.job.puzzle.digest(nonce).0);
        prop_assert_eq!(block.header.prev_blockhash.to_byte_array(), given.prev.0);
        prop_assert_eq!(block.header.bits.to_consensus(), given.bits);
        prop_assert_eq!(block.header.version.to_consensus() as u32 & !given.mask, given.version);
        prop_assert_eq!(&block.txdata[1..], &transactions);
        let coinbase = &block.txdata[0];
        prop_assert!(coinbase.is_coinbase());
        prop_assert_eq!(coinbase.lock_time.to_consensus_u32(), height - 1);
        prop_assert_eq!(coinbase.input[0].sequence.0, 0xffff_fffe);
        prop_assert_eq!(&coinbase.output[0].script_pubkey, &payout());
        prop_assert_eq!(coinbase.output.iter().map(|output| output.value.to_sat()).sum::<u64>(), value);
        prop_assert_eq!(coinbase.output.len(), 1 + usize::from(is_segwit));
        prop_assert_eq!(coinbase.input[0].witness.len(), usize::from(is_segwit));
        let script = coinbase.input[0].script_sig.as_bytes();
        prop_assert!((2..=100).contains(&script.len()));
        match height {
            1..=16 => prop_assert_eq!(u32::from(script[0]), 0x50 + height),
            _ => prop_assert_eq!(block.bip34_block_height().unwrap(), u64::from(height)),
        }
        let extranonce = [run.to_le_bytes(), n.to_le_bytes()].concat();
        prop_assert!(script.windows(16).any(|window| window == extranonce));
        prop_assert!(String::from_utf8_lossy(script).contains(&text));
        if is_segwit && is_signet {
            prop_assert!(coinbase.output[1].script_pubkey.as_bytes().ends_with(&[6, 0xec, 0xc7, 0xda, 0xa2, 0, 0]));
        }
    }
}

#[test]
fn the_txid_that_is_hashed_is_the_coinbases() {
    let given = template(Chain::Regtest, |_| {}, &[]);
    let parts = coinbase(&given, &payout(), b"hello").unwrap();
    assert_eq!(parts.extranonce, Extranonce::Run);
    let whole: Transaction = deserialize(&[&parts.before[..], &[5; 16], &parts.after].concat()).unwrap();
    assert!(whole.input[0].script_sig.as_bytes().ends_with(b"\x05hello"));
    assert_eq!(whole.compute_txid().to_byte_array(), whole.compute_wtxid().to_byte_array(), "no witness is in it");
}

#[test]
fn what_the_node_wants_there_stands_in_the_coinbase_if_it_fits() {
    let aux = |bytes: usize| json!({"flags": "ab".repeat(bytes), "more": "cd"});
    let text = [b'x'; 20];
    // Height 500 takes 3 bytes, the extranonce 17, the text 21, and the length of the rest 1.
    let given = template(Chain::Regtest, |answer| answer["coinbaseaux"] = aux(57), &[]);
    let parts = coinbase(&given, &payout(), &text).unwrap();
    let whole: Transaction = deserialize(&[&parts.before[..], &[5; 16], &parts.after].concat()).unwrap();
    assert_eq!(whole.input[0].script_sig.len(), 100);
    assert!(whole.input[0].script_sig.as_bytes().ends_with(&[&[0xab; 57][..], &[0xcd]].concat()));
    for bytes in [58, 5_000, 70_000] {
        let given = template(Chain::Regtest, |answer| answer["coinbaseaux"] = aux(bytes), &[]);
        let problem = coinbase(&given, &payout(), &text).unwrap_err();
        assert!(problem.contains("at most 100 bytes") && problem.contains("--coinbase-text"), "{problem}");
    }
}

#[test]
fn the_longest_text_fits_at_any_height() {
    let given = template(Chain::Regtest, |answer| answer["height"] = json!(500_000_000), &[]);
    coinbase(&given, &payout(), &[b'x'; super::super::coinbase::MOST_TEXT]).unwrap();
}

#[test]
fn a_block_of_another_job_is_none() {
    let given = template(Chain::Regtest, |_| {}, &[transaction(1, true)]);
    let work = |tag| Work::new(&given, &payout(), b"", BlockTime::from(1_700_000_000), tag).unwrap();
    let (one, other) = (work(1), work(2));
    let slot = Slot { run: Run(7), n: 7 };
    let solution = solution(&one.template, slot, 5);
    assert!(one.block(&solution).is_some() && other.block(&solution).is_none());
    let mut changed = solution;
    changed.job.round.block.hash = Digest([1; 32]);
    assert!(one.block(&changed).is_none());
    assert!(one.block(&Solution { nonce: u64::MAX, ..solution }).is_none(), "a nonce outside the job");
    // A body that another node sent may be anything: it makes a block that the source refuses, and no panic.
    let body = Body::from_bytes(&[&[1][..], &[0xff; 7]].concat().into()).unwrap();
    assert!(block(&one.template, &body, &solution).is_some());
    let mut short = one.template.clone();
    if let crate::work::Blueprint::Header { coinbase, .. } = &mut short.puzzle {
        *coinbase = std::sync::Arc::new(crate::work::Coinbase {
            before: vec![],
            extranonce: Extranonce::Counter(1),
            after: vec![],
        });
    }
    let solution =
        Solution { job: short.job(Slot { n: 5, ..slot }, Duration::from_secs(1_700_000_700)).unwrap(), nonce: 5 };
    assert!(block(&short, &body, &solution).is_none(), "too short to have a witness");
}
