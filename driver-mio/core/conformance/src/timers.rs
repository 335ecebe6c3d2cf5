//! Timers: on time under load, and no wake-up without one.

use std::io::Write;
use std::time::Duration;

use andon_driver::Options;

use crate::Driver;
use crate::puppet::*;

pub fn an_idle_driver_sleeps<D: Driver>() {
    let puppet = Puppet::default();
    let counts = puppet.counts.clone();
    let (run, addr) = start::<D>(listening(), puppet);
    let (_, _peer) = accepted(&run, addr);
    tell(&run, Command::Mark(1));
    expect(&run, &Event::Mark(1));
    // The driver reads the deadline in each round. It comes to rest, however long this machine takes for it, and stays.
    let looks = || {
        let before = count(&counts.deadlines);
        std::thread::sleep(Duration::from_millis(300));
        count(&counts.deadlines) - before
    };
    wait_until("rest", || looks() == 0);
    let inputs = count(&counts.inputs);
    assert_eq!((looks(), looks(), count(&counts.inputs)), (0, 0, inputs));
    stop(run);
}

pub fn a_deadline_costs_few_rounds<D: Driver>() {
    let puppet = Puppet { every: Some(Duration::from_millis(50)), ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, _) = start::<D>(Options::default(), puppet);
    wait_until("20 wakes", || count(&counts.wakes) >= 20);
    let (wakes, looks) = (count(&counts.wakes), count(&counts.deadlines));
    // A round reads the deadline about ten times; before one there may be a few that come within 100 µs too early.
    assert!(looks < wakes * 500, "{looks} looks at the deadline for {wakes} wakes");
    stop(run);
}

pub fn work_cut_in_pieces_goes_on_at_once<D: Driver>() {
    // Due again a microsecond later each time. At a millisecond for each, 100,000 would take longer than the limit.
    let puppet = Puppet { every: Some(Duration::from_micros(1)), ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, addr) = start::<D>(listening(), puppet);
    wait_until("100,000 wakes", || count(&counts.wakes) >= 100_000);
    // And the network has its turn all the same.
    let (conn, mut peer) = accepted(&run, addr);
    peer.write_all(b"heard").unwrap();
    assert_eq!(received(&run, conn, 5), b"heard");
    stop(run);
}

pub fn a_flood_does_not_starve_timers<D: Driver>() {
    let puppet = Puppet { quiet: true, every: Some(Duration::from_millis(1)), ..Puppet::default() };
    let counts = puppet.counts.clone();
    let (run, addr) = start::<D>(listening(), puppet);
    let mut flooders = Vec::new();
    for _ in 0..4 {
        let (_, mut peer) = accepted(&run, addr);
        flooders.push(std::thread::spawn(move || while peer.write_all(&[7; 256 * 1024]).is_ok() {}));
    }
    wait_until("the flood", || count(&counts.received) > 100 << 20);
    let wakes = count(&counts.wakes);
    wait_until("100 wakes in the flood", || count(&counts.wakes) >= wakes + 100);
    run.stop();
    while run.recv().is_some() {}
    run.join().unwrap();
    for flooder in flooders {
        flooder.join().unwrap();
    }
}
