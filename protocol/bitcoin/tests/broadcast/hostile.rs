//! Peers that lie, ask without end, or do nothing.

use andon_bitcoin::broadcast::{MAX_SERVED, MAX_TRANSACTIONS, Options, State, Traits};
use andon_bitcoin::wire::{INV_BLOCK, INV_TX, INV_WTX, Inventory};

use super::table::{MINUTE, RELAYS, Table, WITNESS_TX, by_txid, by_wtxid, one, output, spend};

#[test]
fn what_a_peer_was_told_it_can_repeat_and_that_counts_for_nothing() {
    for wtxid_relay in [true, false] {
        let mut table = Table::new();
        let transaction = one(1);
        let txid = table.submit("a", &transaction);
        let peer = table.peer_with(Traits { wtxid_relay, ..RELAYS });
        assert_eq!(table.told(), [peer]);
        for announced in
            [by_wtxid(&transaction), by_txid(&transaction, INV_TX), by_txid(&transaction, WITNESS_TX)]
        {
            table.outgoing.heard(peer, &announced, table.now);
        }
        assert_eq!(table.state(&txid), State::Announced);
        assert!(table.ask(peer, &transaction));
        table.hear(peer, &transaction);
        assert_eq!(table.state(&txid), State::Sent);
    }
}

#[test]
fn the_parent_of_what_a_peer_was_told_counts_for_nothing_either() {
    let mut table = Table::new();
    let parent = one(1);
    let child = super::table::spend(&[super::table::output(&parent, 0)], 1);
    let fee = 10 * child.vsize() as u64;
    let txids = table.submit_all(&[("p", &parent, Some(0)), ("c", &child, Some(fee))], &Options::default());
    let peer = table.peer();
    table.outgoing.fee_filter(peer, 1000);
    assert_eq!(table.announce(), [(peer, vec!["c"])]);
    table.outgoing.heard(peer, &by_txid(&parent, INV_TX), table.now);
    assert_eq!(table.state(&txids[0]), State::Waiting);
}

#[test]
fn who_asks_without_end_gets_it_twice_in_a_round() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit("a", &transaction);
    let peer = table.peer();
    assert_eq!(table.told(), [peer]);
    let served = (0..50_000).filter(|_| table.ask(peer, &transaction)).count();
    assert_eq!(served, usize::from(MAX_SERVED));
    assert!(table.notices().len() < 10);
    // And again in the next one, whoever is told then.
    let next = table.pass(16 * MINUTE).last().unwrap().0;
    assert_ne!(next, peer);
    let served = (0..50_000).filter(|_| table.ask(next, &transaction)).count();
    assert_eq!(served, usize::from(MAX_SERVED));
}

#[test]
fn who_was_not_told_is_told_that_there_is_no_such() {
    // Else anybody could ask whether a transaction comes from here.
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let [first, second] = table.peers();
    let told = table.told()[0];
    let other = if told == first { second } else { first };
    for request in [by_wtxid(&transaction), by_txid(&transaction, INV_TX), by_txid(&transaction, WITNESS_TX)]
    {
        assert_eq!(table.outgoing.serve(other, &request, table.now), None);
    }
    let stranger = table.conn();
    assert!(!table.ask(stranger, &transaction));
    assert_eq!(table.state(&txid), State::Announced);
}

#[test]
fn names_of_other_things_do_no_harm() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let peer = table.peer();
    assert_eq!(table.told(), [peer]);
    let hashes = [by_wtxid(&transaction).hash, by_txid(&transaction, INV_TX).hash, [0; 32], [255; 32]];
    for hash in hashes {
        for kind in [0, 2, 3, 4, 6, 7, INV_BLOCK, INV_WTX | 1 << 30, 1 << 31, u32::MAX] {
            let inventory = Inventory { kind, hash };
            assert_eq!(table.outgoing.serve(peer, &inventory, table.now), None);
            table.outgoing.heard(peer, &inventory, table.now);
        }
    }
    // The wtxid is not the txid.
    let swapped = Inventory { kind: INV_TX, hash: by_wtxid(&transaction).hash };
    assert_eq!(table.outgoing.serve(peer, &swapped, table.now), None);
    let swapped = Inventory { kind: INV_WTX, hash: by_txid(&transaction, INV_TX).hash };
    assert_eq!(table.outgoing.serve(peer, &swapped, table.now), None);
    assert_eq!(table.state(&txid), State::Announced);
}

