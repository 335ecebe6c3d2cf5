//! Whom a client that finds its nodes tells of transactions: nodes that are asked for nothing else, and that take them.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::net::SocketAddr;
use std::time::Duration;

use andon_bitcoin::client::{
    BroadcastOptions, BroadcastState, Command, Endpoint, Event, Misbehaviour, PeerPurpose, Reason, Skip,
    Submission,
};
use andon_bitcoin::wire::Message;
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, OutPoint, Transaction, TxIn, TxOut, Txid, transaction};
use lab::chain::script;
use lab::nodes::{at, connected, found, lab_of};
use lab::{Lab, Peer};

const MINUTE: Duration = Duration::from_secs(60);

fn spending(outpoint: OutPoint) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { previous_output: outpoint, ..TxIn::default() }],
        output: vec![TxOut { value: Amount::from_sat(1000), script_pubkey: script(77) }],
    }
}

#[test]
fn transactions_are_told_to_nodes_that_are_asked_for_nothing_else() {
    for private in [false, true] {
        let mut lab = lab_of(12, 2);
        lab.run_until("connections", |lab| found(lab) == 2);
        lab.sync();
        let working = connected(&lab);
        let outpoint = OutPoint::new(Txid::from_byte_array([7; 32]), 0);
        let transaction = spending(outpoint);
        let options = BroadcastOptions { private, ..BroadcastOptions::default() };
        lab.command(Command::Broadcast { transactions: vec![Submission::new(transaction.clone())], options });
        lab.run_until("an announcement", |lab| {
            lab.events.iter().any(|event| {
                matches!(event, Event::Broadcast { txid, state: BroadcastState::Announced, .. }
                    if *txid == transaction.compute_txid())
            })
        });
        lab.run_for(Duration::from_secs(5));
        let now = connected(&lab);
        let told: Vec<SocketAddr> = now
            .iter()
            .filter(|(_, purpose)| *purpose == PeerPurpose::Broadcast)
            .map(|(address, _)| *address)
            .collect();
        // Four are there to be told or to be heard, and one more for what is private.
        assert_eq!(told.len(), if private { 5 } else { 4 }, "{now:?}");
        assert!(told.iter().all(|address| working.iter().all(|(working, _)| working != address)), "{now:?}");
        assert!(working.iter().all(|peer| now.contains(peer)), "those that work go on");
    }
}

#[test]
fn a_peer_that_was_given_is_told_of_transactions_only_when_nobody_else_is_found() {
    // It tells of nobody.
    let mut lab = lab_of(1, 2);
    lab.sync();
    let transaction = spending(OutPoint::new(Txid::from_byte_array([7; 32]), 0));
    let options = BroadcastOptions::default();
    lab.command(Command::Broadcast { transactions: vec![Submission::new(transaction)], options });
    lab.run_for(Duration::from_secs(55));
    assert_eq!(connected(&lab), [(at(0), PeerPurpose::Configured)]);
    lab.run_for(Duration::from_secs(30));
    let purposes: Vec<PeerPurpose> = lab
        .events
        .iter()
        .filter_map(|event| match event {
            Event::PeerConnected { purpose, .. } => Some(*purpose),
            _ => None,
        })
        .collect();
    assert_eq!(purposes, [PeerPurpose::Configured, PeerPurpose::Broadcast, PeerPurpose::Broadcast]);
}

/// What keeps a node from being of use for a transaction that pays a satoshi for a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Useless {
    /// It says nothing once it has shaken hands.
    Silent,
    TakesNone,
    AsksForMore,
    /// It is syncing, and takes nothing.
    Syncs,
}

const USELESS: [Useless; 4] = [Useless::Silent, Useless::TakesNone, Useless::AsksForMore, Useless::Syncs];

impl Useless {
    fn befall(self, peer: &mut Peer) {
        match self {
            Self::Silent => peer.answers_pings = false,
            Self::TakesNone => peer.relays = false,
            Self::AsksForMore => peer.fee_filter = Some(2000),
            Self::Syncs => peer.fee_filter = Some(9_170_997),
        }
    }

    /// What is told of one, if anything is.
    fn skip(self) -> Option<Skip> {
        match self {
            Self::Silent => None,
            Self::TakesNone => Some(Skip::TakesNone),
            Self::AsksForMore => Some(Skip::FeeFilter { least: 2000 }),
            Self::Syncs => Some(Skip::FeeFilter { least: 9_170_997 }),
        }
    }
}

