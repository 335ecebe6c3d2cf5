//! Headers between known blocks: asked of several peers at once, each once, whatever the peers do.
//!
//! `ANDON_HEADERS` is how many headers the comparison with one peer in sequence is made on, instead of 40,000.

mod lab;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Config, Endpoint, Event, ImportError, Misbehaviour, Reason};
use andon_bitcoin::wire::CommandName;
use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use lab::peer::Reply;
use lab::{Chain, Lab, Peer, config, endpoint};

/// Blocks from one known block to the next: as many as one message has headers.
const GAP: u32 = 2000;

/// Bytes of a header in a message.
const HEADER: u64 = 81;

/// Headers that are open at most: what has come out of order is among them.
const OPEN: u32 = 32_000;

fn with_known(peers: usize, chain: &Chain, gap: u32) -> Config {
    let mut config = config(peers);
    config.known_blocks = chain.known(gap, chain.height());
    config
}

/// So many peers that serve this chain, and a client that knows a block of it at each multiple of `gap`.
fn world(peers: usize, chain: &Rc<Chain>, gap: u32) -> Lab {
    let mut lab = Lab::new(with_known(peers, chain, gap), (0..peers).map(|_| Peer::new(chain)).collect());
    lab.latency = Duration::from_millis(50);
    lab
}

/// The requests for ranges that a peer got: after which height, up to which known block. What is asked of the middle of a
/// range is left out.
fn requests(peer: &Peer, chain: &Chain, gap: u32) -> Vec<(u32, u32)> {
    let heights = peer.asked.iter().filter(|(_, stop)| *stop != BlockHash::all_zeros());
    let heights = heights.filter_map(|(from, stop)| Some((chain.height_of(from)?, chain.height_of(stop)?)));
    heights.filter(|(from, _)| from.is_multiple_of(gap)).collect()
}

/// How often each range was asked for, by its end.
fn asked(lab: &Lab, chain: &Chain, gap: u32) -> BTreeMap<u32, usize> {
    let mut asked = BTreeMap::new();
    for (_, to) in lab.peers.iter().flat_map(|peer| requests(peer, chain, gap)) {
        *asked.entry(to).or_default() += 1;
    }
    asked
}

/// Headers that the peers have sent.
fn headers_sent(lab: &Lab) -> u64 {
    lab.peers.iter().map(|peer| peer.headers_sent).sum()
}

fn misbehaved(lab: &Lab) -> Vec<(Endpoint, Reason)> {
    let farewells = lab.farewells().into_iter();
    farewells.filter(|(_, reason)| matches!(reason, Reason::Misbehaved(_))).collect()
}

/// Runs until `done`, which is to be within minutes.
fn soon(lab: &mut Lab, what: &str, mut done: impl FnMut(&Lab) -> bool) {
    let limit = lab.now + Duration::from_secs(1000);
    lab.run_until(what, |lab| {
        assert!(lab.now < limit, "{what} has not come: {:?} {:?}", lab.progress.headers, lab.farewells());
        done(lab)
    });
}

/// Runs until the best chain of the peers is synced.
fn sync(lab: &mut Lab) {
    let tip = lab.peers.iter().map(|peer| peer.chain.tip()).max_by_key(|tip| tip.height);
    soon(lab, "the sync", |lab| lab.synced.is_some() && lab.synced == tip);
}

