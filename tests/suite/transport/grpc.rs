//! What gRPC holds against strangers and hostile peers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use headframe::cluster::Message;
use headframe::transport::files::add_node;
use headframe::transport::grpc::GrpcTransport;
use headframe::transport::identity::Identity;
use headframe::transport::{Member, Transport};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::body::Body;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Service, http};
use tonic::{Code, Status, Streaming};

use super::messages::{id, numbered, stamp};
use super::networks::{HEARTBEAT, member, next, silent, soon};
use super::quic::{Credentials, Files, nowhere};
use wire::message::Content;
use wire::node_client::NodeClient;

#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, dead_code, clippy::doc_lazy_continuation, clippy::enum_variant_names)] // generated
#[path = "../../../src/transport/grpc/wire.rs"]
mod wire;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A well-behaved node 1 that knows nodes 2 and 3.
fn node(files: &Files, two: SocketAddr, three: SocketAddr) -> GrpcTransport {
    let identity = Identity::load(files.path(), id(1), SystemTime::now()).unwrap();
    let node = GrpcTransport::bind(&identity, (LOOPBACK, 0).into(), HEARTBEAT).unwrap();
    node.set_peers(&[member(2, two), member(3, three)]);
    node
}

/// A client that trusts this cluster and shows these credentials. With TLS 1.3, a client that is refused may not know yet.
async fn connect(files: &Files, credentials: Option<Credentials>, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(files.roots());
    let mut tls = match credentials {
        Some((chain, key)) => tls.with_client_auth_cert(chain, key).unwrap(),
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let server = ServerName::try_from("node-1.headframe").unwrap();
    TlsConnector::from(Arc::new(tls)).connect(server, tcp).await
}

/// The same for a node of this cluster, from an address of this machine.
async fn dial(files: &Files, as_node: u32, from: IpAddr, to: SocketAddr) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let tcp = soon(socket.connect(to)).await.unwrap();
    soon(connect(files, Some(files.credentials(as_node)), tcp)).await.unwrap()
}

fn alert(error: &io::Error) -> AlertDescription {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("expected a TLS alert, got {error:?}"),
    }
}

/// A connection as the generated client wants it.
#[derive(Clone)]
struct Calls(SendRequest<Body>);

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

type Client = NodeClient<Calls>;

async fn client(tls: TlsStream<TcpStream>) -> Client {
    let (calls, connection) = soon(handshake(TokioExecutor::new(), TokioIo::new(tls))).await.unwrap();
    tokio::spawn(connection);
    let client = NodeClient::with_origin(Calls(calls), http::Uri::from_static("https://node-1.headframe"));
    client.max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
}

/// A stream: what is put into the one end is sent, what is received comes out of the other.
type Stream = (mpsc::Sender<wire::Message>, Streaming<wire::Message>);

async fn exchange(client: &mut Client) -> Result<Stream, Status> {
    let (outbound, messages) = mpsc::channel(100);
    let response = soon(client.exchange(ReceiverStream::new(messages))).await?;
    Ok((outbound, response.into_inner()))
}

/// A report as `numbered` is an interrupt.
fn report(sent: u64) -> wire::Message {
    let stamp = Some(wire::Stamp { run: stamp(sent).run.0, sent });
    let report = Some(wire::Report { stamp, shows_witnesses: true, ..Default::default() });
    wire::Message { content: Some(Content::ProcessRequest(wire::ProcessRequest { report })) }
}

fn is_report(message: &Message, number: u64) -> bool {
    matches!(message, Message::ProcessRequest(report) if report.stamp == stamp(number))
}

/// The status with which the node ends a stream.
async fn end((_outbound, mut replies): Stream) -> Status {
    loop {
        match soon(replies.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("expected a status that is an error"),
            Err(status) => return status,
        }
    }
}

/// The node still hears a well-behaved node 3.
async fn is_well(files: &Files, node: &GrpcTransport) {
    let mut client = client(dial(files, 3, LOOPBACK, node.local_address()).await).await;
    let (outbound, _replies) = exchange(&mut client).await.unwrap();
    outbound.send(report(99)).await.unwrap();
    let (from, message) = next(node).await;
    assert!(from == id(3) && is_report(&message, 99), "{message:?} from {from}");
}

