//! Who is served when more clients come than there are places. Values only: no socket and no clock.
//!
//! 1. While places are free, every connection gets one, whatever its origin has already.
//! 2. When no place is free, connections wait. The next free place goes to the origin that has the fewest.
//! 3. An origin that has at least two places more than one that waits gives up its oldest place. A connection that is served as it should
//!    be is over soon, so the oldest one is the likeliest to be idle or slow.
//! 4. When too many wait, the newest connection of the origin that has most, served and waiting, is turned away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::origin::Origin;

/// The most connections that wait. They cost a file descriptor each, of which a process usually has 1,024.
const WAITING: usize = 256;

/// All places, and the connections `T` that wait for one.
#[derive(Debug)]
pub(super) struct Places<T> {
    most: usize,
    /// Oldest first.
    taken: Vec<Taken>,
    /// How many of `taken` each origin has.
    held: BTreeMap<Origin, usize>,
    /// Oldest first.
    waiting: Vec<(Origin, T)>,
    stop: CancellationToken,
}

/// A connection's right to be served. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    /// Cancelled when the place has to be given up, or when everything stops.
    pub(super) end: CancellationToken,
    _gone: DropGuard,
}

#[derive(Debug)]
struct Taken {
    origin: Origin,
    end: CancellationToken,
    gone: CancellationToken,
}

impl<T> Places<T> {
    /// `most` free places, all of which are given up once `stop` is cancelled.
    pub(super) fn new(most: NonZeroUsize, stop: CancellationToken) -> Self {
        Self { most: most.get(), taken: Vec::new(), held: BTreeMap::new(), waiting: Vec::new(), stop }
    }

    /// Lets a connection wait. Gives the one that is turned away for it, if too many wait.
    pub(super) fn arrive(&mut self, from: IpAddr, connection: T) -> Option<T> {
        self.waiting.push((Origin::of(from), connection));
        if self.waiting.len() <= WAITING {
            return None;
        }
        let mut all = self.held.clone();
        for (origin, _) in &self.waiting {
            *all.entry(*origin).or_default() += 1;
        }
        let newest_of_most = (0..self.waiting.len()).max_by_key(|&index| all[&self.waiting[index].0])?;
        Some(self.waiting.remove(newest_of_most).1)
    }

    /// Gives the next place that is free to the next connection that waits.
    pub(super) fn next(&mut self) -> Option<(T, Place)> {
        self.sweep();
        if self.taken.len() >= self.most {
            return None;
        }
        let first_of_fewest = (0..self.waiting.len()).min_by_key(|&index| self.held(self.waiting[index].0))?;
        let (origin, connection) = self.waiting.remove(first_of_fewest);
        let (end, gone) = (self.stop.child_token(), CancellationToken::new());
        self.taken.push(Taken { origin, end: end.clone(), gone: gone.clone() });
        *self.held.entry(origin).or_default() += 1;
        Some((connection, Place { end, _gone: gone.drop_guard() }))
    }

    /// Ends the connection that has to give up its place, if there is one. The next one has to only when that is gone.
    pub(super) fn reclaim(&mut self) {
        let Some(fewest) = self.waiting.iter().map(|(origin, _)| self.held(*origin)).min() else { return };
        let oldest_of_most = self.taken.iter().rev().max_by_key(|taken| self.held(taken.origin));
        if let Some(taken) = oldest_of_most
            && self.held(taken.origin) > fewest + 1
            && !self.taken.iter().any(|taken| taken.end.is_cancelled())
        {
            taken.end.cancel();
        }
    }

    /// Whether connections wait.
    pub(super) fn is_crowded(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn held(&self, origin: Origin) -> usize {
        self.held.get(&origin).copied().unwrap_or(0)
    }

    /// Takes note of places that were given back.
    fn sweep(&mut self) {
        let held = &mut self.held;
        self.taken.retain(|taken| {
            if !taken.gone.is_cancelled() {
                return true;
            }
            if let Some(count) = held.get_mut(&taken.origin) {
                *count -= 1;
            }
            held.retain(|_, count| *count > 0);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize) -> Places<&'static str> {
        Places::new(NonZeroUsize::new(most).unwrap(), CancellationToken::new())
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn one_origin_may_have_all_places_while_nobody_else_wants_one() {
        let mut places = places(3);
        let mut served = Vec::new();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(places.arrive(address(1), name), None);
            served.extend(places.next());
        }
        assert_eq!(served.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(places.is_crowded());
        places.reclaim(); // its own connections do not push each other out
        assert!(served.iter().all(|(_, place)| !place.end.is_cancelled()));
        served.remove(1);
        assert_eq!(places.next().unwrap().0, "d");
        assert!(!places.is_crowded());
    }

    #[test]
    fn an_origin_with_more_than_its_share_gives_up_its_oldest_places_one_by_one() {
        let mut places = places(4);
        for _ in 0..9 {
            places.arrive(address(1), "many");
        }
        let mut served: Vec<_> = std::iter::from_fn(|| places.next()).collect();
        for few in ["first", "second", "third"] {
            places.arrive(address(2), few);
        }
        // Two places each are fair, so the third waits like the others.
        for expected in ["first", "second"] {
            places.reclaim();
            places.reclaim();
            let ending: Vec<_> = served.iter().map(|(_, place)| place.end.is_cancelled()).collect();
            assert_eq!(ending, [true, false, false, false]);
            assert!(places.next().is_none());
            served.remove(0);
            let next = places.next().unwrap();
            assert_eq!(next.0, expected);
            served.push(next);
        }
        places.reclaim();
        assert!(served.iter().all(|(_, place)| !place.end.is_cancelled()));
    }

    #[test]
    fn when_too_many_wait_the_origin_with_most_loses_its_newest() {
        let mut places = places(1);
        places.arrive(address(1), "served");
        let _served = places.next().unwrap();
        for _ in 1..WAITING {
            assert_eq!(places.arrive(address(1), "waiting"), None);
        }
        assert_eq!(places.arrive(address(1), "newest"), None);
        assert_eq!(places.arrive(address(2), "other"), Some("newest"));
        assert_eq!(places.arrive(address(1), "too many"), Some("too many"));
    }

    #[test]
    fn stopping_ends_every_connection() {
        let mut places = places(1);
        places.arrive(address(1), "only");
        let (_, place) = places.next().unwrap();
        places.stop.cancel();
        assert!(place.end.is_cancelled());
    }
}
