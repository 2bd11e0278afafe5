//! Clusters of several nodes on one thread: messages take 1 ms, time goes on by milliseconds, scans are pretended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::sim::lies::hoard;
use super::*;

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    pub(super) ticket: Ticket,
    pub(super) job: Job,
    pub(super) range: NonceRange,
}

pub(super) struct Member {
    pub(super) cluster: Cluster,
    pub(super) scans: Vec<Scan>,
    /// Nonces per second.
    pub(super) rate: u64,
    /// How far the first scan has come.
    pub(super) at: u64,
    pub(super) submitted: Vec<Solution>,
    pub(super) needs_job: bool,
    pub(super) leader: Option<(NodeId, Epoch)>,
    pub(super) peers: BTreeMap<NodeId, PeerState>,
}

pub(super) struct Net {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) members: BTreeMap<NodeId, Member>,
    pub(super) mail: Vec<(Instant, NodeId, NodeId, Message)>,
    /// Links that deliver nothing: from, to.
    pub(super) cut: Vec<(u32, u32)>,
    /// Every range that was searched to its end or in part.
    pub(super) searched: Vec<(NodeId, Job, NonceRange)>,
    /// What a scan "finds".
    pub(super) planted: Option<Solution>,
    /// Names its leases and is never at them.
    pub(super) hoarder: Option<NodeId>,
    /// What whoever starts had pending in an earlier run.
    pub(super) kept: Vec<Solution>,
    pub(super) incarnations: u64,
}

impl Net {
    pub(super) fn new(ids: &[u32]) -> Self {
        let start = clock();
        let mut net = Self {
            start,
            now: start,
            members: BTreeMap::new(),
            mail: Vec::new(),
            cut: Vec::new(),
            searched: Vec::new(),
            planted: None,
            hoarder: None,
            kept: Vec::new(),
            incarnations: 0,
        };
        for &id in ids {
            net.start(id, ids);
        }
        net
    }

    pub(super) fn start(&mut self, id: u32, ids: &[u32]) {
        self.incarnations += 1;
        let mut cluster = Cluster::new(Config { incarnation: self.incarnations, ..config(id) }, self.now);
        let rate = 10_000_000;
        cluster.set_rate(rate);
        cluster.restore(self.kept.iter().copied());
        cluster.set_peers(self.now, &ids.iter().map(|&id| node(id)).collect::<Vec<_>>());
        let member = Member {
            cluster,
            scans: Vec::new(),
            rate,
            at: 0,
            submitted: Vec::new(),
            needs_job: false,
            leader: None,
            peers: BTreeMap::new(),
        };
        self.members.insert(node(id), member);
        self.drain(node(id));
    }

    pub(super) fn kill(&mut self, id: u32) {
        self.members.remove(&node(id));
    }

    pub(super) fn member(&mut self, id: u32) -> &mut Member {
        self.members.get_mut(&node(id)).unwrap()
    }

    pub(super) fn act(&mut self, id: u32, action: impl FnOnce(&mut Cluster, Instant)) {
        let now = self.now;
        action(&mut self.member(id).cluster, now);
        self.drain(node(id));
    }

    pub(super) fn drain(&mut self, id: NodeId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        while let Some(output) = member.cluster.poll_output() {
            match output {
                Output::Send { to, message } => {
                    let message = if self.hoarder == Some(id) { hoard(message) } else { message };
                    if !self.cut.contains(&(id.get(), to.get())) {
                        self.mail.push((self.now + MS, id, to, message));
                    }
                }
                Output::Scan { ticket, job, range, .. } => {
                    if member.scans.is_empty() {
                        member.at = range.start;
                    }
                    member.scans.push(Scan { ticket, job, range });
                }
                Output::Stop { ticket } => {
                    if let Some(at) = member.scans.iter().position(|scan| scan.ticket == ticket) {
                        let scan = member.scans.remove(at);
                        if at == 0 {
                            self.searched.push((id, scan.job, NonceRange::new(scan.range.start, member.at)));
                            member.at = member.scans.first().map_or(0, |scan| scan.range.start);
                        }
                    }
                }
                Output::NeedJob => member.needs_job = true,
                Output::Submit { solution, .. } => member.submitted.push(solution),
                Output::Peer { peer, state } => {
                    member.peers.insert(peer, state);
                }
                Output::Leader { leader, epoch } => member.leader = Some((leader, epoch)),
                Output::Refused { from, solution } => panic!("{from:?} claimed {solution:?}"),
                Output::Distrusted { node } => panic!("{node:?} is not believed"),
            }
        }
    }

    /// Lets `time` pass in steps of a millisecond.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += MS;
            let (due, later) = std::mem::take(&mut self.mail).into_iter().partition(|(at, ..)| *at <= self.now);
            self.mail = later;
            let due: Vec<_> = due;
            for (_, from, to, message) in due {
                if let Some(member) = self.members.get_mut(&to) {
                    member.cluster.handle_message(self.now, from, message);
                    self.drain(to);
                }
            }
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                self.scan(id);
                let member = self.members.get_mut(&id).unwrap();
                if member.cluster.poll_timeout().is_some_and(|due| due <= self.now) {
                    member.cluster.handle_timeout(self.now);
                    self.drain(id);
                }
            }
        }
    }

    /// One millisecond's worth of hashing.
    pub(super) fn scan(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).unwrap();
        let Some(scan) = member.scans.first().copied() else { return };
        let from = member.at;
        member.at = (from + member.rate / 1000).min(scan.range.end);
        let to = member.at;
        member.cluster.handle_progress(scan.ticket, to, vec![]);
        if let Some(planted) = self.planted
            && planted.job == scan.job
            && NonceRange::new(from, to).contains(planted.nonce)
        {
            member.cluster.handle_found(self.now, scan.ticket, planted.nonce);
        } else if to == scan.range.end {
            self.searched.push((id, scan.job, scan.range));
            member.scans.remove(0);
            member.at = member.scans.first().map_or(0, |scan| scan.range.start);
            member.cluster.handle_searched(self.now, scan.ticket, vec![]);
        }
        self.drain(id);
    }

    pub(super) fn leaders(&self) -> Vec<(u32, u32)> {
        let leader = |member: &Member| member.leader.map_or(0, |(leader, _)| leader.get());
        self.members.iter().map(|(id, member)| (id.get(), leader(member))).collect()
    }

    /// How many nonces of `job` were searched, and how many of those more than once.
    pub(super) fn coverage(&self, job: &Job) -> (u64, u64) {
        let mut union = rangemap::RangeSet::new();
        let mut sum = 0;
        for (_, _, range) in self.searched.iter().filter(|(_, other, range)| other == job && !range.is_empty()) {
            sum += range.len();
            union.insert(range.start..range.end);
        }
        let covered: u64 = union.iter().map(|range| range.end - range.start).sum();
        (covered, sum - covered)
    }
}
