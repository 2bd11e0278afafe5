//! Whose work a node does not believe (rule 8): what nodes report is weighed against the witnesses that they show for it.
//!
//! This is the process's own opinion. It outlasts the reign, is told to nobody, and ends when the other node starts anew.

use std::collections::BTreeMap;

use super::NodeId;
use super::audit::{Account, expected, verified};
use super::probe::probe;
use crate::work::{Job, NonceRange, Run, WitnessBits};

#[derive(Clone, Debug)]
struct Record {
    run: Run,
    is_refused: bool,
    /// What the node has shown, by what counted as a witness: otherwise the many witnesses of a short lease would make up for the few of
    /// a long one. At most 65 of them.
    accounts: BTreeMap<WitnessBits, Account>,
}

/// What a process thinks of the nodes that have worked for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    records: BTreeMap<NodeId, Record>,
}

impl Trust {
    /// Whether this run of the node gets no work.
    pub(super) fn refuses(&self, node: NodeId, run: Run) -> bool {
        self.records.get(&node).is_some_and(|record| record.is_refused && record.run == run)
    }

    /// The nodes that get no work.
    pub(super) fn refused(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.records.iter().filter(|(_, record)| record.is_refused).map(|(&id, _)| id)
    }

    /// The node is no member any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.records.remove(&node);
    }

    /// Weighs what a node reports to have searched, each nonce once. False from the moment on when it cannot be true.
    pub(super) fn weigh(
        &mut self,
        node: NodeId,
        run: Run,
        job: &Job,
        bits: WitnessBits,
        searched: NonceRange,
        witnesses: &[u64],
    ) -> bool {
        let fresh = || Record { run, is_refused: false, accounts: BTreeMap::new() };
        let record = self.records.entry(node).or_insert_with(fresh);
        if record.run != run {
            // What was shown before counts on, unless it had been refused: a restart is no way out of an account.
            if record.is_refused {
                probe!(RefusedStartsAnew);
            }
            let accounts = if record.is_refused { BTreeMap::new() } else { std::mem::take(&mut record.accounts) };
            *record = Record { run, is_refused: false, accounts };
        }
        if record.is_refused {
            return true; // known already
        }
        let new = &witnesses[witnesses.partition_point(|&witness| witness < searched.start)..];
        let account = record.accounts.entry(bits).or_default();
        let shown = verified(job, bits, searched, new);
        account.add(expected(job, bits, searched.len()), shown.unwrap_or(0));
        record.is_refused = shown.is_none() || account.is_incredible();
        if record.is_refused {
            probe!(Refused);
        }
        !record.is_refused
    }
}
