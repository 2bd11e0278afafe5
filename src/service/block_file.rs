//! The chain's file: a redb database with one table from height to block, a block being its JSON.
//!
//! A block is written in one transaction that is synced before it returns, so that `kill -9` and power cuts leave either the whole block or
//! none of it. Against damage, the newest block is kept in [`last_block`](super::last_block), too.
//!
//! redb's handle is dead after the first failed read or write, so it is then dropped and the file opened anew at the next use: a disk that
//! was full for a while costs refused blocks, not the service.
//!
//! Whether a write that failed reached the disk is unknown. The service answers that the block was not accepted, and the next block of that
//! height overwrites it, since the height is the key. Only if the process ends before that may the file hold the block, which is a valid
//! one.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableHandle,
};

use super::chain::{Block, genesis};
use super::last_block::LastBlock;
use super::store::StoreError;
use crate::regular;

const BLOCKS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("blocks");

/// redb's default is 1 GiB. A block needs a handful of 4 KiB pages, and the whole process is to stay under 40 MiB.
const CACHE_BYTES: usize = 1 << 20;
/// How many blocks are in memory while a chain is checked.
const CHUNK: usize = 1000;

/// A chain on disk.
pub(super) struct BlockFile {
    path: PathBuf,
    /// Which file it is, whatever file has the path by now.
    id: FileId,
    last: LastBlock,
    open: Opener,
    /// `None` after a failure.
    database: Option<Database>,
}

/// Makes a database of an open file. It is a parameter so that tests can make disks that fill up.
type Opener = Box<dyn Fn(File) -> Result<Database, DatabaseError> + Send>;

/// A file's device and inode.
type FileId = (u64, u64);

