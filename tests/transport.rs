//! The conformance suite of transports: one set of checks, run for each of them; then what only QUIC has to hold.

// Certificates have to be valid now; and what a test cannot unwrap fails it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use headframe::cluster::{
    Claim, Epoch, Heartbeat, Held, JobDone, Message, NodeId, Process, ProcessAnswerNo, ProcessAnswerYes,
    ProcessInterrupt, ProcessRequest, Standing, Unsettled,
};
use headframe::transport::memory::MemoryNetwork;
use headframe::transport::quic::files::{CertificateFileError, add_node, create_cluster};
use headframe::transport::quic::{ClusterCa, Identity, IdentityError, QuicError, QuicTransport};
use headframe::transport::{Transport, codec};
use headframe::work::{
    Digest, Hashing, Job, JobId, NonceRange, Puzzle, Search, ShareBits, Solution, Target, TextPuzzle,
};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectionError, Endpoint, ServerConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// What should happen has so long to happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// What should not happen has so long not to.
const SILENCE: Duration = Duration::from_millis(300);

const HEARTBEAT: Duration = Duration::from_secs(1);

// ---- messages -------------------------------------------------------------------------------------------------------

fn id(id: u32) -> NodeId {
    NodeId::try_from(id).unwrap()
}

fn epoch() -> Epoch {
    Epoch { counter: 3, leader: id(1), incarnation: 77 }
}

fn round(round: u64) -> Message {
    Message::ProcessInterrupt(ProcessInterrupt { epoch: epoch(), round, settled: None, void: vec![] })
}

/// One message of every kind, nothing in it empty.
fn every_kind() -> Vec<Message> {
    let job = Job {
        height: 7,
        puzzle: Puzzle::Text(TextPuzzle {
            prev: Digest([0xab; 32]),
            timestamp: "1550766000000".parse().unwrap(),
            hashing: Hashing::Double,
        }),
        target: Target::MAX,
        search: Search::First,
    };
    let (range, rest) = (NonceRange::new(1, 100_001), NonceRange::new(50_000, 100_001));
    let solution = Solution { job, nonce: 4711 };
    let beat = Heartbeat {
        incarnation: 5,
        sent: 6,
        echo: Some(7),
        epoch: Some(epoch()),
        standing: Some(Arc::new(Standing {
            done: vec![JobDone {
                job,
                ranges: vec![range, NonceRange::new(200_001, 300_001)],
                pieces: vec![(range, id(2))],
            }],
            unsettled: vec![Unsettled { solution, found_by: id(2) }],
            distrusted: vec![(id(3), 7)],
            word: 9,
        })),
    };
    let bits = ShareBits::for_range(100_000);
    let claim = Claim { job: job.id(), range, bits, shares: vec![5, 4711, 99_999] };
    let request = ProcessRequest {
        epoch: epoch(),
        rate: 100_000_000,
        held: vec![Held { epoch: epoch(), lease: 1, searched: claim.clone(), rest }],
        finished: vec![claim.clone()],
    };
    vec![
        Message::HeartbeatRequest(beat.clone()),
        Message::HeartbeatReply(beat.clone(), Some(request.clone())),
        Message::ProcessRequest(request.clone()),
        Message::Process(Process { epoch: epoch(), lease: 2, round: 9, job, range, bits }),
        Message::ProcessAnswerNo(ProcessAnswerNo { epoch: epoch(), lease: 2, searched: claim, rate: 5 }),
        Message::ProcessAnswerYes(ProcessAnswerYes { epoch: epoch(), solution }),
        round(9),
        Message::Leave(beat, Some(request)),
    ]
}

/// A message whose frame has exactly the largest size. (Of shares, which take as much room in memory as in a frame: the codec bounds both.)
fn largest() -> Message {
    let message = |wide: usize, narrow: usize| {
        let shares = [vec![u64::MAX; wide], vec![0; narrow]].concat();
        let claim = Claim { job: JobId(0), range: NonceRange::new(0, u64::MAX), bits: ShareBits::MAX, shares };
        Message::ProcessRequest(ProcessRequest { epoch: epoch(), rate: 0, held: vec![], finished: vec![claim] })
    };
    // A share takes 9 bytes or 1: some mix fits exactly.
    let sizes = (0..9).map(|narrow| {
        let room = codec::MAX_FRAME - codec::encode(&message(300, 0)).unwrap().len() - narrow;
        message(300 + room / 9, narrow)
    });
    sizes.into_iter().find(|message| codec::encode(message).unwrap().len() == codec::MAX_FRAME).unwrap()
}

