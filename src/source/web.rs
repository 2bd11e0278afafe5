//! The block web service as a source of blocks: [`WebSource`] is the client of `service` and of the exercise's first one.
//!
//! ```text
//! next ──> request (a task of its own) ──> Offer        submit ──> request ──> Verdict, with the next template if the service names it
//! ```
//!
//! A service that has no `/api/v1/block` is taken for the exercise's first one: blocks come from `/request.php`, and solutions go to
//! `/submit.php`. That service counts no heights, so its blocks have height 0 on every node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::{Map, Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::http::{Http, Limits, Reply, shown};
use super::{BlockSource, BoxFuture, Offer, Session, SourceError, Verdict, legacy, now};
use crate::work::{
    BlockId, Blueprint, Digest, Goal, Puzzle, RoundId, Search, Solution, Target, Template, TextForm, TextPuzzle,
};

const BLOCK: &str = "/api/v1/block";
/// The shortest interval between two polls; a shorter one would only load the service.
const SHORTEST_POLL: Duration = Duration::from_millis(10);

/// The block web service at an address.
#[derive(Clone, Debug)]
pub struct WebSource {
    client: Arc<WebClient>,
    poll: Duration,
}

impl WebSource {
    /// The service at `url`, which is `http://host:port` with an optional path. Blocks are submitted under the name `pool`. A session asks
    /// for the block to find every `poll`, at most every 10 ms.
    ///
    /// # Errors
    /// The address has another form.
    pub fn new(url: &str, pool: String, poll: Duration) -> Result<Self, SourceError> {
        Self::with_form(url, pool, poll, TextForm::default())
    }

    /// The same, for the exercise's first service if that states its texts in another form. Headframe's own service states its form itself.
    ///
    /// # Errors
    /// As [`WebSource::new`].
    pub fn with_form(url: &str, pool: String, poll: Duration, form: TextForm) -> Result<Self, SourceError> {
        let client = WebClient { http: Http::new(url)?, pool, is_legacy: AtomicBool::new(false), form };
        Ok(Self { client: Arc::new(client), poll: poll.max(SHORTEST_POLL) })
    }
}

impl BlockSource for WebSource {
    fn url(&self) -> &str {
        self.client.http.url()
    }

    /// Never fails, and sends nothing yet: the web service knows no sessions.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>> {
        let session = WebSession::new(Arc::clone(&self.client), self.poll);
        Box::pin(std::future::ready(Ok(Box::new(session) as Box<dyn Session>)))
    }
}

/// One session: the last offer, and when the service is asked again. The clock of the polls and the request under way live here and not in
/// the future of [`next`](Session::next), so that dropping that future changes neither.
#[derive(Debug)]
struct WebSession {
    client: Arc<WebClient>,
    poll: Duration,
    /// When the next request may go out.
    due: Instant,
    /// The request under way. It runs in a task, so that its time limit does not depend on how often `next` is called.
    request: Option<Request>,
    /// The last offer.
    offered: Option<Template>,
    /// Whether the answer to the next request is given even if it is the same as the last offer.
    repeat: bool,
}

#[derive(Debug)]
struct Request {
    asked: Instant,
    /// See [`WebSession::repeat`]: as it was when the request went out.
    repeat: bool,
    answer: AbortOnDropHandle<Result<Template, SourceError>>,
}

impl WebSession {
    fn new(client: Arc<WebClient>, poll: Duration) -> Self {
        Self { client, poll, due: now(), request: None, offered: None, repeat: false }
    }

    /// Waits for the poll's time and for the answer. Cancel-safe: only `self` is changed, and only between two waits.
    async fn next_offer(&mut self) -> Result<Offer, SourceError> {
        loop {
            if self.request.is_none() {
                tokio::time::sleep_until(self.due.into()).await;
            }
            let Self { client, request, repeat, .. } = self;
            let request = request.get_or_insert_with(|| Request::send(client, std::mem::take(repeat)));
            let answer = (&mut request.answer).await;
            let (asked, may_repeat) = (request.asked, request.repeat);
            self.request = None;
            // If [`Session::ask`] was called while the request was under way, the next one goes out at once.
            if !self.repeat {
                self.due = now() + self.poll;
            }
            match answer
                .unwrap_or_else(|error| Err(self.client.http.error(format!("the request's task ended: {error}"))))
            {
                Ok(template) if may_repeat || self.offered.as_ref() != Some(&template) => {
                    self.offered = Some(template.clone());
                    return Ok(Offer { template, asked, body: None });
                }
                Ok(_) => {}
                Err(error) => {
                    self.repeat |= may_repeat;
                    return Err(error);
                }
            }
        }
    }
}

