//! Finds out what the node wants, and offers it.
//!
//! 1. A template is fetched, checked, made into work, remembered and offered. The first one is also checked by the node as a proposal.
//! 2. Then whatever comes first: the node answers the long poll, its tip is another block, the template is 30 s old (new transactions, and on
//!    test chains the end of 20 minutes, after which other bits hold), or the session is asked.
//! 3. After an error nothing happens until the session is asked: its owner decides when.
//!
//! A node may serve few calls at a time and does not notice when a long poll is dropped. So one long poll is under way at most, and it
//! outlives the other calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::ScriptBuf;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::chain::Chain;
use super::rpc::CallError;
use super::template::{Answer, LongPoll, NodeTemplate, Times};
use super::works::{Work, Works};
use super::{Node, now, submit};
use crate::source::http::{Limits, shown};
use crate::source::{Offer, SourceError};
use crate::work::{BlockHash, BlockTime, Digest, Slot, Solution, Template};

/// The longest template, and the longest time it may take.
const TEMPLATE: Limits = Limits { bytes: 32 << 20, time: Duration::from_secs(30) };
/// A long poll is begun anew after an hour.
const LONG_POLL: Limits = Limits { time: Duration::from_secs(3600), ..TEMPLATE };
/// How often the node's tip is asked for beside a long poll, which a node may leave unanswered.
const TIP: Duration = Duration::from_secs(10);
/// The same without a long poll.
const TIP_WITHOUT: Duration = Duration::from_secs(1);
/// How old a template may become.
const OLDEST: Duration = Duration::from_secs(30);
/// How long a block's transactions stay as they are at least, unless the session is asked.
const SETTLED: Duration = Duration::from_secs(10);
/// A long poll that has failed is tried again after this.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// One that was answered with what was known, after this.
const AFTER_NOTHING: Duration = Duration::from_secs(1);
/// Long polls are no closer to each other than this: where blocks come faster, it would cost the node a template for each.
const BETWEEN: Duration = Duration::from_millis(50);
/// A long poll that says nothing so long after the tip has changed is given up.
const DEAF: Duration = Duration::from_secs(10);
/// On test chains a block that comes so many seconds after the one before has the easiest target.
const EASES_AFTER: u32 = 20 * 60;

/// The task of a session that watches the node.
pub(super) struct Watch {
    node: Arc<Node>,
    chain: Chain,
    payout: ScriptBuf,
    works: Arc<Works>,
    asked: Arc<Notify>,
    /// Numbers the templates.
    tags: u64,
    known: Option<Known>,
    /// Whether a template of this session was checked as a proposal, or cannot be.
    is_proposed: bool,
    long_poll: Option<UnderWay>,
    /// When the next long poll may go out, and whether the last one worked.
    long_poll_from: Instant,
    long_poll_works: bool,
    /// The time of the block that is built on, where that matters.
    prev_time: Option<(Digest, u32)>,
}

/// The template that was offered last.
struct Known {
    /// As the node gave it last.
    given: NodeTemplate,
    template: Template,
    /// Its body, as others take it.
    body: Arc<[u8]>,
    /// When it was offered first.
    offered: Instant,
    /// When the node was last asked for it.
    asked: Instant,
    /// When it is fetched again.
    due: Instant,
}

/// A long poll.
struct UnderWay {
    id: String,
    prev: Digest,
    /// Since when the tip is another one.
    is_late_since: Option<Instant>,
    answer: AbortOnDropHandle<(Instant, Result<NodeTemplate, String>)>,
}

/// Why the node is asked again.
enum Wake {
    /// The session is.
    Asked,
    /// It is time, or the tip has changed.
    Due,
    /// There is a template already, which came at this time.
    Given(Box<NodeTemplate>, Instant),
}

impl Watch {
    pub(super) fn new(node: Arc<Node>, chain: Chain, payout: ScriptBuf, works: Arc<Works>, asked: Arc<Notify>) -> Self {
        Self {
            node,
            chain,
            payout,
            works,
            asked,
            tags: 0,
            known: None,
            is_proposed: false,
            long_poll: None,
            long_poll_from: now(),
            long_poll_works: true,
            prev_time: None,
        }
    }

