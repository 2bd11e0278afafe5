//! The block service over real HTTP on loopback: every answer that its clients may rely on, and what they may get wrong.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headframe::service::{Service, ServiceConfig, ServiceError, StoreError, Zeros};
use headframe::work::{Hashing, Puzzle, Target, TextPuzzle, ZeroUnit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::http::{exchange, get, post, post_json};

const TIMESTAMP: &str = "1795342329";
/// No test waits so long for anything that works.
const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
    /// What the service's clock says: seconds since 1970.
    clock: Arc<AtomicU64>,
}

impl Running {
    fn start(zeros: Zeros, store: Option<&Path>) -> Self {
        Self::with(config(zeros, store))
    }

    fn with(config: ServiceConfig) -> Self {
        let clock = Arc::new(AtomicU64::new(1_795_342_329));
        let hand = Arc::clone(&clock);
        let time = move || UNIX_EPOCH + Duration::from_secs(hand.load(Ordering::SeqCst));
        let service = bind(config, time);
        let address = service.local_addr();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(service.run(cancel.clone()));
        Self { address, cancel, task, clock }
    }

    async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the service ends").unwrap();
    }

    async fn block(&self) -> Value {
        let (status, body) = get(self.address, "/api/v1/block").await;
        assert_eq!(status, 200);
        body
    }

    /// Finds and submits the next block.
    async fn mine(&self, pool: &str) -> Value {
        let submission = solve(&self.block().await, pool);
        let (status, answer) = post_json(self.address, "/api/v1/block", &submission).await;
        assert_eq!((status, &answer["status"]), (200, &json!("success")));
        answer
    }
}

fn config(zeros: Zeros, store: Option<&Path>) -> ServiceConfig {
    ServiceConfig { store: store.map(Path::to_owned), ..ServiceConfig::new("127.0.0.1:0".parse().unwrap(), zeros) }
}

/// A service on a store that another one has just closed. A process which some other test is starting at that moment has the file
/// open too until it runs its program.
fn bind(config: ServiceConfig, time: impl Fn() -> SystemTime + Clone + Send + Sync + 'static) -> Service {
    for _ in 0..500 {
        match Service::bind(config.clone(), time.clone()) {
            Err(ServiceError::Store(StoreError::Locked { .. })) => thread::sleep(Duration::from_millis(10)),
            bound => return bound.unwrap(),
        }
    }
    panic!("the store is still locked: {config:?}");
}

fn epoch() -> SystemTime {
    UNIX_EPOCH
}

/// The first nonce whose hash meets, or does not meet, the zeros of `block`.
fn search(block: &Value, solved: bool) -> u64 {
    let puzzle = Puzzle::Text(TextPuzzle {
        prev: block["hash"].as_str().unwrap().parse().unwrap(),
        timestamp: TIMESTAMP.parse().unwrap(),
        hashing: Hashing::Double,
    });
    let target = Target::from_zeros(block["zeros"].as_i64().unwrap(), ZeroUnit::Hex).unwrap();
    (1..).find(|&nonce| puzzle.check(nonce, target).is_some() == solved).unwrap()
}

/// The hash of the block that a submission makes.
fn hash(submission: &Value) -> String {
    let field = |name: &str| submission[name].as_str().unwrap();
    let (prev, timestamp) = (field("prev").parse().unwrap(), field("timestamp").parse().unwrap());
    let puzzle = Puzzle::Text(TextPuzzle { prev, timestamp, hashing: Hashing::Double });
    puzzle.digest(submission["nonce"].as_u64().unwrap()).to_string()
}

/// A submission of the block after `block`.
pub(crate) fn solve(block: &Value, pool: &str) -> Value {
    json!({"prev": block["hash"], "timestamp": TIMESTAMP, "nonce": search(block, true), "pool": pool})
}

#[tokio::test]
async fn a_fresh_service_gives_the_genesis_block() {
    let service = Running::start(Zeros::Fixed(2), None);
    let genesis = "c5bf8d56085efdf040afbf62f1a1d1da9908cd4567c2cbe4dd0eab6336845481";
    assert_eq!(service.block().await, json!({"height": 0, "hash": genesis, "zeros": 2}));
    assert_eq!(get(service.address, "/request.php").await, (200, json!({"hash": genesis, "zeros": "2"})));
    assert_eq!(get(service.address, "/api/v1/chain").await, (200, json!([])));
    assert_eq!(get(service.address, "/livez").await.0, 200);
    assert_eq!(get(service.address, "/readyz").await.0, 200);
    service.stop().await;
}

