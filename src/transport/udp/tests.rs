//! A text peer's memory, without a socket.

use std::time::Duration;

use tokio::time::Instant;

use super::drops::Reason;
use super::peer::Peer;
use super::words::Words;
use crate::cluster::{Assign, Heartbeat, Lease, Message, Progress, Reign, Report, Stamp};
use crate::work::{
    Digest, Hashing, Job, NonceRange, Puzzle, Run, Search, Solution, Target, TextForm, TextPuzzle, UNIT, WitnessBits,
    ZeroUnit,
};

const HEARTBEAT: Duration = Duration::from_secs(5);
const REIGN: Reign = Reign { run: Run(7), number: 2 };

/// A job of this block that one nonce in 4,096 solves.
fn job(block: u8) -> Job {
    let timestamp = "1550766000000".parse().unwrap();
    let puzzle = TextPuzzle { prev: Digest([block; 32]), timestamp, hashing: Hashing::Double };
    Job::new(Puzzle::Text(puzzle), Target::from_zeros(3, ZeroUnit::Hex).unwrap(), Search::First)
}

fn block(job: Job) -> Solution {
    (1..).map(|nonce| Solution { job, nonce }).find(|solution| solution.verify().is_some()).unwrap()
}

fn range(start: u64, units: u64) -> NonceRange {
    NonceRange::new(start, start + units * UNIT)
}

fn stamp(sent: u64) -> Stamp {
    Stamp { run: Run(5), sent }
}

fn assign(sequence: u64, job: Job, leases: &[(u64, NonceRange)]) -> Assign {
    let lease = |&(number, range)| Lease { number, job: 0, range, bits: WitnessBits::for_range(UNIT) };
    let leases: Vec<_> = leases.iter().map(lease).collect();
    let (current, jobs) = (None, if leases.is_empty() { vec![] } else { vec![job] });
    Assign { reign: REIGN, sequence, report: stamp(1), current, jobs, leases, taken: vec![], settled: vec![] }
}

struct Scene {
    peer: Peer,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        Self { peer: Peer::new("10.0.0.2:6001".parse().unwrap(), Run(3), 10, now), now }
    }

    fn give(&mut self, sequence: u64, job: Job, leases: &[(u64, NonceRange)]) -> Vec<Words> {
        self.peer.tell(&Message::Process(assign(sequence, job, leases)), TextForm::default(), self.now)
    }

    fn hear(&mut self, words: Words) -> (Option<Message>, Option<Words>) {
        let heard = self.peer.hear(words, HEARTBEAT, self.now).unwrap();
        (heard.message, heard.words)
    }

    /// It answers No after `time`: what it gets next, and what the rules hear.
    fn no(&mut self, time: Duration) -> (Option<Words>, Report) {
        self.now += time;
        match self.hear(Words::ProcessAnswerNo) {
            (Some(Message::ProcessAnswerNo(report)), next) => (next, report),
            other => panic!("expected ProcessAnswerNo, got {other:?}"),
        }
    }
}

fn progress(report: &Report) -> Vec<(u64, u64)> {
    report.progress.iter().map(|progress| (progress.lease, progress.to)).collect()
}

#[test]
fn pieces_begin_with_a_unit_and_grow_to_two_seconds_of_work() {
    let (mut scene, lease) = (Scene::new(), range(1, 1000));
    assert_eq!(scene.give(1, job(1), &[(1, lease)]), [Words::Process(job(1), range(1, 1))]);
    // A unit in a tenth of a second: a million a second, so two million in two seconds.
    let (next, report) = scene.no(Duration::from_millis(100));
    assert_eq!(next, Some(Words::Process(job(1), range(UNIT + 1, 20))));
    assert_eq!((report.speed, progress(&report)), (1_000_000, vec![(1, UNIT + 1)]));
    assert_eq!(report.held, Some((REIGN, 1)));
    let (next, report) = scene.no(Duration::from_secs(40));
    assert_eq!(next, Some(Words::Process(job(1), range(21 * UNIT + 1, 1))), "it has become slow");
    assert_eq!(report.speed, 50_000);
}

