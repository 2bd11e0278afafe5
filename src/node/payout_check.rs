//! Whom the work of another leader has to pay.

use std::fmt;
use std::sync::Arc;

use crate::cluster::Current;
use crate::work::{Job, Puzzle, Search, Slot, Template};

/// Whether the blocks of a template's job of a slot pay whom they have to pay.
pub type Pays = Arc<dyn Fn(&Template, Slot) -> bool + Send + Sync>;

/// Work that does not pay this is refused: a leader whose box was taken over could mine for somebody else with the whole cluster.
#[derive(Clone)]
pub struct PayoutCheck {
    /// Who is paid, as an operator writes it.
    pub address: String,
    /// Whether all that the blocks of a template's job of this slot create is paid to it. The slot fills bytes of the coinbase.
    pub pays: Pays,
    /// Whether this node has a pool among its sources. What a pool's work pays cannot be seen, so without one it is refused.
    pub takes_shares: bool,
}

impl fmt::Debug for PayoutCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayoutCheck").field("address", &self.address).finish_non_exhaustive()
    }
}

impl PayoutCheck {
    /// Whether a job of a leader whose template is `current` may be searched. A text pays nobody.
    pub(super) fn takes(&self, job: &Job, current: Option<&Current>) -> bool {
        match (&job.puzzle, job.goal.search, current) {
            (Puzzle::Text(_), ..) => true,
            (Puzzle::Header(_), Search::Every, _) => self.takes_shares,
            (_, _, Some(Current::Header(template))) => template.made(job) && (self.pays)(template, job.tag.slot),
            _ => false,
        }
    }
}
