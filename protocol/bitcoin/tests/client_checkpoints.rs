//! Filter headers from several peers at once, each range proven by the checkpoints that its sender has named itself: what
//! is asked of whom, what lies come to, and what becomes of it when peers and chains change.
//!
//! `ANDON_HEADERS` is how many blocks the comparison with one peer is made on, instead of 200,000; `ANDON_SEEDS` is how many
//! random worlds there are, `ANDON_FIRST_SEED` the first.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Command, Config, Event, Import, Misbehaviour, Reason, Start};
use andon_bitcoin::filter;
use andon_bitcoin::points::StartPoint;
use andon_bitcoin::wire::CommandName;
use andon_kernel::{MemoryStore, Rng};
use bitcoin::hashes::Hash;
use bitcoin::{FilterHash, FilterHeader};
use lab::chain::script;
use lab::peer::Given;
use lab::{Asked, Chain, Lab, Peer, config, endpoint};

/// Filter headers in open ranges at most: a megabyte.
const OPEN: u32 = 32_000;

/// What an honest peer's filter headers are, from the height `from` on.
fn filter_headers(chain: &Chain, from: u32) -> Vec<FilterHeader> {
    (from..=chain.height()).map(|height| chain.filter_header(height)).collect()
}

/// All filter headers that are stored, in order.
fn stored(lab: &Lab) -> Vec<FilterHeader> {
    let mut all = Vec::new();
    for (_, value) in lab.rows("filter_headers") {
        let (headers, _) = value.split_at(value.len() - 4);
        all.extend(headers.chunks(32).map(|header| FilterHeader::from_slice(header).unwrap()));
    }
    all
}

/// What is stored of a chain's block headers alone.
fn headers_of(chain: &Rc<Chain>, config: Config) -> MemoryStore {
    let mut lab = Lab::new(Config { peers: vec![endpoint(0)], ..config }, vec![Peer::new(chain)]);
    lab.peers[0].indexed = 0;
    lab.run_until("the block headers", |lab| lab.progress.headers.done >= chain.height());
    lab.let_the_disk_finish();
    assert_eq!(stored(&lab), []);
    lab.store().clone()
}

/// A client that has the block headers of a chain and none of its filter headers, and these peers. A round trip takes 200
/// ms.
fn world(chain: &Rc<Chain>, peers: Vec<Peer>) -> Lab {
    let mut lab = Lab::on(headers_of(chain, config(1)), config(peers.len()), peers);
    lab.latency = Duration::from_millis(100);
    lab
}

fn honest(count: usize, chain: &Rc<Chain>) -> Vec<Peer> {
    (0..count).map(|_| Peer::new(chain)).collect()
}

/// The ranges of filter headers that were asked for, and of whom; what is asked for one filter header is left out.
fn ranges(lab: &Lab) -> Vec<(usize, u32, u32)> {
    let ranges = lab.asked.iter().filter_map(|(_, peer, asked)| match asked {
        Asked::FilterHeaders(start, stop) if stop > start => Some((*peer, *start, *stop)),
        _ => None,
    });
    ranges.collect()
}

/// The heights up to which checkpoints were asked for, and of whom.
fn checkpoints(lab: &Lab) -> Vec<(usize, u32)> {
    let asked = lab.asked.iter().filter_map(|(_, peer, asked)| match asked {
        Asked::Checkpoints(stop) => Some((*peer, *stop)),
        _ => None,
    });
    asked.collect()
}

/// How often more than once ranges were asked for.
fn again(lab: &Lab) -> usize {
    let mut times: BTreeMap<u32, usize> = BTreeMap::new();
    ranges(lab).into_iter().for_each(|(_, start, _)| *times.entry(start).or_default() += 1);
    times.values().map(|times| times - 1).sum()
}

/// Runs until `done`, which is to be within minutes.
fn soon(lab: &mut Lab, what: &str, mut done: impl FnMut(&Lab) -> bool) {
    let limit = lab.now + Duration::from_secs(1000);
    lab.run_until(what, |lab| {
        assert!(
            lab.now < limit,
            "{what} has not come: {:?} {:?}",
            lab.progress.filter_headers,
            lab.farewells()
        );
        done(lab)
    });
}

/// How long until so many filter headers have come.
fn until(lab: &mut Lab, height: u32) -> Duration {
    let begin = lab.now;
    soon(lab, "the filter headers", |lab| lab.progress.filter_headers.done >= height);
    lab.now.since(begin)
}

fn sync(lab: &mut Lab, chain: &Chain) {
    soon(lab, "the sync", |lab| lab.synced == Some(chain.tip()));
}

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn misbehaved(misbehaviour: Misbehaviour) -> Reason {
    Reason::Misbehaved(misbehaviour)
}

/// Round trips do not add up: four peers against one. And one takes no longer than four ranges a round trip do.
#[test]
fn four_peers_take_a_third_of_the_time_of_one_at_most() {
    const TRIP: Duration = Duration::from_millis(200);
    let tip = number("ANDON_HEADERS", 200_000);
    let chain = Rc::new(Chain::with_height(tip, 0));
    // A peer's line carries any number of bytes, or half a million a second.
    for rate in [None, Some(500_000)] {
        let mut times = Vec::new();
        for count in [1, 2, 4, 8] {
            let mut lab = world(&chain, honest(count, &chain));
            lab.rate = rate;
            soon(&mut lab, "the first request", |lab| !ranges(lab).is_empty());
            let took = until(&mut lab, tip);
            println!("{tip} filter headers, {count} peers, {rate:?} bytes/s: {took:?}, {} bytes", lab.bytes);
            sync(&mut lab, &chain);
            assert_eq!(lab.farewells(), []);
            assert_eq!(again(&lab), 0);
            let overhead = lab.bytes as f64 / f64::from(32 * tip);
            assert!(overhead < 1.02, "{count}: {overhead}");
            times.push(took);
        }
        if rate.is_none() {
            // The first of them comes after half a round trip.
            let sequence = TRIP * (tip / 8000 + 1);
            assert!(times[0] <= sequence, "{times:?}, {sequence:?}");
        }
        assert!(times[2] * 3 <= times[0] && times[1] * 3 <= times[0] * 2, "{times:?}");
        assert!(times[3] <= times[2], "{times:?}");
    }
}

