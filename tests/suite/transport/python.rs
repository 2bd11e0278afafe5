//! A node in Python (`python/node.py`), whose messages are made from the `.proto` alone, with real Headframe nodes: it answers heartbeats,
//! reports, is assigned work, searches it slowly, finds a block, is interrupted, and leaves.
//!
//! It needs Python 3 and its packages `grpcio` and `grpcio-tools`, which are installed into the folder of cargo's targets at the first time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::process::{Process, Signal, Site, start};

/// A heartbeat that makes a test short, as node and client take it.
const HEARTBEAT: [&str; 2] = ["500ms", "0.5"];
/// What the client needs, in versions that this test has been run with.
const PACKAGES: [&str; 2] = ["grpcio==1.76.0", "grpcio-tools==1.76.0"];
/// Where it is set, as in CI, the tests fail if there is no Python or no packages.
const NEEDED: &str = "HEADFRAME_NEEDS_PYTHON";

/// The client's id: above those of the Headframe nodes, so that it never leads.
const CLIENT: u32 = 3;

/// A Python with the packages and the messages' modules, which are made of the `.proto`.
struct Python {
    program: PathBuf,
    modules: PathBuf,
}

impl Python {
    /// `None`, said aloud, where it cannot be had.
    fn get() -> Option<&'static Self> {
        static PYTHON: OnceLock<Result<Python, String>> = OnceLock::new();
        match PYTHON.get_or_init(Self::make) {
            Ok(python) => Some(python),
            Err(problem) if std::env::var_os(NEEDED).is_some() => panic!("expected Python and its packages: {problem}"),
            Err(problem) => {
                eprintln!("skipped: no Python with grpcio can be had here: {problem}");
                None
            }
        }
    }

    fn make() -> Result<Self, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpc-python");
        let (program, ready) = (folder.join("bin/python"), folder.join(PACKAGES.join("-")));
        if !ready.exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
            run(Command::new(&program).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
            std::fs::write(ready, []).map_err(|error| error.to_string())?;
        }
        let modules = folder.join(format!("modules-{}", std::process::id()));
        std::fs::create_dir_all(&modules).map_err(|error| error.to_string())?;
        run(Command::new(&program)
            .args(["-m", "grpc_tools.protoc", "--python_out=.", "--grpc_python_out=.", "headframe.proto", "-I"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/transport/grpc"))
            .current_dir(&modules))?;
        Ok(Self { program, modules })
    }

    /// The client, which knows these nodes.
    fn start(&self, site: &Site, nodes: &[(u32, SocketAddr)]) -> Process {
        let mut command = Command::new(&self.program);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/transport/python/node.py"));
        command.args(["--id", &CLIENT.to_string(), "--heartbeat", HEARTBEAT[1], "--certs"]).arg(site.path("certs"));
        command.args(nodes.iter().map(|(node, address)| format!("{node}={address}"))).env("PYTHONPATH", &self.modules);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        start(command)
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {text}")) }
}

/// Nodes 1 and 2, and the client.
struct Cluster {
    nodes: [Process; 2],
    client: Process,
    /// What they stand on.
    _ground: (Site, Process),
}

impl Cluster {
    fn start(python: &Python, zeros: &str) -> Self {
        let site = Site::with_certs(CLIENT);
        let (service, source) = site.service(&["--zeros", zeros]);
        // Nobody listens at the client's address.
        let [one, two, nowhere] = site.free_addresses();
        let peers = [(1, one), (2, two), (CLIENT, nowhere)].map(|(node, address)| format!("{node}={address}"));
        let node = |id: u32, listen: SocketAddr| {
            let (listed, listen) = (peers.join(","), listen.to_string());
            let words = ["--transport", "grpc", "--listen", &listen, "--peer", &listed];
            let words = [&words[..], &["--kernel", "portable", "--heartbeat", HEARTBEAT[0]]].concat();
            site.node(id, source, &words)
        };
        let nodes = [node(1, one), node(2, two)];
        let client = python.start(&site, &[(1, one), (2, two)]);
        Self { nodes, client, _ground: (site, service) }
    }
}

fn is(name: &'static str, value: impl Into<Value>) -> impl Fn(&Value) -> bool {
    let value = value.into();
    move |event| event[name] == value
}

fn of_client(state: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["peer"] == CLIENT && event["state"] == state
}

#[test]
fn a_node_in_another_language_works_for_its_leaders_and_leaves() {
    let Some(python) = Python::get() else { return };
    // Nobody finds anything in the time of this test.
    let Cluster { nodes: [mut one, mut two], mut client, _ground } = Cluster::start(python, "12");
    one.event("peer", of_client("alive"));
    two.event("peer", of_client("alive"));
    client.event("leader", is("leader", 1));
    // Though it shows no witnesses, it gets more work as it finishes what it has.
    let first = client.event("assigned", |_| true);
    assert_eq!(first["end"].as_u64().unwrap() - first["start"].as_u64().unwrap(), 100_000);
    for _ in 0..3 {
        client.event("searched", |_| true);
    }
    client.event("assigned", |lease| lease["end"].as_u64().unwrap() - lease["start"].as_u64().unwrap() > 100_000);
    // The next leader's assignment ends the leases of the one before.
    assert_eq!(one.end_by(Signal::INT).code, Some(0));
    client.event("leader", is("leader", 2));
    client.event("assigned", |_| true);
    client.event("searched", |_| true);
    let ended = client.end_by(Signal::INT);
    assert!(ended.code == Some(0) && ended.err.is_empty(), "{ended:?}");
    two.event("peer", of_client("left"));
    let told = two.end_by(Signal::INT);
    assert_eq!(told.code, Some(0));
    assert!(!told.out.contains("distrusted") && !told.out.contains("refused"), "{told:?}");
}

#[test]
fn a_node_in_another_language_finds_blocks_and_is_interrupted() {
    let Some(python) = Python::get() else { return };
    // It finds a few of the many blocks, before the faster nodes do.
    let Cluster { nodes: [mut one, _two], mut client, _ground } = Cluster::start(python, "4");
    one.event("block", |block| block["found_by"] == CLIENT && block["status"] == "success");
    for event in ["found", "interrupted", "settled"] {
        client.event(event, |_| true);
    }
    client.event("stopped", |_| true);
    assert_eq!(client.end_by(Signal::INT).code, Some(0));
    one.event("peer", of_client("left"));
    let told = one.end_by(Signal::INT);
    assert!(!told.out.contains("distrusted") && !told.out.contains("refused"), "{told:?}");
}
