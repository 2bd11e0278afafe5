//! What a pool has said in a session, and what follows from it. There is no clock and no I/O here.
//!
//! ```text
//! calls of the pool ──hear──> Heard: a template, an answer, a wish          solution ──submission──> parameters of mining.submit
//! ```
//!
//! 1. Orders differ between pools: difficulty, job and extranonce may come in any. As soon as all are there, there is a template.
//! 2. A new difficulty or version mask makes a new template of the present job, a new extranonce counts from the next job on.
//! 3. Each template has a number, by which `templates` finds the pool's job of a solution again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::job::{PoolJob, Space, Terms};
use super::templates::{Templates, Unsent};
use super::words;
use crate::work::{Digest, Solution, Target, Template};

/// The version bits that miners may roll (BIP 320).
pub(super) const ROLLED: u32 = 0x1fff_e000;
/// The most blocks that are remembered as left.
const MAX_LEFT: usize = 64;
/// What this miner calls itself.
pub(super) const AGENT: &str = concat!("headframe/", env!("CARGO_PKG_VERSION"));

/// What a call of the pool comes to.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // one at a time
pub(super) enum Heard {
    /// There is nothing to do.
    Nothing,
    /// This is to be searched from now on.
    Template(Template),
    /// This is the result of the pool's request.
    Answer(Value),
    /// The pool has something to say to the operator, in its own words.
    Message(String),
    /// The pool wants another connection, perhaps to another host or port.
    Reconnect { host: Option<String>, port: Option<u16> },
    /// Nobody knows this method here.
    Unknown,
}

/// The present job.
#[derive(Debug)]
struct Present {
    job: PoolJob,
    /// The extranonce that was valid when it came; none if it came before any.
    space: Option<Space>,
    ahead: i64,
}

/// What a pool has said.
#[derive(Debug)]
pub(super) struct State {
    space: Option<Space>,
    difficulty: f64,
    report: Target,
    /// The version bits that may be rolled; `None` as long as that was not negotiated (BIP 310).
    mask: Option<u32>,
    present: Option<Present>,
    /// The blocks that this session has built on before.
    left: VecDeque<Digest>,
    templates: Templates,
    /// Counts the restarts of all sessions of this source, so that no lease of an earlier one goes on under the same round.
    generations: Arc<AtomicU64>,
    generation: u64,
}

impl State {
    /// A session in which nothing was said yet. Until the pool names a difficulty it is 1.
    pub(super) fn new(generations: Arc<AtomicU64>) -> Self {
        let mut state = Self {
            space: None,
            difficulty: 1.0,
            report: Target::MAX,
            mask: None,
            present: None,
            left: VecDeque::new(),
            templates: Templates::default(),
            generations,
            generation: 0,
        };
        if let Ok(report) = Target::from_difficulty(state.difficulty) {
            state.report = report;
        }
        state.restart();
        state
    }

    /// The difficulty of shares.
    pub(super) fn difficulty(&self) -> f64 {
        self.difficulty
    }

    /// Takes in the result of `mining.configure` (BIP 310). What the pool does not name it does not know.
    ///
    /// # Errors
    /// The mask has another form.
    pub(super) fn configured(&mut self, result: &Value) -> Result<(), String> {
        if result.get("version-rolling") == Some(&Value::Bool(true)) {
            self.mask = Some(words::word("version-rolling.mask", result.get("version-rolling.mask"))? & ROLLED);
        }
        Ok(())
    }

    /// Takes in the result of `mining.subscribe`: subscriptions, which mean nothing here, extranonce1 and the size of extranonce2.
    ///
    /// # Errors
    /// A field is not as it should be, or does not fit to the job that is there already.
    pub(super) fn subscribed(&mut self, result: &Value) -> Result<Heard, String> {
        let space = Space::parse(result.get(1), result.get(2))?;
        if let Some(present) = &mut self.present {
            present.job.check(&space)?;
            present.space.get_or_insert_with(|| space.clone());
        }
        self.space = Some(space);
        Ok(self.renew())
    }

