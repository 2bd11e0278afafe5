//! `headframe check`: whether a node would run well with its settings, found out by trying everything once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::run::{now, runtime, since_1970};
use super::settings::NodeSettings;
use super::sources::sources;
use super::transports::connect;
use super::view::difficulty;
use super::{Outcome, args, print};
use crate::cluster::{Heartbeat, Message, NodeId, Stamp};
use crate::node::{Registry, Store, addresses_of};
use crate::source::BlockSource;
use crate::transport::files::near_end;
use crate::transport::identity::Identity;
use crate::transport::{Member, Transport};
use crate::work::{Run, Search};

/// How long a peer or a source may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a transport may take to introduce the peers that it has from the start.
const INTRODUCTION: Duration = Duration::from_millis(20);

pub(super) fn run(args: args::Node) -> anyhow::Result<Outcome> {
    let settings = NodeSettings::resolve(args)?;
    for line in settings.lines().into_iter().chain(settings.bitcoin.masked_lines()) {
        print(line)?;
    }
    let runtime = runtime()?;
    let faults = runtime.block_on(check(&settings));
    runtime.shutdown_background();
    match faults? {
        0 => Ok(Outcome::Done),
        1 => anyhow::bail!("1 fault: this node would not run well"),
        faults => anyhow::bail!("{faults} faults: this node would not run well"),
    }
}

/// What was found, a line each.
#[derive(Default)]
struct Findings {
    faults: usize,
}

impl Findings {
    fn note(&mut self, what: impl Display, found: Result<impl Display, impl Display>) -> anyhow::Result<()> {
        match found {
            Ok(good) => print(format_args!("ok     {what}: {good}")),
            Err(problem) => {
                self.faults += 1;
                print(format_args!("FAULT  {what}: {problem}"))
            }
        }
    }
}

/// Tries everything, and gives the number of faults.
async fn check(settings: &NodeSettings) -> anyhow::Result<usize> {
    let mut findings = Findings::default();
    let registry = Registry::open().and_then(|registry| registry.probe());
    match &registry {
        Err(problem) if !settings.peers.is_empty() => print(format_args!(
            "note   registry of this machine: `headframe status` would not show this node, which needs no registry since its peers are named: {problem}"
        ))?,
        _ => findings.note("registry of this machine", registry.as_ref().map(|_| "can be used"))?,
    }
    if let Some(store) = settings.store.as_deref().filter(|path| path.exists()) {
        let opened = Store::open(store).map(|_| "can be used");
        findings.note(format_args!("store {}", store.display()), opened)?;
    }
    let mut identity = None;
    if settings.transports.are_certified() {
        let loaded = Identity::load(&settings.certs, settings.id, now());
        let what = format!("certificates in {}", settings.certs.display());
        findings.note(what, loaded.as_ref().map(|_| format!("good for node {}", settings.id)))?;
        identity = loaded.ok();
    }
    if let Some(problem) =
        identity.as_ref().and_then(|identity| near_end(&settings.certs, settings.id, identity.ends(), now()))
    {
        print(format_args!("note   {problem}"))?;
    }
    if identity.is_some() || !settings.transports.are_certified() {
        let transport = connect(settings, identity.as_ref());
        let places: Vec<_> =
            settings.transports.places(settings.listen).map(|(kind, at)| format!("{at} ({kind})")).collect();
        let what = format!("address {}", places.join(", "));
        findings.note(what, transport.as_ref().map(|_| "can be listened on"))?;
        if let Ok(transport) = transport {
            check_peers(settings, &*transport, &mut findings).await?;
            transport.close().await;
        }
    }
    for source in sources(&settings.sources, &settings.bitcoin, &settings.pool, settings.transports.form, 0.0)? {
        let answer = timeout(PATIENCE, block(source.as_ref())).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}; see whether it runs")));
        findings.note(format_args!("source {}", source.url()), answer)?;
    }
    Ok(findings.faults)
}

