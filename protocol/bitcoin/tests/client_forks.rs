//! Forks and reorganisations to any depth above the start: what the client tells, what it stores, what a restart finds.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod lab;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, BlockId, Command, Event, Reason, Start, Touch, TouchKind};
use andon_bitcoin::points::StartPoint;
use andon_kernel::MemoryStore;
use bitcoin::{BlockHash, ScriptBuf};
use lab::chain::script;
use lab::{Chain, Lab, Peer, config, endpoint};

/// What a store holds of a chain, but for what is found in it.
const SPACES: [&str; 5] = ["headers", "filter_headers", "hashes", "meta", "staged"];

type Row = (Vec<u8>, Vec<u8>);

/// What a client has written that never knew another chain, and what it asks with after a restart.
struct Fresh {
    rows: Vec<Vec<Row>>,
    locator: Vec<BlockHash>,
}

fn rows(lab: &Lab) -> Vec<Vec<Row>> {
    SPACES.iter().map(|space| lab.rows(space)).collect()
}

fn fresh(chain: &Rc<Chain>) -> Fresh {
    let mut lab = Lab::synced_with(chain);
    let rows = rows(&lab);
    lab.restart();
    lab.sync();
    Fresh { rows, locator: lab.peers[0].first_locator.clone() }
}

fn stored(chain: &Rc<Chain>) -> MemoryStore {
    Lab::synced_with(chain).store().clone()
}

/// A client that was restarted on what it had stored of a chain, and is connected to a peer that has it.
fn connected(store: &MemoryStore, chain: &Rc<Chain>) -> Lab {
    let mut lab = Lab::on(store.clone(), config(1), vec![Peer::new(chain)]);
    lab.sync();
    lab
}

/// The client is where one is that never knew another chain, now and after a restart.
fn is_as_fresh(lab: &mut Lab, chain: &Chain, fresh: &Fresh, what: &str) {
    lab.let_the_disk_finish();
    for ((space, ours), theirs) in SPACES.iter().zip(rows(lab)).zip(&fresh.rows) {
        assert_eq!(ours.len(), theirs.len(), "{what}: rows of {space}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(ours, theirs, "{what}: a row of {space}");
        }
    }
    lab.restart();
    lab.sync_to(chain.tip());
    assert_eq!(lab.started(), Some(chain.tip()), "{what}: the tip after a restart");
    assert_eq!(lab.peers[0].first_locator, fresh.locator, "{what}: the locator after a restart");
    assert_eq!(lab.reorganisations(), [], "{what}: a restart reorganises nothing");
    assert_eq!(lab.farewells(), [], "{what}: after a restart");
}

fn told(old: &Chain, new: &Chain, fork: u32) -> [(BlockId, BlockId, BlockId); 1] {
    [(old.block(fork), old.tip(), new.tip())]
}

const DEPTHS: [u32; 21] = [
    1, 10, 143, 144, 145, 146, 2000, 2001, 5000, 6047, 6048, 6049, 7000, 8063, 8064, 8079, 8080, 8081,
    10_000, 30_000, 40_000,
];

#[test]
fn a_branch_that_is_heavier_by_one_block_wins_from_any_depth() {
    let old = Rc::new(Chain::with_height(40_000, 0));
    let store = stored(&old);
    for depth in DEPTHS {
        let fork = 40_000 - depth;
        let new = Rc::new(old.fork(fork, depth + 1, 1));
        let fresh = fresh(&new);
        // While the client is connected.
        let mut lab = connected(&store, &old);
        lab.switch(0, &new);
        lab.sync();
        assert_eq!(lab.reorganisations(), told(&old, &new, fork), "depth {depth}");
        assert_eq!(lab.farewells(), [], "depth {depth}");
        is_as_fresh(&mut lab, &new, &fresh, &format!("depth {depth}"));
        // While it was away.
        let mut lab = Lab::on(store.clone(), config(1), vec![Peer::new(&new)]);
        lab.sync();
        assert_eq!(lab.started(), Some(old.tip()));
        assert_eq!(lab.reorganisations(), told(&old, &new, fork), "depth {depth}, away");
        assert_eq!(lab.farewells(), [], "depth {depth}, away");
        is_as_fresh(&mut lab, &new, &fresh, &format!("depth {depth}, away"));
    }
}

