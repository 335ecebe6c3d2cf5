//! The application's side: commands, events that nobody takes, stopping and letting go.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use andon_driver::{CommandError, Options, Received};
use andon_kernel::{ConnId, Disconnect};

use crate::puppet::*;
use crate::stage::*;

pub fn an_application_that_takes_nothing_stops_the_network_and_not_the_timers<S: Stage>(stage: &S) {
    const LEN: usize = 64 << 20;
    let puppet = Puppet { every: Some(Duration::from_millis(1)), ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, addr) = start(stage, Options { event_queue: 16, command_queue: 4, ..listening() }, puppet);
    let (conn, peer) = accepted(stage, &run, addr);
    let writer = write_all(stage, &peer, LEN);
    wait_until(stage, "a full queue", || {
        let before = count(&counts.received);
        stage.sleep(Duration::from_millis(500));
        before > 0 && count(&counts.received) == before
    });
    // Sixteen events of 64 KiB at most, and what one turn adds to them: no more was taken from the socket.
    let wakes = count(&counts.wakes);
    wait_until(stage, "20 wakes", || count(&counts.wakes) >= wakes + 20);
    let held = count(&counts.received);
    assert!(held <= 17 * 64 * 1024, "{held} bytes were taken");
    // Commands go on as timers do, until what they tell has filled the queue once more; then as many wait as asked for.
    let mut given = 0;
    wait_until(stage, "sixteen commands taken, and four that wait", || {
        while run.command(Command::Mark(given)).is_ok() {
            given += 1;
        }
        given >= 20
    });
    stage.sleep(Duration::from_millis(100));
    assert!(matches!(run.command(Command::Mark(given)), Err(CommandError::Full(Command::Mark(20)))));
    // Nobody is accepted either: no input of any kind comes to the machine.
    let inputs = count(&counts.inputs);
    let mut second = stage.connect(addr).unwrap();
    second.write_all(b"heard").unwrap();
    stage.sleep(Duration::from_millis(100));
    assert_eq!(count(&counts.inputs), inputs);
    // When it takes them, everything is there, in order.
    let (mut all, mut marks, mut connected, mut heard) = (Vec::new(), Vec::new(), None, Vec::new());
    while all.len() < LEN || marks.len() < given as usize || heard.len() < 5 {
        match next(&run) {
            Event::Received(from, bytes) if from == conn => all.extend(bytes),
            Event::Received(from, bytes) if Some(from) == connected => heard.extend(bytes),
            Event::Mark(mark) => marks.push(mark),
            Event::Connected(conn, ..) => assert_eq!(connected.replace(conn), None),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, b"heard");
    assert!(all == pattern(0, LEN));
    assert!(marks.into_iter().eq(0..given));
    writer.join();
    stop(run);
}

pub fn timers_that_tell_wait_when_they_have_filled_the_queue_once_more<S: Stage>(stage: &S) {
    let puppet = Puppet { every: Some(Duration::from_micros(100)), tell_wakes: true, ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, _) = start(stage, Options { event_queue: 8, ..Options::default() }, puppet);
    wait_until(stage, "sixteen wakes", || count(&counts.wakes) == 16);
    stage.sleep(Duration::from_millis(100));
    assert_eq!(count(&counts.wakes), 16);
    let looks = count(&counts.deadlines);
    stage.sleep(Duration::from_millis(100));
    assert_eq!(count(&counts.deadlines), looks, "the driver did not sleep");
    for _ in 0..1_000 {
        expect(&run, &Event::Woken);
    }
    run.stop();
    while run.recv().is_some() {}
    run.join().unwrap();
}

pub fn a_queue_for_one_event_is_enough<S: Stage>(stage: &S) {
    let options = Options { event_queue: 1, command_queue: 1, ..listening() };
    let (run, addr) = start(stage, options, Puppet::default());
    for _ in 0..20 {
        let (conn, peer) = accepted(stage, &run, addr);
        let writer = write_all(stage, &peer, 500_000);
        assert!(received(&run, conn, 500_000) == pattern(0, 500_000));
        writer.join();
        tell(&run, Command::Close(conn, false));
        assert_eq!(disconnected(&run), (conn, Disconnect::Closed));
    }
    // A queue of none is one of one.
    stop(run);
    let (run, _) =
        start(stage, Options { event_queue: 0, command_queue: 0, ..Options::default() }, Puppet::default());
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    stop(run);
}

pub fn commands_given_before_a_stop_are_taken_and_later_ones_given_back<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    for mark in 0..50 {
        tell(&run, Command::Mark(mark));
    }
    run.stop();
    assert!(matches!(run.command(Command::Mark(50)), Err(CommandError::Ended(Command::Mark(50)))));
    run.stop();
    for mark in 0..50 {
        expect(&run, &Event::Mark(mark));
    }
    expect(&run, &Event::Stopped);
    assert_eq!(run.recv(), None);
    assert_eq!(run.recv_timeout(Duration::ZERO), Received::Ended);
    run.join().unwrap();
}

