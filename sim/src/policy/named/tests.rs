use andon_kernel::{Instant, Now, UnixTime};

use super::*;
use crate::policy::{Address, Purpose, Source, Step, Told};

fn at(seconds: u64) -> Now {
    Now {
        instant: Instant::from_micros(seconds * 1_000_000),
        unix: UnixTime::from_secs(1_700_000_000 + seconds),
    }
}

fn node(number: u32) -> Told {
    let address = Address { ip: 0x2000_0000 + number * 0x1_0003, port: 8333 };
    Told { address, time: 1_700_000_000 - 3600, serves: true }
}

/// Plays a network in which two of three dials fail, for an hour. Returns a line for each step.
fn an_hour(policy: &mut dyn Policy, stream: &mut Stream) -> Vec<String> {
    let mut log = Vec::new();
    let mut second = 0;
    policy.start(at(0));
    while second < 3600 {
        let now = at(second);
        let step = policy.next(now);
        log.push(format!("{second} {step:?}"));
        match step {
            Step::AskSeeds => {
                for seed in 0..3 {
                    let told: Vec<_> = (0..40).map(|n| node(u32::from(seed) * 40 + n)).collect();
                    policy.hear(now, Source::DnsSeed(seed), &told, true);
                }
                second += 1;
            }
            Step::Dial { address, purpose } if stream.below(3) == 0 => {
                if policy.connected(now, address, purpose) {
                    let told: Vec<_> = (0..50).map(|_| node(stream.below(1000) as u32)).collect();
                    policy.hear(now, Source::Peer(address), &told, true);
                }
            }
            Step::Dial { address, purpose } => policy.failed(now, address, purpose),
            Step::Close(_) => {}
            Step::Wait(until) => {
                let until = until.map_or(3600, |until| until.as_micros().div_ceil(1_000_000));
                second = until.clamp(second + 1, 3600);
                // Once in a while somebody goes.
                let open = policy.outgoing();
                if stream.below(20) == 0 && !open.is_empty() {
                    policy.ended(at(second), open[stream.index(open.len())].0);
                }
            }
        }
    }
    log
}

#[test]
fn every_client_finds_its_peers_and_repeats_from_its_seed() {
    for name in LIGHT_CLIENTS {
        let run = |seed| {
            let mut policy = by_name(name, 3, Stream::new(seed)).expect("it is a name");
            let log = an_hour(&mut *policy, &mut Stream::new(seed + 1));
            let outgoing = policy.outgoing();
            let census = policy.census(&mut |address| address.ip % 2 == 0);
            (log, outgoing, census)
        };
        let (log, outgoing, census) = run(7);
        assert_eq!((log.clone(), outgoing.clone(), census), run(7), "{name}");
        assert_ne!(log, run(8).0, "{name}");
        let wanted = if name.starts_with("kyoto") { 3 } else { 8 };
        assert!((wanted - 1..=wanted).contains(&outgoing.len()), "{name}: {outgoing:?}");
        assert!(outgoing.iter().all(|(_, purpose)| *purpose == Purpose::Full), "{name}: {outgoing:?}");
        assert!(census.new_adversary <= census.new && census.tried_adversary <= census.tried);
        assert!(census.new > 0 && census.new_adversary > 0, "{name}: {census:?}");
        assert!(log.iter().any(|step| step.contains("AskSeeds")), "{name}");
    }
    assert!(
        by_name("nobody", 8, Stream::new(1)).is_none() && book_by_name("nobody", Stream::new(1)).is_none()
    );
}

#[test]
fn flags_are_known_or_refused() {
    let load = |name, flags: &str| crate::policy::load(name, flags.parse().expect("it is TOML"));
    for (name, flags, is_right) in [
        ("own", "", true),
        ("own", "outgoing = 8", false),
        ("own", "feelers = true", false),
        ("kyoto-0.1", "", true),
        ("kyoto-0.2", "outgoing = 15", true),
        ("kyoto-0.2", "outgoing = 16", false),
        ("kyoto-0.2", "outgoing = 'all'", false),
    ] {
        let made = load(name, flags);
        assert_eq!(made.is_ok(), is_right, "{name} {flags}");
        if let Ok(make) = made {
            let mut client = make(&Stream::new(1));
            client.start(at(0));
            assert!(client.outgoing().is_empty());
        }
    }
    assert!(load("nobody", "").is_err());
}

/// Whoever ran for a while and starts again dials those first that served the longest.
#[test]
fn own_anchors_come_first() {
    let mut own = Own::new(Grouping::by_prefix(), Stream::new(5));
    an_hour(&mut own, &mut Stream::new(6));
    let anchors = own.anchors();
    assert_eq!(anchors.len(), 2);
    own.start(at(4000));
    for anchor in anchors {
        let step = own.next(at(4000));
        assert_eq!(step, Step::Dial { address: anchor, purpose: Purpose::Anchor });
        own.failed(at(4000), anchor, Purpose::Anchor);
    }
    assert_eq!(own.anchors(), [], "who can't be reached is no anchor");
    assert!(matches!(own.next(at(4000)), Step::Dial { purpose: Purpose::Full, .. }));
}
