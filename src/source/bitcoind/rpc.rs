//! JSON-RPC 1.0, as Bitcoin nodes speak it over HTTP.
//!
//! 1. Bitcoin Core sends errors with status 500 or 404, bcoin with 200: so the body decides, and the status only where it has no error.
//! 2. An answer that says "not now" (starting, downloading, without peers) is no answer: the same request may succeed later.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::wire::Wire;
use crate::source::SourceError;
use crate::source::http::{Limits, Reply, shown};

/// Codes with which a node says that it cannot work yet: it has no peers, it downloads blocks, it starts.
const NOT_READY: [i64; 3] = [-9, -10, -28];

/// A node's RPC server.
pub(super) struct Rpc {
    wire: Box<dyn Wire>,
    /// Counts the requests, so that they can be told apart in the node's log.
    requests: AtomicU64,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// No usable answer came: the same call may succeed later.
    Unanswered(String),
    /// The node refuses the call.
    Refused {
        /// Bitcoin Core's `RPCErrorCode`.
        code: i64,
        message: String,
    },
}

impl CallError {
    /// For an operator.
    pub(super) fn into_problem(self) -> String {
        match self {
            Self::Unanswered(problem) => problem,
            Self::Refused { code, message } => format!("the node refuses: {message} ({code})"),
        }
    }
}

impl Rpc {
    pub(super) fn new(wire: Box<dyn Wire>) -> Self {
        Self { wire, requests: AtomicU64::new(0) }
    }

    pub(super) fn url(&self) -> &str {
        self.wire.url()
    }

    /// An error of this source. The next call may succeed.
    pub(super) fn error(&self, problem: String) -> SourceError {
        SourceError { url: self.url().to_owned(), problem: self.masked(&problem), is_over: false }
    }

    /// A node's words as they may be shown.
    pub(super) fn masked(&self, words: &str) -> String {
        self.wire.masked(words)
    }

    /// The page of a node's own link, if it leads to the same server.
    pub(super) fn page(&self, link: &str) -> Option<String> {
        self.wire.page(link)
    }

    /// Calls a method. `None` is the result null.
    pub(super) async fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        method: &'static str,
        params: Value,
        limits: Limits,
    ) -> Result<Option<T>, CallError> {
        self.call_at(None, method, params, limits).await
    }

    /// The hash of a block, as a node writes it; `method` with `params` names the block.
    pub(super) async fn hash(&self, method: &'static str, params: Value) -> Result<String, CallError> {
        let hash = self.call(method, params, Limits::SMALL).await?;
        hash.ok_or_else(|| CallError::Unanswered(format!("{method}: expected a block's hash, got null")))
    }

    /// Calls a method at a page of its own, or at the usual one.
    pub(super) async fn call_at<T: DeserializeOwned + Send + 'static>(
        &self,
        page: Option<&str>,
        method: &'static str,
        params: Value,
        limits: Limits,
    ) -> Result<Option<T>, CallError> {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "1.0", "id": id, "method": method, "params": params}).to_string();
        let reply = self.wire.post(page, body, limits).await.map_err(CallError::Unanswered)?;
        // A template of several megabytes takes tens of milliseconds to read.
        let read = tokio::task::spawn_blocking(move || read(&reply));
        let read = read.await.unwrap_or_else(|error| Err(CallError::Unanswered(format!("it was not read: {error}"))));
        read.map_err(|error| match error {
            CallError::Unanswered(problem) => CallError::Unanswered(format!("{method}: {problem}")),
            CallError::Refused { code, message } => {
                CallError::Refused { code, message: format!("{method}: {message}") }
            }
        })
    }
}

/// What stands in an answer.
#[derive(Deserialize)]
struct Answer<T> {
    /// None if it is missing, which is something else than null.
    #[serde(default = "missing", deserialize_with = "present", bound(deserialize = "T: Deserialize<'de>"))]
    result: Option<Option<T>>,
    #[serde(default)]
    error: Option<Value>,
}

