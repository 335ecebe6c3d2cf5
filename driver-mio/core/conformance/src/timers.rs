//! Timers: on time under load, and no wake-up without one.

use std::io::Write;
use std::time::Duration;

use andon_driver::Options;

use crate::puppet::*;
use crate::stage::*;

pub fn an_idle_driver_sleeps<S: Stage>(stage: &S) {
    let puppet = Puppet::default();
    let counts = puppet.counts.clone();
    let (run, addr) = start(stage, listening(), puppet);
    let (_, _peer) = accepted(stage, &run, addr);
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    // The driver reads the deadline in each round. It comes to rest, however long this machine takes for it, and stays.
    let looks = || {
        let before = count(&counts.deadlines);
        stage.sleep(Duration::from_millis(300));
        count(&counts.deadlines) - before
    };
    wait_until(stage, "rest", || looks() == 0);
    let inputs = count(&counts.inputs);
    assert_eq!((looks(), looks(), count(&counts.inputs)), (0, 0, inputs));
    stop(run);
}

pub fn a_deadline_costs_few_rounds<S: Stage>(stage: &S) {
    let puppet = Puppet { every: Some(Duration::from_millis(50)), ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, _) = start(stage, Options::default(), puppet);
    let (mut last, mut looks_for_one) = ((0, 0), Vec::new());
    wait_until(stage, "20 wakes", || {
        let now = (count(&counts.wakes), count(&counts.deadlines));
        if now.0 > last.0 {
            looks_for_one.push((now.1 - last.1) / (now.0 - last.0));
            last = now;
        }
        looks_for_one.len() >= 20
    });
    // A round reads the deadline about five times, and a wake takes one round; one in which more is done beside it may take
    // several. A driver that looked every few milliseconds would take ten rounds, however slow the machine.
    looks_for_one.sort_unstable();
    let median = looks_for_one[looks_for_one.len() / 2];
    assert!((1..=20).contains(&median), "looks at the deadline for each wake: {looks_for_one:?}");
    stop(run);
}

pub fn work_cut_in_pieces_goes_on_at_once<S: Stage>(stage: &S) {
    // Due again a microsecond later each time. At a millisecond for each, 100,000 would take longer than the limit.
    let puppet = Puppet { every: Some(Duration::from_micros(1)), ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, addr) = start(stage, listening(), puppet);
    wait_until(stage, "100,000 wakes", || count(&counts.wakes) >= 100_000);
    // And the network has its turn all the same.
    let (conn, mut peer) = accepted(stage, &run, addr);
    peer.write_all(b"heard").unwrap();
    assert_eq!(received(&run, conn, 5), b"heard");
    stop(run);
}

pub fn a_flood_does_not_starve_timers<S: Stage>(stage: &S) {
    let puppet = Puppet { quiet: true, every: Some(Duration::from_millis(1)), ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, addr) = start(stage, listening(), puppet);
    let mut flooders = Vec::new();
    for _ in 0..4 {
        let (_, mut peer) = accepted(stage, &run, addr);
        flooders.push(stage.work(move || while peer.write_all(&[7; 256 * 1024]).is_ok() {}));
    }
    wait_until(stage, "the flood", || count(&counts.received) > 100 << 20);
    let wakes = count(&counts.wakes);
    wait_until(stage, "100 wakes in the flood", || count(&counts.wakes) >= wakes + 100);
    run.stop();
    while run.recv().is_some() {}
    run.join().unwrap();
    for flooder in flooders {
        flooder.join();
    }
}

pub fn a_thousand_idle_peers_cost_nothing<S: Stage>(stage: &S) {
    const COUNT: usize = 1_000;
    let puppet = Puppet { echo: true, ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, addr) = start(stage, Options { max_connections: COUNT, ..listening() }, puppet);
    let mut peers: Vec<_> = (0..COUNT).map(|_| accepted(stage, &run, addr).1).collect();
    let looks = || {
        let before = count(&counts.deadlines);
        stage.sleep(Duration::from_millis(300));
        count(&counts.deadlines) - before
    };
    wait_until(stage, "rest", || looks() == 0);
    assert_eq!(looks(), 0);
    // One of them speaks, and no other is looked at: a machine that hears a thousand times has a thousand inputs.
    let (inputs, before) = (count(&counts.inputs), count(&counts.deadlines));
    for _ in 0..100 {
        peers[COUNT / 2].write_all(b"1").unwrap();
        assert_eq!(read(&mut peers[COUNT / 2], 1), b"1");
    }
    assert_eq!(count(&counts.inputs) - inputs, 100);
    let looks = count(&counts.deadlines) - before;
    assert!(looks < 100 * 100, "{looks} looks at the deadline for 100 bytes");
    drop(peers);
    run.stop();
    while run.recv().is_some() {}
    run.join().unwrap();
}
