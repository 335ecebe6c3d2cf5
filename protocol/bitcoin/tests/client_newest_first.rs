//! Searching newest first: in which order findings come, what it costs, and that what is spent above is found whatever
//! the shape of its script, over crashes and damage too.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Command, Config, Event, Touch, TouchKind, WatchedOutput};
use andon_kernel::Space;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::key::{Secp256k1, UntweakedPublicKey};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::taproot::{LeafVersion, TaprootBuilder};
use bitcoin::{Amount, Block, OutPoint, PubkeyHash, ScriptBuf, WPubkeyHash, Witness};
use lab::chain::{filter_of, script};
use lab::damage::change;
use lab::{Asked, Chain, Lab, Peer, config};

/// Blocks of a step at most.
const MAX_STEP: u32 = 32 * 144;

fn newest_first() -> Config {
    Config { newest_first: true, ..config(1) }
}

fn watch(scripts: Vec<ScriptBuf>, from: u32) -> Command {
    Command::Watch { scripts, from: Birthday::Height(from) }
}

/// What has been told and not taken back, in the order in which it came.
fn told(lab: &Lab) -> Vec<Touch> {
    let mut told: Vec<Touch> = Vec::new();
    for event in &lab.events {
        match event {
            Event::Touched(touch) => {
                assert!(!told.contains(touch), "told twice: {touch:?}");
                told.push(touch.clone());
            }
            Event::TakenBack(touch) => {
                let place = told.iter().position(|told| told == touch).expect("it has been told");
                told.remove(place);
            }
            _ => {}
        }
    }
    told
}

fn sorted(mut touches: Vec<Touch>) -> Vec<Touch> {
    touches.sort_by_key(|touch| (touch.block.height, touch.txid, touch.kind));
    touches
}

/// How often each filter was asked for.
fn times_asked(lab: &Lab, height: u32) -> Vec<u32> {
    let mut times = vec![0; height as usize + 1];
    for (.., asked) in &lab.asked {
        if let Asked::Filters(first, last) = asked {
            times[*first as usize..=*last as usize].iter_mut().for_each(|times| *times += 1);
        }
    }
    times
}

/// Nothing is left of a descent.
fn assert_settled(lab: &Lab) {
    assert!(lab.rows("spends").is_empty());
    assert!(!lab.rows("meta").iter().any(|(key, _)| key.starts_with(b"descent")));
}

#[test]
fn what_was_paid_last_is_found_first_and_each_filter_is_asked_for_once() {
    const TIP: u32 = 12_000;
    let filter = filter_of(3);
    let mut chain = Chain::new();
    for _ in 0..TIP / 100 {
        chain.grow_blocks(1, 1, |_| script(1));
        chain.grow_filters(99, 1, &filter);
    }
    let chain = Rc::new(chain);
    let mut lab = Lab::new(newest_first(), vec![Peer::new(&chain)]);
    lab.latency = Duration::from_millis(20);
    lab.command(watch(vec![script(1)], 1500));
    let mut first = None;
    lab.run_until("the sync", |lab| {
        if let Some(touch) = told(lab).first() {
            let filters = times_asked(lab, TIP).into_iter().filter(|times| *times > 0).count();
            first.get_or_insert((touch.block.height, filters));
        }
        lab.synced == Some(chain.tip())
    });
    // Of the first step, which has 144 blocks; by then that one has been asked for, and the next is under way at most.
    let (height, filters) = first.unwrap();
    assert!(height > TIP - 144 && filters <= 144 + 288, "{height}, {filters}");
    let heights: Vec<u32> = told(&lab).iter().map(|touch| touch.block.height).collect();
    let expected: Vec<u32> = (1..=TIP).step_by(100).filter(|height| *height >= 1500).collect();
    let mut all = heights.clone();
    all.sort_unstable();
    assert_eq!(all, expected);
    // Steps of twice as many blocks each, the newest first, each in the chain's order.
    let (mut below, mut length) = (TIP + 1, 144);
    let mut wanted: Vec<u32> = Vec::new();
    while below > 1500 {
        let start = below.saturating_sub(length).max(1500);
        wanted.extend(expected.iter().filter(|height| (start..below).contains(*height)));
        (below, length) = (start, (length * 2).min(MAX_STEP));
    }
    assert_eq!(heights, wanted);
    let times = times_asked(&lab, TIP);
    assert!((0..=TIP).all(|height| times[height as usize] == u32::from(height >= 1500)));
    // All that is checked is told at the end, once.
    let checked = lab.events.iter().filter(|event| matches!(event, Event::Checked(_)));
    assert_eq!(checked.collect::<Vec<_>>(), [&Event::Checked(chain.tip())]);
    assert_eq!(lab.progress.filters.done, lab.progress.filters.total);
    assert_settled(&lab);
    // From now on all is as if it had been searched the other way.
    let mut longer = chain.cut(TIP - 20);
    longer.grow_blocks(40, 2, |_| script(1));
    let longer = Rc::new(longer);
    lab.switch(0, &longer);
    lab.sync_to(longer.tip());
    assert_eq!(told(&lab).len(), expected.len() + 40);
}

