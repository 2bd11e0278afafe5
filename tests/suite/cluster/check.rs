//! What holds at any time, whatever has failed.

use super::Cluster;
use super::log::{Told, shown};
use crate::process::check::assert_chain;

impl Cluster {
    /// Checks the whole chain, and all that the nodes have told so far. The service has to be up.
    pub(crate) fn check(&self) {
        // What is in the chain by now was told before, so the logs come first.
        let logs: Vec<(u32, Vec<Told>)> = self.ids().into_iter().map(|id| (id, self.log(id).told().clone())).collect();
        let chain = self.chain();
        assert!(chain.first().is_none_or(|first| first["height"] == 1));
        assert_chain(&chain);
        for (id, log) in &logs {
            for run in log.chunk_by(|a, b| a.run == b.run) {
                assert_leaders(*id, run);
            }
            for told in log {
                let event = &told.event;
                assert!(!told.is("refused"), "node {id}: nobody claims what does not verify: {event}");
                if told.is("block") {
                    let status = event["status"].as_str();
                    assert!(matches!(status, Some("success" | "stale")), "node {id}: {event}");
                    if status == Some("success") {
                        let kept = &chain[told.number("height") as usize - 1];
                        assert_eq!(kept["hash"], event["hash"], "node {id}: an accepted block is lost: {event}");
                    }
                }
            }
        }
    }

    /// Checks that under one leader nobody is set back to an older block.
    pub(crate) fn check_heights(&self) {
        for id in self.ids() {
            let log = self.log(id).told().clone();
            log.chunk_by(|a, b| a.run == b.run).for_each(|run| assert_heights(id, run));
        }
    }
}

/// Within one run of a node, each leadership that it names has the next number, and is not that of the leader before.
fn assert_leaders(id: u32, run: &[Told]) {
    let (mut epoch, mut leader) = (0, 0);
    for (at, told) in run.iter().enumerate().filter(|(_, told)| told.is("leader")) {
        let next = (told.number("epoch"), told.number("leader"));
        let is_next = next.0 == epoch + 1 && next.1 != leader;
        assert!(is_next, "node {id}: from {:?} to {next:?}\n{}", (epoch, leader), shown(&run[..=at]));
        (epoch, leader) = next;
    }
}

/// Under one leader, the block to find only ever gets higher: an assignment of an earlier leader, who knows less of the chain, would set
/// it back.
fn assert_heights(id: u32, run: &[Told]) {
    let mut height = 0;
    for (at, told) in run.iter().enumerate() {
        if told.is("leader") {
            height = 0;
        }
        if told.is("job") {
            let next = told.number("height");
            assert!(next >= height, "node {id}: from height {height} back to {next}\n{}", shown(&run[..=at]));
            height = next;
        }
    }
}
