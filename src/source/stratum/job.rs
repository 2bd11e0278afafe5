//! A pool's job: what `mining.notify` says, checked field by field, and the template that is made of it.
//!
//! ```text
//! coinbase  =  coinb1 ‖ extranonce1 ‖ extranonce2 (each of our jobs has its own) ‖ coinb2
//! ```

use std::sync::Arc;

use serde_json::Value;

use super::words;
use crate::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, RoundId, Search, Target, Template,
};

/// The longest name of a job, in bytes.
const NAME_BYTES: usize = 256;
/// The most hashes of a merkle branch: a block cannot have 2^32 transactions.
const BRANCH: usize = 32;
/// The longest extranonce1, in bytes. Known pools have 4 to 16.
const EXTRANONCE1_BYTES: usize = 32;
/// The longest half of a coinbase, in bytes: what fits on a line.
const HALF_BYTES: usize = super::connection::LINE_BYTES / 2;
/// The fewest bytes that a transaction has: version, one input, one output without a script, lock time.
const TRANSACTION_BYTES: usize = 60;
/// How far a block's time may move on from the pool's, in seconds: nodes refuse blocks that are two hours ahead. A job's time moves by what has
/// passed since it came, and no pool leaves a job in use for longer.
const LONGEST_LIFE: u32 = 2 * 60 * 60;
/// Where the input's script begins in a coinbase: behind version, number of inputs, previous output, and its own length.
const SCRIPT: usize = 4 + 1 + 36 + 1;

/// What `mining.subscribe` and `mining.set_extranonce` say: how coinbases of this session differ from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// Extranonce1: no other session has it.
    first: Vec<u8>,
    /// The size of extranonce2 in bytes, 1 to 8.
    pub(super) size: u8,
}

impl Space {
    /// The space in these two fields.
    pub(super) fn parse(first: Option<&Value>, size: Option<&Value>) -> Result<Self, String> {
        let first = words::bytes("extranonce1", first, 0..=EXTRANONCE1_BYTES)?;
        let bytes = size.and_then(Value::as_u64).and_then(|bytes| u8::try_from(bytes).ok());
        let bytes = bytes.filter(|bytes| (1..=8).contains(bytes));
        let wrong = || words::unexpected("size of extranonce2", "1 to 8 bytes", size);
        Ok(Self { first, size: bytes.ok_or_else(wrong)? })
    }
}

/// A job as the pool gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoolJob {
    /// The pool's name of it.
    pub(super) name: Arc<str>,
    pub(super) prev: Digest,
    before: Vec<u8>,
    after: Vec<u8>,
    branch: Arc<[Digest]>,
    pub(super) version: u32,
    bits: u32,
    /// The target in `bits`.
    block: Target,
    pub(super) time: u32,
    /// Whether jobs before it are of no use.
    pub(super) is_clean: bool,
}

/// What a template needs beside the job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) space: &'a Space,
    /// What a share's hash must not exceed.
    pub(super) report: Target,
    /// The version bits that may be rolled.
    pub(super) mask: u32,
    /// By how many seconds the job's time was ahead of our clock when it came.
    pub(super) ahead: i64,
    pub(super) generation: u64,
    pub(super) tag: u64,
}

impl PoolJob {
    /// The job in the parameters of `mining.notify`.
    pub(super) fn parse(params: &[Value]) -> Result<Self, String> {
        let [name, prev, before, after, branch, version, bits, time, is_clean] = params
            .get(..9)
            .and_then(|nine| nine.try_into().ok())
            .map(|nine: &[Value; 9]| nine.each_ref())
            .ok_or_else(|| format!("expected 9 parameters of mining.notify, got {}", params.len()))?;
        let half = |field, value| words::bytes(field, Some(value), 0..=HALF_BYTES);
        let bits = words::word("nbits", Some(bits))?;
        Ok(Self {
            name: words::text("job id", Some(name), 1..=NAME_BYTES)?.into(),
            prev: previous(prev)?,
            before: half("coinb1", before)?,
            after: half("coinb2", after)?,
            branch: merkle_branch(branch)?,
            version: words::word("version", Some(version))?,
            bits,
            block: Target::from_bits(bits).map_err(|error| format!("nbits: {error}"))?,
            time: words::word("ntime", Some(time))?,
            is_clean: is_clean
                .as_bool()
                .ok_or_else(|| words::unexpected("clean_jobs", "true or false", Some(is_clean)))?,
        })
    }

