//! A node's store: what it found is not lost with it, and what is no store is refused.

// These tests look at the real clock.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::check::assert_chain;
use crate::process::web::chain;
use crate::process::{NOBODY, Process, Signal, Site, start, wait_until};

/// Blocks that take a second or two each.
const HARD: [&str; 4] = ["--zeros", "6", "--store", "chain"];

/// Long enough for such a block, and shorter than two heartbeats of 10 s, by which a leader is missed.
const A_WHILE: Duration = Duration::from_secs(15);

/// A slow node with a store of this name.
fn words(store: &str) -> [&str; 6] {
    ["--kernel", "portable", "--heartbeat", "500ms", "--store", store]
}

/// The nonces in a store, each with the hash of the block that it builds on.
fn kept(site: &Site, store: &str) -> Vec<(u64, String)> {
    let Ok(text) = fs::read_to_string(site.path(store)) else { return Vec::new() };
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&document["format"], &document["version"]), (&"headframe solutions".into(), &2.into()));
    let solution = |solution: &Value| {
        let prev = solution["job"]["puzzle"]["Text"]["prev"].as_str().unwrap();
        (solution["nonce"].as_u64().unwrap(), prev.to_owned())
    };
    document["solutions"].as_array().unwrap().iter().map(solution).collect()
}

fn keeps(site: &Site, store: &str, nonce: u64) -> bool {
    kept(site, store).iter().any(|&(other, _)| other == nonce)
}

