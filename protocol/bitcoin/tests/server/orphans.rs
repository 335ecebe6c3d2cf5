//! Transactions whose parents a server lacks: kept for a while, a share for each peer, and looked at again when these come.

use std::time::Duration;

use andon_bitcoin::server::Command;
use andon_bitcoin::wire::{INV_TX, INV_WTX, Inventory, Message};
use andon_kernel::ConnId;
use bitcoin::{OutPoint, Transaction, Witness};

use crate::common;
use crate::relay::{SECOND, announce, child, connect, fan, send, spend, table_with, tx, wtx};
use crate::table::{Table, config};

/// A table that has a transaction with as many outputs, and transactions that spend one each, with a child of each.
fn families(count: u32) -> (Table, Vec<(Transaction, Transaction)>) {
    let mut table = table_with(config());
    let (root, parents) = fan(count);
    assert_eq!(table.command(Command::AddTransaction(root)), ["kept"]);
    let families = parents.into_iter().map(|parent| {
        let child = child(&parent);
        (parent, child)
    });
    (table, families.collect())
}

/// Sends a child without its parent.
fn send_orphan(table: &mut Table, conn: ConnId, child: &Transaction) {
    assert_eq!(send(table, conn, child), [""; 0]);
}

#[test]
fn a_childs_parents_are_asked_for_by_their_txids() {
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    let parent = spend(1);
    let child = child(&parent);
    announce(&mut table, conn, wtx(&child));
    assert_eq!(table.pass(2 * SECOND), ["getdata wtx"]);
    assert_eq!(send(&mut table, conn, &child), [""; 0]);
    assert_eq!(table.pass(2 * SECOND), ["getdata witness tx"]);
    assert_eq!(send(&mut table, conn, &parent), ["kept", "kept"]);
    assert_eq!(table.machine().transactions().len(), 2);
    // A child whose peer has gone waits for nothing.
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    send(&mut table, conn, &child);
    table.disconnected(conn);
    let other = connect(&mut table, true);
    assert_eq!(send(&mut table, other, &parent), ["kept"]);
    assert_eq!(table.pass(60 * SECOND), [""; 0]);
}

#[test]
fn a_child_that_spends_a_sibling_too_is_taken_once() {
    let mut parent = spend(1);
    parent.output = vec![parent.output[0].clone(); 2];
    let txid = parent.compute_txid();
    let first = common::spend(OutPoint::new(txid, 0), common::script(70));
    // Whichever has the lower id: the first is found before the second, or after it.
    for is_lower in [true, false] {
        let second = (0..)
            .map(|number| {
                let mut second = common::spend(OutPoint::new(txid, 1), common::script(number));
                let also = child(&first).input[0].clone();
                second.input.push(also);
                second
            })
            .find(|second| (first.compute_txid() < second.compute_txid()) == is_lower)
            .unwrap();
        let mut table = table_with(config());
        let conn = connect(&mut table, true);
        send_orphan(&mut table, conn, &first);
        send_orphan(&mut table, conn, &second);
        assert_eq!(send(&mut table, conn, &parent), ["kept"; 3]);
        let order: Vec<_> = table.kept.iter().map(|(txid, _)| *txid).collect();
        assert_eq!(order, [&parent, &first, &second].map(Transaction::compute_txid));
    }
}

#[test]
fn a_long_line_of_descendants_is_kept_in_its_order() {
    let mut line = vec![spend(1)];
    for _ in 0..100 {
        line.push(child(line.last().unwrap()));
    }
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    for transaction in line[1..].iter().rev() {
        send_orphan(&mut table, conn, transaction);
    }
    assert_eq!(send(&mut table, conn, &line[0]), ["kept"; 101]);
    let order: Vec<_> = table.kept.iter().map(|(txid, _)| *txid).collect();
    assert_eq!(order, line.iter().map(Transaction::compute_txid).collect::<Vec<_>>());
}

#[test]
fn of_two_that_spend_the_same_one_is_kept() {
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    let parent = spend(1);
    let (first, mut rival) = (child(&parent), child(&parent));
    rival.output[0].script_pubkey = common::script(1234);
    send_orphan(&mut table, conn, &first);
    send_orphan(&mut table, conn, &rival);
    assert_eq!(send(&mut table, conn, &parent), ["kept"; 2]);
    // The other waits for nothing any more: it is asked for, and refused, like any.
    let lost = if table.kept.iter().any(|(txid, _)| *txid == first.compute_txid()) { rival } else { first };
    announce(&mut table, conn, wtx(&lost));
    assert_eq!(table.pass(2 * SECOND), ["getdata wtx"]);
}

