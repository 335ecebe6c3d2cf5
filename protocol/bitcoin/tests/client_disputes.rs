//! Peers whose filter headers differ: who is believed, who is let go and for what, and what is found after all.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, Command, Config, Decision, Endpoint, Event, Misbehaviour, Reason, Start, TouchKind,
};
use andon_bitcoin::filter::{self, Place};
use andon_bitcoin::points::StartPoint;
use bitcoin::hashes::Hash;
use bitcoin::key::{Secp256k1, UntweakedPublicKey};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::taproot::{LeafVersion, TaprootBuilder};
use bitcoin::{OutPoint, PubkeyHash, Script, ScriptBuf, WPubkeyHash, Witness};

use lab::chain::script;
use lab::filter_headers::{filter_headers, stored};
use lab::{Chain, Lab, Peer, config, endpoint};

/// Blocks of the chains here, and the one that a lie is about.
const TIP: u32 = 60;
const LIE: u32 = 37;

/// The watched script is paid in each tenth block, and in the one of the lie.
fn pays(height: u32) -> ScriptBuf {
    script(if height.is_multiple_of(10) || height == LIE { 1 } else { 1000 + u64::from(height) })
}

fn honest() -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.grow_blocks(TIP, 0, pays);
    Rc::new(chain)
}

/// The same blocks, and another filter of one of them: with these scripts.
fn lying(chain: &Chain, height: u32, scripts: &[ScriptBuf]) -> Rc<Chain> {
    let filter = filter::build(&chain.hash(height), scripts.iter().map(|script| script.as_bytes()));
    Rc::new(chain.with_filter(height, filter))
}

/// A filter that leaves the payment out.
fn hiding() -> Rc<Chain> {
    lying(&honest(), LIE, &[])
}

/// A filter that holds something more.
fn adding() -> Rc<Chain> {
    lying(&honest(), LIE, &[pays(LIE), script(7)])
}

fn watching(peers: Vec<Peer>) -> Lab {
    let mut lab = Lab::new(config(peers.len()), peers);
    lab.command(Command::Watch { scripts: vec![script(1)], from: Birthday::Height(1) });
    lab
}

/// What an application that believes every event holds at the end; each is told once.
fn found(lab: &Lab) -> Vec<u32> {
    let mut found = BTreeSet::new();
    for event in &lab.events {
        match event {
            Event::Touched(touch) => {
                assert!(matches!(touch.kind, TouchKind::Received { output: 0 }));
                assert!(found.insert(touch.block.height), "told twice: {touch:?}");
            }
            Event::TakenBack(touch) => assert!(found.remove(&touch.block.height), "never told: {touch:?}"),
            _ => {}
        }
    }
    found.into_iter().collect()
}

const ALL: [u32; 7] = [10, 20, 30, 37, 40, 50, 60];

fn convicted() -> Reason {
    Reason::Misbehaved(Misbehaviour::FalseFilterHeader(LIE))
}

/// Lets time pass without a peer's coming back being of concern.
fn settle(lab: &mut Lab) {
    lab.run_for(Duration::from_secs(30));
}

#[test]
fn a_liar_among_several_is_convicted_wherever_it_stands() {
    for count in [2, 3] {
        for liar in 0..count {
            let peers = (0..count).map(|peer| Peer::new(&if peer == liar { hiding() } else { honest() }));
            let mut lab = watching(peers.collect());
            settle(&mut lab);
            let what = format!("{liar} of {count}");
            assert_eq!(found(&lab), ALL, "{what}");
            assert_eq!(lab.synced, Some(honest().tip()), "{what}");
            assert_eq!(lab.farewells(), [(endpoint(liar), convicted())], "{what}");
            let evidence: Vec<_> = lab
                .events
                .iter()
                .filter_map(|event| match event {
                    Event::FalseFilter { endpoint, block, filter_hash, omission } => {
                        Some((endpoint.clone(), *block, *filter_hash, omission.clone().unwrap()))
                    }
                    _ => None,
                })
                .collect();
            let [(who, block, filter_hash, omission)] = evidence.as_slice() else { panic!("{evidence:?}") };
            assert_eq!((who, *block), (&endpoint(liar), honest().block(LIE)), "{what}");
            assert_eq!(*filter_hash, hiding().filter_hash(LIE), "{what}");
            assert_eq!((omission.place, &omission.script), (Place::Output(0), &script(1)), "{what}");
        }
    }
}