fn until_headers(lab: &mut Lab, height: u32) -> Duration {
    let begin = lab.now;
    soon(lab, "the chain", |lab| lab.progress.headers.done >= height);
    lab.now.since(begin)
}

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Round trips do not add up: four peers and known blocks, against one peer in sequence. A round trip takes 200 ms.
#[test]
fn four_peers_take_a_third_of_the_time_of_one_at_most() {
    let tip = number("ANDON_HEADERS", 40_000);
    let chain = Rc::new(Chain::with_height(tip, 0));
    // A peer's line carries any number of bytes, or two million a second.
    for rate in [None, Some(2_000_000)] {
        let mut times = Vec::new();
        for (peers, gap) in [(1, None), (1, Some(GAP)), (4, Some(GAP))] {
            let config = match gap {
                None => config(peers),
                Some(gap) => with_known(peers, &chain, gap),
            };
            let mut lab = Lab::new(config, (0..peers).map(|_| Peer::new(&chain)).collect());
            lab.latency = Duration::from_millis(100);
            lab.rate = rate;
            let headers = until_headers(&mut lab, tip);
            sync(&mut lab);
            let overhead = headers_sent(&lab) as f64 / f64::from(tip);
            println!(
                "{tip} headers, {peers} peers, known blocks {gap:?} apart, {rate:?} bytes/s: headers after {headers:?}, all \
                 after {:?}, {overhead:.4} times the chain",
                lab.now
            );
            assert_eq!(lab.farewells(), []);
            assert!(overhead < 1.001, "{overhead}");
            times.push(headers);
        }
        assert!(times[2] * 3 <= times[0], "{times:?}");
        assert!(times[2] < times[1], "{times:?}");
    }
}

#[test]
fn each_range_is_asked_of_one_peer_and_comes_once() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    let (even, uneven) = (Duration::ZERO, Duration::from_millis(700));
    let worlds = [
        (1, GAP, &[even][..]),
        (1, 5000, &[even]),
        (3, 5000, &[even, uneven]),
        (4, 500, &[uneven]),
        (4, GAP, &[even, uneven]),
        (4, 10_000, &[even, uneven]),
        (8, 1000, &[even, uneven]),
        (8, GAP, &[even]),
    ];
    for (peers, gap, jitters) in worlds {
        for &jitter in jitters {
            let mut lab = world(peers, &chain, gap);
            lab.jitter = jitter;
            sync(&mut lab);
            let what = format!("{peers} peers, {gap} apart, {jitter:?}");
            assert_eq!(lab.farewells(), [], "{what}");
            let asked = asked(&lab, &chain, gap);
            assert!(asked.values().all(|times| *times == 1), "{what}: {asked:?}");
            assert_eq!(asked.len() as u32, TIP / gap, "{what}");
            // The last one again from each, that says that there is nothing more.
            assert!(headers_sent(&lab) <= u64::from(TIP) + peers as u64, "{what}: {}", headers_sent(&lab));
            // Headers and filter hashes, and a little for the frames and the pings.
            let overhead = lab.bytes as f64 / (u64::from(TIP) * (HEADER + 32)) as f64;
            assert!(overhead <= 1.01, "{what}: {overhead}");
            // Nobody is left out where there is enough for all.
            if TIP / gap >= 4 * peers as u32 {
                let shares: Vec<u64> = lab.peers.iter().map(|peer| peer.headers_sent).collect();
                let least = u64::from(TIP) / peers as u64 / 3;
                assert!(shares.iter().all(|share| *share > least), "{what}: {shares:?}");
            }
        }
    }
}

/// The rows are those of a client that knew no block.
#[test]
fn what_is_stored_is_what_a_sync_in_sequence_stores() {
    let chain = Rc::new(Chain::with_height(25_000, 0));
    let sequential = Lab::synced_with(&chain);
    for gap in [GAP, 2016, 5000, 10_080] {
        let mut lab = world(3, &chain, gap);
        lab.jitter = Duration::from_millis(300);
        sync(&mut lab);
        for space in ["headers", "filter_headers", "hashes", "meta", "staged"] {
            let rows = lab.rows(space);
            assert_eq!(rows.is_empty(), space == "staged", "{space}, {gap} apart");
            assert!(rows == sequential.rows(space), "{space}, {gap} apart");
        }
    }
}

