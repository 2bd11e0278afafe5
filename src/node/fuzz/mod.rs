//! What other nodes say, and what a node finds in its store.

mod bytes;
mod limits;
mod world;

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use world::World;

use super::store::SolutionFile;
use crate::cluster::{Current, Heartbeat, Leads, Message, Progress, Reign, Report, Stamp};
use crate::transport::codec;
use crate::work::fixtures::{check_job, header};
use crate::work::{BlockId, Digest, Job, RoundId, Run, Search, Solution, Target};

/// A leader and a follower, to whom two peers say what can be decoded, while time goes on. Whether they search what a peer assigns.
pub(crate) fn clusters(bytes: &[u8]) -> bool {
    World::play(bytes, decoded).has_obeyed
}

/// The same with heartbeats whose numbers are at the edges. Whether a peer leads.
pub(crate) fn heartbeats(bytes: &[u8]) -> bool {
    World::play(bytes, heartbeat).has_followed
}

/// A frame's length in two bytes, then the rest of the frame.
fn decoded(bytes: &mut Bytes) -> Option<Message> {
    let length = usize::from(u16::from_le_bytes([bytes.byte(), bytes.byte()]));
    let content = bytes.take(length);
    let frame = [&(content.len() as u32).to_be_bytes()[..], content].concat();
    codec::decode(&frame).ok().flatten()
}

fn heartbeat(bytes: &mut Bytes) -> Option<Message> {
    let what = bytes.byte();
    let stamp = stamp(bytes);
    let echo = (what & 8 != 0).then(|| self::stamp(bytes));
    let leads = (what & 16 != 0).then(|| leads(bytes));
    let interval = (what & 64 != 0).then(|| Duration::from_millis(bytes.number()));
    let heartbeat = Heartbeat { stamp, echo, interval, leads };
    let report = (what & 32 != 0).then(|| report(bytes));
    Some(match what % 4 {
        0 | 1 => Message::HeartbeatReply(heartbeat, report),
        2 => Message::HeartbeatRequest(heartbeat),
        _ => Message::Leave(heartbeat, report),
    })
}

fn stamp(bytes: &mut Bytes) -> Stamp {
    Stamp { run: Run(bytes.number()), sent: bytes.number() }
}

fn leads(bytes: &mut Bytes) -> Leads {
    let current = Some(Current::Round(round(bytes)));
    Leads { reign: bytes.number(), current, blocks: solutions_of(bytes) }
}

fn report(bytes: &mut Bytes) -> Report {
    let progress = |bytes: &mut Bytes| Progress {
        lease: bytes.number(),
        to: bytes.number(),
        witnesses: bytes.list(Bytes::number),
    };
    Report {
        stamp: stamp(bytes),
        held: Some((Reign { run: Run(bytes.number()), number: bytes.number() }, bytes.number())),
        speed: bytes.number(),
        progress: bytes.list(progress),
        jobs: bytes.list(job),
        shares: bytes.list(|bytes| (bytes.number() as u16, bytes.number())),
        taken: vec![],
        blocks: solutions_of(bytes),
    }
}

fn round(bytes: &mut Bytes) -> RoundId {
    let hash = Digest([bytes.byte(); 32]);
    RoundId { block: BlockId { height: bytes.number(), hash }, generation: bytes.number() }
}

fn job(bytes: &mut Bytes) -> Job {
    let puzzle =
        if bytes.byte().is_multiple_of(2) { check_job(0, Search::First).puzzle } else { header(bytes.number() as u32) };
    let mut job = Job::new(puzzle, Target::MAX, Search::First);
    job.round = round(bytes);
    (job.tag.template, job.tag.slot.run, job.tag.slot.n) = (bytes.number(), Run(bytes.number()), bytes.number());
    job
}

fn solutions_of(bytes: &mut Bytes) -> Vec<Solution> {
    bytes.list(|bytes| Solution { job: job(bytes), nonce: bytes.number() })
}

/// A node's store: a whole file, or, where the input begins with a bracket, the solutions in one.
pub(crate) fn solutions(bytes: &[u8]) -> bool {
    let folder = crate::fuzz::folder();
    let path = folder.path().join("solutions");
    match bytes.first() {
        Some(b'[') => {
            let Ok(solutions) = serde_json::from_slice::<Vec<Solution>>(bytes) else { return false };
            let (file, _) = SolutionFile::open(&path).unwrap();
            file.replace(&solutions).unwrap();
        }
        _ => fs::write(&path, bytes).unwrap(),
    }
    let written = fs::read(&path).unwrap();
    let opened = SolutionFile::open(&path);
    assert_eq!(fs::read(&path).unwrap(), written, "it was left as it is");
    let Ok((file, solutions)) = opened else { return false };
    assert!(solutions.iter().all(|solution| solution.verify().is_some()));
    file.replace(&solutions).unwrap();
    drop(file);
    assert_eq!(SolutionFile::open(&path).unwrap().1, solutions);
    true
}
