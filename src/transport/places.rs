//! Places for connections from addresses that are no peer's. They are few, and each address has few of them, so that strangers neither cost
//! much nor keep each other out; peers have places of their own, which no stranger can take.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::origin::Origin;

/// Connections of strangers at the same time. A stranger is one until its certificate is that of a peer.
const ALL: usize = 16;
/// Those of one origin.
const OF_ONE: usize = 4;

/// The places that are taken, by origin.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: Mutex<BTreeMap<Origin, usize>>,
}

/// A place, which is free again once this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    origin: Origin,
}

impl Places {
    /// A place for a stranger at this address, if there is one.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.enter_within(address, OF_ONE, ALL)
    }

    /// The same, within other limits: for one origin, and for all.
    pub(super) fn enter_within(self: &Arc<Self>, address: IpAddr, of_one: usize, of_all: usize) -> Option<Place> {
        let (origin, mut taken) = (Origin::of(address), lock(&self.taken));
        let here = taken.get(&origin).copied().unwrap_or(0);
        if here >= of_one || taken.values().sum::<usize>() >= of_all {
            return None;
        }
        taken.insert(origin, here + 1);
        Some(Place { places: self.clone(), origin })
    }

    /// How many are taken.
    #[cfg(any(feature = "quic", test))]
    pub(super) fn taken(&self) -> usize {
        lock(&self.taken).values().sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        match taken.get_mut(&self.origin) {
            Some(of_one) if *of_one > 1 => *of_one -= 1,
            _ => drop(taken.remove(&self.origin)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn one_address_cannot_take_all_places_and_gives_its_own_back() {
        let places = Arc::new(Places::default());
        let enter = |last: u8| places.enter([10, 0, 0, last].into());
        let mut first: Vec<_> = (0..OF_ONE).map(|_| enter(1).unwrap()).collect();
        assert!(enter(1).is_none());
        let others: Vec<_> = (2..).map_while(enter).collect();
        assert_eq!((others.len(), places.taken()), (ALL - OF_ONE, ALL));
        first.pop();
        assert!(enter(1).is_some(), "its place is free again");
        drop((first, others));
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn a_network_counts_as_one_address() {
        let places = Arc::new(Places::default());
        let taken: Vec<_> = (0..20u128).map_while(|host| places.enter(Ipv6Addr::from_bits(host).into())).collect();
        assert_eq!(taken.len(), OF_ONE);
        assert!(places.enter("2001:db8::1".parse().unwrap()).is_some());
        let mapped: Vec<_> = (0..9).map_while(|_| places.enter("::ffff:10.0.0.1".parse().unwrap())).collect();
        assert!(mapped.len() == OF_ONE && places.enter([10, 0, 0, 1].into()).is_none());
    }
}
