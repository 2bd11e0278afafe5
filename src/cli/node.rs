//! `headframe node`: one server of a cluster.

use super::run::{nodes, now, register, runtime, since_1970, until_signal};
use super::settings::NodeSettings;
use super::sources::{rate, sources};
use super::transports::connect;
use super::view::View;
use super::{Outcome, args, hashing};
use crate::node::{Config, Peers, Registry, Store};
use crate::transport::identity::Identity;

pub(super) fn run(args: args::Node) -> anyhow::Result<Outcome> {
    let json = args.output.json;
    let settings = NodeSettings::resolve(args)?;
    let runtime = runtime()?;
    let result = runtime.block_on(node(settings, json));
    runtime.shutdown_background(); // nothing that is still open is worth waiting for
    result.map(|()| Outcome::Done)
}

async fn node(settings: NodeSettings, json: bool) -> anyhow::Result<()> {
    let stop = until_signal()?;
    let (kernel, mut threads) = hashing::resolve(&settings.hashing)?;
    tracing::info!("kernel {kernel}; threads: {}", threads.count);
    let rate = rate(&kernel, threads.count.get(), settings.peers.len() + 1);
    let sources = sources(&settings.sources, &settings.bitcoin, &settings.pool, settings.transports.form, rate)?;
    let payout = settings.bitcoin.demanded(&settings.sources);
    let identity = settings.transports.are_certified().then(|| Identity::load(&settings.certs, settings.id, now()));
    let identity = identity.transpose()?;
    let store = settings.store.as_deref().map(Store::open).transpose()?;
    let transport = connect(&settings, identity.as_ref())?;
    let NodeSettings { id, peers, certs, transports, hashing, heartbeat, blocks, source_return, .. } = settings;
    let registry = Registry::open().map(|registry| registry.speaking(transports.names()));
    let address = transport.local_address();
    let place = registry.as_ref().ok().cloned();
    let (peers, mut registration) = match (transports.text_peers(), peers.is_empty()) {
        (Some(text_peers), _) => (Peers::Fixed(text_peers.clone()), register(&registry, id, address)?),
        (None, true) => {
            let registry = registry?;
            let registration = registry.register(id, address, since_1970().as_secs())?;
            (Peers::Registered(registry), Some(registration))
        }
        (None, false) => (Peers::Named(peers), register(&registry, id, address)?),
    };
    if let Some(affinity) = &hashing.affinity {
        affinity.pin(place.as_ref(), [(&mut threads, registration.as_mut())]);
    }
    let config = Config {
        id,
        peers,
        heartbeat,
        kernel,
        threads,
        sources,
        source_return,
        transport,
        registration,
        store,
        payout,
        blocks,
        certs: identity.map(|_| certs),
    };
    nodes(vec![config], View::new(json), None, stop).await
}
