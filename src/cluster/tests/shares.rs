//! Rule 7: shares flow from their finder to its leader and to the source, and none is told in full twice.

use super::super::shares::{MAX_SHARES, OwnShares};
use super::*;

/// Node 2 searches a pool's job for node 1, which is played. Gives shares in it.
fn finder() -> (Scene, impl Iterator<Item = Solution>) {
    let mut scene = Scene::new(2, &[1]);
    let job = job(&pool(1), 1, 0);
    scene.assign(2, 1, &[(job, NonceRange::new(0, 100_000))]);
    scene.heard(1);
    (scene, solutions(job, 0, false))
}

fn find(scene: &mut Scene, share: &Solution) -> Vec<Output> {
    scene.on(2, |cluster, now| cluster.handle_found(now, 1, share.nonce))
}

/// The nonces of the shares that node 2 tells in full, and the names of the others, in its only report.
fn told(scene: &mut Scene) -> (Vec<u64>, Vec<SolutionId>) {
    let heard = scene.heard(1);
    let [Message::ProcessRequest(report)] = &heard[..] else { panic!("expected a report, got {heard:?}") };
    (report.shares.iter().map(|(_, nonce)| *nonce).collect(), report.taken.clone())
}

#[test]
fn shares_wait_a_twentieth_of_a_heartbeat_for_others() {
    let (mut scene, mut shares) = finder();
    let (first, second) = (shares.next().unwrap(), shares.next().unwrap());
    assert_eq!(find(&mut scene, &first), []);
    scene.pass(0.19);
    assert_eq!((find(&mut scene, &second), scene.heard(1)), (vec![], vec![]));
    scene.pass(0.01);
    assert_eq!(told(&mut scene), (vec![first.nonce, second.nonce], vec![]));
    scene.pass(0.5);
    assert_eq!(scene.heard(1), []);
}

#[test]
fn a_share_is_told_by_name_once_taken_and_in_full_to_another_leader() {
    let (mut scene, mut shares) = finder();
    let mut next = |scene: &mut Scene| {
        let share = shares.next().unwrap();
        find(scene, &share);
        scene.pass(0.2);
        share
    };
    let a = next(&mut scene);
    let b = next(&mut scene);
    let taken =
        Assign { taken: vec![a.id(), b.id()], ..scene.assignment(2, 2, &[(a.job, NonceRange::new(0, 100_000))]) };
    scene.say(1, 2, Message::Process(taken.clone()));
    scene.heard(1);
    let c = next(&mut scene);
    assert_eq!(told(&mut scene), (vec![c.nonce], vec![a.id(), b.id()]));
    let settled = Assign { sequence: 3, taken: vec![b.id()], settled: vec![a.id()], ..taken };
    scene.say(1, 2, Message::Process(settled.clone()));
    let d = next(&mut scene);
    assert_eq!(told(&mut scene), (vec![c.nonce, d.nonce], vec![b.id()]));
    assert_eq!(scene.nodes[&node(2)].pending_shares(), 3);
    scene.played(1).run = Run(9);
    scene.pass(4.0);
    let reign = Reign { run: Run(9), number: 1 };
    scene.say(1, 2, Message::Process(Assign { reign, taken: vec![], settled: vec![], ..settled }));
    let e = next(&mut scene);
    assert_eq!(told(&mut scene), ([b, c, d, e].map(|share| share.nonce).to_vec(), vec![]));
}

#[test]
fn a_finder_keeps_a_bounded_number_and_counts_what_it_loses() {
    let (mut scene, mut shares) = finder();
    for share in shares.by_ref().take(MAX_SHARES) {
        assert_eq!(find(&mut scene, &share), []);
    }
    assert_eq!(find(&mut scene, &shares.next().unwrap()), [Output::ShareLost]);
    assert_eq!(scene.nodes[&node(2)].pending_shares(), MAX_SHARES);
    scene.pass(0.2);
    let (full, named) = told(&mut scene);
    assert_eq!((full.len(), named.len()), (MAX_REPORTED_SHARES, 0));
}

/// Node 1 leads node 2, which is played, for a pool. Gives shares in its job.
fn leading() -> (Scene, impl Iterator<Item = Solution>) {
    let mut scene = Scene::new(2, &[2]);
    let begun = scans(&scene.template(1, pool(1)));
    (scene, solutions(begun[0].0, 0, false))
}

