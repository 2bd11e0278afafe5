//! Shows the events of nodes: JSON lines, plain lines, or a live picture on a terminal.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::print;
use super::run::since_1970;
use crate::cluster::{NodeId, PeerState};
use crate::node::{Event, Outcome, TimedEvent};

/// The lines of the live picture, if there is one; the log writes between them.
static LIVE: OnceLock<MultiProgress> = OnceLock::new();

/// The most redraws of the live picture in a second.
const REDRAWS_PER_SECOND: u8 = 8;

/// The ways to show events.
pub(super) enum View {
    /// One JSON object a line.
    Json,
    /// A line for each event that matters to a person.
    Plain,
    /// The same lines, and below them the state of everything.
    Live(Live),
}

impl View {
    /// The view for this process: JSON if asked for, live if both outputs are a terminal.
    pub(super) fn new(json: bool) -> Self {
        if json {
            Self::Json
        } else if io::stderr().is_terminal() && io::stdout().is_terminal() {
            Self::Live(Live::new())
        } else {
            Self::Plain
        }
    }

    /// Shows one event.
    pub(super) fn show(&mut self, timed: &TimedEvent) -> anyhow::Result<()> {
        let event = &timed.event;
        match self {
            Self::Json => print(serde_json::to_string(timed)?),
            Self::Plain => line(event, 64).map_or(Ok(()), print),
            Self::Live(live) => {
                live.update(event);
                match line(event, 16) {
                    Some(line) => live.lines.suspend(|| print(line)),
                    None => Ok(()),
                }
            }
        }
    }

    /// Shows where the embedded block service answers.
    pub(super) fn show_service(&mut self, address: std::net::SocketAddr) -> anyhow::Result<()> {
        match self {
            Self::Json => {
                let at = since_1970().as_micros() as u64;
                print(serde_json::json!({"event": "service", "listen": address, "at": at}))
            }
            Self::Plain | Self::Live(_) => print(format_args!("block service at http://{address}")),
        }
    }

    /// Removes the live picture.
    pub(super) fn end(&mut self) {
        if let Self::Live(live) = self {
            live.nodes.values().map(|line| &line.bar).chain([&live.cluster]).for_each(ProgressBar::finish_and_clear);
        }
    }
}

/// An event as a line for a person, if it matters to one, with the first `digits` digits of a hash.
fn line(event: &Event, digits: usize) -> Option<String> {
    match event {
        Event::Started { node, listen, kernel, threads, .. } => {
            let s = if *threads == 1 { "" } else { "s" };
            Some(format!("node {node} listens on {listen}, kernel {kernel}, {threads} thread{s}"))
        }
        Event::Peer { node, peer, state: PeerState::Down } => Some(format!("node {node}: node {peer} is down")),
        Event::Peer { node, peer, state: PeerState::Left } => Some(format!("node {node}: node {peer} has left")),
        Event::Leader { node, leader, epoch } if node == leader => Some(format!("node {leader} leads (epoch {epoch})")),
        Event::Block { height, hash, nonce, zeros, found_by, status, .. } => Some(match status {
            Outcome::Success => {
                let hash = &hash.to_string()[..digits];
                let more = if digits < 64 { "…" } else { "" };
                format!("block {height} found by node {found_by}: nonce {nonce}, {zeros} zeros, {hash}{more}")
            }
            Outcome::Stale => format!("block {height}: the solution of node {found_by} was stale"),
            Outcome::Wrong => format!("block {height}: the source calls the nonce {nonce} of node {found_by} wrong"),
            Outcome::Incomplete => {
                format!("block {height}: the source did not understand the solution of node {found_by}")
            }
        }),
        Event::Distrusted { node, peer } => Some(format!(
            "node {node}: node {peer} shows too few witnesses for what it claims to have searched; it gets no more work until it is restarted"
        )),
        Event::Refused { node, from, nonce } => {
            Some(format!("node {node}: node {from} claims that nonce {nonce} is a solution, and it is not"))
        }
        Event::Source { node, problem: Some(problem) } => {
            Some(format!("node {node}: the source gives no answer: {problem}"))
        }
        Event::Source { node, problem: None } => Some(format!("node {node}: the source answers again")),
        Event::Store { node, problem: Some(problem) } => {
            Some(format!("node {node}: the store cannot be written, it mines on without: {problem}"))
        }
        Event::Store { node, problem: None } => Some(format!("node {node}: the store can be written again")),
        _ => None,
    }
}