/// All would send the same: one is asked, and the others are looked at when it has shown all.
#[test]
fn without_known_blocks_one_peer_is_asked_in_sequence() {
    const TIP: u32 = 20_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    let mut lab = Lab::new(config(4), (0..4).map(|_| Peer::new(&chain)).collect());
    soon(&mut lab, "the middle", |lab| lab.progress.headers.done >= TIP / 2);
    let shares: Vec<u64> = lab.peers.iter().map(|peer| peer.headers_sent).collect();
    assert_eq!(shares.iter().filter(|share| **share > 0).count(), 1, "{shares:?}");
    sync(&mut lab);
    assert_eq!(lab.farewells(), []);
    let mut shares: Vec<u64> = lab.peers.iter().map(|peer| peer.headers_sent).collect();
    shares.sort_unstable();
    // The tip alone from the others.
    assert_eq!(shares[..3], [1, 1, 1], "{shares:?}");
    assert!(shares[3] <= u64::from(TIP) + 1, "{shares:?}");
    assert!(lab.peers.iter().flat_map(|peer| &peer.asked).all(|(_, stop)| *stop == BlockHash::all_zeros()));
}

#[test]
fn a_peer_that_stalls_or_goes_is_replaced() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    // What a peer does about its third request, and how long the chain takes then: a connection that ends, or a pong that
    // overtakes an answer, is noticed at once; silence when others have had nothing to do for four seconds.
    type Fault = fn() -> Reply;
    let table: [(&str, Fault, u64); 3] =
        [("silence", || Reply::Stall, 8), ("end", || Reply::HangUp, 3), ("gap", || Reply::Nothing, 3)];
    for (what, fault, limit) in table {
        let mut lab = world(4, &chain, GAP);
        let mut requests = 0;
        lab.peers[0] = Peer::new(&chain).acting(move |chain, locator, stop| {
            requests += 1;
            if requests == 3 { fault() } else { Reply::Headers(chain.answer(locator, stop)) }
        });
        let took = until_headers(&mut lab, TIP);
        assert!(took < Duration::from_secs(limit), "{what}: {took:?}");
        // What it owed was asked for twice: four ranges at most.
        let again: usize = asked(&lab, &chain, GAP).values().map(|times| times - 1).sum();
        assert!((1..=4).contains(&again), "{what}: {again}");
        assert!(headers_sent(&lab) <= u64::from(TIP + 4 * GAP), "{what}: {}", headers_sent(&lab));
        sync(&mut lab);
        lab.run_for(Duration::from_secs(60));
        assert_eq!(misbehaved(&lab), [], "{what}");
        // The others are as they were.
        assert!(lab.peers[1..].iter().all(|peer| peer.connections == 1), "{what}");
        assert!(lab.farewells().iter().all(|(who, _)| *who == endpoint(0)), "{what}: {:?}", lab.farewells());
    }
}

/// The lowest range would hold all up: it is asked of another when that has nothing else to do. Being slow is no fault.
#[test]
fn a_slow_peer_holds_the_others_up_for_a_few_seconds_only() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    // A range of a slow one takes 5, 16, 162 or 540 seconds.
    for (slow, rate, limit) in [(1, 30_000, 8), (1, 10_000, 8), (1, 1000, 8), (2, 1000, 20), (3, 300, 60)] {
        let mut lab = world(4, &chain, GAP);
        lab.peers[..slow].iter_mut().for_each(|peer| peer.rate = Some(rate));
        let took = until_headers(&mut lab, TIP);
        println!("{slow} of 4 peers send {rate} bytes/s: {took:?}");
        assert!(took < Duration::from_secs(limit), "{slow}, {rate}: {took:?}");
        let asked = asked(&lab, &chain, GAP);
        let again: usize = asked.values().map(|times| times - 1).sum();
        assert!((1..=4 * slow).contains(&again), "{slow}, {rate}: {asked:?}");
        lab.run_for(Duration::from_secs(1000));
        assert_eq!(lab.synced, Some(chain.tip()), "{rate}");
        assert_eq!(misbehaved(&lab), [], "{rate}");
        let withheld = lab.events.iter().any(|event| matches!(event, Event::PeerWithholds { .. }));
        assert!(!withheld, "{rate}: it has what it claims");
        assert!(lab.peers[slow..].iter().all(|peer| peer.connections == 1), "{rate}");
    }
}

