//! What a node answers to `getblocktemplate` (BIP 22, 23, 9 and 145): every value is checked before anything is built on it.

use serde::Deserialize;
use serde_json::Value;

use super::chain::Chain;
use super::fields::{array, bytes, echo, number, object, text, texts, word, wrong};
use super::signet;
use super::transactions::{Given, Transactions};
use crate::work::{BlockHash, Digest, Target};

/// Heights from here on would count as times in a coinbase's nLockTime, which is the height less 1.
const MOST_HEIGHT: i64 = 500_000_000;
/// All coins that there will ever be, in satoshi.
const MOST_MONEY: i64 = 2_100_000_000_000_000;
/// The longest `workid`, `longpollid` and `longpolluri`, which are sent back as they came.
const MOST_ECHO: usize = 1024;
/// Rules that a block of ours follows though they may be marked `!`: miners have nothing more to do for the other two than not to break them.
const KNOWN_RULES: [&str; 4] = ["segwit", "signet", "csv", "taproot"];
/// Version bits that miners may roll (BIP 320).
const ROLLED: u32 = 0x1fff_e000;
/// The uppermost bits of a version whose other bits signal (BIP 9).
const SIGNALS: (u32, u32) = (0xe000_0000, 0x2000_0000);

/// An answer, as far as it is used.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Answer {
    version: Value,
    rules: Value,
    vbavailable: Value,
    vbrequired: Value,
    capabilities: Value,
    previousblockhash: Value,
    height: Value,
    bits: Value,
    target: Value,
    curtime: Value,
    mintime: Value,
    maxtime: Value,
    coinbasevalue: Value,
    coinbaseaux: Value,
    default_witness_commitment: Value,
    signet_challenge: Value,
    workid: Value,
    longpollid: Value,
    longpolluri: Value,
    transactions: Option<Vec<Given>>,
}

/// A block that the node wants to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeTemplate {
    pub(super) version: u32,
    /// The version bits that may be rolled.
    pub(super) mask: u32,
    pub(super) prev: Digest,
    /// The height of the block to be made.
    pub(super) height: u32,
    pub(super) bits: u32,
    pub(super) target: Target,
    /// The node's time, and the earliest and latest time of the block, in seconds since 1970.
    pub(super) times: Times,
    /// What the coinbase pays, in satoshi.
    pub(super) value: u64,
    /// What the node wants to stand in the coinbase's input.
    pub(super) aux: Vec<u8>,
    pub(super) is_segwit: bool,
    pub(super) is_signet: bool,
    pub(super) takes_proposals: bool,
    pub(super) workid: Option<String>,
    pub(super) long_poll: Option<LongPoll>,
    pub(super) transactions: Transactions,
}

/// Times in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) now: u32,
    pub(super) min: u32,
    pub(super) max: u32,
}

/// How the node is asked to answer only when it wants another block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LongPoll {
    pub(super) id: String,
    /// The page that is asked, if it is not the usual one.
    pub(super) link: Option<String>,
}

impl NodeTemplate {
    /// Whether the same block is wanted, but for its time and the long poll's id.
    pub(super) fn wants_the_same(&self, other: &Self) -> bool {
        let (times, long_poll) = (self.times, self.long_poll.clone());
        *self == Self { times, long_poll, ..other.clone() }
    }
}

