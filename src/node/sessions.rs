//! Carries out what the [`feed`](super::feed) wants: a task for each session, one for each solution on its way.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::feed::{Answer, Request, SessionId};
use crate::source::{Adopted, BlockSource, BoxFuture, Session, SourceError, Verdict};
use crate::work::Solution;

/// The most requests that wait for a session. It takes them at once, unless it is still being opened.
const REQUESTS: usize = 1024;

#[allow(clippy::large_enum_variant)] // a few wait at a time
enum Order {
    Ask,
    Submit { ticket: u64, solution: Solution, adopted: Option<Arc<Adopted>> },
}

/// The open sessions, and the requests that are under way.
pub(super) struct Sessions {
    sources: Vec<Arc<dyn BlockSource>>,
    answers: mpsc::Sender<Answer>,
    open: BTreeMap<SessionId, mpsc::Sender<Order>>,
    tasks: JoinSet<()>,
}

impl Sessions {
    pub(super) fn new(sources: Vec<Arc<dyn BlockSource>>, answers: mpsc::Sender<Answer>) -> Self {
        Self { sources, answers, open: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Carries out a request. Gives an answer at once only where the session has ended meanwhile.
    pub(super) fn carry_out(&mut self, request: Request) -> Option<Answer> {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|_, orders| !orders.is_closed());
        match request {
            Request::Open(id) => {
                let (orders, ordered) = mpsc::channel(REQUESTS);
                let source = Arc::clone(&self.sources[id.source]);
                self.tasks.spawn(converse(id, source, ordered, self.answers.clone()));
                self.open.insert(id, orders);
            }
            Request::Close(id) => drop(self.open.remove(&id)), // what was ordered before is still done
            Request::Ask(id) => drop(self.order(id, Order::Ask)),
            Request::Submit { session, ticket, solution, adopted } => {
                if !self.order(session, Order::Submit { ticket, solution, adopted }) {
                    let (url, problem) =
                        (self.sources[session.source].url().to_owned(), "its session has ended".to_owned());
                    let result = Err(SourceError { url, problem, is_over: true });
                    return Some(Answer::Verdict { ticket, result });
                }
            }
        }
        None
    }

    /// Hands an order to the session; false if the session has ended or its queue is full.
    fn order(&self, id: SessionId, order: Order) -> bool {
        self.open.get(&id).is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

/// Opens a session and serves it until it is over or closed. Every solution that was ordered to be submitted is answered.
async fn converse(
    id: SessionId,
    source: Arc<dyn BlockSource>,
    mut orders: mpsc::Receiver<Order>,
    answers: mpsc::Sender<Answer>,
) {
    let error = match source.open().await {
        Ok(session) => attend(id, session, &mut orders, &answers).await,
        Err(error) => Some(error),
    };
    let Some(error) = error else { return };
    let error = SourceError { is_over: true, ..error };
    // Fails once the node has stopped.
    let _ = answers.send(Answer::Offer(id, Err(error.clone()))).await;
    orders.close();
    while let Some(order) = orders.recv().await {
        if let Order::Submit { ticket, .. } = order {
            let _ = answers.send(Answer::Verdict { ticket, result: Err(error.clone()) }).await;
        }
    }
}

/// Serves an open session. Gives why it is over; `None` when it was closed.
async fn attend(
    id: SessionId,
    mut session: Box<dyn Session>,
    orders: &mut mpsc::Receiver<Order>,
    answers: &mpsc::Sender<Answer>,
) -> Option<SourceError> {
    // After a failure the session rests until it is asked again.
    let mut rests = false;
    loop {
        let offer = tokio::select! {
            biased;
            order = orders.recv() => {
                match order? {
                    Order::Ask => {
                        rests = false;
                        session.ask();
                    }
                    Order::Submit { ticket, solution, adopted } => {
                        let verdict = match adopted {
                            Some(adopted) => session.submit_adopted(&solution, adopted),
                            None => session.submit(&solution),
                        };
                        answer(ticket, verdict, answers.clone());
                    }
                }
                continue;
            }
            offer = session.next(), if !rests => offer,
        };
        rests = offer.is_err();
        match offer {
            Err(error) if error.is_over => return Some(error),
            offer => answers.send(Answer::Offer(id, offer)).await.ok()?,
        }
    }
}

/// Waits for the verdict in a task of its own, because the session may be closed meanwhile.
fn answer(ticket: u64, verdict: BoxFuture<'static, Result<Verdict, SourceError>>, answers: mpsc::Sender<Answer>) {
    tokio::spawn(async move {
        let result = verdict.await;
        let _ = answers.send(Answer::Verdict { ticket, result }).await; // fails once the node has stopped
    });
}