/// There is nobody faster: what they are asked for does not go round for ever.
#[test]
fn peers_that_are_all_slow_are_waited_for() {
    const TIP: u32 = 12_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    // A range takes 40 seconds; one peer alone owes four of them at the end. With what comes more than once.
    let table = [(1, GAP, 300, 1), (2, GAP, 200, 2), (3, GAP, 150, 2), (3, 6000, 500, 4)];
    for (peers, gap, limit, times) in table {
        let mut lab = world(peers, &chain, gap);
        lab.peers.iter_mut().for_each(|peer| peer.rate = Some(4000));
        let took = until_headers(&mut lab, TIP);
        println!("{peers} slow peers, {gap} apart: {took:?}, {} headers sent", headers_sent(&lab));
        assert!(took < Duration::from_secs(limit), "{peers}, {gap}: {took:?}");
        assert!(headers_sent(&lab) <= times * u64::from(TIP), "{peers}, {gap}: {}", headers_sent(&lab));
        sync(&mut lab);
        assert_eq!(lab.farewells(), [], "{peers}, {gap}");
    }
}

/// The lowest range does not come: the others fetch what may be open, and no more until it has come.
#[test]
fn what_is_open_is_bounded() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    // As many as a multiple of the gap allows.
    for (gap, open) in [(500, OPEN), (GAP, OPEN), (3000, 30_000), (10_000, 30_000)] {
        let mut lab = world(4, &chain, gap);
        let first = chain.hash(0);
        let stuck = |peers: &mut [Peer]| {
            for peer in peers {
                peer.conduct = Box::new(move |chain, locator, stop| match locator[0] == first {
                    true => Reply::Nothing,
                    false => Reply::Headers(chain.answer(locator, stop)),
                });
            }
        };
        stuck(&mut lab.peers);
        lab.run_for(Duration::from_secs(200));
        let what = format!("{gap} apart");
        assert_eq!(lab.progress.headers.done, 0, "{what}");
        let highest = asked(&lab, &chain, gap).into_keys().max();
        assert_eq!(highest, Some(open), "{what}");
        // Each of those that came was kept, for none was asked for again but the lowest.
        let asked = asked(&lab, &chain, gap);
        assert!(asked[&gap] > 4, "{what}: {asked:?}");
        assert_eq!(lab.farewells(), [], "{what}");
        // And nobody is worse off for having waited.
        lab.peers.iter_mut().for_each(|peer| peer.conduct = lab::peer::honest());
        sync(&mut lab);
        assert!(lab.exported(0) == chain.headers(0, TIP), "{what}");
    }
}