#[test]
fn what_a_liar_that_was_alone_hid_is_found_when_an_honest_peer_comes() {
    for seconds in [0, 1, 40] {
        let mut lab = watching(vec![Peer::new(&hiding())]);
        lab.sync();
        assert_eq!(found(&lab), [10, 20, 30, 40, 50, 60]);
        lab.run_for(Duration::from_secs(seconds));
        lab.peers.push(Peer::new(&honest()));
        lab.command(Command::AddPeer(endpoint(1)));
        settle(&mut lab);
        assert_eq!(found(&lab), ALL);
        assert_eq!(lab.farewells(), [(endpoint(0), convicted())]);
        assert!(lab.events.contains(&Event::FilterHeadersReplaced { from: LIE }));
        assert_eq!(lab.synced, Some(honest().tip()));
    }
}

/// The same over a restart: nobody vouches any more for what was stored.
#[test]
fn what_a_liar_hid_in_an_earlier_run_is_found() {
    let mut lab = watching(vec![Peer::new(&hiding())]);
    lab.sync();
    lab.restart();
    lab.peers[0] = Peer::new(&honest());
    settle(&mut lab);
    assert_eq!(found(&lab), ALL);
    assert_eq!(lab.farewells(), [], "nobody who is there has lied");
    assert_eq!(lab.synced, Some(honest().tip()));
}

#[test]
fn with_as_many_on_either_side_the_search_waits_for_one_more() {
    for (third, from_honest) in [(honest(), true), (adding(), false)] {
        for order in [[0, 1], [1, 0]] {
            let chains = [honest(), adding()];
            let mut lab = watching(order.iter().map(|side| Peer::new(&chains[*side])).collect());
            settle(&mut lab);
            assert_eq!(lab.farewells(), [], "nothing is proven of either");
            assert_eq!(lab.synced, None);
            assert_eq!(found(&lab), [10, 20, 30]);
            let open =
                Event::FilterHeadersDisputed { height: LIE, ours: 1, theirs: 1, decision: Decision::Open };
            assert_eq!(lab.events.iter().filter(|event| **event == open).count(), 1);

            lab.peers.push(Peer::new(&third));
            lab.command(Command::AddPeer(endpoint(2)));
            settle(&mut lab);
            assert_eq!(lab.farewells(), [], "who has fewer on its side is no liar for it");
            assert_eq!(lab.synced, Some(honest().tip()));
            assert_eq!(found(&lab), ALL, "what is added to a filter hides nothing");
            let first_is_with_more = (order[0] == 0) == from_honest;
            let (ours, theirs, decision) = match first_is_with_more {
                true => (2, 1, Decision::Kept),
                false => (1, 2, Decision::Replaced),
            };
            let decided = Event::FilterHeadersDisputed { height: LIE, ours, theirs, decision };
            assert!(lab.events.contains(&decided), "{:?}", lab.events);
            // Once: those that are taken then are no case for another decision.
            let replaced =
                lab.events.iter().filter(|event| matches!(event, Event::FilterHeadersReplaced { .. }));
            assert_eq!(replaced.count(), usize::from(decision == Decision::Replaced));
        }
    }
}

/// One that comes back has no second vote.
#[test]
fn a_peer_that_comes_again_and_again_votes_once() {
    let mut lab = watching(vec![Peer::new(&honest()), Peer::new(&adding())]);
    settle(&mut lab);
    for _ in 0..4 {
        lab.cut(1);
        lab.run_for(Duration::from_secs(20));
        lab.command(Command::AddPeer(endpoint(1)));
        settle(&mut lab);
        assert!(lab.peers[1].connections > 1);
        let most = lab.events.iter().filter_map(|event| match event {
            Event::FilterHeadersDisputed { ours, theirs, .. } => Some(*ours.max(theirs)),
            _ => None,
        });
        assert_eq!(most.max(), Some(1));
        assert!(!lab.events.iter().any(|event| matches!(event, Event::FilterHeadersReplaced { .. })));
    }
}

