//! The live picture at the bottom of a terminal: the cluster, then a line for each node in the order of their ids.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use console::{Term, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use super::amounts::{difficulty, hash_rate, luck, wait};
use super::shares;
use crate::cluster::{NodeId, PeerState};
use crate::node::{Event, Outcome, ShareTally};
use crate::work::Target;

/// The picture, if there is one; the log writes above it.
static PICTURE: OnceLock<ProgressBar> = OnceLock::new();

/// The most redraws in a second.
const REDRAWS_PER_SECOND: u8 = 8;

/// A window of fewer rows gets one line.
const FEW_ROWS: usize = 6;

pub(super) struct Picture {
    bar: ProgressBar,
    /// The terminal's settings before, if they were changed.
    terminal: Option<Termios>,
    nodes: BTreeMap<NodeId, NodeLine>,
    leader: Option<NodeId>,
    height: u64,
    zeros: u32,
    /// What a header has to meet to be reported, where headers are searched.
    difficulty: Option<f64>,
    /// What a block has to meet, once a job is known.
    block_difficulty: Option<f64>,
    blocks: u64,
    shares: ShareTally,
}

#[derive(Default)]
struct NodeLine {
    rate: f64,
    hashes: u64,
    /// What it has found, by how many hashes that takes on average.
    found_hashes: f64,
    found: u64,
    state: &'static str,
}

impl Picture {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or(ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_secs(1));
        let _ = PICTURE.set(bar.clone());
        Self::on(bar, hush())
    }

    fn on(bar: ProgressBar, terminal: Option<Termios>) -> Self {
        Self {
            bar,
            terminal,
            nodes: BTreeMap::new(),
            leader: None,
            height: 0,
            zeros: 0,
            difficulty: None,
            block_difficulty: None,
            blocks: 0,
            shares: ShareTally::default(),
        }
    }

    /// Does something that writes, without tearing the picture apart.
    pub(super) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    pub(super) fn end(&mut self) {
        self.bar.finish_and_clear();
        if let Some(before) = self.terminal.take() {
            let _ = tcsetattr(io::stderr(), OptionalActions::Now, &before);
        }
    }

    pub(super) fn update(&mut self, event: &Event) {
        let new = || NodeLine { state: "starting", ..NodeLine::default() };
        self.shares.note(event);
        match *event {
            Event::Started { node, .. } => self.nodes.entry(node).or_insert_with(new).state = "up",
            Event::Stopped { node } => {
                let line = self.nodes.entry(node).or_insert_with(new);
                (line.rate, line.state) = (0.0, "stopped");
            }
            Event::Rate { node, hashes, hashes_per_second, luck } => {
                let line = self.nodes.entry(node).or_insert_with(new);
                (line.rate, line.hashes) = (hashes_per_second, hashes);
                line.found_hashes = luck.unwrap_or_default() * hashes as f64;
            }
            Event::Leader { leader, .. } => self.leader = Some(leader),
            Event::Job { height, zeros, difficulty, block_difficulty, .. } => {
                (self.height, self.zeros) = (height, zeros);
                (self.difficulty, self.block_difficulty) = (difficulty, Some(block_difficulty));
            }
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
            Event::Share { .. } => {}
            _ => return,
        }
        let (rows, columns) = Term::stderr().size();
        self.bar.set_message(self.draw(rows.into(), columns.into()));
    }

    /// The picture in a window of so many rows and columns.
    fn draw(&self, rows: usize, columns: usize) -> String {
        let leader = self.leader.map_or("nobody yet".to_owned(), |leader| format!("node {leader}"));
        let (height, blocks) = (self.height.saturating_add(1), self.blocks);
        let rate = self.nodes.values().map(|line| line.rate).sum();
        let (wanted, total) = (self.wanted(), hash_rate(rate));
        let mut lines =
            vec![format!("leader {leader} · searching block {height}, {wanted} · {total} · {blocks} found")];
        // The picture leaves half of the window to the lines above it.
        let mut room = if rows < FEW_ROWS { 0 } else { rows / 2 - 1 };
        for line in [self.odds(rate), shares(&self.shares)].into_iter().flatten() {
            if room > 1 {
                lines.push(format!("  {line}"));
                room -= 1;
            }
        }
        let shown = if self.nodes.len() > room { room.saturating_sub(1) } else { room };
        for (id, NodeLine { rate, found, state, .. }) in self.nodes.iter().take(shown) {
            lines.push(format!("  node {id:<3} {state:<8} {:>12}  {found} found", hash_rate(*rate)));
        }
        if self.nodes.len() > room && room > 0 {
            lines.push(format!("  … and {} more", self.nodes.len() - shown));
        }
        // A full row would wrap in some terminals.
        let cut = |line: &String| truncate_str(line, columns.saturating_sub(1), "…").into_owned();
        lines.iter().map(cut).collect::<Vec<_>>().join("\n")
    }
}

