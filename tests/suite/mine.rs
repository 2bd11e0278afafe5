//! Servers as real processes: blocks found together, leaders killed and back, signals, the registry.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::process::check::assert_chain;
use crate::process::web::{ask, chain};
use crate::process::{NOBODY, Process, SOON, Signal, Site, wait_until};

const SUCCESS: fn(&Value) -> bool = |event| event["status"] == "success";

/// A heartbeat that makes a test short; `LONG` is one that no test waits for.
const SHORT: &[&str] = &["--heartbeat", "500ms"];
const LONG: &[&str] = &["--heartbeat", "1m"];

fn is_text(value: &Value) -> bool {
    value.is_string()
}

fn is_hash(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.len() == 64 && text.bytes().all(|digit| b"0123456789abcdef".contains(&digit)))
}

/// Whether the event has the fields that scripts expect of it.
fn is_documented(event: &Value) -> bool {
    type Check = fn(&Value) -> bool;
    let fields: &[(&str, Check)] = match event["event"].as_str() {
        Some("service") => &[("listen", is_text)],
        Some("started") => {
            &[("node", Value::is_u64), ("listen", is_text), ("kernel", is_text), ("threads", Value::is_u64)]
        }
        Some("peer") => &[("node", Value::is_u64), ("peer", Value::is_u64), ("state", is_text)],
        Some("leader") => &[("node", Value::is_u64), ("leader", Value::is_u64), ("epoch", Value::is_u64)],
        Some("job") => &[
            ("node", Value::is_u64),
            ("height", Value::is_u64),
            ("prev", is_hash),
            ("zeros", Value::is_u64),
            ("timestamp", is_text),
        ],
        Some("block") => &[
            ("node", Value::is_u64),
            ("height", Value::is_u64),
            ("prev", is_hash),
            ("hash", is_hash),
            ("nonce", Value::is_u64),
            ("timestamp", is_text),
            ("zeros", Value::is_u64),
            ("found_by", Value::is_u64),
            ("status", is_text),
        ],
        Some("rate") => &[("node", Value::is_u64), ("hashes", Value::is_u64), ("hashes_per_second", Value::is_number)],
        Some("stopped" | "found" | "interrupted") => &[("node", Value::is_u64)],
        _ => return false,
    };
    event["at"].is_u64() && fields.iter().all(|(name, check)| check(&event[*name]))
}

/// Runs `up` to its end; gives its successes, in their order.
fn up(site: &Site, words: &[&str]) -> Vec<Value> {
    let ended = site.run(&[&["up", "--json", "--service-listen", "127.0.0.1:0"], words].concat());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(site.registered(), NOBODY);
    let events = ended.json();
    for event in &events {
        assert!(is_documented(event), "{event}");
    }
    events.into_iter().filter(|event| event["event"] == "block" && SUCCESS(event)).collect()
}

#[test]
fn up_mines_the_blocks_it_was_asked_for_and_ends() {
    let site = Site::new();
    let blocks = up(&site, &["--nodes", "3", "--blocks", "5", "--zeros", "5"]);
    assert_eq!(blocks.len(), 5);
    assert_chain(&blocks);
    assert!(blocks.iter().all(|block| block["zeros"] == 5));
}

#[test]
fn up_keeps_pace_with_blocks_that_take_no_time() {
    let site = Site::new();
    for (zeros, transport) in [("0", "quic"), ("1", "grpc"), ("1", "UDP"), ("1", "memory")] {
        let words = ["--zeros", zeros, "--transport", transport];
        let blocks = up(&site, &[&words[..], &["--nodes", "3", "--blocks", "50"]].concat());
        assert_eq!(blocks.len(), 50, "{words:?}");
        assert_chain(&blocks);
    }
}

#[test]
fn up_goes_on_where_the_store_ends() {
    let site = Site::new();
    let run = || up(&site, &["--blocks", "3", "--zeros", "2", "--store", "chain"]);
    let blocks = [run(), run(), run()].concat();
    assert_eq!(blocks.len(), 9);
    assert_chain(&blocks);
    let (_service, address) = site.service(&["--store", "chain"]);
    let kept = chain(address);
    assert_chain(&kept);
    let hashes = |blocks: &[Value]| blocks.iter().map(|block| block["hash"].clone()).collect::<Vec<_>>();
    assert_eq!(hashes(&kept), hashes(&blocks));
}

/// Waits until the chain has grown by `blocks`.
fn grow(service: SocketAddr, blocks: usize) {
    let before = chain(service).len();
    wait_until("the chain grows", || chain(service).len() >= before + blocks);
}

fn leads(leader: u32) -> impl Fn(&Value) -> bool {
    move |event| event["leader"] == leader
}

