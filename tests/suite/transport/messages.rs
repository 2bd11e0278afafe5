//! The messages that the checks send.

use std::time::Duration;

use headframe::cluster::{
    Assign, BodyId, BodyPart, BodyRequest, Current, Heartbeat, Leads, Lease, Message, NodeId, Progress, Reign, Report,
    Stamp,
};
use headframe::transport::codec;
use headframe::work::{
    Blueprint, Digest, Hashing, Job, NonceRange, Puzzle, Run, Search, Solution, SolutionId, Target, Template,
    TextPuzzle, WitnessBits,
};

pub(crate) fn id(id: u32) -> NodeId {
    NodeId::try_from(id).unwrap()
}

/// The reign of the assignments here.
pub(crate) const REIGN: Reign = Reign { run: Run(77), number: 3 };

/// The number of whatever is numbered here; the run is that of node 2's process.
pub(crate) fn stamp(sent: u64) -> Stamp {
    Stamp { run: Run(5), sent }
}

/// A job that every nonce solves.
pub(crate) fn job() -> Job {
    let puzzle =
        TextPuzzle { prev: Digest([0xab; 32]), timestamp: "1550766000000".parse().unwrap(), hashing: Hashing::Double };
    Job::new(Puzzle::Text(puzzle), Target::MAX, Search::First)
}

/// An assignment of nothing.
pub(crate) fn nothing(sequence: u64) -> Assign {
    let (jobs, leases, taken, settled) = (vec![], vec![], vec![], vec![]);
    Assign { reign: REIGN, sequence, report: stamp(1), current: None, jobs, leases, taken, settled }
}

/// An assignment of one range.
pub(crate) fn assign(sequence: u64, number: u64, range: NonceRange) -> Assign {
    let lease = Lease { number, job: 0, range, bits: WitnessBits::for_range(range.len()) };
    Assign { jobs: vec![job()], leases: vec![lease], ..nothing(sequence) }
}

/// A report of nothing.
pub(crate) fn report(sent: u64) -> Report {
    let (progress, jobs, shares, taken, blocks) = (vec![], vec![], vec![], vec![], vec![]);
    Report { stamp: stamp(sent), held: None, speed: 0, progress, jobs, shares, taken, blocks }
}

/// A short message that is told from others by its number.
pub(crate) fn numbered(sequence: u64) -> Message {
    Message::ProcessInterrupt(nothing(sequence))
}

/// One message of every kind, nothing in it empty.
pub(crate) fn every_kind() -> Vec<Message> {
    let solution = Solution { job: job(), nonce: 4711 };
    let template =
        Template { round: job().round, goal: job().goal, puzzle: Blueprint::Text { hashing: Hashing::Double }, tag: 8 };
    let current = Some(Current::Text(template));
    let leads = Leads { reign: 3, current: current.clone(), blocks: vec![solution] };
    let beat = Heartbeat {
        stamp: stamp(6),
        echo: Some(stamp(7)),
        interval: Some(Duration::from_millis(2500)),
        leads: Some(leads),
    };
    let report = Report {
        held: Some((REIGN, 8)),
        speed: 100_000_000,
        progress: vec![Progress { lease: 1, to: 50_000, witnesses: vec![5, 4711, 49_999] }],
        jobs: vec![job()],
        shares: vec![(0, 4712)],
        taken: vec![SolutionId(9)],
        blocks: vec![solution],
        ..report(6)
    };
    let process = Assign {
        current,
        taken: vec![solution.id()],
        settled: vec![SolutionId(10)],
        ..assign(9, 2, NonceRange::new(1, 100_001))
    };
    let interrupt = Assign { leases: vec![], ..process.clone() };
    vec![
        Message::HeartbeatRequest(beat.clone()),
        Message::HeartbeatReply(beat.clone(), Some(report.clone())),
        Message::ProcessRequest(report.clone()),
        Message::Process(process),
        Message::ProcessAnswerNo(report.clone()),
        Message::ProcessAnswerYes(report.clone()),
        Message::ProcessInterrupt(interrupt),
        Message::Leave(beat, Some(report)),
        Message::BodyRequest(BodyRequest { body: BODY, start: 60_000 }),
        Message::Body(BodyPart { body: BODY, size: 60_003, start: 60_000, bytes: vec![1, 2, 3] }),
    ]
}

const BODY: BodyId = BodyId { run: Run(5), template: 7 };

/// A message whose frame has exactly the largest size. Most of it are witnesses, which take as much room in memory as in a frame: the codec
/// bounds both.
pub(crate) fn largest() -> Message {
    let message = |wide: usize, narrow: usize| {
        let witnesses = [vec![u64::MAX; wide], vec![0; narrow]].concat();
        Message::ProcessRequest(Report { progress: vec![Progress { lease: 1, to: 0, witnesses }], ..report(1) })
    };
    // A witness takes 9 bytes or 1: some mix fits exactly.
    let sizes = (0..9).map(|narrow| {
        let room = codec::MAX_FRAME - codec::encode(&message(300, 0)).unwrap().len() - narrow;
        message(300 + room / 9, narrow)
    });
    sizes.into_iter().find(|message| codec::encode(message).unwrap().len() == codec::MAX_FRAME).unwrap()
}

/// A message that is too large for every transport: several times as large as the largest frame.
pub(crate) fn too_large() -> Message {
    let witnesses = vec![u64::MAX; codec::MAX_FRAME];
    Message::ProcessRequest(Report { progress: vec![Progress { lease: 1, to: 0, witnesses }], ..report(1) })
}
