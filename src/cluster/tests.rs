//! Clusters of several nodes on one thread: messages take 1 ms, time jumps from event to event, scans are pretended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ledger::Lease;
use super::sim::lies::hoard;
use super::*;
use crate::work::{
    Digest, Hashing, Job, NonceRange, Puzzle, Search, ShareBits, Solution, Target, TextPuzzle, Timestamp, UNIT,
};

/// Where a test's time begins.
#[allow(clippy::disallowed_methods)]
pub(super) fn clock() -> Instant {
    Instant::now()
}

pub(super) fn node(id: u32) -> NodeId {
    NodeId::try_from(id).unwrap()
}

pub(super) fn config(id: u32) -> Config {
    Config {
        id: node(id),
        incarnation: u64::from(id) * 1000,
        heartbeat: Duration::from_secs(5),
        unit: UNIT,
        all_to_all: ALL_TO_ALL,
        candidates: CANDIDATES,
    }
}

/// A job of block `block`. Its target is one that every hash meets: then no shares have to be shown, so scans can be pretended.
fn job_of(block: u8, number: u64) -> Job {
    Job {
        height: u64::from(block),
        puzzle: Puzzle::Text(TextPuzzle {
            prev: Digest([block; 32]),
            timestamp: Timestamp::from_seconds(number),
            hashing: Hashing::Double,
        }),
        target: Target::MAX,
        search: Search::First,
    }
}

pub(super) fn job(number: u64) -> Job {
    job_of(1, number)
}

pub(super) fn job_of_target(target: Target) -> Job {
    Job { target, ..job(1) }
}

/// A job with a target that nothing meets.
pub(super) fn hard_job() -> Job {
    job_of_target(Target::from_be_bytes([0; 32]))
}

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
struct Scan {
    ticket: Ticket,
    job: Job,
    range: NonceRange,
}

struct Member {
    cluster: Cluster,
    scans: Vec<Scan>,
    /// Nonces per second.
    rate: u64,
    /// How far the first scan has come.
    at: u64,
    submitted: Vec<Solution>,
    needs_job: bool,
    leader: Option<(NodeId, Epoch)>,
    peers: BTreeMap<NodeId, PeerState>,
}

struct Net {
    start: Instant,
    now: Instant,
    members: BTreeMap<NodeId, Member>,
    mail: Vec<(Instant, NodeId, NodeId, Message)>,
    /// Links that deliver nothing: from, to.
    cut: Vec<(u32, u32)>,
    /// Every range that was searched to its end or in part.
    searched: Vec<(NodeId, Job, NonceRange)>,
    /// What a scan "finds".
    planted: Option<Solution>,
    /// Names its leases and is never at them.
    hoarder: Option<NodeId>,
    /// What whoever starts had pending in an earlier run.
    kept: Vec<Solution>,
    incarnations: u64,
}

