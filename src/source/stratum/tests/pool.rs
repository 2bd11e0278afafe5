//! The pool's end of a connection, and the pool's own way from a submission back to the header, which shares no code with the source.

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines, ReadHalf, WriteHalf, split};

pub(super) const EXTRANONCE1: &str = "08000002";
pub(super) const MASK: u32 = 0x1fff_e000;

/// The pool's end.
pub(super) struct Script {
    lines: Lines<BufReader<ReadHalf<Box<dyn Stream>>>>,
    write: WriteHalf<Box<dyn Stream>>,
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Script {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        let (read, write) = split(Box::new(stream) as Box<dyn Stream>);
        Self { lines: BufReader::new(read).lines(), write }
    }

    /// The next line of the miner; `None` when it has closed the connection.
    pub(super) async fn line(&mut self) -> Option<Value> {
        let line = self.lines.next_line().await.ok()??;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// The next request, which has to be this one.
    pub(super) async fn expect(&mut self, method: &str) -> Value {
        let line = self.line().await.unwrap();
        assert_eq!(line["method"], method, "{line}");
        line
    }

    pub(super) async fn raw(&mut self, text: &str) {
        self.write.write_all(text.as_bytes()).await.unwrap();
        self.write.write_all(b"\n").await.unwrap();
    }

    pub(super) async fn answer(&mut self, request: &Value, result: Value, error: Value) {
        self.raw(&json!({"id": request["id"], "result": result, "error": error}).to_string()).await;
    }

    pub(super) async fn call(&mut self, method: &str, params: Value) {
        self.raw(&json!({"id": null, "method": method, "params": params}).to_string()).await;
    }

    /// Everything up to an open session.
    pub(super) async fn greet(&mut self) {
        self.configure().await;
        self.subscribe(EXTRANONCE1, 4).await;
        self.authorize().await;
    }

    pub(super) async fn configure(&mut self) {
        let request = self.expect("mining.configure").await;
        assert_eq!(request["params"][1]["version-rolling.mask"], "1fffe000");
        let result = json!({"version-rolling": true, "version-rolling.mask": "ffffffff", "minimum-difficulty": true});
        self.answer(&request, result, Value::Null).await;
    }

    pub(super) async fn subscribe(&mut self, extranonce1: &str, size: u8) {
        let request = self.expect("mining.subscribe").await;
        self.answer(&request, json!([[["mining.notify", "a"]], extranonce1, size]), Value::Null).await;
    }

    pub(super) async fn authorize(&mut self) {
        let request = self.expect("mining.authorize").await;
        assert_eq!(request["params"], json!([super::USER, super::PASSWORD]));
        self.answer(&request, json!(true), Value::Null).await;
        self.settle_in().await;
    }

    /// What the miner only tells at the start.
    pub(super) async fn settle_in(&mut self) {
        let request = self.expect("mining.suggest_difficulty").await;
        assert_eq!(request["params"], json!([0.00233]));
        self.answer(&request, json!(true), Value::Null).await;
        let request = self.expect("mining.extranonce.subscribe").await;
        self.answer(&request, Value::Null, json!([20, "Not supported.", null])).await;
    }

    /// An easy difficulty and a job.
    pub(super) async fn work(&mut self) -> Notify {
        self.call("mining.set_difficulty", json!([super::easy()])).await;
        let notify = Notify::default();
        self.notify(&notify).await;
        notify
    }

    pub(super) async fn notify(&mut self, notify: &Notify) {
        self.call("mining.notify", notify.params()).await;
    }
}

/// A job: that of the protocol's first description, but for the block's target, which no hash of a test meets.
#[derive(Clone, Debug)]
pub(super) struct Notify {
    pub(super) job: &'static str,
    /// The previous block's hash, as people write it.
    pub(super) prev: String,
    pub(super) branch: Vec<[u8; 32]>,
    pub(super) version: u32,
    pub(super) time: u32,
    pub(super) is_clean: bool,
}

pub(super) const COINB1: &str = "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff20020862062f503253482f04b8864e5008";
pub(super) const COINB2: &str =
    "072f736c7573682f000000000100f2052a010000001976a914d23fcdf86f7e756a64a7a9688ef9903327048ed988ac00000000";

impl Default for Notify {
    fn default() -> Self {
        let branch = vec![[7; 32], [8; 32], [9; 32]];
        Self { job: "bf", prev: prev(1), branch, version: 0x2000_0000, time: 1_800_000_000, is_clean: false }
    }
}

/// A block's hash.
pub(super) fn prev(block: u8) -> String {
    format!("{}{}", "0".repeat(16), format!("{block:02x}a1b2c3").repeat(6))
}

impl Notify {
    pub(super) fn params(&self) -> Value {
        // Stratum's order: the 8 words of the hash, last word first; each word as people write it.
        let words: Vec<&str> = (0..8).rev().map(|word| &self.prev[word * 8..][..8]).collect();
        let branch: Vec<String> = self.branch.iter().map(hex::encode).collect();
        let (version, time) = (format!("{:08x}", self.version), format!("{:08x}", self.time));
        json!([self.job, words.concat(), COINB1, COINB2, branch, version, "170331db", time, self.is_clean])
    }

    /// The hash of the header that a submission stands for, as people write it.
    pub(super) fn hash(&self, extranonce1: &str, submit: &[Value]) -> String {
        let text = |at: usize| submit[at].as_str().unwrap();
        let number = |at: usize| u32::from_str_radix(text(at), 16).unwrap();
        assert_eq!((text(0), text(1)), (super::USER, self.job));
        let coinbase = hex::decode([COINB1, extranonce1, text(2), COINB2].concat()).unwrap();
        let root = self.branch.iter().fold(sha256d(&coinbase), |root, hash| sha256d(&[root, *hash].concat()));
        let version = match submit.len() {
            6 => {
                assert_eq!(number(5) & !MASK, 0, "only bits of the mask");
                self.version & !MASK | number(5) & MASK
            }
            _ => self.version,
        };
        let mut prev = hex::decode(&self.prev).unwrap();
        prev.reverse();
        let little = |number: u32| number.to_le_bytes().to_vec();
        let header =
            [little(version), prev, root.to_vec(), little(number(3)), little(0x1703_31db), little(number(4))].concat();
        assert_eq!(header.len(), 80);
        let mut hash = sha256d(&header);
        hash.reverse();
        hex::encode(hash)
    }

    /// Whether it is a share of the easy difficulty: 0xffff · 2^208 / 1e-7 begins with two zero digits and 98967f.
    pub(super) fn is_share(&self, extranonce1: &str, submit: &[Value]) -> bool {
        *self.hash(extranonce1, submit) < *format!("00989{}", "f".repeat(59))
    }
}

pub(super) fn sha256d(bytes: &[u8]) -> [u8; 32] {
    let once = digest(&SHA256, bytes);
    digest(&SHA256, once.as_ref()).as_ref().try_into().unwrap()
}