pub fn everything_stored_is_complete_at_the_end<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    for _ in 0..40 {
        tell(&run, Command::Store);
    }
    let events = stop(run);
    assert_eq!(events.iter().filter(|event| **event == Event::Stored).count(), 40);
}

/// A driver with a flood coming in and a queue of events that is full.
fn busy<S: Stage>(stage: &S) -> (S::Application, Vec<S::Work>) {
    let (run, addr) = start(stage, Options { event_queue: 4, ..listening() }, Puppet::default());
    let flooders = (0..2).map(|_| {
        let mut peer = stage.connect(addr).unwrap();
        stage.work(move || while peer.write_all(&[7; 64 * 1024]).is_ok() {})
    });
    let flooders = flooders.collect();
    assert!(matches!(next(&run), Event::Connected(..)));
    stage.sleep(Duration::from_millis(50));
    (run, flooders)
}

pub fn a_busy_driver_stops_and_tells_each_end<S: Stage>(stage: &S) {
    let (run, flooders) = busy(stage);
    let events = stop(run);
    let ends = |event: &&Event| matches!(event, Event::Disconnected(_, Disconnect::Closed));
    assert!((1..=2).contains(&events.iter().filter(ends).count()));
    assert!(events.contains(&Event::Stopped));
    for flooder in flooders {
        flooder.join();
    }
}

pub fn joining_does_not_wait_for_events_that_nobody_takes<S: Stage>(stage: &S) {
    let (run, flooders) = busy(stage);
    run.stop();
    run.join().unwrap();
    for flooder in flooders {
        flooder.join();
    }
}

pub fn a_stop_ends_with_events_that_nobody_has_taken_yet<S: Stage>(stage: &S) {
    let (run, flooders) = busy(stage);
    run.stop();
    // The sockets are closed, although the queue is full and stays so.
    for flooder in flooders {
        flooder.join();
    }
    while run.recv().is_some() {}
    run.join().unwrap();
}

pub fn dropping_the_handle_stops_the_driver<S: Stage>(stage: &S) {
    let (run, flooders) = busy(stage);
    drop(run);
    // The peers see their connections end.
    for flooder in flooders {
        flooder.join();
    }
}

pub fn a_dial_for_each_of_many_is_answered_under_a_small_event_queue<S: Stage>(stage: &S) {
    const COUNT: u64 = 300;
    let (run, addr) = start(
        stage,
        Options { event_queue: 2, command_queue: 1_000, ..listening() },
        Puppet { echo: true, ..Puppet::default() },
    );
    let nobody = stage.listen(LOOPBACK).unwrap().local_addr();
    let run = Arc::new(run);
    let teller = {
        let run = Arc::clone(&run);
        stage.work(move || {
            for index in 0..COUNT {
                tell(&*run, Command::Dial(if index % 2 == 0 { nobody } else { addr }));
                if index % 2 == 1 {
                    tell(&*run, Command::Close(ConnId::dialled(index), false));
                }
            }
        })
    };
    // Each dial ends once: refused, or closed by one side before or after it was told of.
    let mut ended = std::collections::BTreeSet::new();
    let mut open = std::collections::BTreeSet::new();
    while ended.len() < COUNT as usize {
        match next(&*run) {
            Event::Connected(conn, ..) if conn.is_accepted() => {}
            Event::Connected(conn, ..) => {
                open.insert(conn);
                // May come before the teller's close, or after one that found nothing.
                run.command(Command::Close(conn, false)).unwrap();
            }
            Event::Disconnected(conn, _) if conn.is_accepted() => {}
            Event::Disconnected(conn, _) => assert!(ended.insert(conn), "{conn:?} ended twice"),
            other => panic!("{other:?}"),
        }
    }
    assert!(!open.is_empty());
    teller.join();
    let run = Arc::into_inner(run).unwrap();
    run.stop();
    while run.recv().is_some() {}
    run.join().unwrap();
}
