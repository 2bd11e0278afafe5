//! Solutions on disk, so that a node that is killed offers them again when it is back.
//!
//! What is kept: every solution that this node has found and whose settlement it has not heard of, and every one that it hands in as
//! leader, until the source's final word. After a restart all of them are the node's own, offered to every leader like any other. Where
//! only the leader has a store, it keeps those of the others too.
//!
//! ```text
//! rules, feed ──keep──> Store ──one order at a time──> thread: fsync, rename ([`file`])
//!                         ^────────── result ────────────┘
//! ```
//!
//! A thread of its own writes, and nothing ever waits for it: a disk that stalls must hold up no heartbeat, and until a solution is on
//! disk nothing makes it safer than telling the others. A disk that fails is told, and tried again at every heartbeat.

mod file;

use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use file::SolutionFile;
pub use file::StoreError;

use crate::cluster::MAX_PENDING;
use crate::work::Solution;

/// A write that takes longer is told at the next heartbeat: the disk hangs.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// A node that ends gives its last write so long; a disk at work takes 1 to 20 ms.
const LAST_WRITE: Duration = Duration::from_millis(300);

/// A node's solutions in a file. No other node has the file as long as this lives.
#[derive(Debug)]
pub struct Store {
    /// What the file is to hold.
    wanted: Vec<Solution>,
    /// What it is known to hold. Nothing until this node has written: so every start shows whether the disk can be written.
    written: Option<Vec<Solution>>,
    orders: mpsc::Sender<Vec<Solution>>,
    /// One for each order. There is one order at a time, so neither queue grows.
    results: UnboundedReceiver<io::Result<Vec<Solution>>>,
    is_writing: bool,
    /// When the write under way was first seen to be so.
    writing_since: Option<Instant>,
    /// What was wrong with the last write, or is with the one under way, and whether that is news.
    trouble: Option<String>,
    is_news: bool,
}

