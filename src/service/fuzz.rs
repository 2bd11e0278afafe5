//! What clients send, and what the chain's files may hold.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::runtime::{Builder, Runtime};

use super::accept;
use super::chain::{self, Block, mined};
use super::hosts::Hosts;
use super::http;
use super::last_block::LastBlock;
use super::live::LiveChain;
use super::refusals::Refusals;
use super::store::Store;
use super::zeros::Zeros;

/// What is on the way between a client and the service.
const BUFFER: usize = 1 << 16;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

/// A connection's bytes, with as many requests as they are, to a service whose blocks need one zero.
pub(crate) fn requests(bytes: &[u8]) -> bool {
    let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let chain = Arc::new(LiveChain::open(None, Zeros::Fixed(1), false, clock).unwrap());
    let hosts = Hosts::new([127, 0, 0, 1].into(), vec![]).unwrap();
    let answer = RUNTIME.with(|runtime| {
        let pages = TowerToHyperService::new(http::router(Arc::clone(&chain), hosts, Arc::new(Refusals::default())));
        runtime.block_on(async {
            let (client, service) = tokio::io::duplex(BUFFER);
            let (mut reader, mut writer) = split(client);
            let mut answer = Vec::new();
            let serve = accept::protocol().serve_connection(TokioIo::new(service), pages);
            let write = async {
                let _ = writer.write_all(bytes).await; // the service may end before it has read all
                let _ = writer.shutdown().await;
            };
            let (_, (), read) = tokio::join!(serve, write, reader.read_to_end(&mut answer));
            read.unwrap();
            answer
        })
    });
    if let Some(head) = answer.first_chunk::<10>() {
        // "100 Continue" is an answer, too.
        assert!(head.starts_with(b"HTTP/1.") && matches!(head[9], b'1' | b'2' | b'4'), "{}", head.escape_ascii());
    }
    let blocks = RUNTIME.with(|runtime| runtime.block_on(chain.blocks(0, usize::MAX))).unwrap();
    assert_eq!(check(&blocks), chain.next().0.height);
    !blocks.is_empty()
}

/// That blocks are a chain. Gives its height.
fn check(blocks: &[Block]) -> u64 {
    let mut below = chain::genesis();
    for block in blocks {
        block.check_follows(below).unwrap();
        below = block.id();
    }
    below.height
}

/// A chain of three blocks, closed as it should be; the same when its process was killed; and the file beside them.
static REAL: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let folder = crate::fuzz::folder();
    let path = folder.path().join("chain");
    let (mut store, _) = Store::open(Some(&path)).unwrap();
    mined(3).iter().for_each(|block| store.put(block).unwrap());
    let killed = fs::read(&path).unwrap();
    drop(store);
    [fs::read(&path).unwrap(), killed, fs::read(LastBlock::path_beside(&path)).unwrap()]
});

/// The chain's files. The first byte says what follows: changes of a real chain's file, or a whole file; and after it, for half of all inputs,
/// what is beside it.
pub(crate) fn chain(bytes: &[u8]) -> bool {
    let Some((&what, rest)) = bytes.split_first() else { return false };
    let (file, beside) = match what % 4 {
        0 => (changed(&REAL[0], rest), REAL[2].clone()),
        1 => (changed(&REAL[1], rest), REAL[2].clone()),
        2 => (rest.to_vec(), REAL[2].clone()),
        _ => (REAL[0].clone(), rest.to_vec()),
    };
    let folder = crate::fuzz::folder();
    let path = folder.path().join("chain");
    fs::write(&path, file).unwrap();
    if what & 4 == 0 {
        fs::write(LastBlock::path_beside(&path), beside).unwrap();
    }
    let Some(blocks) = open(&path) else { return false };
    // What opens goes on as a chain.
    let all = mined(4);
    if blocks == all[..blocks.len()] && blocks.len() < all.len() {
        let (mut store, _) = Store::open(Some(&path)).unwrap();
        store.put(&all[blocks.len()]).unwrap();
        drop(store);
        assert_eq!(open(&path).unwrap(), all[..=blocks.len()]);
    }
    true
}

/// The blocks of a file that opens, which are a chain.
fn open(path: &Path) -> Option<Vec<Block>> {
    let (mut store, tip) = Store::open(Some(path)).ok()?;
    let height = tip.map_or(0, |tip| tip.height);
    let blocks = store.range(0, height, usize::MAX).unwrap();
    assert_eq!(check(&blocks), height);
    Some(blocks)
}

/// The file with changes: where (three bytes), how many bytes (one), and which. None of them: the file ends there.
fn changed(file: &[u8], mut changes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    while let Some((&[a, b, c, count], rest)) = changes.split_first_chunk() {
        let at = u32::from_le_bytes([a, b, c, 0]) as usize % (file.len() + 1);
        let (new, rest) = rest.split_at(rest.len().min(count.into()));
        if count == 0 {
            file.truncate(at);
        }
        file.iter_mut().skip(at).zip(new).for_each(|(old, new)| *old = *new);
        changes = rest;
    }
    file
}
