//! The web source against the service that it is made for, against the exercise's first one, and against servers that
//! are down, slow, or answer nonsense.

// A test ends where it fails; clippy knows that of test functions, but not of what they call.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use headframe::service::{Service, ServiceConfig, Zeros};
use headframe::source::{BlockSource, SourceError, Template, Verdict, WebSource};
use headframe::work::{BlockId, Hashing, Header, HeaderPuzzle, Job, Puzzle, Search, Solution, Target, ZeroUnit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const HEX: &str = "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db";
/// No test waits so long for anything that works, the source's own limit of 5 s included.
const PATIENCE: Duration = Duration::from_secs(20);

fn source(address: SocketAddr) -> WebSource {
    WebSource::new(&format!("http://{address}/"), "test & co".into(), Duration::from_millis(20)).unwrap()
}

fn service() -> (SocketAddr, CancellationToken) {
    let config = ServiceConfig { listen: "127.0.0.1:0".parse().unwrap(), store: None, zeros: Zeros::Fixed(1) };
    let service = Service::bind(config, || UNIX_EPOCH).unwrap();
    let (address, cancel) = (service.local_addr(), CancellationToken::new());
    tokio::spawn(service.run(cancel.clone()));
    (address, cancel)
}

/// A server that sends what `answer` makes of each request's first line, and closes the connection.
async fn server<A: AsRef<[u8]> + Send>(answer: impl Fn(&str) -> A + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let request = read_head(&mut stream).await;
                let answer = answer(request.lines().next().unwrap_or_default());
                let _ = stream.write_all(answer.as_ref()).await;
            });
        }
    });
    address
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        bytes.extend_from_slice(&chunk[..read]);
        // The submissions here come in one piece with their heads.
        if read == 0 || bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn solve(template: &Template, seconds: u64) -> Solution {
    let job = template.job(Duration::from_secs(seconds));
    let nonce = (1..).find(|&nonce| job.check(nonce).is_some()).unwrap();
    Solution { job, nonce }
}

async fn template(address: SocketAddr) -> Result<Template, SourceError> {
    tokio::time::timeout(PATIENCE, source(address).template(None)).await.expect("an answer or an error")
}

/// What the source says of a server that answers this.
async fn problem(answer: String) -> String {
    let address = server(move |_| answer.clone()).await;
    let error = template(address).await.expect_err("an error").to_string();
    assert!(error.starts_with(&format!("http://{address}: ")) && error.chars().count() < 300, "{error}");
    assert!(!error.contains('\n'), "{error}");
    error
}

#[tokio::test]
async fn blocks_are_found_one_after_another() {
    let (address, cancel) = service();
    let source = source(address);
    assert_eq!(source.url(), format!("http://{address}"));
    let mut template = source.template(None).await.unwrap();
    assert_eq!((template.prev.height, template.target.zeros()), (0, 1));
    for height in 1..=3 {
        let solution = solve(&template, height);
        let next = async { tokio::join!(source.template(Some(&template)), source.submit(&solution)) };
        let (next, verdict) = tokio::time::timeout(PATIENCE, next).await.expect("the next block");
        assert_eq!(verdict.unwrap(), Verdict::Success(height));
        assert_eq!(source.submit(&solution).await.unwrap(), Verdict::Stale);
        let next = next.unwrap();
        assert_eq!(next.prev.height, height);
        assert_eq!(Some(next.prev.hash), solution.verify());
        template = next;
    }
    let mut wrong = solve(&template, 9);
    wrong.nonce = (1..).find(|&nonce| wrong.job.check(nonce).is_none()).unwrap();
    assert_eq!(source.submit(&wrong).await.unwrap(), Verdict::Wrong);
    wrong.nonce = 2_000_000_001;
    let Verdict::Incomplete(reason) = source.submit(&wrong).await.unwrap() else { panic!("expected incomplete") };
    assert!(reason.contains("nonce"), "{reason}");
    cancel.cancel();
}

#[tokio::test]
async fn a_known_template_is_waited_out() {
    let (address, cancel) = service();
    let source = source(address);
    let known = source.template(None).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(200), source.template(Some(&known)));
    assert!(waiting.await.is_err(), "the same template came twice");
    cancel.cancel();
}

