//! Servers by name: their addresses are looked up at the start, and again while somebody is missing, in a task of its own. Of several
//! addresses of a name, [`Members`](super::members::Members) choose one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::NodeId;
use crate::transport::Member;

/// The shortest time between two look-ups: name servers keep their answers for longer.
const EVERY: Duration = Duration::from_secs(5);

/// Names of servers, each `host:port`.
pub(super) struct Names {
    names: BTreeMap<NodeId, String>,
    /// The address of this node's socket, which reaches addresses of its own family only.
    local: SocketAddr,
    /// The servers whose names have no such address, as far as the operator was told.
    unknown: BTreeSet<NodeId>,
    every: Duration,
}

impl Names {
    pub(super) fn new(names: BTreeMap<NodeId, String>, local: SocketAddr) -> Self {
        Self { names, local, unknown: BTreeSet::new(), every: EVERY }
    }

    /// Looks all names up, and again each time that this is asked for or a name was unknown, until the node has dropped its ends.
    pub(super) async fn run(mut self, mut reads: mpsc::Receiver<()>, servers: mpsc::Sender<Vec<Member>>) {
        while servers.send(self.look_up().await).await.is_ok() {
            tokio::time::sleep(self.every).await;
            if self.unknown.is_empty() && reads.recv().await.is_none() {
                return;
            }
        }
    }

    /// The servers whose names have addresses that this node can reach, once for each address.
    async fn look_up(&mut self) -> Vec<Member> {
        let (mut waiting, mut members) = (JoinSet::new(), Vec::new());
        for (&id, name) in &self.names {
            let (name, local) = (name.clone(), self.local);
            waiting.spawn(async move { (id, addresses_of(&name, local).await) });
        }
        while let Some(Ok((id, found))) = waiting.join_next().await {
            match found {
                Ok(addresses) => {
                    if self.unknown.remove(&id) {
                        tracing::info!("node {id}: {} is {addresses:?}", self.names[&id]);
                    }
                    members.extend(addresses.into_iter().map(|address| Member::headframe(id, address)));
                }
                Err(problem) if self.unknown.insert(id) => {
                    tracing::warn!(
                        "node {id}: {problem}; correct the address, or wait until its name is known, which is looked up every {EVERY:?}"
                    );
                }
                Err(_) => {}
            }
        }
        members
    }
}

/// The addresses behind the name, `host:port`, that a socket at `local` reaches: one at least, in the order in which the system gives them.
///
/// # Errors
/// The name has no such address; the text says what it has.
pub async fn addresses_of(name: &str, local: SocketAddr) -> Result<Vec<SocketAddr>, String> {
    let found = lookup_host(name).await.map_err(|problem| format!("{name} has no address: {problem}"))?;
    let found: Vec<_> = found.collect();
    let reached: Vec<_> = found.iter().copied().filter(|address| address.is_ipv4() == local.is_ipv4()).collect();
    match reached.is_empty() {
        false => Ok(reached),
        true => Err(format!("{name} has no address that {local} reaches, only {found:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::try_from(id).unwrap()
    }

    #[tokio::test]
    async fn names_give_the_addresses_of_the_sockets_family() {
        let v4: SocketAddr = ([127, 0, 0, 1], 1).into();
        let names = [(1, "127.0.0.1:7"), (2, "[::1]:8"), (3, "name.invalid:9")];
        let names: BTreeMap<_, _> = names.into_iter().map(|(id, name)| (node(id), name.to_owned())).collect();
        let mut names = Names::new(names, v4);
        assert_eq!(names.look_up().await, [Member::headframe(node(1), "127.0.0.1:7".parse().unwrap())]);
        assert_eq!(names.unknown, [node(2), node(3)].into());
        names.local = "[::1]:1".parse().unwrap();
        assert_eq!(names.look_up().await, [Member::headframe(node(2), "[::1]:8".parse().unwrap())]);
        assert_eq!(names.unknown, [node(1), node(3)].into(), "who is known again is told of when unknown again");
    }

    /// The lists of these names, which are looked up every millisecond, and the way to ask for one.
    fn lists<const N: usize>(names: [(u32, &str); N]) -> (mpsc::Sender<()>, mpsc::Receiver<Vec<Member>>) {
        let (read, reads) = mpsc::channel(1);
        let (list, listed) = mpsc::channel(1);
        let names = names.into_iter().map(|(id, name)| (node(id), name.to_owned())).collect();
        let mut names = Names::new(names, ([127, 0, 0, 1], 1).into());
        names.every = Duration::from_millis(1);
        tokio::spawn(names.run(reads, list));
        (read, listed)
    }

    #[tokio::test]
    async fn an_unknown_name_is_looked_up_again_and_a_known_one_when_asked() {
        let (_read, mut listed) = lists([(1, "127.0.0.1:7"), (2, "name.invalid:9")]);
        for _ in 0..3 {
            assert_eq!(listed.recv().await.unwrap().len(), 1, "nobody has asked");
        }
        let (read, mut listed) = lists([(1, "127.0.0.1:7")]);
        assert_eq!(listed.recv().await.unwrap().len(), 1);
        read.send(()).await.unwrap();
        assert_eq!(listed.recv().await.unwrap().len(), 1);
        drop(read);
        assert_eq!(listed.recv().await, None);
    }
}
