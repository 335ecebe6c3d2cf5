//! What is added to the watched, searched for and taken out: what that costs in filters, and what stands meanwhile. That
//! all is found, whatever the order, is the random worlds' to show.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, Command, Config, Derivation, Descriptor, DescriptorError, Event, FilterCache, Lookahead,
    TouchKind, WatchedOutput,
};
use andon_kernel::Space;
use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::consensus::deserialize;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Block, CompressedPublicKey, Network, OutPoint, ScriptBuf, Witness};
use lab::chain::{filter_of, script};
use lab::damage::change;
use lab::{Asked, Chain, Lab, Peer, config};

const TIP: u32 = 6000;

/// Each block pays one of ten scripts, by its height.
fn chain() -> Chain {
    let mut chain = Chain::new();
    chain.grow_blocks(TIP, 1, |height| script(u64::from(height % 1000 / 100)));
    chain
}

/// The script that each of the blocks 100 to 199, 1100 to 1199 and so on pays, and so on.
fn watch(number: u64, from: u32) -> Command {
    Command::Watch { scripts: vec![script(number)], from: Birthday::Height(from) }
}

/// Blocks from a height on that pay a script.
fn paid(chain: &Chain, number: u64, from: u32) -> BTreeSet<u32> {
    (from.max(1)..=chain.height()).filter(|height| u64::from(height % 1000 / 100) == number).collect()
}

/// Blocks in which payments to a script have been told, and not taken back.
fn found(lab: &Lab, number: u64) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for event in &lab.events {
        match event {
            Event::Touched(touch) if touch.script == script(number) => {
                assert!(found.insert(touch.block.height), "told twice: {touch:?}");
            }
            Event::TakenBack(touch) if touch.script == script(number) => {
                assert!(found.remove(&touch.block.height), "never told: {touch:?}");
            }
            _ => {}
        }
    }
    found
}

fn taken_back(lab: &Lab) -> usize {
    lab.events.iter().filter(|event| matches!(event, Event::TakenBack(_))).count()
}

/// How often each filter was asked for.
fn times_asked(lab: &Lab) -> Vec<u32> {
    let mut times = vec![0; lab.peers[0].chain.height() as usize + 1];
    for (.., asked) in &lab.asked {
        if let Asked::Filters(first, last) = asked {
            times[*first as usize..=*last as usize].iter_mut().for_each(|times| *times += 1);
        }
    }
    times
}

/// Each filter from `first` to `last` was asked for so often.
fn assert_asked(lab: &Lab, first: u32, last: u32, expected: u32) {
    let times = times_asked(lab);
    let wrong = (first..=last).find(|height| times[*height as usize] != expected);
    assert_eq!(wrong.map(|height| (height, times[height as usize])), None, "{expected} times wanted");
}

/// A client of one peer, which has found everything of script 1 from block 3000 on.
fn synced() -> (Rc<Chain>, Lab) {
    let chain = Rc::new(chain());
    let lab = synced_with(&chain, FilterCache::Off);
    (chain, lab)
}

fn synced_with(chain: &Rc<Chain>, filter_cache: FilterCache) -> Lab {
    let mut config = config(1);
    config.filter_cache = filter_cache;
    let mut lab = Lab::new(config, vec![Peer::new(chain)]);
    lab.synced = None;
    lab.command(watch(1, 3000));
    lab.sync();
    assert_eq!(found(&lab, 1), paid(chain, 1, 3000));
    assert_asked(&lab, 0, 2999, 0);
    assert_asked(&lab, 3000, TIP, 1);
    lab
}

#[test]
fn what_is_added_from_below_is_searched_for_alone() {
    let (chain, mut lab) = synced();
    lab.asked.clear();
    lab.synced = None;
    lab.command(watch(2, 1500));
    lab.sync();
    assert_eq!((found(&lab, 2), found(&lab, 1)), (paid(&chain, 2, 1500), paid(&chain, 1, 3000)));
    assert_eq!(taken_back(&lab), 0, "what was found stands");
    assert_asked(&lab, 0, 1499, 0);
    assert_asked(&lab, 1500, TIP, 1);
    // Only blocks that pay the new one are read.
    let blocks = lab.asked.iter().filter_map(|(.., asked)| match asked {
        Asked::Blocks(heights) => Some(heights.clone()),
        _ => None,
    });
    assert_eq!(blocks.flatten().collect::<BTreeSet<u32>>(), paid(&chain, 2, 1500));
    assert!(lab.events.contains(&Event::Rescan { from: 1500 }));
}

