//! A node's settings, from flags, environment, config file and defaults, in this order of precedence.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::{NonZeroU16, NonZeroU64};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::affinity::Affinity;
use super::args::{self, PeerAddress};
use super::hashing::ThreadCount;
use super::sources::{BitcoinInFile, BitcoinSettings, Secret, shown};
use super::transports::{Surroundings, TextPeer, TransportKind, Transports, Wishes};
use super::usage;
use crate::cluster::{NodeId, NodeIdError};
use crate::regular::{self, Links};
use crate::service::check_pool_name;

/// The default source.
const SOURCE: &str = "http://127.0.0.1:8480";

/// For how long a preferred source has to answer before it is used again.
const SOURCE_RETURN: Duration = Duration::from_secs(30);

/// The largest config file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Node 1 listens on 7701, node 2 on 7702 …
const FIRST_PORT: u32 = 7700;

/// Everything that a node needs, resolved.
#[derive(Debug)]
pub(super) struct NodeSettings {
    pub(super) id: NodeId,
    pub(super) listen: SocketAddr,
    /// The other servers, each `host:port`. If empty, they are those registered on this machine.
    pub(super) peers: BTreeMap<NodeId, String>,
    pub(super) sources: Vec<String>,
    pub(super) source_return: Duration,
    pub(super) bitcoin: BitcoinSettings,
    pub(super) certs: PathBuf,
    pub(super) transports: Transports,
    pub(super) hashing: args::Hashing,
    pub(super) heartbeat: Duration,
    pub(super) blocks: Option<u64>,
    pub(super) store: Option<PathBuf>,
    pub(super) pool: String,
}

/// The config file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: Option<u32>,
    listen: Option<SocketAddr>,
    #[serde(default)]
    peers: BTreeMap<String, String>,
    #[serde(default)]
    source: OneOrMany<String>,
    source_return: Option<String>,
    certs: Option<PathBuf>,
    threads: Option<ThreadCount>,
    kernel: Option<String>,
    affinity: Option<Affinity>,
    heartbeat: Option<String>,
    blocks: Option<NonZeroU64>,
    store: Option<PathBuf>,
    pool: Option<String>,
    #[serde(default)]
    transport: OneOrMany<String>,
    insecure: Option<bool>,
    #[serde(default)]
    udp_peers: BTreeMap<String, String>,
    udp_port: Option<NonZeroU16>,
    udp_dialect: Option<args::DialectName>,
    text_hashing: Option<args::HashingName>,
    text_zeros: Option<args::ZeroUnitName>,
    payout: Option<String>,
    coinbase_text: Option<String>,
    cookie: Option<PathBuf>,
    insecure_source: Option<bool>,
    source_user: Option<String>,
    source_password: Option<Secret>,
    tls_ca: Option<PathBuf>,
    tls_fingerprint: Option<String>,
}

/// One value, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> From<OneOrMany<T>> for Vec<T> {
    fn from(values: OneOrMany<T>) -> Self {
        match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

impl File {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let named = |problem: String| usage(format_args!("{}: {problem}", path.display()));
        let text = regular::read(path, Links::IfSafe, MAX_FILE)
            .map_err(|error| named(format!("expected a config file that can be read: {error}")))?;
        // The error's own text repeats the line, which may have a password.
        let file: Self = toml::from_str(&text).map_err(|error| named(without_secrets(&error, &text)))?;
        if file.source_password.is_some() && std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0) {
            let problem = "expected a file with a password to be for this user only; run `chmod 600` on it".into();
            return Err(named(problem));
        }
        Ok(file)
    }
}

