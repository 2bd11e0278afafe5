//! Every message comes back as it was; nothing else comes back as a message, and nothing panics.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::cluster::{
    Claim, Epoch, Heartbeat, Held, JobDone, NodeId, Process, ProcessAnswerNo, ProcessAnswerYes, ProcessInterrupt,
    ProcessRequest, Standing, Unsettled,
};
use crate::work::{
    Digest, Hashing, Header, HeaderPuzzle, Job, JobId, NonceRange, Puzzle, Search, ShareBits, Solution, Target,
    TextPuzzle,
};

fn epochs() -> impl Strategy<Value = Epoch> {
    (any::<u64>(), 1..=u32::MAX, any::<u64>()).prop_map(|(counter, leader, incarnation)| Epoch {
        counter,
        leader: NodeId::try_from(leader).unwrap(),
        incarnation,
    })
}

fn ranges() -> impl Strategy<Value = NonceRange> {
    any::<(u64, u64)>().prop_map(|(start, end)| NonceRange::new(start, end))
}

fn puzzles() -> impl Strategy<Value = Puzzle> {
    let text = (any::<[u8; 32]>(), "[0-9]{1,20}", any::<bool>()).prop_map(|(prev, timestamp, double)| {
        Puzzle::Text(TextPuzzle {
            prev: Digest(prev),
            timestamp: timestamp.parse().unwrap(),
            hashing: if double { Hashing::Double } else { Hashing::Single },
        })
    });
    let header = (vec(any::<u8>(), 80), any::<u32>()).prop_map(|(bytes, version_mask)| {
        Puzzle::Header(HeaderPuzzle { header: Header::from_bytes(&bytes.try_into().unwrap()), version_mask })
    });
    prop_oneof![text, header]
}

fn jobs() -> impl Strategy<Value = Job> {
    (any::<u64>(), puzzles(), any::<[u8; 32]>(), any::<bool>()).prop_map(|(height, puzzle, target, every)| Job {
        height,
        puzzle,
        target: Target::from_be_bytes(target),
        search: if every { Search::Every } else { Search::First },
    })
}

fn solutions() -> impl Strategy<Value = Solution> {
    (jobs(), any::<u64>()).prop_map(|(job, nonce)| Solution { job, nonce })
}

fn heartbeats() -> impl Strategy<Value = Heartbeat> {
    let node = (1..=u32::MAX).prop_map(|id| NodeId::try_from(id).unwrap());
    let done = (jobs(), vec(ranges(), 0..20), vec((ranges(), node.clone()), 0..20))
        .prop_map(|(job, ranges, pieces)| JobDone { job, ranges, pieces });
    let unsettled = (solutions(), 1..=u32::MAX)
        .prop_map(|(solution, id)| Unsettled { solution, found_by: NodeId::try_from(id).unwrap() });
    let accounts = (vec(done, 0..4), vec(unsettled, 0..3), vec((node, any::<u64>()), 0..3));
    (any::<(u64, u64, Option<u64>)>(), option::of(epochs()), accounts).prop_map(
        |((incarnation, sent, echo), epoch, (done, unsettled, distrusted))| Heartbeat {
            incarnation,
            sent,
            echo,
            epoch,
            standing: (!done.is_empty()).then(|| Arc::new(Standing { word: sent, done, unsettled, distrusted })),
        },
    )
}

fn bits() -> impl Strategy<Value = ShareBits> {
    (0..=64u8).prop_map(|bits| ShareBits::new(bits).unwrap())
}

fn claims() -> impl Strategy<Value = Claim> {
    (any::<u64>(), ranges(), bits(), vec(any::<u64>(), 0..5)).prop_map(|(job, range, bits, shares)| Claim {
        job: JobId(job),
        range,
        bits,
        shares,
    })
}

fn requests() -> impl Strategy<Value = ProcessRequest> {
    let held = (epochs(), any::<u64>(), claims(), ranges()).prop_map(|(epoch, lease, searched, rest)| Held {
        epoch,
        lease,
        searched,
        rest,
    });
    (epochs(), any::<u64>(), vec(held, 0..4), vec(claims(), 0..20))
        .prop_map(|(epoch, rate, held, finished)| ProcessRequest { epoch, rate, held, finished })
}

