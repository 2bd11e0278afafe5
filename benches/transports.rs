//! What each transport takes for a message: the round trip of a heartbeat and its answer, and messages a second one way.

#![allow(clippy::disallowed_methods)] // certificates have to be valid now

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headframe::cluster::{Heartbeat, Message, NodeId, Stamp};
use headframe::transport::grpc::GrpcTransport;
use headframe::transport::identity::ClusterCa;
use headframe::transport::memory::MemoryNetwork;
use headframe::transport::quic::QuicTransport;
use headframe::transport::udp::{UdpConfig, UdpTransport};
use headframe::transport::{Member, Transport};
use headframe::work::Run;
use tokio::runtime::Runtime;

const LOOPBACK: &str = "127.0.0.1:0";
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Messages on their way at the same time: fewer than the shortest queue holds.
const BURST: u64 = 16;

type Pair = [Box<dyn Transport>; 2];
type Start = fn() -> Pair;

fn id(id: u32) -> NodeId {
    NodeId::try_from(id).expect("an id")
}

fn loopback() -> SocketAddr {
    LOOPBACK.parse().expect("an address")
}

fn memory() -> Pair {
    let network = MemoryNetwork::new();
    [1, 2].map(|node| Box::new(network.join(id(node))) as Box<dyn Transport>)
}

fn quic() -> Pair {
    let ca = ClusterCa::generate(SystemTime::now()).expect("a CA");
    [1, 2].map(|node| {
        let identity = ca.issue(id(node), SystemTime::now()).expect("a certificate");
        Box::new(QuicTransport::bind(&identity, loopback(), HEARTBEAT).expect("a free port")) as Box<dyn Transport>
    })
}

fn grpc() -> Pair {
    let ca = ClusterCa::generate(SystemTime::now()).expect("a CA");
    [1, 2].map(|node| {
        let identity = ca.issue(id(node), SystemTime::now()).expect("a certificate");
        Box::new(GrpcTransport::bind(&identity, loopback(), HEARTBEAT).expect("a free port")) as Box<dyn Transport>
    })
}

fn udp() -> Pair {
    [1, 2].map(|node| {
        let config = UdpConfig { budget: u32::MAX, ..UdpConfig::new(id(node), loopback(), HEARTBEAT) };
        Box::new(UdpTransport::bind(config).expect("a free port")) as Box<dyn Transport>
    })
}

fn request(sent: u64) -> Message {
    Message::HeartbeatRequest(Heartbeat { stamp: Stamp { run: Run(1), sent }, echo: None, interval: None, leads: None })
}

async fn round_trip([one, two]: &Pair) {
    one.send(id(2), request(1));
    let Some((_, Message::HeartbeatRequest(heard))) = two.recv().await else { panic!("expected a request") };
    let reply = Heartbeat { stamp: heard.stamp, echo: Some(heard.stamp), interval: None, leads: None };
    two.send(id(1), Message::HeartbeatReply(reply, None));
    assert!(matches!(one.recv().await, Some((_, Message::HeartbeatReply(..)))));
}

async fn burst([one, two]: &Pair) {
    (0..BURST).for_each(|sent| one.send(id(2), request(sent)));
    for _ in 0..BURST {
        assert!(two.recv().await.is_some());
    }
}

fn transports(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let pairs: [(&str, Start); 4] = [("memory", memory), ("quic", quic), ("grpc", grpc), ("udp", udp)];
    for (name, pair) in pairs {
        let pair = {
            let _inside = runtime.enter();
            pair()
        };
        let members: Vec<_> =
            [1, 2].into_iter().zip(&pair).map(|(node, end)| Member::headframe(id(node), end.local_address())).collect();
        pair.iter().for_each(|end| end.set_peers(&members));
        let mut group = criterion.benchmark_group(name);
        group.bench_function("round trip", |bencher| bencher.iter(|| runtime.block_on(round_trip(&pair))));
        group.throughput(Throughput::Elements(BURST));
        group.bench_function("messages", |bencher| bencher.iter(|| runtime.block_on(burst(&pair))));
        group.finish();
        runtime.block_on(async { tokio::join!(pair[0].close(), pair[1].close()) });
    }
}

criterion_group!(benches, transports);
criterion_main!(benches);
