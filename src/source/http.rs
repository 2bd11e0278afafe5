//! The HTTP client of sources: one host, no redirects, no proxies, no compression, limits on time and size.

use std::error::Error;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::{Client, RequestBuilder, Url, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value};

use super::SourceError;

/// The longest answer that is read; a block service's answers have less than 200 bytes.
const BODY_BYTES: usize = 64 << 10;
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// The longest time from the request to the end of the answer.
const TOTAL_TIME: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: less than the 5 s after which the service closes it, so that no request goes out on a dying one.
const IDLE_TIME: Duration = Duration::from_secs(4);
/// How much of an unexpected answer an error repeats.
const SHOWN_CHARS: usize = 60;
/// How much of a service's own reason an error repeats.
const REASON_CHARS: usize = 200;

/// A web server to ask.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client,
    base: String,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Http {
    /// A client of the server at `http://host:port`, where a path in front of all pages is allowed.
    ///
    /// # Errors
    /// Another scheme, credentials, a query or a fragment in `url`.
    pub(super) fn new(url: &str) -> Result<Self, SourceError> {
        // Whatever stands before an @ may be a password.
        let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
        let refused = |problem: String| SourceError { url: shown.to_owned(), problem, is_over: false };
        let parsed = Url::parse(url).map_err(|error| refused(format!("expected http://host:port, got {error}")))?;
        match parsed.scheme() {
            "http" => {}
            "https" => return Err(refused("https is not supported here; expected http://host:port".into())),
            other => return Err(refused(format!("expected http://host:port, got the scheme {other:?}"))),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(refused("expected no credentials in the address; the block service knows none".into()));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(refused("expected http://host:port with a path at most, got a query or a fragment".into()));
        }
        let base = parsed.as_str().trim_end_matches('/').to_owned();
        let client = client().map_err(|problem| SourceError { url: base.clone(), problem, is_over: false })?;
        Ok(Self { client, base })
    }

    /// The server's address.
    pub(super) fn url(&self) -> &str {
        &self.base
    }

    /// A request for the page, to be handed to [`send`](Self::send).
    pub(super) fn get(&self, page: &str) -> RequestBuilder {
        self.client.get(format!("{}{page}", self.base))
    }

    /// A submission to the page, to be handed to [`send`](Self::send).
    pub(super) fn post(&self, page: &str, json: &Value) -> RequestBuilder {
        self.client.post(format!("{}{page}", self.base)).json(json)
    }

    /// Sends the request and reads the answer, whatever its status. Redirects are not followed.
    ///
    /// # Errors
    /// No connection, no answer in time, a redirect, or an answer that is too long.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Reply, SourceError> {
        let failed = |error: reqwest::Error| self.error(causes(&error.without_url()));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
            let to = to.map_or("nowhere".into(), |to| shown(&to));
            return Err(self.error(format!("expected an answer, got a redirect ({status}) to {to}; name that address")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BODY_BYTES {
                return Err(self.error(format!("expected at most {BODY_BYTES} bytes, got more")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status: status.as_u16(), body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// An error of this source. The next request may succeed: HTTP has no session that could be over.
    pub(super) fn error(&self, problem: String) -> SourceError {
        SourceError { url: self.base.clone(), problem, is_over: false }
    }
}

impl Reply {
    /// The body as a JSON object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, String> {
        match serde_json::from_str(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(format!("expected a JSON object, got {}", shown(&self.body))),
            Err(_) if self.body.trim_start().starts_with('<') => {
                Err(format!("expected JSON, got HTML: {}", shown(&self.body)))
            }
            Err(_) => Err(format!("expected JSON, got {}", shown(&self.body))),
        }
    }

    /// What is wrong with an answer whose status is not among the expected ones.
    pub(super) fn unexpected(&self, expected: &str) -> String {
        let said = self.reason().unwrap_or_else(|| shown(&self.body));
        format!("expected status {expected}, got {} with {said}", self.status)
    }

    /// The `error` of a JSON answer, cut and without control characters.
    pub(super) fn reason(&self) -> Option<String> {
        let object = self.object().ok()?;
        let error = object.get("error")?.as_str()?;
        Some(error.chars().filter(|c| !c.is_control()).take(REASON_CHARS).collect())
    }
}

/// The HTTP client. reqwest is built without a crypto provider of its own, so it is given one. It gets no root certificates, because only
/// http is spoken and loading them would cost more than all else at the start.
fn client() -> Result<Client, String> {
    let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("the TLS library cannot be set up: {error}"))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIME)
        .timeout(TOTAL_TIME)
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(2)
        .tcp_nodelay(true)
        .build()
        .map_err(|error| format!("the HTTP client cannot be set up: {}", causes(&error)))
}

/// The error and what caused it, outermost first.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The text in quotes, cut short and without control characters.
pub(super) fn shown(text: &str) -> String {
    let text = text.trim();
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("'{}{more}'", cut.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_without_a_slash_at_the_end() {
        for (given, kept) in [
            ("http://127.0.0.1:8480", "http://127.0.0.1:8480"),
            ("http://127.0.0.1:8480/", "http://127.0.0.1:8480"),
            ("http://[::1]:8480", "http://[::1]:8480"),
            ("http://host.example/pool/", "http://host.example/pool"),
        ] {
            assert_eq!(Http::new(given).unwrap().url(), kept);
        }
    }

    #[test]
    fn other_addresses_are_refused_and_passwords_not_repeated() {
        let others =
            ["", "127.0.0.1:8480", "https://h", "ftp://h", "http://", "http://h/?a=b", "http://h/#a", "http://h:99999"];
        for url in others {
            let error = Http::new(url).unwrap_err().to_string();
            assert!(error.contains("expected http://"), "{url:?}: {error}");
        }
        for url in ["http://me:secret@h:1", "http://me:secret@h:99999", "http://secret@h", "https://me:secret@h"] {
            let error = Http::new(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn bodies_that_are_no_objects_are_shown_cut_and_escaped() {
        let problem = |body: &str| Reply { status: 200, body: body.into() }.object().unwrap_err();
        assert_eq!(problem("<html>\n\u{1b}[2J"), r"expected JSON, got HTML: '<html>\n\u{1b}[2J'");
        assert_eq!(problem("oops"), "expected JSON, got 'oops'");
        assert_eq!(problem("[1]"), "expected a JSON object, got '[1]'");
        assert!(problem(&"x".repeat(5000)).chars().count() < 100);
    }

    #[test]
    fn a_services_own_reason_is_preferred() {
        let unexpected = |body: &str| Reply { status: 503, body: body.into() }.unexpected("200");
        assert_eq!(unexpected(r#"{"error":"disk\nfull"}"#), "expected status 200, got 503 with diskfull");
        assert_eq!(unexpected("oops"), "expected status 200, got 503 with 'oops'");
    }
}
