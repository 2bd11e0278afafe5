//! What was refused, counted by reason. The counts are logged together from time to time, so that strangers cannot fill the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The refusals that were not logged yet. There are as many reasons as the service's text has, so this stays small.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

/// Why a request was refused. The pages put it into their response's extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reason(pub(super) &'static str);

impl Refusals {
    /// Counts one more.
    pub(super) fn note(&self, Reason(reason): Reason) {
        *self.lock().entry(reason).or_default() += 1;
    }

    /// Logs a line for each reason, and counts anew.
    pub(super) fn log(&self) {
        for (reason, count) in std::mem::take(&mut *self.lock()) {
            tracing::info!(reason, count, "refused");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_count_until_it_is_logged() {
        let refusals = Refusals::default();
        for reason in ["stale", "wrong", "stale"] {
            refusals.note(Reason(reason));
        }
        assert_eq!(*refusals.lock(), BTreeMap::from([("stale", 2), ("wrong", 1)]));
        refusals.log();
        assert!(refusals.lock().is_empty());
    }
}