impl Picture {
    /// What a hash has to meet. A header's zeros say little, so its difficulty stands in their place.
    fn wanted(&self) -> String {
        match (self.difficulty, self.block_difficulty) {
            (Some(share), Some(block)) if share != block => {
                format!("difficulty {} (block {})", difficulty(share), difficulty(block))
            }
            (Some(block), _) => format!("difficulty {}", difficulty(block)),
            (None, _) => format!("{} zeros", self.zeros),
        }
    }

    /// The luck so far, and how long a block takes; nothing before the first job, and without hashes.
    fn odds(&self, rate: f64) -> Option<String> {
        let block = self.block_difficulty?;
        let hashes: u64 = self.nodes.values().map(|line| line.hashes).sum();
        let found: f64 = self.nodes.values().map(|line| line.found_hashes).sum();
        let wait = wait(block * Target::HASHES_PER_DIFFICULTY / rate);
        (hashes > 0 && rate > 0.0)
            .then(|| format!("luck {} · a block in {wait} on average", luck(found / hashes as f64)))
    }
}

/// Has the terminal not show `^C`, which would move the picture. Gives the settings before; none if this process may not change them.
fn hush() -> Option<Termios> {
    // A process in the background that changes its terminal is stopped.
    if tcgetpgrp(io::stderr()).ok()? != getpgrp() {
        return None;
    }
    let before = tcgetattr(io::stderr()).ok()?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHOCTL);
    tcsetattr(io::stderr(), OptionalActions::Now, &quiet).ok()?;
    Some(before)
}

/// Standard error, above the picture.
pub(in crate::cli) struct BesidePicture;

impl Write for BesidePicture {
    // Writing is never an error: a log that nobody reads any more is no reason to stop, and the subscriber would panic on it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = match PICTURE.get() {
            Some(bar) => bar.suspend(|| io::stderr().write_all(bytes)),
            None => io::stderr().write_all(bytes),
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ShareOutcome;
    use crate::work::Digest;

    fn picture(nodes: u32) -> Picture {
        let mut picture = Picture { height: 6, zeros: 7, ..Picture::on(ProgressBar::hidden(), None) };
        for id in (1..=nodes).rev() {
            let node = NodeId::try_from(id).unwrap();
            picture.update(&Event::Rate { node, hashes: 0, hashes_per_second: 2e6, luck: None });
        }
        picture
    }

    #[test]
    fn nodes_stand_in_the_order_of_their_ids() {
        let drawn = picture(3).draw(24, 80);
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(lines[0], "leader nobody yet · searching block 7, 7 zeros · 6.0 MH/s · 0 found");
        assert_eq!(lines.len(), 4);
        assert!((1..=3).all(|id| lines[id].starts_with(&format!("  node {id}"))), "{drawn}");
    }

    #[test]
    fn a_pools_work_has_its_difficulty_its_shares_and_its_luck() {
        let mut picture = picture(2);
        let node = NodeId::try_from(1).unwrap();
        picture.update(&Event::Job {
            node,
            height: 7,
            prev: Digest([0; 32]),
            zeros: 9,
            timestamp: None,
            difficulty: Some(512.0),
            block_difficulty: 2.1e6,
        });
        let mut share = |status, reason: Option<&str>| {
            let (source, reason) = ("pool".to_owned(), reason.map(str::to_owned));
            picture.update(&Event::Share { node, source, status, reason, difficulty: 512.0, hash_difficulty: 1500.0 });
        };
        share(ShareOutcome::Accepted, None);
        share(ShareOutcome::Rejected, Some("low\u{1b}difficulty"));
        for (id, luck) in [(1, 1.5), (2, 0.5)] {
            let node = NodeId::try_from(id).unwrap();
            let hashes = if id == 1 { 3_000_000 } else { 1_000_000 };
            picture.update(&Event::Rate { node, hashes, hashes_per_second: 2e6, luck: Some(luck) });
        }
        let drawn = picture.draw(24, 100);
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(
            lines[0],
            "leader nobody yet · searching block 8, difficulty 512 (block 2.10M) · 4.0 MH/s · 0 found"
        );
        assert_eq!(lines[1], "  luck 125 % · a block in 71years 5months on average");
        assert_eq!(lines[2], "  1 share accepted, 0 stale, 1 rejected (low\\u{1b}difficulty 1), 0 lost · best 1.50k");
        assert_eq!(lines.len(), 5);
        assert_eq!(picture.draw(6, 100).lines().count(), 3, "half of the window");
    }

    #[test]
    fn what_a_window_has_no_room_for_is_left_out() {
        let drawn = picture(20).draw(12, 30);
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[5], "  … and 16 more");
        assert!(lines.iter().all(|line| line.chars().count() < 30), "{drawn}");
        assert!(lines[0].ends_with('…'));
        assert_eq!(picture(20).draw(4, 80).lines().count(), 1);
    }
}
