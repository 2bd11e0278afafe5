//! The block web service as a source of blocks: [`WebSource`] is the client of `service` and of the exercise's first one.
//!
//! A service that has no `/api/v1/block` is taken for the first one, asked by `/request.php` and told by `/submit.php`.
//! That one counts no heights, so its blocks have height 0 on every node alike.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Map, Value, json};

use super::http::{Http, Reply, shown};
use super::{BlockSource, BoxFuture, SourceError, Template, Verdict, legacy};
use crate::work::{BlockId, Digest, Hashing, Puzzle, Solution, Target, TextPuzzle, ZeroUnit};

const BLOCK: &str = "/api/v1/block";
/// A shorter interval between two polls would only load the service.
const SHORTEST_POLL: Duration = Duration::from_millis(10);

/// The block web service at an address.
#[derive(Debug)]
pub struct WebSource {
    http: Http,
    pool: String,
    poll: Duration,
    /// Whether it turned out to be the exercise's first service.
    legacy: AtomicBool,
}

impl WebSource {
    /// The service at `url`, `http://host:port` and a path at most. Blocks are handed in under the name `pool`; whether
    /// there is another block to find is asked once each `poll`, 10 ms at least.
    ///
    /// # Errors
    /// An address of another form.
    pub fn new(url: &str, pool: String, poll: Duration) -> Result<Self, SourceError> {
        Ok(Self { http: Http::new(url)?, pool, poll: poll.max(SHORTEST_POLL), legacy: AtomicBool::new(false) })
    }

