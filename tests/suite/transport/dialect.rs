//! The dialect part of the conformance suite: which facts survive where the other end is a program that speaks the exercise's messages only.
//!
//! A [`Peer`] is such a program. It says and hears [`Words`], which hold what the exercise puts into its messages and nothing more. A dialect is
//! a network that starts such programs beside one node of ours; it is added with a line `name = network;` to the list below. Between Headframe nodes all of
//! this holds anyway, and a node in the part of the other program shows that the checks can pass.

use headframe::cluster::{Assign, Heartbeat, Message, NodeId, Progress, Report};
use headframe::transport::Transport;
use headframe::work::{NonceRange, Puzzle, Solution, Target, TextPuzzle};

use super::messages::{REIGN, assign, id, job, nothing, report, stamp};
use super::networks::{next, silent, soon};

/// A message as the exercise has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    HeartbeatRequest,
    HeartbeatReply,
    ProcessRequest,
    Process { puzzle: TextPuzzle, target: Target, range: NonceRange },
    ProcessAnswerNo,
    ProcessAnswerYes { nonce: u64 },
    ProcessInterrupt,
}

/// Another program, which knows one node of ours.
pub(crate) trait Peer {
    async fn say(&mut self, words: Words);
    /// The next message that it gets.
    async fn hear(&mut self) -> Words;
}

/// Where another program is started.
pub(crate) trait Dialect {
    type Peer: Peer;

    /// Our node `ours`, and a program for each of `others`. They know each other.
    async fn start<const N: usize>(&self, ours: u32, others: [u32; N]) -> (Box<dyn Transport>, [Self::Peer; N]);

    /// A program that claims to be node `claimed` of those started before, and is not; `None` where nobody can claim that.
    async fn impostor(&self, claimed: u32, ours: (u32, &dyn Transport)) -> Option<Self::Peer>;
}

conformance! {
    memory = crate::transport::networks::Network::memory();
    quic = crate::transport::networks::Network::quic();
    grpc = crate::transport::networks::Network::grpc();
    udp_a = crate::transport::udp::Texts(headframe::transport::udp::Dialect::A);
    udp_b = crate::transport::udp::Texts(headframe::transport::udp::Dialect::B);
    => {
        a_heartbeat_is_answered_and_its_reply_echoes_it
        a_reply_may_ask_for_work
        a_lease_arrives_with_its_job_and_range
        a_no_is_credited_to_its_sender_and_lease
        a_yes_is_credited_to_its_sender_and_job
        an_interrupt_stops
        a_leaders_work_becomes_an_assignment
        our_answers_are_heard_by_a_leader
        nobody_is_heard_as_another
    }
}

const RANGE: NonceRange = NonceRange::new(100_001, 200_001);

/// What a peer hears of a lease of `range`.
fn process(range: NonceRange) -> Words {
    let Puzzle::Text(puzzle) = job().puzzle else { unreachable!("a text") };
    Words::Process { puzzle, target: job().target(), range }
}

/// Programs differ in whether a range's first and last nonce belong to it. A dialect sends one nonce more at each end.
fn covers(searched: NonceRange, leased: NonceRange) -> bool {
    let (before, after) = (leased.start.wrapping_sub(searched.start), searched.end.wrapping_sub(leased.end));
    before <= 1 && after <= 1
}

fn heartbeat(sent: u64) -> Heartbeat {
    Heartbeat { stamp: stamp(sent), echo: None, interval: None, leads: None }
}

async fn hear(peer: &mut impl Peer) -> Words {
    soon(peer.hear()).await
}

/// Leases a range to a peer and waits until the peer has heard of it.
async fn lease(ours: &dyn Transport, peer: (u32, &mut impl Peer), sequence: u64, number: u64, range: NonceRange) {
    ours.send(id(peer.0), Message::Process(assign(sequence, number, range)));
    let heard = hear(peer.1).await;
    let Words::Process { range: searched, .. } = heard else { panic!("expected work, heard {heard:?}") };
    assert_eq!(heard, process(searched));
    assert!(covers(searched, range), "expected {range:?}, heard {searched:?}");
}

/// How far a report says that a lease is searched.
fn progress_of(report: &Report, lease: u64) -> Option<u64> {
    report.progress.iter().find(|progress| progress.lease == lease).map(|progress| progress.to)
}

