//! Checks that need to look inside: which connections and streams the messages take.

use std::time::SystemTime;

use super::*;
use crate::cluster::tests::node as id;
use crate::cluster::{Assign, Heartbeat, Reign, Report, Stamp};
use crate::transport::identity::ClusterCa;
use crate::work::Run;

const PATIENCE: Duration = Duration::from_secs(10);

const STAMP: Stamp = Stamp { run: Run(1), sent: 2 };

fn heartbeat() -> Heartbeat {
    Heartbeat { stamp: STAMP, echo: None, interval: None, leads: None }
}

fn report() -> Report {
    let (progress, jobs, shares, taken, blocks) = (vec![], vec![], vec![], vec![], vec![]);
    Report { stamp: STAMP, held: None, speed: 0, progress, jobs, shares, taken, blocks }
}

fn work_request() -> Message {
    Message::ProcessRequest(report())
}

/// An assignment of nothing.
fn nothing() -> Assign {
    let (reign, jobs, leases, taken, settled) = (Reign { run: Run(3), number: 1 }, vec![], vec![], vec![], vec![]);
    Assign { reign, sequence: 4, report: STAMP, current: None, jobs, leases, taken, settled }
}

/// Nodes 1 and 2, who know each other.
fn pair(heartbeat: Duration) -> (QuicTransport, QuicTransport) {
    #[allow(clippy::disallowed_methods)] // certificates have to be valid now
    let now = SystemTime::now();
    let ca = ClusterCa::generate(now).unwrap();
    let start = |node| {
        QuicTransport::bind(&ca.issue(id(node), now).unwrap(), "127.0.0.1:0".parse().unwrap(), heartbeat).unwrap()
    };
    let (one, two) = (start(1), start(2));
    let peers = [Member::headframe(id(1), one.local_address()), Member::headframe(id(2), two.local_address())];
    one.set_peers(&peers);
    two.set_peers(&peers);
    (one, two)
}

async fn next(transport: &QuicTransport) -> (NodeId, Message) {
    timeout(PATIENCE, transport.recv()).await.expect("a message in time").expect("an open transport")
}

#[tokio::test]
async fn a_request_and_its_answer_are_one_stream() {
    for (request, answer) in [
        (Message::HeartbeatRequest(heartbeat()), Message::HeartbeatReply(heartbeat(), None)),
        (work_request(), Message::Process(nothing())),
        (Message::ProcessAnswerNo(report()), Message::Process(nothing())),
        (Message::ProcessAnswerYes(report()), Message::ProcessInterrupt(nothing())),
    ] {
        let (one, two) = pair(PATIENCE);
        one.send(id(2), request.clone());
        assert_eq!(next(&two).await, (id(1), request));
        two.send(id(1), answer.clone());
        assert_eq!(next(&one).await, (id(2), answer.clone()));
        // Node 2 has dialled nobody: the only connection is the one that brought the request.
        assert_eq!((one.shared.endpoint.open_connections(), two.shared.endpoint.open_connections()), (1, 1));
        assert!(one.shared.peers()[&id(2)].incoming.is_none());
        // A second answer to the same request finds no stream, and is sent on a connection of node 2's own.
        two.send(id(1), answer.clone());
        assert_eq!(next(&one).await, (id(2), answer));
        assert!(one.shared.peers()[&id(2)].incoming.is_some());
    }
}

#[tokio::test]
async fn unanswered_requests_do_not_hold_up_others() {
    let (one, two) = pair(PATIENCE);
    // These are many more than a connection may have streams, and none is answered.
    for _ in 0..5 * config::REQUEST_STREAMS {
        one.send(id(2), work_request());
        assert_eq!(next(&two).await, (id(1), work_request()));
    }
    let interrupt = Message::ProcessInterrupt(nothing());
    one.send(id(2), interrupt.clone());
    assert_eq!(next(&two).await, (id(1), interrupt));
}

#[tokio::test]
async fn a_late_answer_is_sent_on_another_stream() {
    let (one, two) = pair(Duration::from_millis(200));
    one.send(id(2), Message::HeartbeatRequest(heartbeat()));
    next(&two).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let answer = Message::HeartbeatReply(heartbeat(), None);
    two.send(id(1), answer.clone());
    assert_eq!(next(&one).await, (id(2), answer));
    assert!(one.shared.peers()[&id(2)].incoming.is_some());
}

#[tokio::test]
async fn the_lower_id_sends_on_the_connection_of_the_higher() {
    let (one, two) = pair(PATIENCE);
    let (request, answer) = (Message::HeartbeatRequest(heartbeat()), Message::HeartbeatReply(heartbeat(), None));
    two.send(id(1), work_request());
    assert_eq!(next(&one).await, (id(2), work_request()));
    for _ in 0..3 {
        one.send(id(2), request.clone());
        assert_eq!(next(&two).await, (id(1), request.clone()));
        two.send(id(1), answer.clone());
        assert_eq!(next(&one).await, (id(2), answer.clone()));
        one.send(id(2), answer.clone()); // to no request
        assert_eq!(next(&two).await, (id(1), answer.clone()));
    }
    assert_eq!((one.shared.endpoint.open_connections(), two.shared.endpoint.open_connections()), (1, 1));
    assert!(two.shared.peers()[&id(1)].incoming.is_none());
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed_and_another_opened_when_it_is() {
    let (one, two) = pair(Duration::from_millis(100));
    for _ in 0..2 {
        one.send(id(2), work_request());
        assert_eq!(next(&two).await, (id(1), work_request()));
        assert!(two.shared.peers()[&id(1)].incoming.is_some());
        let closed = async {
            while one.shared.endpoint.open_connections() + two.shared.endpoint.open_connections() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, closed).await.expect("the connection to be closed");
        assert!(two.shared.peers()[&id(1)].incoming.is_none());
    }
}

#[tokio::test]
async fn a_connection_that_is_used_is_kept() {
    let (one, two) = pair(Duration::from_millis(500));
    let mut first = None;
    // The whole takes longer than an unused connection is kept, but the connection is never silent for that long.
    for _ in 0..25 {
        one.send(id(2), Message::HeartbeatRequest(heartbeat()));
        next(&two).await;
        two.send(id(1), Message::HeartbeatReply(heartbeat(), None));
        next(&one).await;
        let connection = two.shared.peers()[&id(1)].incoming.as_ref().map(|connection| connection.stable_id());
        assert_eq!(connection, *first.get_or_insert(connection));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn no_task_outlives_its_transport() {
    let (one, two) = pair(PATIENCE);
    one.send(id(2), work_request());
    next(&two).await;
    let (closed, dropped) = (Arc::downgrade(&one.shared), Arc::downgrade(&two.shared));
    one.close().await;
    drop((one, two));
    let gone = async {
        while closed.strong_count() + dropped.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("every task to end");
}
