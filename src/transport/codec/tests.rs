//! Every message comes back as it was; nothing else comes back as a message, and nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cluster::{Assign, Reign, Stamp};
use crate::transport::samples::{fullest_messages, fullest_report, messages};
use crate::work::{Run, SolutionId};

/// The bytes of a frame between its length and its body.
const HEAD: usize = 2;

/// A frame of any version, kind and body, with a true length field.
fn frame(version: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = (u32::try_from(HEAD + body.len()).unwrap()).to_be_bytes().to_vec();
    frame.extend([version, kind]);
    frame.extend(body);
    frame
}

proptest! {
    #[test]
    fn a_message_comes_back_as_it_was(message in messages()) {
        prop_assert_eq!(decode(&encode(&message).unwrap()).unwrap(), Some(message));
    }

    #[test]
    fn a_truncated_or_padded_frame_is_refused(message in messages(), cut in any::<prop::sample::Index>()) {
        let whole = encode(&message).unwrap();
        let shorter = &whole[..cut.index(whole.len())];
        prop_assert!(decode(shorter).is_err());
        prop_assert!(decode(&[&whole[..], &[0]].concat()).is_err());
        // It is refused also when the length field fits the rest.
        let (kind, body) = (whole[5], &whole[6..]);
        if !body.is_empty() {
            prop_assert!(decode(&frame(VERSION, kind, &body[..cut.index(body.len())])).is_err());
        }
        prop_assert!(decode(&frame(VERSION, kind, &[body, &[0]].concat())).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600), version: u8, kind in 0_u8..12) {
        let _ = decode(&bytes);
        let _ = decode(&frame(version, kind, &bytes));
    }

    #[test]
    fn a_damaged_frame_never_panics(message in messages(), place in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encode(&message).unwrap();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = decode(&bytes);
    }
}

/// Every number is small, so that each takes one byte.
const INTERRUPT: [u8; 11] = [1, 2, 3, 4, 5, 0, 0, 0, 0, 1, 6];

fn interrupt() -> Message {
    let reign = Reign { run: Run(1), number: 2 };
    let (report, settled) = (Stamp { run: Run(4), sent: 5 }, vec![SolutionId(6)]);
    let (jobs, leases, taken) = (vec![], vec![], vec![]);
    Message::ProcessInterrupt(Assign { reign, sequence: 3, report, current: None, jobs, leases, taken, settled })
}

#[test]
fn the_bytes_of_a_frame_are_fixed() {
    assert_eq!(encode(&interrupt()).unwrap(), [&[0, 0, 0, 13, 4, 7][..], &INTERRUPT].concat());
}

#[test]
fn more_bits_than_a_witness_has_are_refused() {
    let process = |bits| [&[1, 2, 3, 4, 5, 0, 0, 1, 7, 0, 1, 9][..], &[bits, 0, 0]].concat();
    assert!(decode(&frame(VERSION, 4, &process(64))).is_ok());
    assert!(matches!(decode(&frame(VERSION, 4, &process(65))), Err(CodecError::Body { kind: 4, .. })));
}

#[test]
fn an_unknown_kind_is_an_error_now_and_passed_over_from_newer_versions() {
    assert!(matches!(decode(&frame(VERSION, 0, &[])), Err(CodecError::Kind(0))));
    assert!(matches!(decode(&frame(VERSION, 11, &[1, 2])), Err(CodecError::Kind(11))));
    assert_eq!(decode(&frame(VERSION + 1, 11, &[1, 2])).unwrap(), None);
    assert_eq!(decode(&frame(VERSION + 1, 7, &INTERRUPT)).unwrap(), Some(interrupt()));
}

#[test]
fn an_older_version_is_refused_in_words_that_say_what_to_do() {
    let error = decode(&frame(1, 7, &INTERRUPT)).unwrap_err();
    assert!(matches!(error, CodecError::Version(1)));
    assert!(error.to_string().contains("run the same version of Headframe on all nodes"), "{error}");
}

#[test]
fn a_list_that_claims_more_than_the_body_holds_is_refused() {
    // In the first body, a report without an assignment claims u64::MAX leases; in the second, one lease claims as many witnesses.
    for start in [&[1, 2, 0, 3][..], &[1, 2, 0, 3, 1, 4, 5]] {
        let body = [start, &[253], &[0xff; 8]].concat();
        assert!(matches!(decode(&frame(VERSION, 3, &body)), Err(CodecError::Body { kind: 3, .. })));
    }
}

#[test]
fn too_large_a_message_is_not_encoded() {
    let mut report = fullest_report();
    report.taken = vec![SolutionId(u64::MAX); 9_000];
    assert!(matches!(encode(&Message::ProcessRequest(report)), Err(CodecError::TooLarge(81_009..))));
}

#[test]
fn no_frame_is_longer_than_the_limit() {
    let body = vec![0; MAX_CONTENT - HEAD];
    assert!(matches!(decode(&frame(VERSION, 7, &body)), Err(CodecError::Rest { used: 10, .. })));
    let body = vec![0; MAX_CONTENT - HEAD + 1];
    assert!(matches!(decode(&frame(VERSION, 7, &body)), Err(CodecError::Length { .. })));
}

#[test]
fn the_fullest_messages_fit_a_frame_and_come_back() {
    for message in fullest_messages() {
        let frame = encode(&message).unwrap();
        eprintln!("{} bytes", frame.len());
        assert_eq!(decode(&frame).unwrap(), Some(message), "{} bytes", frame.len());
    }
}
