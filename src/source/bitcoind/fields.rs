//! Reads single values of a node's answer. Whatever is wrong is told with the field's name.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::source::http::shown;

/// What a field should be, and what it is.
pub(super) fn wrong(name: impl Display, expected: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("expected {expected} as {name}, got none"),
        value => format!("expected {expected} as {name}, got {}", shown(&value.to_string())),
    }
}

/// A whole number in this range.
pub(super) fn number(name: &str, value: &Value, range: RangeInclusive<i64>) -> Result<i64, String> {
    let (low, high) = (range.start(), range.end());
    let number = value.as_i64().filter(|number| range.contains(number));
    number.ok_or_else(|| wrong(name, &format!("a whole number from {low} to {high}"), value))
}

/// A whole number of 32 bits.
pub(super) fn word(name: &str, value: &Value) -> Result<u32, String> {
    let word = value.as_u64().and_then(|word| u32::try_from(word).ok());
    word.ok_or_else(|| wrong(name, "a whole number of 32 bits", value))
}

/// A text.
pub(super) fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| wrong(name, "a text", value))
}

/// A text of at most so many bytes; `None` if there is none. It is sent back as it came.
pub(super) fn echo(name: &str, value: &Value, most: usize) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.len() <= most => Ok(Some(text.clone())),
        other => Err(wrong(name, &format!("a text of at most {most} bytes"), other)),
    }
}

/// Bytes in hex.
pub(super) fn bytes(name: impl Display, value: &Value) -> Result<Vec<u8>, String> {
    let bytes = value.as_str().and_then(|text| hex::decode(text).ok());
    bytes.ok_or_else(|| wrong(name, "an even number of hex digits", value))
}

/// Exactly so many bytes in hex.
pub(super) fn array<const N: usize>(name: impl Display, value: &Value) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let is_hex = value.as_str().is_some_and(|text| hex::decode_to_slice(text, &mut bytes).is_ok());
    is_hex.then_some(bytes).ok_or_else(|| wrong(name, &format!("{} hex digits", 2 * N), value))
}

/// A list of texts; none is an empty one.
pub(super) fn texts<'a>(name: &str, value: &'a Value) -> Result<Vec<&'a str>, String> {
    match value {
        Value::Null => Ok(vec![]),
        Value::Array(list) => list.iter().map(|item| text(name, item)).collect(),
        other => Err(wrong(name, "a list of texts", other)),
    }
}

/// An object; none is an empty one.
pub(super) fn object<'a>(name: &str, value: &'a Value) -> Result<Option<&'a Map<String, Value>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Object(object) => Ok(Some(object)),
        other => Err(wrong(name, "an object", other)),
    }
}
