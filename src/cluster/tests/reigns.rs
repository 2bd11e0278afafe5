//! Who leads, and how one reign goes over into the next.

use super::net::*;
use super::*;

#[test]
fn the_lowest_id_leads_and_everyone_searches() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    assert!(net.member(1).needs_job);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(MS * 5);
    for id in 1..=3 {
        assert!(net.member(id).scans.len() >= 4, "node {id} has less than four leases in hand");
    }
    net.run(seconds(30));
    let ends = [1, 2, 3].map(|id| net.member(id).scans.len());
    assert!(ends.iter().all(|&scans| scans > 0), "{ends:?}");
    assert_eq!(net.coverage(&job(1)).1, 0, "nothing was searched twice");
}

#[test]
fn a_node_alone_leads_at_once_and_one_with_silent_peers_after_listening() {
    let mut net = Net::new(&[7]);
    assert_eq!(net.leaders(), [(7, 7)]);
    net = Net::new(&[]);
    net.start(2, &[1, 2]);
    assert_eq!(net.leaders(), [(2, 0)]);
    net.run(seconds(1));
    assert_eq!(net.leaders(), [(2, 2)]);
}

#[test]
fn the_next_one_leads_when_the_leader_dies_and_goes_on_where_it_stopped() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(17));
    net.kill(1);
    net.run(MS * 10_760);
    assert_eq!(net.leaders(), [(2, 2), (3, 2)]);
    let busy = |net: &mut Net| [2, 3].map(|id| !net.member(id).scans.is_empty());
    assert_eq!(busy(&mut net), [true, true], "leases outlast the change of leader");
    net.run(seconds(40));
    assert_eq!(busy(&mut net), [true, true]);
    let (_, twice) = net.coverage(&job(1));
    // What the dead leader itself searched since its last heartbeat is searched again, nothing else.
    assert!(twice <= 20_000_000, "{twice} nonces were searched twice");
}

#[test]
fn a_lower_id_that_comes_back_leads_again_and_takes_everything_over() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(7));
    net.kill(1);
    net.run(seconds(13));
    assert_eq!(net.leaders(), [(2, 2), (3, 2)]);
    let before = net.member(2).leader.unwrap().1;
    net.start(1, &[1, 2, 3]);
    net.run(MS * 100);
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    let after = net.member(2).leader.unwrap().1;
    assert!(after > before);
    net.run(seconds(20));
    let (_, twice) = net.coverage(&job(1));
    assert!(twice <= 50_000_000, "{twice} nonces were searched twice");
    assert!(net.members.values().all(|member| member.cluster.job() == Some(&job(1))), "the old job goes on");
}

#[test]
fn a_restarted_leader_takes_its_place_again() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(3));
    net.kill(1);
    net.run(seconds(1));
    net.start(1, &[1, 2, 3]);
    net.run(MS * 50);
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    net.act(1, |cluster, now| cluster.handle_job(now, job(2)));
    net.run(seconds(1));
    assert!(net.members.values().all(|member| member.cluster.job() == Some(&job(2))));
}

#[test]
fn a_leader_that_leaves_is_followed_at_once() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(3));
    net.act(1, Cluster::leave);
    net.kill(1);
    net.run(MS * 5);
    assert_eq!(net.leaders(), [(2, 2)]);
    assert!(net.member(2).needs_job);
    net.run(seconds(210));
    assert_eq!(net.coverage(&job(1)), (2_000_000_000, 0), "every nonce once");
}

#[test]
fn a_cut_off_node_leads_itself_and_comes_back() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.cut = vec![(3, 1), (1, 3), (3, 2), (2, 3)];
    net.run(seconds(13));
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 3)]);
    net.cut.clear();
    net.run(seconds(10));
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    net.run(seconds(5));
    let epochs: Vec<_> = net.members.values().map(|member| member.leader.unwrap().1).collect();
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

#[test]
fn a_node_that_was_paused_does_not_blame_its_peers() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    let paused = net.members.remove(&node(1)).unwrap();
    net.run(seconds(60));
    assert_eq!(net.leaders(), [(2, 2)]);
    net.members.insert(node(1), paused);
    net.run(MS * 200);
    assert_eq!(net.leaders(), [(1, 1), (2, 1)]);
    assert_eq!(net.member(1).peers[&node(2)], PeerState::Alive);
    let epochs: Vec<_> = net.members.values().map(|member| member.leader.unwrap().1).collect();
    assert_eq!(epochs[0], epochs[1]);
}

#[test]
fn a_link_that_works_one_way_makes_two_leaders_but_no_race_of_epochs() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    for cut in [(2, 1), (1, 2)] {
        net.run(seconds(1));
        net.cut = vec![cut];
        net.run(seconds(60));
        assert_eq!(net.leaders(), [(1, 1), (2, 2), (3, 1)]);
        let counters: Vec<_> = net.members.values().map(|member| member.leader.unwrap().1.counter).collect();
        assert!(counters.iter().all(|&counter| counter < 10), "cut {cut:?}: {counters:?}");
        net.cut.clear();
        net.run(seconds(11));
        assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    }
}

#[test]
fn a_follower_works_for_a_leader_that_does_not_know_the_one_before() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(seconds(6));
    net.kill(2);
    net.start(2, &[2, 3]);
    net.run(seconds(1));
    net.act(1, Cluster::leave);
    net.run(MS * 5);
    net.kill(1);
    for _ in 0..14 {
        if std::mem::take(&mut net.member(2).needs_job) {
            net.act(2, |cluster, now| cluster.handle_job(now, job(1)));
        }
        net.run(MS * 500);
    }
    assert!(!net.member(3).scans.is_empty());
}

