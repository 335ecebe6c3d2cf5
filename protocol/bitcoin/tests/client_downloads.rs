//! Filters and blocks from several peers at once: each link is used for what it is worth, whatever the peers do. All
//! times are virtual, so that the figures are the same on every machine.

mod lab;

use std::rc::Rc;

use std::time::Duration;

use andon_bitcoin::client::{Birthday, Command, Config, Event, Misbehaviour, Reason};
use andon_kernel::Instant;
use lab::chain::{filter_of, script};
use lab::{Asked, Chain, Lab, Peer, config, endpoint};

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
        println!("stops at {}: {ratio:.3} of the time that the rest takes", rates[stops]);
        assert!(ratio < 1.2, "{stops}: {ratio}");
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

/// The slow one sends some bytes each second, so that it is never silent: what it owes goes to the other all the same.
#[test]
fn a_dripping_peer_holds_nothing_up() {
    let (chain, bytes) = bulky(1000, 900);
    let mut lab = world(&chain, &[None, Some(500_000)]);
    lab.run_until("the headers", |lab| lab.progress.filter_headers.done == 1000);
    lab.peers[0].rate = Some(300);
    lab.sync();
    let ratio = seconds(&lab) / (bytes as f64 / 500_000.0);
    println!("beside one that drips: {ratio:.3}, {:.3} twice", twice(&lab));
    assert!(lab.peers[0].filters_sent > 0, "it was asked");
    assert!(ratio < 1.2, "{ratio}");
    // Its answers go on for minutes. They are nobody's fault.
    lab.run_for(Duration::from_secs(1000));
    assert_nobody_was_let_go(&lab);
}

#[test]
fn a_filter_left_out_is_named_and_asked_of_another() {
    let (chain, _) = bulky(1500, 100);
    let mut lab = world(&chain, &[Some(100_000), Some(100_000)]);
    lab.peers[0].leaves_out = (0..=1500).filter(|height| height % 50 == 17).collect();
    lab.sync();
    let mut named = Vec::new();
    for event in &lab.events {
        if let Event::FilterLeftOut { endpoint: whose, block } = event {
            assert_eq!(*whose, endpoint(0));
            named.push(block.height);
        }
    }
    assert!(!named.is_empty());
    for height in named {
        assert!(lab.peers[0].leaves_out.contains(&height), "{height} was sent");
        assert_eq!(chain.block(height).hash, chain.hash(height));
        let others = lab.asked.iter().filter(|(_, peer, asked)| {
            *peer == 1 && matches!(asked, Asked::Filters(first, last) if (*first..=*last).contains(&height))
        });
        assert!(others.count() > 0, "{height} was asked of the other");
    }
    assert_nobody_was_let_go(&lab);
}

#[test]
fn a_sole_peer_that_leaves_filters_out_is_asked_again() {
    let (chain, _) = bulky(600, 100);
    let mut lab = world(&chain, &[Some(100_000)]);
    lab.peers[0].leaves_out = vec![300];
    lab.run_for(Duration::from_secs(120));
    assert_eq!(lab.synced, None, "nothing is done without it");
    let again = lab.asked.iter().filter(|(.., asked)| *asked == Asked::Filters(300, 300)).count();
    assert!((2..130).contains(&again), "{again}");
    lab.peers[0].leaves_out.clear();
    lab.sync();
    assert_nobody_was_let_go(&lab);
}

#[test]
fn peers_join_and_leave_in_the_middle() {
    let (chain, bytes) = bulky(2000, 4600);
    let mut lab = world(&chain, &[Some(1_000_000), Some(1_000_000), Some(2_000_000)]);
    lab.peers[2].up = false;
    lab.run_until("a third", |lab| lab.bytes > bytes / 3);
    lab.peers[2].up = true;
    lab.run_until("it has joined", |lab| lab.peers[2].filters_sent > 100);
    lab.peers[0].up = false;
    lab.cut(0);
    let (at, before) = (lab.now, lab.bytes);
    lab.sync();
    let ratio = lab.now.since(at).as_secs_f64() / ((bytes - before) as f64 / 3_000_000.0);
    println!("after one has left: {ratio:.3} of the time that the links allow, {:.3} twice", twice(&lab));
    // What was under way from the one that left is lost.
    assert!(ratio < 1.2, "{ratio}");
    assert!(lab.farewells().iter().all(|(whose, _)| *whose != endpoint(1)));
}