fn pushed(items: &[&[u8]]) -> ScriptBuf {
    let push =
        |builder: Builder, item: &&[u8]| builder.push_slice(PushBytesBuf::try_from(item.to_vec()).unwrap());
    items.iter().fold(Builder::new(), push).into_script()
}

/// What is spent, and how: signature script and witness.
type Spending = (&'static str, ScriptBuf, ScriptBuf, Witness);

/// One of each shape.
fn spendings() -> Vec<Spending> {
    let key = [vec![2], vec![7; 32]].concat();
    let mut signature = vec![0x30, 68];
    signature.resize(71, 1);
    let inner = Builder::new().push_int(1).into_script();
    let program = ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(&key));
    let internal: UntweakedPublicKey =
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
    let tree = TaprootBuilder::new().add_leaf(0, inner.clone()).unwrap();
    let tree = tree.finalize(&Secp256k1::new(), internal).unwrap();
    let control = tree.control_block(&(inner.clone(), LeafVersion::TapScript)).unwrap().serialize();
    let taproot = ScriptBuf::new_p2tr_tweaked(tree.output_key());
    let by_key = Witness::from_slice(&[signature.clone(), key.clone()]);
    let none = Witness::new();
    let empty = ScriptBuf::new();
    let annex = vec![0x50, 1, 2];
    vec![
        ("P2PKH", ScriptBuf::new_p2pkh(&PubkeyHash::hash(&key)), pushed(&[&signature, &key]), none.clone()),
        ("P2SH", inner.to_p2sh(), pushed(&[&[1], inner.as_bytes()]), none.clone()),
        ("P2WPKH", program.clone(), empty.clone(), by_key.clone()),
        ("P2SH-P2WPKH", program.to_p2sh(), pushed(&[program.as_bytes()]), by_key),
        ("P2WSH", inner.to_p2wsh(), empty.clone(), Witness::from_slice(&[vec![1], inner.to_bytes()])),
        ("taproot by key", taproot.clone(), empty.clone(), Witness::from_slice(&[vec![5; 64]])),
        (
            "taproot by key, with an annex",
            taproot.clone(),
            empty.clone(),
            Witness::from_slice(&[vec![5; 65], annex.clone()]),
        ),
        (
            "taproot by script",
            taproot.clone(),
            empty.clone(),
            Witness::from_slice(&[vec![1], inner.to_bytes(), control.clone()]),
        ),
        (
            "taproot by script, with an annex",
            taproot,
            empty,
            Witness::from_slice(&[vec![1], inner.to_bytes(), control, annex]),
        ),
        (
            "P2PK",
            ScriptBuf::from_bytes([pushed(&[&key]).to_bytes(), vec![0xac]].concat()),
            pushed(&[&signature]),
            none.clone(),
        ),
        // The rules do not say how the key comes to be on top.
        (
            "P2PKH with a key that is moved there",
            ScriptBuf::new_p2pkh(&PubkeyHash::hash(&key)),
            ScriptBuf::from_bytes([pushed(&[&key, &signature]).to_bytes(), vec![0x7c]].concat()),
            none,
        ),
    ]
}

