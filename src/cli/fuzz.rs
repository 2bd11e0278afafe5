//! Files that people write, and those that other servers of this machine write.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::settings::NodeSettings;
use super::{args, status};
use crate::node::Entry;

/// A node's config file. Its settings, written down as one, are the same settings.
pub(crate) fn config(bytes: &[u8]) -> bool {
    if is_looked_up(bytes) {
        return false; // a name, for which a network would be asked
    }
    let folder = crate::fuzz::folder();
    let path = folder.path().join("headframe.toml");
    fs::write(&path, bytes).unwrap();
    let Ok(settings) = NodeSettings::resolve(node(path.clone())) else { return false };
    fs::write(&path, settings.lines().join("\n")).unwrap();
    let again = NodeSettings::resolve(node(path)).unwrap();
    assert_eq!(again.lines(), settings.lines());
    true
}

/// Whether this node has a name among the peers, and not an address.
fn is_looked_up(bytes: &[u8]) -> bool {
    let Some(file) = str::from_utf8(bytes).ok().and_then(|text| text.parse::<toml::Table>().ok()) else { return false };
    let own = || file.get("peers")?.get(file.get("id")?.as_integer()?.to_string())?.as_str();
    own().is_some_and(|own| own.parse::<SocketAddr>().is_err())
}

/// `headframe node --config PATH`
fn node(path: PathBuf) -> args::Node {
    let (id, listen, certs, heartbeat, source_return, store, pool, blocks) = Default::default();
    let (peers, sources, hashing) = (vec![], vec![], args::Hashing { kernel: None, threads: None, affinity: None });
    let (config, output, reach) = (Some(path), args::Output { json: false }, args::Reach::default());
    let bitcoin = args::Bitcoin::default();
    args::Node {
        id,
        listen,
        peers,
        sources,
        bitcoin,
        source_return,
        certs,
        reach,
        hashing,
        heartbeat,
        store,
        pool,
        config,
        blocks,
        output,
    }
}

/// A server's entry in the registry, and what `headframe status` makes of it.
pub(crate) fn entries(bytes: &[u8]) -> bool {
    let Ok(entry) = serde_json::from_slice::<Entry>(bytes) else { return false };
    let written = serde_json::to_vec(&entry).unwrap();
    assert_eq!(serde_json::from_slice::<Entry>(&written).unwrap().id, entry.id);
    for now in [0, entry.since, 1_795_000_000, u64::MAX] {
        for line in [status::row(&entry, now), status::json(&entry, now).unwrap()] {
            assert!(!line.contains(char::is_control), "{line:?}");
        }
        let json = status::json(&entry, now).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap().is_object());
    }
    true
}
