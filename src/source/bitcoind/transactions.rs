//! A template's transactions: hex, sizes and ids are checked, and the bytes stand one after another as in the block.

use std::sync::Arc;

use bitcoin::Transaction;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use serde::Deserialize;
use serde_json::Value;

use super::fields::{array, bytes, wrong};
use super::merkle;
use crate::work::{Digest, MAX_BODY};

/// A transaction as a node gives it.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    #[serde(default)]
    data: Value,
    #[serde(default)]
    txid: Value,
    #[serde(default)]
    hash: Value,
}

/// The transactions of a block, but for its coinbase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transactions {
    /// Their bytes, one after another.
    pub(super) bytes: Arc<[u8]>,
    pub(super) count: u32,
    /// The merkle branch of the coinbase, lowest first.
    pub(super) branch: Arc<[Digest]>,
    /// The root of the tree of wtxids, in which the coinbase counts as 0 (BIP 141).
    pub(super) witness_root: Digest,
}

impl Transactions {
    /// Checks what a node gave.
    ///
    /// # Errors
    /// Wrong hex, something else than one whole transaction, an id of another one, or more than fits into a block.
    pub(super) fn read(given: &[Given]) -> Result<Self, String> {
        let mut block = Vec::new();
        let (mut txids, mut wtxids) = (Vec::with_capacity(given.len()), Vec::with_capacity(given.len()));
        for (at, given) in given.iter().enumerate() {
            let data = bytes(format_args!("data of transaction {at}"), &given.data)?;
            let transaction: Transaction = deserialize(&data)
                .map_err(|error| format!("expected one whole transaction as data of transaction {at}, got {error}"))?;
            let (txid, wtxid) = (transaction.compute_txid(), transaction.compute_wtxid());
            // A node from before segwit calls the txid `hash`.
            let named = if given.txid.is_null() { ("hash", &given.hash) } else { ("txid", &given.txid) };
            let mut id: [u8; 32] = array(format_args!("{} of transaction {at}", named.0), named.1)?;
            id.reverse();
            if id != txid.to_byte_array() {
                return Err(wrong(format_args!("{} of transaction {at}", named.0), &txid.to_string(), named.1));
            }
            if block.len() + data.len() > MAX_BODY {
                return Err(format!("expected transactions of at most {MAX_BODY} bytes, got more"));
            }
            block.extend_from_slice(&data);
            txids.push(Digest(txid.to_byte_array()));
            wtxids.push(Digest(wtxid.to_byte_array()));
        }
        let witness_branch = merkle::branch(wtxids);
        Ok(Self {
            bytes: block.into(),
            count: given.len() as u32, // 4 MB hold fewer
            branch: merkle::branch(txids).into(),
            witness_root: merkle::root(Digest::default(), &witness_branch),
        })
    }
}
