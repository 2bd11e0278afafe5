//! Everything that one node has told, over all its runs, with the time at which it was read.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;

/// An event that was read.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Which run of the node told it; the first one is 1.
    pub(crate) run: u32,
    pub(crate) at: Instant,
    pub(crate) event: Value,
}

impl Told {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.event["event"] == name
    }

    pub(crate) fn number(&self, field: &str) -> u64 {
        self.event[field].as_u64().unwrap_or_else(|| panic!("no {field} in {}", self.event))
    }
}

/// The last events, for whoever has to find out what went wrong: few of those that come with each block.
pub(crate) fn shown(told: &[Told]) -> String {
    let is_rare = |told: &Told| ["started", "leader", "peer", "source"].iter().any(|name| told.is(name));
    let rare = told.iter().rev().filter(|told| is_rare(told)).nth(15).map(|told| told.at);
    let recent = told.iter().rev().filter(|told| !told.is("rate")).nth(11).map(|told| told.at);
    let chosen = told.iter().filter(|told| match is_rare(told) {
        true => Some(told.at) >= rare,
        false => Some(told.at) >= recent && !told.is("rate"),
    });
    chosen.map(|told| format!("{:?} run {}: {}\n", told.at, told.run, told.event)).collect()
}

/// What a node has told; grows by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Told>>>);

impl Log {
    /// Reads what a run tells until it ends.
    pub(super) fn follow(&self, run: u32, lines: Receiver<String>) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in lines {
                let at = Instant::now();
                // Of a killed process the last line may be cut short.
                if let Ok(event) = serde_json::from_str(&line) {
                    log.told().push(Told { run, at, event });
                }
            }
        })
    }

    /// All of it so far.
    pub(crate) fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much that is: a mark for [`since`](Self::since).
    pub(crate) fn mark(&self) -> usize {
        self.told().len()
    }

    /// What came after the mark.
    pub(crate) fn since(&self, mark: usize) -> Vec<Told> {
        self.told()[mark..].to_vec()
    }

    /// Whom a run named as leader last, and how many leaderships it has named.
    pub(crate) fn leader(&self, run: u32) -> Option<(u32, u64)> {
        let told = self.told();
        let last = told.iter().rev().take_while(|told| told.run == run).find(|told| told.is("leader"))?;
        Some((last.number("leader") as u32, last.number("epoch")))
    }
}
