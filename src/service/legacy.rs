//! The pages of the exercise's first service, `/request.php` and `/submit.php`, for programs written against it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;

use super::http::{Refusal, check_site, media_type, read, refusal};
use super::live::{LiveChain, Outcome};
use super::submission;

/// The previous hash and the number of zeros, the latter as a text.
pub(super) async fn request(State(chain): State<Arc<LiveChain>>) -> Response {
    let (tip, zeros) = chain.next();
    Json(json!({"hash": tip.hash, "zeros": zeros.to_string()})).into_response()
}

/// Takes a solution for the newest block, its fields in the query or in a form. The answer is 200 whatever the status, unless the store
/// fails, the body cannot be read, or a page of another site sends it.
pub(super) async fn submit(
    State(chain): State<Arc<LiveChain>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    check_site(&headers)?; // any page can make a browser ask for another page, or send a form
    let mut fields: Vec<(String, String)> =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    let body = read(body).await?;
    if media_type(&headers) == "application/x-www-form-urlencoded" {
        fields.extend(form_urlencoded::parse(&body).into_owned());
    }
    let status = match submission::from_form(&fields) {
        Err(_) => "incomplete",
        Ok(submission) => match chain.submit(submission).await? {
            Outcome::Accepted { .. } => return Ok(Json(json!({"status": "success"})).into_response()),
            // Without a previous hash nothing is stale; another block that came first makes this one wrong.
            Outcome::Wrong | Outcome::Stale => "wrong",
        },
    };
    Ok(refusal(StatusCode::OK, status, json!({"status": status})))
}
