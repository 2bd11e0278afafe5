//! What only this module can see: which connections and streams messages take.

use std::time::SystemTime;

use super::*;
use crate::cluster::{Epoch, Heartbeat, ProcessInterrupt, ProcessRequest};

const PATIENCE: Duration = Duration::from_secs(10);

fn id(id: u32) -> NodeId {
    NodeId::try_from(id).unwrap()
}

fn heartbeat() -> Heartbeat {
    Heartbeat { incarnation: 1, sent: 2, echo: None, epoch: None, standing: None }
}

fn work_request() -> Message {
    let epoch = Epoch { counter: 1, leader: id(1), incarnation: 0 };
    Message::ProcessRequest(ProcessRequest { epoch, rate: 0, held: vec![], finished: vec![] })
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
    let peers = BTreeMap::from([(id(1), one.local_address()), (id(2), two.local_address())]);
    one.set_peers(&peers);
    two.set_peers(&peers);
    (one, two)
}

async fn next(transport: &QuicTransport) -> (NodeId, Message) {
    timeout(PATIENCE, transport.recv()).await.expect("a message in time").expect("an open transport")
}

#[tokio::test]
async fn a_request_and_its_answer_are_one_stream() {
    let (one, two) = pair(PATIENCE);
    let (question, answer) = (Message::HeartbeatRequest(heartbeat()), Message::HeartbeatReply(heartbeat(), None));
    one.send(id(2), question.clone());
    assert_eq!(next(&two).await, (id(1), question));
    two.send(id(1), answer.clone());
    assert_eq!(next(&one).await, (id(2), answer.clone()));
    // Node 2 has dialled nobody: the only connection is the one that brought the question.
    assert_eq!((one.shared.endpoint.open_connections(), two.shared.endpoint.open_connections()), (1, 1));
    assert!(one.shared.peers()[&id(2)].incoming.is_none());
    // A second answer to the same question finds no stream, and goes its own way.
    two.send(id(1), answer.clone());
    assert_eq!(next(&one).await, (id(2), answer));
    assert!(one.shared.peers()[&id(2)].incoming.is_some());
}

#[tokio::test]
async fn unanswered_requests_do_not_hold_up_others() {
    let (one, two) = pair(PATIENCE);
    // Many more than a connection may have streams, and none is answered.
    for _ in 0..5 * config::REQUEST_STREAMS {
        one.send(id(2), work_request());
        assert_eq!(next(&two).await, (id(1), work_request()));
    }
    let epoch = Epoch { counter: 1, leader: id(1), incarnation: 0 };
    let interrupt = Message::ProcessInterrupt(ProcessInterrupt { epoch, round: 1, settled: None, void: vec![] });
    one.send(id(2), interrupt.clone());
    assert_eq!(next(&two).await, (id(1), interrupt));
}

#[tokio::test]
async fn a_late_answer_goes_its_own_way() {
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
async fn the_lower_id_speaks_on_the_connection_of_the_higher() {
    let (one, two) = pair(PATIENCE);
    let (question, answer) = (Message::HeartbeatRequest(heartbeat()), Message::HeartbeatReply(heartbeat(), None));
    two.send(id(1), work_request());
    assert_eq!(next(&one).await, (id(2), work_request()));
    for _ in 0..3 {
        one.send(id(2), question.clone());
        assert_eq!(next(&two).await, (id(1), question.clone()));
        two.send(id(1), answer.clone());
        assert_eq!(next(&one).await, (id(2), answer.clone()));
        one.send(id(2), answer.clone()); // to no question
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
    // Longer than an unused one is kept, and never silent for so long.
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
