//! The exercise's messages as text: one in a datagram, in ASCII, without a terminator.
//!
//! | message | text |
//! |---|---|
//! | heartbeat | `HeartbeatRequest`, `HeartbeatReply`; dialect B writes `Heartbeat Request`, `Heartbeat Reply` |
//! | give me work | `ProcessRequest` |
//! | work | `Process;start;end;timestamp;hash;zeros` |
//! | nothing found | `ProcessAnswerNo` |
//! | found | `ProcessAnswerYes;nonce` |
//! | stop | `ProcessInterrupt`; `ProcessInterruptRequest` and `ProcessStop` are heard, too |
//!
//! Names are compared without case and spaces. Programs differ in whether a range's first and last nonce belong to it: what is heard is
//! searched from start to end inclusive, and what is said has one nonce more at each end, so that every reading covers what is owed.

use crate::work::{Digest, Job, NonceRange, Puzzle, Search, TEXT_NONCES, Target, TextForm, TextPuzzle};

/// The longest text that is read, in bytes. The longest message has 127.
pub(super) const MAX_TEXT: usize = 256;

/// Which of the exercise's programs the others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Names without spaces; port 6001.
    #[default]
    A,
    /// Heartbeats with a space in their names; port 60000.
    B,
}

impl Dialect {
    /// The port at which programs of this dialect listen.
    pub const fn port(self) -> u16 {
        match self {
            Self::A => 6001,
            Self::B => 60000,
        }
    }
}

/// A message of the exercise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // there are a few at a time
pub(super) enum Words {
    HeartbeatRequest,
    HeartbeatReply,
    ProcessRequest,
    /// Nonces of a text to search.
    Process(Job, NonceRange),
    ProcessAnswerNo,
    ProcessAnswerYes(u64),
    ProcessInterrupt,
}

/// Why a datagram is none of the exercise's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NoWords {
    /// It is longer than any message.
    TooLong,
    /// It is not ASCII.
    NotAscii,
    /// It begins with none of the names.
    UnknownName,
    /// A field is missing, too many, or not what the message asks for.
    Fields,
}

impl Words {
    /// The message in a datagram.
    pub(super) fn read(datagram: &[u8], form: TextForm) -> Result<Self, NoWords> {
        if datagram.len() > MAX_TEXT {
            return Err(NoWords::TooLong);
        }
        let text = std::str::from_utf8(datagram).ok().filter(|text| text.is_ascii()).ok_or(NoWords::NotAscii)?;
        let plain: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let mut fields = plain.split(';');
        let name = fields.next().unwrap_or_default().to_ascii_lowercase();
        let fields: Vec<_> = fields.collect();
        let alone = |words| fields.is_empty().then_some(words);
        let words = match name.as_str() {
            "heartbeatrequest" => alone(Self::HeartbeatRequest),
            "heartbeatreply" => alone(Self::HeartbeatReply),
            "processrequest" => alone(Self::ProcessRequest),
            "process" => process(&fields, form),
            "processanswerno" => alone(Self::ProcessAnswerNo),
            "processansweryes" => {
                <[_; 1]>::try_from(fields).ok().and_then(|[nonce]| number(nonce)).map(Self::ProcessAnswerYes)
            }
            "processinterrupt" | "processinterruptrequest" | "processstop" => alone(Self::ProcessInterrupt),
            _ => return Err(NoWords::UnknownName),
        };
        words.ok_or(NoWords::Fields)
    }