#[test]
fn what_is_watched_already_costs_nothing() {
    let (_, mut lab) = synced();
    lab.asked.clear();
    for from in [3000, 3001, TIP + 100] {
        lab.command(watch(1, from));
    }
    lab.command(Command::WatchOnly { scripts: vec![script(1)], from: Birthday::Height(4000) });
    lab.run_for(Duration::from_secs(60));
    assert_eq!(times_asked(&lab).iter().sum::<u32>(), 0);
    assert_eq!(taken_back(&lab), 0);
}

#[test]
fn a_script_from_an_earlier_block_than_before_is_told_anew() {
    let (chain, mut lab) = synced();
    lab.asked.clear();
    lab.synced = None;
    lab.command(watch(1, 2000));
    lab.sync();
    assert_eq!(found(&lab, 1), paid(&chain, 1, 2000));
    assert_eq!(taken_back(&lab), paid(&chain, 1, 3000).len());
    assert_asked(&lab, 0, 1999, 0);
    assert_asked(&lab, 2000, TIP, 1);
}

#[test]
fn wallets_of_many_birthdays_take_one_pass() {
    let chain = Rc::new(chain());
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    // The youngest first, so that those before it go back.
    for number in (0..10).rev() {
        lab.command(watch(number, number as u32 * 500 + 100));
    }
    lab.sync();
    for number in 0..10 {
        let (found, paid) = (found(&lab, number), paid(&chain, number, number as u32 * 500 + 100));
        assert_eq!(found, paid, "{number}");
    }
    assert_eq!(taken_back(&lab), 0);
    assert_asked(&lab, 0, 99, 0);
    assert_asked(&lab, 100, TIP, 1);
    // They are one in the end, as if they had always been.
    assert_eq!(lab.rows("watched").iter().filter(|(_, value)| value.len() != 8).count(), 0);
    assert_eq!(lab.rows("meta").iter().filter(|(key, _)| key.starts_with(b"next")).count(), 1);
}

#[test]
fn a_new_block_does_not_wait_for_what_is_searched_far_below() {
    let (chain, mut lab) = synced();
    // Slow enough for a search of minutes.
    lab.peers[0].rate = Some(2000);
    lab.command(watch(2, 100));
    lab.run_for(Duration::from_secs(20));
    let mut longer = chain.cut(TIP);
    longer.grow_blocks(1, 1, |_| script(1));
    lab.peers[0].rate = None;
    let began = lab.now;
    lab.switch(0, &Rc::new(longer));
    lab.run_until("the payment in the new block", |lab| found(lab, 1).contains(&(TIP + 1)));
    // What was asked for before comes first.
    let took = lab.now.since(began);
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(found(&lab, 2).len() < paid(&chain, 2, 100).len(), "the search below is still under way");
    assert_eq!(lab.synced, None, "not all has been checked");
    lab.sync();
    assert_eq!(found(&lab, 2), paid(&chain, 2, 100));
    assert_eq!(taken_back(&lab), 0);
}

#[test]
fn a_search_for_what_was_added_goes_on_after_the_end_of_the_process() {
    for disk_delay in [None, Some(Duration::from_millis(5))] {
        let (chain, mut lab) = synced();
        lab.disk_delay = disk_delay;
        lab.latency = Duration::from_millis(200);
        lab.command(watch(2, 100));
        let half = |lab: &Lab| found(lab, 2).last().is_some_and(|height| *height > 2000);
        lab.run_until("half of it", half);
        lab.restart();
        lab.asked.clear();
        lab.sync();
        assert_eq!((found(&lab, 2), found(&lab, 1)), (paid(&chain, 2, 100), paid(&chain, 1, 3000)));
        assert_eq!(taken_back(&lab), 0);
        let times = times_asked(&lab);
        let first = times.iter().position(|times| *times > 0).unwrap();
        assert!((1500..2300).contains(&first), "it goes on where it was: {first}");
        assert!(times[first..].iter().all(|times| *times == 1));
    }
}

