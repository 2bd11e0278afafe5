//! Work, shares, and what a pool may ask in between.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::pool::{EXTRANONCE1, Notify, prev};
use super::*;
use crate::source::Verdict;
use crate::work::{Puzzle, Target};

/// The template in which the easy difficulty counts.
async fn easy_work(session: &mut Box<dyn Session>) -> Template {
    loop {
        let template = next(session).await;
        if template.goal.report == Target::from_difficulty(1e-7).unwrap() {
            return template;
        }
    }
}

#[tokio::test]
async fn submitted_shares_are_what_the_pool_works_out_for_itself() {
    let (_source, mut pool, mut session) = session().await;
    let notify = pool.work().await;
    let template = easy_work(&mut session).await;
    let job = template.job(Slot { run: Run(7), n: 0x0102_0304 }, NOW).unwrap();
    let Puzzle::Header(puzzle) = job.puzzle else { panic!("a header") };
    let mut versions = HashSet::new();
    // The lowest three bits of a nonce are bits of the version, and so are those above 35.
    for start in [0, 1 << 36, 1 << 40, (1 << 48) - (1 << 20)] {
        let nonce = (start..start + (1 << 20)).find(|&nonce| job.check(nonce).is_some()).unwrap();
        versions.insert(puzzle.version(nonce));
        let verdict = session.submit(&Solution { job, nonce });
        let (verdict, ()) = tokio::join!(verdict, async {
            let submit = pool.expect("mining.submit").await;
            let params = submit["params"].as_array().unwrap();
            assert_eq!((params.len(), &params[2]), (6, &json!("04030201")));
            assert!(notify.is_share(EXTRANONCE1, params), "{submit}");
            pool.answer(&submit, json!(true), Value::Null).await;
        });
        assert_eq!(verdict, Ok(Verdict::Share));
    }
    assert!(versions.len() >= 3, "{versions:x?}");
}

#[tokio::test]
async fn a_thousand_shares_flow_without_one_being_lost() {
    let (_source, mut pool, mut session) = session().await;
    let notify = pool.work().await;
    let template = easy_work(&mut session).await;
    let solutions: Vec<Solution> = (0..1000).map(|n| mine(&template, n)).collect();
    let verdicts = join_all(solutions.iter().map(|solution| session.submit(solution)));
    let script = async {
        let mut seen = HashSet::new();
        for _ in 0..10 {
            let mut together = vec![];
            for _ in 0..100 {
                let submit = pool.expect("mining.submit").await;
                let params = submit["params"].as_array().unwrap();
                assert!(notify.is_share(EXTRANONCE1, params), "{submit}");
                assert!(seen.insert(params.clone()), "twice: {submit}");
                together.push(submit);
            }
            // Replies come in any order.
            for submit in together.iter().rev() {
                pool.answer(submit, json!(true), Value::Null).await;
            }
        }
    };
    let (verdicts, ()) = tokio::join!(verdicts, script);
    assert!(verdicts.iter().all(|verdict| *verdict == Ok(Verdict::Share)));
}

#[tokio::test]
async fn each_share_gets_its_own_verdict() {
    let (_source, mut pool, mut session) = session().await;
    pool.work().await;
    let template = easy_work(&mut session).await;
    let rejected = |reason: &str| Verdict::Rejected { reason: reason.into() };
    let cases = [
        (json!(true), Value::Null, Verdict::Share),
        (json!(null), json!([21, "Job not found", null]), Verdict::Stale),
        (json!(false), json!({"code": 22, "message": "dupe"}), rejected("duplicate: dupe")),
        (json!(null), json!([23, format!("low, {USER}!"), null]), rejected("low difficulty: low, …!")),
        (json!(false), Value::Null, rejected("no reason given")),
    ];
    let solutions: Vec<_> = (0..5).map(|n| mine(&template, n)).collect();
    let verdicts = join_all(solutions.iter().map(|solution| session.submit(solution)));
    let (verdicts, ()) = tokio::join!(verdicts, async {
        for (result, error, _) in &cases {
            let submit = pool.expect("mining.submit").await;
            pool.answer(&submit, result.clone(), error.clone()).await;
        }
    });
    for (verdict, (_, _, expected)) in verdicts.into_iter().zip(cases) {
        assert_eq!(verdict, Ok(expected));
    }
}