    /// The message as a datagram; `None` for work that is no text in this form.
    pub(super) fn write(&self, dialect: Dialect, form: TextForm) -> Option<String> {
        let fixed = match (self, dialect) {
            (Self::HeartbeatRequest, Dialect::A) => "HeartbeatRequest",
            (Self::HeartbeatRequest, Dialect::B) => "Heartbeat Request",
            (Self::HeartbeatReply, Dialect::A) => "HeartbeatReply",
            (Self::HeartbeatReply, Dialect::B) => "Heartbeat Reply",
            (Self::ProcessRequest, _) => "ProcessRequest",
            (Self::ProcessAnswerNo, _) => "ProcessAnswerNo",
            (Self::ProcessInterrupt, _) => "ProcessInterrupt",
            (Self::ProcessAnswerYes(nonce), _) => return Some(format!("ProcessAnswerYes;{nonce}")),
            (Self::Process(job, range), _) => {
                let Puzzle::Text(TextPuzzle { prev, timestamp, hashing }) = job.puzzle else { return None };
                // A target that no number of these zeros names is made harder, never easier.
                let zeros = job.target().leading_zero_bits().div_ceil(form.zeros.bits());
                let (start, end) = (range.start.saturating_sub(1), range.end);
                return (hashing == form.hashing).then(|| format!("Process;{start};{end};{timestamp};{prev};{zeros}"));
            }
        };
        Some(fixed.to_owned())
    }
}

/// Whether a job can be told in this form.
pub(super) fn fits(job: &Job, form: TextForm) -> bool {
    matches!(job.puzzle, Puzzle::Text(TextPuzzle { hashing, .. }) if hashing == form.hashing)
}

fn process(fields: &[&str], form: TextForm) -> Option<Words> {
    let &[start, end, timestamp, hash, zeros] = fields else { return None };
    let prev: Digest = hash.parse().ok()?;
    let puzzle = TextPuzzle { prev, timestamp: timestamp.parse().ok()?, hashing: form.hashing };
    let target = Target::from_zeros(i64::try_from(number(zeros)?).ok()?, form.zeros).ok()?;
    let asked = NonceRange::new(number(start)?, number(end)?.saturating_add(1));
    let range = asked.intersection(&TEXT_NONCES);
    let job = Job::new(Puzzle::Text(puzzle), target, Search::First);
    (!range.is_empty()).then_some(Words::Process(job, range))
}

