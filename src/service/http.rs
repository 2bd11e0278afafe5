//! The pages of the service. All answers are JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::hosts::{HostError, Hosts};
use super::legacy;
use super::live::{LiveChain, LiveError, Outcome};
use super::refusals::{Reason, Refusals};
use super::submission::{self, FieldError, shown};

/// The longest time from a request's head to its answer, a slow body included.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// The longest body; a submission takes about 200 bytes.
const BODY_BYTES: usize = 64 << 10;
/// How much of a body that is too large is read and thrown away. A client that is still sending would not see why it was refused.
const DISCARDED_BYTES: usize = 16 << 20;
/// `/api/v1/chain`: how many blocks an answer holds by default, and at most; 1,000 are about 350 kB.
const LIMIT: (usize, usize) = (100, 1000);

/// Every page of the service, behind the checks that they share.
pub(super) fn router(chain: Arc<LiveChain>, hosts: Hosts, refusals: Arc<Refusals>) -> Router {
    let guard = Arc::new((hosts, refusals));
    Router::new()
        .route("/api/v1/block", get(block).post(submit))
        .route("/api/v1/chain", get(blocks))
        .route("/request.php", get(legacy::request))
        .route("/submit.php", get(legacy::submit).post(legacy::submit))
        .route("/livez", get(async || Json(json!({"status": "alive"}))))
        .route("/readyz", get(ready))
        .fallback(async || problem(StatusCode::NOT_FOUND, "no such page"))
        .method_not_allowed_fallback(async || problem(StatusCode::METHOD_NOT_ALLOWED, "this page has no such method"))
        .with_state(chain)
        .layer(middleware::from_fn_with_state(guard, guarded))
}

/// Checks the host, bounds the time, counts refusals, and sets the headers that keep a browser from treating an answer as anything but
/// JSON.
async fn guarded(State(guard): State<Arc<(Hosts, Arc<Refusals>)>>, request: Request, next: Next) -> Response {
    let (hosts, refusals) = &*guard;
    let mut response = match hosts.check(&request) {
        Ok(()) => tokio::time::timeout(REQUEST_TIME, next.run(request))
            .await
            .unwrap_or_else(|_| problem(StatusCode::REQUEST_TIMEOUT, "the request took too long")),
        Err(error @ HostError::Refused) => problem(StatusCode::FORBIDDEN, error),
        Err(error) => problem(StatusCode::BAD_REQUEST, error),
    };
    if let Some(&reason) = response.extensions().get::<Reason>() {
        refusals.note(reason);
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn block(State(chain): State<Arc<LiveChain>>) -> Response {
    let (tip, zeros) = chain.next();
    Json(json!({"height": tip.height, "hash": tip.hash, "zeros": zeros})).into_response()
}

async fn submit(State(chain): State<Arc<LiveChain>>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let body = read(body).await?;
    // A form on a web page cannot send this type, so no page can submit without its reader's knowledge.
    let kind = media_type(&headers);
    if kind != "application/json" {
        return Ok(incomplete(&FieldError { field: "content-type", expected: "application/json", got: shown(&kind) }));
    }
    let submission = match submission::from_json(&body) {
        Ok(submission) => submission,
        Err(error) => return Ok(incomplete(&error)),
    };
    Ok(match chain.submit(submission).await? {
        // What `block` would answer next, so that the finder need not ask.
        Outcome::Accepted { tip, zeros } => {
            Json(json!({"status": "success", "height": tip.height, "hash": tip.hash, "zeros": zeros})).into_response()
        }
        Outcome::Stale => refusal(StatusCode::CONFLICT, "stale", json!({"status": "stale"})),
        Outcome::Wrong => refusal(StatusCode::UNPROCESSABLE_ENTITY, "wrong", json!({"status": "wrong"})),
    })
}

async fn blocks(State(chain): State<Arc<LiveChain>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let (mut from, mut limit) = (1, LIMIT.0);
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let refused = |field| Refusal::Field(FieldError { field, expected: "a whole number", got: shown(&value) });
        match &*key {
            "from" => from = value.parse().map_err(|_| refused("from"))?,
            "limit" => limit = value.parse::<usize>().map_err(|_| refused("limit"))?.min(LIMIT.1),
            _ => {}
        }
    }
    Ok(Json(chain.blocks(from, limit).await?).into_response())
}

async fn ready(State(chain): State<Arc<LiveChain>>) -> Result<Response, Refusal> {
    chain.ready().await?;
    Ok(Json(json!({"status": "ready"})).into_response())
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Field(FieldError),
    #[error("expected a request from a program or from this service's own pages, got one from a page of another site")]
    CrossSite,
    #[error("expected a body of at most 65536 bytes, got more")]
    BodyTooLarge,
    #[error("the body broke off")]
    BodyCut,
    #[error(transparent)]
    Chain(#[from] LiveError),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Field(_) | Self::BodyCut => StatusCode::BAD_REQUEST,
            Self::CrossSite => StatusCode::FORBIDDEN,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Chain(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        problem(status, self)
    }
}

/// The whole body, up to [`BODY_BYTES`].
pub(super) async fn read(mut body: Body) -> Result<Bytes, Refusal> {
    let mut kept = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Refusal::BodyCut)?.into_data() else { continue };
        length += chunk.len();
        if length <= BODY_BYTES {
            kept.extend_from_slice(&chunk);
        } else if length > DISCARDED_BYTES {
            break;
        }
    }
    if length <= BODY_BYTES { Ok(kept.into()) } else { Err(Refusal::BodyTooLarge) }
}

/// The content type without its parameters, in lower case; empty if there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Refuses what a page of another site makes a browser send. Browsers say so themselves: `none` means that the user has typed the address,
/// and programs do not send this header.
pub(super) fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    if sites.all(|site| site == "none" || site == "same-origin") { Ok(()) } else { Err(Refusal::CrossSite) }
}

fn incomplete(error: &FieldError) -> Response {
    let json = json!({"status": "incomplete", "error": error.to_string()});
    refusal(StatusCode::BAD_REQUEST, "incomplete", json)
}

fn problem(status: StatusCode, error: impl ToString) -> Response {
    let reason = status.canonical_reason().unwrap_or("another problem");
    refusal(status, reason, json!({"error": error.to_string()}))
}

/// An answer that refuses, with the reason to be counted.
pub(super) fn refusal(status: StatusCode, reason: &'static str, json: Value) -> Response {
    (status, Extension(Reason(reason)), Json(json)).into_response()
}
