//! Private broadcast: a connection for each transaction, and nobody else told.

use std::time::Duration;

use andon_bitcoin::broadcast::{
    Identity, MAX_PRIVATE, Options, PRIVATE_GAP, PRIVATE_GAP_SPREAD, State, Traits,
};
use andon_kernel::ConnId;
use bitcoin::{Transaction, Txid};

use super::table::{MINUTE, RELAYS, Table, coin, one, output, spend};

const PRIVATE: Options = Options { private: true, expiry: andon_bitcoin::broadcast::EXPIRY };

/// Opens the connection that is due.
fn open(table: &mut Table, traits: Traits) -> Option<(ConnId, Txid)> {
    let txid = table.outgoing.next_private(table.now)?;
    let conn = table.conn();
    table.outgoing.dialled(conn, &txid);
    table.outgoing.private_connected(conn, Identity::Connection(conn), txid, traits, table.now);
    Some((conn, txid))
}

/// A parent, its child that pays for both if that counts, and the one connection for them.
fn family(counts_fees: bool) -> (Table, [Transaction; 2], ConnId) {
    let mut table = Table::new();
    let parent = one(1);
    let child = spend(&[output(&parent, 0), coin(2)], 1);
    let fees = counts_fees.then_some([0, 10 * child.vsize() as u64]);
    let [parents, childs] = fees.map_or([None; 2], |fees| fees.map(Some));
    let txids = table.submit_all(&[("p", &parent, parents), ("c", &child, childs)], &PRIVATE);
    let (conn, txid) = open(&mut table, RELAYS).unwrap();
    assert_eq!(txid, txids[1]);
    assert!(open(&mut table, RELAYS).is_none());
    (table, [parent, child], conn)
}

/// The peer that has just got the child has read it, asks for the parent, and is let go once it has read that.
#[track_caller]
fn ends_with_the_parent(mut table: Table, parent: &Transaction, conn: ConnId) {
    table.outgoing.acknowledged(conn);
    assert_eq!(table.outgoing.to_close(table.now), [], "it will ask for the parent");
    assert!(table.ask(conn, parent));
    assert_eq!(table.outgoing.to_close(table.now), [], "what was sent last may not have been read");
    table.outgoing.acknowledged(conn);
    assert_eq!(table.outgoing.to_close(table.now), [conn]);
}

#[test]
fn each_goes_over_a_connection_of_its_own() {
    let mut table = Table::new();
    let (first, second) = (one(1), one(2));
    table.submit_all(&[("a", &first, None), ("b", &second, None)], &PRIVATE);
    // Those that are listened to are told nothing.
    let listening: [_; 4] = table.peers();
    assert_eq!(table.announce(), []);
    let (one, txid) = open(&mut table, RELAYS).unwrap();
    assert!(open(&mut table, RELAYS).is_none(), "not in the same moment");
    table.now.instant += PRIVATE_GAP + PRIVATE_GAP_SPREAD;
    let (other, other_txid) = open(&mut table, RELAYS).unwrap();
    table.now.instant += PRIVATE_GAP + PRIVATE_GAP_SPREAD;
    assert!(open(&mut table, RELAYS).is_none(), "nothing else is due");
    assert_ne!(txid, other_txid);
    let (mine, others, name) = if txid == first.compute_txid() {
        (&first, &second, ["a", "b"])
    } else {
        (&second, &first, ["b", "a"])
    };
    assert_eq!(table.announce(), [(one, vec![name[0]]), (other, vec![name[1]])]);
    // Nor is one of them given the other.
    assert!(!table.ask(one, others));
    assert!(listening.iter().all(|conn| !table.ask(*conn, mine)));
    assert!(table.ask(one, mine));
    assert_eq!(table.state(&txid), State::Sent);
    // It may go when it has answered a ping that was sent behind it: then it has read it.
    assert_eq!(table.outgoing.to_close(table.now), []);
    table.outgoing.acknowledged(one);
    assert_eq!(table.outgoing.to_close(table.now), [one]);
    table.outgoing.peer_gone(one);
    table.hear(listening[2], mine);
    assert_eq!(table.state(&txid), State::Seen);
}

