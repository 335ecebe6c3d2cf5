//! What is stored of transactions that are broadcast: it goes through a migration and a repair, and of what is damaged only
//! that is lost, which is told once.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;
mod ledger;

use std::sync::Arc;

use andon_bitcoin::broadcast::{Options, Outgoing, Submission};
use andon_bitcoin::client::{BroadcastState, Command, Config, Event, HeaderQuery};
use andon_kernel::{Change, Instant, Now, Outbox, Output, Rng, Ticket, UnixTime};
use bitcoin::hashes::Hash;
use bitcoin::{Network, OutPoint, ScriptBuf, Transaction, Txid};
use ledger::harm::{HARMS, Harm};
use ledger::old::Old;
use ledger::{BEGIN, Ledger, PAYEES, Room, Shelf, key, payee};

const TIP: u32 = 2500;
/// The block that one of the transactions is in.
const AT: u32 = TIP - 9;

const SPACE: &str = "broadcasts";
/// The key of the row that says how far they were looked for.
const SEARCHED: [u8; 1] = [0];

fn config() -> Config {
    Config { discovery: None, ..Config::new(Network::Regtest, [8; 32]) }
}

fn scripts() -> Vec<ScriptBuf> {
    (0..PAYEES).map(payee).collect()
}

fn transaction(number: u8) -> Transaction {
    common::spend(OutPoint::new(Txid::from_byte_array([number; 32]), 0), common::script(number.into()))
}

/// What a client has stored that broadcasts nothing.
fn fresh(ledger: &Arc<Ledger>) -> Shelf {
    let mut room = Room::new(config(), Shelf::new(), &[ledger]);
    room.watch(&scripts(), 0);
    room.sync(ledger.tip().height);
    room.end()
}

/// Puts three transactions into a store, of which one is in a block, and the last is private.
fn put(shelf: &mut Shelf, ledger: &Ledger) {
    let now = Now { instant: Instant::ZERO, unix: UnixTime::from_secs(BEGIN) };
    let mut outgoing = Outgoing::new(Rng::new([4; 32]));
    for number in 1..=3 {
        let options = Options { private: number == 3, ..Options::default() };
        outgoing.submit(vec![Submission::new(transaction(number))], &options, now).unwrap();
    }
    let settled = transaction(2);
    let touch = outgoing.touch(settled.compute_txid(), &settled).unwrap();
    outgoing.settle(&touch, ledger.block(AT));
    outgoing.set_searched(TIP + 1);
    let mut outbox = Outbox::<()>::new();
    outbox.store(Ticket::new(1), |batch| outgoing.store(batch));
    let Some(Output::Store { batch, .. }) = outbox.pop() else { panic!("it was put there") };
    let rows = batch.changes().map(|change| match change {
        Change::Put { key, value, .. } => (key.to_vec(), value.to_vec()),
        Change::Delete { .. } => panic!("nothing was there"),
    });
    shelf.put_all(SPACE, rows.collect::<Vec<_>>());
    assert_eq!(shelf.rows(SPACE).len(), 7);
}

/// What was told last of each of the three.
fn states(room: &Room) -> [Option<BroadcastState>; 3] {
    [1, 2, 3].map(|number| {
        let ours = transaction(number).compute_txid();
        room.events.iter().rev().find_map(|event| match event {
            Event::Broadcast { txid, state, .. } if *txid == ours => Some(*state),
            _ => None,
        })
    })
}

fn expected(ledger: &Ledger) -> [Option<BroadcastState>; 3] {
    use BroadcastState::{Confirmed, Waiting};
    [Some(Waiting), Some(Confirmed { block: ledger.block(AT) }), Some(Waiting)]
}

