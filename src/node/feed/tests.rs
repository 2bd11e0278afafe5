use std::time::Duration;

use super::*;
use crate::cluster::tests::node;
use crate::work::{BlockId, Blueprint, Digest, Goal, Hashing, Search, Slot, Target};

const RUN: Run = Run(7);

/// A feed of so many sources, and a moment to begin with.
#[allow(clippy::disallowed_methods)] // any moment will do
fn wanted(sources: usize) -> (Feed, Instant) {
    let mut feed = Feed::new(sources, RUN);
    feed.want(true);
    (feed, Instant::now())
}

fn session(source: usize, number: u64) -> SessionId {
    SessionId { source, number }
}

fn template(height: u64, tag: u64) -> Template {
    let round = RoundId { block: BlockId { height, hash: Digest([height as u8; 32]) }, generation: 0 };
    let goal = Goal { block: Target::MAX, report: Target::MAX, search: Search::First };
    Template { round, goal, puzzle: Blueprint::Text { hashing: Hashing::Double }, tag }
}

fn solution(template: &Template) -> Solution {
    let job = template.job(Slot { run: RUN, n: 0 }, Duration::from_secs(1)).unwrap();
    Solution { job, nonce: 1 }
}

/// The same template's solution of a header, which only its own session takes.
fn of_header(template: &Template) -> Solution {
    let solution = solution(template);
    Solution { job: crate::work::Job { puzzle: crate::work::fixtures::header(0), ..solution.job }, ..solution }
}

fn offer(feed: &mut Feed, now: Instant, session: SessionId, template: Template) {
    feed.handle(now, Answer::Offer(session, Ok(Offer { template, asked: now, body: None })));
}

fn fail(feed: &mut Feed, now: Instant, session: SessionId, is_over: bool) {
    let error = SourceError { url: format!("source {}", session.source), problem: "no answer".to_owned(), is_over };
    feed.handle(now, Answer::Offer(session, Err(error)));
}

fn requests(feed: &mut Feed) -> Vec<Request> {
    std::iter::from_fn(|| feed.poll_request()).collect()
}

fn news(feed: &mut Feed) -> Vec<News> {
    std::iter::from_fn(|| feed.poll_news()).collect()
}

/// The template that was passed on, if it is the only news.
fn passed_on(feed: &mut Feed) -> Option<Template> {
    match &news(feed)[..] {
        [News::Template { template, .. }] => Some(template.clone()),
        _ => None,
    }
}

#[test]
fn the_next_source_is_tried_when_one_fails_and_is_left_when_it_is_back() {
    let (mut feed, now) = wanted(2);
    assert_eq!(requests(&mut feed), [Request::Open(session(0, 1))]);
    fail(&mut feed, now, session(0, 1), false);
    assert_eq!((requests(&mut feed), news(&mut feed)), (vec![Request::Open(session(1, 2))], vec![]));
    offer(&mut feed, now, session(1, 2), template(1, 5));
    assert!(passed_on(&mut feed).is_some());
    let due = feed.poll_timeout().unwrap();
    assert!(due <= now + LONGEST_PAUSE);
    feed.handle_timeout(due);
    assert_eq!(requests(&mut feed), [Request::Ask(session(0, 1))], "its session is not over");
    offer(&mut feed, due, session(0, 1), template(1, 1));
    assert_eq!(requests(&mut feed), [Request::Close(session(1, 2))]);
    assert!(passed_on(&mut feed).is_some());
    offer(&mut feed, due, session(1, 2), template(9, 9));
    assert_eq!(news(&mut feed), [], "its session was closed");
}

