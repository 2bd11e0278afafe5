//! Rule 5, and "whole, never a difference": which assignments count, and what a node makes of them. Node 1, which leads, and node 3 are played;
//! node 2 has reported to node 1.

use super::*;

const A: NonceRange = NonceRange::new(1, 101);
const B: NonceRange = NonceRange::new(101, 201);
const C: NonceRange = NonceRange::new(201, 301);

fn led() -> (Scene, Job) {
    (Scene::new(3, &[1, 3]), job(&text(1), 1, 0))
}

#[test]
fn an_assignment_replaces_the_last_one_but_common_leases_go_on() {
    let (mut scene, job) = led();
    let scan = |ticket, range| Output::Scan { ticket, job, range, bits: BITS };
    assert_eq!(scene.assign(2, 1, &[(job, A), (job, B)]), [scan(1, A), scan(2, B)]);
    let left = NonceRange::new(150, 201);
    assert_eq!(scene.assign(2, 2, &[(job, left), (job, C)]), [scan(3, C), Output::Stop { ticket: 1 }]);
    assert_eq!(scene.assign(2, 3, &[(job, left), (job, C)]), []);
    assert_eq!(scene.assign(2, 4, &[]), [Output::Stop { ticket: 2 }, Output::Stop { ticket: 3 }]);
    assert_eq!(scene.assign(2, 5, &[(job, A)]), [scan(4, A)], "what is given anew is searched anew");
}

#[test]
fn a_finished_lease_is_reported_until_an_assignment_omits_it() {
    let (mut scene, job) = led();
    scene.assign(2, 1, &[(job, A)]);
    scene.heard(1);
    assert_eq!(scene.on(2, |cluster, now| cluster.handle_searched(now, 1, 101, &[])), []);
    let finished = [Progress { lease: 1, to: 101, witnesses: vec![] }];
    let heard = scene.heard(1);
    assert!(matches!(&heard[..], [Message::ProcessAnswerNo(report)] if report.progress == finished), "{heard:?}");
    scene.pass(1.0);
    let heard = scene.heard(1);
    assert!(matches!(&heard[..], [Message::ProcessRequest(report)] if report.progress == finished), "{heard:?}");
    assert_eq!(scene.assign(2, 2, &[(job, B)]).len(), 1);
    scene.pass(1.0);
    assert_eq!(scene.heard(1), [], "it has work for a heartbeat");
}