impl NodeSettings {
    /// Resolves the settings.
    ///
    /// # Errors
    /// The id is missing or impossible, a peer is named twice, an address cannot be looked up, or the config file cannot be read or has an
    /// unknown setting.
    pub(super) fn resolve(args: args::Node) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let in_file = |error: String| {
            let path = args.config.as_deref().unwrap_or(Path::new("")).display();
            usage(format_args!("{path}: {error}"))
        };
        let from_file = file.id.map(NodeId::try_from).transpose().map_err(|error| in_file(error.to_string()))?;
        let id = args.id.or(from_file).ok_or_else(|| usage("expected --id ID, this server's number from 1"))?;
        let peers = peers(listed(args.peers, &file.peers, PeerAddress::new).map_err(&in_file)?)?;
        let udp_peers = listed(args.reach.udp_peers, &file.udp_peers, TextPeer::new).map_err(&in_file)?;
        let asked = args::items(args.reach.transports);
        let lists = Vec::from(file.transport).into_iter().map(|text| text.parse::<args::List<TransportKind>>());
        let in_the_file = args::items(lists.collect::<Result<_, _>>().map_err(&in_file)?);
        let wishes = Wishes {
            kinds: if asked.is_empty() { in_the_file } else { asked },
            insecure: args.reach.insecure.or(file.insecure).unwrap_or_default(),
            udp_peers,
            udp_port: args.reach.udp_port.or(file.udp_port.map(NonZeroU16::get)),
            udp_dialect: args.reach.udp_dialect.or(file.udp_dialect),
            text_hashing: args.reach.text_hashing.or(file.text_hashing),
            text_zeros: args.reach.text_zeros.or(file.text_zeros),
        };
        let heartbeat = time(args.heartbeat, file.heartbeat, "heartbeat", args::heartbeat, Duration::from_secs(5))?;
        let source_return =
            time(args.source_return, file.source_return, "source_return", args::source_return, SOURCE_RETURN)?;
        let own = peers.get(&id).map(|own| look_up(id, own)).transpose()?;
        let listen = args.listen.or(file.listen).or(own);
        let transports = Transports::resolve(wishes, &Surroundings { node: id, listen, peers: &peers, heartbeat })?;
        let listen = transports.first_place(listen.unwrap_or(default_listen(id)));
        let in_file = BitcoinInFile {
            payout: file.payout,
            coinbase_text: file.coinbase_text,
            cookie: file.cookie,
            insecure_source: file.insecure_source,
            user: file.source_user,
            password: file.source_password,
            tls_ca: file.tls_ca,
            tls_fingerprint: file.tls_fingerprint,
        };
        let bitcoin = BitcoinSettings::resolve(args.bitcoin, in_file)?;
        let asked = args::items(args.sources);
        let mut sources = if asked.is_empty() { file.source.into() } else { asked };
        if sources.is_empty() {
            sources.push(SOURCE.to_owned());
        }
        let pool = args.pool.or(file.pool).unwrap_or_else(|| "headframe".to_owned());
        check_pool_name(&pool).map_err(|error| usage(format_args!("--pool: {error}")))?;
        check_listen(id, listen, &peers)?;
        Ok(Self {
            id,
            listen,
            peers,
            sources,
            source_return,
            bitcoin,
            certs: args.certs.or(file.certs).unwrap_or_else(|| "certs".into()),
            hashing: args::Hashing {
                threads: args.hashing.threads.or(file.threads),
                kernel: args.hashing.kernel.or(file.kernel),
                affinity: args.hashing.affinity.or(file.affinity),
            },
            transports,
            heartbeat,
            blocks: args.blocks.or(file.blocks.map(NonZeroU64::get)),
            store: args.store.or(file.store),
            pool,
        })
    }
}

impl NodeSettings {
    /// The settings as a config file would have them. There are no secrets among them: a source's password is not part of its URL.
    pub(super) fn lines(&self) -> Vec<String> {
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let sources: Vec<_> = self.sources.iter().map(|source| quoted(&shown(source))).collect();
        let peers: Vec<_> = self.peers.iter().map(|(id, address)| format!("{id} = {}", quoted(address))).collect();
        let mut lines = vec![
            format!("id = {}", self.id),
            format!("listen = \"{}\"", self.listen),
            format!("peers = {{ {} }}", peers.join(", ")),
            format!("source = [{}]", sources.join(", ")),
            format!("source_return = \"{}\"", humantime::format_duration(self.source_return)),
            format!("certs = {}", path(&self.certs)),
            format!("heartbeat = \"{}\"", humantime::format_duration(self.heartbeat)),
            format!("pool = {}", quoted(&self.pool)),
        ];
        lines.extend(self.transports.lines());
        lines.extend(self.bitcoin.lines());
        lines.extend(self.store.as_ref().map(|store| format!("store = {}", path(store))));
        lines.extend(self.blocks.map(|blocks| format!("blocks = {blocks}")));
        lines.extend(self.hashing.kernel.as_ref().map(|kernel| format!("kernel = {}", quoted(kernel))));
        lines.extend(self.hashing.threads.map(|threads| format!("threads = \"{threads}\"")));
        lines.extend(self.hashing.affinity.as_ref().map(|affinity| match affinity {
            Affinity::Cpus(_) => format!("affinity = \"{affinity}\""),
            _ => format!("affinity = {affinity}"),
        }));
        lines
    }
}

/// The time that is asked for, or else that of the file's setting `name`, read by `parse`, or else the usual.
fn time(
    asked: Option<Duration>,
    in_file: Option<String>,
    name: &str,
    parse: fn(&str) -> Result<Duration, String>,
    usual: Duration,
) -> anyhow::Result<Duration> {
    match (asked, in_file) {
        (Some(time), _) => Ok(time),
        (None, Some(text)) => parse(&text).map_err(|error| usage(format_args!("{name} {text:?}: {error}"))),
        (None, None) => Ok(usual),
    }
}

