//! The orders in which pools say things at the start.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::super::Failure;
use super::pool::{EXTRANONCE1, Notify, Script};
use super::*;
use crate::work::{Blueprint, Target};

#[tokio::test]
async fn difficulty_and_job_may_come_at_any_time() {
    // When each of the two comes: before the answer to subscribe, before that to authorize, or after both.
    for difficulty in 0..3 {
        for job in 0..3 {
            for job_first in [false, true] {
                let moments = async |pool: &mut Script, now: i32| {
                    for is_job in [job_first, !job_first] {
                        match is_job {
                            true if job == now => pool.notify(&Notify::default()).await,
                            false if difficulty == now => pool.call("mining.set_difficulty", json!([easy()])).await,
                            _ => {}
                        }
                    }
                };
                let script = async |pool: &mut Script| {
                    pool.configure().await;
                    moments(pool, 0).await;
                    pool.subscribe(EXTRANONCE1, 4).await;
                    moments(pool, 1).await;
                    pool.authorize().await;
                    moments(pool, 2).await;
                };
                let (_, _pool, session) = greet(script, true).await;
                let mut session = session.unwrap();
                let wanted = Target::from_difficulty(1e-7).unwrap();
                while next(&mut session).await.goal.report != wanted {}
            }
        }
    }
}

#[tokio::test]
async fn a_pool_that_closes_at_configure_is_asked_without_it_from_then_on() {
    let (listener, port) = listen().await;
    let source = source(port);
    let script = async {
        let mut pool = Script::new(listener.accept().await.unwrap().0);
        pool.expect("mining.configure").await;
        drop(pool);
        for _ in 0..2 {
            let mut pool = Script::new(listener.accept().await.unwrap().0);
            pool.subscribe(EXTRANONCE1, 4).await;
            pool.authorize().await;
            let notify = pool.work().await;
            let submit = pool.expect("mining.submit").await;
            let params = submit["params"].as_array().unwrap();
            assert!(params.len() == 5 && notify.is_share(EXTRANONCE1, params), "no rolled version");
            pool.answer(&submit, json!(true), Value::Null).await;
        }
    };
    let miner = async {
        for _ in 0..2 {
            let mut session = source.open().await.unwrap();
            let mut template = next(&mut session).await;
            while template.goal.report != Target::from_difficulty(1e-7).unwrap() {
                template = next(&mut session).await;
            }
            let Blueprint::Header { mask, .. } = template.puzzle else { panic!("a header") };
            assert_eq!(mask, 0);
            assert_eq!(session.submit(&mine(&template, 3)).await, Ok(crate::source::Verdict::Share));
        }
    };
    tokio::join!(script, miner);
    assert!(source.pool.dislikes_configure.load(Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_does_not_answer_configure_is_given_up_after_five_seconds() {
    let start = tokio::time::Instant::now();
    let script = async |pool: &mut Script| drop(pool.expect("mining.configure").await);
    let (_, _pool, session) = greet(script, true).await;
    assert!(matches!(session, Err(Failure::Unconfigured)));
    assert_eq!(start.elapsed().as_secs(), 5); // of a clock that moves only when everybody waits
}

#[tokio::test]
async fn a_pool_that_refuses_configure_is_mined_for_without_it() {
    for (result, error) in
        [(json!(null), json!([20, "unknown", null])), (json!({}), Value::Null), (json!(false), Value::Null)]
    {
        let script = async |pool: &mut Script| {
            let request = pool.expect("mining.configure").await;
            pool.answer(&request, result.clone(), error.clone()).await;
            pool.subscribe("", 8).await;
            pool.authorize().await;
            pool.work().await;
        };
        let (_, _pool, session) = greet(script, true).await;
        let Blueprint::Header { mask, .. } = next(&mut session.unwrap()).await.puzzle else { panic!("a header") };
        assert_eq!(mask, 0);
    }
}

#[tokio::test]
async fn a_pool_that_refuses_the_user_or_the_session_is_left() {
    for (result, error) in [
        (json!(false), Value::Null),
        (json!(null), json!([24, format!("no such worker {USER}"), null])),
        (json!(null), json!({"code": 24, "message": PASSWORD})),
        (json!(false), json!("go away")),
    ] {
        let at_authorize = async |pool: &mut Script| {
            pool.subscribe(EXTRANONCE1, 4).await;
            let request = pool.expect("mining.authorize").await;
            pool.answer(&request, result.clone(), error.clone()).await;
        };
        let (source, _pool, session) = greet(at_authorize, false).await;
        let Err(Failure::Other(problem)) = session.map(drop) else { panic!("a failure") };
        let shown = format!("{:?}", source.pool.error(problem));
        assert!(shown.contains("refuses the user") && shown.contains("is_over: true"), "{shown}");
        assert!(!shown.contains(USER) && !shown.contains(PASSWORD), "{shown}");
        let at_subscribe = async |pool: &mut Script| {
            let request = pool.expect("mining.subscribe").await;
            pool.answer(&request, result.clone(), error.clone()).await;
        };
        let (_, _pool, session) = greet(at_subscribe, false).await;
        let Err(Failure::Other(problem)) = session.map(drop) else { panic!("a failure") };
        assert!(problem.contains("refuses mining.subscribe"), "{problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_does_not_answer_is_given_up_after_ten_seconds() {
    let start = tokio::time::Instant::now();
    let script = async |pool: &mut Script| {
        pool.subscribe(EXTRANONCE1, 4).await;
        pool.expect("mining.authorize").await;
        pool.work().await; // talk is no answer
    };
    let (_, _pool, session) = greet(script, false).await;
    let Err(Failure::Other(problem)) = session.map(drop) else { panic!("a failure") };
    assert!(problem.contains("mining.authorize within 10s"), "{problem}");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn nobody_there_is_an_error_without_the_user() {
    let (listener, port) = listen().await;
    drop(listener);
    let error = source(port).open().await.map(drop).unwrap_err();
    assert!(error.is_over && error.to_string().contains("expected a connection"), "{error}");
    assert!(!format!("{error:?} {:?}", source(port)).contains("secret"), "{error:?}");
    let nobody = StratumAddress::parse("stratum+tcp://h:1").unwrap();
    assert!(StratumSource::new(nobody, Tls::default(), 0.0).unwrap_err().to_string().contains("expected a user"));
}
