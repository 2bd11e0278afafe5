//! What text peers say: a datagram a line.

use std::time::Duration;

use tokio::time::Instant;

use super::peer::Peer;
use super::words::{Dialect, Words};
use crate::cluster::{Assign, Lease, Message, Reign, Stamp};
use crate::work::fixtures::check_job;
use crate::work::{NonceRange, Run, Search, TextForm, UNIT, WitnessBits};

const HEARTBEAT: Duration = Duration::from_secs(5);

/// Whether a line is one of the exercise's messages. What was read can be written and read again; work is one nonce wider at each end then.
pub(crate) fn texts(bytes: &[u8]) -> bool {
    let (mut now, form) = (Instant::now(), TextForm::default());
    let mut peer = Peer::new(([127, 0, 0, 1], 6001).into(), Run(1), u32::MAX, now);
    let job = check_job(0, Search::First);
    let range = NonceRange::new(1, 1 + 7 * UNIT);
    let lease = Lease { number: 1, job: 0, range, bits: WitnessBits::for_range(UNIT) };
    let (reign, report) = (Reign { run: Run(2), number: 1 }, Stamp::default());
    let (current, taken, settled) = (None, vec![], vec![]);
    let (jobs, leases) = (vec![job], vec![lease]);
    let assign = Assign { reign, sequence: 1, report, current, jobs, leases, taken, settled };
    peer.tell(&Message::Process(assign), form, now);
    let mut is_taken = false;
    for line in bytes.split(|&byte| byte == b'\n').take(100) {
        now += HEARTBEAT / 3;
        let Ok(words) = Words::read(line, form) else { continue };
        is_taken = true;
        let text = words.write(Dialect::B, form).expect("a text in its own form");
        match (words, Words::read(text.as_bytes(), form).unwrap()) {
            (Words::Process(job, range), Words::Process(again, wider)) => {
                assert!(job == again && wider.covers(&range) && wider.len() <= range.len() + 2, "{text}");
            }
            (words, again) => assert_eq!(words, again),
        }
        let Ok(heard) = peer.hear(words, HEARTBEAT, now) else { continue };
        match heard.message {
            Some(Message::Process(assign)) => {
                assert!(assign.leases.iter().all(|lease| job.space().covers(&lease.range) && !lease.range.is_empty()));
            }
            Some(Message::ProcessAnswerNo(report) | Message::ProcessRequest(report)) => {
                assert!(report.progress.iter().all(|progress| (range.start..=range.end).contains(&progress.to)));
            }
            _ => {}
        }
    }
    is_taken
}