#[test]
fn a_pong_without_a_transaction_ends_nothing() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit_all(&[("a", &transaction, None)], &PRIVATE);
    let (conn, _) = open(&mut table, RELAYS).unwrap();
    table.announce();
    table.outgoing.acknowledged(conn);
    assert_eq!(table.outgoing.to_close(table.now), []);
    // Whoever does not ask is let go after three minutes, and not before.
    table.now.instant += 3 * MINUTE - Duration::from_secs(1);
    assert_eq!(table.outgoing.to_close(table.now), []);
    table.now.instant += Duration::from_secs(1);
    assert_eq!(table.outgoing.to_close(table.now), [conn]);
}

#[test]
fn what_was_sent_privately_and_not_seen_is_sent_to_another() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit_all(&[("a", &transaction, None)], &PRIVATE);
    let (conn, _) = open(&mut table, RELAYS).unwrap();
    table.announce();
    assert!(table.ask(conn, &transaction));
    table.outgoing.acknowledged(conn);
    table.outgoing.peer_gone(conn);
    assert!(table.outgoing.needs_peers(), "somebody is to be listened to");
    table.now.instant += 10 * MINUTE - MINUTE / 60;
    assert!(open(&mut table, RELAYS).is_none());
    table.now.instant += 5 * MINUTE + MINUTE / 60;
    let (again, _) = open(&mut table, RELAYS).unwrap();
    assert_ne!(again, conn);
    assert_eq!(table.announce(), [(again, vec!["a"])]);
}

#[test]
fn connections_that_come_to_nothing_are_tried_ever_less_often() {
    let mut table = Table::new();
    table.submit_all(&[("a", &one(1), None)], &PRIVATE);
    let start = table.now.instant;
    let mut times = Vec::new();
    for second in 0..3600 {
        table.now.instant = start + std::time::Duration::from_secs(second);
        table.outgoing.wake(table.now);
        if let Some(txid) = table.outgoing.next_private(table.now) {
            times.push(second);
            let conn = table.conn();
            table.outgoing.dialled(conn, &txid);
            table.outgoing.peer_gone(conn);
        }
    }
    // After the first it may take as long as from one private connection to any other.
    let since: Vec<u64> = times.iter().skip(1).map(|time| time - times[1]).collect();
    assert!((5..=10).contains(&times[1]), "{times:?}");
    assert_eq!(since[..7], [0, 10, 30, 70, 150, 310, 610]);
    assert_eq!(times.len(), 17, "then every five minutes: {times:?}");
}

#[test]
fn where_there_is_nobody_to_dial_it_does_not_spin() {
    let mut table = Table::new();
    table.submit_all(&[("a", &one(1), None)], &PRIVATE);
    for _ in 0..100 {
        let due = table.outgoing.deadline().unwrap();
        table.now.instant = table.now.instant.max(due);
        table.outgoing.wake(table.now);
        while table.outgoing.next_private(table.now).is_some() {}
        assert!(table.outgoing.deadline().unwrap() > table.now.instant);
    }
}

#[test]
fn a_family_goes_over_one_connection() {
    let (mut table, [parent, child], conn) = family(true);
    table.outgoing.fee_filter(conn, 1000);
    assert_eq!(table.announce(), [(conn, vec!["c"])]);
    assert!(table.ask(conn, &child));
    ends_with_the_parent(table, &parent, conn);
}

#[test]
fn a_parent_that_came_first_may_be_asked_for_once_more() {
    // Whoever did not take it by itself has forgotten it when the child comes.
    let (mut table, [parent, child], conn) = family(false);
    assert_eq!(table.announce(), [(conn, vec!["p", "c"])]);
    assert!(table.ask(conn, &parent));
    assert!(table.ask(conn, &child));
    ends_with_the_parent(table, &parent, conn);
}

#[test]
fn who_takes_none_is_let_go_at_once() {
    let transaction = one(1);
    let poor = Some(10);
    for (traits, least, line) in [
        (Traits { relays: false, ..RELAYS }, 0, "a not for who takes none"),
        (RELAYS, 1000, "a not for less than 1000"),
    ] {
        let mut table = Table::new();
        table.submit_all(&[("a", &transaction, poor)], &PRIVATE);
        let (conn, _) = open(&mut table, traits).unwrap();
        table.outgoing.fee_filter(conn, least);
        assert_eq!(table.announce(), []);
        assert_eq!(table.outgoing.to_close(table.now), [conn]);
        assert_eq!(table.notices(), ["a waiting", line]);
    }
}