/// A window that has not been cut yet reaches further down than one that was just loaded.
#[test]
fn the_edges_of_a_window_make_no_difference() {
    for tip in [14_111, 14_112] {
        let old = Rc::new(Chain::with_height(tip, 0));
        for fork in [6031, 6032, 6033, 6047, 6048, 6049, 6064, 8065] {
            let new = Rc::new(old.fork(fork, tip - fork + 1, 1));
            let mut lab = Lab::synced_with(&old);
            lab.switch(0, &new);
            lab.sync();
            assert_eq!(lab.reorganisations(), told(&old, &new, fork), "{tip} from {fork}");
            assert_eq!(lab.farewells(), [], "{tip} from {fork}");
            is_as_fresh(&mut lab, &new, &fresh(&new), &format!("{tip} from {fork}"));
        }
    }
}

/// A branch that was kept beside the best chain, and fell behind since, becomes the best one after all.
#[test]
fn a_branch_that_fell_behind_comes_back() {
    const FORK: u32 = 4000;
    let trunk = Chain::with_height(FORK, 0);
    let first = trunk.fork(FORK, 3200, 1);
    let second = trunk.fork(FORK, 3201, 2);
    let short = |chain: &Chain, length| Rc::new(chain.cut(FORK + length));
    let mut lab = Lab::new(config(2), vec![Peer::new(&short(&first, 1000)), Peer::new(&short(&second, 900))]);
    lab.sync();
    lab.run_for(Duration::from_secs(10));
    // The first grows, the second does not yet.
    for length in (1100..=3200).step_by(100) {
        lab.switch(0, &short(&first, length));
        lab.sync();
    }
    assert_eq!(lab.reorganisations(), []);
    let second = Rc::new(second);
    lab.switch(1, &second);
    lab.sync();
    assert_eq!(lab.reorganisations(), told(&first, &second, FORK));
    assert_eq!(lab.farewells(), []);
    is_as_fresh_of_two(&mut lab, &second);
}

/// As `is_as_fresh`, for a client of several peers: which of them is asked first is no matter of the chain.
fn is_as_fresh_of_two(lab: &mut Lab, chain: &Rc<Chain>) {
    assert!(
        rows(lab) == fresh(chain).rows,
        "what is stored is not what a client stores that knew no other chain"
    );
    lab.restart();
    lab.sync_to(chain.tip());
    assert_eq!(lab.started(), Some(chain.tip()));
}

/// Two branches from one block overtake each other, for longer than a window.
#[test]
fn two_branches_overtake_each_other_again_and_again() {
    for (fork, step) in [(100, 120), (3000, 89)] {
        let trunk = Chain::with_height(fork, 0);
        let mut chains = [trunk.clone(), trunk];
        let mut lab =
            Lab::new(config(2), chains.iter().map(|chain| Peer::new(&Rc::new(chain.clone()))).collect());
        lab.sync();
        let mut told = Vec::new();
        let mut turn = 0;
        while chains[turn].height() < fork + 8300 {
            turn = 1 - turn;
            let old = chains[1 - turn].tip();
            let count = old.height + step - chains[turn].height();
            chains[turn].grow(count, turn as u8 + 1);
            lab.switch(turn, &Rc::new(chains[turn].clone()));
            lab.sync();
            // The first to grow goes on from what both have.
            if old.height > fork {
                told.push((chains[turn].block(fork), old));
            }
        }
        // Where a message ends in the middle of what is new, its last header is the new tip that is told.
        let seen = lab.reorganisations().into_iter().map(|(fork, old, _)| (fork, old));
        assert_eq!(seen.collect::<Vec<_>>(), told);
        assert_eq!(lab.farewells(), []);
        is_as_fresh_of_two(&mut lab, &Rc::new(chains[turn].clone()));
    }
}

