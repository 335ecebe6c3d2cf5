//! Closing, with and without what still waits.

use std::io::{Read, Write};
use std::time::Duration;

use andon_driver::{Options, Received};
use andon_kernel::{Disconnect, Link};

use crate::puppet::*;
use crate::stage::*;

pub fn a_close_with_flush_sends_everything_first<S: Stage>(stage: &S) {
    const LEN: usize = 6 << 20;
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    // What the peer has sent and nobody will read must not cost it the answer.
    peer.write_all(&[1; 1_000]).unwrap();
    assert_eq!(received(&run, conn, 1_000), [1; 1_000]);
    tell(&run, Command::SendAndClose(conn, pattern(0, LEN), true));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    peer.write_all(&[2; 10_000]).unwrap();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert!(all == pattern(0, LEN));
    drop(peer);
    // The puppet panics if any of the 10,000 bytes reach it.
    assert_eq!(disconnected(&run), (conn, Disconnect::Closed));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn a_close_with_flush_serves_a_peer_that_has_closed_its_half<S: Stage>(stage: &S) {
    const LEN: usize = 6 << 20;
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    tell(&run, Command::SendAndClose(conn, pattern(0, LEN), true));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    peer.shut();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert!(all == pattern(0, LEN));
    assert_eq!(disconnected(&run), (conn, Disconnect::Closed));
    stop(run);
}

pub fn a_close_without_flush_is_at_once<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    // Far more than the sockets hold: most of it is dropped, and nobody waits for the peer to read.
    tell(&run, Command::SendAndClose(conn, vec![1; 8 << 20], false));
    assert_eq!(disconnected(&run), (conn, Disconnect::Closed));
    let mut all = Vec::new();
    let _ = peer.read_to_end(&mut all);
    assert!(all.len() < 8 << 20);
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn a_peer_that_never_closes_is_not_waited_for_long<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, _peer) = accepted(stage, &run, addr);
    tell(&run, Command::SendAndClose(conn, vec![1; 8 << 20], true));
    assert_eq!(run.recv_timeout(Duration::from_millis(200)), Received::TimedOut);
    // Neither reads nor closes: the linger time ends it.
    assert_eq!(disconnected(&run), (conn, Disconnect::Closed));
    stop(run);
}

pub fn a_flood_after_a_close_is_not_heard_and_ends<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet { quiet: true, ..Puppet::default() });
    let (conn, mut peer) = accepted(stage, &run, addr);
    let flooder = stage.work(move || while peer.write_all(&[7; 64 * 1024]).is_ok() {});
    tell(&run, Command::SendAndClose(conn, b"bye".to_vec(), true));
    // The machine and others go on meanwhile.
    let (other, mut peer) = accepted(stage, &run, addr);
    tell(&run, Command::Send(other, b"hello".to_vec()));
    assert_eq!(read(&mut peer, 5), b"hello");
    assert_eq!(disconnected(&run), (conn, Disconnect::Closed));
    flooder.join();
    stop(run);
}

pub fn a_stop_with_flush_delivers_what_was_sent<S: Stage>(stage: &S) {
    const LEN: usize = 4 << 20;
    let (run, addr) = start(stage, listening(), Puppet { flush_at_stop: true, ..Puppet::default() });
    let (conn, mut peer) = accepted(stage, &run, addr);
    tell(&run, Command::Send(conn, pattern(0, LEN)));
    run.stop();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert!(all == pattern(0, LEN));
    drop(peer);
    assert_eq!(stop(run), [Event::Stopped, Event::Disconnected(conn, Disconnect::Closed)]);
    // The listener is gone: its port is free again.
    stage.listen(addr).unwrap();
}

pub fn each_of_many_short_connections_ends_once<S: Stage>(stage: &S) {
    let (server, addr) = start(stage, listening(), Puppet::default());
    let (client, _) = start(stage, Options::default(), Puppet::default());
    for index in 0..200 {
        let conn = andon_kernel::ConnId::dialled(index);
        tell(&client, Command::Dial(addr));
        expect(&client, &Event::Connected(conn, addr, Link::Outbound));
        tell(&client, Command::SendAndClose(conn, vec![index as u8; 10], true));
        let there = connected(&server);
        assert_eq!(received(&server, there, 10), [index as u8; 10]);
        assert_eq!(disconnected(&server), (there, Disconnect::ClosedByPeer));
        assert_eq!(disconnected(&client), (conn, Disconnect::Closed));
    }
    assert_eq!(stop(client), [Event::Stopped]);
    assert_eq!(stop(server), [Event::Stopped]);
}