/// A client at work that knows many other nodes, of which all but every `good`th are useless; and what it broadcasts.
fn among(nodes: u16, useless: Useless, good: usize) -> (Lab, Transaction) {
    let mut lab = lab_of(nodes, 2);
    lab.run_until("connections", |lab| found(lab) == 2);
    lab.sync();
    let working: Vec<usize> =
        connected(&lab).iter().map(|(address, _)| usize::from(address.port()) - 30_000).collect();
    for number in (0..usize::from(nodes)).filter(|number| !working.contains(number) && number % good != 0) {
        useless.befall(&mut lab.peers[number]);
    }
    let transaction = spending(OutPoint::new(Txid::from_byte_array([7; 32]), 0));
    let fee = Amount::from_sat(transaction.vsize() as u64);
    let submission = Submission::new(transaction.clone()).with_fee(fee);
    let options = BroadcastOptions::default();
    lab.command(Command::Broadcast { transactions: vec![submission], options });
    (lab, transaction)
}

/// Those that are connected for transactions.
fn audience(lab: &Lab) -> Vec<usize> {
    let all = connected(lab).into_iter().filter(|(_, purpose)| *purpose == PeerPurpose::Broadcast);
    all.map(|(address, _)| usize::from(address.port()) - 30_000).collect()
}

/// Connections for transactions that were opened so far, or that failed.
fn ended(lab: &Lab) -> Vec<Reason> {
    let ended = lab.events.iter().filter_map(|event| match event {
        Event::PeerDisconnected { purpose: PeerPurpose::Broadcast, reason, .. } => Some(reason.clone()),
        _ => None,
    });
    ended.collect()
}

#[test]
fn who_is_of_no_use_leaves_its_place_to_another() {
    for useless in USELESS {
        let (mut lab, transaction) = among(40, useless, 5);
        let is_good = |lab: &Lab| {
            let audience = audience(lab);
            audience.len() == 4 && audience.iter().all(|number| number % 5 == 0)
        };
        lab.run_until("four that are of use", is_good);
        let minutes = lab.now.as_micros() / 60_000_000;
        assert!(minutes < 30, "{useless:?}: after {minutes} minutes");
        // Nobody else was told of it.
        let txids = [transaction.compute_txid().to_byte_array(), transaction.compute_wtxid().to_byte_array()];
        for (number, peer) in lab.peers.iter().enumerate() {
            let was_told = peer.told.iter().any(|told| txids.contains(told));
            assert!(number % 5 == 0 || !was_told, "{useless:?}: {number} was told");
        }
        // Some that are of no use were met, let go, and told of.
        let mut reasons = ended(&lab);
        // Who was told in one round has had its turn in the next.
        reasons.retain(|reason| useless != Useless::Silent || *reason != Reason::Told);
        let expected = if useless == Useless::Silent { Reason::HandshakeTimeout } else { Reason::TakesNone };
        assert!(
            !reasons.is_empty() && reasons.iter().all(|reason| *reason == expected),
            "{useless:?}: {reasons:?}"
        );
        let skipped: Vec<(Endpoint, Skip)> = lab
            .events
            .iter()
            .filter_map(|event| match event {
                Event::BroadcastSkipped { endpoint, reason, .. } => Some((endpoint.clone(), *reason)),
                _ => None,
            })
            .collect();
        let count = if useless == Useless::Silent { 0 } else { reasons.len() };
        assert_eq!(skipped.len(), count, "{useless:?}: {skipped:?}");
        assert!(skipped.iter().all(|(_, reason)| Some(*reason) == useless.skip()), "{skipped:?}");
        // Those that are of use stay.
        let before = audience(&lab);
        lab.run_for(5 * MINUTE);
        assert_eq!(audience(&lab), before, "{useless:?}");
    }
}

/// Where nobody takes it, nodes are asked ever more seldom, and soon again when another is given.
#[test]
fn a_book_of_nodes_that_take_nothing_is_not_dialled_through() {
    for useless in [Useless::TakesNone, Useless::AsksForMore] {
        let (mut lab, transaction) = among(200, useless, 1000);
        let good =
            (0..200).filter(|number| lab.peers[*number].relays && lab.peers[*number].fee_filter.is_none());
        assert_eq!(good.count(), 3, "those that work");
        lab.run_for(60 * MINUTE);
        let first = ended(&lab).len();
        lab.run_for(600 * MINUTE);
        let later = ended(&lab).len() - first;
        assert!((20..150).contains(&first), "{useless:?}: {first} in the first hour");
        assert!((200..1000).contains(&later), "{useless:?}: {later} in ten more");
        assert!(!lab.events.iter().any(|event| {
            matches!(event, Event::Broadcast { state, .. } if *state != BroadcastState::Waiting)
        }));
        // One that pays more.
        if useless == Useless::AsksForMore {
            let submission = Submission::new(transaction).with_fee(Amount::from_sat(10_000));
            let options = BroadcastOptions::default();
            lab.command(Command::Broadcast { transactions: vec![submission], options });
            lab.run_for(MINUTE / 6);
            assert_eq!(audience(&lab).len(), 4);
        }
    }
}