#[tokio::test]
async fn a_new_job_replaces_the_last_and_asking_repeats_it() {
    let (_source, mut pool, mut session) = session().await;
    pool.work().await;
    let first = easy_work(&mut session).await;
    session.ask();
    assert_eq!(next(&mut session).await, first);
    // Of what came while nobody listened, only the newest counts.
    for block in [2, 3] {
        pool.notify(&Notify { prev: prev(block), is_clean: true, ..Notify::default() }).await;
    }
    pool.raw(r#"{"id":1,"method":"mining.ping"}"#).await;
    pool.line().await.unwrap(); // so all was heard
    let newest = next(&mut session).await;
    assert_eq!(newest.round.block.hash.reversed().to_string(), prev(3));
    assert!(tokio::time::timeout(Duration::from_millis(50), session.next()).await.is_err(), "nothing else");
    pool.notify(&Notify { job: "c0", prev: prev(3), ..Notify::default() }).await;
    assert_eq!(next(&mut session).await.round, newest.round);
}

#[tokio::test]
async fn requests_of_the_pool_are_answered_and_its_messages_are_not() {
    let (_source, mut pool, _session) = session().await;
    let agent = json!(concat!("headframe/", env!("CARGO_PKG_VERSION")));
    pool.call("client.show_message", json!(["\u{1b}[2Jhello"])).await;
    pool.call("client.show_message", json!([7])).await;
    pool.call("mining.something", json!([])).await;
    pool.raw("").await;
    pool.raw(" \r").await;
    for (id, method, result) in [
        (json!(1), "client.get_version", agent),
        (json!("two"), "mining.ping", json!("pong")),
        (json!(3), "mining.something", Value::Null),
    ] {
        pool.raw(&json!({"id": id, "method": method, "params": []}).to_string()).await;
        let reply = pool.line().await.unwrap();
        assert_eq!((&reply["id"], &reply["result"]), (&id, &result));
        assert_eq!(reply["error"].is_array(), result.is_null(), "{reply}");
    }
}

#[tokio::test]
async fn a_pool_may_move_a_session_on_its_own_host_only() {
    for elsewhere in [json!(["evil.example", 3333, 0]), json!(["127.0.0.2", "3333"]), json!(["evil.example"])] {
        let (_source, mut pool, mut session) = session().await;
        pool.call("client.reconnect", elsewhere).await;
        pool.work().await;
        easy_work(&mut session).await; // it goes on
    }
    for (here, port) in [
        (json!([]), 1),
        (json!(["127.0.0.1", 4444, 1]), 4444),
        (json!(["", "4445", 1]), 4445),
        (json!(["127.0.0.1"]), 1),
        (json!([null, null, null]), 1),
    ] {
        let (source, mut pool, mut session) = session().await;
        pool.call("client.reconnect", here.clone()).await;
        assert!(over(&mut session).await.contains("asks for a new connection"));
        assert_eq!((source.pool.take_port(), source.pool.take_port()), (port, 1), "{here}: tried once");
    }
    let (_source, mut pool, mut session) = session().await;
    pool.call("client.reconnect", json!(["127.0.0.1", 0])).await;
    assert!(over(&mut session).await.contains("port to reconnect to"));
}

#[tokio::test]
async fn a_share_that_takes_too_long_is_told_once() {
    let (source, mut pool, mut session) = session().await;
    let mut late = source.advice().unwrap();
    assert_eq!(*late.borrow(), None);
    pool.notify(&Notify::default()).await; // of difficulty 1, until the pool names another
    late.changed().await.unwrap();
    let advice = late.borrow_and_update().clone().unwrap();
    assert!(advice.contains("is expected every 72 minutes only"), "2^32 hashes at a million a second: {advice}");
    pool.work().await;
    late.changed().await.unwrap();
    assert_eq!(*late.borrow(), None);
    easy_work(&mut session).await;
}

#[tokio::test]
async fn sessions_of_one_source_never_share_a_round() {
    let (listener, port) = listen().await;
    let source = source(port);
    let mut rounds = HashSet::new();
    for _ in 0..3 {
        let (session, pool) = tokio::join!(source.open(), async {
            let mut pool = Script::new(listener.accept().await.unwrap().0);
            pool.greet().await;
            pool.work().await;
            pool
        });
        let mut session = session.unwrap();
        rounds.insert(easy_work(&mut session).await.round);
        drop(pool);
        assert!(over(&mut session).await.contains("closed the connection"));
    }
    assert_eq!(rounds.len(), 3);
}