#[tokio::test]
async fn a_client_without_certificate_or_of_another_cluster_is_told_so_by_the_handshake() {
    let (files, others) = (Files::new(), Files::new());
    let node = node(&files, nowhere(), nowhere());
    for (credentials, expected) in
        [(None, AlertDescription::CertificateRequired), (Some(others.credentials(2)), AlertDescription::UnknownCA)]
    {
        let tcp = TcpStream::connect(node.local_address()).await.unwrap();
        let mut tls = soon(connect(&files, credentials, tcp)).await.unwrap();
        // It may send what it wants before it reads that it is refused.
        tls.write_all(PREFACE).await.unwrap();
        let error = soon(tls.read(&mut [0; 100])).await.unwrap_err();
        assert_eq!(alert(&error), expected);
    }
    is_well(&files, &node).await;
}

#[tokio::test]
async fn a_client_that_is_no_peer_is_refused() {
    let files = Files::new();
    add_node(files.path(), id(9), SystemTime::now()).unwrap();
    let node = node(&files, nowhere(), nowhere());
    for stranger in [1, 9] {
        let mut client = client(dial(&files, stranger, LOOPBACK, node.local_address()).await).await;
        let refused = exchange(&mut client).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::PermissionDenied, "not one of this node's servers"),
            "node {stranger}"
        );
    }
    silent(&node).await;
    is_well(&files, &node).await;
}

#[tokio::test]
async fn a_server_of_another_cluster_or_of_another_id_is_refused() {
    let (files, others) = (Files::new(), Files::new());
    let cases = [
        (others.credentials(2), AlertDescription::UnknownCA),
        (files.credentials(3), AlertDescription::BadCertificate),
    ];
    for ((chain, key), expected) in cases {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let node = node(&files, listener.local_addr().unwrap(), nowhere());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        node.send(id(2), numbered(1));
        let (tcp, _) = soon(listener.accept()).await.unwrap();
        let refused = soon(TlsAcceptor::from(Arc::new(tls)).accept(tcp)).await.map(drop).unwrap_err();
        assert_eq!(alert(&refused), expected);
    }
}

#[tokio::test]
async fn a_newer_stream_replaces_the_older() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let mut one = client(dial(&files, 3, LOOPBACK, node.local_address()).await).await;
    let mut other = client(dial(&files, 3, LOOPBACK, node.local_address()).await).await;
    let mut older = exchange(&mut one).await.unwrap();
    // On the same connection, and on another one.
    for newer in [&mut one, &mut other] {
        let newer = exchange(newer).await.unwrap();
        let status = end(std::mem::replace(&mut older, newer)).await;
        assert_eq!((status.code(), status.message()), (Code::Aborted, "replaced by a newer stream of this node"));
    }
    node.send(id(3), numbered(1));
    let message = soon(older.1.message()).await.unwrap().unwrap();
    assert!(matches!(message.content, Some(Content::ProcessInterrupt(_))), "{message:?}");
}

#[tokio::test]
async fn what_is_no_message_ends_its_stream_with_a_reason() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let mut client = client(dial(&files, 2, LOOPBACK, node.local_address()).await).await;
    let of = |report| wire::Message { content: Some(Content::ProcessRequest(wire::ProcessRequest { report })) };
    let solution = wire::Solution { job: None, nonce: 1 };
    let stamp = Some(wire::Stamp { run: 1, sent: 1 });
    let large = wire::Report { stamp, taken: vec![7; 20_000], ..Default::default() };
    let odd = wire::Report { stamp, blocks: vec![solution], ..Default::default() };
    for (message, code, words) in [
        (of(None), Code::InvalidArgument, "expected a report, got none"),
        (of(Some(odd)), Code::InvalidArgument, "expected a solution's job, got none"),
        (of(Some(large)), Code::OutOfRange, "the limit is: 131072 bytes"),
    ] {
        let stream = exchange(&mut client).await.unwrap();
        // What came before it counts, and what a newer version may say is passed over.
        for message in [report(5), wire::Message { content: None }, message] {
            stream.0.send(message).await.unwrap();
        }
        assert!(is_report(&next(&node).await.1, 5));
        let status = end(stream).await;
        assert!(status.code() == code && status.message().contains(words), "{status:?}");
    }
    silent(&node).await;
    is_well(&files, &node).await;
}

