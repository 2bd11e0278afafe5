//! A block, put together again from a template, its transactions and a solution. Nothing else is needed, so any node could do it.

use std::sync::Arc;

use bitcoin::VarInt;
use bitcoin::consensus::serialize;

use super::coinbase::RESERVED;
use super::transactions::Transactions;
use crate::work::{Blueprint, Puzzle, Solution, Template};

/// What a block has beside what its template says, in the bytes by which other nodes' sessions take it, too: whether the coinbase commits to
/// witnesses, so that it has one itself (one byte; BIP 141), how many transactions there are behind it (four bytes, the highest first), and
/// these, one after another as in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body(Arc<[u8]>);

/// The bytes before the transactions.
const HEAD: usize = 5;

impl Body {
    pub(super) fn new(transactions: &Transactions, has_witness: bool) -> Self {
        let Transactions { bytes, count, .. } = transactions;
        Self([&[u8::from(has_witness)][..], &count.to_be_bytes(), bytes].concat().into())
    }

    pub(super) fn bytes(&self) -> &Arc<[u8]> {
        &self.0
    }

    /// The body in such bytes. Its transactions are not looked at: if they are wrong, the node refuses the block.
    pub(super) fn from_bytes(bytes: &Arc<[u8]>) -> Option<Self> {
        let is_whole = bytes.len() >= HEAD && bytes[0] <= 1;
        is_whole.then(|| Self(Arc::clone(bytes)))
    }

    /// Whether the coinbase has a witness, the count, and the transactions; `None` of bytes that are too few.
    fn parts(&self) -> Option<(bool, u32, &[u8])> {
        let (&[has_witness, ref count @ ..], transactions) = self.0.split_first_chunk::<HEAD>()?;
        Some((has_witness == 1, u32::from_be_bytes(*count), transactions))
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
    let (has_witness, count, transactions) = body.parts()?;
    let coinbase = if has_witness { with_witness(&coinbase)? } else { coinbase };
    let count = serialize(&VarInt(u64::from(count) + 1));
    Some([&puzzle.at(*nonce).to_bytes()[..], &count, &coinbase, transactions].concat())
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
