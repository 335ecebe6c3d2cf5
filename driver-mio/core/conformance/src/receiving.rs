//! What comes in: all of it, in order, before the end, and not while paused.

use std::io::Write;
use std::time::Duration;

use andon_driver::{Options, Received};
use andon_kernel::Disconnect;

use crate::puppet::*;
use crate::stage::*;

pub fn bytes_before_the_end_come_before_it<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    for len in [1, 1_000, 300_000] {
        let (conn, peer) = accepted(stage, &run, addr);
        write_all(stage, &peer, len).join();
        drop(peer);
        assert_eq!(received(&run, conn, len), pattern(0, len));
        assert_eq!(disconnected(&run), (conn, Disconnect::ClosedByPeer));
    }
    assert_eq!(stop(run), [Event::Stopped]);
}

/// A driver that has read all there is must not miss an end that comes with it, or right behind.
pub fn an_end_right_behind_bytes_is_seen<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    for round in 0..400_u32 {
        let (conn, mut peer) = accepted(stage, &run, addr);
        peer.write_all(&pattern(round as usize, 10)).unwrap();
        // From at once to after the bytes were read.
        stage.hesitate(round * 20);
        peer.shut();
        assert_eq!(received(&run, conn, 10), pattern(round as usize, 10));
        assert_eq!(disconnected(&run), (conn, Disconnect::ClosedByPeer));
    }
    stop(run);
}

pub fn a_half_closed_connection_is_closed<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    peer.write_all(b"last words").unwrap();
    peer.shut();
    assert_eq!(received(&run, conn, 10), b"last words");
    assert_eq!(disconnected(&run), (conn, Disconnect::ClosedByPeer));
    assert_eq!(std::io::Read::read(&mut peer, &mut [0]).unwrap(), 0);
    stop(run);
}

pub fn a_reset_says_so<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    let (conn, peer) = dialled(stage, &run);
    peer.reset();
    assert_eq!(disconnected(&run), (conn, Disconnect::Reset));
    assert_eq!(stop(run), [Event::Stopped]);
}

pub fn megabytes_come_through_small_buffers<S: Stage>(stage: &S) {
    const LEN: usize = 4 << 20;
    let (run, _) = start(stage, Options::default(), Puppet { echo: true, ..Puppet::default() });
    let (_, mut peer) = dialled(stage, &run);
    peer.set_send_buffer(32 * 1024);
    peer.set_receive_buffer(32 * 1024);
    let writer = write_all(stage, &peer, LEN);
    assert!(read(&mut peer, LEN) == pattern(0, LEN));
    writer.join();
    stop(run);
}

pub fn what_comes_while_paused_is_delivered_afterwards<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, mut peer) = accepted(stage, &run, addr);
    tell(&run, Command::Pause(conn, true));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    // `Checked` panics if anything is delivered meanwhile.
    peer.write_all(b"early").unwrap();
    assert_eq!(run.recv_timeout(Duration::from_millis(100)), Received::TimedOut);
    tell(&run, Command::Pause(conn, false));
    assert_eq!(received(&run, conn, 5), b"early");
    // Again, and with both in one turn.
    tell(&run, Command::PauseTwice(conn));
    peer.write_all(b"later").unwrap();
    assert_eq!(received(&run, conn, 5), b"later");
    stop(run);
}

pub fn a_paused_flood_is_all_there_afterwards<S: Stage>(stage: &S) {
    const LEN: usize = 16 << 20;
    let (run, addr) = start(stage, listening(), Puppet::default());
    let (conn, peer) = accepted(stage, &run, addr);
    let writer = write_all(stage, &peer, LEN);
    let mut all = Vec::new();
    let mut paused = false;
    while all.len() < LEN {
        match run.recv_timeout(Duration::from_millis(if paused { 20 } else { 10_000 })) {
            Received::Event(Event::Received(_, bytes)) => {
                all.extend(bytes);
                if !paused && all.len() % 7 == 0 {
                    tell(&run, Command::Pause(conn, true));
                    paused = true;
                }
            }
            Received::TimedOut if paused => {
                tell(&run, Command::Pause(conn, false));
                paused = false;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(all == pattern(0, LEN));
    writer.join();
    stop(run);
}

pub fn a_paused_connection_that_the_peer_closes_waits_without_spinning<S: Stage>(stage: &S) {
    let puppet = Puppet::default();
    let counts = puppet.counts.clone();
    let (run, addr) = start(stage, listening(), puppet);
    let (conn, mut peer) = accepted(stage, &run, addr);
    tell(&run, Command::Pause(conn, true));
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    peer.write_all(b"last words").unwrap();
    drop(peer);
    assert_eq!(run.recv_timeout(Duration::from_millis(100)), Received::TimedOut);
    let before = count(&counts.deadlines);
    stage.sleep(Duration::from_millis(300));
    assert!(count(&counts.deadlines) - before < 100);
    tell(&run, Command::Pause(conn, false));
    assert_eq!(received(&run, conn, 10), b"last words");
    assert_eq!(disconnected(&run), (conn, Disconnect::ClosedByPeer));
    stop(run);
}

pub fn a_flood_on_one_connection_starves_no_other<S: Stage>(stage: &S) {
    let (run, addr) = start(stage, listening(), Puppet { quiet: true, ..Puppet::default() });
    let (_, flood) = accepted(stage, &run, addr);
    let mut flooding = flood.twin();
    let flooder = stage.work(move || while flooding.write_all(&[7; 256 * 1024]).is_ok() {});
    // Others come, are answered and go while the flood goes on.
    for _ in 0..50 {
        let (conn, mut peer) = accepted(stage, &run, addr);
        tell(&run, Command::Send(conn, b"answer".to_vec()));
        assert_eq!(read(&mut peer, 6), b"answer");
        drop(peer);
        assert_eq!(disconnected(&run).0, conn);
    }
    run.stop();
    while run.recv().is_some() {}
    run.join().unwrap();
    flooder.join();
}
