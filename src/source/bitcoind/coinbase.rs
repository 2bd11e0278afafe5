//! The coinbase transaction of a block that Headframe builds.
//!
//! ```text
//! input:   height (BIP 34) | extranonce, 16 bytes | the operator's text | what the node wants there
//! outputs: the payout; with segwit, the commitment to all witnesses (BIP 141), on signet with an empty solution (BIP 325)
//! ```
//!
//! nLockTime is the height less 1, and nSequence allows it to count, so that no two coinbases are the same (BIP 54).

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

use super::signet;
use super::template::NodeTemplate;
use crate::work::{Coinbase, Digest, Extranonce, reference};

/// The longest input script that a coinbase may have, in bytes.
const MOST_SCRIPT: usize = 100;
/// The longest text of an operator: with the highest height and the extranonce it leaves 8 bytes.
pub(super) const MOST_TEXT: usize = 68;
/// How long the extranonce is; see [`Extranonce::Run`].
const EXTRANONCE: usize = 16;
/// What announces a witness commitment (BIP 141).
const COMMITMENT: [u8; 4] = [0xaa, 0x21, 0xa9, 0xed];
/// What a commitment is made with beside the witness root: the coinbase's own witness (BIP 141), which may be anything.
pub(super) const RESERVED: [u8; 32] = [0; 32];
/// Version, count of inputs, the output that is spent, length of the input script.
const BEFORE_SCRIPT: usize = 4 + 1 + 36 + 1;

/// The coinbase of this template. It pays `payout` and carries `text`.
///
/// # Errors
/// What the node wants to stand in the input does not fit there.
pub(super) fn coinbase(template: &NodeTemplate, payout: &Script, text: &[u8]) -> Result<Coinbase, String> {
    let height = Builder::new().push_int(template.height.into()).into_script();
    let mut script_sig = height.clone();
    script_sig.push_slice([0; EXTRANONCE]);
    for bytes in [text, &template.aux].into_iter().filter(|bytes| !bytes.is_empty()) {
        script_sig.push_slice(push(bytes)?);
    }
    if script_sig.len() > MOST_SCRIPT {
        return Err(too_long(script_sig.len(), template.aux.len()));
    }
    let input = TxIn {
        previous_output: OutPoint::null(),
        script_sig,
        sequence: Sequence::ENABLE_LOCKTIME_NO_RBF,
        witness: Witness::new(),
    };
    let mut output = vec![TxOut { value: Amount::from_sat(template.value), script_pubkey: payout.into() }];
    if template.is_segwit {
        let script_pubkey = commitment(template.transactions.witness_root, template.is_signet);
        output.push(TxOut { value: Amount::ZERO, script_pubkey });
    }
    let lock_time = LockTime::from_consensus(template.height - 1);
    let bytes = serialize(&Transaction { version: Version::TWO, lock_time, input: vec![input], output });
    // Behind the height stands the opcode that pushes the extranonce.
    let at = BEFORE_SCRIPT + height.len() + 1;
    let (before, rest) = bytes.split_at(at);
    Ok(Coinbase { before: before.to_vec(), extranonce: Extranonce::Run, after: rest[EXTRANONCE..].to_vec() })
}

fn push(bytes: &[u8]) -> Result<PushBytesBuf, String> {
    PushBytesBuf::try_from(bytes.to_vec()).map_err(|_| too_long(bytes.len(), bytes.len()))
}

fn too_long(length: usize, aux: usize) -> String {
    format!(
        "expected a coinbase input of at most {MOST_SCRIPT} bytes, got {length}, of which {aux} are the node's coinbaseaux; shorten --coinbase-text or what the node wants there"
    )
}

/// The output script that commits to all witnesses.
fn commitment(witness_root: Digest, is_signet: bool) -> ScriptBuf {
    let hash = reference::sha256d(&[witness_root.0, RESERVED].concat());
    let mut bytes = [0; 36];
    bytes[..4].copy_from_slice(&COMMITMENT);
    bytes[4..].copy_from_slice(&hash.0);
    let mut script = ScriptBuf::new_op_return(bytes);
    if is_signet {
        script.push_slice(signet::EMPTY_SOLUTION);
    }
    script
}
