//! The newest accepted block, a second time, in a file beside the chain's.
//!
//! ```text
//! FILE.last   <64 hex digits> <the block's JSON>      the digits are the SHA-256 of the JSON
//! ```
//!
//! If a process was killed and the newest commit in its database is damaged, redb goes back to the commit before and does not say so. Then
//! the block that was lost is here. The file is written after the database, so it is ahead of the database only when that has lost a block.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::chain::Block;
use crate::regular::{self, Links};
use crate::work::reference;

/// The most that is read; a block takes less than 1 KiB.
const MAX_BYTES: u64 = 64 << 10;

/// What is in every block's JSON; by this a damaged file is told from somebody else's.
const SIGN: &[u8] = b"\"accepted_at\":";

/// The file, which is open as long as the chain's.
#[derive(Debug)]
pub(super) struct LastBlock {
    path: PathBuf,
    file: File,
}

impl LastBlock {
    /// The name of the file beside the chain's file.
    pub(super) fn path_beside(store: &Path) -> PathBuf {
        let mut name = store.as_os_str().to_owned();
        name.push(".last");
        name.into()
    }

    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// It cannot be read and written, or is no regular file, or is a link: whoever can write to the folder could have made that.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = regular::open(&mut options, &path, Links::Refused, u64::MAX)?;
        Ok(Self { path, file })
    }

    /// The block in the file. A file that is damaged has none: then the database is all there is.
    ///
    /// # Errors
    /// It cannot be read, or holds something that has never been a block.
    pub(super) fn read(&self) -> io::Result<Option<Block>> {
        let mut bytes = Vec::new();
        (&self.file).take(MAX_BYTES).read_to_end(&mut bytes)?;
        let block = parse(&bytes);
        if block.is_none() && !bytes.is_empty() {
            if !bytes.windows(SIGN.len()).any(|bytes| bytes == SIGN) {
                return Err(io::Error::other("it holds something else; move it away"));
            }
            tracing::warn!(path = %self.path.display(), "the copy of the newest block is damaged, and is not used");
        }
        Ok(block)
    }

    /// Makes the file hold this block. When this returns, the block is on disk.
    pub(super) fn write(&self, block: &Block) -> io::Result<()> {
        let json = serde_json::to_string(block)?;
        let line = format!("{} {json}", reference::sha256(json.as_bytes()));
        self.file.write_all_at(line.as_bytes(), 0)?;
        self.file.set_len(line.len() as u64)?;
        self.file.sync_data()
    }
}

fn parse(bytes: &[u8]) -> Option<Block> {
    let (digits, json) = str::from_utf8(bytes).ok()?.split_once(' ')?;
    let is_whole = digits == reference::sha256(json.as_bytes()).to_string();
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::service::chain::mined;

    #[test]
    fn the_newest_block_is_kept_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = LastBlock::path_beside(&folder.path().join("chain"));
        let open = || LastBlock::open(path.clone()).unwrap();
        assert_eq!(open().read().unwrap(), None);
        let mut blocks = mined(2);
        blocks[0].pool = "a longer one".into();
        for block in &blocks {
            open().write(block).unwrap();
            assert_eq!(open().read().unwrap().as_ref(), Some(block));
        }
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&whole[..at]), None, "{at} bytes");
        }
        fs::write(&path, &whole[1..]).unwrap();
        assert_eq!(open().read().unwrap(), None);
    }

    #[test]
    fn somebody_elses_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("chain.last"), folder.path().join("link.last"));
        fs::write(&path, "dear reader").unwrap();
        assert!(LastBlock::open(path.clone()).unwrap().read().is_err());
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [link, folder.path().to_owned()] {
            assert!(LastBlock::open(path).is_err());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "dear reader");
    }
}
