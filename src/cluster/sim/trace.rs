//! What happened, line by line, for whoever replays a seed.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::super::NodeId;

/// The lines so far, if anybody wants them.
#[derive(Default)]
pub(super) struct Trace {
    lines: Option<String>,
}

impl Trace {
    pub(super) fn on() -> Self {
        Self { lines: Some(String::new()) }
    }

    pub(super) fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    pub(super) fn line(&mut self, now: Duration, node: NodeId, what: &dyn Display) {
        if let Some(lines) = &mut self.lines {
            writeln!(lines, "{:>11.6} {node:?} {what}", now.as_secs_f64()).unwrap();
        }
    }

    pub(super) fn take(&mut self) -> String {
        self.lines.take().unwrap_or_default()
    }
}
