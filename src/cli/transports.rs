//! How a node reaches the others: the transports by their names.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use super::run::now;
use super::settings::NodeSettings;
use super::{args, usage};
use crate::cluster::NodeId;
use crate::transport::Transport;
use crate::transport::grpc::GrpcTransport;
use crate::transport::identity::{ClusterCa, Identity};
use crate::transport::memory::MemoryNetwork;
use crate::transport::quic::QuicTransport;
use crate::transport::several::Several;
use crate::transport::udp::{Dialect, UdpConfig, UdpError, UdpTransport};
use crate::work::{Hashing, TextForm, ZeroUnit};

/// In a cluster with certified nodes text peers have ids above this number, so they never lead.
const TEXT_IDS: u32 = 4_000_000_000;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A transport's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TransportKind {
    /// QUIC with certificates
    #[default]
    Quic,
    /// gRPC with certificates, also for nodes in other languages
    Grpc,
    /// The exercise's text messages over UDP
    Udp,
    /// Inside this process
    Memory,
}

impl TransportKind {
    /// Whether its peers have certificates.
    fn is_certified(self) -> bool {
        matches!(self, Self::Quic | Self::Grpc)
    }
}

impl FromStr for TransportKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::value_variants().iter().map(Self::to_string).collect::<Vec<_>>().join(", ");
        <Self as ValueEnum>::from_str(name, true).map_err(|_| format!("expected one of {known}, got {name:?}"))
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// The transports of one node, and where text peers are.
#[derive(Clone, Debug)]
pub(super) struct Transports {
    kinds: Vec<TransportKind>,
    /// How texts are hashed, and their zeros counted.
    pub(super) form: TextForm,
    udp: Option<UdpConfig>,
}

/// What the user says of transports, by flags, environment or config file.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) kinds: Vec<TransportKind>,
    pub(super) insecure: bool,
    pub(super) udp_peers: Vec<TextPeer>,
    pub(super) udp_port: Option<u16>,
    pub(super) udp_dialect: Option<args::DialectName>,
    pub(super) text_hashing: Option<args::HashingName>,
    pub(super) text_zeros: Option<args::ZeroUnitName>,
}

/// What a node's other settings say, as far as transports depend on it.
pub(super) struct Surroundings<'a> {
    pub(super) node: NodeId,
    /// The address that the user names, for this node itself or in the list of servers.
    pub(super) listen: Option<SocketAddr>,
    /// The list of servers; empty if there is none.
    pub(super) peers: &'a BTreeMap<NodeId, String>,
    pub(super) heartbeat: Duration,
}

impl Transports {
    /// # Errors
    /// The wishes contradict each other, or the other settings.
    pub(super) fn resolve(wishes: Wishes, around: &Surroundings<'_>) -> anyhow::Result<Self> {
        let kinds = kinds(&wishes.kinds)?;
        let asks_for_text = wishes.insecure
            || !wishes.udp_peers.is_empty()
            || wishes.udp_port.is_some()
            || wishes.udp_dialect.is_some();
        let form = TextForm {
            hashing: wishes.text_hashing.map(Hashing::from).unwrap_or_default(),
            zeros: wishes.text_zeros.map(ZeroUnit::from).unwrap_or_default(),
        };
        let udp = match (kinds.contains(&TransportKind::Udp), asks_for_text) {
            (true, _) => Some(text_peers(&wishes, form, kinds.iter().any(|kind| kind.is_certified()), around)?),
            (false, false) => None,
            (false, true) => {
                return Err(usage(
                    "--insecure, --udp-peers, --udp-port and --udp-dialect need --transport udp or quic,udp",
                ));
            }
        };
        Ok(Self { kinds, form, udp })
    }

    /// The transports' names.
    pub(super) fn names(&self) -> Vec<String> {
        self.kinds.iter().map(TransportKind::to_string).collect()
    }

    /// Whether the node needs certificates.
    pub(super) fn are_certified(&self) -> bool {
        self.kinds.iter().any(|kind| kind.is_certified())
    }

    /// The text peers that the user lists, if they are all that this node speaks with.
    pub(super) fn text_peers(&self) -> Option<&BTreeMap<NodeId, SocketAddr>> {
        let peers = &self.udp.as_ref().filter(|_| !self.are_certified())?.peers;
        (!peers.is_empty()).then_some(peers)
    }

    /// Where it listens for certified nodes, or, if there are none, for text peers.
    pub(super) fn first_place(&self, listen: SocketAddr) -> SocketAddr {
        self.udp.as_ref().filter(|_| !self.are_certified()).map_or(listen, |udp| udp.listen)
    }