#[tokio::test]
async fn each_verdict_has_its_status() {
    let service = Running::start(Zeros::Fixed(2), None);
    let first = service.block().await;
    let submission = solve(&first, "mine");

    let mut wrong = submission.clone();
    wrong["nonce"] = json!(search(&first, false));
    assert_eq!(post_json(service.address, "/api/v1/block", &wrong).await, (422, json!({"status": "wrong"})));

    let answer = post_json(service.address, "/api/v1/block", &submission).await;
    let next = service.block().await;
    let success = json!({"status": "success", "height": 1, "hash": hash(&submission), "zeros": 2});
    assert_eq!(answer, (200, success));
    assert_eq!(next, json!({"height": 1, "hash": hash(&submission), "zeros": 2}));

    let stale = (409, json!({"status": "stale"}));
    assert_eq!(post_json(service.address, "/api/v1/block", &submission).await, stale);
    let mut unknown = submission.clone();
    unknown["prev"] = json!("0".repeat(64));
    assert_eq!(post_json(service.address, "/api/v1/block", &unknown).await, stale);

    let mut incomplete = submission;
    incomplete["nonce"] = json!("x");
    let (status, answer) = post_json(service.address, "/api/v1/block", &incomplete).await;
    assert_eq!((status, &answer["status"]), (400, &json!("incomplete")));
    assert!(answer["error"].as_str().unwrap().starts_with("nonce: expected an integer"), "{answer}");
    service.stop().await;
}

#[tokio::test]
async fn the_chain_is_listed_oldest_first() {
    let service = Running::start(Zeros::Fixed(1), None);
    for height in 1..=105 {
        assert_eq!(service.mine(&format!(" pool {height} ")).await["height"], height);
    }
    let list = async |query: &str| {
        let (status, blocks) = get(service.address, &format!("/api/v1/chain{query}")).await;
        assert_eq!(status, 200, "{query}");
        blocks.as_array().unwrap().clone()
    };
    let all = list("?from=1&limit=1000").await;
    assert_eq!(all.len(), 105);
    assert!(all.windows(2).all(|pair| pair[1]["prev"] == pair[0]["hash"]));
    let third = &all[2];
    assert_eq!((&third["height"], &third["zeros"], &third["pool"]), (&json!(3), &json!(1), &json!("pool 3")));
    assert_eq!((&third["timestamp"], &third["accepted_at"]), (&json!(TIMESTAMP), &json!(1_795_342_329_000u64)));
    assert_eq!(third.as_object().unwrap().len(), 8);

    assert_eq!(list("").await, all[..100]);
    assert_eq!(list("?from=0&limit=3").await, all[..3]);
    assert_eq!(list("?limit=2&from=104").await, all[103..]);
    assert_eq!(list("?from=106").await.len(), 0);
    assert_eq!(list("?limit=0").await.len(), 0);
    assert_eq!(list("?limit=18446744073709551615").await.len(), 105);
    for query in ["?from=x", "?from=-1", "?limit=", "?limit=1.5", "?from=99999999999999999999"] {
        let (status, answer) = get(service.address, &format!("/api/v1/chain{query}")).await;
        assert_eq!(status, 400, "{query}");
        assert!(answer["error"].as_str().unwrap().contains("expected a whole number"), "{answer}");
    }
    service.stop().await;
}

#[tokio::test]
async fn the_first_services_pages_take_queries_and_forms() {
    let service = Running::start(Zeros::Fixed(1), None);
    let (nonce, form) = (async || search(&service.block().await, true), "application/x-www-form-urlencoded");
    let said = |status: &str| (200, json!({"status": status}));

    let query = format!("/submit.php?timestamp={TIMESTAMP}&nonce={}&poolname=K%C3%B6ln+%26%20Co", nonce().await);
    assert_eq!(get(service.address, &query).await, said("success"));
    let body = format!("timestamp={TIMESTAMP}&nonce={}&poolname=a%3Db", nonce().await);
    assert_eq!(post(service.address, "/submit.php", form, body.as_bytes()).await, said("success"));
    let query = format!("/submit.php?timestamp={TIMESTAMP}&nonce={}", nonce().await);
    assert_eq!(post(service.address, &query, "text/plain", b"").await, said("success"));
    let (_, blocks) = get(service.address, "/api/v1/chain").await;
    assert_eq!([&blocks[0]["pool"], &blocks[1]["pool"], &blocks[2]["pool"]], ["Köln & Co", "a=b", ""]);

    let wrong = search(&service.block().await, false);
    let query = format!("/submit.php?timestamp={TIMESTAMP}&nonce={wrong}&poolname=x");
    assert_eq!(get(service.address, &query).await, said("wrong"));
    for query in [
        "",
        "?timestamp=1",
        "?nonce=1",
        "?timestamp=1&nonce=",
        "?timestamp=1&nonce=-1",
        "?timestamp=1&nonce=0",
        "?timestamp=1&nonce=2000000001",
        "?timestamp=%31x&nonce=1",
        "?timestamp=1&nonce=1&poolname=%00",
        "?%ff=%zz&&&=",
    ] {
        assert_eq!(get(service.address, &format!("/submit.php{query}")).await, said("incomplete"), "{query}");
    }
    service.stop().await;
}