#[test]
fn what_is_no_longer_watched_is_forgotten() {
    let (chain, mut lab) = synced();
    lab.synced = None;
    lab.command(watch(2, 3000));
    lab.sync();
    lab.asked.clear();
    lab.command(Command::Unwatch { scripts: vec![script(1), script(7)], outputs: Vec::new() });
    lab.run_for(Duration::from_secs(60));
    assert_eq!((found(&lab, 1), found(&lab, 2)), (BTreeSet::new(), paid(&chain, 2, 3000)));
    assert_eq!(lab.rows("touches").len(), paid(&chain, 2, 3000).len());
    assert_eq!(times_asked(&lab).iter().sum::<u32>(), 0, "nothing is searched for that");
    lab.restart();
    lab.sync();
    assert_eq!((found(&lab, 1), found(&lab, 2)), (BTreeSet::new(), paid(&chain, 2, 3000)));
}

#[test]
fn a_rescan_tells_everything_anew_from_where_it_is_watched() {
    let (chain, mut lab) = synced();
    lab.synced = None;
    lab.command(watch(2, 5000));
    lab.sync();
    lab.asked.clear();
    lab.synced = None;
    lab.command(Command::Rescan { from: Birthday::Height(100) });
    lab.sync();
    assert_eq!((found(&lab, 1), found(&lab, 2)), (paid(&chain, 1, 3000), paid(&chain, 2, 5000)));
    assert_eq!(taken_back(&lab), paid(&chain, 1, 3000).len() + paid(&chain, 2, 5000).len());
    assert_asked(&lab, 0, 2999, 0);
    assert_asked(&lab, 3000, TIP, 1);
}

/// A chain in which the coinbase of block 5 is spent in block 800, and that of block 6 never.
fn with_spend() -> (Rc<Chain>, OutPoint, OutPoint) {
    let mut chain = Chain::new();
    chain.grow_blocks(799, 1, |height| script(u64::from(height)));
    let coinbase = |chain: &Chain, height| {
        let block: Block = deserialize(&chain.body(height).unwrap().block).unwrap();
        OutPoint::new(block.txdata[0].compute_txid(), 0)
    };
    let (spent, unspent) = (coinbase(&chain, 5), coinbase(&chain, 6));
    chain.grow_spend(spent, script(0), Witness::new(), &script(5), script(4000));
    chain.grow_blocks(1200, 1, |height| script(u64::from(height)));
    (Rc::new(chain), spent, unspent)
}

#[test]
fn a_watched_output_tells_of_its_spending_alone() {
    let (chain, spent, unspent) = with_spend();
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    let output = |outpoint, number| WatchedOutput { outpoint, script: script(number), amount: None };
    let outputs = vec![output(spent, 5), output(unspent, 6), output(spent, 5)];
    lab.command(Command::WatchOutputs { outputs, from: Birthday::Height(3) });
    lab.sync();
    for restarts in 0..2 {
        let touches = lab.events.iter().filter_map(|event| match event {
            Event::Touched(touch) => Some(touch),
            _ => None,
        });
        let [touch] = touches.collect::<Vec<_>>()[..] else { panic!("one touch is wanted") };
        assert_eq!((touch.block, touch.amount), (chain.block(800), None), "{restarts}");
        assert_eq!(touch.kind, TouchKind::Spent { input: 0, outpoint: spent });
        lab.restart();
        lab.sync();
    }
    // A block that takes the spending back is told, and one that brings it again.
    let mut other = chain.cut(790);
    other.grow_blocks(1300, 2, |height| script(u64::from(height)));
    lab.switch(0, &Rc::new(other));
    lab.sync();
    assert_eq!(taken_back(&lab), 1);
    assert!(lab.rows("touches").is_empty());
    lab.command(Command::Unwatch { scripts: Vec::new(), outputs: vec![spent, unspent] });
    lab.run_for(Duration::from_secs(5));
    assert!(lab.rows("outputs").is_empty());
}

/// Who asks twice is answered twice, whether or not there is a spending.
#[test]
fn each_search_for_a_spending_has_its_answer() {
    let (chain, spent, unspent) = with_spend();
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    for from in [5, 5, 700] {
        for (outpoint, script) in [(spent, script(5)), (unspent, script(6))] {
            lab.command(Command::FindSpend { outpoint, script, from: Birthday::Height(from) });
        }
    }
    let answers = |lab: &Lab, wanted| {
        let answers = lab.events.iter().filter(|event| match event {
            Event::SpendSearched { outpoint, spend, .. } => {
                assert_eq!(spend.is_some(), *outpoint == spent);
                *outpoint == wanted
            }
            _ => false,
        });
        answers.count()
    };
    lab.run_until("the answers", |lab| answers(lab, spent) == 3 && answers(lab, unspent) == 3);
    lab.run_for(Duration::from_secs(60));
    assert_eq!((answers(&lab, spent), answers(&lab, unspent)), (3, 3));
}

