//! What the store is to hold, and what is known of it: the part of the store that knows no disk and no clock.

use std::time::{Duration, Instant};

use super::Written;
use crate::work::Solution;

/// How long a write may take before it is reported that the disk hangs.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// Decides what is written when: one write at a time, and none that would change nothing.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// What the file is to hold.
    wanted: Vec<Solution>,
    /// What the file is known to hold. `None` until this node has written, so that every start shows whether the disk can be written.
    written: Option<Vec<Solution>>,
    writing_since: Option<Instant>,
    /// What was wrong with the last write, or is wrong with the one under way.
    trouble: Option<String>,
    /// Whether it was last reported that something is wrong.
    is_reported: bool,
}

impl Keeper {
    pub(crate) fn new(kept: Vec<Solution>) -> Self {
        Self { wanted: kept, written: None, writing_since: None, trouble: None, is_reported: false }
    }

    /// From now on `solutions` are to be kept. Gives what is to be written now, if anything is.
    pub(crate) fn keep(&mut self, now: Instant, solutions: Vec<Solution>) -> Option<Vec<Solution>> {
        let is_new = self.wanted != solutions;
        self.wanted = solutions;
        if is_new || self.trouble.is_none() { self.write(now) } else { None }
    }

    /// A write has ended. Gives the next one.
    pub(crate) fn written(&mut self, now: Instant, result: Written) -> Option<Vec<Solution>> {
        self.writing_since = None;
        match result {
            Ok(solutions) => {
                (self.written, self.trouble) = (Some(solutions), None);
                self.write(now) // what has changed meanwhile
            }
            Err(problem) => {
                (self.written, self.trouble) = (None, Some(problem));
                None
            }
        }
    }

    /// Tries again what has failed, and notices a disk that hangs. To be called once a heartbeat.
    pub(crate) fn retry(&mut self, now: Instant) -> Option<Vec<Solution>> {
        if self.writing_since.is_some_and(|since| now >= since + LONGEST_WRITE) && self.trouble.is_none() {
            self.trouble = Some(format!("no write has ended for {} s", LONGEST_WRITE.as_secs()));
        }
        if self.trouble.is_some() { self.write(now) } else { None }
    }

    /// What is wrong, or `Some(None)` when nothing is any more; given once, when it begins or ends.
    pub(crate) fn take_news(&mut self) -> Option<Option<String>> {
        let is_wrong = self.trouble.is_some();
        (std::mem::replace(&mut self.is_reported, is_wrong) != is_wrong).then(|| self.trouble.clone())
    }

    /// Whether a write is under way.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing_since.is_some()
    }

    fn write(&mut self, now: Instant) -> Option<Vec<Solution>> {
        if self.writing_since.is_some() || self.written.as_ref() == Some(&self.wanted) {
            return None;
        }
        self.writing_since = Some(now);
        Some(self.wanted.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::solutions;
    use super::*;

    fn clock() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn one_write_at_a_time_and_the_last_of_many_changes_stays() {
        let (mut keeper, now) = (Keeper::new(vec![]), clock());
        assert_eq!(keeper.keep(now, vec![]), Some(vec![]), "so every start shows whether the disk can be written");
        for count in 1..10 {
            assert_eq!(keeper.keep(now, solutions(count)), None);
        }
        assert_eq!(keeper.written(now, Ok(vec![])), Some(solutions(9)));
        assert_eq!(keeper.written(now, Ok(solutions(9))), None);
        assert_eq!(keeper.keep(now, solutions(9)), None);
        assert_eq!(keeper.take_news(), None);
    }

    #[test]
    fn a_disk_that_hangs_is_told_until_it_goes_on() {
        let (mut keeper, start) = (Keeper::new(vec![]), clock());
        keeper.keep(start, solutions(1));
        keeper.retry(start + Duration::from_secs(9));
        assert_eq!(keeper.take_news(), None);
        assert_eq!(keeper.retry(start + LONGEST_WRITE), None);
        assert!(keeper.take_news().unwrap().unwrap().contains("10 s"));
        keeper.retry(start + LONGEST_WRITE * 2);
        assert_eq!(keeper.take_news(), None, "told once");
        assert_eq!(keeper.written(start, Ok(solutions(1))), None);
        assert_eq!(keeper.take_news(), Some(None));
    }

    #[test]
    fn a_disk_that_fails_is_told_once_and_tried_again() {
        let (mut keeper, now) = (Keeper::new(vec![]), clock());
        keeper.keep(now, solutions(1));
        assert_eq!(keeper.written(now, Err("no room".into())), None);
        assert_eq!(keeper.take_news(), Some(Some("no room".into())));
        assert_eq!(keeper.keep(now, solutions(1)), None, "not tried at every step");
        assert_eq!(keeper.retry(now), Some(solutions(1)));
        assert_eq!(keeper.written(now, Err("no room".into())), None);
        assert_eq!(keeper.take_news(), None);
        assert_eq!(keeper.retry(now), Some(solutions(1)));
        assert_eq!(keeper.written(now, Ok(solutions(1))), None);
        assert_eq!(keeper.take_news(), Some(None));
    }
}