// ---- networks -------------------------------------------------------------------------------------------------------

/// Where nodes are started: one kind of transport.
enum Network {
    Memory(MemoryNetwork),
    Quic(Box<ClusterCa>),
}

impl Network {
    fn memory() -> Self {
        Self::Memory(MemoryNetwork::new())
    }

    fn quic() -> Self {
        Self::Quic(Box::new(ClusterCa::generate(SystemTime::now()).unwrap()))
    }

    /// An address at which a node can be started later.
    fn reserve(&self) -> SocketAddr {
        UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// A node at `address`, as soon as its predecessor there has let go of it.
    async fn start_at(&self, node: u32, address: SocketAddr) -> Box<dyn Transport> {
        match self {
            Self::Memory(network) => Box::new(network.join(id(node))),
            Self::Quic(ca) => {
                let identity = ca.issue(id(node), SystemTime::now()).unwrap();
                Box::new(soon(bind(&identity, address, HEARTBEAT)).await)
            }
        }
    }

    async fn start(&self, node: u32) -> Box<dyn Transport> {
        self.start_at(node, "127.0.0.1:0".parse().unwrap()).await
    }

    /// Nodes 1, 2 and 3, who know each other.
    async fn trio(&self) -> [Box<dyn Transport>; 3] {
        let nodes = [self.start(1).await, self.start(2).await, self.start(3).await];
        introduce(&[(1, &*nodes[0]), (2, &*nodes[1]), (3, &*nodes[2])]);
        nodes
    }
}

async fn bind(identity: &Identity, address: SocketAddr, heartbeat: Duration) -> QuicTransport {
    loop {
        match QuicTransport::bind(identity, address, heartbeat) {
            Err(QuicError::AddressInUse(_)) => sleep(Duration::from_millis(10)).await,
            bound => return bound.unwrap(),
        }
    }
}

/// Tells every node of every other.
fn introduce(nodes: &[(u32, &dyn Transport)]) {
    let peers = nodes.iter().map(|(node, transport)| (id(*node), transport.local_address())).collect();
    nodes.iter().for_each(|(_, transport)| transport.set_peers(&peers));
}

async fn soon<T>(event: impl IntoFuture<Output = T>) -> T {
    timeout(PATIENCE, event).await.expect("expected to happen in time")
}

async fn next(transport: &dyn Transport) -> (NodeId, Message) {
    soon(transport.recv()).await.expect("expected an open transport")
}

async fn silent(transport: &dyn Transport) {
    let message = timeout(SILENCE, transport.recv()).await;
    assert!(message.is_err(), "expected nothing, got {message:?}");
}

/// Repeats a message, as heartbeats do, until one arrives.
async fn reaches(from: &dyn Transport, to: (u32, &dyn Transport), message: Message) -> NodeId {
    let repeat = async {
        loop {
            from.send(id(to.0), message.clone());
            sleep(Duration::from_millis(20)).await;
        }
    };
    let arrive = async {
        loop {
            match to.1.recv().await {
                Some((sender, arrived)) if arrived == message => return sender,
                other => assert!(other.is_some(), "expected an open transport"),
            }
        }
    };
    soon(async {
        tokio::select! {
            sender = arrive => sender,
            () = repeat => unreachable!("repeats for ever"),
        }
    })
    .await
}

// ---- what every transport does --------------------------------------------------------------------------------------

macro_rules! conformance {
    ($($check:ident)+) => {
        mod memory {
            $(#[tokio::test] async fn $check() { super::$check(super::Network::memory()).await })+
        }
        mod quic {
            $(#[tokio::test] async fn $check() { super::$check(super::Network::quic()).await })+
        }
    };
}

conformance! {
    every_kind_arrives_whole_and_from_its_sender
    messages_go_both_ways
    messages_to_unknown_nodes_are_dropped
    a_thousand_messages_in_bursts_all_arrive
    a_flood_is_cut_and_the_link_lives_on
    a_peer_that_is_not_up_yet_blocks_nobody
    a_restarted_peer_is_reached_again
    a_link_that_was_silent_for_long_is_there_at_once
    close_delivers_what_was_sent_and_ends_recv
    close_ends_a_recv_that_waits
    a_removed_peer_is_heard_no_more
    the_largest_frame_passes_and_larger_ones_do_no_harm
}

async fn every_kind_arrives_whole_and_from_its_sender(network: Network) {
    let [one, two, three] = network.trio().await;
    for (node, sender) in [(1, &one), (3, &three)] {
        for message in every_kind() {
            sender.send(id(2), message.clone());
            assert_eq!(next(&*two).await, (id(node), message));
        }
    }
}

async fn messages_go_both_ways(network: Network) {
    let [one, two, _] = network.trio().await;
    // Questions with answers, and answers that nobody asked for, in both directions.
    for message in every_kind() {
        for _ in 0..3 {
            one.send(id(2), message.clone());
            two.send(id(1), message.clone());
            assert_eq!(next(&*two).await, (id(1), message.clone()));
            assert_eq!(next(&*one).await, (id(2), message.clone()));
        }
    }
}

async fn messages_to_unknown_nodes_are_dropped(network: Network) {
    let [one, two, _] = network.trio().await;
    one.send(id(9), round(1));
    one.send(id(1), round(2));
    one.send(id(2), round(3));
    assert_eq!(next(&*two).await, (id(1), round(3)));
    silent(&*one).await;
}

/// Bursts that stay below every queue's length lose nothing.
async fn a_thousand_messages_in_bursts_all_arrive(network: Network) {
    let [one, two, _] = network.trio().await;
    for burst in 0..20 {
        let rounds: Vec<u64> = (burst * 50..burst * 50 + 50).collect();
        rounds.iter().for_each(|&i| one.send(id(2), round(i)));
        let mut arrived = Vec::new();
        for _ in &rounds {
            match next(&*two).await {
                (from, Message::ProcessInterrupt(interrupt)) if from == id(1) => arrived.push(interrupt.round),
                other => panic!("expected an interrupt of node 1, got {other:?}"),
            }
        }
        // Order is not promised.
        arrived.sort_unstable();
        assert_eq!(arrived, rounds);
    }
}

/// Past the queues, messages are dropped; what arrives is unharmed, and the link goes on.
async fn a_flood_is_cut_and_the_link_lives_on(network: Network) {
    let [one, two, _] = network.trio().await;
    let kinds = every_kind();
    for i in 0..5000 {
        one.send(id(2), kinds[i % kinds.len()].clone());
    }
    let (from, message) = next(&*two).await;
    assert!(from == id(1) && kinds.contains(&message));
    assert_eq!(reaches(&*one, (2, &*two), round(1)).await, id(1));
}

async fn a_peer_that_is_not_up_yet_blocks_nobody(network: Network) {
    let (one, address) = (network.start(1).await, network.reserve());
    let peers = BTreeMap::from([(id(1), one.local_address()), (id(2), address)]);
    one.set_peers(&peers);
    (0..200).for_each(|i| one.send(id(2), round(i)));
    sleep(SILENCE).await;
    let two = network.start_at(2, address).await;
    two.set_peers(&peers);
    assert_eq!(reaches(&*one, (2, &*two), round(1000)).await, id(1));
}

async fn a_restarted_peer_is_reached_again(network: Network) {
    let [one, two, _] = network.trio().await;
    for restart in 0..2 {
        one.send(id(2), round(restart));
        assert_eq!(next(&*two).await, (id(1), round(restart)));
    }
    let address = two.local_address();
    two.close().await;
    drop(two);
    let two = network.start_at(2, address).await;
    two.set_peers(&BTreeMap::from([(id(1), one.local_address())]));
    assert_eq!(reaches(&*one, (2, &*two), round(10)).await, id(1));
    assert_eq!(reaches(&*two, (1, &*one), round(11)).await, id(2));
}

async fn a_link_that_was_silent_for_long_is_there_at_once(network: Network) {
    let [one, two, _] = network.trio().await;
    for time in [HEARTBEAT * 5, Duration::ZERO] {
        one.send(id(2), round(1));
        assert_eq!(next(&*two).await, (id(1), round(1)));
        two.send(id(1), round(2));
        assert_eq!(next(&*one).await, (id(2), round(2)));
        sleep(time).await;
    }
}

async fn close_delivers_what_was_sent_and_ends_recv(network: Network) {
    let [one, two, three] = network.trio().await;
    one.send(id(2), round(0));
    assert_eq!(next(&*two).await, (id(1), round(0)));
    let kinds = every_kind();
    for message in &kinds {
        one.send(id(2), message.clone());
        // Node 3 was not spoken to before.
        one.send(id(3), message.clone());
    }
    soon(one.close()).await;
    assert_eq!(soon(one.recv()).await, None);
    one.send(id(2), round(1));
    for receiver in [&two, &three] {
        let mut missing = kinds.clone();
        while !missing.is_empty() {
            let (from, message) = next(&**receiver).await;
            assert_eq!(from, id(1));
            let place = missing.iter().position(|expected| *expected == message).expect("each message once");
            missing.remove(place);
        }
        silent(&**receiver).await;
    }
    soon(one.close()).await;
}

async fn close_ends_a_recv_that_waits(network: Network) {
    let [one, ..] = network.trio().await;
    let (message, ()) = tokio::join!(soon(one.recv()), async {
        sleep(Duration::from_millis(20)).await;
        one.close().await;
    });
    assert_eq!(message, None);
}

async fn a_removed_peer_is_heard_no_more(network: Network) {
    let [one, two, three] = network.trio().await;
    one.send(id(2), round(1));
    assert_eq!(next(&*two).await, (id(1), round(1)));
    two.set_peers(&BTreeMap::from([(id(3), three.local_address())]));
    for i in 2..10 {
        one.send(id(2), round(i));
        two.send(id(1), round(i));
        sleep(Duration::from_millis(10)).await;
    }
    silent(&*two).await;
    silent(&*one).await;
    assert_eq!(reaches(&*three, (2, &*two), round(20)).await, id(3));
    two.set_peers(&BTreeMap::from([(id(1), one.local_address()), (id(3), three.local_address())]));
    assert_eq!(reaches(&*one, (2, &*two), round(30)).await, id(1));
}

async fn the_largest_frame_passes_and_larger_ones_do_no_harm(network: Network) {
    let [one, two, _] = network.trio().await;
    for _ in 0..20 {
        one.send(id(2), largest());
        assert_eq!(next(&*two).await, (id(1), largest()));
    }
    let Message::ProcessRequest(mut request) = largest() else { panic!("expected a ProcessRequest") };
    request.finished[0].shares.push(0);
    one.send(id(2), Message::ProcessRequest(request));
    one.send(id(2), round(1));
    assert_eq!(next(&*two).await, (id(1), round(1)));
}

// ---- what QUIC holds against strangers ------------------------------------------------------------------------------

/// A cluster of nodes 1 to 3 in files, and peers made by hand that need not behave.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        create_cluster(dir.path(), (1..=3).map(id), SystemTime::now()).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A well-behaved node 1 that knows nodes 2 and 3.
    fn node(&self, two: SocketAddr, three: SocketAddr) -> QuicTransport {
        let identity = Identity::load(self.path(), id(1), SystemTime::now()).unwrap();
        let node = QuicTransport::bind(&identity, "127.0.0.1:0".parse().unwrap(), HEARTBEAT).unwrap();
        node.set_peers(&BTreeMap::from([(id(2), two), (id(3), three)]));
        node
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path().join("ca.pem")).unwrap()).unwrap();
        roots
    }