/// What is held is bounded by the window, also where one peer holds the others up.
#[test]
fn the_window_bounds_what_is_ahead() {
    let (chain, _) = bulky(3000, 50);
    let mut config = config(3);
    config.filter_window = 66 * 500;
    let mut lab = world_with(config, &chain, &[Some(2000), Some(200_000), Some(200_000)]);
    lab.peers[0].rate = None;
    lab.run_until("the headers", |lab| lab.progress.filter_headers.done == 3000);
    lab.peers[0].rate = Some(2000);
    let mut rounds = 0;
    while lab.synced.is_none() {
        // An order, though it is for nothing, has everything settled that has come without a gap.
        lab.command(Command::Unwatch { scripts: Vec::new(), outputs: Vec::new() });
        lab.run_for(Duration::from_millis(1));
        let checked = lab.events.iter().rev().find_map(|event| match event {
            Event::Checked(block) => Some(block.height),
            _ => None,
        });
        let checked = checked.unwrap_or(0);
        let ahead = lab.asked.iter().filter_map(|(.., asked)| match asked {
            Asked::Filters(_, last) => Some(*last),
            _ => None,
        });
        let ahead = ahead.max().unwrap_or(0);
        assert!(ahead <= checked + 500, "{ahead} after {checked}");
        rounds += 1;
        assert!(rounds < 1_000_000);
    }
    println!("with a window of 500 filters: {:.2} seconds, {:.3} twice", seconds(&lab), twice(&lab));
    let asked = lab.asked.iter().filter_map(|(.., asked)| match asked {
        Asked::Filters(first, last) => Some(last - first + 1),
        _ => None,
    });
    assert!(asked.max() <= Some(250));
    assert_nobody_was_let_go(&lab);
}

/// One header by announcement, one request for filter headers of each who is asked, one for the filter, and one round trip.
#[test]
fn a_new_block_costs_one_round_trip() {
    let filter = filter_of(2000);
    let mut chain = Chain::new();
    chain.grow_filters(50, 1, &filter);
    let mut lab = world(&Rc::new(chain.clone()), &[None, None, None]);
    lab.sync();
    lab.run_for(Duration::from_secs(10));
    for _ in 0..20 {
        chain.grow_filters(1, 1, &filter);
        let tip = chain.tip();
        lab.peers.iter_mut().for_each(|peer| peer.chain = Rc::new(chain.clone()));
        lab.asked.clear();
        lab.events.clear();
        let at = lab.now;
        let header = chain.headers(tip.height, tip.height).to_vec();
        (0..3).for_each(|peer| lab.push_headers(peer, &header));
        lab.run_until("the new block", |lab| lab.synced == Some(tip));
        assert_eq!(lab.now.since(at), lab.latency * 3, "the announcement, and one round trip");
        let asked: Vec<&Asked> = lab.asked.iter().map(|(.., asked)| asked).collect();
        let only = Asked::Filters(tip.height, tip.height);
        assert_eq!(asked.iter().filter(|asked| ***asked == only).count(), 1, "{asked:?}");
        let filter_headers = Asked::FilterHeaders(tip.height, tip.height);
        let others: Vec<_> = asked.iter().filter(|asked| ***asked != only).collect();
        assert!(others.iter().all(|asked| ***asked == filter_headers) && others.len() <= 3, "{asked:?}");
        lab.run_for(Duration::from_secs(600));
        let synced = lab.events.iter().filter(|event| matches!(event, Event::Synced(_))).count();
        assert_eq!(synced, 1, "once for each tip");
        let reverted = |event: &Event| matches!(event, Event::Rescan { .. } | Event::Reorganised { .. });
        assert!(!lab.events.iter().any(reverted));
    }
    assert_nobody_was_let_go(&lab);
}

