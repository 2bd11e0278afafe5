//! A block, put together again from a template, its transactions and a solution. Nothing else is needed, so any node could do it.

use std::sync::Arc;

use bitcoin::VarInt;
use bitcoin::consensus::serialize;

use super::coinbase::RESERVED;
use super::transactions::Transactions;
use crate::work::{Blueprint, Puzzle, Solution, Template};

/// What a block has beside what its template says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// The transactions behind the coinbase, one after another as in the block.
    pub(super) transactions: Arc<[u8]>,
    /// How many they are.
    pub(super) count: u32,
    /// Whether the coinbase commits to witnesses, so that it has one itself (BIP 141).
    pub(super) has_witness: bool,
}

impl Body {
    pub(super) fn new(transactions: &Transactions, has_witness: bool) -> Self {
        Self { transactions: Arc::clone(&transactions.bytes), count: transactions.count, has_witness }
    }

    /// The body as another node's session takes it: whether the coinbase has a witness (one byte), the count (four bytes, the highest first),
    /// the transactions.
    pub(super) fn to_bytes(&self) -> Arc<[u8]> {
        let head = [u8::from(self.has_witness)].into_iter().chain(self.count.to_be_bytes());
        head.chain(self.transactions.iter().copied()).collect()
    }

    /// The body in such bytes. Its transactions are not looked at: if they are wrong, the node refuses the block.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[has_witness, ref count @ ..], transactions) = bytes.split_first_chunk::<5>()?;
        let count = u32::from_be_bytes(*count);
        (has_witness <= 1).then(|| Self { transactions: transactions.into(), count, has_witness: has_witness == 1 })
    }
}

/// The block that a solution of this template stands for, in bytes; `None` if the solution's job is not the template's.
pub(super) fn block(template: &Template, body: &Body, solution: &Solution) -> Option<Vec<u8>> {
    let Solution { job, nonce } = solution;
    let (Blueprint::Header { coinbase, .. }, Puzzle::Header(puzzle)) = (&template.puzzle, &job.puzzle) else {
        return None;
    };
    if !template.made(job) || !job.space().contains(*nonce) {
        return None;
    }
    let coinbase = [&coinbase.before[..], &coinbase.extranonce.bytes(job.tag.slot)?, &coinbase.after].concat();
    let coinbase = if body.has_witness { with_witness(&coinbase)? } else { coinbase };
    let count = serialize(&VarInt(u64::from(body.count) + 1));
    Some([&puzzle.at(*nonce).to_bytes()[..], &count, &coinbase, &body.transactions].concat())
}

/// The coinbase with its witness, which is serialised between the outputs and the nLockTime, and announced behind the version (BIP 144).
fn with_witness(coinbase: &[u8]) -> Option<Vec<u8>> {
    const ANNOUNCED: [u8; 2] = [0, 1];
    /// One item of 32 bytes.
    const ITEMS: [u8; 2] = [1, 32];
    let (version, rest) = coinbase.split_at_checked(4)?;
    let (middle, lock_time) = rest.split_at_checked(rest.len().checked_sub(4)?)?;
    Some([version, &ANNOUNCED, middle, &ITEMS, &RESERVED, lock_time].concat())
}
