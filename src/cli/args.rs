//! The commands and their options. The doc comments of commands and options are their `--help` texts.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use super::affinity::Affinity;
use super::grind::{HeaderFrom, version_mask};
use super::hashing::ThreadCount;
use super::transports::{TextPeer, TransportKind};
use crate::cluster::NodeId;
use crate::transport::udp::Dialect;
use crate::work::{Digest, Hashing as TextHashing, Timestamp, ZeroUnit};

/// Finds nonces: every core of a box, and every box of a cluster.
///
/// Without a command: `up`, an embedded block service and two nodes that mine on it.
#[derive(Debug, Parser)]
#[command(name = "headframe", version, override_usage = "headframe [COMMAND] [OPTIONS]", after_help = EXAMPLES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Cli {
    /// Parses `words`, the first of which is the program's name. Without a command, options are those of `up`.
    pub(super) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut words: Vec<_> = words.into_iter().collect();
        let for_all = ["-h", "--help", "-V", "--version"];
        let is_up = |word: &OsString| {
            let word = word.to_string_lossy();
            word.starts_with('-') && !for_all.contains(&&*word)
        };
        if words.get(1).is_none_or(is_up) {
            words.insert(1.min(words.len()), "up".into());
        }
        Self::from_arg_matches(&Self::definition().try_get_matches_from(words)?)
    }

    /// The commands and their options, for parsing, completions and man pages. An empty variable of the environment counts as unset.
    pub(super) fn definition() -> clap::Command {
        let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        let unset = move |arg: Arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg };
        // A header may follow `--affinity`, which would take it for its CPUs.
        let with_equals = |command: clap::Command| command.mut_arg("affinity", |arg| arg.require_equals(true));
        let command = Self::command().mut_subcommand("grind", with_equals).long_version(long_version());
        command.mut_subcommands(move |command| command.mut_args(unset))
    }
}

/// The version, what it was built from and for, and the kernels that this CPU has, fastest instructions first.
fn long_version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let kernels: Vec<_> = crate::kernel::available().iter().map(|kernel| kernel.name()).collect();
        let (version, commit, target) = (env!("CARGO_PKG_VERSION"), env!("HEADFRAME_COMMIT"), env!("HEADFRAME_TARGET"));
        format!("{version}\ncommit {commit}\ntarget {target}\nkernels on this CPU: {}", kernels.join(", "))
    });
    &VERSION
}

const EXAMPLES: &str = "Examples:
  headframe                                  mine on an embedded block service until Ctrl-C
  headframe up --nodes 3 --blocks 5          three nodes, five blocks, then end
  headframe certs --nodes 2 --dir certs      certificates for a cluster of two boxes
  headframe node --id 1 --listen 10.0.0.1:7701 --source http://10.0.0.9:8480 --peer 2=10.0.0.2:7702

