//! Messages per second through the wire codec.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headframe::cluster::{Epoch, Heartbeat, JobDone, Message, NodeId, Process, Standing};
use headframe::transport::codec::{decode, encode};
use headframe::work::{
    Digest, Hashing, Job, NonceRange, Puzzle, Search, ShareBits, Target, TextPuzzle, Timestamp, UNIT, ZeroUnit,
};

fn messages() -> [(&'static str, Message); 2] {
    let leader = NodeId::try_from(1).expect("a constant that fits");
    let epoch = Epoch { counter: 4, leader, incarnation: 1_795_342_329_000_000_000 };
    let puzzle = Puzzle::Text(TextPuzzle {
        prev: Digest([0x5a; 32]),
        timestamp: Timestamp::from_seconds(1_795_342_329),
        hashing: Hashing::Double,
    });
    let target = Target::from_zeros(8, ZeroUnit::Hex).expect("a constant that fits");
    let job = Job { height: 7, puzzle, target, search: Search::First };
    let range = |at: u64| NonceRange::new(1 + at * 2 * UNIT, 1 + (at * 2 + 1) * UNIT);
    let process = Process { epoch, lease: 17, round: 3, job, range: range(3), bits: ShareBits::for_range(UNIT) };
    let pieces = (0..200).map(|at| (range(at), leader)).collect();
    let done = vec![JobDone { job, ranges: (0..200).map(range).collect(), pieces }];
    let standing = Some(Arc::new(Standing { done, ..Standing::default() }));
    let heartbeat = Heartbeat { incarnation: 5, sent: 6, echo: None, epoch: Some(epoch), standing };
    [("Process", Message::Process(process)), ("HeartbeatRequest with 200 ranges", Message::HeartbeatRequest(heartbeat))]
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    for (name, message) in messages() {
        let frame = encode(&message).expect("a constant that fits");
        group.bench_function(format!("encode {name}"), |bencher| bencher.iter(|| encode(black_box(&message))));
        group.bench_function(format!("decode {name}"), |bencher| bencher.iter(|| decode(black_box(&frame))));
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
