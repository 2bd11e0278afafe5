//! A Bitcoin node as a source: [`BitcoindSource`] asks it for templates and hands it whole blocks (BIP 22, 23, 9, 141, 145).
//!
//! ```text
//! open ──> chain, payout      next <── watch: long poll, tip, time ──> getblocktemplate ──> template + body
//!                             submit ──> template + body + solution = block ──> submitblock ──> Verdict
//! ```
//!
//! 1. `wire` gets requests to the node, `rpc` says which errors heal; `fields`, `template` and `transactions` check what came.
//! 2. `coinbase` and `merkle` build on it what jobs are made of, and `block` puts a block together.
//! 3. `watch` decides when the node is asked, `works` remembers what solutions may still come for, `submit` gets a final answer.

mod block;
mod chain;
mod coinbase;
mod credentials;
mod fields;
mod merkle;
mod payout;
mod rpc;
mod signet;
mod submit;
mod template;
#[cfg(test)]
mod tests;
mod transactions;
mod watch;
mod wire;
mod works;

pub use credentials::Credentials;
pub use payout::{Payout, PayoutError};

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::http::{Http, Limits, NODE_SCHEME};
use super::{Adopted, BlockSource, BoxFuture, Offer, Session, SourceError, Verdict, now};
use crate::work::Solution;
use chain::Chain;
use rpc::{CallError, Rpc};
use watch::Watch;
use wire::HttpWire;
use works::{Work, Works};

/// How a node is asked for templates, and who is paid.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `bitcoind+http://host:port` or `bitcoind+https://host:port`.
    pub url: String,
    /// How the node is told who asks.
    pub credentials: Credentials,
    /// Who is paid by the blocks.
    pub payout: Payout,
    /// What the coinbases say beside, at most 68 bytes; it may be empty.
    pub text: String,
    /// Whether credentials may go to another machine without TLS, where whoever is between can read them.
    pub insecure: bool,
    /// The time since 1970, as the jobs' clock has it.
    pub now: Duration,
}

/// A Bitcoin node.
#[derive(Clone)]
pub struct BitcoindSource {
    node: Arc<Node>,
}

impl BitcoindSource {
    /// What an address of a Bitcoin node begins with.
    pub const SCHEME: &str = NODE_SCHEME;

    /// A node as a source. Nothing is sent yet.
    ///
    /// # Errors
    /// The address has another form, the text is too long, or credentials would be readable on their way.
    pub fn new(config: NodeConfig) -> Result<Self, SourceError> {
        let NodeConfig { url, credentials, payout, text, insecure, now: since_1970 } = config;
        let http = Http::of_node(&url)?;
        if credentials != Credentials::None && !http.is_private() && !insecure {
            return Err(http.error(
                "expected a node on this machine or bitcoind+https:// where credentials are sent; others can read them on their way (--insecure-source sends them all the same)".into(),
            ));
        }
        if text.len() > coinbase::MOST_TEXT {
            let (most, length) = (coinbase::MOST_TEXT, text.len());
            return Err(http.error(format!("expected a coinbase text of at most {most} bytes, got {length}")));
        }
        let rpc = Rpc::new(Box::new(HttpWire::new(http, credentials)));
        Ok(Self { node: Arc::new(Node { rpc, payout, text: text.into_bytes(), since_1970, started: now() }) })
    }
}

impl BlockSource for BitcoindSource {
    fn url(&self) -> &str {
        self.node.rpc.url()
    }

    /// Asks which chain the node is on, and whether the payout address is one of it.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SourceError>> {
        Box::pin(async move {
            let chain = self.node.chain().await.map_err(|problem| self.node.rpc.error(problem))?;
            let payout = self.node.payout.script(chain).map_err(|problem| self.node.rpc.error(problem))?;
            let (asked, works) = (Arc::new(Notify::new()), Arc::new(Works::default()));
            let (offer, offers) = mpsc::channel(1);
            let watch = Watch::new(Arc::clone(&self.node), chain, payout, Arc::clone(&works), Arc::clone(&asked));
            let _watch = AbortOnDropHandle::new(tokio::spawn(watch.run(offer)));
            Ok(Box::new(NodeSession { node: Arc::clone(&self.node), asked, works, offers, _watch }) as Box<dyn Session>)
        })
    }
}

/// What every session with the node shares.
struct Node {
    rpc: Rpc,
    payout: Payout,
    text: Vec<u8>,
    /// The time since 1970 at `started`.
    since_1970: Duration,
    started: Instant,
}

/// What is read of `getblockchaininfo`.
#[derive(Deserialize)]
struct ChainName {
    chain: String,
}

impl Node {
    /// The chain that the node is on.
    async fn chain(&self) -> Result<Chain, String> {
        let named: Option<ChainName> =
            self.rpc.call("getblockchaininfo", json!([]), Limits::SMALL).await.map_err(CallError::into_problem)?;
        let ChainName { chain } = named.ok_or("getblockchaininfo: expected the name of a chain, got null")?;
        Chain::named(&chain)
    }

    /// The time since 1970, by the clock that jobs are made by.
    fn time(&self) -> Duration {
        self.since_1970 + now().saturating_duration_since(self.started)
    }
}

/// A conversation with a node. What the node wants is found out by a task of its own, which ends with the session.
struct NodeSession {
    node: Arc<Node>,
    asked: Arc<Notify>,
    works: Arc<Works>,
    offers: mpsc::Receiver<Result<Offer, SourceError>>,
    _watch: AbortOnDropHandle<()>,
}

impl Session for NodeSession {
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>> {
        Box::pin(async move {
            let offer = self.offers.recv().await;
            offer.unwrap_or_else(|| {
                Err(SourceError { is_over: true, ..self.node.rpc.error("the watch on the node has ended".into()) })
            })
        })
    }

    fn ask(&mut self) {
        self.asked.notify_one();
    }

    fn submit(&self, solution: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let (node, works, solution) = (Arc::clone(&self.node), Arc::clone(&self.works), *solution);
        Box::pin(async move {
            // Work that is forgotten was replaced by so many newer ones that its block is old.
            let Some(work) = works.find(&solution) else { return Ok(Verdict::Stale) };
            let verdict = submit::submit(&node.rpc, &work, &solution).await?;
            if matches!(verdict, Verdict::Block { .. }) {
                works.note_solved(work.template.round.block.hash, now());
            }
            Ok(verdict)
        })
    }

    fn submit_adopted(
        &self,
        solution: &Solution,
        adopted: Arc<Adopted>,
    ) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let (node, solution) = (Arc::clone(&self.node), *solution);
        Box::pin(async move {
            match Work::adopted(&adopted) {
                Some(work) => submit::submit(&node.rpc, &work, &solution).await,
                None => Ok(Verdict::NotUnderstood("expected the body of a Bitcoin block, got something else".into())),
            }
        })
    }
}