    /// Where this node listens, each with the transport's name.
    pub(super) fn places(&self, listen: SocketAddr) -> impl Iterator<Item = (TransportKind, SocketAddr)> {
        let place = move |kind: TransportKind| match (&self.udp, kind) {
            (Some(udp), TransportKind::Udp) => udp.listen,
            _ => listen,
        };
        self.kinds.iter().map(move |&kind| (kind, place(kind)))
    }

    /// The settings as a config file would have them.
    pub(super) fn lines(&self) -> Vec<String> {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
        let mut lines = vec![format!("transport = [{}]", kinds.join(", "))];
        if let Some(udp) = &self.udp {
            let base = if self.are_certified() { TEXT_IDS } else { 0 };
            let peers: Vec<_> = udp.peers.iter().map(|(id, at)| format!("{} = \"{at}\"", id.get() - base)).collect();
            lines.push(format!("udp_port = {}", udp.listen.port()));
            lines.push(format!("udp_dialect = \"{}\"", name_of(args::DialectName::from(udp.dialect))));
            lines.push(format!("udp_peers = {{ {} }}", peers.join(", ")));
            lines.extend(udp.insecure.then(|| "insecure = true".to_owned()));
        }
        lines.push(format!("text_hashing = \"{}\"", name_of(args::HashingName::from(self.form.hashing))));
        lines.push(format!("text_zeros = \"{}\"", name_of(args::ZeroUnitName::from(self.form.zeros))));
        lines
    }
}

/// The transports that are asked for; QUIC if none is.
fn kinds(asked: &[TransportKind]) -> anyhow::Result<Vec<TransportKind>> {
    if asked.contains(&TransportKind::Memory) {
        return Err(usage("transport memory is for the nodes of one process: expected quic, grpc or udp, or several"));
    }
    if let Some(place) = (0..asked.len()).find(|&place| asked[..place].contains(&asked[place])) {
        return Err(usage(format_args!("transport {} is named twice", asked[place])));
    }
    Ok(if asked.is_empty() { vec![TransportKind::default()] } else { asked.to_vec() })
}

