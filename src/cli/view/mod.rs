//! Shows the events of nodes: JSON lines, plain lines, or lines above a live picture on a terminal.

mod line;
mod picture;
mod summary;

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::{is_broken_pipe, print, run, tell};
use crate::node::TimedEvent;
use line::Lines;
use picture::Picture;
pub(super) use picture::{BesidePicture, hash_rate};
use summary::Summary;

/// Shows events.
pub(super) struct View {
    way: Way,
    /// Standard output takes nothing at the moment, and the user knows.
    is_full: bool,
}

/// The ways to show events.
enum Way {
    /// One JSON object a line.
    Json,
    /// A line for each event that matters to a person.
    Plain(Lines, Summary),
    /// The same lines, cut short, and below them the state of everything.
    Live(Lines, Summary, Picture),
}

impl View {
    /// The view for this process: JSON if asked for, live if both outputs are a terminal.
    pub(super) fn new(json: bool) -> Self {
        let way = if json {
            Way::Json
        } else if io::stderr().is_terminal() && io::stdout().is_terminal() {
            Way::Live(Lines::default(), Summary::default(), Picture::new())
        } else {
            Way::Plain(Lines::default(), Summary::default())
        };
        Self { way, is_full: false }
    }

    /// Shows one event.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn show(&mut self, timed: &TimedEvent) -> anyhow::Result<()> {
        let at = Duration::from_micros(timed.at);
        match &mut self.way {
            Way::Json => {
                let line = serde_json::to_string(timed)?;
                self.write(line)
            }
            Way::Plain(lines, summary) => {
                summary.note(timed);
                let text = lines.text(&timed.event, 64);
                text.map_or(Ok(()), |(level, text)| self.write(line::stamped(at, level, &text)))
            }
            Way::Live(lines, summary, picture) => {
                summary.note(timed);
                picture.update(&timed.event);
                let text = lines.text(&timed.event, 16);
                text.map_or(Ok(()), |(level, text)| self.write(line::clocked(at, level, &text)))
            }
        }
    }

    /// Shows where the embedded block service answers.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn show_service(&mut self, address: std::net::SocketAddr) -> anyhow::Result<()> {
        let at = run::since_1970();
        let text = format!("block service at http://{address}");
        match self.way {
            Way::Json => {
                let at = at.as_micros() as u64;
                self.write(serde_json::json!({"event": "service", "listen": address, "at": at}).to_string())
            }
            Way::Plain(..) => self.write(line::stamped(at, line::Level::Info, &text)),
            Way::Live(..) => self.write(line::clocked(at, line::Level::Info, &text)),
        }
    }

    /// Removes the live picture, and sums up for people what was done.
    pub(super) fn end(&mut self) {
        let at = run::since_1970();
        let line = match &mut self.way {
            Way::Json => return,
            Way::Plain(_, summary) => line::stamped(at, line::Level::Info, &summary.text(at)),
            Way::Live(_, summary, picture) => {
                picture.end();
                line::clocked(at, line::Level::Info, &summary.text(at))
            }
        };
        let _ = self.write(line); // nobody has to read it
    }

    /// Writes a line of data. Mining goes on where a full disk takes no more: the user is told so once.
    fn write(&mut self, line: String) -> anyhow::Result<()> {
        let result = match &self.way {
            Way::Live(_, _, picture) => picture.above(|| print(line)),
            _ => print(line),
        };
        match result {
            Err(error) if is_broken_pipe(&error) => return Err(error),
            Err(error) if !self.is_full => {
                tell(format_args!("{error:#}; events are lost until it can be written again"));
                self.is_full = true;
            }
            Err(_) => {}
            Ok(()) => self.is_full = false,
        }
        Ok(())
    }
}
