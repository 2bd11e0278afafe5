//! Rules 6 and 7: blocks are told until they are settled, and end their round.

use super::super::blocks::{Blocks, Order};
use super::*;

/// Solutions of a text with this height. Nobody verifies them here.
fn some(height: u64, nonces: std::ops::Range<u64>) -> Vec<Solution> {
    let job = job(&text(height), 1, 0);
    nonces.map(|nonce| Solution { job, nonce }).collect()
}

/// What is told of all blocks while the second is to be found.
fn told(blocks: &Blocks) -> Vec<Solution> {
    blocks.reported(Order { round: Some(round(2)), run: Some(Run(1)) })
}

#[test]
fn each_peer_has_room_for_sixteen_where_the_current_block_displaces_others() {
    let (mut blocks, now) = (Blocks::default(), begin());
    let order = Order { round: Some(round(2)), run: Some(Run(1)) };
    let mut add = |from, is_own, solutions: Vec<Solution>| {
        solutions.into_iter().for_each(|solution| blocks.add(solution, node(from), is_own, order, now));
        blocks.iter().map(|block| block.solution).collect::<Vec<_>>()
    };
    assert_eq!(add(3, false, some(1, 0..17)), some(1, 0..16));
    assert_eq!(add(3, true, some(1, 16..17)), some(1, 0..17), "what is found here has a room of its own");
    assert_eq!(add(4, false, some(1, 17..18)), some(1, 0..18), "and so has another peer");
    assert_eq!(add(3, false, some(2, 0..1)), [some(1, 1..18), some(2, 0..1)].concat());
    assert_eq!(add(3, false, some(2, 1..17)), [some(1, 16..18), some(2, 0..16)].concat());
    assert_eq!(add(3, false, some(1, 0..1)), [some(1, 16..18), some(2, 0..16)].concat());
}

#[test]
fn what_the_leader_can_submit_is_told_first_and_then_the_oldest() {
    let (mut blocks, start) = (Blocks::default(), begin());
    let header = |run| Solution { job: job(&header(2, 1, Extranonce::Run), run, 0), nonce: 0 };
    let order = [some(2, 0..1)[0], header(1), header(9), some(1, 0..1)[0], some(3, 0..1)[0]];
    for (at, place) in [(1.0, 2), (2.0, 3), (3.0, 4), (4.0, 0), (5.0, 1)] {
        let since = start + seconds(at);
        blocks.add(order[place], node(3), false, Order { round: None, run: None }, since);
    }
    assert_eq!(told(&blocks), order);
}

/// Node 1 leads nodes 2 and 3, which are played. Gives a block of its job too.
fn leading(template: &Template) -> (Scene, Solution) {
    let mut scene = Scene::new(3, &[2, 3]);
    let begun = scans(&scene.template(1, template.clone()));
    scene.report(2, |_| {});
    scene.report(3, |_| {});
    (scene, block(begun[0].0))
}

/// Node 2 has told of the block, and it is being submitted.
fn submitting(template: &Template) -> (Scene, Solution) {
    let (mut scene, block) = leading(template);
    scene.report(2, |report| report.blocks.push(block));
    scene.done(1);
    scene.heard(3);
    (scene, block)
}

#[test]
fn a_block_is_submitted_and_everyone_is_interrupted() {
    let (mut scene, block) = leading(&text(1));
    let assign = scene.report(2, |report| report.blocks.push(block)).unwrap();
    assert_eq!((assign.leases, assign.settled), (vec![], vec![]));
    assert_eq!(scene.done(1), [Output::Submit { solution: block, found_by: node(2) }, Output::Stop { ticket: 1 }]);
    let heard = scene.heard(3);
    assert!(matches!(&heard[..], [Message::ProcessInterrupt(assign)] if assign.leases.is_empty()), "{heard:?}");
    scene.report(3, |report| report.blocks.push(block));
    scene.template(1, text(1));
    assert_eq!(scene.done(1), [], "it is under way, whoever else tells of it");
}

#[test]
fn the_verdict_names_the_next_block_and_settles_this_one() {
    let (mut scene, block) = submitting(&text(1));
    let next = scene.on(1, |cluster, now| cluster.handle_verdict(now, &block, Some(text(2))));
    assert!(
        matches!(next[..], [Output::Scan { job: Job { round: searched, .. }, .. }] if searched == round(2)),
        "{next:?}"
    );
    let heard = scene.heard(3);
    assert!(matches!(&heard[..], [Message::Process(assign)] if assign.jobs[0].round == round(2)), "{heard:?}");
    let assign = scene.report(2, |report| report.blocks.push(block)).unwrap();
    assert_eq!((scene.done(1), assign.settled), (vec![], vec![block.id()]));
    let before = scene.now - seconds(0.1);
    assert_eq!(
        scene.on(1, |cluster, now| cluster.handle_template(now, text(1), before)),
        [Output::Ask],
        "an older answer"
    );
}

