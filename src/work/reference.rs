//! The plain reference path: `sha2`, twice, compare.
//!
//! This is the one version that is plainly right. Every hit of every kernel passes through it, and so does every solution before it is
//! submitted.

use sha2::{Digest as _, Sha256};

use super::{Digest, Hashing};

/// SHA-256 (FIPS 180-4, section 6.2) of `message`.
pub fn sha256(message: &[u8]) -> Digest {
    Digest(Sha256::digest(message).into())
}

/// SHA-256 of the raw SHA-256 digest of `message`.
pub fn sha256d(message: &[u8]) -> Digest {
    sha256(&sha256(message).0)
}

/// The hash of `message` by SHA-256 once or twice, as `hashing` says.
pub fn hash(message: &[u8], hashing: Hashing) -> Digest {
    match hashing {
        Hashing::Single => sha256(message),
        Hashing::Double => sha256d(message),
    }
}
