//! Rule 6: blocks of another run's templates, which were handed over.

use super::*;

/// The run of a leader that is gone, the template that it has handed over, and a block of it.
fn handed_over(goal: Target) -> (Run, Template, Solution) {
    let run = Run(77);
    let goal = Goal { block: goal, report: goal, search: Search::First };
    let template = Template { tag: 5, goal, ..header(1, 9, Extranonce::Run) };
    let block = block(job(&template, run.0, 3));
    (run, template, block)
}

/// Node 1 leads node 2, which is played. Node 1's own session builds on the same block.
fn leading() -> Scene {
    let mut scene = Scene::new(2, &[2]);
    scene.template(1, header(1, 1, Extranonce::Run));
    scene.report(2, |_| {});
    scene
}

fn submitted(outputs: Vec<Output>) -> Vec<Solution> {
    let submit = |output| match output {
        Output::Submit { solution, .. } => Some(solution),
        _ => None,
    };
    outputs.into_iter().filter_map(submit).collect()
}

#[test]
fn a_block_of_a_template_that_was_handed_over_is_submitted() {
    let (run, template, block) = handed_over(zero_bits(10));
    let mut scene = leading();
    scene.report(2, |report| report.blocks.push(block));
    assert_eq!(submitted(scene.done(1)), [], "only its maker's session could");
    let outputs = scene.on(1, |cluster, now| cluster.adopt(now, run, template));
    assert_eq!(submitted(outputs), [block]);
}

#[test]
fn it_waits_until_our_session_names_its_block() {
    let (run, template, block) = handed_over(zero_bits(10));
    let mut scene = Scene::new(2, &[2]);
    scene.on(1, |cluster, now| cluster.adopt(now, run, template));
    scene.report(2, |report| report.blocks.push(block));
    assert_eq!(submitted(scene.done(1)), []);
    assert_eq!(submitted(scene.template(1, header(1, 1, Extranonce::Run))), [block]);
}

#[test]
fn our_sessions_goal_counts() {
    let (run, template, easy) = handed_over(zero_bits(4));
    let mut scene = leading();
    scene.on(1, |cluster, now| cluster.adopt(now, run, template.clone()));
    let hard = |solution: &Solution| solution.job.puzzle.check(solution.nonce, zero_bits(10)).is_some();
    assert!(!hard(&easy), "another seed is needed");
    scene.report(2, |report| report.blocks.push(easy));
    assert_eq!(submitted(scene.done(1)), []);
    let block = solutions(easy.job, 0, true).find(hard).unwrap();
    scene.report(2, |report| report.blocks.push(block));
    assert_eq!(submitted(scene.done(1)), [block]);
}

#[test]
fn another_runs_or_another_coinbases_job_is_none_of_it() {
    let (run, template, _) = handed_over(zero_bits(10));
    for (other, twisted) in [
        (Run(78), template.clone()),
        (run, Template { tag: 6, ..template.clone() }),
        (run, Template { puzzle: header(1, 8, Extranonce::Run).puzzle, ..template.clone() }),
    ] {
        let mut scene = leading();
        scene.on(1, |cluster, now| cluster.adopt(now, run, template.clone()));
        let block = block(job(&twisted, other.0, 3));
        scene.report(2, |report| report.blocks.push(block));
        assert_eq!(submitted(scene.done(1)), []);
    }
}

#[test]
fn the_last_few_are_remembered() {
    let (run, template, block) = handed_over(zero_bits(10));
    let mut scene = leading();
    for tag in 5..=5 + MAX_ADOPTED as u64 {
        scene.on(1, |cluster, now| cluster.adopt(now, run, Template { tag, ..template.clone() }));
    }
    scene.report(2, |report| report.blocks.push(block));
    assert_eq!(submitted(scene.done(1)), [], "the first is forgotten");
}