/// How to speak with text peers. `is_mixed`: there are certified nodes, too.
fn text_peers(wishes: &Wishes, form: TextForm, is_mixed: bool, around: &Surroundings<'_>) -> anyhow::Result<UdpConfig> {
    let &Surroundings { node, listen, peers: named, heartbeat } = around;
    let dialect = wishes.udp_dialect.map(Dialect::from).unwrap_or_default();
    let own_port = listen.filter(|_| !is_mixed).map(|listen| listen.port());
    let port = wishes.udp_port.or(own_port).unwrap_or(dialect.port());
    let ip = match (listen, wishes.insecure) {
        // The named address is that of the certified connections, which may be reached from anywhere.
        (Some(listen), insecure) if insecure || !is_mixed || listen.ip().is_loopback() => listen.ip(),
        (None, true) => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    let listen = SocketAddr::new(ip, port);
    if !ip.is_loopback() && !wishes.insecure {
        return Err(usage(UdpError::Insecure(listen)));
    }
    if let Some(id) = named.keys().copied().chain([node]).find(|id| is_mixed && id.get() > TEXT_IDS) {
        return Err(usage(format_args!("node {id}: ids above {TEXT_IDS} are for text peers")));
    }
    if !is_mixed && !named.is_empty() && !wishes.udp_peers.is_empty() {
        return Err(usage("--peer and --udp-peers are both lists of text peers here: name one of them"));
    }
    let mut peers = BTreeMap::new();
    for &TextPeer { id, ip, port: named } in &wishes.udp_peers {
        let shifted = if is_mixed { id.get().checked_add(TEXT_IDS) } else { Some(id.get()) };
        let shifted = shifted
            .and_then(|id| NodeId::try_from(id).ok())
            .ok_or_else(|| usage(format_args!("text peer {id}: expected an id up to {}", u32::MAX - TEXT_IDS)))?;
        if ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST || ip.is_ipv4() != listen.is_ipv4() {
            return Err(usage(format_args!(
                "text peer {id}: expected the address of one host that {listen} reaches, got {ip}"
            )));
        }
        if listen.ip().is_loopback() && !ip.is_loopback() && shifted != node {
            return Err(usage(format_args!("text peer {id} at {ip} cannot reach {listen}: allow it with --insecure")));
        }
        let address = SocketAddr::new(ip, named.unwrap_or(port));
        if let Some((other, _)) = peers.iter().find(|(_, known)| **known == address) {
            let base = if is_mixed { TEXT_IDS } else { 0 };
            return Err(usage(format_args!(
                "text peers {} and {id} are both at {address}; a text peer is known by its address",
                NodeId::get(*other) - base
            )));
        }
        if peers.insert(shifted, address).is_some() {
            return Err(usage(format_args!("text peer {id} is named twice; every server has an id of its own")));
        }
    }
    // Nobody whom no list names comes before this node.
    let first = if is_mixed { TEXT_IDS } else { node.get() }.saturating_add(1);
    let is_listed = !peers.is_empty() || !is_mixed && !named.is_empty();
    let first_met = NodeId::try_from(first).ok().filter(|_| !is_listed);
    let insecure = wishes.insecure;
    let usual = UdpConfig::new(node, listen, heartbeat);
    Ok(UdpConfig { insecure, dialect, form, peers, first_met, ..usual })
}

fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Listens on every transport of a node. The identity is there if the transports are certified.
///
/// # Errors
/// An address cannot be listened on.
pub(super) fn connect(settings: &NodeSettings, identity: Option<&Identity>) -> anyhow::Result<Arc<dyn Transport>> {
    let Transports { kinds, udp, .. } = &settings.transports;
    let (mut native, mut text) = (Vec::<Arc<dyn Transport>>::new(), None::<Arc<dyn Transport>>);
    for kind in kinds {
        // Where any port will do, all take the same: the others know one address.
        let listen = native.first().map_or(settings.listen, |first| first.local_address());
        match (kind, identity, udp) {
            (TransportKind::Quic, Some(identity), _) => {
                native.push(Arc::new(QuicTransport::bind(identity, listen, settings.heartbeat)?));
            }
            (TransportKind::Grpc, Some(identity), _) => {
                native.push(Arc::new(GrpcTransport::bind(identity, listen, settings.heartbeat)?));
            }
            (TransportKind::Udp, _, Some(udp)) => {
                text = Some(Arc::new(UdpTransport::bind(udp.clone())?));
            }
            _ => unreachable!("resolved settings have what their transports need"),
        }
    }
    Ok(match (native.len(), text) {
        (1, None) => native.remove(0),
        (0, Some(text)) => text,
        (_, text) => Arc::new(Several::new(native, text, settings.heartbeat)),
    })
}

/// Makes the transport of one of several nodes in this process.
pub(super) type Connect = Box<dyn Fn(NodeId) -> anyhow::Result<Arc<dyn Transport>>>;

/// Makes the transports of one cluster's nodes, all on loopback.
pub(super) fn on_loopback(kind: TransportKind, heartbeat: Duration) -> anyhow::Result<Connect> {
    Ok(match kind {
        TransportKind::Quic => {
            let ca = ClusterCa::generate(now())?;
            Box::new(move |id| Ok(Arc::new(QuicTransport::bind(&ca.issue(id, now())?, LOOPBACK, heartbeat)?)))
        }
        TransportKind::Grpc => {
            let ca = ClusterCa::generate(now())?;
            Box::new(move |id| Ok(Arc::new(GrpcTransport::bind(&ca.issue(id, now())?, LOOPBACK, heartbeat)?)))
        }
        TransportKind::Udp => {
            Box::new(move |id| Ok(Arc::new(UdpTransport::bind(UdpConfig::new(id, LOOPBACK, heartbeat))?)))
        }
        TransportKind::Memory => {
            let network = MemoryNetwork::new();
            Box::new(move |id| Ok(Arc::new(network.join(id))))
        }
    })
}

/// `ID=IP` or `ID=IP:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextPeer {
    id: NodeId,
    ip: IpAddr,
    port: Option<u16>,
}

impl TextPeer {
    /// A text peer at `IP` or `IP:PORT`.
    pub(super) fn new(id: NodeId, address: &str) -> Result<Self, String> {
        let with_port = address.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
        let peer = with_port.map(|address| Self { id, ip: address.ip(), port: Some(address.port()) });
        let peer = peer.or_else(|| address.parse().ok().map(|ip| Self { id, ip, port: None }));
        peer.ok_or_else(|| format!("expected an IP address like 10.0.0.2 or 10.0.0.2:6001, got {address:?}"))
    }
}

impl FromStr for TextPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, address) = text.split_once('=').ok_or("expected ID=IP, like 2=10.0.0.2")?;
        let id = id.parse().map_err(|error: crate::cluster::NodeIdError| error.to_string())?;
        Self::new(id, address)
    }
}
