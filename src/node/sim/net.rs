//! The links between nodes: what becomes of a message on its way.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use crate::cluster::{Message, NodeId};

/// One direction of a link.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// How many faults cut it at present.
    pub(super) cuts: u32,
    /// Of a thousand messages, so many are lost.
    pub(super) loss: u32,
    /// Of a thousand messages, so many come twice.
    pub(super) doubling: u32,
    /// Added to the way of each message, up to so much.
    pub(super) delay: Duration,
    /// Of each message another copy arrives up to so much later.
    pub(super) late_copies: Option<Duration>,
    /// While it is clogged, messages wait here.
    pub(super) clogged: Option<Vec<Message>>,
}

/// A clogged link keeps so many messages; beyond, they are lost.
const MAX_CLOGGED: usize = 200;

/// All links.
pub(super) struct Net {
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// A message takes between half of this and this.
    latency: Duration,
    /// Messages lost, doubled and delayed.
    pub(super) harmed: [u64; 3],
}

impl Net {
    pub(super) fn new(latency: Duration) -> Self {
        Self { links: BTreeMap::new(), latency, harmed: [0; 3] }
    }

    pub(super) fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        self.links.entry((from, to)).or_default()
    }

    /// After how long, each, `message` arrives: not at all, once, or twice.
    pub(super) fn ways(&mut self, rng: &mut Rng, from: NodeId, to: NodeId, message: &Message) -> Vec<Duration> {
        let latency = self.latency.as_nanos() as u64;
        let usual = |rng: &mut Rng| Duration::from_nanos(latency / 2 + rng.u64(..latency / 2));
        let Some(link) = self.links.get_mut(&(from, to)) else { return vec![usual(rng)] };
        if link.cuts > 0 || rng.u32(..1000) < link.loss {
            self.harmed[0] += 1;
            return vec![];
        }
        if let Some(waiting) = &mut link.clogged {
            self.harmed[2] += 1;
            if waiting.len() < MAX_CLOGGED {
                waiting.push(message.clone());
            }
            return vec![];
        }
        let copies = 1 + usize::from(rng.u32(..1000) < link.doubling);
        self.harmed[1] += copies as u64 - 1;
        self.harmed[2] += u64::from(!link.delay.is_zero());
        let most = link.delay.as_nanos() as u64;
        let late = link.late_copies.map(|by| Duration::from_nanos(rng.u64(..=by.as_nanos() as u64)));
        (0..copies).map(|_| usual(rng) + Duration::from_nanos(rng.u64(..=most))).chain(late).collect()
    }

    /// No link does any harm any more. Gives what waited on clogged ones.
    pub(super) fn heal(&mut self) -> Vec<(NodeId, NodeId, Message)> {
        let links = std::mem::take(&mut self.links).into_iter();
        links.flat_map(|((from, to), link)| link.clogged.into_iter().flatten().map(move |m| (from, to, m))).collect()
    }
}
