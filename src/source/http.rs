//! The HTTP client of sources: one host, no redirects, no proxies, no compression, limits on time and size.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, RequestBuilder, Url, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value};

use super::SourceError;

const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long an idle connection is kept: less than the 5 s after which the service closes it, so that no request goes out on a dying one.
const IDLE_TIME: Duration = Duration::from_secs(4);
/// What stands before the scheme of a Bitcoin node's address.
pub(super) const NODE_SCHEME: &str = "bitcoind+";
/// How much of an unexpected answer an error repeats.
const SHOWN_CHARS: usize = 60;
/// How much of a service's own reason an error repeats.
const REASON_CHARS: usize = 200;

/// A web server to ask.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client,
    base: String,
    /// What errors call the server: its address with the source's own scheme.
    name: String,
}

/// How long an answer may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest answer that is read.
    pub(super) bytes: usize,
    /// The longest time from the request to the end of the answer.
    pub(super) time: Duration,
}

impl Limits {
    /// For answers of a few hundred bytes, which need no work: those of a block service, and most of a node's.
    pub(super) const SMALL: Self = Self { bytes: 64 << 10, time: Duration::from_secs(5) };
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
        let parsed = parse(url, url, "http://host:port")?;
        if parsed.scheme() == "https" {
            let problem = "https is not supported here; expected http://host:port".into();
            return Err(SourceError { url: url.to_owned(), problem, is_over: false });
        }
        let base = base(&parsed);
        Self::with(base.clone(), base, RootCertStore::empty())
    }

    /// A client of a Bitcoin node at `bitcoind+http://host:port` or `bitcoind+https://host:port`, where a path is allowed. TLS trusts the
    /// roots of this system.
    ///
    /// # Errors
    /// As for [`new`](Self::new), or https where the system has no root certificates.
    pub(super) fn of_node(url: &str) -> Result<Self, SourceError> {
        let plain = url.strip_prefix(NODE_SCHEME).unwrap_or_default();
        let parsed = parse(plain, url, "bitcoind+http://host:port or bitcoind+https://host:port")?;
        let base = base(&parsed);
        let name = format!("{NODE_SCHEME}{base}");
        let roots = match parsed.scheme() {
            "https" => system_roots().map_err(|problem| SourceError { url: name.clone(), problem, is_over: false })?,
            _ => RootCertStore::empty(),
        };
        Self::with(base, name, roots)
    }

    fn with(base: String, name: String, roots: RootCertStore) -> Result<Self, SourceError> {
        match client(roots) {
            Ok(client) => Ok(Self { client, base, name }),
            Err(problem) => Err(SourceError { url: name, problem, is_over: false }),
        }
    }

    /// The page at the address itself.
    pub(super) fn address(&self) -> &str {
        &self.base
    }

    /// Whether nobody else reads what is sent: the server is on this machine, or TLS is spoken.
    pub(super) fn is_private(&self) -> bool {
        let Ok(url) = Url::parse(&self.base) else { return false };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        is_here || url.scheme() == "https"
    }

    /// The page that a server's own link leads to; `None` if it leads to another server.
    pub(super) fn page(&self, link: &str) -> Option<String> {
        let base = Url::parse(&self.base).ok()?;
        let page = base.join(link).ok()?;
        let is_own = page.origin() == base.origin() && page.username().is_empty() && page.password().is_none();
        is_own.then(|| page.into())
    }

    /// The server's address.
    pub(super) fn url(&self) -> &str {
        &self.name
    }

    /// A request for the page, to be handed to [`send`](Self::send).
    pub(super) fn get(&self, page: &str) -> RequestBuilder {
        self.client.get(format!("{}{page}", self.base))
    }

    /// A submission to the page, to be handed to [`send`](Self::send).
    pub(super) fn post(&self, page: &str, json: &Value) -> RequestBuilder {
        self.client.post(format!("{}{page}", self.base)).json(json)
    }

    /// A submission to a page that [`page`](Self::page) gave, to be handed to [`send`](Self::send).
    pub(super) fn post_to(&self, page: &str, json: String) -> RequestBuilder {
        self.client.post(page).header(CONTENT_TYPE, "application/json").body(json)
    }

    /// Sends the request and reads the answer, whatever its status. Redirects are not followed.
    ///
    /// # Errors
    /// No connection, no answer in time, a redirect, or an answer that is too long.
    pub(super) async fn send(&self, request: RequestBuilder, limits: Limits) -> Result<Reply, SourceError> {
        let failed = |error: reqwest::Error| self.error(causes(&error.without_url()));
        let mut response = request.timeout(limits.time).send().await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
            let to = to.map_or("nowhere".into(), |to| shown(&to));
            return Err(self.error(format!("expected an answer, got a redirect ({status}) to {to}; name that address")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > limits.bytes {
                return Err(self.error(format!("expected at most {} bytes, got more", limits.bytes)));
            }
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8(body).unwrap_or_else(|body| String::from_utf8_lossy(body.as_bytes()).into_owned());
        Ok(Reply { status: status.as_u16(), body })
    }

    /// An error of this source. The next request may succeed: HTTP has no session that could be over.
    pub(super) fn error(&self, problem: String) -> SourceError {
        SourceError { url: self.name.clone(), problem, is_over: false }
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

/// The parts of an address without credentials, query and fragment; `expected` is its form.
fn parse(url: &str, whole: &str, expected: &str) -> Result<Url, SourceError> {
    // Whatever stands before an @ may be a password.
    let shown = whole.rsplit_once('@').map_or(whole, |(_, host)| host);
    let refused = |problem: String| SourceError { url: shown.to_owned(), problem, is_over: false };
    let parsed = Url::parse(url).map_err(|error| refused(format!("expected {expected}, got {error}")))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(refused(format!("expected {expected}, got the scheme {:?}", parsed.scheme())));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let problem =
            format!("expected no credentials in the address, but {expected}: others of this machine can read it");
        return Err(refused(problem));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(refused(format!("expected {expected} with a path at most, got a query or a fragment")));
    }
    Ok(parsed)
}

fn base(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The certificates that this system trusts. Reading them takes some milliseconds and blocks.
///
/// # Errors
/// There are none.
pub(super) fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => {
            let reason = found.errors.first().map_or(String::new(), |error| format!(" ({error})"));
            Err(format!("expected the system's root certificates, found none{reason}; install them (ca-certificates)"))
        }
    }
}

/// The HTTP client. reqwest is built without a crypto provider of its own, so it is given one, and only those roots that are needed:
/// loading the system's would cost more than all else at the start.
fn client(roots: RootCertStore) -> Result<Client, String> {
    let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("the TLS library cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIME)
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
