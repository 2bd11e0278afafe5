//! Who the servers are: as told at the start, or as this machine's registry says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Peers, Registration, Registry, Status};
use crate::cluster::NodeId;

/// When many servers are back at once, their files are not read for each message, but so often.
const READ_EVERY: Duration = Duration::from_millis(100);

/// The servers, and this one's place among those of the machine.
pub(super) struct Members {
    servers: BTreeMap<NodeId, SocketAddr>,
    registration: Registration,
    registry: Option<Registry>,
    /// Whether the registry could always be used; its troubles are told once.
    works: bool,
    read: Instant,
    /// Somebody was heard since who may have moved.
    wanted: bool,
}

impl Members {
    pub(super) fn new(peers: Peers, registration: Registration, now: Instant) -> Self {
        let (registry, servers) = match peers {
            Peers::Fixed(servers) => (None, servers),
            Peers::Registered(registry) => (Some(registry), BTreeMap::new()),
        };
        let mut members = Self { servers, registration, registry, works: true, read: now, wanted: false };
        if let Some(registered) = members.registered(now) {
            members.servers = registered;
        }
        members
    }

    /// All of them but one.
    pub(super) fn without(&self, id: NodeId) -> BTreeMap<NodeId, SocketAddr> {
        let mut others = self.servers.clone();
        others.remove(&id);
        others
    }

    /// Somebody is heard who was not there, and may be back at another address, where answers have to go: the registry is to be read as
    /// soon as it may.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether the registry is wanted, and may be read again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.wanted && now >= self.read + READ_EVERY
    }

    /// Reads the registry. Where somebody has come or moved, gives those who are where they were.
    pub(super) fn look(&mut self, now: Instant) -> Option<Vec<NodeId>> {
        let mut servers = self.registered(now)?;
        // A server that is not in the registry any more was stopped or killed: the heartbeats decide, and a killed one may
        // come back at the same address. So servers are added and moved here, never taken out.
        for (&id, &address) in &self.servers {
            servers.entry(id).or_insert(address);
        }
        if servers == self.servers {
            return None;
        }
        let stayed = self.servers.iter().filter(|(id, address)| servers.get(id) == Some(address));
        let stayed = stayed.map(|(&id, _)| id).collect();
        self.servers = servers;
        Some(stayed)
    }

    /// Writes what this server says of itself.
    pub(super) fn set_status(&mut self, status: Status) {
        if let Err(problem) = self.registration.set_status(status)
            && std::mem::take(&mut self.works)
        {
            tracing::warn!("cannot write this server's status to the registry: {problem}");
        }
    }

    fn registered(&mut self, now: Instant) -> Option<BTreeMap<NodeId, SocketAddr>> {
        (self.read, self.wanted) = (now, false);
        match self.registry.as_ref()?.servers() {
            Ok(servers) => Some(servers.into_iter().map(|entry| (entry.id, entry.address)).collect()),
            Err(problem) => {
                if std::mem::take(&mut self.works) {
                    tracing::warn!("cannot use the registry, so the list of servers stays as it is: {problem}");
                }
                None
            }
        }
    }
}
