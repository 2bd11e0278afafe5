//! Hashes and chains, worked out with another SHA-256 implementation than the program's.

use ring::digest::{SHA256, digest};
use serde_json::Value;

/// SHA-256 of SHA-256.
pub(crate) fn sha256d(bytes: &[u8]) -> [u8; 32] {
    let once = digest(&SHA256, bytes);
    digest(&SHA256, once.as_ref()).as_ref().try_into().unwrap()
}

/// The hash of the text puzzle's solution.
pub(crate) fn text_hash(prev: &str, nonce: u64, timestamp: &str) -> String {
    hex::encode(sha256d(format!("{prev}{nonce}{timestamp}").as_bytes()))
}

/// How many zeros the hash begins with.
pub(crate) fn zeros(hash: &str) -> u64 {
    hash.bytes().take_while(|&digit| digit == b'0').count() as u64
}

/// Each block has the hash that its fields give, the zeros that it names, and the one before as its previous block. Takes the
/// service's blocks as well as `block` events.
pub(crate) fn assert_chain(blocks: &[Value]) {
    for block in blocks {
        let text = |field: &str| block[field].as_str().unwrap_or_else(|| panic!("no {field} in {block}"));
        let number = |field: &str| block[field].as_u64().unwrap_or_else(|| panic!("no {field} in {block}"));
        assert_eq!(text("hash"), text_hash(text("prev"), number("nonce"), text("timestamp")), "{block}");
        assert!(zeros(text("hash")) >= number("zeros"), "{block}");
        assert!((1..=2_000_000_000).contains(&number("nonce")), "{block}");
    }
    for pair in blocks.windows(2) {
        assert_eq!(pair[1]["prev"], pair[0]["hash"], "{pair:?}");
        assert_eq!(pair[1]["height"].as_u64(), pair[0]["height"].as_u64().map(|height| height + 1), "{pair:?}");
    }
}