/// Decimal digits, no sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Hashing, ZeroUnit};

    const PREV: &str = "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db";
    const FORM: TextForm = TextForm { hashing: Hashing::Double, zeros: ZeroUnit::Hex };

    fn read(text: &str) -> Result<Words, NoWords> {
        Words::read(text.as_bytes(), FORM)
    }

    fn work(range: NonceRange, zeros: i64, form: TextForm) -> Words {
        let puzzle = TextPuzzle {
            prev: PREV.parse().unwrap(),
            timestamp: "1550766000000".parse().unwrap(),
            hashing: form.hashing,
        };
        let target = Target::from_zeros(zeros, form.zeros).unwrap();
        Words::Process(Job::new(Puzzle::Text(puzzle), target, Search::First), range)
    }

    fn all() -> [Words; 7] {
        [
            Words::HeartbeatRequest,
            Words::HeartbeatReply,
            Words::ProcessRequest,
            work(NonceRange::new(2, 100_000), 4, FORM),
            Words::ProcessAnswerNo,
            Words::ProcessAnswerYes(4750),
            Words::ProcessInterrupt,
        ]
    }

    #[test]
    fn what_is_written_is_read_and_never_shorter_than_8_bytes() {
        for dialect in [Dialect::A, Dialect::B] {
            for words in all() {
                let text = words.write(dialect, FORM).unwrap();
                assert!((8..=MAX_TEXT).contains(&text.len()), "{text}");
                let wider = |range: NonceRange| NonceRange::new(range.start - 1, range.end + 1);
                let heard = match words {
                    Words::Process(job, range) => Words::Process(job, wider(range)),
                    other => other,
                };
                assert_eq!(read(&text), Ok(heard), "one nonce more at each end");
            }
        }
        let longest = format!("Process;{0};{0};99999999999999999999;{PREV};256", u64::MAX);
        assert!(longest.len() <= MAX_TEXT);
    }

    #[test]
    fn the_exercises_own_texts_are_read() {
        let process = format!("Process;1;100000;1550766000000;{PREV};4");
        assert_eq!(read(&process), Ok(work(NonceRange::new(1, 100_001), 4, FORM)));
        let from_0 = format!("Process;0;2000000001;1550766000000;{PREV};4");
        assert_eq!(read(&from_0), Ok(work(TEXT_NONCES, 4, FORM)));
        for (text, words) in [
            ("Heartbeat Request", Words::HeartbeatRequest),
            ("heartbeatrequest\n", Words::HeartbeatRequest),
            ("HEARTBEAT  REPLY", Words::HeartbeatReply),
            ("ProcessInterruptRequest", Words::ProcessInterrupt),
            ("ProcessStop", Words::ProcessInterrupt),
            ("ProcessAnswerYes; 17 ", Words::ProcessAnswerYes(17)),
        ] {
            assert_eq!(read(text), Ok(words), "{text}");
        }
    }

    #[test]
    fn texts_are_written_as_the_exercise_has_them() {
        let text = |words: Words, dialect, form| words.write(dialect, form);
        let process = work(NonceRange::new(1, 100_001), 4, FORM);
        let expected = format!("Process;0;100001;1550766000000;{PREV};4");
        assert_eq!(text(process, Dialect::A, FORM), Some(expected));
        let bits = TextForm { hashing: Hashing::Single, zeros: ZeroUnit::Bits };
        assert_eq!(text(process, Dialect::A, bits), None, "it is hashed twice");
        let process = work(NonceRange::new(1, 100_001), 17, bits);
        assert!(text(process, Dialect::B, bits).unwrap().ends_with(";17"));
        let hex = TextForm { zeros: ZeroUnit::Hex, ..bits };
        assert!(text(process, Dialect::B, hex).unwrap().ends_with(";5"), "harder, never easier");
        let bytes = TextForm { zeros: ZeroUnit::Bytes, ..bits };
        assert!(text(process, Dialect::B, bytes).unwrap().ends_with(";3"));
        assert_eq!(text(Words::HeartbeatReply, Dialect::B, FORM).unwrap(), "Heartbeat Reply");
        assert_eq!(text(Words::ProcessAnswerYes(9), Dialect::B, FORM).unwrap(), "ProcessAnswerYes;9");
    }

    #[test]
    fn whatever_else_comes_is_refused_by_its_reason() {
        let field = |place: usize, value: &str| {
            let mut fields = ["Process", "1", "100000", "1550766000000", PREV, "4"];
            fields[place] = value;
            fields.join(";")
        };
        let overflow = "99999999999999999999";
        for (text, reason) in [
            (String::new(), NoWords::UnknownName),
            ("x".to_owned(), NoWords::UnknownName),
            ("Process".to_owned(), NoWords::Fields),
            ("HeartbeatRequest;1".to_owned(), NoWords::Fields),
            ("ProcessAnswerYes".to_owned(), NoWords::Fields),
            ("ProcessAnswerYes;".to_owned(), NoWords::Fields),
            ("ProcessAnswerYes;-1".to_owned(), NoWords::Fields),
            ("ProcessAnswerYes;+1".to_owned(), NoWords::Fields),
            (format!("ProcessAnswerYes;{overflow}"), NoWords::Fields),
            (field(1, overflow), NoWords::Fields),
            (field(1, "100001"), NoWords::Fields),
            (field(1, ""), NoWords::Fields),
            (field(3, "yesterday"), NoWords::Fields),
            (field(3, "123456789012345678901"), NoWords::Fields),
            (field(4, &PREV.to_uppercase()), NoWords::Fields),
            (field(4, &PREV[1..]), NoWords::Fields),
            (field(5, "65"), NoWords::Fields),
            (field(5, "-1"), NoWords::Fields),
            (field(5, "4;5"), NoWords::Fields),
            ("HeärtbeatRequest".to_owned(), NoWords::NotAscii),
            ("HeartbeatRequest".to_owned() + &" ".repeat(MAX_TEXT), NoWords::TooLong),
        ] {
            assert_eq!(read(&text), Err(reason), "{text:?}");
        }
        assert_eq!(Words::read(&[0xff, 0xfe, 0x48, 0x00], FORM), Err(NoWords::NotAscii), "UTF-16");
    }
}