#[tokio::test]
async fn a_peer_that_shows_no_witnesses_is_introduced() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let mut client = client(dial(&files, 2, LOOPBACK, node.local_address()).await).await;
    let (outbound, _replies) = exchange(&mut client).await.unwrap();
    let stamp = Some(wire::Stamp { run: 1, sent: 1 });
    let report = Some(wire::Report { stamp, ..Default::default() });
    let content = Content::ProcessRequest(wire::ProcessRequest { report });
    outbound.send(wire::Message { content: Some(content) }).await.unwrap();
    let introduced = soon(node.introduced()).await;
    assert_eq!(introduced, Member { proves: false, ..member(2, nowhere()) });
}

#[tokio::test]
async fn calls_on_one_connection_are_bounded() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let mut client = client(dial(&files, 2, LOOPBACK, node.local_address()).await).await;
    let mut calls = 0;
    while exchange(&mut client).await.is_ok() {
        calls += 1;
        assert!(calls <= 32, "expected the connection to be ended");
    }
    is_well(&files, &node).await;
}

/// What an HTTP/2 client sends first: RFC 9113, section 3.4, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header of a call (RFC 7541): method POST, scheme https, path, authority, and two fields without an index.
fn call() -> Vec<u8> {
    let literal = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut header = vec![0x83, 0x87, 0x04];
    header.extend(literal("/headframe.v1.Node/Exchange"));
    header.push(0x01);
    header.extend(literal("node-1.headframe"));
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        header.push(0x00);
        header.extend(literal(name));
        header.extend(literal(value));
    }
    header
}

/// Sends until the node ends the connection. Meanwhile its answers are read, else they would hold it up.
async fn ends(tls: TlsStream<TcpStream>, first: Vec<u8>, again: impl Fn(u32) -> Vec<u8>) {
    /// Far more than sockets hold.
    const MANY: u32 = 2_000_000;
    let (mut read, mut write) = tokio::io::split(tls);
    let answers = tokio::spawn(async move {
        let mut answers = [0; 4096];
        while matches!(read.read(&mut answers).await, Ok(1..)) {}
    });
    let send = async {
        write.write_all(&[PREFACE, &first].concat()).await?;
        for i in 0..MANY {
            write.write_all(&again(i)).await?;
        }
        Ok::<_, io::Error>(())
    };
    let ended = soon(async {
        tokio::select! {
            sent = send => sent.is_err(),
            ended = answers => ended.is_ok(),
        }
    });
    assert!(ended.await, "expected the connection to end");
}

#[tokio::test]
async fn a_header_bomb_ends_its_connection() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let field = |i: u32| {
        let value = format!("{i:0>100}");
        [&[0x00, 1, b'x', 100], value.as_bytes()].concat()
    };
    let tls = dial(&files, 2, LOOPBACK, node.local_address()).await;
    let continuation = |i| frame(CONTINUATION, 0, 1, &field(i).repeat(100));
    ends(tls, frame(HEADERS, 0, 1, &call()), continuation).await;
    is_well(&files, &node).await;
}

#[tokio::test]
async fn a_reset_flood_ends_its_connection() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let tls = dial(&files, 2, LOOPBACK, node.local_address()).await;
    let open_and_reset = |i| {
        let stream = 2 * i + 1;
        [frame(HEADERS, END_HEADERS, stream, &call()), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    ends(tls, vec![], open_and_reset).await;
    is_well(&files, &node).await;
}

#[tokio::test]
async fn more_streams_than_are_allowed_are_refused() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let mut tls = dial(&files, 2, LOOPBACK, node.local_address()).await;
    let open = |stream| frame(HEADERS, END_HEADERS, stream, &call());
    let opened: Vec<u8> = [1, 3, 5].into_iter().flat_map(open).collect();
    tls.write_all(&[PREFACE, &opened].concat()).await.unwrap();
    let refused = async {
        loop {
            let mut head = [0; 9];
            tls.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            tls.read_exact(&mut payload).await.unwrap();
            if head[3] == RST_STREAM && head[8] == 5 {
                return payload;
            }
        }
    };
    assert_eq!(soon(refused).await, [0, 0, 0, 7], "expected REFUSED_STREAM");
}

