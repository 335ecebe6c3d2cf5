//! Peers that break the protocol: a named disconnect, or silence, as from Bitcoin Core.

use andon_bitcoin::wire::{FilterRequest, INV_TX, Inventory, Message};
use andon_kernel::Rng;

use crate::common;
use crate::table::{MAGIC, Table, bytes, config, frame, version};

#[test]
fn what_ends_a_connection() {
    let compact = |count: u16| [[0xfd].as_slice(), &count.to_le_bytes()].concat();
    let inventory = vec![Inventory { kind: INV_TX, hash: [0; 32] }; 50_001];
    // An address of IPv4, and as many bytes as an entry of an `addr` has.
    let v2 = [0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0].repeat(1001);
    let v1 = [0; 30].repeat(1001);
    for (sent, reason) in [
        (frame("mempool", &[]), "it asked for bloom filters or the mempool"),
        (frame("filterload", &[1, 2, 3]), "it asked for bloom filters or the mempool"),
        (frame("filteradd", &[]), "it asked for bloom filters or the mempool"),
        (frame("filterclear", &[]), "it asked for bloom filters or the mempool"),
        (frame("sendcmpct", &[2, 1, 0, 0, 0, 0, 0, 0, 0]), "it sent a malformed sendcmpct"),
        (frame("addr", &[compact(1001), v1].concat()), "it sent more than 1000 addresses"),
        (frame("addrv2", &[compact(1001), v2].concat()), "it sent more than 1000 addresses"),
        (frame("headers", &compact(2001)), "it sent more than 2000 headers"),
        (bytes(&Message::Inv(inventory.as_slice().into())), "it sent more than 50,000 entries"),
        (bytes(&Message::GetData(inventory.as_slice().into())), "it sent more than 50,000 entries"),
    ] {
        let mut table = Table::new(2);
        let conn = table.connect();
        assert_eq!(table.receive(conn, &sent), ["close".to_string(), format!("gone after: {reason}")]);
        // What comes for it all the same is of no concern.
        assert_eq!(table.receive(conn, &bytes(&Message::Ping(1))), [""; 0]);
        assert_eq!(table.disconnected(conn), [""; 0]);
    }
}

