//! Jobs and leases: who searches what.

use super::super::ledger::Lease;
use super::net::*;
use super::*;

#[test]
fn a_node_that_leaves_hands_back_what_it_held() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(seconds(3));
    net.act(3, Cluster::leave);
    assert!(net.member(3).scans.is_empty());
    net.run(MS * 2);
    assert_eq!(net.member(1).peers[&node(3)], PeerState::Down);
    net.members.remove(&node(3));
    net.run(seconds(100));
    assert_eq!(net.coverage(&job(1)), (2_000_000_000, 0), "every nonce once");
}

#[test]
fn an_exhausted_job_is_followed_by_another_of_the_same_block() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    for number in 2..5 {
        while !std::mem::take(&mut net.member(1).needs_job) {
            net.run(MS * 10);
        }
        net.act(1, |cluster, now| cluster.handle_job(now, job(number)));
    }
    assert!(net.member(2).scans.iter().all(|scan| scan.job.block() == job(1).block()));
    assert_eq!(net.coverage(&job(1)).1, 0);
    assert_eq!(net.coverage(&job(2)).1, 0);
}

#[test]
fn a_changed_block_interrupts_the_old_one() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job_of(1, 1)));
    net.run(seconds(1));
    net.act(1, |cluster, now| cluster.handle_job(now, job_of(2, 2)));
    net.run(MS * 3);
    for id in 1..=2 {
        assert!(net.member(id).scans.iter().all(|scan| scan.job == job_of(2, 2)));
        assert!(!net.member(id).scans.is_empty());
    }
}

#[test]
fn what_is_hoarded_goes_to_others() {
    let mut net = Net::new(&[1, 2]);
    (net.hoarder, net.member(2).rate) = (Some(node(2)), 0);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.run(MS * 100);
    let hoarded = |net: &mut Net| -> Vec<_> {
        let leading = net.member(1).cluster.leading().unwrap();
        let leases = leading.ledgers().flat_map(|ledger| ledger.leases()).filter(|lease| lease.node == node(2));
        leases.map(|lease| lease.rest).collect()
    };
    let first = hoarded(&mut net);
    assert!(!first.is_empty());
    net.run(seconds(70));
    assert_eq!(hoarded(&mut net), first, "named, and not too old");
    net.run(seconds(40));
    let searched = net.coverage(&job(1));
    assert!(hoarded(&mut net).iter().all(|range| !first.contains(range)), "{searched:?}");
    let leading = net.member(1).cluster.leading().unwrap();
    for range in first {
        let of_others = |lease: &Lease| lease.node != node(2) && !lease.rest.intersection(&range).is_empty();
        let is_cared_for =
            leading.ledgers().any(|ledger| ledger.done().gap(range).is_none() || ledger.leases().iter().any(of_others));
        assert!(is_cared_for, "{range:?}");
    }
}

#[test]
fn every_nonce_is_searched_however_many_messages_are_lost() {
    for seed in 1..=10u64 {
        let mut net = Net::new(&[1, 2, 3]);
        net.run(MS * 20);
        net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
        let mut random = seed;
        while net.coverage(&job(1)).0 < 2_000_000_000 {
            assert!(net.now - net.start < seconds(400), "seed {seed}: {:?} after 400 s", net.coverage(&job(1)));
            net.run(MS);
            // A tenth of all messages is lost.
            net.mail.retain(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                !random.is_multiple_of(10)
            });
            for id in 1..=3 {
                if std::mem::take(&mut net.member(id).needs_job) {
                    net.act(id, |cluster, now| cluster.handle_job(now, job(1)));
                }
            }
        }
    }
}

#[test]
fn no_node_can_ask_for_more_jobs_than_there_may_be() {
    let mut net = Net::new(&[1, 2, 3]);
    for id in 1..=3 {
        net.act(id, |cluster, _| cluster.set_rate(u64::MAX));
    }
    net.run(MS * 20);
    // The node answers each wish at once, as the real one does.
    for number in 1..200 {
        if std::mem::take(&mut net.member(1).needs_job) {
            net.act(1, |cluster, now| cluster.handle_job(now, job(number)));
        }
        net.run(MS);
    }
    assert!(!net.member(1).needs_job, "it asks for ever");
    assert!(net.members.values().all(|member| !member.scans.is_empty()));
}

#[test]
fn a_leader_that_was_told_that_everything_is_done_goes_on() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job(1)));
    net.act(1, |cluster, now| cluster.handle_job(now, job(2)));
    net.run(MS * 5);
    let epoch = net.member(1).leader.unwrap().1;
    let claim = |range| Claim { job: job(1).id(), range, bits: ShareBits::for_job(&job(1), 100), shares: vec![] };
    let finished = vec![claim(NonceRange::new(1, 2_000_000_001)), claim(NonceRange::new(9, 3))];
    let request = ProcessRequest { epoch, rate: u64::MAX, held: vec![], finished };
    net.act(1, |cluster, now| cluster.handle_message(now, node(2), Message::ProcessRequest(request)));
    net.run(seconds(30));
    let mail = net.mail.len();
    assert!(mail < 20, "{mail} messages under way");
    assert_eq!(net.leaders(), [(1, 1), (2, 1)]);
}

