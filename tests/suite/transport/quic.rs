//! What QUIC holds against strangers.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use headframe::transport::files::{add_node, create_cluster};
use headframe::transport::identity::Identity;
use headframe::transport::quic::QuicTransport;
use headframe::transport::{Transport, codec};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectionError, Endpoint, ServerConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::messages::{id, numbered};
use super::networks::{HEARTBEAT, member, next, soon};

/// What nodes of this version speak.
const PROTOCOL: &[u8] = b"headframe/4";

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
