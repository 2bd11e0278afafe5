//! Real nodes and programs of the exercise, which speak its text messages: `exercise.py` is one, in both roles and dialects.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::{Process, Signal, Site, own_host, start};

/// A heartbeat that makes a test short.
const HEARTBEAT: [&str; 2] = ["--heartbeat", "500ms"];

/// A cluster's addresses: one IP for each program, and one port for all.
struct Texts {
    site: Site,
    port: String,
    service: Process,
    source: SocketAddr,
}

impl Texts {
    fn new(zeros: &str) -> Self {
        let site = Site::with_certs(2);
        let (service, source) = site.service(&["--zeros", zeros]);
        let port = std::net::UdpSocket::bind((own_host(), 0)).unwrap().local_addr().unwrap().port().to_string();
        Self { site, port, service, source }
    }

    /// The program `id` at `host`, which knows others by `ID=IP`.
    fn python(&self, id: u32, host: IpAddr, peers: &[(u32, IpAddr)], words: &[&str]) -> Process {
        let mut command = Command::new("python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/text_peers/exercise.py"));
        command.args(["--id", &id.to_string(), "--listen", &host.to_string(), "--port", &self.port]);
        for (peer, ip) in peers {
            command.args(["--peer", &format!("{peer}={ip}")]);
        }
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        start(command)
    }

    /// A node of ours that speaks with text peers.
    fn node(&self, id: u32, host: IpAddr, peers: &[(u32, IpAddr)], words: &[&str]) -> Process {
        let listed: Vec<_> = peers.iter().map(|(peer, ip)| format!("{peer}={ip}")).collect();
        let (listed, listen) = (listed.join(","), format!("{host}:{}", self.port));
        let text = ["--transport", "udp", "--udp-peers", &listed, "--listen", &listen, "--kernel", "portable"];
        self.site.node(id, self.source, &[&text, &HEARTBEAT[..], words].concat())
    }
}

fn is(name: &'static str, value: u64) -> impl Fn(&Value) -> bool {
    move |event| event[name] == value
}

#[test]
fn a_program_of_the_exercise_works_for_our_node_in_both_dialects() {
    for dialect in ["a", "b"] {
        let texts = Texts::new("6");
        let (ours, theirs) = (own_host(), own_host());
        let solver = ["--dialect", dialect, "--solver", env!("CARGO_BIN_EXE_headframe")];
        let mut node = texts.node(1, ours, &[(2, theirs)], &["--udp-dialect", dialect]);
        let mut python = texts.python(2, theirs, &[(1, ours)], &solver);
        node.event("peer", |event| event["peer"] == 2 && event["state"] == "alive");
        python.event("leader", is("leader", 1));
        let first = python.event("work", |_| true);
        assert_eq!(first["end"].as_u64().unwrap() - first["start"].as_u64().unwrap(), 100_001, "one more at each end");
        python.event("answer", |event| event["text"] == "ProcessAnswerNo");
        node.event("block", |block| block["found_by"] == 2 && block["status"] == "success");
        python.event("interrupted", |_| true);
        // Its pieces grow with its speed.
        python.event("work", |work| work["end"].as_u64().unwrap() - work["start"].as_u64().unwrap() > 1_000_000);
        assert_eq!(node.end_by(Signal::INT).code, Some(0));
        python.event("leader", is("leader", 2));
    }
}

#[test]
fn our_node_works_for_a_program_of_the_exercise_and_leads_while_that_is_away() {
    for (dialect, zeros) in [("a", "5"), ("b", "5")] {
        let texts = Texts::new(zeros);
        let (ours, theirs) = (own_host(), own_host());
        let source = format!("http://{}", texts.source);
        let leads = || texts.python(1, theirs, &[(2, ours)], &["--dialect", dialect, "--source", &source]);
        let mut python = leads();
        let mut node = texts.node(2, ours, &[(1, theirs)], &["--udp-dialect", dialect]);
        node.event("leader", is("leader", 1));
        for _ in 0..2 {
            let found = python.event("found", |_| true);
            assert_eq!((&found["node"], &found["status"]), (&2.into(), &"success".into()));
        }
        drop(python);
        node.event("leader", is("leader", 2));
        node.event("block", |block| block["status"] == "success");
        let mut python = leads();
        node.event("leader", is("leader", 1));
        python.event("found", is("node", 2));
        assert_eq!(node.end_by(Signal::INT).code, Some(0));
    }
}

/// Other programs hash once, and count bits or whole bytes.
#[test]
fn texts_are_hashed_and_zeros_counted_as_the_other_program_does() {
    for (hashing, unit, zeros) in [("single", "hex", "4"), ("single", "bits", "17"), ("double", "bytes", "2")] {
        let texts = Texts::new("5");
        let (ours, theirs) = (own_host(), own_host());
        let form = ["--hashing", hashing, "--zeros-in", unit, "--zeros", zeros];
        let mut python = texts.python(1, theirs, &[(2, ours)], &form);
        let form = ["--text-hashing", hashing, "--text-zeros", unit];
        let mut node = texts.node(2, ours, &[(1, theirs)], &form);
        node.event("leader", is("leader", 1));
        for _ in 0..3 {
            python.event("found", is("node", 2));
        }
        assert_eq!(node.end_by(Signal::INT).code, Some(0));
    }
}

