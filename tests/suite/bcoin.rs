//! A cluster that mines for a real Bitcoin node: bcoin, which shares no code with Headframe or with the crate `bitcoin`. Three processes mine
//! across the activation of segwit at height 432, their leader is killed, and the node's own chain is the judge.
//!
//! `tests/bcoin/install` installs bcoin, for which it needs node, npm and a C++ compiler.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use bitcoin::bech32::{Hrp, segwit};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::transaction::Version;
use bitcoin::{Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute};
use serde_json::{Value, json};

use crate::process::{PATIENCE, Process, Signal, Site, start, wait_until};

/// Where it is set, as in CI, the tests install bcoin, and fail if they cannot.
const NEEDED: &str = "HEADFRAME_NEEDS_BCOIN";
const PASSWORD: &str = "testkey";
/// `x:testkey` in base64.
const LOGIN: &str = "eDp0ZXN0a2V5";
/// The height at which bcoin's regtest activates segwit.
const SEGWIT: u64 = 432;
/// The height up to which bcoin makes the blocks itself.
const MADE_BEFORE: u64 = 425;
/// A heartbeat that makes a test short.
const HEARTBEAT: &str = "500ms";

/// Where bcoin is installed; `None`, said aloud, where it cannot be had. Whichever test comes first installs it, and the others wait.
fn installed() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(install).clone()
}

fn install() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bcoin");
    if !folder.join("installed").exists() {
        if std::env::var_os(NEEDED).is_none() {
            eprintln!("skipped: bcoin is not installed; run tests/bcoin/install");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bcoin/install");
        let status = Command::new(script).arg(&folder).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "expected bcoin to be installed");
    }
    Some(folder)
}

/// A node of regtest that speaks with nobody else.
struct Bcoin {
    address: SocketAddr,
    _process: Process,
}

impl Bcoin {
    fn start(folder: &Path, site: &Site) -> Self {
        let [address] = site.free_addresses();
        let mut command = Command::new("node");
        command.arg(folder.join("node_modules/bcoin/bin/node")).args(["--network=regtest", "--memory=true"]);
        command.arg(format!("--prefix={}", site.path("bcoin").display())).arg(format!("--api-key={PASSWORD}"));
        command.arg(format!("--http-host={}", address.ip())).arg(format!("--http-port={}", address.port()));
        command.args(["--listen=false", "--no-wallet", "--workers=false"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let node = Self { address, _process: start(command) };
        wait_until("bcoin answers", || node.ask("getblockcount", &json!([])).is_some());
        node
    }

    /// The answer to a call, if there is one.
    fn ask(&self, method: &str, params: &Value) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let body = json!({"method": method, "params": params}).to_string();
        let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        let login = format!("Authorization: Basic {LOGIN}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all([head, login, body].concat().as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// The result of a call, which has to succeed.
    fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, &params).unwrap_or_else(|| panic!("no answer to {method}"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn height(&self) -> u64 {
        self.call("getblockcount", json!([])).as_u64().unwrap()
    }

    /// A block of its chain, with its transactions.
    fn block(&self, height: u64) -> Value {
        let hash = self.call("getblockhash", json!([height]));
        self.call("getblock", json!([hash, true, true]))
    }

    fn wait_for(&self, height: u64) {
        wait_until(&format!("a chain of {height} blocks"), || self.height() >= height);
    }
}

/// The script behind the payout: anybody may spend it, with a witness.
fn anybodys() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x51])
}

/// A transaction that spends the coinbase of a block of its own chain, and has a witness.
fn spend(block: &Value) -> Transaction {
    let coinbase = &block["tx"][0];
    let txid = coinbase["txid"].as_str().unwrap().parse().unwrap();
    let value = Amount::from_btc(coinbase["vout"][0]["value"].as_f64().unwrap()).unwrap();
    let input = TxIn {
        previous_output: OutPoint { txid, vout: 0 },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[anybodys().as_bytes()]),
    };
    let output = TxOut { value: value - Amount::from_sat(10_000), script_pubkey: anybodys().to_p2wsh() };
    Transaction { version: Version::TWO, lock_time: absolute::LockTime::ZERO, input: vec![input], output: vec![output] }
}

/// Nodes 1 to 3.
struct Cluster {
    nodes: Vec<Process>,
}

impl Cluster {
    /// Each is paid at the same address; nodes 2 and 3 write it as Bitcoin Core does, node 1 as bcoin does.
    fn start(site: &Site, node: &Bcoin, payouts: [&str; 2]) -> Self {
        let addresses: [SocketAddr; 3] = site.free_addresses();
        let peers: Vec<_> = (1..).zip(addresses).map(|(id, address)| format!("{id}={address}")).collect();
        let peers = peers.join(",");
        let source = format!("bitcoind+http://{}", node.address);
        let start_node = |(id, listen): (usize, SocketAddr)| {
            let (id, listen, payout) = (id.to_string(), listen.to_string(), payouts[usize::from(id > 1)]);
            let words = ["node", "--json", "--id", &id, "--source", &source, "--payout", payout, "--listen", &listen];
            let more = ["--peer", &peers, "--threads", "1", "--heartbeat", HEARTBEAT, "--coinbase-text", "headframe"];
            let mut command = site.command(&[&words[..], &more].concat());
            command.env("HEADFRAME_SOURCE_USER", "x").env("HEADFRAME_SOURCE_PASSWORD", PASSWORD);
            start(command)
        };
        Self { nodes: (1..).zip(addresses).map(start_node).collect() }
    }
}

