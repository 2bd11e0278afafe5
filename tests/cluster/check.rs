//! What holds at any time, whatever has failed.

use std::cmp::Reverse;

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
                assert_reigns(*id, run);
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
}

/// Within one run of a node, reigns only ever get newer. Within a reign, the block to find only ever gets higher: a lease of an
/// earlier leader, who knows less of the chain, would set it back.
fn assert_reigns(id: u32, run: &[Told]) {
    let (mut reign, mut height) = (None, 0);
    for (at, told) in run.iter().enumerate() {
        let before = || shown(&run[..=at]);
        if told.is("leader") {
            let next = (told.number("epoch"), Reverse(told.number("leader")));
            assert!(Some(next) >= reign, "node {id}: from {reign:?} back to {next:?}\n{}", before());
            (reign, height) = (Some(next), 0);
        }
        if told.is("job") {
            let next = told.number("height");
            assert!(next >= height, "node {id}: in {reign:?}, from height {height} back to {next}\n{}", before());
            height = next;
        }
    }
}