    /// Runs until nobody takes the offers any more.
    pub(super) async fn run(mut self, offers: mpsc::Sender<Result<Offer, SourceError>>) {
        let (mut given, mut repeat) = (None, true);
        loop {
            match self.look(given.take(), repeat).await {
                Ok(offer) => {
                    repeat = false;
                    if let Some(offer) = offer
                        && offers.send(Ok(offer)).await.is_err()
                    {
                        return;
                    }
                }
                Err(error) => {
                    if offers.send(Err(error)).await.is_err() {
                        return;
                    }
                    self.asked.notified().await;
                    repeat = true;
                    continue;
                }
            }
            match self.wait().await {
                Wake::Asked => repeat = true,
                Wake::Due => {}
                Wake::Given(template, came) => given = Some((*template, came)),
            }
        }
    }

    /// Takes in what the long poll gave, or asks the node. Gives an offer if the node wants something else, or if it is to be repeated.
    async fn look(
        &mut self,
        given: Option<(NodeTemplate, Instant)>,
        repeat: bool,
    ) -> Result<Option<Offer>, SourceError> {
        let (given, asked) = match given {
            Some(given) => given,
            None => self.ask().await.map_err(|problem| self.node.rpc.error(problem))?,
        };
        if let Some(known) = &mut self.known {
            let is_same = known.given.wants_the_same(&given);
            let is_settled =
                known.given.prev == given.prev && known.given.bits == given.bits && now() < known.offered + SETTLED;
            if is_same || is_settled && !repeat {
                let prev_time = self.prev_time.filter(|(of, _)| *of == given.prev).map(|(_, time)| time);
                known.asked = asked;
                known.due = due(given.times, prev_time);
                match is_same {
                    true => known.given = given, // the long poll's id may be another
                    false => known.given.long_poll = given.long_poll,
                }
                return Ok(repeat.then(|| {
                    let (template, body) = (known.template.clone(), Some(Arc::clone(&known.body)));
                    Offer { template, asked, body }
                }));
            }
        }
        let prev_time = self.prev_time(given.prev).await?;
        self.tags += 1;
        let time = block_time(given.times, self.node.time(), prev_time);
        let work = Work::new(&given, &self.payout, &self.node.text, time, self.tags);
        let work = Arc::new(work.map_err(|problem| self.node.rpc.error(problem))?);
        self.propose(&given, &work).await?;
        self.works.remember(Arc::clone(&work));
        let template = work.template.clone();
        let due = due(given.times, prev_time);
        let body = Arc::clone(work.body.bytes());
        let known = Known { given, template: template.clone(), body: Arc::clone(&body), offered: now(), asked, due };
        self.known = Some(known);
        Ok(Some(Offer { template, asked, body: Some(body) }))
    }

    /// Asks the node for a template; once more if the node took a block meanwhile that this one would compete with.
    async fn ask(&self) -> Result<(NodeTemplate, Instant), String> {
        loop {
            let asked = now();
            let given = fetch(&self.node, self.chain, None, request(self.chain, None), TEMPLATE).await?;
            if self.works.solved(given.prev).is_none_or(|solved| solved < asked) {
                return Ok((given, asked));
            }
        }
    }

