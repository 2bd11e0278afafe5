//! The chain as it is served: reads are answered at once, and writes are made one after another.
//!
//! What the next block builds on is published under a lock that is never held across a wait or a disk access. So asking for it takes
//! microseconds whatever the disk does. The store has a lock of its own, which is awaited without blocking a thread and held through the
//! write: at most one thread is ever busy with the disk. A block costs one commit, which syncs once.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;

use super::ServiceError;
use super::chain::{self, Block, Judgement, Submission};
use super::store::{Store, StoreError};
use super::zeros::{Difficulty, Zeros};
use crate::work::BlockId;

/// The chain of a running service.
pub(super) struct LiveChain {
    published: RwLock<Published>,
    store: Arc<Mutex<Store>>,
    log_blocks: bool,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

/// What can be answered without the disk.
struct Published {
    newest: Option<Block>,
    difficulty: Difficulty,
    /// Why the last access to the store failed.
    failure: Option<String>,
}

impl Published {
    fn tip(&self) -> BlockId {
        self.newest.as_ref().map_or_else(chain::genesis, Block::id)
    }
}

/// What becomes of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is now a block of the chain, and on disk if the chain has a file.
    Accepted {
        /// The new block, which the next one builds on.
        tip: BlockId,
        /// The zeros that the next block needs.
        zeros: u32,
    },
    /// See [`Judgement::Stale`].
    Stale,
    /// See [`Judgement::Wrong`].
    Wrong,
}

/// Why a request got no answer: the store failed, or the thread that used it.
#[derive(Debug, thiserror::Error)]
pub(super) enum LiveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store's thread ended early: {0}; submit again")]
    Thread(#[from] tokio::task::JoinError),
}

impl LiveChain {
    pub(super) fn open(
        store: Option<&Path>,
        zeros: Zeros,
        log_blocks: bool,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Self, ServiceError> {
        let (store, newest) = Store::open(store)?;
        Ok(Self { log_blocks, ..Self::new(store, newest, zeros, clock) })
    }

    fn new(
        store: Store,
        newest: Option<Block>,
        zeros: Zeros,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let difficulty = Difficulty::new(zeros, newest.as_ref(), milliseconds(clock()));
        let published = RwLock::new(Published { newest, difficulty, failure: None });
        Self { published, store: Arc::new(Mutex::new(store)), log_blocks: true, clock: Box::new(clock) }
    }

    /// The block to build on, and the zeros that the next one needs.
    pub(super) fn next(&self) -> (BlockId, u32) {
        let now = self.now();
        self.read(|published| (published.tip(), published.difficulty.required(now)))
    }

    /// Judges a submission and keeps it if it is the next block. Once begun, a block is written and published even if
    /// nobody waits for the answer any more.
    ///
    /// # Errors
    /// The store did not take the block; the chain is unchanged.
    pub(super) async fn submit(self: &Arc<Self>, submission: Submission) -> Result<Outcome, LiveError> {
        // A bad submission is refused without waiting for the disk.
        match self.judge(&submission) {
            Judgement::Success(_) => {}
            Judgement::Stale => return Ok(Outcome::Stale),
            Judgement::Wrong => return Ok(Outcome::Wrong),
        }
        let chain = Arc::clone(self);
        self.with_store(move |store| {
            // Another block may have come first.
            let block = match chain.judge(&submission) {
                Judgement::Success(block) => block,
                Judgement::Stale => return Ok(Outcome::Stale),
                Judgement::Wrong => return Ok(Outcome::Wrong),
            };
            store.put(&block)?;
            Ok(chain.publish(block))
        })
        .await
    }

    /// Up to `limit` accepted blocks, oldest first, beginning at the height `from`.
    pub(super) async fn blocks(self: &Arc<Self>, from: u64, limit: usize) -> Result<Vec<Block>, LiveError> {
        let chain = Arc::clone(self);
        // A block above the tip may remain from a write that failed; it was never accepted.
        self.with_store(move |store| store.range(from, chain.read(|published| published.tip().height), limit)).await
    }

    /// Succeeds when blocks can be accepted, and else says why not. After a failure it tries, by writing the newest block again.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<(), LiveError> {
        let chain = Arc::clone(self);
        self.with_store(move |store| {
            match chain.read(|published| published.newest.clone().filter(|_| published.failure.is_some())) {
                Some(newest) => store.put(&newest)?,
                // Either nothing failed, or there is nothing to write yet: a read has to do.
                None => drop(store.range(0, u64::MAX, 1)?),
            }
            chain.recover();
            Ok(())
        })
        .await
    }

    async fn with_store<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, LiveError> {
        let mut store = Arc::clone(&self.store).lock_owned().await;
        let is_file = matches!(*store, Store::File(_));
        let chain = Arc::clone(self);
        let work = move || {
            let worked = work(&mut store);
            if let Err(failure) = &worked {
                chain.fail(failure.to_string());
            }
            worked
        };
        // Waking another thread may take milliseconds on a busy box, and a store in memory needs none.
        Ok(if is_file { tokio::task::spawn_blocking(work).await?? } else { work()? })
    }

