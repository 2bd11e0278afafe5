//! The list of servers: fixed at the start, or as this machine's registry lists them. It reads nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::cluster::NodeId;
use crate::transport::Member;

/// The shortest time between two reads of the registry, for when many servers are back at once.
const READ_EVERY: Duration = Duration::from_millis(100);

/// Where the list comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Fixed,
    /// Names, which are looked up again while somebody is missing.
    Names,
    Registry,
}

/// The list of servers.
#[derive(Debug)]
pub(crate) struct Members {
    servers: BTreeMap<NodeId, Member>,
    source: Source,
    read: Option<Instant>,
    wanted: bool,
}

impl Members {
    /// A list that does not change.
    pub(crate) fn fixed(servers: impl IntoIterator<Item = Member>) -> Self {
        let servers = servers.into_iter().map(|member| (member.id, member)).collect();
        Self { servers, source: Source::Fixed, read: None, wanted: false }
    }

    /// The servers that are registered on this machine.
    pub(crate) fn registered() -> Self {
        Self { servers: BTreeMap::new(), source: Source::Registry, read: None, wanted: true }
    }

    /// Servers by their names, whose addresses come at once and again when wanted.
    pub(crate) fn named() -> Self {
        Self { source: Source::Names, wanted: false, ..Self::registered() }
    }

    /// All servers.
    pub(crate) fn all(&self) -> Vec<Member> {
        self.servers.values().copied().collect()
    }

    /// A heartbeat has come. If its sender was not up, it may be back at another address, where answers have to go.
    pub(crate) fn heard(&mut self, is_up: bool) {
        self.wanted |= !is_up;
    }

    /// Time has passed: asks for the list to be read as soon as it may, which names need only if somebody is missing.
    pub(crate) fn want(&mut self, is_anybody_missing: bool) {
        self.wanted |= self.source == Source::Registry || is_anybody_missing;
    }

    /// Whether the list is to be read now. If so, the caller has to read it.
    pub(crate) fn take_wish(&mut self, now: Instant) -> bool {
        let may = self.read.is_none_or(|read| now >= read + READ_EVERY);
        let wish = self.source != Source::Fixed && self.wanted && may;
        if wish {
            (self.read, self.wanted) = (Some(now), false);
        }
        wish
    }

    /// Takes over servers that a list names or the transport has met, and gives those that have come or moved. A name's server is listed
    /// with each of its addresses: of these, the present one counts until the server `is_missing`, and then the next one. Servers are never
    /// taken out here. One that is not listed any more was stopped or killed: the heartbeats decide, and a killed one may come back at the
    /// same address.
    pub(crate) fn listed(
        &mut self,
        servers: impl IntoIterator<Item = Member>,
        is_missing: impl Fn(NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut listed: BTreeMap<_, Vec<_>> = BTreeMap::new();
        servers.into_iter().for_each(|member| listed.entry(member.id).or_default().push(member));
        let mut news = Vec::new();
        for (id, found) in listed {
            let known = self.servers.get(&id);
            // That a member shows no witnesses is learned from itself; lists of addresses know nothing of it.
            let proves = known.is_none_or(|known| known.proves) && found.iter().all(|member| member.proves);
            let used = known.map(|member| member.address);
            let addresses: Vec<_> = found.iter().map(|member| member.address).collect();
            let member = Member { address: pick(&addresses, used, is_missing(id)), id, proves };
            if self.servers.insert(id, member) != Some(member) {
                news.push(id);
            }
        }
        news
    }
}

/// Which of a server's addresses, at least one, is to be used. Name servers give them in any order, so the next one is the next higher, and
/// the lowest follows the highest.
fn pick(addresses: &[SocketAddr], used: Option<SocketAddr>, is_missing: bool) -> SocketAddr {
    match used.filter(|used| addresses.contains(used)) {
        None => addresses[0],
        Some(used) if !is_missing => used,
        Some(used) => {
            let all: BTreeSet<_> = addresses.iter().copied().collect();
            all.iter().copied().find(|&address| address > used).or(all.first().copied()).unwrap_or(used)
        }
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
        let nobody = |_| false;
        assert_eq!(members.listed([member(1, 1), member(2, 2)], nobody), [1, 2].map(|id| member(id, 1).id));
        assert_eq!(members.listed([member(1, 1)], nobody), []);
        assert_eq!(members.listed([member(1, 3), member(2, 2)], nobody), [member(1, 3).id]);
        assert_eq!(members.all(), [member(1, 3), member(2, 2)]);
    }

    #[test]
    fn a_list_does_not_forget_who_shows_no_witnesses() {
        let (mut members, silent) = (Members::fixed([member(1, 1)]), Member { proves: false, ..member(1, 1) });
        assert_eq!(members.listed([silent], |_| false), [silent.id]);
        assert_eq!(members.listed([member(1, 1)], |_| false), []);
        assert_eq!(members.all(), [silent]);
    }

    #[test]
    fn while_a_server_is_missing_its_addresses_are_tried_in_turn() {
        let mut members = Members::named();
        let mut next = |ports: [u16; 3], is_missing| {
            let news = members.listed(ports.map(|port| member(2, port)), |_| is_missing);
            (members.all()[0].address.port(), news.len())
        };
        assert_eq!(next([2, 1, 3], false), (2, 1), "the first");
        assert_eq!(next([1, 2, 3], false), (2, 0), "as long as it is there");
        let tried = [[3, 2, 1], [1, 2, 3], [2, 1, 3]].map(|ports| next(ports, true));
        assert_eq!(tried, [(3, 1), (1, 1), (2, 1)], "in whatever order they come");
        assert_eq!(next([1, 3, 4], true), (1, 1), "the first if the one in use is gone");
        assert_eq!(next([1, 1, 1], true), (1, 0), "it has no other");
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
        fixed.want(true);
        assert!(!fixed.take_wish(now));
        let mut named = Members::named();
        named.want(false);
        assert!(!named.take_wish(now), "everybody is there");
        named.want(true);
        assert!(named.take_wish(now));
    }
}
