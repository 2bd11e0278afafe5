//! A node that lives in a test: it answers calls as the test wants, by the test's clock, and notes what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::answer;
use crate::source::bitcoind::chain::Chain;
use crate::source::bitcoind::rpc::Rpc;
use crate::source::bitcoind::wire::Wire;
use crate::source::bitcoind::{BitcoindSource, Node, now};
use crate::source::http::{Limits, Reply};
use crate::source::{BlockSource, BoxFuture, Session, SourceError};

/// How the node answers a call.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Result(Value),
    Error(i64, &'static str),
    /// No connection.
    Lost,
}

/// How it answers long polls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LongPolls {
    /// When the template has another id.
    Answered,
    /// Never.
    Held,
    Refused,
    /// At once, whatever the id.
    Hasty,
}

pub(super) struct State {
    pub(super) chain: String,
    /// What it answers to `getblocktemplate`.
    pub(super) template: Said,
    pub(super) long_polls: LongPolls,
    pub(super) proposal: Said,
    /// Its answers to `submitblock`, the next one first.
    pub(super) submits: VecDeque<Said>,
    pub(super) block_hash: Said,
    pub(super) prev_time: Value,
    /// Which calls came.
    pub(super) calls: Vec<&'static str>,
    /// What came with the last `submitblock`.
    pub(super) submitted: Value,
    /// Long polls that are being held now.
    pub(super) held: usize,
}

/// The node.
pub(super) struct Scripted {
    state: Mutex<State>,
    changed: Notify,
}

impl Scripted {
    pub(super) fn new(chain: Chain) -> Arc<Self> {
        let state = State {
            chain: chain.name().into(),
            template: Said::Result(answer(chain, &[])),
            long_polls: LongPolls::Answered,
            proposal: Said::Result(json!(null)),
            submits: VecDeque::new(),
            block_hash: Said::Error(-8, "Block height out of range"),
            prev_time: json!(1_700_000_000),
            calls: vec![],
            submitted: json!(null),
            held: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes the template, and answers the long polls whose id is another.
    pub(super) fn change(&self, change: impl FnOnce(&mut Value)) {
        if let Said::Result(template) = &mut self.state().template {
            change(template);
        }
        self.changed.notify_waiters();
    }

    /// Another block is the tip.
    pub(super) fn advance(&self) {
        self.change(|template| {
            let height = template["height"].as_u64().unwrap() + 1;
            template["height"] = json!(height);
            template["previousblockhash"] = json!(format!("{height:064x}"));
            template["longpollid"] = json!(format!("at {height}"));
        });
    }

    /// How often a method was called.
    pub(super) fn count(&self, call: &str) -> usize {
        self.state().calls.iter().filter(|&&called| called == call).count()
    }

    fn source(self: &Arc<Self>) -> BitcoindSource {
        let payout = match self.state().chain.as_str() {
            "regtest" => "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
            _ => "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
        };
        let node = Node {
            rpc: Rpc::new(Box::new(Line(Arc::clone(self)))),
            payout: payout.parse().unwrap(),
            text: vec![],
            since_1970: Duration::from_secs(1_700_000_000),
            started: now(),
        };
        BitcoindSource { node: Arc::new(node) }
    }

    pub(super) async fn try_open(self: &Arc<Self>) -> Result<Box<dyn Session>, SourceError> {
        self.source().open().await
    }

    pub(super) async fn open(self: &Arc<Self>) -> Box<dyn Session> {
        self.try_open().await.unwrap()
    }

    async fn answer(&self, method: &str, params: &Value) -> Said {
        let asked = &params[0];
        match method {
            "getblockchaininfo" => Said::Result(json!({"chain": self.note("chain").chain, "blocks": 7})),
            "getblocktemplate" if asked["mode"] == "proposal" => self.note("proposal").proposal.clone(),
            "getblocktemplate" if asked["longpollid"].is_string() => self.long_poll(&asked["longpollid"]).await,
            "getblocktemplate" => self.note("template").template.clone(),
            "getbestblockhash" => match &self.note("tip").template {
                Said::Result(template) => Said::Result(template["previousblockhash"].clone()),
                other => other.clone(),
            },
            "getblockheader" => Said::Result(json!({"time": self.note("header").prev_time})),
            "getblockhash" => self.note("hash").block_hash.clone(),
            "submitblock" => {
                let mut state = self.note("submit");
                state.submitted = params.clone();
                state.submits.pop_front().unwrap_or(Said::Lost)
            }
            other => panic!("{other}"),
        }
    }

    fn note(&self, call: &'static str) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.calls.push(call);
        state
    }

    async fn long_poll(&self, id: &Value) -> Said {
        let how = self.note("long poll").long_polls;
        let _held = Held::new(self);
        loop {
            let changed = self.changed.notified();
            let template = self.state().template.clone();
            match how {
                LongPolls::Refused => return Said::Error(-32600, "no long polls"),
                LongPolls::Hasty => return template,
                LongPolls::Answered if matches!(&template, Said::Result(new) if new["longpollid"] != *id) => {
                    return template;
                }
                LongPolls::Answered | LongPolls::Held => changed.await,
            }
        }
    }
}

/// Counts a long poll while it is held.
struct Held<'a>(&'a Scripted);

impl<'a> Held<'a> {
    fn new(node: &'a Scripted) -> Self {
        node.state().held += 1;
        Self(node)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.state().held -= 1;
    }
}

/// The way to it.
struct Line(Arc<Scripted>);

impl Wire for Line {
    fn url(&self) -> &str {
        "bitcoind+http://scripted"
    }

    fn page(&self, link: &str) -> Option<String> {
        link.starts_with('/').then(|| link.to_owned())
    }

    fn post<'a>(&'a self, _: Option<&'a str>, body: String, _: Limits) -> BoxFuture<'a, Result<Reply, String>> {
        Box::pin(async move {
            let call: Value = serde_json::from_str(&body).unwrap();
            let (status, body) = match self.0.answer(call["method"].as_str().unwrap(), &call["params"]).await {
                Said::Result(result) => (200, json!({"result": result, "error": null, "id": call["id"]})),
                Said::Error(code, message) => {
                    (500, json!({"result": null, "error": {"code": code, "message": message}, "id": call["id"]}))
                }
                Said::Lost => return Err("the connection was lost".into()),
            };
            Ok(Reply { status, body: body.to_string() })
        })
    }
}