/// Filter headers come as fast as block headers do, right behind them.
#[test]
fn they_come_beside_block_headers() {
    const TIP: u32 = 200_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    for (gap, trips) in [(2000, 8), (1000, 8), (5000, 8), (2016, 8)] {
        let mut lab = Lab::new(config(4), honest(4, &chain));
        lab.config.known_blocks = chain.known(gap, TIP);
        lab.latency = Duration::from_millis(100);
        soon(&mut lab, "the block headers", |lab| lab.progress.headers.done >= TIP);
        let headers = lab.now;
        let took = until(&mut lab, TIP);
        println!("{gap} apart: block headers after {headers:?}, filter headers {took:?} later");
        assert!(took <= Duration::from_millis(200) * trips, "{gap} apart: {took:?}");
        sync(&mut lab, &chain);
        assert_eq!(lab.farewells(), []);
        assert!(stored(&lab) == filter_headers(&chain, 0));
        let named: u32 = checkpoints(&lab).into_iter().map(|(_, height)| height / 1000 * 32).sum();
        assert!(named < 4 * 12 * TIP / 1000 * 32, "{named} bytes of checkpoints");
    }
}

#[test]
fn each_range_is_asked_of_one_peer_and_ends_with_a_checkpoint() {
    const TIP: u32 = 60_700;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    let alone = {
        let mut lab = world(&chain, honest(1, &chain));
        sync(&mut lab, &chain);
        lab
    };
    for (count, jitter) in [(1, 0), (2, 0), (2, 700), (4, 0), (4, 700), (8, 300)] {
        let mut lab = world(&chain, honest(count, &chain));
        lab.jitter = Duration::from_millis(jitter);
        sync(&mut lab, &chain);
        let what = format!("{count} peers, {jitter} ms");
        assert_eq!(lab.farewells(), [], "{what}");
        let mut asked = ranges(&lab);
        asked.sort_unstable_by_key(|(_, start, _)| *start);
        let mut next = 0;
        for (_, start, stop) in &asked {
            assert_eq!(*start, next, "{what}: {asked:?}");
            assert!(stop - start < 2000, "{what}: {asked:?}");
            next = stop + 1;
        }
        assert_eq!(next, TIP + 1, "{what}");
        let uneven = asked.iter().filter(|(_, _, stop)| !stop.is_multiple_of(1000)).count();
        assert_eq!(uneven, 1, "{what}: but for the last {asked:?}");
        if count <= 4 {
            let share = |peer: usize| asked.iter().filter(|(other, ..)| *other == peer).count();
            assert!((0..count).all(|peer| share(peer) * count * 3 >= asked.len()), "{what}: {asked:?}");
        }
        let mut named = checkpoints(&lab);
        named.sort_unstable();
        assert_eq!(named, (0..count).map(|peer| (peer, TIP)).collect::<Vec<_>>(), "{what}");
        for space in ["headers", "filter_headers", "hashes", "meta"] {
            assert!(lab.rows(space) == alone.rows(space), "{space}, {what}");
        }
    }
}

#[test]
fn near_the_tip_nobody_is_asked_for_checkpoints() {
    let chain = Rc::new(Chain::with_height(24_000, 0));
    let mut lab = Lab::on(Lab::synced_with(&chain).store().clone(), config(3), honest(3, &chain));
    sync(&mut lab, &chain);
    let mut chain = chain;
    for blocks in [1, 3, 9, 700, 3998, 7999] {
        chain = Rc::new(chain.fork(chain.height(), blocks, 0));
        (0..3).for_each(|peer| lab.switch(peer, &chain));
        sync(&mut lab, &chain);
    }
    assert_eq!(checkpoints(&lab), []);
    // A sync whose filter headers follow right behind its block headers needs none either.
    let mut lab = Lab::new(config(1), honest(1, &chain));
    sync(&mut lab, &chain);
    assert_eq!(checkpoints(&lab), []);
}

/// What a peer does about its third request: others are asked for what it owed.
#[test]
fn a_peer_that_stalls_or_goes_is_replaced() {
    const TIP: u32 = 100_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    type Fault = fn() -> Given;
    let table: [(&str, Fault, u64); 3] =
        [("silence", || Given::Stall, 7), ("end", || Given::HangUp, 3), ("gap", || Given::Nothing, 3)];
    for (what, fault, limit) in table {
        for who in [0, 2] {
            let mut lab = world(&chain, honest(4, &chain));
            let mut requests = 0;
            lab.peers[who].gives = Box::new(move |_, _, _| {
                requests += 1;
                if requests == 3 { fault() } else { Given::Whole }
            });
            let took = until(&mut lab, TIP);
            println!("{what} of {who}: {took:?}");
            assert!(took < Duration::from_secs(limit), "{what}: {took:?}");
            assert!((1..=4).contains(&again(&lab)), "{what}: {:?}", ranges(&lab));
            sync(&mut lab, &chain);
            lab.run_for(Duration::from_secs(60));
            assert!(
                lab.farewells().iter().all(|(whose, reason)| {
                    *whose == endpoint(who) && !matches!(reason, Reason::Misbehaved(_))
                }),
                "{what}: {:?}",
                lab.farewells()
            );
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
        }
    }
}

