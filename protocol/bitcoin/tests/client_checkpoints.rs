//! Filter headers from several peers at once, each range proven by the checkpoints that its sender has named itself: what
//! is asked of whom, what lies come to, and what becomes of it when peers and chains change.
//!
//! `ANDON_HEADERS` is how many blocks the comparison with one peer is made on, instead of 200,000.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Command, Config, Event, Import, Reason, Start};
use andon_bitcoin::filter;
use andon_bitcoin::points::StartPoint;
use bitcoin::FilterHeader;
use bitcoin::hashes::Hash;
use lab::filter_headers::{
    again, chain_with_blocks, checkpoints, filter_headers, headers_of, honest, number, ranges, sending, soon,
    stored, sync, until, world,
};
use lab::peer::Given;
use lab::{Chain, Lab, Peer, config, endpoint};

/// Filter headers in open ranges at most: a megabyte.
const OPEN: u32 = 32_000;

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
