//! The web source against the service that it is made for, against the exercise's first one, and against servers that
//! are down, slow, or answer nonsense.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use headframe::service::{Service, ServiceConfig, Zeros};
use headframe::source::{BlockSource, Offer, Session, SourceError, Verdict, WebSource};
use headframe::work::{
    Hashing, Header, HeaderPuzzle, Job, Puzzle, Search, Slot, Solution, Target, Template, TextPuzzle, ZeroUnit,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fixtures::PREV as HEX;
use crate::process::own_host;
use crate::process::web::{Web, answer};

/// No test waits so long for anything that works, the source's own limit of 5 s included.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the sessions of these tests ask.
const POLL: Duration = Duration::from_millis(20);

async fn session(address: SocketAddr) -> Box<dyn Session> {
    session_that_polls(address, POLL).await
}

async fn session_that_polls(address: SocketAddr, poll: Duration) -> Box<dyn Session> {
    let source = WebSource::new(&format!("http://{address}/"), "test & co".into(), poll).unwrap();
    assert_eq!(source.url(), format!("http://{address}"));
    source.open().await.unwrap()
}

/// The next offer, which has to come.
async fn offer(session: &mut dyn Session) -> Offer {
    timeout(PATIENCE, session.next()).await.expect("an answer").unwrap()
}

/// No offer comes for ten polls.
async fn assert_silent(session: &mut dyn Session) {
    if let Ok(next) = timeout(10 * POLL, session.next()).await {
        panic!("expected silence, got {next:?}");
    }
}

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn service() -> (SocketAddr, CancellationToken) {
    let config = ServiceConfig::new("127.0.0.1:0".parse().unwrap(), Zeros::Fixed(1));
    let service = Service::bind(config, || UNIX_EPOCH).unwrap();
    let (address, cancel) = (service.local_addr(), CancellationToken::new());
    tokio::spawn(service.run(cancel.clone()));
    (address, cancel)
}

/// A server that sends what `answer` makes of each request, and closes the connection.
fn server(mut answer: impl FnMut(&str) -> String + Send + 'static) -> SocketAddr {
    Web::start(move |request| Some(answer(request))).address
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

/// A block to find at this height.
fn block(height: u64) -> String {
    answer("200 OK", &format!(r#"{{"height":{height},"hash":"{HEX}","zeros":1}}"#))
}

fn solve(template: &Template) -> Solution {
    let job = template.job(Slot::default(), Duration::from_secs(1)).unwrap();
    let nonce = (1..).find(|&nonce| job.check(nonce).is_some()).unwrap();
    Solution { job, nonce }
}

/// A solution of no service's block.
fn any_solution() -> Solution {
    let timestamp = "1550766000000".parse().unwrap();
    let puzzle = Puzzle::Text(TextPuzzle { prev: HEX.parse().unwrap(), timestamp, hashing: Hashing::Double });
    let job = Job::new(puzzle, Target::from_zeros(2, ZeroUnit::Hex).unwrap(), Search::First);
    Solution { job, nonce: 319 }
}

async fn first_offer(address: SocketAddr) -> Result<Offer, SourceError> {
    timeout(PATIENCE, session(address).await.next()).await.expect("an answer or an error")
}

/// What the source says of a server that answers this.
async fn problem(answer: String) -> String {
    let address = server(move |_| answer.clone());
    let error = first_offer(address).await.expect_err("an error");
    assert!(!error.is_over, "the web source can always be asked again");
    let error = error.to_string();
    assert!(error.starts_with(&format!("http://{address}: ")) && error.chars().count() < 300, "{error}");
    assert!(!error.contains('\n'), "{error}");
    error
}

#[tokio::test]
async fn blocks_are_found_one_after_another() {
    let (address, cancel) = service();
    let mut session = session(address).await;
    let mut template = offer(&mut *session).await.template;
    assert_eq!((template.round.block.height, template.goal.block.zeros()), (0, 1));
    for height in 1..=3 {
        let solution = solve(&template);
        let (polled, verdict) = tokio::join!(offer(&mut *session), session_submit(address, &solution));
        let Verdict::Block { height: Some(accepted), next: Some(next) } = verdict else {
            panic!("expected a block and the next one, got {verdict:?}")
        };
        assert_eq!((accepted, next.round.block.height), (height, height));
        assert_eq!(Some(next.round.block.hash), solution.verify());
        assert_eq!(polled.template, next, "the verdict names what a poll would have");
        assert_eq!(session.submit(&solution).await, Ok(Verdict::Stale));
        template = next;
    }
    let mut wrong = solve(&template);
    wrong.nonce = (1..).find(|&nonce| wrong.job.check(nonce).is_none()).unwrap();
    assert_eq!(session.submit(&wrong).await, Ok(Verdict::Rejected { reason: "wrong".into() }));
    wrong.nonce = 2_000_000_001;
    let verdict = session.submit(&wrong).await;
    assert!(matches!(&verdict, Ok(Verdict::NotUnderstood(reason)) if reason.contains("nonce")), "{verdict:?}");
    cancel.cancel();
}

/// Submits in a session of its own, as the future of the other's `next` has that one.
async fn session_submit(address: SocketAddr, solution: &Solution) -> Verdict {
    session(address).await.submit(solution).await.unwrap()
}

#[tokio::test]
async fn a_submission_outlives_its_session_and_leaves_it_free() {
    let (address, cancel) = service();
    let mut session = session(address).await;
    let solution = solve(&offer(&mut *session).await.template);
    let submission = session.submit(&solution);
    assert_silent(&mut *session).await;
    drop(session);
    assert!(matches!(submission.await, Ok(Verdict::Block { height: Some(1), .. })));
    cancel.cancel();
}

#[tokio::test]
async fn what_was_offered_is_offered_again_only_when_asked_for() {
    let (address, cancel) = service();
    let mut session = session(address).await;
    let first = offer(&mut *session).await;
    assert_silent(&mut *session).await;
    let before = now();
    session.ask();
    let again = offer(&mut *session).await;
    assert_eq!(again.template, first.template);
    assert!(first.asked < before && before <= again.asked);
    assert_silent(&mut *session).await;
    cancel.cancel();
}

#[tokio::test]
async fn asking_does_not_wait_for_the_polls_time() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let address = server(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        block(7)
    });
    let mut session = session_that_polls(address, 1000 * PATIENCE).await;
    for asked in 1..=3 {
        // Twice is as good as once.
        session.ask();
        session.ask();
        offer(&mut *session).await;
        assert_silent(&mut *session).await;
        assert_eq!(requests.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test]
async fn dropped_futures_neither_ask_more_often_nor_lose_an_answer() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    // Every third answer is another block.
    let address = server(move |_| block(counter.fetch_add(1, Ordering::SeqCst) as u64 / 3));
    let poll = Duration::from_millis(50);
    let mut session = session_that_polls(address, poll).await;
    let start = now();
    let mut heights = Vec::new();
    while heights.len() < 4 {
        assert!(start.elapsed() < PATIENCE, "the answers were lost: {heights:?}");
        // Shorter than a poll, and often shorter than the way to the server and back.
        let patience = Duration::from_micros(500 * (heights.len() as u64 + 1));
        if let Ok(next) = timeout(patience, session.next()).await {
            heights.push(next.unwrap().template.round.block.height);
        }
    }
    assert_eq!(heights, [0, 1, 2, 3]);
    let polls = start.elapsed().as_millis() / poll.as_millis();
    let requests = requests.load(Ordering::SeqCst);
    assert!((10..=1 + polls as usize).contains(&requests), "{requests} requests in {polls} polls");
}

#[tokio::test]
async fn an_answer_carries_when_it_was_asked_for() {
    let (release, released) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (gate, counter) = (Arc::clone(&release), Arc::clone(&released));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The first answer is held back until it is released.
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            let height = counter.fetch_add(1, Ordering::SeqCst) as u64;
            if height == 0 {
                gate.notified().await;
            }
            let _ = stream.write_all(block(height).as_bytes()).await;
        }
    });
    let mut session = session(address).await;
    let before = now();
    assert_silent(&mut *session).await;
    let later = now();
    session.ask();
    assert_silent(&mut *session).await;
    assert_eq!(released.load(Ordering::SeqCst), 1, "one request at a time");
    release.notify_one();
    let old = offer(&mut *session).await;
    assert_eq!(old.template.round.block.height, 0);
    assert!(before <= old.asked && old.asked < later, "asked for before it was held back");
    let new = offer(&mut *session).await;
    assert_eq!(new.template.round.block.height, 1);
    assert!(later < new.asked);
    server.abort();
}

