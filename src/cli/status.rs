//! `headframe status`: the servers registered on this machine, and what each reports of itself.

use std::time::{Duration, SystemTime};

use super::run::since_1970;
use super::view::hash_rate;
use super::{Outcome, args, print, tell};
use crate::node::{Entry, Registry};

pub(super) fn run(args: &args::Status) -> anyhow::Result<Outcome> {
    let registry = Registry::open()?;
    let (servers, now) = (registry.servers()?, since_1970().as_secs());
    if servers.is_empty() {
        tell(format_args!(
            "no server runs on this machine, as far as the registry {} knows",
            registry.folder().display()
        ));
        return Ok(Outcome::Nothing);
    }
    if args.output.json {
        for entry in &servers {
            let mut line = serde_json::to_value(entry)?;
            if let Some(since) = entry.silent_since(now) {
                line["silent_since"] = since.into();
            }
            print(line)?;
        }
        return Ok(Outcome::Done);
    }
    print("  id  address                   pid  leader  block  zeros          rate  blocks  peers")?;
    for entry in &servers {
        print(row(entry, now))?;
    }
    for Entry { id, status, .. } in &servers {
        if let Some(status) = status {
            let choice = visible(&status.choice);
            print(format_args!("server {id}: {} threads, kernel {choice}", status.threads))?;
            for other in &status.distrusted {
                print(format_args!(
                    "server {id} does not believe server {other}, which showed too few witnesses: restart it"
                ))?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// The text with its control characters escaped: whoever writes an entry must not move the reader's cursor.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

fn row(entry: &Entry, now: u64) -> String {
    let Entry { id, address, pid, status, .. } = entry;
    let start = format!("{id:>4}  {address:<21}  {pid:>6}");
    if let Some(since) = entry.silent_since(now) {
        let since = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(since));
        return format!("{start}  silent since {since}: see whether it hangs or was paused");
    }
    let Some(status) = status else { return format!("{start}  starting") };
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let peers = match status.peers.is_empty() {
        true => "none".to_owned(),
        false => {
            status.peers.iter().map(|(id, state)| format!("{id} {}", visible(state))).collect::<Vec<_>>().join(", ")
        }
    };
    format!(
        "{start}  {:>6}  {:>5}  {:>5}  {:>12}  {:>6}  {peers}",
        or_dash(status.leader.map(|leader| leader.to_string())),
        or_dash(status.height.map(|height| (height + 1).to_string())),
        or_dash(status.zeros.map(|zeros| zeros.to_string())),
        hash_rate(status.hashes_per_second),
        status.blocks,
    )
}