/// Being slow is no fault, and holds the others up for a few seconds only.
#[test]
fn a_slow_peer_holds_nobody_up_for_long() {
    const TIP: u32 = 150_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    // A range of a slow one takes 2, 6, 64 or 320 seconds.
    for (slow, rate, limit) in [
        (&[0][..], 30_000, 10),
        (&[3], 10_000, 8),
        (&[0], 1000, 8),
        (&[1, 2], 1000, 10),
        (&[0, 1, 2], 200, 14),
    ] {
        let mut lab = world(&chain, honest(4, &chain));
        slow.iter().for_each(|peer| lab.peers[*peer].rate = Some(rate));
        // The one that is to be the source has its checkpoints through.
        let took = until(&mut lab, TIP);
        println!("{slow:?} of 4 peers send {rate} bytes/s: {took:?}, {} asked for again", again(&lab));
        assert!(took < Duration::from_secs(limit), "{slow:?}, {rate}: {took:?}");
        lab.run_for(Duration::from_secs(1000));
        assert_eq!(lab.farewells(), [], "{slow:?}, {rate}");
        assert_eq!(lab.synced, Some(chain.tip()), "{slow:?}, {rate}");
        assert!(stored(&lab) == filter_headers(&chain, 0), "{slow:?}, {rate}");
    }
}

/// A source whose checkpoints nobody else names, or that is one without any: others can't help it, and take its place.
#[test]
fn a_slow_source_is_relieved() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    // It differs far above what comes before it is slow: until that is reached there is nothing to be heard.
    let empty = filter::build(&chain.hash(31_000), core::iter::empty::<&[u8]>());
    let liar = Rc::new(chain.with_filter(31_000, empty));
    let is_source = |lab: &Lab| ranges(lab).first().map(|(peer, ..)| *peer);
    for rate in [100, 300, 3000] {
        for has_checkpoints in [true, false] {
            let mut lab = world(&chain, honest(3, &chain));
            if has_checkpoints {
                lab.peers[0] = Peer::new(&liar);
            } else {
                lab.peers.iter_mut().for_each(|peer| peer.names = Box::new(|_, _| None));
            }
            soon(&mut lab, "the first range", |lab| is_source(lab).is_some());
            assert_eq!(is_source(&lab), Some(0));
            // Its checkpoints are through; of what it was asked for then little comes.
            lab.run_for(Duration::from_millis(210));
            lab.peers[0].rate = Some(rate);
            let took = until(&mut lab, TIP);
            println!(
                "a source with checkpoints of its own ({has_checkpoints}) sends {rate} bytes/s: {took:?}"
            );
            assert!(took < Duration::from_secs(12), "{has_checkpoints}, {rate}: {took:?}");
            soon(&mut lab, "the right ones", |lab| {
                lab.synced == Some(chain.tip()) && stored(lab) == filter_headers(&chain, 0)
            });
            lab.run_for(Duration::from_secs(1000));
            all_were_honest_but(&lab, has_checkpoints.then_some(0));
        }
    }
}

fn all_were_honest_but(lab: &Lab, liar: Option<usize>) {
    for (whose, reason) in lab.farewells() {
        assert!(liar.is_some_and(|liar| whose == endpoint(liar)), "{whose:?}: {reason}");
    }
}

/// There is nobody faster: what they are asked for does not go round for ever.
#[test]
fn peers_that_are_all_slow_are_waited_for() {
    const TIP: u32 = 20_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    for count in [1, 2, 3] {
        let mut lab = world(&chain, honest(count, &chain));
        // A range takes 16 seconds.
        lab.peers.iter_mut().for_each(|peer| peer.rate = Some(4000));
        let took = until(&mut lab, TIP);
        println!("{count} slow peers: {took:?}, {} bytes", lab.bytes);
        assert!(took < Duration::from_secs(200), "{count}: {took:?}");
        assert!(lab.bytes < 2 * u64::from(TIP) * 33, "{count}: {} bytes", lab.bytes);
        sync(&mut lab, &chain);
        assert_eq!(lab.farewells(), [], "{count}");
    }
}

/// The lowest range does not come: the others fetch what may be open, and no more until it has come.
#[test]
fn what_is_open_is_bounded() {
    const TIP: u32 = 100_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    let mut lab = world(&chain, honest(4, &chain));
    let stuck = Rc::new(Cell::new(true));
    for peer in &mut lab.peers {
        let stuck = stuck.clone();
        peer.gives = Box::new(move |_, start, _| match stuck.get() && start == 0 {
            true => Given::Nothing,
            false => Given::Whole,
        });
    }
    lab.run_for(Duration::from_secs(200));
    assert_eq!(lab.progress.filter_headers.done, 0);
    let highest = ranges(&lab).into_iter().map(|(_, _, stop)| stop).max().unwrap();
    assert!((OPEN - 2000..OPEN).contains(&highest), "{highest}");
    // Each of those that came was kept, for none was asked for again but the lowest.
    let again: Vec<_> = ranges(&lab).into_iter().filter(|(_, start, _)| *start > 0).collect();
    let mut starts: Vec<u32> = again.iter().map(|(_, start, _)| *start).collect();
    starts.sort_unstable();
    starts.dedup();
    assert!(again.len() <= starts.len() + 12, "{again:?}");
    assert_eq!(lab.farewells(), []);
    stuck.set(false);
    sync(&mut lab, &chain);
    assert!(stored(&lab) == filter_headers(&chain, 0));
}