    /// Takes in a notification or a request. `now` is the time since 1970.
    ///
    /// # Errors
    /// A field is not as it should be, or the pool wants work for a block that it has left.
    pub(super) fn hear(&mut self, method: &str, params: &[Value], now: Duration) -> Result<Heard, String> {
        match method {
            "mining.notify" => self.notified(params, now),
            "mining.set_difficulty" => self.set_difficulty(params),
            "mining.set_extranonce" => {
                self.space = Some(Space::parse(params.first(), params.get(1))?);
                Ok(Heard::Nothing)
            }
            "mining.set_version_mask" => self.set_version_mask(params),
            "mining.ping" => Ok(Heard::Answer(json!("pong"))),
            "client.get_version" => Ok(Heard::Answer(json!(AGENT))),
            "client.show_message" => {
                Ok(Heard::Message(words::plain(params.first().and_then(Value::as_str).unwrap_or_default())))
            }
            "client.reconnect" => reconnect(params),
            _ => Ok(Heard::Unknown),
        }
    }

    fn notified(&mut self, params: &[Value], now: Duration) -> Result<Heard, String> {
        let job = PoolJob::parse(params)?;
        if let Some(space) = &self.space {
            job.check(space)?;
        }
        if let Some(prev) = self.present.as_ref().map(|present| present.job.prev) {
            if prev != job.prev {
                if self.left.contains(&job.prev) {
                    return Err(format!(
                        "expected work for a new block, got some for one that was left ({})",
                        job.prev.reversed()
                    ));
                }
                if self.left.len() == MAX_LEFT {
                    self.left.pop_front();
                }
                self.left.push_back(prev);
            } else if job.is_clean {
                self.restart();
            }
        }
        let ahead = i64::from(job.time).saturating_sub_unsigned(now.as_secs());
        self.present = Some(Present { job, space: self.space.clone(), ahead });
        Ok(self.renew())
    }

    fn set_difficulty(&mut self, params: &[Value]) -> Result<Heard, String> {
        let difficulty = params.first().and_then(Value::as_f64);
        let difficulty = difficulty.ok_or_else(|| words::unexpected("difficulty", "a number", params.first()))?;
        let report = Target::from_difficulty(difficulty).map_err(|error| format!("set_difficulty: {error}"))?;
        self.difficulty = difficulty;
        if self.report == report {
            return Ok(Heard::Nothing);
        }
        self.report = report;
        Ok(self.renew())
    }

    /// The mask is valid at once (BIP 310), so versions with a bit that is lost must not be searched any more.
    fn set_version_mask(&mut self, params: &[Value]) -> Result<Heard, String> {
        let new = words::word("version mask", params.first())? & ROLLED;
        let Some(mask) = &mut self.mask else { return Ok(Heard::Nothing) };
        let old = std::mem::replace(mask, new);
        if old & !new != 0 {
            self.restart();
        }
        Ok(if old == new { Heard::Nothing } else { self.renew() })
    }

    /// What was handed out before is of no use any more.
    fn restart(&mut self) {
        self.generation = self.generations.fetch_add(1, Ordering::Relaxed);
    }

    /// A new template of the present job, if there is all that it needs.
    fn renew(&mut self) -> Heard {
        let Some(Present { job, space: Some(space), ahead }) = &self.present else { return Heard::Nothing };
        let terms = Terms {
            space,
            report: self.report,
            mask: self.mask.unwrap_or(0),
            ahead: *ahead,
            generation: self.generation,
            tag: self.templates.number(job, space.size),
        };
        Heard::Template(job.template(terms))
    }

    /// The parameters of `mining.submit` for a solution.
    ///
    /// # Errors
    /// No pool would take the solution.
    pub(super) fn submission(&self, user: &str, solution: &Solution) -> Result<Value, Unsent> {
        self.templates.submission(user, self.mask, solution)
    }
}

/// `[]`, or host, port and seconds to wait. The seconds are left to the pause that any source gets.
fn reconnect(params: &[Value]) -> Result<Heard, String> {
    let host = params.first().and_then(Value::as_str).filter(|host| !host.is_empty()).map(str::to_owned);
    let port = match params.get(1) {
        None | Some(Value::Null) => None,
        Some(value) => {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let port = number.and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
            Some(port.ok_or_else(|| words::unexpected("port to reconnect to", "1 to 65535", Some(value)))?)
        }
    };
    Ok(Heard::Reconnect { host, port })
}