/// Lines at the bottom of the terminal: the cluster, then one for each node.
pub(super) struct Live {
    lines: MultiProgress,
    cluster: ProgressBar,
    nodes: BTreeMap<NodeId, NodeLine>,
    leader: Option<NodeId>,
    height: u64,
    zeros: u32,
    blocks: u64,
}

struct NodeLine {
    bar: ProgressBar,
    rate: f64,
    found: u64,
    state: &'static str,
}

impl Live {
    fn new() -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
        let _ = LIVE.set(lines.clone());
        let cluster = lines.add(plain_bar());
        cluster.enable_steady_tick(Duration::from_secs(1));
        Self { lines, cluster, nodes: BTreeMap::new(), leader: None, height: 0, zeros: 0, blocks: 0 }
    }

    fn node(&mut self, id: NodeId) -> &mut NodeLine {
        let lines = &self.lines;
        self.nodes.entry(id).or_insert_with(|| NodeLine {
            bar: lines.add(plain_bar()),
            rate: 0.0,
            found: 0,
            state: "starting",
        })
    }

    fn update(&mut self, event: &Event) {
        match *event {
            Event::Started { node, .. } => self.node(node).state = "up",
            Event::Stopped { node } => {
                let line = self.node(node);
                (line.rate, line.state) = (0.0, "stopped");
            }
            Event::Rate { node, hashes_per_second, .. } => self.node(node).rate = hashes_per_second,
            Event::Leader { leader, .. } => self.leader = Some(leader),
            Event::Job { height, zeros, .. } => (self.height, self.zeros) = (height, zeros),
            Event::Block { found_by, status: Outcome::Success, .. } => {
                self.blocks += 1;
                if let Some(line) = self.nodes.get_mut(&found_by) {
                    line.found += 1;
                }
            }
            Event::Peer { peer, state, .. } => {
                if let Some(line) = self.nodes.get_mut(&peer) {
                    line.state = match state {
                        PeerState::Unknown => "unknown",
                        PeerState::Alive => "up",
                        PeerState::Suspect => "late",
                        PeerState::Down => "down",
                        PeerState::Left => "left",
                    };
                }
            }
            _ => return,
        }
        let leader = self.leader.map_or("nobody yet".to_owned(), |leader| format!("node {leader}"));
        let (height, zeros, blocks) = (self.height + 1, self.zeros, self.blocks);
        let total = hash_rate(self.nodes.values().map(|line| line.rate).sum());
        self.cluster.set_message(format!(
            "leader {leader} · searching block {height}, {zeros} zeros · {total} · {blocks} found"
        ));
        for (id, NodeLine { bar, rate, found, state }) in &self.nodes {
            bar.set_message(format!("  node {id:<3} {state:<8} {:>12}  {found} found", hash_rate(*rate)));
        }
    }
}

fn plain_bar() -> ProgressBar {
    ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{msg}").unwrap_or(ProgressStyle::default_bar()))
}

/// A rate for people, in three digits or so.
pub(super) fn hash_rate(rate: f64) -> String {
    match rate {
        rate if rate >= 1e9 => format!("{:.2} GH/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.1} MH/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} kH/s", rate / 1e3),
        rate => format!("{rate:.0} H/s"),
    }
}

/// Standard error, without tearing the picture apart.
pub(super) struct BesideLive;

impl Write for BesideLive {
    // Writing is never an error: a log that nobody reads any more is no reason to stop, and the subscriber would panic on it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = match LIVE.get() {
            Some(lines) => lines.suspend(|| io::stderr().write_all(bytes)),
            None => io::stderr().write_all(bytes),
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