/// A chain with whole blocks at its bottom and at the checkpoints, and the same with a lie about one of those, or about all blocks from a height
/// on: whose filter hashes are others, and which nothing proves.
const LIE: u32 = 33;

fn chain_with_blocks(tip: u32) -> Chain {
    let mut chain = Chain::new();
    chain.grow_blocks(LIE + 7, 0, |height| script(u64::from(height)));
    grow(&mut chain, tip, 0);
    chain
}

/// Adds blocks up to a height: whole ones at the checkpoints.
fn grow(chain: &mut Chain, tip: u32, tag: u8) {
    while chain.height() < tip {
        let next = (chain.height() / 1000 + 1) * 1000;
        chain.grow_filters((next - 1).min(tip) - chain.height(), tag, &[0]);
        if next <= tip {
            chain.grow_blocks(1, tag, |height| script(u64::from(height)));
        }
    }
}

fn branch(chain: &Chain, fork: u32, tip: u32, tag: u8) -> Rc<Chain> {
    let mut branch = chain.cut(fork);
    grow(&mut branch, tip, tag);
    Rc::new(branch)
}

fn hiding(chain: &Chain) -> Rc<Chain> {
    Rc::new(chain.with_filter(LIE, filter::build(&chain.hash(LIE), core::iter::empty::<&[u8]>())))
}

/// A peer that names other checkpoints than its chain has, from the height `from` on.
fn naming(chain: &Rc<Chain>, from: u32) -> Peer {
    let mut peer = Peer::new(chain);
    peer.names = Box::new(move |chain, height| {
        let named = (1..).zip(chain.checkpoints(height));
        let lie = FilterHeader::from_byte_array([7; 32]);
        Some(named.map(|(number, header)| if number * 1000 >= from { lie } else { header }).collect())
    });
    peer
}

/// A peer whose checkpoints are right, and whose filter headers are not: in ranges that begin at or above `from`.
fn sending(chain: &Rc<Chain>, from: u32, lie: fn(&mut FilterHeader, &mut Vec<FilterHash>)) -> Peer {
    let mut peer = Peer::new(chain);
    peer.gives = Box::new(move |chain, start, stop| {
        if start < from || stop == start {
            return Given::Whole;
        }
        let (mut previous, mut hashes) = chain.filter_range(start, stop);
        lie(&mut previous, &mut hashes);
        Given::These(previous, hashes)
    });
    peer
}

fn other_hash(hashes: &mut [FilterHash], place: usize) {
    hashes[place] = FilterHash::from_byte_array([9; 32]);
}

/// Checkpoints that are right and filter headers that are not: its own word convicts who sends them, and the others give
/// what it did not.
#[test]
fn who_does_not_lead_to_its_own_checkpoint_is_let_go() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    type Lie = fn(&mut FilterHeader, &mut Vec<FilterHash>);
    let table: [(&str, Lie); 4] = [
        ("the first", |_, hashes| other_hash(hashes, 0)),
        ("one in the middle", |_, hashes| other_hash(hashes, 700)),
        ("the last", |_, hashes| {
            let last = hashes.len() - 1;
            other_hash(hashes, last);
        }),
        ("what they follow from", |previous, _| *previous = FilterHeader::from_byte_array([9; 32])),
    ];
    for (what, lie) in table {
        for who in [0, 1, 3] {
            let mut lab = world(&chain, honest(4, &chain));
            lab.peers[who] = sending(&chain, 20_000, lie);
            sync(&mut lab, &chain);
            let [(ref whose, Reason::Misbehaved(Misbehaviour::ContradictsOwnFilterHeader(height)))] =
                lab.farewells()[..]
            else {
                panic!("{what} of {who}: {:?}", lab.farewells())
            };
            assert_eq!(*whose, endpoint(who), "{what}");
            assert!(height >= 20_000 && height.is_multiple_of(1000), "{what}: {height}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what} of {who}");
        }
    }
}

/// A peer that gives another number of filter headers than it was asked for, or some that it was not.
#[test]
fn answers_that_fit_no_question() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    type Lie = fn(&mut FilterHeader, &mut Vec<FilterHash>);
    let table: [(&str, Lie); 3] = [
        ("one less", |_, hashes| hashes.truncate(hashes.len() - 1)),
        ("one more", |_, hashes| hashes.push(FilterHash::from_byte_array([9; 32]))),
        ("none", |_, hashes| hashes.clear()),
    ];
    for (what, lie) in table {
        let mut lab = world(&chain, honest(3, &chain));
        lab.peers[1] = sending(&chain, 20_000, lie);
        sync(&mut lab, &chain);
        let wrong = misbehaved(Misbehaviour::WrongAnswer(CommandName::new("cfheaders")));
        assert_eq!(lab.farewells(), [(endpoint(1), wrong)], "{what}");
        assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
    }
}

#[test]
fn checkpoints_of_another_count_are_no_answer() {
    const TIP: u32 = 30_500;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    for count in [0, 1, 29, 31, 100_000] {
        for who in [0, 1] {
            let mut lab = world(&chain, honest(2, &chain));
            lab.peers[who].names = Box::new(move |chain, height| {
                let mut named = chain.checkpoints(height);
                named.resize(count, FilterHeader::from_byte_array([7; 32]));
                Some(named)
            });
            sync(&mut lab, &chain);
            let wrong = misbehaved(Misbehaviour::WrongAnswer(CommandName::new("cfcheckpt")));
            assert_eq!(lab.farewells(), [(endpoint(who), wrong)], "{count}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{count}");
        }
    }
}