#[test]
fn a_peer_that_lies_within_a_range_is_let_go_under_a_name() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    // What it answers to a request for the headers after one height up to another: of the chain, and of another that
    // leaves it in between. And what that is called, which depends on where it was.
    type Answer = fn(&Chain, &Chain, u32, u32) -> Vec<Header>;
    type Called = fn(u32) -> Misbehaviour;
    let table: [(&str, u32, Answer, Called); 6] = [
        (
            "another chain's headers from the middle on",
            GAP,
            |_, lie, from, to| lie.headers(from + 1, to).to_vec(),
            Misbehaviour::ContradictsKnownBlock,
        ),
        (
            "another chain's headers, and on above the known block",
            1000,
            |_, lie, from, to| lie.headers(from + 1, to + 1000).to_vec(),
            Misbehaviour::ContradictsKnownBlock,
        ),
        (
            "another chain's headers in a message that is not the last of the range",
            5000,
            |_, lie, from, _| lie.headers(from + 1, from + 2000).to_vec(),
            Misbehaviour::ContradictsKnownBlock,
        ),
        (
            "the last is another",
            GAP,
            |chain, lie, from, to| [chain.headers(from + 1, to - 1), lie.headers(to, to)].concat(),
            |_| Misbehaviour::HeadersDiscontinuous,
        ),
        (
            "one is left out",
            GAP,
            |chain, _, from, to| {
                [chain.headers(from + 1, from + 700), chain.headers(from + 702, to)].concat()
            },
            |_| Misbehaviour::HeadersDiscontinuous,
        ),
        (
            "more than was asked for",
            1000,
            |chain, _, from, to| chain.headers(from + 1, to + 1).to_vec(),
            |_| Misbehaviour::WrongAnswer(CommandName::new("headers")),
        ),
    ];
    for (what, gap, answer, called) in table {
        let mut lab = world(4, &chain, gap);
        let lied_about = Rc::new(Cell::new(0));
        let told = lied_about.clone();
        let mut lie = None;
        lab.peers[0] = Peer::new(&chain).acting(move |chain, locator, stop| {
            match (chain.height_of(&locator[0]), chain.height_of(&stop), &mut lie) {
                (Some(from), Some(to), lie @ None) if from >= 3 * gap => {
                    told.set(to);
                    let lie = lie.insert(chain.fork(from + 500, 6000, 1));
                    Reply::Headers(answer(chain, lie, from, to))
                }
                // It holds to what it has said.
                (None, _, Some(lie)) => Reply::Headers(lie.answer(locator, stop)),
                _ => Reply::Headers(chain.answer(locator, stop)),
            }
        });
        // The others come when it has been asked for all that one is asked for.
        lab.peers[1..].iter_mut().for_each(|peer| peer.up = false);
        soon(&mut lab, "the lie", |_| lied_about.get() > 0);
        lab.peers[1..].iter_mut().for_each(|peer| peer.up = true);
        soon(&mut lab, "the end of the liar", |lab| lab.conn(0).is_none());
        sync(&mut lab);
        let to = lied_about.get();
        assert_eq!(
            misbehaved(&lab),
            [(endpoint(0), Reason::Misbehaved(called(to)))],
            "{what}: {:?}",
            lab.farewells()
        );
        let good: u32 = lab.peers[1..].iter().map(|peer| peer.connections).sum();
        assert_eq!(good, 3, "{what}: the honest are kept");
        let again = asked(&lab, &chain, gap)[&to];
        assert_eq!(again, 2, "{what}: the range is asked of another, once");
        assert!(lab.exported(0) == chain.headers(0, TIP), "{what}");
    }
}

/// Whatever there is to be had contradicts a known block: nothing of it is kept, and each who shows it is named.
#[test]
fn a_chain_that_contradicts_a_known_block_is_followed_by_no_majority() {
    const TIP: u32 = 20_000;
    const FORK: u32 = 9500;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    // Of more work than the chain.
    let other = Rc::new(chain.fork(FORK, 15_000, 1));
    for gap in [1000, GAP, 5000] {
        let known = FORK / gap * gap;
        let mut lab = Lab::new(with_known(4, &chain, gap), (0..4).map(|_| Peer::new(&other)).collect());
        lab.run_for(Duration::from_secs(600));
        let what = format!("{gap} apart");
        for peer in 0..4 {
            let contradicts = Reason::Misbehaved(Misbehaviour::ContradictsKnownBlock(known + gap));
            assert!(
                misbehaved(&lab).contains(&(endpoint(peer), contradicts)),
                "{what}: {:?}",
                lab.farewells()
            );
        }
        assert_eq!((lab.synced, lab.progress.headers.done), (None, known), "{what}");
        // Nothing above is stored, and one honest peer is enough.
        assert!(lab.exported(0) == chain.headers(0, known), "{what}");
        lab.peers[3] = Peer::new(&chain);
        soon(&mut lab, "the sync", |lab| lab.synced == Some(chain.tip()));
        assert!(lab.exported(0) == chain.headers(0, TIP), "{what}");
    }
}

