//! Filters and blocks from several peers at once: each link is used for what it is worth, whatever the peers do. All
//! times are virtual, so that the figures are the same on every machine.

mod lab;

use std::rc::Rc;

use std::time::Duration;

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

#[test]
fn a_peer_that_stops_in_the_middle_is_made_up_for() {
    let (chain, bytes) = bulky(2000, 9200);
    for stops in 0..3 {
        let rates = [8_000_000, 2_000_000, 500_000];
        let mut lab = world(&chain, &rates.map(Some));
        lab.run_until("half of it", |lab| filters_sent(lab) >= 1000 && lab.bytes >= bytes / 2);
        let (at, before) = (lab.now, lab.bytes);
        lab.fall_silent(stops);
        lab.sync();
        let others: usize = (0..3).filter(|peer| *peer != stops).map(|peer| rates[peer]).sum();
        let rest = (bytes - before) as f64 / others as f64;
        let ratio = lab.now.since(at).as_secs_f64() / rest;
        let whole = lab.now.since(begin(&lab)).as_secs_f64() / (at.since(begin(&lab)).as_secs_f64() + rest);
        println!("stops at {}: {ratio:.3} of the rest, {whole:.3} of the whole", rates[stops]);
        assert!(ratio < 1.2 || whole < 1.2, "{stops}: {ratio} {whole}");
        assert_nobody_was_let_go(&lab);
    }
}

#[test]
fn eight_distant_peers_fill_their_links() {
    let (chain, bytes) = bulky(3000, 4600);
    let mut lab = world(&chain, &[Some(1_000_000); 8]);
    lab.latency = Duration::from_millis(50);
    lab.sync();
    let ratio = seconds(&lab) / (bytes as f64 / 8_000_000.0);
    println!("eight peers: {ratio:.3} of the time that the links allow, {:.3} twice", twice(&lab));
    assert!(ratio < 1.1, "{ratio}");
    assert!(twice(&lab) <= 0.05, "{}", twice(&lab));
    assert_nobody_was_let_go(&lab);
}

#[test]
fn a_steady_slow_peer_is_no_time_out() {
    let (chain, bytes) = bulky(300, 9200);
    let mut lab = world(&chain, &[Some(20_000)]);
    lab.sync();
    let ratio = seconds(&lab) / (bytes as f64 / 20_000.0);
    println!("a slow peer: {ratio:.3} of the time that its link allows, {:.3} twice", twice(&lab));
    assert!(ratio < 1.05, "{ratio}");
    assert_eq!(filters_sent(&lab), 301, "nothing is asked for twice");
    assert_nobody_was_let_go(&lab);
}

#[test]
fn a_dripping_peer_holds_nothing_up() {
    let (chain, bytes) = bulky(1000, 900);
    let mut lab = world(&chain, &[Some(250), Some(500_000)]);
    // Headers come from a peer that sends them.
    lab.peers[0].rate = None;
    lab.run_until("the first filters", |lab| lab.peers.iter().all(|peer| peer.filters_sent > 0));
    lab.fall_silent(0);
    lab.sync();
    let ratio = seconds(&lab) / (bytes as f64 / 500_000.0);
    println!("beside one that drips: {ratio:.3}, {:.3} twice", twice(&lab));
    assert!(ratio < 1.3, "{ratio}");
    assert_nobody_was_let_go(&lab);
}