impl Net {
    fn new(ids: &[u32]) -> Self {
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

    fn start(&mut self, id: u32, ids: &[u32]) {
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

    fn kill(&mut self, id: u32) {
        self.members.remove(&node(id));
    }

    fn member(&mut self, id: u32) -> &mut Member {
        self.members.get_mut(&node(id)).unwrap()
    }

    fn act(&mut self, id: u32, action: impl FnOnce(&mut Cluster, Instant)) {
        let now = self.now;
        action(&mut self.member(id).cluster, now);
        self.drain(node(id));
    }

    fn drain(&mut self, id: NodeId) {
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
    fn run(&mut self, time: Duration) {
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
    fn scan(&mut self, id: NodeId) {
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

    fn leaders(&self) -> Vec<(u32, u32)> {
        let leader = |member: &Member| member.leader.map_or(0, |(leader, _)| leader.get());
        self.members.iter().map(|(id, member)| (id.get(), leader(member))).collect()
    }

    /// How many nonces of `job` were searched, and how many of those more than once.
    fn coverage(&self, job: &Job) -> (u64, u64) {
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

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_lowest_id_leads_and_everyone_searches() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    assert!(net.member(1).needs_job);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(MS * 5);
    for id in 1..=3 {
        assert!(net.member(id).scans.len() >= 4, "node {id} has less than four leases in hand");
    }
    net.run(seconds(30));
    let ends = [1, 2, 3].map(|id| net.member(id).scans.len());
    assert!(ends.iter().all(|&scans| scans > 0), "{ends:?}");
    assert_eq!(net.coverage(&job(1)).1, 0, "nothing was searched twice");
}

#[test]
fn a_node_alone_leads_at_once_and_one_with_silent_peers_after_listening() {
    let mut net = Net::new(&[7]);
    assert_eq!(net.leaders(), [(7, 7)]);
    net = Net::new(&[]);
    net.start(2, &[1, 2]);
    assert_eq!(net.leaders(), [(2, 0)]);
    net.run(seconds(1));
    assert_eq!(net.leaders(), [(2, 2)]);
}

#[test]
fn the_next_one_leads_when_the_leader_dies_and_goes_on_where_it_stopped() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(17));
    net.kill(1);
    net.run(MS * 10_760);
    assert_eq!(net.leaders(), [(2, 2), (3, 2)]);
    let busy = |net: &mut Net| [2, 3].map(|id| !net.member(id).scans.is_empty());
    assert_eq!(busy(&mut net), [true, true], "leases outlast the change of leader");
    net.run(seconds(40));
    assert_eq!(busy(&mut net), [true, true]);
    let (_, twice) = net.coverage(&job(1));
    // What the dead leader itself searched since its last heartbeat is searched again, nothing else.
    assert!(twice <= 20_000_000, "{twice} nonces were searched twice");
}

#[test]
fn a_lower_id_that_comes_back_leads_again_and_takes_everything_over() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(7));
    net.kill(1);
    net.run(seconds(13));
    assert_eq!(net.leaders(), [(2, 2), (3, 2)]);
    let before = net.member(2).leader.unwrap().1;
    net.start(1, &[1, 2, 3]);
    net.run(MS * 100);
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    let after = net.member(2).leader.unwrap().1;
    assert!(after > before);
    net.run(seconds(20));
    let (_, twice) = net.coverage(&job(1));
    assert!(twice <= 50_000_000, "{twice} nonces were searched twice");
    assert!(net.members.values().all(|member| member.cluster.job() == Some(&job(1))), "the old job goes on");
}

#[test]
fn a_solution_is_submitted_once_and_interrupts_everyone() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    let first = job_of(1, 10);
    let planted = Solution { job: first, nonce: 180_000_000 };
    net.planted = Some(planted);
    net.act(1, |cluster, now| cluster.handle_job(now, first));
    net.run(seconds(20));
    assert_eq!(net.member(1).submitted, [planted]);
    for id in 1..=3 {
        assert_eq!(net.member(id).scans.len(), 0, "node {id} goes on with a block that is found");
    }
    net.act(1, |cluster, now| cluster.handle_settled(now, &planted));
    assert!(net.member(1).needs_job);
    let next = job_of(2, 11);
    net.act(1, |cluster, now| cluster.handle_job(now, next));
    net.run(MS * 5);
    for id in 1..=3 {
        assert_eq!(net.member(id).cluster.job(), Some(&next));
    }
    net.run(seconds(11));
    assert_eq!(net.member(1).submitted, [planted]);
}

#[test]
fn a_solution_survives_the_leader_that_it_was_given_to() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    let first = job_of(1, 10);
    let planted = Solution { job: first, nonce: 350_000_000 };
    net.act(1, |cluster, now| cluster.handle_job(now, first));
    net.run(MS * 3);
    let holds = |scan: &Scan| scan.range.contains(planted.nonce);
    let finder =
        [2, 3].into_iter().find(|&id| net.member(id).scans.iter().any(holds)).expect("a lease of another node");
    let ticket = net.member(finder).scans.iter().copied().find(holds).unwrap().ticket;
    net.kill(1);
    net.act(finder, |cluster, now| cluster.handle_found(now, ticket, planted.nonce));
    net.run(seconds(11));
    assert!(net.member(2).submitted.is_empty(), "for which block it is has to be heard from the source first");
    let more = Job { puzzle: job_of(1, 11).puzzle, ..first };
    net.act(2, |cluster, now| cluster.handle_job(now, more));
    assert_eq!(net.member(2).submitted, [planted]);
}