/// Peers of one network have one vote, however many they are.
#[test]
fn a_network_votes_once() {
    let at = |text: &str| Endpoint::parse(text, bitcoin::Network::Regtest).unwrap();
    for (second, decision) in [
        ("203.0.114.5:30001", Decision::Open),
        ("[::ffff:203.0.1.1]:30001", Decision::Open),
        ("203.9.113.5:30001", Decision::Replaced),
    ] {
        let mut config = config(0);
        config.peers = vec![at("198.52.100.7:30002"), at("203.0.1.9:30000"), at(second)];
        let peers = vec![Peer::new(&adding()), Peer::new(&adding()), Peer::new(&honest())];
        let mut lab = Lab::new(config, peers);
        lab.command(Command::Watch { scripts: vec![script(1)], from: Birthday::Height(1) });
        settle(&mut lab);
        assert_eq!(lab.farewells(), [], "{second}");
        let told: Vec<Decision> = lab
            .events
            .iter()
            .filter_map(|event| match event {
                Event::FilterHeadersDisputed { decision, .. } => Some(*decision),
                _ => None,
            })
            .collect();
        assert_eq!(told.contains(&Decision::Replaced), decision == Decision::Replaced, "{second}: {told:?}");
        assert_eq!(lab.synced.is_none(), decision == Decision::Open, "{second}: {told:?}");
    }
}

/// Two that lie alike are enough for each other, until one comes that does not.
#[test]
fn one_honest_peer_convicts_many() {
    for order in [[0, 0, 1], [0, 1, 0], [1, 0, 0]] {
        let chains = [hiding(), honest()];
        let mut lab = watching(order.iter().map(|side| Peer::new(&chains[*side])).collect());
        settle(&mut lab);
        let mut gone = lab.farewells();
        gone.sort_by_key(|(endpoint, _)| endpoint.clone());
        let liars = (0..3).filter(|peer| order[*peer] == 0);
        assert_eq!(gone, liars.map(|peer| (endpoint(peer), convicted())).collect::<Vec<_>>(), "{order:?}");
        assert_eq!(found(&lab), ALL, "{order:?}");
        assert_eq!(lab.synced, Some(honest().tip()), "{order:?}");
    }
}

/// Who names other filter headers and gives no filter is passed over: it holds nobody up, and nothing is proven of it.
/// Two liars that disagree convict each other. Each comes back, and is the only one there for a moment.
#[test]
fn what_was_proven_false_is_not_believed_of_who_comes_back_alone() {
    let other = lying(&honest(), LIE, &[script(7)]);
    let peers = vec![Peer::new(&hiding()), Peer::new(&other), Peer::new(&honest())];
    let mut lab = Lab::new(config(2), peers);
    lab.command(Command::Watch { scripts: vec![script(1)], from: Birthday::Height(1) });
    lab.run_for(Duration::from_secs(1800));
    assert!(lab.farewells().iter().filter(|(_, reason)| *reason == convicted()).count() > 2);
    assert!(!lab.events.iter().any(|event| matches!(event, Event::Synced(_))), "nothing was checked there");
    assert!(found(&lab).iter().all(|height| *height < LIE), "{:?}", found(&lab));
    lab.command(Command::AddPeer(endpoint(2)));
    lab.run_for(Duration::from_secs(600));
    assert_eq!(found(&lab), ALL);
    assert_eq!(lab.synced, Some(honest().tip()));
}

#[test]
fn who_does_not_defend_its_filter_headers_is_passed_over() {
    let mut mute = Peer::new(&hiding());
    mute.withholds_filters = true;
    let mut lab = watching(vec![Peer::new(&honest()), mute]);
    lab.run_for(Duration::from_secs(120));
    assert_eq!(lab.farewells(), []);
    assert_eq!(found(&lab), ALL);
    assert_eq!(lab.synced, Some(honest().tip()));
    assert!(!lab.events.iter().any(|event| matches!(event, Event::FilterHeadersReplaced { .. })));
}

