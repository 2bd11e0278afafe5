//! Reads the answers of the exercise's first service, `/request.php` and `/submit.php`. Free hosting wraps HTML around them, so the JSON
//! object, or the word, is looked for in whatever came.

use serde_json::{Map, Value};

use super::http::shown;

/// How many opening braces are tried as the object's beginning; pages contain styles and scripts, too.
const TRIES: usize = 64;

/// The first JSON object in `body` that has the field.
pub(super) fn object_with(field: &str, body: &str) -> Result<Map<String, Value>, String> {
    body.match_indices('{')
        .take(TRIES)
        .filter_map(|(at, _)| serde_json::Deserializer::from_str(&body[at..]).into_iter().next()?.ok())
        .find(|object: &Map<String, Value>| object.contains_key(field))
        .ok_or_else(|| format!("expected a JSON object with {field:?}, got {}", shown(body)))
}

/// The status of a submission, in an object or as a bare word: success, wrong or incomplete.
pub(super) fn status(body: &str) -> Result<&'static str, String> {
    let said = match object_with("status", body) {
        Ok(object) => object["status"].as_str().unwrap_or_default().to_owned(),
        Err(_) => without_tags(body),
    };
    let said = said.to_ascii_lowercase();
    said.split(|c: char| !c.is_ascii_alphabetic())
        .find_map(|word| ["success", "wrong", "incomplete"].into_iter().find(|&status| status == word))
        .ok_or_else(|| format!("expected success, wrong or incomplete, got {}", shown(body)))
}

/// The text between the tags.
fn without_tags(html: &str) -> String {
    let mut inside = false;
    html.chars()
        .map(|c| {
            inside = (inside || c == '<') && c != '>';
            if inside || c == '>' { ' ' } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_found_wherever_it_is() {
        let wrapped = "<html><style>body { color: red }</style><p>{\"a\":1}</p>{\"hash\":\"x\",\"zeros\":\"6\"}<script>{</script>";
        for body in [r#"{"hash":"x","zeros":"6"}"#, wrapped, "\u{feff} {\"zeros\":\"6\",\"hash\":\"x\"}\n"] {
            assert_eq!(object_with("hash", body).unwrap()["zeros"], "6");
        }
        for body in ["", "{", "{}", "<html>404</html>", &"{".repeat(60_000), &r#"{"a":"#.repeat(10_000)] {
            assert!(object_with("hash", body).is_err());
        }
    }

    #[test]
    fn the_word_is_found_as_well() {
        for (body, status_word) in [
            (r#"{"status":"success"}"#, "success"),
            (r#"<html>{"status":"Wrong"}</html>"#, "wrong"),
            ("incomplete", "incomplete"),
            ("Success!\n", "success"),
            (r#"<div class="success"><b>wrong</b></div>"#, "wrong"),
        ] {
            assert_eq!(status(body), Ok(status_word), "{body}");
        }
        for body in ["", "unsuccessful", r#"{"status":7}"#, r#"<p class="wrong">maintenance</p>"#] {
            assert!(status(body).is_err(), "{body}");
        }
    }
}
