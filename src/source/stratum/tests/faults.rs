//! What ends a session, and what becomes of shares then.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::pool::{EXTRANONCE1, Notify, prev};
use super::*;
use crate::source::Verdict;

#[tokio::test]
async fn nonsense_ends_the_session_with_a_sentence() {
    let with = |field: usize, value: Value| {
        let mut params = Notify::default().params();
        params[field] = value;
        json!({"id": null, "method": "mining.notify", "params": params}).to_string()
    };
    let call = |method: &str, params: Value| json!({"id": null, "method": method, "params": params}).to_string();
    for (line, sentence) in [
        (with(6, json!("00000000")), "nbits"),
        (with(4, json!(vec!["00".repeat(32); 33])), "merkle branch"),
        (with(3, json!("00")), "script"),
        (call("mining.notify", json!([])), "9 parameters"),
        (call("mining.set_difficulty", json!([0])), "expected a difficulty above 0"),
        (call("mining.set_difficulty", json!([-1])), "expected a difficulty above 0"),
        (call("mining.set_difficulty", json!([1e308])), "got 1e308"),
        (call("mining.set_extranonce", json!(["", 0])), "1 to 8 bytes"),
        (call("mining.set_extranonce", json!(["", 17])), "1 to 8 bytes as the size of extranonce2, got '17'"),
        (call("mining.set_version_mask", json!(["no"])), "mask"),
        ("x".repeat(65 << 10), "at most 65536 bytes"),
    ] {
        let (_source, mut pool, mut session) = session().await;
        pool.raw(&line).await;
        let problem = over(&mut session).await;
        assert!(problem.starts_with("stratum+tcp://127.0.0.1:1: ") && problem.contains(sentence), "{problem}");
    }
}

#[tokio::test]
async fn some_lines_may_be_no_stratum_but_not_many() {
    let (_source, mut pool, mut session) = session().await;
    for _ in 0..8 {
        pool.raw("{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[NaN]}").await;
        pool.raw(&format!("{{\"id\":77,\"result\":\"{USER}\"}}")).await; // an answer to nothing
    }
    pool.work().await;
    next(&mut session).await;
    pool.raw(&format!("hello {USER}")).await;
    let problem = over(&mut session).await;
    assert!(problem.contains("expected a JSON object on one line, got 'hello …'"), "{problem}");
}

#[tokio::test]
async fn work_for_a_block_that_was_left_ends_the_session() {
    let (_source, mut pool, mut session) = session().await;
    for block in [1, 2, 3] {
        pool.notify(&Notify { prev: prev(block), ..Notify::default() }).await;
        next(&mut session).await;
    }
    pool.notify(&Notify { prev: prev(2), ..Notify::default() }).await;
    let problem = over(&mut session).await;
    assert!(problem.contains(&prev(2)), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn three_minutes_of_silence_end_the_session() {
    let (_source, mut pool, mut session) = session().await;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(100)).await;
    pool.work().await;
    assert!(over(&mut session).await.contains("expected a word from the pool within 3 minutes"));
    assert_eq!(start.elapsed().as_secs(), 280);
}

#[tokio::test(start_paused = true)]
async fn a_share_without_an_answer_ends_the_session_and_no_share_is_forgotten() {
    let (_source, mut pool, mut session) = session().await;
    pool.work().await;
    let template = loop {
        let template = next(&mut session).await;
        if template.goal.report == crate::work::Target::from_difficulty(1e-7).unwrap() {
            break template;
        }
    };
    let start = Instant::now();
    let [first, second] = [0, 1].map(|n| session.submit(&mine(&template, n)));
    let answered = tokio::spawn(first);
    let submit = pool.expect("mining.submit").await;
    pool.answer(&submit, json!(true), Value::Null).await;
    assert_eq!(answered.await.unwrap(), Ok(Verdict::Share));
    let error = second.await.unwrap_err();
    assert!(error.is_over && error.problem.contains("expected an answer to a share within 30 s"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(over(&mut session).await, error.to_string());
    assert_eq!(session.submit(&mine(&template, 2)).await, Err(error), "and so do later ones");
}

#[tokio::test]
async fn shares_on_their_way_are_told_when_the_connection_ends() {
    let (_source, mut pool, mut session) = session().await;
    pool.work().await;
    let template = next(&mut session).await;
    let job = template.job(Slot { run: Run(7), n: 1 }, NOW).unwrap();
    let pending: Vec<_> = (0..10).map(|nonce| tokio::spawn(session.submit(&Solution { job, nonce }))).collect();
    for _ in 0..10 {
        pool.expect("mining.submit").await;
    }
    drop(pool);
    for share in pending {
        let error = share.await.unwrap().unwrap_err();
        assert!(error.is_over && error.problem.contains("closed the connection"), "{error}");
    }
}

#[tokio::test]
async fn a_pool_that_rejects_more_than_a_quarter_is_left() {
    let (_source, mut pool, mut session) = session().await;
    pool.work().await;
    let template = next(&mut session).await;
    let job = template.job(Slot { run: Run(7), n: 1 }, NOW).unwrap();
    for nonce in 0..20 {
        let verdict = session.submit(&Solution { job, nonce });
        let (verdict, ()) = tokio::join!(verdict, async {
            let submit = pool.expect("mining.submit").await;
            match nonce % 3 {
                0 => pool.answer(&submit, json!(false), json!([23, "too high", null])).await,
                _ => pool.answer(&submit, json!(true), Value::Null).await,
            }
        });
        assert!(verdict.is_ok(), "{verdict:?}: even the last one's verdict is told");
    }
    let problem = over(&mut session).await;
    assert!(problem.contains("7 of 20 rejected, the last with: low difficulty: too high"), "{problem}");
}

#[tokio::test]
async fn a_session_that_nobody_holds_ends_after_its_last_answer() {
    let (_source, mut pool, mut session) = session().await;
    pool.work().await;
    let template = next(&mut session).await;
    let share = tokio::spawn(session.submit(&mine_any(&template)));
    let submit = pool.expect("mining.submit").await;
    drop(session);
    pool.answer(&submit, json!(true), Value::Null).await;
    assert_eq!(share.await.unwrap(), Ok(Verdict::Share));
    assert_eq!(pool.line().await, None, "the connection is closed");
}

fn mine_any(template: &Template) -> Solution {
    Solution { job: template.job(Slot { run: Run(7), n: 1 }, NOW).unwrap(), nonce: 0 }
}

#[tokio::test]
async fn a_small_extranonce_that_is_used_up_ends_the_session() {
    for (size, ends) in [(1, true), (2, true), (3, false)] {
        let script = async |pool: &mut Script| {
            pool.subscribe(EXTRANONCE1, size).await;
            pool.authorize().await;
            pool.notify(&Notify::default()).await;
        };
        let (_, _pool, session) = greet(script, false).await;
        let mut session = session.unwrap();
        let first = next(&mut session).await;
        for _ in 0..16 {
            session.ask();
            assert_eq!(next(&mut session).await, first);
        }
        session.ask();
        assert_eq!(session.next().await.is_err_and(|error| error.problem.contains("room in extranonce2")), ends);
    }
}
