//! What comes over the wire, and the files that say who a node is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use super::codec;
use super::files::add_node;
use super::identity::Identity;
use crate::cluster::tests::node;

/// A frame: what can be decoded can be encoded, and is the same again.
pub(crate) fn frames(bytes: &[u8]) -> bool {
    let Ok(Some(message)) = codec::decode(bytes) else { return false };
    let frame = codec::encode(&message).unwrap();
    assert!(frame.len() <= bytes.len(), "the encoding is the shortest");
    assert_eq!(codec::decode(&frame).unwrap(), Some(message));
    true
}

/// A cluster's files.
const FILES: [&str; 4] = ["ca.pem", "node-7.pem", "node-7.key", "ca.key"];

/// Those of a cluster that was made for this and guards nothing, as an input that has all of them.
const WHOLE: &[u8] = include_bytes!("../../tests/corpus/certificates/whole");

/// A moment at which its certificates are valid, in seconds since 1970.
const NOW: u64 = 1_795_400_000;

/// The first byte says what follows: the text or the DER of one file, which then stands beside the others of a real cluster; or all four
/// texts, with a zero byte after each.
pub(crate) fn certificates(bytes: &[u8]) -> bool {
    let Some((&what, rest)) = bytes.split_first() else { return false };
    let mut texts = four(&WHOLE[1..]);
    match what {
        b'0'..=b'3' => texts[usize::from(what - b'0')] = rest.to_vec(),
        b'4'..=b'7' => {
            let place = usize::from(what - b'4');
            let label = if FILES[place].ends_with("key") { "PRIVATE KEY" } else { "CERTIFICATE" };
            texts[place] = pem(label, rest);
        }
        _ => texts = four(rest),
    }
    let folder = crate::fuzz::folder();
    for (name, text) in FILES.iter().zip(&texts) {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let loaded = Identity::load(folder.path(), node(7), now);
    if let Ok(identity) = &loaded {
        assert_eq!(identity.node(), node(7));
        let _ = identity.ends(); // the CA's own end is in the past where somebody has altered it: peers do not look at it
    }
    let added = add_node(folder.path(), node(8), now);
    loaded.is_ok() && added.is_ok()
}

fn four(texts: &[u8]) -> [Vec<u8>; 4] {
    let mut all = texts.split(|&byte| byte == 0);
    FILES.map(|_| all.next().unwrap_or_default().to_vec())
}

/// PEM of any bytes, whether or not they are DER.
fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for three in der.chunks(3) {
        let bits =
            u32::from_be_bytes([0, three[0], three.get(1).copied().unwrap_or(0), three.get(2).copied().unwrap_or(0)]);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() { '=' } else { digit.into() });
        }
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text.into_bytes()
}
