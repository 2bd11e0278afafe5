//! The bodies of templates: no block that a node builds is lost with its leader.
//!
//! A solution of such a template is a header and a coinbase. What else its block holds, its transactions, is the template's *body*, which only
//! the leader's session knows. Therefore whoever leads next fetches it, in parts that fit a message:
//!
//! ```text
//! next to lead ── BodyRequest (start) ──> leader        one part at a time; a part that is lost is asked for again
//!              <──── Body (bytes) ───────
//! ```
//!
//! A transfer under way is finished, then the newest body follows. Everything is bounded: the bodies that are kept, their sizes, and how often
//! a peer may ask.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::{BodyId, BodyPart, BodyRequest, MAX_BODY_PART, Message, NodeId};
use crate::work::{MAX_BODY, Run, Template};

/// How many bodies of its own a node keeps, for a transfer that began before the newest came.
const MAX_OWN: usize = 3;

/// When a part is asked for again.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many parts are given in a second: three of the largest bodies.
const MAX_PARTS: u32 = 200;

/// The bodies that this node knows.
#[derive(Debug)]
pub(crate) struct Handover {
    run: Run,
    /// Those of its own sessions, by their templates' numbers, the newest last.
    own: VecDeque<(u64, Arc<[u8]>)>,
    /// The one that is being fetched.
    under_way: Option<Transfer>,
    /// The one that was fetched last, or that its leader does not have.
    last: Option<BodyId>,
    /// The parts given since then.
    given: (Instant, u32),
}

/// A body that is being fetched.
#[derive(Debug)]
struct Transfer {
    leader: NodeId,
    template: Template,
    body: BodyId,
    size: Option<u32>,
    bytes: Vec<u8>,
    asked: Instant,
}

impl Transfer {
    fn request(&mut self, now: Instant) -> (NodeId, Message) {
        self.asked = now;
        (self.leader, Message::BodyRequest(BodyRequest { body: self.body, start: self.bytes.len() as u32 }))
    }
}

/// A template of another run, and its whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) run: Run,
    pub(crate) template: Template,
    pub(crate) bytes: Arc<[u8]>,
}

impl Handover {
    pub(crate) fn new(run: Run, now: Instant) -> Self {
        Self { run, own: VecDeque::new(), under_way: None, last: None, given: (now, 0) }
    }

    /// A session of this node has given a template with this body.
    pub(crate) fn keep(&mut self, template: u64, body: Arc<[u8]>) {
        if body.is_empty() || body.len() > MAX_BODY {
            return; // nobody could take it
        }
        self.own.retain(|(known, _)| *known != template);
        if self.own.len() == MAX_OWN {
            self.own.pop_front();
        }
        self.own.push_back((template, body));
    }

    /// What this node has to say, which is the next to lead after `leader`, if that one's present template is this. To be called again
    /// after a while: what was lost is said again.
    pub(crate) fn fetch(
        &mut self,
        now: Instant,
        (leader, run, template): (NodeId, Run, &Template),
    ) -> Option<(NodeId, Message)> {
        // A transfer from a leader that is gone ends.
        let under_way = self.under_way.take_if(|transfer| (transfer.leader, transfer.body.run) == (leader, run));
        if let Some(mut transfer) = under_way {
            let request = (now >= transfer.asked + PATIENCE).then(|| transfer.request(now));
            self.under_way = Some(transfer);
            return request;
        }
        self.under_way = None;
        let body = BodyId { run, template: template.tag };
        if self.last == Some(body) {
            return None;
        }
        let template = template.clone();
        let transfer = Transfer { leader, template, body, size: None, bytes: Vec::new(), asked: now };
        Some(self.under_way.insert(transfer).request(now))
    }

    /// Whoever leads next asks for a part of a body, and gets it, but not more often than makes sense.
    pub(crate) fn hear_request(&mut self, now: Instant, request: BodyRequest) -> Option<Message> {
        if now >= self.given.0 + Duration::from_secs(1) {
            self.given = (now, 0);
        }
        self.given.1 += 1;
        if self.given.1 > MAX_PARTS || request.body.run != self.run {
            return None;
        }
        let BodyRequest { body, start } = request;
        let known = self.own.iter().find(|(template, _)| *template == body.template);
        let whole = known.map_or(&[][..], |(_, bytes)| bytes);
        let rest = whole.get(start as usize..).unwrap_or_default();
        let bytes = rest[..rest.len().min(MAX_BODY_PART)].to_vec();
        Some(Message::Body(BodyPart { body, size: whole.len() as u32, start, bytes }))
    }

    /// A part of a body has come. Gives what is to be said next, or the template with its whole body.
    pub(crate) fn hear_part(&mut self, now: Instant, from: NodeId, part: BodyPart) -> Heard {
        let BodyPart { body, size, start, bytes } = part;
        let is_next = |transfer: &mut Transfer| {
            (transfer.leader, transfer.body, transfer.bytes.len()) == (from, body, start as usize)
        };
        let Some(mut transfer) = self.under_way.take_if(is_next) else { return Heard::Nothing };
        let expected = *transfer.size.get_or_insert(size);
        let end = transfer.bytes.len() + bytes.len();
        if size != expected || bytes.is_empty() || end > expected as usize || expected as usize > MAX_BODY {
            // The leader does not have it any more, or makes no sense.
            self.last = Some(body);
            return Heard::Nothing;
        }
        transfer.bytes.extend(bytes);
        if end < expected as usize {
            let (to, message) = transfer.request(now);
            self.under_way = Some(transfer);
            return Heard::Part(to, message);
        }
        self.last = Some(body);
        Heard::Whole(Fetched { run: body.run, template: transfer.template, bytes: transfer.bytes.into() })
    }
}

/// What a part leads to.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // it is taken at once
pub(crate) enum Heard {
    /// It was not asked for, or it is the last word of a leader that does not have the body.
    Nothing,
    /// The next part is to be asked for.
    Part(NodeId, Message),
    /// The body is here.
    Whole(Fetched),
}

#[cfg(test)]
mod tests;