#[test]
fn a_leader_that_missed_a_reign_does_not_go_back_to_its_own_board() {
    for is_last_leader_there in [true, false] {
        let mut net = Net::new(&[1, 2, 3]);
        net.run(MS * 20);
        net.act(1, |cluster, now| cluster.handle_job(now, job_of(1, 1)));
        net.run(seconds(6));
        net.cut = vec![(1, 2), (2, 1), (1, 3), (3, 1)];
        net.run(seconds(12));
        assert_eq!(net.leaders(), [(1, 1), (2, 2), (3, 2)]);
        net.act(2, |cluster, now| cluster.handle_job(now, job_of(2, 1)));
        net.run(seconds(6));
        // It hears of that reign from a follower first, and no source tells it which block to find.
        net.cut = vec![(1, 2), (2, 1)];
        if !is_last_leader_there {
            net.kill(2);
        }
        net.run(seconds(6));
        net.cut.clear();
        let searches = |net: &mut Net, id| net.member(id).scans.iter().any(|scan| scan.job == job_of(1, 1));
        for _ in 0..100 {
            net.run(MS * 100);
            assert!(!searches(&mut net, 3), "node 3 was set back");
        }
        if is_last_leader_there {
            assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
            assert!(net.members.values().all(|member| member.scans[0].job == job_of(2, 1)));
        } else {
            net.run(seconds(20));
            assert!(searches(&mut net, 3), "nobody knows better any more");
        }
    }
}

#[test]
fn of_many_last_words_the_last_one_counts() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job_of(1, 1)));
    net.run(seconds(6));
    // Node 1 stops for a while, and what node 2 says as leader waits for it.
    let mut paused = net.members.remove(&node(1)).unwrap();
    let mut waiting = Vec::new();
    for block in 2..=4 {
        net.run(seconds(if block == 2 { 12 } else { 6 }));
        net.act(2, |cluster, now| cluster.handle_job(now, job_of(block, 1)));
        waiting.extend(net.mail.iter().filter(|(_, _, to, _)| *to == node(1)).cloned());
    }
    net.run(seconds(6));
    paused.cluster.handle_timeout(net.now);
    net.members.insert(node(1), paused);
    net.mail.extend(waiting.into_iter().map(|(_, from, to, message)| (net.now + MS, from, to, message)));
    net.drain(node(1));
    for _ in 0..100 {
        net.run(MS * 100);
        for id in [2, 3] {
            assert!(net.member(id).scans.iter().all(|scan| scan.job == job_of(4, 1)), "node {id} was set back");
        }
    }
    assert_eq!(net.leaders(), [(1, 1), (2, 1), (3, 1)]);
    assert!(net.members.values().all(|member| member.scans[0].job == job_of(4, 1)));
}

#[test]
fn absurd_epochs_are_made_up() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    let before = net.member(2).leader;
    for (counter, leader, incarnation) in [(u64::MAX, 1, u64::MAX), (u64::MAX, 2, 0), (1 << 40, 1, 1)] {
        let epoch = Some(Epoch { counter, leader: node(leader), incarnation });
        let heartbeat = Heartbeat { incarnation: 2, sent: 50, echo: None, epoch, standing: None };
        for (to, from) in [(1, 2), (2, 1)] {
            let message = Message::HeartbeatRequest(heartbeat.clone());
            net.act(to, |cluster, now| cluster.handle_message(now, node(from), message));
        }
    }
    net.run(seconds(11));
    assert_eq!(net.member(2).leader, before);
}

#[test]
fn a_leader_that_stepped_down_tells_how_things_stand_until_somebody_else_leads() {
    let mut net = Net::new(&[3, 4]);
    net.run(MS * 20);
    net.act(3, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(7));
    let reign = net.member(3).leader.map(|(_, epoch)| epoch);
    net.act(3, |cluster, now| cluster.set_peers(now, &[1, 2, 3, 4].map(node)));
    // Node 2 has just started. It may be node 1 that leads next, which node 3 has not heard yet.
    let now = (net.now - net.start).as_millis() as u64;
    let heartbeat = |sent, epoch| Heartbeat { incarnation: 1, sent, echo: Some(now), epoch, standing: None };
    let reply = |heartbeat| Message::HeartbeatReply(heartbeat, None);
    let tells = |net: &mut Net| {
        net.run(seconds(1));
        let told = (0..6000).find_map(|_| {
            net.run(MS);
            net.mail.iter().find_map(|(_, from, to, message)| match message {
                Message::HeartbeatRequest(heartbeat) if (*from, *to) == (node(3), node(1)) => Some(heartbeat.clone()),
                _ => None,
            })
        });
        let told = told.expect("it is silent");
        (told.epoch, told.standing.is_some_and(|standing| !standing.done.is_empty()))
    };
    net.act(3, |cluster, now| cluster.handle_message(now, node(2), reply(heartbeat(1, None))));
    assert_eq!(tells(&mut net), (reign, true));
    let next = reign.map(|epoch| Epoch { counter: epoch.counter + 1, leader: node(2), incarnation: 1 });
    net.act(3, |cluster, now| cluster.handle_message(now, node(2), reply(heartbeat(5000, next))));
    assert_eq!(tells(&mut net), (next, false));
}