#[test]
fn honest_peers_are_asked_for_one_filter_header_each() {
    let alone = {
        let mut lab = watching(vec![Peer::new(&honest())]);
        lab.sync();
        lab.bytes
    };
    let mut lab = watching((0..4).map(|_| Peer::new(&honest())).collect());
    lab.sync();
    assert_eq!(lab.farewells(), []);
    assert_eq!(found(&lab), ALL);
    // Handshake, a header or two that show the tip, one filter header, and the pongs behind each request.
    let each = (lab.bytes - alone) / 3;
    assert!(each < 1200, "{each} bytes for each further peer");
}

#[test]
fn below_a_known_filter_header_one_peer_is_enough_and_a_liar_is_caught_by_it() {
    let known = |height| (height, honest().filter_header(height));
    // Alone, against what is known above the lie: it is let go, and nothing is searched with what it said.
    let mut config = config(1);
    config.known_filter_headers = vec![known(20), known(50)];
    let mut lab = Lab::new(config, vec![Peer::new(&hiding())]);
    lab.command(Command::Watch { scripts: vec![script(1)], from: Birthday::Height(1) });
    lab.run_for(Duration::from_secs(20));
    let reason = Reason::Misbehaved(Misbehaviour::ContradictsKnownFilterHeader(50));
    assert_eq!(lab.farewells(), [(endpoint(0), reason)]);
    assert!(!found(&lab).contains(&40));
    lab.peers.push(Peer::new(&honest()));
    lab.command(Command::AddPeer(endpoint(1)));
    settle(&mut lab);
    assert_eq!(found(&lab), ALL);
    assert_eq!(lab.synced, Some(honest().tip()));
}

#[test]
fn a_node_whose_index_lags_is_passed_over() {
    let mut lagging = Peer::new(&honest());
    lagging.indexed = 30;
    let mut lab = watching(vec![Peer::new(&honest()), lagging]);
    settle(&mut lab);
    assert_eq!(lab.farewells(), []);
    assert_eq!(found(&lab), ALL);
    assert_eq!(lab.synced, Some(honest().tip()));
}

fn push(bytes: &[u8]) -> PushBytesBuf {
    PushBytesBuf::try_from(bytes.to_vec()).unwrap()
}

/// A filter that leaves out what an input spends is proven false by what the input tells.
#[test]
fn what_is_spent_is_missed_as_what_is_paid() {
    let key = [vec![2], vec![0x79; 32]].concat();
    let signature = [vec![0x30, 68], vec![2; 69]].concat();
    let program = ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(&key));
    let inner = ScriptBuf::from_bytes(vec![0x51, 0x75, 0x51]);
    let pushed = |pushes: &[&[u8]]| {
        pushes.iter().fold(Builder::new(), |builder, bytes| builder.push_slice(push(bytes))).into_script()
    };
    let by_key = Witness::from_slice(&[signature.clone(), key.clone()]);
    let by_script = Witness::from_slice(&[vec![1], inner.to_bytes()]);
    let internal: UntweakedPublicKey =
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
    let tree = TaprootBuilder::new().add_leaf(0, inner.clone()).unwrap();
    let tree = tree.finalize(&Secp256k1::new(), internal).unwrap();
    let control = tree.control_block(&(inner.clone(), LeafVersion::TapScript)).unwrap();
    let by_path = Witness::from_slice(&[vec![1], inner.to_bytes(), control.serialize()]);
    let taproot = ScriptBuf::new_p2tr_tweaked(tree.output_key());
    for (what, script_sig, witness, spent) in [
        ("P2PKH", pushed(&[&signature, &key]), Witness::new(), ScriptBuf::new_p2pkh(&PubkeyHash::hash(&key))),
        ("P2WPKH", ScriptBuf::new(), by_key.clone(), program.clone()),
        ("P2SH-P2WPKH", pushed(&[program.as_bytes()]), by_key, program.to_p2sh()),
        ("P2WSH", ScriptBuf::new(), by_script, inner.to_p2wsh()),
        ("taproot by script", ScriptBuf::new(), by_path, taproot),
    ] {
        let mut chain = Chain::new();
        chain.grow_blocks(LIE - 1, 0, pays);
        chain.grow_spend(
            OutPoint { txid: Hash::from_byte_array([5; 32]), vout: 1 },
            script_sig,
            witness,
            &spent,
            pays(LIE),
        );
        chain.grow_blocks(TIP - LIE, 0, pays);
        let liar = lying(&chain, LIE, &[pays(LIE), script(99)]);
        let honest = Rc::new(chain);
        for order in [[&honest, &liar], [&liar, &honest]] {
            let mut lab = Lab::new(config(2), order.iter().map(|chain| Peer::new(chain)).collect());
            lab.command(Command::Watch { scripts: vec![spent.clone()], from: Birthday::Height(1) });
            settle(&mut lab);
            let liar = usize::from(Rc::ptr_eq(order[0], &honest));
            assert_eq!(lab.farewells(), [(endpoint(liar), convicted())], "{what}");
            assert!(lab.events.contains(&Event::Matched(honest.block(LIE))), "{what}");
            let evidence = lab.events.iter().find_map(|event| match event {
                Event::FalseFilter { omission: Some(omission), .. } => Some(omission.clone()),
                _ => None,
            });
            let evidence = evidence.unwrap();
            assert_eq!((evidence.place, evidence.script), (Place::Input(0), spent.clone()), "{what}");
        }
    }
}

