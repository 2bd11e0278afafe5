//! The part of the conformance suite for transports whose nodes have certificates: what these are for, and what comes across restarts.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use headframe::transport::grpc::GrpcTransport;
use headframe::transport::identity::Identity;
use headframe::transport::quic::QuicTransport;
use headframe::transport::{BindError, Transport};
use tokio::time::sleep;

use super::messages::{id, numbered};
use super::networks::{HEARTBEAT, Network, freed, introduce, member, next, reaches, soon};
use super::quic::Files;
use crate::process::own_host;

/// How a node begins to listen.
type Bind = fn(&Identity, SocketAddr, Duration) -> Result<Box<dyn Transport>, BindError>;

fn quic(identity: &Identity, listen: SocketAddr, heartbeat: Duration) -> Result<Box<dyn Transport>, BindError> {
    Ok(Box::new(QuicTransport::bind(identity, listen, heartbeat)?))
}

fn grpc(identity: &Identity, listen: SocketAddr, heartbeat: Duration) -> Result<Box<dyn Transport>, BindError> {
    Ok(Box::new(GrpcTransport::bind(identity, listen, heartbeat)?))
}

conformance! {
    over_quic = super::quic as super::Bind;
    over_grpc = super::grpc as super::Bind;
    => {
        a_killed_and_restarted_node_is_reached_at_once
        new_connections_use_the_certificate_that_was_taken_up_and_old_ones_go_on
        what_keeps_a_node_from_a_peer_is_known_until_it_is_over
        an_address_in_use_is_named
    }
}

fn load(files: &Files, node: u32) -> Identity {
    Identity::load(files.path(), id(node), SystemTime::now()).unwrap()
}

fn anywhere() -> SocketAddr {
    (own_host(), 0).into()
}

/// A killed process says nothing. Its successor answers the peers' old connections with resets, so that it is reached
/// long before they time out, which takes 15 s at this heartbeat.
async fn a_killed_and_restarted_node_is_reached_at_once(bind: Bind) {
    let (files, heartbeat) = (Files::new(), Duration::from_secs(5));
    let one = bind(&load(&files, 1), anywhere(), heartbeat).unwrap();
    let machine = tokio::runtime::Runtime::new().unwrap();
    let two = {
        let _inside = machine.enter();
        bind(&load(&files, 2), anywhere(), heartbeat).unwrap()
    };
    introduce(&[(1, &*one), (2, &*two)]);
    assert_eq!(reaches(&*one, (2, &*two), numbered(1)).await, id(1));

    let address = two.local_address();
    machine.shutdown_background();
    drop(two);
    let two = soon(freed(|| bind(&load(&files, 2), address, heartbeat))).await;
    two.set_peers(&[member(1, one.local_address())]);
    assert_eq!(reaches(&*one, (2, &*two), numbered(2)).await, id(1));
}

/// Certificates of another cluster stand for renewed ones, since the nodes can reach each other only if both sides show and trust the new
/// ones.
async fn new_connections_use_the_certificate_that_was_taken_up_and_old_ones_go_on(bind: Bind) {
    let (old, new) = (Files::new(), Files::new());
    let start = |identity| bind(&identity, anywhere(), HEARTBEAT).unwrap();
    let [one, two] = [1, 2].map(|node| start(load(&old, node)));
    introduce(&[(1, &*one), (2, &*two)]);
    assert_eq!(reaches(&*one, (2, &*two), numbered(1)).await, id(1));
    let renewed = load(&new, 1);
    one.take_up(&renewed).unwrap();
    assert_eq!(one.certificate_ends(), Some(renewed.ends()));
    assert_eq!(reaches(&*one, (2, &*two), numbered(2)).await, id(1));

    let [two, three] = [2, 3].map(|node| start(load(&new, node)));
    introduce(&[(1, &*one), (2, &*two), (3, &*three)]);
    assert_eq!(reaches(&*one, (2, &*two), numbered(3)).await, id(1), "which one dials");
    assert_eq!(reaches(&*three, (1, &*one), numbered(4)).await, id(3), "which three dials");
}

async fn what_keeps_a_node_from_a_peer_is_known_until_it_is_over(bind: Bind) {
    let (files, others) = (Files::new(), Files::new());
    let silent = Network::quic().reserve();
    let foreign = bind(&load(&others, 3), anywhere(), HEARTBEAT).unwrap();
    let one = bind(&load(&files, 1), anywhere(), HEARTBEAT).unwrap();
    one.set_peers(&[member(2, silent), member(3, foreign.local_address())]);
    for (peer, address, expected) in
        [(2, silent, "does not answer"), (3, foreign.local_address(), "has a certificate of another cluster")]
    {
        let trouble = async {
            loop {
                one.send(id(peer), numbered(1));
                match one.trouble(id(peer)) {
                    Some(trouble) => return trouble,
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let told = soon(trouble).await;
        assert!(told.starts_with(&format!("{address} {expected}")), "{told}");
    }
    let two = soon(freed(|| bind(&load(&files, 2), silent, HEARTBEAT))).await;
    two.set_peers(&[member(1, one.local_address())]);
    assert_eq!(reaches(&*one, (2, &*two), numbered(2)).await, id(1));
    assert_eq!(one.trouble(id(2)), None);
}

async fn an_address_in_use_is_named(bind: Bind) {
    let files = Files::new();
    let node = bind(&load(&files, 1), anywhere(), HEARTBEAT).unwrap();
    let Err(error) = bind(&load(&files, 2), node.local_address(), HEARTBEAT) else {
        panic!("expected the address to be in use")
    };
    assert!(matches!(error, BindError::AddressInUse(address) if address == node.local_address()));
    assert!(error.to_string().contains(&node.local_address().to_string()));
}

/// A last message and the end of its connection reach the peer at one time, whichever of the two has opened the connection. Only with
/// several threads can one overtake the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_message_before_a_close_arrives() {
    for (name, network) in [("quic", Network::quic()), ("grpc", Network::grpc())] {
        for turn in 0..40 {
            let [one, two, _] = network.trio().await;
            let (leaves, stays) = if turn % 2 == 0 { ((1, one), (2, two)) } else { ((2, two), (1, one)) };
            stays.1.send(id(leaves.0), numbered(0));
            assert_eq!(next(&*leaves.1).await.1, numbered(0));
            leaves.1.send(id(stays.0), numbered(turn));
            soon(leaves.1.close()).await;
            assert_eq!(next(&*stays.1).await, (id(leaves.0), numbered(turn)), "over {name} in turn {turn}");
        }
    }
}
