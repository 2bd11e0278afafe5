//! The source: one chain, and a session for each node that opens one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::plan::{Kind, Plan};
use crate::cluster::{MAX_BODY_PART, NodeId};
use crate::node::feed::SessionId;
use crate::source::{Adopted, Verdict};
use crate::work::{
    BlockId, BlockTime, Blueprint, Coinbase, Digest, Extranonce, Goal, Hashing, RoundId, Search, Solution, Target,
    Template, ZeroUnit, reference,
};

/// A session, named by its node, that one's life, and its number.
pub(super) type Key = (NodeId, u64, SessionId);

/// What a pool's shares have fewer zero bits than its blocks.
const EASIER: u32 = 4;

/// What the source knows of a session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The templates that it gave, by their number.
    templates: Vec<Template>,
    /// The last one that has arrived.
    pub(super) told: Option<Template>,
    /// Whether it is to be told again.
    pub(super) is_asked: bool,
    /// Whether it looks again and again; not after a failure, until it is asked.
    pub(super) polls: bool,
}

/// The source.
pub(super) struct Source {
    kind: Kind,
    tip: BlockId,
    bits: u32,
    /// Pools: how much harder shares are than at the beginning, in bits.
    harder: u32,
    pub(super) is_down: bool,
    /// Of its answers to solutions one in eight is lost.
    pub(super) is_flaky: bool,
    pub(super) latency: Duration,
    /// When the last block came.
    pub(super) since: Duration,
    pub(super) blocks: u64,
    pub(super) shares: u64,
    /// Every round there was.
    rounds: BTreeSet<RoundId>,
    pub(super) sessions: BTreeMap<Key, Session>,
}

fn zero_bits(bits: u32) -> Target {
    Target::from_zeros(bits.into(), ZeroUnit::Bits).unwrap()
}

fn text(round: RoundId, goal: Goal) -> Template {
    Template { round, goal, puzzle: Blueprint::Text { hashing: Hashing::Double }, tag: 0 }
}

impl Source {
    pub(super) fn new(plan: &Plan) -> Self {
        let tip = BlockId { height: 1, hash: reference::sha256(&plan.seed.to_be_bytes()) };
        let mut source = Self {
            kind: plan.kind,
            tip,
            bits: plan.bits,
            harder: 0,
            is_down: false,
            is_flaky: true,
            latency: plan.source_latency,
            since: Duration::ZERO,
            blocks: 0,
            shares: 0,
            rounds: BTreeSet::new(),
            sessions: BTreeMap::new(),
        };
        source.rounds.insert(source.round());
        source
    }

    /// The round of the block to find.
    pub(super) fn round(&self) -> RoundId {
        RoundId { block: self.tip, generation: 0 }
    }

    /// Whether there ever was such a round.
    pub(super) fn had(&self, round: RoundId) -> bool {
        self.rounds.contains(&round)
    }

    /// Whether the hash is one of a block.
    pub(super) fn is_block(&self, solution: &Solution) -> bool {
        solution.job.puzzle.check(solution.nonce, zero_bits(self.bits)).is_some()
    }

    /// Another block is to be found from now on.
    pub(super) fn advance(&mut self, now: Duration, hash: Digest) {
        self.tip = BlockId { height: self.tip.height + 1, hash };
        self.since = now;
        self.rounds.insert(self.round());
    }

    /// A pool asks for harder or easier shares.
    pub(super) fn set_difficulty(&mut self, harder: u32) {
        self.harder = harder % EASIER;
    }