#[test]
fn a_node_that_leaves_hands_back_what_it_held() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(3));
    net.act(3, Cluster::leave);
    assert!(net.member(3).scans.is_empty());
    net.run(MS * 2);
    assert_eq!(net.member(1).peers[&node(3)], PeerState::Down);
    net.members.remove(&node(3));
    net.run(seconds(100));
    assert_eq!(net.coverage(&job(1)), (2_000_000_000, 0), "every nonce once");
}

#[test]
fn a_leader_that_leaves_is_followed_at_once() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(3));
    net.act(1, Cluster::leave);
    net.kill(1);
    net.run(MS * 5);
    assert_eq!(net.leaders(), [(2, 2)]);
    assert!(net.member(2).needs_job);
    net.run(seconds(210));
    assert_eq!(net.coverage(&job(1)), (2_000_000_000, 0), "every nonce once");
}

#[test]
fn an_exhausted_job_is_followed_by_another_of_the_same_block() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    for number in 2..5 {
        while !std::mem::take(&mut net.member(1).needs_job) {
            net.run(MS * 10);
        }
        net.act(1, |cluster, now| cluster.handle_job(now, job(number)));
    }
    assert!(net.member(2).scans.iter().all(|scan| scan.job.block() == job(1).block()));
    assert_eq!(net.coverage(&job(1)).1, 0);
    assert_eq!(net.coverage(&job(2)).1, 0);
}

#[test]
fn a_changed_block_interrupts_the_old_one() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job_of(1, 1)));
    net.run(seconds(1));
    net.act(1, |cluster, now| cluster.handle_job(now, job_of(2, 2)));
    net.run(MS * 3);
    for id in 1..=2 {
        assert!(net.member(id).scans.iter().all(|scan| scan.job == job_of(2, 2)));
        assert!(!net.member(id).scans.is_empty());
    }
}

#[test]
fn a_cut_off_node_leads_itself_and_comes_back() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.cut = vec![(3, 1), (1, 3), (3, 2), (2, 3)];
    net.run(seconds(13));
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 3)]);
    net.cut.clear();
    net.run(seconds(10));
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    net.run(seconds(5));
    let epochs: Vec<_> = net.members.values().map(|member| member.leader.unwrap().1).collect();
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

#[test]
fn what_is_hoarded_goes_to_others() {
    let mut net = Net::new(&[1, 2]);
    (net.hoarder, net.member(2).rate) = (Some(node(2)), 0);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(MS * 100);
    let hoarded = |net: &mut Net| -> Vec<_> {
        let leading = net.member(1).cluster.leading().unwrap();
        let leases = leading.ledgers().flat_map(|ledger| ledger.leases()).filter(|lease| lease.node == node(2));
        leases.map(|lease| lease.rest).collect()
    };
    let first = hoarded(&mut net);
    assert!(!first.is_empty());
    net.run(seconds(70));
    assert_eq!(hoarded(&mut net), first, "named, and not too old");
    net.run(seconds(40));
    let searched = net.coverage(&job(1));
    assert!(hoarded(&mut net).iter().all(|range| !first.contains(range)), "{searched:?}");
    let leading = net.member(1).cluster.leading().unwrap();
    for range in first {
        let of_others = |lease: &Lease| lease.node != node(2) && !lease.rest.intersection(&range).is_empty();
        let is_cared_for =
            leading.ledgers().any(|ledger| ledger.done().gap(range).is_none() || ledger.leases().iter().any(of_others));
        assert!(is_cared_for, "{range:?}");
    }
}

#[test]
fn a_node_that_was_paused_does_not_blame_its_peers() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    let paused = net.members.remove(&node(1)).unwrap();
    net.run(seconds(60));
    assert_eq!(net.leaders(), [(2, 2)]);
    net.members.insert(node(1), paused);
    net.run(MS * 200);
    assert_eq!(net.leaders(), [(1, 1), (2, 1)]);
    assert_eq!(net.member(1).peers[&node(2)], PeerState::Alive);
    let epochs: Vec<_> = net.members.values().map(|member| member.leader.unwrap().1).collect();
    assert_eq!(epochs[0], epochs[1]);
}

