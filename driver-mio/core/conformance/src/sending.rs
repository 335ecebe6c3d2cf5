//! What goes out: in order, within the cap, and paced by flushes.

use std::io::Read;
use std::time::Duration;

use andon_driver::{Options, Received};
use andon_kernel::Disconnect;

use crate::puppet::*;
use crate::stage::*;

pub fn many_small_sends_of_one_turn_arrive_in_order<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    let lens = (0..3_000).map(|index| 1 + index % 97);
    let mut all = Vec::new();
    let mut parts = Vec::new();
    for len in lens {
        parts.push(pattern(all.len(), len));
        all.extend(pattern(all.len(), len));
    }
    tell(&run, Command::SendAll(conn, parts));
    assert!(read(&mut peer, all.len()) == all);
    stop(run);
}

pub fn sends_wait_for_a_reader_up_to_the_cap<S: Stage>(stage: &S) {
    const LEN: usize = 12 << 20;
    let (run, addr) = start(stage, Options { send_queue_bytes: LEN, ..listening() }, Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    for from in (0..LEN).step_by(1 << 20) {
        tell(&run, Command::Send(conn, pattern(from, 1 << 20)));
    }
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    assert!(read(&mut peer, LEN) == pattern(0, LEN));
    stop(run);
}

pub fn a_full_send_queue_ends_the_connection_once<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, Options { send_queue_bytes: 1 << 20, ..listening() }, Puppet::default());
    let (conn, _peer) = accepted(stage, &run, addr);
    // More than the sockets hold. All in one turn: the machine can't know yet that the connection has ended.
    tell(&run, Command::SendAll(conn, vec![vec![1; 1 << 20]; 64]));
    assert_eq!(disconnected(&run), (conn, Disconnect::SendQueueFull));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn each_flush_is_answered_once<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    // Nothing was sent: all is gone already.
    tell(&run, Command::Flush(conn));
    tell(&run, Command::Flush(conn));
    expect(&run, &Event::Drained(conn));
    expect(&run, &Event::Drained(conn));
    tell(&run, Command::Send(conn, b"some".to_vec()));
    tell(&run, Command::Flush(conn));
    expect(&run, &Event::Drained(conn));
    assert_eq!(read(&mut peer, 4), b"some");
    assert_eq!(stop(run), [Event::Stopped, Event::Disconnected(conn, Disconnect::Closed)]);
}

pub fn a_flush_waits_for_what_was_sent_before_it<S: Stage>(stage: &S) {
    const LEN: usize = 8 << 20;
    let (run, addr) = start(stage, Options { send_queue_bytes: 2 * LEN, ..listening() }, Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    peer.set_receive_buffer(32 * 1024);
    tell(&run, Command::Send(conn, pattern(0, LEN)));
    tell(&run, Command::Flush(conn));
    // The sockets hold less than that, so it can't be gone before the peer reads.
    assert_eq!(run.recv_timeout(Duration::from_millis(100)), Received::TimedOut);
    assert!(read(&mut peer, LEN) == pattern(0, LEN));
    expect(&run, &Event::Drained(conn));
    stop(run);
}

pub fn fifty_megabytes_are_paced_through_a_small_queue<S: Stage>(stage: &S) {
    const LEN: usize = 50 << 20;
    // The machine sends 64 KiB at each `Drained`, so the cap of 64 KiB is enough for any amount.
    let options = Options { send_queue_bytes: 64 * 1024, ..listening() };
    let (run, addr) = start(stage, options, Puppet { pour: LEN, ..Puppet::default() });
    let (conn, mut peer) = accepted(stage, &run, addr);
    peer.set_receive_buffer(32 * 1024);
    let there = stage.clone();
    let reader = stage.work(move || {
        let mut buffer = vec![0; 100_000];
        let mut at = 0;
        let mut pauses = 0;
        while at < LEN {
            let count = peer.read(&mut buffer).unwrap();
            assert!(count > 0 && buffer[..count] == pattern(at, count), "wrong bytes after {at}");
            at += count;
            if at / (4 << 20) > pauses {
                pauses += 1;
                there.sleep(Duration::from_millis(10));
            }
        }
    });
    for _ in 0..LEN.div_ceil(64 * 1024) {
        expect(&run, &Event::Drained(conn));
    }
    reader.join();
    assert_eq!(disconnected(&run).0, conn);
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn a_write_to_a_peer_that_has_gone_ends_even_a_paused_connection<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, peer) = accepted(stage, &run, addr);
    tell(&run, Command::Pause(conn, true));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    drop(peer);
    // The first write meets a closed socket, which answers with a reset; one of the next fails.
    loop {
        tell(&run, Command::Send(conn, vec![1; 1_000]));
        match run.recv_timeout(Duration::from_millis(10)) {
            Received::TimedOut => {}
            Received::Event(event) => {
                assert_eq!(event, Event::Disconnected(conn, Disconnect::Reset));
                break;
            }
            Received::Ended => panic!("the driver ended"),
        }
    }
    stop(run);
}

pub fn a_reset_while_a_flush_waits_ends_even_a_paused_connection<S: Stage>(stage: &S) {
    const LEN: usize = 8 << 20;
    let (run, addr) = start(stage, Options { send_queue_bytes: 2 * LEN, ..listening() }, Puppet::default());
    let (conn, peer) = accepted(stage, &run, addr);
    peer.set_receive_buffer(32 * 1024);
    tell(&run, Command::Pause(conn, true));
    tell(&run, Command::Send(conn, pattern(0, LEN)));
    tell(&run, Command::Flush(conn));
    // The sockets hold less than that: the flush waits.
    assert_eq!(run.recv_timeout(Duration::from_millis(100)), Received::TimedOut);
    peer.reset();
    assert_eq!(disconnected(&run), (conn, Disconnect::Reset));
    assert_eq!(stop(run), [Event::Stopped]);
}
