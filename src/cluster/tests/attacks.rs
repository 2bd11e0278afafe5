//! Rule 9: a certified peer that says anything wastes time while it is there, and nothing lasts after it has gone.

use super::super::liveness::MAX_REPORTS;
use super::*;

/// Whatever adds to this number goes wrong.
const HUGE: u64 = u64::MAX - 1;

/// In 0.1 one heartbeat with a huge epoch stopped all followers until they were restarted, and a fresh node could not join them.
#[test]
fn huge_numbers_of_the_lowest_id_are_forgotten_when_it_goes() {
    let mut scene = Scene::new(4, &[1]);
    scene.nodes.remove(&node(4));
    for id in [2, 3] {
        scene.template(id, text(1));
        scene.played(1).sent = HUGE - 64;
        scene.played(1).leads = Some(Leads { reign: HUGE, current: Some(Current::Round(round(HUGE))), blocks: vec![] });
        let heartbeat = scene.played(1).heartbeat(None);
        scene.say(1, id, Message::HeartbeatRequest(heartbeat));
        let mut job = job(&text(1), 1, 0);
        (job.round.block.height, job.tag.slot.n) = (HUGE, HUGE);
        let ranges = [NonceRange::new(HUGE, u64::MAX), NonceRange::new(1, u64::MAX), NonceRange::new(1, 101)];
        let mut assign = scene.assignment(id, HUGE, &ranges.map(|range| (job, range)));
        (assign.reign.number, assign.leases[0].number) = (u64::MAX, u64::MAX);
        assert_eq!(scans(&scene.say(1, id, Message::Process(assign))), [(job, ranges[2])]);
    }
    scene.answers(1, false, 2.0 * 4.0 + 1.0);
    let leaders = |scene: &Scene| scene.nodes.values().map(Cluster::leader).collect::<Vec<_>>();
    assert_eq!(leaders(&scene), [Some(node(2)); 2]);
    scene.template(2, text(1));
    assert!(scans(&scene.done(3)).iter().any(|(job, _)| job.tag.slot.run == Run(2)), "its assignments count");

    let (mut fresh, now) = (Cluster::new(config(4), scene.now), scene.now);
    fresh.set_peers(now, &[1, 2, 3, 4].map(|id| (node(id), true)));
    scene.nodes.insert(node(4), fresh);
    scene.pass(1.0);
    assert_eq!(leaders(&scene), [Some(node(2)); 3]);
    assert!(scene.nodes[&node(4)].job().is_some());

    *scene.played(1) = Played { run: Run(11), ..Scene::part(1) };
    scene.pass(4.0);
    assert_eq!(leaders(&scene), [Some(node(1)); 3]);
    scene.done.clear();
    for id in [2, 3, 4] {
        let range = NonceRange::new(1, 101);
        assert_eq!(scans(&scene.assign(id, 1, &[(job(&text(1), 11, 0), range)])).len(), 1, "small numbers are obeyed");
    }
}

