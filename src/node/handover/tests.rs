use super::*;
use crate::work::{BlockId, Blueprint, Digest, Goal, Hashing, RoundId, Search, Target};

const RUN: Run = Run(7);

fn node(id: u32) -> NodeId {
    NodeId::try_from(id).unwrap()
}

fn template(tag: u64) -> Template {
    let round = RoundId { block: BlockId { height: 1, hash: Digest([1; 32]) }, generation: 0 };
    let goal = Goal { block: Target::MAX, report: Target::MAX, search: Search::First };
    Template { round, goal, puzzle: Blueprint::Text { hashing: Hashing::Double }, tag }
}

fn bytes(length: usize) -> Arc<[u8]> {
    (0..length).map(|i| (i / 7) as u8).collect()
}

/// A leader that has a body, and whoever leads next.
struct Pair {
    now: Instant,
    leader: Handover,
    next: Handover,
}

impl Pair {
    fn new(length: usize) -> Self {
        let now = tokio::time::Instant::now().into_std();
        let (mut leader, next) = (Handover::new(RUN, now), Handover::new(Run(8), now));
        leader.keep(1, bytes(length));
        Self { now, leader, next }
    }

    fn fetch(&mut self, tag: u64) -> Option<BodyRequest> {
        let (to, message) = self.next.fetch(self.now, (node(1), RUN, &template(tag)))?;
        let Message::BodyRequest(request) = message else { panic!("{message:?}") };
        assert_eq!(to, node(1));
        Some(request)
    }

    fn part(&mut self, request: BodyRequest) -> Option<BodyPart> {
        let Message::Body(part) = self.leader.hear_request(self.now, request)? else { panic!("a part") };
        Some(part)
    }

    fn hear(&mut self, part: BodyPart) -> Heard {
        self.next.hear_part(self.now, node(1), part)
    }

    /// From a request to the end.
    fn go_on(&mut self, mut request: BodyRequest) -> (usize, Heard) {
        for parts in 1.. {
            let part = self.part(request).expect("a part");
            match self.hear(part) {
                Heard::Part(_, Message::BodyRequest(next)) => request = next,
                other => return (parts, other),
            }
        }
        unreachable!()
    }
}

#[test]
fn a_body_comes_in_parts_and_once() {
    for (length, expected) in [(1, 1), (MAX_BODY_PART, 1), (MAX_BODY_PART + 1, 2), (MAX_BODY, 67)] {
        let mut pair = Pair::new(length);
        let request = pair.fetch(1).unwrap();
        let fetched = Fetched { run: RUN, template: template(1), bytes: bytes(length) };
        assert_eq!(pair.go_on(request), (expected, Heard::Whole(fetched)));
        pair.now += PATIENCE * 2;
        assert_eq!(pair.fetch(1), None, "it is here");
    }
}

#[test]
fn what_is_lost_is_asked_for_again_and_what_comes_twice_counts_once() {
    let mut pair = Pair::new(MAX_BODY_PART * 2);
    let first = pair.fetch(1).unwrap();
    assert_eq!(pair.fetch(1), None, "there is an answer on its way");
    pair.now += PATIENCE;
    assert_eq!(pair.fetch(1), Some(first));
    let part = pair.part(first).unwrap();
    let Heard::Part(_, Message::BodyRequest(second)) = pair.hear(part.clone()) else { panic!("a part") };
    assert_eq!(second.start as usize, MAX_BODY_PART);
    assert_eq!(pair.hear(part), Heard::Nothing);
    assert!(matches!(pair.go_on(second), (1, Heard::Whole(_))));
}

#[test]
fn a_transfer_is_finished_before_the_newest_follows() {
    let mut pair = Pair::new(MAX_BODY_PART * 2);
    let first = pair.fetch(1).unwrap();
    pair.leader.keep(2, bytes(5));
    pair.leader.keep(3, bytes(6));
    assert_eq!(pair.fetch(3), None);
    assert!(matches!(pair.go_on(first), (2, Heard::Whole(_))));
    let third = pair.fetch(3).unwrap();
    assert_eq!(third.body.template, 3);
    assert!(matches!(pair.go_on(third), (1, Heard::Whole(_))));
}

#[test]
fn a_body_that_the_leader_does_not_have_is_asked_for_once() {
    let mut pair = Pair::new(5);
    let request = pair.fetch(9).unwrap();
    assert_eq!(pair.go_on(request), (1, Heard::Nothing));
    pair.now += PATIENCE * 2;
    assert_eq!(pair.fetch(9), None);
    assert!(pair.fetch(1).is_some(), "another one is");
}

#[test]
fn another_leader_ends_the_transfer() {
    let mut pair = Pair::new(MAX_BODY_PART * 2);
    let first = pair.fetch(1).unwrap();
    let part = pair.part(first).unwrap();
    assert!(pair.next.fetch(pair.now, (node(2), Run(3), &template(1))).is_some());
    assert_eq!(pair.hear(part), Heard::Nothing);
}

#[test]
fn a_leader_that_lies_about_sizes_fills_no_memory() {
    let sizes = |part: &BodyPart| {
        let part = part.clone();
        [
            BodyPart { size: MAX_BODY as u32 + 1, ..part.clone() },
            BodyPart { size: u32::MAX, ..part.clone() },
            BodyPart { size: 3, ..part.clone() },
            BodyPart { bytes: vec![], ..part },
        ]
    };
    let mut pair = Pair::new(MAX_BODY_PART * 2);
    let request = pair.fetch(1).unwrap();
    let part = pair.part(request).unwrap();
    for wrong in sizes(&part) {
        let mut pair = Pair::new(5);
        pair.fetch(1).unwrap();
        assert_eq!(pair.hear(wrong.clone()), Heard::Nothing);
        assert_eq!(pair.hear(part.clone()), Heard::Nothing, "the transfer is over after {wrong:?}");
    }
    // The size changes on the way.
    let Heard::Part(_, Message::BodyRequest(second)) = pair.hear(part) else { panic!("a part") };
    let more = BodyPart { size: MAX_BODY as u32, ..pair.part(second).unwrap() };
    assert_eq!(pair.hear(more), Heard::Nothing);
}

#[test]
fn parts_are_given_of_this_runs_bodies_and_not_without_end() {
    let mut pair = Pair::new(5);
    let body = BodyId { run: RUN, template: 1 };
    let request = BodyRequest { body, start: 0 };
    assert_eq!(pair.part(BodyRequest { body: BodyId { run: Run(9), ..body }, start: 0 }), None);
    let beyond = pair.part(BodyRequest { start: u32::MAX, ..request }).unwrap();
    assert_eq!((beyond.size, beyond.bytes), (5, vec![]));
    let given = (0..1000).filter(|_| pair.part(request).is_some()).count();
    assert_eq!(given, MAX_PARTS as usize - 2, "the two before count, too");
    pair.now += Duration::from_secs(1);
    assert!(pair.part(request).is_some());
    for template in 2..20 {
        pair.leader.keep(template, bytes(5));
    }
    pair.leader.keep(20, bytes(MAX_BODY + 1));
    assert_eq!(pair.leader.own.len(), MAX_OWN);
}