impl BlockFile {
    /// Opens the file, or creates it, and checks its chain. Gives the newest block, too.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Block>), StoreError> {
        Self::open_with(path, Box::new(open_database))
    }

    fn open_with(path: &Path, open: Opener) -> Result<(Self, Option<Block>), StoreError> {
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => Err(unusable(path)(io::Error::other("it is no regular file"))),
            Ok(found) if found.len() == 0 => Err(StoreError::Empty { path: path.to_owned() }),
            Ok(_) => Self::read(path, existing(path).map_err(unusable(path))?, open),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path, open),
            Err(error) => Err(unusable(path)(error)),
        }
    }

    fn create(path: &Path, open: Opener) -> Result<(Self, Option<Block>), StoreError> {
        let file = File::options().read(true).write(true).create_new(true).open(path).map_err(unusable(path))?;
        Self::read(path, file, open).inspect_err(|_| {
            // Half a store could not be opened the next time.
            let _ = fs::remove_file(path);
        })
    }

    fn read(path: &Path, file: File, open: Opener) -> Result<(Self, Option<Block>), StoreError> {
        let id = identity(&file.metadata().map_err(unusable(path))?);
        let database = open(file).map_err(|error| opening(path, error))?;
        let beside = LastBlock::path_beside(path);
        let last = LastBlock::open(beside.clone()).map_err(unusable(&beside))?;
        let mut file = Self { path: path.to_owned(), id, last, open, database: Some(database) };
        file.claim()?;
        let found = file.check()?;
        let lost = file.lost(found.as_ref())?;
        // The files' names have to be on disk as well. A file system that cannot sync a folder does not need that.
        let _ = File::open(regular::folder_of(path)).and_then(|folder| folder.sync_all());
        let (repaired, tip) = (lost.is_some(), lost.or(found));
        let height = tip.as_ref().map_or(0, |tip| tip.height);
        tracing::info!(store = %path.display(), height, repaired, "the chain was opened");
        Ok((file, tip))
    }

    /// The accepted block that the database has lost, which is then put back.
    fn lost(&mut self, tip: Option<&Block>) -> Result<Option<Block>, StoreError> {
        let last = self.last.read().map_err(unusable(&LastBlock::path_beside(&self.path)))?;
        let tip = tip.map_or_else(genesis, Block::id);
        let Some(last) = last.filter(|last| last.height > tip.height) else { return Ok(None) };
        if last.check_follows(tip).is_err() {
            return Err(StoreError::Lost { path: self.path.clone(), height: tip.height, last: last.height });
        }
        self.put(&last)?;
        Ok(Some(last))
    }

    /// Makes the table, unless the database belongs to another program.
    fn claim(&mut self) -> Result<(), StoreError> {
        let foreign = self.with(|database| {
            let transaction = database.begin_write()?;
            let foreign = transaction.list_tables()?.find(|table| table.name() != BLOCKS.name());
            if foreign.is_none() {
                transaction.open_table(BLOCKS)?;
                transaction.commit()?;
            }
            Ok(foreign.map(|table| table.name().to_owned()))
        })?;
        match foreign {
            None => Ok(()),
            Some(table) => Err(self.not_a_chain(format!("a database with a table named {table:?}"))),
        }
    }

    /// Walks the whole chain and gives its newest block. Every hash is computed again, so that an altered chain is never built upon. With
    /// all of opening this takes 1.7 µs a block (20,000 blocks on a 2-core cloud machine).
    fn check(&mut self) -> Result<Option<Block>, StoreError> {
        let mut newest: Option<Block> = None;
        loop {
            let Some(from) = newest.as_ref().map_or(Some(0), |newest| newest.height.checked_add(1)) else {
                return Ok(newest);
            };
            let chunk = self.range(from, u64::MAX, CHUNK)?;
            if chunk.is_empty() {
                return Ok(newest);
            }
            for block in chunk {
                let below = newest.as_ref().map_or_else(genesis, Block::id);
                let height = below.height.saturating_add(1);
                let broken = |problem| StoreError::Broken { path: self.path.clone(), height, problem };
                block.check_follows(below).map_err(broken)?;
                newest = Some(block);
            }
        }
    }

    /// See [`Store::put`](super::store::Store::put).
    pub(super) fn put(&mut self, block: &Block) -> Result<(), StoreError> {
        let json = serde_json::to_vec(block).map_err(|error| self.failed(error.to_string()))?;
        let below = block.height.saturating_sub(1);
        let found = self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let found = {
                let mut blocks = transaction.open_table(BLOCKS)?;
                let found = blocks.get(below)?.map(|json| json.value().to_vec());
                blocks.insert(block.height, json.as_slice())?;
                found
            };
            // The file may have been written by others while it was closed after a failure. Never build on another chain.
            if below > 0 && found.as_deref().and_then(parse).is_none_or(|found| found.hash != block.prev) {
                transaction.abort()?;
                return Ok(false);
            }
            transaction.commit()?;
            Ok(true)
        })?;
        if !found {
            return Err(self.failed(format!("it no longer holds block {below}")));
        }
        self.last.write(block).map_err(|error| self.failed(error.to_string()))
    }

    /// See [`Store::range`](super::store::Store::range).
    pub(super) fn range(&mut self, from: u64, tip: u64, limit: usize) -> Result<Vec<Block>, StoreError> {
        if from > tip {
            return Ok(Vec::new());
        }
        let rows = self.with(|database| {
            let blocks = database.begin_read()?.open_table(BLOCKS)?;
            let rows = blocks.range(from..=tip)?.take(limit);
            rows.map(|row| row.map(|(height, json)| (height.value(), parse(json.value()))).map_err(redb::Error::from))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let block = |(height, block): (u64, Option<Block>)| {
            block
                .filter(|block| block.height == height)
                .ok_or_else(|| self.not_a_chain(format!("no block at height {height}, but something else")))
        };
        rows.into_iter().map(block).collect()
    }

    /// Works on the database, opening it first if an earlier failure closed it. A file that is gone from its path would be written in
    /// vain, so that is a failure, too.
    fn with<T>(&mut self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let found = fs::metadata(&self.path).map_err(|error| self.failed(error.to_string()))?;
        if identity(&found) != self.id {
            return Err(self.failed("another file has its name; put the chain's file back or start anew".into()));
        }
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                let file = existing(&self.path).map_err(|error| self.failed(error.to_string()))?;
                (self.open)(file).map_err(|error| self.failed(error.to_string()))?
            }
        };
        let result = work(&database).map_err(|error| self.failed(error.to_string()))?;
        self.database = Some(database);
        Ok(result)
    }

    fn failed(&self, reason: String) -> StoreError {
        StoreError::Failed { path: self.path.clone(), reason }
    }

    fn not_a_chain(&self, found: String) -> StoreError {
        StoreError::NotAChain { path: self.path.clone(), found }
    }
}

