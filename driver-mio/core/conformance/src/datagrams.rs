//! Datagrams: there and back, and dropped without a socket.

use std::net::UdpSocket;

use andon_driver::Options;
use andon_kernel::{Checked, MemoryStore};

use crate::Driver;
use crate::puppet::*;

pub fn datagrams_go_both_ways<D: Driver>() {
    let driver = D::new(Options { datagram: Some(LOOPBACK), ..Options::default() }).unwrap();
    let addr = driver.datagram_address().unwrap();
    let run = driver.spawn(Checked::new(Puppet::default()), MemoryStore::new()).unwrap();
    let peer = UdpSocket::bind(LOOPBACK).unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    let from = peer.local_addr().unwrap();
    // One at a time: no datagram is lost on loopback as long as the socket has room. Empty ones are datagrams too.
    for len in [0, 1, 1_200, 60_000] {
        peer.send_to(&pattern(len, len), addr).unwrap();
        expect(&run, &Event::Datagram(from, pattern(len, len)));
        tell(&run, Command::Datagram(from, pattern(1, len)));
        let mut buffer = vec![0; 65_536];
        let (count, source) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..count], source), (&pattern(1, len)[..], addr));
    }
    // Nobody is there: whatever the system says of it does no harm.
    let nobody = UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    for _ in 0..200 {
        tell(&run, Command::Datagram(nobody, vec![1]));
    }
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    peer.send_to(b"still there", addr).unwrap();
    expect(&run, &Event::Datagram(from, b"still there".to_vec()));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn without_a_socket_they_are_dropped<D: Driver>() {
    let (run, _) = start::<D>(Options::default(), Puppet::default());
    tell(&run, Command::Datagram(LOOPBACK, vec![1]));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    stop(run);
}
