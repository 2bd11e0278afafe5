//! Messages for the operator, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::{usage, view};

/// The levels, from the quietest to the loudest.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts the log.
///
/// # Errors
/// `HEADFRAME_LOG` is none of the words that are accepted.
pub(super) fn start() -> anyhow::Result<()> {
    let asked = std::env::var("HEADFRAME_LOG").unwrap_or_default();
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives(&asked).map_err(usage)?))
        .with_target(false)
        .with_ansi(colour)
        .with_writer(|| view::BesidePicture)
        .init();
    Ok(())
}

/// What `HEADFRAME_LOG` asks for, as the filter takes it. A level alone is Headframe's own; libraries tell no more than warnings unless they
/// are named. What `h2` warns of, any client can cause, and the connection says it in Headframe's own words.
fn directives(asked: &str) -> Result<String, String> {
    let mut directives = vec!["warn".to_owned(), "h2=error".to_owned(), "headframe=info".to_owned()];
    for item in asked.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (target, level) = item.split_once('=').unwrap_or(("headframe", item));
        let Some(loudness) = LEVELS.iter().position(|known| known.eq_ignore_ascii_case(level)) else {
            let levels = LEVELS.join(", ");
            return Err(format!(
                "HEADFRAME_LOG: expected one of {levels}, or LIBRARY=LEVEL for a library, got {item:?}"
            ));
        };
        // Whoever wants less than warnings wants no more of libraries.
        if !item.contains('=') && loudness < 2 {
            directives.push(level.to_owned());
        }
        directives.push(format!("{target}={level}"));
    }
    Ok(directives.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_headframes_own() {
        assert_eq!(directives("").unwrap(), "warn,h2=error,headframe=info");
        assert_eq!(directives("debug").unwrap(), "warn,h2=error,headframe=info,headframe=debug");
        assert_eq!(directives(" error ,").unwrap(), "warn,h2=error,headframe=info,error,headframe=error");
        assert_eq!(directives("warn,quinn=trace").unwrap(), "warn,h2=error,headframe=info,headframe=warn,quinn=trace");
    }

    #[test]
    fn other_words_are_refused_with_those_that_are_accepted() {
        for wrong in ["wran", "headframe=loud", "2", "info;debug"] {
            let error = directives(wrong).unwrap_err();
            assert!(error.contains("off, error, warn, info, debug, trace") && error.contains(wrong), "{error}");
        }
    }
}
