//! Who shows that a transaction spreads: never one who was told of it, on whatever connection; and who is let go for others.

use andon_bitcoin::broadcast::{ALONE, FIRST_HALF, Identity, Options, State, Traits};
use andon_kernel::ConnId;

use super::table::{MINUTE, RELAYS, Table, one};

const FIRST: Identity = Identity::Own(1000);
const SECOND: Identity = Identity::Own(2000);

/// Two connections to each of these.
fn twice<const N: usize>(table: &mut Table, identities: [Identity; N]) -> [[ConnId; 2]; N] {
    identities.map(|identity| [(); 2].map(|()| table.peer_as(identity, RELAYS)))
}

#[test]
fn who_was_told_on_one_connection_is_no_witness_on_another() {
    for seed in 0..8 {
        let mut table = Table::new();
        // What was drawn before makes the difference.
        (0..seed).for_each(|number| {
            table.submit("x", &one(number + 100));
        });
        let transaction = one(1);
        let txid = table.submit("a", &transaction);
        let conns = twice(&mut table, [FIRST, SECOND]);
        let told = table.announce().into_iter().filter(|(_, names)| names.contains(&"a"));
        let told: Vec<ConnId> = told.map(|(conn, _)| conn).collect();
        assert_eq!(told.len(), 1, "half of two");
        let place = conns.iter().position(|conns| conns.contains(&told[0])).unwrap();
        let identity = [FIRST, SECOND][place];
        assert!(table.ask(told[0], &transaction));
        conns[place].iter().for_each(|conn| table.hear(*conn, &transaction));
        assert_eq!(table.state(&txid), State::Sent);
        // It leaves and comes back, in this round and in a later one.
        conns[place].iter().for_each(|conn| table.outgoing.peer_gone(*conn));
        for _ in 0..3 {
            let again = table.peer_as(identity, RELAYS);
            table.hear(again, &transaction);
            assert_eq!(table.state(&txid), State::Sent);
            table.outgoing.peer_gone(again);
            table.pass(20 * MINUTE);
        }
        let mut table = Table::new();
        let txid = table.submit("a", &transaction);
        let conns = twice(&mut table, [FIRST, SECOND]);
        let told = table.told();
        let other = conns.iter().find(|conns| !conns.contains(&told[0])).unwrap();
        table.hear(other[1], &transaction);
        assert_eq!(table.state(&txid), State::Seen);
    }
}

#[test]
fn a_transaction_that_is_given_again_has_the_same_witnesses() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let first = table.peer_as(FIRST, RELAYS);
    assert_eq!(table.told(), [first]);
    table.submit("a", &transaction);
    let [_, again] = [SECOND, FIRST].map(|identity| table.peer_as(identity, RELAYS));
    table.hear(again, &transaction);
    assert_eq!(table.state(&txid), State::Announced);
}

#[test]
fn where_there_is_only_one_what_it_repeats_counts_in_time() {
    let poor = Some(10);
    for (others, is_believed) in [
        (vec![], true),
        // Who takes no transactions, or none of this kind, could not show it either.
        (vec![(Traits { relays: false, ..RELAYS }, 0)], true),
        (vec![(RELAYS, 5000)], true),
        (vec![(RELAYS, 0)], false),
    ] {
        let mut table = Table::new();
        let transaction = one(1);
        let txid = table.submit_all(&[("a", &transaction, poor)], &Options::default())[0];
        let [first] = twice(&mut table, [FIRST]);
        let told = table.told();
        assert_eq!(told.len(), 1, "the one is told on one connection, and listened to on the other");
        assert!(table.ask(told[0], &transaction));
        first.iter().for_each(|conn| table.hear(*conn, &transaction));
        // Others may come yet.
        table.told();
        table.pass(ALONE - MINUTE / 60);
        assert_eq!(table.state(&txid), State::Sent);
        for (traits, least) in &others {
            let other = table.peer_with(*traits);
            table.outgoing.fee_filter(other, *least);
            table.told();
        }
        table.pass(MINUTE);
        let expected = if is_believed { State::Seen } else { State::Sent };
        assert_eq!(table.state(&txid), expected, "{others:?}");
    }
}