    fn credentials(&self, node: u32) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let file = |end| self.path().join(format!("node-{node}.{end}"));
        let certificate = CertificateDer::from_pem_file(file("pem")).unwrap();
        (vec![certificate], PrivateKeyDer::from_pem_file(file("key")).unwrap())
    }

    /// A client that trusts this cluster and shows these credentials.
    async fn dial(
        &self,
        credentials: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
        address: SocketAddr,
    ) -> Result<(Endpoint, quinn::Connection), ConnectionError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots());
        let mut tls = match credentials {
            Some((chain, key)) => tls.with_client_auth_cert(chain, key).unwrap(),
            None => tls.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"headframe/1".to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connection = endpoint.connect_with(config, address, "node-1.headframe").unwrap().await?;
        Ok((endpoint, connection))
    }

    /// A server that lets everybody in and shows this node's certificate.
    fn listen(&self, node: u32) -> Endpoint {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = self.credentials(node);
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![b"headframe/1".to_vec()];
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
    }
}

/// The QUIC error code with which the other side ended a connection, or an attempt at one.
async fn refusal(attempt: Result<(Endpoint, quinn::Connection), ConnectionError>) -> u64 {
    let error = match &attempt {
        Ok((_, connection)) => soon(connection.closed()).await,
        Err(error) => error.clone(),
    };
    match error {
        ConnectionError::ConnectionClosed(close) => close.error_code.into(),
        ConnectionError::ApplicationClosed(close) => close.error_code.into(),
        other => panic!("expected to be refused, got {other:?}"),
    }
}