/// Waits until each server's own account names this leader.
fn wait_for_leader(site: &Site, servers: usize, leader: u32) {
    wait_until(&format!("{servers} servers, led by {leader}"), || {
        let status = site.status();
        status.len() == servers && status.iter().all(|server| server["status"]["leader"] == leader)
    });
}

#[test]
fn three_servers_mine_one_chain_while_the_leader_is_killed_and_comes_back() {
    let site = Site::with_certs(3);
    let (_service, service) = site.service(&["--zeros", "5"]);
    let addresses = site.free_addresses::<3>();
    let peers = [1, 2, 3].map(|id| format!("--peer={id}={}", addresses[id - 1]));
    let words = [SHORT, &peers.each_ref().map(String::as_str)].concat();
    let node = |id: u32| {
        let listen = addresses[id as usize - 1].to_string();
        site.node(id, service, &[&words[..], &["--listen", &listen]].concat())
    };
    let [mut first, mut second, mut third] = [1, 2, 3].map(node);
    for node in [&mut first, &mut second, &mut third] {
        node.event("leader", leads(1));
    }
    grow(service, 3);

    assert_eq!(first.end_by(Signal::KILL).code, None);
    for node in [&mut second, &mut third] {
        node.event("peer", |event| event["peer"] == 1 && event["state"] == "down");
        node.event("leader", leads(2));
    }
    grow(service, 3);

    let mut first = node(1);
    for node in [&mut first, &mut second, &mut third] {
        node.event("leader", leads(1));
    }
    wait_for_leader(&site, 3, 1);
    grow(service, 3);

    for node in [first, second, third] {
        let ended = node.end_by(Signal::TERM);
        assert!(ended.code == Some(0) && ended.took < SOON, "{ended:?}");
    }
    let blocks = chain(service);
    assert!(blocks.len() >= 9 && blocks[0]["height"] == 1, "{blocks:?}");
    assert_chain(&blocks);
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn servers_find_each_other_in_the_registry_and_follow_the_lowest_id() {
    for heartbeat in [SHORT, &["--heartbeat", "5s"]] {
        let site = Site::with_certs(3);
        let (_service, service) = site.service(&["--zeros", "12"]);
        let mut nodes: Vec<Process> = Vec::new();
        // From the highest id down, so that each that comes takes over from the one before.
        for id in [3, 2, 1] {
            nodes.push(site.node(id, service, heartbeat));
            for node in &mut nodes {
                node.event("leader", leads(id));
            }
        }
        wait_for_leader(&site, 3, 1);
        let shown = site.run(&["status"]);
        // A headline, a row a server, why each hashes as it does and when its certificate ends, and the leader's source.
        let lines = shown.out.lines().filter(|line| !line.contains("a block in")); // that one needs a rate
        assert_eq!((shown.code, lines.count()), (Some(0), 11), "{shown:?}");
        drop(nodes.pop()); // killed
        wait_until("the killed one is not shown", || site.status().len() == 2);
    }
}

#[test]
fn servers_find_each_other_although_the_registry_was_removed_in_between() {
    let site = Site::with_certs(2);
    let (_service, service) = site.service(&["--zeros", "12"]);
    let mut second = site.node(2, service, SHORT);
    second.event("leader", leads(2));
    std::fs::remove_dir_all(site.path("run")).unwrap();
    let mut first = site.node(1, service, SHORT);
    first.event("leader", leads(1));
    second.event("leader", leads(1));
    wait_for_leader(&site, 2, 1);
}

#[test]
fn a_server_that_is_back_at_another_address_leads_again() {
    let site = Site::with_certs(2);
    let (_service, service) = site.service(&["--zeros", "12"]);
    let (mut first, mut second) = (site.node(1, service, LONG), site.node(2, service, LONG));
    first.event("leader", leads(1));
    second.event("leader", leads(1));
    wait_until("the first one reaches the second", || site.status()[0]["status"]["peers"]["2"] == "alive");
    assert_eq!(first.end_by(Signal::TERM).code, Some(0));
    second.event("leader", leads(2));
    // No heartbeat is due for a minute: it is the registry that tells of the new address.
    let mut first = site.node(1, service, LONG);
    first.event("leader", leads(1));
    second.event("leader", leads(1));
}

#[test]
fn status_shows_the_servers_of_this_machine() {
    let site = Site::with_certs(1);
    let none = site.run(&["status"]);
    assert_eq!((none.code, none.out.as_str()), (Some(3), ""), "{none:?}");
    assert!(none.err.contains("no server runs on this machine"));
    assert_eq!(site.status(), Vec::<Value>::new());

    let (_service, service) = site.service(&["--zeros", "12"]);
    let mut node = site.node(1, service, &[]);
    let started = node.event("started", |_| true);
    node.event("job", |_| true);
    wait_until("it tells of its work", || site.status()[0]["status"]["zeros"] == 12);
    let status = site.status();
    assert_eq!(status.len(), 1);
    assert_eq!(
        (&status[0]["id"], &status[0]["address"], &status[0]["pid"]),
        (&json!(1), &started["listen"], &json!(node.pid()))
    );
    assert!(status[0]["since"].is_u64());
}

#[cfg(target_os = "linux")]
#[test]
fn servers_are_pinned_to_cpus_that_no_other_server_uses() {
    let site = Site::with_certs(2);
    let (_service, service) = site.service(&["--zeros", "12"]);
    let usable = rustix::thread::sched_getaffinity(None).unwrap();
    let usable: Vec<_> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| usable.is_set(cpu)).collect();
    let (first, last) = (usable[0], usable[usable.len() - 1]);
    let mut one = site.node(1, service, &["--affinity"]);
    one.event("started", |_| true);
    assert_eq!(site.status()[0]["cpus"], json!([first]));
    let mut two = site.node(2, service, &["--affinity"]);
    two.event("started", |_| true);
    let second = usable.get(1).copied().unwrap_or(first);
    assert_eq!(site.status()[1]["cpus"], json!([second]));
    two.signal(Signal::TERM);
    let told = two.end().err;
    assert_eq!(told.contains("hashing threads of server 1 are pinned there"), usable.len() == 1, "{told}");

    let list = last.to_string();
    let mut two = site.node(2, service, &["--affinity", &list]);
    two.event("started", |_| true);
    assert_eq!(site.status()[1]["cpus"], json!([last]));
    wait_until("it has a status", || site.status()[1]["status"].is_object());
    let shown = site.run(&["status"]).out;
    assert!(shown.contains(&format!("server 2: 1 threads on CPU {last}, kernel")), "{shown}");
    two.signal(Signal::KILL);
    two.end();
    let mut two = site.node(2, service, &[&format!("--affinity={first}")]);
    two.event("started", |_| true);
    two.signal(Signal::TERM);
    let told = two.end().err;
    assert!(told.contains(&format!("CPU {first}: hashing threads of server 1 are pinned there")), "{told}");
}