    /// What the source wants from a session now.
    pub(super) fn template(&mut self, key: Key) -> Template {
        let (round, bits, harder) = (self.round(), self.bits, self.harder);
        let session = self.sessions.entry(key).or_default();
        let (_, life, SessionId { number, .. }) = key;
        let ident = [u64::from(key.0.get()).to_be_bytes(), life.to_be_bytes(), number.to_be_bytes()].concat();
        let block = zero_bits(bits);
        let blueprint = |extranonce, mask| Blueprint::Header {
            version: 0x2000_0000,
            mask,
            bits: 0x207f_ffff,
            time: BlockTime::from(1),
            coinbase: Arc::new(Coinbase { before: ident, extranonce, after: vec![0; 4] }),
            branch: Arc::from([Digest([7; 32])]),
        };
        let (puzzle, goal) = match self.kind {
            Kind::Text => {
                return text(round, Goal { block, report: block, search: Search::First });
            }
            Kind::Header => (blueprint(Extranonce::Run, 0), Goal { block, report: block, search: Search::First }),
            Kind::Pool => {
                let report = zero_bits(bits.min(12) - EASIER + harder);
                (blueprint(Extranonce::Counter(4), 0x1fff_e000), Goal { block, report, search: Search::Every })
            }
        };
        let same = |known: &&Template| (known.round, known.goal) == (round, goal);
        match session.templates.last().filter(same) {
            Some(known) => known.clone(),
            None => {
                let template = Template { round, goal, puzzle, tag: session.templates.len() as u64 };
                session.templates.push(template.clone());
                template
            }
        }
    }

    /// The body of a template, if the source is of a kind that gives bodies. Few have more than one part.
    pub(super) fn body(&self, template: &Template) -> Option<Arc<[u8]>> {
        let Blueprint::Header { coinbase, .. } = &template.puzzle else { return None };
        let parts = if template.round.block.height.is_multiple_of(4) { 2 } else { 0 };
        let hash = reference::sha256(&[&coinbase.before[..], &template.round.block.hash.0].concat());
        let bytes = hash.0.iter().copied().cycle().take(100 + parts * MAX_BODY_PART);
        (self.kind == Kind::Header).then(|| bytes.collect())
    }

    /// Whether an adopted template and its body are as they were given to whoever had them first.
    fn gave(&self, adopted: &Adopted) -> bool {
        let is_same = |known: &Template| Template { tag: adopted.template.tag, ..known.clone() } == adopted.template;
        self.sessions.values().any(|session| session.templates.iter().any(is_same))
            && self.body(&adopted.template).as_ref() == Some(&adopted.body)
    }

    /// Judges what a session hands in. An error is a law broken: nodes submit nothing that does not solve what was asked for. `adopted`: what
    /// the session knows of a solution of another one, and whether that was made by an honest node.
    pub(super) fn submit(
        &mut self,
        now: Duration,
        key: Key,
        solution: &Solution,
        adopted: Option<(&Adopted, bool)>,
    ) -> Result<Verdict, String> {
        let (job, value) = (&solution.job, solution.job.puzzle.value(solution.job.puzzle.digest(solution.nonce)));
        if let Some((adopted, is_honest)) = adopted
            && !self.gave(adopted)
            && !is_honest
        {
            return Ok(Verdict::Rejected { reason: "the transactions are others".into() });
        }
        let (made, goal) = match (self.kind, adopted) {
            (_, Some((adopted, _))) => (self.gave(adopted) && adopted.template.made(job), adopted.template.goal.report),
            (Kind::Text, None) => (text(job.round, job.goal).made(job) && self.had(job.round), zero_bits(self.bits)),
            _ => match self.sessions.get(&key).and_then(|session| session.templates.get(job.tag.template as usize)) {
                Some(template) => (template.made(job), template.goal.report),
                None => (false, Target::MAX),
            },
        };
        if !made || value > goal {
            return Err(format!("{key:?} submits {solution:?}, which is none: made {made}"));
        }
        if job.round != self.round() {
            return Ok(Verdict::Stale);
        }
        if value > zero_bits(self.bits) {
            self.shares += 1;
            return Ok(Verdict::Share);
        }
        self.blocks += 1;
        self.advance(now, job.puzzle.digest(solution.nonce));
        let next = Some(self.template(key));
        Ok(Verdict::Block { height: Some(self.tip.height), next })
    }
}