#[test]
fn the_first_seen_stays_where_work_is_equal() {
    let old = Rc::new(Chain::with_height(9000, 0));
    let store = stored(&old);
    for depth in [1, 2, 10, 144, 145, 2000, 2001, 5000, 8000] {
        let equal = Rc::new(old.fork(9000 - depth, depth, 1));
        let mut lab = Lab::on(store.clone(), config(2), vec![Peer::new(&old), Peer::new(&equal)]);
        lab.sync_to(old.tip());
        lab.run_for(Duration::from_secs(300));
        assert_eq!((lab.reorganisations(), lab.synced), (vec![], Some(old.tip())), "depth {depth}");
        assert_eq!(lab.farewells(), [], "depth {depth}");
        // One more block decides, at once.
        let mut heavier = (*equal).clone();
        heavier.grow(1, 1);
        let heavier = Rc::new(heavier);
        lab.switch(1, &heavier);
        lab.sync();
        assert_eq!(lab.reorganisations(), told(&old, &heavier, 9000 - depth), "depth {depth}");
        assert_eq!(lab.farewells(), [], "depth {depth}");
    }
}

#[test]
fn headers_that_nobody_asked_for_win_at_once() {
    let old = Rc::new(Chain::with_height(3000, 0));
    let new = Rc::new(old.fork(2999, 2, 1));
    let mut lab = Lab::synced_with(&old);
    lab.peers[0].chain = new.clone();
    let asked = lab.peers[0].asked.len();
    lab.push_headers(0, new.headers(3000, 3000));
    lab.run_for(Duration::from_secs(5));
    assert_eq!((lab.reorganisations(), lab.synced), (vec![], Some(old.tip())));
    lab.push_headers(0, new.headers(3001, 3001));
    lab.sync();
    assert_eq!(lab.reorganisations(), told(&old, &new, 2999));
    assert_eq!(lab.peers[0].asked.len(), asked, "nothing more was asked for");
    is_as_fresh(&mut lab, &new, &fresh(&new), "two headers");
}

/// The peer that holds the old chain stays, and what it grows by wins again, from far down, back and forth.
#[test]
fn back_and_forth_from_far_down() {
    const FORK: u32 = 2500;
    let mut chains = [Chain::with_height(10_000, 0), Chain::new()];
    chains[1] = chains[0].fork(FORK, 7501, 1);
    let peers: Vec<Rc<Chain>> = chains.iter().map(|chain| Rc::new(chain.clone())).collect();
    let mut lab = Lab::synced_with(&peers[0]);
    lab.peers.push(Peer::new(&peers[1]));
    lab.command(Command::AddPeer(endpoint(1)));
    lab.sync();
    let mut all = vec![(chains[0].block(FORK), chains[0].tip(), chains[1].tip())];
    for (turn, count) in [(0, 2), (1, 3), (0, 1000), (1, 1200)] {
        let old = chains[1 - turn].tip();
        chains[turn].grow(count, turn as u8);
        lab.switch(turn, &Rc::new(chains[turn].clone()));
        lab.sync();
        all.push((chains[turn].block(FORK), old, chains[turn].tip()));
    }
    assert_eq!(lab.reorganisations(), all);
    assert_eq!(lab.farewells(), []);
    is_as_fresh_of_two(&mut lab, &Rc::new(chains[1].clone()));
}

type Finding = (u32, TouchKind);

/// What an application that believes every event holds at the end; each is told once.
fn findings(events: &[Event]) -> BTreeSet<Finding> {
    let mut found = BTreeSet::new();
    let key = |touch: &Touch| (touch.block.height, touch.kind);
    for event in events {
        match event {
            Event::Started { .. } => found.clear(),
            Event::Touched(touch) => assert!(found.insert(key(touch)), "told twice: {touch:?}"),
            Event::TakenBack(touch) => assert!(found.remove(&key(touch)), "never told: {touch:?}"),
            _ => {}
        }
    }
    found
}