/// A lie far below the window, and filter headers from far below taken anew.
#[test]
fn a_lie_far_down_is_found_by_halving() {
    const FAR: u32 = 40;
    let mut chain = Chain::new();
    chain.grow_blocks(FAR, 0, |height| script(u64::from(height)));
    chain.grow(20_000, 0);
    let liar = lying(&chain, 33, &[]);
    let honest = Rc::new(chain);
    for order in [[&honest, &liar], [&liar, &honest]] {
        let mut lab = Lab::new(config(1), vec![Peer::new(order[0])]);
        lab.sync();
        lab.peers.push(Peer::new(order[1]));
        lab.command(Command::AddPeer(endpoint(1)));
        lab.run_for(Duration::from_secs(60));
        let liar = usize::from(Rc::ptr_eq(order[0], &honest));
        let reason = Reason::Misbehaved(Misbehaviour::FalseFilterHeader(33));
        assert_eq!(lab.farewells(), [(endpoint(liar), reason)]);
        assert_eq!(lab.synced, Some(honest.tip()));
        assert_eq!(
            stored(&lab),
            (0..=honest.height()).map(|height| honest.filter_header(height)).collect::<Vec<_>>()
        );
    }
}

/// Blocks in the place of those above `fork`, five more: they pay as the others do.
fn branch(chain: &Chain, fork: u32) -> Rc<Chain> {
    let mut branch = chain.cut(fork);
    branch.grow_blocks(TIP + 5 - fork, 1, pays);
    Rc::new(branch)
}

