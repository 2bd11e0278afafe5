//! Text peers: programs of the exercise, and what comes from everybody else.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use headframe::cluster::{Message, NodeId};
use headframe::transport::udp::{BUDGET, Dialect, UdpConfig, UdpError, UdpTransport};
use headframe::transport::{BindError, Transport};
use headframe::work::{NonceRange, Target, TextForm, TextPuzzle, ZeroUnit};
use tokio::time::sleep;

use super::dialect::{self, Peer, Words};
use super::messages::{assign, id};
use super::networks::{HEARTBEAT, next, silent, soon};
use crate::process::own_host;

pub(crate) fn config(node: u32, listen: SocketAddr, peers: &[(u32, SocketAddr)]) -> UdpConfig {
    let peers = peers.iter().map(|&(peer, address)| (id(peer), address)).collect();
    UdpConfig { peers, ..UdpConfig::new(id(node), listen, HEARTBEAT) }
}

/// Another program of the exercise: a socket, and the texts of one dialect.
pub(crate) struct TextPeer {
    socket: tokio::net::UdpSocket,
    ours: SocketAddr,
    dialect: Dialect,
}

impl TextPeer {
    /// A program at a free port.
    pub(crate) async fn start(host: IpAddr, dialect: Dialect) -> Self {
        let socket = tokio::net::UdpSocket::bind((host, 0)).await.unwrap();
        Self { socket, ours: ([127, 0, 0, 1], 9).into(), dialect }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    async fn text(&self, text: &[u8]) {
        self.socket.send_to(text, self.ours).await.unwrap();
    }

    async fn hear_text(&self) -> String {
        let mut buffer = [0; 1000];
        let (length, from) = soon(self.socket.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(from, self.ours, "from the well-known port");
        assert!(length >= 8, "one of the exercise's programs crashes otherwise");
        std::str::from_utf8(&buffer[..length]).unwrap().to_owned()
    }
}

impl Peer for TextPeer {
    async fn say(&mut self, words: Words) {
        let space = if self.dialect == Dialect::B { " " } else { "" };
        let text = match words {
            Words::HeartbeatRequest => format!("Heartbeat{space}Request"),
            Words::HeartbeatReply => format!("Heartbeat{space}Reply"),
            Words::ProcessRequest => "ProcessRequest".to_owned(),
            Words::Process { puzzle: TextPuzzle { prev, timestamp, .. }, target, range } => {
                format!("Process;{};{};{timestamp};{prev};{}", range.start, range.end - 1, target.zeros())
            }
            Words::ProcessAnswerNo => "ProcessAnswerNo".to_owned(),
            Words::ProcessAnswerYes { nonce } => format!("ProcessAnswerYes;{nonce}"),
            Words::ProcessInterrupt => "ProcessInterrupt".to_owned(),
        };
        self.text(text.as_bytes()).await;
    }

    async fn hear(&mut self) -> Words {
        let text = self.hear_text().await;
        let fields: Vec<_> = text.split(';').collect();
        match fields[..] {
            ["HeartbeatRequest"] if self.dialect == Dialect::A => Words::HeartbeatRequest,
            ["HeartbeatReply"] if self.dialect == Dialect::A => Words::HeartbeatReply,
            ["Heartbeat Request"] if self.dialect == Dialect::B => Words::HeartbeatRequest,
            ["Heartbeat Reply"] if self.dialect == Dialect::B => Words::HeartbeatReply,
            ["ProcessRequest"] => Words::ProcessRequest,
            ["Process", start, end, timestamp, prev, zeros] => Words::Process {
                puzzle: TextPuzzle {
                    prev: prev.parse().unwrap(),
                    timestamp: timestamp.parse().unwrap(),
                    hashing: TextForm::default().hashing,
                },
                target: Target::from_zeros(zeros.parse().unwrap(), ZeroUnit::Hex).unwrap(),
                range: NonceRange::new(start.parse().unwrap(), end.parse::<u64>().unwrap() + 1),
            },
            ["ProcessAnswerNo"] => Words::ProcessAnswerNo,
            ["ProcessAnswerYes", nonce] => Words::ProcessAnswerYes { nonce: nonce.parse().unwrap() },
            ["ProcessInterrupt"] => Words::ProcessInterrupt,
            _ => panic!("expected a message of the exercise, got {text:?}"),
        }
    }
}

/// Text peers on this machine.
pub(crate) struct Texts(pub(crate) Dialect);

impl dialect::Dialect for Texts {
    type Peer = TextPeer;

    async fn start<const N: usize>(&self, ours: u32, others: [u32; N]) -> (Box<dyn Transport>, [TextPeer; N]) {
        let host = own_host();
        let mut peers = Vec::new();
        for _ in 0..N {
            peers.push(TextPeer::start(host, self.0).await);
        }
        let listed: Vec<_> = others.iter().zip(&peers).map(|(&other, peer)| (other, peer.address())).collect();
        let node =
            UdpTransport::bind(UdpConfig { dialect: self.0, ..config(ours, (host, 0).into(), &listed) }).unwrap();
        for peer in &mut peers {
            peer.ours = node.local_address();
        }
        let mut peers = peers.into_iter();
        (Box::new(node), std::array::from_fn(|_| peers.next().expect("one for each")))
    }

    /// Whoever can send from a peer's address is that peer; from another address nobody is.
    async fn impostor(&self, _claimed: u32, ours: (u32, &dyn Transport)) -> Option<TextPeer> {
        let mut impostor = TextPeer::start(([127, 0, 0, 1]).into(), self.0).await;
        impostor.ours = ours.1.local_address();
        Some(impostor)
    }
}

/// A node that knows one text peer, and that peer.
async fn pair() -> (Box<dyn Transport>, TextPeer) {
    let (node, [peer]) = dialect::Dialect::start(&Texts(Dialect::A), 1, [2]).await;
    (node, peer)
}

fn is_request(message: &(NodeId, Message), from: u32) -> bool {
    message.0 == id(from) && matches!(message.1, Message::HeartbeatRequest(_))
}

#[tokio::test]
async fn whatever_is_no_message_does_no_harm() {
    let (node, mut peer) = pair().await;
    let prev = "ab".repeat(32);
    let huge = vec![b'x'; 65_507];
    for text in [
        &b""[..],
        b"H",
        b"Process",
        &huge,
        &[0xff; 200],
        b"H\0e\0a\0r\0t\0b\0e\0a\0t\0",
        b"ProcessAnswerYes;99999999999999999999",
        b"Process;;;;;",
        format!("Process;1;100000;1;{prev}").as_bytes(),
        format!("Process;1;99999999999999999999;1;{prev};4").as_bytes(),
        b"ProcessAnswerNo",
        b"ProcessAnswerYes;5",
        b"HeartbeatReply",
    ] {
        peer.text(text).await;
    }
    peer.text(b"  heartbeat REQUEST \r\n").await;
    assert!(is_request(&next(&*node).await, 2), "the others are no messages, or answer nothing");
    silent(&*node).await;
    peer.say(Words::ProcessRequest).await;
    assert!(matches!(next(&*node).await.1, Message::ProcessRequest(_)));
}

#[tokio::test]
async fn a_flood_of_one_peer_is_cut_and_others_are_heard() {
    let (node, [mut noisy, mut quiet]) = dialect::Dialect::start(&Texts(Dialect::A), 1, [2, 3]).await;
    let mut heard = 0;
    let flood = async {
        loop {
            for _ in 0..500 {
                noisy.say(Words::HeartbeatRequest).await;
            }
            // A datagram may be lost in a flood; the next heartbeat is not.
            quiet.say(Words::HeartbeatRequest).await;
            sleep(Duration::from_millis(10)).await;
        }
    };
    let listen = async {
        loop {
            let message = next(&*node).await;
            heard += usize::from(message.0 == id(2));
            if is_request(&message, 3) && heard >= BUDGET as usize {
                return;
            }
        }
    };
    soon(async {
        tokio::select! {
            () = flood => unreachable!("for ever"),
            () = listen => {}
        }
    })
    .await;
    assert!(heard <= 2 * BUDGET as usize, "{heard}");
}

#[tokio::test]
async fn peers_are_known_by_their_first_contact() {
    let host = own_host();
    let node = UdpTransport::bind(UdpConfig { first_met: Some(id(1)), ..config(2, (host, 0).into(), &[]) }).unwrap();
    let port = node.local_address().port();
    let meet = async |address: IpAddr| {
        // Not from the well-known port, at which it listens.
        let speaks = UdpSocket::bind((address, 0)).unwrap();
        let listens = UdpSocket::bind((address, port)).unwrap();
        listens.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        speaks.send_to(b"HeartbeatRequest", node.local_address()).unwrap();
        let member = soon(node.introduced()).await;
        assert_eq!((member.address, member.proves), (SocketAddr::new(address, port), false));
        assert!(is_request(&next(&node).await, member.id.get()));
        node.send(member.id, Message::Process(assign(1, 1, NonceRange::new(1, 100_001))));
        let mut text = [0; 200];
        let length = tokio::task::spawn_blocking(move || listens.recv(&mut text).unwrap()).await.unwrap();
        assert!(length > 8);
        speaks.send_to(b"ProcessRequest", node.local_address()).unwrap();
        assert_eq!(next(&node).await.0, member.id, "it is known now");
        member.id.get()
    };
    let others: Vec<IpAddr> = (1..=2).map(|_| own_host()).collect();
    assert_eq!((meet(others[0]).await, meet(others[1]).await), (1, 3), "2 is our own");
}

/// Of two programs at one address, the port that they send from tells which is which; only a list can name both.
#[tokio::test]
async fn two_ids_at_one_address_are_told_apart_by_their_ports() {
    let (node, [mut two, mut three]) = dialect::Dialect::start(&Texts(Dialect::B), 1, [2, 3]).await;
    assert_eq!(two.address().ip(), three.address().ip());
    for _ in 0..2 {
        two.say(Words::HeartbeatRequest).await;
        assert!(is_request(&next(&*node).await, 2));
        three.say(Words::HeartbeatRequest).await;
        assert!(is_request(&next(&*node).await, 3));
    }
}

#[tokio::test]
async fn a_peer_that_moves_keeps_its_id_and_its_work() {
    let (node, mut peer) = pair().await;
    node.send(id(2), Message::Process(assign(1, 1, NonceRange::new(1, 100_001))));
    let Words::Process { .. } = peer.hear().await else { panic!("expected work") };
    let mut moved = TextPeer::start(([127, 0, 0, 1]).into(), Dialect::A).await;
    moved.ours = node.local_address();
    node.set_peers(&[super::networks::member(2, moved.address())]);
    peer.say(Words::HeartbeatRequest).await;
    silent(&*node).await;
    moved.say(Words::ProcessAnswerNo).await;
    assert!(matches!(next(&*node).await, (from, Message::ProcessAnswerNo(_)) if from == id(2)));
}

#[tokio::test]
async fn other_machines_do_not_reach_it_unless_that_is_allowed() {
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let Err(error) = UdpTransport::bind(config(1, everywhere, &[])) else { panic!("expected to be refused") };
    assert!(matches!(error, UdpError::Insecure(address) if address == everywhere));
    assert!(error.to_string().contains("--insecure"), "{error}");
    UdpTransport::bind(UdpConfig { insecure: true, ..config(1, everywhere, &[]) }).unwrap();
    let first = UdpTransport::bind(config(1, (own_host(), 0).into(), &[])).unwrap();
    let second = UdpTransport::bind(config(2, first.local_address(), &[]));
    assert!(matches!(second, Err(UdpError::Bind(BindError::AddressInUse(_)))));
}

/// It would follow itself.
#[tokio::test]
async fn a_node_is_no_peer_of_its_own() {
    let (host, any) = (own_host(), "0.0.0.0:0".parse().unwrap());
    let met = UdpConfig { first_met: Some(id(3)), insecure: true, ..config(2, (host, 0).into(), &[]) };
    for listen in [(host, 0).into(), any] {
        let node = UdpTransport::bind(UdpConfig { listen, ..met.clone() }).unwrap();
        let speaks = UdpSocket::bind((host, 0)).unwrap();
        speaks.send_to(b"HeartbeatRequest", (host, node.local_address().port())).unwrap();
        silent(&node).await;
        node.set_peers(&[super::networks::member(1, (host, node.local_address().port()).into())]);
        speaks.send_to(b"HeartbeatRequest", (host, node.local_address().port())).unwrap();
        silent(&node).await;
    }
    let port = UdpSocket::bind((host, 0)).unwrap().local_addr().unwrap();
    let listed = UdpTransport::bind(config(2, port, &[(1, port)]));
    assert!(matches!(listed, Err(UdpError::Own { address, .. }) if address == port));
}

#[tokio::test]
async fn a_closed_transport_says_and_hears_nothing() {
    let (node, mut peer) = pair().await;
    soon(node.close()).await;
    assert_eq!(soon(node.recv()).await, None);
    peer.say(Words::HeartbeatRequest).await;
    assert_eq!(soon(node.recv()).await, None);
}
