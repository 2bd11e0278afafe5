//! Whoever reads what the program writes may stop, or never begin: it ends all the same, and cleanly.

use std::io::{BufRead, BufReader, Read};

use crate::fixtures::PREV;
use crate::process::{NOBODY, SOON, Signal, Site, start, wait_until};

#[test]
fn a_reader_who_has_seen_enough_ends_the_program() {
    let site = Site::new();
    let all = ["solve", "--prev", PREV, "--timestamp", "1", "--zeros", "0", "--all"];
    for words in [&all[..], &["up", "--json", "--service-listen", "127.0.0.1:0"]] {
        let mut command = site.command(words);
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdout(writer);
        let process = start(command);
        let mut line = String::new();
        BufReader::with_capacity(64, reader).read_line(&mut line).unwrap();
        let ended = process.end();
        assert!(ended.code == Some(0) && ended.err.is_empty() && ended.took < SOON, "{words:?}: {ended:?}");
    }
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn a_reader_who_reads_no_more_keeps_the_program_neither_from_mining_nor_from_ending() {
    let site = Site::new();
    // A block is about a kilobyte of lines, a pipe holds 64: soon it is full, and everything before it.
    let mut command = site.command(&["up", "--json", "--zeros", "0", "--service-listen", "127.0.0.1:0"]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let process = start(command);
    let mut first = [0; 1];
    reader.read_exact(&mut first).unwrap();
    wait_until("both servers are registered", || site.registered().len() == 2);
    let blocks = || site.status().iter().filter_map(|server| server["status"]["blocks"].as_u64()).max();
    wait_until("blocks are found though nobody reads of them", || blocks() > Some(250));
    let ended = process.end_by(Signal::TERM);
    assert!(ended.code == Some(0) && ended.took < SOON, "{ended:?}");
    assert_eq!(site.registered(), NOBODY);
    drop(reader);
}

/// The device takes nothing, as a full disk does.
#[test]
fn output_that_a_full_disk_does_not_take_does_not_stop_mining() {
    let site = Site::new();
    let words = ["up", "--zeros", "1", "--blocks", "3", "--service-listen", "127.0.0.1:0"];
    let mut command = site.command(&words);
    command.stdout(std::fs::File::create("/dev/full").unwrap());
    let ended = start(command).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.err.matches("No space left on device").count(), 1, "{ended:?}");
}

#[test]
fn every_line_has_its_time_and_level_and_the_last_sums_up() {
    let site = Site::new();
    // Blocks hard enough for node 2 to be there before the last.
    let ended = site.run(&["up", "--zeros", "6", "--blocks", "3", "--service-listen", "127.0.0.1:0"]);
    for line in ended.out.lines() {
        assert!(line.as_bytes()[10] == b'T' && ["  INFO ", "  WARN "].contains(&&line[24..31]), "{line}");
    }
    for told in ["node 1 leads", "node 2 follows node 1", "node 1: node 2 is alive", "node 2 has stopped"] {
        assert!(ended.out.contains(told), "{told}: {ended:?}");
    }
    assert!(ended.out.lines().last().unwrap().contains("3 blocks"), "{ended:?}");
}

#[test]
fn a_terminal_that_is_closed_gets_a_goodbye_and_tells_the_speed_soon() {
    let site = Site::new();
    let mut process = site.start(&["up", "--json", "--zeros", "9", "--service-listen", "127.0.0.1:0"]);
    let rate = process.event("rate", |_| true);
    let started = process.event("rate", |event| event["node"] != rate["node"]);
    assert!(rate["hashes"].as_u64() > Some(0) && started["hashes"].as_u64() > Some(0), "{rate} {started}");
    let ended = process.end_by(Signal::HUP);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn a_log_that_nobody_reads_disturbs_nothing() {
    let site = Site::new();
    let words = ["up", "--json", "--zeros", "1", "--blocks", "5", "--service-listen", "127.0.0.1:0"];
    let mut command = site.command(&words);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stderr(writer).env("HEADFRAME_LOG", "debug");
    let ended = start(command).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.json().iter().filter(|event| event["event"] == "block").count(), 5, "{ended:?}");
}

#[test]
fn nothing_is_coloured_that_does_not_go_to_a_terminal() {
    let site = Site::new();
    for words in [
        &["up", "--blocks", "1", "--zeros", "1", "--service-listen", "127.0.0.1:0"][..],
        &["up", "--zeros", "65"],
        &["--help"],
    ] {
        let mut command = site.command(words);
        command.env("HEADFRAME_LOG", "debug");
        let ended = start(command).end();
        assert!(!ended.out.contains('\u{1b}') && !ended.err.contains('\u{1b}'), "{ended:?}");
    }
}
