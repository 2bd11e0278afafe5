//! Rule 8: a node that cannot have searched what it reports gets no work, and nobody else is judged for it.

use super::*;

/// Node 1 leads nodes 2 and 3, which are played and prove their work, and has leased each a unit.
fn leading() -> (Scene, [Assign; 2]) {
    let mut scene = Scene::new(3, &[2, 3]);
    scene.template(1, text(1));
    let leases = [2, 3].map(|id| scene.report(id, |_| {}).unwrap());
    (scene, leases)
}

fn starts(assign: Option<Assign>) -> Vec<u64> {
    assign.unwrap().leases.iter().map(|lease| lease.range.start - BEFORE).collect()
}

fn distrusted(scene: &Scene) -> Vec<NodeId> {
    scene.nodes[&node(1)].distrusted().collect()
}

#[test]
fn progress_without_witnesses_is_refused() {
    let (mut scene, [lazy, honest]) = leading();
    let lease = lazy.leases[0];
    assert_eq!(starts(scene.report(2, |report| report.progress[0].to = lease.range.end)), [0; 0]);
    assert_eq!(scene.done(1), [Output::Distrusted { node: node(2) }]);
    assert_eq!(starts(scene.report(3, |report| search(report, &honest, 0, BEFORE + 301))), [301]);
    assert_eq!(starts(scene.report(2, |report| report.speed = 1)), [0; 0]);
    assert_eq!((scene.done(1), distrusted(&scene)), (vec![], vec![node(2)]), "told once");
}

#[test]
fn what_is_no_witness_is_refused_as_well() {
    let (mut scene, [lying, _]) = leading();
    let refused = scene.report(2, |report| {
        search(report, &lying, 0, BEFORE + 111);
        let shown = &mut report.progress[0].witnesses;
        let other = (BEFORE + 101..BEFORE + 111).find(|nonce| !shown.contains(nonce));
        shown.extend(other);
        shown.sort_unstable();
    });
    assert_eq!((starts(refused), distrusted(&scene)), (vec![], vec![node(2)]));
}

#[test]
fn only_new_progress_on_outstanding_leases_is_judged() {
    let (mut scene, [mine, others]) = leading();
    let (number, range) = (others.leases[0].number, others.leases[0].range);
    let claim = |lease, to| Progress { lease, to, witnesses: vec![] };
    scene.report(2, |report| report.progress.extend([claim(number, range.end), claim(99, u64::MAX)]));
    scene.report(2, |report| report.progress[0].to = u64::MAX);
    scene.report(2, |report| report.progress[0].to = 0);
    scene.report(2, |report| search(report, &mine, 0, BEFORE + 201));
    assert_eq!((scene.done(1), distrusted(&scene)), (vec![], vec![]));
}

#[test]
fn a_new_run_is_believed_again() {
    let (mut scene, _) = leading();
    scene.report(2, |report| report.progress[0].to = BEFORE + 201);
    scene.played(2).run = Run(22);
    scene.pass(4.0);
    assert_eq!((starts(scene.report(2, |_| {})), distrusted(&scene)), (vec![301], vec![node(2)]));
    let held = scene.played(2).holds.clone().unwrap();
    scene.report(2, |report| search(report, &held, 0, BEFORE + 401));
    assert_eq!(distrusted(&scene), []);
}

#[test]
fn a_member_that_shows_no_witnesses_is_not_judged_by_them() {
    let mut scene = Scene::with(2, &[2], |id| id == 1);
    scene.template(1, text(1));
    scene.report(2, |_| {});
    assert_eq!(starts(scene.report(2, |report| report.progress[0].to = BEFORE + 201)), [201]);
    assert_eq!((scene.done(1), distrusted(&scene)), (vec![], vec![]));
}

#[test]
fn a_leader_judges_itself_too() {
    let (mut scene, _) = leading();
    let done = scene.on(1, |cluster, now| cluster.handle_searched(now, 1, BEFORE + 101, &[]));
    assert_eq!(done, [Output::Distrusted { node: node(1) }]);
}

/// What node 2 reports of its leases, since node 1, which is played, asks.
fn progress(scene: &mut Scene) -> Vec<Progress> {
    let heartbeat = scene.played(1).heartbeat(None);
    scene.say(1, 2, Message::HeartbeatRequest(heartbeat));
    match scene.heard(1).pop() {
        Some(Message::HeartbeatReply(_, Some(report))) => report.progress,
        other => panic!("expected a report on board, got {other:?}"),
    }
}

#[test]
fn acknowledged_witnesses_are_not_sent_again() {
    let mut scene = Scene::new(2, &[1]);
    let job = job(&text(1), 1, 0);
    scene.assign(2, 1, &[(job, NonceRange::new(1, 101))]);
    scene.on(2, |cluster, _| cluster.handle_progress(1, 60, &[3, 20, 59]));
    assert_eq!(progress(&mut scene), [Progress { lease: 1, to: 60, witnesses: vec![3, 20, 59] }]);
    scene.assign(2, 2, &[(job, NonceRange::new(50, 101))]);
    assert_eq!(progress(&mut scene), [Progress { lease: 1, to: 60, witnesses: vec![59] }]);
    scene.on(2, |cluster, _| cluster.handle_progress(1, 90, &[3, 20, 59, 80]));
    assert_eq!(progress(&mut scene), [Progress { lease: 1, to: 90, witnesses: vec![59, 80] }]);
}

#[test]
fn progress_is_reported_up_to_the_first_witness_that_is_left_out() {
    let mut scene = Scene::new(2, &[1]);
    let job = job(&text(1), 1, 0);
    let ranges = [0, 1, 2, 3].map(|n| (job, NonceRange::new(1 + n * 1000, 1001 + n * 1000)));
    scene.assign(2, 1, &ranges);
    for (ticket, (_, range)) in (1..).zip(ranges) {
        let all: Vec<_> = (range.start..range.end).collect();
        scene.on(2, |cluster, _| cluster.handle_progress(ticket, range.end, &all));
    }
    let told: Vec<_> = progress(&mut scene).iter().map(|told| (told.to, told.witnesses.len())).collect();
    assert_eq!(told, [(1001, 1000), (2001, 1000), (3001, 1000), (3001, 0)]);
}

#[test]
fn the_witness_at_which_a_full_report_ends_is_told_in_the_next() {
    let mut scene = Scene::new(2, &[1]);
    let job = job(&text(1), 1, 0);
    scene.assign(2, 1, &[(job, NonceRange::new(1, 101))]);
    scene.on(2, |cluster, now| cluster.handle_searched(now, 1, 101, &[3, 20, 59]));
    scene.assign(2, 2, &[(job, NonceRange::new(20, 101))]);
    assert_eq!(progress(&mut scene), [Progress { lease: 1, to: 101, witnesses: vec![20, 59] }]);
}

#[test]
fn what_a_scan_tells_beyond_its_lease_does_not_count() {
    let mut scene = Scene::new(2, &[1]);
    let job = job(&pool(1), 1, 0);
    let share = solutions(job, 100, false).next().unwrap().nonce;
    scene.assign(2, 1, &[(job, NonceRange::new(1, share))]);
    scene.on(2, |cluster, _| cluster.handle_progress(1, share + 9, &[3, share]));
    assert_eq!(progress(&mut scene), [Progress { lease: 1, to: share, witnesses: vec![3] }]);
    let mut found = |nonce| {
        scene.on(2, |cluster, now| cluster.handle_found(now, 1, nonce));
        scene.nodes[&node(2)].pending_shares()
    };
    assert_eq!((found(share), found(share - 1)), (0, 1));
}
