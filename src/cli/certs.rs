//! `headframe certs`: a cluster's certificates as files.

use super::run::now;
use super::{Outcome, args, print};
use crate::cluster::NodeId;
use crate::transport::files::{add_node, create_cluster, renew_node};

pub(super) fn run(args: &args::Certs) -> anyhow::Result<Outcome> {
    let (dir, now) = (&args.dir, now());
    if let Some(id) = args.renew {
        renew_node(dir, id, now)?;
        print(format_args!(
            "renewed node {id} in {}: copy node-{id}.pem and node-{id}.key to its box, where a running node takes them up within seconds",
            dir.display()
        ))?;
        return Ok(Outcome::Done);
    }
    match (args.add, args.nodes) {
        (Some(id), _) => {
            add_node(dir, id, now)?;
            print(format_args!("added node {id} to the cluster in {}", dir.display()))?;
        }
        (None, nodes) => {
            let nodes = nodes.unwrap_or(1);
            let ids = (1..=nodes).map(NodeId::try_from).collect::<Result<Vec<_>, _>>()?;
            create_cluster(dir, ids, now)?;
            print(format_args!("made a cluster CA and certificates for nodes 1 to {nodes} in {}", dir.display()))?;
        }
    }
    Ok(Outcome::Done)
}
