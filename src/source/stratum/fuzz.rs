//! What a pool says: any number of lines.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::shares;
use super::state::{Heard, State};
use super::words::Line;
use crate::source::Verdict;
use crate::work::{Puzzle, Run, Slot, Solution, Target, Template};

/// When the lines come, since 1970.
const NOW: Duration = Duration::from_secs(1_800_000_000);
/// More than any problem says that is told to an operator.
const LONGEST_PROBLEM: usize = 1000;
/// What may be submitted at most: a job's name is the longest part.
const LONGEST_SUBMISSION: usize = 2000;

/// A reply is taken for that to each question that a session asks. The session is over at the first problem, as it is with a real pool; a line
/// that is no Stratum is forgiven.
pub(crate) fn stratum(bytes: &[u8]) -> bool {
    let mut state = State::new(Arc::default());
    let mut works = false;
    for line in String::from_utf8_lossy(bytes).lines() {
        let heard = match Line::parse(line) {
            Err(problem) => {
                told(&problem);
                continue;
            }
            Ok(Line::Reply { answer, .. }) => {
                if let Verdict::Rejected { reason } = shares::verdict(&answer) {
                    told(&reason);
                }
                let is_object = answer.result.is_object();
                match is_object {
                    true => state.configured(&answer.result).map(|()| Heard::Nothing),
                    false if answer.result.is_array() => state.subscribed(&answer.result),
                    false => Ok(Heard::Nothing),
                }
            }
            Ok(Line::Call { id, method, params }) => {
                assert!(id.to_string().len() < 500, "an id that is sent back is short");
                state.hear(&method, &params, NOW)
            }
        };
        match heard {
            Err(problem) => {
                told(&problem);
                return works;
            }
            Ok(Heard::Template(template)) => {
                works = true;
                check(&state, &template);
            }
            Ok(Heard::Message(text)) => told(&text),
            Ok(_) => {}
        }
    }
    works
}

/// Each job of the template is its own, and a solution of it says what the header has.
fn check(state: &State, template: &Template) {
    assert!(template.goal.report > Target::from_be_bytes([0; 32]) && state.difficulty() > 0.0);
    for (n, later) in [(0, 0), (1, 30), (255, 100_000)] {
        let Some(job) = template.job(Slot { run: Run(7), n }, NOW + Duration::from_secs(later)) else {
            panic!("an extranonce2 has a byte at least")
        };
        assert!(template.made(&job));
        let Puzzle::Header(puzzle) = job.puzzle else { panic!("a header") };
        for nonce in [0, 1, job.space().end - 1] {
            let Ok(Value::Array(params)) = state.submission("user", &Solution { job, nonce }) else {
                panic!("the newest template's solutions are submitted")
            };
            let text = |at: usize| params[at].as_str().unwrap();
            let word = |at: usize| u32::from_str_radix(text(at), 16).unwrap();
            let header = puzzle.at(nonce);
            assert_eq!((word(3), word(4)), (header.time, header.nonce));
            if params.len() == 6 {
                let mask = puzzle.version_mask;
                assert_eq!(puzzle.header.version & !mask | word(5) & mask, header.version);
            }
            assert!(Value::Array(params).to_string().len() < LONGEST_SUBMISSION);
        }
    }
}

/// A problem is short, and moves no cursor.
fn told(problem: &str) {
    assert!(problem.chars().count() < LONGEST_PROBLEM && !problem.contains(char::is_control), "{problem:?}");
}
