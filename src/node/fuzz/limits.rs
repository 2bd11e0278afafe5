//! The limits of what a node says, whatever it has heard.

use crate::cluster::{
    Heartbeat, MAX_BLOCKS, MAX_BODY_PART, MAX_JOBS, MAX_LEASES, MAX_REPORTED_NAMES, MAX_REPORTED_SHARES,
    MAX_REPORTED_WITNESSES, Message, Report,
};
use crate::transport::codec;

/// The message fits a frame, and its lists are as short as the rules ask.
pub(super) fn check(message: &Message) {
    codec::encode(message).unwrap();
    let beat = |heartbeat: &Heartbeat| {
        assert!(heartbeat.leads.as_ref().is_none_or(|leads| leads.blocks.len() <= MAX_BLOCKS));
    };
    let tell = |report: &Report| {
        assert!(report.progress.len() <= MAX_LEASES && report.jobs.len() <= MAX_JOBS);
        assert!(report.shares.len() <= MAX_REPORTED_SHARES && report.taken.len() <= MAX_REPORTED_NAMES);
        assert!(report.blocks.len() <= MAX_BLOCKS);
        assert!(report.progress.iter().map(|lease| lease.witnesses.len()).sum::<usize>() <= MAX_REPORTED_WITNESSES);
    };
    match message {
        Message::HeartbeatRequest(heartbeat) => beat(heartbeat),
        Message::HeartbeatReply(heartbeat, report) | Message::Leave(heartbeat, report) => {
            beat(heartbeat);
            report.iter().for_each(tell);
        }
        Message::ProcessRequest(report) | Message::ProcessAnswerNo(report) | Message::ProcessAnswerYes(report) => {
            tell(report);
        }
        Message::BodyRequest(_) => {}
        Message::Body(part) => assert!(part.bytes.len() <= MAX_BODY_PART),
        Message::Process(assign) | Message::ProcessInterrupt(assign) => {
            assert!(assign.leases.len() <= MAX_LEASES && assign.jobs.len() <= MAX_JOBS);
        }
    }
}