/// Blocks of which every hundredth pays what is watched; those of a branch pay it elsewhere.
fn paying(trunk: &Chain, count: u32, tag: u8) -> Chain {
    let mut chain = trunk.clone();
    let own = u64::from(tag) + 1;
    chain.grow_blocks(count, tag, |height| {
        script(if height % 100 == u32::from(tag) * 7 { 1 } else { own << 32 | u64::from(height) })
    });
    chain
}

fn watch() -> Command {
    let scripts: Vec<ScriptBuf> = vec![script(1)];
    Command::Watch { scripts, from: Birthday::Height(1) }
}

/// The heights of a chain that pay what is watched.
fn payments(chain: &Chain) -> BTreeSet<Finding> {
    let watched = script(1);
    (1..=chain.height())
        .filter(|height| {
            let block: bitcoin::Block =
                bitcoin::consensus::deserialize(&chain.body(*height).unwrap().block).unwrap();
            block.txdata[0].output[0].script_pubkey == watched
        })
        .map(|height| (height, TouchKind::Received { output: 0 }))
        .collect()
}

/// Findings above the fork are taken back right after the reorganisation was told, the highest first; what is checked
/// goes on from the fork.
#[test]
fn findings_go_with_their_branch() {
    let trunk = paying(&Chain::new(), 250, 0);
    for depth in [1, 10, 150, 2500] {
        let old = Rc::new(paying(&trunk, depth, 1));
        let new = Rc::new(paying(&trunk, depth + 1, 2));
        let mut lab = Lab::new(config(1), vec![Peer::new(&old)]);
        lab.command(watch());
        lab.sync();
        assert_eq!(findings(&lab.events), payments(&old), "depth {depth}");
        let before = lab.events.len();
        lab.switch(0, &new);
        lab.sync();
        assert_eq!(lab.reorganisations(), told(&old, &new, 250), "depth {depth}");
        assert_eq!(findings(&lab.events), payments(&new), "depth {depth}");
        let news = &lab.events[before..];
        let at = news.iter().position(|event| matches!(event, Event::Reorganised { .. })).unwrap();
        let taken_back: Vec<u32> = news[at + 1..]
            .iter()
            .map_while(|event| match event {
                Event::TakenBack(touch) => Some(touch.block.height),
                _ => None,
            })
            .collect();
        let mut gone: Vec<u32> =
            payments(&old).into_iter().map(|(height, _)| height).filter(|height| *height > 250).collect();
        gone.reverse();
        assert_eq!(taken_back, gone, "depth {depth}: right after the reorganisation");
        let checked: Vec<BlockId> = news
            .iter()
            .filter_map(|event| match event {
                Event::Checked(block) => Some(*block),
                _ => None,
            })
            .collect();
        assert!(checked.is_sorted_by_key(|block| block.height), "{checked:?}");
        assert!(checked.iter().all(|block| *block == new.block(block.height)), "{checked:?}");
        assert_eq!(checked.last(), Some(&new.tip()));
        assert!(!news.iter().any(|event| matches!(event, Event::Rescan { .. })));
        assert_eq!(lab.farewells(), []);
    }
}

/// How a process may end: with a disk that writes at once, or with one that lags behind and forgets.
const DISKS: [Option<Duration>; 2] = [None, Some(Duration::from_millis(150))];

/// A client that was restarted on what it had stored of one chain, and meets a peer that has another.
fn switching(store: &MemoryStore, new: &Rc<Chain>, disk_delay: Option<Duration>) -> Lab {
    let mut lab = Lab::on(store.clone(), config(1), vec![Peer::new(new)]);
    lab.disk_delay = disk_delay;
    lab
}

/// Nothing is wrong with what is stored, and all of the chain is there.
fn is_whole(lab: &mut Lab, chains: [&Chain; 2], what: &str) {
    let tip = lab.started().unwrap();
    let chain = chains.into_iter().find(|chain| chain.tip() == tip);
    let chain = chain.unwrap_or_else(|| panic!("{what}: the start is on neither chain: {tip:?}"));
    let whole = lab.exported(0);
    assert_eq!(whole.len() as u32, chain.height() + 1, "{what}: the chain is not whole");
    assert!(whole == chain.headers(0, chain.height()), "{what}: the chain is not whole");
    let fault = lab.events.iter().find(|event| matches!(event, Event::Failed(_) | Event::Repaired { .. }));
    assert_eq!(fault, None, "{what}");
}

