//! The commands as a user types them: what they print, and how they end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::fixtures::PREV;
use crate::process::check::{text_hash, zeros};
use crate::process::{Ended, Signal, Site, start, wait_until};

#[test]
fn every_command_explains_itself_with_examples() {
    let site = Site::new();
    for command in
        ["", "up", "node", "service", "certs", "solve", "grind", "bench", "status", "check", "completions", "man"]
    {
        let words: Vec<_> = [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let help = site.run(&words);
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(help.out.contains("Example") && help.out.contains("  headframe "), "{help:?}");
    }
}

#[test]
fn the_version_names_what_it_was_built_from_and_this_cpus_kernels() {
    let version = Site::new().run(&["--version"]);
    for told in [env!("CARGO_PKG_VERSION"), "commit ", "target ", "kernels on this CPU: ", "portable"] {
        assert!(version.out.contains(told), "{version:?}");
    }
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let site = Site::new();
    let script = site.run(&["completions", "bash"]);
    assert!(script.code == Some(0) && script.out.contains("grind") && script.out.contains("--heartbeat"), "{script:?}");
    let folder = site.path("man");
    assert_eq!(site.run(&["man", folder.to_str().unwrap()]).code, Some(0));
    let page = fs::read_to_string(folder.join("headframe-node.1")).unwrap();
    assert!(page.contains("heartbeat"), "{page}");
}

#[test]
fn an_empty_variable_is_unset_and_lists_may_have_spaces_and_a_last_comma() {
    let site = Site::with_certs(2);
    let [own, other] = site.free_addresses();
    let mut command = site.command(&["node", "--blocks", "1"]);
    for name in ["HEADFRAME_HEARTBEAT", "HEADFRAME_THREADS", "HEADFRAME_LOG", "HEADFRAME_STORE", "HEADFRAME_KERNEL"] {
        command.env(name, "");
    }
    let (_service, source) = site.service(&["--zeros", "1"]);
    command.env("HEADFRAME_ID", "1").env("HEADFRAME_LISTEN", own.to_string());
    command.env("HEADFRAME_PEERS", format!(" 1={own} , 2={other},"));
    command.env("HEADFRAME_SOURCE", format!("http://{source}, "));
    let ended = start(command).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn an_unknown_name_is_told_and_mining_goes_on() {
    let site = Site::with_certs(2);
    let (_service, source) = site.service(&["--zeros", "1"]);
    let ended = site.node(1, source, &["--peer", "2=name.invalid:7702", "--blocks", "2"]).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.err.matches("node 2: name.invalid:7702 has no address").count(), 1, "{ended:?}");
}

#[test]
fn a_check_tries_everything_once() {
    let site = Site::with_certs(3);
    let (_service, source) = site.service(&["--zeros", "1"]);
    let [own, other, nobody] = site.free_addresses();
    let peers = [format!("1={own}"), format!("2={other}"), format!("3={nobody}")].join(",");
    let mut running = site.node(2, source, &["--listen", &other.to_string(), "--peer", &peers]);
    running.event("leader", |_| true);
    let source = format!("http://{source}");
    let check = |peers: &str, source: &str| site.run(&["check", "--id", "1", "--peer", peers, "--source", source]);
    let good = check(&format!("1={own},2={other}"), &source);
    assert_eq!(good.code, Some(0), "{good:?}");
    for told in ["id = 1", "ok     certificates", &format!("ok     peer 2 at {other}: answers"), "wants block"] {
        assert!(good.out.contains(told), "{told}: {good:?}");
    }
    let bad = check(&peers, "http://127.0.0.1:1");
    bad.refused(1, &["2 faults"]);
    for told in [&format!("FAULT  peer 3 at {nobody}"), "FAULT  source http://127.0.0.1:1"] {
        assert!(bad.out.contains(told), "{told}: {bad:?}");
    }
}

#[test]
fn a_second_cluster_on_one_machine_takes_free_ids() {
    let site = Site::new();
    let words = ["up", "--json", "--zeros", "64", "--service-listen", "127.0.0.1:0"];
    let mut first = site.start(&words);
    (0..2).for_each(|_| drop(first.event("started", |_| true)));
    wait_until("both are registered", || site.registered().len() == 2);
    let mut second = site.start(&words);
    let mut ids: Vec<_> = (0..2).map(|_| second.event("started", |_| true)["node"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [3, 4]);
}

#[test]
fn clusters_that_start_at_the_same_moment_share_the_ids_out() {
    let site = Site::new();
    let words = ["up", "--json", "--zeros", "64", "--service-listen", "127.0.0.1:0"];
    let mut clusters = [(); 3].map(|()| site.start(&words));
    for cluster in &mut clusters {
        (0..2).for_each(|_| drop(cluster.event("started", |_| true)));
    }
    wait_until("all have ids of their own", || site.status().len() == 6);
}

#[test]
fn status_says_where_it_looked_and_who_is_silent() {
    let site = Site::new();
    let nobody = site.run(&["status"]);
    assert_eq!((nobody.code, nobody.out.as_str()), (Some(3), ""));
    assert!(nobody.err.contains("no server runs") && nobody.err.contains("registry /"), "{nobody:?}");
    let mut command = site.command(&["status"]);
    command.env("HEADFRAME_RUN_DIR", "/proc/headframe"); // a folder that cannot be made
    start(command).end().refused(3, &["no server runs", "registry /proc/headframe"]);
    let words =
        ["up", "--json", "--nodes", "1", "--heartbeat", "50ms", "--zeros", "64", "--service-listen", "127.0.0.1:0"];
    let process = site.start(&words);
    wait_until("it is at work", || site.status().first().is_some_and(|server| server["status"]["height"].is_u64()));
    process.signal(Signal::STOP);
    wait_until("it is silent", || site.status()[0]["silent_since"].is_u64());
    assert!(site.status()[0]["status"]["hashes_per_second"].is_null());
    let told = site.run(&["status"]);
    assert!(told.out.contains("silent since 2") && !told.out.contains("H/s  "), "{told:?}");
    process.signal(Signal::CONT);
    wait_until("it is back", || site.status()[0]["silent_since"].is_null());
}

#[test]
fn a_server_registers_again_where_its_registry_was_removed() {
    let site = Site::new();
    let _process = site.start(&["up", "--json", "--zeros", "64", "--service-listen", "127.0.0.1:0"]);
    wait_until("both are registered", || site.registered().len() == 2);
    fs::remove_dir_all(site.path("run")).unwrap();
    wait_until("both are registered again", || site.status().len() == 2);
}

#[test]
fn a_node_with_peers_needs_no_registry() {
    let site = Site::with_certs(1);
    let (_service, source) = site.service(&["--zeros", "1"]);
    fs::write(site.path("run"), "no folder").unwrap();
    let ended = site.node(1, source, &["--peer", "2=name.invalid:1", "--blocks", "1"]).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("node 1 is not registered") && ended.err.contains("HEADFRAME_RUN_DIR"), "{ended:?}");
    site.node(1, source, &["--blocks", "1"]).end().refused(1, &["HEADFRAME_RUN_DIR"]);
    // A check says the same: without peers it is a fault, with them it is not.
    let source = format!("http://{source}");
    let check = |more: &[&str]| site.run(&[&["check", "--id", "1", "--source", &source], more].concat());
    check(&[]).refused(1, &["1 fault"]);
    let own = site.free_addresses::<1>()[0].to_string();
    let named = check(&["--listen", &own, "--peer", &format!("1={own}")]);
    assert_eq!(named.code, Some(0), "{named:?}");
    assert!(named.out.contains("note   registry of this machine") && !named.out.contains("FAULT"), "{named:?}");
}

#[test]
fn what_is_no_file_holds_nothing_up() {
    let site = Site::with_certs(1);
    site.run(&["node", "--config", "/dev/zero"]).refused(2, &["/dev/zero", "expected a regular file"]);
    site.run(&["node", "--config", "/dev/full"]).refused(2, &["/dev/full", "expected a regular file"]);
    let make_pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    make_pipe(&site.path("store.lock"));
    site.run(&["node", "--id", "1", "--store", "store"]).refused(1, &["the store store", "expected a regular file"]);
    for name in ["node-1.key", "node-1.pem", "ca.pem"] {
        let (file, kept) = (site.path("certs").join(name), site.path("kept"));
        fs::rename(&file, &kept).unwrap();
        make_pipe(&file);
        site.run(&["node", "--id", "1"]).refused(1, &[name, "expected a regular file"]);
        fs::rename(&kept, &file).unwrap();
    }
}

#[test]
fn what_cannot_work_is_refused_with_the_cure() {
    let site = Site::with_certs(2);
    site.run(&["node", "--id", "1", "--peer", "2=192.0.2.1:7702"])
        .refused(2, &["192.0.2.1:7702", "--listen 0.0.0.0:7701"]);
    site.run(&["node", "--id", "1", "--pool", &"x".repeat(65)]).refused(2, &["--pool", "at most 64 characters"]);
    site.run(&["node", "--id", "1", "--pool", "a\u{7}b"]).refused(2, &["--pool", "none a control character"]);
    let mut command = site.command(&["status"]);
    command.env("HEADFRAME_LOG", "wran");
    start(command).end().refused(2, &["HEADFRAME_LOG", "off, error, warn, info, debug, trace", "wran"]);
}

#[test]
fn whoever_finds_nothing_says_so() {
    let site = Site::new();
    let nothing = solve(&site, PREV, "1550766000000", 30, &["--end", "1000"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(3), ""));
    assert!(nothing.err.contains("no nonce from 1 to 1000 gives 30 leading zeros"), "{nothing:?}");
}

fn solve(site: &Site, prev: &str, timestamp: &str, zeros: u64, more: &[&str]) -> Ended {
    let zeros = zeros.to_string();
    let words = ["solve", "--json", "--prev", prev, "--timestamp", timestamp, "--zeros", &zeros];
    site.run(&[&words, more].concat())
}

#[test]
fn solve_finds_the_published_nonces() {
    let site = Site::new();
    for (zeros, nonce) in [(1, 2), (2, 319), (3, 4750), (4, 92579)] {
        let solved = solve(&site, PREV, "1550766000000", zeros, &[]);
        assert_eq!(solved.code, Some(0), "{solved:?}");
        let lines = solved.json();
        assert_eq!(lines.len(), 1, "{solved:?}");
        assert_eq!(lines[0]["nonce"], nonce);
        assert_eq!(lines[0]["hash"], text_hash(PREV, nonce, "1550766000000"));
    }
}

#[test]
fn solve_agrees_with_another_sha256_on_random_searches() {
    let site = Site::new();
    // Anywhere, or across a change of the number of digits.
    let start = prop_oneof![
        1u64..2_000_000_000,
        (1u32..=9, 1u64..20_000).prop_map(|(digits, before)| 10u64.pow(digits).saturating_sub(before).max(1)),
    ];
    let timestamp = prop_oneof!["[1-9][0-9]{9}", "[1-9][0-9]{12}", "[1-9][0-9]{13}"];
    let searches = ("[0-9a-f]{64}", timestamp, 1u64..=4, start, 1_000u64..60_000);
    let mut runner = TestRunner::default();
    let (mut found, mut nothing) = (0, 0);
    for _ in 0..20 {
        let (prev, timestamp, wanted, start, length) = searches.new_tree(&mut runner).unwrap().current();
        let end = (start + length).min(2_000_000_000);
        let expected: BTreeMap<_, _> = (start..=end)
            .map(|nonce| (nonce, text_hash(&prev, nonce, &timestamp)))
            .filter(|(_, hash)| zeros(hash) >= wanted)
            .collect();
        let (from, to) = (start.to_string(), end.to_string());
        let range = ["--start", &from, "--end", &to];
        let shown = format!("{prev} {timestamp} {wanted} {start}..={end}");
        let solutions = |ended: &Ended| -> Vec<(u64, String)> {
            let both = |line: &Value| (line["nonce"].as_u64().unwrap(), line["hash"].as_str().unwrap().to_owned());
            ended.json().iter().map(both).collect()
        };

        let all = solve(&site, &prev, &timestamp, wanted, &[&range[..], &["--all"]].concat());
        let code = if expected.is_empty() { 3 } else { 0 };
        assert_eq!(all.code, Some(code), "{shown}: {all:?}");
        assert_eq!(solutions(&all), expected.clone().into_iter().collect::<Vec<_>>(), "{shown}");

        let first = solve(&site, &prev, &timestamp, wanted, &[&range[..], &["--threads", "3"]].concat());
        assert_eq!(first.code, Some(code), "{shown}: {first:?}");
        assert_eq!(solutions(&first), expected.into_iter().take(1).collect::<Vec<_>>(), "{shown}");
        found += usize::from(code == 0);
        nothing += usize::from(code == 3);
    }
    assert!(found > 5, "only {found} searches had a solution, {nothing} had none: too few to tell anything");
}

#[test]
fn solve_without_a_solution_prints_nothing_and_ends_with_3() {
    let solved = solve(&Site::new(), PREV, "1550766000000", 4, &["--end", "92578", "--all"]);
    assert_eq!((solved.code, solved.out.as_str()), (Some(3), ""), "{solved:?}");
}

#[test]
fn bench_prints_a_line_per_kernel() {
    let bench = Site::new().run(&["bench", "--json", "--seconds", "0.2", "--threads", "1", "--puzzle", "text"]);
    assert_eq!(bench.code, Some(0), "{bench:?}");
    assert!(bench.json().iter().any(|line| line["kernel"] == "portable"), "{bench:?}");
    for line in bench.json() {
        assert_eq!((&line["puzzle"], &line["threads"]), (&"text".into(), &1.into()), "{line}");
        for field in
            ["hashes", "seconds", "hashes_per_second", "best_hashes_per_second", "times_sha2", "found", "checksum"]
        {
            assert!(line[field].as_f64().unwrap() > 0.0, "{field} in {line}");
        }
    }
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let site = Site::new();
    fs::write(site.path("node.toml"), "id = 7\ncerts = 'from-file'").unwrap();
    // The message about the missing certificate names both, or tells of the folder's first file.
    let tell = |env: &[(&str, &str)], words: &[&str]| {
        let mut command = site.command(&[&["node", "--config", "node.toml"], words].concat());
        command.envs(env.iter().copied());
        let ended = start(command).end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended.err
    };
    for dir in ["from-file", "from-env", "from-flag"] {
        assert_eq!(site.run(&["certs", "--nodes", "1", "--dir", dir]).code, Some(0));
    }
    assert!(tell(&[], &[]).contains("from-file/node-7.pem"));
    let env = [("HEADFRAME_ID", "8"), ("HEADFRAME_CERTS", "from-env")];
    assert!(tell(&env, &[]).contains("from-env/node-8.pem"));
    assert!(tell(&env, &["--id", "9", "--certs", "from-flag"]).contains("from-flag/node-9.pem"));
}

#[test]
fn what_is_set_for_one_command_does_not_disturb_another() {
    let site = Site::new();
    let mut command = site.command(&["status"]);
    command.envs([("HEADFRAME_NODES", "many"), ("HEADFRAME_ZEROS", "65"), ("HEADFRAME_HEARTBEAT", "soon")]);
    let status = start(command).end();
    status.refused(3, &["no server runs on this machine"]);
}
