//! `headframe up`: an embedded block service and several nodes, in one process.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::run::{nodes, register, runtime, until_signal};
use super::sources::{BitcoinInFile, BitcoinSettings, rate, sources};
use super::transports::on_loopback;
use super::view::View;
use super::{Outcome, args, hashing, service};
use crate::cluster::NodeId;
use crate::node::{Config, Peers, Registration, Registry, RegistryError};
use crate::scan::Threads;
use crate::service::{Service, ServiceConfig, ServiceError};
use crate::transport::Transport;
use crate::work::TextForm;

/// Where the embedded service listens if it can.
const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8480);

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(super) fn run(args: args::Up) -> anyhow::Result<Outcome> {
    let runtime = runtime()?;
    let result = runtime.block_on(up(args));
    runtime.shutdown_background(); // nothing that is still open is worth waiting for
    result.map(|()| Outcome::Done)
}

async fn up(mut args: args::Up) -> anyhow::Result<()> {
    let stop = until_signal()?;
    let bitcoin = BitcoinSettings::resolve(std::mem::take(&mut args.bitcoin), BitcoinInFile::default())?;
    let (kernel, threads) = hashing::resolve(&args.hashing)?;
    tracing::info!("kernel {kernel}; threads: {}", threads.count);
    let mut view = View::new(args.output.json);
    let registry = Registry::open().map(|registry| registry.speaking(vec![args.transport.to_string()]));
    let ids = free_ids(registry.as_ref().ok());
    let mut places = places(args.nodes, ids, on_loopback(args.transport, args.heartbeat)?, &registry)?;
    let addresses: BTreeMap<_, _> = places.iter().map(|place| (place.id, place.transport.local_address())).collect();

    let stop_service = CancellationToken::new();
    let mut embedded = None;
    let asked = args::items(std::mem::take(&mut args.sources));
    let urls = if asked.is_empty() {
        let service = embedded_service(&args)?;
        let address = service.local_addr();
        embedded = Some(tokio::spawn(service.run(stop_service.clone())));
        view.show_service(address)?;
        vec![format!("http://{address}")]
    } else {
        asked
    };

    let mut shares: Vec<_> = shares(&threads, places.len()).collect();
    if let Some(affinity) = &args.hashing.affinity {
        let registrations = places.iter_mut().map(|place| place.registration.as_mut());
        affinity.pin(registry.as_ref().ok(), shares.iter_mut().zip(registrations));
    }
    let rate = rate(&kernel, threads.count.get(), 1);
    let mut configs = Vec::new();
    for (Place { id, transport, registration }, threads) in places.into_iter().zip(shares) {
        configs.push(Config {
            id,
            peers: Peers::Fixed(addresses.clone()),
            heartbeat: args.heartbeat,
            kernel: kernel.clone(),
            threads,
            sources: sources(&urls, &bitcoin, "headframe", TextForm::default(), rate)?,
            source_return: args.source_return,
            transport,
            certs: None,
            registration,
            store: None,
            payout: bitcoin.demanded(&urls),
            blocks: args.blocks,
        });
    }
    let result = nodes(configs, view, args.blocks, stop).await;
    stop_service.cancel();
    if let Some(embedded) = embedded {
        let _ = embedded.await;
    }
    result
}

/// What a node has of its own on this machine.
struct Place {
    id: NodeId,
    transport: Arc<dyn Transport>,
    registration: Option<Registration>,
}

/// Places for `count` nodes, with the first of `ids` that no other server takes meanwhile: another `up` may be starting, too.
fn places(
    count: u32,
    ids: impl Iterator<Item = NodeId>,
    transport: impl Fn(NodeId) -> anyhow::Result<Arc<dyn Transport>>,
    registry: &Result<Registry, RegistryError>,
) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for id in ids {
        if places.len() == count as usize {
            break;
        }
        let transport = transport(id)?;
        match register(registry, id, transport.local_address()) {
            Ok(registration) => places.push(Place { id, transport, registration }),
            Err(RegistryError::Taken { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(places)
}

/// The ids that no server of this machine has, from the lowest on.
fn free_ids(registry: Option<&Registry>) -> impl Iterator<Item = NodeId> + use<> {
    let taken = registry.and_then(|registry| registry.servers().ok()).unwrap_or_default();
    let ids = (1..).map_while(|id| NodeId::try_from(id).ok());
    ids.filter(move |id| taken.iter().all(|server| server.id != *id))
}

/// Listens on the address that was asked for, else on the usual one, or, if that is taken, on any free port.
fn embedded_service(args: &args::Up) -> anyhow::Result<Service> {
    let bind = |listen| {
        let zeros = service::zeros(args.zeros, None);
        service::bind(ServiceConfig {
            store: args.store.clone(),
            log_blocks: false,
            ..ServiceConfig::new(listen, zeros)
        })
    };
    let is_taken = |error: &anyhow::Error| matches!(error.downcast_ref(), Some(ServiceError::Listen { reason, .. }) if reason.kind() == io::ErrorKind::AddrInUse);
    match args.service_listen {
        Some(listen) => bind(listen),
        None => bind(SERVICE).or_else(|error| if is_taken(&error) { bind(ANY_PORT) } else { Err(error) }),
    }
    .context("embedded block service")
}

/// Divides `threads` among `nodes`; each has one at least.
fn shares(threads: &Threads, nodes: usize) -> impl Iterator<Item = Threads> + use<> {
    let all = threads.count.get();
    (0..nodes).map(move |node| {
        let share = all / nodes + usize::from(node < all % nodes);
        NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::memory::MemoryNetwork;

    #[test]
    fn threads_are_divided_evenly_and_every_node_has_one() {
        let shares = |threads, nodes| {
            let threads = NonZeroUsize::new(threads).unwrap().into();
            shares(&threads, nodes).map(|share| share.count.get()).collect::<Vec<_>>()
        };
        assert_eq!(shares(8, 3), [3, 3, 2]);
        assert_eq!(shares(2, 2), [1, 1]);
        assert_eq!(shares(2, 3), [1, 1, 1]);
    }

    #[test]
    fn ids_that_others_took_since_the_registry_was_read_are_left_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::at(folder.path().join("run")).unwrap();
        let stale = free_ids(Some(&registry));
        let node = |id: u32| NodeId::try_from(id).unwrap();
        let _others = [1, 3].map(|id| registry.register(node(id), ANY_PORT, 5).unwrap());
        let network = MemoryNetwork::new();
        let places = places(2, stale, |id| Ok(Arc::new(network.join(id))), &Ok(registry.clone())).unwrap();
        assert_eq!(places.iter().map(|place| place.id).collect::<Vec<_>>(), [node(2), node(4)]);
        let ids: Vec<_> = registry.servers().unwrap().iter().map(|server| server.id).collect();
        assert_eq!(ids, [1, 2, 3, 4].map(node));
    }
}
