//! Stratum's lines and their fields: JSON becomes typed values here, and whatever is not as it should be becomes a sentence.
//!
//! ```text
//! line ──parse──> Reply (to one of our requests) │ Call (a notification, or a request of the pool)
//! fields: hex of an exact or bounded size, numbers within bounds, words that may be shown
//! ```

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use crate::source::http::shown;

/// How much of what a pool says is shown or passed on, in characters.
const SHOWN_CHARS: usize = 200;
/// The longest id of a pool's request that is echoed, in bytes.
const ID_BYTES: usize = 64;

/// A line of a pool.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line {
    /// The reply to the request with this number.
    Reply { id: u64, answer: Answer },
    /// A notification, whose `id` is null, or a request.
    Call { id: Value, method: String, params: Vec<Value> },
}

/// A pool's reply to a request. Pools differ in what stands beside an error: nothing, null or false.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Answer {
    pub(super) result: Value,
    pub(super) error: Value,
}

/// An error in a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Option<i64>,
    /// The pool's words, cut and without control characters.
    pub(super) text: String,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// It is no JSON object, or neither a reply nor a call.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let mut object: Map<String, Value> = serde_json::from_str(line)
            .map_err(|_| format!("expected a JSON object on one line, got {}", shown(line)))?;
        let mut take = |field: &str| object.remove(field).unwrap_or(Value::Null);
        let (id, method) = (take("id"), take("method"));
        match method {
            Value::String(method) => {
                let params = match take("params") {
                    Value::Array(params) => params,
                    Value::Null => vec![],
                    other => {
                        return Err(format!(
                            "expected a list as params of {}, got {}",
                            shown(&method),
                            shown(&other.to_string())
                        ));
                    }
                };
                Ok(Self::Call { id: echoed(id), method, params })
            }
            Value::Null => match id.as_u64() {
                Some(id) => Ok(Self::Reply { id, answer: Answer { result: take("result"), error: take("error") } }),
                None => Err(format!("expected a reply with the number of a request, got {}", shown(line))),
            },
            _ => Err(format!("expected a text as the method, got {}", shown(line))),
        }
    }
}

impl Answer {
    /// The result where the pool did what was asked; otherwise its reason.
    pub(super) fn done(&self) -> Result<&Value, Refusal> {
        match &self.result {
            Value::Null | Value::Bool(false) => Err(self.refusal()),
            result => Ok(result),
        }
    }

    /// The error as a list, an object or a text: `[21, "Job not found", null]`, `{"code": 21, "message": "…"}`, `"…"`.
    fn refusal(&self) -> Refusal {
        let (code, text) = match &self.error {
            Value::Array(list) => (list.first().and_then(Value::as_i64), list.get(1).and_then(Value::as_str)),
            Value::Object(object) => {
                (object.get("code").and_then(Value::as_i64), object.get("message").and_then(Value::as_str))
            }
            Value::String(text) => (None, Some(text.as_str())),
            _ => (None, None),
        };
        let text = text.map(plain).filter(|text| !text.is_empty()).unwrap_or_else(|| "no reason given".into());
        Refusal { code, text }
    }
}

/// A request, as a line.
pub(super) fn request(id: u64, method: &str, params: &Value) -> String {
    json!({"id": id, "method": method, "params": params}).to_string()
}

/// A reply to a pool's request, as a line.
pub(super) fn reply(id: &Value, result: &Value) -> String {
    json!({"id": id, "result": result, "error": null}).to_string()
}

/// A reply to a pool's request that is not known here, as a line. 20 is Stratum's "other" error.
pub(super) fn refuse(id: &Value) -> String {
    json!({"id": id, "result": null, "error": [20, "expected a method that this miner knows", null]}).to_string()
}

/// An id that is short enough to be sent back.
fn echoed(id: Value) -> Value {
    match id {
        Value::String(text) if text.len() > ID_BYTES => Value::Null,
        Value::Array(_) | Value::Object(_) | Value::Bool(_) => Value::Null,
        id => id,
    }
}

/// A pool's words as they may be shown: cut, and without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

/// What is wrong with a field.
pub(super) fn unexpected(field: &str, expected: &str, got: Option<&Value>) -> String {
    match got {
        Some(got) => format!("expected {expected} as the {field}, got {}", shown(&got.to_string())),
        None => format!("expected {expected} as the {field}, got nothing"),
    }
}

/// Bytes in hex, so many of them.
pub(super) fn bytes(field: &str, value: Option<&Value>, size: RangeInclusive<usize>) -> Result<Vec<u8>, String> {
    let decoded = value.and_then(Value::as_str).and_then(|text| hex::decode(text).ok());
    decoded.filter(|bytes| size.contains(&bytes.len())).ok_or_else(|| {
        let (least, most) = (size.start(), size.end());
        let expected = match least == most {
            true => format!("{least} bytes in hex"),
            false => format!("{least} to {most} bytes in hex"),
        };
        unexpected(field, &expected, value)
    })
}

