//! Whom a node of a large cluster watches: the lowest ids that are not down, so the leader and the next few candidates.
//!
//! The window moves on as its nodes fall silent, not only when they are down: by then the next ones are known. While nobody in it
//! answers, everyone lower than the right leader has to be asked first, which may be many: so as many more are asked at once as are
//! known to be down, and the window doubles with each step.

use std::collections::BTreeSet;

use super::{NodeId, PeerState};

/// A peer, for the choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) id: NodeId,
    pub(super) state: PeerState,
    pub(super) is_watched: bool,
}

/// Those of `peers`, in ascending order, that are to be watched, so that `candidates` of them are alive in the end.
pub(super) fn window(peers: impl Iterator<Item = Seen> + Clone, candidates: usize) -> BTreeSet<NodeId> {
    let is_alive = |peer: &Seen| peer.state == PeerState::Alive;
    let most = match peers.clone().any(|peer| is_alive(&peer)) {
        true => candidates,
        false => candidates + peers.clone().filter(|peer| peer.state.is_away()).count(),
    };
    let (mut window, mut alive) = (BTreeSet::new(), 0);
    for peer in peers.filter(|peer| !peer.state.is_away()) {
        if alive == candidates {
            break;
        }
        alive += usize::from(is_alive(&peer));
        // Nobody is dropped who may be about to answer, as long as there are not enough below.
        if peer.is_watched || window.len() < most {
            window.insert(peer.id);
        }
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::node;

    /// The window over nodes 1, 2, 3 …: `u`p, `s`uspect, `d`own, `a`sked, `?` unknown.
    fn ids(states: &str) -> Vec<u32> {
        let seen = |(id, state)| Seen {
            id: node(id),
            state: match state {
                'u' => PeerState::Alive,
                's' => PeerState::Suspect,
                'd' => PeerState::Down,
                _ => PeerState::Unknown,
            },
            is_watched: matches!(state, 'u' | 's' | 'a'),
        };
        window((1..).zip(states.chars()).map(seen), 3).into_iter().map(NodeId::get).collect()
    }

    #[test]
    fn it_begins_with_the_lowest() {
        assert_eq!(ids("??????"), [1, 2, 3]);
        assert_eq!(ids("aaa???"), [1, 2, 3]);
        assert_eq!(ids("??"), [1, 2]);
    }

    #[test]
    fn it_moves_on_one_by_one_while_somebody_is_up() {
        assert_eq!(ids("uuu???"), [1, 2, 3]);
        assert_eq!(ids("duu???"), [2, 3, 4]);
        assert_eq!(ids("ddu?????"), [3, 4, 5]);
        assert_eq!(ids("ddua????"), [3, 4, 5]);
    }

    #[test]
    fn it_moves_on_before_the_silent_are_down() {
        assert_eq!(ids("suu???"), [1, 2, 3]);
        assert_eq!(ids("sss????"), [1, 2, 3]);
    }

    #[test]
    fn it_doubles_while_nobody_is() {
        assert_eq!(ids("ddd????????????????????"), [4, 5, 6, 7, 8, 9]);
        assert_eq!(ids("ddddddddd????????????????????").len(), 12);
    }

    #[test]
    fn whoever_answered_stays_until_enough_below_have() {
        assert_eq!(ids("dddaaaaau????"), [4, 5, 6, 7, 8, 9]);
        assert_eq!(ids("dddauaaauu???"), [4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(ids("dddauauuaa???"), [4, 5, 6, 7, 8]);
        assert_eq!(ids("uuuu"), [1, 2, 3]);
    }
}