#[tokio::test]
async fn an_answer_that_came_while_nobody_waited_is_kept() {
    let address = server(|_| block(7));
    let mut session = session(address).await;
    let start = now();
    while timeout(Duration::ZERO, session.next()).await.is_err() {
        assert!(start.elapsed() < PATIENCE);
        // Much longer than the poll, as a busy caller may be.
        tokio::time::sleep(5 * POLL).await;
    }
    assert_silent(&mut *session).await;
}

#[tokio::test]
async fn a_question_that_failed_is_still_open() {
    let requests = AtomicUsize::new(0);
    let address = server(move |_| match requests.fetch_add(1, Ordering::SeqCst) {
        1 => answer("503 Busy", "{}"),
        _ => block(7),
    });
    let mut session = session(address).await;
    let first = offer(&mut *session).await;
    session.ask();
    timeout(PATIENCE, session.next()).await.expect("an answer").expect_err("the second answer is an error");
    assert_eq!(offer(&mut *session).await.template, first.template);
    assert_silent(&mut *session).await;
}

#[tokio::test]
async fn a_service_that_does_not_name_the_next_block_is_understood() {
    let address = server(|_| answer("200 OK", &json!({"status": "success", "height": 8, "hash": HEX}).to_string()));
    assert_eq!(session_submit(address, &any_solution()).await, Verdict::Block { height: Some(8), next: None });
}