#[tokio::test]
async fn pings_alone_keep_no_connection() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let tls = dial(&files, 2, LOOPBACK, node.local_address()).await;
    let (mut read, mut write) = tokio::io::split(tls);
    write.write_all(PREFACE).await.unwrap();
    let pings = async {
        while write.write_all(&frame(PING, 0, 0, &[0; 8])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await
        }
    };
    let answers = async { while matches!(read.read(&mut [0; 4096]).await, Ok(1..)) {} };
    soon(async {
        tokio::select! { () = pings => {}, () = answers => {} }
    })
    .await;
    is_well(&files, &node).await;
}

#[tokio::test]
async fn half_open_connections_and_streams_are_ended() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let mut mute = TcpStream::connect(node.local_address()).await.unwrap();
    let mut idle = dial(&files, 2, LOOPBACK, node.local_address()).await;
    let mut client = client(dial(&files, 3, LOOPBACK, node.local_address()).await).await;
    let silent = exchange(&mut client).await.unwrap();
    assert!(matches!(soon(mute.read(&mut [0])).await, Ok(0) | Err(_)), "expected the end without TLS");
    let mut settings = Vec::new();
    let _ = soon(idle.read_to_end(&mut settings)).await; // the end, with or without TLS's own
    assert_eq!(end(silent).await.code(), Code::DeadlineExceeded);
    is_well(&files, &node).await;
}

/// An address of this machine that is nobody else's, if it has such.
async fn other_address(last: u8) -> Option<IpAddr> {
    let address = IpAddr::from([127, 77, 0, last]);
    TcpListener::bind((address, 0)).await.is_ok().then_some(address)
}

#[tokio::test]
async fn strangers_take_no_places_of_peers_and_are_few() {
    let (Some(here), Some(there)) = (other_address(1).await, other_address(2).await) else {
        return eprintln!("skipped: this machine has one loopback address only");
    };
    let files = Files::new();
    let node = node(&files, (here, 9).into(), (here, 10).into());
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((there, 0).into()).unwrap();
        strangers.push(soon(socket.connect(node.local_address())).await.unwrap());
    }
    // Those from elsewhere have a few places, whatever they do there.
    let mut client = client(dial(&files, 2, here, node.local_address()).await).await;
    let (outbound, _replies) = exchange(&mut client).await.unwrap();
    outbound.send(report(1)).await.unwrap();
    let (from, message) = next(&node).await;
    assert!(from == id(2) && is_report(&message, 1), "{message:?} from {from}");
    let mut ended = 0;
    for stranger in &mut strangers {
        match tokio::time::timeout(Duration::from_millis(1), stranger.read(&mut [0])).await {
            Ok(_) => ended += 1,
            Err(_) => assert!(matches!(soon(stranger.read(&mut [0])).await, Ok(0) | Err(_))),
        }
    }
    assert!(ended >= 16, "expected all but four to be ended at once, got {ended}");
}

#[tokio::test]
async fn garbage_does_no_harm() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    for i in [1, 100, 10_000_usize] {
        let mut tcp = TcpStream::connect(node.local_address()).await.unwrap();
        let bytes: Vec<u8> = (0..i).map(|j| (i * 31 + j * 17) as u8).collect();
        let _ = tcp.write_all(&bytes).await;
        tcp.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(tcp.read_to_end(&mut answer)).await;
    }
    let mut tls = dial(&files, 2, LOOPBACK, node.local_address()).await;
    tls.write_all(&[0xff; 1000]).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(tls.read_to_end(&mut answer)).await;
    is_well(&files, &node).await;
}

/// A peer that reads nothing costs what the queues hold, and holds up nobody.
#[tokio::test]
async fn a_peer_that_reads_nothing_is_dropped_for() {
    let files = Files::new();
    let node = node(&files, nowhere(), nowhere());
    let mut deaf = dial(&files, 2, LOOPBACK, node.local_address()).await;
    deaf.write_all(&[PREFACE, &frame(HEADERS, END_HEADERS, 1, &call())].concat()).await.unwrap();
    let mut client = client(dial(&files, 3, LOOPBACK, node.local_address()).await).await;
    let (_outbound, mut replies) = exchange(&mut client).await.unwrap();
    for i in 0..20 {
        for _ in 0..200 {
            node.send(id(2), super::messages::largest());
        }
        node.send(id(3), numbered(i));
        let message = soon(replies.message()).await.unwrap().unwrap();
        assert!(
            matches!(&message.content, Some(Content::ProcessInterrupt(wire::ProcessInterrupt { assignment: Some(assignment) })) if assignment.sequence == i),
            "{message:?}"
        );
    }
}