/// A peer that names others than it gives, wherever they begin: it is let go, whether it comes first or not, and the chain
/// is the honest ones'.
#[test]
fn checkpoints_that_lie() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    for from in [1000, 8000, 23_000, 40_000] {
        for who in 0..3 {
            let mut lab = world(&chain, honest(3, &chain));
            lab.peers[who] = naming(&chain, from);
            soon(&mut lab, "the sync", |lab| lab.synced == Some(chain.tip()) && !lab.farewells().is_empty());
            let what = format!("from {from} on, of {who}");
            let [(whose, Reason::Misbehaved(reason))] = &lab.farewells()[..] else {
                panic!("{what}: {:?}", lab.farewells())
            };
            assert_eq!(*whose, endpoint(who), "{what}");
            // By what it gave, or by its filter, once it was heard.
            let fits = match reason {
                Misbehaviour::ContradictsOwnFilterHeader(height) => {
                    *height >= from && height.is_multiple_of(1000)
                }
                reason => *reason == Misbehaviour::WrongFilter,
            };
            assert!(fits, "{what}: {reason}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
        }
    }
}

/// What is known beforehand convicts at once: nothing of it is taken, and nobody else is troubled.
#[test]
fn checkpoints_against_known_filter_headers_convict_at_once() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    let liar = hiding(&chain);
    for known in [vec![1000], vec![30_000], vec![500, 2000, 39_000]] {
        for who in 0..2 {
            let mut lab = world(&chain, honest(2, &chain));
            lab.config.known_filter_headers =
                known.iter().map(|height| (*height, chain.filter_header(*height))).collect();
            lab.peers[who] = Peer::new(&liar);
            sync(&mut lab, &chain);
            let what = format!("{known:?}, {who}");
            let [(ref whose, Reason::Misbehaved(Misbehaviour::ContradictsKnownFilterHeader(height)))] =
                lab.farewells()[..]
            else {
                panic!("{what}: {:?}", lab.farewells())
            };
            assert_eq!(*whose, endpoint(who), "{what}");
            // Its filter headers and its checkpoints come in one piece.
            assert!(known.contains(&height), "{what}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
            assert!(!lab.events.iter().any(|event| matches!(event, Event::FalseFilter { .. })), "{what}");
            let one = lab.asked.iter().filter(|(_, _, asked)| match asked {
                Asked::FilterHeaders(start, stop) => start == stop,
                _ => false,
            });
            assert!(one.count() <= 3, "{what}: nothing is halved");
        }
    }
}

/// Liars whose chain is whole: it holds together, and others than theirs are wanted of an honest one. Wherever they stand,
/// one honest peer convicts them all, by the block.
#[test]
fn whole_lies_are_judged_by_the_block() {
    const TIP: u32 = 50_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    let liar = hiding(&chain);
    for order in ["hl", "lh", "llh", "lhl", "hll", "hhl", "hlh", "lhh", "lllh"] {
        let sides = order.chars().map(|side| Peer::new(if side == 'l' { &liar } else { &chain }));
        let mut lab = world(&chain, sides.collect());
        lab.command(Command::Watch { scripts: vec![script(u64::from(LIE))], from: Birthday::Height(20) });
        lab.peers.iter_mut().for_each(|peer| peer.withholds_filters = false);
        soon(&mut lab, "the end of the liars", |lab| {
            lab.farewells().len() == order.matches('l').count() && stored(lab) == filter_headers(&chain, 0)
        });
        let mut gone = lab.farewells();
        gone.sort_by_key(|(endpoint, _)| endpoint.clone());
        let liars = order.char_indices().filter(|(_, side)| *side == 'l');
        let convicted = misbehaved(Misbehaviour::FalseFilterHeader(LIE));
        assert_eq!(
            gone,
            liars.map(|(peer, _)| (endpoint(peer), convicted.clone())).collect::<Vec<_>>(),
            "{order}"
        );
        // Between the last checkpoint that is the same, of which there is none, and the first that is not.
        let one = lab.asked.iter().filter(|(_, _, asked)| match asked {
            Asked::FilterHeaders(start, stop) => start == stop && *start < 1000,
            _ => false,
        });
        assert!((1..=10 * order.len()).contains(&one.count()), "{order}");
    }
}

/// Nobody is left who vouched for what a liar had stored. The checkpoints of those who come say that it is another's.
#[test]
fn what_a_liar_has_left_is_replaced() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    for (lie, left) in [(LIE, 31_500), (20_000, 31_000), (31_000, 31_500)] {
        let empty = filter::build(&chain.hash(lie), core::iter::empty::<&[u8]>());
        let liar = Rc::new(chain.with_filter(lie, empty));
        for count in [1, 3] {
            let what = format!("{lie} to {left}, {count} peers");
            let mut lab = world(&chain, vec![Peer::new(&liar)]);
            lab.peers[0].indexed = left;
            lab.run_for(Duration::from_secs(100));
            lab.restart();
            let kept = lab.rows("filter_headers").len() as u32;
            assert!((left / 16 - 150..=left / 16 + 1).contains(&kept), "{what}: {kept}");
            lab.peers = honest(count, &chain);
            lab.config = config(count);
            soon(&mut lab, "the sync", |lab| lab.synced == Some(chain.tip()));
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
            assert!(
                !lab.farewells().iter().any(|(_, reason)| matches!(reason, Reason::Misbehaved(_))),
                "{what}"
            );
        }
    }
}