/// Node 2 reports shares in full. Gives what the assignment says of them: those taken and those settled.
fn tell(scene: &mut Scene, shares: &[Solution]) -> (Vec<SolutionId>, Vec<SolutionId>) {
    let assign = scene.report(2, |report| {
        report.jobs = shares.iter().map(|share| share.job).take(1).collect();
        report.shares = shares.iter().map(|share| (0, share.nonce)).collect();
    });
    let assign = assign.unwrap();
    (assign.taken, assign.settled)
}

fn submit(share: &Solution) -> Output {
    Output::Submit { solution: *share, found_by: node(2) }
}

fn ids(shares: &[Solution]) -> Vec<SolutionId> {
    shares.iter().map(Solution::id).collect()
}

#[test]
fn a_leader_submits_a_share_once_and_names_it_until_it_is_settled() {
    let (mut scene, shares) = leading();
    let shares: Vec<_> = shares.take(2).collect();
    assert_eq!(tell(&mut scene, &shares), (ids(&shares), vec![]));
    assert_eq!(scene.done(1), [submit(&shares[0]), submit(&shares[1])]);
    assert_eq!(tell(&mut scene, &shares), (ids(&shares), vec![]));
    assert_eq!(scene.done(1), [], "they are under way");
    assert_eq!(scene.on(1, |cluster, now| cluster.handle_verdict(now, &shares[0], None)), []);
    let by_name = scene.report(2, |report| report.taken = ids(&shares)).unwrap();
    assert_eq!((by_name.taken, by_name.settled), (ids(&shares[1..]), ids(&shares[..1])));
    assert_eq!(tell(&mut scene, &shares), (ids(&shares[1..]), ids(&shares[..1])));
    assert_eq!(scene.done(1), []);
}

#[test]
fn an_unanswered_share_is_submitted_again_in_a_moment() {
    let (mut scene, mut shares) = leading();
    let share = shares.next().unwrap();
    tell(&mut scene, &[share]);
    assert_eq!(scene.done(1), [submit(&share)]);
    assert_eq!(scene.on(1, |cluster, now| cluster.handle_unanswered(now, &share)), []);
    scene.pass(0.39);
    assert_eq!(scene.done(1), []);
    scene.pass(0.01);
    assert_eq!(scene.done(1), [submit(&share)]);
    assert_eq!(scene.on(1, |cluster, now| cluster.handle_unsubmittable(now, &share)), []);
    assert_eq!(tell(&mut scene, &[share]), (vec![], vec![share.id()]), "nobody can submit it any more");
}

#[test]
fn a_leader_has_a_bounded_number_under_way_for_each_finder() {
    let (mut scene, shares) = leading();
    let shares: Vec<_> = shares.take(1100).collect();
    assert_eq!(tell(&mut scene, &shares[..800]).0.len(), 800);
    assert_eq!(tell(&mut scene, &shares[800..]).0, ids(&shares[800..1024]));
    assert_eq!(scene.done(1).len(), 1024);
    scene.on(1, |cluster, now| cluster.handle_verdict(now, &shares[0], None));
    assert_eq!(tell(&mut scene, &shares[1024..]).0, ids(&shares[1024..1025]));
}

#[test]
fn a_share_is_judged_by_the_template_of_its_job() {
    let (mut scene, mut shares) = leading();
    let share = shares.next().unwrap();
    let goal = Goal { report: zero_bits(9), ..pool(1).goal };
    let harder = scans(&scene.template(1, Template { goal, tag: 1, ..pool(1) }))[0].0;
    tell(&mut scene, &[share]);
    assert_eq!(scene.done(1), [submit(&share)], "it is one of the difficulty before");
    let easier = Job { goal: share.job.goal, ..harder };
    let false_share = solutions(easier, 0, false).next().unwrap();
    tell(&mut scene, &[false_share, share]);
    assert_eq!(scene.done(1), [Output::Refused { from: node(2), solution: false_share }], "it is in nobody's way");
    let forgotten = solutions(job(&pool(7), 1, 0), 0, false).next().unwrap();
    assert_eq!(tell(&mut scene, &[forgotten]), (vec![], vec![forgotten.id()]));
    assert_eq!(scene.done(1), [Output::ShareLost]);
    let anothers = solutions(job(&pool(1), 9, 0), 0, false).next().unwrap();
    assert_eq!(tell(&mut scene, &[anothers]), (vec![anothers.id()], vec![]));
    assert_eq!(scene.done(1), [submit(&anothers)], "this node's sessions say what becomes of it");
}

