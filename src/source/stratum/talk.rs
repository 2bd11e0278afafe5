//! A session's side that talks with the pool: first question by question, then as a task of its own.
//!
//! ```text
//!              ┌── present template, or why the session is over ──> next
//! pool <──> Talk
//!              └── orders: a solution, and whom to tell the verdict <── submit
//! ```
//!
//! The session is over when the pool breaks a rule, says nothing for three minutes, or leaves a share unanswered for half a minute. It also
//! ends when nobody holds it any more and all shares are answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connection::Connection;
use super::pool::Pool;
use super::shares::{self, Tally};
use super::state::{Heard, State};
use super::templates::Unsent;
use super::words::{self, Answer, Line};
use crate::source::{Offer, SourceError, Verdict};
use crate::work::Solution;

/// How long a pool may say nothing.
const SILENCE: Duration = Duration::from_secs(180);
/// How long a pool may leave a share unanswered.
const SHARE_TIME: Duration = Duration::from_secs(30);
/// The most shares that wait for an answer; further ones wait to be sent.
const MAX_PENDING: usize = 1024;
/// The most orders that wait.
const MAX_ORDERS: usize = 256;
/// The most lines that may be no Stratum.
const MAX_MALFORMED: u32 = 16;
/// The most of a pool's wishes and messages that are logged.
const MAX_LOGGED: u32 = 50;

/// Why nothing can be sent any more.
const UNREAD: &str = "the pool does not read what is sent to it, or has closed the connection";

/// What a session's holder has to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Present {
    pub(super) offer: Option<Offer>,
    pub(super) over: Option<SourceError>,
}

/// A solution to submit, and whom to tell the verdict. Nothing is told where the session ends before.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) solution: Solution,
    pub(super) told: oneshot::Sender<Verdict>,
}

#[derive(Debug)]
struct Pending {
    due: Instant,
    told: oneshot::Sender<Verdict>,
}

/// A conversation with a pool.
pub(super) struct Talk {
    pool: Arc<Pool>,
    connection: Connection,
    state: State,
    present: watch::Sender<Present>,
    /// Counts the requests.
    requests: u64,
    /// Shares without an answer, by the number of the request, so that the oldest is the first.
    pending: BTreeMap<u64, Pending>,
    tally: Tally,
    malformed: u32,
    logged: u32,
    heard: Instant,
}

impl Talk {
    pub(super) fn new(pool: Arc<Pool>, connection: Connection, state: State) -> Self {
        Self {
            pool,
            connection,
            state,
            present: watch::Sender::default(),
            requests: 0,
            pending: BTreeMap::new(),
            tally: Tally::default(),
            malformed: 0,
            logged: 0,
            heard: Instant::now(),
        }
    }

    /// The state, for answers that belong there.
    pub(super) fn state(&mut self) -> &mut State {
        &mut self.state
    }

    /// Sends a request and waits for its answer. What comes meanwhile is taken in.
    ///
    /// # Errors
    /// There is no answer within `limit`, the connection ends, or the pool breaks a rule.
    pub(super) async fn ask(&mut self, method: &str, params: &Value, limit: Duration) -> Result<Answer, String> {
        let (asked, deadline) = (self.tell(method, params)?, Instant::now() + limit);
        let answer = async {
            loop {
                let line = self.connection.line().await?;
                match self.hear(&line)? {
                    Some((id, answer)) if id == asked => return Ok(answer),
                    _ => {} // the answer to what was only told
                }
            }
        };
        let late = || Err(format!("expected an answer to {method} within {limit:?}, got none"));
        timeout_at(deadline, answer).await.unwrap_or_else(|_| late())
    }

    /// Sends a request whose answer does not matter. Gives its number.
    ///
    /// # Errors
    /// The pool does not read what is sent to it.
    pub(super) fn tell(&mut self, method: &str, params: &Value) -> Result<u64, String> {
        self.requests += 1;
        self.send(words::request(self.requests, method, params))?;
        Ok(self.requests)
    }

    /// From now on the conversation is a task of its own.
    pub(super) fn start(self) -> (mpsc::Sender<Order>, watch::Receiver<Present>) {
        let (give, orders) = mpsc::channel(MAX_ORDERS);
        let present = self.present.subscribe();
        tokio::spawn(self.run(orders));
        (give, present)
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let first_share = self.requests + 1;
        let problem = loop {
            let is_held = !(orders.is_closed() && orders.is_empty());
            if !is_held && self.pending.is_empty() {
                return;
            }
            let (deadline, lapse) = self.deadline();
            let out = self.connection.out.clone();
            // An order is taken only when there is a place for its line.
            let order = async { (out.reserve_owned().await, orders.recv().await) };
            let result = tokio::select! {
                line = self.connection.line() => match line {
                    Ok(line) => self.hear(&line).and_then(|reply| self.settle(reply, first_share)),
                    Err(problem) => Err(problem),
                },
                (place, order) = order, if is_held && self.pending.len() < MAX_PENDING => match (place, order) {
                    (Ok(place), Some(order)) => {
                        if let Some(line) = self.submit(order) {
                            place.send(line);
                        }
                        Ok(())
                    }
                    (Ok(_), None) => Ok(()), // nobody holds the session any more
                    (Err(_), _) => Err(UNREAD.into()),
                },
                () = sleep_until(deadline) => Err(lapse.into()),
            };
            if let Err(problem) = result {
                break problem;
            }
        };
        // This is told before the pending shares are dropped, so that their futures can say why.
        let over = self.pool.error(problem);
        self.present.send_modify(|present| present.over = Some(over));
    }

