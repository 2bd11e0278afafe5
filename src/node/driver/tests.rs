use std::sync::Arc;

use super::*;
use crate::cluster::{
    Assign, BodyId, BodyPart, BodyRequest, Current, Heartbeat, Lease, PeerState, Reign, Report, Stamp,
};
use crate::kernel::{Choice, available};
use crate::node::ShareCounts;
use crate::node::feed::SessionId;
use crate::scan::by_hand::Turn;
use crate::source::{Offer, SourceError};
use crate::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, Hashing, RoundId, Run, Slot, Target, Template,
    UNIT, ZeroUnit,
};

/// A node alone, and what it has reported and ordered.
struct Alone {
    driver: Driver,
    now: Now,
    events: Vec<Event>,
    sent: Vec<(NodeId, Message)>,
    peers: Vec<Vec<Member>>,
    reads: usize,
    submitted: Vec<(u64, Solution)>,
    adopted: Vec<Arc<Adopted>>,
    sessions: Vec<SessionId>,
    written: Vec<Vec<Solution>>,
    statuses: Vec<Status>,
    measured: usize,
}

fn node() -> NodeId {
    NodeId::try_from(1).unwrap()
}

/// Another server, and where it is.
fn other(id: u32, port: u16) -> Member {
    Member { id: NodeId::try_from(id).unwrap(), address: ([127, 0, 0, 1], port).into(), proves: true }
}

fn template(height: u64, search: Search) -> Template {
    let round = RoundId { block: BlockId { height, hash: Digest([height as u8; 32]) }, generation: 0 };
    let block = if search == Search::First { Target::MAX } else { Target::from_be_bytes([0; 32]) };
    let puzzle = match search {
        Search::First => Blueprint::Text { hashing: Hashing::Double },
        Search::Every => {
            let coinbase = Coinbase { before: vec![1], extranonce: Extranonce::Counter(4), after: vec![] };
            let (coinbase, branch) = (Arc::new(coinbase), Arc::from([]));
            Blueprint::Header { version: 2, mask: 0, bits: 0x207f_ffff, time: BlockTime::from(0), coinbase, branch }
        }
    };
    let report = if search == Search::First { block } else { Target::from_zeros(11, ZeroUnit::Bits).unwrap() };
    Template { round, goal: Goal { block, report, search }, puzzle, tag: 0 }
}

impl Alone {
    fn new(blocks: Option<u64>) -> Self {
        Self::with(node(), Members::fixed([]), blocks, None)
    }

    #[allow(clippy::disallowed_methods)] // any moment will do
    fn with(id: NodeId, members: Members, blocks: Option<u64>, payout: Option<PayoutCheck>) -> Self {
        let now = Now { instant: Instant::now(), since_1970: Duration::from_secs(1_795_000_000) };
        let rules = cluster::Config {
            id,
            run: Run(1),
            since_1970: now.since_1970,
            heartbeat: Duration::from_secs(4),
            unit: UNIT,
            all_to_all: 32,
            candidates: 5,
        };
        let kernel = *available().last().unwrap();
        let setup = Setup {
            rules,
            members,
            scanner: Scanner::by_hand(kernel, 1),
            kernel: Choice { measured: vec![("portable", 100.0)], ..Choice::by_hand(kernel) },
            threads: 1,
            sources: vec!["sim://pool".to_owned()],
            source_return: Duration::ZERO,
            kept: Some(vec![]),
            blocks,
            payout,
        };
        let driver = Driver::new(setup, now);
        let mut alone = Self {
            driver,
            now,
            events: vec![],
            sent: vec![],
            peers: vec![],
            reads: 0,
            submitted: vec![],
            adopted: vec![],
            sessions: vec![],
            written: vec![],
            statuses: vec![],
            measured: 0,
        };
        alone.driver.start(now, "127.0.0.1:1".parse().unwrap());
        alone.pass(Duration::ZERO);
        alone
    }

