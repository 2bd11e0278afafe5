//! Shows the events of nodes: JSON lines, plain lines, or lines above a live picture on a terminal.

mod amounts;
mod line;
mod picture;
mod summary;

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::{is_broken_pipe, print, run, tell};
use crate::node::{ShareCounts, ShareTally, TimedEvent};
pub(super) use amounts::{difficulty, hash_rate, luck, wait};
use line::{Level, Lines};
pub(super) use picture::BesidePicture;
use picture::Picture;
use summary::Summary;

/// Shows events.
pub(super) struct View {
    /// `None` for JSON.
    people: Option<ForPeople>,
    /// Standard output takes nothing at the moment, and the user knows.
    is_full: bool,
}

/// A line for each event that matters to a person.
struct ForPeople {
    lines: Lines,
    summary: Summary,
    /// On a terminal: the lines are cut short, and below them is the state of everything.
    picture: Option<Picture>,
}

impl ForPeople {
    /// A line with its time, which is since 1970.
    fn line(&self, at: Duration, level: Level, text: &str) -> String {
        if self.picture.is_some() { line::clocked(at, level, text) } else { line::stamped(at, level, text) }
    }
}

impl View {
    /// The view for this process: JSON if asked for, with a picture if both outputs are a terminal.
    pub(super) fn new(json: bool) -> Self {
        let is_live = io::stderr().is_terminal() && io::stdout().is_terminal();
        let people =
            || ForPeople { lines: Lines::default(), summary: Summary::default(), picture: is_live.then(Picture::new) };
        Self { people: (!json).then(people), is_full: false }
    }

    /// Shows one event.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn show(&mut self, timed: &TimedEvent) -> anyhow::Result<()> {
        let Some(people) = &mut self.people else { return self.write(serde_json::to_string(timed)?) };
        people.summary.note(timed);
        if let Some(picture) = &mut people.picture {
            picture.update(&timed.event);
        }
        let digits = if people.picture.is_some() { 16 } else { 64 };
        let Some((level, text)) = people.lines.text(&timed.event, digits) else { return Ok(()) };
        let line = people.line(Duration::from_micros(timed.at), level, &text);
        self.write(line)
    }

    /// Shows where the embedded block service answers.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn show_service(&mut self, address: std::net::SocketAddr) -> anyhow::Result<()> {
        let at = run::since_1970();
        let line = match &self.people {
            Some(people) => people.line(at, Level::Info, &format!("block service at http://{address}")),
            None => {
                let at = at.as_micros() as u64;
                serde_json::json!({"event": "service", "listen": address, "at": at}).to_string()
            }
        };
        self.write(line)
    }

    /// Removes the live picture, and sums up for people what was done.
    pub(super) fn end(&mut self) {
        let Some(people) = &mut self.people else { return };
        if let Some(picture) = &mut people.picture {
            picture.end();
        }
        let at = run::since_1970();
        let line = people.line(at, Level::Info, &people.summary.text(at));
        let _ = self.write(line); // nobody has to read it
    }

    /// Writes a line of data. Mining goes on where a full disk takes no more: the user is told so once.
    fn write(&mut self, line: String) -> anyhow::Result<()> {
        let result = match self.people.as_ref().and_then(|people| people.picture.as_ref()) {
            Some(picture) => picture.above(|| print(line)),
            None => print(line),
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

/// How a pool's shares ended, and the best one; nothing if there were none.
fn shares(tally: &ShareTally) -> Option<String> {
    let reasons = tally.reasons().iter().map(|(reason, count)| (reason.as_str(), *count));
    share_text(tally.counts(), reasons, tally.best())
}

/// The same from its parts, with control characters escaped: reasons are a pool's words.
pub(super) fn share_text<'a>(
    counts: ShareCounts,
    reasons: impl Iterator<Item = (&'a str, u64)>,
    best: Option<f64>,
) -> Option<String> {
    let ShareCounts { accepted, rejected, stale, lost } = counts;
    if counts == ShareCounts::default() {
        return None;
    }
    let s = if accepted == 1 { "" } else { "s" };
    let reasons: Vec<_> = reasons.map(|(reason, count)| format!("{} {count}", visible(reason))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let best = best.map(|best| format!(" · best {}", difficulty(best))).unwrap_or_default();
    Some(format!("{accepted} share{s} accepted, {stale} stale, {rejected} rejected{reasons}, {lost} lost{best}"))
}

/// The text with its control characters escaped: whoever writes it must not move the reader's cursor.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}