#[tokio::test]
async fn bad_submissions_are_incomplete_and_say_why() {
    let service = Running::start(Zeros::Fixed(0), None);
    let good = solve(&service.block().await, "");
    let prev = good["prev"].as_str().unwrap();
    let long = "9".repeat(50_000);
    for (field, value) in [
        ("prev", json!(null)),
        ("prev", json!(prev.to_uppercase())),
        ("prev", json!(&prev[1..])),
        ("timestamp", json!(null)),
        ("timestamp", json!("")),
        ("timestamp", json!("-1")),
        ("timestamp", json!(1.5)),
        ("timestamp", json!("1".repeat(21))),
        ("nonce", json!(null)),
        ("nonce", json!(0)),
        ("nonce", json!(-1)),
        ("nonce", json!(1.0)),
        ("nonce", json!(2_000_000_001u64)),
        ("nonce", json!(12_345_678_901_234_567_890u64)),
        ("nonce", json!("+1")),
        ("nonce", json!("01")),
        ("nonce", json!(long)),
        ("nonce", json!([1])),
        ("pool", json!(7)),
        ("pool", json!("a\nb")),
        ("pool", json!("x".repeat(65))),
    ] {
        let mut submission = good.clone();
        submission[field] = value;
        let (status, answer) = post_json(service.address, "/api/v1/block", &submission).await;
        assert_eq!((status, &answer["status"]), (400, &json!("incomplete")), "{field}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.starts_with(&format!("{field}: expected ")) && error.len() < 300, "{error}");
    }
    for body in ["", "{", "[]", "null", "nonce=1", "\u{0}", &"[".repeat(60_000)] {
        let (status, answer) = post(service.address, "/api/v1/block", "application/json", body.as_bytes()).await;
        assert_eq!((status, &answer["status"]), (400, &json!("incomplete")));
        assert!(answer["error"].as_str().unwrap().starts_with("body: expected a JSON object"), "{answer}");
    }
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let (status, answer) = post(service.address, "/api/v1/block", kind, good.to_string().as_bytes()).await;
        assert_eq!((status, &answer["status"]), (400, &json!("incomplete")), "{kind}");
        assert!(answer["error"].as_str().unwrap().contains("application/json"), "{answer}");
    }
    assert_eq!(service.block().await["height"], 0);
    let kind = "Application/JSON; charset=utf-8";
    assert_eq!(post(service.address, "/api/v1/block", kind, good.to_string().as_bytes()).await.0, 200);
    service.stop().await;
}

