//! Who is told of a transaction, and when again.

use andon_bitcoin::broadcast::{State, Traits};
use andon_bitcoin::wire::{INV_TX, INV_WTX};

use super::table::{DAY, HOUR, MINUTE, RELAYS, Table, WITNESS_TX, by_txid, by_wtxid, one};

#[test]
fn a_transaction_is_announced_served_and_seen() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    assert!(table.outgoing.needs_peers());
    let [first, second] = table.peers();
    let told = table.announce();
    assert_eq!(told.len(), 1);
    let (told, listening) = if told[0].0 == first { (first, second) } else { (second, first) };
    // Nobody is told twice.
    assert_eq!(table.announce(), []);
    assert!(table.ask(told, &transaction));
    table.hear(listening, &transaction);
    assert_eq!(table.state(&txid), State::Seen);
    assert_eq!(table.notices(), ["a waiting", "a announced", "a sent", "a seen"]);
    assert!(!table.outgoing.needs_peers());
}

#[test]
fn half_of_the_peers_are_told_and_the_others_listened_to() {
    for (peers, expected) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 4)] {
        let mut table = Table::new();
        table.submit("a", &one(1));
        (0..peers).for_each(|_| {
            table.peer();
        });
        assert_eq!(table.told().len(), expected, "of {peers}");
        assert_eq!(table.told().len(), 0);
    }
    // As they come, too.
    let mut table = Table::new();
    table.submit("a", &one(1));
    let counts = [(); 6].map(|()| {
        table.peer();
        table.told().len()
    });
    assert_eq!(counts, [1, 0, 1, 0, 1, 0]);
}

#[test]
fn whom_to_tell_is_drawn() {
    let mut last = 0;
    for number in 0..64 {
        let mut table = Table::new();
        // What was drawn before makes the difference.
        (0..number).for_each(|number| {
            table.submit("x", &one(number + 100));
        });
        table.submit("a", &one(1));
        let [_, second] = table.peers();
        let told = table.announce();
        last += u32::from(told.iter().any(|(conn, names)| *conn == second && names.contains(&"a")));
    }
    assert!((16..=48).contains(&last), "{last} of 64");
}

#[test]
fn all_are_told_when_nobody_asks() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit("a", &transaction);
    let peers: [_; 4] = table.peers();
    let first = table.told();
    assert_eq!(first.len(), 2);
    // Nodes wait for six seconds at most before they ask: nothing happens until long after that.
    assert_eq!(table.pass(MINUTE / 3 - MINUTE / 60), []);
    let rest: Vec<_> = table.pass(MINUTE / 60).into_iter().map(|(conn, _)| conn).collect();
    assert_eq!(rest.len(), 2);
    assert!(peers.iter().all(|peer| first.contains(peer) != rest.contains(peer)));
    // The next to come is told as well, until somebody asks.
    let late = table.peer();
    assert_eq!(table.told(), [late]);
    assert!(table.ask(late, &transaction));
    table.peer();
    assert_eq!(table.told(), []);
}

#[test]
fn who_asks_late_is_served_and_silence_is_no_refusal() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let peer = table.peer();
    assert_eq!(table.told(), [peer]);
    table.pass(9 * MINUTE);
    assert_eq!(table.state(&txid), State::Announced);
    assert!(table.ask(peer, &transaction));
    assert_eq!(table.state(&txid), State::Sent);
}

#[test]
fn a_peer_that_leaves_without_asking_leaves_its_place_to_another() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit("a", &transaction);
    let [_, _] = table.peers();
    let told = table.told()[0];
    table.outgoing.peer_gone(told);
    let next = table.told()[0];
    assert_ne!(next, told);
    // Who had asked does not: there is still somebody to listen to.
    assert!(table.ask(next, &transaction));
    table.outgoing.peer_gone(next);
    table.peer();
    assert_eq!(table.told(), []);
}

#[test]
fn rounds_come_every_ten_to_fifteen_minutes_until_it_is_seen() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let [_, _] = table.peers();
    let told = table.told()[0];
    assert!(table.ask(told, &transaction));
    let mut rounds = 0;
    let mut since = 0;
    let mut lengths = Vec::new();
    for minute in 1..=24 * 60 {
        let announced = table.pass(MINUTE);
        if !announced.is_empty() {
            rounds += 1;
            lengths.push(minute - since);
            since = minute;
            assert_eq!(announced.len(), 1);
        }
    }
    assert!((96..=144).contains(&rounds), "{rounds} in a day");
    assert!(lengths.iter().all(|length| (10..=16).contains(length)), "{lengths:?}");
    lengths.dedup();
    assert!(lengths.len() > 10, "all alike: {lengths:?}");
    // Once it is seen, twelve hours at least.
    let new = table.peer();
    table.hear(new, &transaction);
    assert_eq!(table.state(&txid), State::Seen);
    assert_eq!(table.pass(12 * HOUR), []);
    let day = table.pass(24 * HOUR);
    assert!((1..=4).contains(&day.len()), "{day:?}");
}

