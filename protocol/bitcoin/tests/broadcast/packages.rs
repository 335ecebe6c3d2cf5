//! Parents and children: who is told of which, and what one says of the other.

use andon_bitcoin::broadcast::{Options, State};
use bitcoin::Transaction;

use super::table::{MINUTE, Table, WITNESS_TX, by_txid, coin, one, output, spend};

const OPTIONS: Options = Options { private: false, expiry: andon_bitcoin::broadcast::EXPIRY };

/// A parent, and a child that spends it and something else.
fn family() -> (Transaction, Transaction) {
    let parent = one(1);
    let child = spend(&[output(&parent, 0), coin(2)], 1);
    (parent, child)
}

/// What a transaction pays at so many satoshis for 1000 virtual bytes.
fn at(rate: u64, transaction: &Transaction) -> Option<u64> {
    Some((rate * transaction.vsize() as u64).div_ceil(1000))
}

#[test]
fn parents_are_told_of_before_their_children() {
    let (parent, child) = family();
    for order in [[("p", &parent, None), ("c", &child, None)], [("c", &child, None), ("p", &parent, None)]] {
        let mut table = Table::new();
        table.submit_all(&order, &OPTIONS);
        let peer = table.peer();
        assert_eq!(table.announce(), [(peer, vec!["p", "c"])]);
    }
    // Given one after the other, too.
    let mut table = Table::new();
    table.submit("c", &child);
    table.submit("p", &parent);
    let peer = table.peer();
    assert_eq!(table.announce(), [(peer, vec!["p", "c"])]);
}

#[test]
fn who_is_told_of_a_parent_is_told_of_its_child() {
    let (parent, child) = family();
    let mut table = Table::new();
    table.submit_all(&[("p", &parent, None), ("c", &child, None)], &OPTIONS);
    let _: [_; 6] = table.peers();
    let told = table.announce();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|(_, names)| *names == ["p", "c"]), "{told:?}");
}

#[test]
fn a_poor_parent_goes_with_the_child_that_pays_for_it() {
    let (parent, child) = family();
    let least = 1000;
    let both = (parent.vsize() + child.vsize()) as u64;
    // What each pays, and what is announced.
    for (parent_fee, child_fee, expected) in [
        (Some(0), Some(both), &["c"][..]),
        (Some(0), Some(both - 1), &[]),
        (at(500, &parent), at(1001, &child), &[]),
        (at(500, &parent), at(1600, &child), &["c"]),
        (at(1000, &parent), at(1000, &child), &["p", "c"]),
        // A rich parent pays for nothing: nodes judge what can stand alone alone.
        (at(5000, &parent), at(900, &child), &["p"]),
        (Some(0), None, &["c"]),
        (None, at(1000, &child), &["p", "c"]),
        (None, at(900, &child), &["p"]),
    ] {
        let mut table = Table::new();
        table.submit_all(&[("p", &parent, parent_fee), ("c", &child, child_fee)], &OPTIONS);
        let peer = table.peer();
        table.outgoing.fee_filter(peer, least);
        let told: Vec<_> = table.announce().into_iter().flat_map(|(_, names)| names).collect();
        assert_eq!(told, expected, "{parent_fee:?} {child_fee:?}");
    }
}

#[test]
fn the_parent_of_what_was_announced_is_served_by_its_txid() {
    let (parent, child) = family();
    let mut table = Table::new();
    let both = (parent.vsize() + child.vsize()) as u64;
    let txids = table.submit_all(&[("p", &parent, Some(0)), ("c", &child, Some(both))], &OPTIONS);
    let peer = table.peer();
    table.outgoing.fee_filter(peer, 1000);
    assert_eq!(table.announce(), [(peer, vec!["c"])]);
    // An orphan's parent is asked for by its txid, with witnesses, whatever was negotiated.
    assert!(table.ask(peer, &child));
    let served = table.outgoing.serve(peer, &by_txid(&parent, WITNESS_TX), table.now).unwrap();
    assert_eq!(served, bitcoin::consensus::serialize(&parent));
    assert_eq!([table.state(&txids[0]), table.state(&txids[1])], [State::Sent; 2]);
    assert_eq!(
        table.notices(),
        ["p waiting", "c waiting", "p not for less than 1000", "c announced", "c sent", "p sent"]
    );
}

#[test]
fn a_parent_that_a_peer_has_already_does_not_hold_the_child_up() {
    // Kyoto waits for the parent to be asked for, and waits for ever if the peer has it.
    let (parent, child) = family();
    let mut table = Table::new();
    let txids = table.submit_all(&[("p", &parent, None), ("c", &child, None)], &OPTIONS);
    let peer = table.peer();
    table.announce();
    assert!(table.ask(peer, &child));
    assert_eq!(table.state(&txids[1]), State::Sent);
    // Who has the child has the parent.
    let other = table.peer();
    table.hear(other, &child);
    assert_eq!([table.state(&txids[0]), table.state(&txids[1])], [State::Seen; 2]);
}