    /// The height of the block that is built on: the coinbase begins with the height of its own block (BIP 34). 0 where that cannot be read.
    pub(super) fn height(&self) -> u64 {
        let script = self.before.get(SCRIPT..).unwrap_or_default();
        let number = match script.split_first() {
            Some((&small @ 0x51..=0x60, _)) => u64::from(small - 0x50), // OP_1 to OP_16
            Some((&size @ 1..=5, rest)) => {
                let bytes = rest.get(..size.into()).unwrap_or_default();
                bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
            }
            _ => 0,
        };
        number.saturating_sub(1)
    }

    /// Checks that the coinbase can be a transaction, as far as that can be said of any chain's: it is not too short, and where its beginning
    /// is that of Bitcoin's coinbases, the input's script fits in.
    pub(super) fn check(&self, space: &Space) -> Result<(), String> {
        let size = self.before.len() + space.first.len() + usize::from(space.size) + self.after.len();
        if size < TRANSACTION_BYTES {
            return Err(format!("expected a coinbase of at least {TRANSACTION_BYTES} bytes, got {size}"));
        }
        // The null output that every coinbase spends.
        let null = [&[1][..], &[0; 32], &[0xff; 4]].concat();
        if self.before.get(4..SCRIPT - 1) == Some(&null)
            && let Some(&script) = self.before.get(SCRIPT - 1)
        {
            // Behind the script: sequence, number of outputs, an output, lock time.
            let least = SCRIPT + usize::from(script) + 4 + 1 + 9 + 4;
            if !(2..=100).contains(&script) || size < least {
                return Err(format!(
                    "expected a coinbase whose script of 2 to 100 bytes fits in, got a script of {script} in {size} bytes"
                ));
            }
        }
        Ok(())
    }

    /// The template that this job is on these terms.
    pub(super) fn template(&self, terms: Terms<'_>) -> Template {
        let block = BlockId { height: self.height(), hash: self.prev };
        let before = [&self.before[..], &terms.space.first].concat();
        let extranonce = Extranonce::Counter(terms.space.size);
        Template {
            round: RoundId { block, generation: terms.generation },
            goal: Goal { block: self.block, report: terms.report, search: Search::Every },
            puzzle: Blueprint::Header {
                version: self.version,
                mask: terms.mask,
                bits: self.bits,
                time: BlockTime { ahead: terms.ahead, min: self.time, max: self.time.saturating_add(LONGEST_LIFE) },
                coinbase: Arc::new(Coinbase { before, extranonce, after: self.after.clone() }),
                branch: Arc::clone(&self.branch),
            },
            tag: terms.tag,
        }
    }
}

/// Stratum's order of the previous hash: the header's 32 bytes with those of each 4-byte word back to front.
fn previous(value: &Value) -> Result<Digest, String> {
    let mut bytes = words::bytes("prevhash", Some(value), 32..=32)?;
    bytes.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    Ok(Digest(bytes.try_into().map_err(|_| "expected 32 bytes as the prevhash")?))
}

fn merkle_branch(value: &Value) -> Result<Arc<[Digest]>, String> {
    let list = value.as_array().ok_or_else(|| words::unexpected("merkle branch", "a list", Some(value)))?;
    if list.len() > BRANCH {
        return Err(format!("expected at most {BRANCH} hashes in the merkle branch, got {}", list.len()));
    }
    let digest = |value| {
        let bytes = words::bytes("hash of the merkle branch", Some(value), 32..=32)?;
        Ok(Digest(bytes.try_into().map_err(|_| "expected 32 bytes")?))
    };
    list.iter().map(digest).collect()
}