#[tokio::test]
async fn a_headers_solution_is_not_for_this_source() {
    let (address, cancel) = service();
    let puzzle = Puzzle::Header(HeaderPuzzle { header: Header::from_bytes(&[0; 80]), version_mask: 0 });
    let solution = Solution { job: Job::new(puzzle, Target::MAX, Search::First), nonce: 1 };
    assert!(matches!(session_submit(address, &solution).await, Verdict::NotUnderstood(_)));
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
            let page = match request {
                good if good.contains("nonce=319&") => "{\"status\":\"success\"}",
                wrong if wrong.contains("nonce=320&") => "<b>wrong</b>",
                _ => "incomplete",
            };
            answer("200 OK", page)
        }
        _ => answer("404 Not Found", "<html>nothing here</html>"),
    });
    let mut session = session(address).await;
    let template = offer(&mut *session).await.template;
    let block = template.round.block;
    assert_eq!((block.height, block.hash.to_string(), template.goal.block.zeros()), (0, HEX.into(), 2));
    let solution = solve(&template);
    for (nonce, verdict) in [
        (319, Verdict::Block { height: None, next: None }),
        (320, Verdict::Rejected { reason: "wrong".into() }),
        (321, Verdict::NotUnderstood("the service gave no reason".into())),
    ] {
        assert_eq!(session.submit(&Solution { nonce, ..solution }).await, Ok(verdict));
    }
    assert_eq!(submissions.load(Ordering::SeqCst), 3);
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
    let address = TcpListener::bind((own_host(), 0)).await.unwrap().local_addr().unwrap();
    let problem = first_offer(address).await.unwrap_err().problem;
    assert!(problem.contains("refused"), "{problem}");
    assert!(session(address).await.submit(&any_solution()).await.is_err());
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
    let problem = first_offer(address).await.unwrap_err().problem;
    assert!(problem.contains("timed out"), "{problem}");
    silent.abort();
}
