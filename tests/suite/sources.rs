//! Nodes whose source is down, slow, or answers nonsense: they say so, keep running, and mine once it is well.

use serde_json::{Value, json};

use crate::fixtures::PREV;
use crate::process::check::{assert_chain, text_hash, zeros};
use crate::process::web::{Web, answer, chain};
use crate::process::{Process, Signal, Site, wait_until};

fn block(hash: &str, zeros: &str) -> String {
    answer("200 OK", &format!(r#"{{"height":0,"hash":"{hash}","zeros":{zeros}}}"#))
}

/// A block service with one block to find.
fn good(request: &str) -> Option<String> {
    Some(match request.starts_with("GET") {
        true => block(PREV, "1"),
        false => answer("200 OK", r#"{"status":"success","height":1}"#),
    })
}

/// The first service of the exercise, which knows no heights.
fn legacy() -> impl FnMut(&str) -> Option<String> + Send + 'static {
    let mut prev = PREV.to_owned();
    move |request| {
        let page = request.split(' ').nth(1).unwrap_or_default();
        let field = |name: &str| {
            let query = page.split_once('?')?.1;
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        Some(match (page, field("nonce"), field("timestamp")) {
            ("/request.php", ..) => answer("200 OK", &format!(r#"{{"hash":"{prev}","zeros":"2"}}"#)),
            (_, Some(nonce), Some(timestamp)) => {
                let hash = text_hash(&prev, nonce.parse().unwrap(), timestamp);
                let status = if zeros(&hash) >= 2 { "success" } else { "wrong" };
                prev = hash;
                answer("200 OK", status)
            }
            _ => answer("404 Not Found", "no"),
        })
    }
}

/// The node says what is wrong; it mines as soon as its source is well, and says that too.
fn recovers(mut node: Process, web: &Web, told: &str) {
    node.event("source", |event| event["problem"].as_str().is_some_and(|problem| problem.contains(told)));
    web.set(good);
    node.event("source", |event| event["problem"].is_null());
    node.event("block", |event| event["status"] == "success");
    let ended = node.end_by(Signal::TERM);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{told}: {ended:?}");
}

#[test]
fn nonsense_is_named_and_survived() {
    let short = &PREV[1..];
    let html = answer("200 OK", "<html>You won!</html>");
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned();
    let cases = [
        (Some(html), "expected JSON, got HTML: '<html>You won!</html>'"),
        (Some(redirect), "got a redirect (302 Found) to 'http://127.0.0.1:1/'"),
        (Some(block(short, "1")), "hash: expected 64 lower-case hex digits, got 63"),
        (Some(block(PREV, "65")), "zeros: expected 0 to 64 zeros, got 65"),
        (Some(block(PREV, "-1")), "zeros: expected 0 to 64 zeros, got -1"),
        (Some(answer("500 Oh", "oops")), "expected status 200, got 500"),
        (Some(answer("200 OK", &"x".repeat(100_000))), "expected at most 65536 bytes, got more"),
        (Some("\0\0\r\n\r\n".to_owned()), "invalid HTTP"),
        (None, "timed out"),
    ];
    let site = Site::with_certs(cases.len() as u32);
    std::thread::scope(|scope| {
        for (id, (reply, told)) in (1..).zip(cases) {
            let site = &site;
            scope.spawn(move || {
                let web = Web::start(move |_| reply.clone());
                // None of the others is its peer: each leads.
                let [nobody] = site.free_addresses();
                let nobody = format!("--peer={id}={nobody}");
                recovers(site.node(id, web.address, &[&nobody]), &web, told);
            });
        }
    });
}

#[test]
fn a_service_that_is_down_is_waited_for() {
    let site = Site::with_certs(1);
    let (service, address) = site.service(&["--store", "chain", "--zeros", "4"]);
    let mut node = site.node(1, address, &[]);
    node.event("block", |event| event["status"] == "success");
    service.end_by(Signal::KILL);
    node.event("source", |event| event["problem"].is_string());
    let _service = site.service(&["--listen", &address.to_string(), "--store", "chain", "--zeros", "4"]);
    node.event("source", |event| event["problem"].is_null());
    node.event("block", |event| event["status"] == "success");
    node.end_by(Signal::TERM);
    let blocks = chain(address);
    assert!(blocks.len() >= 2, "{blocks:?}");
    assert_chain(&blocks);
}

#[test]
fn a_source_without_heights_is_counted_too() {
    let site = Site::with_certs(1);
    let web = Web::start(legacy());
    let ended = site.node(1, web.address, &["--blocks", "3"]).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let blocks: Vec<Value> = ended.json().into_iter().filter(|event| event["event"] == "block").collect();
    assert_eq!(blocks.len(), 3);
    assert_eq!(blocks[0]["prev"], json!(PREV));
    // Each is built on the one before, though all are of one height.
    for pair in blocks.windows(2) {
        assert_eq!(pair[1]["prev"], pair[0]["hash"]);
    }
}

#[test]
fn a_solution_is_handed_in_until_the_source_takes_it() {
    let site = Site::with_certs(1);
    let mut submitted = Vec::new();
    let web = Web::start(move |request| {
        if request.starts_with("GET") {
            return good(request);
        }
        let body = request.split_once("\r\n\r\n").unwrap().1.to_owned();
        submitted.push(body.clone());
        assert_eq!(submitted[0], body, "it is the same solution every time");
        Some(match submitted.len() {
            1..=3 => answer("503 Busy", r#"{"error":"the disk is full"}"#),
            _ => answer("200 OK", r#"{"status":"success","height":1}"#),
        })
    });
    let mut node = site.node(1, web.address, &[]);
    let full = |event: &Value| event["problem"].as_str().is_some_and(|problem| problem.contains("the disk is full"));
    node.event("source", full);
    // Said once, however often it is met, and taken back when it is over.
    assert!(node.event("source", |_| true)["problem"].is_null());
    node.event("block", |event| event["status"] == "success");
}

#[test]
fn a_source_that_fails_is_left_for_the_next_and_used_again_when_it_is_back() {
    let site = Site::with_certs(1);
    let hard = |_: &str| Some(block(PREV, "12"));
    let (first, second) = (Web::start(hard), Web::start(hard));
    let url = |web: &Web| format!("http://{}", web.address);
    let mut node = site.node(1, first.address, &["--source", &url(&second), "--source-return", "1s"]);
    let uses = |web: &Web| {
        let status = site.status();
        status.first().is_some_and(|server| server["status"]["source"] == url(web))
    };
    wait_until("the first source is used", || uses(&first));

    first.set(|_| Some(answer("500 Oh", "oops")));
    let told = node.event("source", |_| true);
    assert_eq!(told["source"], url(&second), "{told}");
    let problem = told["problem"].as_str().unwrap();
    assert!(problem.contains(&url(&first)) && problem.contains("expected status 200, got 500"), "{told}");
    wait_until("the second source is used", || uses(&second));
    assert_eq!(site.status()[0]["status"]["source_problem"], told["problem"]);
    let shown = site.run(&["status"]).out;
    assert!(shown.contains(&format!("server 1: source {}, but: {}: ", url(&second), url(&first))), "{shown}");
    assert!(shown.contains("a block in "), "{shown}");

    first.set(hard);
    let told = node.event("source", |_| true);
    assert_eq!((&told["source"], &told["problem"]), (&json!(url(&first)), &Value::Null), "told once each");
    wait_until("the first source is used again", || uses(&first));
    assert!(site.status()[0]["status"].get("source_problem").is_none());
    node.end_by(Signal::TERM);
}
