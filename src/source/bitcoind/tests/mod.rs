//! What the tests of this folder share: a template as Bitcoin Core gives it, and transactions in it.

mod building;
mod fields;
mod scripted;
mod sessions;
mod wires;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, absolute};
use serde_json::{Value, json};

use super::chain::Chain;

/// The bits of the easiest target that each chain allows.
fn easiest(chain: Chain) -> u32 {
    match chain {
        Chain::Main | Chain::Test3 | Chain::Test4 => 0x1d00_ffff,
        Chain::Signet => 0x1e03_77ae,
        Chain::Regtest => 0x207f_ffff,
    }
}

/// A transaction unlike any other of its number, with a witness or without.
fn transaction(number: u32, has_witness: bool) -> Transaction {
    let witness = if has_witness { Witness::from_slice(&[number.to_le_bytes()]) } else { Witness::new() };
    let previous_output = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: number };
    Transaction {
        version: Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn { previous_output, script_sig: ScriptBuf::new(), sequence: Sequence::MAX, witness }],
        output: vec![TxOut {
            value: Amount::from_sat(number.into()),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
        }],
    }
}

/// A transaction as a node gives it.
fn given(transaction: &Transaction) -> Value {
    let (txid, wtxid) = (transaction.compute_txid().to_string(), transaction.compute_wtxid().to_string());
    json!({"data": serialize_hex(transaction), "txid": txid, "hash": wtxid, "depends": [], "fee": 1, "sigops": 0, "weight": 400})
}

/// What a node on this chain answers to `getblocktemplate`.
fn answer(chain: Chain, transactions: &[Transaction]) -> Value {
    let bits = easiest(chain);
    let target = crate::work::Target::from_bits(bits).unwrap();
    let mut answer = json!({
        "capabilities": ["proposal"],
        "version": 0x2000_0000,
        "rules": ["csv", "!segwit", "taproot"],
        "vbavailable": {},
        "vbrequired": 0,
        "previousblockhash": format!("{:064x}", 0xabc),
        "transactions": transactions.iter().map(given).collect::<Vec<_>>(),
        "coinbaseaux": {},
        "coinbasevalue": 5_000_000_000u64,
        "longpollid": "one",
        "target": format!("{target:?}"),
        "mintime": 1_700_000_000,
        "mutable": ["time", "transactions", "prevblock"],
        "noncerange": "00000000ffffffff",
        "sigoplimit": 80_000,
        "sizelimit": 4_000_000,
        "weightlimit": 4_000_000,
        "curtime": 1_700_000_600,
        "bits": format!("{bits:08x}"),
        "height": 500,
    });
    if chain == Chain::Signet {
        answer["signet_challenge"] = json!("51");
        answer["rules"] = json!(["csv", "!segwit", "!signet", "taproot"]);
    }
    answer
}
