//! Dials and accepts, and how they fail.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use andon_driver::{Options, Received};
use andon_kernel::{Checked, ConnId, Disconnect, Link, MemoryStore};
use socket2::{Domain, Socket, Type};

use crate::Driver;
use crate::puppet::*;

pub fn bytes_go_both_ways_on_dials_and_accepts<D: Driver>() {
    let (server, addr) = start::<D>(listening(), Puppet { echo: true, ..Puppet::default() });
    let (client, _) = start::<D>(Options::default(), Puppet::default());
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

pub fn both_families_are_served<D: Driver>() {
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    if TcpListener::bind(six).is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let options = Options { listen: vec![LOOPBACK, six], ..Options::default() };
    let driver = D::new(options).unwrap();
    let addresses = driver.local_addresses().to_vec();
    let puppet = Puppet { echo: true, ..Puppet::default() };
    let server = driver.spawn(Checked::new(puppet), MemoryStore::new()).unwrap();
    let (client, _) = start::<D>(Options::default(), Puppet::default());
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

pub fn byte_by_byte_is_the_same<D: Driver>() {
    let (run, addr) = start::<D>(listening(), Puppet { echo: true, ..Puppet::default() });
    let (_, mut peer) = accepted(&run, addr);
    peer.set_nodelay(true).unwrap();
    let bytes = pattern(3, 500);
    for byte in &bytes {
        peer.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read(&mut peer, 500), bytes);
    stop(run);
}

pub fn a_refused_dial_says_so<D: Driver>() {
    let (run, _) = start::<D>(Options::default(), Puppet::default());
    let nobody = TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    tell(&run, Command::Dial(nobody));
    assert_eq!(disconnected(&run), (ConnId::dialled(0), Disconnect::Refused));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn a_dial_that_fails_at_once_is_told_once<D: Driver>() {
    let (run, _) = start::<D>(Options::default(), Puppet::default());
    // No connection can be opened to a broadcast address; no packet leaves for the attempt.
    tell(&run, Command::Dial("255.255.255.255:9".parse().unwrap()));
    assert_eq!(disconnected(&run).0, ConnId::dialled(0));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    stop(run);
}

pub fn a_dial_that_is_not_answered_times_out<D: Driver>() {
    // Who connects to a socket with a full backlog gets no answer (on Linux).
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent.bind(&LOOPBACK.into()).unwrap();
    silent.listen(1).unwrap();
    let addr = silent.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    let full = (0..16).any(|_| {
        let connected = TcpStream::connect_timeout(&addr, Duration::from_millis(300));
        let hangs = connected.is_err();
        waiting.extend(connected);
        hangs
    });
    if !full {
        println!("skipped: this system answers however many wait");
        return;
    }
    let options = Options { connect_timeout: Duration::from_millis(300), ..Options::default() };
    let (run, _) = start::<D>(options, Puppet::default());
    tell(&run, Command::Dial(addr));
    assert_eq!(disconnected(&run), (ConnId::dialled(0), Disconnect::TimedOut));
    stop(run);

    // And one that is still waiting ends when the machine stops.
    let (run, _) = start::<D>(Options::default(), Puppet::default());
    tell(&run, Command::Dial(addr));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    let left = stop(run);
    assert_eq!(left, [Event::Stopped, Event::Disconnected(ConnId::dialled(0), Disconnect::Closed)]);
}

pub fn a_dial_can_be_closed_before_it_is_answered<D: Driver>() {
    let (run, _) = start::<D>(Options::default(), Puppet::default());
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    tell(&run, Command::DialAndClose(listener.local_addr().unwrap()));
    assert_eq!(disconnected(&run), (ConnId::dialled(0), Disconnect::Closed));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn two_thousand_are_accepted<D: Driver>() {
    const COUNT: u64 = 2_000;
    let options = Options { max_connections: COUNT as usize, ..listening() };
    let (run, addr) = start::<D>(options, Puppet { echo: true, ..Puppet::default() });
    let peers = std::thread::spawn(move || {
        let connect = |_| limited(TcpStream::connect(addr).unwrap());
        let mut peers: Vec<TcpStream> = (0..COUNT).map(connect).collect();
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
    peers.join().unwrap();
    names.sort();
    ended.sort();
    let expected: Vec<ConnId> = (0..COUNT).map(ConnId::accepted).collect();
    assert_eq!(names, expected);
    assert_eq!(ended, expected);
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn no_more_than_the_limit_are_open<D: Driver>() {
    let (run, addr) = start::<D>(Options { max_connections: 2, ..listening() }, Puppet::default());
    let (first, peer) = accepted(&run, addr);
    let (_, _second) = accepted(&run, addr);
    // One too many: it sees the end, and the machine sees nothing of it.
    let mut third = limited(TcpStream::connect(addr).unwrap());
    assert!(matches!(third.read(&mut [0]), Ok(0) | Err(_)));
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    tell(&run, Command::Dial(listener.local_addr().unwrap()));
    assert_eq!(disconnected(&run), (ConnId::dialled(0), Disconnect::TooManyConnections));
    // There is room again when one has gone.
    drop(peer);
    assert_eq!(disconnected(&run), (first, Disconnect::ClosedByPeer));
    let (third, _peer) = accepted(&run, addr);
    assert_eq!(third, ConnId::accepted(2));
    stop(run);
}

pub fn a_port_in_use_is_an_error_at_once<D: Driver>() {
    let first = D::new(listening()).unwrap();
    let again = Options { listen: first.local_addresses().to_vec(), ..Options::default() };
    assert_eq!(D::new(again).err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
}

pub fn listeners_are_told_in_order_and_all_accept<D: Driver>() {
    let options = Options { listen: vec![LOOPBACK; 3], ..Options::default() };
    let driver = D::new(options).unwrap();
    let addresses = driver.local_addresses().to_vec();
    assert_eq!(addresses.len(), 3);
    // Before the machine runs, too.
    let _peers: Vec<TcpStream> = addresses.iter().map(|addr| TcpStream::connect(addr).unwrap()).collect();
    let run = driver.spawn(Checked::new(Puppet::default()), MemoryStore::new()).unwrap();
    for index in 0..3 {
        assert_eq!(connected(&run), ConnId::accepted(index));
    }
    stop(run);
}

/// Runs itself again under a small limit on files. `path` is what the test is called, as `module_path!` has it.
#[cfg(unix)]
pub fn running_out_of_files_does_not_spin<D: Driver>(path: &str) {
    if !alone(path, "ANDON_DRIVER_TEST_FEW_FILES", "40") {
        return;
    }
    let puppet = Puppet::default();
    let counts = puppet.counts.clone();
    let driver = D::new(listening()).unwrap();
    let addr = driver.local_addresses()[0];
    // All files but five are taken; those who connected wait in the backlog.
    let spare: Vec<_> = (0..5).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    let mut peers = Vec::new();
    while let Ok(peer) = TcpStream::connect(addr) {
        peers.push(peer);
    }
    drop(spare);
    let run = driver.spawn(Checked::new(puppet), MemoryStore::new()).unwrap();
    let mut open = 0;
    while let Received::Event(event) = run.recv_timeout(Duration::from_millis(500)) {
        assert!(matches!(event, Event::Connected(..)));
        open += 1;
    }
    assert!(0 < open && open < peers.len(), "{open} of {} were accepted", peers.len());
    let before = count(&counts.deadlines);
    std::thread::sleep(Duration::from_secs(1));
    let looks = count(&counts.deadlines) - before;
    assert!(looks < 1_000, "{looks} looks at the deadline in a second of waiting for files");
    // When the first have gone, there are files for as many others.
    let _waiting = peers.split_off(open);
    drop(peers);
    let mut accepted = 0;
    while accepted < open {
        accepted += usize::from(matches!(next(&run), Event::Connected(..)));
    }
    stop(run);
}