#[test]
fn what_is_ignored() {
    let mut table = Table::new(2);
    let conn = table.connect();
    let compact = |count: u16| [[0xfd].as_slice(), &count.to_le_bytes()].concat();
    for sent in [
        frame("sendcmpct", &[2, 1]),
        frame("sendcmpct", &[1, 2, 0, 0, 0, 0, 0, 0, 0]),
        frame("addr", &compact(1000)),
        // Too many, but cut off: nothing that has been read is too much.
        frame("addr", &compact(1001)),
        frame("addrv2", &compact(1001)),
        frame("addrv2", &[0]),
        frame("headers", &compact(2000)),
        frame("getheaders", &[]),
        frame("getheaders", &[0xff; 300]),
        frame("getdata", &[0xff; 300]),
        frame("getdata", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        frame("getcfilters", &[0; 36]),
        frame("ping", &[1, 2, 3]),
        frame("pong", &[]),
        frame("inv", &[0xfe, 0xff, 0xff, 0xff, 0x01]),
        frame("tx", &[1]),
        frame("block", &[1]),
        frame("cmpctblock", &[1]),
        frame("getblocks", &[1]),
        frame("getblocktxn", &[1]),
        frame("notfound", &[1]),
        frame("feefilter", &[1]),
        frame("cfilter", &[1]),
        frame("alert", &[1]),
        frame("", &[1]),
        frame("sendtxrcncl", &[1]),
    ] {
        assert_eq!(table.receive(conn, &sent), [""; 0], "{sent:02x?}");
    }
    assert_eq!(table.ask(conn, &Message::Ping(1)), ["pong 1"]);
}

#[test]
fn a_node_that_takes_no_transactions() {
    let inventory = [Inventory { kind: INV_TX, hash: [0; 32] }];
    for (relay, message) in [
        (false, Message::Tx(&[1, 2])),
        (false, Message::Inv(inventory.as_slice().into())),
        (true, Message::Tx(&[1, 2])),
        (true, Message::Inv(inventory.as_slice().into())),
    ] {
        let mut config = config();
        config.relay = relay;
        let mut table = Table::with(config, common::blocks(1));
        let conn = table.connect();
        let expected: &[&str] =
            if relay { &[] } else { &["close", "gone after: it sent a transaction, and none are taken"] };
        assert_eq!(table.receive(conn, &bytes(&message)), expected);
    }
}

#[test]
fn frames_that_are_none() {
    let ping = bytes(&Message::Ping(5));
    let changed = |place: usize, value: u8| {
        let mut bytes = ping.clone();
        bytes[place] = value;
        bytes
    };
    let mut table = Table::new(1);
    let conn = table.connect();
    // A wrong checksum: the message is dropped, the peer stays.
    let mut sent = [changed(20, !ping[20]), changed(31, 1), ping.clone()].concat();
    assert_eq!(table.receive(conn, &sent), ["pong 5"]);
    sent.truncate(60);
    assert_eq!(table.receive(conn, &sent), [""; 0]);
    assert_eq!(
        table.receive(conn, &[changed(20, !ping[20]), changed(31, 1), ping.clone()].concat()[60..]),
        ["pong 5"]
    );

    let longest = frame("nonsense", &vec![0; 4_000_000]);
    assert_eq!(table.receive(conn, &[longest, ping.clone()].concat()), ["pong 5"]);
    let mut too_long = changed(16, 0x01);
    too_long[16..20].copy_from_slice(&4_000_001_u32.to_le_bytes());
    assert_eq!(table.receive(conn, &too_long[..23]), [""; 0]);
    assert_eq!(table.receive(conn, &too_long[23..24]), ["close", "gone after: a message of 4000001 bytes"]);

    let mut table = Table::new(1);
    let (conn, _) = table.accept();
    let expected = ["close", "gone before: bytes of another network: [f9, be, b4, d9]"];
    assert_eq!(table.receive(conn, &[0xf9, 0xbe, 0xb4, 0xd9]), expected);
}

#[test]
fn random_messages_of_every_name() {
    let names = [
        "version",
        "verack",
        "addr",
        "addrv2",
        "inv",
        "getdata",
        "notfound",
        "getblocks",
        "getheaders",
        "headers",
        "tx",
        "block",
        "getaddr",
        "mempool",
        "ping",
        "pong",
        "filterload",
        "sendheaders",
        "sendcmpct",
        "feefilter",
        "getcfilters",
        "getcfheaders",
        "getcfcheckpt",
        "cfilter",
        "wtxidrelay",
        "sendaddrv2",
        "other",
    ];
    let mut rng = Rng::new([9; 32]);
    for round in 0..300 {
        let mut table = Table::new(3);
        let conn = if round % 3 == 0 { table.accept().0 } else { table.connect() };
        for _ in 0..50 {
            let name = names[rng.below(names.len() as u64) as usize];
            let mut payload = vec![0; rng.below(120) as usize];
            rng.fill(&mut payload);
            if let Some(first) = payload.first_mut() {
                // Small counts get further than large ones.
                *first %= 4;
            }
            if rng.below(4) == 0 {
                payload.splice(..0, [0, 0, 0, 0]);
                payload.extend(table.hash(2).to_string().as_bytes());
            }
            let mut sent = frame(name, &payload);
            if rng.below(20) == 0 {
                let place = rng.below(sent.len() as u64) as usize;
                sent[place] ^= 1 << rng.below(8);
            }
            let lines = table.receive(conn, &sent);
            while table.waits(conn) {
                table.drain(conn);
            }
            if lines.contains(&"close".into()) {
                break;
            }
        }
        serves_others(&mut table, 2);
    }
}

#[test]
fn random_bytes() {
    let mut rng = Rng::new([10; 32]);
    for length in 1..300 {
        let mut table = Table::new(1);
        let (conn, _) = table.accept();
        let mut sent = vec![0; length];
        rng.fill(&mut sent);
        if length % 2 == 0 {
            sent.splice(..0, [bytes(&version()).as_slice(), &MAGIC].concat());
        }
        table.receive(conn, &sent);
        serves_others(&mut table, 0);
    }
}

/// Whatever one peer did, the next one is answered.
fn serves_others(table: &mut Table, height: u32) {
    let other = table.connect();
    let request = FilterRequest { filter_type: 0, start_height: height, stop_hash: table.hash(height) };
    assert_eq!(table.ask(other, &Message::GetCFilters(request)), [format!("cfilter {height}")]);
}