#[test]
fn a_verdict_without_a_next_block_or_with_a_late_one_asks() {
    let (mut scene, block) = submitting(&text(1));
    assert_eq!(scene.on(1, |cluster, now| cluster.handle_verdict(now, &block, None)), [Output::Ask]);
    assert_eq!(scans(&scene.template(1, text(2))).len(), 1);

    let (mut scene, block) = submitting(&text(1));
    assert_eq!(scans(&scene.template(1, text(3))).len(), 1);
    let late = scene.on(1, |cluster, now| cluster.handle_verdict(now, &block, Some(text(2))));
    assert_eq!(late, [Output::Ask], "the session is further");
}

#[test]
fn an_unanswered_block_is_submitted_again_in_a_moment() {
    let (mut scene, block) = submitting(&text(1));
    assert_eq!(scene.on(1, |cluster, now| cluster.handle_unanswered(now, &block)), []);
    scene.pass(0.39);
    assert_eq!(scene.done(1), []);
    scene.pass(0.01);
    assert_eq!(scene.done(1), [Output::Submit { solution: block, found_by: node(2) }]);
    assert_eq!(scans(&scene.template(1, text(1))), [], "nobody searches meanwhile");
}

#[test]
fn a_block_that_cannot_be_submitted_stays_unsettled_and_its_round_goes_on() {
    let template = header(1, 1, Extranonce::Run);
    let (mut scene, block) = submitting(&template);
    assert_eq!(scene.on(1, |cluster, now| cluster.handle_unsubmittable(now, &block)), [Output::Ask]);
    let begun = scans(&scene.template(1, template));
    assert_eq!(begun.iter().map(|(job, _)| job.tag.slot.n).collect::<Vec<_>>(), [1]);
    scene.pass(3.0);
    assert_eq!((scene.done(1), scene.nodes[&node(1)].kept()), (vec![], vec![block]));
    scene.template(1, header(2, 1, Extranonce::Run));
    assert_eq!(scene.nodes[&node(1)].kept(), [], "the source is further");
}

#[test]
fn a_block_is_stale_once_the_source_has_named_another() {
    let (mut scene, block) = leading(&text(1));
    scene.template(1, text(2));
    let assign = scene.report(2, |report| report.blocks.push(block)).unwrap();
    assert_eq!((scene.done(1), assign.settled), (vec![], vec![block.id()]));
}

#[test]
fn a_block_of_a_round_that_was_never_named_waits_for_a_later_answer() {
    let (mut scene, _) = leading(&text(1));
    let (ahead, asked) = (block(job(&text(9), 2, 0)), scene.now);
    scene.pass(0.5);
    let assign = scene.report(2, |report| report.blocks.push(ahead)).unwrap();
    assert_eq!((scene.done(1), assign.settled), (vec![], vec![]));
    scene.on(1, |cluster, now| cluster.handle_template(now, text(1), asked));
    scene.pass(0.5);
    assert_eq!((scene.done(1), scene.nodes[&node(1)].kept()), (vec![Output::Ask], vec![ahead]));
    assert_eq!(scene.template(1, text(1)), []);
    assert_eq!(scene.nodes[&node(1)].kept(), [], "asked since, the source names another");
}

#[test]
fn what_is_known_of_a_leader_that_is_gone_is_submitted_by_the_next() {
    let mut scene = Scene::new(3, &[3]);
    let begun = scans(&scene.template(1, text(1)));
    let block = block(begun[0].0);
    scene.report(3, |report| report.blocks.push(block));
    scene.pass(4.0);
    assert_eq!(scene.nodes[&node(2)].kept(), [block], "by its leader's heartbeat");
    scene.nodes.remove(&node(1));
    scene.pass(10.0);
    scene.done(2);
    let submit = Output::Submit { solution: block, found_by: node(1) };
    assert_eq!(scene.template(2, text(1)).first(), Some(&submit));
}

