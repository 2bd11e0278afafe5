//! What cannot be is refused: with the right exit code, a message that names it, and nothing lost or left behind.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;

use crate::fixtures::{HEADER_START, PREV};
use crate::process::{NOBODY, Signal, Site};

#[test]
fn wrong_usage_is_refused_with_2_and_named() {
    let site = Site::new();
    let short = &HEADER_START[2..];
    let solve = format!("solve --prev {PREV} --timestamp");
    for (line, told) in [
        ("frobnicate".to_owned(), "frobnicate"),
        ("up --nodes 0".into(), "0 is not in 1..=64"),
        ("up --zeros 65".into(), "65 is not in 0..=64"),
        ("up --zeros -1".into(), "-1 is not in 0..=64"),
        ("up --blocks 0".into(), "'--blocks <N>'"),
        ("up --transport pigeon".into(), "quic"),
        ("--heartbeat soon".into(), "expected a time like 5s"),
        ("node".into(), "expected --id ID"),
        ("node --id 0".into(), "expected a node id from 1 to 4294967295, got \"0\""),
        ("node --id -1".into(), "expected a node id from 1 to 4294967295, got \"-1\""),
        ("node --id 1 --peer 2=127.0.0.1:1 --peer 2=127.0.0.1:2".into(), "peer 2 is named twice"),
        ("node --id 1 --peer 0=127.0.0.1:1".into(), "expected a node id"),
        ("node --id 1 --peer 127.0.0.1:1".into(), "expected ID=ADDR"),
        ("node --id 1 --peer 2=127.0.0.1".into(), "expected an address like 10.0.0.2:7702"),
        ("node --id 1 --listen here".into(), "'--listen <ADDR>'"),
        ("node --id 1 --source ftp://127.0.0.1".into(), "ftp"),
        ("node --id 1 --kernel abacus".into(), "no kernel \"abacus\" on this CPU; there are: "),
        ("service --zeros 3 --interval 3".into(), "cannot be used with"),
        ("service --max-connections 0".into(), "'--max-connections <N>'"),
        ("service --allow-host mine.example:80".into(), "without scheme and port, got \"mine.example:80\""),
        ("service --interval 0".into(), "expected seconds from"),
        ("certs".into(), "--nodes"),
        ("certs --add 0".into(), "expected a node id"),
        (format!("solve --prev {} --timestamp 1 --zeros 1", &PREV[1..]), "expected 64 lower-case hex digits, got 63"),
        (format!("{solve} now --zeros 1"), "expected a timestamp of 1 to 20 decimal digits, got \"now\""),
        (format!("{solve} 1 --zeros 65"), "65 is not in 0..=64"),
        (format!("{solve} 1 --zeros 1 --start 0"), "0 is not in 1..=2000000000"),
        (format!("{solve} 1 --zeros 1 --start 9 --end 8"), "expected --start to be at most --end, got 9 and 8"),
        (
            format!("grind {short}ffff7f2000000000"),
            "Could not decode block header: expected an 80-byte header as 160 hex digits, got 158",
        ),
        (format!("grind {HEADER_START}0000000000000000"), "Could not satisfy difficulty target: expected compact bits"),
        ("grind".into(), "Must specify block header to grind"),
        ("grind -".into(), "Could not decode block header: standard input: expected an 80-byte header"),
        (
            format!("grind --version-mask 20000000 {HEADER_START}ffff7f2000000000"),
            "expected version bits of BIP 320 in hex",
        ),
    ] {
        let words: Vec<_> = line.split(' ').collect();
        let ended = site.run(&words);
        ended.refused(2, &[told]);
        assert_eq!(ended.out, "", "{line}");
    }
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn wrong_config_files_are_refused_with_2_and_named() {
    let site = Site::new();
    for (text, told) in [
        ("id = = 1", "line 1"),
        ("id = 1\ncolour = 'red'", "unknown field `colour`"),
        ("id = 1\nlisten = 5", "line 2"),
        ("id = 0", "expected a node id from 1"),
        ("id = -1", "line 1"),
        ("id = 1\nblocks = 0", "line 2"),
        ("id = 1\nheartbeat = 'soon'", "expected a time like 5s"),
        ("id = 1\npeers = { 0 = '127.0.0.1:1' }", "expected a node id from 1"),
        (
            "id = 1\npeers = { 2 = 'nowhere' }",
            "expected an address like 10.0.0.2:7702 or host.example:7702, got \"nowhere\"",
        ),
    ] {
        fs::write(site.path("node.toml"), text).unwrap();
        site.run(&["node", "--config", "node.toml"]).refused(2, &[told]);
    }
    for (name, told) in [("none.toml", "expected a config file"), (".", "expected a config file")] {
        site.run(&["node", "--config", name]).refused(2, &[name, told]);
    }
}

#[test]
fn certificates_that_cannot_serve_are_refused() {
    let site = Site::with_certs(2);
    assert_eq!(site.run(&["certs", "--nodes", "1", "--dir", "other"]).code, Some(0));
    let node = |id: &str, certs: &str| site.run(&["node", "--listen", "127.0.0.1:0", "--id", id, "--certs", certs]);
    let copy = |from: &str, to: &str| fs::copy(site.path(from), site.path(to)).unwrap();

    node("1", "nowhere").refused(1, &["nowhere/ca.pem", "headframe certs"]);
    node("3", "certs").refused(1, &["certs/node-3.pem", "--add"]);
    copy("certs/node-1.pem", "other/node-1.pem");
    node("1", "other").refused(1, &["expected the key that belongs to the certificate"]);
    copy("certs/node-1.key", "other/node-1.key");
    node("1", "other").refused(1, &["signed by this cluster's CA", "got one of another"]);
    copy("certs/ca.pem", "other/ca.pem");
    copy("certs/node-2.pem", "other/node-1.pem");
    node("1", "other").refused(1, &["expected the certificate of node 1, got that of node 2"]);
    fs::write(site.path("other/node-1.pem"), "rubbish").unwrap();
    node("1", "other").refused(1, &["expected a PEM file"]);
    fs::set_permissions(site.path("certs/node-1.key"), Permissions::from_mode(0o644)).unwrap();
    node("1", "certs").refused(1, &["node-1.key to have mode 0600", "got 0644", "chmod 600"]);
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn certificates_are_never_overwritten() {
    let site = Site::with_certs(1);
    let read = || {
        ["ca.pem", "ca.key", "node-1.pem", "node-1.key"].map(|name| fs::read(site.path("certs").join(name)).unwrap())
    };
    let before = read();
    site.run(&["certs", "--nodes", "2"]).refused(1, &["ca.key", "never overwritten"]);
    site.run(&["certs", "--add", "1"]).refused(1, &["node-1.key", "never overwritten"]);
    assert!(read() == before && !site.path("certs/node-2.key").exists());
    assert_eq!(site.run(&["certs", "--add", "2"]).code, Some(0));
    for key in ["ca.key", "node-1.key", "node-2.key"] {
        let mode = fs::metadata(site.path("certs").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn an_address_in_use_is_said_once_and_leaves_nothing_behind() {
    let site = Site::with_certs(1);
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let [web, node] = [tcp.local_addr().unwrap(), udp.local_addr().unwrap()].map(|address| address.to_string());
    for words in [
        &["service", "--listen", &web][..],
        &["up", "--service-listen", &web],
        &["node", "--id", "1", "--listen", &node],
    ] {
        let ended = site.run(words);
        ended.refused(1, &[words[words.len() - 1], "choose another"]);
        assert_eq!(
            ended.err.matches(" in use").count() + ended.err.matches("listens there already").count(),
            1,
            "{ended:?}"
        );
    }
    assert_eq!(site.registered(), NOBODY);
}

#[test]
fn a_store_that_is_none_is_refused_and_kept() {
    let site = Site::new();
    fs::write(site.path("letter.txt"), "dear reader").unwrap();
    for (store, told) in
        [("letter.txt", "expected a chain of blocks in letter.txt"), (".", "no regular file"), ("no/chain", "no/chain")]
    {
        for words in [["service", "--listen", "127.0.0.1:0"], ["up", "--service-listen", "127.0.0.1:0"]] {
            site.run(&[&words[..], &["--store", store]].concat()).refused(1, &[told, "expected"]);
        }
    }
    assert_eq!(fs::read_to_string(site.path("letter.txt")).unwrap(), "dear reader");
    let (_service, _) = site.service(&["--store", "chain"]);
    site.run(&["service", "--listen", "127.0.0.1:0", "--store", "chain"]).refused(1, &["in use by another process"]);
}

#[test]
fn a_registry_that_is_not_private_is_refused() {
    let site = Site::with_certs(1);
    fs::write(site.path("run"), "").unwrap();
    site.run(&["status"]).refused(1, &["only this user can write to (mode 0700)", "HEADFRAME_RUN_DIR"]);
    fs::remove_file(site.path("run")).unwrap();
    fs::create_dir(site.path("run")).unwrap();
    fs::set_permissions(site.path("run"), Permissions::from_mode(0o777)).unwrap();
    for words in [&["status"][..], &["node", "--id", "1", "--listen", "127.0.0.1:0"]] {
        site.run(words).refused(1, &["only this user can write to (mode 0700)", "HEADFRAME_RUN_DIR"]);
    }
    // Nodes that know their peers do without.
    let up = site.run(&["up", "--zeros", "1", "--blocks", "1", "--service-listen", "127.0.0.1:0"]);
    assert_eq!(up.code, Some(0), "{up:?}");
    assert!(up.err.contains("only this user can write to (mode 0700)"), "{up:?}");
}

#[test]
fn a_node_that_the_other_does_not_list_is_told_of_on_both_sides() {
    let site = Site::with_certs(2);
    let (_service, source) = site.service(&["--zeros", "12"]);
    let [first, second] = site.free_addresses();
    let node = |id, own: SocketAddr, peer: String| {
        site.node(id, source, &["--heartbeat", "50ms", "--listen", &own.to_string(), "--peer", &peer])
    };
    let one = node(1, first, format!("2={second}"));
    // The second lists itself alone.
    let two = node(2, second, format!("2={second}"));
    // What is told is in the logs, which are read at the end: many times as long as it takes.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let (one, two) = (one.end_by(Signal::TERM), two.end_by(Signal::TERM));
    assert_eq!(one.err.matches("does not list this node among its servers").count(), 1, "{one:?}");
    assert!(one.err.contains("--peer 1="), "{one:?}");
    assert_eq!(two.err.matches("node 1 at").count(), 1, "{two:?}");
    assert!(two.err.contains("--peer 1="), "{two:?}");
}
