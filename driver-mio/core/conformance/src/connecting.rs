//! Dials and accepts, and how they fail.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use andon_driver::Options;
use andon_kernel::{Checked, ConnId, Disconnect, Link, MemoryStore};

use crate::puppet::*;
use crate::stage::*;

pub fn bytes_go_both_ways_on_dials_and_accepts<S: Stage>(stage: &S) {
    let (server, addr) = start(stage, listening(), Puppet { echo: true, ..Puppet::default() });
    let (client, _) = start(stage, Options::default(), Puppet::default());
    tell(&client, Command::Dial(addr));
    expect(&client, &Event::Connected(ConnId::dialled(0), addr, Link::Outbound));
    match next(&server) {
        Event::Connected(conn, remote, Link::Inbound) => {
            assert_eq!(conn, ConnId::accepted(0));
            assert!(remote.ip().is_loopback());
        }
        other => panic!("{other:?}"),
    }
    for round in 0..100 {
        let bytes = pattern(round, 1 + round * 37);
        tell(&client, Command::Send(ConnId::dialled(0), bytes.clone()));
        assert_eq!(received(&client, ConnId::dialled(0), bytes.len()), bytes);
    }
    assert_eq!(stop(client), [Event::Stopped, Event::Disconnected(ConnId::dialled(0), Disconnect::Closed)]);
    assert_eq!(disconnected(&server), (ConnId::accepted(0), Disconnect::ClosedByPeer));
    assert_eq!(stop(server), [Event::Stopped]);
}

pub fn both_families_are_served<S: Stage>(stage: &S) {
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    if stage.listen(six).is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let options = Options { listen: vec![LOOPBACK, six], ..Options::default() };
    let driver = stage.driver(options).unwrap();
    let addresses = driver.local_addresses().to_vec();
    let puppet = Puppet { echo: true, ..Puppet::default() };
    let server = driver.run(Checked::new(puppet), MemoryStore::new());
    let (client, _) = start(stage, Options::default(), Puppet::default());
    for (index, addr) in addresses.into_iter().enumerate() {
        let conn = ConnId::dialled(index as u64);
        tell(&client, Command::Dial(addr));
        expect(&client, &Event::Connected(conn, addr, Link::Outbound));
        match next(&server) {
            Event::Connected(_, remote, Link::Inbound) => assert_eq!(remote.ip(), addr.ip()),
            other => panic!("{other:?}"),
        }
        tell(&client, Command::Send(conn, pattern(index, 1_000)));
        assert_eq!(received(&client, conn, 1_000), pattern(index, 1_000));
    }
    stop(client);
    server.stop();
    server.join().unwrap();
}

pub fn byte_by_byte_is_the_same<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet { echo: true, ..Puppet::default() });
    let (_, mut peer) = accepted(stage, &run, addr);
    peer.set_nodelay();
    let bytes = pattern(3, 500);
    for byte in &bytes {
        peer.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read(&mut peer, 500), bytes);
    stop(run);
}

pub fn a_refused_dial_says_so<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    let nobody = stage.listen(LOOPBACK).unwrap().local_addr();
    tell(&run, Command::Dial(nobody));
    assert_eq!(disconnected(&run), (ConnId::dialled(0), Disconnect::Refused));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn a_dial_that_fails_at_once_is_told_once<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    // No connection can be opened to a broadcast address; no packet leaves for the attempt.
    tell(&run, Command::Dial("255.255.255.255:9".parse().unwrap()));
    assert_eq!(disconnected(&run).0, ConnId::dialled(0));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    stop(run);
}

