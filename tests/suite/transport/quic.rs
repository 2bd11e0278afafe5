//! What QUIC holds against strangers, and across restarts.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use headframe::transport::files::{add_node, create_cluster};
use headframe::transport::identity::Identity;
use headframe::transport::quic::{QuicError, QuicTransport};
use headframe::transport::{Transport, codec};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectionError, Endpoint, ServerConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::messages::{id, numbered};
use super::networks::{HEARTBEAT, Network, bind, introduce, member, next, reaches, soon};
use crate::process::own_host;

/// What nodes of this version speak.
const PROTOCOL: &[u8] = b"headframe/3";

pub(crate) type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A cluster of nodes 1 to 3 in files, and peers made by hand that need not behave.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        create_cluster(dir.path(), (1..=3).map(id), SystemTime::now()).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A well-behaved node 1 that knows nodes 2 and 3.
    fn node(&self, two: SocketAddr, three: SocketAddr) -> QuicTransport {
        let identity = Identity::load(self.path(), id(1), SystemTime::now()).unwrap();
        let node = QuicTransport::bind(&identity, "127.0.0.1:0".parse().unwrap(), HEARTBEAT).unwrap();
        node.set_peers(&[member(2, two), member(3, three)]);
        node
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path().join("ca.pem")).unwrap()).unwrap();
        roots
    }

    pub(crate) fn credentials(&self, node: u32) -> Credentials {
        let file = |end| self.path().join(format!("node-{node}.{end}"));
        let certificate = CertificateDer::from_pem_file(file("pem")).unwrap();
        (vec![certificate], PrivateKeyDer::from_pem_file(file("key")).unwrap())
    }

    /// A client that trusts this cluster and shows these credentials.
    async fn dial(
        &self,
        credentials: Option<Credentials>,
        address: SocketAddr,
    ) -> Result<(Endpoint, quinn::Connection), ConnectionError> {
        self.dial_with(PROTOCOL, credentials, address).await
    }

    async fn dial_with(
        &self,
        protocol: &[u8],
        credentials: Option<Credentials>,
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
        tls.alpn_protocols = vec![protocol.to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connection = endpoint.connect_with(config, address, "node-1.headframe").unwrap().await?;
        Ok((endpoint, connection))
    }

    /// A server that lets everybody in and shows this node's certificate.
    fn listen(&self, node: u32, protocol: &[u8]) -> Endpoint {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = self.credentials(node);
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![protocol.to_vec()];
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
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

pub(crate) fn nowhere() -> SocketAddr {
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
    for (server, expected) in [(others.listen(2, PROTOCOL), UNKNOWN_CA), (files.listen(3, PROTOCOL), BAD_CERTIFICATE)] {
        let node = files.node(server.local_addr().unwrap(), nowhere());
        node.send(id(2), numbered(1));
        let incoming = soon(server.accept()).await.unwrap();
        assert_eq!(refusal(soon(incoming).await.map(|connection| (server, connection))).await, expected);
    }
}

/// Whoever dials, the handshake names the reason; version 1 logs it as a warning. `quic/refusal.rs` has the words of this version.
#[tokio::test]
async fn nodes_of_another_version_are_refused_by_the_handshake() {
    let files = Files::new();
    let server = files.listen(2, b"headframe/1");
    let node = files.node(server.local_addr().unwrap(), nowhere());
    let attempt = soon(files.dial_with(b"headframe/1", Some(files.credentials(3)), node.local_address())).await;
    match attempt {
        Err(ConnectionError::ConnectionClosed(close)) => {
            assert_eq!(u64::from(close.error_code), NO_APPLICATION_PROTOCOL);
            assert!(close.to_string().contains("peer doesn't support any known protocol"), "{close}");
        }
        other => panic!("expected to be refused, got {other:?}"),
    }
    node.send(id(2), numbered(1));
    let incoming = soon(server.accept()).await.unwrap();
    match soon(incoming).await {
        Err(ConnectionError::TransportError(error)) => assert_eq!(u64::from(error.code), NO_APPLICATION_PROTOCOL),
        other => panic!("expected to refuse, got {other:?}"),
    }
}

#[tokio::test]
async fn the_sender_is_whom_the_certificate_names() {
    let files = Files::new();
    // From an address that is nobody's; the listed ones are elsewhere.
    let node = files.node(nowhere(), nowhere());
    let (_endpoint, connection) = soon(files.dial(Some(files.credentials(3)), node.local_address())).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&codec::encode(&numbered(1)).unwrap()).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(next(&node).await, (id(3), numbered(1)));
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
    stream.write_all(&codec::encode(&numbered(1)).unwrap()).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(next(&node).await, (id(2), numbered(1)));
    connection.close(VarInt::from_u32(0), b"");
}

/// A killed process says nothing. Its successor answers the peers' old connections with resets, so that it is reached
/// long before they time out, which takes 15 s at this heartbeat.
#[tokio::test]
async fn a_killed_and_restarted_node_is_reached_at_once() {
    let heartbeat = Duration::from_secs(5);
    let files = Files::new();
    let load = |node| Identity::load(files.path(), id(node), SystemTime::now()).unwrap();
    let one = bind(&load(1), (own_host(), 0).into(), heartbeat).await;
    let machine = tokio::runtime::Runtime::new().unwrap();
    let two = {
        let _inside = machine.enter();
        QuicTransport::bind(&load(2), (own_host(), 0).into(), heartbeat).unwrap()
    };
    introduce(&[(1, &one), (2, &two)]);
    assert_eq!(reaches(&one, (2, &two), numbered(1)).await, id(1));

    let address = two.local_address();
    machine.shutdown_background();
    drop(two);
    let two = soon(bind(&load(2), address, heartbeat)).await;
    two.set_peers(&[member(1, one.local_address())]);
    assert_eq!(reaches(&one, (2, &two), numbered(2)).await, id(1));
}

/// A last message and the end of its connection reach the peer at one time, whichever of the two has opened the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_message_before_a_close_arrives() {
    let network = Network::quic();
    for turn in 0..40 {
        let [one, two, _] = network.trio().await;
        let (leaves, stays) = if turn % 2 == 0 { ((1, one), (2, two)) } else { ((2, two), (1, one)) };
        stays.1.send(id(leaves.0), numbered(0));
        assert_eq!(next(&*leaves.1).await.1, numbered(0));
        leaves.1.send(id(stays.0), numbered(turn));
        soon(leaves.1.close()).await;
        assert_eq!(next(&*stays.1).await, (id(leaves.0), numbered(turn)), "in turn {turn}");
    }
}