#[test]
fn a_connection_whose_transaction_has_gone_is_closed() {
    for withdraws in [true, false] {
        let mut table = Table::new();
        let transaction = one(1);
        table.submit_all(&[("a", &transaction, None)], &PRIVATE);
        let (conn, txid) = open(&mut table, RELAYS).unwrap();
        if withdraws {
            table.outgoing.withdraw(&txid, table.now.instant);
        } else {
            table.in_block(&transaction, 7);
        }
        assert_eq!(table.outgoing.to_close(table.now), [conn]);
        assert_eq!(table.announce(), []);
    }
}

#[test]
fn what_its_own_peer_announces_counts_for_nothing() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit_all(&[("a", &transaction, None)], &PRIVATE);
    let (conn, txid) = open(&mut table, RELAYS).unwrap();
    table.hear(conn, &transaction);
    assert_eq!(table.state(&txid), State::Waiting);
    table.announce();
    table.ask(conn, &transaction);
    table.hear(conn, &transaction);
    assert_eq!(table.state(&txid), State::Sent);
}

#[test]
fn many_do_not_begin_at_a_stroke() {
    let mut table = Table::new();
    let transactions: Vec<_> = (1..=20).map(one).collect();
    let package = |transaction| [("x", transaction, None)];
    let txids: Vec<Txid> =
        transactions.iter().map(|transaction| table.submit_all(&package(transaction), &PRIVATE)[0]).collect();
    let mut open_now: Vec<(ConnId, Txid)> = Vec::new();
    let mut begun = Vec::new();
    let mut most = 0;
    // Each lasts for 30 seconds.
    for _ in 0..400 {
        table.now.instant += MINUTE / 60;
        table.outgoing.wake(table.now);
        while let Some((conn, txid)) = open(&mut table, RELAYS) {
            begun.push((table.now.instant, txid));
            open_now.push((conn, txid));
        }
        most = most.max(open_now.len());
        table.announce();
        let deadline = table.outgoing.deadline().unwrap();
        assert!(deadline > table.now.instant, "it would wake without end");
        while let Some(&(_, txid)) = open_now.first() {
            let place = txids.iter().position(|one| *one == txid).unwrap();
            let since = begun.iter().rev().find(|(_, one)| *one == txid).unwrap().0;
            if table.now.instant < since + MINUTE / 2 {
                break;
            }
            let (conn, _) = open_now.remove(0);
            assert!(table.ask(conn, &transactions[place]));
            table.outgoing.peer_gone(conn);
        }
    }
    assert_eq!(most, MAX_PRIVATE);
    let gaps: Vec<_> = begun.windows(2).map(|two| (two[0].0 + PRIVATE_GAP, two[1].0)).collect();
    assert!(gaps.iter().all(|(least, next)| least <= next), "{begun:?}");
    assert_eq!(begun.len(), 20, "each once, before any comes again");
    let all: std::collections::BTreeSet<Txid> = begun.iter().map(|(_, txid)| *txid).collect();
    assert_eq!(all.len(), 20);
}

#[test]
fn who_was_told_privately_is_no_witness_elsewhere() {
    let (insider, outsider) = (Identity::Own(100), Identity::Own(200));
    let mut table = Table::new();
    let transaction = one(1);
    table.submit_all(&[("a", &transaction, None)], &PRIVATE);
    let listening = [insider, outsider].map(|identity| table.peer_as(identity, RELAYS));
    let txid = table.outgoing.next_private(table.now).unwrap();
    let conn = table.conn();
    table.outgoing.dialled(conn, &txid);
    table.outgoing.private_connected(conn, insider, txid, RELAYS, table.now);
    table.announce();
    assert!(table.ask(conn, &transaction));
    table.hear(listening[0], &transaction);
    assert_eq!(table.state(&txid), State::Sent);
    table.hear(listening[1], &transaction);
    assert_eq!(table.state(&txid), State::Seen);
}