#[test]
fn a_search_for_a_spending_is_answered_once_and_reads_no_more_than_it_must() {
    let (chain, spent, unspent) = with_spend();
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    lab.command(watch(1_000_000, 1990));
    lab.sync();
    lab.asked.clear();
    let from = Birthday::Height(5);
    lab.command(Command::FindSpend { outpoint: spent, script: script(5), from });
    let answers = |lab: &Lab| -> Vec<_> {
        let answers = lab.events.iter().filter_map(|event| match event {
            Event::SpendSearched { outpoint, spend, checked } => Some((*outpoint, spend.clone(), *checked)),
            _ => None,
        });
        answers.collect()
    };
    lab.run_until("the answer", |lab| !answers(lab).is_empty());
    lab.run_for(Duration::from_secs(60));
    let [(outpoint, Some(spend), checked)] = &answers(&lab)[..] else { panic!("{:?}", answers(&lab)) };
    assert_eq!((*outpoint, spend.block, *checked), (spent, chain.block(800), chain.block(800)));
    assert_eq!(spend.transaction.input[spend.input as usize].previous_output, spent);
    let times = times_asked(&lab);
    assert_eq!((times[4], times[5], times[800]), (0, 1, 1));
    // In blocks of which there are few bytes, much is asked for before the answer is there.
    assert!(times[..1990].iter().all(|times| *times <= 1));
    // One that is not spent is searched for up to the tip, and what is watched is synced all the while.
    lab.events.clear();
    lab.command(Command::FindSpend { outpoint: unspent, script: script(6), from });
    lab.run_until("the answer", |lab| !answers(lab).is_empty());
    assert_eq!(answers(&lab), [(unspent, None, chain.tip())]);
    assert!(!lab.events.iter().any(|event| matches!(event, Event::Rescan { .. } | Event::Checked(_))));
    // Nothing of it is kept.
    assert_eq!(lab.rows("meta").iter().filter(|(key, _)| key.starts_with(b"next")).count(), 1);
    lab.asked.clear();
    lab.restart();
    lab.sync();
    assert_eq!(times_asked(&lab).iter().sum::<u32>(), 0);
}

/// The heights of filters that are kept, and the bytes that they take.
fn kept(lab: &Lab) -> (BTreeSet<u32>, usize) {
    let rows = lab.rows("filters");
    let heights = rows.iter().map(|(key, _)| u32::from_be_bytes(key[..].try_into().unwrap())).collect();
    (heights, rows.iter().map(|(_, value)| value.len()).sum())
}

#[test]
fn filters_that_are_kept_are_asked_of_nobody() {
    for disk_delay in [None, Some(Duration::from_millis(5))] {
        let chain = Rc::new(chain());
        let mut lab = synced_with(&chain, FilterCache::All);
        lab.disk_delay = disk_delay;
        assert_eq!(kept(&lab).0, (3000..=TIP).collect());
        lab.asked.clear();
        lab.synced = None;
        lab.command(watch(2, 3500));
        lab.sync();
        assert_eq!(found(&lab, 2), paid(&chain, 2, 3500));
        assert_eq!(times_asked(&lab).iter().sum::<u32>(), 0);
        // Also by a later run; below it they come from peers, and are kept as well.
        lab.restart();
        lab.asked.clear();
        lab.synced = None;
        lab.command(watch(3, 1000));
        lab.sync();
        assert_eq!(found(&lab, 3), paid(&chain, 3, 1000));
        assert_asked(&lab, 1000, 2999, 1);
        assert_asked(&lab, 3000, TIP, 0);
        lab.asked.clear();
        lab.let_the_disk_finish();
        assert_eq!(kept(&lab).0, (1000..=TIP).collect());
        let mut longer = chain.cut(TIP);
        longer.grow_blocks(3, 1, |_| script(4));
        lab.switch(0, &Rc::new(longer));
        lab.sync();
        assert_asked(&lab, TIP + 1, TIP + 3, 1);
        lab.asked.clear();
        lab.synced = None;
        lab.command(watch(4, 1200));
        lab.sync();
        let expected = paid(&chain, 4, 1200).into_iter().chain(TIP + 1..=TIP + 3).collect();
        assert_eq!(found(&lab, 4), expected);
        assert_eq!(times_asked(&lab).iter().sum::<u32>(), 0);
        assert_eq!(lab.farewells(), []);
        // Nothing is kept any more when nothing is to be.
        lab.restart();
        lab.config.filter_cache = FilterCache::Off;
        lab.sync();
        lab.let_the_disk_finish();
        assert_eq!((kept(&lab).0.len(), lab.rows("cached").len()), (0, 0));
    }
}

