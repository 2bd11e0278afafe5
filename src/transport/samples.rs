//! Messages for tests: any that there may be, and the fullest ones.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::cluster::{
    Assign, BodyId, BodyPart, BodyRequest, Current, Heartbeat, Leads, Lease, MAX_BLOCKS, MAX_BODY_PART, MAX_BRANCH,
    MAX_COINBASE, MAX_JOBS, MAX_LEASES, MAX_REPORTED_NAMES, MAX_REPORTED_SHARES, MAX_REPORTED_WITNESSES, Message,
    Progress, Reign, Report, Stamp,
};
use crate::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, Hashing, Header, HeaderPuzzle, Job, NonceRange,
    Puzzle, RoundId, Run, Search, Slot, Solution, SolutionId, Tag, Target, Template, TextPuzzle, WitnessBits,
};

/// A short message that is told from others by its number.
pub(super) fn numbered(sequence: u64) -> Message {
    let (reign, report) = (Reign { run: Run(1), number: 1 }, Stamp { run: Run(2), sent: 1 });
    let (jobs, leases, taken, settled) = (vec![], vec![], vec![], vec![]);
    Message::ProcessInterrupt(Assign { reign, sequence, report, current: None, jobs, leases, taken, settled })
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn hashings() -> impl Strategy<Value = Hashing> {
    prop_oneof![Just(Hashing::Single), Just(Hashing::Double)]
}

fn rounds() -> impl Strategy<Value = RoundId> {
    (any::<u64>(), digests(), any::<u64>())
        .prop_map(|(height, hash, generation)| RoundId { block: BlockId { height, hash }, generation })
}

fn goals() -> impl Strategy<Value = Goal> {
    (any::<[[u8; 32]; 2]>(), any::<bool>()).prop_map(|([block, report], every)| Goal {
        block: Target::from_be_bytes(block),
        report: Target::from_be_bytes(report),
        search: if every { Search::Every } else { Search::First },
    })
}

fn puzzles() -> impl Strategy<Value = Puzzle> {
    let text = (digests(), "[0-9]{1,20}", hashings()).prop_map(|(prev, timestamp, hashing)| {
        Puzzle::Text(TextPuzzle { prev, timestamp: timestamp.parse().unwrap(), hashing })
    });
    let header = (vec(any::<u8>(), 80), any::<u32>()).prop_map(|(bytes, version_mask)| {
        Puzzle::Header(HeaderPuzzle { header: Header::from_bytes(&bytes.try_into().unwrap()), version_mask })
    });
    prop_oneof![text, header]
}

fn jobs() -> impl Strategy<Value = Job> {
    (rounds(), goals(), puzzles(), any::<[u64; 3]>()).prop_map(|(round, goal, puzzle, [template, run, n])| Job {
        round,
        goal,
        puzzle,
        tag: Tag { template, slot: Slot { run: Run(run), n } },
    })
}

fn solutions() -> impl Strategy<Value = Solution> {
    (jobs(), any::<u64>()).prop_map(|(job, nonce)| Solution { job, nonce })
}

fn names() -> impl Strategy<Value = Vec<SolutionId>> {
    vec(any::<u64>().prop_map(SolutionId), 0..5)
}

fn blueprints() -> impl Strategy<Value = Blueprint> {
    let text = hashings().prop_map(|hashing| Blueprint::Text { hashing });
    let bytes = || vec(any::<u8>(), 0..100);
    let extranonce = prop_oneof![Just(Extranonce::Run), (1..=8_u8).prop_map(Extranonce::Counter)];
    let coinbase = (bytes(), extranonce, bytes())
        .prop_map(|(before, extranonce, after)| Arc::new(Coinbase { before, extranonce, after }));
    let time = any::<(i64, u32, u32)>().prop_map(|(ahead, min, max)| BlockTime { ahead, min, max });
    let header = (any::<[u32; 3]>(), time, coinbase, vec(digests(), 0..4)).prop_map(
        |([version, mask, bits], time, coinbase, branch)| Blueprint::Header {
            version,
            mask,
            bits,
            time,
            coinbase,
            branch: branch.into(),
        },
    );
    prop_oneof![text, header]
}

fn currents() -> impl Strategy<Value = Current> {
    let template = (rounds(), goals(), blueprints(), any::<u64>()).prop_map(|(round, goal, puzzle, tag)| Template {
        round,
        goal,
        puzzle,
        tag,
    });
    prop_oneof![template.prop_map(|template| Current::whole(&template)), rounds().prop_map(Current::Round)]
}

fn stamps() -> impl Strategy<Value = Stamp> {
    any::<(u64, u64)>().prop_map(|(run, sent)| Stamp { run: Run(run), sent })
}

fn reigns() -> impl Strategy<Value = Reign> {
    any::<(u64, u64)>().prop_map(|(run, number)| Reign { run: Run(run), number })
}

fn heartbeats() -> impl Strategy<Value = Heartbeat> {
    let leads = (any::<u64>(), option::of(currents()), vec(solutions(), 0..3))
        .prop_map(|(reign, current, blocks)| Leads { reign, current, blocks });
    let intervals = option::of(any::<Duration>());
    (stamps(), option::of(stamps()), intervals, option::of(leads))
        .prop_map(|(stamp, echo, interval, leads)| Heartbeat { stamp, echo, interval, leads })
}

fn reports() -> impl Strategy<Value = Report> {
    let progress = (any::<(u64, u64)>(), vec(any::<u64>(), 0..5)).prop_map(|((lease, to), witnesses)| Progress {
        lease,
        to,
        witnesses,
    });
    let shares = (vec(jobs(), 0..3), vec(any::<(u16, u64)>(), 0..5), names());
    let held = option::of((reigns(), any::<u64>()));
    (stamps(), held, any::<u64>(), vec(progress, 0..5), shares, vec(solutions(), 0..3)).prop_map(
        |(stamp, held, speed, progress, (jobs, shares, taken), blocks)| Report {
            stamp,
            held,
            speed,
            progress,
            jobs,
            shares,
            taken,
            blocks,
        },
    )
}

fn assigns() -> impl Strategy<Value = Assign> {
    let lease = (any::<(u64, u16, u64, u64)>(), 0..=64_u8).prop_map(|((number, job, start, end), bits)| Lease {
        number,
        job,
        range: NonceRange::new(start, end),
        bits: WitnessBits::new(bits).unwrap(),
    });
    let order = (reigns(), any::<u64>(), stamps());
    (order, option::of(currents()), vec(jobs(), 0..3), vec(lease, 0..5), names(), names()).prop_map(
        |((reign, sequence, report), current, jobs, leases, taken, settled)| Assign {
            reign,
            sequence,
            report,
            current,
            jobs,
            leases,
            taken,
            settled,
        },
    )
}

fn bodies() -> impl Strategy<Value = BodyId> {
    any::<(u64, u64)>().prop_map(|(run, template)| BodyId { run: Run(run), template })
}

pub(super) fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        heartbeats().prop_map(Message::HeartbeatRequest),
        (heartbeats(), option::of(reports())).prop_map(|(beat, report)| Message::HeartbeatReply(beat, report)),
        reports().prop_map(Message::ProcessRequest),
        assigns().prop_map(Message::Process),
        reports().prop_map(Message::ProcessAnswerNo),
        reports().prop_map(Message::ProcessAnswerYes),
        assigns().prop_map(Message::ProcessInterrupt),
        (heartbeats(), option::of(reports())).prop_map(|(beat, report)| Message::Leave(beat, report)),
        (bodies(), any::<u32>()).prop_map(|(body, start)| Message::BodyRequest(BodyRequest { body, start })),
        (bodies(), any::<(u32, u32, Vec<u8>)>())
            .prop_map(|(body, (size, start, bytes))| { Message::Body(BodyPart { body, size, start, bytes }) }),
    ]
}

