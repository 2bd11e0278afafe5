//! `headframe grind` in place of `bitcoin-util grind`: by hand, in a pipe, and as Bitcoin Core's signet miner calls it.

use std::io::Write;
use std::process::Stdio;

use crate::fixtures::HEADER_START;
use crate::process::check::sha256d;
use crate::process::{Ended, Site, start};

/// The header that was printed, if nothing else was and its hash has so many zero bits at its end.
fn good(ground: &Ended, zeros: u32) -> String {
    assert_eq!((ground.code, ground.err.as_str()), (Some(0), ""), "{ground:?}");
    let header = ground.out.strip_suffix('\n').unwrap();
    assert_eq!(header.len(), 160, "{ground:?}");
    let mut hash = sha256d(&hex::decode(header).unwrap());
    hash.reverse(); // it is a little-endian number
    let high = u64::from_be_bytes(hash[..8].try_into().unwrap());
    assert!(high.leading_zeros() >= zeros, "{}", hex::encode(hash));
    header.to_owned()
}

/// Runs `grind -` with this input.
fn piped(site: &Site, input: &[u8]) -> Ended {
    let mut command = site.command(&["grind", "-"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::from(reader));
    let process = start(command);
    writer.write_all(input).unwrap();
    drop(writer);
    process.end()
}

#[test]
fn it_prints_the_header_with_a_good_nonce_and_nothing_else() {
    let site = Site::new();
    for (bits, zeros) in [("ffff7f20", 1), ("ffff001f", 16)] {
        let header = good(&site.run(&["grind", &format!("{HEADER_START}{bits}00000000")]), zeros);
        assert!(header.starts_with(&format!("{HEADER_START}{bits}")), "only the nonce may change: {header}");
    }
}

#[test]
fn a_dash_reads_the_header_from_standard_input() {
    let site = Site::new();
    let header = format!("{HEADER_START}ffff001f00000000");
    let word = good(&site.run(&["grind", &header]), 16);
    for input in [header.clone(), format!("{header}\n"), format!(" {}\r\nwhat follows\n", header.to_uppercase())] {
        assert_eq!(good(&piped(&site, input.as_bytes()), 16), word, "{input:?}");
    }
    for input in [&b"00\n"[..], b"\xff\n", &[b'0'; 9000]] {
        let refused = piped(&site, input);
        refused.refused(2, &["Could not decode block header: standard input: "]);
        assert_eq!(refused.out, "");
    }
}

#[test]
fn versions_are_rolled_only_where_the_mask_is() {
    let site = Site::new();
    // The version is 0x20000000; of its bits, the mask has 13 to 15.
    let header = format!("00000020{}ffff001f00000000", &HEADER_START[8..]);
    let plain = good(&site.run(&["grind", &header]), 16);
    assert_eq!(plain[..8], header[..8]);
    let rolled = good(&site.run(&["grind", "--version-mask", "0xe000", &header]), 16);
    let version = u32::from_str_radix(&rolled[..8], 16).unwrap().swap_bytes();
    assert_eq!(version & !0xe000, 0x2000_0000, "{rolled}");
    assert_ne!(version, 0x2000_0000, "the lowest solution of this header has another version");
    assert_eq!(rolled[8..152], header[8..152]);
}

/// The miner appends the header to the words of `--grind-cmd`, gives no input, wants exit code 0, strips what was printed, and takes over the
/// nonce.
#[test]
fn the_signet_miner_can_call_it() {
    let site = Site::new();
    let header = format!("{HEADER_START}ae77031e00000000"); // 1e0377ae, signet's easiest bits
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", r#"exec $GRIND_CMD "$1" < /dev/null"#, "miner", &header]);
    shell
        .env("GRIND_CMD", format!("{} grind", env!("CARGO_BIN_EXE_headframe")))
        .env("HEADFRAME_RUN_DIR", site.path("run"));
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ground = good(&start(shell).end(), 22);
    let taken_over = format!("{}{}", &header[..152], &ground[152..]);
    assert_eq!(taken_over, ground);
}