impl Answer {
    /// Checks the answer of a node on this chain.
    ///
    /// # Errors
    /// A value is missing, of another kind, or impossible; a rule is unknown and cannot be ignored; a signet wants a signature.
    pub(super) fn check(self, chain: Chain) -> Result<NodeTemplate, String> {
        let rules = texts("rules", &self.rules)?;
        if let Some(rule) = rules.iter().filter_map(|rule| rule.strip_prefix('!')).find(|r| !KNOWN_RULES.contains(r)) {
            let rule = crate::source::http::shown(rule);
            return Err(format!(
                "the node demands the rule {rule}, which this version does not know; look for a newer one"
            ));
        }
        let has = |name: &str| rules.iter().any(|rule| rule.trim_start_matches('!') == name);
        // A node that names no rules at all says by the commitment whether segwit is active.
        let is_segwit = has("segwit") || self.rules.is_null() && !self.default_witness_commitment.is_null();
        let is_signet = chain == Chain::Signet;
        if is_signet {
            signet::check_challenge(&bytes("signet_challenge", &self.signet_challenge)?)?;
        }
        let version = number("version", &self.version, i64::from(i32::MIN)..=i64::from(u32::MAX))? as u32;
        let (bits, target) = self.target(chain)?;
        let given = self.transactions.as_ref().ok_or("expected a list as transactions, got none")?;
        Ok(NodeTemplate {
            version,
            mask: self.mask(version)?,
            prev: text("previousblockhash", &self.previousblockhash)?
                .parse::<BlockHash>()
                .map_err(|error| format!("previousblockhash: {error}"))?
                .into(),
            height: number("height", &self.height, 1..=MOST_HEIGHT)? as u32,
            bits,
            target,
            times: self.times()?,
            value: number("coinbasevalue", &self.coinbasevalue, 0..=MOST_MONEY)? as u64,
            aux: self.aux()?,
            is_segwit,
            is_signet,
            takes_proposals: texts("capabilities", &self.capabilities)?.contains(&"proposal"),
            workid: echo("workid", &self.workid, MOST_ECHO)?,
            long_poll: match echo("longpollid", &self.longpollid, MOST_ECHO)? {
                Some(id) => Some(LongPoll { id, link: echo("longpolluri", &self.longpolluri, MOST_ECHO)? }),
                None => None,
            },
            transactions: Transactions::read(given)?,
        })
    }

    /// The target in both of its forms, which have to agree.
    fn target(&self, chain: Chain) -> Result<(u32, Target), String> {
        let bits = u32::from_be_bytes(array("bits", &self.bits)?);
        let target = Target::from_bits(bits).map_err(|error| format!("bits: {error}"))?;
        if target > chain.limit() {
            let (name, limit) = (chain.name(), chain.limit());
            return Err(wrong("bits", &format!("a target of at most {limit:?}, the limit of {name},"), &self.bits));
        }
        if !self.target.is_null() && array("target", &self.target)? != target.to_be_bytes() {
            return Err(wrong("target", &format!("{target:?}, as bits have it,"), &self.target));
        }
        Ok((bits, target))
    }

    fn times(&self) -> Result<Times, String> {
        let now = word("curtime", &self.curtime)?;
        let min = if self.mintime.is_null() { now } else { word("mintime", &self.mintime)? };
        let max = if self.maxtime.is_null() { u32::MAX } else { word("maxtime", &self.maxtime)? };
        match min <= max {
            true => Ok(Times { now, min, max }),
            false => Err(format!("expected a maxtime that is not before mintime, got {max} and {min}")),
        }
    }

    /// The bits of BIP 320, without those that the node signals with, or could.
    fn mask(&self, version: u32) -> Result<u32, String> {
        let mut signals = match self.vbrequired.is_null() {
            true => 0,
            false => word("vbrequired", &self.vbrequired)?,
        };
        for bit in object("vbavailable", &self.vbavailable)?.into_iter().flat_map(|bits| bits.values()) {
            signals |= 1 << number("vbavailable", bit, 0..=31)?;
        }
        let (mask, signalling) = SIGNALS;
        let rolled = if version & mask == signalling { ROLLED } else { 0 };
        Ok(rolled & !(signals | version))
    }

    /// The values of `coinbaseaux`, one after another. Their names do not matter (BIP 22).
    fn aux(&self) -> Result<Vec<u8>, String> {
        let values = object("coinbaseaux", &self.coinbaseaux)?.into_iter().flat_map(|values| values.values());
        let values: Result<Vec<_>, _> = values.map(|value| bytes("coinbaseaux", value)).collect();
        Ok(values?.concat())
    }
}