pub fn a_dial_that_is_not_answered_times_out<S: Stage>(stage: &S) {
    let Some((addr, _silence)) = stage.silent() else {
        println!("skipped: this system answers however many wait");
        return;
    };
    let options = Options { connect_timeout: Duration::from_millis(300), ..Options::default() };
    let (run, _) = start(stage, options, Puppet::default());
    tell(&run, Command::Dial(addr));
    assert_eq!(disconnected(&run), (ConnId::dialled(0), Disconnect::TimedOut));
    stop(run);

    // And one that is still waiting ends when the machine stops.
    let (run, _) = start(stage, Options::default(), Puppet::default());
    tell(&run, Command::Dial(addr));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    let left = stop(run);
    assert_eq!(left, [Event::Stopped, Event::Disconnected(ConnId::dialled(0), Disconnect::Closed)]);
}

pub fn a_dial_can_be_closed_before_it_is_answered<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    let listener = stage.listen(LOOPBACK).unwrap();
    tell(&run, Command::DialAndClose(listener.local_addr()));
    assert_eq!(disconnected(&run), (ConnId::dialled(0), Disconnect::Closed));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn two_thousand_are_accepted<S: Stage>(stage: &S) {
    const COUNT: u64 = 2_000;
    let options = Options { max_connections: COUNT as usize, ..listening() };
    let (run, addr) = start(stage, options, Puppet { echo: true, ..Puppet::default() });
    let there = stage.clone();
    let peers = stage.work(move || {
        let mut peers: Vec<S::Stream> = (0..COUNT).map(|_| there.connect(addr).unwrap()).collect();
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.write_all(&(index as u64).to_le_bytes()).unwrap();
        }
        for (index, peer) in peers.iter_mut().enumerate() {
            assert_eq!(read(peer, 8), (index as u64).to_le_bytes());
        }
    });
    let mut names: Vec<ConnId> = (0..COUNT).map(|_| connected(&run)).collect();
    // The test has hung up on all.
    let mut ended: Vec<ConnId> = (0..COUNT).map(|_| disconnected(&run).0).collect();
    peers.join();
    names.sort();
    ended.sort();
    let expected: Vec<ConnId> = (0..COUNT).map(ConnId::accepted).collect();
    assert_eq!(names, expected);
    assert_eq!(ended, expected);
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn no_more_than_the_limit_are_open<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, Options { max_connections: 2, ..listening() }, Puppet::default());
    let (first, peer) = accepted(stage, &run, addr);
    let (_, _second) = accepted(stage, &run, addr);
    // One too many: it sees the end, and the machine sees nothing of it.
    let mut third = stage.connect(addr).unwrap();
    assert!(matches!(third.read(&mut [0]), Ok(0) | Err(_)));
    let listener = stage.listen(LOOPBACK).unwrap();
    tell(&run, Command::Dial(listener.local_addr()));
    assert_eq!(disconnected(&run), (ConnId::dialled(0), Disconnect::TooManyConnections));
    // There is room again when one has gone.
    drop(peer);
    assert_eq!(disconnected(&run), (first, Disconnect::ClosedByPeer));
    let (third, _peer) = accepted(stage, &run, addr);
    assert_eq!(third, ConnId::accepted(2));
    stop(run);
}

pub fn a_port_in_use_is_an_error_at_once<S: Stage>(stage: &S) {
    let first = stage.driver(listening()).unwrap();
    let again = Options { listen: first.local_addresses().to_vec(), ..Options::default() };
    assert_eq!(stage.driver(again).err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
}

pub fn listeners_are_told_in_order_and_all_accept<S: Stage>(stage: &S) {
    let options = Options { listen: vec![LOOPBACK; 3], ..Options::default() };
    let driver = stage.driver(options).unwrap();
    let addresses = driver.local_addresses().to_vec();
    assert_eq!(addresses.len(), 3);
    // Before the machine runs, too.
    let _peers: Vec<S::Stream> = addresses.iter().map(|addr| stage.connect(*addr).unwrap()).collect();
    let run = driver.run(Checked::new(Puppet::default()), MemoryStore::new());
    for index in 0..3 {
        assert_eq!(connected(&run), ConnId::accepted(index));
    }
    stop(run);
}
