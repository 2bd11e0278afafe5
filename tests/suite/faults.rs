//! Real processes under real faults: killed, paused, cut off, restarted, without a service, without room on its disk.
//!
//! Each test is a cluster on this machine whose links go through a proxy. As many of them run at the same time as of all tests, though each
//! could keep all cores busy: the hashing threads have a low priority, and no test depends on how long anything takes.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::proxy::Weather;
use crate::cluster::{Cluster, Setup};
use crate::process::Signal;

fn cluster(nodes: u32) -> Cluster {
    Cluster::start(Setup { nodes, ..Setup::default() })
}

#[test]
fn killed_leaders_are_followed_by_the_next_and_lead_again_when_they_are_back() {
    let mut cluster = cluster(4);
    cluster.grow(2);
    cluster.end_node(1, Signal::KILL);
    cluster.wait_for_leader(2, &[2, 3, 4]);
    cluster.grow(2);
    cluster.end_node(2, Signal::KILL);
    cluster.wait_for_leader(3, &[3, 4]);
    cluster.grow(2);
    for id in [2, 1] {
        cluster.start_node(id);
        cluster.wait_for_leader(id, &cluster.running());
        cluster.grow(2);
    }
    cluster.end();
}

#[test]
fn nothing_of_a_paused_leader_counts_once_another_leads() {
    let cluster = cluster(4);
    cluster.grow(2);
    cluster.signal(1, Signal::STOP);
    cluster.wait_for_leader(2, &[2, 3, 4]);
    // It falls behind: whatever it still has to say is about a block that is found.
    cluster.grow(3);
    cluster.signal(1, Signal::CONT);
    cluster.wait_for_leader(1, &[1, 2, 3, 4]);
    cluster.grow(2);
    cluster.check_heights();
    cluster.end();
}

#[test]
fn a_leader_that_is_cut_off_leads_again_when_the_links_are_back() {
    let cluster = cluster(4);
    let others = [2, 3, 4];
    type Cut = fn(&Cluster);
    let cuts: [Cut; 3] = [
        |cluster| cluster.isolate(1, &[2, 3, 4]),
        |cluster| cluster.cut(1, &[2, 3, 4]),
        |cluster| [2, 3, 4].into_iter().for_each(|other| cluster.cut(other, &[1])),
    ];
    for cut in cuts {
        cluster.grow(1);
        cut(&cluster);
        cluster.wait_for_leader(2, &others);
        assert_eq!(cluster.leader(1).unwrap().0, 1);
        cluster.grow(2);
        cluster.proxy.heal();
        cluster.wait_for_leader(1, &cluster.ids());
        cluster.grow(1);
    }
    cluster.end();
}

#[test]
fn a_node_that_is_cut_off_from_the_leader_alone_works_for_it_again_afterwards() {
    cut_off_from_the_leader().end();
}

#[test]
fn leases_that_were_stuck_in_a_cut_link_set_nobody_back() {
    for _ in 0..3 {
        let cluster = cut_off_from_the_leader();
        cluster.check_heights();
        cluster.end();
    }
}

fn cut_off_from_the_leader() -> Cluster {
    let cluster = cluster(4);
    let log = cluster.log(3);
    let leader_is = |state: &str, mark| {
        log.since(mark).iter().any(|told| told.is("peer") && told.event["peer"] == 1 && told.event["state"] == state)
    };
    let mark = log.mark();
    cluster.isolate(1, &[3]);
    cluster.wait("3 misses 1", || leader_is("down", mark));
    cluster.grow(2);
    assert_eq!([1, 2, 4].map(|id| cluster.leader(id).unwrap().0), [1, 1, 1]);
    let mark = log.mark();
    cluster.proxy.heal();
    cluster.wait("3 hears 1", || leader_is("alive", mark));
    let mark = log.mark();
    cluster.wait("3 works again", || log.since(mark).iter().any(|told| told.is("job")));
    cluster.wait_for_leader(1, &cluster.ids());
    cluster
}

#[test]
fn blocks_go_on_over_links_that_lose_delay_double_and_reorder() {
    let cluster = cluster(4);
    let millis = Duration::from_millis;
    cluster.proxy.set_all(Weather { loss: 0.2, doubled: 0.2, delay: millis(10), jitter: millis(40), cut: false });
    let before = cluster.proxy.traffic();
    cluster.grow(5);
    let after = cluster.proxy.traffic();
    assert!(after.lost > before.lost && after.delayed > before.delayed && after.doubled > before.doubled, "{after:?}");
    cluster.proxy.heal();
    cluster.wait_for_leader(1, &cluster.ids());
    cluster.grow(1);
    cluster.end();
}

#[test]
fn a_leader_that_is_told_to_end_leaves_its_work_to_the_others() {
    // Nobody would miss a heartbeat before two minutes have passed: the others must have been told.
    let mut cluster = Cluster::start(Setup { nodes: 4, heartbeat: "1m", ..Setup::default() });
    cluster.grow(1);
    for leader in [1, 2] {
        let ended = cluster.end_node(leader, Signal::TERM);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        cluster.wait_for_leader(leader + 1, &cluster.running());
        cluster.grow(2);
    }
    cluster.end();
}

