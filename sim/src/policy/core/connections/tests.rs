//! A node among others, all of whom answer.

use andon_kernel::UnixTime;

use super::*;

const BEGIN: u64 = 1_420_000_000;

fn at(seconds: u64) -> Now {
    Now { instant: Instant::from_micros(seconds * 1_000_000), unix: UnixTime::from_secs(BEGIN + seconds) }
}

fn node(group: u32, number: u32) -> Address {
    Address { ip: 20 << 24 | group << 16 | number, port: PORT }
}

/// A node that knows so many others, each of a group of its own.
fn knowing(rules: Rules, nodes: u32) -> Core {
    let mut core = Core::new(rules, None, &Stream::new(1));
    let time = BEGIN as u32 - HOUR;
    let saved: Vec<_> = (0..nodes)
        .map(|number| Saved { address: node(number, 1), source: Source::Fixed, time, reached: Some(time) })
        .collect();
    core.load(at(0), &saved);
    core.start(at(0));
    core
}

/// Lets a node dial for so many seconds, where everybody answers. Returns the dials, and what each was for.
fn run(core: &mut Core, from: u64, seconds: u64) -> Vec<(Address, Purpose)> {
    let (mut now, end) = (at(from).instant, at(from + seconds).instant);
    let mut dials = Vec::new();
    while now <= end {
        let unix = UnixTime::from_secs(BEGIN + now.as_micros() / 1_000_000);
        let turn = Now { instant: now, unix };
        match core.next(turn) {
            Step::Dial { address, purpose } => {
                dials.push((address, purpose));
                core.connected(turn, address, purpose);
            }
            Step::Wait(Some(until)) => now = until.max(now + Duration::from_micros(1)),
            Step::Wait(None) => break,
            Step::AskSeeds | Step::Close(_) => {}
        }
    }
    dials
}

#[test]
fn connections_are_as_many_as_the_release_has() {
    for (rules, full, relays) in
        [(Rules::CORE_0_9_3, 8, 0), (Rules::CORE_0_10_1, 8, 0), (Rules::CORE_28, 8, 2)]
    {
        let mut core = knowing(rules, 200);
        run(&mut core, 0, 60);
        assert_eq!((core.full(), core.block_relay()), (full, relays));
        assert_eq!(core.wanted(), Some(core.outgoing().len()));
    }
}

#[test]
fn no_two_of_a_group() {
    let mut core = Core::new(Rules::CORE_28, None, &Stream::new(2));
    let time = BEGIN as u32;
    for number in 0..60 {
        let address = node(number % 5, number + 1);
        core.load(at(0), &[Saved { address, source: Source::Fixed, time, reached: Some(time) }]);
    }
    core.start(at(0));
    run(&mut core, 0, 600);
    let mut groups: Vec<_> = core.outgoing().iter().map(|(address, _)| address.slash16()).collect();
    groups.sort_unstable();
    groups.dedup();
    assert_eq!((core.outgoing().len(), groups.len()), (5, 5));
}

#[test]
fn feelers_come_every_two_minutes_or_so() {
    let mut core = knowing(Rules::CORE_28, 100);
    let told: Vec<_> = (0..900)
        .map(|number| Told { address: node(number / 8, number), time: BEGIN as u32, serves: true })
        .collect();
    core.hear(at(0), Source::DnsSeed(1), &told, true);
    run(&mut core, 0, 60);
    let before = core.census(&mut |_| false).tried;
    let dials = run(&mut core, 60, 86_400);
    let feelers = dials.iter().filter(|(_, purpose)| *purpose == Purpose::Feeler).count();
    let extra = dials.iter().filter(|(_, purpose)| *purpose == Purpose::Extra).count();
    // Four standard deviations of a Poisson number; what collides in the table is tested and not gained.
    assert!(
        (720 - 120..=720 + 120).contains(&feelers) && (288 - 70..=288 + 70).contains(&extra),
        "{feelers} {extra}"
    );
    let after = core.census(&mut |_| false).tried;
    assert!(after > before + 200, "the tried grow by feelers: {before} {after}");
}

#[test]
fn a_peer_tells_a_tenth_of_an_address_a_second() {
    let teller = node(1, 1);
    let told: Vec<_> = (0..1000)
        .map(|number| Told { address: node(2 + number / 4, number), time: BEGIN as u32, serves: true })
        .collect();
    for (limited, expected) in [(true, 1 + 10), (false, 700)] {
        let rules = Rules { address_limit: limited, ..Rules::CORE_28 };
        let mut core = Core::new(rules, None, &Stream::new(4));
        core.hear(at(0), Source::Peer(teller), &told, false);
        core.hear(at(100), Source::Peer(teller), &told[500..], false);
        let new = core.census(&mut |_| false).new;
        assert!(if limited { new <= expected && new > 5 } else { new >= expected }, "{limited}: {new}");
    }
    // What was asked for is let in.
    let mut core = Core::new(Rules::CORE_28, None, &Stream::new(4));
    core.hear(at(0), Source::Peer(teller), &told, true);
    assert!(core.census(&mut |_| false).new > 700);
}

#[test]
fn anchors_are_dialled_first_after_a_restart() {
    let mut core = knowing(Rules::CORE_28, 200);
    run(&mut core, 0, 60);
    let mut relays: Vec<_> = core.outgoing();
    relays.retain(|(_, purpose)| *purpose == Purpose::BlockRelay);
    core.start(at(100));
    let dials = run(&mut core, 100, 60);
    let mut first: Vec<_> = dials[..2].iter().map(|(address, _)| *address).collect();
    assert_eq!([dials[0].1, dials[1].1], [Purpose::Anchor; 2]);
    first.sort_unstable();
    let mut relays: Vec<_> = relays.into_iter().map(|(address, _)| address).collect();
    relays.sort_unstable();
    assert_eq!(first, relays);
}

#[test]
fn who_connects_enters_the_tried_up_to_0_10() {
    for (rules, entered) in [(Rules::CORE_0_9_3, 1), (Rules::CORE_0_10_1, 1), (Rules::CORE_28, 0)] {
        let mut core = Core::new(rules, None, &Stream::new(5));
        core.accepted(at(0), node(1, 1));
        assert_eq!(core.census(&mut |_| true).tried_adversary, entered);
    }
}

#[test]
fn a_little_less_than_a_quarter_of_the_book_is_told() {
    let mut core = knowing(Rules::CORE_28, 200);
    let known = core.book.len() as usize;
    let told = core.tell(at(60));
    assert_eq!(told.len(), (known * 23).div_ceil(100));
    let mut distinct: Vec<_> = told.iter().map(|told| told.address).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), told.len());
}
