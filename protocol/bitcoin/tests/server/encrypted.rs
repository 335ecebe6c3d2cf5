//! Encrypted peers (BIP324): they are answered as others are, and what goes wrong has a name.

use std::time::Duration;

use andon_bitcoin::wire::{FilterRequest, FrameReader, INV_WITNESS_BLOCK, Inventory, Message};
use andon_kernel::ConnId;
use bitcoin::p2p::ServiceFlags;

use crate::common;
use crate::table::{MAGIC, Table, encrypting, get_headers, version, zero};

fn server(blocks: u32) -> Table {
    Table::with(encrypting(), common::blocks(blocks))
}

fn introduce(table: &mut Table, conn: ConnId) {
    let said = table.ask(conn, &version());
    assert_eq!(said, ["version", "wtxidrelay", "sendaddrv2", "verack"]);
    let said = table.ask(conn, &Message::Verack);
    assert_eq!(said, ["connected /test/", "sendcmpct", "ping", "feefilter"]);
}

#[test]
fn encrypted_or_not_the_answers_are_the_same() {
    let mut table = server(276);
    let bare = table.connect();
    for (garbage, piece) in [(0, 1), (4095, 1), (4095, 4000), (17, usize::MAX)] {
        let conn = table.accept_encrypted(garbage, piece);
        introduce(&mut table, conn);
        let tip = table.hash(275);
        let blocks: Vec<_> =
            (0..276).map(|height| Inventory::block(INV_WITNESS_BLOCK, table.hash(height))).collect();
        let locator = [table.hash(3)];
        for message in [
            Message::Ping(7),
            get_headers(&locator, zero()),
            Message::GetCFilters(FilterRequest { filter_type: 0, start_height: 0, stop_hash: tip }),
            Message::GetCFHeaders(FilterRequest { filter_type: 0, start_height: 0, stop_hash: tip }),
            Message::GetCFCheckpt { filter_type: 0, stop_hash: tip },
            Message::GetData(blocks.as_slice().into()),
        ] {
            let expected = table.ask(bare, &message);
            assert!(!expected.is_empty());
            assert_eq!(table.ask(conn, &message), expected);
        }
    }
}

/// What came behind a request is kept as it came while the answer is under way, and opened then.
#[test]
fn a_slow_encrypted_reader_is_answered_in_order() {
    let mut table = server(276);
    let conn = table.accept_encrypted(9, 1000);
    introduce(&mut table, conn);
    let blocks: Vec<_> = (0..276).map(|height| Inventory::block(2, table.hash(height))).collect();
    let request = Message::GetData(blocks.as_slice().into());
    let mut lines = Vec::new();
    for _ in 0..10 {
        table.side(conn).write(&request);
        table.side(conn).write(&Message::Ping(3));
    }
    lines.extend(table.carry(conn, usize::MAX));
    while table.waits(conn) {
        lines.extend(table.drain(conn));
    }
    let pongs = lines.iter().filter(|line| line.starts_with("pong")).count();
    let blocks = lines.iter().filter(|line| line.starts_with("block")).count();
    assert_eq!((blocks, pongs), (10 * 276, 10));
    assert!(lines.iter().any(|line| line == "pause"), "it had to wait");
    lines.retain(|line| !["pause", "flush", "resume"].contains(&line.as_str()));
    assert_eq!(lines.last().map(String::as_str), Some("pong 3"));
}

#[test]
fn encryption_that_goes_wrong_has_a_name() {
    // Silence after the beginning of a handshake.
    for length in [0, 1, 63, 64, 200] {
        let mut table = server(1);
        let (conn, _) = table.accept();
        if length > 0 {
            table.receive_raw(conn, &vec![1; length]);
        }
        assert_eq!(table.pass(Duration::from_secs(59)), [""; 0]);
        let expected = ["close", "gone before: it did not finish the handshake in time"];
        assert_eq!(table.pass(Duration::from_secs(2)), expected, "{length} bytes");
    }
    let mut table = server(1);
    let (conn, _) = table.accept();
    let expected = ["close", "gone before: no end of the garbage in the encrypted handshake"];
    assert_eq!(table.receive_raw(conn, &[1; 64 + 4095 + 16]), expected);

    let mut table = server(1);
    let (conn, _) = table.accept();
    let expected = ["close", "gone before: bytes of another network: [f9, be, b4, d9]"];
    assert_eq!(table.receive_raw(conn, b"\xf9\xbe\xb4\xd9version\0\0\0\0\0"), expected);

    let mut table = server(1);
    let conn = table.accept_encrypted(5, usize::MAX);
    table.side(conn).write(&version());
    table.side(conn).sent[10] ^= 1;
    let expected = ["close", "gone before: an encrypted packet that was changed"];
    assert_eq!(table.carry(conn, usize::MAX), expected);

    // A server that takes none ends the connection without a byte.
    let mut table = Table::new(1);
    let (conn, _) = table.accept();
    let lines = table.receive(conn, &[1; 64]);
    assert_eq!(lines, ["close", "gone before: bytes of another network: [01, 01, 01, 01]"]);
    assert_eq!(table.sent(conn), [0; 0]);
}

#[test]
fn it_says_that_it_encrypts() {
    for (mut table, expected) in
        [(server(1), encrypting().services | ServiceFlags::P2P_V2), (Table::new(1), encrypting().services)]
    {
        let conn = table.connect();
        let mut sent = table.sent(conn);
        let mut frames = FrameReader::new(MAGIC);
        let frame = frames.next(&mut sent).unwrap().unwrap();
        let Ok(Message::Version(version)) = Message::decode(frame.command, frame.payload) else { panic!() };
        assert_eq!(version.services, expected);
    }
}