#[test]
fn a_parent_that_was_seen_needs_nobody_to_pay_for_it() {
    let (parent, child) = family();
    let mut table = Table::new();
    table.submit_all(&[("p", &parent, Some(0)), ("c", &child, at(1000, &child))], &OPTIONS);
    let peer = table.peer();
    table.outgoing.fee_filter(peer, 1000);
    assert_eq!(table.announce(), []);
    let other = table.peer();
    table.hear(other, &parent);
    table.outgoing.peer_gone(other);
    assert_eq!(table.announce(), [(peer, vec!["c"])]);
}

#[test]
fn what_spends_a_withdrawn_transaction_is_withdrawn_with_it() {
    let (parent, child) = family();
    let grandchild = spend(&[output(&child, 0)], 1);
    let mut table = Table::new();
    let package = [("p", &parent, None), ("c", &child, None), ("g", &grandchild, None)];
    let txids = table.submit_all(&package, &OPTIONS);
    table.notices();
    assert!(table.outgoing.withdraw(&txids[1], table.now.instant));
    let mut lines = table.notices();
    lines.sort();
    assert_eq!(lines, ["c withdrawn", "g withdrawn"]);
    assert_eq!(table.outgoing.len(), 1);
}

#[test]
fn a_later_one_takes_the_place_of_what_spends_the_same() {
    let (parent, child) = family();
    let mut bumped = parent.clone();
    bumped.output[0].value = bitcoin::Amount::from_sat(9000);
    let mut table = Table::new();
    table.submit_all(&[("p", &parent, None), ("c", &child, None)], &OPTIONS);
    let [peer] = table.peers();
    assert_eq!(table.announce(), [(peer, vec!["p", "c"])]);
    let replacing = table.submit("b", &bumped);
    assert_eq!(table.announce(), [(peer, vec!["b"])]);
    assert!(!table.ask(peer, &parent));
    let mut lines = table.notices();
    assert_eq!(lines.split_off(4), ["c replaced by b", "p replaced by b", "b waiting", "b announced"]);
    // Withdrawn, it leaves the place to the earlier ones.
    assert!(table.outgoing.withdraw(&replacing, table.now.instant));
    table.outgoing.wake(table.now);
    assert_eq!(table.announce(), [(peer, vec!["p", "c"])]);
    // Of several the newest comes back.
    let mut again = parent.clone();
    again.output[0].value = bitcoin::Amount::from_sat(8000);
    table.pass(super::table::MINUTE);
    table.submit("b", &bumped);
    table.pass(super::table::MINUTE);
    let newest = table.submit("n", &again);
    table.announce();
    table.outgoing.withdraw(&newest, table.now.instant);
    table.outgoing.wake(table.now);
    assert_eq!(table.announce(), [(peer, vec!["b"])]);
}

#[test]
fn a_replaced_one_may_be_confirmed_all_the_same() {
    let parent = one(1);
    let mut bumped = parent.clone();
    bumped.output[0].value = bitcoin::Amount::from_sat(9000);
    let mut table = Table::new();
    table.submit("p", &parent);
    table.submit("b", &bumped);
    table.notices();
    assert!(table.in_block(&parent, 5));
    assert_eq!(table.notices(), ["p confirmed 5", "b conflicted by p 5"]);
    table.outgoing.rewind(4, table.now.instant);
    assert!(table.in_block(&bumped, 5));
    let lines = table.notices();
    assert_eq!(lines[lines.len() - 2..], ["b confirmed 5", "p conflicted by b 5"]);
}

#[test]
fn what_was_replaced_comes_back_only_if_nothing_else_stands_in_its_place() {
    let spends_both = spend(&[coin(1), coin(2)], 1);
    let child = spend(&[output(&spends_both, 0)], 1);
    let (spends_first, spends_second) = (one(1), one(2));
    for expires in [false, true] {
        let mut table = Table::new();
        let both = table.submit_all(&[("both", &spends_both, None), ("child", &child, None)], &OPTIONS);
        let both: [bitcoin::Txid; 2] = both.try_into().unwrap();
        table.pass(MINUTE);
        let first = table.submit("first", &spends_first);
        table.pass(MINUTE);
        let short = Options { expiry: 5 * MINUTE, ..OPTIONS };
        let second = table.submit_all(&[("second", &spends_second, None)], &short)[0];
        assert_eq!(both.each_ref().map(|txid| table.state(txid)), [State::Replaced { by: second }; 2]);
        if expires {
            table.pass(10 * MINUTE);
        } else {
            table.outgoing.withdraw(&second, table.now.instant);
        }
        // The first is newer, and nobody has withdrawn it.
        assert_eq!(table.state(&first), State::Waiting);
        assert_eq!(both.each_ref().map(|txid| table.state(txid)), [State::Replaced { by: first }; 2]);
        table.outgoing.withdraw(&first, table.now.instant);
        assert_eq!(both.each_ref().map(|txid| table.state(txid)), [State::Waiting; 2]);
    }
}