impl Request {
    fn send(client: &Arc<WebClient>, repeat: bool) -> Self {
        let client = Arc::clone(client);
        let asked = now();
        let answer = AbortOnDropHandle::new(tokio::spawn(async move { client.fetch().await }));
        Self { asked, repeat, answer }
    }
}

impl Session for WebSession {
    /// After an error the next request waits for the poll's time, too.
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>> {
        Box::pin(self.next_offer())
    }

    /// A request that is under way goes on, and its answer is given if it is another template. The answer to the request after it is given
    /// in any case.
    fn ask(&mut self) {
        self.repeat = true;
        self.due = now();
    }

    fn submit(&self, solution: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let (client, solution) = (Arc::clone(&self.client), *solution);
        Box::pin(async move { client.submit(&solution).await })
    }
}

/// The requests to the service, in its own form or in that of the exercise's first one.
#[derive(Debug)]
struct WebClient {
    http: Http,
    pool: String,
    /// Whether the service turned out to be the exercise's first one.
    is_legacy: AtomicBool,
    /// How that one states its texts.
    form: TextForm,
}

impl WebClient {
    /// Asks for the block to find.
    async fn fetch(&self) -> Result<Template, SourceError> {
        let (reply, is_legacy) = self.request(self.http.get(BLOCK), || self.http.get("/request.php")).await?;
        if reply.status != 200 {
            return Err(self.http.error(reply.unexpected("200")));
        }
        let template = if is_legacy {
            legacy::object_with("hash", &reply.body).and_then(|object| template(&object, 0, self.form))
        } else {
            reply.object().and_then(|object| template(&object, height(&object)?, TextForm::default()))
        };
        let template = template.map_err(|problem| self.http.error(problem))?;
        // This is set only now, because any server may answer 404 once.
        self.is_legacy.store(is_legacy, Ordering::Relaxed);
        Ok(template)
    }

    async fn submit(&self, solution: &Solution) -> Result<Verdict, SourceError> {
        let Puzzle::Text(TextPuzzle { prev, timestamp, .. }) = solution.job.puzzle else {
            let problem = "expected a solution of a text puzzle, got one of a header puzzle";
            return Ok(Verdict::NotUnderstood(problem.into()));
        };
        let (timestamp, nonce) = (timestamp.to_string(), solution.nonce);
        let submission = json!({"prev": prev, "timestamp": timestamp, "nonce": nonce, "pool": self.pool});
        let by_query = || {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("timestamp", &timestamp)
                .append_pair("nonce", &nonce.to_string())
                .append_pair("poolname", &self.pool)
                .finish();
            self.http.get(&format!("/submit.php?{query}"))
        };
        let (reply, is_legacy) = self.request(self.http.post(BLOCK, &submission), by_query).await?;
        let verdict = if is_legacy { legacy_verdict(&reply) } else { verdict(&reply) };
        verdict.map_err(|problem| self.http.error(problem))
    }

    /// Sends the request, or, if the page is not found, the first service's form of it. Gives true with the answer to the latter.
    async fn request(
        &self,
        request: RequestBuilder,
        legacy: impl Fn() -> RequestBuilder,
    ) -> Result<(Reply, bool), SourceError> {
        if !self.is_legacy.load(Ordering::Relaxed) {
            let reply = self.http.send(request, Limits::SMALL).await?;
            if reply.status != 404 {
                return Ok((reply, false));
            }
        }
        Ok((self.http.send(legacy(), Limits::SMALL).await?, true))
    }
}

/// The block to find in a service's answer.
pub(super) fn template(object: &Map<String, Value>, height: u64, form: TextForm) -> Result<Template, String> {
    let hash = object.get("hash").and_then(Value::as_str).ok_or_else(|| missing(object, "hash", "a text"))?;
    let hash: Digest = hash.parse().map_err(|error| format!("hash: {error}"))?;
    // The first service writes the number as a text.
    let zeros = match object.get("zeros") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(number) => number.as_i64(),
        None => None,
    };
    let zeros = zeros.ok_or_else(|| missing(object, "zeros", "a whole number"))?;
    let target = Target::from_zeros(zeros, form.zeros).map_err(|error| format!("zeros: {error}"))?;
    Ok(Template {
        round: RoundId { block: BlockId { height, hash }, generation: 0 },
        goal: Goal { block: target, report: target, search: Search::First },
        puzzle: Blueprint::Text { hashing: form.hashing },
        tag: 0,
    })
}

pub(super) fn height(object: &Map<String, Value>) -> Result<u64, String> {
    object.get("height").and_then(Value::as_u64).ok_or_else(|| missing(object, "height", "a whole number"))
}

