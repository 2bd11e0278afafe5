//! The native part of the conformance suite: every message arrives whole, whatever its kind and size, whoever sends first.

use std::time::Duration;

use headframe::cluster::Message;
use tokio::time::sleep;

use super::messages::{every_kind, id, largest, numbered, too_large};
use super::networks::{HEARTBEAT, Network, SILENCE, introduce, member, next, reaches, silent, soon};
use crate::process::own_host;

conformance! {
    memory = crate::transport::networks::Network::memory();
    quic = crate::transport::networks::Network::quic();
    grpc = crate::transport::networks::Network::grpc();
    => {
        every_kind_arrives_whole_and_from_its_sender
        messages_go_both_ways
        messages_to_unknown_nodes_are_dropped
        a_thousand_messages_in_bursts_all_arrive
        a_flood_is_cut_and_the_link_lives_on
        a_peer_that_is_not_up_yet_blocks_nobody
        a_restarted_peer_is_reached_again
        a_peer_that_moves_is_reached_at_its_new_address
        two_nodes_at_one_address_are_told_apart
        a_link_that_was_silent_for_long_is_there_at_once
        close_delivers_what_was_sent_and_ends_recv
        close_ends_a_recv_that_waits
        a_removed_peer_is_heard_no_more
        the_largest_frame_passes_and_larger_ones_do_no_harm
    }
}

async fn every_kind_arrives_whole_and_from_its_sender(network: Network) {
    let [one, two, three] = network.trio().await;
    for (node, sender) in [(1, &one), (3, &three)] {
        for message in every_kind() {
            sender.send(id(2), message.clone());
            assert_eq!(next(&*two).await, (id(node), message));
        }
    }
}

async fn messages_go_both_ways(network: Network) {
    let [one, two, _] = network.trio().await;
    // Requests with answers, and answers to no request, in both directions.
    for message in every_kind() {
        for _ in 0..3 {
            one.send(id(2), message.clone());
            two.send(id(1), message.clone());
            assert_eq!(next(&*two).await, (id(1), message.clone()));
            assert_eq!(next(&*one).await, (id(2), message.clone()));
        }
    }
}

async fn messages_to_unknown_nodes_are_dropped(network: Network) {
    let [one, two, _] = network.trio().await;
    one.send(id(9), numbered(1));
    one.send(id(1), numbered(2));
    one.send(id(2), numbered(3));
    assert_eq!(next(&*two).await, (id(1), numbered(3)));
    silent(&*one).await;
}

/// Bursts that stay below every queue's length lose nothing.
async fn a_thousand_messages_in_bursts_all_arrive(network: Network) {
    let [one, two, _] = network.trio().await;
    for burst in 0..20 {
        let numbers: Vec<u64> = (burst * 50..burst * 50 + 50).collect();
        numbers.iter().for_each(|&i| one.send(id(2), numbered(i)));
        let mut arrived = Vec::new();
        for _ in &numbers {
            match next(&*two).await {
                (from, Message::ProcessInterrupt(interrupt)) if from == id(1) => arrived.push(interrupt.sequence),
                other => panic!("expected an interrupt of node 1, got {other:?}"),
            }
        }
        // Order is not promised.
        arrived.sort_unstable();
        assert_eq!(arrived, numbers);
    }
}

/// Messages for which the queues have no room are dropped; those that arrive are unharmed, and the link goes on.
async fn a_flood_is_cut_and_the_link_lives_on(network: Network) {
    let [one, two, _] = network.trio().await;
    let kinds = every_kind();
    for i in 0..5000 {
        one.send(id(2), kinds[i % kinds.len()].clone());
    }
    let (from, message) = next(&*two).await;
    assert!(from == id(1) && kinds.contains(&message));
    assert_eq!(reaches(&*one, (2, &*two), numbered(1)).await, id(1));
}

async fn a_peer_that_is_not_up_yet_blocks_nobody(network: Network) {
    let (one, address) = (network.start(1).await, network.reserve());
    let peers = [member(1, one.local_address()), member(2, address)];
    one.set_peers(&peers);
    (0..200).for_each(|i| one.send(id(2), numbered(i)));
    sleep(SILENCE).await;
    let two = network.start_at(2, address).await;
    two.set_peers(&peers);
    assert_eq!(reaches(&*one, (2, &*two), numbered(1000)).await, id(1));
}