// The following messages hold the numbers that take the most room.

const STAMP: Stamp = Stamp { run: Run(u64::MAX), sent: u64::MAX };
const REIGN: Reign = Reign { run: Run(u64::MAX), number: u64::MAX };
const ROUND: RoundId = RoundId { block: BlockId { height: u64::MAX, hash: Digest([0xff; 32]) }, generation: u64::MAX };
const GOAL: Goal = Goal { block: Target::MAX, report: Target::MAX, search: Search::Every };

/// The job of a share or a lease, as an index into the message's jobs.
const LAST_JOB: u16 = MAX_JOBS as u16 - 1;

fn fullest_job() -> Job {
    let header = Header::from_bytes(&[0xff; 80]);
    let tag = Tag { template: u64::MAX, slot: Slot { run: Run(u64::MAX), n: u64::MAX } };
    Job { round: ROUND, goal: GOAL, puzzle: Puzzle::Header(HeaderPuzzle { header, version_mask: u32::MAX }), tag }
}

fn fullest_blocks() -> Vec<Solution> {
    vec![Solution { job: fullest_job(), nonce: u64::MAX }; MAX_BLOCKS]
}

fn fullest_body() -> BodyPart {
    let body = BodyId { run: Run(u64::MAX), template: u64::MAX };
    BodyPart { body, size: u32::MAX, start: u32::MAX, bytes: vec![0xff; MAX_BODY_PART] }
}