    /// When the session is over if nothing is heard until then, and why.
    fn deadline(&self) -> (Instant, &'static str) {
        let silence = (self.heard + SILENCE, "expected a word from the pool within 3 minutes, got none");
        let oldest = self.pending.values().next();
        let share = oldest.map(|share| (share.due, "expected an answer to a share within 30 s, got none"));
        share.into_iter().fold(silence, |a, b| if b.0 < a.0 { b } else { a })
    }

    /// Takes in a line. Gives the reply that it may be.
    fn hear(&mut self, line: &str) -> Result<Option<(u64, Answer)>, String> {
        self.heard = Instant::now();
        if line.trim().is_empty() {
            return Ok(None);
        }
        let (id, method, params) = match Line::parse(line) {
            Ok(Line::Reply { id, answer }) => return Ok(Some((id, answer))),
            Ok(Line::Call { id, method, params }) => (id, method, params),
            Err(problem) => return self.doubt(problem).map(|()| None),
        };
        let heard = self.state.hear(&method, &params, self.pool.since_1970())?;
        self.act(heard, &id)?;
        Ok(None)
    }

    /// Does what a call of the pool comes to.
    pub(super) fn act(&mut self, heard: Heard, id: &Value) -> Result<(), String> {
        match heard {
            Heard::Nothing => {}
            Heard::Template(template) => {
                self.pool.weigh(self.state.difficulty());
                let offer = Offer { template, asked: self.heard.into_std(), body: None };
                self.present.send_modify(|present| present.offer = Some(offer));
            }
            Heard::Answer(result) if !id.is_null() => return self.send(words::reply(id, &result)),
            Heard::Unknown if !id.is_null() => return self.send(words::refuse(id)),
            Heard::Answer(_) | Heard::Unknown => {}
            Heard::Message(text) => {
                let text = self.pool.masked(&text);
                self.log(|url| tracing::info!("{url} says: {text}"));
            }
            Heard::Reconnect { host, port } => match self.pool.may_move(host.as_deref(), port) {
                true => return Err("the pool asks for a new connection".into()),
                false => self.log(|url| {
                    tracing::warn!("{url} wants this miner to connect to another host; that is not done");
                }),
            },
        }
        Ok(())
    }

    fn log(&mut self, log: impl FnOnce(&str)) {
        self.logged = self.logged.saturating_add(1);
        if self.logged <= MAX_LOGGED {
            log(self.pool.url());
        }
    }

    /// A line is no Stratum. Some are forgiven.
    fn doubt(&mut self, problem: String) -> Result<(), String> {
        self.malformed += 1;
        let said = self.pool.masked(&problem);
        self.log(|url| tracing::warn!("{url}: {said}"));
        if self.malformed > MAX_MALFORMED { Err(problem) } else { Ok(()) }
    }

    /// Tells the verdict in a reply.
    fn settle(&mut self, reply: Option<(u64, Answer)>, first_share: u64) -> Result<(), String> {
        let Some((id, answer)) = reply else { return Ok(()) };
        let Some(pending) = self.pending.remove(&id) else {
            let is_ours = id < first_share; // to what was only told
            return if is_ours {
                Ok(())
            } else {
                self.doubt(format!("expected the reply to a share, got one to {id}"))
            };
        };
        let verdict = match shares::verdict(&answer) {
            Verdict::Rejected { reason } => Verdict::Rejected { reason: self.pool.masked(&reason) },
            verdict => verdict,
        };
        let counted = self.tally.count(&verdict);
        let _ = pending.told.send(verdict); // nobody may wait for it any more
        counted
    }

    /// The line that submits a solution; `None` where the verdict is known without the pool.
    fn submit(&mut self, Order { solution, told }: Order) -> Option<String> {
        match self.state.submission(self.pool.user(), &solution) {
            Ok(params) => {
                self.requests += 1;
                self.pending.insert(self.requests, Pending { due: Instant::now() + SHARE_TIME, told });
                Some(words::request(self.requests, "mining.submit", &params))
            }
            Err(unsent) => {
                let _ = told.send(match unsent {
                    Unsent::Stale => Verdict::Stale,
                    Unsent::NotUnderstood(problem) => Verdict::NotUnderstood(problem.into()),
                });
                None
            }
        }
    }

    fn send(&self, line: String) -> Result<(), String> {
        let sent = self.connection.out.try_send(line);
        sent.map_err(|_| UNREAD.into())
    }
}