/// Certificates of another cluster stand for renewed ones, since the nodes can reach each other only if both sides show and trust the new
/// ones.
#[tokio::test]
async fn new_connections_use_the_certificate_that_was_taken_up_and_old_ones_go_on() {
    let (old, new) = (Files::new(), Files::new());
    let load = |files: &Files, node| Identity::load(files.path(), id(node), SystemTime::now()).unwrap();
    let start = |identity| async move { bind(&identity, (own_host(), 0).into(), HEARTBEAT).await };
    let [one, two] = [start(load(&old, 1)).await, start(load(&old, 2)).await];
    introduce(&[(1, &one), (2, &two)]);
    assert_eq!(reaches(&one, (2, &two), numbered(1)).await, id(1));
    let renewed = load(&new, 1);
    one.take_up(&renewed).unwrap();
    assert_eq!(one.certificate_ends(), Some(renewed.ends()));
    assert_eq!(reaches(&one, (2, &two), numbered(2)).await, id(1));

    let [two, three] = [start(load(&new, 2)).await, start(load(&new, 3)).await];
    introduce(&[(1, &one), (2, &two), (3, &three)]);
    assert_eq!(reaches(&one, (2, &two), numbered(3)).await, id(1), "which one dials");
    assert_eq!(reaches(&three, (1, &one), numbered(4)).await, id(3), "which three dials");
}

#[tokio::test]
async fn what_keeps_a_node_from_a_peer_is_known_until_it_is_over() {
    let (files, others) = (Files::new(), Files::new());
    let load = |files: &Files, node| Identity::load(files.path(), id(node), SystemTime::now()).unwrap();
    let silent = UdpSocket::bind((own_host(), 0)).unwrap();
    let foreign = bind(&load(&others, 3), (own_host(), 0).into(), HEARTBEAT).await;
    let one = files.node(silent.local_addr().unwrap(), foreign.local_address());
    let trouble = |peer| {
        let one = &one;
        async move {
            loop {
                one.send(id(peer), numbered(1));
                match one.trouble(id(peer)) {
                    Some(trouble) => return trouble,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
    };
    assert_eq!(soon(trouble(2)).await, format!("{} does not answer", silent.local_addr().unwrap()));
    let told = soon(trouble(3)).await;
    assert!(told.starts_with(&format!("{} has a certificate of another cluster", foreign.local_address())), "{told}");

    let address = silent.local_addr().unwrap();
    drop(silent);
    let two = soon(bind(&load(&files, 2), address, HEARTBEAT)).await;
    two.set_peers(&[member(1, one.local_address())]);
    assert_eq!(reaches(&one, (2, &two), numbered(2)).await, id(1));
    assert_eq!(one.trouble(id(2)), None);
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