/// A node whose filter index is not that far says nothing. It is no liar, gives what it can, and holds nobody up.
#[test]
fn who_says_nothing_about_checkpoints_is_passed_over() {
    const TIP: u32 = 60_500;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    for indexed in [0, 20_000, 60_000, TIP - 1] {
        for who in [0, 2] {
            let mut lab = world(&chain, honest(3, &chain));
            lab.peers[who].indexed = indexed;
            let took = until(&mut lab, TIP);
            let what = format!("{indexed} of {who}");
            println!("an index up to {what}: {took:?}");
            assert!(took < Duration::from_secs(4), "{what}: {took:?}");
            lab.run_for(Duration::from_secs(600));
            assert_eq!(lab.farewells(), [], "{what}");
            assert!(stored(&lab) == filter_headers(&chain, 0), "{what}");
            // It is asked now and then, and goes on as soon as it can.
            lab.peers[who].indexed = u32::MAX;
            lab.run_for(Duration::from_secs(60));
            assert_eq!(lab.synced, Some(chain.tip()), "{what}");
        }
        // With nobody else there is what it has, and the rest when it has that.
        let mut lab = world(&chain, honest(1, &chain));
        lab.peers[0].indexed = indexed;
        lab.run_for(Duration::from_secs(100));
        let done = lab.progress.filter_headers.done;
        assert!(done <= indexed && indexed - done < 2000, "{done} of {indexed}");
        assert_eq!(lab.synced, None);
        lab.peers[0].indexed = u32::MAX;
        let took = until(&mut lab, TIP);
        assert!(took < Duration::from_secs(40), "{indexed}: {took:?}");
        assert_eq!(lab.farewells(), [], "{indexed}");
        assert!(checkpoints(&lab).len() < 8, "{indexed}: {:?}", checkpoints(&lab));
    }
}

/// A node that does not know the message serves in sequence, as fast as one alone.
#[test]
fn without_checkpoints_one_peer_is_asked_in_sequence() {
    const TIP: u32 = 100_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    for count in [1, 3] {
        let mut lab = world(&chain, honest(count, &chain));
        lab.peers.iter_mut().for_each(|peer| peer.names = Box::new(|_, _| None));
        soon(&mut lab, "the first request", |lab| !ranges(lab).is_empty());
        let took = until(&mut lab, TIP);
        assert!(took <= Duration::from_millis(200) * (TIP / 8000 + 1), "{count}: {took:?}");
        sync(&mut lab, &chain);
        assert_eq!(lab.farewells(), []);
        let of: Vec<usize> = ranges(&lab).into_iter().map(|(peer, ..)| peer).collect();
        assert!(of.iter().all(|peer| *peer == of[0]), "{of:?}");
        // One with checkpoints that comes is the source from then on.
        let mut lab = world(&chain, honest(count, &chain));
        lab.peers.iter_mut().for_each(|peer| peer.names = Box::new(|_, _| None));
        until(&mut lab, TIP / 4);
        for peer in count..count + 2 {
            lab.peers.push(Peer::new(&chain));
            lab.command(Command::AddPeer(endpoint(peer)));
        }
        sync(&mut lab, &chain);
        assert_eq!(lab.farewells(), []);
        assert!(ranges(&lab).iter().filter(|(peer, ..)| *peer >= count).count() > 10, "{:?}", ranges(&lab));
        assert!(stored(&lab) == filter_headers(&chain, 0));
    }
}

/// Nobody has contradicted anything: connections ended for other reasons only.
fn all_were_honest(lab: &Lab, what: &str) {
    let gone = lab.farewells();
    assert!(!gone.iter().any(|(_, reason)| matches!(reason, Reason::Misbehaved(_))), "{what}: {gone:?}");
}

#[test]
fn a_reorganisation_while_ranges_are_open() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    // Within the window, and below it.
    for fork in [TIP - 1, TIP - 1000, 55_000, 40_000] {
        let other = Rc::new(chain.fork(fork, TIP - fork + 1700, 1));
        for apart in [0, 150] {
            for at in [0, 35_000] {
                let what = format!("fork at {fork}, {apart} ms apart, from {at} on");
                let mut lab = world(&chain, honest(3, &chain));
                soon(&mut lab, "some filter headers", |lab| {
                    !ranges(lab).is_empty() && lab.progress.filter_headers.done >= at
                });
                for peer in [1, 0, 2] {
                    lab.switch(peer, &other);
                    lab.run_for(Duration::from_millis(apart));
                }
                sync(&mut lab, &other);
                all_were_honest(&lab, &what);
                assert!(stored(&lab) == filter_headers(&other, 0), "{what}");
            }
        }
    }
}

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    let slow = Some(Duration::from_millis(20));
    for (count, disk_delay) in [(1, None), (3, None), (3, slow), (4, slow)] {
        let mut lab = world(&chain, honest(count, &chain));
        lab.disk_delay = disk_delay;
        let mut kept = Vec::new();
        for life in [1, 3, 2, 8, 5] {
            lab.crash_after = Some(lab.batches() + life);
            soon(&mut lab, "the end", Lab::has_crashed);
            lab.restart();
            lab.asked.clear();
            let before = stored(&lab);
            let next = before.len() as u32;
            assert!(before == filter_headers(&chain, 0)[..before.len()], "{count}, {disk_delay:?}, {kept:?}");
            kept.push(next);
            soon(&mut lab, "a request", |lab| !ranges(lab).is_empty());
            let lowest = ranges(&lab).into_iter().map(|(_, start, _)| start).min();
            assert_eq!(lowest, Some(next), "{count}, {disk_delay:?}, {kept:?}");
        }
        assert!(kept.is_sorted() && kept[0] < kept[4], "{kept:?}");
        sync(&mut lab, &chain);
        lab.let_the_disk_finish();
        assert_eq!(lab.farewells(), []);
        assert_eq!(again(&lab), 0, "{count}, {disk_delay:?}");
        assert!(stored(&lab) == filter_headers(&chain, 0));
    }
}