/// The chain changes while it is open who is right: below the lie, at it, right above it, and far above. Whatever part of
/// the dispute that meets, who still lies is convicted, and nobody else.
#[test]
fn a_dispute_over_a_reorganisation() {
    let (mut before, mut after) = (0, 0);
    for fork in [20, LIE - 1, LIE, LIE + 1, 55] {
        let chains = [honest(), hiding()];
        let branches = chains.each_ref().map(|chain| branch(chain, fork));
        let still_lies = branches[0].filter_header(LIE) != branches[1].filter_header(LIE);
        assert_eq!(still_lies, fork >= LIE);
        for order in [[0, 1], [1, 0]] {
            for (delay, disk_delay) in
                (0..18).map(|step| (step * 20, None)).chain((0..18).map(|step| (step * 25, Some(15))))
            {
                let what = format!("fork at {fork}, {order:?}, after {delay} ms, {disk_delay:?}");
                let mut lab = watching(order.iter().map(|side| Peer::new(&chains[*side])).collect());
                lab.disk_delay = disk_delay.map(Duration::from_millis);
                lab.run_for(Duration::from_millis(150 + delay));
                let convicted_before = !lab.farewells().is_empty();
                (0..2).for_each(|peer| lab.switch(peer, &branches[order[peer]]));
                lab.run_until("the sync", |lab| lab.synced == Some(branches[0].tip()));
                settle(&mut lab);
                assert_eq!(lab.synced, Some(branches[0].tip()), "{what}");
                assert_eq!(stored(&lab), filter_headers(&branches[0], 0), "{what}");
                assert_eq!(found(&lab), ALL, "{what}");
                let liar = endpoint(order.iter().position(|side| *side == 1).unwrap());
                let lied: Vec<_> = lab
                    .farewells()
                    .into_iter()
                    .filter(|(_, reason)| matches!(reason, Reason::Misbehaved(_)))
                    .collect();
                match still_lies || convicted_before {
                    true => assert_eq!(lied, [(liar, convicted())], "{what}"),
                    // It may have been convicted while its chain was ours.
                    false => assert!(lied.is_empty() || lied == [(liar, convicted())], "{what}: {lied:?}"),
                }
                if convicted_before { before += 1 } else { after += 1 }
            }
        }
    }
    assert!(before > 20 && after > 100, "{before}, {after}");
}

/// The process ends after each write in turn, while a lie is being found out and what it hid is being found.
#[test]
fn a_dispute_over_a_crash_after_each_write() {
    for disk_delay in [None, Some(Duration::from_millis(10))] {
        for (order, first_alone) in [([1, 0], false), ([0, 1], false), ([1, 0], true)] {
            let chains = [honest(), hiding()];
            let mut crashes = 0;
            for write in 1.. {
                let what = format!("{order:?}, {first_alone}, {disk_delay:?}, write {write}");
                let mut lab = watching(vec![Peer::new(&chains[order[0]])]);
                lab.disk_delay = disk_delay;
                if first_alone {
                    lab.sync();
                }
                lab.peers.push(Peer::new(&chains[order[1]]));
                lab.config = config(2);
                lab.command(Command::AddPeer(endpoint(1)));
                lab.crash_after = Some(lab.batches() + write);
                lab.run_for(Duration::from_secs(20));
                if !lab.has_crashed() {
                    break;
                }
                crashes += 1;
                lab.restart();
                if first_alone || write % 2 == 0 {
                    // What was watched is stored, if that came so far; an application says it again at any rate.
                    lab.command(Command::Watch { scripts: vec![script(1)], from: Birthday::Height(1) });
                }
                lab.command(Command::WatchOnly { scripts: vec![script(1)], from: Birthday::Height(1) });
                settle(&mut lab);
                assert_eq!(lab.synced, Some(honest().tip()), "{what}");
                assert_eq!(stored(&lab), filter_headers(&honest(), 0), "{what}");
                assert_eq!(found(&lab), ALL, "{what}");
                let liar = endpoint(order.iter().position(|side| *side == 1).unwrap());
                assert!(lab.farewells().iter().all(|gone| *gone == (liar.clone(), convicted())), "{what}");
            }
            assert!(crashes >= 4, "{crashes}");
        }
    }
}

/// The same far below the window, where what is stored is read anew.
#[test]
fn a_lie_far_down_over_a_crash_after_each_write() {
    let mut chain = Chain::new();
    chain.grow_blocks(40, 0, |height| script(u64::from(height)));
    chain.grow(20_000, 0);
    let liar = lying(&chain, 33, &[]);
    let honest = Rc::new(chain);
    let mut synced = Lab::new(config(1), vec![Peer::new(&liar)]);
    synced.sync();
    let has_lies = synced.store().clone();
    let mut crashes = 0;
    for write in 1.. {
        let mut lab = Lab::on(has_lies.clone(), config(2), vec![Peer::new(&liar), Peer::new(&honest)]);
        lab.disk_delay = (write % 2 == 0).then_some(Duration::from_millis(5));
        lab.run_until("the start", |lab| lab.started().is_some());
        lab.crash_after = Some(lab.batches() + write);
        lab.run_for(Duration::from_secs(60));
        if lab.has_crashed() {
            crashes += 1;
            lab.restart();
            lab.run_for(Duration::from_secs(60));
        }
        let reason = Reason::Misbehaved(Misbehaviour::FalseFilterHeader(33));
        assert!(lab.farewells().iter().all(|gone| *gone == (endpoint(0), reason.clone())), "{write}");
        assert_eq!(lab.synced, Some(honest.tip()), "{write}");
        assert!(stored(&lab) == filter_headers(&honest, 0), "{write}");
        if crashes < write {
            break;
        }
    }
    assert!(crashes > 5, "{crashes}");
}