#[test]
fn every_nonce_is_searched_however_many_messages_are_lost() {
    for seed in 1..=10u64 {
        let mut net = Net::new(&[1, 2, 3]);
        net.run(MS * 20);
        net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
        let mut random = seed;
        while net.coverage(&job(1)).0 < 2_000_000_000 {
            assert!(net.now - net.start < seconds(400), "seed {seed}: {:?} after 400 s", net.coverage(&job(1)));
            net.run(MS);
            // A tenth of all messages is lost.
            net.mail.retain(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                !random.is_multiple_of(10)
            });
            for id in 1..=3 {
                if std::mem::take(&mut net.member(id).needs_job) {
                    net.act(id, |cluster, now| cluster.handle_job(now, job(1)));
                }
            }
        }
    }
}

#[test]
fn a_wrong_nonce_is_refused_and_changes_nothing() {
    let now = clock();
    let mut cluster = Cluster::new(config(1), now);
    cluster.set_peers(now, &[node(2)]);
    let reply = |epoch| Heartbeat { incarnation: 9, sent: 0, echo: Some(0), epoch, standing: None };
    cluster.handle_message(now, node(2), Message::HeartbeatReply(reply(None), None));
    cluster.handle_job(now, hard_job());
    while cluster.poll_output().is_some() {}
    let solution = Solution { job: hard_job(), nonce: 5 };
    let epoch = cluster.epoch().unwrap();
    cluster.handle_message(now, node(2), Message::ProcessAnswerYes(ProcessAnswerYes { epoch, solution }));
    assert_eq!(cluster.poll_output(), Some(Output::Refused { from: node(2), solution }));
    assert_eq!(cluster.poll_output(), None);
}

#[test]
fn messages_of_strangers_older_epochs_and_others_leases_get_silence() {
    let now = clock();
    let mut cluster = Cluster::new(config(2), now);
    cluster.set_peers(now, &[node(1)]);
    let epoch = |counter, leader| Epoch { counter, leader: node(leader), incarnation: 1 };
    let beat = |epoch| {
        let echo = Some(0);
        Heartbeat { incarnation: 1, sent: 0, echo, epoch: Some(epoch), standing: None }
    };
    cluster.handle_message(now, node(1), Message::HeartbeatReply(beat(epoch(5, 1)), None));
    while cluster.poll_output().is_some() {}
    let process = |epoch, round| {
        Message::Process(Process {
            epoch,
            lease: 1,
            round,
            job: job(1),
            range: NonceRange::new(1, 100_001),
            bits: ShareBits::for_job(&job(1), 100_000),
        })
    };
    cluster.handle_message(now, node(9), process(epoch(5, 1), 1));
    cluster.handle_message(now, node(1), process(epoch(4, 1), 1));
    cluster.handle_message(now, node(1), process(epoch(5, 9), 1));
    assert_eq!(cluster.poll_output(), None);
    cluster.handle_message(now, node(1), process(epoch(5, 1), 1));
    assert!(matches!(cluster.poll_output(), Some(Output::Scan { ticket: 1, .. })));
    // Twice the same, then an interrupt, then late mail from the round that is over.
    cluster.handle_message(now, node(1), process(epoch(5, 1), 1));
    assert_eq!(cluster.poll_output(), None);
    let interrupt = ProcessInterrupt { epoch: epoch(5, 1), round: 1, settled: None, void: vec![] };
    cluster.handle_message(now, node(1), Message::ProcessInterrupt(interrupt.clone()));
    assert_eq!(cluster.poll_output(), Some(Output::Stop { ticket: 1 }));
    assert!(matches!(cluster.poll_output(), Some(Output::Send { message: Message::ProcessRequest(_), .. })));
    cluster.handle_message(now, node(1), process(epoch(5, 1), 1));
    assert_eq!(cluster.poll_output(), None);
    cluster.handle_message(now, node(1), process(epoch(5, 1), 2));
    assert!(matches!(cluster.poll_output(), Some(Output::Scan { ticket: 2, .. })));
    // The interrupt again does not touch the new round, and is no reason to ask.
    cluster.handle_message(now, node(1), Message::ProcessInterrupt(interrupt));
    assert_eq!(cluster.poll_output(), None);
}

