//! Between the cluster's messages and the interface's.
//!
//! A message of the cluster comes back as it was.
//! What comes from the wire is checked as far as it has to be to be a message at all; the cluster's rules judge the rest.

use std::sync::Arc;
use std::time::Duration;

use super::MAX_MESSAGE;
use super::wire::{self, message::Content};
use crate::cluster::{
    Assign, BodyId, BodyPart, BodyRequest, Current, Heartbeat, Leads, Lease, Message, Progress, Reign, Report, Stamp,
};
use crate::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, Hashing, Header, HeaderPuzzle, Job, NonceRange,
    Puzzle, RoundId, Run, Search, Slot, Solution, SolutionId, Tag, Target, Template, TextPuzzle, TimestampError,
    WitnessBits, WitnessBitsError,
};

/// Why something is no message, in words for whoever writes a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConvertError {
    #[error("expected {0}, got none")]
    Missing(&'static str),
    #[error("expected {what} of {expected} bytes, got {got}")]
    Length { what: &'static str, expected: usize, got: usize },
    #[error("expected {what} of 1 or 2, got {got}")]
    Choice { what: &'static str, got: i32 },
    #[error("expected a job's place from 0 to 65535, got {0}")]
    Place(u32),
    #[error("expected 0 to 64 bits of a witness, got {0}")]
    Bits(u32),
    #[error("expected 0 to 999999999 nanoseconds, got {0}")]
    Nanoseconds(u32),
    #[error("{0}")]
    Witness(#[from] WitnessBitsError),
    #[error("{0}")]
    Timestamp(#[from] TimestampError),
    #[error("expected lists that take at most {MAX_MESSAGE} bytes of memory, got longer ones")]
    Room,
}

type Converted<T> = Result<T, ConvertError>;

/// A message for the wire.
pub(super) fn to_wire(message: Message) -> wire::Message {
    let content = match message {
        Message::HeartbeatRequest(beat) => {
            Content::HeartbeatRequest(wire::HeartbeatRequest { heartbeat: Some(beat.into()) })
        }
        Message::HeartbeatReply(beat, report) => Content::HeartbeatReply(wire::HeartbeatReply {
            heartbeat: Some(beat.into()),
            report: report.map(Into::into),
        }),
        Message::ProcessRequest(report) => {
            Content::ProcessRequest(wire::ProcessRequest { report: Some(report.into()) })
        }
        Message::Process(assign) => Content::Process(wire::Process { assignment: Some(assign.into()) }),
        Message::ProcessAnswerNo(report) => {
            Content::ProcessAnswerNo(wire::ProcessAnswerNo { report: Some(report.into()) })
        }
        Message::ProcessAnswerYes(report) => {
            Content::ProcessAnswerYes(wire::ProcessAnswerYes { report: Some(report.into()) })
        }
        Message::ProcessInterrupt(assign) => {
            Content::ProcessInterrupt(wire::ProcessInterrupt { assignment: Some(assign.into()) })
        }
        Message::Leave(beat, report) => {
            Content::Leave(wire::Leave { heartbeat: Some(beat.into()), report: report.map(Into::into) })
        }
        Message::BodyRequest(BodyRequest { body, start }) => {
            Content::BodyRequest(wire::BodyRequest { id: Some(body.into()), start })
        }
        Message::Body(BodyPart { body, size, start, bytes }) => {
            Content::Body(wire::Body { id: Some(body.into()), size, start, bytes })
        }
    };
    wire::Message { content: Some(content) }
}

/// A message from the wire, and whether its sender shows witnesses, if it says so; `None` for what a newer version of the interface may
/// know.
pub(super) fn from_wire(message: wire::Message) -> Converted<Option<(Message, Option<bool>)>> {
    let Some(content) = message.content else { return Ok(None) };
    let mut room = Room(MAX_MESSAGE);
    let shows = |report: &Option<wire::Report>| report.as_ref().map(|report| report.shows_witnesses);
    let (shows, message) = match content {
        Content::HeartbeatRequest(wire) => (None, Message::HeartbeatRequest(heartbeat(wire.heartbeat, &mut room)?)),
        Content::HeartbeatReply(wire) => {
            let (shows, beat) = (shows(&wire.report), heartbeat(wire.heartbeat, &mut room)?);
            (shows, Message::HeartbeatReply(beat, wire.report.map(|wire| report(Some(wire), &mut room)).transpose()?))
        }
        Content::ProcessRequest(wire) => {
            (shows(&wire.report), Message::ProcessRequest(report(wire.report, &mut room)?))
        }
        Content::Process(wire) => (None, Message::Process(assign(wire.assignment, &mut room)?)),
        Content::ProcessAnswerNo(wire) => {
            (shows(&wire.report), Message::ProcessAnswerNo(report(wire.report, &mut room)?))
        }
        Content::ProcessAnswerYes(wire) => {
            (shows(&wire.report), Message::ProcessAnswerYes(report(wire.report, &mut room)?))
        }
        Content::ProcessInterrupt(wire) => (None, Message::ProcessInterrupt(assign(wire.assignment, &mut room)?)),
        Content::Leave(wire) => {
            let (shows, beat) = (shows(&wire.report), heartbeat(wire.heartbeat, &mut room)?);
            (shows, Message::Leave(beat, wire.report.map(|wire| report(Some(wire), &mut room)).transpose()?))
        }
        Content::BodyRequest(wire::BodyRequest { id, start }) => {
            (None, Message::BodyRequest(BodyRequest { body: body(id)?, start }))
        }
        Content::Body(wire::Body { id, size, start, bytes }) => {
            (None, Message::Body(BodyPart { body: body(id)?, size, start, bytes }))
        }
    };
    Ok(Some((message, shows)))
}

/// The memory that a message's lists may still take. On the wire an element can be far smaller than in memory.
struct Room(usize);

impl Room {
    fn list<W, T>(&mut self, wire: Vec<W>, mut convert: impl FnMut(W, &mut Self) -> Converted<T>) -> Converted<Vec<T>> {
        let needed = wire.len().saturating_mul(size_of::<T>());
        self.0 = self.0.checked_sub(needed).ok_or(ConvertError::Room)?;
        wire.into_iter().map(|element| convert(element, self)).collect()
    }
}

// ---- to the wire

impl From<Stamp> for wire::Stamp {
    fn from(Stamp { run, sent }: Stamp) -> Self {
        Self { run: run.0, sent }
    }
}

impl From<Reign> for wire::Reign {
    fn from(Reign { run, number }: Reign) -> Self {
        Self { run: run.0, number }
    }
}

impl From<Heartbeat> for wire::Heartbeat {
    fn from(Heartbeat { stamp, echo, interval, leads }: Heartbeat) -> Self {
        Self {
            stamp: Some(stamp.into()),
            echo: echo.map(Into::into),
            leads: leads.map(Into::into),
            interval: interval.map(Into::into),
        }
    }
}

impl From<Duration> for wire::Interval {
    fn from(interval: Duration) -> Self {
        Self { seconds: interval.as_secs(), nanoseconds: interval.subsec_nanos() }
    }
}

impl From<Leads> for wire::Leads {
    fn from(Leads { reign, current, blocks }: Leads) -> Self {
        Self { reign, current: current.map(Into::into), blocks: all(blocks) }
    }
}

impl From<Current> for wire::Current {
    fn from(current: Current) -> Self {
        let content = match current {
            Current::Text(Template { round, goal, puzzle: Blueprint::Text { hashing }, tag }) => {
                let hashing = wire::Hashing::from(hashing).into();
                let template = wire::TextTemplate { round: Some(round.into()), goal: Some(goal.into()), hashing, tag };
                wire::current::Content::Text(template)
            }
            Current::Header(template) => match header_template(&template) {
                Some(template) => wire::current::Content::Header(template),
                None => wire::current::Content::Round(template.round.into()),
            },
            other => wire::current::Content::Round(other.round().into()),
        };
        Self { content: Some(content) }
    }
}

/// None for a template that is not told whole.
fn header_template(template: &Template) -> Option<wire::HeaderTemplate> {
    let Blueprint::Header { version, mask, bits, time, coinbase, branch } = &template.puzzle else { return None };
    if coinbase.extranonce != Extranonce::Run {
        return None;
    }
    Some(wire::HeaderTemplate {
        round: Some(template.round.into()),
        goal: Some(template.goal.into()),
        version: *version,
        version_mask: *mask,
        bits: *bits,
        min_time: time.min,
        max_time: time.max,
        clock_ahead: time.ahead,
        coinbase_before: coinbase.before.clone(),
        coinbase_after: coinbase.after.clone(),
        branch: branch.iter().map(|hash| hash.0.to_vec()).collect(),
        tag: template.tag,
    })
}

impl From<BodyId> for wire::BodyId {
    fn from(BodyId { run, template }: BodyId) -> Self {
        Self { run: run.0, template }
    }
}

/// Only Headframe's own reports are sent, and they show witnesses.
impl From<Report> for wire::Report {
    fn from(report: Report) -> Self {
        let Report { stamp, held, speed, progress, jobs, shares, taken, blocks } = report;
        Self {
            stamp: Some(stamp.into()),
            held: held.map(|(reign, sequence)| wire::Held { reign: Some(reign.into()), sequence }),
            speed,
            progress: all(progress),
            jobs: all(jobs),
            shares: shares.into_iter().map(|(job, nonce)| wire::Share { job: job.into(), nonce }).collect(),
            taken: numbers(taken),
            blocks: all(blocks),
            shows_witnesses: true,
        }
    }
}

impl From<Progress> for wire::Progress {
    fn from(Progress { lease, to, witnesses }: Progress) -> Self {
        Self { lease, to, witnesses }
    }
}

impl From<Assign> for wire::Assignment {
    fn from(assign: Assign) -> Self {
        let Assign { reign, sequence, report, current, jobs, leases, taken, settled } = assign;
        Self {
            reign: Some(reign.into()),
            sequence,
            report: Some(report.into()),
            current: current.map(Into::into),
            jobs: all(jobs),
            leases: all(leases),
            taken: numbers(taken),
            settled: numbers(settled),
        }
    }
}

impl From<Lease> for wire::Lease {
    fn from(Lease { number, job, range: NonceRange { start, end }, bits }: Lease) -> Self {
        Self { number, job: job.into(), start, end, witness_bits: u8::from(bits).into() }
    }
}

impl From<Job> for wire::Job {
    fn from(Job { round, goal, puzzle, tag }: Job) -> Self {
        let puzzle = match puzzle {
            Puzzle::Text(TextPuzzle { prev, timestamp, hashing }) => wire::job::Puzzle::Text(wire::TextPuzzle {
                previous_hash: prev.0.to_vec(),
                timestamp: timestamp.to_string(),
                hashing: wire::Hashing::from(hashing).into(),
            }),
            Puzzle::Header(HeaderPuzzle { header, version_mask }) => {
                wire::job::Puzzle::Header(wire::HeaderPuzzle { header: header.to_bytes().to_vec(), version_mask })
            }
        };
        Self {
            round: Some(Box::new(round.into())),
            goal: Some(Box::new(goal.into())),
            puzzle: Some(puzzle),
            tag: Some(Box::new(tag.into())),
        }
    }
}

impl From<RoundId> for wire::Round {
    fn from(RoundId { block: BlockId { height, hash }, generation }: RoundId) -> Self {
        Self { height, hash: hash.0.to_vec(), generation }
    }
}

impl From<Goal> for wire::Goal {
    fn from(Goal { block, report, search }: Goal) -> Self {
        let search = match search {
            Search::First => wire::Search::First,
            Search::Every => wire::Search::Every,
        };
        Self {
            block_target: block.to_be_bytes().to_vec(),
            report_target: report.to_be_bytes().to_vec(),
            search: search.into(),
        }
    }
}

impl From<Hashing> for wire::Hashing {
    fn from(hashing: Hashing) -> Self {
        match hashing {
            Hashing::Single => Self::Single,
            Hashing::Double => Self::Double,
        }
    }
}

impl From<Tag> for wire::Tag {
    fn from(Tag { template, slot: Slot { run, n } }: Tag) -> Self {
        Self { template, run: run.0, number: n }
    }
}

impl From<Solution> for wire::Solution {
    fn from(Solution { job, nonce }: Solution) -> Self {
        Self { job: Some(Box::new(job.into())), nonce }
    }
}

fn all<W: From<T>, T>(list: Vec<T>) -> Vec<W> {
    list.into_iter().map(W::from).collect()
}

fn numbers(names: Vec<SolutionId>) -> Vec<u64> {
    names.into_iter().map(|name| name.0).collect()
}

// ---- from the wire

fn heartbeat(wire: Option<wire::Heartbeat>, room: &mut Room) -> Converted<Heartbeat> {
    let wire = wire.ok_or(ConvertError::Missing("a heartbeat"))?;
    Ok(Heartbeat {
        stamp: stamp(wire.stamp)?,
        echo: wire.echo.map(|echo| stamp(Some(echo))).transpose()?,
        interval: wire.interval.map(interval).transpose()?,
        leads: wire.leads.map(|wire| leads(wire, room)).transpose()?,
    })
}

fn interval(wire::Interval { seconds, nanoseconds }: wire::Interval) -> Converted<Duration> {
    // More of them could make the seconds overflow.
    if nanoseconds > 999_999_999 {
        return Err(ConvertError::Nanoseconds(nanoseconds));
    }
    Ok(Duration::new(seconds, nanoseconds))
}

fn leads(wire: wire::Leads, room: &mut Room) -> Converted<Leads> {
    let current = wire.current.map(|wire| current(wire, room)).transpose()?.flatten();
    Ok(Leads { reign: wire.reign, current, blocks: room.list(wire.blocks, |wire, _| solution(wire))? })
}

fn report(wire: Option<wire::Report>, room: &mut Room) -> Converted<Report> {
    let wire = wire.ok_or(ConvertError::Missing("a report"))?;
    let held = |held: wire::Held| Ok::<_, ConvertError>((reign(held.reign)?, held.sequence));
    Ok(Report {
        stamp: stamp(wire.stamp)?,
        held: wire.held.map(held).transpose()?,
        speed: wire.speed,
        progress: room.list(wire.progress, |wire::Progress { lease, to, witnesses }, room| {
            Ok(Progress { lease, to, witnesses: room.list(witnesses, |nonce, _| Ok(nonce))? })
        })?,
        jobs: room.list(wire.jobs, |wire, _| job(wire))?,
        shares: room.list(wire.shares, |wire, _| Ok((place(wire.job)?, wire.nonce)))?,
        taken: room.list(wire.taken, |name, _| Ok(SolutionId(name)))?,
        blocks: room.list(wire.blocks, |wire, _| solution(wire))?,
    })
}

fn assign(wire: Option<wire::Assignment>, room: &mut Room) -> Converted<Assign> {
    let wire = wire.ok_or(ConvertError::Missing("an assignment"))?;
    Ok(Assign {
        reign: reign(wire.reign)?,
        sequence: wire.sequence,
        report: stamp(wire.report)?,
        current: wire.current.map(|wire| current(wire, room)).transpose()?.flatten(),
        jobs: room.list(wire.jobs, |wire, _| job(wire))?,
        leases: room.list(wire.leases, |wire, _| lease(wire))?,
        taken: room.list(wire.taken, |name, _| Ok(SolutionId(name)))?,
        settled: room.list(wire.settled, |name, _| Ok(SolutionId(name)))?,
    })
}

fn stamp(wire: Option<wire::Stamp>) -> Converted<Stamp> {
    let wire::Stamp { run, sent } = wire.ok_or(ConvertError::Missing("a stamp"))?;
    Ok(Stamp { run: Run(run), sent })
}

fn reign(wire: Option<wire::Reign>) -> Converted<Reign> {
    let wire::Reign { run, number } = wire.ok_or(ConvertError::Missing("a reign"))?;
    Ok(Reign { run: Run(run), number })
}

fn current(wire: wire::Current, room: &mut Room) -> Converted<Option<Current>> {
    let template = match wire.content {
        None => return Ok(None),
        Some(wire::current::Content::Round(wire)) => return Ok(Some(Current::Round(round(Some(wire))?))),
        Some(wire::current::Content::Header(wire)) => return Ok(Some(Current::Header(header(wire, room)?))),
        Some(wire::current::Content::Text(template)) => template,
    };
    let puzzle = Blueprint::Text { hashing: hashing(template.hashing)? };
    let (round, goal) = (round(template.round)?, goal(template.goal)?);
    Ok(Some(Current::Text(Template { round, goal, puzzle, tag: template.tag })))
}

fn header(wire: wire::HeaderTemplate, room: &mut Room) -> Converted<Template> {
    let branch = room.list(wire.branch, |hash, _| Ok(Digest(bytes("a branch's hash", &hash)?)))?;
    let (before, after) = (wire.coinbase_before, wire.coinbase_after);
    let puzzle = Blueprint::Header {
        version: wire.version,
        mask: wire.version_mask,
        bits: wire.bits,
        time: BlockTime { ahead: wire.clock_ahead, min: wire.min_time, max: wire.max_time },
        coinbase: Arc::new(Coinbase { before, extranonce: Extranonce::Run, after }),
        branch: branch.into(),
    };
    Ok(Template { round: round(wire.round)?, goal: goal(wire.goal)?, puzzle, tag: wire.tag })
}

fn body(wire: Option<wire::BodyId>) -> Converted<BodyId> {
    let wire::BodyId { run, template } = wire.ok_or(ConvertError::Missing("the name of a body"))?;
    Ok(BodyId { run: Run(run), template })
}

fn lease(wire: wire::Lease) -> Converted<Lease> {
    let bits = u8::try_from(wire.witness_bits).map_err(|_| ConvertError::Bits(wire.witness_bits))?;
    Ok(Lease {
        number: wire.number,
        job: place(wire.job)?,
        range: NonceRange::new(wire.start, wire.end),
        bits: WitnessBits::try_from(bits)?,
    })
}

fn job(wire: wire::Job) -> Converted<Job> {
    let puzzle = match wire.puzzle.ok_or(ConvertError::Missing("a job's puzzle"))? {
        wire::job::Puzzle::Text(text) => Puzzle::Text(TextPuzzle {
            prev: Digest(bytes("a previous hash", &text.previous_hash)?),
            timestamp: text.timestamp.parse()?,
            hashing: hashing(text.hashing)?,
        }),
        wire::job::Puzzle::Header(wire) => Puzzle::Header(HeaderPuzzle {
            header: Header::from_bytes(&bytes("a header", &wire.header)?),
            version_mask: wire.version_mask,
        }),
    };
    let tag = wire.tag.ok_or(ConvertError::Missing("a job's tag"))?;
    Ok(Job {
        round: round(wire.round.map(|wire| *wire))?,
        goal: goal(wire.goal.map(|wire| *wire))?,
        puzzle,
        tag: Tag { template: tag.template, slot: Slot { run: Run(tag.run), n: tag.number } },
    })
}

fn round(wire: Option<wire::Round>) -> Converted<RoundId> {
    let wire = wire.ok_or(ConvertError::Missing("a round"))?;
    let hash = Digest(bytes("a round's hash", &wire.hash)?);
    Ok(RoundId { block: BlockId { height: wire.height, hash }, generation: wire.generation })
}

fn goal(wire: Option<wire::Goal>) -> Converted<Goal> {
    let wire = wire.ok_or(ConvertError::Missing("a goal"))?;
    let search = match wire::Search::try_from(wire.search) {
        Ok(wire::Search::First) => Search::First,
        Ok(wire::Search::Every) => Search::Every,
        _ => return Err(ConvertError::Choice { what: "a goal's search", got: wire.search }),
    };
    Ok(Goal {
        block: Target::from_be_bytes(bytes("a block target", &wire.block_target)?),
        report: Target::from_be_bytes(bytes("a report target", &wire.report_target)?),
        search,
    })
}

fn hashing(wire: i32) -> Converted<Hashing> {
    match wire::Hashing::try_from(wire) {
        Ok(wire::Hashing::Single) => Ok(Hashing::Single),
        Ok(wire::Hashing::Double) => Ok(Hashing::Double),
        _ => Err(ConvertError::Choice { what: "a hashing", got: wire }),
    }
}

fn solution(wire: wire::Solution) -> Converted<Solution> {
    Ok(Solution { job: job(*wire.job.ok_or(ConvertError::Missing("a solution's job"))?)?, nonce: wire.nonce })
}

fn place(wire: u32) -> Converted<u16> {
    u16::try_from(wire).map_err(|_| ConvertError::Place(wire))
}

fn bytes<const N: usize>(what: &'static str, wire: &[u8]) -> Converted<[u8; N]> {
    wire.try_into().map_err(|_| ConvertError::Length { what, expected: N, got: wire.len() })
}

#[cfg(test)]
mod tests;
