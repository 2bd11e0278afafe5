//! The fields of a submission, from JSON or from a form, and what is wrong with them.

use serde_json::Value;

use super::chain::Submission;
use crate::work::{Digest, TEXT_NONCES, Timestamp};

/// The longest name of a finder, in characters.
const POOL_CHARS: usize = 64;
/// How much of a refused value an answer repeats.
const SHOWN_CHARS: usize = 40;

/// A field that is missing or malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, got {got}")]
pub(super) struct FieldError {
    pub(super) field: &'static str,
    pub(super) expected: &'static str,
    pub(super) got: String,
}

/// The submission in a JSON object.
///
/// # Errors
/// The first field that is missing, of another type or out of its limits.
pub(super) fn from_json(body: &[u8]) -> Result<Submission, FieldError> {
    let refused = |got| FieldError { field: "body", expected: "a JSON object", got };
    let value: Value = serde_json::from_slice(body).map_err(|error| refused(format!("no JSON: {error}")))?;
    let Value::Object(fields) = &value else { return Err(refused(shown(&value.to_string()))) };
    // Where digits are expected, a number stands for its decimal digits.
    let digits = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if number.is_u64() => Ok(Some(number.to_string())),
        None | Some(Value::Null) => Ok(None),
        Some(other) => Err(shown(&other.to_string())),
    };
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        None | Some(Value::Null) => Ok(None),
        Some(other) => Err(shown(&other.to_string())),
    };
    Ok(Submission {
        prev: Some(prev(text("prev"))?),
        timestamp: timestamp(digits("timestamp"))?,
        nonce: nonce(digits("nonce"))?,
        pool: pool("pool", text("pool"))?,
    })
}

/// The submission in the decoded fields of a query or a form, as the exercise's first service takes it: it has no previous hash, so the
/// newest block is meant. Of a field that comes twice the first counts.
///
/// # Errors
/// The first field that is missing or out of its limits.
pub(super) fn from_form(fields: &[(String, String)]) -> Result<Submission, FieldError> {
    let text = |name: &str| Ok(fields.iter().find(|(key, _)| key == name).map(|(_, text)| text.clone()));
    Ok(Submission {
        prev: None,
        timestamp: timestamp(text("timestamp"))?,
        nonce: nonce(text("nonce"))?,
        pool: pool("poolname", text("poolname"))?,
    })
}

/// A request's field: absent, a text, or, as the error, a value that cannot be one.
type Field = Result<Option<String>, String>;

fn prev(field: Field) -> Result<Digest, FieldError> {
    required("prev", "64 lower-case hex digits", field, |text| text.parse().ok())
}

fn timestamp(field: Field) -> Result<Timestamp, FieldError> {
    required("timestamp", "1 to 20 decimal digits", field, |text| text.parse().ok())
}

fn nonce(field: Field) -> Result<u64, FieldError> {
    // The digits are hashed, so only the canonical way to write the number is accepted.
    required("nonce", "an integer from 1 to 2000000000, without sign or leading zeros", field, |text| {
        text.parse().ok().filter(|&nonce: &u64| TEXT_NONCES.contains(nonce) && nonce.to_string() == text)
    })
}

/// Whether the service takes blocks under this name.
///
/// # Errors
/// The name is too long or has control characters; the text says what was expected.
pub fn check_pool_name(name: &str) -> Result<(), String> {
    pool("name", Ok(Some(name.to_owned()))).map(drop).map_err(|error| error.to_string())
}

fn pool(name: &'static str, field: Field) -> Result<String, FieldError> {
    let refused = |got| FieldError { field: name, expected: "at most 64 characters, none a control character", got };
    let text = field.map_err(refused)?.unwrap_or_default();
    let name = text.trim();
    if name.chars().count() > POOL_CHARS || name.chars().any(char::is_control) {
        return Err(refused(shown(&text)));
    }
    Ok(name.to_owned())
}