#[test]
fn filters_that_are_kept_are_searched_without_a_network() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(&chain, FilterCache::All);
    lab.peers[0].up = false;
    lab.restart();
    // Nobody is there, and no block pays it.
    lab.command(watch(1_000_000, 3000));
    let done = |lab: &Lab| lab.events.contains(&Event::Checked(chain.tip()));
    lab.run_until("the end of the search", done);
    assert_eq!(lab.progress.filters.done, lab.progress.filters.total);
}

#[test]
fn what_is_kept_has_a_cap_and_the_newest_stay() {
    let filter = filter_of(400);
    let mut chain = Chain::new();
    chain.grow_filters(TIP, 1, &filter);
    let mut config = config(1);
    config.filter_cache = FilterCache::Bytes(1000 * filter.len() as u64);
    let mut lab = Lab::new(config, vec![Peer::new(&Rc::new(chain.clone()))]);
    lab.command(watch(1_000_000, 3000));
    lab.sync();
    // As new ones come, old ones go, a part of 250 at a time. Beside a filter lie its block's hash and a checksum.
    for round in 0..8 {
        let (heights, bytes) = kept(&lab);
        assert!(bytes <= 1000 * (filter.len() + 36), "{round}: {bytes}");
        let least = if round == 0 { 700 } else { 749 };
        assert!((least..=1000).contains(&heights.len()), "{round}: {}", heights.len());
        assert_eq!(heights, (chain.height() + 1 - heights.len() as u32..=chain.height()).collect());
        chain.grow_filters(100, 1, &filter);
        lab.switch(0, &Rc::new(chain.clone()));
        lab.sync();
    }
    // A smaller cap is met by the next start, whether or not a filter comes.
    lab.restart();
    lab.config.filter_cache = FilterCache::Bytes(500 * filter.len() as u64);
    lab.sync();
    lab.let_the_disk_finish();
    let (heights, bytes) = kept(&lab);
    assert!(bytes <= 500 * (filter.len() + 36) && heights.len() >= 249, "{bytes}, {}", heights.len());
    assert_eq!(heights, (chain.height() + 1 - heights.len() as u32..=chain.height()).collect());
    let lowest = *kept(&lab).0.first().unwrap();
    lab.asked.clear();
    lab.synced = None;
    lab.command(watch(1_000_001, 3000));
    lab.sync();
    assert_asked(&lab, 3000, lowest - 1, 1);
    assert_asked(&lab, lowest, chain.height(), 0);
}

#[test]
fn filters_of_blocks_that_have_gone_are_not_searched() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(&chain, FilterCache::All);
    let mut other = chain.cut(TIP - 300);
    other.grow_blocks(301, 2, |_| script(2));
    let other = Rc::new(other);
    lab.switch(0, &other);
    lab.sync();
    assert_eq!(kept(&lab).0, (3000..=TIP + 1).collect());
    lab.asked.clear();
    lab.synced = None;
    lab.command(watch(2, 5000));
    lab.sync();
    let expected = paid(&chain, 2, 5000).into_iter().filter(|height| *height <= TIP - 300);
    assert_eq!(found(&lab, 2), expected.chain(TIP - 299..=TIP + 1).collect());
    assert_eq!(times_asked(&lab).iter().sum::<u32>(), 0);
}

const FILTERS: Space = Space::new("filters");