#[test]
fn whoever_asks_again_gets_the_same_piece_until_it_is_lost() {
    let mut scene = Scene::new();
    let piece = scene.give(1, job(1), &[(1, range(1, 3))]);
    for again in [None, Some(piece[0]), Some(piece[0])] {
        let (message, words) = scene.hear(Words::ProcessRequest);
        assert_eq!(words, again, "the first time it may still be at work");
        scene.now += Duration::from_secs(2);
        assert!(matches!(message, Some(Message::ProcessRequest(report)) if progress(&report) == [(1, 1)]));
    }
    scene.now += Duration::from_secs(31);
    let (message, words) = scene.hear(Words::ProcessRequest);
    assert_eq!(words, None, "the rest of the lease is given back");
    assert!(matches!(message, Some(Message::ProcessRequest(report)) if report.progress.is_empty()));
}

#[test]
fn a_piece_goes_on_in_the_next_assignment_and_is_called_back_where_it_is_not_part_of_it() {
    let mut scene = Scene::new();
    scene.give(1, job(1), &[(1, range(1, 1))]);
    assert_eq!(scene.give(2, job(1), &[(1, range(1, 1)), (2, range(UNIT + 1, 1))]), []);
    let (next, report) = scene.no(Duration::from_millis(100));
    assert_eq!(next, Some(Words::Process(job(1), range(UNIT + 1, 1))));
    assert_eq!(progress(&report), [(1, UNIT + 1), (2, UNIT + 1)]);
    let other = scene.give(3, job(2), &[(3, range(1, 1))]);
    assert_eq!(other, [Words::ProcessInterrupt, Words::Process(job(2), range(1, 1))]);
    assert_eq!(scene.give(4, job(2), &[]), [Words::ProcessInterrupt]);
    assert_eq!(scene.give(5, job(2), &[]), [], "it has nothing to stop");
}

#[test]
fn what_was_searched_is_not_given_again_by_an_assignment_that_crossed_the_report() {
    let mut scene = Scene::new();
    scene.give(1, job(1), &[(1, range(1, 1))]);
    assert_eq!(scene.no(Duration::from_millis(100)).0, None);
    assert_eq!(scene.give(2, job(1), &[(1, range(1, 1))]), []);
    let news = scene.give(3, job(1), &[(1, range(1, 1)), (2, range(UNIT + 1, 1))]);
    assert_eq!(news, [Words::Process(job(1), range(UNIT + 1, 1))]);
}

#[test]
fn a_block_is_credited_to_the_newest_job_that_it_solves() {
    let mut scene = Scene::new();
    let yes = |scene: &mut Scene, nonce| match scene.hear(Words::ProcessAnswerYes(nonce)) {
        (Some(Message::ProcessAnswerYes(report)), None) => (report.blocks, report.progress),
        other => panic!("expected ProcessAnswerYes, got {other:?}"),
    };
    assert!(matches!(scene.peer.hear(Words::ProcessAnswerYes(1), HEARTBEAT, scene.now), Err(Reason::AnswersNothing)));
    scene.give(1, job(1), &[(1, range(1, 1))]);
    let found = block(job(1));
    assert_eq!(yes(&mut scene, found.nonce), (vec![found], vec![]), "it stops, so the rest of the lease is lost");
    scene.give(2, job(2), &[(2, range(1, 1))]);
    assert_eq!(yes(&mut scene, found.nonce).0, [found], "it has crossed the call to stop");
    let wrong = (1..).find(|&nonce| [job(1), job(2)].iter().all(|job| job.check(nonce).is_none())).unwrap();
    assert_eq!(yes(&mut scene, wrong).0, [Solution { job: job(2), nonce: wrong }], "the rules refuse it");
}

#[test]
fn answers_to_nothing_are_dropped() {
    let mut scene = Scene::new();
    for words in [Words::HeartbeatReply, Words::ProcessAnswerNo, Words::ProcessAnswerYes(5)] {
        assert!(matches!(scene.peer.hear(words, HEARTBEAT, scene.now), Err(Reason::AnswersNothing)), "{words:?}");
    }
}

#[test]
fn a_reply_is_credited_to_the_oldest_request_that_is_not_lost() {
    let mut scene = Scene::new();
    let echo = |scene: &mut Scene| match scene.hear(Words::HeartbeatReply) {
        (Some(Message::HeartbeatReply(reply, None)), None) => reply.echo.unwrap().sent,
        other => panic!("expected HeartbeatReply, got {other:?}"),
    };
    let ask = |scene: &mut Scene, sent| {
        let request =
            Message::HeartbeatRequest(Heartbeat { stamp: stamp(sent), echo: None, interval: None, leads: None });
        assert_eq!(scene.peer.tell(&request, TextForm::default(), scene.now), [Words::HeartbeatRequest]);
    };
    ask(&mut scene, 1);
    scene.now += HEARTBEAT / 2;
    ask(&mut scene, 2);
    assert_eq!((echo(&mut scene), echo(&mut scene)), (1, 2));
    ask(&mut scene, 3);
    scene.now += HEARTBEAT;
    ask(&mut scene, 4);
    assert_eq!(echo(&mut scene), 4, "the reply to 3 was lost");
}

