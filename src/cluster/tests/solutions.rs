//! What becomes of a solution.

use super::net::*;
use super::*;

#[test]
fn a_solution_is_submitted_once_and_interrupts_everyone() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    let first = job_of(1, 10);
    let planted = Solution { job: first, nonce: 180_000_000 };
    net.planted = Some(planted);
    net.act(1, |cluster, now| cluster.handle_job(now, first));
    net.run(seconds(20));
    assert_eq!(net.member(1).submitted, [planted]);
    for id in 1..=3 {
        assert_eq!(net.member(id).scans.len(), 0, "node {id} goes on with a block that is found");
    }
    net.act(1, |cluster, now| cluster.handle_settled(now, &planted));
    assert!(net.member(1).needs_job);
    let next = job_of(2, 11);
    net.act(1, |cluster, now| cluster.handle_job(now, next));
    net.run(MS * 5);
    for id in 1..=3 {
        assert_eq!(net.member(id).cluster.job(), Some(&next));
    }
    net.run(seconds(11));
    assert_eq!(net.member(1).submitted, [planted]);
}

#[test]
fn a_solution_survives_the_leader_that_it_was_given_to() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    let first = job_of(1, 10);
    let planted = Solution { job: first, nonce: 350_000_000 };
    net.act(1, |cluster, now| cluster.handle_job(now, first));
    net.run(MS * 3);
    let holds = |scan: &Scan| scan.range.contains(planted.nonce);
    let finder =
        [2, 3].into_iter().find(|&id| net.member(id).scans.iter().any(holds)).expect("a lease of another node");
    let ticket = net.member(finder).scans.iter().copied().find(holds).unwrap().ticket;
    net.kill(1);
    net.act(finder, |cluster, now| cluster.handle_found(now, ticket, planted.nonce));
    net.run(seconds(11));
    assert!(net.member(2).submitted.is_empty(), "for which block it is has to be heard from the source first");
    let more = Job { puzzle: job_of(1, 11).puzzle, ..first };
    net.act(2, |cluster, now| cluster.handle_job(now, more));
    assert_eq!(net.member(2).submitted, [planted]);
}

#[test]
fn a_solution_outlives_a_board_that_is_a_block_behind() {
    let mut net = Net::new(&[1, 2, 3]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, job_of(1, 1)));
    net.run(seconds(6));
    // The next block begins, and its leader dies before anyone but the finder hears of it.
    net.cut = vec![(1, 2)];
    let next = job_of(2, 7);
    net.act(1, |cluster, now| cluster.handle_job(now, next));
    net.run(MS * 5);
    net.kill(1);
    net.cut.clear();
    let planted = Solution { job: next, nonce: 350_000_000 };
    let ticket = net.member(3).scans.iter().find(|scan| scan.job == next).expect("a lease of the new block").ticket;
    net.act(3, |cluster, now| cluster.handle_found(now, ticket, planted.nonce));
    net.run(seconds(12));
    assert_eq!(net.leaders(), [(2, 2), (3, 2)]);
    let more = Job { puzzle: job_of(2, 8).puzzle, ..next };
    net.act(2, |cluster, now| cluster.handle_job(now, more));
    net.run(MS * 5);
    assert_eq!(net.member(2).submitted, [planted]);
}

#[test]
fn a_solution_on_other_terms_ends_nothing() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    net.act(1, |cluster, now| cluster.handle_job(now, hard_job()));
    net.run(MS * 5);
    let epoch = net.member(1).leader.unwrap().1;
    for easy in [
        Job { target: Target::MAX, ..job(1) },
        Job { target: Target::MAX, search: Search::Every, ..job(1) },
        Job { target: Target::MAX, ..job_of(9, 1) },
    ] {
        let answer = ProcessAnswerYes { epoch, solution: Solution { job: easy, nonce: 1 } };
        net.act(1, |cluster, now| cluster.handle_message(now, node(2), Message::ProcessAnswerYes(answer)));
    }
    net.run(MS * 5);
    assert!(net.member(1).submitted.is_empty());
    assert!(net.members.values().all(|member| member.scans.iter().all(|scan| scan.job == hard_job())));
}

#[test]
fn a_settled_solution_is_forgotten_by_its_finder_and_never_submitted_again() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    let first = job_of(1, 10);
    net.act(1, |cluster, now| cluster.handle_job(now, first));
    net.run(MS * 5);
    let planted = Solution { job: first, nonce: 150_000_000 };
    let ticket = net.member(1).scans[0].ticket;
    net.act(1, |cluster, now| cluster.handle_found(now, ticket, planted.nonce));
    net.run(seconds(11));
    assert_eq!(net.member(1).submitted, [planted], "offered again, submitted once");
    // The source calls it wrong: the same block goes on with another job.
    net.act(1, |cluster, now| cluster.handle_settled(now, &planted));
    net.act(1, |cluster, now| cluster.handle_job(now, Job { puzzle: job_of(1, 11).puzzle, ..first }));
    net.run(seconds(11));
    assert_eq!(net.member(1).submitted, [planted]);
    assert!(net.members.values().all(|member| !member.scans.is_empty()));
}

#[test]
fn what_a_killed_finder_had_pending_is_offered_after_its_restart() {
    let mut net = Net::new(&[1, 2]);
    net.run(MS * 20);
    let first = job_of(1, 10);
    net.act(1, |cluster, now| cluster.handle_job(now, first));
    net.run(MS * 5);
    let Scan { ticket, range, .. } = net.member(2).scans[0];
    let planted = Solution { job: first, nonce: range.start };
    net.cut = vec![(2, 1)];
    net.act(2, |cluster, now| cluster.handle_found(now, ticket, planted.nonce));
    let pending = |net: &mut Net, id| net.member(id).cluster.kept([]);
    assert_eq!((pending(&mut net, 1), pending(&mut net, 2)), (vec![], vec![planted]));
    net.kept = pending(&mut net, 2);
    net.kill(1);
    net.kill(2);
    net.start(2, &[2]);
    assert_eq!(pending(&mut net, 2), [planted]);
    net.run(seconds(6));
    assert!(net.member(2).submitted.is_empty(), "for which block it is has to be heard from the source first");
    let more = Job { puzzle: job_of(1, 11).puzzle, ..first };
    net.act(2, |cluster, now| cluster.handle_job(now, more));
    net.run(MS * 5);
    assert_eq!((net.member(2).submitted.clone(), pending(&mut net, 2)), (vec![planted], vec![planted]));
    net.act(2, |cluster, now| cluster.handle_settled(now, &planted));
    assert_eq!(pending(&mut net, 2), []);
}

#[test]
fn a_wrong_nonce_is_refused_and_changes_nothing() {
    let now = clock();
    let mut cluster = Cluster::new(config(1), now);
    cluster.set_peers(now, &[node(2)]);
    let reply = |epoch| Heartbeat { incarnation: 9, sent: 0, echo: Some(0), epoch, standing: None };
    cluster.handle_message(now, node(2), Message::HeartbeatReply(reply(None), None));
    cluster.handle_job(now, hard_job());
    while cluster.poll_output().is_some() {}
    let solution = Solution { job: hard_job(), nonce: 5 };
    let epoch = cluster.epoch().unwrap();
    cluster.handle_message(now, node(2), Message::ProcessAnswerYes(ProcessAnswerYes { epoch, solution }));
    assert_eq!(cluster.poll_output(), Some(Output::Refused { from: node(2), solution }));
    assert_eq!(cluster.poll_output(), None);
}