#[test]
fn whoever_comes_back_in_time_has_not_left_the_other_alone() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let first = twice(&mut table, [FIRST])[0];
    let told = table.told();
    assert!(table.ask(told[0], &transaction));
    first.iter().for_each(|conn| table.hear(*conn, &transaction));
    for _ in 0..5 {
        let other = table.peer_as(SECOND, RELAYS);
        table.told();
        table.pass(ALONE);
        assert_eq!(table.state(&txid), State::Sent);
        table.outgoing.peer_gone(other);
        table.told();
        table.pass(ALONE / 2);
        assert_eq!(table.state(&txid), State::Sent);
    }
    table.pass(ALONE / 2);
    assert_eq!(table.state(&txid), State::Seen);
    // If it is gone too, nobody is alone.
    let txid = table.submit("b", &one(2));
    let [one_conn, other_conn] = first;
    let told = table.told();
    let listening = if told == [one_conn] { other_conn } else { one_conn };
    table.hear(listening, &one(2));
    first.iter().for_each(|conn| table.outgoing.peer_gone(*conn));
    table.pass(2 * ALONE);
    assert_eq!(table.state(&txid), State::Announced);
}

#[test]
fn the_only_peer_that_there_can_be_is_believed_at_once() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let conns = [(); 2].map(|()| {
        let conn = table.conn();
        table.outgoing.peer_connected(conn, Identity::Connection(conn), RELAYS);
        conn
    });
    let told = table.told();
    let listening = if told == [conns[0]] { conns[1] } else { conns[0] };
    table.hear(listening, &transaction);
    assert_eq!(table.state(&txid), State::Seen);
}

#[test]
fn of_whom_it_is_not_known_who_it_is_nothing_is_believed() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let stranger = table.conn();
    table.hear(stranger, &transaction);
    assert_eq!(table.state(&txid), State::Waiting);
}

#[test]
fn who_was_told_in_a_round_that_came_to_nothing_leaves_its_place_in_the_next() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit("a", &transaction);
    let peers: [ConnId; 4] = table.peers();
    let told = table.told();
    told.iter().for_each(|conn| assert!(table.ask(*conn, &transaction)));
    table.pass(9 * MINUTE);
    assert_eq!(table.here(), peers);
    let again: Vec<ConnId> = table.pass(7 * MINUTE).into_iter().map(|(conn, _)| conn).collect();
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|conn| !told.contains(conn)));
    // Those who were listened to are there yet, and two new ones.
    let here = table.here();
    assert_eq!(here.len(), 4);
    assert!(peers.iter().all(|conn| here.contains(conn) != told.contains(conn)));
}

#[test]
fn who_has_just_been_told_of_something_else_may_ask_for_it() {
    let mut table = Table::new();
    table.submit("a", &one(1));
    let peer = table.peer();
    assert_eq!(table.told(), [peer]);
    table.pass(9 * MINUTE);
    table.submit("b", &one(2));
    assert_eq!(table.announce(), [(peer, vec!["b"])]);
    // The first's next round begins at once, since it is given again.
    table.submit("a", &one(1));
    assert_eq!(table.announce(), [], "it has had its turn");
    assert_eq!(table.outgoing.to_close(table.now), []);
    assert!(table.ask(peer, &one(2)));
    table.now.instant += FIRST_HALF;
    assert_eq!(table.outgoing.to_close(table.now), [peer]);
}

#[test]
fn who_was_told_of_what_was_seen_stays() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let [_, _] = table.peers();
    let told = table.told()[0];
    let listening = table.here().into_iter().find(|conn| *conn != told).unwrap();
    table.hear(listening, &transaction);
    assert_eq!(table.state(&txid), State::Seen);
    table.submit("a", &transaction);
    assert_eq!(table.outgoing.to_close(table.now), []);
    assert_eq!(table.told().len(), 1);
}