/// In 0.1 lists of one distrusted node each added up until everybody was distrusted.
#[test]
fn whatever_one_node_reports_no_other_is_refused_work() {
    let mut scene = Scene::new(3, &[2, 3]);
    let job = scans(&scene.template(1, text(1)))[0].0;
    let honest = scene.report(3, |_| {}).unwrap();
    let block = block(job);
    let lie = Solution { nonce: block.nonce + 1, ..block };
    for claimed in 0..40 {
        scene.report(2, |report| {
            let claim = |lease| Progress { lease, to: 201 + claimed, witnesses: vec![claimed, HUGE] };
            report.progress = (0..600).chain([HUGE]).map(claim).collect();
            report.held = Some((Reign { run: Run(3), number: HUGE }, HUGE));
            report.speed = HUGE;
            report.blocks = vec![lie; MAX_BLOCKS + 4];
            report.jobs = vec![job; MAX_JOBS + 4];
            report.shares = (0..1000).map(|nonce| (nonce as u16 % 40, nonce)).collect();
            report.taken = [block.id(), lie.id()].repeat(600);
        });
    }
    let others = scene.nodes[&node(1)].distrusted().filter(|&id| id != node(2));
    assert_eq!(others.count(), 0);
    assert!(scene.done(1).iter().all(
        |done| matches!(done, Output::Refused { from, .. } | Output::Distrusted { node: from } if *from == node(2))
    ));
    let assign = scene.report(3, |report| {
        search(report, &honest, 0, 201);
        report.blocks = vec![block];
    });
    assert_eq!(assign.unwrap().settled, [], "the block in whose name a lie was settled is not");
    assert_eq!(scene.done(1)[0], Output::Submit { solution: block, found_by: node(3) });
    scene.on(1, |cluster, now| cluster.handle_verdict(now, &block, Some(text(2))));
    assert_eq!(scene.report(3, |_| {}).unwrap().leases.len(), 1);
}

#[test]
fn a_false_leader_wastes_only_what_it_is_told_of() {
    let mut scene = Scene::new(3, &[1]);
    let known = block(job(&text(1), 9, 0));
    scene.on(2, |cluster, now| cluster.restore(now, [known]));
    let settled = Assign { settled: vec![known.id()], ..scene.assignment(3, 1, &[]) };
    scene.say(1, 3, Message::Process(settled));
    let not_a_text = Some(Current::Text(header(1, 1, Extranonce::Run)));
    let lies = Assign { current: not_a_text, ..scene.assignment(2, 1, &[]) };
    scene.say(1, 2, Message::Process(lies));
    scene.answers(1, false, 10.0);
    assert_eq!(scans(&scene.done(2)), [], "its template is no text");
    let submit = Output::Submit { solution: known, found_by: node(2) };
    assert_eq!(scene.template(2, text(1)).first(), Some(&submit), "node 2 had not told of it");
}

#[test]
fn a_flood_of_reports_is_dropped_unread_until_the_next_heartbeat() {
    let mut scene = Scene::new(3, &[2, 3]);
    scene.template(1, text(1));
    for _ in 0..MAX_REPORTS {
        assert!(scene.report(2, |_| {}).is_some());
    }
    assert_eq!(scene.report(2, |report| report.blocks.push(block(job(&text(1), 1, 0)))), None);
    assert_eq!(scene.done(1), [], "unread");
    assert!(scene.report(3, |_| {}).is_some(), "others are read");
    scene.pass(3.9);
    assert_eq!(scene.report(2, |_| {}), None);
    scene.pass(0.1);
    assert!(scene.report(2, |_| {}).is_some());
}

#[test]
fn a_block_that_is_reported_as_a_share_is_not_submitted_twice() {
    let mut scene = Scene::new(3, &[2, 3]);
    let job = scans(&scene.template(1, text(1)))[0].0;
    let block = block(job);
    scene.report(3, |report| report.blocks = vec![block]);
    assert_eq!(scene.done(1)[0], Output::Submit { solution: block, found_by: node(3) });
    let others_tag = |n| Job { tag: Tag { slot: Slot { run: Run(2), n }, ..job.tag }, ..job };
    scene.report(2, |report| {
        report.jobs = [job].into_iter().chain((1..9).map(others_tag)).collect();
        report.shares = (0..9).map(|place| (place, block.nonce)).collect();
    });
    assert!(scene.done(1).iter().all(|done| matches!(done, Output::Refused { .. })));
    let next = scene.on(1, |cluster, now| cluster.handle_verdict(now, &block, Some(text(2))));
    assert_eq!(scans(&next)[0].0.round, round(2), "the block's verdict is not taken for a share's");
}