/// A process that is killed between any two batches of a migration.
#[test]
fn they_go_through_a_migration() {
    let ledger = Arc::new(Ledger::regtest(TIP));
    let present = fresh(&ledger);
    let old = Old { headers: TIP + 1, filter_headers: TIP + 1, next: Some(TIP + 1) };
    let mut before = old.shelf(&ledger, &scripts(), &present);
    put(&mut before, &ledger);
    let whole = Room::new(config(), before.clone(), &[]);
    assert!(whole.events.contains(&Event::Migrated { from: 1 }));
    assert_eq!(states(&whole), expected(&ledger));
    for batch in 0..=whole.shelf().written {
        let room = Room::new(config(), before.clone().cut_after(batch), &[]);
        let room = Room::new(config(), room.end(), &[]);
        assert_eq!((states(&room), room.repairs()), (expected(&ledger), Vec::new()), "cut after {batch}");
    }
}

/// Of damaged headers those below are kept: what was in a block above is in none that is known.
#[test]
fn they_go_through_a_repair() {
    let ledger = Arc::new(Ledger::regtest(TIP));
    let mut present = fresh(&ledger);
    put(&mut present, &ledger);
    for (harmed, left) in [(AT - AT % 16, Some(BroadcastState::Waiting)), (TIP - TIP % 16, None)] {
        for harm in HARMS {
            let what = format!("{harm:?} to headers from {harmed} on");
            let mut shelf = present.clone();
            harm.befall(&mut shelf, "headers", &key(harmed));
            let room = Room::new(config(), shelf, &[]);
            let kept: Vec<u32> = room.repairs().iter().map(|(_, kept)| kept.height).collect();
            assert_eq!((kept, room.failure()), (vec![harmed - 1], None), "{what}");
            let mut now = expected(&ledger);
            now[1] = left.or(now[1]);
            assert_eq!(states(&room), now, "{what}");
            let room = Room::new(config(), room.end(), &[]);
            assert_eq!((states(&room), room.repairs()), (now, Vec::new()), "{what}: again");
        }
    }
    // Damage that is met while the client runs.
    let ledger = Arc::new(Ledger::regtest(13_007));
    let mut shelf = fresh(&ledger);
    put(&mut shelf, &ledger);
    let mut room = Room::new(config(), shelf, &[]);
    Harm::Flipped(500).befall(room.shelf_mut(), "headers", &key(1008));
    room.look(HeaderQuery::Height(1010));
    assert_eq!(room.repairs().len(), 1);
    let all = [Some(BroadcastState::Waiting); 3];
    assert_eq!(states(&room), all);
    let txid = transaction(1).compute_txid();
    room.command(Command::WithdrawBroadcast { txid });
    let room = Room::new(config(), room.end(), &[]);
    assert_eq!(states(&room), [None, all[1], all[2]]);
}

/// Each row, harmed in each way: what it says of one transaction is lost, which is told, and told once.
#[test]
fn of_what_is_damaged_only_that_is_lost() {
    let ledger = Arc::new(Ledger::regtest(TIP));
    let mut present = fresh(&ledger);
    put(&mut present, &ledger);
    for (at, _) in present.rows(SPACE) {
        for harm in HARMS {
            let what = format!("{harm:?} to {at:02x?}");
            let mut shelf = present.clone();
            harm.befall(&mut shelf, SPACE, &at);
            let room = Room::new(config(), shelf, &[]);
            assert_eq!(room.failure(), None, "{what}");
            let lost =
                [1, 2, 3].map(|number| at.starts_with(transaction(number).compute_txid().as_byte_array()));
            let mut now = expected(&ledger);
            for (state, lost) in now.iter_mut().zip(lost) {
                *state = state.filter(|_| !lost);
            }
            assert_eq!(states(&room), now, "{what}");
            // A row that is gone without a trace is missed only if another speaks of it.
            let unnoticed = harm == Harm::Gone && (at == SEARCHED || at.last() == Some(&1));
            let told: Vec<u32> = room.repairs().iter().map(|(_, kept)| kept.height).collect();
            assert_eq!(told, if unnoticed { vec![] } else { vec![TIP] }, "{what}");
            let room = Room::new(config(), room.end(), &[]);
            assert_eq!((states(&room), room.repairs()), (now, Vec::new()), "{what}: again");
        }
    }
}
