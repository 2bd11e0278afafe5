//! Templates: a block to find, from which any number of jobs can be made.
//!
//! ```text
//! Template + Slot (run, number) + time -> Job       Template::made(job): was this job made from this template?
//! ```

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    BlockTime, Digest, Goal, Hashing, Header, HeaderPuzzle, Job, Puzzle, RoundId, Slot, Tag, TextPuzzle, Timestamp,
    reference,
};

/// The most bytes of a template's body, which is what its blocks hold beside the header and the coinbase: no block has more (BIP 141).
pub const MAX_BODY: usize = 4_000_000;

/// A block to find, as a session gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The round that its jobs belong to.
    pub round: RoundId,
    /// Which hashes its jobs want.
    pub goal: Goal,
    /// What is hashed, except for what each job fills in.
    pub puzzle: Blueprint,
    /// The template's number in its session.
    pub tag: u64,
}

/// A template's puzzle, in which each job fills in what is left open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blueprint {
    /// The exercise's text: each job has a timestamp of its own.
    Text {
        /// Whether the text is hashed once or twice.
        hashing: Hashing,
    },
    /// Bitcoin's header: each job has a coinbase of its own.
    Header {
        /// The version; the bits of `mask` may be rolled (BIP 320).
        version: u32,
        /// Version bits that may be rolled, or 0.
        mask: u32,
        /// The target in compact form.
        bits: u32,
        /// Which times the block may have.
        time: BlockTime,
        /// The coinbase transaction, whose extranonce differs in each job.
        coinbase: Arc<Coinbase>,
        /// The merkle branch from the coinbase to the root, lowest first.
        branch: Arc<[Digest]>,
    },
}

/// A coinbase transaction without its extranonce, serialised without witnesses (BIP 141: as its txid is made).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coinbase {
    /// The bytes before the extranonce; a pool's extranonce1 is their end.
    pub before: Vec<u8>,
    /// How the bytes between `before` and `after` are made.
    pub extranonce: Extranonce,
    /// The bytes after the extranonce.
    pub after: Vec<u8>,
}

/// How a job's extranonce is made from its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extranonce {
    /// 16 bytes: the run and the job's number, little-endian. This is for blocks that Headframe builds itself: no two nodes make the same.
    Run,
    /// A pool's extranonce2: the job's number in this many little-endian bytes, 1 to 8.
    Counter(u8),
}

impl Extranonce {
    /// The bytes for a slot; `None` if the job's number does not fit.
    pub fn bytes(self, slot: Slot) -> Option<Vec<u8>> {
        let n = slot.n.to_le_bytes();
        match self {
            Self::Run => Some([slot.run.0.to_le_bytes(), n].concat()),
            Self::Counter(size) => {
                let (low, high) = n.split_at_checked(size.into())?;
                high.iter().all(|&byte| byte == 0).then(|| low.to_vec())
            }
        }
    }
}

impl Template {
    /// The job of this slot, made at `now` (time since 1970). A text's jobs differ by `now` and the run, a header's by the slot. `None`
    /// when the extranonce has no room for the slot: then only a new session helps.
    pub fn job(&self, slot: Slot, now: Duration) -> Option<Job> {
        let puzzle = match &self.puzzle {
            &Blueprint::Text { hashing } => {
                let timestamp = Timestamp::of_run(now, slot.run);
                Puzzle::Text(TextPuzzle { prev: self.round.block.hash, timestamp, hashing })
            }
            Blueprint::Header { time, .. } => Puzzle::Header(self.header(slot, time.at(now))?),
        };
        let tag = Tag { template: self.tag, slot };
        Some(Job { round: self.round, goal: self.goal, puzzle, tag })
    }

    /// Whether `job` was made from this template, on whichever node. A text is compared by its round and form, whatever its timestamp; a
    /// header also by its goal and its coinbase.
    pub fn made(&self, job: &Job) -> bool {
        let is_same = match (&self.puzzle, &job.puzzle) {
            (Blueprint::Text { hashing }, Puzzle::Text(text)) => {
                text.hashing == *hashing && text.prev == self.round.block.hash
            }
            (Blueprint::Header { time: allowed, .. }, Puzzle::Header(puzzle)) => {
                let Header { time, nonce, .. } = puzzle.header;
                job.goal == self.goal
                    && job.tag.template == self.tag
                    && nonce == 0
                    && allowed.allows(time)
                    && self.header(job.tag.slot, time) == Some(*puzzle)
            }
            _ => false,
        };
        is_same && job.round == self.round
    }

    /// Whether it is a text template, which is small enough to travel with every heartbeat and whose blocks any session may submit.
    pub fn is_text(&self) -> bool {
        matches!(self.puzzle, Blueprint::Text { .. })
    }

