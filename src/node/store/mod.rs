//! Solutions on disk, so that a node that is killed reports them again when it is back.
//!
//! Every unsettled block that this node knows of is kept. After a restart all of them are the node's own, reported to every leader like any
//! other.
//!
//! ```text
//! rules ──keep──> Keeper ──one order at a time──> Store's thread: fsync, rename ([`file`])
//!                   ^─────────── result ────────────┘
//! ```
//!
//! A thread of its own writes, and nothing ever waits for it: a disk that stalls must hold up no heartbeat. Until a solution is on disk,
//! reporting it to other nodes is what protects it.

mod file;
mod keeper;

use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

pub(super) use file::SolutionFile;
pub use file::StoreError;
pub(super) use keeper::Keeper;

use crate::work::Solution;

/// How long a node that ends waits for its last write; a disk at work takes 1 to 20 ms.
const LAST_WRITE: Duration = Duration::from_millis(300);

/// The result of a write: what the file holds now, or why the write failed.
pub(crate) type Written = Result<Vec<Solution>, String>;

/// A node's solutions in a file. No other node has the file as long as this lives.
#[derive(Debug)]
pub struct Store {
    /// What the file held when it was opened.
    kept: Vec<Solution>,
    orders: mpsc::Sender<Vec<Solution>>,
    /// One for each order.
    results: UnboundedReceiver<Written>,
}

impl Store {
    /// Opens the store, which is empty where there is no file.
    ///
    /// # Errors
    /// Another node has the file, it holds something else, or it cannot be used. It is then left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (file, kept) = SolutionFile::open(path)?;
        let (orders, ordered) = mpsc::channel::<Vec<Solution>>();
        let (answer, results) = unbounded_channel();
        let write = move || {
            // Ends with the store; the file is free for others after its last write.
            while let Ok(solutions) = ordered.recv() {
                let written = file.replace(&solutions).map(|()| solutions).map_err(|problem| problem.to_string());
                let _ = answer.send(written); // fails once the store is dropped
            }
        };
        let started = thread::Builder::new().name("store".to_owned()).spawn(write);
        started.map_err(|reason: io::Error| StoreError::Unusable { path: path.to_owned(), reason })?;
        Ok(Self { kept, orders, results })
    }

    /// What the file held when it was opened.
    pub(super) fn kept(&self) -> &[Solution] {
        &self.kept
    }

    /// Orders a write, after those that were ordered before: the file is to hold these solutions and no others.
    pub(super) fn write(&self, solutions: Vec<Solution>) {
        let _ = self.orders.send(solutions); // fails only if the thread has panicked; then no result comes, which is noticed
    }

    /// Waits for the end of a write. Cancel-safe. `None` when the thread has ended.
    pub(super) async fn written(&mut self) -> Option<Written> {
        self.results.recv().await
    }

    /// The result of the last write, unless the disk is too slow.
    pub(super) async fn last(&mut self) -> Option<Written> {
        timeout(LAST_WRITE, self.written()).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use super::file::tests::{Folder, solutions};
    use super::*;

    /// Opens a store whose last owner may be about to end.
    fn reopen(path: &Path) -> Store {
        loop {
            match Store::open(path) {
                Err(StoreError::Locked { .. }) => thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_is_there_again() {
        let folder = Folder::new();
        let mut store = Store::open(&folder.store()).unwrap();
        assert_eq!(store.kept(), []);
        for kept in [solutions(1), solutions(3), solutions(3)[1..].to_vec(), vec![]] {
            store.write(kept.clone());
            assert_eq!(store.written().await, Some(Ok(kept.clone())));
            drop(store);
            store = reopen(&folder.store());
            assert_eq!(store.kept(), kept);
        }
    }

    #[tokio::test]
    async fn a_disk_that_fails_says_so_and_works_again() {
        let folder = Folder::new();
        let mut store = Store::open(&folder.store()).unwrap();
        // Nothing can be created where a folder is, whoever runs the test.
        let obstacle = folder.path("solutions.new");
        std::fs::create_dir(&obstacle).unwrap();
        store.write(solutions(1));
        assert!(store.written().await.unwrap().is_err());
        std::fs::remove_dir(&obstacle).unwrap();
        store.write(solutions(2));
        assert_eq!(store.last().await, Some(Ok(solutions(2))));
    }
}