#[test]
fn a_peers_oldest_give_way_to_its_newest() {
    let (mut table, families) = families(101);
    let conn = connect(&mut table, true);
    families.iter().for_each(|(_, child)| send_orphan(&mut table, conn, child));
    // A hundred are kept.
    for (number, kept) in [(0, 1), (1, 2), (50, 2), (100, 2)] {
        assert_eq!(send(&mut table, conn, &families[number].0).len(), kept, "{number}");
    }
    // So with bytes: a million are.
    let (mut table, mut families) = self::families(3);
    let conn = connect(&mut table, true);
    for (_, child) in &mut families {
        child.input[0].witness = Witness::from_slice(&[vec![0; 350_000]]);
        send_orphan(&mut table, conn, child);
    }
    for (number, kept) in [(0, 1), (1, 2), (2, 2)] {
        assert_eq!(send(&mut table, conn, &families[number].0).len(), kept, "{number}");
    }
}

#[test]
fn who_has_most_gives_way_to_who_has_less() {
    let (mut table, families) = families(200);
    let (many, few) = (connect(&mut table, true), connect(&mut table, true));
    // One more than half of the room, for one peer; and all of it, and more, for the other.
    let (theirs, flood) = families.split_at(50);
    theirs[..49].iter().for_each(|(_, child)| send_orphan(&mut table, few, child));
    flood.iter().for_each(|(_, child)| send_orphan(&mut table, many, child));
    send_orphan(&mut table, few, &theirs[49].1);
    for (number, (parent, _)) in theirs.iter().enumerate() {
        assert_eq!(send(&mut table, few, parent).len(), 2, "{number}");
    }
    // Of the flood, the last fifty are left.
    for (number, kept) in [(0, 1), (99, 1), (100, 2), (149, 2)] {
        assert_eq!(send(&mut table, few, &flood[number].0).len(), kept, "{number}");
    }
    // What weighs is bytes as well as number.
    let (mut table, mut families) = self::families(30);
    let (heavy, light) = (connect(&mut table, true), connect(&mut table, true));
    let (large, small) = families.split_at_mut(3);
    small.iter().for_each(|(_, child)| send_orphan(&mut table, light, child));
    for (_, child) in large.iter_mut() {
        child.input[0].witness = Witness::from_slice(&[vec![0; 350_000]]);
        send_orphan(&mut table, heavy, child);
    }
    for (parent, _) in small {
        assert_eq!(send(&mut table, light, parent).len(), 2);
    }
    for (number, kept) in [(0, 1), (1, 2), (2, 2)] {
        assert_eq!(send(&mut table, heavy, &large[number].0).len(), kept, "{number}");
    }
}

#[test]
fn a_block_brings_the_parent() {
    let mut table = table_with(config());
    let (conn, hears) = (connect(&mut table, true), connect(&mut table, true));
    let parent = spend(1);
    let (first, second) = (child(&parent), child(&child(&parent)));
    send_orphan(&mut table, conn, &second);
    send_orphan(&mut table, conn, &first);
    assert_eq!(table.pass(3 * SECOND), ["getdata witness tx"]);
    let block = common::block(table.hash(4), 1, vec![common::coinbase(77, common::script(7)), parent]);
    let lines = table.command(Command::Extend(vec![block]));
    let kept = [&first, &second].map(|kept| (kept.compute_txid(), Some(conn)));
    assert_eq!(table.kept, kept);
    assert_eq!(lines, ["tip 5", "kept", "kept", "inv block ?", "inv block ?"]);
    assert_eq!(table.pass(3 * SECOND), ["inv wtx wtx"]);
    assert_eq!(table.sent_last(), hears);
}

#[test]
fn a_branch_brings_back_what_a_child_spends() {
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    let (spending, mut rival) = (spend(1), spend(1));
    rival.output[0].script_pubkey = common::script(1234);
    let coinbase = common::coinbase(77, common::script(7));
    let block = common::block(table.hash(4), 1, vec![coinbase, spending]);
    table.command(Command::Extend(vec![block]));
    // What is spent is as if it had never been.
    send_orphan(&mut table, conn, &rival);
    let blocks = common::branch(table.hash(4), 5, 2, 9);
    table.command(Command::Reorganise { fork_height: 4, blocks });
    assert_eq!(table.machine().transactions(), [rival.compute_txid()]);
}