#[test]
fn a_solution_outlives_a_board_that_is_a_block_behind() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job_of(1, 1)));
    net.run(seconds(6));
    // The next block begins, and its leader dies before anyone but the finder hears of it.
    net.cut = vec![(1, 2)];
    let next = job_of(2, 7);
    net.act(1, |cluster, now| cluster.handle_job(now, next));
    net.run(MS * 5);
    net.kill(1);
    net.cut.clear();
    let planted = Solution { job: next, nonce: 350_000_000 };
    let ticket = net.member(3).scans.iter().find(|scan| scan.job == next).expect("a lease of the new block").ticket;
    net.act(3, |cluster, now| cluster.handle_found(now, ticket, planted.nonce));
    net.run(seconds(12));
    assert_eq!(net.leaders(), [(2, 2), (3, 2)]);
    let more = Job { puzzle: job_of(2, 8).puzzle, ..next };
    net.act(2, |cluster, now| cluster.handle_job(now, more));
    net.run(MS * 5);
    assert_eq!(net.member(2).submitted, [planted]);
}

#[test]
fn a_leader_that_missed_a_reign_does_not_go_back_to_its_own_board() {
    for is_last_leader_there in [true, false] {
        let mut net = Net::new(&[1, 2, 3]);
        net.run(MS * 20);
        net.act(1, |cluster, now| cluster.handle_job(now, job_of(1, 1)));
        net.run(seconds(6));
        net.cut = vec![(1, 2), (2, 1), (1, 3), (3, 1)];
        net.run(seconds(12));
        assert_eq!(net.leaders(), [(1, 1), (2, 2), (3, 2)]);
        net.act(2, |cluster, now| cluster.handle_job(now, job_of(2, 1)));
        net.run(seconds(6));
        // It hears of that reign from a follower first, and no source tells it which block to find.
        net.cut = vec![(1, 2), (2, 1)];
        if !is_last_leader_there {
            net.kill(2);
        }
        net.run(seconds(6));
        net.cut.clear();
        let searches = |net: &mut Net, id| net.member(id).scans.iter().any(|scan| scan.job == job_of(1, 1));
        for _ in 0..100 {
            net.run(MS * 100);
            assert!(!searches(&mut net, 3), "node 3 was set back");
        }
        if is_last_leader_there {
            assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
            assert!(net.members.values().all(|member| member.scans[0].job == job_of(2, 1)));
        } else {
            net.run(seconds(20));
            assert!(searches(&mut net, 3), "nobody knows better any more");
        }
    }
}

#[test]
fn of_many_last_words_the_last_one_counts() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job_of(1, 1)));
    net.run(seconds(6));
    // Node 1 stops for a while, and what node 2 says as leader waits for it.
    let mut paused = net.members.remove(&node(1)).unwrap();
    let mut waiting = Vec::new();
    for block in 2..=4 {
        net.run(seconds(if block == 2 { 12 } else { 6 }));
        net.act(2, |cluster, now| cluster.handle_job(now, job_of(block, 1)));
        waiting.extend(net.mail.iter().filter(|(_, _, to, _)| *to == node(1)).cloned());
    }
    net.run(seconds(6));
    paused.cluster.handle_timeout(net.now);
    net.members.insert(node(1), paused);
    net.mail.extend(waiting.into_iter().map(|(_, from, to, message)| (net.now + MS, from, to, message)));
    net.drain(node(1));
    for _ in 0..100 {
        net.run(MS * 100);
        for id in [2, 3] {
            assert!(net.member(id).scans.iter().all(|scan| scan.job == job_of(4, 1)), "node {id} was set back");
        }
    }
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    assert!(net.members.values().all(|member| member.scans[0].job == job_of(4, 1)));
}

#[test]
fn a_solution_on_other_terms_ends_nothing() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, hard_job()));
    net.run(MS * 5);
    let epoch = net.member(1).leader.unwrap().1;
    for easy in [
        Job { target: Target::MAX, ..job(1) },
        Job { target: Target::MAX, search: Search::Every, ..job(1) },
        Job { target: Target::MAX, ..job_of(9, 1) },
    ] {
        let answer = ProcessAnswerYes { epoch, solution: Solution { job: easy, nonce: 1 } };
        net.act(1, |cluster, now| cluster.handle_message(now, node(2), Message::ProcessAnswerYes(answer)));
    }
    net.run(MS * 5);
    assert!(net.member(1).submitted.is_empty());
    assert!(net.members.values().all(|member| member.scans.iter().all(|scan| scan.job == hard_job())));
}