    fn header(&self, slot: Slot, time: u32) -> Option<HeaderPuzzle> {
        let Blueprint::Header { version, mask, bits, coinbase, branch, .. } = &self.puzzle else { return None };
        let extranonce = coinbase.extranonce.bytes(slot)?;
        let txid = reference::sha256d(&[&coinbase.before[..], &extranonce, &coinbase.after].concat());
        let merkle_root = branch.iter().fold(txid, |left, right| reference::sha256d(&[left.0, right.0].concat()));
        let header = Header {
            version: *version,
            prev_blockhash: self.round.block.hash,
            merkle_root,
            time,
            bits: *bits,
            nonce: 0,
        };
        Some(HeaderPuzzle { header, version_mask: *mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{BlockId, Run, Search, Target};

    const NOW: Duration = Duration::from_micros(1_795_342_329_000_001);

    fn template(puzzle: Blueprint) -> Template {
        let block = BlockId { height: 7, hash: Digest([1; 32]) };
        let goal = Goal { block: Target::MAX, report: Target::MAX, search: Search::First };
        Template { round: RoundId { block, generation: 0 }, goal, puzzle, tag: 3 }
    }

    fn text() -> Template {
        template(Blueprint::Text { hashing: Hashing::Double })
    }

    fn header(extranonce: Extranonce) -> Template {
        let coinbase = Arc::new(Coinbase { before: vec![1, 2], extranonce, after: vec![3] });
        let branch = Arc::from([Digest([4; 32])]);
        template(Blueprint::Header {
            version: 2,
            mask: 0,
            bits: 0x207f_ffff,
            time: BlockTime::from(9),
            coinbase,
            branch,
        })
    }

    fn slot(n: u64) -> Slot {
        Slot { run: Run(5_007), n }
    }

    #[test]
    fn a_texts_timestamp_is_the_time_and_three_digits_of_the_run() {
        let Puzzle::Text(puzzle) = text().job(slot(1), NOW).unwrap().puzzle else { panic!("expected a text") };
        assert_eq!(puzzle.timestamp.to_string(), "1795342329000001007");
    }

    #[test]
    fn a_headers_root_is_that_of_its_coinbase_and_branch() {
        let Puzzle::Header(puzzle) = header(Extranonce::Counter(2)).job(slot(0x0102), NOW).unwrap().puzzle else {
            panic!("expected a header")
        };
        let txid = reference::sha256d(&[1, 2, 0x02, 0x01, 3]);
        let root = reference::sha256d(&[txid.0, [4; 32]].concat());
        assert_eq!((puzzle.header.merkle_root, puzzle.header.time), (root, 1_795_342_329));
    }

    #[test]
    fn an_extranonce_that_is_used_up_makes_no_job() {
        let counter = header(Extranonce::Counter(1));
        assert!(counter.job(slot(255), NOW).is_some() && counter.job(slot(256), NOW).is_none());
        assert!(header(Extranonce::Run).job(slot(u64::MAX), NOW).is_some());
        assert!(header(Extranonce::Counter(200)).job(slot(1), NOW).is_none());
    }

    #[test]
    fn only_a_templates_own_jobs_are_its_own() {
        for template in [text(), header(Extranonce::Run), header(Extranonce::Counter(4))] {
            let job = template.job(slot(1), NOW).unwrap();
            assert!(template.made(&job));
            assert!(!template.made(&Job { round: RoundId { generation: 1, ..job.round }, ..job }));
            if let Puzzle::Header(mut puzzle) = job.puzzle {
                let easy = Goal { search: Search::Every, ..job.goal };
                assert!(!template.made(&Job { goal: easy, ..job }), "a goal of its own");
                assert!(!template.made(&Job { tag: Tag { slot: slot(2), ..job.tag }, ..job }), "another's slot");
                puzzle.header.merkle_root = Digest([9; 32]);
                assert!(!template.made(&Job { puzzle: Puzzle::Header(puzzle), ..job }), "another coinbase");
            }
        }
        assert!(!text().made(&header(Extranonce::Run).job(slot(1), NOW).unwrap()));
        let job = text().job(slot(1), NOW).unwrap();
        let Puzzle::Text(puzzle) = job.puzzle else { panic!("a text") };
        let other_prev = TextPuzzle { prev: Digest([9; 32]), ..puzzle };
        let other_hashing = TextPuzzle { hashing: Hashing::Single, ..puzzle };
        for other in [other_prev, other_hashing] {
            assert!(!text().made(&Job { puzzle: Puzzle::Text(other), ..job }), "{other:?}");
        }
    }
}