    /// Waits until there is a reason to ask the node again.
    async fn wait(&mut self) -> Wake {
        let Some(known) = &self.known else { return Wake::Due };
        let (prev, due) = (known.given.prev, known.due);
        self.begin_long_poll();
        let every = if self.long_poll.is_some() && self.long_poll_works { TIP } else { TIP_WITHOUT };
        let answer = async {
            match &mut self.long_poll {
                Some(under_way) => (&mut under_way.answer).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            biased;
            () = self.asked.notified() => return Wake::Asked,
            answer = answer => answer,
            () = tip_leaves(&self.node, prev, every) => return Wake::Due,
            () = sleep_until(due.into()) => return Wake::Due,
        };
        let asked_with = self.long_poll.take().map(|under_way| under_way.id);
        let answer = answer.unwrap_or_else(|error| (now(), Err(format!("the long poll's task ended: {error}"))));
        self.long_poll_works = answer.1.is_ok();
        match answer {
            (_, Err(problem)) => {
                tracing::debug!("{}: long poll: {problem}", self.node.rpc.url());
                self.long_poll_from = now() + AFTER_FAILURE;
                Wake::Due
            }
            (came, Ok(given)) => {
                let is_news = given.long_poll.as_ref().map(|long_poll| &long_poll.id) != asked_with.as_ref();
                self.long_poll_from = now() + if is_news { BETWEEN } else { AFTER_NOTHING };
                // It may have been on its way while the node was asked otherwise, or took a block. Then the node has to say it again.
                let is_old = self.known.as_ref().is_some_and(|known| {
                    came < known.asked || given.height < known.given.height || self.works.solved(given.prev).is_some()
                });
                if is_old { Wake::Due } else { Wake::Given(Box::new(given), came) }
            }
        }
    }

    /// Has one long poll under way, if the node knows them.
    fn begin_long_poll(&mut self) {
        let Some(Known { given, .. }) = &self.known else { return };
        if let Some(under_way) = &mut self.long_poll {
            let is_late = under_way.prev != given.prev;
            if !is_late || now() < *under_way.is_late_since.get_or_insert_with(now) + DEAF {
                return;
            }
            self.long_poll = None;
            self.long_poll_works = false;
        }
        let Some(LongPoll { id, link }) = given.long_poll.clone() else { return };
        let page = match link.map(|link| self.node.rpc.page(&link).ok_or(link)) {
            None => None,
            Some(Ok(page)) => Some(page),
            Some(Err(link)) => {
                tracing::debug!("{}: long polls lead elsewhere, to {}", self.node.rpc.url(), shown(&link));
                return;
            }
        };
        let (node, chain, from, params) =
            (Arc::clone(&self.node), self.chain, self.long_poll_from, request(self.chain, Some(&id)));
        let answer = tokio::spawn(async move {
            sleep_until(from.into()).await;
            let given = fetch(&node, chain, page.as_deref(), params, LONG_POLL).await;
            (now(), given)
        });
        let answer = AbortOnDropHandle::new(answer);
        self.long_poll = Some(UnderWay { id, prev: given.prev, is_late_since: None, answer });
    }

    /// Has the node check the session's first block, without its nonce (BIP 23).
    async fn propose(&mut self, given: &NodeTemplate, work: &Work) -> Result<(), SourceError> {
        if self.is_proposed || !given.takes_proposals {
            return Ok(());
        }
        let job = work.template.job(Slot::default(), self.node.time());
        let Some(block) = job.and_then(|job| work.block(&Solution { job, nonce: 0 })) else { return Ok(()) };
        let mut proposal = json!({"mode": "proposal", "data": block, "rules": self.chain.rules()});
        if let Some(workid) = &given.workid {
            proposal["workid"] = json!(workid);
        }
        let said = self.node.rpc.call::<String>("getblocktemplate", json!([proposal]), submit::LIMITS).await;
        match said {
            Ok(None) => {}
            // The tip has changed meanwhile: the next template is checked.
            Ok(Some(reason)) if reason.starts_with("inconclusive") || reason.contains("stale") => return Ok(()),
            Ok(Some(reason)) => {
                let problem = format!("the node would refuse the blocks that are built for it: {}", shown(&reason));
                return Err(SourceError { is_over: true, ..self.node.rpc.error(problem) });
            }
            Err(CallError::Refused { code, message }) => {
                tracing::debug!("{}: proposals are refused: {message} ({code})", self.node.rpc.url());
            }
            Err(error) => return Err(self.node.rpc.error(error.into_problem())),
        }
        self.is_proposed = true;
        Ok(())
    }

    /// The time of the block that is built on, on chains where the target depends on it.
    async fn prev_time(&mut self, prev: Digest) -> Result<Option<u32>, SourceError> {
        if !self.chain.eases() {
            return Ok(None);
        }
        if let Some((_, time)) = self.prev_time.filter(|(of, _)| *of == prev) {
            return Ok(Some(time));
        }
        let hash = BlockHash::from(prev).to_string();
        let header: Result<Option<Value>, _> =
            self.node.rpc.call("getblockheader", json!([hash, true]), Limits::SMALL).await;
        let header = header.map_err(|error| self.node.rpc.error(error.into_problem()))?;
        let time = super::fields::word("time", &header.unwrap_or_default()["time"]);
        let time = time.map_err(|problem| self.node.rpc.error(format!("getblockheader: {problem}")))?;
        self.prev_time = Some((prev, time));
        Ok(Some(time))
    }
}

/// What `getblocktemplate` is asked with: at once, or when the node wants another block than that of a long poll's id.
fn request(chain: Chain, long_poll: Option<&str>) -> Value {
    let capabilities = ["coinbasevalue", "longpoll", "proposal", "workid"];
    let mut request = json!({"mode": "template", "capabilities": capabilities, "rules": chain.rules()});
    if let Some(id) = long_poll {
        request["longpollid"] = json!(id);
    }
    json!([request])
}

/// Fetches a template and checks it.
async fn fetch(
    node: &Node,
    chain: Chain,
    page: Option<&str>,
    params: Value,
    limits: Limits,
) -> Result<NodeTemplate, String> {
    let answer: Option<Answer> =
        node.rpc.call_at(page, "getblocktemplate", params, limits).await.map_err(CallError::into_problem)?;
    let answer = answer.ok_or("getblocktemplate: expected a template, got null")?;
    // Thousands of transactions are hashed.
    let checked = tokio::task::spawn_blocking(move || answer.check(chain)).await;
    checked.map_err(|error| error.to_string()).flatten().map_err(|problem| format!("getblocktemplate: {problem}"))
}

/// Waits until the node's tip is another block than `prev`, or the node does not say.
async fn tip_leaves(node: &Node, prev: Digest, every: Duration) {
    let prev = BlockHash::from(prev).to_string();
    loop {
        sleep(every).await;
        if !node.rpc.hash("getbestblockhash", json!([])).await.is_ok_and(|tip| tip == prev) {
            return;
        }
    }
}

/// The times that a block may have: the node's clock goes on from its `curtime`. On a test chain a time on the other side of the 20 minutes
/// would want other bits.
fn block_time(times: Times, now: Duration, prev_time: Option<u32>) -> BlockTime {
    let Times { now: curtime, mut min, mut max } = times;
    if let Some(prev) = prev_time {
        let last = prev.saturating_add(EASES_AFTER);
        if curtime > last { min = min.max(last.saturating_add(1)) } else { max = max.min(last) }
    }
    let ahead = i64::from(curtime) - i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    BlockTime { ahead, min, max }
}

/// When a template is fetched again: when it is old, or on a test chain when the 20 minutes are over.
fn due(times: Times, prev_time: Option<u32>) -> Instant {
    let left = prev_time.and_then(|prev| prev.saturating_add(EASES_AFTER).checked_sub(times.now));
    let eases = left.map(|left| Duration::from_secs(u64::from(left) + 1));
    now() + eases.unwrap_or(OLDEST).min(OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_chains_block_stays_on_its_side_of_the_20_minutes() {
        let times = |now| Times { now, min: 1_000, max: u32::MAX };
        let time = |now, prev| block_time(times(now), Duration::from_secs(5_000), prev);
        assert_eq!(time(6_000, None), BlockTime { ahead: 1_000, min: 1_000, max: u32::MAX });
        assert_eq!(time(6_000, Some(5_000)), BlockTime { ahead: 1_000, min: 1_000, max: 6_200 });
        assert_eq!(time(6_200, Some(5_000)).max, 6_200);
        assert_eq!(time(6_201, Some(5_000)), BlockTime { ahead: 1_201, min: 6_201, max: u32::MAX });
        assert_eq!(time(0, Some(u32::MAX)), BlockTime { ahead: -5_000, min: 1_000, max: u32::MAX });
    }
}