/// A chain whose blocks pay the script 7 at each multiple of ten.
fn paying(blocks: u32) -> Rc<Chain> {
    let mut chain = Chain::new();
    chain
        .grow_blocks(blocks, 1, |height| script(if height % 10 == 0 { 7 } else { 1000 + u64::from(height) }));
    Rc::new(chain)
}

/// Whose answers take a minute while every half second is one too much: it is asked again and again, and then all comes at once.
#[test]
fn what_comes_after_a_long_silence_is_no_fault() {
    let chain = paying(200);
    let mut lab =
        Lab::new(Config { stall_timeout: Duration::from_millis(500), ..config(1) }, vec![Peer::new(&chain)]);
    lab.sync();
    lab.latency = Duration::from_secs(30);
    lab.command(watch(7));
    lab.run_for(Duration::from_secs(1800));
    assert!(blocks_asked(&lab, 0).len() > 20, "no block was asked for again");
    assert_nobody_was_let_go(&lab);
    lab.latency = Duration::from_millis(50);
    lab.run_for(Duration::from_secs(300));
    assert_all_found(&lab, 200);
    assert_nobody_was_let_go(&lab);
}

/// Heights of blocks that a peer was asked for.
fn blocks_asked(lab: &Lab, of: usize) -> Vec<u32> {
    let asked = lab.asked.iter().filter(|(_, peer, _)| *peer == of);
    let blocks = asked.filter_map(|(.., asked)| match asked {
        Asked::Blocks(heights) => Some(heights.clone()),
        _ => None,
    });
    blocks.flatten().collect()
}

fn assert_all_found(lab: &Lab, blocks: u32) {
    let touched = lab.events.iter().filter_map(|event| match event {
        Event::Touched(touch) => Some(touch.block.height),
        _ => None,
    });
    let expected: Vec<u32> = (1..=blocks / 10).map(|number| number * 10).collect();
    assert_eq!(touched.collect::<Vec<u32>>(), expected, "each once, and in order");
}

#[test]
fn blocks_come_from_several_peers_and_are_found_in_order() {
    let chain = paying(1000);
    let mut lab = Lab::new(config(3), (0..3).map(|_| Peer::new(&chain)).collect());
    lab.peers.iter_mut().for_each(|peer| peer.rate = Some(20_000));
    lab.command(watch(7));
    lab.sync();
    assert_all_found(&lab, 1000);
    let asked: Vec<usize> = (0..3).map(|peer| blocks_asked(&lab, peer).len()).collect();
    println!("blocks asked of each: {asked:?}");
    assert!(asked.iter().all(|count| *count >= 10), "{asked:?}");
    assert_nobody_was_let_go(&lab);
}

#[test]
fn a_block_that_a_peer_does_not_have_comes_from_another() {
    let chain = paying(200);
    let mut lab = Lab::new(config(2), (0..2).map(|_| Peer::new(&chain)).collect());
    lab.peers[0].lacks = (0..=200).collect();
    lab.command(watch(7));
    lab.sync();
    assert_all_found(&lab, 200);
    assert!(lab.now.as_micros() < 5_000_000, "nobody waits for a refusal: {:?}", lab.now);
    let mut asked = blocks_asked(&lab, 0);
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), blocks_asked(&lab, 0).len(), "no block is asked of it twice");
    assert_nobody_was_let_go(&lab);
}

#[test]
fn a_changed_block_is_its_senders_fault() {
    let chain = paying(200);
    let mut lab = Lab::new(config(2), (0..2).map(|_| Peer::new(&chain)).collect());
    lab.peers[0].mutates = (0..=200).collect();
    lab.command(watch(7));
    lab.sync();
    assert_all_found(&lab, 200);
    let wrong = (endpoint(0), Reason::Misbehaved(Misbehaviour::WrongBlock));
    assert!(lab.farewells().contains(&wrong), "{:?}", lab.farewells());
    assert!(lab.farewells().iter().all(|farewell| *farewell == wrong), "{:?}", lab.farewells());
}

