//! Connections that are there for one private transaction: what is said on them, and to what they answer. Bitcoin Core says the
//! same, so that nothing tells one from the other.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;
mod desk;

use std::time::Duration;

use andon_bitcoin::client::{
    BroadcastOptions, Command, Event, Misbehaviour, PeerPurpose, Reason, Submission,
};
use andon_bitcoin::wire::{
    CommandName, FrameReader, INV_BLOCK, INV_TX, INV_WITNESS_FLAG, INV_WTX, Inventory,
};
use andon_bitcoin::wire::{Message, Version};
use andon_kernel::{ConnId, Input};
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Transaction, Txid};
use desk::Desk;

fn transaction(number: u64) -> Transaction {
    common::spend(OutPoint::new(Txid::from_byte_array([7; 32]), number as u32), common::script(number))
}

/// A client with one peer that has been given these to broadcast privately, and the connection that is dialled for them.
fn dialled(transactions: &[&Transaction]) -> (Desk, ConnId) {
    let mut desk = Desk::new(1);
    let first = desk.dialled[0];
    desk.handshake(first, 0);
    let transactions = transactions.iter().map(|one| Submission::new((*one).clone())).collect();
    let options = BroadcastOptions { private: true, ..BroadcastOptions::default() };
    desk.dialled.clear();
    desk.turn(Input::Command(Command::Broadcast { transactions, options }));
    let conn = desk.dialled[0];
    desk.take_sent();
    desk.connect(conn);
    (desk, conn)
}

/// The messages that were sent on a connection since this was asked last.
fn said(desk: &mut Desk, conn: ConnId) -> Vec<String> {
    let sent = std::mem::take(&mut desk.sent);
    let mut said = Vec::new();
    for (_, bytes) in sent.iter().filter(|(on, _)| *on == conn) {
        let mut reader = FrameReader::new(desk::MAGIC);
        let mut rest = bytes.as_slice();
        while let Some(frame) = reader.next(&mut rest).unwrap() {
            match Message::decode(frame.command, frame.payload).unwrap() {
                Message::Ping(nonce) => {
                    desk.pings.push(nonce);
                    said.push("ping".into());
                }
                Message::Version(version) => {
                    let agent = version.user_agent_text();
                    said.push(format!("version {agent} {} {}", version.time, version.relay));
                }
                Message::Inv(items) => said.extend(items.iter().map(|item| format!("inv {}", item.kind))),
                message => said.push(message.command().to_string()),
            }
        }
    }
    said
}

fn farewell(desk: &Desk) -> Option<Reason> {
    desk.events.iter().rev().find_map(|event| match event {
        Event::PeerDisconnected { purpose: PeerPurpose::Broadcast, reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

fn ready(desk: &mut Desk, conn: ConnId) {
    desk.receive(conn, &Message::Version(desk::version(0)));
    desk.receive(conn, &Message::Verack);
}

fn ask(desk: &mut Desk, conn: ConnId, wanted: &[Inventory]) {
    desk.receive(conn, &Message::GetData(wanted.into()));
}

fn by_txid(transaction: &Transaction) -> Inventory {
    Inventory { kind: INV_TX, hash: transaction.compute_txid().to_byte_array() }
}

#[test]
fn five_messages_are_said_and_no_others() {
    let transaction = transaction(1);
    let (mut desk, conn) = dialled(&[&transaction]);
    assert_eq!(said(&mut desk, conn), ["version /pynode:0.0.1/ 0 false"]);
    desk.receive(conn, &Message::Version(desk::version(0)));
    desk.receive(conn, &Message::WtxidRelay);
    desk.receive(conn, &Message::SendAddrV2);
    assert_eq!(said(&mut desk, conn), ["verack"]);
    desk.receive(conn, &Message::Verack);
    assert_eq!(said(&mut desk, conn), ["inv 1"]);
    // As a node greets each of its peers.
    desk.receive(conn, &Message::Ping(5));
    desk.receive(conn, &Message::SendHeaders);
    desk.receive(conn, &Message::FeeFilter(1000));
    desk.receive(conn, &Message::GetAddr);
    desk.receive(conn, &Message::Inv([by_txid(&transaction)].as_slice().into()));
    assert_eq!(said(&mut desk, conn), Vec::<String>::new());
    ask(&mut desk, conn, &[by_txid(&transaction)]);
    assert_eq!(said(&mut desk, conn), ["tx", "ping"]);
    assert!(!desk.closed.contains(&conn), "until it has read it");
    let nonce = *desk.pings.last().unwrap();
    desk.receive(conn, &Message::Pong(nonce));
    assert_eq!(farewell(&desk), Some(Reason::Told));
    assert_eq!(said(&mut desk, conn), Vec::<String>::new());
}

#[test]
fn whoever_takes_no_transactions_is_let_go_before_the_verack() {
    let (mut desk, conn) = dialled(&[&transaction(1)]);
    desk.take_sent();
    desk.receive(conn, &Message::Version(Version { relay: false, ..desk::version(0) }));
    assert_eq!(said(&mut desk, conn), Vec::<String>::new());
    assert_eq!(farewell(&desk), Some(Reason::TakesNone));
}

#[test]
fn whoever_asks_for_anything_else_is_let_go() {
    let (ours, other) = (transaction(1), transaction(2));
    let right = by_txid(&ours);
    let rows: [(&str, Vec<Inventory>); 7] = [
        ("another", vec![by_txid(&other)]),
        ("by the other id", vec![Inventory { kind: INV_WTX, hash: ours.compute_wtxid().to_byte_array() }]),
        ("with a flag", vec![Inventory { kind: INV_TX | INV_WITNESS_FLAG, ..right }]),
        ("twice", vec![right, right]),
        ("with another", vec![right, by_txid(&other)]),
        ("a block", vec![Inventory { kind: INV_BLOCK, ..right }]),
        ("nothing", vec![]),
    ];
    for (what, wanted) in rows {
        let (mut desk, conn) = dialled(&[&ours]);
        ready(&mut desk, conn);
        said(&mut desk, conn);
        ask(&mut desk, conn, &wanted);
        assert_eq!(said(&mut desk, conn), Vec::<String>::new(), "{what}");
        let out_of_turn = Misbehaviour::OutOfTurn(CommandName::new("getdata"));
        assert_eq!(farewell(&desk), Some(Reason::Misbehaved(out_of_turn)), "{what}");
    }
}

/// A parent and its child, which go together or not at all: Bitcoin Core has no such thing, and what tells it is unavoidable.
#[test]
fn a_family_is_served_in_any_order_and_pings_are_not_answered() {
    let parent = transaction(1);
    let child = common::spend(OutPoint::new(parent.compute_txid(), 0), common::script(9));
    let (mut desk, conn) = dialled(&[&parent, &child]);
    ready(&mut desk, conn);
    assert_eq!(said(&mut desk, conn)[1..], ["verack", "ping"]);
    desk.receive(conn, &Message::Ping(9));
    let nonce = *desk.pings.last().unwrap();
    desk.receive(conn, &Message::Pong(nonce));
    assert_eq!(said(&mut desk, conn), ["inv 1", "inv 1"]);
    ask(&mut desk, conn, &[by_txid(&child)]);
    assert_eq!(said(&mut desk, conn), ["tx", "ping"]);
    ask(&mut desk, conn, &[by_txid(&parent)]);
    assert_eq!(said(&mut desk, conn), ["tx", "ping"]);
    desk.pass(Duration::from_millis(1));
    assert_eq!(farewell(&desk), None);
}