/// Nonces found for blocks of which nobody has told the end yet, each with the block that it builds on.
fn unsettled(cluster: &Cluster) -> Vec<(Value, u64)> {
    let (mut found, mut settled) = (Vec::new(), Vec::new());
    for id in cluster.ids() {
        let mut prev = Value::Null;
        for told in cluster.log(id).told().iter() {
            match told.event["event"].as_str() {
                Some("job") => prev = told.event["prev"].clone(),
                Some("found") => found.push((prev.clone(), told.number("nonce"))),
                Some("block") => settled.push(told.event["prev"].clone()),
                _ => {}
            }
        }
    }
    found.retain(|(prev, _)| !settled.contains(prev));
    found
}

fn marks(cluster: &Cluster) -> BTreeMap<u32, usize> {
    cluster.ids().into_iter().map(|id| (id, cluster.log(id).mark())).collect()
}

fn told_of_trouble(cluster: &Cluster, marks: &BTreeMap<u32, usize>, trouble: &str) -> bool {
    let mut since = marks.iter().flat_map(|(&id, &mark)| cluster.log(id).since(mark));
    since.any(|told| told.is("source") && told.event["problem"].as_str().is_some_and(|told| told.contains(trouble)))
}

#[test]
fn a_solution_found_without_a_service_outlives_its_leader_and_is_accepted() {
    let mut cluster = cluster(4);
    cluster.grow(2);
    let marks = marks(&cluster);
    cluster.end_service(Signal::KILL);
    cluster.wait("a solution is found", || !unsettled(&cluster).is_empty());
    cluster.wait("the trouble is told", || told_of_trouble(&cluster, &marks, "http://"));
    // Until here nobody but the leader needs to have it; several heartbeats later all do.
    sleep(Duration::from_secs(3));
    let kept = unsettled(&cluster);
    cluster.end_node(1, Signal::KILL);
    cluster.wait_for_leader(2, &[2, 3, 4]);
    cluster.start_service();
    let is_kept = |block: &Value| kept.iter().any(|(prev, nonce)| block["prev"] == *prev && block["nonce"] == *nonce);
    cluster.wait("it is accepted", || cluster.chain().iter().any(is_kept));
    cluster.start_node(1);
    cluster.wait_for_leader(1, &cluster.ids());
    cluster.grow(2);
    cluster.end();
}

#[test]
fn a_full_disk_costs_no_block_and_the_chain_goes_on_when_there_is_room() {
    let mut cluster = cluster(3);
    cluster.grow(2);
    let marks = marks(&cluster);
    cluster.service().fill_disk(true);
    cluster.wait("the trouble is told", || told_of_trouble(&cluster, &marks, "503"));
    let tip = cluster.height().expect("the block to build on is told without the disk");
    assert!(cluster.page("/readyz").unwrap()["error"].as_str().is_some_and(|reason| reason.contains("chain")));
    sleep(Duration::from_secs(1));
    assert_eq!(cluster.height(), Some(tip), "nothing is accepted that is not on disk");
    cluster.service().fill_disk(false);
    cluster.grow(2);
    let chain = cluster.chain();
    cluster.end_service(Signal::KILL);
    cluster.start_service();
    assert_eq!(cluster.chain()[..chain.len()], chain);
    cluster.grow(1);
    cluster.end();
}

#[test]
fn everything_killed_at_once_goes_on_where_it_stopped() {
    let mut cluster = cluster(3);
    cluster.grow(2);
    let chain = cluster.chain();
    cluster.ids().into_iter().for_each(|id| drop(cluster.end_node(id, Signal::KILL)));
    cluster.end_service(Signal::KILL);
    cluster.start_service();
    cluster.ids().into_iter().for_each(|id| cluster.start_node(id));
    cluster.wait_for_leader(1, &cluster.ids());
    cluster.grow(2);
    assert_eq!(cluster.chain()[..chain.len()], chain);
    cluster.end();
}

/// A leader is replaced while it is paused, the chain grows, and it comes back when the service gives no answer.
#[test]
fn a_leader_that_is_back_while_the_service_is_silent_goes_on_when_it_answers() {
    // What is under way when it is paused is another thing each time.
    for _ in 0..5 {
        let cluster = cluster(3);
        cluster.grow(2);
        cluster.signal(1, Signal::STOP);
        cluster.wait_for_leader(2, &[2, 3]);
        cluster.grow(3);
        cluster.service().signal(Signal::STOP);
        sleep(Duration::from_secs(1)); // whatever it had answered is known by then
        cluster.signal(1, Signal::CONT);
        cluster.wait_for_leader(1, &cluster.ids());
        // It knows of nothing newer than the block that it was at.
        sleep(Duration::from_secs(1));
        cluster.service().signal(Signal::CONT);
        cluster.grow(2);
        cluster.check_heights();
        cluster.end();
    }
}