#[test]
fn a_leader_tells_all_that_is_done_however_many_leases_it_took() {
    const LEASES: u64 = 3000;
    const LENGTH: u64 = 64;
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    // Nobody hashes here; what the others claim, and really is so, comes below.
    net.member(1).rate = 0;
    net.kill(2);
    net.kill(3);
    let job = hard_job();
    net.act(1, |cluster, now| cluster.handle_job(now, job));
    let (epoch, bits) = (net.member(1).leader.unwrap().1, ShareBits::for_job(&job, LENGTH));
    let claim = |lease: u64| {
        let range = NonceRange::new(1 + lease * LENGTH, 1 + (lease + 1) * LENGTH);
        let shares = (range.start..range.end).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some()).collect();
        Claim { job: job.id(), range, bits, shares }
    };
    // Neighbours are never the same node's.
    for first in (0..LEASES).step_by(100) {
        for by in [0, 1] {
            let finished = (first..first + 100).filter(|lease| lease % 2 == by).map(claim).collect();
            let request = Message::ProcessRequest(ProcessRequest { epoch, rate: 1, held: vec![], finished });
            net.act(1, |cluster, now| cluster.handle_message(now, node(2 + by as u32), request));
        }
    }
    net.run(seconds(5));
    net.mail.clear();
    let question = Heartbeat { incarnation: 3, sent: 5000, echo: None, epoch: Some(epoch), standing: None };
    net.act(1, |cluster, now| cluster.handle_message(now, node(3), Message::HeartbeatRequest(question)));
    let told = net.mail.iter().find_map(|(_, _, _, message)| match message {
        Message::HeartbeatReply(heartbeat, _) => heartbeat.standing.clone(),
        _ => None,
    });
    let done = |standing: &Standing| standing.done[0].ranges.iter().map(|range| range.len()).sum::<u64>();
    let told = told.unwrap();
    assert_eq!(done(&told), LEASES * LENGTH, "in {} ranges", told.done[0].ranges.len());
    // What is newest is still known to be whose it is.
    assert!(told.done[0].pieces.iter().filter(|(_, by)| *by == node(2)).count() > 100);
    let brief = net.member(1).cluster.leading().unwrap().brief_standing(1);
    assert_eq!((done(&brief), brief.done[0].ranges.len()), (LEASES * LENGTH, 1));
}

#[test]
fn messages_of_strangers_older_epochs_and_others_leases_get_silence() {
    let now = clock();
    let mut cluster = Cluster::new(config(2), now);
    cluster.set_peers(now, &[node(1)]);
    let epoch = |counter, leader| Epoch { counter, leader: node(leader), incarnation: 1 };
    let beat = |epoch| {
        let echo = Some(0);
        Heartbeat { incarnation: 1, sent: 0, echo, epoch: Some(epoch), standing: None }
    };
    cluster.handle_message(now, node(1), Message::HeartbeatReply(beat(epoch(5, 1)), None));
    while cluster.poll_output().is_some() {}
    let process = |epoch, round| {
        Message::Process(Process {
            epoch,
            lease: 1,
            round,
            job: job(1),
            range: NonceRange::new(1, 100_001),
            bits: ShareBits::for_job(&job(1), 100_000),
        })
    };
    cluster.handle_message(now, node(9), process(epoch(5, 1), 1));
    cluster.handle_message(now, node(1), process(epoch(4, 1), 1));
    cluster.handle_message(now, node(1), process(epoch(5, 9), 1));
    assert_eq!(cluster.poll_output(), None);
    cluster.handle_message(now, node(1), process(epoch(5, 1), 1));
    assert!(matches!(cluster.poll_output(), Some(Output::Scan { ticket: 1, .. })));
    // Twice the same, then an interrupt, then late mail from the round that is over.
    cluster.handle_message(now, node(1), process(epoch(5, 1), 1));
    assert_eq!(cluster.poll_output(), None);
    let interrupt = ProcessInterrupt { epoch: epoch(5, 1), round: 1, settled: None, void: vec![] };
    cluster.handle_message(now, node(1), Message::ProcessInterrupt(interrupt.clone()));
    assert_eq!(cluster.poll_output(), Some(Output::Stop { ticket: 1 }));
    assert!(matches!(cluster.poll_output(), Some(Output::Send { message: Message::ProcessRequest(_), .. })));
    cluster.handle_message(now, node(1), process(epoch(5, 1), 1));
    assert_eq!(cluster.poll_output(), None);
    cluster.handle_message(now, node(1), process(epoch(5, 1), 2));
    assert!(matches!(cluster.poll_output(), Some(Output::Scan { ticket: 2, .. })));
    // The interrupt again does not touch the new round, and is no reason to ask.
    cluster.handle_message(now, node(1), Message::ProcessInterrupt(interrupt));
    assert_eq!(cluster.poll_output(), None);
}