#[test]
fn a_round_that_nobody_could_be_told_of_begins_when_somebody_comes() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit("a", &transaction);
    assert_eq!(table.pass(3 * DAY), []);
    assert!(table.outgoing.needs_peers());
    let peer = table.peer();
    assert_eq!(table.told(), [peer]);
    // And lasts as long as any.
    assert_eq!(table.pass(10 * MINUTE), []);
    assert_eq!(table.pass(5 * MINUTE).len(), 1);
}

#[test]
fn peers_are_told_of_it_in_the_way_that_they_know() {
    for (wtxid_relay, kind) in [(true, INV_WTX), (false, INV_TX)] {
        let mut table = Table::new();
        let transaction = one(1);
        table.submit("a", &transaction);
        let peer = table.peer_with(Traits { wtxid_relay, ..RELAYS });
        let expected = if wtxid_relay { by_wtxid(&transaction) } else { by_txid(&transaction, kind) };
        assert_eq!(table.outgoing.announce(table.now), [(peer, vec![expected])]);
        // It may ask for it in any. Without witnesses nobody gets it: a node asks by the bare kind whoever claims to serve none.
        let full = bitcoin::consensus::serialize(&transaction);
        for request in [by_txid(&transaction, WITNESS_TX), by_txid(&transaction, INV_TX)] {
            assert_eq!(table.outgoing.serve(peer, &request, table.now), Some(full.clone()));
        }
    }
}

#[test]
fn who_takes_no_transactions_is_passed_over_and_that_is_told_once() {
    let mut table = Table::new();
    table.submit("a", &one(1));
    let blocks_only = table.peer_with(Traits { relays: false, ..RELAYS });
    for _ in 0..3 {
        assert_eq!(table.pass(HOUR), []);
    }
    assert_eq!(table.notices(), ["a waiting", "a not for who takes none"]);
    let peer = table.peer();
    assert_eq!(table.told(), [peer]);
    assert_ne!(peer, blocks_only);
}

#[test]
fn a_fee_filter_above_what_is_paid_passes_the_peer_over_until_it_falls() {
    let transaction = one(1);
    let size = transaction.vsize() as u64;
    // What it pays, what the peer asks for, and whether it is told.
    for (fee, least, expected) in [
        (None, 8_999_999, true),
        // Nodes that are syncing: nothing is of use to them.
        (None, 9_170_997, false),
        (Some(0), 0, true),
        (Some(0), 1, false),
        (Some(size), 1000, true),
        (Some(size), 1001, false),
        (Some(size - 1), 1000, false),
        (Some(size * 50), 50_000, true),
        (Some(1_000_000_000), 9_170_997, false),
        (Some(1_000_000_000), u64::MAX, false),
    ] {
        let mut table = Table::new();
        table.submit_all(&[("a", &transaction, fee)], &andon_bitcoin::broadcast::Options::default());
        let peer = table.peer();
        table.outgoing.fee_filter(peer, least);
        assert_eq!(table.told().len(), usize::from(expected), "{fee:?} for {least}");
        if !expected {
            table.told();
            assert_eq!(table.notices(), ["a waiting".into(), format!("a not for less than {least}")]);
            table.outgoing.fee_filter(peer, 0);
            assert_eq!(table.told(), [peer]);
        }
    }
}

#[test]
fn after_fourteen_days_it_is_given_up() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let peer = table.peer();
    table.pass(14 * DAY - MINUTE);
    assert_eq!(table.state(&txid), State::Announced);
    table.pass(MINUTE);
    assert_eq!(table.notices().last().unwrap(), "a expired");
    assert!(table.outgoing.is_empty());
    assert!(!table.ask(peer, &transaction));
    assert_eq!(table.outgoing.deadline(), None);
    assert!(!table.outgoing.needs_peers());
}

#[test]
fn what_is_withdrawn_is_served_no_more() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let peer = table.peer();
    assert_eq!(table.told(), [peer]);
    assert!(table.outgoing.withdraw(&txid, table.now.instant));
    assert!(!table.outgoing.withdraw(&txid, table.now.instant));
    assert!(!table.ask(peer, &transaction));
    assert_eq!(table.notices(), ["a waiting", "a announced", "a withdrawn"]);
}

#[test]
fn given_again_it_begins_anew() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let [_, second] = table.peers();
    let told = table.told()[0];
    assert!(table.ask(told, &transaction));
    let listening = if told == second { table.peer() } else { second };
    table.hear(listening, &transaction);
    assert_eq!(table.told(), []);
    table.submit("a", &transaction);
    assert_eq!(table.state(&txid), State::Seen);
    assert_eq!(table.told().len(), 1);
    assert_eq!(table.outgoing.len(), 1);
    // With another witness it is the same transaction, and that is what is served from then on.
    let mut other = transaction.clone();
    other.input[0].witness = bitcoin::Witness::from_slice(&[vec![0x30; 72], vec![3; 33]]);
    assert_eq!(table.submit("a", &other), txid);
    let told = table.told()[0];
    assert!(!table.ask(told, &transaction));
    assert!(table.ask(told, &other));
}
