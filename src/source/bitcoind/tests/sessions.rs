//! Sessions with a scripted node, by a clock that jumps to the next event.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::scripted::{LongPolls, Said, Scripted};
use super::{given, transaction};
use crate::source::bitcoind::chain::Chain;
use crate::source::{Offer, Session, SourceError, Verdict};
use crate::work::{BlockHash, Blueprint, Run, Slot, Solution, Template};

/// Longer than anything that a session waits for, but an hour's long poll.
const LONG: Duration = Duration::from_secs(300);

async fn offer(session: &mut dyn Session) -> Offer {
    timeout(LONG, session.next()).await.expect("an offer").unwrap()
}

async fn error(session: &mut dyn Session) -> SourceError {
    timeout(LONG, session.next()).await.expect("an error").unwrap_err()
}

async fn assert_silent(session: &mut dyn Session, time: Duration) {
    if let Ok(next) = timeout(time, session.next()).await {
        panic!("expected silence, got {next:?}");
    }
}

/// How long the next offer takes.
async fn until_offer(session: &mut dyn Session) -> (Template, Duration) {
    let begin = Instant::now();
    let offer = offer(session).await;
    (offer.template, begin.elapsed())
}

/// A solution, which on regtest is found at once.
fn solve(template: &Template) -> Solution {
    let job = template.job(Slot { run: Run(7), n: 7 }, Duration::from_secs(1_700_000_700)).unwrap();
    let nonce = (0..).find(|&nonce| job.check(nonce).is_some()).unwrap();
    Solution { job, nonce }
}

#[tokio::test(start_paused = true)]
async fn the_first_template_is_proposed_and_offered() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    let Template { round, goal, puzzle, tag } = offer(&mut *session).await.template;
    assert_eq!((round.block.height, round.generation, tag), (499, 0, 1));
    assert_eq!(BlockHash::from(round.block.hash).to_string(), format!("{:064x}", 0xabc));
    assert_eq!((goal.block, goal.report), (Chain::Regtest.limit().min(goal.block), goal.block));
    let Blueprint::Header { time, mask, .. } = puzzle else { panic!("expected a header") };
    assert_eq!((time.ahead, time.min, mask), (600, 1_700_000_000, 0x1fff_e000));
    assert_eq!(node.count("proposal"), 1);
    node.advance();
    assert_eq!(offer(&mut *session).await.template.tag, 2);
    assert_eq!(node.count("proposal"), 1, "once a session");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_would_refuse_the_blocks_is_not_mined_for() {
    let node = Scripted::new(Chain::Regtest);
    node.state().proposal = Said::Result(json!("bad-cb-amount"));
    let refused = error(&mut *node.open().await).await;
    assert!(refused.is_over && refused.problem.contains("bad-cb-amount"), "{refused}");
    node.state().proposal = Said::Lost;
    assert!(!error(&mut *node.open().await).await.is_over);
    // The tip has changed, proposals are not known after all, or not offered.
    for proposal in [Said::Result(json!("inconclusive-not-best-prevblk")), Said::Error(-8, "Invalid mode")] {
        node.state().proposal = proposal;
        offer(&mut *node.open().await).await;
    }
    node.state().proposal = Said::Result(json!("bad-cb-amount"));
    node.change(|template| template["capabilities"] = json!([]));
    offer(&mut *node.open().await).await;
}