fn required<T>(
    field: &'static str,
    expected: &'static str,
    found: Field,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, FieldError> {
    let refused = |got| FieldError { field, expected, got };
    let text = found.map_err(refused)?.ok_or_else(|| refused("nothing".into()))?;
    parse(&text).ok_or_else(|| refused(shown(&text)))
}

/// The text quoted, cut short and without control characters.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::work::fixtures::PREV as HEX;

    fn with(field: &str, value: Value) -> Result<Submission, FieldError> {
        let mut object = json!({"prev": HEX, "timestamp": "1795342329", "nonce": 123, "pool": "a"});
        object[field] = value;
        from_json(object.to_string().as_bytes())
    }

    fn refused(result: Result<Submission, FieldError>, field: &str) {
        match result {
            Err(error) => {
                assert_eq!(error.field, field);
                assert!(error.to_string().chars().count() < 200, "{error}");
            }
            Ok(taken) => panic!("expected {field} to be refused, took {taken:?}"),
        }
    }

    #[test]
    fn good_submissions_in_each_spelling() {
        for nonce in [json!(1), json!("1"), json!(2_000_000_000), json!("2000000000")] {
            let text = nonce.to_string().replace('"', "");
            assert_eq!(with("nonce", nonce).unwrap().nonce.to_string(), text);
        }
        for timestamp in [json!(0), json!("007"), json!(u64::MAX), json!("99999999999999999999")] {
            let text = timestamp.to_string().replace('"', "");
            assert_eq!(with("timestamp", timestamp).unwrap().timestamp.to_string(), text);
        }
        for (pool, kept) in
            [(json!("  Grüße \n"), "Grüße"), (json!(null), ""), (json!("ü".repeat(64)), &"ü".repeat(64))]
        {
            assert_eq!(with("pool", pool).unwrap().pool, kept);
        }
        assert_eq!(with("more", json!([1])).unwrap().prev, HEX.parse().ok());
    }

    #[test]
    fn bad_nonces() {
        let numbers = [json!(0), json!(2_000_000_001u64), json!(-1), json!(1.0), json!(1e3), json!(u64::MAX)];
        let texts = ["", "0", "01", "+1", "-1", " 1", "1.0", "1e3", "0x1", "2000000001", "18446744073709551617", "١"];
        let others = [json!(null), json!(true), json!([1]), json!({"nonce": 1})];
        for nonce in numbers.into_iter().chain(texts.map(Value::from)).chain(others) {
            refused(with("nonce", nonce), "nonce");
        }
        // Twenty digits do not fit a JSON integer; they must not become a float.
        let body = format!(r#"{{"prev":"{HEX}","timestamp":"1","nonce":99999999999999999999}}"#);
        refused(from_json(body.as_bytes()), "nonce");
    }

    #[test]
    fn bad_hashes_timestamps_and_names() {
        for prev in
            [json!(null), json!(7), json!(""), json!(HEX.to_uppercase()), json!(&HEX[1..]), json!(format!("{HEX}0"))]
        {
            refused(with("prev", prev), "prev");
        }
        for timestamp in
            [json!(null), json!(""), json!("-1"), json!(-1), json!(1.5), json!("1".repeat(21)), json!("1 ")]
        {
            refused(with("timestamp", timestamp), "timestamp");
        }
        for pool in [json!(7), json!("a\u{7}b"), json!("x".repeat(65)), json!("x".repeat(50_000)), json!(["x"])] {
            refused(with("pool", pool), "pool");
        }
    }

    #[test]
    fn bodies_that_are_no_objects() {
        let deep = "[".repeat(10_000);
        for body in ["", "{", "[]", "7", "null", "\"x\"", "<html>", deep.as_str(), "{\"nonce\":1}}"] {
            refused(from_json(body.as_bytes()), "body");
        }
        refused(from_json(&[0xff, 0xfe]), "body");
    }

    #[test]
    fn forms_have_no_previous_hash() {
        let form = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
        };
        let good = [("timestamp", "12"), ("nonce", "34"), ("poolname", "Köln & Co")];
        let submission = from_form(&form(&good)).unwrap();
        assert_eq!((submission.prev, submission.nonce, submission.pool.as_str()), (None, 34, "Köln & Co"));
        assert_eq!(from_form(&form(&good[..2])).unwrap().pool, "");
        refused(from_form(&form(&good[1..])), "timestamp");
        refused(from_form(&form(&[good[0], ("nonce", "")])), "nonce");
        refused(from_form(&form(&[good[0], good[1], ("poolname", "a\0")])), "poolname");
    }
}