    fn judge(&self, submission: &Submission) -> Judgement {
        let now = self.now();
        let (tip, zeros, promised) = self
            .read(|published| (published.tip(), published.difficulty.required(now), published.difficulty.promised()));
        match (chain::judge(tip, zeros, submission, now), promised) {
            (Judgement::Wrong, Some(promised)) => chain::judge(tip, promised.min(zeros), submission, now),
            (judgement, _) => judgement,
        }
    }

    /// Makes an accepted block the one to build on.
    fn publish(&self, block: Block) -> Outcome {
        self.recover();
        let (now, tip) = (self.now(), block.id());
        if self.log_blocks {
            let Block { height, hash, zeros, nonce, pool, .. } = &block;
            tracing::info!(height, %hash, zeros, nonce, pool, "block accepted");
        }
        self.write(|published| {
            published.difficulty.accept(&block);
            published.newest = Some(block);
            Outcome::Accepted { tip, zeros: published.difficulty.required(now) }
        })
    }

    /// Remembers why the store failed, and tells it unless it was told already.
    fn fail(&self, failure: String) {
        let before = self.write(|published| published.failure.replace(failure.clone()));
        if before.as_ref() != Some(&failure) {
            tracing::error!(%failure, "the block store failed");
        }
    }

    /// The store takes blocks.
    fn recover(&self) {
        if self.write(|published| published.failure.take()).is_some() {
            tracing::info!("the block store works again");
        }
    }

    fn now(&self) -> u64 {
        milliseconds((self.clock)())
    }

    // Neither closure can leave `Published` half changed, so a lock that a panic poisoned is as good as any.
    fn read<T>(&self, look: impl FnOnce(&Published) -> T) -> T {
        look(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Published) -> T) -> T {
        change(&mut self.published.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Milliseconds since 1970; 0 for a clock that is set to an earlier time.
fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::service::block_file::full_disk;
    use crate::service::chain::mined;

    fn submission(block: &Block) -> Submission {
        Submission { prev: Some(block.prev), timestamp: block.timestamp, nonce: block.nonce, pool: String::new() }
    }

    #[tokio::test]
    async fn a_full_disk_costs_no_more_than_the_blocks_it_had_no_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let file = full_disk::open(&folder.path().join("chain.redb"), &full).unwrap();
        let chain = Arc::new(LiveChain::new(Store::File(file), None, Zeros::Fixed(1), || UNIX_EPOCH));
        let blocks = mined(3);
        let accepted = async |block| matches!(chain.submit(submission(block)).await, Ok(Outcome::Accepted { .. }));

        assert!(accepted(&blocks[0]).await);
        full.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            let error = chain.submit(submission(&blocks[1])).await.unwrap_err();
            assert!(error.to_string().contains("chain.redb"), "{error}");
            assert_eq!(chain.next(), (blocks[0].id(), 1));
            assert!(chain.ready().await.is_err());
        }
        full.store(false, Ordering::SeqCst);
        assert!(chain.ready().await.is_ok());
        assert_eq!(chain.blocks(0, 10).await.unwrap().len(), 1);
        assert!(accepted(&blocks[1]).await && accepted(&blocks[2]).await);
        assert_eq!(chain.next().0, blocks[2].id());
    }

    #[tokio::test]
    async fn a_solution_that_was_found_before_a_restart_is_taken_after_it() {
        let blocks = mined(2);
        let tip = Block { zeros: 2, ..blocks[0].clone() };
        assert!(matches!(chain::judge(tip.id(), 2, &submission(&blocks[1]), 0), Judgement::Wrong));
        let zeros = Zeros::Adapt { interval: Duration::from_secs(10) };
        let store = Store::open(None).unwrap().0;
        let chain = Arc::new(LiveChain::new(store, Some(tip.clone()), zeros, || UNIX_EPOCH + Duration::from_secs(2)));
        assert_eq!(chain.next(), (tip.id(), 2));
        // Before the restart, one zero less may have been asked for.
        let accepted = Outcome::Accepted { tip: blocks[1].id(), zeros: 1 };
        assert!(matches!(chain.submit(submission(&blocks[1])).await, Ok(outcome) if outcome == accepted));
    }

    #[tokio::test]
    async fn a_block_is_kept_even_if_nobody_waits_for_the_answer() {
        let chain = Arc::new(LiveChain::open(None, Zeros::Fixed(1), true, || UNIX_EPOCH).unwrap());
        let block = mined(1).remove(0);
        let mut submitted = Box::pin(chain.submit(submission(&block)));
        std::future::poll_fn(|cx| std::task::Poll::Ready(submitted.as_mut().poll(cx).is_ready())).await;
        drop(submitted);
        // The store's lock is free again once the block is written.
        drop(chain.store.lock().await);
        assert_eq!(chain.next().0, block.id());
    }
}