/// A client whose chain begins at this height of another.
fn starting(chain: &Chain, height: u32) -> Start {
    let from = (height / 2016 * 2016).min(height - 10);
    let headers = chain.headers(from, height).to_vec();
    Start::Point(StartPoint { height, work: chain.work(height), headers })
}

/// What the first filter header follows from comes with the first answer, and the checkpoint above proves it too.
#[test]
fn a_start_above_zero() {
    const TIP: u32 = 60_300;
    let chain = Rc::new(chain_with_blocks(60_000).fork(60_000, TIP - 60_000, 0));
    for start in [10_080, 11_000, 11_001, 12_999] {
        let config = |count| Config { start: starting(&chain, start), ..config(count) };
        let headers = headers_of(&chain, config(1));
        for count in [1, 3] {
            let what = format!("{start}, {count} peers");
            let mut lab = Lab::on(headers.clone(), config(count), honest(count, &chain));
            sync(&mut lab, &chain);
            assert_eq!(lab.farewells(), [], "{what}");
            assert!(stored(&lab) == filter_headers(&chain, start), "{what}");
            assert_eq!(again(&lab), 0, "{what}");
        }
        // One that sends another predecessor, whether checkpoints prove it or nobody has named any.
        for (who, silent) in [(0, false), (1, false), (2, false), (0, true), (1, true)] {
            let what = format!("{start}, a liar at {who}, {silent}");
            let mut lab = Lab::on(headers.clone(), config(3), honest(3, &chain));
            lab.peers[who] =
                sending(&chain, 0, |previous, _| *previous = FilterHeader::from_byte_array([9; 32]));
            lab.peers.iter_mut().filter(|_| silent).for_each(|peer| peer.names = Box::new(|_, _| None));
            soon(&mut lab, "the right ones", |lab| {
                lab.synced == Some(chain.tip()) && stored(lab) == filter_headers(&chain, start)
            });
            assert!(lab.farewells().iter().all(|(whose, _)| *whose == endpoint(who)), "{what}");
        }
    }
}

#[test]
fn peers_that_come_and_go() {
    const TIP: u32 = 100_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    for seed in 0..6 {
        let mut lab = world(&chain, honest(2, &chain));
        lab.jitter = Duration::from_millis(40 * seed);
        let mut turn = seed;
        while lab.synced != Some(chain.tip()) {
            assert!(lab.now.as_micros() < 600_000_000, "{seed}: {:?}", lab.progress.filter_headers);
            lab.run_for(Duration::from_millis(170 + 60 * seed));
            turn += 1;
            if turn < 20 {
                lab.cut((turn * (seed + 3)) as usize % lab.peers.len());
            }
            if turn % 3 == 0 && lab.peers.len() < 6 {
                lab.command(Command::AddPeer(endpoint(lab.peers.len())));
                lab.peers.push(Peer::new(&chain));
            }
        }
        all_were_honest(&lab, "who comes and goes");
        assert!(stored(&lab) == filter_headers(&chain, 0), "{seed}");
    }
}

#[test]
fn an_import_while_ranges_are_open() {
    const TIP: u32 = 60_000;
    let chain = Rc::new(Chain::with_height(TIP, 0));
    for (count, every) in [(1, 70), (3, 30), (3, 130)] {
        let mut lab = world(&chain, honest(count, &chain));
        until(&mut lab, 4000);
        let mut imports = 0;
        while lab.progress.filter_headers.done < TIP - 3000 {
            let from = lab.progress.filter_headers.done - 700;
            let filter_headers = filter_headers(&chain, from)[..1990].to_vec();
            let import = Import { filter_headers_from: from, filter_headers, ..Import::default() };
            lab.command(Command::Import(import));
            imports += 1;
            lab.run_for(Duration::from_millis(every));
        }
        sync(&mut lab, &chain);
        let refused =
            lab.events.iter().filter(|event| matches!(event, Event::Imported { stopped: Some(_), .. }));
        assert_eq!(refused.count(), 0, "{count}");
        assert!(imports > 3, "{imports}");
        assert_eq!(lab.farewells(), []);
        assert!(stored(&lab) == filter_headers(&chain, 0));
    }
}

/// Two liars that name the same and one honest peer, while connections end and the process does.
#[test]
fn lies_over_restarts() {
    const TIP: u32 = 40_000;
    let chain = Rc::new(chain_with_blocks(TIP));
    let liar = hiding(&chain);
    for order in ["llh", "hll", "lhl"] {
        for life in [1, 4, 9, 12, 17, 22] {
            let peers = order.chars().map(|side| Peer::new(if side == 'l' { &liar } else { &chain }));
            let mut lab = world(&chain, peers.collect());
            lab.crash_after = Some(lab.batches() + life);
            lab.run_for(Duration::from_secs(3));
            lab.restart();
            soon(&mut lab, "the right ones", |lab| {
                lab.synced == Some(chain.tip()) && stored(lab) == filter_headers(&chain, 0)
            });
            let convicted = misbehaved(Misbehaviour::FalseFilterHeader(LIE));
            for (whose, reason) in lab.farewells() {
                let who = (0..3).find(|peer| endpoint(*peer) == whose).unwrap();
                assert_eq!((&order[who..=who], reason), ("l", convicted.clone()), "{order}, {life}");
            }
        }
    }
}

