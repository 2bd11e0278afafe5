//! `headframe node`: one server of a cluster.

use std::sync::Arc;

use super::run::{nodes, now, register, runtime, since_1970, sources, until_signal};
use super::settings::NodeSettings;
use super::view::View;
use super::{Outcome, args, hashing};
use crate::node::{Config, Peers, Registry, Store};
use crate::transport::Transport;
use crate::transport::identity::Identity;
use crate::transport::quic::QuicTransport;

pub(super) fn run(args: args::Node) -> anyhow::Result<Outcome> {
    let json = args.output.json;
    let settings = NodeSettings::resolve(args)?;
    let runtime = runtime()?;
    let result = runtime.block_on(node(settings, json));
    runtime.shutdown_background(); // nothing that is still open is worth waiting for
    result.map(|()| Outcome::Done)
}

async fn node(settings: NodeSettings, json: bool) -> anyhow::Result<()> {
    let NodeSettings { id, listen, peers, sources: urls, certs, heartbeat, blocks, store, pool, .. } = settings;
    let stop = until_signal()?;
    let (kernel, mut threads) = hashing::resolve(&settings.hashing)?;
    tracing::info!("kernel {kernel}; threads: {}", threads.count);
    let sources = sources(&urls, &pool)?;
    let identity = Identity::load(&certs, id, now())?;
    let store = store.as_deref().map(Store::open).transpose()?;
    let transport: Arc<dyn Transport> = Arc::new(QuicTransport::bind(&identity, listen, heartbeat)?);
    let (registry, address) = (Registry::open(), transport.local_address());
    let place = registry.as_ref().ok().cloned();
    let (peers, mut registration) = match peers.is_empty() {
        true => {
            let registry = registry?;
            let registration = registry.register(id, address, since_1970().as_secs())?;
            (Peers::Registered(registry), Some(registration))
        }
        false => (Peers::Named(peers), register(&registry, id, address)?),
    };
    if let Some(affinity) = &settings.hashing.affinity {
        affinity.pin(place.as_ref(), [(&mut threads, registration.as_mut())]);
    }
    let config = Config {
        id,
        peers,
        heartbeat,
        kernel,
        threads,
        sources,
        transport,
        registration,
        store,
        blocks,
        certs: Some(certs),
    };
    nodes(vec![config], View::new(json), None, stop).await
}