/// 8 hex digits, the high digit first.
pub(super) fn word(field: &str, value: Option<&Value>) -> Result<u32, String> {
    let bytes = bytes(field, value, 4..=4)?;
    Ok(bytes.iter().fold(0, |word, &byte| word << 8 | u32::from(byte)))
}

/// A text of so many bytes.
pub(super) fn text(field: &str, value: Option<&Value>, size: RangeInclusive<usize>) -> Result<String, String> {
    let text = value.and_then(Value::as_str).filter(|text| size.contains(&text.len()));
    text.map(str::to_owned)
        .ok_or_else(|| unexpected(field, &format!("a text of {} to {} bytes", size.start(), size.end()), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> Option<Refusal> {
        let Line::Reply { answer, .. } = Line::parse(line).unwrap() else { panic!("a reply") };
        answer.done().err()
    }

    #[test]
    fn replies_and_calls_are_told_apart() {
        assert_eq!(
            Line::parse(r#"{"id":7,"result":true,"error":null}"#),
            Ok(Line::Reply { id: 7, answer: Answer { result: json!(true), error: Value::Null } })
        );
        let call = |id: Value, params: Vec<Value>| Line::Call { id, method: "m".into(), params };
        assert_eq!(Line::parse(r#"{"id":null,"method":"m","params":[1]}"#), Ok(call(Value::Null, vec![json!(1)])));
        assert_eq!(Line::parse(r#" {"method":"m"} "#), Ok(call(Value::Null, vec![])));
        assert_eq!(Line::parse(r#"{"id":"a","method":"m","params":null}"#), Ok(call(json!("a"), vec![])));
    }

    #[test]
    fn an_id_is_echoed_only_if_it_is_short_and_simple() {
        let id = |id: Value| match Line::parse(&json!({"id": id, "method": "m"}).to_string()) {
            Ok(Line::Call { id, .. }) => id,
            other => panic!("{other:?}"),
        };
        assert_eq!((id(json!(1.5)), id(json!("x"))), (json!(1.5), json!("x")));
        for long in [json!("x".repeat(65)), json!([1]), json!({"a": 1}), json!(true)] {
            assert_eq!(id(long), Value::Null);
        }
    }

    #[test]
    fn other_lines_are_refused_and_shown_cut() {
        for line in [
            "",
            "hello",
            "[]",
            "7",
            r#"{"id":null,"result":true}"#,
            r#"{"id":-1,"result":true}"#,
            r#"{"id":"7","result":true}"#,
            r#"{"id":1,"method":7}"#,
            r#"{"id":1,"method":"m","params":{}}"#,
            r#"{"id":1,"result":NaN}"#,
            r#"{"id":null,"method":"mining.set_difficulty","params":[1e999]}"#,
            &"[".repeat(10_000),
        ] {
            let problem = Line::parse(line).unwrap_err();
            assert!(problem.contains("expected") && problem.len() < 300, "{line}: {problem}");
        }
        assert!(!Line::parse("\u{1b}[2J").unwrap_err().contains('\u{1b}'));
    }

    #[test]
    fn errors_have_any_of_three_shapes_beside_any_result() {
        let job = |code| Some(Refusal { code, text: "Job not found".into() });
        for result in ["null", "false"] {
            for (error, expected) in [
                (r#"[21,"Job not found",null]"#, job(Some(21))),
                (r#"{"code":21,"message":"Job not found"}"#, job(Some(21))),
                (r#""Job not\u0000 found""#, job(None)),
                ("null", Some(Refusal { code: None, text: "no reason given".into() })),
                ("[]", Some(Refusal { code: None, text: "no reason given".into() })),
                (r#"[24]"#, Some(Refusal { code: Some(24), text: "no reason given".into() })),
            ] {
                assert_eq!(refusal(&format!(r#"{{"id":1,"result":{result},"error":{error}}}"#)), expected);
            }
        }
        assert_eq!(refusal(r#"{"id":1,"result":true,"error":null}"#), None);
        let long = refusal(&json!({"id": 1, "error": "x".repeat(9_000)}).to_string());
        assert_eq!(long.map(|refusal| refusal.text.len()), Some(200));
    }

    #[test]
    fn fields_have_exact_sizes() {
        assert_eq!(word("version", Some(&json!("20000001"))), Ok(0x2000_0001));
        for wrong in [json!("2000001"), json!("0x200001"), json!("200000010"), json!(20000001), json!(null), json!("é")]
        {
            assert!(word("version", Some(&wrong)).unwrap_err().contains("version"), "{wrong}");
        }
        assert!(word("version", None).is_err());
        assert_eq!(bytes("extranonce1", Some(&json!("")), 0..=2), Ok(vec![]));
        assert_eq!(bytes("extranonce1", Some(&json!("0aFF")), 0..=2), Ok(vec![10, 255]));
        assert!(bytes("extranonce1", Some(&json!("0aFF00")), 0..=2).unwrap_err().contains("0 to 2 bytes"));
        assert!(text("job", Some(&json!("")), 1..=3).is_err() && text("job", Some(&json!("four")), 1..=3).is_err());
        assert_eq!(text("job", Some(&json!("a")), 1..=3), Ok("a".into()));
    }
}
