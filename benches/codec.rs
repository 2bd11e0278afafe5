//! Messages per second through the wire codec.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headframe::cluster::{Assign, Current, Heartbeat, Leads, Lease, Message, Progress, Reign, Report, Stamp};
use headframe::transport::codec::{decode, encode};
use headframe::work::{
    BlockId, Blueprint, Digest, Goal, Hashing, NonceRange, RoundId, Run, Search, Slot, Target, Template, UNIT,
    WitnessBits, ZeroUnit,
};

/// How many leases a fast node holds, and so many witnesses show that one of them was searched.
const LEASES: u64 = 16;
const WITNESSES: u64 = 48;

/// A leader's heartbeat, an assignment, and the report that answers it.
fn messages() -> [(&'static str, Message); 3] {
    let stamp = Stamp { run: Run(0x5a5a_5a5a_5a5a_5a5a), sent: 70_000 };
    let reign = Reign { run: Run(0xa5a5_a5a5_a5a5_a5a5), number: 4 };
    let target = Target::from_zeros(8, ZeroUnit::Hex).expect("a constant that fits");
    let template = Template {
        round: RoundId { block: BlockId { height: 7, hash: Digest([0x5a; 32]) }, generation: 0 },
        goal: Goal { block: target, report: target, search: Search::First },
        puzzle: Blueprint::Text { hashing: Hashing::Double },
        tag: 3,
    };
    let now = Duration::from_secs(1_795_342_329);
    let job = template.job(Slot { run: reign.run, n: 17 }, now).expect("a text has room for every slot");
    let current = Some(Current::of(&template));
    let leads = Some(Leads { reign: reign.number, current: current.clone(), blocks: vec![] });
    let heartbeat = Heartbeat { stamp, echo: None, interval: None, leads };
    let range = |at: u64| NonceRange::new(1 + at * UNIT, 1 + (at + 1) * UNIT);
    let lease = |number| Lease { number, job: 0, range: range(number), bits: WitnessBits::for_range(UNIT) };
    let assign = Assign {
        reign,
        sequence: 900,
        report: stamp,
        current,
        jobs: vec![job],
        leases: (0..LEASES).map(lease).collect(),
        taken: vec![],
        settled: vec![],
    };
    let progress = |lease| {
        let step = UNIT / WITNESSES;
        let witnesses = (0..WITNESSES).map(|at| range(lease).start + at * step).collect();
        Progress { lease, to: range(lease).end, witnesses }
    };
    let report = Report {
        stamp,
        held: Some((reign, assign.sequence)),
        speed: 100_000_000,
        progress: (0..LEASES).map(progress).collect(),
        jobs: vec![],
        shares: vec![],
        taken: vec![],
        blocks: vec![],
    };
    [
        ("HeartbeatRequest of a leader", Message::HeartbeatRequest(heartbeat)),
        ("Process with 16 leases", Message::Process(assign)),
        ("ProcessAnswerNo with 768 witnesses", Message::ProcessAnswerNo(report)),
    ]
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