/// The block that the source wants to be found.
async fn block(source: &dyn BlockSource) -> Result<String, String> {
    let mut session = source.open().await.map_err(|error| error.to_string())?;
    let template = session.next().await.map_err(|error| error.to_string())?.template;
    let next = template.round.block.height.saturating_add(1);
    let goal = template.goal;
    let wanted = match (template.is_text(), goal.search) {
        (true, _) => format!("{} zeros", goal.block.zeros()),
        (false, Search::First) => format!("difficulty {}", difficulty(goal.block.difficulty())),
        (false, Search::Every) => format!("shares of difficulty {}", difficulty(goal.report.difficulty())),
    };
    Ok(format!("wants block {next}, {wanted}"))
}

/// Sends each peer a heartbeat, as this node would, and waits for the answers.
async fn check_peers(
    settings: &NodeSettings,
    transport: &dyn Transport,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let mut silent = BTreeMap::new();
    for (&id, name) in settings.peers.iter().filter(|(id, _)| **id != settings.id) {
        match addresses_of(name, transport.local_address()).await {
            Ok(addresses) => drop(silent.insert(id, addresses)),
            Err(problem) => findings.note(format_args!("peer {id}"), Err::<&str, _>(problem))?,
        }
    }
    // Text peers are introduced by their transport at once.
    while let Ok(member) = timeout(INTRODUCTION, transport.introduced()).await {
        silent.insert(member.id, vec![member.address]);
    }
    let rounds = silent.values().map(Vec::len).max().unwrap_or(0);
    for round in 0..rounds {
        let tried = silent.iter().filter_map(|(&id, addresses)| Some((id, *addresses.get(round)?)));
        let tried: BTreeMap<NodeId, SocketAddr> = tried.collect();
        let patience = PATIENCE / rounds as u32;
        for (id, address) in answering(settings, transport, tried, round as u64, patience).await {
            silent.remove(&id);
            findings.note(format_args!("peer {id} at {address}"), Ok::<_, &str>("answers"))?;
        }
    }
    for (id, addresses) in silent {
        let places: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        let address = places.join(" and ");
        let problem = match settings.transports.are_certified() {
            true => format!(
                "no answer within {PATIENCE:?}; see whether it runs, lists node {}, speaks one of these transports and has certificates of the same cluster, and whether packets get through (UDP of 1,200 bytes; TCP for grpc)",
                settings.id
            ),
            false => format!(
                "no answer within {PATIENCE:?}; see whether it runs and lists node {}, listens at that port, and whether datagrams get through",
                settings.id
            ),
        };
        findings.note(format_args!("peer {id} at {address}"), Err::<&str, _>(problem))?;
    }
    Ok(())
}

/// Those of these peers that answer a heartbeat within the time, each at this address of its own. `round` counts the calls.
async fn answering(
    settings: &NodeSettings,
    transport: &dyn Transport,
    mut tried: BTreeMap<NodeId, SocketAddr>,
    round: u64,
    patience: Duration,
) -> Vec<(NodeId, SocketAddr)> {
    let members: Vec<_> = tried.iter().map(|(&id, &address)| Member::headframe(id, address)).collect();
    transport.set_peers(&members);
    let stamp = Stamp { run: Run(since_1970().as_nanos() as u64), sent: round + 1 };
    for &id in tried.keys() {
        let heartbeat = Heartbeat { stamp, echo: None, interval: Some(settings.heartbeat), leads: None };
        transport.send(id, Message::HeartbeatRequest(heartbeat));
    }
    let mut answered = Vec::new();
    let answers = async {
        while !tried.is_empty()
            && let Some((from, message)) = transport.recv().await
        {
            if matches!(message, Message::HeartbeatReply(..))
                && let Some(address) = tried.remove(&from)
            {
                answered.push((from, address));
            }
        }
    };
    let _ = timeout(patience, answers).await;
    answered
}
