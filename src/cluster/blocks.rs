//! Unsettled blocks: those that no source has given its final answer to, as far as this node knows (rule 6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::NodeId;
use super::message::MAX_BLOCKS;
use super::probe::probe;
use crate::work::{RoundId, Run, Solution, SolutionId};

/// The names of settled solutions that are remembered of one peer: more than it can have under way.
const MAX_FINALS: usize = 4096;

/// An unsettled block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) solution: Solution,
    pub(super) id: SolutionId,
    /// Who told of it; of a block found here, whose lease it was found in.
    pub(super) from: NodeId,
    /// Whether it was found here.
    pub(super) is_own: bool,
    /// Since when this node knows of it.
    pub(super) since: Instant,
    /// Whether this node's session has said that it cannot submit it.
    pub(super) is_given_up: bool,
}

/// In which order blocks are reported and kept: those first that our leader can submit now (the current block and, of header jobs, its own
/// run's), then other blocks; among these those that were found here, then the oldest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// The round of our leader.
    pub(super) round: Option<RoundId>,
    /// Our leader's run.
    pub(super) run: Option<Run>,
}

impl Order {
    fn is_later(&self, solution: &Solution) -> bool {
        let can_submit = super::is_text(solution) || Some(solution.job.tag.slot.run) == self.run;
        Some(solution.job.round) != self.round || !can_submit
    }
}

/// The blocks, and the names of those that are settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    unsettled: Vec<Block>,
    finals: Finals,
}

impl Blocks {
    /// All of them, as they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Block> + '_ {
        self.unsettled.iter()
    }

    /// Whether this node knows the block, or knew it until it was settled.
    pub(super) fn knows(&self, id: SolutionId) -> bool {
        self.unsettled.iter().any(|block| block.id == id) || self.is_settled(id)
    }

    /// Whether the block is settled, as far as is remembered.
    pub(super) fn is_settled(&self, id: SolutionId) -> bool {
        self.finals.contains(id)
    }

    /// What a message carries of them.
    pub(super) fn reported(&self, order: Order) -> Vec<Solution> {
        let mut blocks: Vec<_> = self.unsettled.iter().collect();
        blocks.sort_by_key(|block| (order.is_later(&block.solution), !block.is_own, block.since));
        blocks.into_iter().take(MAX_BLOCKS).map(|block| block.solution).collect()
    }

    /// Keeps a verified block. What `from` has told takes a bounded room, in which blocks that can be submitted now displace others.
    pub(super) fn add(&mut self, solution: Solution, from: NodeId, is_own: bool, order: Order, now: Instant) {
        let id = solution.id();
        if self.knows(id) {
            return;
        }
        let is_theirs = |block: &Block| (block.from, block.is_own) == (from, is_own);
        if self.unsettled.iter().filter(|block| is_theirs(block)).count() >= MAX_BLOCKS {
            let place = self.unsettled.iter().position(|block| is_theirs(block) && order.is_later(&block.solution));
            let Some(place) = place.filter(|_| !order.is_later(&solution)) else {
                probe!(BlockWithoutRoom);
                return;
            };
            self.unsettled.remove(place);
        }
        self.unsettled.push(Block { solution, id, from, is_own, since: now, is_given_up: false });
    }

    /// Keeps a block that a store has kept, whoever told of it then.
    pub(super) fn restore(&mut self, solution: Solution, id: NodeId, now: Instant) {
        let block = Block { solution, id: solution.id(), from: id, is_own: true, since: now, is_given_up: false };
        self.unsettled.push(block);
    }

    /// The source gave no answer: others come first the next time.
    pub(super) fn put_last(&mut self, id: SolutionId) {
        if let Some(at) = self.unsettled.iter().position(|block| block.id == id) {
            let block = self.unsettled.remove(at);
            self.unsettled.push(block);
        }
    }

    /// The block is settled, or refused: it is forgotten, but for its name.
    pub(super) fn settle(&mut self, id: SolutionId, from: NodeId) {
        self.unsettled.retain(|block| block.id != id);
        self.finals.add(from, id);
    }

    /// This node's session cannot submit it; others may.
    pub(super) fn give_up(&mut self, id: SolutionId) {
        self.unsettled.iter_mut().filter(|block| block.id == id).for_each(|block| block.is_given_up = true);
    }

    /// Our leader says that it is settled. Its name is not kept: another leader may think otherwise.
    pub(super) fn drop_settled(&mut self, ids: &[SolutionId]) {
        self.unsettled.retain(|block| !ids.contains(&block.id));
    }

    /// A peer is no member any more.
    pub(super) fn forget_finals(&mut self, peer: NodeId) {
        self.finals.forget(peer);
    }
}

/// The names of settled solutions, bounded for each peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Finals(BTreeMap<NodeId, (VecDeque<SolutionId>, BTreeSet<SolutionId>)>);

impl Finals {
    pub(super) fn add(&mut self, from: NodeId, id: SolutionId) {
        let (order, names) = self.0.entry(from).or_default();
        if names.insert(id) {
            order.push_back(id);
            if order.len() > MAX_FINALS
                && let Some(oldest) = order.pop_front()
            {
                names.remove(&oldest);
            }
        }
    }

    pub(super) fn contains(&self, id: SolutionId) -> bool {
        self.0.values().any(|(_, names)| names.contains(&id))
    }

    pub(super) fn contains_of(&self, from: NodeId, id: SolutionId) -> bool {
        self.0.get(&from).is_some_and(|(_, names)| names.contains(&id))
    }

    pub(super) fn forget(&mut self, peer: NodeId) {
        self.0.remove(&peer);
    }
}
