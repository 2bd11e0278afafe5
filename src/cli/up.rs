//! `headframe up`: an embedded block service and several nodes, in one process.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::args::TransportKind;
use super::run::{nodes, now, register, runtime, sources, until_signal};
use super::view::View;
use super::{Outcome, args, hashing, service};
use crate::cluster::NodeId;
use crate::node::{Config, Peers, Registry};
use crate::scan::Threads;
use crate::service::{Service, ServiceConfig, ServiceError};
use crate::transport::Transport;
use crate::transport::identity::ClusterCa;
use crate::transport::memory::MemoryNetwork;
use crate::transport::quic::QuicTransport;

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
    let (kernel, threads) = hashing::resolve(&args.hashing)?;
    tracing::info!("kernel {kernel}; threads: {}", threads.count);
    let mut view = View::new(args.output.json);
    let registry = Registry::open();
    let ids = free_ids(args.nodes, registry.as_ref().ok());
    let transports = transports(&args, &ids)?;
    let addresses: BTreeMap<_, _> =
        ids.iter().copied().zip(transports.iter().map(|transport| transport.local_address())).collect();

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

    let shares = shares(threads, ids.len());
    let mut configs = Vec::new();
    for ((id, transport), threads) in ids.iter().copied().zip(transports).zip(shares) {
        configs.push(Config {
            id,
            peers: Peers::Fixed(addresses.clone()),
            heartbeat: args.heartbeat,
            kernel: kernel.clone(),
            threads,
            sources: sources(&urls, "headframe")?,
            registration: register(registry.as_ref().map_err(Clone::clone), id, addresses[&id])?,
            transport,
            store: None,
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

/// The lowest ids that no server of this machine has.
fn free_ids(count: u32, registry: Option<&Registry>) -> Vec<NodeId> {
    let taken = registry.and_then(|registry| registry.servers().ok()).unwrap_or_default();
    let ids = (1..).filter_map(|id| NodeId::try_from(id).ok());
    ids.filter(|id| taken.iter().all(|server| server.id != *id)).take(count as usize).collect()
}

fn transports(args: &args::Up, ids: &[NodeId]) -> anyhow::Result<Vec<Arc<dyn Transport>>> {
    match args.transport {
        TransportKind::Quic => {
            let ca = ClusterCa::generate(now())?;
            let transport = |&id| {
                let identity = ca.issue(id, now())?;
                Ok(Arc::new(QuicTransport::bind(&identity, ANY_PORT, args.heartbeat)?) as Arc<dyn Transport>)
            };
            ids.iter().map(transport).collect()
        }
        TransportKind::Memory => {
            let network = MemoryNetwork::new();
            Ok(ids.iter().map(|&id| Arc::new(network.join(id)) as Arc<dyn Transport>).collect())
        }
    }
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

/// Divides `threads` among `nodes`; each has one at least, and CPUs of its own while there are enough.
fn shares(threads: Threads, nodes: usize) -> impl Iterator<Item = Threads> {
    let (all, mut next) = (threads.count.get(), threads.pin_from);
    (0..nodes).map(move |node| {
        let share = all / nodes + usize::from(node < all % nodes);
        let count = NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN);
        let pin_from = next;
        next = next.map(|first| first + count.get());
        Threads { count, pin_from }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_divided_evenly_and_every_node_has_one() {
        let shares = |threads, nodes| {
            let threads = Threads { count: NonZeroUsize::new(threads).unwrap(), pin_from: Some(0) };
            shares(threads, nodes).map(|share| (share.count.get(), share.pin_from.unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(shares(8, 3), [(3, 0), (3, 3), (2, 6)]);
        assert_eq!(shares(2, 2), [(1, 0), (1, 1)]);
        assert_eq!(shares(2, 3), [(1, 0), (1, 1), (1, 2)]);
    }
}
