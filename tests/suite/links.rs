//! The links that tests of faults stand on do to datagrams what they are told to.

// These tests look at the real clock.
#![allow(clippy::disallowed_methods)]

use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::proxy::{Proxy, Traffic, Weather};
use crate::process::PATIENCE;

/// Two plain sockets as the nodes 1 and 2, and the links between them.
fn link(seed: u64) -> (UdpSocket, UdpSocket, Proxy) {
    let ends = [1, 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let addresses = (1..).zip(ends.iter().map(|end| end.local_addr().unwrap())).collect();
    let [one, two] = ends;
    two.set_read_timeout(Some(PATIENCE)).unwrap();
    (one, two, Proxy::start(seed, &addresses))
}

/// What arrives of 200 numbered datagrams, in its order.
fn arrivals(seed: u64, weather: Weather) -> Vec<u8> {
    let (one, two, proxy) = link(seed);
    proxy.set(1, 2, weather);
    let to = proxy.address(1, 2);
    for number in 0..200 {
        one.send_to(&[number], to).unwrap();
        // The proxy has taken it before the next one comes, so that its queue does not overflow.
        let begin = Instant::now();
        let seen = |traffic: Traffic| traffic.passed + traffic.lost - traffic.doubled;
        while seen(proxy.traffic()) <= u64::from(number) {
            assert!(begin.elapsed() < PATIENCE);
            sleep(Duration::from_micros(100));
        }
    }
    let receive = || {
        let mut byte = [0];
        let (_, from) = two.recv_from(&mut byte).unwrap();
        assert_eq!(from, proxy.address(2, 1), "each is met at the address that it is known by");
        byte[0]
    };
    let arrived = (0..proxy.traffic().passed).map(|_| receive()).collect();
    proxy.heal();
    one.send_to(&[255], to).unwrap();
    assert_eq!(receive(), 255, "and no more than that");
    arrived
}

#[test]
fn links_do_what_they_are_told_and_a_seed_decides_the_same_again() {
    let fine = Weather::default();
    assert_eq!(arrivals(1, fine), (0..200).collect::<Vec<_>>());
    assert_eq!(arrivals(1, Weather { cut: true, ..fine }), Vec::<u8>::new());
    let lossy = Weather { loss: 0.2, doubled: 0.3, ..fine };
    let some = arrivals(1, lossy);
    let different = some.chunk_by(|a, b| a == b).count();
    assert!((130..190).contains(&different) && some.len() > different, "{some:?}");
    assert_eq!(arrivals(1, lossy), some);
    assert_ne!(arrivals(2, lossy), some);
    let mut late = arrivals(1, Weather { jitter: Duration::from_millis(50), ..fine });
    assert!(!late.is_sorted());
    late.sort();
    assert_eq!(late, (0..200).collect::<Vec<_>>());
}
