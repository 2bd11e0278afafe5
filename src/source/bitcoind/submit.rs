//! Hands a block to the node, and finds out what became of it.
//!
//! | the node says | verdict |
//! |---|---|
//! | null | a block, unless the node's chain has another one at its height: bcoin says null of blocks beside its chain, too |
//! | `duplicate` | a block |
//! | `inconclusive`, `duplicate-inconclusive` | a block if the node's chain has it at its height, stale if it has another one there; else no answer |
//! | another reason | stale if it says so, else rejected |
//! | an error | rejected if the block cannot be read; else no answer, so the block is submitted again |

use std::time::Duration;

use serde_json::{Value, json};

use super::rpc::{CallError, Rpc};
use super::works::Work;
use crate::source::http::{Limits, shown};
use crate::source::{SourceError, Verdict};
use crate::work::{BlockHash, Solution};

/// A node checks a block before it answers.
pub(super) const LIMITS: Limits = Limits { time: Duration::from_secs(60), ..Limits::SMALL };

/// The code with which a node says that a block cannot be read (`RPC_DESERIALIZATION_ERROR`): asking again changes nothing. What is wrong with
/// a block that was read is no error but a reason; `RPC_VERIFY_ERROR` (-25) means that the node itself is in trouble.
const UNREADABLE: i64 = -22;

/// Bitcoin Core's code for a height that its chain does not have (yet).
const NO_SUCH_HEIGHT: i64 = -8;

/// What bcoin puts before its reasons.
const BCOINS: &str = "rejected: ";

/// Submits the block that the solution of this work stands for.
///
/// # Errors
/// There was no final answer.
pub(super) async fn submit(rpc: &Rpc, work: &Work, solution: &Solution) -> Result<Verdict, SourceError> {
    let (Some(block), Some(hash)) = (work.block(solution), solution.verify()) else {
        return Ok(Verdict::NotUnderstood(
            "expected a solution of a job that was made from the node's template".into(),
        ));
    };
    let mut params = vec![Value::String(block)];
    params.extend(work.workid.as_ref().map(|workid| json!({"workid": workid})));
    let said: Result<Option<String>, CallError> = rpc.call("submitblock", Value::Array(params), LIMITS).await;
    match said {
        Ok(None) => Ok(match at_height(rpc, work).await {
            Ok(known) if known != BlockHash::from(hash).to_string() => Verdict::Stale,
            _ => accepted(work),
        }),
        Ok(Some(reason)) => match reason.strip_prefix(BCOINS).unwrap_or(&reason) {
            "duplicate" => Ok(accepted(work)),
            "inconclusive" | "duplicate-inconclusive" => follow_up(rpc, work, hash.into()).await,
            stale if stale.contains("stale") || stale.contains("not-best-prevblk") => Ok(Verdict::Stale),
            reason => Ok(Verdict::Rejected { reason: rpc.masked(&plain(reason)) }),
        },
        Err(CallError::Refused { code: code @ UNREADABLE, message }) => {
            Ok(Verdict::Rejected { reason: rpc.masked(&format!("{message} ({code})")) })
        }
        Err(error) => Err(rpc.error(error.into_problem())),
    }
}

fn accepted(work: &Work) -> Verdict {
    Verdict::Block { height: Some(work.height.into()), next: None }
}

/// The node has the block and does not say what it thinks of it: its chain does.
async fn follow_up(rpc: &Rpc, work: &Work, hash: BlockHash) -> Result<Verdict, SourceError> {
    match at_height(rpc, work).await {
        Ok(known) if known == hash.to_string() => Ok(accepted(work)),
        Ok(_) => Ok(Verdict::Stale),
        Err(CallError::Refused { code: NO_SUCH_HEIGHT, .. }) => {
            Err(rpc.error(format!("the node has not decided on block {hash} yet")))
        }
        Err(error) => Err(rpc.error(error.into_problem())),
    }
}

/// The hash of the block that the node's chain has at the height of this work's blocks.
async fn at_height(rpc: &Rpc, work: &Work) -> Result<String, CallError> {
    rpc.hash("getblockhash", json!([work.height])).await
}

/// A reason as it came, if it is one of BIP 22's words; else in quotes and cut.
fn plain(reason: &str) -> String {
    let is_word = reason.len() <= 60 && reason.chars().all(|c| c.is_ascii_alphanumeric() || "-_ ".contains(c));
    if is_word { reason.to_owned() } else { shown(reason) }
}