/// The verdict in a service's answer.
pub(super) fn verdict(reply: &Reply) -> Result<Verdict, String> {
    if !matches!(reply.status, 200 | 400 | 409 | 422) {
        return Err(reply.unexpected("200, 400, 409 or 422"));
    }
    let object = reply.object()?;
    let reason = |otherwise: &str| reply.reason().unwrap_or_else(|| otherwise.into());
    match (reply.status, object.get("status").and_then(Value::as_str)) {
        (200, Some("success")) => {
            // The block is accepted whatever else the answer says. If the answer does not name the next block, the poll finds it.
            let height = height(&object).ok();
            let next = height.and_then(|height| template(&object, height, TextForm::default()).ok());
            Ok(Verdict::Block { height, next })
        }
        (409, Some("stale")) => Ok(Verdict::Stale),
        (422, Some("wrong")) => Ok(Verdict::Rejected { reason: reason("wrong") }),
        (400, Some("incomplete")) => Ok(Verdict::NotUnderstood(reason(NO_REASON))),
        _ => Err(reply.unexpected("and answer that belong together")),
    }
}

/// The verdict in the first service's answer.
pub(super) fn legacy_verdict(reply: &Reply) -> Result<Verdict, String> {
    if reply.status != 200 {
        return Err(reply.unexpected("200"));
    }
    Ok(match legacy::status(&reply.body)? {
        "success" => Verdict::Block { height: None, next: None },
        "wrong" => Verdict::Rejected { reason: "wrong".into() },
        _ => Verdict::NotUnderstood(NO_REASON.into()),
    })
}

const NO_REASON: &str = "the service gave no reason";

fn missing(object: &Map<String, Value>, field: &str, expected: &str) -> String {
    match object.get(field) {
        Some(value) => format!("expected {expected} as {field:?}, got {}", shown(&value.to_string())),
        None => format!("expected {expected} as {field:?}, got none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Hashing;
    use crate::work::fixtures::PREV as HEX;

    fn parse(value: Value) -> Result<Template, String> {
        let reply = Reply { status: 200, body: value.to_string() };
        let object = reply.object()?;
        template(&object, height(&object)?, TextForm::default())
    }

    #[test]
    fn good_answers() {
        for zeros in [json!(6), json!("6"), json!(0), json!(64)] {
            let template = parse(json!({"height": 7, "hash": HEX, "zeros": zeros, "more": []})).unwrap();
            assert_eq!(template.round.block, BlockId { height: 7, hash: HEX.parse().unwrap() });
            assert_eq!(template.puzzle, Blueprint::Text { hashing: Hashing::Double });
            assert_eq!(template.goal.block, template.goal.report);
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

    fn said(status: u16, body: Value) -> Result<Verdict, String> {
        verdict(&Reply { status, body: body.to_string() })
    }

    #[test]
    fn status_and_answer_have_to_belong_together() {
        let rejected = |reason: &str| Ok(Verdict::Rejected { reason: reason.into() });
        assert_eq!(said(409, json!({"status": "stale"})), Ok(Verdict::Stale));
        assert_eq!(said(422, json!({"status": "wrong"})), rejected("wrong"));
        assert_eq!(said(422, json!({"status": "wrong", "error": "2 zeros"})), rejected("2 zeros"));
        let incomplete = said(400, json!({"status": "incomplete", "error": "nonce: \u{7}no"}));
        assert_eq!(incomplete, Ok(Verdict::NotUnderstood("nonce: no".into())));
        for (status, body) in [
            (200, json!({"status": "stale"})),
            (200, json!({"height": 8})),
            (409, json!({"error": "a proxy's"})),
            (422, json!(7)),
            (500, json!({"status": "success", "height": 8})),
            (503, json!({"error": "disk full"})),
        ] {
            assert!(said(status, body.clone()).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn an_accepted_block_is_one_even_if_the_next_is_not_named() {
        let next = parse(json!({"height": 8, "hash": HEX, "zeros": 6})).unwrap();
        for (body, height, next) in [
            (json!({"status": "success", "height": 8, "hash": HEX, "zeros": 6}), Some(8), Some(next)),
            (json!({"status": "success", "height": 8, "hash": HEX}), Some(8), None),
            (json!({"status": "success", "height": 8, "hash": HEX, "zeros": 65}), Some(8), None),
            (json!({"status": "success", "height": 8}), Some(8), None),
            (json!({"status": "success", "hash": HEX, "zeros": 6}), None, None),
            (json!({"status": "success"}), None, None),
        ] {
            assert_eq!(said(200, body), Ok(Verdict::Block { height, next }));
        }
    }
}
