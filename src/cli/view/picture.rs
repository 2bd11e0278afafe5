//! The live picture at the bottom of a terminal: the cluster, then a line for each node in the order of their ids.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use console::{Term, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::cluster::{NodeId, PeerState};
use crate::node::{Event, Outcome};

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
    blocks: u64,
}

struct NodeLine {
    rate: f64,
    found: u64,
    state: &'static str,
}

impl Picture {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or(ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_secs(1));
        let _ = PICTURE.set(bar.clone());
        Self { bar, terminal: hush(), nodes: BTreeMap::new(), leader: None, height: 0, zeros: 0, blocks: 0 }
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
        let new = || NodeLine { rate: 0.0, found: 0, state: "starting" };
        match *event {
            Event::Started { node, .. } => self.nodes.entry(node).or_insert_with(new).state = "up",
            Event::Stopped { node } => {
                let line = self.nodes.entry(node).or_insert_with(new);
                (line.rate, line.state) = (0.0, "stopped");
            }
            Event::Rate { node, hashes_per_second, .. } => {
                self.nodes.entry(node).or_insert_with(new).rate = hashes_per_second;
            }
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
        let (rows, columns) = Term::stderr().size();
        self.bar.set_message(self.draw(rows.into(), columns.into()));
    }

    /// The picture in a window of so many rows and columns.
    fn draw(&self, rows: usize, columns: usize) -> String {
        let leader = self.leader.map_or("nobody yet".to_owned(), |leader| format!("node {leader}"));
        let (height, zeros, blocks) = (self.height.saturating_add(1), self.zeros, self.blocks);
        let total = hash_rate(self.nodes.values().map(|line| line.rate).sum());
        let mut lines =
            vec![format!("leader {leader} · searching block {height}, {zeros} zeros · {total} · {blocks} found")];
        // The picture leaves half of the window to the lines above it.
        let room = if rows < FEW_ROWS { 0 } else { rows / 2 - 1 };
        let shown = if self.nodes.len() > room { room.saturating_sub(1) } else { room };
        for (id, NodeLine { rate, found, state }) in self.nodes.iter().take(shown) {
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

/// A rate for people, in three digits or so.
pub(in crate::cli) fn hash_rate(rate: f64) -> String {
    match rate {
        rate if rate >= 1e9 => format!("{:.2} GH/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.1} MH/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} kH/s", rate / 1e3),
        rate => format!("{rate:.0} H/s"),
    }
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

    fn picture(nodes: u32) -> Picture {
        let mut picture = Picture {
            bar: ProgressBar::hidden(),
            terminal: None,
            nodes: BTreeMap::new(),
            leader: None,
            height: 6,
            zeros: 7,
            blocks: 0,
        };
        for id in (1..=nodes).rev() {
            let node = NodeId::try_from(id).unwrap();
            picture.update(&Event::Rate { node, hashes: 0, hashes_per_second: 2e6 });
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
