use std::sync::Arc;

use super::*;
use crate::kernel::available;
use crate::node::feed::SessionId;
use crate::scan::by_hand::Turn;
use crate::source::Offer;
use crate::work::{
    BlockId, Blueprint, Coinbase, Digest, Extranonce, Goal, Hashing, RoundId, Run, Target, Template, UNIT, ZeroUnit,
};

/// A node alone, and what it has reported.
struct Alone {
    driver: Driver,
    now: Now,
    events: Vec<Event>,
    submitted: Vec<(u64, Solution)>,
    sessions: Vec<SessionId>,
    written: usize,
    status: Option<Status>,
}

fn node() -> NodeId {
    NodeId::try_from(1).unwrap()
}

fn template(height: u64, search: Search) -> Template {
    let round = RoundId { block: BlockId { height, hash: Digest([height as u8; 32]) }, generation: 0 };
    let block = if search == Search::First { Target::MAX } else { Target::from_be_bytes([0; 32]) };
    let puzzle = match search {
        Search::First => Blueprint::Text { hashing: Hashing::Double },
        Search::Every => {
            let coinbase = Coinbase { before: vec![1], extranonce: Extranonce::Counter(4), after: vec![] };
            let (coinbase, branch) = (Arc::new(coinbase), Arc::from([]));
            Blueprint::Header { version: 2, mask: 0, bits: 0x207f_ffff, min_time: 0, coinbase, branch }
        }
    };
    let report = if search == Search::First { block } else { Target::from_zeros(11, ZeroUnit::Bits).unwrap() };
    Template { round, goal: Goal { block, report, search }, puzzle, tag: 0 }
}

impl Alone {
    #[allow(clippy::disallowed_methods)] // any moment will do
    fn new(blocks: Option<u64>) -> Self {
        let now = Now { instant: Instant::now(), since_1970: Duration::from_secs(1_795_000_000) };
        let rules = cluster::Config {
            id: node(),
            run: Run(1),
            since_1970: now.since_1970,
            heartbeat: Duration::from_secs(4),
            unit: UNIT,
            all_to_all: 32,
            candidates: 5,
        };
        let setup = Setup {
            rules,
            members: Members::fixed([]),
            scanner: Scanner::by_hand(*available().last().unwrap(), 1),
            kernel: "portable",
            choice: "by hand".to_owned(),
            threads: 1,
            sources: vec!["sim://pool".to_owned()],
            kept: Some(vec![]),
            blocks,
        };
        let driver = Driver::new(setup, now);
        let mut alone =
            Self { driver, now, events: vec![], submitted: vec![], sessions: vec![], written: 0, status: None };
        alone.driver.start(now, "127.0.0.1:1".parse().unwrap());
        alone.pass(Duration::ZERO);
        alone
    }

    fn look(&mut self) {
        while let Some(action) = self.driver.poll_action() {
            match action {
                Action::Source(Request::Submit { ticket, solution, .. }) => self.submitted.push((ticket, solution)),
                Action::Source(Request::Open(session)) => self.sessions.push(session),
                Action::Tell(told) => self.events.push(told.event),
                Action::Write(_) => self.written += 1,
                Action::Status => self.status = Some(self.driver.make_status(self.now)),
                _ => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.driver.handle_timeout(self.now);
        self.look();
    }

    fn handle(&mut self, input: Input) {
        self.driver.handle(self.now, input);
        self.look();
    }

    fn offer(&mut self, template: Template) {
        let offer = Offer { template, asked: self.now.instant };
        self.handle(Input::Source(Answer::Offer(self.sessions[0], Ok(offer))));
    }

    /// A thread searches one piece.
    fn search(&mut self) {
        if let Some(Turn::Piece(piece)) = self.driver.scanner().take() {
            for event in self.driver.scanner().finish(piece) {
                self.handle(Input::Scan(event));
            }
        }
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
    assert!(alone.driver.is_writing() && alone.written == 1, "a block is kept until it is settled");
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
        alone.handle(Input::Scan(scan::Event::Found { ticket: piece.ticket(), nonce }));
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
    let status = alone.status.take().unwrap();
    assert_eq!(status.shares, ShareCounts { accepted: 3, rejected: 1, stale: 2, lost: 0 });
    assert_eq!((status.leader, status.epoch, status.height), (Some(node()), 1, Some(1)));
}