#[test]
fn a_finder_stops_its_round_until_an_assignment_answers_its_report() {
    let mut scene = Scene::new(3, &[1, 3]);
    let (job, range) = (job(&text(1), 1, 0), NonceRange::new(1, 100_000));
    let early = scene.assignment(2, 2, &[(job, range)]);
    scene.assign(2, 1, &[(job, range)]);
    scene.heard(1);
    let block = block(job);
    assert_eq!(scene.on(2, |cluster, now| cluster.handle_found(now, 1, block.nonce)), [Output::Stop { ticket: 1 }]);
    let heard = scene.heard(1);
    assert!(matches!(&heard[..], [Message::ProcessAnswerYes(report)] if report.blocks == [block]), "{heard:?}");
    assert_eq!(scene.heard(3), [], "only the leader is told");
    assert_eq!(scene.say(1, 2, Message::Process(early)), []);
    assert_eq!(scene.assign(2, 3, &[(job, range)]).len(), 1, "the leader knows of it and has the round go on");
}

#[test]
fn a_block_in_a_pools_job_does_not_stop_its_search() {
    let mut scene = Scene::new(3, &[1, 3]);
    let job = job(&pool(1), 1, 0);
    scene.assign(2, 1, &[(job, NonceRange::new(0, 100_000))]);
    assert_eq!(scene.on(2, |cluster, now| cluster.handle_found(now, 1, block(job).nonce)), []);
    let (mut scene, block) = leading(&pool(1));
    assert!(!scene.report(2, |report| report.blocks.push(block)).unwrap().leases.is_empty());
    assert_eq!(scene.done(1), [Output::Submit { solution: block, found_by: node(2) }]);
}

#[test]
fn the_maker_of_a_header_job_is_told_and_submits_without_leading() {
    let template = header(1, 1, Extranonce::Run);
    let mut scene = Scene::new(4, &[1, 4]);
    let range = NonceRange::new(0, 100_000);
    let job = job(&template, 3, 0);
    let block = block(job);
    scene.template(3, template);
    scene.assign(2, 1, &[(job, range)]);
    scene.on(2, |cluster, now| cluster.handle_found(now, 1, block.nonce));
    assert_eq!(scene.done(3), [Output::Submit { solution: block, found_by: node(2) }]);
    assert!(scene.nodes[&node(3)].wants_session(scene.now));
    assert_eq!(scene.on(3, |cluster, now| cluster.handle_verdict(now, &block, None)), []);
    assert_eq!(scene.nodes[&node(2)].kept(), [block], "only the leader settles it");
    let settled = Assign { settled: vec![block.id()], ..scene.assignment(2, 2, &[]) };
    scene.say(1, 2, Message::ProcessInterrupt(settled));
    assert_eq!(scene.nodes[&node(2)].kept(), []);
}

#[test]
fn after_no_answer_another_block_comes_first() {
    let (mut scene, first) = leading(&text(1));
    let second = solutions(first.job, first.nonce + 1, true).next().unwrap();
    scene.report(2, |report| report.blocks = vec![first, second]);
    assert_eq!(scene.done(1)[0], Output::Submit { solution: first, found_by: node(2) });
    scene.on(1, |cluster, now| cluster.handle_unanswered(now, &first));
    scene.pass(0.4);
    assert_eq!(scene.done(1)[0], Output::Submit { solution: second, found_by: node(2) });
}

#[test]
fn a_share_is_no_block() {
    let (mut scene, first) = leading(&pool(1));
    let share = solutions(first.job, 0, false).next().unwrap();
    scene.report(2, |report| report.blocks = vec![share]);
    assert_eq!(scene.done(1), [Output::Refused { from: node(2), solution: share }]);
    let tell = |report: &mut Report| (report.jobs, report.shares) = (vec![first.job], vec![(0, first.nonce)]);
    scene.report(2, tell);
    assert_eq!(scene.done(1), [Output::Refused { from: node(2), solution: first }], "and a block no share");
}

#[test]
fn the_session_is_wanted_as_long_as_blocks_of_its_headers_may_be_found() {
    for (template, is_wanted) in [(header(1, 1, Extranonce::Run), true), (text(1), false)] {
        let mut scene = Scene::new(2, &[1]);
        scene.answers(1, false, 9.0);
        scene.template(2, template);
        scene.played(1).is_silent = false;
        scene.on(2, |cluster, now| cluster.handle_moved(now, node(1)));
        let (cluster, now) = (&scene.nodes[&node(2)], scene.now);
        assert!(!cluster.is_leading());
        assert_eq!(cluster.wants_session(now), is_wanted);
        assert_eq!(cluster.wants_session(now + BEAT * 8 - Duration::from_nanos(1)), is_wanted);
        assert!(!cluster.wants_session(now + BEAT * 8));
    }
}