/// A chain in which the coinbase of block 300 pays a script and is spent in block 700.
fn spending_chain((_, spent, script_sig, witness): &Spending) -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.grow_blocks(299, 1, |height| script(u64::from(height) + 100));
    chain.grow_blocks(1, 1, |_| spent.clone());
    let block: Block = deserialize(&chain.body(300).unwrap().block).unwrap();
    let outpoint = OutPoint::new(block.txdata[0].compute_txid(), 0);
    chain.grow_blocks(399, 1, |height| script(u64::from(height) + 100));
    chain.grow_spend(outpoint, script_sig.clone(), witness.clone(), spent, script(7));
    chain.grow_blocks(300, 1, |height| script(u64::from(height) + 100));
    Rc::new(chain)
}

#[test]
fn what_is_spent_above_is_found_whatever_its_shape() {
    for spending in spendings() {
        let (what, spent, ..) = &spending;
        let chain = spending_chain(&spending);
        let mut found = Vec::new();
        for newest_first in [false, true] {
            let mut lab = Lab::new(Config { newest_first, ..config(1) }, vec![Peer::new(&chain)]);
            // Others beside it, of another shape and of its own.
            lab.command(watch(vec![spent.clone(), script(150), script(950)], 5));
            lab.sync();
            assert_settled(&lab);
            let touches = told(&lab);
            let place = |wanted: u32| touches.iter().position(|touch| touch.block.height == wanted).unwrap();
            let (received, spending) = (place(300), place(700));
            assert!(received < spending, "{what}: an output comes before its spending");
            assert_eq!(touches[spending].amount, Some(Amount::from_sat(5_000_000_000)), "{what}");
            let kind =
                TouchKind::Spent { input: 0, outpoint: OutPoint { txid: touches[received].txid, vout: 0 } };
            assert_eq!((touches[spending].kind, &touches[spending].script), (kind, spent), "{what}");
            found.push(sorted(touches));
        }
        assert_eq!(found[0], found[1], "{what}");
    }
}

/// What is remembered of a block is what may spend a watched script, by its shape.
#[test]
fn inputs_that_can_not_spend_what_is_watched_are_not_remembered() {
    let spendings = spendings();
    let all_but = |what: &str| -> Vec<ScriptBuf> {
        spendings
            .iter()
            .filter(|(name, ..)| !name.starts_with(what))
            .map(|(_, spent, ..)| spent.clone())
            .collect()
    };
    let remembered = |spending: &Spending, watched: Vec<ScriptBuf>| {
        let chain = spending_chain(spending);
        let mut lab = Lab::new(newest_first(), vec![Peer::new(&chain)]);
        // The block of the spending is read for what its coinbase pays.
        lab.command(watch([watched, vec![script(7)]].concat(), 5));
        lab.disk_delay = Some(Duration::from_millis(200));
        let mut most = 0;
        lab.run_until("the sync", |lab| {
            most = most.max(lab.rows("spends").len());
            lab.synced.is_some()
        });
        most
    };
    for spending in &spendings[..9] {
        let (what, spent, ..) = spending;
        assert_eq!(remembered(spending, vec![spent.clone()]), 1, "{what}");
        let kind = if what.starts_with("taproot") { "taproot" } else { what };
        let others = all_but(kind).into_iter().filter(|other| other != spent && !other.is_p2pk());
        assert_eq!(remembered(spending, others.collect()), 0, "{what}");
        // Nothing is known of what spends a bare script.
        assert_eq!(remembered(spending, vec![spendings[9].1.clone()]), 1, "{what}");
    }
}