#[test]
fn three_nodes_mine_across_segwit_and_their_leader_is_killed() {
    let Some(folder) = installed() else { return };
    let site = Site::with_certs(3);
    let bcoin = Bcoin::start(&folder, &site);
    let script = anybodys().to_p2wsh();
    let bcoins = segwit::encode_v0(Hrp::parse("rb").unwrap(), &script.as_bytes()[2..]).unwrap();
    let cores = Address::from_script(&script, Network::Regtest).unwrap().to_string();
    bcoin.call("generatetoaddress", json!([MADE_BEFORE, &bcoins]));
    assert_eq!(bcoin.height(), MADE_BEFORE);

    let mut cluster = Cluster::start(&site, &bcoin, [&bcoins, &cores]);
    bcoin.wait_for(SEGWIT + 3);
    let leader = cluster.nodes.remove(0);
    leader.signal(Signal::KILL);
    assert_eq!(leader.end().code, None);
    let killed_at = bcoin.height();

    // Transactions with witnesses stand in the blocks of the next leader.
    let spent: Vec<_> = (200..210).map(|height| spend(&bcoin.block(height))).collect();
    for transaction in &spent {
        bcoin.call("sendrawtransaction", json!([serialize_hex(transaction)]));
    }
    cluster.nodes[0].event("block", |block| block["status"] == "success" && block["node"] == 2);
    bcoin.wait_for(killed_at.max(MADE_BEFORE + 30) + 10);
    wait_until("the transactions are in blocks", || bcoin.call("getrawmempool", json!([])) == json!([]));
    let told: Vec<_> = cluster.nodes.into_iter().map(|node| node.end_by(Signal::TERM)).collect();

    let tip = bcoin.height();
    let mut mined = Vec::new();
    for height in MADE_BEFORE + 1..=tip {
        let block = bcoin.block(height);
        assert_eq!(block["height"], height);
        let coinbase = &block["tx"][0];
        assert_eq!(coinbase["vout"][0]["scriptPubKey"]["hex"], script.to_hex_string(), "{height}");
        assert_eq!(coinbase["locktime"], height - 1);
        assert_eq!(coinbase["vout"].as_array().unwrap().len(), 1 + usize::from(height >= SEGWIT), "{height}");
        let text = coinbase["vin"][0]["coinbase"].as_str().unwrap();
        assert!(text.contains(&hex::encode("headframe")), "{height}: {text}");
        mined.extend(block["tx"].as_array().unwrap()[1..].iter().map(|tx| tx["txid"].as_str().unwrap().to_owned()));
    }
    let mut expected: Vec<_> = spent.iter().map(|transaction| transaction.compute_txid().to_string()).collect();
    expected.sort();
    mined.sort();
    assert_eq!(mined, expected);

    // What the nodes told is what the chain has.
    for ended in told {
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
        for block in ended.json().iter().filter(|event| event["event"] == "block" && event["status"] == "success") {
            let height = block["height"].as_u64().unwrap();
            assert_eq!(bcoin.block(height)["hash"], block["hash"], "{block}");
        }
    }
}

#[test]
fn a_node_with_a_wrong_password_says_so_and_starts_to_mine_when_the_node_is_there() {
    let Some(folder) = installed() else { return };
    let site = Site::with_certs(1);
    let bcoin = Bcoin::start(&folder, &site);
    let source = format!("bitcoind+http://{}", bcoin.address);
    let payout = Address::from_script(&anybodys().to_p2wsh(), Network::Regtest).unwrap().to_string();
    let cookie = site.path("cookie");
    std::fs::write(&cookie, "x:wrong").unwrap();
    let [nobody] = site.free_addresses();
    let peer = format!("1={nobody}");
    let words = ["node", "--json", "--id", "1", "--source", &source, "--payout", &payout, "--threads", "1"];
    let more = ["--peer", &peer, "--heartbeat", HEARTBEAT, "--cookie", cookie.to_str().unwrap(), "--blocks", "3"];
    let mut node = site.start(&[&words[..], &more].concat());
    node.event("source", |event| event["problem"].as_str().is_some_and(|problem| problem.contains("401")));
    std::fs::write(&cookie, format!("x:{PASSWORD}")).unwrap();
    node.event("source", |event| event["problem"].is_null());
    let ended = node.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.out.contains(PASSWORD) && !ended.err.contains(PASSWORD) && !ended.out.contains("wrong"));
    assert!(bcoin.height() >= 3);
}

#[test]
fn a_payout_has_to_be_given() {
    let site = Site::new();
    let source = "bitcoind+http://127.0.0.1:1";
    for command in [&["up"][..], &["node", "--id", "1"], &["check", "--id", "1"]] {
        site.run(&[command, &["--source", source]].concat()).refused(2, &["expected --payout ADDRESS"]);
    }
}