fn is_sound(lab: &Lab, what: &str) {
    let fault = lab.events.iter().find(|event| matches!(event, Event::Failed(_) | Event::Repaired { .. }));
    assert_eq!((fault, lab.farewells()), (None, vec![]), "{what}");
}

/// The process ends after each batch in turn, from the restart on which a branch from far down is found to the end of the
/// switch. What is left is the old chain or the new one, whole; and the new one wins when the peer is there again.
#[test]
fn a_process_that_ends_in_the_middle_of_a_switch_is_on_one_of_the_two_chains() {
    for (tip, fork) in [(9000, 2100), (23_000, 4032)] {
        let old = Rc::new(Chain::with_height(tip, 0));
        let new = Rc::new(old.fork(fork, tip - fork + 1, 1));
        let (store, fresh) = (stored(&old), fresh(&new));
        for disk_delay in DISKS {
            let mut lab = switching(&store, &new, disk_delay);
            lab.run_until("the reorganisation", |lab| !lab.reorganisations().is_empty());
            let batches = lab.batches();
            assert!(batches >= 4, "{batches}");
            let mut ends = BTreeSet::new();
            for batch in 1..=batches {
                let what = format!("{tip} from {fork}, batch {batch} of {batches}, {disk_delay:?}");
                let mut lab = switching(&store, &new, disk_delay);
                lab.crash_after = Some(batch);
                lab.run_for(Duration::from_secs(600));
                assert!(lab.has_crashed(), "{what}");
                // The peer is gone.
                lab.peers[0].up = false;
                lab.restart();
                lab.run_for(Duration::from_secs(20));
                is_whole(&mut lab, [&old, &new], &what);
                ends.insert(lab.started().map(|tip| tip.height));
                // And is there again.
                lab.peers[0].up = true;
                lab.restart();
                lab.sync();
                is_sound(&lab, &what);
                is_as_fresh(&mut lab, &new, &fresh, &what);
            }
            assert_eq!(ends, [Some(tip), Some(tip + 1)].into(), "some end before and some after");
        }
    }
}

/// It may end again while it finishes what was cut short.
#[test]
fn a_process_may_end_again_and_again() {
    let old = Rc::new(Chain::with_height(12_000, 0));
    let new = Rc::new(old.fork(3000, 9001, 1));
    let (store, fresh) = (stored(&old), fresh(&new));
    for disk_delay in DISKS {
        let mut lab = switching(&store, &new, disk_delay);
        let mut ends = 0;
        loop {
            // Two more batches each time: what a start does by itself is less than that, or goes on from the last.
            lab.crash_after = Some(lab.batches() + 2);
            lab.run_for(Duration::from_secs(600));
            if !lab.has_crashed() {
                break;
            }
            ends += 1;
            assert!(ends < 100, "it comes to no end");
            lab.restart();
        }
        assert_eq!((lab.synced, lab.farewells()), (Some(new.tip()), vec![]));
        assert!(ends >= 5, "{ends}");
        is_as_fresh(&mut lab, &new, &fresh, &format!("after {ends} ends"));
    }
}

/// With findings: whatever is lost, what is told in the end is what is true, and nothing was told twice.
#[test]
fn findings_survive_a_process_that_ends_in_the_middle_of_a_switch() {
    let trunk = paying(&Chain::new(), 50, 0);
    let old = Rc::new(paying(&trunk, 2300, 1));
    let new = Rc::new(paying(&trunk, 2301, 2));
    let mut lab = Lab::new(config(1), vec![Peer::new(&old)]);
    lab.command(watch());
    lab.sync();
    let store = lab.store().clone();
    let (old_findings, new_findings) = (payments(&old), payments(&new));
    for disk_delay in DISKS {
        let mut lab = switching(&store, &new, disk_delay);
        lab.run_until("the reorganisation", |lab| !lab.reorganisations().is_empty());
        lab.run_for(Duration::from_secs(1));
        for batch in 1..=lab.batches() {
            let what = format!("batch {batch}, {disk_delay:?}");
            let mut lab = switching(&store, &new, disk_delay);
            lab.crash_after = Some(batch);
            lab.run_for(Duration::from_secs(600));
            assert!(lab.has_crashed(), "{what}");
            // Whatever an application has been told by now is sound: told once, and taken back after it was told.
            let told = findings(&lab.events);
            assert!(told.is_subset(&old_findings) || told.is_subset(&new_findings), "{what}");
            lab.restart();
            lab.sync();
            assert_eq!(findings(&lab.events), new_findings, "{what}");
            assert_eq!(lab.farewells(), [], "{what}");
        }
    }
}