    fn look(&mut self) {
        while let Some(action) = self.driver.poll_action() {
            match action {
                Action::Source(Request::Submit { ticket, solution, adopted, .. }) => {
                    self.submitted.push((ticket, solution));
                    self.adopted.extend(adopted);
                }
                Action::Source(Request::Open(session)) => self.sessions.push(session),
                Action::Tell(told) => self.events.push(told.event),
                Action::Source(_) => {}
                Action::Send(to, message) => self.sent.push((to, message)),
                Action::SetPeers(members) => self.peers.push(members),
                Action::ReadRegistry => self.reads += 1,
                Action::Write(solutions) => self.written.push(solutions),
                Action::Status => self.statuses.push(self.driver.make_status(self.now)),
                Action::Measure(_) => self.measured += 1,
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.driver.handle_timeout(self.now);
        self.look();
    }

    /// Time passes, from each timer to the next.
    fn run(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.driver.poll_timeout() <= end {
            self.pass(self.driver.poll_timeout() - self.now.instant);
        }
        self.now.instant = end;
    }

    fn handle(&mut self, input: Input) {
        self.driver.handle(self.now, input);
        self.look();
    }

    fn offer(&mut self, template: Template) {
        let offer = Offer { template, asked: self.now.instant, body: None };
        self.handle(Input::Source(Answer::Offer(self.sessions[0], Ok(offer))));
    }

    /// A thread searches one piece, or reports an end. False if there is nothing to do.
    fn search(&mut self) -> bool {
        let events = match self.driver.scanner().take() {
            Some(Turn::Piece(piece)) => self.driver.scanner().finish(piece),
            Some(Turn::Ended(event)) => vec![event],
            None => return false,
        };
        events.into_iter().for_each(|event| self.handle(Input::Scan(event)));
        true
    }

    fn answer(&mut self, verdict: Verdict) {
        let (ticket, _) = self.submitted.remove(0);
        self.handle(Input::Source(Answer::Verdict { ticket, result: Ok(verdict) }));
    }

    fn events(&mut self, is_wanted: fn(&Event) -> bool) -> Vec<Event> {
        std::mem::take(&mut self.events).into_iter().filter(is_wanted).collect()
    }
}

#[test]
fn a_block_is_reported_from_its_job_to_its_verdict() {
    let mut alone = Alone::new(Some(1));
    alone.offer(template(1, Search::First));
    let [Event::Job { height: 1, timestamp: Some(_), .. }] =
        &alone.events(|event| matches!(event, Event::Job { .. }))[..]
    else {
        panic!("one job")
    };
    assert!(!alone.driver.is_submitting());
    alone.search();
    let found = alone.events(|event| matches!(event, Event::Found { .. }));
    let (_, solution) = alone.submitted[0];
    assert_eq!(found, [Event::Found { node: node(), nonce: solution.nonce }]);
    assert!(alone.driver.is_submitting() && !alone.driver.is_done());
    assert!(alone.driver.is_writing() && alone.written.len() == 1, "a block is kept until it is settled");
    alone.answer(Verdict::Block { height: None, next: Some(template(2, Search::First)) });
    assert!(alone.driver.is_done() && !alone.driver.is_submitting());
    let blocks = alone.events(|event| matches!(event, Event::Block { .. } | Event::Job { .. }));
    let [Event::Block { height: 2, nonce, found_by, status: Outcome::Success, .. }] = &blocks[..] else {
        panic!("a block, and no further job: {blocks:?}")
    };
    assert_eq!((*nonce, *found_by), (solution.nonce, node()));
    alone.driver.end(alone.now);
    alone.look();
    assert_eq!(alone.events.last(), Some(&Event::Stopped { node: node() }));
}

#[test]
fn a_block_that_is_not_accepted_does_not_count() {
    let mut alone = Alone::new(Some(1));
    alone.offer(template(1, Search::First));
    alone.search();
    alone.answer(Verdict::Stale);
    let blocks = alone.events(|event| matches!(event, Event::Block { status: Outcome::Stale, .. }));
    assert_eq!((blocks.len(), alone.driver.is_done()), (1, false));
}

#[test]
fn nothing_is_submitted_once_enough_blocks_were_accepted() {
    let mut alone = Alone::new(Some(1));
    alone.offer(template(1, Search::First));
    let Some(Turn::Piece(piece)) = alone.driver.scanner().take() else { panic!("a piece") };
    // Two threads find one each.
    for nonce in [piece.range().start, piece.range().start + 1] {
        alone.handle(Input::Scan(scan::Event::Found { ticket: piece.ticket(), nonce, is_block: false }));
    }
    assert_eq!(alone.driver.cluster().kept().len(), 2);
    alone.answer(Verdict::Block { height: None, next: Some(template(2, Search::First)) });
    assert!(alone.driver.is_done());
    assert_eq!(alone.submitted, []);
}

#[test]
fn shares_are_counted_by_how_they_end() {
    let mut alone = Alone::new(None);
    alone.offer(template(1, Search::Every));
    alone.search();
    assert_eq!(alone.events(|event| matches!(event, Event::Found { .. })), [], "they are too many");
    alone.pass(Duration::from_millis(200));
    assert!(alone.submitted.len() >= 6);
    let reason = || "low difficulty".to_owned();
    for verdict in [Verdict::Share, Verdict::Share, Verdict::Share] {
        alone.answer(verdict);
    }
    alone.answer(Verdict::Stale);
    alone.answer(Verdict::Stale);
    alone.answer(Verdict::Rejected { reason: reason() });
    let shares = alone.events(|event| matches!(event, Event::Share { .. }));
    assert_eq!(shares.len(), 6);
    let Event::Share { status: ShareOutcome::Rejected, reason: Some(why), source, .. } = &shares[5] else {
        panic!("{shares:?}")
    };
    assert_eq!((why, &**source), (&reason(), "sim://pool"));
    alone.pass(STATUS_EVERY);
    let status = alone.statuses.last().unwrap();
    assert_eq!(status.shares, ShareCounts { accepted: 3, rejected: 1, stale: 2, lost: 0 });
    assert_eq!(status.rejections, [(reason(), 1)].into());
    let Event::Share { difficulty, hash_difficulty, .. } = shares[0] else { panic!("{shares:?}") };
    assert!(hash_difficulty >= difficulty && status.best_share >= Some(hash_difficulty), "{status:?}");
    assert_eq!((status.difficulty, status.source.as_deref()), (Some(difficulty), Some("sim://pool")));
    assert!(status.block_difficulty > Some(1e60), "{status:?}");
    assert!(status.luck > Some(0.0), "{status:?}");
    assert_eq!((status.leader, status.epoch, status.height), (Some(node()), 1, Some(1)));
}

#[test]
fn the_block_that_a_verdict_names_is_searched_without_a_question() {
    let mut alone = Alone::new(None);
    alone.offer(template(1, Search::First));
    alone.search();
    alone.events.clear();
    alone.answer(Verdict::Block { height: None, next: Some(template(2, Search::First)) });
    let jobs = alone.events(|event| matches!(event, Event::Job { height: 2, .. }));
    assert_eq!(jobs.len(), 1);
}

#[test]
fn a_block_found_at_a_pool_is_a_block_and_no_share() {
    let mut alone = Alone::new(None);
    alone.offer(template(1, Search::Every));
    alone.search();
    alone.pass(Duration::from_millis(200));
    alone.answer(Verdict::Block { height: Some(9), next: None });
    let told = alone.events(|event| matches!(event, Event::Block { .. } | Event::Share { .. }));
    assert!(matches!(told[..], [Event::Block { height: 9, status: Outcome::Success, .. }]), "{told:?}");
    alone.pass(STATUS_EVERY);
    let status = alone.statuses.last().unwrap();
    assert_eq!((status.shares, status.blocks), (ShareCounts::default(), 1));
}

#[test]
fn shares_that_are_lost_are_counted() {
    let mut alone = Alone::new(None);
    alone.offer(template(1, Search::Every));
    let Some(Turn::Piece(piece)) = alone.driver.scanner().take() else { panic!("a piece") };
    let ticket = piece.ticket();
    // More than a finder keeps.
    (0..4096 + 3).for_each(|nonce| alone.handle(Input::Scan(scan::Event::Found { ticket, nonce, is_block: false })));
    alone.pass(STATUS_EVERY);
    assert_eq!(alone.statuses.last().unwrap().shares, ShareCounts { lost: 3, ..ShareCounts::default() });

    let mut alone = Alone::new(None);
    alone.offer(template(1, Search::Every));
    let over = SourceError { url: String::new(), problem: "gone".to_owned(), is_over: true };
    alone.handle(Input::Source(Answer::Offer(alone.sessions[0], Err(over))));
    alone.search();
    alone.pass(Duration::from_millis(200));
    let told = alone.events(|event| matches!(event, Event::Share { status: ShareOutcome::Rejected, .. }));
    assert!(told.len() >= 6 && alone.submitted.is_empty());
    alone.pass(STATUS_EVERY);
    let lost = told.len() as u64;
    assert_eq!(alone.statuses.last().unwrap().shares, ShareCounts { lost, ..ShareCounts::default() });
}

#[test]
fn a_write_is_under_way_until_it_has_ended() {
    let mut alone = Alone::new(None);
    assert_eq!((alone.driver.is_writing(), &alone.written[..]), (true, &[vec![]][..]), "each start tries the disk");
    alone.handle(Input::Written(Err("full".to_owned())));
    assert!(!alone.driver.is_writing());
    alone.run(Duration::from_millis(4100));
    assert_eq!((alone.driver.is_writing(), alone.written.len()), (true, 2), "tried again after a heartbeat");
    alone.handle(Input::Written(Ok(vec![])));
    assert!(!alone.driver.is_writing());
    let told = alone.events(|event| matches!(event, Event::Store { .. }));
    assert_eq!(told.len(), 2, "when it begins and when it ends: {told:?}");
}

#[test]
fn status_and_rate_are_told_at_their_times() {
    let mut alone = Alone::new(None);
    alone.offer(template(1, Search::Every));
    alone.statuses.clear();
    let hashes = alone.driver.scanner().hashes();
    alone.search();
    let searched = alone.driver.scanner().hashes() - hashes;
    assert!(alone.driver.poll_timeout() <= alone.now.instant + LOOK_EVERY);
    alone.run(Duration::from_secs(8));
    assert_eq!(alone.statuses.len(), 16);
    let rates = alone.events(|event| matches!(event, Event::Rate { .. }));
    let [Event::Rate { hashes, hashes_per_second, .. }, Event::Rate { hashes_per_second: 0.0, .. }] = rates[..] else {
        panic!("two rates, and nothing is hashed between them: {rates:?}")
    };
    assert!(hashes == searched && hashes_per_second > 0.0);
}

#[test]
fn the_registry_is_read_at_the_start_at_times_and_when_somebody_is_back() {
    let mut alone = Alone::with(node(), Members::registered(), None, None);
    assert_eq!((alone.reads, alone.peers.len()), (1, 1));
    alone.run(STATUS_EVERY * 2 - Duration::from_millis(1));
    assert_eq!(alone.reads, 3, "with the status at once, and after 0.5 s");

    let list = |ports: [u16; 2]| Input::Servers(vec![other(2, ports[0]), other(3, ports[1])]);
    alone.handle(list([2, 3]));
    assert_eq!(alone.peers[1..], [vec![other(2, 2), other(3, 3)]]);
    alone.sent.clear();
    alone.handle(list([2, 3]));
    assert_eq!((alone.peers.len(), alone.sent.len()), (2, 0), "nothing is new");
    alone.handle(list([2, 33]));
    assert_eq!(alone.peers[2..], [vec![other(2, 2), other(3, 33)]]);
    assert!(matches!(alone.sent[..], [(to, Message::HeartbeatRequest(_))] if to == other(3, 33).id), "it has moved");

    let stamp = Stamp { run: Run(2), sent: 1 };
    let heartbeat = |echo| Heartbeat { stamp, echo, interval: None, leads: None };
    let request = || Input::Message(other(2, 2).id, Message::HeartbeatRequest(heartbeat(None)));
    alone.run(Duration::from_millis(150));
    assert_eq!(alone.reads, 4);
    alone.run(Duration::from_millis(150));
    alone.sent.clear();
    alone.handle(request());
    assert_eq!(alone.reads, 5, "it was not up");
    let Some((_, Message::HeartbeatRequest(asked))) = alone.sent.pop() else { panic!("it is asked who it is") };
    alone.handle(Input::Message(other(2, 2).id, Message::HeartbeatReply(heartbeat(Some(asked.stamp)), None)));
    assert_eq!(alone.driver.cluster().state(other(2, 2).id), PeerState::Alive);
    alone.run(Duration::from_millis(150));
    alone.handle(request());
    assert_eq!(alone.reads, 5);
}

/// Node 2, which follows node 1, and the numbers of what node 1 has said.
struct Following {
    alone: Alone,
    sent: u64,
    sequence: u64,
}

impl Following {
    fn new() -> Self {
        Self::with(None)
    }

    fn with(payout: Option<PayoutCheck>) -> Self {
        let alone = Alone::with(other(2, 2).id, Members::fixed([other(1, 1)]), None, payout);
        let mut following = Self { alone, sent: 0, sequence: 0 };
        let Some((_, Message::HeartbeatRequest(asked))) = following.alone.sent.pop() else { panic!("a request") };
        let reply = Message::HeartbeatReply(following.heartbeat(Some(asked.stamp)), None);
        following.say(reply);
        assert_eq!(following.alone.driver.cluster().leader(), Some(node()));
        following
    }

    fn say(&mut self, message: Message) {
        self.alone.handle(Input::Message(node(), message));
    }

    fn heartbeat(&mut self, echo: Option<Stamp>) -> Heartbeat {
        self.sent += 1;
        Heartbeat { stamp: Stamp { run: Run(9), sent: self.sent }, echo, interval: None, leads: None }
    }

    /// What node 2 has reported last, with whatever message.
    fn report(&self) -> &Report {
        let last = self.alone.sent.iter().rev().find_map(|(_, message)| match message {
            Message::ProcessRequest(report) | Message::ProcessAnswerNo(report) | Message::ProcessAnswerYes(report) => {
                Some(report)
            }
            Message::HeartbeatReply(_, report) | Message::Leave(_, report) => report.as_ref(),
            _ => None,
        });
        last.expect("a report")
    }

    /// Node 1 assigns these ranges of a job that nothing solves.
    fn assign(&mut self, ranges: &[NonceRange]) {
        let (nothing, text) = (Target::from_be_bytes([0; 32]), template(1, Search::First));
        let goal = Goal { block: nothing, report: nothing, search: Search::First };
        self.assign_of(&Template { goal, ..text }, ranges);
    }

    /// Node 1 assigns these ranges of a job of the template.
    fn assign_of(&mut self, template: &Template, ranges: &[NonceRange]) {
        let slot = Slot { run: Run(9), n: 0 };
        let jobs = vec![template.job(slot, Duration::from_secs(1)).unwrap()];
        let bits = WitnessBits::new(8).unwrap();
        let lease = |(number, &range)| Lease { number, job: 0, range, bits };
        let leases = (1..).zip(ranges).map(lease).collect();
        self.sequence += 1;
        let (reign, sequence, report) = (Reign { run: Run(9), number: 1 }, self.sequence, self.report().stamp);
        let (current, taken, settled) = (Some(Current::whole(template)), vec![], vec![]);
        self.say(Message::Process(Assign { reign, sequence, report, current, jobs, leases, taken, settled }));
    }
}

/// A block that its leader's session builds itself, with this before its extranonce.
fn own_block(before: u8, tag: u64) -> Template {
    let coinbase = Arc::new(Coinbase { before: vec![before], extranonce: Extranonce::Run, after: vec![] });
    let (branch, time) = (Arc::from([]), BlockTime::from(0));
    let puzzle = Blueprint::Header { version: 2, mask: 0, bits: 0x207f_ffff, time, coinbase, branch };
    Template { puzzle, tag, ..template(1, Search::First) }
}

#[test]
fn whoever_leads_next_fetches_the_body_and_submits_the_leaders_block() {
    let mut following = Following::new();
    let leaders = own_block(7, 3);
    following.assign_of(&leaders, &[LONG]);
    following.alone.run(LOOK_EVERY);
    let asked = following.alone.sent.iter().rev().find_map(|(to, message)| match message {
        Message::BodyRequest(request) => Some((*to, *request)),
        _ => None,
    });
    let (to, request) = asked.expect("a request");
    assert_eq!((to, request.body.run, request.body.template, request.start), (node(), Run(9), 3, 0));
    let body = vec![1, 2, 3];
    following.say(Message::Body(BodyPart { body: request.body, size: 3, start: 0, bytes: body.clone() }));
    following.alone.search();
    let block = following.report().blocks[0];

    let goodbye = Message::Leave(following.heartbeat(None), None);
    following.say(goodbye);
    let mut alone = following.alone;
    assert!(alone.driver.cluster().is_leading() && alone.submitted.is_empty());
    alone.offer(own_block(8, 0));
    assert_eq!((alone.submitted.len(), alone.submitted[0].1), (1, block));
    assert_eq!(*alone.adopted[0], Adopted { template: leaders, body: body.into() });
    alone.answer(Verdict::Block { height: Some(2), next: None });
    let blocks = alone.events(|event| matches!(event, Event::Block { status: Outcome::Success, .. }));
    assert_eq!(blocks.len(), 1);
}

#[test]
fn a_leader_gives_its_bodies_to_whoever_leads_next() {
    let mut alone = Alone::with(node(), Members::fixed([other(2, 2), other(3, 3)]), None, None);
    let Some((_, Message::HeartbeatRequest(asked))) = alone.sent.iter().find(|(to, _)| to.get() == 2).cloned() else {
        panic!("a request")
    };
    let stamp = Stamp { run: Run(2), sent: 1 };
    let reply = Heartbeat { stamp, echo: Some(asked.stamp), interval: None, leads: None };
    alone.handle(Input::Message(other(2, 2).id, Message::HeartbeatReply(reply, None)));
    assert!(alone.driver.cluster().is_leading());
    let offer = Offer { template: own_block(7, 3), asked: alone.now.instant, body: Some(vec![5; 7].into()) };
    alone.handle(Input::Source(Answer::Offer(alone.sessions[0], Ok(offer))));
    let body = BodyId { run: Run(1), template: 1 };
    alone.sent.clear();
    for id in [3, 2] {
        alone.handle(Input::Message(other(id, 1).id, Message::BodyRequest(BodyRequest { body, start: 5 })));
    }
    let part = BodyPart { body, size: 7, start: 5, bytes: vec![5; 2] };
    assert_eq!(alone.sent, [(other(2, 2).id, Message::Body(part))]);
}

#[test]
fn work_that_pays_somebody_else_is_refused_and_warned_of_once() {
    let pays = |template: &Template, _| *template == own_block(7, 3);
    let payout = PayoutCheck { address: "bcrt1q".to_owned(), pays: Arc::new(pays), takes_shares: false };
    let mut following = Following::with(Some(payout));
    let is_warning = |event: &Event| matches!(event, Event::Warning { .. });
    let searches = |following: &Following| following.alone.driver.scanner().progress().len();
    for unpaid in [own_block(8, 3), template(1, Search::Every)] {
        following.assign_of(&unpaid, &[LONG]);
        assert_eq!(searches(&following), 0, "{unpaid:?}");
    }
    let [Event::Warning { problem, peer: Some(peer), over: false, .. }] = &following.alone.events(is_warning)[..]
    else {
        panic!("one warning")
    };
    assert!(problem.contains("does not pay bcrt1q"), "{problem}");
    assert_eq!(*peer, node());
    following.assign_of(&own_block(7, 3), &[LONG]);
    assert_eq!(searches(&following), 1);
    assert!(matches!(following.alone.events(is_warning)[..], [Event::Warning { over: true, .. }]));
    following.assign(&[LONG]);
    let job = following.alone.driver.cluster().job().expect("a job");
    assert!(matches!(job.puzzle, Puzzle::Text(_)), "a text pays nobody");
}

#[test]
fn what_a_source_advises_is_a_warning_until_it_is_over() {
    let mut alone = Alone::new(None);
    let mut told = |source, advice: Option<&str>| {
        alone.handle(Input::Advice(source, advice.map(str::to_owned)));
        alone.events(|event| matches!(event, Event::Warning { .. }))
    };
    let warning = |problem: &str, over| Event::Warning { node: node(), problem: problem.to_owned(), peer: None, over };
    assert_eq!(told(0, Some("too hard")), [warning("too hard", false)]);
    assert_eq!(told(1, Some("elsewhere")), [warning("elsewhere", false)]);
    assert_eq!(told(0, Some("too hard")), []);
    assert_eq!(told(0, None), [warning("too hard", true)]);
}

/// More than a thread takes at a time.
const LONG: NonceRange = NonceRange::new(10_001, 10_000_001);

#[test]
fn the_answer_to_the_leader_and_the_goodbye_tell_how_far_the_search_has_come() {
    let mut following = Following::new();
    following.assign(&[LONG]);
    following.alone.search();
    let searched = following.alone.driver.scanner().progress()[0].searched;
    assert!(!searched.is_empty());
    let request = Message::HeartbeatRequest(following.heartbeat(None));
    following.say(request);
    assert_eq!(following.report().progress[0].to, searched.end);

    following.alone.search();
    following.alone.driver.leave(following.alone.now);
    following.alone.look();
    assert!(following.report().progress[0].to > searched.end);
}

#[test]
fn the_speed_at_work_is_reported() {
    let mut following = Following::new();
    following.assign(&[LONG]);
    following.alone.search();
    following.alone.run(LOOK_EVERY);
    let request = Message::HeartbeatRequest(following.heartbeat(None));
    following.say(request);
    assert_eq!(following.report().speed, following.alone.driver.scanner().hashes() * 10);
}

#[test]
fn an_interrupt_is_told_once_and_only_when_the_last_search_has_ended() {
    let is_interrupt = |event: &Event| matches!(event, Event::Interrupted { .. });
    let mut following = Following::new();
    following.assign(&[NonceRange::new(1, 10_001)]);
    while following.alone.search() {}
    assert!(matches!(following.alone.sent.last(), Some((_, Message::ProcessAnswerNo(_)))));
    assert_eq!(following.alone.events(is_interrupt), [], "it has come to its end");

    following.assign(&[LONG, NonceRange::new(LONG.end, 2 * LONG.end)]);
    let Some(Turn::Piece(piece)) = following.alone.driver.scanner().take() else { panic!("a piece") };
    following.assign(&[]);
    let late = scan::Event::Found { ticket: piece.ticket(), nonce: piece.range().start, is_block: true };
    following.alone.handle(Input::Scan(late));
    assert_eq!(following.alone.events(|event| matches!(event, Event::Found { .. })), [], "it is over");
    assert!(following.alone.search() && !following.alone.search(), "the second has ended, the first has not");
    assert_eq!(following.alone.events(is_interrupt), []);
    following.alone.driver.scanner().finish(piece);
    assert!(following.alone.search());
    assert_eq!(following.alone.events(is_interrupt), [Event::Interrupted { node: other(2, 2).id }]);
}

#[test]
fn kernels_are_measured_again_when_hashing_stays_slow_and_a_better_one_takes_over() {
    let mut alone = Alone::new(None);
    alone.offer(template(1, Search::Every));
    alone.run(Duration::from_secs(1)); // for the lease to be of any length
    let minute = Duration::from_secs(60);
    for (rate, measured) in [(90, 0), (50, 1)] {
        alone.driver.scanner().count(rate * 60, minute);
        alone.run(minute);
        assert_eq!(alone.measured, measured, "at {rate} of 100");
    }
    let kernel = *available().last().unwrap();
    let choice = Choice { measured: vec![("portable", 50.0)], ..Choice::by_hand(kernel) };
    alone.handle(Input::Kernel(choice.clone()));
    alone.driver.scanner().count(50 * 60 * 10, 10 * minute);
    alone.run(10 * minute);
    assert_eq!(alone.measured, 1, "the new promise is kept");
    assert_eq!(alone.driver.make_status(alone.now).choice, choice.to_string());
}

#[test]
fn of_a_missing_server_the_next_address_is_tried() {
    let mut alone = Alone::with(node(), Members::named(), None, None);
    let list = || Input::Servers(vec![other(2, 1), other(2, 2)]);
    alone.handle(list());
    assert_eq!(alone.peers.last(), Some(&vec![other(2, 1)]));
    alone.handle(list());
    assert_eq!(alone.peers.last(), Some(&vec![other(2, 1)]), "it is not known to be missing");
    alone.run(Duration::from_secs(20));
    assert!(alone.reads > 0 && alone.driver.cluster().state(other(2, 1).id) == PeerState::Down);
    alone.sent.clear();
    alone.handle(list());
    assert_eq!(alone.peers.last(), Some(&vec![other(2, 2)]));
    assert!(!alone.sent.is_empty(), "it is asked there at once");
    alone.handle(list());
    assert_eq!(alone.peers.last(), Some(&vec![other(2, 1)]));
}

#[test]
fn a_peer_with_another_heartbeat_is_warned_of_and_heard() {
    let mut alone = Alone::with(node(), Members::fixed([other(2, 2)]), None, None);
    let stamp = Stamp { run: Run(2), sent: 1 };
    let heartbeat = Heartbeat { stamp, echo: None, interval: Some(Duration::from_millis(50)), leads: None };
    alone.sent.clear();
    alone.handle(Input::Message(other(2, 2).id, Message::HeartbeatRequest(heartbeat)));
    let warnings = alone.events(|event| matches!(event, Event::Warning { .. }));
    let [Event::Warning { problem, peer: Some(_), over: false, .. }] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(problem.contains("every 50ms, and node 1 every 4s"), "{problem}");
    assert!(alone.sent.iter().any(|(_, message)| matches!(message, Message::HeartbeatReply(..))));
}
