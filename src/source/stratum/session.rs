//! A session as the node holds it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::pool::Pool;
use super::talk::{Order, Present};
use crate::source::{BoxFuture, Offer, Session, SourceError, Verdict};
use crate::work::{Blueprint, Extranonce, Solution, Template};

/// A leader without a job asks again and again. After so many questions for the same template its extranonce counts as used up.
const MANY_ASKS: u32 = 16;
/// Only an extranonce2 of so few bytes can be used up.
const SMALL: u8 = 2;

/// A session; the pool is talked with in a task.
pub(super) struct StratumSession {
    pool: Arc<Pool>,
    orders: mpsc::Sender<Order>,
    present: watch::Receiver<Present>,
    /// The number of the last template that was given.
    given: Option<u64>,
    /// Whether it is to be given once more, and how often that was so.
    repeat: bool,
    asks: u32,
}

impl StratumSession {
    pub(super) fn new(pool: Arc<Pool>, orders: mpsc::Sender<Order>, present: watch::Receiver<Present>) -> Self {
        Self { pool, orders, present, given: None, repeat: false, asks: 0 }
    }

    /// Cancel-safe: only `self` is changed, and only when this gives something.
    async fn next_offer(&mut self) -> Result<Offer, SourceError> {
        loop {
            let Present { offer, over } = self.present.borrow_and_update().clone();
            if let Some(error) = over {
                return Err(error);
            }
            if let Some(offer) = offer {
                let is_new = self.given != Some(offer.template.tag);
                if is_new {
                    self.asks = 0;
                }
                if self.asks > MANY_ASKS && has_small_extranonce(&offer.template) {
                    let problem = "expected room in extranonce2, got none; a new session gets another extranonce1";
                    return Err(self.pool.error(problem.into()));
                }
                if is_new || self.repeat {
                    (self.given, self.repeat) = (Some(offer.template.tag), false);
                    return Ok(offer);
                }
            }
            if self.present.changed().await.is_err() {
                return Err(why(&self.pool, &self.present));
            }
        }
    }
}

impl Session for StratumSession {
    fn next(&mut self) -> BoxFuture<'_, Result<Offer, SourceError>> {
        Box::pin(self.next_offer())
    }

    /// A pool cannot be asked; the last template is given again.
    fn ask(&mut self) {
        self.repeat = true;
        self.asks = self.asks.saturating_add(1);
    }

    /// Gives an error only if the session ends before the pool has answered.
    fn submit(&self, solution: &Solution) -> BoxFuture<'static, Result<Verdict, SourceError>> {
        let (pool, orders, present) = (Arc::clone(&self.pool), self.orders.clone(), self.present.clone());
        let (told, verdict) = oneshot::channel();
        let order = Order { solution: *solution, told };
        Box::pin(async move {
            if orders.send(order).await.is_ok()
                && let Ok(verdict) = verdict.await
            {
                return Ok(verdict);
            }
            Err(why(&pool, &present))
        })
    }
}

/// Why the session is over.
fn why(pool: &Pool, present: &watch::Receiver<Present>) -> SourceError {
    let over = present.borrow().over.clone();
    over.unwrap_or_else(|| pool.error("the session's task has ended".into()))
}

fn has_small_extranonce(template: &Template) -> bool {
    let Blueprint::Header { coinbase, .. } = &template.puzzle else { return false };
    matches!(coinbase.extranonce, Extranonce::Counter(..=SMALL))
}