fn missing<T>() -> Option<T> {
    None
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The result in an answer.
fn read<T: DeserializeOwned>(reply: &Reply) -> Result<Option<T>, CallError> {
    let unanswered = |problem: String| Err(CallError::Unanswered(problem));
    let answer: Answer<T> = match serde_json::from_str(&reply.body) {
        Ok(answer) => answer,
        Err(_) if reply.status != 200 => return unanswered(reply.unexpected("200")),
        Err(error) if error.is_data() => return unanswered(format!("expected a usable result, got {}", short(&error))),
        Err(_) => return unanswered(format!("expected JSON, got {}", shown(&reply.body))),
    };
    if let Some(error) = answer.error {
        let message = error.get("message").and_then(Value::as_str).map(shown);
        return match (error.get("code").and_then(Value::as_i64), message) {
            (Some(code), Some(message)) if NOT_READY.contains(&code) => {
                unanswered(format!("the node is not ready yet: {message} ({code})"))
            }
            (Some(code), Some(message)) => Err(CallError::Refused { code, message }),
            _ => unanswered(format!("expected an error with a code and a message, got {}", shown(&error.to_string()))),
        };
    }
    match answer.result {
        Some(result) if reply.status == 200 => Ok(result),
        Some(_) => unanswered(reply.unexpected("200")),
        None => unanswered(format!("expected a result or an error, got {}", shown(&reply.body))),
    }
}

/// What a value has wrong, without control characters: it may repeat what came.
fn short(error: &serde_json::Error) -> String {
    error.to_string().chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Result<Option<Value>, CallError> {
        read(&Reply { status, body: body.into() })
    }

    #[test]
    fn a_result_may_be_null_but_not_missing() {
        assert_eq!(said(200, r#"{"result":null,"error":null,"id":1}"#), Ok(None));
        assert_eq!(said(200, r#"{"jsonrpc":"2.0","result":"high-hash","id":1}"#), Ok(Some("high-hash".into())));
        for body in ["{}", r#"{"error":null}"#, r#"{"id":1}"#] {
            assert!(matches!(said(200, body), Err(CallError::Unanswered(_))), "{body}");
        }
    }

    #[test]
    fn an_error_is_one_with_any_status() {
        let body = r#"{"result":null,"error":{"code":-32601,"message":"Method not found"},"id":1}"#;
        for status in [200, 404, 500] {
            let refused = CallError::Refused { code: -32601, message: "'Method not found'".into() };
            assert_eq!(said(status, body), Err(refused), "{status}");
        }
        for code in NOT_READY {
            let body = format!(r#"{{"result":null,"error":{{"code":{code},"message":"Loading…"}}}}"#);
            let Err(CallError::Unanswered(problem)) = said(500, &body) else { panic!("{code}") };
            assert_eq!(problem, format!("the node is not ready yet: 'Loading…' ({code})"));
        }
    }

    #[test]
    fn nonsense_is_no_answer() {
        for (status, body) in [
            (503, "Work queue depth exceeded"),
            (500, r#"{"result":null,"error":null}"#),
            (200, "<html>"),
            (200, ""),
            (200, "[]"),
            (200, r#"{"result":null,"error":"no"}"#),
            (200, r#"{"result":null,"error":{"code":"-28","message":"Loading"}}"#),
        ] {
            let Err(CallError::Unanswered(problem)) = said(status, body) else { panic!("{body}") };
            assert!(problem.contains("expected") && problem.len() < 300, "{problem}");
        }
        let number: Result<Option<u32>, _> = read(&Reply { status: 200, body: r#"{"result":"x\u001b"}"#.into() });
        let Err(CallError::Unanswered(problem)) = number else { panic!("a text for a number") };
        assert!(problem.contains("u32") && !problem.contains('\u{1b}'), "{problem}");
    }
}