impl std::fmt::Debug for BlockFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn parse(json: &[u8]) -> Option<Block> {
    serde_json::from_slice(json).ok()
}

fn existing(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn identity(file: &Metadata) -> FileId {
    (file.dev(), file.ino())
}

/// Opens the database with redb's check of every page. Without it redb trusts a file that was altered, and may then panic. The sizes in its
/// header it trusts in any case: where they are wrong, a build with assertions panics, and nobody has shown that others cannot. So a panic
/// says that the file is damaged.
fn open_database(file: File) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    let backend = FileBackend::new(file)?;
    panic::catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend)))
        .unwrap_or_else(|_| Err(StorageError::Corrupted("its header points out of the file".into()).into()))
}

fn unusable(path: &Path) -> impl Fn(io::Error) -> StoreError {
    |error| StoreError::Unusable { path: path.to_owned(), reason: error.to_string() }
}

fn opening(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::Locked { path: path.to_owned() }
        }
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            unusable(path)(error)
        }
        other => StoreError::NotAChain {
            path: path.to_owned(),
            found: format!("something else or a damaged file ({other})"),
        },
    }
}

/// A disk that can be full, for tests.
#[cfg(test)]
pub(super) mod full_disk {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;

    use super::*;

    /// A file on a disk that is full while the switch is on.
    #[derive(Debug)]
    struct Disk(FileBackend, Arc<AtomicBool>);

    impl Disk {
        fn room(&self) -> io::Result<()> {
            if self.1.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.room()?;
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.room()?;
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.room()?;
            self.0.write(offset, data)
        }
        fn close(&self) -> io::Result<()> {
            self.0.close()
        }
    }

    /// A chain on such a disk.
    pub(in crate::service) fn open(path: &Path, full: &Arc<AtomicBool>) -> Result<BlockFile, StoreError> {
        let switch = Arc::clone(full);
        let opener = move |file: File| {
            let disk = Disk(FileBackend::new(file)?, Arc::clone(&switch));
            Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(disk)
        };
        BlockFile::open_with(path, Box::new(opener)).map(|(file, _)| file)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::service::chain::{ChainError, mined};

    /// redb's header: its magic number, the sizes, and the two newest commits.
    const HEADER: usize = 320;

    fn database(path: &Path) -> Database {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        open_database(file).unwrap()
    }

    /// Writes rows as they are, whether or not they make a chain.
    fn write_rows(path: &Path, rows: &[(u64, Vec<u8>)]) {
        let database = database(path);
        let transaction = database.begin_write().unwrap();
        for (height, json) in rows {
            transaction.open_table(BLOCKS).unwrap().insert(height, json.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }

    fn rows(blocks: &[Block]) -> Vec<(u64, Vec<u8>)> {
        blocks.iter().map(|block| (block.height, serde_json::to_vec(block).unwrap())).collect()
    }

    fn temporary() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.redb");
        (folder, path)
    }

    #[test]
    fn blocks_outlive_the_store() {
        let (_folder, path) = temporary();
        let blocks = mined(3);
        for (count, block) in blocks.iter().enumerate() {
            let (mut file, tip) = BlockFile::open(&path).unwrap();
            assert_eq!(tip.as_ref(), count.checked_sub(1).map(|last| &blocks[last]));
            file.put(block).unwrap();
        }
        assert_eq!(BlockFile::open(&path).unwrap().1.as_ref(), blocks.last());
    }

    #[test]
    fn a_full_disk_refuses_blocks_until_there_is_room() {
        let (_folder, path) = temporary();
        let full = Arc::new(AtomicBool::new(false));
        let mut file = full_disk::open(&path, &full).unwrap();
        let blocks = mined(3);
        file.put(&blocks[0]).unwrap();
        full.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            assert!(matches!(file.put(&blocks[1]), Err(StoreError::Failed { .. })));
        }
        full.store(false, Ordering::SeqCst);
        assert_eq!(file.range(1, 1, 10).unwrap(), blocks[..1]);
        file.put(&blocks[1]).unwrap();
        file.put(&blocks[2]).unwrap();
        drop(file);
        let (mut file, tip) = BlockFile::open(&path).unwrap();
        assert_eq!(tip.as_ref(), blocks.last());
        assert_eq!(file.range(1, 3, 10).unwrap(), blocks);
    }

    #[test]
    fn a_first_start_without_room_leaves_no_file() {
        let (_folder, path) = temporary();
        let full = Arc::new(AtomicBool::new(true));
        assert!(full_disk::open(&path, &full).is_err());
        assert!(!path.exists());
        full.store(false, Ordering::SeqCst);
        assert!(full_disk::open(&path, &full).is_ok());
    }

    #[test]
    fn no_damaged_byte_costs_the_newest_block() {
        let (folder, path) = temporary();
        let blocks = mined(3);
        let (mut file, _) = BlockFile::open(&path).unwrap();
        blocks.iter().for_each(|block| file.put(block).unwrap());
        // What a process that is killed now leaves behind.
        let bytes = fs::read(&path).unwrap();
        let (damaged, last) = (folder.path().join("damaged"), LastBlock::path_beside(&path));
        let open = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            fs::write(&damaged, bytes).unwrap();
            BlockFile::open(&damaged)
        };
        let newest = blocks[2].hash.to_string();
        let texts = (HEADER..bytes.len()).filter(|&at| bytes[at..].starts_with(newest.as_bytes()));
        let (mut whole, mut mended) = (0, 0);
        for at in (0..HEADER).step_by(7).chain(texts) {
            let beside = LastBlock::path_beside(&damaged);
            let _ = fs::remove_file(&beside);
            let without = open(at).map(|(_, tip)| tip);
            fs::copy(&last, &beside).unwrap();
            match open(at) {
                Ok((_, tip)) => {
                    assert_eq!(tip.as_ref(), blocks.last(), "byte {at}");
                    *if without.unwrap() == tip { &mut whole } else { &mut mended } += 1;
                }
                // A file that redb refuses is refused, and the operator knows.
                Err(error) => assert!(without.is_err(), "byte {at}: {error}"),
            }
        }
        assert!(whole > 0 && mended > 0, "{whole} times nothing was lost, {mended} times it was mended");
    }