#[test]
fn a_share_that_two_nodes_report_is_submitted_once_and_settled_for_both() {
    let mut scene = Scene::new(3, &[2, 3]);
    let job = scans(&scene.template(1, pool(1)))[0].0;
    let share = solutions(job, 0, false).next().unwrap();
    let both = |scene: &mut Scene| {
        [2, 3].map(|id| {
            let tell = |report: &mut Report| (report.jobs, report.shares) = (vec![job], vec![(0, share.nonce)]);
            scene.report(id, tell).unwrap().settled
        })
    };
    assert_eq!(both(&mut scene), [vec![], vec![]]);
    assert_eq!(scene.done(1), [submit(&share)]);
    scene.on(1, |cluster, now| cluster.handle_verdict(now, &share, None));
    assert_eq!(both(&mut scene), [vec![share.id()], vec![share.id()]]);
    assert_eq!(scene.done(1), []);
}

#[test]
fn a_report_names_the_measured_speed() {
    let (mut scene, _) = finder();
    scene.on(2, |cluster, _| cluster.set_speed(77_000));
    scene.pass(4.0);
    let speed = |message: &Message| match message {
        Message::ProcessRequest(report) => report.speed == 77_000,
        _ => false,
    };
    assert!(scene.heard(1).iter().any(speed));
}

#[test]
fn shares_of_the_leaders_own_leases_are_reported_first_and_taken_ones_by_name_up_to_a_bound() {
    let (mut shares, job, by) =
        (OwnShares::default(), job(&pool(1), 1, 0), |id| (node(id), Reign { run: Run(1), number: 1 }));
    let share = |nonce| Solution { job, nonce };
    for nonce in 0..MAX_SHARES as u64 {
        assert!(!shares.add(share(nonce), node(3)));
    }
    assert!(!shares.add(share(10_000), node(1)), "another leader's have room of their own");
    let mut report = Report::default();
    shares.report(Some(by(1)), &mut report);
    assert_eq!((report.shares.len(), report.shares[0], report.shares[1]), (800, (0, 10_000), (0, 0)));
    let taken: Vec<_> = (0..501).map(|nonce| share(nonce).id()).collect();
    shares.take(&taken, by(1));
    let mut report = Report::default();
    shares.report(Some(by(1)), &mut report);
    assert_eq!(report.taken, taken[..MAX_REPORTED_NAMES]);
}

#[test]
fn the_shares_of_a_finder_that_is_taken_off_the_list_are_forgotten() {
    let (mut scene, mut shares) = leading();
    let share = shares.next().unwrap();
    tell(&mut scene, &[share]);
    assert_eq!(scene.done(1), [submit(&share)]);
    for members in [&[][..], &[(node(2), true)]] {
        scene.on(1, |cluster, now| cluster.set_peers(now, members));
    }
    assert_eq!(tell(&mut scene, &[share]).0, [share.id()]);
    assert_eq!(scene.done(1), [submit(&share)]);
}

#[test]
fn a_share_outside_its_jobs_nonces_is_false() {
    let (mut scene, mut shares) = leading();
    let share = shares.next().unwrap();
    let outside = Solution { nonce: share.job.space().end + share.nonce, ..share };
    assert_eq!(tell(&mut scene, &[outside]), (vec![], vec![outside.id()]));
    assert_eq!(scene.done(1), [Output::Refused { from: node(2), solution: outside }]);
}

#[test]
fn a_share_of_another_runs_headers_is_submitted_only_if_it_is_one() {
    let (mut scene, _) = leading();
    let goal = Goal { report: zero_bits(9), ..pool(1).goal };
    let job = job(&Template { goal, ..pool(1) }, 9, 0);
    let share = solutions(job, 0, false).next().unwrap();
    let none = Solution { nonce: share.nonce + 1, ..share };
    assert_eq!(tell(&mut scene, &[none, share]), (vec![share.id()], vec![none.id()]));
    assert_eq!(scene.done(1), [Output::ShareLost, submit(&share)]);
}