/// The largest template that an assignment carries.
fn fullest_template() -> Option<Current> {
    let bytes = vec![0xff; MAX_COINBASE / 2];
    let puzzle = Blueprint::Header {
        version: u32::MAX,
        mask: u32::MAX,
        bits: u32::MAX,
        time: BlockTime { ahead: i64::MIN, min: u32::MAX, max: u32::MAX },
        coinbase: Arc::new(Coinbase { before: bytes.clone(), extranonce: Extranonce::Run, after: bytes }),
        branch: Arc::from([Digest([0xff; 32]); MAX_BRANCH]),
    };
    let current = Current::whole(&Template { round: ROUND, goal: GOAL, puzzle, tag: u64::MAX });
    assert!(matches!(current, Current::Header(_)));
    Some(current)
}

/// A text template: heartbeats carry no other.
fn fullest_current() -> Option<Current> {
    let puzzle = Blueprint::Text { hashing: Hashing::Double };
    Some(Current::Text(Template { round: ROUND, goal: GOAL, puzzle, tag: u64::MAX }))
}

fn fullest_heartbeat(leads: bool) -> Heartbeat {
    let leads = leads.then(|| Leads { reign: u64::MAX, current: fullest_current(), blocks: fullest_blocks() });
    Heartbeat { stamp: STAMP, echo: Some(STAMP), interval: Some(Duration::MAX), leads }
}

pub(super) fn fullest_report() -> Report {
    let mut progress = vec![Progress { lease: u64::MAX, to: u64::MAX, witnesses: vec![] }; MAX_LEASES];
    // The witnesses are spread in lists of 251, the shortest ones whose length takes more than a byte.
    let spread = 251;
    let mut rest = MAX_REPORTED_WITNESSES;
    for lease in &mut progress {
        lease.witnesses = vec![u64::MAX; rest.min(spread)];
        rest -= lease.witnesses.len();
    }
    assert_eq!(rest, 0);
    Report {
        stamp: STAMP,
        held: Some((REIGN, u64::MAX)),
        speed: u64::MAX,
        progress,
        jobs: vec![fullest_job(); MAX_JOBS],
        shares: vec![(LAST_JOB, u64::MAX); MAX_REPORTED_SHARES],
        taken: vec![SolutionId(u64::MAX); MAX_REPORTED_NAMES],
        blocks: fullest_blocks(),
    }
}

fn fullest_assign() -> Assign {
    let range = NonceRange::new(u64::MAX, u64::MAX);
    let lease = Lease { number: u64::MAX, job: LAST_JOB, range, bits: WitnessBits::MAX };
    let name = SolutionId(u64::MAX);
    Assign {
        reign: REIGN,
        sequence: u64::MAX,
        report: STAMP,
        current: fullest_template(),
        jobs: vec![fullest_job(); MAX_JOBS],
        leases: vec![lease; MAX_LEASES],
        // An assignment may answer whatever the report named.
        taken: vec![name; MAX_REPORTED_SHARES],
        settled: vec![name; MAX_REPORTED_SHARES + MAX_REPORTED_NAMES + MAX_BLOCKS],
    }
}

/// The fullest messages that the rules allow.
pub(super) fn fullest_messages() -> [Message; 5] {
    [
        Message::HeartbeatRequest(fullest_heartbeat(true)),
        Message::ProcessAnswerYes(fullest_report()),
        // A node that leads because its leader assigns nothing to it still reports to that leader.
        Message::HeartbeatReply(fullest_heartbeat(true), Some(fullest_report())),
        Message::Process(fullest_assign()),
        Message::Body(fullest_body()),
    ]
}