#[test]
fn a_settled_solution_is_forgotten_by_its_finder_and_never_submitted_again() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    let first = job_of(1, 10);
    net.act(1, |cluster, now| cluster.handle_job(now, first));
    net.run(MS * 5);
    let planted = Solution { job: first, nonce: 150_000_000 };
    let ticket = net.member(1).scans[0].ticket;
    net.act(1, |cluster, now| cluster.handle_found(now, ticket, planted.nonce));
    net.run(seconds(11));
    assert_eq!(net.member(1).submitted, [planted], "offered again, submitted once");
    // The source calls it wrong: the same block goes on with another job.
    net.act(1, |cluster, now| cluster.handle_settled(now, &planted));
    net.act(1, |cluster, now| cluster.handle_job(now, Job { puzzle: job_of(1, 11).puzzle, ..first }));
    net.run(seconds(11));
    assert_eq!(net.member(1).submitted, [planted]);
    assert!(net.members.values().all(|member| !member.scans.is_empty()));
}

#[test]
fn what_a_killed_finder_had_pending_is_offered_after_its_restart() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    let first = job_of(1, 10);
    net.act(1, |cluster, now| cluster.handle_job(now, first));
    net.run(MS * 5);
    let Scan { ticket, range, .. } = net.member(2).scans[0];
    let planted = Solution { job: first, nonce: range.start };
    net.cut = vec![(2, 1)];
    net.act(2, |cluster, now| cluster.handle_found(now, ticket, planted.nonce));
    let pending = |net: &mut Net, id| net.member(id).cluster.kept([]);
    assert_eq!((pending(&mut net, 1), pending(&mut net, 2)), (vec![], vec![planted]));
    net.kept = pending(&mut net, 2);
    net.kill(1);
    net.kill(2);
    net.start(2, &[2]);
    assert_eq!(pending(&mut net, 2), [planted]);
    net.run(seconds(6));
    assert!(net.member(2).submitted.is_empty(), "for which block it is has to be heard from the source first");
    let more = Job { puzzle: job_of(1, 11).puzzle, ..first };
    net.act(2, |cluster, now| cluster.handle_job(now, more));
    net.run(MS * 5);
    assert_eq!((net.member(2).submitted.clone(), pending(&mut net, 2)), (vec![planted], vec![planted]));
    net.act(2, |cluster, now| cluster.handle_settled(now, &planted));
    assert_eq!(pending(&mut net, 2), []);
}

#[test]
fn a_link_that_works_one_way_makes_two_leaders_but_no_race_of_epochs() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    for cut in [(2, 1), (1, 2)] {
        net.run(seconds(1));
        net.cut = vec![cut];
        net.run(seconds(60));
        assert_eq!(net.leaders(), [(1, 1), (2, 2), (3, 1)]);
        let counters: Vec<_> = net.members.values().map(|member| member.leader.unwrap().1.counter).collect();
        assert!(counters.iter().all(|&counter| counter < 10), "cut {cut:?}: {counters:?}");
        net.cut.clear();
        net.run(seconds(11));
        assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    }
}

#[test]
fn no_node_can_ask_for_more_jobs_than_there_may_be() {
    let mut net = Net::new(&[1, 2, 3]);
    for id in 1..=3 {
        net.act(id, |cluster, _| cluster.set_rate(u64::MAX));
    }
    net.run(MS * 20);
    // The node answers each wish at once, as the real one does.
    for number in 1..200 {
        if std::mem::take(&mut net.member(1).needs_job) {
            net.act(1, |cluster, now| cluster.handle_job(now, job(number)));
        }
        net.run(MS);
    }
    assert!(!net.member(1).needs_job, "it asks for ever");
    assert!(net.members.values().all(|member| !member.scans.is_empty()));
}

#[test]
fn a_follower_works_for_a_leader_that_does_not_know_the_one_before() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(seconds(6));
    net.kill(2);
    net.start(2, &[2, 3]);
    net.run(seconds(1));
    net.act(1, Cluster::leave);
    net.run(MS * 5);
    net.kill(1);
    for _ in 0..14 {
        if std::mem::take(&mut net.member(2).needs_job) {
            net.act(2, |cluster, now| cluster.handle_job(now, job(1)));
        }
        net.run(MS * 500);
    }
    assert!(!net.member(3).scans.is_empty());
}