#[test]
fn servers_with_different_heartbeats_warn_of_each_other_and_work_together() {
    let site = Site::with_certs(2);
    let (_service, service) = site.service(&["--zeros", "12"]);
    let mut nodes = [(1, "500ms"), (2, "700ms")].map(|(id, time)| site.node(id, service, &["--heartbeat", time]));
    for (node, peer, told) in
        [(0, 2, "every 700ms, and node 1 every 500ms"), (1, 1, "every 500ms, and node 2 every 700ms")]
    {
        let warning = nodes[node].event("warning", |event| event["peer"] == peer);
        assert!(warning["problem"].as_str().unwrap().contains(told), "{warning}");
    }
    wait_for_leader(&site, 2, 1);
}

#[test]
fn a_renewed_certificate_is_taken_up_without_a_restart() {
    let site = Site::with_certs(1);
    let (_service, service) = site.service(&["--zeros", "12"]);
    let mut node = site.node(1, service, &[]);
    node.event("started", |_| true);
    let ends = || site.status()[0]["status"]["certificate_ends"].as_u64();
    wait_until("it has a status", || ends().is_some());
    let first = ends();
    let shown = site.run(&["status"]).out;
    assert!(shown.contains("server 1: its certificate ends at 20") && shown.contains(" days\n"), "{shown}");
    std::thread::sleep(std::time::Duration::from_secs(1)); // it ends in whole seconds
    assert_eq!(site.run(&["certs", "--renew", "1"]).code, Some(0));
    wait_until("it has taken up the new one", || ends() > first);

    std::fs::write(site.path("certs/node-1.pem"), "no certificate").unwrap();
    let told = node.event("warning", |_| true);
    let problem = told["problem"].as_str().unwrap();
    assert!(problem.contains("cannot be used") && problem.contains("the old certificate stays in use"), "{problem}");
    assert_eq!(site.run(&["status"]).code, Some(0));
    node.signal(Signal::TERM);
    assert_eq!(node.end().code, Some(0));
}