fn messages() -> impl Strategy<Value = Message> {
    let lease = (epochs(), any::<(u64, u64)>(), jobs(), ranges(), bits()).prop_map(
        |(epoch, (lease, round), job, range, bits)| Message::Process(Process { epoch, lease, round, job, range, bits }),
    );
    let no = (epochs(), any::<(u64, u64)>(), claims()).prop_map(|(epoch, (lease, rate), searched)| {
        Message::ProcessAnswerNo(ProcessAnswerNo { epoch, lease, searched, rate })
    });
    let yes = (epochs(), solutions())
        .prop_map(|(epoch, solution)| Message::ProcessAnswerYes(ProcessAnswerYes { epoch, solution }));
    let settled = option::of(any::<(u64, u64)>().prop_map(|(job, nonce)| (JobId(job), nonce)));
    let void = vec((epochs(), any::<u64>()), 0..3);
    let interrupt = (epochs(), any::<u64>(), settled, void).prop_map(|(epoch, round, settled, void)| {
        Message::ProcessInterrupt(ProcessInterrupt { epoch, round, settled, void })
    });
    prop_oneof![
        heartbeats().prop_map(Message::HeartbeatRequest),
        (heartbeats(), option::of(requests())).prop_map(|(beat, request)| Message::HeartbeatReply(beat, request)),
        requests().prop_map(Message::ProcessRequest),
        lease,
        no,
        yes,
        interrupt,
        (heartbeats(), option::of(requests())).prop_map(|(beat, request)| Message::Leave(beat, request)),
    ]
}

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
    fn pieces_make_the_same_frame(messages in vec(messages(), 1..4)) {
        let encoder = Encoder::default();
        for message in messages.iter().chain(&messages) {
            prop_assert_eq!(encoder.encode(message).unwrap().concat(), encode(message).unwrap());
        }
    }

    #[test]
    fn a_truncated_or_padded_frame_is_refused(message in messages(), cut in any::<prop::sample::Index>()) {
        let whole = encode(&message).unwrap();
        let shorter = &whole[..cut.index(whole.len())];
        prop_assert!(decode(shorter).is_err());
        prop_assert!(decode(&[&whole[..], &[0]].concat()).is_err());
        // Also when the length field fits what is there.
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

fn interrupt() -> Message {
    let epoch = Epoch { counter: 1, leader: NodeId::try_from(2).unwrap(), incarnation: 3 };
    Message::ProcessInterrupt(ProcessInterrupt { epoch, round: 4, settled: None, void: vec![] })
}

#[test]
fn the_bytes_of_a_frame_are_fixed() {
    assert_eq!(encode(&interrupt()).unwrap(), [0, 0, 0, 8, 1, 7, 1, 2, 3, 4, 0, 0]);
}

#[test]
fn heartbeats_share_their_account() {
    let (encoder, standing) = (Encoder::default(), Some(Arc::<Standing>::default()));
    let [first, second] = [1, 2].map(|sent| {
        let heartbeat = Heartbeat { incarnation: 1, sent, echo: None, epoch: None, standing: standing.clone() };
        encoder.encode(&Message::HeartbeatRequest(heartbeat)).unwrap()
    });
    assert_ne!(first[0], second[0]);
    assert!(!first[1].is_empty());
    assert_eq!(first[1].as_ptr(), second[1].as_ptr());
}

#[test]
fn node_id_zero_is_refused() {
    assert!(matches!(decode(&frame(VERSION, 7, &[1, 0, 3, 4, 0, 0])), Err(CodecError::Body { kind: 7, .. })));
}

#[test]
fn an_unknown_kind_is_an_error_now_and_passed_over_from_newer_versions() {
    assert!(matches!(decode(&frame(VERSION, 0, &[])), Err(CodecError::Kind(0))));
    assert!(matches!(decode(&frame(VERSION, 9, &[1, 2])), Err(CodecError::Kind(9))));
    assert_eq!(decode(&frame(VERSION + 1, 9, &[1, 2])).unwrap(), None);
    assert_eq!(decode(&frame(VERSION + 1, 7, &[1, 2, 3, 4, 0, 0])).unwrap(), Some(interrupt()));
    assert!(matches!(decode(&frame(0, 7, &[1, 2, 3, 4, 0, 0])), Err(CodecError::Version(0))));
}

#[test]
fn a_list_that_claims_more_than_the_body_holds_is_refused() {
    // A heartbeat without epoch whose list of jobs claims u64::MAX entries.
    let mut body = vec![0, 0, 253];
    body.extend([0xff; 8]);
    assert!(matches!(decode(&frame(VERSION, 1, &body)), Err(CodecError::Body { kind: 1, .. })));
}

#[test]
fn too_large_a_message_is_not_encoded() {
    let range = NonceRange::new(u64::MAX, u64::MAX);
    let finished = vec![Claim { job: JobId(u64::MAX), range, bits: ShareBits::MAX, shares: vec![] }; 3000];
    let epoch = Epoch { counter: 1, leader: NodeId::try_from(1).unwrap(), incarnation: 0 };
    let message = Message::ProcessRequest(ProcessRequest { epoch, rate: 0, held: vec![], finished });
    assert!(matches!(encode(&message), Err(CodecError::TooLarge(81_009..))));
}

#[test]
fn no_frame_is_longer_than_the_limit() {
    let body = vec![0; MAX_CONTENT - HEAD];
    assert!(matches!(
        decode(&frame(VERSION, 7, &body)),
        Err(CodecError::Rest { used: 4, .. } | CodecError::Body { .. })
    ));
    let body = vec![0; MAX_CONTENT - HEAD + 1];
    assert!(matches!(decode(&frame(VERSION, 7, &body)), Err(CodecError::Length { .. })));
}

#[test]
fn the_fullest_accounts_come_back() {
    let leader = NodeId::try_from(u32::MAX).unwrap();
    let epoch = Epoch { counter: u64::MAX, leader, incarnation: u64::MAX };
    let prev = Digest([0xff; 32]);
    let timestamp = "99999999999999999999".parse().unwrap();
    let puzzle = Puzzle::Text(TextPuzzle { prev, timestamp, hashing: Hashing::Double });
    let job = Job { height: u64::MAX, puzzle, target: Target::MAX, search: Search::First };
    // As much as the rules put into one: 64 jobs, 1,400 ranges of version-rolled nonces and 600 pieces, 16 solutions, 256 liars.
    let range = |at: u64| NonceRange::new((1 << 48) - 2 * at - 1, (1 << 48) - 2 * at);
    let mut done = vec![JobDone { job, ranges: vec![], pieces: vec![] }; 64];
    done[0].ranges = (0..1400).map(range).collect();
    done[0].pieces = (0..600).map(|at| (range(at), leader)).collect();
    let unsettled = vec![Unsettled { solution: Solution { job, nonce: u64::MAX }, found_by: leader }; 16];
    let standing =
        Some(Arc::new(Standing { word: u64::MAX, done, unsettled, distrusted: vec![(leader, u64::MAX); 256] }));
    let heartbeat =
        Heartbeat { incarnation: u64::MAX, sent: u64::MAX, echo: Some(u64::MAX), epoch: Some(epoch), standing };
    // 64 leases, 256 finished ranges, 2,400 shares.
    let claim = |shares| {
        let range = NonceRange::new(u64::MAX, u64::MAX);
        Claim { job: JobId(u64::MAX), range, bits: ShareBits::MAX, shares: vec![u64::MAX; shares] }
    };
    let held = vec![Held { epoch, lease: u64::MAX, searched: claim(0), rest: claim(0).range }; 64];
    let mut finished = vec![claim(0); 254];
    finished.extend([claim(1200), claim(1200)]);
    let request = ProcessRequest { epoch, rate: u64::MAX, held, finished };
    for message in [Message::HeartbeatRequest(heartbeat), Message::ProcessRequest(request)] {
        let frame = encode(&message).unwrap();
        assert_eq!(decode(&frame).unwrap(), Some(message), "{} bytes", frame.len());
    }
}
