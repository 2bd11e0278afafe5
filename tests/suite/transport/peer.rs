//! A Headframe node in the part of another program: it says and hears the exercise's messages only.

use std::collections::VecDeque;

use headframe::cluster::{Assign, Heartbeat, Lease, Message, NodeId, Progress, Reign, Report, Stamp};
use headframe::transport::Transport;
use headframe::work::{Job, Puzzle, Run, Search, Solution, WitnessBits};

use super::dialect::{Dialect, Peer, Words};
use super::messages::{id, nothing, report};
use super::networks::{Network, introduce, member};

const RUN: Run = Run(9);

pub(crate) struct HeadframePeer {
    transport: Box<dyn Transport>,
    /// The node of ours that it knows.
    ours: NodeId,
    /// Counts what it sends.
    sent: u64,
    /// The heartbeat that it should answer.
    echo: Option<Stamp>,
    /// The work that it was given.
    held: Option<Assign>,
    heard: VecDeque<Words>,
}

impl HeadframePeer {
    fn new(transport: Box<dyn Transport>, ours: u32) -> Self {
        Self { transport, ours: id(ours), sent: 0, echo: None, held: None, heard: VecDeque::new() }
    }

    fn stamp(&mut self) -> Stamp {
        self.sent += 1;
        Stamp { run: RUN, sent: self.sent }
    }

    fn report(&mut self) -> Report {
        let held = self.held.as_ref().map(|held| (held.reign, held.sequence));
        Report { stamp: self.stamp(), held, ..report(0) }
    }

    fn assignment(&mut self) -> Assign {
        Assign { reign: Reign { run: RUN, number: 1 }, ..nothing(self.stamp().sent) }
    }

    /// The job and lease that it was given last.
    fn work(&self) -> (Job, Lease) {
        let held = self.held.as_ref().expect("to hold work");
        (held.jobs[0], held.leases[0])
    }

    fn message(&mut self, words: Words) -> Message {
        match words {
            Words::HeartbeatRequest => {
                Message::HeartbeatRequest(Heartbeat { stamp: self.stamp(), echo: None, interval: None, leads: None })
            }
            Words::HeartbeatReply => {
                let beat = Heartbeat { stamp: self.stamp(), echo: self.echo.take(), interval: None, leads: None };
                Message::HeartbeatReply(beat, None)
            }
            Words::ProcessRequest => Message::ProcessRequest(self.report()),
            Words::Process { puzzle, target, range } => {
                let job = Job::new(Puzzle::Text(puzzle), target, Search::First);
                let lease = Lease { number: self.sent, job: 0, range, bits: WitnessBits::for_range(range.len()) };
                Message::Process(Assign { jobs: vec![job], leases: vec![lease], ..self.assignment() })
            }
            Words::ProcessAnswerNo => {
                let (_, lease) = self.work();
                let searched = Progress { lease: lease.number, to: lease.range.end, witnesses: vec![] };
                Message::ProcessAnswerNo(Report { progress: vec![searched], ..self.report() })
            }
            Words::ProcessAnswerYes { nonce } => {
                let (job, _) = self.work();
                Message::ProcessAnswerYes(Report { blocks: vec![Solution { job, nonce }], ..self.report() })
            }
            Words::ProcessInterrupt => Message::ProcessInterrupt(self.assignment()),
        }
    }

    fn read(&mut self, message: Message) {
        match message {
            Message::HeartbeatRequest(beat) => {
                self.echo = Some(beat.stamp);
                self.heard.push_back(Words::HeartbeatRequest);
            }
            Message::HeartbeatReply(_, report) => {
                self.heard.push_back(Words::HeartbeatReply);
                self.heard.extend(report.map(|_| Words::ProcessRequest));
            }
            Message::ProcessRequest(_) => self.heard.push_back(Words::ProcessRequest),
            Message::Process(assign) => {
                for lease in &assign.leases {
                    let job = assign.jobs[usize::from(lease.job)];
                    let Puzzle::Text(puzzle) = job.puzzle else { panic!("expected a text, got {job:?}") };
                    self.heard.push_back(Words::Process { puzzle, target: job.target(), range: lease.range });
                }
                self.held = Some(assign);
            }
            Message::ProcessAnswerNo(_) => self.heard.push_back(Words::ProcessAnswerNo),
            Message::ProcessAnswerYes(report) => {
                self.heard.extend(report.blocks.iter().map(|block| Words::ProcessAnswerYes { nonce: block.nonce }));
            }
            Message::ProcessInterrupt(_) => {
                self.held = None;
                self.heard.push_back(Words::ProcessInterrupt);
            }
            Message::Leave(..) | Message::BodyRequest(_) | Message::Body(_) => {
                panic!("expected a message of the exercise, got {message:?}")
            }
        }
    }
}

impl Peer for HeadframePeer {
    async fn say(&mut self, words: Words) {
        let message = self.message(words);
        self.transport.send(self.ours, message);
    }

    async fn hear(&mut self) -> Words {
        loop {
            if let Some(words) = self.heard.pop_front() {
                return words;
            }
            let (from, message) = self.transport.recv().await.expect("an open transport");
            assert_eq!(from, self.ours);
            self.read(message);
        }
    }
}

impl Dialect for Network {
    type Peer = HeadframePeer;

    async fn start<const N: usize>(&self, ours: u32, others: [u32; N]) -> (Box<dyn Transport>, [HeadframePeer; N]) {
        let node = Network::start(self, ours).await;
        let mut peers = Vec::new();
        for other in others {
            peers.push((other, Network::start(self, other).await));
        }
        let mut all = vec![(ours, &*node)];
        all.extend(peers.iter().map(|(other, transport)| (*other, &**transport)));
        introduce(&all);
        let mut peers = peers.into_iter();
        let peers = std::array::from_fn(|_| HeadframePeer::new(peers.next().expect("one for each").1, ours));
        (node, peers)
    }

    /// In memory the network itself names the sender. Over QUIC and gRPC, an impostor has at best another cluster's certificate.
    async fn impostor(&self, claimed: u32, ours: (u32, &dyn Transport)) -> Option<HeadframePeer> {
        let others = match self {
            Self::Memory(_) => return None,
            Self::Quic(_) => Network::quic(),
            Self::Grpc(_) => Network::grpc(),
        };
        let transport = Network::start(&others, claimed).await;
        transport.set_peers(&[member(ours.0, ours.1.local_address())]);
        Some(HeadframePeer::new(transport, ours.0))
    }
}