#[test]
fn absurd_epochs_are_made_up() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    let before = net.member(2).leader;
    for (counter, leader, incarnation) in [(u64::MAX, 1, u64::MAX), (u64::MAX, 2, 0), (1 << 40, 1, 1)] {
        let epoch = Some(Epoch { counter, leader: node(leader), incarnation });
        let heartbeat = Heartbeat { incarnation: 2, sent: 50, echo: None, epoch, standing: None };
        for (to, from) in [(1, 2), (2, 1)] {
            let message = Message::HeartbeatRequest(heartbeat.clone());
            net.act(to, |cluster, now| cluster.handle_message(now, node(from), message));
        }
    }
    net.run(seconds(11));
    assert_eq!(net.member(2).leader, before);
}

#[test]
fn a_leader_that_was_told_that_everything_is_done_goes_on() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.act(1, |cluster, now| cluster.handle_job(now, job(2)));
    net.run(MS * 5);
    let epoch = net.member(1).leader.unwrap().1;
    let claim = |range| Claim { job: job(1).id(), range, bits: ShareBits::for_job(&job(1), 100), shares: vec![] };
    let finished = vec![claim(NonceRange::new(1, 2_000_000_001)), claim(NonceRange::new(9, 3))];
    let request = ProcessRequest { epoch, rate: u64::MAX, held: vec![], finished };
    net.act(1, |cluster, now| cluster.handle_message(now, node(2), Message::ProcessRequest(request)));
    net.run(seconds(30));
    let mail = net.mail.len();
    assert!(mail < 20, "{mail} messages under way");
    assert_eq!(net.leaders(), [(1, 1), (2, 1)]);
}

#[test]
fn a_restarted_leader_takes_its_place_again() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(3));
    net.kill(1);
    net.run(seconds(1));
    net.start(1, &[1, 2, 3]);
    net.run(MS * 50);
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    net.act(1, |cluster, now| cluster.handle_job(now, job(2)));
    net.run(seconds(1));
    assert!(net.members.values().all(|member| member.cluster.job() == Some(&job(2))));
}

#[test]
fn a_leader_tells_all_that_is_done_however_many_leases_it_took() {
    const LEASES: u64 = 3000;
    const LENGTH: u64 = 64;
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    // Nobody hashes here; what the others claim, and really is so, comes below.
    net.member(1).rate = 0;
    net.kill(2);
    net.kill(3);
    let job = hard_job();
    net.act(1, |cluster, now| cluster.handle_job(now, job));
    let (epoch, bits) = (net.member(1).leader.unwrap().1, ShareBits::for_job(&job, LENGTH));
    let claim = |lease: u64| {
        let range = NonceRange::new(1 + lease * LENGTH, 1 + (lease + 1) * LENGTH);
        let shares = (range.start..range.end).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some()).collect();
        Claim { job: job.id(), range, bits, shares }
    };
    // Neighbours are never the same node's.
    for first in (0..LEASES).step_by(100) {
        for by in [0, 1] {
            let finished = (first..first + 100).filter(|lease| lease % 2 == by).map(claim).collect();
            let request = Message::ProcessRequest(ProcessRequest { epoch, rate: 1, held: vec![], finished });
            net.act(1, |cluster, now| cluster.handle_message(now, node(2 + by as u32), request));
        }
    }
    net.run(seconds(5));
    net.mail.clear();
    let question = Heartbeat { incarnation: 3, sent: 5000, echo: None, epoch: Some(epoch), standing: None };
    net.act(1, |cluster, now| cluster.handle_message(now, node(3), Message::HeartbeatRequest(question)));
    let told = net.mail.iter().find_map(|(_, _, _, message)| match message {
        Message::HeartbeatReply(heartbeat, _) => heartbeat.standing.clone(),
        _ => None,
    });
    let done = |standing: &Standing| standing.done[0].ranges.iter().map(|range| range.len()).sum::<u64>();
    let told = told.unwrap();
    assert_eq!(done(&told), LEASES * LENGTH, "in {} ranges", told.done[0].ranges.len());
    // What is newest is still known to be whose it is.
    assert!(told.done[0].pieces.iter().filter(|(_, by)| *by == node(2)).count() > 100);
    let brief = net.member(1).cluster.leading().unwrap().brief_standing(1);
    assert_eq!((done(&brief), brief.done[0].ranges.len()), (LEASES * LENGTH, 1));
}