/// A client whose chain begins at this height of another.
fn starting(chain: &Chain, height: u32) -> Start {
    let from = (height / 2016 * 2016).min(height - 10);
    let headers = chain.headers(from, height).to_vec();
    Start::Point(StartPoint { height, work: chain.work(height), headers })
}

#[test]
fn a_branch_from_below_the_start_is_told_if_it_is_heavier() {
    const TIP: u32 = 9000;
    let ours = Rc::new(Chain::with_height(TIP, 0));
    for start in [4032, 4040, 4100] {
        for (fork, length, heavier) in [
            (start - 1, TIP - start + 2, true),
            (start - 1, TIP - start + 1, false),
            (start - 1, 2001, false),
            (start - 2000, 8000, true),
            (2016, 6984, false),
            (2016, 6985, true),
            (0, 9001, true),
            (0, 9000, false),
            (0, 3, false),
        ] {
            let what = format!("start {start}, fork {fork}, {length} blocks");
            let other = Rc::new(ours.fork(fork, length, 1));
            let mut config = config(2);
            config.start = starting(&ours, start);
            let mut lab = Lab::new(config, vec![Peer::new(&ours), Peer::new(&other)]);
            lab.sync_to(ours.tip());
            lab.run_for(Duration::from_secs(20));
            let told: Vec<&Event> =
                lab.events.iter().filter(|event| matches!(event, Event::HeavierBelowStart { .. })).collect();
            if heavier {
                let height = TIP + 1;
                let work = other.work(height);
                assert_eq!(
                    told,
                    [&Event::HeavierBelowStart { endpoint: endpoint(1), height, work }],
                    "{what}"
                );
                assert_eq!(lab.farewells(), [(endpoint(1), Reason::OtherChain)], "{what}");
            } else {
                assert_eq!((told, lab.farewells()), (vec![], vec![]), "{what}");
            }
            assert_eq!((lab.synced, lab.reorganisations()), (Some(ours.tip()), vec![]), "{what}");
        }
    }
}

/// From the block that the chain starts with on, a branch is one like any other.
#[test]
fn a_branch_from_the_start_or_right_above_it_wins() {
    for (start, tip) in [(4032, 4300), (4040, 9000), (4100, 14_000), (4032, 20_000)] {
        let old = Rc::new(Chain::with_height(tip, 0));
        for above in [0, 1, 15, 16, 17, 100] {
            let fork = start + above;
            let what = format!("from {fork}, start {start}");
            let new = Rc::new(old.fork(fork, tip - fork + 1, 1));
            let with_start = |peer: &Rc<Chain>| {
                let mut config = config(1);
                config.start = starting(&old, start);
                Lab::new(config, vec![Peer::new(peer)])
            };
            let mut lab = with_start(&old);
            lab.sync();
            lab.switch(0, &new);
            lab.sync();
            assert_eq!(lab.reorganisations(), told(&old, &new, fork), "{what}");
            assert_eq!(lab.farewells(), [], "{what}");
            let mut fresh_lab = with_start(&new);
            fresh_lab.sync();
            let rows = rows(&fresh_lab);
            fresh_lab.restart();
            fresh_lab.sync();
            let locator = fresh_lab.peers[0].first_locator.clone();
            is_as_fresh(&mut lab, &new, &Fresh { rows, locator }, &what);
        }
    }
}