#[tokio::test]
async fn other_pages_and_methods() {
    let service = Running::start(Zeros::Fixed(1), None);
    for page in ["/", "/api/v1", "/api/v1/blocks", "/../etc/passwd", "/api/v1/block/"] {
        let (status, answer) = get(service.address, page).await;
        assert_eq!((status, answer["error"].is_string()), (404, true), "{page}");
    }
    for (method, page) in
        [("DELETE", "/api/v1/block"), ("POST", "/api/v1/chain"), ("PUT", "/submit.php"), ("POST", "/livez")]
    {
        let request =
            format!("{method} {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let answer = exchange(service.address, request.as_bytes()).await;
        assert_eq!((answer.status, answer.json()["error"].is_string()), (405, true), "{method} {page}");
        assert!(answer.header("allow").is_some(), "{method} {page}");
    }
    let answer =
        exchange(service.address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'"));
    service.stop().await;
}

#[tokio::test]
async fn other_hosts_are_refused() {
    let service = Running::start(Zeros::Fixed(1), None);
    for (head, status) in [
        ("HTTP/1.1\r\nHost: 127.0.0.1:8480", 200),
        ("HTTP/1.1\r\nHost: localhost", 200),
        ("HTTP/1.1\r\nHost: [::1]:9", 200),
        ("HTTP/1.0", 200),
        ("HTTP/1.1\r\nHost: evil.example", 403),
        ("HTTP/1.1\r\nHost: 192.0.2.1", 403),
        ("HTTP/1.1\r\nX-Host: localhost", 400),
        ("HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400),
    ] {
        let answer =
            exchange(service.address, format!("GET /livez {head}\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status, status, "{head}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    service.stop().await;
}

#[tokio::test]
async fn allowed_hosts_are_answered() {
    let allowed_hosts = vec!["mine.example".into()];
    let service = Running::with(ServiceConfig { allowed_hosts, ..config(Zeros::Fixed(1), None) });
    for (host, status) in [("Mine.Example", 200), ("mine.example:443", 200), ("localhost", 200), ("evil.example", 403)]
    {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(service.address, request.as_bytes()).await.status, status, "{host}");
    }
    service.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_cannot_submit() {
    let service = Running::start(Zeros::Fixed(0), None);
    let asked = async |method: &str, site: &str| {
        let head = format!("{method} /submit.php?timestamp={TIMESTAMP}&nonce=1 HTTP/1.1\r\nHost: localhost\r\n");
        let request = format!("{head}{site}Connection: close\r\nContent-Length: 0\r\n\r\n");
        exchange(service.address, request.as_bytes()).await.status
    };
    for method in ["GET", "POST"] {
        for site in ["cross-site", "same-site", "anything"] {
            assert_eq!(asked(method, &format!("Sec-Fetch-Site: {site}\r\n")).await, 403, "{method} {site}");
        }
        assert_eq!(asked(method, "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n").await, 403);
    }
    assert_eq!(service.block().await["height"], 0);
    for site in ["", "Sec-Fetch-Site: none\r\n", "Sec-Fetch-Site: same-origin\r\n"] {
        assert_eq!(asked("GET", site).await, 200, "{site}");
    }
    assert_eq!(service.block().await["height"], 3);
    service.stop().await;
}

#[tokio::test]
async fn a_store_that_is_gone_is_told_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, elsewhere) = (folder.path().join("chain.redb"), folder.path().join("elsewhere"));
    let service = Running::start(Zeros::Fixed(1), Some(&store));
    assert_eq!(get(service.address, "/readyz").await.0, 200);
    std::fs::rename(&store, &elsewhere).unwrap();
    let submission = solve(&service.block().await, "");
    for _ in 0..2 {
        let (status, answer) = get(service.address, "/readyz").await;
        assert_eq!(status, 503);
        assert!(answer["error"].as_str().unwrap().contains("chain.redb"), "{answer}");
        assert_eq!(post_json(service.address, "/api/v1/block", &submission).await.0, 503);
    }
    assert!(!store.exists());
    std::fs::rename(&elsewhere, &store).unwrap();
    assert_eq!(get(service.address, "/readyz").await.0, 200);
    assert_eq!(post_json(service.address, "/api/v1/block", &submission).await.0, 200);
    service.stop().await;
}

#[tokio::test]
async fn large_bodies_and_heads_are_refused_and_the_service_goes_on() {
    let service = Running::start(Zeros::Fixed(1), None);
    let (status, answer) = post(service.address, "/api/v1/block", "application/json", &vec![b' '; 4 << 20]).await;
    assert_eq!((status, answer["error"].is_string()), (413, true));
    assert_eq!(post(service.address, "/submit.php", "text/plain", &vec![b'x'; 65_537]).await.0, 413);
    let padded = format!("{}{}", solve(&service.block().await, ""), " ".repeat(60_000));
    assert_eq!(post(service.address, "/api/v1/block", "application/json", padded.as_bytes()).await.0, 200);

    let head = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(exchange(service.address, head.as_bytes()).await.status, 431);
    assert_eq!(exchange(service.address, b"\x16\x03\x01 this is not HTTP\r\n\r\n").await.status, 400);
    assert_eq!(get(service.address, "/livez").await.0, 200);
    service.stop().await;
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_block() {
    let service = Running::start(Zeros::Fixed(1), None);
    let submission = solve(&service.block().await, "");
    let many: Vec<_> = (0..200)
        .map(|_| {
            let (address, submission) = (service.address, submission.clone());
            tokio::spawn(async move { post_json(address, "/api/v1/block", &submission).await.0 })
        })
        .collect();
    let mut statuses = Vec::new();
    for one in many {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses[199]), (200, 409, 409));
    service.stop().await;
}

#[tokio::test]
async fn slow_and_idle_clients_do_not_keep_the_others_out() {
    let service = Running::start(Zeros::Fixed(1), None);
    let mut slow = Vec::new();
    for _ in 0..80 {
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHo").await.unwrap();
        slow.push(stream);
    }
    // All 64 connections are taken until the slow ones are cut off after 5 s.
    let (status, _) = tokio::time::timeout(3 * PATIENCE, get(service.address, "/livez")).await.expect("an answer");
    assert_eq!(status, 200);
    let mut rest = Vec::new();
    let cut = tokio::time::timeout(PATIENCE, slow[0].read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "the slow client was not cut off");
    service.stop().await;
}

/// A client that would like to keep its connection, and has an answer.
async fn linger(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "no answer: {answer:?}");
    }
    stream
}

#[tokio::test]
async fn more_lingering_clients_than_places_are_all_answered() {
    let max_connections = 3.try_into().unwrap();
    let service = Running::with(ServiceConfig { max_connections, ..config(Zeros::Fixed(1), None) });
    // If each place were kept until it is idle for 5 s, this would take more than a minute.
    let together: Vec<_> = (0..50).map(|_| tokio::spawn(linger(service.address))).collect();
    let all = async {
        for client in together {
            drop(client.await.unwrap());
        }
        let mut lingering = Vec::new();
        for _ in 0..50 {
            lingering.push(linger(service.address).await);
        }
        lingering
    };
    let mut lingering = tokio::time::timeout(PATIENCE, all).await.expect("an answer for all");
    // Nobody waits any more, so the last one keeps its connection.
    let last = lingering.last_mut().unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_ne!(last.read(&mut [0; 1]).await.unwrap(), 0);
    service.stop().await;
}

#[tokio::test]
async fn it_ends_with_clients_connected() {
    let service = Running::start(Zeros::Fixed(1), None);
    let mut idle = TcpStream::connect(service.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 20]).await.unwrap();
    let mut unfinished = TcpStream::connect(service.address).await.unwrap();
    let head = b"POST /api/v1/block HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    unfinished.write_all(head).await.unwrap();
    get(service.address, "/livez").await;
    service.stop().await;
}

#[tokio::test]
async fn accepted_blocks_outlive_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("chain.redb");
    let service = Running::start(Zeros::Fixed(2), Some(&store));
    for _ in 0..5 {
        service.mine("first").await;
    }
    // What a process that is killed now would leave behind.
    let killed = folder.path().join("killed.redb");
    std::fs::copy(&store, &killed).unwrap();
    let tip = service.block().await;
    assert!(matches!(Service::bind(config(Zeros::Fixed(2), Some(&store)), epoch), Err(ServiceError::Store(_))));
    service.stop().await;

    for path in [&store, &killed] {
        let service = Running::start(Zeros::Fixed(1), Some(path));
        let mut expected = tip.clone();
        expected["zeros"] = json!(1);
        assert_eq!(service.block().await, expected);
        assert_eq!(service.mine("second").await["height"], 6);
        let (_, blocks) = get(service.address, "/api/v1/chain").await;
        assert_eq!(blocks.as_array().unwrap().len(), 6);
        assert_eq!((&blocks[4]["pool"], &blocks[5]["pool"]), (&json!("first"), &json!("second")));
        service.stop().await;
    }
}

