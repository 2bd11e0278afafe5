//! Rules 3 and 4: no two jobs are the same, and a nonce is leased once. Node 1 leads and has the first unit of each job for itself.

use super::*;
use crate::work::Puzzle;

/// Node 1 leads node 2, which is played and `proves` its work or not, and its session has named a text.
fn led(proves: bool) -> Scene {
    let mut scene = Scene::with(2, &[2], if proves { |_| true } else { |id| id == 1 });
    scene.template(1, text(1));
    scene
}

fn ranges(assign: Option<Assign>) -> Vec<(u64, u64)> {
    assign.unwrap().leases.iter().map(|lease| (lease.range.start - BEFORE, lease.range.end - BEFORE)).collect()
}

/// All leases are searched, but those behind the first `count` not at all.
fn finish(report: &mut Report, held: &Assign, count: usize) {
    held.leases.iter().take(count).zip(&mut report.progress).for_each(|(lease, told)| told.to = lease.range.end);
}

#[test]
fn a_lease_is_whole_units_for_a_heartbeat_of_the_reported_speed() {
    for (speed, nonces) in [(0, 100), (26, 100), (499, 1_900), (u64::MAX, (1 << 30) / 100 * 100)] {
        let mut scene = led(true);
        assert_eq!(ranges(scene.report(2, |report| report.speed = speed)), [(101, 101 + nonces)], "{speed}");
    }
}

#[test]
fn the_allowance_doubles_with_new_work_that_its_witnesses_support() {
    let mut scene = led(true);
    let mut held = scene.report(2, |report| report.speed = 25).unwrap();
    for (to, leases) in
        [(201, vec![(201, 401)]), (251, vec![(251, 401), (401, 601)]), (251, vec![(251, 401), (401, 601)])]
    {
        held = scene.report(2, |report| search(report, &held, 0, BEFORE + to)).unwrap();
        assert_eq!(ranges(Some(held.clone())), leases);
    }
}

#[test]
fn the_allowance_of_a_member_without_witnesses_doubles_with_each_finished_lease() {
    let mut scene = led(false);
    let held = scene.report(2, |report| report.speed = 25).unwrap();
    assert_eq!(ranges(scene.report(2, |report| report.progress[0].to = BEFORE + 150)), [(150, 201)]);
    assert_eq!(ranges(scene.report(2, |report| finish(report, &held, 1))), [(201, 401)]);
}

#[test]
fn a_node_holds_four_heartbeats_of_its_measured_work_at_most() {
    let mut scene = led(true);
    let mut held = scene.report(2, |_| {}).unwrap();
    for _ in 0..12 {
        scene.pass(1.0);
        let to = held.leases[0].range.start + 100;
        held = scene.report(2, |report| search(report, &held, 0, to)).unwrap();
    }
    assert_eq!(held.leases.iter().map(|lease| lease.range.len()).sum::<u64>(), 4 * 4 * 100);
}

#[test]
fn a_lease_is_a_quarter_of_what_a_node_may_hold_at_least() {
    let mut scene = led(false);
    let first = scene.report(2, |report| report.speed = 80 * 25).unwrap();
    let start = first.leases[0].range.start;
    for searched in 1..20 {
        let held = scene.report(2, |report| report.progress[0].to = start + 100 * searched).unwrap();
        assert_eq!(held.leases.len(), 1, "{searched} units");
    }
    let held = scene.report(2, |report| report.progress[0].to = start + 2000).unwrap();
    assert_eq!(ranges(Some(held)), [(2101, 8101), (8101, 10_101)]);
}

#[test]
fn a_node_holds_leases_of_32_jobs_at_most() {
    let mut scene = led(false);
    let mut held = scene.report(2, |report| report.speed = u64::MAX).unwrap();
    for _ in 0..14 {
        scene.pass(1.0);
        held = scene.report(2, |report| finish(report, &held, held.leases.len())).unwrap();
    }
    assert_eq!(held.jobs.len(), 32);
}

#[test]
fn whoever_shows_no_witnesses_cannot_use_up_a_templates_nonces() {
    let mut scene = led(false);
    let (mut held, mut leased) = (scene.report(2, |report| report.speed = u64::MAX).unwrap(), 0);
    // One heartbeat, in which it says each time that it has searched everything.
    for _ in 0..1000 {
        leased += held.leases.iter().map(|lease| lease.range.len()).fold(0, u64::saturating_add);
        held = scene.report(2, |report| finish(report, &held, held.leases.len())).unwrap();
    }
    assert!(held.leases.is_empty(), "{held:?}");
    assert!(leased <= 6 << 36, "{leased}");
}

#[test]
fn the_next_job_begins_where_one_is_used_up() {
    let mut scene = led(true);
    let first = scene.report(2, |report| report.speed = u64::MAX).unwrap();
    // Its leases are lost, and the next ones do not fill the room that it has.
    let next = scene.report(2, |report| report.held = None).unwrap();
    let most = (1 << 30) / 100 * 100;
    let (begin, end) = (BEFORE + 1, 2_000_000_001);
    let rest = end - (begin + 100 + most);
    let of_next = ((1 << 30) - rest - BEFORE) / 100 * 100;
    let leases: Vec<_> = next.leases.iter().map(|lease| (lease.job, lease.range.start, lease.range.end)).collect();
    assert_eq!(leases, [(0, end - rest, end), (0, 1, begin), (1, begin, begin + of_next)], "short nonces come last");
    assert_eq!(next.jobs[0], first.jobs[0]);
    assert_ne!(next.jobs[1], first.jobs[0]);
}