/// The book has a node, and it can't be reached: the transaction does not wait for it for ever.
#[test]
fn a_book_of_dead_nodes_keeps_no_transaction_from_a_peer_that_was_given() {
    let mut lab = lab_of(3, 2);
    lab.peers[1].up = false;
    lab.peers[2].up = false;
    lab.sync();
    lab.run_for(Duration::from_secs(5));
    let transaction = spending(OutPoint::new(Txid::from_byte_array([7; 32]), 0));
    let options = BroadcastOptions::default();
    lab.command(Command::Broadcast { transactions: vec![Submission::new(transaction)], options });
    lab.run_for(Duration::from_secs(55));
    assert_eq!(connected(&lab), [(at(0), PeerPurpose::Configured)]);
    lab.run_for(Duration::from_secs(300));
    let is_told = |event: &Event| {
        matches!(event, Event::PeerConnected { endpoint, purpose: PeerPurpose::Broadcast, .. }
            if *endpoint == Endpoint::Address(at(0)))
    };
    assert!(lab.events.iter().any(is_told), "{:?}", lab.dialled);
}

/// A transaction that nobody can be told of is no reason to dial all the time.
#[test]
fn offline_a_transaction_has_nodes_dialled_ever_less() {
    let mut lab = lab_of(12, 2);
    lab.run_until("connections", |lab| found(lab) == 2);
    lab.peers.iter_mut().for_each(|peer| peer.up = false);
    (0..12).for_each(|peer| lab.cut(peer));
    lab.run_for(Duration::from_secs(60));
    let transaction = spending(OutPoint::new(Txid::from_byte_array([7; 32]), 0));
    let options = BroadcastOptions::default();
    lab.command(Command::Broadcast { transactions: vec![Submission::new(transaction)], options });
    let dials = |lab: &Lab| {
        let ended =
            |event: &&Event| matches!(event, Event::PeerDisconnected { purpose: PeerPurpose::Broadcast, .. });
        lab.events.iter().filter(ended).count()
    };
    lab.run_for(Duration::from_secs(600));
    let at_first = dials(&lab);
    assert!((8..=60).contains(&at_first), "{at_first}");
    lab.run_for(Duration::from_secs(3600));
    let later = dials(&lab) - at_first;
    assert!(later <= 4 * 13, "{later} in an hour");
    assert!(later >= 10, "{later} in an hour");
}

/// A node that is here for transactions, or to tell of others, has nothing to send that is exempt from what it may send.
#[test]
fn blocks_that_nobody_asked_for_are_weighed_on_every_connection() {
    let mut lab = lab_of(12, 2);
    lab.run_until("connections", |lab| found(lab) == 2);
    lab.sync();
    let transaction = spending(OutPoint::new(Txid::from_byte_array([7; 32]), 0));
    let options = BroadcastOptions::default();
    lab.command(Command::Broadcast { transactions: vec![Submission::new(transaction)], options });
    lab.run_until("a connection for it", |lab| {
        connected(lab).iter().any(|(_, purpose)| *purpose == PeerPurpose::Broadcast)
    });
    let there = connected(&lab);
    let (who, _) = there.iter().find(|(_, purpose)| *purpose == PeerPurpose::Broadcast).unwrap();
    let number = usize::from(who.port() - 30_000);
    let block = vec![1; 900_000];
    for _ in 0..4 {
        lab.push_message(number, &Message::Block(&block));
    }
    lab.run_for(Duration::from_secs(5));
    assert!(connected(&lab).contains(&(*who, PeerPurpose::Broadcast)), "as much as it may");
    lab.push_message(number, &Message::Block(&block));
    lab.run_for(Duration::from_secs(5));
    let flooding = Reason::Misbehaved(Misbehaviour::Flooding);
    assert!(lab.farewells().contains(&(Endpoint::Address(*who), flooding)), "{:?}", lab.farewells());
}
