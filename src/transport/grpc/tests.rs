//! Checks that need to look inside: which streams the messages take, and what is left of them.

use std::time::SystemTime;

use super::*;
use crate::cluster::tests::node as id;
use crate::cluster::{Report, Stamp};
use crate::transport::identity::ClusterCa;
use crate::work::Run;

const PATIENCE: Duration = Duration::from_secs(10);

fn numbered(sent: u64) -> Message {
    Message::ProcessRequest(Report { stamp: Stamp { run: Run(1), sent }, ..Report::default() })
}

/// Nodes 1 and 2, who know each other.
fn pair(heartbeat: Duration) -> (GrpcTransport, GrpcTransport) {
    #[allow(clippy::disallowed_methods)] // certificates have to be valid now
    let now = SystemTime::now();
    let ca = ClusterCa::generate(now).unwrap();
    let start = |node| {
        GrpcTransport::bind(&ca.issue(id(node), now).unwrap(), "127.0.0.1:0".parse().unwrap(), heartbeat).unwrap()
    };
    let (one, two) = (start(1), start(2));
    let peers = [Member::headframe(id(1), one.local_address()), Member::headframe(id(2), two.local_address())];
    one.set_peers(&peers);
    two.set_peers(&peers);
    (one, two)
}

async fn carries(from: (u32, &GrpcTransport), to: (u32, &GrpcTransport), sent: u64) {
    from.1.send(id(to.0), numbered(sent));
    let arrived = timeout(PATIENCE, to.1.recv()).await.expect("a message in time");
    assert_eq!(arrived, Some((id(from.0), numbered(sent))));
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, so).await.unwrap_or_else(|_| panic!("expected {what}"));
}

fn opener(transport: &GrpcTransport, peer: u32) -> Option<NodeId> {
    transport.shared.live(id(peer)).map(|live| live.opener())
}

#[tokio::test]
async fn both_send_on_the_one_stream_whoever_has_opened_it() {
    for first in [1, 2] {
        let (one, two) = pair(PATIENCE);
        let (from, to) = if first == 1 { ((1, &one), (2, &two)) } else { ((2, &two), (1, &one)) };
        for sent in 0..5 {
            carries(from, to, sent).await;
            carries(to, from, sent).await;
        }
        assert_eq!([opener(&one, 2), opener(&two, 1)], [Some(id(first)); 2]);
    }
}

#[tokio::test]
async fn of_two_streams_that_of_the_higher_id_stays_and_nothing_is_lost() {
    for _ in 0..20 {
        let (one, two) = pair(PATIENCE);
        for sent in 0..20 {
            one.send(id(2), numbered(sent));
            two.send(id(1), numbered(sent));
        }
        for transport in [&one, &two] {
            let mut arrived = Vec::new();
            while arrived.len() < 20 {
                match timeout(PATIENCE, transport.recv()).await.expect("a message in time") {
                    Some((_, Message::ProcessRequest(report))) => arrived.push(report.stamp.sent),
                    other => panic!("expected a request, got {other:?}"),
                }
            }
            arrived.sort_unstable();
            assert!(arrived.into_iter().eq(0..20));
        }
        until("one stream", || opener(&one, 2).is_some() && opener(&one, 2) == opener(&two, 1)).await;
    }
}

#[tokio::test]
async fn a_silent_stream_is_ended_and_another_opened_when_there_is_something_to_send() {
    let (one, two) = pair(Duration::from_millis(100));
    for sent in 0..2 {
        carries((1, &one), (2, &two), sent).await;
        assert_eq!([opener(&one, 2), opener(&two, 1)], [Some(id(1)); 2]);
        until("the stream to end", || opener(&one, 2).is_none() && opener(&two, 1).is_none()).await;
    }
}

#[tokio::test]
async fn a_peer_that_shows_no_witnesses_is_introduced_once() {
    let (one, _two) = pair(PATIENCE);
    one.shared.shows_none(id(9));
    one.shared.shows_none(id(2));
    let member = timeout(PATIENCE, one.introduced()).await.expect("an introduction");
    assert_eq!((member.id, member.proves), (id(2), false));
    one.shared.shows_none(id(2));
    let again = timeout(Duration::from_millis(50), one.introduced()).await;
    assert!(again.is_err(), "expected nobody, got {again:?}");
}

#[tokio::test]
async fn no_task_outlives_its_transport() {
    let (one, two) = pair(PATIENCE);
    carries((1, &one), (2, &two), 0).await;
    let (closed, dropped) = (Arc::downgrade(&one.shared), Arc::downgrade(&two.shared));
    one.close().await;
    drop((one, two));
    until("every task to end", || closed.strong_count() + dropped.strong_count() == 0).await;
}