    /// Found by a fuzzer: redb believes these sizes, and panics.
    #[test]
    fn a_header_that_points_out_of_the_file_is_refused() {
        let (folder, path) = temporary();
        let (mut file, _) = BlockFile::open(&path).unwrap();
        mined(3).iter().for_each(|block| file.put(block).unwrap());
        let mut bytes = fs::read(&path).unwrap(); // what a process that is killed now leaves behind
        bytes[16..33].copy_from_slice(&[2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0xff, 0xfe, 0xff, 0x2a, 0xff, 3, 0]);
        let damaged = folder.path().join("damaged");
        fs::write(&damaged, bytes).unwrap();
        let Err(error) = BlockFile::open(&damaged) else { panic!("opened a damaged chain") };
        assert!(matches!(error, StoreError::NotAChain { .. }), "{error}");
    }

    #[test]
    fn a_chain_that_ends_blocks_before_the_newest_is_refused() {
        let (_folder, path) = temporary();
        let blocks = mined(3);
        let (mut file, _) = BlockFile::open(&path).unwrap();
        file.put(&blocks[0]).unwrap();
        let older = fs::read(&path).unwrap();
        blocks[1..].iter().for_each(|block| file.put(block).unwrap());
        drop(file);
        fs::write(&path, older).unwrap();
        let Err(error) = BlockFile::open(&path) else { panic!("opened a chain that has lost blocks") };
        assert!(matches!(error, StoreError::Lost { height: 1, last: 3, .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_gone_or_replaced_is_not_written() {
        let (folder, path) = temporary();
        let elsewhere = folder.path().join("elsewhere");
        let blocks = mined(2);
        let (mut file, _) = BlockFile::open(&path).unwrap();
        file.put(&blocks[0]).unwrap();
        fs::rename(&path, &elsewhere).unwrap();
        assert!(matches!(file.put(&blocks[1]), Err(StoreError::Failed { .. })));
        assert!(!path.exists());
        fs::copy(&elsewhere, &path).unwrap();
        let error = file.put(&blocks[1]).unwrap_err();
        assert!(error.to_string().contains("another file has its name"), "{error}");
        fs::rename(&elsewhere, &path).unwrap();
        file.put(&blocks[1]).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_opened_never() {
        let (folder, path) = temporary();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        for path in [path.as_path(), folder.path(), Path::new("/dev/null"), Path::new("/dev/zero")] {
            let Err(error) = BlockFile::open(path) else { panic!("opened {path:?}") };
            assert!(error.to_string().contains("it is no regular file"), "{error}");
        }
    }

    #[test]
    fn an_empty_file_is_no_new_chain() {
        let (_folder, path) = temporary();
        fs::write(&path, "").unwrap();
        let Err(error) = BlockFile::open(&path) else { panic!("opened an empty file") };
        assert!(matches!(error, StoreError::Empty { .. }) && error.to_string().contains("remove it"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn another_chain_is_not_built_upon() {
        let (_folder, path) = temporary();
        let blocks = mined(3);
        let (mut file, _) = BlockFile::open(&path).unwrap();
        file.put(&blocks[0]).unwrap();
        assert!(matches!(file.put(&blocks[2]), Err(StoreError::Failed { .. })));
        assert_eq!(file.range(1, 9, 10).unwrap(), blocks[..1]);
        file.put(&blocks[1]).unwrap();
    }

    #[test]
    fn broken_chains_are_refused() {
        let blocks = mined(4);
        let mut gap = blocks.clone();
        gap.remove(2);
        let mut altered = blocks.clone();
        altered[1].nonce += 1;
        let headless = blocks[1..].to_vec();
        let below_genesis = vec![Block { height: 0, ..blocks[0].clone() }];
        for (chain, at) in [(gap, 3), (altered, 2), (headless, 1), (below_genesis, 1)] {
            let (_folder, path) = temporary();
            write_rows(&path, &rows(&chain));
            match BlockFile::open(&path) {
                Err(StoreError::Broken { height, problem, .. }) => {
                    assert_eq!(height, at);
                    assert!(matches!(problem, ChainError::Height { .. } | ChainError::Hash { .. }));
                }
                other => panic!("expected a broken chain at {at}, got {other:?}"),
            }
        }
    }

    #[test]
    fn rows_that_are_no_blocks_are_refused() {
        let blocks = mined(2);
        let (_folder, path) = temporary();
        write_rows(&path, &[(1, b"{}".to_vec())]);
        assert!(matches!(BlockFile::open(&path), Err(StoreError::NotAChain { .. })));
        let (_folder, path) = temporary();
        write_rows(&path, &[(1, rows(&blocks)[1].1.clone())]);
        assert!(matches!(BlockFile::open(&path), Err(StoreError::NotAChain { .. })));
    }

    #[test]
    fn somebody_elses_database_is_left_alone() {
        let (_folder, path) = temporary();
        let database = database(&path);
        let transaction = database.begin_write().unwrap();
        transaction.open_table(TableDefinition::<u64, u64>::new("accounts")).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let Err(error) = BlockFile::open(&path) else { panic!("opened somebody else's database") };
        assert!(error.to_string().contains("accounts"), "{error}");
    }

    #[test]
    fn files_that_are_no_stores_are_refused_and_left_as_they_are() {
        let (folder, path) = temporary();
        for content in [b"#!/bin/sh\n".to_vec(), b"\0".repeat(10_000), b"redb".repeat(5_000)] {
            std::fs::write(&path, &content).unwrap();
            assert!(matches!(BlockFile::open(&path), Err(StoreError::NotAChain { .. })), "{} bytes", content.len());
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        assert!(matches!(BlockFile::open(folder.path()), Err(StoreError::Unusable { .. })));
        let lost = folder.path().join("missing").join("chain");
        let Err(error) = BlockFile::open(&lost) else { panic!("opened a file in no folder") };
        assert!(matches!(error, StoreError::Unusable { .. }) && error.to_string().contains("missing"), "{error}");
    }

    #[test]
    fn a_store_in_use_is_refused() {
        let (_folder, path) = temporary();
        let _file = BlockFile::open(&path).unwrap();
        assert!(matches!(BlockFile::open(&path), Err(StoreError::Locked { .. })));
    }
}
