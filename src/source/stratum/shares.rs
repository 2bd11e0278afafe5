//! What a pool says to shares, and how often it may refuse them.

use super::words::{Answer, Refusal};
use crate::source::Verdict;

/// So many answers are waited for before a pool is judged by them.
const FEWEST: u32 = 20;
/// Of more answers than these, the old ones count half, so that a pool which was good for hours is not trusted for hours.
const MOST: u32 = 200;

/// Stratum's codes of errors, and how the reason of each begins here whatever the pool calls it.
const REASONS: [(i64, &str); 4] =
    [(22, "duplicate"), (23, "low difficulty"), (24, "unauthorized"), (25, "not subscribed")];

/// The verdict in the reply to `mining.submit`.
pub(super) fn verdict(answer: &Answer) -> Verdict {
    let Refusal { code, text } = match answer.done() {
        Ok(_) => return Verdict::Share,
        Err(refusal) => refusal,
    };
    let said = text.to_lowercase();
    if code == Some(21)
        || ["job not found", "stale", "unknown job", "unknown-work"].iter().any(|word| said.contains(word))
    {
        return Verdict::Stale;
    }
    let name = REASONS.iter().find(|(number, _)| code == Some(*number)).map(|&(_, name)| name);
    Verdict::Rejected {
        reason: match name {
            Some(name) if !said.starts_with(name) => format!("{name}: {text}"),
            _ => text,
        },
    }
}

/// Accepted and rejected shares of one session. Stale ones are nobody's fault and not counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    accepted: u32,
    rejected: u32,
    /// Why the last one was rejected.
    reason: String,
}

impl Tally {
    /// Counts a verdict.
    ///
    /// # Errors
    /// More than a quarter of the shares of late is rejected, and they are at least 20.
    pub(super) fn count(&mut self, verdict: &Verdict) -> Result<(), String> {
        match verdict {
            Verdict::Block { .. } | Verdict::Share => self.accepted += 1,
            Verdict::Rejected { reason } | Verdict::NotUnderstood(reason) => {
                self.rejected += 1;
                self.reason.clone_from(reason);
            }
            Verdict::Stale => return Ok(()),
        }
        let (rejected, all) = (self.rejected, self.accepted + self.rejected);
        if all >= FEWEST && rejected * 4 > all {
            return Err(format!(
                "expected the pool to accept most shares, got {rejected} of {all} rejected, the last with: {}",
                self.reason
            ));
        }
        if all >= MOST {
            (self.accepted, self.rejected) = (self.accepted / 2, self.rejected / 2);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn verdicts_follow_the_code_or_the_words() {
        let said = |result: Value, error: Value| verdict(&Answer { result, error });
        let rejected = |reason: &str| Verdict::Rejected { reason: reason.into() };
        for (result, error, expected) in [
            (json!(true), Value::Null, Verdict::Share),
            (json!(null), json!([21, "Job not found", null]), Verdict::Stale),
            (json!(false), json!([20, "Stale share", null]), Verdict::Stale),
            (json!(null), json!("job not found"), Verdict::Stale),
            (json!(false), json!({"code": 21, "message": ""}), Verdict::Stale),
            (json!(null), json!([22, "Duplicate share", null]), rejected("Duplicate share")),
            (json!(null), json!([22, "seen before", null]), rejected("duplicate: seen before")),
            (json!(false), json!([23, "Above target", null]), rejected("low difficulty: Above target")),
            (json!(false), json!([23]), rejected("low difficulty: no reason given")),
            (json!(null), json!([24, "who\u{7}?", null]), rejected("unauthorized: who?")),
            (json!(false), Value::Null, rejected("no reason given")),
            (json!(null), Value::Null, rejected("no reason given")),
            (json!(false), json!(["a", "b"]), rejected("b")),
        ] {
            assert_eq!(said(result.clone(), error.clone()), expected, "{result} {error}");
        }
    }

    #[test]
    fn more_than_a_quarter_of_twenty_is_too_much() {
        let (good, bad) = (Verdict::Share, Verdict::Rejected { reason: "bad".into() });
        let after = |verdicts: &[(&Verdict, u32)]| {
            let mut tally = Tally::default();
            let each = verdicts.iter().flat_map(|(verdict, count)| (0..*count).map(move |_| *verdict));
            each.map(|verdict| tally.count(verdict)).collect::<Result<Vec<_>, _>>()
        };
        assert!(after(&[(&bad, 19)]).is_ok(), "too few to judge");
        assert!(after(&[(&bad, 20)]).unwrap_err().contains("20 of 20 rejected, the last with: bad"));
        assert!(after(&[(&bad, 5), (&good, 15)]).is_ok());
        assert!(after(&[(&bad, 6), (&good, 14)]).is_err());
        assert!(after(&[(&Verdict::Stale, 1_000)]).is_ok());
        assert!(after(&[(&good, 100_000), (&bad, 80)]).is_err(), "good days are forgotten");
    }
}