Environment: HEADFRAME_<OPTION> for options that say so, HEADFRAME_RUN_DIR (registry of this machine's servers),
HEADFRAME_LOG (off, error, warn, info, debug, trace), NO_COLOR.
Exit codes: 0 done, 1 failed, 2 wrong usage or config, 3 searched all and found nothing.";

/// The groups of options in the help of `up` and `node`, beside those of [`Hashing`] and [`Output`].
const CLUSTER: &str = "Cluster";
const WORK: &str = "Work";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start a block service and several nodes in this process, on loopback
    Up(Up),
    /// Run one server of a cluster
    Node(Node),
    /// Run the block service alone
    Service(Service),
    /// Make a cluster CA and one certificate and key per node
    Certs(Certs),
    /// Search one text puzzle on this box
    Solve(Solve),
    /// Find a nonce for an 80-byte block header
    Grind(Grind),
    /// Measure hash rates
    Bench(Bench),
    /// Show the servers registered on this machine
    Status(Status),
    /// Try a node's settings: its files, addresses, peers and sources
    #[command(after_help = "Example:
  headframe check --config /etc/headframe.toml

Takes the options of `headframe node`. Each line is a setting, or a finding: `ok` or `FAULT`. Exit code 0 when the node would run
well, 1 when there are faults, 2 when the settings are wrong.")]
    Check(Node),
    /// Write a shell's completions to standard output
    Completions(Completions),
    /// Write man pages into a folder
    Man(Man),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  headframe completions bash > ~/.local/share/bash-completion/completions/headframe")]
pub(super) struct Completions {
    /// Which shell
    pub(super) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  headframe man ~/.local/share/man/man1")]
pub(super) struct Man {
    /// The folder, which is made if it is missing
    pub(super) dir: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  headframe up
  headframe up --nodes 3 --blocks 5 --zeros 5 --json
  headframe up --store chain.redb --service-listen 127.0.0.1:8480")]
pub(super) struct Up {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 2, env = "HEADFRAME_NODES", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = CLUSTER)]
    pub(super) nodes: u32,
    /// End once N blocks are accepted [default: go on until Ctrl-C]
    #[arg(long, value_name = "N", env = "HEADFRAME_BLOCKS", value_parser = clap::value_parser!(u64).range(1..), help_heading = WORK)]
    pub(super) blocks: Option<u64>,
    /// Leading zero hex digits that every block needs, 0 to 64 [default: the service adapts]
    #[arg(long, value_name = "Z", env = "HEADFRAME_ZEROS", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..=64), help_heading = WORK)]
    pub(super) zeros: Option<i64>,
    #[command(flatten)]
    pub(super) hashing: Hashing,
    /// How the nodes reach each other
    #[arg(long, value_enum, ignore_case = true, default_value_t, env = "HEADFRAME_TRANSPORT", help_heading = CLUSTER)]
    pub(super) transport: TransportKind,
    /// File that keeps the embedded service's chain [default: it ends with the process]
    #[arg(long, value_name = "FILE", env = "HEADFRAME_STORE", help_heading = WORK)]
    pub(super) store: Option<PathBuf>,
    /// Where the embedded service listens [default: 127.0.0.1:8480, or any free port if that is taken]
    #[arg(long, value_name = "ADDR", env = "HEADFRAME_SERVICE_LISTEN", help_heading = WORK)]
    pub(super) service_listen: Option<SocketAddr>,
    /// Mine on this block service, http://host:port, for this Bitcoin node, bitcoind+http://host:port, or for this pool, stratum+tcp://user@host:port, instead of on an embedded service;
    /// repeatable, in order of preference
    #[arg(long = "source", value_name = "URL", env = "HEADFRAME_SOURCE", help_heading = WORK)]
    pub(super) sources: Vec<List<String>>,
    /// Use a source that was left again once it has answered for so long, like 30s or 5m
    #[arg(long, value_name = "TIME", default_value = "30s", env = "HEADFRAME_SOURCE_RETURN", value_parser = source_return, help_heading = WORK)]
    pub(super) source_return: Duration,
    #[command(flatten)]
    pub(super) bitcoin: Bitcoin,
    /// Time between two heartbeats, like 5s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", env = "HEADFRAME_HEARTBEAT", value_parser = heartbeat, help_heading = CLUSTER)]
    pub(super) heartbeat: Duration,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  headframe node --id 1                              with the servers registered on this machine
  headframe node --id 1 --listen 10.0.0.1:7701 --peer 2=10.0.0.2:7702 --source http://10.0.0.9:8480
  headframe node --id 1 --transport udp --insecure --udp-peers 2=10.0.0.2,3=10.0.0.3     with other programs of the exercise
  headframe node --id 1 --source bitcoind+http://127.0.0.1:8332 --cookie ~/.bitcoin/.cookie --payout bc1q…
  headframe node --config /etc/headframe.toml

The config file has the same names: id, listen, peers = { 2 = \"10.0.0.2:7702\" }, source = [\"http://…\"],
source_return = \"30s\", certs, threads, kernel, affinity, heartbeat = \"5s\", blocks, store, pool, transport = [\"quic\"], insecure,
udp_peers = { 2 = \"10.0.0.2\" }, udp_port, udp_dialect, text_hashing, text_zeros, payout, coinbase_text, cookie, insecure_source, source_user,
source_password (then the file's mode has to be 0600). Flags win over the environment, the environment over the file.")]
pub(super) struct Node {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE", env = "HEADFRAME_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// This server's id: 1, 2, 3 …; the lowest live one leads
    #[arg(long, env = "HEADFRAME_ID", allow_negative_numbers = true, help_heading = CLUSTER)]
    pub(super) id: Option<NodeId>,
    /// Where to listen for the others [default: 127.0.0.1, port 7700 + id]
    #[arg(long, value_name = "ADDR", env = "HEADFRAME_LISTEN", help_heading = CLUSTER)]
    pub(super) listen: Option<SocketAddr>,
    /// Another server; repeatable [default: the servers registered on this machine]
    #[arg(long = "peer", value_name = "ID=ADDR", env = "HEADFRAME_PEERS", help_heading = CLUSTER)]
    pub(super) peers: Vec<List<PeerAddress>>,
    /// Where blocks come from: http://host:port, the block service; bitcoind+http://host:port or bitcoind+https://host:port, a Bitcoin
    /// node; stratum+tcp://user@host:port or stratum+ssl://user@host:port, a pool; repeatable, in order of preference [default: http://127.0.0.1:8480]
    #[arg(long = "source", value_name = "URL", env = "HEADFRAME_SOURCE", help_heading = WORK)]
    pub(super) sources: Vec<List<String>>,
    /// Use a source that was left again once it has answered for so long, like 30s or 5m [default: 30s]
    #[arg(long, value_name = "TIME", env = "HEADFRAME_SOURCE_RETURN", value_parser = source_return, help_heading = WORK)]
    pub(super) source_return: Option<Duration>,
    #[command(flatten)]
    pub(super) bitcoin: Bitcoin,
    /// Folder with this cluster's certificates, made by `headframe certs` [default: certs]
    #[arg(long, value_name = "DIR", env = "HEADFRAME_CERTS", help_heading = CLUSTER)]
    pub(super) certs: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reach: Reach,
    #[command(flatten)]
    pub(super) hashing: Hashing,
    /// Time between two heartbeats, like 5s or 500ms; the same on every server [default: 5s]
    #[arg(long, value_name = "TIME", env = "HEADFRAME_HEARTBEAT", value_parser = heartbeat, help_heading = CLUSTER)]
    pub(super) heartbeat: Option<Duration>,
    /// File that keeps this node's solutions until the source has given its final answer, even if the node is killed
    /// [default: they end with the process]
    #[arg(long, value_name = "FILE", env = "HEADFRAME_STORE", help_heading = WORK)]
    pub(super) store: Option<PathBuf>,
    /// Name under which blocks are submitted [default: headframe]
    #[arg(long, value_name = "NAME", env = "HEADFRAME_POOL", help_heading = WORK)]
    pub(super) pool: Option<String>,
    /// End once N blocks were accepted since the start [default: go on until a signal]
    #[arg(long, value_name = "N", env = "HEADFRAME_BLOCKS", value_parser = clap::value_parser!(u64).range(1..), help_heading = WORK)]
    pub(super) blocks: Option<u64>,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  headframe service --store chain.redb
  headframe service --listen 127.0.0.1:8480 --interval 30
  curl http://127.0.0.1:8480/api/v1/block")]
pub(super) struct Service {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8480", env = "HEADFRAME_SERVICE_LISTEN")]
    pub(super) listen: SocketAddr,
    /// File that keeps the chain [default: it ends with the process]
    #[arg(long, value_name = "FILE", env = "HEADFRAME_STORE")]
    pub(super) store: Option<PathBuf>,
    /// Leading zero hex digits that every block needs, 0 to 64
    #[arg(long, value_name = "Z", env = "HEADFRAME_ZEROS", allow_negative_numbers = true, conflicts_with = "interval", value_parser = clap::value_parser!(i64).range(0..=64))]
    pub(super) zeros: Option<i64>,
    /// Adapt the zeros to one block every SECONDS [default: 3]
    #[arg(long, value_name = "SECONDS", env = "HEADFRAME_INTERVAL", value_parser = seconds)]
    pub(super) interval: Option<Duration>,
    /// The most connections that are served at the same time; more wait
    #[arg(long, value_name = "N", default_value = "64", env = "HEADFRAME_MAX_CONNECTIONS")]
    pub(super) max_connections: NonZeroUsize,
    /// Answer to this name, too, as behind a proxy; repeatable [default: localhost and IP addresses only]
    #[arg(long = "allow-host", value_name = "NAME", env = "HEADFRAME_ALLOW_HOST", value_delimiter = ',')]
    pub(super) allowed_hosts: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  headframe certs --nodes 3 --dir certs      ca.pem, ca.key and node-1.pem, node-1.key … node-3.key
  headframe certs --add 4 --dir certs        one more node of the same cluster
  headframe certs --renew 2 --dir certs      a new certificate for node 2, which takes it up while it runs

Every box needs ca.pem and its own node's two files. Keep ca.key where no node runs.")]
pub(super) struct Certs {
    /// How many nodes, with the ids 1 to N
    #[arg(long, value_name = "N", required_unless_present_any = ["add", "renew"], conflicts_with_all = ["add", "renew"], value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) nodes: Option<u32>,
    /// Add one node to the cluster whose CA is in the folder
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub(super) add: Option<NodeId>,
    /// Replace one node's certificate and key by new ones
    #[arg(long, value_name = "ID", allow_negative_numbers = true, conflicts_with = "add")]
    pub(super) renew: Option<NodeId>,
    /// Where to put them; existing files are never overwritten, but by --renew
    #[arg(long, value_name = "DIR", default_value = "certs", env = "HEADFRAME_CERTS")]
    pub(super) dir: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  headframe solve --prev 00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db \\
      --timestamp 1550766000000 --zeros 4
  headframe solve --prev … --timestamp … --zeros 5 --start 1 --end 1000000 --all --json")]
pub(super) struct Solve {
    /// The previous block's hash, 64 lower-case hex digits
    #[arg(long, value_name = "HEX")]
    pub(super) prev: Digest,
    /// The timestamp, 1 to 20 decimal digits
    #[arg(long, value_name = "TS", allow_hyphen_values = true)]
    pub(super) timestamp: Timestamp,
    /// Leading zero hex digits, 0 to 64
    #[arg(long, value_name = "Z", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..=64))]
    pub(super) zeros: i64,
    /// First nonce
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=2_000_000_000))]
    pub(super) start: u64,
    /// Last nonce
    #[arg(long, value_name = "N", default_value_t = 2_000_000_000, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=2_000_000_000))]
    pub(super) end: u64,
    /// Every solution of the range, ascending, rather than the first
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) hashing: Hashing,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Args, Debug)]
#[command(
    override_usage = "headframe grind [OPTIONS] <HEADER>",
    after_help = "Examples:
  headframe grind 0100000000000000…ffff001d00000000
  cat header | headframe grind -
  contrib/signet/miner --cli=\"bitcoin-cli\" generate --grind-cmd=\"headframe grind\" --address=$ADDRESS --nbits=$NBITS

Behaves like `bitcoin-util grind`, also for Bitcoin Core's contrib/signet/miner: the header with a good nonce on standard output and
nothing else. Exit code 3 if there is none among the 4,294,967,296."
)]
pub(super) struct Grind {
    /// The header, 160 hex digits, or - for standard input; its own nonce does not matter
    #[arg(value_name = "HEADER")]
    pub(super) header: Option<HeaderFrom>,
    /// Roll these version bits, too, in hex: 1fffe000 or some of them (BIP 320) [default: none]
    ///
    /// Not for the signet miner: the signature of its block covers the version, and it takes over nothing but the nonce.
    #[arg(long, value_name = "HEX", default_value = "0", hide_default_value = true, value_parser = version_mask)]
    pub(super) version_mask: u32,
    #[command(flatten)]
    pub(super) hashing: Hashing,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  headframe bench                              every kernel, all cores, header puzzle
  headframe bench --puzzle text --threads 1
  headframe bench --kernel portable --seconds 10 --json

Kernels alternate in slices of about 2 ms. `mean` is what was done by the wall clock. `best` is the
5th percentile of the slices: what the box does when nothing disturbs it. `x sha2` compares it with headers hashed by the sha2 crate on a
midstate, one after another, whatever the puzzle. `found` and `sum` are of some 260,000 nonces that
each kernel has searched before: if they disagree on the solutions, nothing is measured.")]
pub(super) struct Bench {
    /// One kernel, or all that this CPU has
    #[arg(long, value_name = "NAME", default_value = "all", env = "HEADFRAME_KERNEL")]
    pub(super) kernel: String,
    /// What is hashed
    #[arg(long, value_enum, default_value_t)]
    pub(super) puzzle: BenchPuzzle,
    /// Hashing threads [default: all cores]
    #[arg(long, value_name = "T", env = "HEADFRAME_THREADS")]
    pub(super) threads: Option<ThreadCount>,
    /// How long, for all kernels together
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub(super) seconds: Duration,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  headframe status --json")]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Hashing")]
pub(super) struct Hashing {
    /// How to hash; see `headframe bench` [default: the fastest]
    #[arg(long, value_name = "NAME", env = "HEADFRAME_KERNEL")]
    pub(super) kernel: Option<String>,
    /// Hashing threads, like 4 or 50%; for `up` those of all nodes together, at least one each [default: as many as raise the hash rate]
    #[arg(long, value_name = "T", env = "HEADFRAME_THREADS")]
    pub(super) threads: Option<ThreadCount>,
    /// Pin each hashing thread to a CPU of its own: to CPUs that no registered server uses, or to those of a list like 2-5,8
    #[arg(long, value_name = "CPUS", env = "HEADFRAME_AFFINITY", num_args = 0..=1, default_missing_value = "true")]
    pub(super) affinity: Option<Affinity>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub(super) struct Output {
    /// One JSON object per line
    #[arg(long)]
    pub(super) json: bool,
}

/// What a Bitcoin node or a pool as a source needs. Its user and password are no options, since others of the machine can read a command line.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Bitcoin nodes and pools (HEADFRAME_SOURCE_USER, HEADFRAME_SOURCE_PASSWORD)")]
pub(super) struct Bitcoin {
    /// Address that is paid by the blocks
    #[arg(long, value_name = "ADDRESS", env = "HEADFRAME_PAYOUT")]
    pub(super) payout: Option<String>,
    /// What the coinbases say beside, at most 68 bytes
    #[arg(long, value_name = "TEXT", env = "HEADFRAME_COINBASE_TEXT")]
    pub(super) coinbase_text: Option<String>,
    /// The file with the node's password, which Bitcoin Core writes at its start: .cookie in its data folder
    #[arg(long, value_name = "FILE", env = "HEADFRAME_COOKIE")]
    pub(super) cookie: Option<PathBuf>,
    /// Send the password to another machine without TLS
    #[arg(long, env = "HEADFRAME_INSECURE_SOURCE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(super) insecure_source: Option<bool>,
    /// The authorities whose certificates pools have to show over TLS, a PEM file [default: those of the system]
    #[arg(long, value_name = "FILE", env = "HEADFRAME_TLS_CA")]
    pub(super) tls_ca: Option<PathBuf>,
    /// The SHA-256 fingerprint of the only certificate that a pool may show over TLS, whoever signed it
    #[arg(long, value_name = "HEX", env = "HEADFRAME_TLS_FINGERPRINT")]
    pub(super) tls_fingerprint: Option<String>,
}

/// How a node reaches the others.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Connections")]
pub(super) struct Reach {
    /// How to reach the others: quic, grpc (also nodes in other languages), udp (the exercise's text messages), or several, like quic,grpc [default: quic]
    #[arg(long = "transport", value_name = "NAMES", env = "HEADFRAME_TRANSPORT")]
    pub(super) transports: Vec<List<TransportKind>>,
    /// Let udp, which has no TLS, listen where other machines reach it: on --listen's address, or on all
    #[arg(long, env = "HEADFRAME_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(super) insecure: Option<bool>,
    /// A text peer, which has no certificate; repeatable. With certified nodes, 4000000000 is added to its id, so that it never leads
    /// [default: ids in the order of first contact, after this node's]
    #[arg(long = "udp-peers", value_name = "ID=IP[:PORT]", env = "HEADFRAME_UDP_PEERS")]
    pub(super) udp_peers: Vec<List<TextPeer>>,
    /// Where text peers listen, and this node for them [default: 6001, in dialect b 60000]
    #[arg(long, value_name = "PORT", env = "HEADFRAME_UDP_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) udp_port: Option<u16>,
    /// How text peers write their names [default: a]
    #[arg(long, value_enum, ignore_case = true, env = "HEADFRAME_UDP_DIALECT")]
    pub(super) udp_dialect: Option<DialectName>,
    /// How often text peers, and the exercise's first web service, hash a text [default: double]
    #[arg(long, value_enum, env = "HEADFRAME_TEXT_HASHING")]
    pub(super) text_hashing: Option<HashingName>,
    /// In what they count leading zeros [default: hex]
    #[arg(long, value_enum, env = "HEADFRAME_TEXT_ZEROS")]
    pub(super) text_zeros: Option<ZeroUnitName>,
}

/// Names on the command line and in config files for values of the library.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident for $type:ident { $($(#[$value_doc:meta])* $value:ident),+ })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
            #[serde(rename_all = "lowercase")]
            pub(super) enum $name { $($(#[$value_doc])* $value),+ }

            impl From<$name> for $type {
                fn from(name: $name) -> Self {
                    match name { $($name::$value => Self::$value),+ }
                }
            }

            impl From<$type> for $name {
                fn from(value: $type) -> Self {
                    match value { $($type::$value => Self::$value),+ }
                }
            }
        )+
    };
}

names! {
    /// Which of the exercise's programs the text peers are.
    DialectName for Dialect {
        /// HeartbeatRequest; port 6001
        A,
        /// Heartbeat Request; port 60000
        B
    }
    /// How often a text is hashed.
    HashingName for TextHashing {
        /// SHA-256 once
        Single,
        /// SHA-256 of the raw SHA-256 digest
        Double
    }
    /// In what zeros are counted.
    ZeroUnitName for ZeroUnit {
        /// Leading hex digits
        Hex,
        /// Leading bits
        Bits,
        /// Leading whole bytes
        Bytes
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum BenchPuzzle {
    /// Bitcoin's header
    #[default]
    Header,
    /// The same with version rolling
    Rolled,
    /// The exercise's text
    Text,
}

/// Items with commas between them. Spaces around an item, and a comma after the last, mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(Self(items.map(str::parse).collect::<Result<_, _>>()?))
    }
}

/// The items of several lists.
pub(super) fn items<T>(lists: Vec<List<T>>) -> Vec<T> {
    lists.into_iter().flat_map(|List(items)| items).collect()
}

/// `ID=ADDR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerAddress {
    pub(super) id: NodeId,
    /// `host:port`, not looked up yet.
    pub(super) address: String,
}

impl PeerAddress {
    /// A peer at `host:port`.
    pub(super) fn new(id: NodeId, address: &str) -> Result<Self, String> {
        let is_address =
            |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
        if !address.rsplit_once(':').is_some_and(is_address) {
            return Err(format!("expected an address like 10.0.0.2:7702 or host.example:7702, got {address:?}"));
        }
        Ok(Self { id, address: address.to_owned() })
    }
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, address) = text.split_once('=').ok_or("expected ID=ADDR, like 2=10.0.0.2:7702")?;
        let id = id.parse().map_err(|error: crate::cluster::NodeIdError| error.to_string())?;
        Self::new(id, address)
    }
}

