//! The way to a node, with servers on loopback that send whatever a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::source::bitcoind::wire::{HttpWire, Wire};
use crate::source::bitcoind::{BitcoindSource, Credentials, NodeConfig};
use crate::source::http::{Http, Limits, Reply};

const LIMITS: Limits = Limits { bytes: 1000, time: Duration::from_secs(20) };
/// `x:secret` and `__cookie__:two` in base64.
const PASSWORD: &str = "eDpzZWNyZXQ=";
const COOKIE_TWO: &str = "X19jb29raWVfXzp0d28=";

/// What a server sends for a request; none is silence.
type Answer = fn(&str) -> Option<String>;

fn http(status: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
}

/// A server, and the requests that it got.
async fn server(answer: Answer) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(vec![])));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let (mut request, mut chunk) = (String::new(), [0; 4096]);
                while !request.ends_with('}') {
                    let read = stream.read(&mut chunk).await.unwrap();
                    request.push_str(&String::from_utf8_lossy(&chunk[..read]));
                }
                noted.lock().unwrap().push(request.clone());
                match answer(&request) {
                    Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    (address, asked)
}

fn wire(address: SocketAddr, credentials: Credentials) -> HttpWire {
    HttpWire::new(Http::of_node(&format!("bitcoind+http://{address}/")).unwrap(), credentials)
}

fn password() -> Credentials {
    Credentials::Password { user: "x".into(), password: "secret".into() }
}

async fn post(wire: &HttpWire, limits: Limits) -> Result<Reply, String> {
    wire.post(None, "{}".into(), limits).await
}

#[tokio::test]
async fn credentials_go_with_each_request_and_into_no_error() {
    let (address, asked) = server(|request| match request.contains(PASSWORD) {
        true => http("200 OK", "{}"),
        false => http("401 Unauthorized", ""),
    })
    .await;
    assert_eq!(post(&wire(address, password()), LIMITS).await.unwrap().body, "{}");
    assert!(asked.lock().unwrap()[0].starts_with("POST / HTTP/1.1\r\n"));
    let problem = post(&wire(address, Credentials::None), LIMITS).await.unwrap_err();
    assert!(problem.contains("401") && problem.contains("HEADFRAME_SOURCE_PASSWORD"), "{problem}");
    let wrong = Credentials::Password { user: "x".into(), password: "hidden".into() };
    let problem = post(&wire(address, wrong), LIMITS).await.unwrap_err();
    assert!(problem.contains("401") && !problem.contains("hidden"), "{problem}");
    assert_eq!(asked.lock().unwrap().len(), 3, "a password is not tried twice");
}

#[tokio::test]
async fn a_cookie_that_has_changed_is_read_again_once() {
    let (address, asked) = server(|request| match request.contains(COOKIE_TWO) {
        true => http("200 OK", "{}"),
        false => http("401 Unauthorized", ""),
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |cookie: &str| std::fs::write(file.path(), cookie).unwrap();
    write("__cookie__:one");
    let wire = wire(address, Credentials::Cookie(file.path().to_owned()));
    assert!(post(&wire, LIMITS).await.unwrap_err().contains("401"));
    assert_eq!(asked.lock().unwrap().len(), 1, "the file says the same");
    write("__cookie__:two");
    assert!(post(&wire, LIMITS).await.is_ok());
    assert!(post(&wire, LIMITS).await.is_ok());
    assert_eq!(asked.lock().unwrap().len(), 4, "refused, taken, and taken at once");
}

#[tokio::test]
async fn answers_have_limits() {
    let cases: [(Answer, &str); 6] = [
        (|_| http("200 OK", &"x".repeat(1001)), "expected at most 1000 bytes"),
        (|_| http("302 Found\r\nLocation: http://127.0.0.1:1/", ""), "got a redirect (302 Found)"),
        (|_| http("403 Forbidden", ""), "rpcallowip"),
        (|_| Some("\0\0\r\n\r\n".into()), "invalid HTTP"),
        (|_| Some("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx".into()), "body"),
        (|_| None, "timed out"),
    ];
    for (answer, told) in cases {
        let (address, _) = server(answer).await;
        let time = if told == "timed out" { Duration::from_millis(50) } else { LIMITS.time };
        let problem = post(&wire(address, password()), Limits { time, ..LIMITS }).await.unwrap_err();
        assert!(problem.contains(told) && !problem.contains("secret"), "{told}: {problem}");
    }
}

#[tokio::test]
async fn links_lead_to_the_same_server_only() {
    let (address, asked) = server(|_| http("200 OK", "{}")).await;
    let wire = wire(address, password());
    let own = format!("http://{address}/lp");
    for link in ["/lp", "lp", &own] {
        let page = wire.page(link).unwrap();
        assert_eq!(page, own);
        wire.post(Some(&page), "{}".into(), LIMITS).await.unwrap();
    }
    assert!(asked.lock().unwrap().iter().all(|request| request.starts_with("POST /lp ")));
    let port = address.port();
    for link in ["http://127.0.0.1:1/lp", "//evil/lp", "https://127.0.0.1/", "http://me:it@127.0.0.1/", "file:///etc"] {
        assert_eq!(wire.page(link), None, "{link}");
    }
    assert_eq!(wire.page(&format!("http://me@127.0.0.1:{port}/lp")), None);
}

fn source(url: &str, credentials: Credentials, insecure: bool, text: &str) -> Result<String, String> {
    use crate::source::BlockSource;
    let payout = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".parse().unwrap();
    let now = Duration::from_secs(1_700_000_000);
    let config = NodeConfig { url: url.into(), credentials, payout, text: text.into(), insecure, now };
    BitcoindSource::new(config).map(|source| source.url().to_owned()).map_err(|error| error.to_string())
}

#[test]
fn passwords_go_to_this_machine_or_over_tls() {
    for url in [
        "bitcoind+http://127.0.0.1:8332",
        "bitcoind+http://[::1]:1",
        "bitcoind+http://localhost",
        "bitcoind+http://127.9.9.9/",
    ] {
        assert_eq!(source(url, password(), false, "").unwrap(), url.trim_end_matches('/'));
    }
    for url in ["bitcoind+http://10.0.0.1:8332", "bitcoind+http://node.example:1", "bitcoind+http://127.0.0.1.example"]
    {
        for credentials in [password(), Credentials::Cookie("cookie".into())] {
            let problem = source(url, credentials.clone(), false, "").unwrap_err();
            assert!(problem.contains("--insecure-source") && !problem.contains("secret"), "{problem}");
            assert!(source(url, credentials, true, "").is_ok());
        }
        assert!(source(url, Credentials::None, false, "").is_ok());
    }
}

#[test]
fn other_addresses_are_refused() {
    for url in [
        "bitcoind+",
        "bitcoind+ftp://h",
        "bitcoind+http://",
        "bitcoind+http://h?a",
        "bitcoind+http://h#a",
        "bitcoind://h",
        "http://h",
    ] {
        assert!(source(url, Credentials::None, false, "").unwrap_err().contains("expected bitcoind+http://"), "{url}");
    }
    for url in ["bitcoind+http://me:secret@127.0.0.1", "bitcoind+http://secret@h", "bitcoind+http://me:secret@h:99999"]
    {
        let problem = source(url, Credentials::None, false, "").unwrap_err();
        assert!(problem.contains("expected") && !problem.contains("secret"), "{problem}");
    }
    let problem = source("bitcoind+http://127.0.0.1", Credentials::None, false, &"x".repeat(69)).unwrap_err();
    assert!(problem.contains("at most 68 bytes, got 69"), "{problem}");
}