/// A leader's work, as the assignment that the rules see.
fn given(scene: &mut Scene, job: Job, range: NonceRange) -> Assign {
    match scene.hear(Words::Process(job, range)) {
        (Some(Message::Process(assign)), None) => assign,
        other => panic!("expected Process, got {other:?}"),
    }
}

#[test]
fn the_same_range_again_is_the_same_lease() {
    let mut scene = Scene::new();
    let first = given(&mut scene, job(1), range(1, 1));
    let again = given(&mut scene, job(1), range(1, 1));
    assert_eq!(first.leases, again.leases);
    assert!(first.sequence < again.sequence);
    let next = given(&mut scene, job(1), range(UNIT + 1, 1));
    assert_eq!(next.leases.len(), 2);
    assert_eq!(given(&mut scene, job(2), range(1, 1)).leases.len(), 1, "another job ends the one before");
}

#[test]
fn a_leader_hears_of_ends_and_blocks_and_work_for_another_block_settles_them() {
    let mut scene = Scene::new();
    let held = given(&mut scene, job(1), range(1, 1));
    let (place, lease) = (Some((held.reign, held.sequence)), held.leases[0]);
    let searched = |to| vec![Progress { lease: lease.number, to, witnesses: vec![] }];
    let report = |sent, to| Report { stamp: stamp(sent), held: place, progress: searched(to), ..Report::default() };
    let now = scene.now;
    let mut tell = |message: Message| scene.peer.tell(&message, TextForm::default(), now);
    assert_eq!(tell(Message::ProcessRequest(report(1, 50))), [], "it has work");
    assert_eq!(tell(Message::ProcessAnswerNo(report(2, lease.range.end))), [Words::ProcessAnswerNo]);
    assert_eq!(tell(Message::ProcessAnswerNo(report(3, lease.range.end))), [], "it is told once");
    assert_eq!(tell(Message::ProcessRequest(report(4, lease.range.end))), [Words::ProcessRequest]);
    let found = block(job(1));
    let yes = Report { blocks: vec![found], progress: vec![], ..report(5, 0) };
    let words = Words::ProcessAnswerYes(found.nonce);
    assert_eq!(tell(Message::ProcessAnswerYes(yes.clone())), [words]);
    let beat = Heartbeat { stamp: stamp(6), echo: None, interval: None, leads: None };
    let reply = Message::HeartbeatReply(beat, Some(Report { stamp: stamp(6), ..yes }));
    assert_eq!(tell(reply), [Words::HeartbeatReply, words, Words::ProcessRequest], "the first may be lost");
    let foreign = Report { blocks: vec![block(job(9))], ..report(7, 0) };
    assert_eq!(tell(Message::ProcessAnswerYes(foreign)), [], "it has given no such job");

    assert_eq!(given(&mut scene, job(1), range(UNIT + 1, 1)).settled, []);
    let next = given(&mut scene, job(2), range(1, 1));
    assert_eq!((next.settled, next.report), (vec![found.id()], stamp(7)));
}

#[test]
fn whoever_says_too_much_is_not_read_for_the_rest_of_a_second() {
    let mut scene = Scene::new();
    let mut read =
        |after: u64| (0..20).filter(|_| scene.peer.may_speak(10, scene.now + Duration::from_millis(after))).count();
    assert_eq!((read(0), read(999), read(1000)), (10, 0, 10));
}

#[test]
fn work_that_cannot_be_told_is_given_back() {
    let (mut scene, now) = (Scene::new(), Instant::now());
    let single = TextForm { hashing: Hashing::Single, ..TextForm::default() };
    let message = Message::Process(assign(1, job(1), &[(1, range(1, 1))]));
    assert_eq!(scene.peer.tell(&message, single, now), []);
    let (message, words) = scene.hear(Words::ProcessRequest);
    assert_eq!(words, None);
    assert!(
        matches!(message, Some(Message::ProcessRequest(report)) if report.held.is_some() && report.progress.is_empty())
    );
}
