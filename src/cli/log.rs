//! Messages for the operator, on standard error.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use super::view;

/// What is logged unless `HEADFRAME_LOG` says otherwise: warnings, and Headframe's own notices.
const DEFAULT: &str = "warn,headframe=info";

/// Starts the log.
pub(super) fn start() {
    let asked = std::env::var("HEADFRAME_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(if asked.is_empty() { DEFAULT } else { &asked }).unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "headframe: HEADFRAME_LOG: expected a level like warn or debug: {error}");
        EnvFilter::new(DEFAULT)
    });
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(colour)
        .with_writer(|| view::BesideLive)
        .init();
}
