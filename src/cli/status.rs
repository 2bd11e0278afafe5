//! `headframe status`: the servers registered on this machine, and what each reports of itself.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::affinity::list;
use super::run::since_1970;
use super::view::{difficulty, hash_rate, luck, share_text, visible, wait};
use super::{Outcome, args, print, tell};
use crate::cluster::NodeId;
use crate::node::{Entry, Registry, RegistryError, Status};
use crate::work::Target;

/// The last second of the year 9999, in seconds since 1970: no later time can be written.
const LAST_SECOND: u64 = 253_402_300_799;

pub(super) fn run(args: &args::Status) -> anyhow::Result<Outcome> {
    let registry = match Registry::open() {
        // Without the folder no server is registered in it, whether or not it could be made.
        Err(RegistryError::Io { path, .. }) if path.try_exists().is_ok_and(|is_there| !is_there) => {
            return Ok(nobody(&path));
        }
        opened => opened?,
    };
    let (servers, now) = (registry.servers()?, since_1970().as_secs());
    if servers.is_empty() {
        return Ok(nobody(registry.folder()));
    }
    if args.output.json {
        for entry in &servers {
            print(json(entry, now)?)?;
        }
        return Ok(Outcome::Done);
    }
    print("  id  address                   pid  leader  block  zeros          rate  blocks  peers")?;
    for entry in &servers {
        print(row(entry, now))?;
    }
    for Entry { id, status, cpus, .. } in &servers {
        if let Some(status) = status {
            let choice = visible(&status.choice);
            let cpus = if cpus.is_empty() { String::new() } else { format!(" on CPU {}", list(cpus)) };
            print(format_args!("server {id}: {} threads{cpus}, kernel {choice}", status.threads))?;
            for line in work(*id, status, cluster_rate(&servers, status, now)) {
                print(format_args!("server {id}: {line}"))?;
            }
            if let Some(ends) = status.certificate_ends {
                print(format_args!("server {id}: {}", certificate(*id, ends, now)))?;
            }
            for other in &status.distrusted {
                print(format_args!(
                    "server {id} does not believe server {other}, which showed too few witnesses: restart it"
                ))?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// The hash rate of those servers that follow the same leader and are not silent.
fn cluster_rate(servers: &[Entry], of: &Status, now: u64) -> f64 {
    let live = servers.iter().filter(|entry| entry.silent_since(now).is_none());
    let statuses = live.filter_map(|entry| entry.status.as_ref()).filter(|status| status.leader == of.leader);
    statuses.map(|status| status.hashes_per_second).sum()
}

/// What server `id` reports of its source, its work and its shares. `rate` is that of its cluster, as far as it runs on this machine.
fn work(id: NodeId, status: &Status, rate: f64) -> Vec<String> {
    let mut lines = Vec::new();
    let problem = status.source_problem.as_deref().map(visible);
    lines.extend(match (status.source.as_deref().map(visible), problem) {
        (Some(source), None) => Some(format!("source {source}")),
        (Some(source), Some(problem)) => Some(format!("source {source}, but: {problem}")),
        (None, Some(problem)) => Some(format!("no source answers: {problem}")),
        (None, None) => None, // it does not lead, and needs none
    });
    if let Some(report) = status.difficulty {
        let block = status.block_difficulty.filter(|block| *block != report);
        let block = block.map(|block| format!(", of a block {}", difficulty(block))).unwrap_or_default();
        lines.push(format!("difficulty {}{block}", difficulty(report)));
    }
    // A node that has found nothing so far, as most, has no luck to tell of.
    let odds = status.luck.filter(|of| *of > 0.0).map(|of| format!("luck {}", luck(of)));
    let block = status.block_difficulty.filter(|_| status.leader == Some(id) && rate > 0.0);
    let block = block.map(|block| wait(block * Target::HASHES_PER_DIFFICULTY / rate));
    let block = block.map(|wait| format!("a block in {wait} on average, by the {} shown here", hash_rate(rate)));
    let both: Vec<_> = odds.into_iter().chain(block).collect();
    lines.extend((!both.is_empty()).then(|| both.join("; ")));
    let reasons = status.rejections.iter().map(|(reason, count)| (reason.as_str(), *count));
    lines.extend(share_text(status.shares, reasons, status.best_share));
    lines
}

/// When the certificate of server `id` ends, and what to do if that is within a month; both times are in seconds since 1970.
fn certificate(id: NodeId, ends: u64, now: u64) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(ends.min(LAST_SECOND));
    let (time, days) = (humantime::format_rfc3339_seconds(end), ends.saturating_sub(now) / DAY);
    let cure = match days {
        0..30 => format!(": run `headframe certs --renew {id}` where the CA's key is"),
        _ => String::new(),
    };
    format!("its certificate ends at {time}, in {days} days{cure}")
}

/// Tells that no server runs, and where that was looked up.
fn nobody(folder: &Path) -> Outcome {
    tell(format_args!("no server runs on this machine, as far as the registry {} knows", folder.display()));
    Outcome::Nothing
}

/// The entry as a line of JSON. A silent server has the time since when, and no rate. Control characters are escaped, also those that JSON
/// allows: they could only be inside of strings.
pub(super) fn json(entry: &Entry, now: u64) -> serde_json::Result<String> {
    let mut line = serde_json::to_value(entry)?;
    if let Some(since) = entry.silent_since(now) {
        line["silent_since"] = since.into();
        if let Some(rate) = line.pointer_mut("/status/hashes_per_second") {
            rate.take();
        }
    }
    let escaped = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Ok(line.to_string().chars().map(escaped).collect())
}

pub(super) fn row(entry: &Entry, now: u64) -> String {
    let Entry { id, address, pid, status, .. } = entry;
    let start = format!("{id:>4}  {address:<21}  {pid:>6}");
    if let Some(since) = entry.silent_since(now) {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(since.min(LAST_SECOND));
        let since = humantime::format_rfc3339_seconds(since);
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
        or_dash(status.height.map(|height| height.saturating_add(1).to_string())),
        or_dash(status.zeros.map(|zeros| zeros.to_string())),
        hash_rate(status.hashes_per_second),
        status.blocks,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with a heartbeat of a second, whose status is of second 100 and full of control characters.
    fn entry() -> Entry {
        serde_json::from_str(
            r#"{"id":1,"address":"127.0.0.1:7701","pid":5,"since":90,"status":{"leader":1,"epoch":1,"height":7,"zeros":6,
                "kernel":"portable","choice":"\u001b[2J\u009b2J","threads":1,"hashes":5,"hashes_per_second":2e6,"blocks":0,
                "peers":{"2":"alive\r\u007f"},"heartbeat":1.0,"at":100}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_silent_server_has_the_time_since_when_and_no_rate() {
        let (works, silent) = (row(&entry(), 101), row(&entry(), 106));
        assert!(works.contains("2.0 MH/s") && !works.contains("silent"), "{works}");
        assert!(silent.contains("silent since 1970-01-01T00:01:40Z") && !silent.contains("H/s"), "{silent}");
        let parsed = |now| serde_json::from_str::<serde_json::Value>(&json(&entry(), now).unwrap()).unwrap();
        assert_eq!(parsed(101), serde_json::to_value(entry()).unwrap());
        let silent = parsed(106);
        assert_eq!(silent["silent_since"], 100);
        assert!(silent["status"]["hashes_per_second"].is_null(), "{silent}");
        assert_eq!(silent["status"]["hashes"], 5, "the rest stays as it was last reported");
        let starting = json(&Entry { status: None, ..entry() }, 106).unwrap();
        assert!(starting.contains(r#""silent_since":90"#) && !starting.contains("status"), "{starting}");
    }

    #[test]
    fn source_difficulty_luck_and_shares_are_shown() {
        let mut status = entry().status.unwrap();
        assert_eq!(work(entry().id, &status, 2e6), [""; 0], "an older server reports nothing of that");
        status.source = Some("http://b".to_owned());
        status.source_problem = Some("http://a: no\nanswer".to_owned());
        (status.difficulty, status.block_difficulty, status.luck) = (Some(512.0), Some(2.1e6), Some(0.5));
        status.shares.rejected = 2;
        status.rejections = [("low difficulty".to_owned(), 2)].into();
        status.best_share = Some(1500.0);
        assert_eq!(
            work(entry().id, &status, 4e6),
            [
                "source http://b, but: http://a: no\\nanswer",
                "difficulty 512, of a block 2.10M",
                "luck 50 %; a block in 71years 5months on average, by the 4.0 MH/s shown here",
                "0 shares accepted, 0 stale, 2 rejected (low difficulty 2), 0 lost · best 1.50k",
            ]
        );
        // Only the leader tells how long a block takes.
        status.leader = Some(NodeId::try_from(9).unwrap());
        assert_eq!(work(entry().id, &status, 4e6)[2], "luck 50 %");
        (status.source, status.difficulty) = (None, status.block_difficulty);
        assert_eq!(
            work(entry().id, &status, 4e6)[..2],
            ["no source answers: http://a: no\\nanswer", "difficulty 2.10M"]
        );
    }

    #[test]
    fn a_cluster_is_those_who_follow_the_same_leader_and_are_not_silent() {
        let status = || entry().status.unwrap();
        let other = Status { leader: Some(NodeId::try_from(9).unwrap()), ..status() };
        let silent = Status { at: 1, ..status() };
        let servers = [status(), status(), other, silent].map(|status| Entry { status: Some(status), ..entry() });
        assert_eq!(cluster_rate(&servers, &status(), 101), 4e6);
    }

    #[test]
    fn a_certificate_that_ends_soon_has_its_cure() {
        let day = 24 * 60 * 60;
        let text = |ends| certificate(entry().id, ends, 10 * day);
        assert_eq!(text(40 * day), "its certificate ends at 1970-02-10T00:00:00Z, in 30 days");
        assert!(text(39 * day).ends_with("in 29 days: run `headframe certs --renew 1` where the CA's key is"));
        assert!(text(day).contains("in 0 days: run"));
        assert!(text(u64::MAX).contains("9999-12-31"), "an entry may have any number");
    }

    #[test]
    fn numbers_that_no_server_writes_are_shown() {
        let mut entry = entry();
        entry.status.as_mut().unwrap().height = Some(u64::MAX);
        assert!(row(&entry, 101).contains("18446744073709551615"), "{}", row(&entry, 101));
        for at in [LAST_SECOND + 1, u64::MAX] {
            let status = entry.status.as_mut().unwrap();
            (status.at, status.heartbeat) = (at, -1.0);
            assert!(row(&entry, at).contains("silent since 9999-12-31T23:59:59Z"), "{}", row(&entry, at));
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let row = row(&entry(), 101);
        assert!(row.ends_with(r"2 alive\r\u{7f}"), "{row}");
        assert_eq!(visible(&entry().status.unwrap().choice), r"\u{1b}[2J\u{9b}2J");
        let json = json(&entry(), 101).unwrap();
        assert!(!json.contains(char::is_control), "{json:?}");
        assert!(json.contains(r"\u001b[2J\u009b2J") && json.contains(r"alive\r\u007f"), "{json}");
    }
}