#[test]
fn trouble_is_reported_when_no_source_is_left_and_when_one_is_back() {
    let (mut feed, now) = wanted(2);
    fail(&mut feed, now, session(0, 1), true);
    assert_eq!(news(&mut feed), []);
    fail(&mut feed, now, session(1, 2), true);
    let both = "source 0: no answer; source 1: no answer".to_owned();
    assert_eq!(news(&mut feed), [News::Trouble(Some(both))]);
    requests(&mut feed);
    feed.handle_timeout(now + LONGEST_PAUSE);
    assert_eq!(requests(&mut feed), [Request::Open(session(0, 3)), Request::Open(session(1, 4))]);
    offer(&mut feed, now, session(1, 4), template(1, 1));
    assert_eq!(news(&mut feed)[0], News::Trouble(None));
}

#[test]
fn templates_get_numbers_of_the_nodes_own_by_which_solutions_find_their_session() {
    let (mut feed, now) = wanted(1);
    offer(&mut feed, now, session(0, 1), template(1, 40));
    let first = passed_on(&mut feed).unwrap();
    offer(&mut feed, now, session(0, 1), template(1, 41));
    let second = passed_on(&mut feed).unwrap();
    offer(&mut feed, now, session(0, 1), template(1, 40));
    assert_eq!(passed_on(&mut feed).unwrap(), first, "it is the same template");
    assert_ne!(first.tag, second.tag);
    requests(&mut feed);
    feed.submit(of_header(&second), node(1));
    let [Request::Submit { session: to, solution, .. }] = &requests(&mut feed)[..] else { panic!("a submission") };
    assert_eq!((*to, solution.job.tag.template), (session(0, 1), 41));

    let text = self::solution(&second);
    fail(&mut feed, now, session(0, 1), true);
    news(&mut feed);
    feed.submit(of_header(&second), node(1));
    assert!(matches!(news(&mut feed)[..], [News::Unsubmittable { .. }]), "its session is over");
    feed.submit(text, node(1));
    assert!(matches!(news(&mut feed)[..], [News::Unanswered { .. }]), "a text waits for another session");
}

#[test]
fn a_bounded_number_is_submitted_at_a_time_and_a_bounded_number_waits() {
    let (mut feed, now) = wanted(1);
    offer(&mut feed, now, session(0, 1), template(1, 1));
    let solution = solution(&passed_on(&mut feed).unwrap());
    requests(&mut feed);
    for _ in 0..MAX_UNDER_WAY + MAX_WAITING {
        feed.submit(solution, node(1));
    }
    let submitted = requests(&mut feed);
    assert_eq!((submitted.len(), news(&mut feed)), (MAX_UNDER_WAY, vec![]));
    feed.submit(solution, node(1));
    assert_eq!(news(&mut feed), [News::Unanswered { solution }]);
    let Request::Submit { ticket, .. } = submitted[0] else { panic!("a submission") };
    let verdict = || Answer::Verdict { ticket, result: Ok(Verdict::Stale) };
    feed.handle(now, verdict());
    assert_eq!((requests(&mut feed).len(), news(&mut feed).len()), (1, 1));
    feed.handle(now, verdict());
    assert_eq!((requests(&mut feed), news(&mut feed)), (vec![], vec![]), "it has been answered");
}

#[test]
fn a_verdicts_next_block_counts_while_its_session_is_open() {
    for is_closed in [false, true] {
        let (mut feed, now) = wanted(1);
        offer(&mut feed, now, session(0, 1), template(1, 1));
        let solution = solution(&passed_on(&mut feed).unwrap());
        feed.submit(solution, node(3));
        assert!(feed.is_submitting());
        if is_closed {
            feed.want(false);
        }
        let ticket = requests(&mut feed).iter().find_map(|request| match request {
            Request::Submit { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let verdict = Verdict::Block { height: Some(2), next: Some(template(2, 2)) };
        feed.handle(now, Answer::Verdict { ticket: ticket.unwrap(), result: Ok(verdict) });
        let news = news(&mut feed);
        let [News::Verdict { found_by, verdict: Verdict::Block { height, next }, .. }] = &news[..] else {
            panic!("a verdict, not {news:?}")
        };
        assert_eq!((*found_by, *height, next.is_none()), (node(3), Some(2), is_closed));
        assert!(!feed.is_submitting());
    }
}