#[test]
fn the_last_leaders_text_is_not_begun_where_the_session_gives_headers() {
    let mut scene = Scene::new(2, &[1]);
    scene.template(2, header(3, 1, Extranonce::Run));
    scene.played(1).leads = Some(Leads { reign: 1, current: Some(Current::Text(text(1))), blocks: vec![] });
    scene.pass(4.0);
    scene.done(2);
    scene.answers(1, false, 9.0);
    let done = scene.done(2);
    assert!(done.contains(&Output::Leader { leader: node(2) }));
    assert_eq!(scans(&done), []);
}

#[test]
fn nobody_but_the_leader_is_told_of_a_texts_block() {
    let mut scene = Scene::new(3, &[1, 3]);
    let job = job(&text(1), 3, 0);
    scene.assign(2, 1, &[(job, NonceRange::new(1, 100_000))]);
    scene.on(2, |cluster, now| cluster.handle_found(now, 1, block(job).nonce));
    scene.pass(4.0);
    assert!(scene.heard(1).iter().any(|message| matches!(message, Message::ProcessAnswerYes(_))));
    assert_eq!(scene.heard(3), []);
}

#[test]
fn a_bounded_number_of_settled_names_is_remembered_of_each_peer() {
    let (mut blocks, solutions) = (Blocks::default(), some(1, 0..4098));
    let ids: Vec<_> = solutions.iter().map(Solution::id).collect();
    blocks.settle(ids[0], node(3));
    ids[1..].iter().for_each(|&id| blocks.settle(id, node(2)));
    assert!(blocks.is_settled(ids[0]), "another peer's is not touched");
    assert_eq!((blocks.is_settled(ids[1]), blocks.is_settled(ids[2])), (false, true));
}

#[test]
fn a_peer_that_is_taken_off_the_list_is_forgotten() {
    let (mut scene, first) = leading(&text(1));
    let lie = Solution { nonce: first.nonce + 1, ..first };
    let refused = [Output::Refused { from: node(2), solution: lie }];
    let tell = |scene: &mut Scene| {
        scene.report(2, |report| report.blocks = vec![lie]);
        scene.done(1)
    };
    assert_eq!((tell(&mut scene), tell(&mut scene)), (refused.to_vec(), vec![]));
    scene.report(2, |report| {
        let Progress { to, witnesses, .. } = &mut report.progress[0];
        (*to, *witnesses) = (*to + 2, vec![*to + 1, *to]);
    });
    assert_eq!(scene.nodes[&node(1)].distrusted().count(), 1);
    let members = scene.nodes[&node(1)].peers().map(|(id, _)| (id, true)).collect::<Vec<_>>();
    scene.on(1, |cluster, now| cluster.set_peers(now, &[]));
    assert_eq!(scene.nodes[&node(1)].distrusted().count(), 0);
    scene.on(1, |cluster, now| cluster.set_peers(now, &members));
    scene.pass(4.0);
    scene.done(1);
    assert_eq!(tell(&mut scene), refused, "its lie's name is forgotten, too");
}

#[test]
fn a_settled_block_is_remembered_as_long_as_whoever_told_of_it_is_a_member() {
    let (mut scene, block) = submitting(&text(1));
    scene.on(1, |cluster, now| cluster.handle_verdict(now, &block, None));
    let mut told_again = |members: &[(NodeId, bool)]| {
        scene.on(1, |cluster, now| cluster.set_peers(now, members));
        scene.report(2, |report| report.blocks.push(block));
        scene.done(1).contains(&Output::Submit { solution: block, found_by: node(2) })
    };
    let both = [2, 3].map(|id| (node(id), true));
    assert!(!told_again(&both[..1]), "node 3 is gone");
    assert!(!told_again(&[]) && told_again(&both), "node 2 was gone");
}

#[test]
fn an_answer_to_a_text_does_not_count_where_the_source_has_restarted_the_search() {
    let (mut scene, block) = submitting(&text(1));
    scene.on(1, |cluster, now| cluster.handle_verdict(now, &block, None));
    let restarted = RoundId { generation: 1, ..block.job.round };
    scene.template(1, Template { round: restarted, ..text(1) });
    let again = Solution { job: Job { round: restarted, ..block.job }, ..block };
    scene.report(2, |report| report.blocks.push(again));
    assert_eq!(scene.done(1)[0], Output::Submit { solution: again, found_by: node(2) });
}