/// A peer without what it is asked for, as one that is syncing itself, or that answers with less, is left for others and
/// is no liar.
#[test]
fn a_peer_that_does_not_have_a_range_is_left_for_others() {
    let chain = Rc::new(Chain::with_height(40_000, 0));
    let low = Rc::new(chain.cut(9000));
    let other = Rc::new(chain.fork(5000, 35_100, 1));
    let empty = |_: &Chain, _: &[BlockHash], _| Reply::Headers(Vec::new());
    let short = |chain: &Chain, locator: &[BlockHash], stop| {
        let mut headers = chain.answer(locator, stop);
        headers.truncate(700);
        Reply::Headers(headers)
    };
    let table: [(&str, Peer); 5] = [
        ("empty", Peer::new(&chain).acting(empty)),
        ("short", Peer::new(&chain).acting(short)),
        ("not yet that high", Peer::new(&low)),
        ("not yet that high, and claims to be", Peer::new(&low).claiming(40_000)),
        ("of another chain", Peer::new(&other)),
    ];
    for (what, peer) in table {
        let mut lab = world(3, &chain, GAP);
        lab.peers[0] = peer;
        let took = until_headers(&mut lab, 40_000);
        assert!(took < Duration::from_secs(3), "{what}: {took:?}");
        soon(&mut lab, "the sync", |lab| lab.synced.is_some());
        if what != "of another chain" {
            assert_eq!(lab.farewells(), [], "{what}");
        }
        assert_eq!(lab.exported(38_001), chain.headers(38_001, 40_000), "{what}");
    }
}

/// No peer has the known blocks yet: nothing is told to be done, and it goes on when one has.
#[test]
fn peers_that_are_all_behind_are_asked_again() {
    let chain = Rc::new(Chain::with_height(20_000, 0));
    let low = Rc::new(chain.cut(7000));
    let mut lab = Lab::new(with_known(2, &chain, GAP), vec![Peer::new(&low), Peer::new(&low)]);
    lab.run_for(Duration::from_secs(300));
    assert_eq!((lab.synced, lab.farewells()), (None, vec![]));
    lab.peers[1].chain = chain;
    sync(&mut lab);
    assert_eq!(lab.farewells(), []);
}

/// Blocks are found while ranges are open: what is announced comes when they are done, and who announces it goes on
/// serving ranges.
#[test]
fn an_announcement_takes_no_range_back() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    let new = Rc::new(chain.fork(TIP, 8, 0));
    for count in [1, 2, 8] {
        let mut lab = world(2, &chain, GAP);
        soon(&mut lab, "a few ranges", |lab| lab.progress.headers.done >= 8000);
        for peer in 0..2 {
            lab.peers[peer].chain = new.clone();
            lab.push_headers(peer, new.headers(TIP + 9 - count, TIP + 8));
        }
        sync(&mut lab);
        assert_eq!(lab.synced, Some(new.tip()));
        let asked = asked(&lab, &new, GAP);
        assert!(asked.values().all(|times| *times == 1), "{count}: {asked:?}");
        assert_eq!(lab.farewells(), [], "{count}");
    }
}

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    let slow = Some(Duration::from_millis(20));
    let table = [(1000, slow), (GAP, None), (GAP, slow), (5000, None), (10_000, slow)];
    for (gap, disk_delay) in table {
        let mut lab = world(3, &chain, gap);
        lab.disk_delay = disk_delay;
        let mut tips = Vec::new();
        // Each process writes a few batches; some end in the middle of a range that takes several.
        for life in [3, 4, 5, 4] {
            lab.crash_after = Some(lab.batches() + life);
            soon(&mut lab, "the end", Lab::has_crashed);
            lab.peers.iter_mut().for_each(|peer| peer.asked.clear());
            lab.restart();
            soon(&mut lab, "a request", |lab| lab.peers.iter().any(|peer| !peer.asked.is_empty()));
            let tip = lab.started().expect("it has started");
            tips.push(tip.height);
            let lowest = lab.peers.iter().flat_map(|peer| requests(peer, &chain, gap)).min();
            let what = format!("{gap} apart, {disk_delay:?}, from {tips:?}");
            // A range is proven as a whole.
            assert_eq!(lowest, Some((tip.height / gap * gap, tip.height / gap * gap + gap)), "{what}");
        }
        let what = format!("{gap} apart, {disk_delay:?}, from {tips:?}");
        assert!(tips.is_sorted() && tips[0] < tips[3], "{what}");
        sync(&mut lab);
        assert_eq!(lab.farewells(), [], "{what}");
        assert!(lab.exported(0) == chain.headers(0, TIP), "{what}");
        // The rest comes once.
        let asked = asked(&lab, &chain, gap);
        assert!(asked.values().all(|times| *times == 1), "{what}: {asked:?}");
        assert_eq!(asked.len() as u32, TIP / gap - tips[3] / gap, "{what}");
    }
}

