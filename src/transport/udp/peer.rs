//! One text peer: its words become the messages of a Headframe node, and our messages its words. Nothing here does any input or output.
//!
//! A text peer knows nothing of runs, stamps, leases or reigns. What it cannot say is remembered here, or made up: it is one run for as long
//! as it is known, and its messages are numbered as they arrive.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::drops::Reason;
use super::given::Given;
use super::led::{Led, Why};
use super::words::Words;
use crate::cluster::{Heartbeat, Message, Report, Stamp};
use crate::work::{Run, TextForm};

/// Requests of ours that may still be answered.
const MAX_ASKED: usize = 16;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    run: Run,
    sent: u64,
    /// Our requests that it has not answered, oldest first.
    asked: VecDeque<(Stamp, Instant)>,
    given: Given,
    led: Led,
    /// Datagrams that are read before it has to wait, and since when they are counted.
    room: u32,
    since: Instant,
    /// When it last said something.
    pub(super) heard: Instant,
}

/// What follows from a peer's words.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// For the rules.
    pub(super) message: Option<Message>,
    /// For the peer, at once.
    pub(super) words: Option<Words>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, run: Run, budget: u32, now: Instant) -> Self {
        Self {
            address,
            run,
            sent: 0,
            asked: VecDeque::new(),
            given: Given::default(),
            led: Led::new(run),
            room: budget,
            since: now,
            heard: now,
        }
    }

    /// Whether there is room for another datagram: `budget` of them in a second.
    pub(super) fn may_speak(&mut self, budget: u32, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.room, self.since) = (budget, now);
        }
        let may = self.room > 0;
        self.room = self.room.saturating_sub(1);
        may
    }

    /// Our message, as words for it.
    pub(super) fn tell(&mut self, message: &Message, form: TextForm, now: Instant) -> Vec<Words> {
        match message {
            Message::HeartbeatRequest(heartbeat) => {
                if self.asked.len() == MAX_ASKED {
                    self.asked.pop_front();
                }
                self.asked.push_back((heartbeat.stamp, now));
                vec![Words::HeartbeatRequest]
            }
            Message::HeartbeatReply(_, report) => {
                let report = report.iter().flat_map(|report| self.led.tell(report, Why::Asks));
                [Words::HeartbeatReply].into_iter().chain(report).collect()
            }
            Message::ProcessRequest(report) => self.led.tell(report, Why::Asks),
            Message::ProcessAnswerNo(report) => self.led.tell(report, Why::End),
            Message::ProcessAnswerYes(report) => self.led.tell(report, Why::Block),
            Message::Process(assign) | Message::ProcessInterrupt(assign) => self.given.tell(assign, form, now),
            // The exercise has no goodbye, and a text peer leads nobody.
            Message::Leave(..) | Message::BodyRequest(_) | Message::Body(_) => vec![],
        }
    }

    /// Its words, as a message for the rules. `heartbeat` is the time between two heartbeats.
    pub(super) fn hear(&mut self, words: Words, heartbeat: Duration, now: Instant) -> Result<Heard, Reason> {
        let message = |message| Ok(Heard { message: Some(message), words: None });
        match words {
            Words::HeartbeatRequest => message(Message::HeartbeatRequest(self.heartbeat(None))),
            Words::HeartbeatReply => {
                // It does not say which request it answers. Those of a heartbeat ago or longer were lost.
                self.asked.retain(|(_, asked)| now.saturating_duration_since(*asked) < heartbeat);
                let (asked, _) = self.asked.pop_front().ok_or(Reason::AnswersNothing)?;
                message(Message::HeartbeatReply(self.heartbeat(Some(asked)), None))
            }
            Words::ProcessRequest => {
                let words = self.given.hear_request(now);
                Ok(Heard { message: Some(Message::ProcessRequest(self.report())), words })
            }
            Words::ProcessAnswerNo => {
                let words = self.given.hear_no(now).ok_or(Reason::AnswersNothing)?;
                Ok(Heard { message: Some(Message::ProcessAnswerNo(self.report())), words })
            }
            Words::ProcessAnswerYes(nonce) => {
                let block = self.given.hear_yes(nonce).ok_or(Reason::AnswersNothing)?;
                message(Message::ProcessAnswerYes(Report { blocks: vec![block], ..self.report() }))
            }
            Words::Process(job, range) => message(Message::Process(self.led.hear_process(job, range))),
            Words::ProcessInterrupt => message(Message::ProcessInterrupt(self.led.hear_interrupt())),
        }
    }

    fn report(&mut self) -> Report {
        let stamp = self.stamp();
        self.given.report(stamp)
    }

    fn heartbeat(&mut self, echo: Option<Stamp>) -> Heartbeat {
        Heartbeat { stamp: self.stamp(), echo, interval: None, leads: None }
    }

    fn stamp(&mut self) -> Stamp {
        self.sent += 1;
        Stamp { run: self.run, sent: self.sent }
    }
}
