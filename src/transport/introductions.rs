//! The peers that a transport has met, or knows more of than the list of servers says, until they are asked for.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::{Member, lock};
use crate::cluster::NodeId;

/// At most one for each peer: a newer one takes the older one's place.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    waiting: Mutex<BTreeMap<NodeId, Member>>,
    news: Notify,
}

impl Introductions {
    pub(super) fn add(&self, member: Member) {
        lock(&self.waiting).insert(member.id, member);
        self.news.notify_one();
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&self) -> Member {
        loop {
            let first = lock(&self.waiting).pop_first();
            match first {
                Some((_, member)) => return member,
                None => self.news.notified().await,
            }
        }
    }
}