/// What is wrong with a config file, with the line that is meant unless a password could stand there.
fn without_secrets(error: &toml::de::Error, text: &str) -> String {
    match text.contains("source_password") {
        false => error.to_string(),
        true => {
            let before = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..before].iter().filter(|&&byte| byte == b'\n').count() + 1;
            format!("line {line}: {}", error.message())
        }
    }
}

/// The text as a string of TOML, which escapes less than Rust does.
pub(super) fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// The peers that are asked for, or else those in the file: each an id and an address, of which `new` makes a peer.
fn listed<T>(
    asked: Vec<args::List<T>>,
    in_file: &BTreeMap<String, String>,
    new: fn(NodeId, &str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let asked = args::items(asked);
    if !asked.is_empty() {
        return Ok(asked);
    }
    let peer =
        |(id, address): (&String, &String)| new(id.parse().map_err(|error: NodeIdError| error.to_string())?, address);
    in_file.iter().map(peer).collect()
}

/// The peers by their ids.
fn peers(named: Vec<PeerAddress>) -> anyhow::Result<BTreeMap<NodeId, String>> {
    let mut peers = BTreeMap::new();
    for PeerAddress { id, address } in named {
        if peers.insert(id, address).is_some() {
            return Err(usage(format_args!("peer {id} is named twice; every server has an id of its own")));
        }
    }
    Ok(peers)
}

/// The address where this node listens, by its own entry among the peers.
fn look_up(id: NodeId, own: &str) -> anyhow::Result<SocketAddr> {
    let found = own.to_socket_addrs().map_err(|error| {
        usage(format_args!("peer {id}, this node itself: expected an address like 10.0.0.2:7702, got {own:?}: {error}"))
    })?;
    found.into_iter().next().ok_or_else(|| usage(format_args!("peer {id}, this node itself: {own:?} has no address")))
}

/// Refuses addresses among which this node could reach nobody, and warns of one that contradicts another.
fn check_listen(id: NodeId, listen: SocketAddr, peers: &BTreeMap<NodeId, String>) -> anyhow::Result<()> {
    // A name may mean any address.
    let known = peers.iter().filter_map(|(id, address)| Some((*id, address.parse::<SocketAddr>().ok()?)));
    for (peer, address) in known {
        if listen.ip().is_loopback() && !address.ip().is_loopback() && peer != id {
            let port = listen.port();
            return Err(usage(format_args!(
                "peer {peer} at {address} cannot reach {listen}: name an address of this machine that it can reach, like --listen 0.0.0.0:{port}"
            )));
        }
        if peer == id && address != listen && listen.port() != 0 && !listen.ip().is_unspecified() {
            tracing::warn!(
                "this node listens on {listen}, but its own entry among the peers is {address}: correct one of them"
            );
        }
    }
    Ok(())
}

fn default_listen(id: NodeId) -> SocketAddr {
    let port = FIRST_PORT.checked_add(id.get()).and_then(|port| u16::try_from(port).ok());
    (Ipv4Addr::LOCALHOST, port.unwrap_or(0)).into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn resolve(words: &[&str]) -> anyhow::Result<NodeSettings> {
        let Command::Node(args) = Cli::parse_from(["headframe", "node"].iter().chain(words)).command else {
            panic!("not a node")
        };
        NodeSettings::resolve(args)
    }

    fn config(text: &str) -> (tempfile::NamedTempFile, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        (file, path)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let (_file, path) = config(
            r#"
            id = 2
            peers = { 1 = "127.0.0.1:9001", 2 = "127.0.0.1:9002" }
            source = ["http://127.0.0.1:1"]
            heartbeat = "500ms"
            source_return = "2m"
            store = "solutions"
            "#,
        );
        let settings = resolve(&["--config", &path, "--source", "http://127.0.0.1:2"]).unwrap();
        assert_eq!(settings.id.get(), 2);
        assert_eq!(settings.listen, "127.0.0.1:9002".parse().unwrap(), "its own place in the list");
        assert_eq!(settings.sources, ["http://127.0.0.1:2"]);
        assert_eq!(settings.heartbeat, Duration::from_millis(500));
        assert_eq!(settings.source_return, Duration::from_secs(120));
        assert_eq!(settings.certs, Path::new("certs"));
        assert_eq!(settings.store.as_deref(), Some(Path::new("solutions")));
        let settings = resolve(&["--config", &path, "--id", "1", "--heartbeat", "2s", "--store", "other"]).unwrap();
        assert_eq!((settings.id.get(), settings.heartbeat), (1, Duration::from_secs(2)));
        assert_eq!(settings.store.as_deref(), Some(Path::new("other")));
        assert_eq!(resolve(&["--config", &path, "--source-return", "0s"]).unwrap().source_return, Duration::ZERO);
        assert_eq!(resolve(&["--id", "3"]).unwrap().source_return, Duration::from_secs(30));
        assert_eq!(resolve(&["--id", "3"]).unwrap().store, None);
        assert_eq!(resolve(&["--id", "3"]).unwrap().listen, "127.0.0.1:7703".parse().unwrap());
    }

    #[test]
    fn an_affinity_is_a_switch_or_a_list() {
        let cpu = crate::scan::usable_cpus()[0];
        let list = Affinity::Cpus(vec![cpu]);
        for (written, read) in [
            ("true", Affinity::Choose),
            ("false", Affinity::Off),
            ("\"true\"", Affinity::Choose),
            (&format!("\"{cpu}\""), list.clone()),
        ] {
            let (_file, path) = config(&format!("id = 1\naffinity = {written}"));
            let settings = resolve(&["--config", &path]).unwrap();
            assert_eq!(settings.hashing.affinity, Some(read.clone()), "{written}");
            let line = format!("affinity = {}", if read == list { format!("\"{cpu}\"") } else { read.to_string() });
            assert!(settings.lines().contains(&line), "{line}");
        }
        let cpu = cpu.to_string();
        for words in [["--affinity", &cpu, "--threads", "1"], ["--threads", "1", "--affinity", &cpu]] {
            let settings = resolve(&[&["--id", "1"], &words[..]].concat()).unwrap();
            assert_eq!(settings.hashing.affinity, Some(list.clone()));
        }
        let settings = resolve(&["--affinity", "--id", "1"]).unwrap();
        assert_eq!(settings.hashing.affinity, Some(Affinity::Choose));
    }

    #[test]
    fn settings_that_are_shown_can_be_read() {
        let text = "id = 1\npool = '\u{301}a\"\\'\ncerts = \"it's\\u007f\\u009b\\u200b\\t\"\nstore = ''\nsource = ['a', 'b']\npeers.2 = 'b:1'";
        let (_file, path) = config(text);
        let shown = resolve(&["--config", &path]).unwrap().lines();
        let (_file, path) = config(&shown.join("\n"));
        let again = resolve(&["--config", &path]).unwrap();
        assert_eq!((again.lines(), again.certs), (shown, PathBuf::from("it's\u{7f}\u{9b}\u{200b}\t")));
    }

    #[test]
    fn a_file_with_a_password_is_its_users_only_and_no_error_shows_it() {
        use std::os::unix::fs::PermissionsExt;
        let (file, path) = config("id = 1\nsource_user = 'x'\nsource_password = 'secret'");
        let mode = |mode| fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        for open in [0o644, 0o660, 0o604] {
            mode(open);
            let problem = resolve(&["--config", &path]).unwrap_err().to_string();
            assert!(problem.contains("chmod 600") && !problem.contains("secret"), "{problem}");
        }
        mode(0o600);
        assert!(!resolve(&["--config", &path]).unwrap().lines().concat().contains("secret"));
        for wrong in ["source_password = ['secret']", "source_password = 'secret", "colour = 'source_password secret'"]
        {
            let (_file, path) = config(&format!("id = 1\n{wrong}"));
            let problem = resolve(&["--config", &path]).unwrap_err().to_string();
            assert!(problem.contains("line 2") && !problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let (_file, unknown) = config("id = 1\ncolour = 'red'");
        let (_file, zero) = config("id = 0");
        let (_file, carrier) = config("id = 1\ntransport = 'quic,tcp'");
        let (_file, backwards) = config("id = 1\naffinity = '5-2'");
        let (_file, nowhere) = config("id = 1\npeers = { 2 = 'nowhere' }");
        for (words, told) in [
            (vec![], "expected --id"),
            (vec!["--id", "1", "--peer", "2=127.0.0.1:1", "--peer", "2=127.0.0.1:2"], "peer 2 is named twice"),
            (vec!["--id", "1", "--peer", "1=name.invalid:1"], "expected an address like"),
            (vec!["--config", &nowhere], "expected an address like"),
            (vec!["--config", "/nonexistent/headframe.toml"], "/nonexistent/headframe.toml"),
            (vec!["--config", &unknown], "colour"),
            (vec!["--config", &carrier], "expected one of quic, grpc, udp, memory, got \"tcp\""),
            (vec!["--config", &backwards], "expected the lower CPU first, like 2-5"),
            (vec!["--config", &zero], "expected a node id from 1"),
        ] {
            let error = resolve(&words).expect_err(told);
            assert!(error.to_string().contains(told), "{words:?}: {error}");
            assert!(error.is::<super::super::Usage>());
        }
    }
}
