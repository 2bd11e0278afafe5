//! What a block service answers: Headframe's own, the exercise's first one, or whatever stands in front of it. What a pool says is in
//! `stratum/fuzz.rs`.

pub(crate) use super::stratum::fuzz::stratum;

use super::http::Reply;
use super::{Verdict, legacy, web};
use crate::work::{Template, TextForm};

/// More than any problem says that is told to an operator.
const LONGEST_PROBLEM: usize = 1000;

/// The first byte says with which status the rest is answered.
pub(crate) fn answers(bytes: &[u8]) -> bool {
    let Some((&what, body)) = bytes.split_first() else { return false };
    let status = [200, 400, 404, 409, 422, 500, 503][usize::from(what) % 7];
    let reply = Reply { status, body: String::from_utf8_lossy(body).into_owned() };
    let offered = reply.object().and_then(|object| web::template(&object, web::height(&object)?, TextForm::default()));
    let by_the_first =
        legacy::object_with("hash", &reply.body).and_then(|object| web::template(&object, 0, TextForm::default()));
    let is_taken = offered.is_ok() || by_the_first.is_ok();
    for template in [offered, by_the_first] {
        template.map(|template| check(&template)).unwrap_or_else(|problem| told(&problem));
    }
    for verdict in [web::verdict(&reply), web::legacy_verdict(&reply)] {
        match verdict {
            Ok(Verdict::Block { next: Some(next), height }) => {
                assert_eq!(height, Some(next.round.block.height));
                check(&next);
            }
            Ok(Verdict::Rejected { reason: problem } | Verdict::NotUnderstood(problem)) | Err(problem) => {
                told(&problem);
            }
            Ok(_) => assert!(matches!(status, 200 | 409)),
        }
    }
    told(&reply.unexpected("another"));
    is_taken
}

fn check(template: &Template) {
    assert!(template.is_text() && template.goal.block == template.goal.report);
    assert!(template.goal.block.zeros() <= 64);
}

/// A problem is short, and moves no cursor.
fn told(problem: &str) {
    assert!(problem.chars().count() < LONGEST_PROBLEM && !problem.contains(char::is_control), "{problem:?}");
}
