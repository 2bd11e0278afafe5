use std::time::Duration;

use super::submissions::{MAX_UNDER_WAY, MAX_WAITING};
use super::*;
use crate::cluster::tests::node;
use crate::work::{BlockId, Blueprint, Digest, Goal, Hashing, RoundId, Search, Slot, Target};

const RUN: Run = Run(7);

/// How long a preferred source has to answer.
const BACK: Duration = Duration::from_secs(20);

/// A feed of so many sources, and a moment to begin with.
#[allow(clippy::disallowed_methods)] // any moment will do
fn wanted(sources: usize) -> (Feed, Instant) {
    let mut feed = Feed::new(sources, RUN, BACK);
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

/// The template that was passed on, if one was.
fn passed_on(feed: &mut Feed) -> Option<Template> {
    let template = |news: News| match news {
        News::Template { template, .. } => Some(template),
        _ => None,
    };
    news(feed).into_iter().find_map(template)
}

/// What was told of the sources.
fn told(feed: &mut Feed) -> Vec<(Option<usize>, Option<String>)> {
    let told = |news: News| match news {
        News::Source { source, problem } => Some((source, problem)),
        _ => None,
    };
    news(feed).into_iter().filter_map(told).collect()
}

fn problem(source: usize) -> Option<String> {
    Some(format!("source {source}: no answer"))
}

/// A feed of two sources, of which the first has failed and the second serves.
fn at_the_second() -> (Feed, Instant) {
    let (mut feed, now) = wanted(2);
    fail(&mut feed, now, session(0, 1), false);
    offer(&mut feed, now, session(1, 2), template(1, 5));
    (feed, now)
}

/// Time passes, from each timer to the next, until `end`.
fn pass(feed: &mut Feed, end: Instant) {
    while let Some(due) = feed.poll_timeout().filter(|due| *due <= end) {
        feed.handle_timeout(due);
    }
}

#[test]
fn the_next_source_is_tried_when_one_fails_and_is_left_when_it_has_been_back_for_long_enough() {
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
    offer(&mut feed, due + BACK / 2, session(0, 1), template(2, 2));
    offer(&mut feed, due + BACK / 2, session(1, 2), template(1, 6));
    assert!(passed_on(&mut feed).is_some_and(|template| template.round.block.height == 1), "the second one's");
    pass(&mut feed, due + BACK - Duration::from_millis(1));
    assert_eq!((passed_on(&mut feed), feed.in_use()), (None, Some(1)));
    pass(&mut feed, due + BACK);
    let template_of_2 = passed_on(&mut feed).unwrap();
    assert_eq!(template_of_2.round.block.height, 2, "the newest of the first one's");
    assert_eq!((requests(&mut feed), feed.in_use()), (vec![], Some(0)));

    // The second one's session stays open for solutions that are still on their way, and its templates do not count any more.
    offer(&mut feed, due + BACK, session(1, 2), template(9, 9));
    assert_eq!(news(&mut feed), []);
    pass(&mut feed, due + BACK + STAYS_OPEN);
    assert_eq!(requests(&mut feed), [Request::Close(session(1, 2))]);
    assert_eq!(feed.poll_timeout(), None);
}

#[test]
fn a_source_that_is_back_serves_at_once_if_the_serving_one_fails() {
    let (mut feed, now) = at_the_second();
    offer(&mut feed, now, session(0, 1), template(3, 1));
    requests(&mut feed);
    news(&mut feed);
    fail(&mut feed, now, session(1, 2), false);
    assert_eq!(passed_on(&mut feed).unwrap().round.block.height, 3);
    assert_eq!(requests(&mut feed), [Request::Close(session(1, 2))], "it had failed");
    assert_eq!(feed.poll_timeout(), None);
}

#[test]
fn a_source_that_comes_and_goes_does_not_serve() {
    let (mut feed, now) = at_the_second();
    for round in 0..5 {
        let at = now + BACK * round;
        offer(&mut feed, at, session(0, 1), template(3, 1));
        pass(&mut feed, at + BACK * 3 / 4);
        fail(&mut feed, at + BACK * 3 / 4, session(0, 1), false);
        pass(&mut feed, at + BACK);
    }
    assert_eq!(feed.in_use(), Some(1));
    assert_eq!(told(&mut feed), [(Some(1), problem(0))], "it is told once");
    offer(&mut feed, now + BACK * 5, session(0, 1), template(3, 1));
    pass(&mut feed, now + BACK * 6);
    assert_eq!((told(&mut feed), feed.in_use()), (vec![(Some(0), None)], Some(0)));
}

#[test]
fn without_a_time_to_wait_a_source_that_is_back_serves_at_once() {
    let (mut feed, now) = at_the_second();
    feed.source_return = Duration::ZERO;
    offer(&mut feed, now, session(0, 1), template(3, 1));
    assert_eq!(feed.in_use(), Some(0));
}

#[test]
fn of_several_preferred_sources_each_returns_in_its_time() {
    let (mut feed, now) = wanted(3);
    fail(&mut feed, now, session(0, 1), false);
    fail(&mut feed, now, session(1, 2), false);
    offer(&mut feed, now, session(2, 3), template(1, 1));
    assert_eq!(told(&mut feed), [(Some(2), Some("source 0: no answer; source 1: no answer".to_owned()))]);
    offer(&mut feed, now, session(1, 2), template(1, 1));
    offer(&mut feed, now + BACK / 2, session(0, 1), template(1, 1));
    pass(&mut feed, now + BACK);
    assert_eq!(told(&mut feed), [(Some(1), problem(0))]);
    pass(&mut feed, now + BACK * 3 / 2);
    assert_eq!(told(&mut feed), [(Some(0), None)]);
}

/// The rules ignore what was asked for before what they know, and would ask the source in use again and again.
#[test]
fn what_the_source_in_use_wants_counts_however_long_ago_it_was_asked() {
    let (mut feed, now) = at_the_second();
    offer(&mut feed, now, session(0, 1), template(3, 1));
    offer(&mut feed, now + BACK / 2, session(1, 2), template(1, 6));
    news(&mut feed);
    pass(&mut feed, now + BACK);
    let asked = |feed: &mut Feed| match &news(feed)[..] {
        [.., News::Template { asked, .. }] => *asked,
        other => panic!("a template, not {other:?}"),
    };
    assert_eq!(asked(&mut feed), now + BACK / 2);
    offer(&mut feed, now, session(0, 1), template(3, 1)); // a pool that is asked again may give what it gave before
    assert_eq!(asked(&mut feed), now + BACK / 2);
    offer(&mut feed, now + BACK, session(0, 1), template(4, 2));
    assert_eq!(asked(&mut feed), now + BACK);
}

#[test]
fn solutions_still_reach_a_source_that_was_just_left() {
    let (mut feed, now) = wanted(2);
    fail(&mut feed, now, session(0, 1), false);
    offer(&mut feed, now, session(1, 2), template(1, 5));
    let left = passed_on(&mut feed).unwrap();
    offer(&mut feed, now, session(0, 1), template(2, 1));
    pass(&mut feed, now + BACK);
    requests(&mut feed);
    feed.submit(of_header(&left), node(1));
    let [Request::Submit { session: to, ticket, .. }] = requests(&mut feed)[..] else { panic!("a submission") };
    assert_eq!((to, feed.in_use()), (session(1, 2), Some(0)));
    news(&mut feed);
    let verdict = Verdict::Block { height: Some(2), next: Some(template(2, 2)) };
    feed.handle(now, Answer::Verdict { ticket, result: Ok(verdict) });
    assert!(matches!(&news(&mut feed)[..], [News::Verdict { verdict: Verdict::Block { next: None, .. }, .. }]));
}

#[test]
fn trouble_is_reported_when_no_source_is_left_and_when_one_is_back() {
    let (mut feed, now) = wanted(2);
    fail(&mut feed, now, session(0, 1), true);
    assert_eq!(news(&mut feed), []);
    fail(&mut feed, now, session(1, 2), true);
    let both = Some("source 0: no answer; source 1: no answer".to_owned());
    assert_eq!(told(&mut feed), [(None, both.clone())]);
    assert_eq!((feed.in_use(), feed.problem().map(str::to_owned)), (None, both));
    requests(&mut feed);
    feed.handle_timeout(now + LONGEST_PAUSE);
    assert_eq!(requests(&mut feed), [Request::Open(session(0, 3)), Request::Open(session(1, 4))]);
    offer(&mut feed, now, session(1, 4), template(1, 1));
    assert_eq!(told(&mut feed), [(Some(1), problem(0))]);
    feed.want(false);
    assert_eq!(told(&mut feed), [(None, None)]);
}

#[test]
fn it_is_no_news_that_the_first_source_serves_or_that_none_is_needed() {
    let (mut feed, now) = wanted(2);
    offer(&mut feed, now, session(0, 1), template(1, 1));
    assert_eq!((told(&mut feed), feed.in_use(), feed.problem()), (vec![], Some(0), None));
    feed.want(false);
    assert_eq!((told(&mut feed), feed.in_use()), (vec![], None));
}

#[test]
fn a_solution_without_an_answer_is_told_until_another_has_one() {
    let (mut feed, now) = wanted(1);
    offer(&mut feed, now, session(0, 1), template(1, 1));
    let solution = solution(&passed_on(&mut feed).unwrap());
    let mut answer = |result: Result<Verdict, SourceError>| {
        feed.submit(solution, node(1));
        let ticket = requests(&mut feed).into_iter().find_map(|request| match request {
            Request::Submit { ticket, .. } => Some(ticket),
            _ => None,
        });
        feed.handle(now, Answer::Verdict { ticket: ticket.unwrap(), result });
        told(&mut feed)
    };
    let error = || Err(SourceError { url: "source 0".to_owned(), problem: "no answer".to_owned(), is_over: false });
    assert_eq!(answer(error()), [(Some(0), problem(0))]);
    assert_eq!(answer(error()), []);
    assert_eq!(answer(Ok(Verdict::Share)), [(Some(0), None)]);
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