/// TLS alerts as QUIC error codes.
const BAD_CERTIFICATE: u64 = 0x100 + 42;
const UNKNOWN_CA: u64 = 0x100 + 48;
const CERTIFICATE_REQUIRED: u64 = 0x100 + 116;

fn nowhere() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

#[tokio::test]
async fn a_client_of_another_cluster_is_refused() {
    let (files, others) = (Files::new(), Files::new());
    let node = files.node(nowhere(), nowhere());
    let attempt = soon(files.dial(Some(others.credentials(2)), node.local_address())).await;
    assert_eq!(refusal(attempt).await, UNKNOWN_CA);
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let files = Files::new();
    let node = files.node(nowhere(), nowhere());
    let attempt = soon(files.dial(None, node.local_address())).await;
    assert_eq!(refusal(attempt).await, CERTIFICATE_REQUIRED);
}

#[tokio::test]
async fn a_client_that_is_no_peer_is_refused() {
    let files = Files::new();
    add_node(files.path(), id(9), SystemTime::now()).unwrap();
    let node = files.node(nowhere(), nowhere());
    for stranger in [1, 9] {
        let attempt = soon(files.dial(Some(files.credentials(stranger)), node.local_address())).await;
        assert_eq!(refusal(attempt).await, 1, "node {stranger}");
    }
}

