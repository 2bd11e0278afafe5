//! Rule 1: who is alive, row by row of the table in `liveness.rs`; who leads; who is watched.

use super::super::liveness::Peers;
use super::PeerState::{Alive, Down, Left, Suspect, Unknown};
use super::*;

/// Node 9 watches nodes 2 and 3 from the first moment on, and has asked neither.
struct Watch {
    peers: Peers,
    start: Instant,
}

impl Watch {
    fn new() -> Self {
        Self::of(2)
    }

    /// In a large cluster: there are nodes 4 to 7 as well.
    fn large() -> Self {
        Self::of(6)
    }

    fn of(count: u32) -> Self {
        let (mut peers, start) = (Peers::new(config(9)), begin());
        peers.set(&(2..2 + count).map(|id| (node(id), true)).collect::<Vec<_>>());
        assert_eq!(peers.watch(false, start), [node(2), node(3)]);
        Self { peers, start }
    }

    /// Node 2 is asked for the `sent`th time.
    fn ask(&mut self, at: f64, sent: u64) {
        self.peers.requested(node(2), sent, self.start + seconds(at));
    }

    /// Somebody is asked then, and answers at once.
    fn meet(&mut self, id: u32, at: f64) {
        self.peers.requested(node(id), 99, self.start + seconds(at));
        assert!(self.answer(id, 7, 99));
        self.at(at);
    }

    /// Chooses whom to watch from then on, and gives those who are to be asked at once.
    fn choose(&mut self, leads: bool, at: f64) -> Vec<u32> {
        self.peers.watch(leads, self.start + seconds(at)).into_iter().map(NodeId::get).collect()
    }

    fn states(&self) -> Vec<PeerState> {
        self.peers.states().map(|(_, state)| state).collect()
    }

    /// When the next state may change by time alone.
    fn next(&self) -> Option<Duration> {
        self.peers.next_change().map(|next| next - self.start)
    }

    /// Somebody answers. Whether that counts as an answer to our question.
    fn answer(&mut self, id: u32, run: u64, sent: u64) -> bool {
        self.peers.answered(node(id), Run(run), sent)
    }

    /// How node 2's state changes then, if it does.
    fn at(&mut self, at: f64) -> Option<PeerState> {
        let changed = self.peers.expire(self.start + seconds(at));
        changed.into_iter().find(|(id, _)| *id == node(2)).map(|(_, state)| state)
    }

    fn run(&self) -> Option<Run> {
        self.peers.get(node(2)).unwrap().run
    }
}

#[test]
fn silence_counts_from_the_request_that_was_answered() {
    let mut watch = Watch::new();
    watch.ask(0.0, 1);
    assert_eq!(watch.at(5.0), None);
    assert!(watch.answer(2, 7, 1), "it comes late, yet it is the answer to our question");
    assert_eq!(
        [5.0, 5.9, 6.0, 8.7, 8.75, 99.0].map(|at| watch.at(at)),
        [Some(Alive), None, Some(Suspect), None, Some(Down), None]
    );
    watch.ask(100.0, 2);
    assert!(watch.answer(2, 7, 2));
    assert_eq!([100.0, 106.0].map(|at| watch.at(at)), [Some(Alive), Some(Suspect)]);
    watch.ask(106.0, 3);
    assert!(watch.answer(2, 7, 3));
    assert_eq!(watch.at(106.0), Some(Alive));
}

#[test]
fn whoever_never_answers_is_down_without_having_been_suspect() {
    let mut watch = Watch::new();
    watch.ask(0.0, 1);
    assert_eq!([0.0, 6.0, 8.7, 8.75].map(|at| watch.at(at)), [None, None, None, Some(Down)]);
}

#[test]
fn only_an_answer_to_a_request_of_ours_to_that_peer_counts() {
    let mut watch = Watch::new();
    watch.ask(0.0, 1);
    assert!(!watch.answer(2, 7, 2), "nobody asked that");
    assert!(!watch.answer(3, 7, 1), "another was asked");
    assert!(!watch.answer(4, 7, 1), "it is no member");
    assert_eq!((watch.at(1.0), watch.run()), (None, None));
    (2..=17).for_each(|sent| watch.ask(1.0, sent));
    assert!(!watch.answer(2, 7, 1), "sixteen were asked since");
    assert!(watch.answer(2, 7, 2));
}