/// A text peer never leads nodes with certificates, whatever its id.
#[test]
fn one_leader_serves_certified_nodes_and_text_peers() {
    let texts = Texts::new("6");
    let (ours, theirs) = (own_host(), own_host());
    let [two] = texts.site.free_addresses();
    let one = SocketAddr::new(ours, two.port());
    let (mixed, listen) = (format!("1={theirs}"), one.to_string());
    let (peer_one, peer_two) = (format!("1={one}"), format!("2={two}"));
    let words = ["--transport", "quic,udp", "--udp-peers", &mixed, "--udp-port", &texts.port, "--listen", &listen];
    let mut leader = texts.site.node(1, texts.source, &[&words[..], &["--peer", &peer_two], &HEARTBEAT].concat());
    let listen = two.to_string();
    let mut follower =
        texts.site.node(2, texts.source, &[&["--listen", &listen, "--peer", &peer_one], &HEARTBEAT[..]].concat());
    let solver = ["--solver", env!("CARGO_BIN_EXE_headframe")];
    // It would lead by its own count; of the two it is told the other has id 0.
    let mut python = texts.python(1, theirs, &[(0, ours)], &solver);
    follower.event("leader", is("leader", 1));
    python.event("leader", is("leader", 0));
    python.event("answer", |_| true);
    leader.event("peer", |event| event["peer"] == 4_000_000_001_u64 && event["state"] == "alive");
    leader.event("block", |block| block["found_by"] == 2 && block["status"] == "success");
    drop(leader);
    follower.event("leader", is("leader", 2));
    drop(texts.service);
}

/// One list of servers for all boxes: a node listens at its own entry.
#[test]
fn a_node_listens_at_its_own_entry_in_the_list() {
    let texts = Texts::new("5");
    let hosts = [own_host(), own_host()];
    let list: Vec<_> = hosts.iter().zip(1..).map(|(host, id)| format!("{id}={host}:{}", texts.port)).collect();
    let list = list.join(",");
    let words = |id| {
        let words = [&["--transport", "udp", "--peer", &list, "--kernel", "portable"], &HEARTBEAT[..]].concat();
        let mut command = texts.site.command(&["node", "--json", "--id", id, "--threads", "1"]);
        command.args(words).args(["--source", &format!("http://{}", texts.source)]);
        start(command)
    };
    let (mut one, mut two) = (words("1"), words("2"));
    assert_eq!(one.event("started", |_| true)["listen"], format!("{}:{}", hosts[0], texts.port));
    two.event("leader", is("leader", 1));
    one.event("block", |block| block["found_by"] == 2 && block["status"] == "success");
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let site = Site::with_certs(1);
    let refused = |words: &[&str], told: &[&str]| {
        site.run(&[&["node", "--id", "1"], words].concat()).refused(2, told);
    };
    refused(&["--insecure"], &["--transport udp"]);
    refused(&["--udp-peers", "2=10.0.0.2"], &["--transport udp"]);
    refused(&["--transport", "udp", "--udp-peers", "2=host.example"], &["expected an IP address like 10.0.0.2"]);
    refused(
        &["--transport", "udp", "--insecure", "--udp-peers", "2=10.0.0.2,2=10.0.0.3"],
        &["text peer 2 is named twice"],
    );
    refused(&["--transport", "quic,memory"], &["transport memory is for the nodes of one process"]);
    refused(&["--transport", "quic,udp,quic"], &["transport quic is named twice"]);
    refused(&["--transport", "udp", "--udp-peers", "2=127.0.0.2,3=127.0.0.2"], &["both at 127.0.0.2:6001"]);
    refused(&["--transport", "udp", "--udp-peers", "2=224.0.0.1"], &["expected the address of one host"]);
    refused(&["--transport", "quic,quic"], &["transport quic is named twice"]);
    refused(&["--transport", "udp", "--udp-peers", "2=10.0.0.2"], &["cannot reach", "--insecure"]);
    refused(&["--transport", "udp", "--udp-peers", "2=127.0.0.2", "--peer", "3=127.0.0.3:6001"], &["name one of them"]);
    refused(
        &["--transport", "quic,udp", "--peer", "4000000001=127.0.0.1:1"],
        &["ids above 4000000000 are for text peers"],
    );
    refused(&["--transport", "tcp"], &["expected one of quic", "got \"tcp\""]);
    refused(&["--transport", "quic,udp", "--udp-peers", "300000000=127.0.0.2"], &["expected an id up to 294967295"]);
    refused(&["--transport", "udp", "--listen", "0.0.0.0:0"], &["udp has no TLS", "--insecure"]);
}