fn answer_no((from, message): (NodeId, Message)) -> (NodeId, Report) {
    match message {
        Message::ProcessAnswerNo(report) => (from, report),
        other => panic!("expected ProcessAnswerNo, got {other:?}"),
    }
}

async fn a_heartbeat_is_answered_and_its_reply_echoes_it(network: impl Dialect) {
    let (ours, [mut peer]) = network.start(1, [2]).await;
    let mut stamps = Vec::new();
    for sent in [3, 4] {
        ours.send(id(2), Message::HeartbeatRequest(heartbeat(sent)));
        assert_eq!(hear(&mut peer).await, Words::HeartbeatRequest);
        peer.say(Words::HeartbeatReply).await;
        match next(&*ours).await {
            (from, Message::HeartbeatReply(reply, _)) => {
                // The rules count an answer from the time of the request that it echoes.
                assert_eq!((from, reply.echo), (id(2), Some(stamp(sent))));
                stamps.push(reply.stamp);
            }
            other => panic!("expected a HeartbeatReply, got {other:?}"),
        }
        peer.say(Words::HeartbeatRequest).await;
        match next(&*ours).await {
            (from, Message::HeartbeatRequest(request)) => {
                assert_eq!(from, id(2));
                stamps.push(request.stamp);
                ours.send(
                    id(2),
                    Message::HeartbeatReply(Heartbeat { echo: Some(request.stamp), ..heartbeat(5) }, None),
                );
            }
            other => panic!("expected a HeartbeatRequest, got {other:?}"),
        }
        assert_eq!(hear(&mut peer).await, Words::HeartbeatReply);
    }
    // One process's messages are ordered by their number.
    assert!(stamps.is_sorted_by(|a, b| a.run == b.run && a.sent < b.sent), "{stamps:?}");
}

/// In the exercise a `ProcessRequest` travels with a `HeartbeatReply`.
async fn a_reply_may_ask_for_work(network: impl Dialect) {
    let (ours, [mut peer]) = network.start(2, [1]).await;
    peer.say(Words::HeartbeatRequest).await;
    let (_, Message::HeartbeatRequest(request)) = next(&*ours).await else { panic!("expected a HeartbeatRequest") };
    let reply = Heartbeat { echo: Some(request.stamp), ..heartbeat(3) };
    ours.send(id(1), Message::HeartbeatReply(reply, Some(report(4))));
    let heard = [hear(&mut peer).await, hear(&mut peer).await];
    assert!(heard.contains(&Words::HeartbeatReply) && heard.contains(&Words::ProcessRequest), "{heard:?}");
}

async fn a_lease_arrives_with_its_job_and_range(network: impl Dialect) {
    let (ours, [mut peer]) = network.start(1, [2]).await;
    peer.say(Words::ProcessRequest).await;
    let (from, message) = next(&*ours).await;
    assert!(from == id(2) && matches!(message, Message::ProcessRequest(_)), "{message:?} from {from}");
    lease(&*ours, (2, &mut peer), 1, 1, RANGE).await;
}

async fn a_no_is_credited_to_its_sender_and_lease(network: impl Dialect) {
    let (ours, [mut two, mut three]) = network.start(1, [2, 3]).await;
    let range = |n: u64| NonceRange::new(1 + n * 100_000, 1 + (n + 1) * 100_000);
    for turn in 0..2 {
        let (for_two, for_three) = (2 * turn, 2 * turn + 1);
        lease(&*ours, (2, &mut two), turn + 1, for_two, range(for_two)).await;
        lease(&*ours, (3, &mut three), turn + 1, for_three, range(for_three)).await;
        // Whoever was asked last answers first.
        three.say(Words::ProcessAnswerNo).await;
        let (from, report) = answer_no(next(&*ours).await);
        assert_eq!((from, progress_of(&report, for_three)), (id(3), Some(range(for_three).end)));
        assert_eq!(progress_of(&report, for_two), None);
        two.say(Words::ProcessAnswerNo).await;
        let (from, report) = answer_no(next(&*ours).await);
        assert_eq!((from, progress_of(&report, for_two)), (id(2), Some(range(for_two).end)));
        assert_eq!(report.held, Some((REIGN, turn + 1)));
    }
}