#[test]
fn an_answer_that_was_overtaken_neither_ages_a_peer_nor_changes_its_run() {
    let mut watch = Watch::new();
    watch.ask(0.0, 1);
    watch.ask(4.0, 2);
    assert!(watch.answer(2, 8, 2) && watch.answer(2, 7, 1));
    assert_eq!(watch.run(), Some(Run(8)));
    assert_eq!([4.0, 9.9, 10.0].map(|at| watch.at(at)), [Some(Alive), None, Some(Suspect)]);
}

#[test]
fn a_goodbye_is_taken_back_by_a_later_answer_or_another_run() {
    let mut watch = Watch::new();
    watch.ask(0.0, 1);
    watch.ask(1.0, 2);
    assert!(watch.answer(2, 7, 1));
    watch.peers.leave(node(2), watch.start + seconds(1.0));
    assert!(!watch.answer(2, 7, 2), "it was asked before it said goodbye");
    assert_eq!([2.0, 99.0].map(|at| watch.at(at)), [Some(Left), None]);
    watch.ask(99.0, 3);
    assert!(watch.answer(2, 7, 3));
    assert_eq!(watch.at(99.0), Some(Alive));
    watch.peers.leave(node(2), watch.start + seconds(99.0));
    assert!(watch.answer(2, 8, 3), "it runs anew");
    assert_eq!((watch.at(99.0), watch.run()), (None, Some(Run(8))));
}

#[test]
fn a_pause_of_our_own_is_nobodys_silence() {
    let mut watch = Watch::new();
    watch.ask(0.0, 1);
    watch.answer(2, 7, 1);
    watch.at(1.0);
    watch.peers.excuse(seconds(60.0), watch.start + seconds(62.0));
    assert_eq!([62.0, 66.0, 68.75].map(|at| watch.at(at)), [None, Some(Suspect), Some(Down)]);
}

#[test]
fn a_starting_node_gives_lower_ids_the_time_of_one_answer() {
    let mut scene = Scene::new(3, &[]);
    scene.nodes.remove(&node(1));
    scene.nodes.insert(node(2), Cluster::new(config(2), scene.now));
    assert_eq!(
        scene.on(2, |cluster, now| cluster.set_peers(now, &[(node(1), true), (node(2), true), (node(3), true)])),
        [Output::Peer { peer: node(3), state: Alive }]
    );
    scene.pass(0.74);
    assert_eq!((scene.nodes[&node(2)].leader(), scene.done(2)), (None, vec![]));
    scene.pass(0.01);
    assert_eq!(scene.done(2), [Output::Leader { leader: node(2) }, Output::Ask]);
}

#[test]
fn a_suspect_is_asked_once_more_and_the_next_leads_when_it_is_down() {
    let mut scene = Scene::new(2, &[1]);
    scene.answers(1, false, 5.9);
    assert_eq!((scene.done(2), scene.asked(1)), (vec![], 1));
    scene.pass(0.1);
    assert_eq!((scene.done(2), scene.asked(1)), (vec![Output::Peer { peer: node(1), state: Suspect }], 1));
    scene.pass(2.75);
    let is_down = Output::Peer { peer: node(1), state: Down };
    assert_eq!(scene.done(2), [is_down, Output::Leader { leader: node(2) }, Output::Ask]);
}

#[test]
fn lower_ids_are_probed_once_a_heartbeat_when_a_higher_one_claims_to_lead() {
    let mut scene = Scene::new(4, &[1, 3, 4]);
    let asked = |scene: &mut Scene| [1, 3, 4].map(|id| scene.asked(id));
    scene.played(4).leads = Some(Leads { reign: 1, current: None, blocks: vec![] });
    for probed in [[1, 1, 0], [0, 0, 0]] {
        let heartbeat = scene.played(4).heartbeat(None);
        assert_eq!(scene.say(4, 2, Message::HeartbeatRequest(heartbeat)), []);
        assert_eq!(asked(&mut scene), probed);
    }
    scene.pass(3.9);
    assert_eq!(asked(&mut scene), [0, 0, 0]);
    scene.pass(0.1);
    assert_eq!(asked(&mut scene), [2, 2, 1], "heartbeats, and probes since node 4 claims it again");
}

