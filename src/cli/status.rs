//! `headframe status`: the servers registered on this machine, and what each reports of itself.

use std::io::{self, Write};

use super::view::hash_rate;
use super::{Outcome, args, print};
use crate::node::{Entry, Registry};

pub(super) fn run(args: &args::Status) -> anyhow::Result<Outcome> {
    let servers = Registry::open()?.servers()?;
    if args.output.json {
        for entry in &servers {
            print(serde_json::to_string(entry)?)?;
        }
        return Ok(Outcome::Done);
    }
    if servers.is_empty() {
        writeln!(io::stderr(), "no server runs on this machine")?;
        return Ok(Outcome::Done);
    }
    print("  id  address                   pid  leader  block  zeros          rate  blocks  peers")?;
    for entry in &servers {
        print(row(entry))?;
    }
    for Entry { id, status, .. } in &servers {
        if let Some(status) = status {
            print(format_args!("server {id}: {} threads, kernel {}", status.threads, status.choice))?;
            for other in &status.distrusted {
                print(format_args!(
                    "server {id} does not believe server {other}, which showed too few witnesses: restart it"
                ))?;
            }
        }
    }
    Ok(Outcome::Done)
}

fn row(Entry { id, address, pid, status, .. }: &Entry) -> String {
    let start = format!("{id:>4}  {address:<21}  {pid:>6}");
    let Some(status) = status else { return format!("{start}  starting") };
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let peers = match status.peers.is_empty() {
        true => "none".to_owned(),
        false => status.peers.iter().map(|(id, state)| format!("{id} {state}")).collect::<Vec<_>>().join(", "),
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