#[tokio::test]
async fn a_server_of_another_cluster_or_of_another_id_is_refused() {
    let (files, others) = (Files::new(), Files::new());
    for (server, expected) in [(others.listen(2), UNKNOWN_CA), (files.listen(3), BAD_CERTIFICATE)] {
        let node = files.node(server.local_addr().unwrap(), nowhere());
        node.send(id(2), round(1));
        let incoming = soon(server.accept()).await.unwrap();
        assert_eq!(refusal(soon(incoming).await.map(|connection| (server, connection))).await, expected);
    }
}

#[tokio::test]
async fn the_sender_is_whom_the_certificate_names() {
    let files = Files::new();
    // From an address that is nobody's; the listed ones are elsewhere.
    let node = files.node(nowhere(), nowhere());
    let (_endpoint, connection) = soon(files.dial(Some(files.credentials(3)), node.local_address())).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&codec::encode(&round(1)).unwrap()).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(next(&node).await, (id(3), round(1)));
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older() {
    let files = Files::new();
    let node = files.node(nowhere(), nowhere());
    let older = soon(files.dial(Some(files.credentials(3)), node.local_address())).await;
    let _newer = soon(files.dial(Some(files.credentials(3)), node.local_address())).await.unwrap();
    assert_eq!(refusal(older).await, 2);
}