#[test]
fn a_block_that_the_source_has_refused_is_not_submitted_under_another_name() {
    let mut scene = Scene::new(3, &[2, 3]);
    let job = scans(&scene.template(1, text(1)))[0].0;
    let block = block(job);
    scene.report(3, |report| report.blocks = vec![block]);
    let others_tag = |n| Job { tag: Tag { slot: Slot { run: Run(2), n }, ..job.tag }, ..job };
    scene.report(2, |report| report.blocks = (0..9).map(|n| Solution { job: others_tag(n), ..block }).collect());
    assert_eq!(scene.done(1)[0], Output::Submit { solution: block, found_by: node(3) });
    let after = scene.on(1, |cluster, now| cluster.handle_verdict(now, &block, None));
    assert_eq!(after, [Output::Ask]);
    assert!(scans(&scene.template(1, text(1))).len() == 1, "the round goes on");
}

#[test]
fn others_blocks_take_no_room_from_those_found_here() {
    let mut scene = Scene::new(3, &[1, 3]);
    let job = job(&text(1), 1, 0);
    let false_job = Job { goal: Goal { block: Target::MAX, report: Target::MAX, ..job.goal }, ..job };
    let lies = (0..16).map(|nonce| Solution { job: false_job, nonce: 1 + nonce }).collect();
    scene.assign(2, 1, &[(job, NonceRange::new(10_000_000, 20_000_000))]);
    let stamp = scene.played(3).stamp();
    scene.say(3, 2, Message::ProcessAnswerYes(Report { stamp, blocks: lies, ..Report::default() }));
    scene.heard(1);
    let found = solutions(job, 10_000_000, true).next().unwrap();
    scene.on(2, |cluster, now| cluster.handle_found(now, 1, found.nonce));
    let heard = scene.heard(1);
    let Some(Message::ProcessAnswerYes(report)) = heard.first() else { panic!("{heard:?}") };
    assert_eq!(report.blocks[0], found);
}

#[test]
fn a_block_of_a_header_that_no_template_made_interrupts_nobody() {
    let mut scene = Scene::new(3, &[2, 3]);
    let job = scans(&scene.template(1, header(1, 1, Extranonce::Run)))[0].0;
    let goal = Goal { block: Target::MAX, report: Target::MAX, ..job.goal };
    let lie = Solution { job: Job { goal, tag: Tag { template: 999, ..job.tag }, ..job }, nonce: 1 };
    let assign = scene.report(2, |report| report.blocks = vec![lie]).unwrap();
    assert_eq!((scene.done(1), assign.settled), (vec![], vec![lie.id()]));
    assert!(!assign.leases.is_empty());
}

#[test]
fn a_blocks_name_is_not_taken_by_one_with_another_nonce_in_its_header() {
    let job = job(&header(1, 1, Extranonce::Run), 1, 0);
    let Puzzle::Header(mut puzzle) = job.puzzle else { panic!("a header") };
    puzzle.header.nonce = 1;
    let other = Job { puzzle: Puzzle::Header(puzzle), ..job };
    assert_ne!(Solution { job, nonce: 7 }.id(), Solution { job: other, nonce: 7 }.id());
}

#[test]
fn assignments_that_come_faster_than_scans_end_begin_no_more() {
    let mut scene = Scene::new(2, &[1]);
    let job = job(&text(1), 1, 0);
    let mut begun = 0;
    for sequence in 1..=8 {
        let lease = |at: u64| (job, NonceRange::new((sequence * 1000 + at) * 10, (sequence * 1000 + at) * 10 + 10));
        let mut assign = scene.assignment(2, sequence, &(0..512).map(lease).collect::<Vec<_>>());
        assign.leases.iter_mut().for_each(|lease| lease.job = 0);
        begun += scans(&scene.say(1, 2, Message::Process(assign))).len();
    }
    assert_eq!(begun, 3 * MAX_LEASES, "the scans of two assignments have to end, those of one go on");
    scene.on(2, |cluster, now| (1..=1024).for_each(|ticket| cluster.handle_searched(now, ticket, 0, &[])));
    assert_eq!(scans(&scene.assign(2, 9, &[(job, NonceRange::new(1, 11))])).len(), 1);
}

