//! Who the servers are: as told at the start, or as this machine's registry says. It reads nothing itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cluster::NodeId;
use crate::transport::Member;

/// When many servers are back at once, their files are not read for each message, but so often.
const READ_EVERY: Duration = Duration::from_millis(100);

/// The servers.
#[derive(Debug)]
pub(crate) struct Members {
    servers: BTreeMap<NodeId, Member>,
    /// Whether a registry is to be read.
    is_registered: bool,
    read: Option<Instant>,
    wanted: bool,
}

impl Members {
    /// These, for good.
    pub(crate) fn fixed(servers: impl IntoIterator<Item = Member>) -> Self {
        let servers = servers.into_iter().map(|member| (member.id, member)).collect();
        Self { servers, is_registered: false, read: None, wanted: false }
    }

    /// Whoever is registered on this machine.
    pub(crate) fn registered() -> Self {
        Self { servers: BTreeMap::new(), is_registered: true, read: None, wanted: true }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Member> {
        self.servers.values().copied().collect()
    }

    /// A heartbeat has come. If its sender was not up, it may be back at another address, where answers have to go.
    pub(crate) fn heard(&mut self, is_up: bool) {
        self.wanted |= !is_up;
    }

    /// The registry is to be read as soon as it may.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether the registry is to be read now; it is then up to the caller.
    pub(crate) fn take_wish(&mut self, now: Instant) -> bool {
        let may = self.read.is_none_or(|read| now >= read + READ_EVERY);
        let wish = self.is_registered && self.wanted && may;
        if wish {
            (self.read, self.wanted) = (Some(now), false);
        }
        wish
    }

    /// The registry lists these. Gives those who have come or moved. A server that is not listed any more was stopped or killed: the
    /// heartbeats decide, and a killed one may come back at the same address. So servers are added and moved here, never taken out.
    pub(crate) fn listed(&mut self, servers: impl IntoIterator<Item = Member>) -> Vec<NodeId> {
        let mut news = Vec::new();
        for member in servers {
            if self.servers.insert(member.id, member) != Some(member) {
                news.push(member.id);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u32, port: u16) -> Member {
        Member { id: NodeId::try_from(id).unwrap(), address: ([127, 0, 0, 1], port).into(), proves: true }
    }

    #[test]
    fn servers_come_and_move_and_are_not_taken_out() {
        let mut members = Members::registered();
        assert_eq!(members.listed([member(1, 1), member(2, 2)]), [1, 2].map(|id| member(id, 1).id));
        assert_eq!(members.listed([member(1, 1)]), []);
        assert_eq!(members.listed([member(1, 3), member(2, 2)]), [member(1, 3).id]);
        assert_eq!(members.all(), [member(1, 3), member(2, 2)]);
    }

    #[test]
    fn the_registry_is_read_at_once_and_then_not_too_often() {
        let (mut members, now) = (Members::registered(), tokio::time::Instant::now().into_std());
        assert!(members.take_wish(now));
        members.heard(true);
        assert!(!members.take_wish(now + READ_EVERY), "nobody new was heard");
        members.heard(false);
        assert!(!members.take_wish(now + READ_EVERY / 2));
        assert!(members.take_wish(now + READ_EVERY));
        let mut fixed = Members::fixed([member(1, 1)]);
        fixed.want();
        assert!(!fixed.take_wish(now));
    }
}