#[test]
fn what_is_given_back_or_lost_is_leased_to_nobody() {
    let mut scene = led(true);
    scene.report(2, |report| report.speed = 25);
    assert_eq!(ranges(scene.report(2, |report| report.progress.clear())), [(201, 301)]);
    scene.played(2).run = Run(22);
    scene.pass(4.0);
    assert_eq!(ranges(scene.report(2, |_| {})), [(301, 401)], "it holds nothing of what its last run held");
}

#[test]
fn an_assignment_that_crossed_a_report_keeps_its_leases() {
    let mut scene = led(true);
    let held = scene.report(2, |report| report.speed = 25).unwrap();
    let crossing = scene.played(2).report();
    assert_eq!(ranges(scene.report(2, |report| search(report, &held, 0, BEFORE + 201))), [(201, 401)]);
    scene.say(2, 1, Message::ProcessRequest(crossing.clone()));
    assert_eq!(scene.heard(2), [], "it is older than one that was read");
    let crossing = Report { stamp: scene.played(2).stamp(), ..crossing };
    scene.say(2, 1, Message::ProcessRequest(crossing));
    let Message::Process(assign) = scene.heard(2).remove(0) else { panic!("expected work") };
    assert_eq!(ranges(Some(assign)), [(201, 401)]);
}

#[test]
fn leases_end_with_their_round_and_the_allowance_stays() {
    let mut scene = led(true);
    let held = scene.report(2, |report| report.speed = 25).unwrap();
    scene.report(2, |report| search(report, &held, 0, BEFORE + 201));
    scene.template(1, text(2));
    let heard = scene.heard(2);
    let [Message::Process(assign)] = &heard[..] else { panic!("expected work, got {heard:?}") };
    assert_eq!(ranges(Some(assign.clone())), [(101, 301)]);
    assert_eq!(assign.jobs[0].round, round(2));
}

#[test]
fn timestamps_ascend_for_the_life_of_a_process() {
    let mut scene = Scene::new(2, &[1]);
    let mut texts = Vec::new();
    let mut lead = |scene: &mut Scene, height| {
        for (job, _) in scans(&scene.template(2, text(height))) {
            let Puzzle::Text(text) = job.puzzle else { panic!("expected a text") };
            texts.push(text.timestamp.to_string());
        }
    };
    scene.answers(1, false, 10.0);
    (1..=3).for_each(|height| lead(&mut scene, height));
    scene.answers(1, true, 4.0);
    scene.done(2);
    scene.answers(1, false, 10.0);
    let again = scans(&scene.done(2));
    assert_eq!(again.len(), 1, "its second reign begins with the template that it knows");
    lead(&mut scene, 4);
    let begun = ["1795000010000000002", "1795000010000001002", "1795000010000002002", "1795000024000000002"];
    assert_eq!(texts, begun);
}

/// The slots of the jobs that node 1 makes of a header when its session names these blocks and coinbases.
fn slots(extranonce: Extranonce, named: &[(u64, u8)]) -> Vec<(u64, u64)> {
    let mut scene = Scene::new(1, &[]);
    let begun = named.iter().map(|&(height, before)| scans(&scene.template(1, header(height, before, extranonce))));
    begun.map(|scans| (scans[0].0.tag.slot.run.0, scans[0].0.tag.slot.n)).collect()
}

#[test]
fn an_extranonce_is_used_once() {
    let named = [(1, 7), (2, 7), (3, 8), (4, 7)];
    assert_eq!(
        slots(Extranonce::Run, &named),
        [(1, 0), (1, 1), (1, 2), (1, 3)],
        "by run and number, whatever the coinbase"
    );
    assert_eq!(slots(Extranonce::Counter(4), &named), [(1, 0), (1, 1), (1, 0), (1, 2)], "counted for each extranonce1");
}

/// After some time, node 2 has searched so many nonces of its first lease, and gives the rest back. How many it is assigned then.
fn work(scene: &mut Scene, held: &mut Assign, time: f64, nonces: u64) -> u64 {
    scene.pass(time);
    let to = held.leases[0].range.start + nonces;
    scene.report(2, |report| search(report, held, 0, to));
    *held = scene.report(2, |report| report.progress.clear()).unwrap();
    held.leases.iter().map(|lease| lease.range.len()).sum()
}

#[test]
fn a_nodes_speed_is_the_best_of_its_last_eight_measurements() {
    let mut scene = led(true);
    let mut held = scene.report(2, |_| {}).unwrap();
    let mut work = |nonces| work(&mut scene, &mut held, 1.0, nonces);
    assert_eq!([0; 8].map(|_| work(100)), [200, 400, 800, 1600, 1600, 1600, 1600, 1600]);
    assert_eq!(work(400), 6400);
    assert_eq!([0; 8].map(|_| work(100)), [6400, 6400, 6400, 6400, 6400, 6400, 6400, 1600]);
}

#[test]
fn neither_a_burst_nor_a_silence_is_a_measurement() {
    let mut scene = led(true);
    let mut held = scene.report(2, |_| {}).unwrap();
    let mut work = |time, nonces| work(&mut scene, &mut held, time, nonces);
    assert_eq!([0; 8].map(|_| work(1.0, 100))[7], 1600);
    assert_eq!(work(0.001, 100), 1600);
    assert_eq!([0; 9].map(|_| work(1.0, 0)), [1600; 9]);
}

#[test]
fn a_member_that_is_taken_off_the_list_loses_its_leases() {
    let mut scene = led(true);
    assert_eq!(ranges(scene.report(2, |_| {})), [(101, 201)]);
    for members in [&[][..], &[(node(2), true)]] {
        scene.on(1, |cluster, now| cluster.set_peers(now, members));
    }
    assert_eq!(ranges(scene.report(2, |_| {})), [(201, 301)]);
}
