//! Where accepted blocks are kept: in a file, or for as long as the process lives.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::block_file::BlockFile;
use super::chain::{Block, ChainError};

/// How many blocks are kept without a file, about 3 MB; older ones are forgotten. The chain does not need them.
const KEPT_IN_MEMORY: usize = 10_000;

/// The accepted blocks, oldest first.
#[derive(Debug)]
pub(super) enum Store {
    Memory(VecDeque<Block>),
    File(BlockFile),
}

/// Why a chain cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses the store.
    #[error("the store {} is in use by another process; stop that one, or name another file", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The system does not open the file: it is a folder, access is denied, or there is no such folder.
    #[error("cannot open the store {}: {reason}; expected a file that can be read and written", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file has no content. It may have been a chain that was lost, so a new one is not begun in it.
    #[error(
        "expected a chain of blocks in {}, found an empty file; restore it from a copy, or remove it to begin a new chain",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else, or is damaged.
    #[error("expected a chain of blocks in {}, found {found}; name another file, or restore it from a copy", path.display())]
    NotAChain {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// The blocks in the file do not follow each other.
    #[error("the chain in {} is broken at height {height}: {problem}; restore it from a copy", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The block that does not follow.
        height: u64,
        /// Why it does not follow.
        problem: ChainError,
    },
    /// Accepted blocks are missing at the chain's end.
    #[error(
        "the chain in {path} ends at height {height}, but block {last} was accepted; restore a newer copy, or remove {path}.last to go \
         on without the lost blocks", path = path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// The height of the newest block in it; 0 if it has none.
        height: u64,
        /// The height of the newest block that was accepted.
        last: u64,
    },
    /// Reading or writing failed; the disk may be full.
    #[error("the store {} failed: {reason}; nothing was changed, give it room or repair it and try again", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

impl Store {
    /// Opens or creates the file, or starts without one. Gives the newest block, too.
    pub(super) fn open(path: Option<&Path>) -> Result<(Self, Option<Block>), StoreError> {
        match path {
            None => Ok((Self::Memory(VecDeque::new()), None)),
            Some(path) => BlockFile::open(path).map(|(file, tip)| (Self::File(file), tip)),
        }
    }

    /// Keeps the block that follows the newest one, or the newest one again. When this returns, the block is on disk.
    ///
    /// # Errors
    /// The disk failed. The store is then as it was, and the next call tries anew.
    pub(super) fn put(&mut self, block: &Block) -> Result<(), StoreError> {
        match self {
            Self::File(file) => file.put(block),
            Self::Memory(blocks) => {
                while blocks.back().is_some_and(|newest| newest.height >= block.height) {
                    blocks.pop_back();
                }
                if blocks.len() == KEPT_IN_MEMORY {
                    blocks.pop_front();
                }
                blocks.push_back(block.clone());
                Ok(())
            }
        }
    }

    /// Up to `limit` blocks, the first of height `from` or above, none above `tip`.
    pub(super) fn range(&mut self, from: u64, tip: u64, limit: usize) -> Result<Vec<Block>, StoreError> {
        match self {
            Self::File(file) => file.range(from, tip, limit),
            Self::Memory(blocks) => {
                let older = blocks.partition_point(|block| block.height < from);
                Ok(blocks.range(older..).take(limit).cloned().collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::chain::mined;

    #[test]
    fn both_kinds_keep_and_list_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain");
        let blocks = mined(5);
        for path in [None, Some(path.as_path())] {
            let (mut store, tip) = Store::open(path).unwrap();
            assert_eq!(tip, None);
            for block in &blocks {
                store.put(block).unwrap();
                store.put(block).unwrap();
            }
            assert_eq!(store.range(1, 5, 100).unwrap(), blocks);
            assert_eq!(store.range(0, 5, 2).unwrap(), blocks[..2]);
            assert_eq!(store.range(4, 5, 100).unwrap(), blocks[3..]);
            assert_eq!(store.range(6, 5, 100).unwrap(), []);
            assert_eq!(store.range(1, 5, 0).unwrap(), []);
        }
    }

    #[test]
    fn memory_forgets_the_oldest() {
        let (mut store, _) = Store::open(None).unwrap();
        let block = mined(1).remove(0);
        for height in 1..=KEPT_IN_MEMORY as u64 + 3 {
            store.put(&Block { height, ..block.clone() }).unwrap();
        }
        let kept = store.range(0, u64::MAX, usize::MAX).unwrap();
        assert_eq!((kept.len(), kept[0].height), (KEPT_IN_MEMORY, 4));
    }
}