#[test]
fn filters_that_are_damaged_on_the_disk_are_asked_of_peers() {
    let chain = Rc::new(chain());
    for damage in 0..3 {
        let lab = synced_with(&chain, FilterCache::All);
        let key = 4321_u32.to_be_bytes();
        let (_, mut value) = lab.rows("filters").into_iter().find(|(at, _)| *at == key).unwrap();
        let mut store = lab.store().clone();
        match damage {
            0 => change(&mut store, |batch| batch.delete(FILTERS, &key, &4322_u32.to_be_bytes())),
            1 => {
                value[33] ^= 1;
                change(&mut store, |batch| batch.put(FILTERS, &key, &value));
            }
            _ => change(&mut store, |batch| batch.put(FILTERS, &key, &value[..20])),
        }
        let mut lab = Lab::on(store, lab.config, lab.peers);
        lab.synced = None;
        lab.command(watch(3, 3000));
        lab.sync();
        assert_eq!(found(&lab, 3), paid(&chain, 3, 3000), "{damage}");
        let repairs = lab.events.iter().filter(|event| matches!(event, Event::Repaired { .. })).count();
        assert_eq!(repairs, 1);
        // A part of the index goes, no more.
        let times = times_asked(&lab);
        assert_eq!((times[4321], times[3000], times[TIP as usize]), (1, 0, 0));
        assert!(times.iter().sum::<u32>() <= 250);
        assert_eq!(kept(&lab).0, (3000..=TIP).collect(), "and comes back");
    }
}

/// The extended public key of a wallet, and the script of an index on one of its paths.
fn account() -> (String, impl Fn(u32, u32) -> ScriptBuf) {
    let secp = Secp256k1::new();
    let secret = Xpriv::new_master(Network::Regtest, &[7; 32]).unwrap();
    let public = Xpub::from_priv(&secp, &secret);
    let script = move |path: u32, index: u32| {
        let steps = [path, index].map(|number| ChildNumber::from_normal_idx(number).unwrap());
        let key = CompressedPublicKey(public.derive_pub(&secp, &steps).unwrap().public_key);
        ScriptBuf::new_p2wpkh(&key.wpubkey_hash())
    };
    (public.to_string(), script)
}

fn descriptor(text: &str) -> Descriptor {
    Descriptor::parse(text, Network::Regtest).unwrap()
}

fn touched(lab: &Lab) -> BTreeSet<u32> {
    let mut touched = BTreeSet::new();
    for event in &lab.events {
        match event {
            Event::Touched(touch) => assert!(touched.insert(touch.block.height), "told twice: {touch:?}"),
            Event::TakenBack(touch) => assert!(touched.remove(&touch.block.height), "never told: {touch:?}"),
            _ => {}
        }
    }
    touched
}

/// What is paid to which index, in the chain's order: some far ahead of what was used before.
fn uses() -> BTreeMap<u32, (u32, u32)> {
    // The last but one is beyond the gap, for ever; the last is the other path's.
    BTreeMap::from([
        (30, (0, 75)),
        (50, (0, 25)),
        (60, (0, 50)),
        (100, (0, 10)),
        (110, (0, 400)),
        (120, (1, 3)),
    ])
}

fn wallet_chain() -> Rc<Chain> {
    let (_, script_of) = account();
    let uses = uses();
    let mut chain = Chain::new();
    chain.grow_blocks(300, 1, |height| match uses.get(&height) {
        Some((path, index)) => script_of(*path, *index),
        None => script(u64::from(height)),
    });
    Rc::new(chain)
}