#[test]
fn a_pruned_peer_serves_filters_and_the_last_blocks_only() {
    let chain = paying(1000);
    let mut lab = Lab::new(config(2), (0..2).map(|_| Peer::new(&chain)).collect());
    lab.peers[0].is_pruned = true;
    // It would send each block first.
    for (peer, rate) in lab.peers.iter_mut().zip([200_000, 2_000]) {
        peer.rate = Some(rate);
    }
    lab.command(watch(7));
    lab.sync();
    assert_all_found(&lab, 1000);
    let blocks = blocks_asked(&lab, 0);
    assert!(!blocks.is_empty() && blocks.iter().all(|height| *height >= 1000 - 287), "{blocks:?}");
    let old = |asked: &Asked| matches!(asked, Asked::Filters(first, _) if *first < 500);
    assert!(lab.asked.iter().any(|(_, peer, asked)| *peer == 0 && old(asked)), "filters of any block");
    assert_nobody_was_let_go(&lab);
}

#[test]
fn a_block_that_a_peer_keeps_back_comes_from_another() {
    let chain = paying(400);
    let mut lab = Lab::new(config(2), (0..2).map(|_| Peer::new(&chain)).collect());
    lab.peers[0].keeps_back = vec![50, 300];
    lab.peers.iter_mut().for_each(|peer| peer.rate = Some(10_000));
    lab.command(watch(7));
    lab.sync();
    assert_all_found(&lab, 400);
    assert!(lab.now.as_micros() < 15_000_000, "a pong says that it will not come: {:?}", lab.now);
    assert_nobody_was_let_go(&lab);
}

/// Each takes 45 seconds, which is longer than any answer may take that is not on its way.
#[test]
fn long_blocks_from_a_slow_peer_are_no_time_out() {
    let mut chain = Chain::new();
    chain.bulk = 900_000;
    chain.grow_blocks(8, 1, |_| script(7));
    let chain = Rc::new(chain);
    let mut lab = world(&chain, &[Some(20_000)]);
    lab.command(watch(7));
    lab.sync();
    let mut asked = blocks_asked(&lab, 0);
    asked.sort_unstable();
    assert_eq!(asked, (1..=8).collect::<Vec<u32>>(), "each once");
    let ratio = seconds(&lab) / (8.0 * 900_000.0 / 20_000.0);
    println!("long blocks: {ratio:.3} of the time that the link allows");
    assert!(ratio < 1.02, "{ratio}");
    assert_nobody_was_let_go(&lab);
}

/// A block behind the filters of the slow one would come seconds later.
#[test]
fn a_block_is_not_asked_for_behind_a_long_request() {
    let mut chain = Chain::new();
    chain.grow_filters(200, 2, &filter_of(2000));
    chain.grow_blocks(300, 1, |height| script(if height % 10 == 0 { 7 } else { 1000 + u64::from(height) }));
    let mut lab = world(&Rc::new(chain), &[Some(20_000), Some(200_000)]);
    lab.command(watch(7));
    lab.sync();
    let waits = |of: usize, blocks: bool| {
        let asked = lab.asked.iter().zip(&lab.waits);
        let asked = asked
            .filter(move |((_, peer, asked), _)| *peer == of && matches!(asked, Asked::Blocks(_)) == blocks);
        asked.map(|(_, wait)| *wait).max().unwrap_or_default()
    };
    let slow_owes =
        lab.asked.iter().filter(|(_, peer, asked)| *peer == 0 && matches!(asked, Asked::Filters(..)));
    assert!(slow_owes.count() >= 2, "the slow one sends filters too");
    println!("blocks wait for {:?} and {:?}", waits(0, true), waits(1, true));
    assert!(waits(0, true) < Duration::from_secs(1), "{:?}", waits(0, true));
    assert!(waits(1, true) < Duration::from_secs(2), "{:?}", waits(1, true));
    assert_eq!(blocks_asked(&lab, 0).len() + blocks_asked(&lab, 1).len(), 30);
    assert_nobody_was_let_go(&lab);
}
