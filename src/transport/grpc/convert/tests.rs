//! Every message comes back as it was; what is no message is refused in words that say what was expected.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::transport::samples::{fullest_messages, fullest_report, messages};

/// Over the wire and back.
fn carry(message: Message) -> Converted<Option<(Message, Option<bool>)>> {
    let bytes = to_wire(message).encode_to_vec();
    assert!(bytes.len() <= MAX_MESSAGE, "{} bytes", bytes.len());
    from_wire(wire::Message::decode(&bytes[..]).unwrap())
}

proptest! {
    #[test]
    fn a_message_comes_back_as_it_was(message in messages()) {
        let (back, shows_witnesses) = carry(message.clone()).unwrap().unwrap();
        prop_assert_eq!(back, message);
        prop_assert_ne!(shows_witnesses, Some(false));
    }

    #[test]
    fn bytes_never_panic(message in messages(), place in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = to_wire(message).encode_to_vec();
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = wire::Message::decode(&bytes[..]).map(from_wire);
    }
}

#[test]
fn the_fullest_messages_fit_and_come_back() {
    for message in fullest_messages() {
        assert_eq!(carry(message.clone()).unwrap().unwrap().0, message);
    }
}

#[test]
fn an_unknown_message_is_passed_over() {
    // Field 11, which a newer version may have: an empty message.
    let newer = wire::Message::decode(&[0x5a, 0][..]).unwrap();
    assert_eq!(from_wire(newer), Ok(None));
    let empty = wire::Current { content: None };
    assert_eq!(current(empty, &mut Room(0)), Ok(None));
}

#[test]
fn whoever_says_nothing_of_witnesses_shows_none() {
    let report = || Some(wire::Report { shows_witnesses: false, ..fullest_report().into() });
    let beat = || {
        Some(wire::Heartbeat { stamp: Some(wire::Stamp { run: 1, sent: 2 }), echo: None, leads: None, interval: None })
    };
    for content in [
        Content::HeartbeatReply(wire::HeartbeatReply { heartbeat: beat(), report: report() }),
        Content::ProcessRequest(wire::ProcessRequest { report: report() }),
        Content::ProcessAnswerNo(wire::ProcessAnswerNo { report: report() }),
        Content::ProcessAnswerYes(wire::ProcessAnswerYes { report: report() }),
        Content::Leave(wire::Leave { heartbeat: beat(), report: report() }),
    ] {
        let (_, shows_witnesses) = from_wire(wire::Message { content: Some(content) }).unwrap().unwrap();
        assert_eq!(shows_witnesses, Some(false));
    }
}

fn a_job() -> wire::Job {
    fullest_report().jobs[0].into()
}

fn text() -> wire::TextPuzzle {
    wire::TextPuzzle { previous_hash: vec![1; 32], timestamp: "007".to_owned(), hashing: wire::Hashing::Double.into() }
}

#[test]
fn what_is_wrong_is_said() {
    let words = |result: Converted<Job>| result.unwrap_err().to_string();
    assert!(job(a_job()).is_ok());
    let with = |puzzle: wire::TextPuzzle| wire::Job { puzzle: Some(wire::job::Puzzle::Text(puzzle)), ..a_job() };
    assert!(job(with(text())).is_ok());
    let cases = [
        (wire::Job { puzzle: None, ..a_job() }, "expected a job's puzzle, got none"),
        (wire::Job { round: None, ..a_job() }, "expected a round, got none"),
        (wire::Job { goal: None, ..a_job() }, "expected a goal, got none"),
        (wire::Job { tag: None, ..a_job() }, "expected a job's tag, got none"),
        (with(wire::TextPuzzle { previous_hash: vec![1; 31], ..text() }), "a previous hash of 32 bytes, got 31"),
        (with(wire::TextPuzzle { timestamp: "1.5".to_owned(), ..text() }), "1 to 20 decimal digits, got \"1.5\""),
        (with(wire::TextPuzzle { hashing: 0, ..text() }), "expected a hashing of 1 or 2, got 0"),
        (with(wire::TextPuzzle { hashing: 3, ..text() }), "expected a hashing of 1 or 2, got 3"),
    ];
    for (wire, expected) in cases {
        let words = words(job(wire));
        assert!(words.contains(expected), "{words}");
    }
    let header = wire::HeaderPuzzle { header: vec![0; 81], version_mask: 0 };
    let wire = wire::Job { puzzle: Some(wire::job::Puzzle::Header(header)), ..a_job() };
    assert_eq!(words(job(wire)), "expected a header of 80 bytes, got 81");
    let lease_of = |job, witness_bits| lease(wire::Lease { number: 1, job, start: 1, end: 2, witness_bits });
    assert!(lease_of(65_535, 64).is_ok());
    assert_eq!(lease_of(65_536, 0), Err(ConvertError::Place(65_536)));
    for bits in [65, 256, u32::MAX] {
        assert!(lease_of(0, bits).unwrap_err().to_string().starts_with("expected 0 to 64 bits of a witness, got"));
    }
    assert!(interval(wire::Interval { seconds: u64::MAX, nanoseconds: 999_999_999 }).is_ok());
    let odd = wire::Interval { seconds: u64::MAX, nanoseconds: 1_000_000_000 };
    assert_eq!(interval(odd), Err(ConvertError::Nanoseconds(1_000_000_000)));
    assert_eq!(from_wire(to_wire(Message::ProcessRequest(fullest_report()))).unwrap().unwrap().1, Some(true));
    let empty = Content::ProcessRequest(wire::ProcessRequest { report: None });
    let refused = from_wire(wire::Message { content: Some(empty) }).unwrap_err();
    assert_eq!(refused.to_string(), "expected a report, got none");
}

#[test]
fn lists_that_are_short_on_the_wire_and_long_in_memory_are_refused() {
    let progress = wire::Progress { lease: 0, to: 0, witnesses: vec![] };
    let report = wire::Report { progress: vec![progress; MAX_MESSAGE / 4], ..fullest_report().into() };
    let content = Content::ProcessRequest(wire::ProcessRequest { report: Some(report) });
    assert_eq!(from_wire(wire::Message { content: Some(content) }), Err(ConvertError::Room));
}