#[tokio::test(start_paused = true)]
async fn a_payout_of_another_chain_and_an_unknown_chain_open_nothing() {
    let node = Scripted::new(Chain::Regtest);
    for (chain, told) in [("main", "of another chain"), ("simnet", "expected a node on main")] {
        node.state().chain = chain.into();
        let error = node.try_open().await.err().expect(told);
        assert!(error.problem.contains(told), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_long_poll_tells_of_a_block_at_once() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    offer(&mut *session).await;
    for height in 500..520 {
        sleep(Duration::from_secs(1)).await;
        node.advance();
        let (template, took) = until_offer(&mut *session).await;
        assert_eq!((template.round.block.height, took), (height, Duration::ZERO));
    }
    assert_eq!(node.count("template"), 1, "the long poll's answer is the template");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_outlives_the_polls_beside_it() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    offer(&mut *session).await;
    assert_silent(&mut *session, Duration::from_secs(1800)).await;
    assert!(node.count("template") >= 59 && node.count("tip") >= 100);
    assert_eq!((node.count("long poll"), node.state().held), (1, 1));
    drop(session);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(node.state().held, 0, "it ends with its session");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_that_is_never_answered_costs_10_seconds() {
    let node = Scripted::new(Chain::Regtest);
    node.state().long_polls = LongPolls::Held;
    let mut session = node.open().await;
    offer(&mut *session).await;
    for _ in 0..10 {
        node.advance();
        assert!(until_offer(&mut *session).await.1 <= Duration::from_secs(10));
        assert!(node.state().held <= 1);
    }
    assert_silent(&mut *session, Duration::from_secs(60)).await;
    // Once it is known to be deaf, the tip is asked for more often.
    node.advance();
    assert!(until_offer(&mut *session).await.1 <= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn without_long_polls_the_tip_is_asked_for_every_second() {
    for (how, id) in [(LongPolls::Refused, json!("one")), (LongPolls::Answered, json!(null))] {
        let node = Scripted::new(Chain::Regtest);
        node.state().long_polls = how;
        let mut session = node.open().await;
        node.change(|template| template["longpollid"] = id.clone());
        offer(&mut *session).await;
        sleep(Duration::from_secs(60)).await;
        node.advance();
        node.change(|template| template["longpollid"] = id.clone());
        assert!(until_offer(&mut *session).await.1 <= Duration::from_secs(1), "{how:?}");
        assert!(node.count("template") < 20, "{}", node.count("template"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_long_polls_at_once_is_not_asked_without_end() {
    let node = Scripted::new(Chain::Regtest);
    node.state().long_polls = LongPolls::Hasty;
    let mut session = node.open().await;
    offer(&mut *session).await;
    assert_silent(&mut *session, Duration::from_secs(100)).await;
    assert!(node.count("long poll") <= 101, "{}", node.count("long poll"));
}

#[tokio::test(start_paused = true)]
async fn new_transactions_come_in_within_30_seconds_and_not_all_the_time() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    let first = offer(&mut *session).await.template;
    // Neither the time nor the long poll's id makes another block.
    node.change(|template| {
        (template["curtime"], template["longpollid"]) = (json!(1_700_000_650), json!("two"));
    });
    assert_silent(&mut *session, Duration::from_secs(100)).await;
    session.ask();
    assert_eq!(offer(&mut *session).await.template, first, "the same, for it was asked");
    node.change(|template| template["transactions"] = json!([given(&transaction(1, true))]));
    let (second, took) = until_offer(&mut *session).await;
    assert!(took <= Duration::from_secs(30) && second.tag == 2 && second.round == first.round);
    node.change(|template| {
        template["transactions"] = json!([given(&transaction(2, true))]);
        template["longpollid"] = json!("three");
    });
    assert_silent(&mut *session, Duration::from_secs(9)).await;
    offer(&mut *session).await;
    // A session that is asked gives the newest.
    node.change(|template| template["transactions"] = json!([]));
    session.ask();
    assert_eq!(until_offer(&mut *session).await.1, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_ready_is_asked_only_when_the_session_is() {
    let node = Scripted::new(Chain::Regtest);
    let template = std::mem::replace(&mut node.state().template, Said::Error(-28, "Loading block index…"));
    let mut session = node.open().await;
    let problem = error(&mut *session).await;
    assert!(
        !problem.is_over && problem.to_string().contains("not ready yet: 'Loading block index…' (-28)"),
        "{problem}"
    );
    assert_silent(&mut *session, LONG).await;
    assert_eq!(node.count("template"), 1);
    session.ask();
    error(&mut *session).await;
    node.state().template = template;
    session.ask();
    offer(&mut *session).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_away_is_told_and_comes_back() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    let first = offer(&mut *session).await.template;
    let template = std::mem::replace(&mut node.state().template, Said::Lost);
    let begin = Instant::now();
    assert!(error(&mut *session).await.problem.contains("lost"));
    assert!(begin.elapsed() <= Duration::from_secs(10));
    node.state().template = template;
    session.ask();
    assert_eq!(offer(&mut *session).await.template, first);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_template_is_an_error_with_the_sources_name() {
    let node = Scripted::new(Chain::Regtest);
    node.change(|template| template["bits"] = json!("00000000"));
    let mut session = node.open().await;
    let problem = error(&mut *session).await.to_string();
    assert!(problem.starts_with("bitcoind+http://scripted: getblocktemplate: bits"), "{problem}");
    node.change(|template| {
        template["bits"] = json!("207fffff");
        template["coinbaseaux"] = json!({"flags": "00".repeat(90)});
    });
    session.ask();
    assert!(error(&mut *session).await.problem.contains("at most 100 bytes"));
}

#[tokio::test(start_paused = true)]
async fn on_a_test_chain_a_template_is_fetched_when_20_minutes_are_over() {
    let node = Scripted::new(Chain::Test4);
    let mut session = node.open().await;
    let Blueprint::Header { time, .. } = offer(&mut *session).await.template.puzzle else { panic!("a header") };
    assert_eq!((time.min, time.max), (1_700_000_000, 1_700_001_200));
    // The node's clock is 600 s behind the end of the 20 minutes.
    sleep(Duration::from_secs(575)).await;
    node.change(|template| template["curtime"] = json!(1_700_001_175));
    assert_silent(&mut *session, Duration::from_secs(25)).await;
    node.change(|template| {
        template["curtime"] = json!(1_700_001_201);
        (template["bits"], template["target"]) = (json!("1c7fff80"), json!(null));
    });
    let (template, took) = until_offer(&mut *session).await;
    let Blueprint::Header { time, bits, .. } = template.puzzle else { panic!("a header") };
    assert_eq!((time.min, time.max, bits), (1_700_001_201, u32::MAX, 0x1c7f_ff80));
    assert!(took <= Duration::from_secs(30), "{took:?}");
    assert_eq!(node.count("header"), 1, "a block's time does not change");
}

#[tokio::test(start_paused = true)]
async fn what_the_node_says_of_a_block_is_the_verdict() {
    let node = Scripted::new(Chain::Regtest);
    node.change(|template| template["workid"] = json!("work 7"));
    let mut session = node.open().await;
    let solution = solve(&offer(&mut *session).await.template);
    let hash = BlockHash::from(solution.verify().unwrap()).to_string();
    let block = || Ok(Verdict::Block { height: Some(500), next: None });
    let rejected = |reason: &str| Ok(Verdict::Rejected { reason: reason.into() });
    for (said, at_height, verdict) in [
        (json!(null), None, block()),
        (json!("duplicate"), None, block()),
        (json!("rejected: duplicate"), None, block()),
        (json!("inconclusive"), Some(hash.as_str()), block()),
        (json!(null), None, block()),
        (json!("inconclusive"), Some("00"), Ok(Verdict::Stale)),
        (json!(null), None, Ok(Verdict::Stale)),
        (json!("duplicate-inconclusive"), Some(hash.as_str()), block()),
        (json!("duplicate-invalid"), None, rejected("duplicate-invalid")),
        (json!("high-hash"), None, rejected("high-hash")),
        (json!("rejected: bad-txnmrklroot"), None, rejected("bad-txnmrklroot")),
        (json!("no\u{1b}[2J"), None, rejected("'no\\u{1b}[2J'")),
        (json!("stale-prevblk"), None, Ok(Verdict::Stale)),
    ] {
        node.state().submits.push_back(Said::Result(said.clone()));
        if let Some(hash) = at_height {
            node.state().block_hash = Said::Result(json!(hash));
        }
        assert_eq!(session.submit(&solution).await, verdict, "{said}");
    }
    let submitted = node.state().submitted.clone();
    assert_eq!(submitted[1], json!({"workid": "work 7"}));
    assert!(submitted[0].as_str().unwrap().starts_with(&hex::encode(match solution.job.puzzle {
        crate::work::Puzzle::Header(puzzle) => puzzle.at(solution.nonce).to_bytes(),
        _ => panic!("a header"),
    })));
    node.state().submits.push_back(Said::Error(-22, "Block decode failed"));
    assert!(matches!(session.submit(&solution).await, Ok(Verdict::Rejected { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_block_without_a_final_answer_may_be_submitted_again() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    let solution = solve(&offer(&mut *session).await.template);
    for said in [
        Said::Lost,
        Said::Error(-28, "Loading"),
        Said::Error(-32603, "Internal error"),
        Said::Error(-25, "Disk space is too low!"),
        Said::Result(json!(7)),
        Said::Result(json!({})),
        Said::Result(json!("inconclusive")), // and its chain is not that high yet
    ] {
        node.state().submits.push_back(said.clone());
        let error = session.submit(&solution).await.expect_err("no answer");
        assert!(!error.is_over && error.to_string().starts_with("bitcoind+http://scripted: "), "{said:?}: {error}");
    }
    node.state().submits.push_back(Said::Result(json!(null)));
    assert!(matches!(session.submit(&solution).await, Ok(Verdict::Block { .. })));
}

#[tokio::test(start_paused = true)]
async fn solutions_of_replaced_templates_are_submitted_until_they_are_forgotten() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    let solution = solve(&offer(&mut *session).await.template);
    for _ in 0..15 {
        node.advance();
        offer(&mut *session).await;
    }
    node.state().submits.push_back(Said::Result(json!(null)));
    assert!(matches!(session.submit(&solution).await, Ok(Verdict::Block { .. })));
    node.advance();
    offer(&mut *session).await;
    assert_eq!(session.submit(&solution).await, Ok(Verdict::Stale));
    let other = Solution { nonce: u64::MAX, ..solution };
    assert_eq!(session.submit(&other).await, Ok(Verdict::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_solution_of_no_job_of_ours_is_not_submitted() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    let solution = solve(&offer(&mut *session).await.template);
    let mut other = solution;
    other.job.tag.slot.n += 1;
    assert!(matches!(session.submit(&other).await, Ok(Verdict::NotUnderstood(_))));
    assert_eq!(node.count("submit"), 0);
}

/// A long poll may have been answered before the block was taken that it competes with.
#[tokio::test(start_paused = true)]
async fn a_block_that_was_just_solved_is_not_offered_again() {
    let node = Scripted::new(Chain::Regtest);
    let mut session = node.open().await;
    let first = offer(&mut *session).await.template;
    node.state().submits.push_back(Said::Result(json!(null)));
    sleep(Duration::from_secs(20)).await;
    session.submit(&solve(&first)).await.unwrap();
    // The long poll is answered with new transactions for the old block.
    node.change(|template| {
        template["transactions"] = json!([given(&transaction(1, true))]);
        template["longpollid"] = json!("late");
    });
    tokio::task::yield_now().await;
    node.advance();
    let second = offer(&mut *session).await.template;
    assert_eq!(second.round.block.height, first.round.block.height + 1);
}