#[tokio::test]
async fn an_adapting_service_asks_for_more_and_for_less() {
    let service = Running::start(Zeros::Adapt { interval: Duration::from_secs(10) }, None);
    assert_eq!(service.block().await["zeros"], 5);
    // 16 intervals without a block are one zero, and so is any longer wait: the clock may have been set.
    for (after, zeros) in [(159, 5), (160, 4), (480, 4), (100_000, 4)] {
        service.clock.store(1_795_342_329 + after, Ordering::SeqCst);
        assert_eq!(service.block().await["zeros"], zeros, "after {after} s");
    }
    // Blocks within a second, with ten wanted for each: one zero more a block. Each block's answer tells what the next one needs.
    for (zeros, next) in [(4, 4), (4, 5)] {
        assert_eq!(service.block().await["zeros"], zeros);
        assert_eq!(service.mine("").await["zeros"], next);
    }
    service.stop().await;
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    let refusal = |config| match Service::bind(config, epoch) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("expected a refusal"),
    };
    for zeros in [-1, 65] {
        assert!(refusal(config(Zeros::Fixed(zeros), None)).contains("expected 0 to 64 zeros"));
    }
    assert!(refusal(config(Zeros::Adapt { interval: Duration::ZERO }, None)).contains("interval"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let refused = refusal(ServiceConfig { listen, ..config(Zeros::Fixed(1), None) });
    assert!(refused.contains(&listen.to_string()), "{refused}");

    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "not a store\n".repeat(1000)).unwrap();
    for path in [folder.path(), &text] {
        let refused = refusal(config(Zeros::Fixed(1), Some(path)));
        assert!(refused.contains(&path.display().to_string()), "{refused}");
    }
}