#[test]
fn in_a_large_cluster_a_node_watches_the_lowest_that_are_not_down() {
    let mut scene = Scene::new(6, &[1, 2, 3, 4, 5]);
    let asked = |scene: &mut Scene| [1, 2, 3, 4, 5].map(|id| scene.asked(id));
    scene.answers(2, false, 4.0);
    scene.assign(6, 1, &[]);
    scene.pass(4.7);
    assert_eq!(asked(&mut scene), [2, 3, 0, 0, 0], "with one more request when node 2 is suspect");
    scene.pass(0.1);
    assert_eq!(asked(&mut scene), [0, 0, 1, 0, 0]);
    scene.pass(4.0);
    assert_eq!(asked(&mut scene), [1, 1, 1, 0, 0], "it would matter if node 2 were back");
}

#[test]
fn a_peer_that_has_moved_is_asked_at_once() {
    let mut scene = Scene::new(3, &[3]);
    scene.on(1, |cluster, now| cluster.handle_moved(now, node(3)));
    assert_eq!(scene.asked(3), 1);
    scene.on(1, |cluster, _| cluster.leave());
    scene.on(1, |cluster, now| cluster.handle_moved(now, node(3)));
    assert_eq!(scene.asked(3), 0, "nothing is done after a goodbye");
    let (request, now) = (Message::HeartbeatRequest(scene.played(3).heartbeat(None)), scene.now);
    let cluster = scene.nodes.get_mut(&node(1)).unwrap();
    cluster.handle_message(now, node(3), request);
    assert_eq!(cluster.poll_output(), None);
}

#[test]
fn in_a_large_cluster_only_a_candidate_says_goodbye_to_all() {
    let everyone: Vec<u32> = (1..=8).collect();
    for (leaves, hear) in [(1, 7), (2, 7), (3, 2), (8, 2)] {
        let played: Vec<u32> = everyone.iter().copied().filter(|&id| id != leaves).collect();
        let mut scene = Scene::new(8, &played);
        scene.on(leaves, |cluster, _| cluster.leave());
        let is_goodbye = |message: &Message| matches!(message, Message::Leave(..));
        let heard = played.iter().filter(|&&id| scene.heard(id).iter().any(is_goodbye)).count();
        assert_eq!(heard, hear, "node {leaves}");
    }
}

#[test]
fn after_a_long_pause_late_timers_come_before_the_first_message() {
    let mut scene = Scene::new(3, &[1, 3]);
    scene.now += seconds(60.0);
    let goodbye = Message::Leave(scene.played(3).heartbeat(None), None);
    assert_eq!(scene.say(3, 2, goodbye), [Output::Peer { peer: node(3), state: Left }], "node 1 is not to blame");
}

#[test]
fn in_a_large_cluster_whoever_does_not_answer_in_an_answers_time_makes_room_for_the_next() {
    let mut watch = Watch::large();
    watch.at(0.0);
    assert_eq!(watch.next(), Some(seconds(0.75)));
    assert_eq!([0.74, 0.75].map(|at| watch.at(at)), [None, Some(Down)]);
    assert_eq!(watch.choose(false, 0.75), [4, 5, 6, 7], "as many more as are down, since nobody answers");
    let mut small = Watch::new();
    small.at(0.0);
    assert_eq!((small.next(), small.at(0.75), small.next()), (Some(seconds(0.75)), None, Some(seconds(8.75))));
}

#[test]
fn whoever_leaves_the_window_is_unknown_again_and_asked_by_a_new_leader() {
    let mut watch = Watch::large();
    watch.at(0.75);
    watch.choose(false, 0.75);
    (4..=7).for_each(|id| watch.meet(id, 0.75));
    assert_eq!(watch.choose(false, 0.75), [0; 0]);
    assert_eq!(watch.states(), [Down, Down, Alive, Alive, Unknown, Unknown], "whoever is down stays so");
    watch.meet(3, 1.0);
    watch.choose(false, 1.0);
    assert_eq!(watch.states(), [Down, Alive, Alive, Unknown, Unknown, Unknown]);
    assert_eq!(watch.peers.audience(), [3, 4, 2].map(node));
    assert_eq!(watch.choose(true, 2.0), [2, 5, 6, 7]);
    watch.at(2.0);
    assert_eq!(watch.states()[0], Down, "until it answers");
}

/// Nodes 2, 3 and 4 are down, 5 and 6 are watched, and 1.5 s have passed.
fn three_down() -> Watch {
    let mut watch = Watch::large();
    watch.at(0.75);
    watch.choose(false, 0.75);
    [5, 6].into_iter().for_each(|id| watch.meet(id, 1.0));
    watch.choose(false, 1.0);
    watch.at(1.5);
    watch.choose(false, 1.5);
    assert_eq!(watch.states(), [Down, Down, Down, Alive, Alive, Unknown]);
    assert_eq!(watch.peers.audience(), [5, 6, 2, 3].map(node), "and two of those that are down");
    watch
}