#[tokio::test]
async fn garbage_does_no_harm() {
    let files = Files::new();
    let node = files.node(nowhere(), nowhere());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for i in 0..500_usize {
        let datagram: Vec<u8> = (0..i * 3).map(|j| (i * 31 + j * 17) as u8).collect();
        socket.send_to(&datagram, node.local_address()).unwrap();
    }
    let (_endpoint, connection) = soon(files.dial(Some(files.credentials(2)), node.local_address())).await.unwrap();
    // Streams that are too long, no frame, and empty; one-way and as requests.
    let mut long = connection.open_uni().await.unwrap();
    let written = soon(long.write_all(&vec![0; 10_000_000])).await;
    assert!(matches!(written, Err(quinn::WriteError::Stopped(_))), "{written:?}");
    for bytes in [&b"no frame"[..], b"", &[0xff; 4]] {
        let mut stream = soon(connection.open_uni()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.finish().unwrap();
        let (mut stream, mut answer) = soon(connection.open_bi()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.finish().unwrap();
        assert_eq!(soon(answer.read_to_end(10)).await.unwrap(), b"");
    }
    let mut stream = soon(connection.open_uni()).await.unwrap();
    stream.write_all(&codec::encode(&round(1)).unwrap()).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(next(&node).await, (id(2), round(1)));
    connection.close(VarInt::from_u32(0), b"");
}

/// A killed process says nothing. Its successor answers the peers' old connections with resets, so that it is reached
/// long before they time out, which takes 15 s at this heartbeat.
#[tokio::test]
async fn a_killed_and_restarted_node_is_reached_at_once() {
    let heartbeat = Duration::from_secs(5);
    let files = Files::new();
    let load = |node| Identity::load(files.path(), id(node), SystemTime::now()).unwrap();
    let one = bind(&load(1), "127.0.0.1:0".parse().unwrap(), heartbeat).await;
    let machine = tokio::runtime::Runtime::new().unwrap();
    let two = {
        let _inside = machine.enter();
        QuicTransport::bind(&load(2), "127.0.0.1:0".parse().unwrap(), heartbeat).unwrap()
    };
    introduce(&[(1, &one), (2, &two)]);
    assert_eq!(reaches(&one, (2, &two), round(1)).await, id(1));

    let address = two.local_address();
    machine.shutdown_background();
    drop(two);
    let two = soon(bind(&load(2), address, heartbeat)).await;
    two.set_peers(&BTreeMap::from([(id(1), one.local_address())]));
    assert_eq!(reaches(&one, (2, &two), round(2)).await, id(1));
}

/// A goodbye and the end of its connection reach the peer at one time, whoever of the two has opened it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_word_before_a_close_is_heard() {
    let network = Network::quic();
    for turn in 0..40 {
        let [one, two, _] = network.trio().await;
        let (leaves, stays) = if turn % 2 == 0 { ((1, one), (2, two)) } else { ((2, two), (1, one)) };
        stays.1.send(id(leaves.0), round(0));
        assert_eq!(next(&*leaves.1).await.1, round(0));
        leaves.1.send(id(stays.0), round(turn));
        soon(leaves.1.close()).await;
        assert_eq!(next(&*stays.1).await, (id(leaves.0), round(turn)), "in turn {turn}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let files = Files::new();
    let node = files.node(nowhere(), nowhere());
    let identity = Identity::load(files.path(), id(2), SystemTime::now()).unwrap();
    let Err(error) = QuicTransport::bind(&identity, node.local_address(), HEARTBEAT) else {
        panic!("expected the address to be in use")
    };
    assert!(matches!(error, QuicError::AddressInUse(address) if address == node.local_address()));
    assert!(error.to_string().contains(&node.local_address().to_string()));
}

// ---- certificate files ----------------------------------------------------------------------------------------------

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_cluster_in_files_has_private_keys_and_can_be_extended() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("deep/certs");
    create_cluster(&dir, (1..=2).map(id), SystemTime::now()).unwrap();
    add_node(&dir, id(7), SystemTime::now()).unwrap();
    assert_eq!(mode(&dir), 0o700);
    for key in ["ca.key", "node-1.key", "node-2.key", "node-7.key"] {
        assert_eq!(mode(&dir.join(key)), 0o600, "{key}");
    }
    for node in [1, 2, 7] {
        assert_eq!(Identity::load(&dir, id(node), SystemTime::now()).unwrap().node(), id(node));
    }
    let missing = Identity::load(&dir, id(3), SystemTime::now()).unwrap_err();
    assert!(matches!(missing, CertificateFileError::Missing { .. }));
    assert!(missing.to_string().contains("headframe certs --nodes N --dir"));
}

#[test]
fn certificates_are_never_overwritten() {
    let files = Files::new();
    let content = || -> BTreeMap<_, _> {
        let entries = fs::read_dir(files.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = content();
    let again = create_cluster(files.path(), (1..=3).map(id), SystemTime::now());
    assert!(matches!(again, Err(CertificateFileError::Exists(_))));
    let again = add_node(files.path(), id(2), SystemTime::now());
    assert!(matches!(again, Err(CertificateFileError::Exists(_))));
    assert_eq!(content(), before);
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let files = Files::new();
    for (name, load) in [
        ("node-1.key", (|dir| Identity::load(dir, id(1), SystemTime::now()).map(|_| ())) as fn(&Path) -> _),
        ("ca.key", |dir| add_node(dir, id(8), SystemTime::now())),
    ] {
        let key = files.path().join(name);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(files.path()).unwrap_err();
        assert!(matches!(error, CertificateFileError::Mode { mode: 0o640, .. }));
        assert!(error.to_string().contains(&format!("chmod 600 {}", key.display())));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        load(files.path()).unwrap();
    }
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let (files, others) = (Files::new(), Files::new());
    let load = |node| match Identity::load(files.path(), id(node), SystemTime::now()) {
        Err(CertificateFileError::Identity { cause, .. }) => cause,
        other => panic!("expected the identity to be refused, got {other:?}"),
    };
    let copy = |from: &Files, name: &str, to: &str| fs::copy(from.path().join(name), files.path().join(to)).unwrap();
    copy(&files, "node-2.key", "node-1.key");
    assert!(matches!(load(1), IdentityError::OtherKey));
    copy(&files, "node-2.pem", "node-1.pem");
    assert!(matches!(load(1), IdentityError::OtherNode { .. }));
    copy(&others, "node-3.pem", "node-3.pem");
    copy(&others, "node-3.key", "node-3.key");
    assert!(matches!(load(3), IdentityError::OtherCluster));
}
