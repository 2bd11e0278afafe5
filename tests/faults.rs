//! Real processes under real faults: killed, paused, cut off, restarted, without a service, without room on its disk.
//!
//! Each test is a cluster on this machine whose links go through a proxy. They run one after another, as each keeps all cores
//! busy, and none depends on how long anything takes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod cluster;
mod process;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use cluster::log::Told;
use cluster::proxy::{Proxy, Weather};
use cluster::{Cluster, Setup};
use process::{PATIENCE, Signal};

/// Held by the test that runs.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cluster(nodes: u32) -> Cluster {
    Cluster::start(Setup { nodes, ..Setup::default() })
}

#[test]
fn killed_leaders_are_followed_by_the_next_and_lead_again_when_they_are_back() {
    let _turn = turn();
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
    let _turn = turn();
    let cluster = cluster(4);
    cluster.grow(2);
    let (_, first) = cluster.leader(1).unwrap();
    cluster.signal(1, Signal::STOP);
    cluster.wait_for_leader(2, &[2, 3, 4]);
    // It falls behind: whatever it still has to say is about a block that is found.
    cluster.grow(3);
    let (_, second) = cluster.leader(2).unwrap();
    assert!(second > first);
    let marks = [2, 3, 4].map(|id| cluster.log(id).mark());
    cluster.signal(1, Signal::CONT);
    cluster.wait_for_leader(1, &[1, 2, 3, 4]);
    for (id, mark) in [2, 3, 4].into_iter().zip(marks) {
        for told in cluster.log(id).since(mark).iter().filter(|told| told.is("leader")) {
            assert!(told.number("leader") != 1 || told.number("epoch") > second, "node {id}: {}", told.event);
        }
    }
    cluster.grow(2);
    cluster.check_heights();
    cluster.end();
}

#[test]
fn a_leader_that_is_cut_off_leads_again_when_the_links_are_back() {
    let _turn = turn();
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
    let _turn = turn();
    cut_off_from_the_leader().end();
}

#[test]
fn leases_that_were_stuck_in_a_cut_link_set_nobody_back() {
    let _turn = turn();
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
    let _turn = turn();
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
    let _turn = turn();
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
    let _turn = turn();
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
    let _turn = turn();
    let mut cluster = cluster(3);
    cluster.grow(2);
    let marks = marks(&cluster);
    cluster.fill_disk(true);
    cluster.wait("the trouble is told", || told_of_trouble(&cluster, &marks, "503"));
    let tip = cluster.height().expect("the block to build on is told without the disk");
    assert!(cluster.page("/readyz").unwrap()["error"].as_str().is_some_and(|reason| reason.contains("chain")));
    sleep(Duration::from_secs(1));
    assert_eq!(cluster.height(), Some(tip), "nothing is accepted that is not on disk");
    cluster.fill_disk(false);
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
    let _turn = turn();
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

/// Two plain sockets as the nodes 1 and 2, and the links between them.
fn link(seed: u64) -> (UdpSocket, UdpSocket, Proxy) {
    let ends = [1, 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let addresses = (1..).zip(ends.iter().map(|end| end.local_addr().unwrap())).collect();
    let [one, two] = ends;
    two.set_read_timeout(Some(PATIENCE)).unwrap();
    (one, two, Proxy::start(seed, &addresses))
}

/// What arrives of 200 numbered datagrams, in its order.
fn arrivals(seed: u64, weather: Weather) -> Vec<u8> {
    let (one, two, proxy) = link(seed);
    proxy.set(1, 2, weather);
    let to = proxy.address(1, 2);
    for number in 0..200 {
        one.send_to(&[number], to).unwrap();
        // The proxy has taken it before the next one comes, so that its queue does not overflow.
        let begin = Instant::now();
        let seen = |traffic: cluster::proxy::Traffic| traffic.passed + traffic.lost - traffic.doubled;
        while seen(proxy.traffic()) <= u64::from(number) {
            assert!(begin.elapsed() < PATIENCE);
            sleep(Duration::from_micros(100));
        }
    }
    let receive = || {
        let mut byte = [0];
        let (_, from) = two.recv_from(&mut byte).unwrap();
        assert_eq!(from, proxy.address(2, 1), "each is met at the address that it is known by");
        byte[0]
    };
    let arrived = (0..proxy.traffic().passed).map(|_| receive()).collect();
    proxy.heal();
    one.send_to(&[255], to).unwrap();
    assert_eq!(receive(), 255, "and no more than that");
    arrived
}

#[test]
fn links_do_what_they_are_told_and_a_seed_decides_the_same_again() {
    let fine = Weather::default();
    assert_eq!(arrivals(1, fine), (0..200).collect::<Vec<_>>());
    assert_eq!(arrivals(1, Weather { cut: true, ..fine }), Vec::<u8>::new());
    let lossy = Weather { loss: 0.2, doubled: 0.3, ..fine };
    let some = arrivals(1, lossy);
    let different = some.chunk_by(|a, b| a == b).count();
    assert!((130..190).contains(&different) && some.len() > different, "{some:?}");
    assert_eq!(arrivals(1, lossy), some);
    assert_ne!(arrivals(2, lossy), some);
    let mut late = arrivals(1, Weather { jitter: Duration::from_millis(50), ..fine });
    assert!(!late.is_sorted());
    late.sort();
    assert_eq!(late, (0..200).collect::<Vec<_>>());
}

/// A leader is replaced while it is paused, the chain grows, and it comes back when the service gives no answer. Then `look` sees
/// what everyone told before, what everyone told in the new reign, and the newest height.
fn back_without_a_service(look: impl FnOnce(&[Told], &[Told], u64)) {
    let _turn = turn();
    let cluster = cluster(3);
    cluster.grow(2);
    cluster.signal(1, Signal::STOP);
    cluster.wait_for_leader(2, &[2, 3]);
    cluster.grow(3);
    let height = cluster.height().unwrap();
    cluster.service().signal(Signal::STOP);
    sleep(Duration::from_secs(1)); // whatever it had answered is known by then
    let marks = marks(&cluster);
    cluster.signal(1, Signal::CONT);
    cluster.wait_for_leader(1, &cluster.ids());
    sleep(Duration::from_secs(1));
    let split = cluster.ids().into_iter().map(|id| {
        let mut told = cluster.log(id).told().clone();
        let since = told.split_off(marks[&id]);
        // What it still did in the reign before.
        let anew = since.iter().position(|told| told.is("leader")).unwrap();
        (told, since[anew..].to_vec())
    });
    let (before, since): (Vec<_>, Vec<_>) = split.unzip();
    look(&before.concat(), &since.concat(), height);
    cluster.service().signal(Signal::CONT);
    cluster.grow(1);
    cluster.end();
}

#[test]
fn a_leader_that_is_back_makes_no_jobs_of_what_its_last_reign_knew() {
    back_without_a_service(|before, since, _| {
        // Without the service there is nothing to make a job of, so all that are searched now are from before.
        let job = |told: &Told| (told.event["prev"].clone(), told.event["timestamp"].clone());
        for told in since.iter().filter(|told| told.is("job")) {
            assert!(before.iter().any(|before| before.is("job") && job(before) == job(told)), "{}", told.event);
        }
    });
}

#[test]
fn a_leader_that_is_back_sets_nobody_back_to_a_block_that_is_found() {
    for _ in 0..5 {
        back_without_a_service(|_, since, height| {
            for told in since.iter().filter(|told| told.is("job")) {
                assert!(told.number("height") >= height, "{} of {height}", told.event);
            }
        });
    }
}