#[test]
fn a_late_answer_of_a_peer_that_is_down_does_not_put_it_into_the_window() {
    let mut watch = three_down();
    watch.ask(2.0, 1);
    for id in [5, 6] {
        watch.peers.requested(node(id), 100, watch.start + seconds(10.0));
        assert!(watch.answer(id, 7, 100));
    }
    assert!(watch.answer(2, 7, 1));
    assert_eq!(watch.at(11.0), None, "it is down");
    watch.choose(false, 11.0);
    assert_eq!(watch.peers.audience(), [5, 6, 2, 3].map(node));
}

#[test]
fn a_goodbye_that_comes_twice_does_not_put_a_peer_into_the_window() {
    let mut watch = three_down();
    watch.meet(2, 2.0);
    for changed in [Some(Left), None] {
        watch.peers.leave(node(2), watch.start + seconds(2.0));
        assert_eq!(watch.at(2.0), changed);
        watch.choose(false, 2.0);
        assert_eq!(watch.peers.audience(), [5, 6, 2, 3].map(node));
    }
}

/// Nodes 1 and 3 are played, and node 3 is silent since it answered at `at`. Node 2 runs until 5.5 s, and is then late by just the time of
/// an answer: its next timer is a tick at 6 s.
fn late_by_an_answers_time(at: f64) -> Scene {
    let mut scene = Scene::new(3, &[1, 3]);
    scene.assign(2, 1, &[]);
    scene.pass(at);
    scene.on(2, |cluster, now| cluster.handle_moved(now, node(3)));
    scene.answers(3, false, 5.5 - at);
    assert_eq!(scene.done(2), []);
    scene.now += seconds(1.25);
    scene
}

#[test]
fn a_message_comes_before_timers_that_are_late_by_an_answers_time_at_most() {
    let mut scene = late_by_an_answers_time(0.0);
    let goodbye = Message::Leave(scene.played(3).heartbeat(None), None);
    assert_eq!(scene.say(3, 2, goodbye), [Output::Peer { peer: node(3), state: Left }], "it was never suspect");
}

#[test]
fn a_timer_that_is_late_by_an_answers_time_excuses_nobody() {
    let mut scene = late_by_an_answers_time(0.5);
    let done = scene.on(2, |cluster, now| cluster.handle_timeout(now));
    assert_eq!(done, [Output::Peer { peer: node(3), state: Suspect }], "since 6.5 s");
}

#[test]
fn nobody_is_probed_since_the_leader_itself_claims_to_lead() {
    let mut scene = Scene::new(4, &[1, 2, 3]);
    let members = |ids: &[u32]| ids.iter().map(|&id| (node(id), true)).collect::<Vec<_>>();
    scene.nodes.insert(node(4), Cluster::new(config(4), scene.now));
    scene.on(4, |cluster, now| cluster.set_peers(now, &members(&[3, 4])));
    scene.played(1).is_silent = true;
    scene.on(4, |cluster, now| cluster.set_peers(now, &members(&[1, 2, 3, 4])));
    let cluster = &scene.nodes[&node(4)];
    assert_eq!((cluster.leader(), cluster.state(node(2))), (Some(node(3)), Alive), "node 1 may be about to answer");
    scene.asked(2);
    scene.played(3).leads = Some(Leads { reign: 1, current: None, blocks: vec![] });
    let heartbeat = scene.played(3).heartbeat(None);
    scene.say(3, 4, Message::HeartbeatRequest(heartbeat));
    assert_eq!(scene.asked(2), 0);
}

#[test]
fn two_late_answers_or_goodbyes_at_once_do_not_put_peers_into_the_window() {
    let mut watch = three_down();
    for id in [2, 3] {
        watch.peers.requested(node(id), 1, watch.start + seconds(0.0));
        assert!(watch.answer(id, 7, 1));
    }
    watch.choose(false, 1.5);
    assert_eq!(watch.peers.audience(), [5, 6, 2, 3].map(node));
    [2, 3].into_iter().for_each(|id| watch.peers.leave(node(id), watch.start + seconds(1.5)));
    watch.choose(false, 1.5);
    assert_eq!(watch.peers.audience(), [5, 6, 2, 3].map(node));
}