/// A world of peers of every kind, drawn from a seed: they come and go, the chain is reorganised, the process ends.
fn random_world(seed: u64) {
    const TIP: u32 = 30_000;
    let mut rng = Rng::new([31; 32]).fork_indexed("world", seed);
    let mut chain = Rc::new(chain_with_blocks(TIP));
    let lie = [LIE, 9000, 21_000][rng.below(3) as usize];
    let mut liar = {
        let filter = filter::build(&chain.hash(lie), core::iter::empty::<&[u8]>());
        Rc::new(chain.with_filter(lie, filter))
    };
    let mut good = Vec::new();
    let mut peers = Vec::new();
    for place in 0..rng.below(5) + 2 {
        let kind = if place == 0 { 0 } else { rng.below(8) };
        let mut peer = match kind {
            4 => Peer::new(&liar),
            5 => naming(&chain, rng.below(30) as u32 * 1000 + 1000),
            6 => {
                let mut peer = Peer::new(&chain);
                let from = rng.below(20_000) as u32;
                // About a block that is whole.
                peer.gives = Box::new(move |chain, start, stop| {
                    let (previous, mut hashes) = chain.filter_range(start, stop);
                    if start >= from && stop > start && stop.is_multiple_of(1000) {
                        let last = hashes.len() - 1;
                        other_hash(&mut hashes, last);
                    }
                    Given::These(previous, hashes)
                });
                peer
            }
            7 => {
                let mut peer = Peer::new(&chain);
                peer.names = Box::new(|_, _| Some(Vec::new()));
                peer
            }
            _ => Peer::new(&chain),
        };
        match kind {
            1 => peer.indexed = rng.below(u64::from(TIP)) as u32,
            2 => peer.rate = Some([10_000, 50_000, 200_000][rng.below(3) as usize]),
            3 => peer.names = Box::new(|_, _| None),
            _ => {}
        }
        good.push(kind < 4);
        peers.push(peer);
    }
    // Somebody is there who has all.
    let first = rng.below(peers.len() as u64) as usize;
    peers.swap(0, first);
    good.swap(0, first);
    let mut lab = world(&chain, peers);
    lab.jitter = Duration::from_millis(rng.below(300));
    lab.latency = Duration::from_millis(1 + rng.below(200));
    lab.disk_delay =
        [None, Some(Duration::from_millis(3)), Some(Duration::from_millis(40))][rng.below(3) as usize];
    if rng.below(2) == 0 {
        lab.config.known_filter_headers =
            vec![(500, chain.filter_header(500)), (10_000, chain.filter_header(10_000))];
    }
    let honest_left = |lab: &Lab| {
        for (whose, reason) in lab.farewells() {
            let who = (0..good.len()).find(|peer| endpoint(*peer) == whose).unwrap();
            // The announcement of a new chain may fall into a handshake here.
            let lied = match &reason {
                Reason::Misbehaved(misbehaviour) => !matches!(misbehaviour, Misbehaviour::OutOfTurn(_)),
                _ => false,
            };
            assert!(!good[who] || !lied, "{who} was honest: {reason}");
        }
    };
    for _ in 0..rng.below(12) {
        lab.run_for(Duration::from_millis(rng.below(900)));
        match rng.below(6) {
            0 => {
                honest_left(&lab);
                lab.restart();
            }
            1 => lab.cut(rng.below(good.len() as u64) as usize),
            2 => lab.crash_after = Some(lab.batches() + 1 + rng.below(4) as usize),
            3 => {
                let fork = TIP - rng.below(2000) as u32;
                let count = 1 + rng.below(50) as u32;
                let tag = rng.below(200) as u8 + 1;
                chain = branch(&chain, fork.min(chain.height()), chain.height() + count, tag);
                liar = branch(&liar, fork.min(liar.height()), chain.height(), tag);
                for peer in 0..good.len() {
                    let own = if lab.peers[peer].chain.filter_header(lie) == chain.filter_header(lie) {
                        &chain
                    } else {
                        &liar
                    };
                    let own = own.clone();
                    match lab.has_crashed() {
                        true => lab.peers[peer].chain = own,
                        false => lab.switch(peer, &own),
                    }
                }
            }
            4 => {
                let peer = rng.below(good.len() as u64) as usize;
                lab.peers[peer].up ^= true;
            }
            _ => {}
        }
        if lab.has_crashed() {
            honest_left(&lab);
            lab.restart();
        }
    }
    lab.crash_after = None;
    honest_left(&lab);
    if lab.has_crashed() {
        lab.restart();
    }
    lab.peers.iter_mut().for_each(|peer| peer.up = true);
    lab.peers.iter_mut().zip(&good).filter(|(_, good)| **good).for_each(|(peer, _)| peer.indexed = u32::MAX);
    soon(&mut lab, "the right ones", |lab| {
        lab.synced == Some(chain.tip()) && stored(lab) == filter_headers(&chain, 0)
    });
    honest_left(&lab);
}

#[test]
fn whatever_peers_do_the_right_filter_headers_come() {
    let first = u64::from(number("ANDON_FIRST_SEED", 0));
    for seed in first..first + u64::from(number("ANDON_SEEDS", 12)) {
        if catch_unwind(AssertUnwindSafe(|| random_world(seed))).is_err() {
            panic!("run it again by ANDON_FIRST_SEED={seed} ANDON_SEEDS=1");
        }
    }
}