#[test]
fn scripts_of_a_descriptor_are_derived_as_they_are_used_and_nothing_within_the_gap_is_missed() {
    let chain = wallet_chain();
    let (key, _) = account();
    let lookahead = Lookahead { gap: 20, first: 20 };
    let one = descriptor(&format!("wpkh({key}/0/*)"));
    let both = descriptor(&format!("wpkh({key}/<0;1>/*)"));
    let watch = |descriptor: &Descriptor, from, only| {
        let (descriptors, from) = (vec![descriptor.clone()], Birthday::Height(from));
        Command::WatchDescriptors { descriptors, lookahead, from, only }
    };
    // However the process ends in between, the next goes on.
    for crash in 0..40 {
        let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
        lab.disk_delay = (crash % 2 == 1).then_some(Duration::from_millis(5));
        lab.crash_after = (crash > 0).then_some(crash);
        lab.command(watch(&one, 1, false));
        lab.run_for(Duration::from_secs(60));
        if crash > 0 {
            lab.restart();
            lab.command(watch(&one, 1, false));
            lab.sync();
        }
        assert_eq!(lab.synced, Some(chain.tip()), "{crash}");
        assert_eq!(touched(&lab), BTreeSet::from([30, 50, 60, 100]), "{crash}");
        if crash > 0 {
            continue;
        }
        let index = lab.events.iter().find_map(|event| match event {
            Event::Touched(touch) if touch.block.height == 60 => touch.derivation.clone(),
            _ => None,
        });
        let derivation = Derivation { descriptor: one.paths()[0].clone(), index: 50 };
        assert_eq!(index, Some(derivation));
        // 20 at first; 40 when index 10 was used; 80 for 25 and 50; 160 for 75.
        let derived = lab.events.iter().filter_map(|event| match event {
            Event::DescriptorDerived { scripts, .. } => Some(*scripts),
            _ => None,
        });
        assert_eq!(derived.collect::<Vec<_>>(), [20, 40, 80, 160]);
        // The other path, of both.
        lab.synced = None;
        lab.command(watch(&both, 1, true));
        lab.sync();
        assert_eq!(touched(&lab), BTreeSet::from([30, 50, 60, 100, 120]));
        // Scripts alone do not forget those of descriptors.
        lab.synced = None;
        lab.command(Command::WatchOnly { scripts: vec![script(200)], from: Birthday::Height(1) });
        lab.sync();
        assert_eq!(touched(&lab), BTreeSet::from([30, 50, 60, 100, 120, 200]));
        lab.command(Command::UnwatchDescriptors { descriptors: vec![one.clone()] });
        lab.run_for(Duration::from_secs(5));
        assert_eq!(touched(&lab), BTreeSet::from([120, 200]));
        lab.restart();
        lab.command(watch(&both, 1, false));
        lab.sync();
        assert_eq!(touched(&lab), BTreeSet::from([30, 50, 60, 100, 120, 200]), "from the start again");
    }
}

#[test]
fn a_descriptor_from_an_earlier_block_is_searched_for_from_there() {
    let chain = wallet_chain();
    let (key, _) = account();
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    let watch = |from| Command::WatchDescriptors {
        descriptors: vec![descriptor(&format!("wpkh({key}/0/*)"))],
        lookahead: Lookahead::default(),
        from: Birthday::Height(from),
        only: true,
    };
    lab.command(watch(55));
    lab.sync();
    assert_eq!(touched(&lab), BTreeSet::from([60, 100, 110]));
    lab.asked.clear();
    lab.command(watch(70));
    lab.run_for(Duration::from_secs(60));
    assert_eq!(times_asked(&lab).iter().sum::<u32>(), 0);
    lab.synced = None;
    lab.command(watch(40));
    lab.sync();
    assert_eq!(touched(&lab), BTreeSet::from([50, 60, 100, 110]));
    assert_asked(&lab, 0, 39, 0);
    assert_asked(&lab, 40, 300, 1);
}

/// Applications have threads.
#[test]
fn commands_and_events_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: fn() -> T) -> &'static str {
        std::any::type_name::<T>()
    }
    let names = [shared::<Command>(|| unreachable!()), shared::<Event>(|| unreachable!())];
    let config = shared::<Config>(|| unreachable!());
    assert!(names.iter().chain([&config]).all(|name| name.starts_with("andon_bitcoin::client")));
}

#[test]
fn a_text_that_is_no_public_descriptor_of_the_network_is_refused() {
    let (key, _) = account();
    let secret = Xpriv::new_master(Network::Regtest, &[7; 32]).unwrap();
    let parse =
        |text: &str| Descriptor::parse(text, Network::Regtest).map(|descriptor| descriptor.is_ranged());
    assert_eq!(parse(&format!("wpkh({key}/0/*)")), Ok(true));
    assert_eq!(parse(&format!("wpkh({key}/0/1)")), Ok(false));
    assert_eq!(parse(&format!("wpkh({secret}/0/*)")), Err(DescriptorError::PrivateKey));
    assert!(matches!(
        parse(&format!("wpkh({key}/0'/*)")),
        Err(DescriptorError::Malformed(_) | DescriptorError::Underivable(_))
    ));
    assert!(matches!(parse(&format!("wpkh({key}/0/*")), Err(DescriptorError::Malformed(_))));
    let mainnet = Descriptor::parse(&format!("wpkh({key}/0/*)"), Network::Bitcoin);
    assert_eq!(mainnet, Err(DescriptorError::OtherNetwork));
}
