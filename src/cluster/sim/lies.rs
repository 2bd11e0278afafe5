//! A lying node: it speaks under its own id, since the transport sees to that, but says what is not so.

use std::time::Duration;

use fastrand::Rng;

use super::super::{
    Claim, Cluster, Epoch, Heartbeat, Message, NodeId, Process, ProcessAnswerNo, ProcessAnswerYes, ProcessInterrupt,
};
use crate::work::{NonceRange, ShareBits, Solution};

/// What a liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// Claims nonces that solve nothing.
    WrongNonce,
    /// Speaks as if it were the leader, or for another node's leases.
    OtherId,
    /// Says No without searching.
    Idle,
    /// Takes leases and searches none of them, nor says so.
    Hoard,
}

/// What a hoarder says instead of `message`: the lease that it should be at is always another one.
pub(in super::super) fn hoard(mut message: Message) -> Message {
    if let Message::ProcessRequest(request) | Message::HeartbeatReply(_, Some(request)) = &mut message
        && let Some(mut first) = request.held.first().cloned()
    {
        let none = NonceRange::new(first.rest.start, first.rest.start);
        (first.lease, first.searched.range, first.rest) = (0, none, none);
        first.searched.shares.clear();
        request.held.insert(0, first);
    }
    message
}

/// What it tells whom, besides what the rules say.
pub(super) fn lies(
    lie: Lie,
    now: Duration,
    incarnation: u64,
    cluster: &Cluster,
    rng: &mut Rng,
) -> Vec<(NodeId, Message)> {
    let (Some(epoch), Some(leader), Some(job)) = (cluster.epoch(), cluster.leader(), cluster.job().copied()) else {
        return vec![];
    };
    let others: Vec<_> = cluster.peers().map(|(id, _)| id).collect();
    let someone = if rng.bool() { leader } else { others[rng.usize(..others.len())] };
    let start = rng.u64(1..100_000);
    let range = NonceRange::new(start, start + rng.u64(1..5000));
    let bits = ShareBits::for_job(&job, range.len());
    match lie {
        Lie::Idle | Lie::Hoard => vec![],
        Lie::WrongNonce => {
            let wrong = (start..).find(|&nonce| job.check(nonce).is_none()).unwrap_or(start);
            vec![(
                leader,
                Message::ProcessAnswerYes(ProcessAnswerYes { epoch, solution: Solution { job, nonce: wrong } }),
            )]
        }
        Lie::OtherId => {
            let lease = (rng.u64(1..40)..).find(|&number| !cluster.worker().holds(epoch, number)).unwrap_or(1);
            let counter = epoch.counter + rng.u64(..12);
            // As the leader, or as if it led itself.
            let leader = if rng.bool() { leader } else { cluster.id() };
            let newer = Epoch { counter, leader, ..epoch };
            let heartbeat = Heartbeat {
                incarnation: if rng.bool() { incarnation } else { rng.u64(1..1000) },
                sent: 1_000_000 + now.as_millis() as u64, // newer than what it truly sends
                echo: Some(rng.u64(..100_000)),
                epoch: Some(newer),
                standing: rng.bool().then(Default::default),
            };
            let message = match rng.u32(..5) {
                0 => Message::Process(Process { epoch: newer, lease, round: rng.u64(..5), job, range, bits }),
                1 => Message::ProcessInterrupt(ProcessInterrupt {
                    epoch: newer,
                    round: rng.u64(..5),
                    settled: None,
                    void: vec![],
                }),
                2 => Message::HeartbeatRequest(heartbeat),
                3 => Message::HeartbeatReply(heartbeat, None),
                _ => {
                    let searched = Claim { job: job.id(), range, bits, shares: vec![] };
                    let no = ProcessAnswerNo { epoch, lease, searched, rate: 1000 };
                    return vec![(leader, Message::ProcessAnswerNo(no))];
                }
            };
            vec![(someone, message)]
        }
    }
}