/// A time like `5s` or `500ms`, from 50 ms to 1 h.
pub(super) fn heartbeat(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("expected a time like 5s or 500ms: {error}"))?;
    if !(Duration::from_millis(50)..=Duration::from_secs(3600)).contains(&time) {
        return Err("expected a heartbeat from 50ms to 1h".to_owned());
    }
    Ok(time)
}

/// A time like `30s` or `5m`, of a day at most.
pub(super) fn source_return(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("expected a time like 30s or 5m: {error}"))?;
    match time <= Duration::from_secs(24 * 60 * 60) {
        true => Ok(time),
        false => Err(format!("expected a time of a day at most, got {text:?}")),
    }
}

/// A number of seconds from 0.001 to 10^9.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=1e9).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.001 to 1000000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_options_of_a_server_stand_in_groups() {
        for name in ["up", "node", "check"] {
            let mut cli = Cli::definition();
            let command = cli.find_subcommand_mut(name).unwrap();
            let alone = command.get_arguments().filter(|arg| arg.get_help_heading().is_none());
            let alone: Vec<_> = alone.map(|arg| arg.get_id().as_str()).collect();
            assert_eq!(alone, if name == "up" { vec![] } else { vec!["config"] }, "{name}");
            let hashing = command.get_arguments().filter(|arg| arg.get_help_heading() == Some("Hashing"));
            let hashing: Vec<_> = hashing.map(|arg| arg.get_id().as_str()).collect();
            assert_eq!(hashing, ["kernel", "threads", "affinity"], "{name}");
            let help = command.render_help().to_string();
            let places: Vec<_> =
                ["Cluster:\n", "Work:\n", "Hashing:\n", "Output:\n"].map(|group| help.find(group)).into();
            assert!(places.iter().all(Option::is_some), "{name}: {help}");
        }
    }

    #[test]
    fn no_command_is_up() {
        for words in [vec!["headframe"], vec!["headframe", "--nodes", "2"], vec!["headframe", "up"]] {
            let Command::Up(up) = Cli::read(words.into_iter().map(OsString::from)).unwrap().command else {
                panic!("another command")
            };
            assert_eq!((up.nodes, up.heartbeat), (2, Duration::from_secs(5)));
        }
        let help = Cli::read(["headframe", "--help"].map(OsString::from)).unwrap_err();
        assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
    }

    #[test]
    fn wrong_values_are_refused_and_named() {
        for (line, told) in [
            ("up --zeros 65", "65 is not in 0..=64"),
            ("up --zeros -1", "-1 is not in 0..=64"),
            ("up --nodes 0", "0 is not in 1..=64"),
            ("up --threads 0", "threads"),
            ("up --affinity 5-2", "expected the lower CPU first, like 2-5"),
            ("node --affinity=x", "expected CPUs like 2-5,8, or true or false"),
            ("grind --affinity 00", "expected an 80-byte header"),
            ("up --heartbeat 5", "expected a time like 5s"),
            ("up --heartbeat 1ms", "50ms to 1h"),
            ("up --source-return 30", "expected a time like 30s"),
            ("node --id 1 --source-return 25h", "expected a time of a day at most"),
            ("node --id 0", "expected a node id from 1"),
            ("node --id 1 --peer 2", "expected ID=ADDR"),
            ("node --id 1 --peer 0=127.0.0.1:1", "expected a node id from 1"),
            ("service --zeros 3 --interval 3", "cannot be used with"),
            ("service --interval 0", "expected seconds"),
            ("certs", "--nodes"),
            ("solve --prev 00 --timestamp 1 --zeros 1", "expected 64 lower-case hex digits, got 2 characters"),
            ("grind --version-mask ffff 00", "expected version bits of BIP 320 in hex"),
            (
                "grind 00",
                "Could not decode block header: expected an 80-byte header as 160 hex digits, got 2 characters",
            ),
            ("mine", "unrecognized subcommand 'mine'"),
        ] {
            let words = ["headframe"].into_iter().chain(line.split(' ')).map(OsString::from);
            let error = Cli::read(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(told), "{line}: {error}");
        }
    }
}