/// A chain that begins further up: right above its start, and far above, the block decides. At the start itself, and below
/// it, nothing shows what the filter header follows from: there the peers decide.
#[test]
fn a_dispute_above_a_start() {
    for start in [12, 20, 36] {
        let config = |count| {
            let headers = honest().headers(0, start).to_vec();
            let point = StartPoint { height: start, work: honest().work(start), headers };
            Config { start: Start::Point(point), ..config(count) }
        };
        let of_height = |height: &u32| *height > start;
        let all: Vec<u32> = ALL.into_iter().filter(of_height).collect();
        let watching = |peers: Vec<Peer>| {
            let mut lab = Lab::new(config(peers.len()), peers);
            lab.command(Command::Watch { scripts: vec![script(1)], from: Birthday::Height(start + 1) });
            lab
        };
        for lie in [start + 1, start + 2, LIE, 50, TIP] {
            let liar = lying(&honest(), lie, &[]);
            for order in [[0, 1, 0], [1, 0, 0], [1, 1, 0]] {
                let what = format!("start {start}, lie at {lie}, {order:?}");
                let chains = [honest(), liar.clone()];
                let mut lab = watching(order.iter().map(|side| Peer::new(&chains[*side])).collect());
                settle(&mut lab);
                let reason = Reason::Misbehaved(Misbehaviour::FalseFilterHeader(lie));
                let mut gone = lab.farewells();
                gone.sort_by_key(|(endpoint, _)| endpoint.clone());
                let liars = (0..3).filter(|peer| order[*peer] == 1);
                assert_eq!(
                    gone,
                    liars.map(|peer| (endpoint(peer), reason.clone())).collect::<Vec<_>>(),
                    "{what}"
                );
                assert_eq!(lab.synced, Some(honest().tip()), "{what}");
                assert_eq!(found(&lab), all, "{what}");
                assert_eq!(stored(&lab), filter_headers(&honest(), start), "{what}");
            }
        }
        // What lies at the start or below shows in what the first filter header follows from.
        for lie in [start, start - 1, 1] {
            let liar = lying(&honest(), lie, &[]);
            for order in [[0, 1], [1, 0]] {
                let what = format!("start {start}, lie at {lie}, {order:?}");
                let chains = [honest(), liar.clone()];
                let mut lab = watching(order.iter().map(|side| Peer::new(&chains[*side])).collect());
                settle(&mut lab);
                assert_eq!(lab.farewells(), [], "{what}: nothing is proven of either");
                assert_eq!((lab.synced, found(&lab)), (None, vec![]), "{what}");
                lab.peers.push(Peer::new(&honest()));
                lab.command(Command::AddPeer(endpoint(2)));
                settle(&mut lab);
                assert_eq!(lab.farewells(), [], "{what}");
                assert_eq!(lab.synced, Some(honest().tip()), "{what}");
                assert_eq!(found(&lab), all, "{what}");
                assert_eq!(stored(&lab), filter_headers(&honest(), start), "{what}");
            }
        }
    }
}

#[test]
fn the_scripts_of_this_file_are_what_they_are_said_to_be() {
    assert!(Script::from_bytes(script(1).as_bytes()).is_p2wpkh());
    assert_ne!(hiding().filter_header(LIE), honest().filter_header(LIE));
    assert_eq!(hiding().filter_header(LIE - 1), adding().filter_header(LIE - 1));
    assert_eq!(hiding().tip(), honest().tip());
}