#[test]
fn peers_that_swallow_it_do_not_end_the_broadcast() {
    // The first four are of one mind: they ask, and keep what they get. Those who come in their place are honest.
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let swallowing: [_; 4] = table.peers();
    let mut told = table.told();
    let mut rounds = 1;
    while table.state(&txid) != State::Seen {
        assert!(rounds <= 6, "{rounds} rounds, and it is {:?}", table.state(&txid));
        for conn in told.drain(..) {
            if table.outgoing.is_connected(conn) {
                assert!(table.ask(conn, &transaction));
            }
            if !swallowing.contains(&conn) {
                let honest = table.here().into_iter().filter(|peer| !swallowing.contains(peer));
                honest.collect::<Vec<_>>().into_iter().for_each(|peer| table.hear(peer, &transaction));
            }
        }
        told = table.pass(15 * MINUTE).into_iter().map(|(conn, _)| conn).collect();
        rounds += 1;
    }
    assert!(!table.here().iter().all(|peer| swallowing.contains(peer)));
}

#[test]
fn fee_filters_that_go_up_and_down_are_noted_once() {
    let mut table = Table::new();
    let transaction = one(1);
    table.submit_all(&[("a", &transaction, Some(100))], &Options::default());
    let peer = table.peer();
    for least in 0..10_000 {
        table.outgoing.fee_filter(peer, 9_000_000 + least);
        assert_eq!(table.told(), []);
        table.outgoing.fee_filter(peer, 0);
    }
    assert_eq!(table.told(), [peer]);
    assert_eq!(table.notices(), ["a waiting", "a not for less than 9000000", "a announced"]);
}

#[test]
fn peers_that_come_and_go_leave_nothing() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    for _ in 0..10_000 {
        let peer = table.peer();
        assert_eq!(table.told(), [peer]);
        table.outgoing.peer_gone(peer);
        // What comes after the end is for nobody.
        table.outgoing.fee_filter(peer, 1);
        assert!(!table.ask(peer, &transaction));
    }
    assert_eq!(table.notices(), ["a waiting", "a announced"]);
    assert_eq!(table.state(&txid), State::Announced);
}

#[test]
fn a_clock_that_is_set_back_or_far_ahead_harms_nothing() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let peer = table.peer();
    assert_eq!(table.told(), [peer]);
    let mut back = table.now;
    back.unix = andon_kernel::UnixTime::from_secs(0);
    table.outgoing.wake(back);
    assert_eq!(table.state(&txid), State::Announced);
    assert!(table.outgoing.deadline().unwrap() > back.instant);
    let mut ahead = table.now;
    ahead.instant += 2 * super::table::HOUR;
    ahead.unix = andon_kernel::UnixTime::from_secs(u64::MAX);
    table.outgoing.wake(ahead);
    assert_eq!(table.notices().last().unwrap(), "a expired");
}

#[test]
fn what_is_announced_without_end_is_looked_at_once() {
    // A chain as long as can be, and messages that name its end as often as they can: to look each time at all that it spends
    // would take a minute.
    let mut table = Table::new();
    let mut chain = vec![one(1)];
    while chain.len() < MAX_TRANSACTIONS {
        chain.push(spend(&[output(chain.last().unwrap(), 0)], 1));
    }
    let txids: Vec<_> = chain.iter().map(|transaction| table.submit("a", transaction)).collect();
    let told = table.peer();
    assert_eq!(table.told(), [told]);
    let listening = table.peer();
    let end = chain.last().unwrap();
    for _ in 0..1_000_000 {
        table.hear(told, end);
        table.hear(listening, end);
    }
    assert!(txids.iter().all(|txid| table.state(txid) == State::Seen));
}