#[test]
fn what_a_block_has_or_contradicts_waits_no_longer() {
    let parent = spend(1);
    let mined = child(&parent);
    let mut rival = mined.clone();
    rival.output[0].script_pubkey = common::script(1234);
    for waiting in [&mined, &rival] {
        let mut table = table_with(config());
        let conn = connect(&mut table, true);
        send_orphan(&mut table, conn, waiting);
        table.pass(200 * SECOND);
        let coinbase = common::coinbase(77, common::script(7));
        let block = common::block(table.hash(4), 1, vec![coinbase, parent.clone(), mined.clone()]);
        table.command(Command::Extend(vec![block]));
        assert_eq!(table.machine().transactions(), []);
        // So it is asked for like one that was never seen.
        announce(&mut table, conn, wtx(waiting));
        assert_eq!(table.pass(2 * SECOND), ["getdata wtx"]);
    }
}

#[test]
fn a_child_that_waits_is_asked_for_again_when_its_sender_has_gone() {
    for (by_wtxid, leaves) in [(true, true), (false, true), (true, false)] {
        let (mut table, families) = families(1);
        let (first, second) = (connect(&mut table, by_wtxid), connect(&mut table, by_wtxid));
        let (parent, child) = &families[0];
        table.pass(3 * SECOND);
        let name = if by_wtxid { wtx(child) } else { tx(child, INV_TX) };
        send_orphan(&mut table, first, child);
        // The parent is asked for, and does not come.
        assert_eq!(table.pass(63 * SECOND), ["getdata witness tx"]);
        announce(&mut table, second, name);
        assert_eq!(table.pass(2 * SECOND), [""; 0], "it is here");
        if leaves {
            table.disconnected(first);
        }
        let asked = match (by_wtxid, leaves) {
            (_, false) => vec![],
            (true, _) => vec!["getdata wtx"],
            (false, _) => vec!["getdata witness tx"],
        };
        assert_eq!(table.pass(60 * SECOND), asked);
        if leaves {
            send_orphan(&mut table, second, child);
        }
        assert_eq!(send(&mut table, second, parent), ["kept", "kept"]);
        let from = if leaves { second } else { first };
        assert_eq!(table.kept.last(), Some(&(child.compute_txid(), Some(from))));
    }
}

#[test]
fn who_sent_a_child_is_not_told_of_it() {
    let (mut table, families) = families(1);
    let (of_child, of_parent) = (connect(&mut table, true), connect(&mut table, true));
    let (parent, child) = &families[0];
    table.pass(Duration::from_secs(3));
    send_orphan(&mut table, of_child, child);
    assert_eq!(send(&mut table, of_parent, parent), ["kept", "kept"]);
    assert_eq!(
        table.kept[1..],
        [(parent.compute_txid(), Some(of_parent)), (child.compute_txid(), Some(of_child))]
    );
    // Each of what the other sent.
    assert_eq!(table.pass(3 * SECOND), ["inv wtx", "inv wtx"]);
}

/// To hash a hundred transactions of ten kilobytes for each of half a million names would take hours.
#[test]
fn an_inv_is_compared_with_what_waits_and_hashes_nothing() {
    let (mut table, mut families) = families(100);
    let conn = connect(&mut table, true);
    for (_, child) in &mut families {
        child.input[0].witness = Witness::from_slice(&[vec![0; 9_800]]);
        send_orphan(&mut table, conn, child);
    }
    let other = connect(&mut table, true);
    for turn in 0..10u32 {
        let waiting = families.iter().map(|(_, child)| wtx(child));
        let unknown = (0..49_900u32).map(|number| {
            let mut hash = [7; 32];
            hash[..4].copy_from_slice(&number.to_le_bytes());
            hash[4..8].copy_from_slice(&turn.to_le_bytes());
            Inventory { kind: INV_WTX, hash }
        });
        let names: Vec<Inventory> = waiting.chain(unknown).collect();
        assert_eq!(table.ask(other, &Message::Inv(names.as_slice().into())), [""; 0]);
    }
    let lines = table.pass(2 * SECOND);
    // Of the 4,900 others that are remembered; and the parents of those that wait, of who sent them.
    let count = |name: &str| lines.iter().map(|line| line.matches(name).count()).sum::<usize>();
    assert_eq!((count(" wtx"), count(" witness tx")), (100, 100), "{lines:?}");
    for (number, (parent, _)) in families.iter().enumerate() {
        assert_eq!(send(&mut table, other, parent).len(), 2, "{number}");
    }
}