impl Store {
    /// Opens the store, which is empty where there is no file.
    ///
    /// # Errors
    /// When another node has the file, something else is in it, or there can be none. It is then left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (file, kept) = SolutionFile::open(path)?;
        let (orders, ordered) = mpsc::channel::<Vec<Solution>>();
        let (tell, results) = unbounded_channel();
        let write = move || {
            // Ends with the store; the file is free for others after its last write.
            while let Ok(solutions) = ordered.recv() {
                let _ = tell.send(file.replace(&solutions).map(|()| solutions)); // or nobody wants to know any more
            }
        };
        let started = thread::Builder::new().name("store".to_owned()).spawn(write);
        started.map_err(|reason| StoreError::Unusable { path: path.to_owned(), reason })?;
        Ok(Self::new(kept, orders, results))
    }

    fn new(
        wanted: Vec<Solution>,
        orders: mpsc::Sender<Vec<Solution>>,
        results: UnboundedReceiver<io::Result<Vec<Solution>>>,
    ) -> Self {
        Self {
            wanted,
            written: None,
            orders,
            results,
            is_writing: false,
            writing_since: None,
            trouble: None,
            is_news: false,
        }
    }

    /// What is to be kept; after [`Store::open`], what was.
    pub(super) fn kept(&self) -> &[Solution] {
        &self.wanted
    }

    /// From now on these are to be kept, of too many the last.
    pub(super) fn keep(&mut self, mut solutions: Vec<Solution>) {
        solutions.drain(..solutions.len().saturating_sub(MAX_PENDING));
        let is_new = self.wanted != solutions;
        self.wanted = solutions;
        if is_new || self.trouble.is_none() {
            self.write();
        }
    }

    /// Tries again what has failed, and notices a disk that hangs.
    pub(super) fn retry(&mut self, now: Instant) {
        if self.trouble.is_some() {
            self.write();
        } else if self.is_writing && now >= *self.writing_since.get_or_insert(now) + LONGEST_WRITE {
            self.trouble = Some(format!("no write has ended for {} s", LONGEST_WRITE.as_secs()));
            self.is_news = true;
        }
    }

    /// Waits for the end of the write that is under way; for ever if there is none. May be cancelled.
    pub(super) async fn written(&mut self) {
        match self.results.recv().await {
            Some(result) => self.note(result),
            None => pending().await,
        }
    }

    /// What is wrong, or that nothing is any more; once, when it begins or ends.
    pub(super) fn take_news(&mut self) -> Option<Option<String>> {
        std::mem::take(&mut self.is_news).then(|| self.trouble.clone())
    }

    /// Writes what is not written yet, if the disk is not too slow for that.
    pub(super) async fn end(&mut self) {
        self.write();
        let rest = async {
            while self.is_writing {
                self.written().await;
            }
        };
        let _ = timeout(LAST_WRITE, rest).await;
    }

    fn write(&mut self) {
        if !self.is_writing && self.written.as_ref() != Some(&self.wanted) {
            self.is_writing = true;
            if self.orders.send(self.wanted.clone()).is_err() {
                self.note(Err(io::Error::other("the thread that writes it has ended")));
            }
        }
    }

    fn note(&mut self, result: io::Result<Vec<Solution>>) {
        (self.is_writing, self.writing_since) = (false, None);
        let had_trouble = self.trouble.is_some();
        match result {
            Ok(solutions) => {
                (self.written, self.trouble) = (Some(solutions), None);
                self.write(); // what has changed meanwhile
            }
            Err(problem) => (self.written, self.trouble) = (None, Some(problem.to_string())),
        }
        self.is_news |= had_trouble != self.trouble.is_some();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    /// Keeps these, and lets the disk say what comes of it.
    async fn settle(store: &mut Store, kept: &[Solution]) {
        store.keep(kept.to_vec());
        while store.is_writing {
            store.written().await;
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_there_again() {
        let folder = Folder::new();
        let mut store = Store::open(&folder.store()).unwrap();
        assert_eq!(store.kept(), []);
        for kept in [solutions(1), solutions(3), solutions(3)[1..].to_vec(), vec![]] {
            store.keep(kept.clone());
            store.end().await;
            assert_eq!(store.take_news(), None);
            drop(store);
            store = reopen(&folder.store());
            assert_eq!(store.kept(), kept);
        }
    }

    #[tokio::test]
    async fn the_last_of_many_changes_is_what_stays() {
        let folder = Folder::new();
        let mut store = Store::open(&folder.store()).unwrap();
        for count in (0..=40).chain([100]) {
            store.keep(solutions(count));
        }
        store.end().await;
        drop(store);
        assert_eq!(reopen(&folder.store()).kept(), &solutions(100)[100 - MAX_PENDING..]);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_told_until_it_goes_on() {
        let ((orders, ordered), (tell, results)) = (mpsc::channel(), unbounded_channel());
        let (mut store, start) = (Store::new(vec![], orders, results), tokio::time::Instant::now().into_std());
        for (kept, seconds) in [(solutions(1), 0), (solutions(2), 9)] {
            store.keep(kept);
            store.retry(start + Duration::from_secs(seconds));
            assert_eq!(store.take_news(), None);
        }
        store.retry(start + LONGEST_WRITE);
        assert!(store.take_news().unwrap().unwrap().contains("10 s"));
        store.retry(start + LONGEST_WRITE * 2);
        assert_eq!(store.take_news(), None, "told once");
        for _ in 0..2 {
            tell.send(Ok(ordered.recv().unwrap())).unwrap();
            store.written().await;
        }
        assert_eq!((store.take_news(), store.is_writing), (Some(None), false));
    }

    #[tokio::test]
    async fn a_disk_that_fails_is_told_once_and_tried_again() {
        let folder = Folder::new();
        let mut store = Store::open(&folder.store()).unwrap();
        let (first, second) = (solutions(1), solutions(2));
        settle(&mut store, &first).await;
        // Nothing can be created where a folder is, whoever runs the test.
        let obstacle = folder.path("solutions.new");
        fs::create_dir(&obstacle).unwrap();
        settle(&mut store, &second).await;
        assert!(store.take_news().unwrap().is_some());
        settle(&mut store, &solutions(3)).await;
        assert_eq!(store.take_news(), None);
        fs::remove_dir(&obstacle).unwrap();
        settle(&mut store, &solutions(3)).await;
        assert_eq!(store.take_news(), None, "not tried at every step");
        store.retry(tokio::time::Instant::now().into_std());
        settle(&mut store, &second).await;
        assert_eq!(store.take_news(), Some(None));
        drop(store);
        assert_eq!(reopen(&folder.store()).kept(), second);
    }
}
