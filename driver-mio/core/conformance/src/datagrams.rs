//! Datagrams: there and back, and dropped without a socket.

use andon_driver::Options;
use andon_kernel::{Checked, MemoryStore};

use crate::puppet::*;
use crate::stage::*;

pub fn datagrams_go_both_ways<S: Stage>(stage: &S) {
    let driver = stage.driver(Options { datagram: Some(LOOPBACK), ..Options::default() }).unwrap();
    let addr = driver.datagram_address().unwrap();
    let run = driver.run(Checked::new(Puppet::default()), MemoryStore::new());
    let peer = stage.datagrams().unwrap();
    let from = peer.local_addr();
    // One at a time: no datagram is lost on loopback as long as the socket has room. Empty ones are datagrams too.
    for len in [0, 1, 1_200, 60_000] {
        peer.send(&pattern(len, len), addr);
        expect(&run, &Event::Datagram(from, pattern(len, len)));
        tell(&run, Command::Datagram(from, pattern(1, len)));
        assert_eq!(peer.receive(), (pattern(1, len), addr));
    }
    // Nobody is there: whatever the system says of it does no harm.
    let nobody = stage.datagrams().unwrap().local_addr();
    for _ in 0..200 {
        tell(&run, Command::Datagram(nobody, vec![1]));
    }
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    peer.send(b"still there", addr);
    expect(&run, &Event::Datagram(from, b"still there".to_vec()));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn without_a_socket_they_are_dropped<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    tell(&run, Command::Datagram(LOOPBACK, vec![1]));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    stop(run);
}