#[tokio::test]
async fn a_headers_solution_is_not_for_this_source() {
    let (address, cancel) = service();
    let header = Header::from_bytes(&[0; 80]);
    let job = Job {
        height: 0,
        puzzle: Puzzle::Header(HeaderPuzzle { header, version_mask: 0 }),
        target: Target::MAX,
        search: Search::First,
    };
    let verdict = source(address).submit(&Solution { job, nonce: 1 }).await.unwrap();
    assert!(matches!(verdict, Verdict::Incomplete(_)));
    cancel.cancel();
}

#[tokio::test]
async fn the_exercises_first_service_is_understood() {
    let submissions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&submissions);
    let address = server(move |request| match request.split(['?', ' ']).nth(1) {
        Some("/request.php") => {
            answer("200 OK", &format!("<html>{{\"hash\":\"{HEX}\",\"zeros\":\"2\"}}<!-- ad --></html>"))
        }
        Some("/submit.php") => {
            assert!(request.contains("poolname=test+%26+co"), "{request}");
            counter.fetch_add(1, Ordering::SeqCst);
            answer("200 OK", if request.contains("nonce=319&") { "{\"status\":\"success\"}" } else { "<b>wrong</b>" })
        }
        _ => answer("404 Not Found", "<html>nothing here</html>"),
    })
    .await;
    let source = source(address);
    let template = source.template(None).await.unwrap();
    assert_eq!((template.prev.height, template.prev.hash.to_string(), template.target.zeros()), (0, HEX.into(), 2));
    let mut solution = solve(&template, 1);
    solution.nonce = 319;
    assert_eq!(source.submit(&solution).await.unwrap(), Verdict::Success(1));
    solution.nonce = 320;
    assert_eq!(source.submit(&solution).await.unwrap(), Verdict::Wrong);
    assert_eq!(submissions.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nonsense_is_an_error_that_says_what_came() {
    let block =
        |hash: &str, zeros: &str| answer("200 OK", &format!(r#"{{"height":1,"hash":"{hash}","zeros":{zeros}}}"#));
    for (answer, expected) in [
        (block(HEX, "65"), "expected 0 to 64 zeros, got 65"),
        (block(HEX, "-1"), "expected 0 to 64 zeros, got -1"),
        (block(HEX, "1.5"), "\"zeros\""),
        (block(&HEX[2..], "1"), "expected 64 lower-case hex digits, got 62 characters"),
        (block(&HEX.to_uppercase(), "1"), "expected 64 lower-case hex digits, found 'F'"),
        (answer("200 OK", "{}"), "\"height\""),
        (answer("200 OK", ""), "expected JSON"),
        (answer("200 OK", "<html>\u{1b}[2Jhello"), r"expected JSON, got HTML: '<html>\u{1b}[2Jhello'"),
        (answer("500 Oops", "{}"), "got 500"),
        (answer("302 Found\r\nLocation: http://evil.example/", ""), "redirect (302 Found) to 'http://evil.example/'"),
        (answer("404 Not Found", "nothing"), "got 404"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".into(), "http://"),
        ("SSH-2.0-OpenSSH_9.9\r\n".into(), "http://"),
        (String::new(), "http://"),
    ] {
        let problem = problem(answer).await;
        assert!(problem.contains(expected), "expected {expected:?} in {problem:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let problem = template(address).await.unwrap_err().problem;
    assert!(problem.contains("refused"), "{problem}");
    let prev = BlockId { height: 0, hash: HEX.parse().unwrap() };
    let target = Target::from_zeros(1, ZeroUnit::Hex).unwrap();
    let job = Template { prev, target, hashing: Hashing::Double }.job(Duration::ZERO);
    assert!(source(address).submit(&Solution { job, nonce: 1 }).await.is_err());
}

#[tokio::test]
async fn answers_without_an_end_are_cut_off() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(200_000));
    assert!(problem(endless).await.contains("at most 65536 bytes"));
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned() + &"x".repeat(100_000);
    assert!(problem(announced).await.contains("at most 65536 bytes"));
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2_000_000));
    problem(long_head).await;
}

#[tokio::test]
async fn servers_that_never_answer_are_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{").await;
            held.push(stream);
        }
    });
    let problem = template(address).await.unwrap_err().problem;
    assert!(problem.contains("timed out"), "{problem}");
    silent.abort();
}