async fn a_yes_is_credited_to_its_sender_and_job(network: impl Dialect) {
    let (ours, [mut peer]) = network.start(1, [2]).await;
    lease(&*ours, (2, &mut peer), 1, 1, RANGE).await;
    peer.say(Words::ProcessAnswerYes { nonce: 123_456 }).await;
    match next(&*ours).await {
        (from, Message::ProcessAnswerYes(report)) => {
            assert_eq!((from, report.blocks), (id(2), vec![Solution { job: job(), nonce: 123_456 }]));
        }
        other => panic!("expected ProcessAnswerYes, got {other:?}"),
    }
}

async fn an_interrupt_stops(network: impl Dialect) {
    let (ours, [mut peer]) = network.start(1, [2]).await;
    lease(&*ours, (2, &mut peer), 1, 1, RANGE).await;
    ours.send(id(2), Message::ProcessInterrupt(nothing(2)));
    assert_eq!(hear(&mut peer).await, Words::ProcessInterrupt);
}

async fn a_leaders_work_becomes_an_assignment(network: impl Dialect) {
    let (ours, [mut peer]) = network.start(2, [1]).await;
    let mut reigns = Vec::new();
    let arrived = |(from, message): (NodeId, Message)| match message {
        Message::Process(assign) | Message::ProcessInterrupt(assign) if from == id(1) => assign,
        other => panic!("expected an assignment of node 1, got {other:?} from {from}"),
    };
    for turn in 0..2 {
        peer.say(process(RANGE)).await;
        let assign: Assign = arrived(next(&*ours).await);
        let [lease] = assign.leases[..] else { panic!("expected one lease, got {:?}", assign.leases) };
        assert!(covers(lease.range, RANGE), "expected {RANGE:?}, got {:?}", lease.range);
        let leased = assign.jobs[usize::from(lease.job)];
        assert_eq!((leased.puzzle, leased.target()), (job().puzzle, job().target()), "in turn {turn}");
        reigns.push((assign.reign, assign.sequence));
        peer.say(Words::ProcessInterrupt).await;
        let assign = arrived(next(&*ours).await);
        assert_eq!(assign.leases, []);
        reigns.push((assign.reign, assign.sequence));
    }
    // Our rules obey the newest of a reign only.
    assert!(reigns.is_sorted_by(|a, b| a.0 == b.0 && a.1 < b.1), "{reigns:?}");
}

async fn our_answers_are_heard_by_a_leader(network: impl Dialect) {
    let (ours, [mut peer]) = network.start(2, [1]).await;
    ours.send(id(1), Message::ProcessRequest(report(1)));
    assert_eq!(hear(&mut peer).await, Words::ProcessRequest);
    peer.say(process(RANGE)).await;
    let (_, Message::Process(assign)) = next(&*ours).await else { panic!("expected an assignment") };
    let (held, lease) = (Some((assign.reign, assign.sequence)), assign.leases[0]);
    let searched = Progress { lease: lease.number, to: lease.range.end, witnesses: vec![] };
    let block = Solution { job: assign.jobs[0], nonce: 123_456 };
    let yes = Report { held, blocks: vec![block], ..report(2) };
    ours.send(id(1), Message::ProcessAnswerYes(yes));
    assert_eq!(hear(&mut peer).await, Words::ProcessAnswerYes { nonce: 123_456 });
    ours.send(id(1), Message::ProcessAnswerNo(Report { held, progress: vec![searched], ..report(3) }));
    assert_eq!(hear(&mut peer).await, Words::ProcessAnswerNo);
}

async fn nobody_is_heard_as_another(network: impl Dialect) {
    let (ours, [mut peer]) = network.start(1, [2]).await;
    let Some(mut impostor) = network.impostor(2, (1, &*ours)).await else {
        return eprintln!("skipped: here nobody can claim to be another");
    };
    for _ in 0..3 {
        impostor.say(Words::HeartbeatRequest).await;
    }
    silent(&*ours).await;
    peer.say(Words::HeartbeatRequest).await;
    let (from, message) = next(&*ours).await;
    assert!(from == id(2) && matches!(message, Message::HeartbeatRequest(_)), "{message:?} from {from}");
}