/// However often the process ends, all is found, and nothing is told twice.
#[test]
fn it_goes_on_where_it_was_after_a_crash() {
    let spendings = spendings();
    let spending = &spendings[6];
    let chain = spending_chain(spending);
    let scripts = vec![spending.1.clone(), script(150), script(500), script(950)];
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    lab.command(watch(scripts.clone(), 5));
    lab.sync();
    let expected = sorted(told(&lab));
    assert_eq!(expected.len(), 5);
    let mut resumed = 0;
    for crash in 1..60 {
        let mut lab = Lab::new(newest_first(), vec![Peer::new(&chain)]);
        lab.disk_delay = (crash % 2 == 1).then_some(Duration::from_millis(5));
        lab.crash_after = Some(crash);
        lab.command(watch(scripts.clone(), 5));
        lab.run_for(Duration::from_secs(60));
        if lab.has_crashed() {
            resumed += usize::from(lab.rows("meta").iter().any(|(key, _)| key.starts_with(b"descent")));
            lab.restart();
            // Which way it goes now does not matter to what is under way.
            lab.config.newest_first = crash % 3 > 0;
            lab.command(watch(scripts.clone(), 5));
            lab.sync();
        }
        assert_eq!(lab.synced, Some(chain.tip()), "{crash}");
        assert_eq!(sorted(told(&lab)), expected, "{crash}");
        assert_settled(&lab);
    }
    assert!(resumed > 5, "{resumed}");
}

/// Outputs, searches for spendings and searches begun again go upwards; what goes down waits for them and goes on.
#[test]
fn what_goes_upwards_comes_first() {
    let spending = &spendings()[2];
    let chain = spending_chain(spending);
    let mut plain = Lab::new(config(1), vec![Peer::new(&chain)]);
    plain.command(watch(vec![spending.1.clone(), script(150), script(400)], 5));
    plain.sync();
    let expected = sorted(told(&plain));
    let Some(TouchKind::Spent { outpoint, .. }) = expected.last().map(|touch| touch.kind) else { panic!() };
    for after in [1, 3, 5, 8, 12, 20, 40] {
        for command in 0..3 {
            let mut lab = Lab::new(newest_first(), vec![Peer::new(&chain)]);
            lab.latency = Duration::from_millis(10);
            lab.command(watch(vec![spending.1.clone(), script(150), script(400)], 5));
            lab.run_until("a part", |lab| {
                times_asked(lab, 1000).iter().filter(|times| **times > 0).count() > after * 20
            });
            let from = Birthday::Height(200);
            let spent = spending.1.clone();
            lab.command(match command {
                0 => Command::FindSpend { outpoint, script: spent, from },
                1 => Command::Rescan { from },
                _ => {
                    let outpoint = OutPoint { vout: 7, ..outpoint };
                    let outputs = vec![WatchedOutput { outpoint, script: script(310), amount: None }];
                    Command::WatchOutputs { outputs, from }
                }
            });
            lab.run_for(Duration::from_secs(100));
            assert_eq!(lab.synced, Some(chain.tip()), "{after}, {command}");
            assert_eq!(sorted(told(&lab)), expected, "{after}, {command}");
            let answers = lab
                .events
                .iter()
                .filter(|event| matches!(event, Event::SpendSearched { spend: Some(_), .. }));
            assert_eq!(answers.count(), usize::from(command == 0));
            assert_settled(&lab);
        }
    }
}