#[test]
fn a_node_ends_by_itself_after_its_blocks() {
    let site = Site::with_certs(2);
    let (_service, service) = site.service(&["--zeros", "3"]);
    let nodes = [1, 2].map(|id| site.node(id, service, &["--blocks", "4", "--heartbeat", "500ms"]));
    for node in nodes {
        let ended = node.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert!(chain(service).len() >= 4);
    assert_chain(&chain(service));
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn signals_end_everything_soon_and_cleanly() {
    let site = Site::with_certs(2);
    let (service, address) = site.service(&["--zeros", "12"]);
    let [nobody] = site.free_addresses();
    let dead_peer = format!("--peer=1={nobody}");
    for signal in [Signal::INT, Signal::TERM] {
        let mut searching = site.node(1, address, &[]);
        searching.event("job", |_| true);
        let mut without_service = site.node(2, nobody, &[&dead_peer]);
        without_service.event("source", |event| event["problem"].is_string());
        for node in [searching, without_service] {
            let ended = node.end_by(signal);
            assert!(ended.code == Some(0) && ended.took < SOON, "{ended:?}");
            assert_eq!(ended.json().last().unwrap()["event"], "stopped", "{ended:?}");
        }
        assert_eq!(site.registered(), NOBODY);

        let mut up = site.start(&["up", "--json", "--zeros", "12", "--service-listen", "127.0.0.1:0"]);
        up.event("job", |_| true);
        let ended = up.end_by(signal);
        assert!(ended.code == Some(0) && ended.took < SOON, "{ended:?}");
        assert_eq!(site.registered(), NOBODY);

        let (service, _) = site.service(&[]);
        let ended = service.end_by(signal);
        assert!(ended.code == Some(0) && ended.took < SOON, "{ended:?}");
    }
    assert_eq!(service.end_by(Signal::TERM).code, Some(0));
}

#[test]
fn a_signal_at_any_moment_of_the_start_leaves_nothing_behind() {
    let site = Site::new();
    for moment in ["service", "started", "leader", "job", "block"] {
        let mut up = site.start(&["up", "--json", "--nodes", "3", "--zeros", "1", "--service-listen", "127.0.0.1:0"]);
        up.event(moment, |_| true);
        let ended = up.end_by(Signal::TERM);
        assert!(ended.code == Some(0) && ended.took < SOON, "at {moment}: {ended:?}");
        assert_eq!(site.registered(), NOBODY, "at {moment}");
    }
}

#[test]
fn a_server_that_ends_tells_the_others_and_hands_its_work_back() {
    let site = Site::with_certs(2);
    let (_service, service) = site.service(&["--zeros", "5"]);
    let (mut first, mut second) = (site.node(1, service, LONG), site.node(2, service, LONG));
    first.event("leader", leads(1));
    second.event("leader", leads(1));
    second.event("job", |_| true);
    // Nobody would miss a heartbeat before two minutes have passed, so both must have been told.
    assert_eq!(second.end_by(Signal::TERM).code, Some(0));
    first.event("peer", |event| event["peer"] == 2 && event["state"] == "left");
    let mut second = site.node(2, service, LONG);
    second.event("leader", leads(1));
    second.event("job", |_| true);
    assert_eq!(first.end_by(Signal::INT).code, Some(0));
    second.event("leader", leads(2));
    second.event("block", SUCCESS);
    assert_chain(&chain(service));
}

#[test]
fn a_second_server_of_the_same_id_refuses_and_a_killed_one_makes_room() {
    let site = Site::with_certs(1);
    let (_service, service) = site.service(&["--zeros", "12"]);
    let mut first = site.node(1, service, &[]);
    let listen = first.event("started", |_| true)["listen"].as_str().unwrap().to_owned();
    let pid = format!("process {}", first.pid());
    site.node(1, service, &[]).end().refused(1, &["server 1 is running on this machine already", &pid, &listen]);
    assert_eq!(site.registered(), ["1.json"]);

    first.end_by(Signal::KILL);
    assert_eq!(site.registered(), ["1.json"], "nobody has looked yet");
    let mut next = site.node(1, service, &[]);
    next.event("job", |_| true);
    next.end_by(Signal::KILL);
    assert_eq!(site.status(), Vec::<Value>::new());
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn blocks_that_were_acknowledged_survive_the_service() {
    let site = Site::new();
    let mut acknowledged: Vec<Value> = Vec::new();
    for round in 0..3 {
        let (service, address) = site.service(&["--zeros", "0", "--store", "chain"]);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            service.end_by(Signal::KILL)
        });
        let mut prev = ask(address, "GET", "/api/v1/block", "").map(|block| block["hash"].clone());
        while let Some(hash) = prev.take() {
            let block = json!({"prev": hash, "timestamp": "1795342329", "nonce": 1 + acknowledged.len(), "pool": "t"});
            if let Some(answer) = ask(address, "POST", "/api/v1/block", &block.to_string()) {
                assert_eq!(answer["status"], "success", "{answer}");
                prev = Some(answer["hash"].clone());
                acknowledged.push(answer);
            }
        }
        assert_eq!(killer.join().unwrap().code, None);
        assert!(acknowledged.len() > round, "{acknowledged:?}");
    }
    let (_service, address) = site.service(&["--store", "chain"]);
    let kept = chain(address);
    assert_chain(&kept);
    for block in &acknowledged {
        assert!(kept.iter().any(|kept| kept["hash"] == block["hash"] && kept["height"] == block["height"]), "{block}");
    }
}