#[test]
fn the_end_of_a_lease_is_told_at_once_only_by_whom_it_leaves_with_little_work() {
    let (mut scene, job) = led();
    scene.assign(2, 1, &[(job, A), (job, B), (job, C)]);
    scene.heard(1);
    scene.on(2, |cluster, now| cluster.handle_searched(now, 1, A.end, &[]));
    assert_eq!(scene.heard(1), [], "it has work for two heartbeats");
    scene.on(2, |cluster, now| cluster.handle_searched(now, 2, B.end, &[]));
    let heard = scene.heard(1);
    let [Message::ProcessAnswerNo(report)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(report.progress.iter().map(|progress| progress.to).collect::<Vec<_>>(), [A.end, B.end, C.start]);
}

#[test]
fn only_a_newer_assignment_of_the_present_leader_counts() {
    let (mut scene, job) = led();
    assert_eq!(scene.assign(2, 5, &[(job, A)]).len(), 1);
    let good = scene.assignment(2, 6, &[(job, B)]);
    let stamp = good.report;
    let mut ignored = |from, change: &dyn Fn(&mut Assign), why| {
        let mut assign = good.clone();
        change(&mut assign);
        assert_eq!(scene.say(from, 2, Message::Process(assign)), [], "{why}");
        assert_eq!(scene.nodes[&node(2)].held(), Some((good.reign, 5)), "{why}");
    };
    ignored(3, &|assign| assign.reign.run = Run(3), "not the leader");
    ignored(1, &|assign| assign.sequence = 5, "told already");
    ignored(1, &|assign| assign.reign.number = 0, "an older reign");
    ignored(1, &|assign| assign.reign.run = Run(9), "another run");
    ignored(1, &|assign| assign.report.run = Run(9), "another run's report");
    ignored(1, &|assign| assign.report.sent = 0, "a report before node 2 followed");
    ignored(1, &|assign| assign.report.sent = stamp.sent + 9, "a report that does not exist yet");
    assert_eq!(scene.say(1, 2, Message::Process(good)).len(), 2);
}

#[test]
fn whoever_runs_as_another_is_asked_once() {
    let (mut scene, job) = led();
    scene.asked(1);
    scene.played(1).run = Run(9);
    scene.played(1).is_silent = true;
    for asked in [1, 0] {
        assert_eq!((scene.assign(2, 1, &[(job, A)]), scene.asked(1)), (vec![], asked));
    }
    scene.answers(1, true, 4.0);
    assert_eq!(scene.assign(2, 1, &[(job, A)]).len(), 1, "its answer told its run");
}

#[test]
fn a_new_run_of_the_leader_begins_with_any_number() {
    let (mut scene, job) = led();
    assert_eq!(scene.assign(2, u64::MAX, &[(job, A)]).len(), 1);
    scene.played(1).run = Run(9);
    scene.pass(4.0);
    assert_eq!(scene.done(2), [], "the search goes on");
    assert_eq!(scene.assign(2, 1, &[(job, B)]).len(), 2);
}

#[test]
fn a_reply_to_an_earlier_leadership_is_ignored() {
    let (mut scene, job) = led();
    let early = scene.assignment(2, 1, &[(job, A)]);
    scene.answers(1, false, 10.0);
    assert!(scene.nodes[&node(2)].is_leading());
    scene.heard(1);
    scene.answers(1, true, 4.0);
    assert_eq!(scene.nodes[&node(2)].leader(), Some(node(1)));
    scene.done(2);
    assert_eq!(scene.say(1, 2, Message::Process(early.clone())), []);
    let heard = scene.heard(1);
    let Some(Message::ProcessRequest(Report { stamp: first, .. })) = heard.first() else { panic!("{heard:?}") };
    let mut answer_to = |sent| {
        let report = Stamp { sent, ..*first };
        scene.say(1, 2, Message::Process(Assign { report, ..early.clone() })).len()
    };
    assert_eq!((answer_to(first.sent - 1), answer_to(first.sent)), (0, 1), "its first report is the first that counts");
}

#[test]
fn a_node_whose_leader_answers_but_assigns_nothing_leads_itself_until_it_does() {
    let (mut scene, job) = led();
    scene.assign(2, 1, &[(job, A)]);
    scene.pass(8.0);
    assert_eq!(scene.done(2), [], "an assignment lasts two heartbeats");
    scene.pass(1.0);
    assert_eq!(scene.done(2), [Output::Ask, Output::Stop { ticket: 1 }, Output::Ask]);
    let ranges = scans(&scene.template(2, text(1)));
    assert_eq!(ranges.len(), 1);
    assert_eq!(ranges[0].0.tag.slot.run, Run(2), "a job of its own");
    assert_eq!(scene.nodes[&node(2)].leader(), Some(node(1)), "to others it names the leader that answers");
    scene.pass(1.0);
    assert_eq!(scene.assign(2, 2, &[]), [Output::Stop { ticket: 2 }]);
    assert!(!scene.nodes[&node(2)].is_leading());
    scene.pass(8.0);
    assert_eq!(scene.done(2), [], "an empty assignment is one");
}

#[test]
fn a_new_leader_begins_with_the_template_of_the_last_and_then_asks() {
    let (mut scene, job) = led();
    let mut assign = scene.assignment(2, 1, &[(job, A)]);
    assign.current = Some(Current::Text(text(1)));
    scene.say(1, 2, Message::Process(assign));
    scene.answers(1, false, 8.7);
    scene.done(2);
    scene.pass(0.1);
    let done = scene.done(2);
    let ranges = scans(&done);
    assert!(ranges.len() == 1 && ranges[0].0.round == round(1) && ranges[0].0.tag.slot.run == Run(2), "{done:?}");
    let leader = Output::Leader { leader: node(2) };
    assert!(done[1..3] == [leader, Output::Ask], "{done:?}");
    assert_eq!(done.last(), Some(&Output::Stop { ticket: 1 }));
    assert_eq!(scene.template(2, text(1)), [], "it is the same");
    assert_eq!(scans(&scene.template(2, text(2))).len(), 1);
}

#[test]
fn a_leader_without_a_header_session_waits_for_its_own_template() {
    let mut scene = Scene::new(3, &[1, 3]);
    let template = header(1, 1, Extranonce::Run);
    let mut assign = scene.assignment(2, 1, &[(job(&template, 1, 0), A)]);
    assign.current = Some(Current::of(&template));
    assert_eq!(assign.current, Some(Current::Round(round(1))));
    scene.say(1, 2, Message::Process(assign));
    scene.answers(1, false, 8.8);
    assert_eq!(scans(&scene.done(2)), []);
}

#[test]
fn goodbye_hands_the_lead_on_at_once() {
    let mut scene = Scene::new(3, &[3]);
    scene.template(1, text(1));
    scene.pass(1.0);
    scene.done(2);
    assert_eq!(scene.on(1, |cluster, _| cluster.leave()), [Output::Stop { ticket: 1 }]);
    let done = scene.done(2);
    assert_eq!(
        done[..3],
        [Output::Peer { peer: node(1), state: PeerState::Left }, Output::Leader { leader: node(2) }, Output::Ask]
    );
    assert_eq!(scans(&done).len(), 1);
    scene.pass(60.0);
    assert_eq!(scene.done(1), [], "whoever has left does nothing more");
}

#[test]
fn a_pause_of_our_own_is_not_the_leaders_idleness() {
    let (mut scene, job) = led();
    scene.assign(2, 1, &[(job, A)]);
    scene.pass(4.0);
    scene.now += seconds(60.0);
    scene.pass(3.0);
    assert_eq!(scene.done(2), []);
    scene.pass(1.0);
    assert_eq!(scene.done(2).first(), Some(&Output::Ask), "two heartbeats without the pause");
}
