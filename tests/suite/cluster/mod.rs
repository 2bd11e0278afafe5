//! A whole cluster as its operators have it, a service and nodes in processes of their own, with links that can fail.

// Not every program that this is part of needs all of it; a test ends where it fails.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

pub(crate) mod check;
pub(crate) mod log;
pub(crate) mod proxy;
pub(crate) mod random;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::log::Log;
use self::proxy::Proxy;
use crate::process::web::{ask, chain};
use crate::process::{Ended, PATIENCE, Process, Signal, Site};

/// What kind of cluster.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The nodes are 1 to this.
    pub(crate) nodes: u32,
    /// Decides what the links do.
    pub(crate) seed: u64,
    pub(crate) heartbeat: &'static str,
    /// How hard blocks are to find, in the service's words.
    pub(crate) blocks: [&'static str; 2],
    /// More words for each node.
    pub(crate) words: &'static [&'static str],
}

impl Default for Setup {
    /// One that finds some blocks a second on two cores, and few on a loaded machine.
    fn default() -> Self {
        let words = &["--threads", "1", "--kernel", "portable"];
        Self { nodes: 3, seed: 1, heartbeat: "500ms", blocks: ["--zeros", "5"], words }
    }
}

/// A running cluster; dropping it kills it.
pub(crate) struct Cluster {
    pub(crate) site: Site,
    pub(crate) proxy: Proxy,
    setup: Setup,
    nodes: BTreeMap<u32, Node>,
    service: Option<Process>,
    service_address: SocketAddr,
}

struct Node {
    listen: SocketAddr,
    log: Log,
    run: u32,
    running: Option<Running>,
}

struct Running {
    process: Process,
    reader: JoinHandle<()>,
}

impl Cluster {
    /// Starts the service, then the nodes, and waits until all are led by node 1.
    pub(crate) fn start(setup: Setup) -> Self {
        let site = Site::with_certs(setup.nodes);
        let sockets: Vec<_> = (0..setup.nodes).map(|_| UdpSocket::bind((site.host, 0)).unwrap()).collect();
        let listen: BTreeMap<u32, SocketAddr> =
            (1..).zip(sockets.iter().map(|socket| socket.local_addr().unwrap())).collect();
        let proxy = Proxy::start(setup.seed, &listen);
        drop(sockets);
        let node = |(id, listen)| (id, Node { listen, log: Log::default(), run: 0, running: None });
        let nodes = listen.into_iter().map(node).collect();
        let service_address = (site.host, 0).into();
        let mut cluster = Self { site, proxy, setup, nodes, service: None, service_address };
        cluster.start_service();
        cluster.ids().into_iter().for_each(|id| cluster.start_node(id));
        cluster.wait_for_leader(1, &cluster.ids());
        cluster
    }

    // ---- nodes

