//! The block service as its operators have it: what it logs, and what a kill or a full disk leaves behind.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::process::web::ask;
use crate::process::{Process, Signal, Site, start};
use crate::service::solve;

/// A service that logs what it logs by default.
fn service(site: &Site, words: &[&str]) -> (Process, SocketAddr) {
    let mut command = site.fillable(&[&["service", "--listen", "127.0.0.1:0", "--zeros", "1"], words].concat());
    command.env_remove("HEADFRAME_LOG");
    let mut service = start(command);
    let line = service.line().expect("the service's address");
    (service, line.strip_prefix("block service at http://").unwrap().parse().unwrap())
}

fn next(service: SocketAddr) -> Value {
    ask(service, "GET", "/api/v1/block", "").expect("the next block")
}

fn submit(service: SocketAddr, submission: &Value) -> Value {
    ask(service, "POST", "/api/v1/block", &submission.to_string()).expect("a verdict")
}

#[test]
fn blocks_refusals_and_the_end_are_logged() {
    let site = Site::new();
    let (service, address) = service(&site, &["--store", "chain"]);
    let submission = solve(&next(address), "somebody");
    assert_eq!(submit(address, &submission)["status"], "success");
    for _ in 0..50 {
        assert_eq!(submit(address, &submission)["status"], "stale");
    }
    assert_eq!(submit(address, &json!({}))["status"], "incomplete");
    assert_eq!(ask(address, "GET", "/submit.php", "").unwrap()["status"], "incomplete");
    assert!(ask(address, "GET", "/no/such/page", "").is_some());
    let ended = service.end_by(Signal::TERM);
    assert_eq!(ended.code, Some(0));
    for told in [
        "the chain was opened store=chain height=0 repaired=false",
        "block accepted height=1",
        "pool=\"somebody\"",
        "refused reason=\"incomplete\" count=2",
        "refused reason=\"Not Found\" count=1",
        "the block service has stopped height=1",
    ] {
        assert!(ended.err.contains(told), "{told}: {}", ended.err);
    }
    // On a slow machine they may be logged in several lines, but not in fifty.
    assert!(ended.err.matches("reason=\"stale\"").count() < 10, "{}", ended.err);
}

#[test]
fn after_a_kill_the_height_is_told() {
    let site = Site::new();
    let (killed, address) = service(&site, &["--store", "chain"]);
    for _ in 0..3 {
        submit(address, &solve(&next(address), ""));
    }
    killed.end_by(Signal::KILL);
    let (again, address) = service(&site, &["--store", "chain"]);
    assert_eq!(next(address)["height"], 3);
    let told = again.end_by(Signal::TERM).err;
    assert!(told.contains("the chain was opened store=chain height=3 repaired=false"), "{told}");
}

#[test]
fn a_first_start_on_a_full_disk_leaves_nothing_behind() {
    let site = Site::new();
    let mut full = std::process::Command::new("sh");
    let words = "ulimit -f 0; trap '' XFSZ; exec \"$0\" service --listen 127.0.0.1:0 --store \"$1\"";
    full.args(["-c", words, env!("CARGO_BIN_EXE_headframe")]).arg(site.path("chain"));
    full.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    start(full).end().refused(1, &["chain"]);
    assert!(!site.path("chain").exists());
    service(&site, &["--store", "chain"]);
}