async fn a_restarted_peer_is_reached_again(network: Network) {
    let [one, two, _] = network.trio().await;
    for restart in 0..2 {
        one.send(id(2), numbered(restart));
        assert_eq!(next(&*two).await, (id(1), numbered(restart)));
    }
    let address = two.local_address();
    two.close().await;
    drop(two);
    let two = network.start_at(2, address).await;
    two.set_peers(&[member(1, one.local_address())]);
    assert_eq!(reaches(&*one, (2, &*two), numbered(10)).await, id(1));
    assert_eq!(reaches(&*two, (1, &*one), numbered(11)).await, id(2));
}

async fn a_peer_that_moves_is_reached_at_its_new_address(network: Network) {
    let [one, two, three] = network.trio().await;
    one.send(id(2), numbered(1));
    assert_eq!(next(&*two).await, (id(1), numbered(1)));
    soon(two.close()).await;
    drop(two);
    let two = network.start(2).await;
    introduce(&[(1, &*one), (2, &*two), (3, &*three)]);
    assert_eq!(reaches(&*one, (2, &*two), numbered(2)).await, id(1));
    assert_eq!(reaches(&*two, (3, &*three), numbered(3)).await, id(2));
}

async fn two_nodes_at_one_address_are_told_apart(network: Network) {
    let (one, host) = (network.start(1).await, own_host());
    let [two, three] = [2, 3].map(|node| network.start_at(node, (host, 0).into()));
    let (two, three) = (two.await, three.await);
    introduce(&[(1, &*one), (2, &*two), (3, &*three)]);
    for (node, transport) in [(2, &two), (3, &three)] {
        one.send(id(node), numbered(u64::from(node)));
        assert_eq!(next(&**transport).await, (id(1), numbered(u64::from(node))));
        transport.send(id(1), numbered(9));
        assert_eq!(next(&*one).await, (id(node), numbered(9)));
    }
}

async fn a_link_that_was_silent_for_long_is_there_at_once(network: Network) {
    let [one, two, _] = network.trio().await;
    for time in [HEARTBEAT * 5, Duration::ZERO] {
        one.send(id(2), numbered(1));
        assert_eq!(next(&*two).await, (id(1), numbered(1)));
        two.send(id(1), numbered(2));
        assert_eq!(next(&*one).await, (id(2), numbered(2)));
        sleep(time).await;
    }
}

async fn close_delivers_what_was_sent_and_ends_recv(network: Network) {
    let [one, two, three] = network.trio().await;
    one.send(id(2), numbered(0));
    assert_eq!(next(&*two).await, (id(1), numbered(0)));
    let kinds = every_kind();
    for message in &kinds {
        one.send(id(2), message.clone());
        // Nothing was sent to node 3 before.
        one.send(id(3), message.clone());
    }
    soon(one.close()).await;
    assert_eq!(soon(one.recv()).await, None);
    one.send(id(2), numbered(1));
    for receiver in [&two, &three] {
        let mut missing = kinds.clone();
        while !missing.is_empty() {
            let (from, message) = next(&**receiver).await;
            assert_eq!(from, id(1));
            let place = missing.iter().position(|expected| *expected == message).expect("each message once");
            missing.remove(place);
        }
        silent(&**receiver).await;
    }
    soon(one.close()).await;
}

async fn close_ends_a_recv_that_waits(network: Network) {
    let [one, ..] = network.trio().await;
    let (message, ()) = tokio::join!(soon(one.recv()), async {
        sleep(Duration::from_millis(20)).await;
        one.close().await;
    });
    assert_eq!(message, None);
}

async fn a_removed_peer_is_heard_no_more(network: Network) {
    let [one, two, three] = network.trio().await;
    one.send(id(2), numbered(1));
    assert_eq!(next(&*two).await, (id(1), numbered(1)));
    two.set_peers(&[member(3, three.local_address())]);
    for i in 2..10 {
        one.send(id(2), numbered(i));
        two.send(id(1), numbered(i));
        sleep(Duration::from_millis(10)).await;
    }
    silent(&*two).await;
    silent(&*one).await;
    assert_eq!(reaches(&*three, (2, &*two), numbered(20)).await, id(3));
    two.set_peers(&[member(1, one.local_address()), member(3, three.local_address())]);
    assert_eq!(reaches(&*one, (2, &*two), numbered(30)).await, id(1));
}

async fn the_largest_frame_passes_and_larger_ones_do_no_harm(network: Network) {
    let [one, two, _] = network.trio().await;
    for _ in 0..20 {
        one.send(id(2), largest());
        assert_eq!(next(&*two).await, (id(1), largest()));
    }
    one.send(id(2), too_large());
    one.send(id(2), numbered(1));
    assert_eq!(next(&*two).await, (id(1), numbered(1)));
}