/// What came of each import.
fn imported(lab: &Lab) -> Vec<Option<ImportError>> {
    let told = lab.events.iter().filter_map(|event| match event {
        Event::Imported { stopped, .. } => Some(stopped.clone()),
        _ => None,
    });
    told.collect()
}

/// Headers come from a file while peers are asked for ranges: nothing is lost, nobody is let go.
#[test]
fn an_import_while_ranges_are_open() {
    let chain = Rc::new(Chain::with_height(40_000, 0));
    for import in [1, 700, 2000] {
        let mut lab = world(2, &chain, GAP);
        lab.latency = Duration::from_millis(100);
        soon(&mut lab, "a few ranges", |lab| lab.progress.headers.done >= 4000);
        // From what is known up to far above it, faster than the peers.
        let mut next = 3001;
        while lab.progress.headers.done < 40_000 && next < 30_000 {
            let last = (next + import - 1).min(40_000);
            lab.import(chain.headers(next, last));
            next = last + 1;
            lab.run_for(Duration::from_millis(if import == 1 { 1 } else { 30 }));
        }
        sync(&mut lab);
        let stopped: Vec<ImportError> = imported(&lab).into_iter().flatten().collect();
        assert_eq!(lab.farewells(), [], "{import} at once");
        assert!(lab.exported(0) == chain.headers(0, 40_000), "{import} at once");
        // What was imported goes on from what is known, or is known, unless peers were faster.
        assert!(stopped.iter().all(|error| matches!(error, ImportError::Unconnected)), "{stopped:?}");
    }
}

/// A file whose headers are not those of the chain spoils nothing.
#[test]
fn an_import_that_lies_spoils_nothing() {
    let chain = Rc::new(Chain::with_height(20_000, 0));
    let lie = chain.fork(4500, 4000, 1);
    let mut lab = world(2, &chain, GAP);
    lab.peers.iter_mut().for_each(|peer| peer.up = false);
    lab.run_for(Duration::from_secs(1));
    lab.import(chain.headers(1, 2000));
    lab.import(chain.headers(2001, 4000));
    lab.import(lie.headers(4001, 5500));
    lab.import(lie.headers(5501, 6500));
    assert_eq!(imported(&lab), [None, None, None, Some(ImportError::Unconnected)]);
    // Half a lie is there when the peers come.
    lab.import(lie.headers(4001, 5500));
    lab.peers.iter_mut().for_each(|peer| peer.up = true);
    sync(&mut lab);
    assert_eq!(misbehaved(&lab), []);
    assert!(lab.exported(0) == chain.headers(0, 20_000));
}

/// Whoever has shown what it has is asked again behind the others, whatever it announces: this one announces a block that there is
/// not with every answer, from a line as slow as that of the honest one is quick.
#[test]
fn one_that_announces_with_each_answer_keeps_no_other_from_being_asked() {
    let chain = Rc::new(Chain::with_height(60, 0));
    let short = Rc::new(chain.cut(10));
    let news = Chain::with_height(90, 1).tip();
    let announcer = Peer::new(&short)
        .acting(move |chain, locator, stop| Reply::HeadersAndNews(chain.answer(locator, stop), news));
    let mut lab = Lab::new(config(2), vec![announcer, Peer::new(&chain)]);
    lab.run_until("the honest chain", |lab| lab.progress.headers.done == 60);
    lab.run_for(Duration::from_secs(10));
    assert!(lab.peers[0].asked.len() > 2, "the news led to questions");
    assert_eq!(misbehaved(&lab), []);
}