    async fn next_template(&self, known: Option<&Template>) -> Result<Template, SourceError> {
        loop {
            let template = self.fetch().await?;
            if known != Some(&template) {
                return Ok(template);
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// Asks once.
    async fn fetch(&self) -> Result<Template, SourceError> {
        let (reply, legacy) = self.ask(self.http.get(BLOCK), || self.http.get("/request.php")).await?;
        if reply.status != 200 {
            return Err(self.http.error(reply.unexpected("200")));
        }
        let template = if legacy {
            legacy::object_with("hash", &reply.body).and_then(|object| template(&object, 0))
        } else {
            reply.object().and_then(|object| template(&object, height(&object)?))
        };
        let template = template.map_err(|problem| self.http.error(problem))?;
        // Only now, as any server may say 404 once.
        self.legacy.store(legacy, Ordering::Relaxed);
        Ok(template)
    }

    async fn hand_in(&self, text: &TextPuzzle, solution: &Solution) -> Result<Verdict, SourceError> {
        let timestamp = text.timestamp.to_string();
        let submission = json!({"prev": text.prev, "timestamp": timestamp, "nonce": solution.nonce, "pool": self.pool});
        let by_query = || {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("timestamp", &timestamp)
                .append_pair("nonce", &solution.nonce.to_string())
                .append_pair("poolname", &self.pool)
                .finish();
            self.http.get(&format!("/submit.php?{query}"))
        };
        let (reply, legacy) = self.ask(self.http.post(BLOCK, &submission), by_query).await?;
        let verdict = if legacy { legacy_verdict(&reply, solution) } else { verdict(&reply) };
        verdict.map_err(|problem| self.http.error(problem))
    }

    /// Sends the request, or the first service's form of it where the page is not found. Says which one was answered.
    async fn ask(
        &self,
        request: RequestBuilder,
        legacy: impl Fn() -> RequestBuilder,
    ) -> Result<(Reply, bool), SourceError> {
        if !self.legacy.load(Ordering::Relaxed) {
            let reply = self.http.send(request).await?;
            if reply.status != 404 {
                return Ok((reply, false));
            }
        }
        Ok((self.http.send(legacy()).await?, true))
    }
}

impl BlockSource for WebSource {
    fn url(&self) -> &str {
        self.http.url()
    }

    /// The first question goes out at once, so keep the future rather than making one again and again.
    fn template<'a>(&'a self, known: Option<&'a Template>) -> BoxFuture<'a, Result<Template, SourceError>> {
        Box::pin(self.next_template(known))
    }

    fn submit<'a>(&'a self, solution: &'a Solution) -> BoxFuture<'a, Result<Verdict, SourceError>> {
        Box::pin(async move {
            match &solution.job.puzzle {
                Puzzle::Text(text) => self.hand_in(text, solution).await,
                Puzzle::Header(_) => {
                    Ok(Verdict::Incomplete("expected a solution of a text puzzle, got one of a header puzzle".into()))
                }
            }
        })
    }
}

/// The block to find in a service's answer.
fn template(object: &Map<String, Value>, height: u64) -> Result<Template, String> {
    let hash = object.get("hash").and_then(Value::as_str).ok_or_else(|| missing(object, "hash", "a text"))?;
    let hash: Digest = hash.parse().map_err(|error| format!("hash: {error}"))?;
    // The first service writes the number as a text.
    let zeros = match object.get("zeros") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(number) => number.as_i64(),
        None => None,
    };
    let zeros = zeros.ok_or_else(|| missing(object, "zeros", "a whole number"))?;
    let target = Target::from_zeros(zeros, ZeroUnit::Hex).map_err(|error| format!("zeros: {error}"))?;
    Ok(Template { prev: BlockId { height, hash }, target, hashing: Hashing::Double })
}

fn height(object: &Map<String, Value>) -> Result<u64, String> {
    object.get("height").and_then(Value::as_u64).ok_or_else(|| missing(object, "height", "a whole number"))
}

/// The final word in a service's answer.
fn verdict(reply: &Reply) -> Result<Verdict, String> {
    if !matches!(reply.status, 200 | 400 | 409 | 422) {
        return Err(reply.unexpected("200, 400, 409 or 422"));
    }
    let object = reply.object()?;
    match (reply.status, object.get("status").and_then(Value::as_str)) {
        (200, Some("success")) => height(&object).map(Verdict::Success),
        (409, Some("stale")) => Ok(Verdict::Stale),
        (422, Some("wrong")) => Ok(Verdict::Wrong),
        (400, Some("incomplete")) => {
            Ok(Verdict::Incomplete(reply.reason().unwrap_or_else(|| "the service gave no reason".into())))
        }
        _ => Err(reply.unexpected("and answer that belong together")),
    }
}

/// The final word in the first service's answer.
fn legacy_verdict(reply: &Reply, solution: &Solution) -> Result<Verdict, String> {
    if reply.status != 200 {
        return Err(reply.unexpected("200"));
    }
    Ok(match legacy::status(&reply.body)? {
        "success" => Verdict::Success(solution.job.height + 1),
        "wrong" => Verdict::Wrong,
        _ => Verdict::Incomplete("the service gave no reason".into()),
    })
}

fn missing(object: &Map<String, Value>, field: &str, expected: &str) -> String {
    match object.get(field) {
        Some(value) => format!("expected {expected} as {field:?}, got {}", shown(&value.to_string())),
        None => format!("expected {expected} as {field:?}, got none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db";

    fn parse(value: Value) -> Result<Template, String> {
        let reply = Reply { status: 200, body: value.to_string() };
        let object = reply.object()?;
        template(&object, height(&object)?)
    }

    #[test]
    fn good_answers() {
        for zeros in [json!(6), json!("6"), json!(0), json!(64)] {
            let template = parse(json!({"height": 7, "hash": HEX, "zeros": zeros, "more": []})).unwrap();
            assert_eq!(template.prev, BlockId { height: 7, hash: HEX.parse().unwrap() });
            assert_eq!(template.hashing, Hashing::Double);
        }
    }

    #[test]
    fn every_field_is_checked() {
        for (field, values) in [
            ("hash", [json!(7), json!(&HEX[1..]), json!(HEX.to_uppercase()), json!("g".repeat(64)), json!(null)]),
            ("zeros", [json!(65), json!(-1), json!("65"), json!(6.5), json!("six")]),
            ("height", [json!("7"), json!(-1), json!(7.5), json!(null), json!([])]),
        ] {
            for value in values {
                let mut object = json!({"height": 7, "hash": HEX, "zeros": 6});
                object[field] = value;
                let problem = parse(object.clone()).unwrap_err();
                assert!(problem.contains(field) && problem.contains("expected"), "{object}: {problem}");
            }
        }
    }

    #[test]
    fn status_and_answer_have_to_belong_together() {
        let said = |status, body: Value| verdict(&Reply { status, body: body.to_string() });
        assert_eq!(said(200, json!({"status": "success", "height": 8})), Ok(Verdict::Success(8)));
        assert_eq!(said(409, json!({"status": "stale"})), Ok(Verdict::Stale));
        assert_eq!(said(422, json!({"status": "wrong"})), Ok(Verdict::Wrong));
        let incomplete = said(400, json!({"status": "incomplete", "error": "nonce: \u{7}no"}));
        assert_eq!(incomplete, Ok(Verdict::Incomplete("nonce: no".into())));
        for (status, body) in [
            (200, json!({"status": "stale"})),
            (200, json!({"status": "success"})),
            (409, json!({"error": "a proxy's"})),
            (422, json!(7)),
            (500, json!({"status": "success", "height": 8})),
            (503, json!({"error": "disk full"})),
        ] {
            assert!(said(status, body.clone()).is_err(), "{status} {body}");
        }
    }
}