/// A nonce in one of the stores that builds on the chain's newest block; none if there is none for a while. Whatever else is kept is on
/// its way out.
fn stranded(site: &Site, chain: &[Value], stores: &[&str]) -> Option<u64> {
    let tip = chain.last()?["hash"].as_str()?;
    let begin = Instant::now();
    while begin.elapsed() < A_WHILE {
        let mut kept = stores.iter().flat_map(|store| kept(site, store));
        if let Some((nonce, _)) = kept.find(|(_, prev)| prev == tip) {
            return Some(nonce);
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Ends the service, and waits until one of the nodes, which search on, has a solution in its store that it cannot hand in.
fn strand_a_solution(
    site: &Site,
    (mut service, address): (Process, SocketAddr),
    leader: &mut Process,
    stores: &[&str],
) -> u64 {
    // The service may end before it has said what follows a block; then nobody has anything to search.
    for _ in 0..20 {
        leader.event("block", |event| event["status"] == "success");
        leader.event("job", |_| true);
        service.end_by(Signal::KILL);
        fs::copy(site.path("chain"), site.path("copy")).unwrap();
        let (copy, copys) = site.service(&["--store", "copy"]);
        let blocks = chain(copys);
        copy.end_by(Signal::KILL);
        if let Some(nonce) = stranded(site, &blocks, stores) {
            return nonce;
        }
        service = service_again(site, address);
    }
    panic!("the service has had every solution");
}

fn service_again(site: &Site, address: SocketAddr) -> Process {
    site.service(&[&["--listen", &address.to_string()], &HARD[..]].concat()).0
}

#[test]
fn a_solution_found_while_the_service_is_down_survives_its_finder() {
    let site = Site::with_certs(1);
    let (service, address) = site.service(&HARD);
    let mut node = site.node(1, address, &words("solutions"));
    let nonce = strand_a_solution(&site, (service, address), &mut node, &["solutions"]);
    assert_eq!(fs::metadata(site.path("solutions")).unwrap().permissions().mode() & 0o777, 0o600);
    node.end_by(Signal::KILL);

    let _service = service_again(&site, address);
    let before = chain(address).len();
    let mut node = site.node(1, address, &words("solutions"));
    let block = node.event("block", |_| true);
    assert_eq!((&block["nonce"], &block["status"]), (&nonce.into(), &"success".into()));
    wait_until("it is settled", || !keeps(&site, "solutions", nonce));
    node.event("block", |event| event["status"] == "success"); // it goes on
    assert_eq!(node.end_by(Signal::TERM).code, Some(0));
    let blocks = chain(address);
    assert_chain(&blocks);
    assert_eq!(blocks[before]["nonce"], nonce);
}

#[test]
fn a_solution_that_its_leader_has_not_answered_survives_its_finder() {
    let site = Site::with_certs(2);
    let (_service, address) = site.service(&HARD);
    // The leader may have just ended the block; then there is nothing to search until it is missed.
    for _ in 0..5 {
        let mut leader = site.node(1, address, &["--kernel", "portable", "--heartbeat", "10s"]);
        leader.event("leader", |event| event["leader"] == 1);
        let finder = ["--kernel", "portable", "--heartbeat", "10s", "--store", "solutions"];
        let mut finder = site.node(2, address, &finder);
        leader.event("block", |event| event["found_by"] == 2); // it works
        let job = leader.event("job", |_| true);
        finder.event("job", |event| event["prev"] == job["prev"]);
        leader.signal(Signal::STOP);
        let before = chain(address);
        let nonce = stranded(&site, &before, &["solutions"]);
        finder.end_by(Signal::KILL);
        leader.end_by(Signal::KILL);
        let Some(nonce) = nonce.filter(|_| chain(address).len() == before.len()) else { continue };

        // It finds nobody any more, and leads.
        let mut finder = site.node(2, address, &words("solutions"));
        let block = finder.event("block", |_| true);
        assert_eq!((&block["nonce"], &block["status"]), (&nonce.into(), &"success".into()));
        wait_until("it is settled", || !keeps(&site, "solutions", nonce));
        let blocks = chain(address);
        assert_chain(&blocks);
        assert_eq!(blocks[before.len()]["nonce"], nonce);
        return;
    }
    panic!("the leader has had every solution");
}

#[test]
fn a_solution_survives_when_finder_and_leader_are_killed() {
    let site = Site::with_certs(2);
    let (service, address) = site.service(&HARD);
    let addresses = site.free_addresses::<2>();
    let node = |id: u32| {
        let peers = [1, 2].map(|id| format!("--peer={id}={}", addresses[id - 1]));
        let listen = addresses[id as usize - 1].to_string();
        let store = format!("solutions-{id}");
        let more = [&peers[0], &peers[1], "--listen", &listen];
        site.node(id, address, &[&words(&store)[..], &more].concat())
    };
    let (mut first, mut second) = (node(1), node(2));
    second.event("leader", |event| event["leader"] == 1);
    let stores = ["solutions-1", "solutions-2"];
    let nonce = strand_a_solution(&site, (service, address), &mut first, &stores);
    // Whoever found it, the leader hands it in.
    wait_until("the leader keeps it", || keeps(&site, "solutions-1", nonce));
    first.end_by(Signal::KILL);
    second.end_by(Signal::KILL);

    // The leader alone is enough.
    let _service = service_again(&site, address);
    let before = chain(address).len();
    let mut first = node(1);
    let block = first.event("block", |_| true);
    assert_eq!((&block["nonce"], &block["status"]), (&nonce.into(), &"success".into()));
    // The other may offer it as well: it is told that it is settled.
    let mut second = node(2);
    second.event("leader", |event| event["leader"] == 1);
    wait_until("it is settled", || stores.iter().all(|store| !keeps(&site, store, nonce)));
    let blocks = chain(address);
    assert_chain(&blocks);
    assert_eq!(blocks.iter().filter(|block| block["nonce"] == nonce).count(), 1);
    assert_eq!(blocks[before]["nonce"], nonce);
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let site = Site::with_certs(1);
    let node = |store: &str| site.run(&["node", "--id", "1", "--listen", "127.0.0.1:0", "--store", store]);
    for (text, told) in [
        ("dear reader", "something else"),
        ("", "an empty file"),
        (r#"{"format":"headframe solutions","version":2,"solutions":[{"job":"#, "something else"),
        (
            r#"{"format":"headframe solutions","version":1,"solutions":[]}"#,
            "version 1, where this program knows version 2",
        ),
        (r#"{"format":"headframe solutions","version":2,"solutions":[]}"#, "a damaged file (missing field `sha256`"),
    ] {
        fs::write(site.path("letter"), text).unwrap();
        node("letter").refused(1, &["expected a node's solutions in letter", told, "name another file"]);
        assert_eq!(fs::read_to_string(site.path("letter")).unwrap(), text);
    }
    let (service, _) = site.service(&["--store", "chain"]);
    service.end_by(Signal::TERM);
    let before = fs::read(site.path("chain")).unwrap();
    node("chain").refused(1, &["expected a node's solutions in chain"]);
    assert!(fs::read(site.path("chain")).unwrap() == before);
    node("no/such").refused(1, &["cannot use the store no/such", "a folder that can be written to"]);
    node("certs").refused(1, &["cannot use the store certs", "it is no file"]);
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn two_nodes_cannot_share_a_store() {
    let site = Site::with_certs(2);
    let [nowhere] = site.free_addresses();
    let mut first = site.node(1, nowhere, &words("solutions"));
    first.event("started", |_| true);
    let second = ["node", "--id", "2", "--listen", "127.0.0.1:0", "--store", "solutions"];
    site.run(&second).refused(1, &["the store solutions is in use by another node", "name another file"]);
    first.end_by(Signal::KILL);
    let mut second = site.node(2, nowhere, &words("solutions"));
    second.event("started", |_| true);
}

#[test]
fn a_full_disk_is_told_and_mining_goes_on() {
    let site = Site::with_certs(1);
    let (_service, address) = site.service(&["--zeros", "5"]);
    let source = format!("http://{address}");
    let node = ["node", "--json", "--id", "1", "--listen", "127.0.0.1:0", "--threads", "1", "--source", &source];
    let mut node = start(site.fillable(&[&node[..], &words("solutions")].concat()));
    node.event("block", |event| event["status"] == "success");
    node.fill_disk(true);
    node.event("store", |event| event["problem"].is_string());
    for _ in 0..3 {
        node.event("block", |event| event["status"] == "success");
    }
    node.fill_disk(false);
    node.event("store", |event| event["problem"].is_null());
    assert_eq!(node.end_by(Signal::TERM).code, Some(0));
}