    /// All nodes, running or not.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.nodes.keys().copied().collect()
    }

    /// Those that run; a paused one does.
    pub(crate) fn running(&self) -> Vec<u32> {
        self.nodes.iter().filter(|(_, node)| node.running.is_some()).map(|(&id, _)| id).collect()
    }

    pub(crate) fn start_node(&mut self, id: u32) {
        let node = &self.nodes[&id];
        assert!(node.running.is_none(), "node {id} runs");
        let (name, listen) = (id.to_string(), node.listen.to_string());
        let source = format!("http://{}", self.service_address);
        let peers: Vec<String> =
            self.nodes.keys().filter(|&&peer| peer != id).map(|&peer| self.peer(id, peer)).collect();
        let mut words = vec!["node", "--json", "--id", &name, "--listen", &listen, "--source", &source];
        words.extend(["--heartbeat", self.setup.heartbeat]);
        words.extend(self.setup.words);
        words.extend(peers.iter().map(String::as_str));
        let mut process = self.site.start(&words);
        let lines = process.lines();
        let node = self.nodes.get_mut(&id).unwrap();
        node.run += 1;
        node.running = Some(Running { process, reader: node.log.follow(node.run, lines) });
    }

    fn peer(&self, from: u32, to: u32) -> String {
        format!("--peer={to}={}", self.proxy.address(from, to))
    }

    pub(crate) fn signal(&self, id: u32, signal: Signal) {
        self.process(id).signal(signal);
    }

    /// Ends a node by this signal, and reads all that it told.
    pub(crate) fn end_node(&mut self, id: u32, signal: Signal) -> Ended {
        let Running { process, reader } = self.nodes.get_mut(&id).unwrap().running.take().expect("a running node");
        let ended = process.end_by(signal);
        reader.join().unwrap();
        assert!(!ended.err.contains("panicked"), "node {id}: {ended:?}");
        ended
    }

    pub(crate) fn process(&self, id: u32) -> &Process {
        &self.nodes[&id].running.as_ref().expect("a running node").process
    }

    pub(crate) fn log(&self, id: u32) -> &Log {
        &self.nodes[&id].log
    }

    /// Whom the node names as leader, and how many leaderships it has named.
    pub(crate) fn leader(&self, id: u32) -> Option<(u32, u64)> {
        self.nodes[&id].log.leader(self.nodes[&id].run)
    }

    /// Waits until each of these nodes names this leader.
    #[track_caller]
    pub(crate) fn wait_for_leader(&self, leader: u32, nodes: &[u32]) {
        self.wait(&format!("{nodes:?} name {leader}"), || {
            nodes.iter().all(|&id| self.leader(id).is_some_and(|(named, _)| named == leader))
        });
    }

    /// Waits until something holds; if in vain, shows what the nodes told last.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let begin = Instant::now();
        while !holds() {
            if begin.elapsed() > PATIENCE {
                self.nodes.values().for_each(|node| print!("{}", log::shown(&node.log.told())));
                panic!("not within {PATIENCE:?}: {what}");
            }
            sleep(Duration::from_millis(20));
        }
    }

    // ---- links

    /// Cuts what `from` sends to these nodes.
    pub(crate) fn cut(&self, from: u32, to: &[u32]) {
        to.iter().filter(|&&to| to != from).for_each(|&to| self.proxy.cut(from, to));
    }

    /// Cuts everything between `one` and these nodes.
    pub(crate) fn isolate(&self, one: u32, others: &[u32]) {
        self.cut(one, others);
        others.iter().for_each(|&other| self.cut(other, &[one]));
    }

    // ---- the service

    /// Starts the service, at the address that it had before and with the store that it had.
    pub(crate) fn start_service(&mut self) {
        assert!(self.service.is_none(), "the service runs");
        let listen = self.service_address.to_string();
        let [how, hard] = self.setup.blocks;
        let (service, address) = self.site.service(&["--listen", &listen, how, hard, "--store", "chain"]);
        (self.service, self.service_address) = (Some(service), address);
    }

    pub(crate) fn end_service(&mut self, signal: Signal) {
        let ended = self.service.take().expect("a running service").end_by(signal);
        assert!(!ended.err.contains("panicked"), "{ended:?}");
    }

    pub(crate) fn service(&self) -> &Process {
        self.service.as_ref().expect("a running service")
    }

    /// A page of the service, if it answers.
    pub(crate) fn page(&self, page: &str) -> Option<Value> {
        ask(self.service_address, "GET", page, "")
    }

    /// The height of the newest block, if the service answers.
    pub(crate) fn height(&self) -> Option<u64> {
        self.page("/api/v1/block")?["height"].as_u64()
    }

    /// Waits until the chain has grown by so many blocks; for each of them as long as for anything else.
    #[track_caller]
    pub(crate) fn grow(&self, blocks: u64) {
        let before = self.height().expect("the service's answer");
        for more in 1..=blocks {
            self.wait("the chain grows", || self.height().is_some_and(|height| height >= before + more));
        }
    }

    /// All blocks, oldest first.
    pub(crate) fn chain(&self) -> Vec<Value> {
        chain(self.service_address)
    }

    /// Ends everything as an operator would, and checks all that was told.
    pub(crate) fn end(mut self) {
        self.check();
        for id in self.running() {
            let ended = self.end_node(id, Signal::TERM);
            assert_eq!(ended.code, Some(0), "node {id}: {ended:?}");
            assert!(self.log(id).told().last().is_some_and(|last| last.is("stopped")), "node {id}");
        }
        self.check();
        self.end_service(Signal::TERM);
    }
}
