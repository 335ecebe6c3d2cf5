//! Filters and blocks from several peers at once: each link is used for what it is worth, whatever the peers do. All
//! times are virtual, so that the figures are the same on every machine.

mod lab;

use std::rc::Rc;

use andon_bitcoin::client::{Birthday, Command, Config};
use andon_kernel::Instant;
use lab::chain::{filter_of, script};
use lab::{Asked, Chain, Lab, Peer, config};

/// Bytes of a message with a filter beside the filter: frame, kind, hash and length.
const FRAME: u64 = 24 + 1 + 32 + 3;

/// A chain whose blocks have filters of so many elements, and the bytes that all of them take on a link.
fn bulky(blocks: u32, elements: u64) -> (Rc<Chain>, u64) {
    let filter = filter_of(elements);
    let mut chain = Chain::new();
    chain.grow_filters(blocks, 1, &filter);
    (Rc::new(chain), u64::from(blocks) * (filter.len() as u64 + FRAME))
}

/// A client that watches a script nothing pays, and peers that send at these rates, in bytes a second.
fn world(chain: &Rc<Chain>, rates: &[Option<usize>]) -> Lab {
    world_with(config(rates.len()), chain, rates)
}

fn world_with(config: Config, chain: &Rc<Chain>, rates: &[Option<usize>]) -> Lab {
    let peers = rates.iter().map(|rate| {
        let mut peer = Peer::new(chain);
        peer.rate = *rate;
        peer
    });
    let mut lab = Lab::new(config, peers.collect());
    lab.command(watch(1_000_000));
    lab
}

fn watch(number: u64) -> Command {
    Command::Watch { scripts: vec![script(number)], from: Birthday::Height(0) }
}

/// When the first filter was asked for.
fn begin(lab: &Lab) -> Instant {
    let first = lab.asked.iter().find(|(.., asked)| matches!(asked, Asked::Filters(..)));
    first.expect("filters were asked for").0
}

/// Seconds since the first filter was asked for.
fn seconds(lab: &Lab) -> f64 {
    lab.now.since(begin(lab)).as_secs_f64()
}

fn filters_sent(lab: &Lab) -> u64 {
    lab.peers.iter().map(|peer| peer.filters_sent).sum()
}

/// What came twice, as a share of all.
fn twice(lab: &Lab) -> f64 {
    let wanted = f64::from(lab.peers[0].chain.height() + 1);
    (filters_sent(lab) as f64 - wanted) / wanted
}

fn assert_nobody_was_let_go(lab: &Lab) {
    assert_eq!(lab.farewells(), []);
}

#[test]
fn three_peers_of_different_rates_send_as_much_as_they_can() {
    let (chain, bytes) = bulky(2000, 9200);
    let mut lab = world(&chain, &[Some(8_000_000), Some(2_000_000), Some(500_000)]);
    lab.sync();
    let ratio = seconds(&lab) / (bytes as f64 / 10_500_000.0);
    println!("three rates: {ratio:.3} of the time that the links allow, {:.3} twice", twice(&lab));
    assert!(ratio < 1.1, "{ratio}");
    assert!(twice(&lab) <= 0.05, "{}", twice(&lab));
    assert_nobody_was_let_go(&lab);
}