#[test]
fn shares_count_for_how_many_reports_are_read() {
    let mut scene = Scene::new(2, &[2]);
    scene.template(1, pool(1));
    let many = |report: &mut Report| report.shares = vec![(9, 0); MAX_REPORTED_SHARES];
    for _ in 0..MAX_REPORTS / 101 {
        assert!(scene.report(2, many).is_some());
    }
    assert_eq!(scene.report(2, many), None);
}

#[test]
fn whoever_loses_all_that_it_is_assigned_gets_no_more_for_a_heartbeat() {
    let mut scene = Scene::new(2, &[2]);
    scene.template(1, pool(1));
    let lose = |scene: &mut Scene| {
        let assign = scene.report(2, |report| {
            (report.held, report.speed) = (None, HUGE);
            report.progress.clear();
        });
        assign.unwrap().leases.iter().map(|lease| lease.range.len()).sum::<u64>()
    };
    let wasted: u64 = (0..100).map(|_| lose(&mut scene)).sum();
    assert!(wasted < 1 << 32, "{wasted} nonces");
    scene.pass(4.0);
    assert!(lose(&mut scene) > 0);
}

#[test]
fn whoever_loses_no_more_than_it_may_hold_twice_over_gets_more() {
    let mut scene = Scene::with(2, &[2], |id| id == 1);
    scene.template(1, pool(1));
    let end = |assign: &Assign| assign.leases.last().unwrap().range.end;
    let first = scene.report(2, |report| report.speed = HUGE).unwrap();
    let second = scene.report(2, |report| report.progress[0].to = end(&first) - 48).unwrap();
    scene.report(2, |report| {
        report.progress.remove(0);
        report.progress[0].to = end(&second);
    });
    // It has lost 48 nonces, and loses twice what is left of 2^30 when it is cut into units: 2^31 in all.
    let mut lose = || scene.report(2, |report| report.progress.clear()).unwrap().leases.len();
    assert_eq!((lose(), lose() > 0, lose()), (1, true, 0));
}

#[test]
fn a_block_by_an_easier_goal_than_our_sessions_is_settled_and_nobody_accused() {
    let mut scene = Scene::new(2, &[2]);
    let job = scans(&scene.template(1, text(1)))[0].0;
    let goal = Goal { block: Target::MAX, report: Target::MAX, ..job.goal };
    let lie = Solution { job: Job { goal, ..job }, nonce: block(job).nonce + 1 };
    let assign = scene.report(2, |report| report.blocks = vec![lie]).unwrap();
    assert_eq!((assign.settled, scene.done(1)), (vec![lie.id()], vec![]), "a restarted service may want more zeros");
    let round = RoundId { block: round(1).block, ..lie.job.round };
    let single = Template { puzzle: Blueprint::Text { hashing: Hashing::Single }, round, ..text(1) };
    let other_form = block(self::job(&single, 2, 0));
    scene.report(2, |report| report.blocks = vec![other_form]);
    assert_eq!(scene.done(1), [Output::Refused { from: node(2), solution: other_form }]);
}

#[test]
fn a_report_is_read_once_and_nobodys_request_is_answered() {
    let mut scene = Scene::new(2, &[2]);
    scene.template(1, text(1));
    scene.heard(2);
    let report = scene.played(2).report();
    for _ in 0..2 {
        scene.say(2, 1, Message::ProcessRequest(report.clone()));
    }
    assert_eq!(scene.heard(2).len(), 1);
    let (request, now) = (Message::HeartbeatRequest(Scene::part(9).heartbeat(None)), scene.now);
    let cluster = scene.nodes.get_mut(&node(1)).unwrap();
    cluster.handle_message(now, node(9), request);
    assert_eq!(cluster.poll_output(), None);
}
