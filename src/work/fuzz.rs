//! Texts of headers and timestamps, as they are typed, configured, and sent by services.

use super::{BlockHash, Digest, Header, HeaderPuzzle, Target, Timestamp};

/// A header's hex digits, or 84 bytes: a header and the version bits that may be rolled.
pub(crate) fn headers(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let parsed = text.parse::<Header>();
    if let Ok(header) = parsed {
        assert_eq!(header.to_string(), text.to_ascii_lowercase());
        check(header, 0);
    }
    if let (Ok(digest), Ok(hash)) = (text.parse::<Digest>(), text.parse::<BlockHash>()) {
        assert_eq!((digest.to_string(), hash.to_string()), (text.to_string(), text.to_string()));
    }
    if let Some((header, mask)) = bytes.split_first_chunk()
        && let Some(mask) = mask.first_chunk()
    {
        check(Header::from_bytes(header), u32::from_le_bytes(*mask));
    }
    parsed.is_ok()
}

fn check(header: Header, version_mask: u32) {
    assert_eq!(Header::from_bytes(&header.to_bytes()), header);
    assert_eq!(header.to_string().parse(), Ok(header));
    let _ = Target::from_bits(header.bits);
    let puzzle = HeaderPuzzle { header, version_mask };
    let space = puzzle.space();
    for nonce in [0, u64::from(header.nonce) << puzzle.group_bits(), space.end - 1] {
        let rolled = puzzle.at(nonce);
        assert!(space.contains(nonce));
        assert_eq!(rolled.version & !version_mask, header.version & !version_mask);
        assert_eq!(Header { version: header.version, nonce: header.nonce, ..rolled }, header);
    }
}

/// A timestamp's digits, which are hashed as they were written.
pub(crate) fn timestamps(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let is_one = (1..=Timestamp::MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<Timestamp>() {
        Ok(timestamp) => {
            assert!(is_one);
            assert_eq!((timestamp.as_bytes(), timestamp.to_string().as_str()), (bytes, text));
            let json = serde_json::to_string(&timestamp).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), timestamp);
        }
        Err(error) => assert!(!is_one && error.got.chars().count() <= 40, "{error}"),
    }
    is_one
}