/// Blocks come while the search goes down, are replaced before their filters come, and one of the new ones spends what lies
/// below and is not found yet: what is remembered of it is not lost when something else is watched.
#[test]
fn a_reorganisation_above_what_is_searched_loses_nothing() {
    let (_, spent, script_sig, witness) = &spendings()[2];
    let mut chain = Chain::new();
    chain.grow_blocks(299, 1, |height| script(u64::from(height) + 100));
    chain.grow_blocks(1, 1, |_| spent.clone());
    let block: Block = deserialize(&chain.body(300).unwrap().block).unwrap();
    let outpoint = OutPoint::new(block.txdata[0].compute_txid(), 0);
    chain.grow_blocks(700, 1, |height| script(u64::from(height) + 100));
    let (mut shorter, mut longer) = (chain.clone(), chain.clone());
    shorter.grow_blocks(3, 2, |height| script(u64::from(height) + 100));
    longer.grow_blocks(3, 3, |height| script(u64::from(height) + 100));
    longer.grow_spend(outpoint, script_sig.clone(), witness.clone(), spent, script(7));
    let (chain, shorter, longer) = (Rc::new(chain), Rc::new(shorter), Rc::new(longer));

    let mut lab = Lab::new(newest_first(), vec![Peer::new(&chain)]);
    // The search does not come as far down as the output.
    lab.peers[0].leaves_out = (280..320).collect();
    lab.command(watch(vec![spent.clone(), script(7)], 5));
    lab.run_until("a part", |lab| times_asked(lab, 1000)[400] > 0);
    lab.run_for(Duration::from_secs(2));
    assert!(told(&lab).is_empty());
    lab.peers[0].withholds_filters = true;
    for chain in [&shorter, &longer] {
        lab.switch(0, chain);
        lab.run_until("the chain", |lab| lab.progress.headers.done == chain.height());
        lab.run_for(Duration::from_secs(2));
    }
    assert!(lab.events.iter().any(|event| matches!(event, Event::Reorganised { .. })));
    assert!(lab.rows("spends").is_empty());
    lab.peers[0].withholds_filters = false;
    lab.run_until("the spending is remembered", |lab| !lab.rows("spends").is_empty());
    lab.command(watch(vec![script(900_000)], 990));
    lab.run_for(Duration::from_secs(2));
    assert!(!lab.rows("spends").is_empty());
    lab.peers[0].leaves_out.clear();
    lab.run_until("the sync", |lab| lab.synced == Some(longer.tip()));
    lab.run_for(Duration::from_secs(600));
    let told = sorted(told(&lab));
    let (received, last) = (told[0].clone(), told.last().unwrap());
    assert_eq!((received.block.height, received.kind), (300, TouchKind::Received { output: 0 }));
    let spending = told.iter().find(|touch| matches!(touch.kind, TouchKind::Spent { .. })).unwrap();
    assert_eq!((spending.block.height, &spending.script), (longer.height(), spent));
    assert_eq!(last.block.height, longer.height());
    assert_settled(&lab);
}

/// What is remembered, or how far it is, is damaged: it is searched for anew.
#[test]
fn damage_costs_nothing_but_time() {
    let spending = &spendings()[5];
    let chain = spending_chain(spending);
    let scripts = vec![spending.1.clone(), script(150), script(950)];
    let mut plain = Lab::new(config(1), vec![Peer::new(&chain)]);
    plain.command(watch(scripts.clone(), 5));
    plain.sync();
    let expected = sorted(told(&plain));
    let is_descent = |(key, _): &(Vec<u8>, Vec<u8>)| key.starts_with(b"descent");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for damage in ["spends", "descent", "no descent", "watched"] {
        let mut lab = Lab::new(newest_first(), vec![Peer::new(&chain)]);
        lab.latency = Duration::from_millis(10);
        lab.command(watch(scripts.clone(), 5));
        lab.run_until("the spending", |lab| {
            !lab.rows("spends").is_empty() && lab.rows("meta").iter().any(is_descent)
        });
        let mut store = lab.store().clone();
        let meta = lab.rows("meta");
        let (key, mut value) = match damage {
            "spends" => lab.rows("spends").remove(0),
            "watched" => lab.rows("watched").remove(0),
            _ => meta.into_iter().find(is_descent).unwrap(),
        };
        let space = Space::new(if damage.ends_with("descent") { "meta" } else { damage });
        let last = value.len() - 5;
        value[last] ^= 1;
        change(&mut store, |batch| match damage {
            "no descent" => batch.delete(space, &key, &[&key[..], &[0]].concat()),
            _ => batch.put(space, &key, &value),
        });
        let mut lab = Lab::on(store, lab.config, lab.peers);
        lab.synced = None;
        lab.sync();
        assert_eq!(sorted(told(&lab)), expected, "{damage} {:?}", lab.events);
        let repairs = lab.events.iter().filter(|event| matches!(event, Event::Repaired { .. })).count();
        seen.insert(damage, repairs);
        assert_settled(&lab);
    }
    assert!(seen.values().all(|repairs| *repairs == 1), "{seen:?}");
}
