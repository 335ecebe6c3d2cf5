//! The handshake, and what may be said when.

use std::time::Duration;

use andon_bitcoin::server::Command;
use andon_bitcoin::wire::{Host, Message, NodeAddress, PROTOCOL_VERSION};
use andon_kernel::Input;
use bitcoin::p2p::ServiceFlags;

use crate::common;
use crate::table::{Table, bytes, config, frame, get_headers, version, version_of, zero};

#[test]
fn it_answers_as_bitcoin_core_does() {
    let mut table = Table::new(6);
    let (conn, lines) = table.accept();
    assert_eq!(lines, [""; 0]);
    assert_eq!(table.receive(conn, &bytes(&version())), ["version", "wtxidrelay", "sendaddrv2", "verack"]);
    assert_eq!(
        table.receive(conn, &bytes(&Message::Verack)),
        ["connected /test/", "sendcmpct", "ping", "feefilter"]
    );
    let mut reader = andon_bitcoin::wire::FrameReader::new(crate::table::MAGIC);
    let mut sent = table.sent(conn);
    let frame = reader.next(&mut sent).unwrap().unwrap();
    let Ok(Message::Version(version)) = Message::decode(frame.command, frame.payload) else { panic!() };
    assert_eq!((version.protocol, version.start_height, version.time), (PROTOCOL_VERSION, 5, 1_700_000_000));
    assert_eq!((version.services, version.relay), (config().services, true));
    assert_eq!(version.user_agent, config().user_agent.as_bytes());
    assert_ne!(version.nonce, 0);
}

#[test]
fn an_older_peer_is_told_only_what_it_knows() {
    for (protocol, first, second) in [
        (
            70017,
            ["version", "wtxidrelay", "sendaddrv2", "verack"].as_slice(),
            ["sendcmpct", "ping", "feefilter"].as_slice(),
        ),
        (70015, &["version", "verack"], &["sendcmpct", "ping", "feefilter"]),
        (70013, &["version", "verack"], &["ping", "feefilter"]),
        (70012, &["version", "verack"], &["ping"]),
        (60000, &["version", "verack"], &[]),
        (31800, &["version", "verack"], &[]),
    ] {
        let mut table = Table::new(1);
        let (conn, _) = table.accept();
        assert_eq!(table.receive(conn, &bytes(&version_of(protocol))), first, "{protocol}");
        let lines = table.receive(conn, &bytes(&Message::Verack));
        assert_eq!(lines[1..], *second, "{protocol}");
    }
    for protocol in [0, 209, 31799, u32::MAX] {
        let mut table = Table::new(1);
        let (conn, _) = table.accept();
        let gone = format!("gone before: obsolete version {protocol}");
        assert_eq!(table.receive(conn, &bytes(&version_of(protocol))), ["close", gone.as_str()]);
    }
}

#[test]
fn what_comes_too_early_is_ignored() {
    let mut table = Table::new(3);
    let (conn, _) = table.accept();
    let genesis = [table.hash(0)];
    let requests = [
        Message::Ping(1),
        Message::GetAddr,
        Message::SendHeaders,
        Message::Verack,
        get_headers(&genesis, zero()),
        Message::Other(andon_bitcoin::wire::CommandName::new("mempool"), &[]),
    ];
    for request in &requests {
        assert_eq!(table.receive(conn, &bytes(request)), [""; 0], "before version: {request:?}");
    }
    assert_eq!(table.receive(conn, &frame("version", &[1, 2, 3])), [""; 0]);
    assert_eq!(table.receive(conn, &bytes(&version())).len(), 4);
    for request in requests.iter().filter(|request| **request != Message::Verack) {
        assert_eq!(table.receive(conn, &bytes(request)), [""; 0], "before verack: {request:?}");
    }
    // It counts already that headers are preferred.
    assert_eq!(table.receive(conn, &bytes(&Message::Verack)).len(), 4);
    assert_eq!(table.ask(conn, &get_headers(&genesis, zero())), ["headers 1 to 2"]);
    let blocks = common::branch(table.hash(2), 3, 1, 0);
    table.name("", 3, &blocks);
    assert_eq!(table.command(Command::Extend(blocks)), ["tip 3", "headers 3 to 3"]);
}

#[test]
fn what_is_said_twice_or_too_late() {
    for (message, expected) in [
        (version(), [""; 0].as_slice()),
        (Message::Verack, &[]),
        (Message::SendHeaders, &[]),
        (Message::SendCmpct { high_bandwidth: true, version: 2 }, &[]),
        (Message::FeeFilter(1), &[]),
        (Message::SendAddrV2, &["close", "gone after: it negotiated a feature after the handshake"]),
        (Message::WtxidRelay, &["close", "gone after: it negotiated a feature after the handshake"]),
    ] {
        let mut table = Table::new(1);
        let conn = table.connect();
        assert_eq!(table.receive(conn, &bytes(&message)), expected, "{message:?}");
    }
}

#[test]
fn addresses_are_told_once_and_in_part() {
    let address = |number: u32| NodeAddress {
        time: number,
        services: ServiceFlags::NETWORK,
        host: if number.is_multiple_of(2) {
            Host::Ip(std::net::Ipv4Addr::from(0x0a00_0000 + number).into())
        } else {
            Host::TorV3([number as u8; 32])
        },
        port: 8333,
    };
    for (known, v2, expected) in [
        (0, true, None),
        (4, true, None),
        (5, true, Some("addrv2 1")),
        (100, true, Some("addrv2 23")),
        (10_000, true, Some("addrv2 1000")),
    ] {
        let mut config = config();
        config.addresses = (0..known).map(address).collect();
        let mut table = Table::with(config, common::blocks(1));
        let (conn, _) = table.accept();
        table.receive(conn, &bytes(&version()));
        if v2 {
            table.receive(conn, &bytes(&Message::SendAddrV2));
        }
        table.receive(conn, &bytes(&Message::Verack));
        assert_eq!(table.ask(conn, &Message::GetAddr), Vec::from_iter(expected), "{known}");
        assert_eq!(table.ask(conn, &Message::GetAddr), [""; 0]);

        // Who did not ask for addrv2 hears of IP addresses only, of the same draw.
        let conn = table.connect();
        let lines = table.ask(conn, &Message::GetAddr);
        assert!(lines.iter().all(|line| line.starts_with("addr ")), "{lines:?}");
        assert!(known < 100 || lines.len() == 1);
    }
    let mut table = Table::new(1);
    let many = (0..81_921).map(address).collect();
    assert_eq!(table.command(Command::AddAddresses(many)), ["rejected: too many addresses"]);
    assert_eq!(table.command(Command::AddAddresses((0..81_920).map(address).collect())), [""; 0]);
    let conn = table.connect();
    assert_eq!(table.ask(conn, &Message::GetAddr).len(), 1);
}

#[test]
fn as_many_peers_as_allowed() {
    let mut config = config();
    config.max_peers = 2;
    let mut table = Table::with(config, common::blocks(1));
    let first = table.connect();
    table.connect();
    let (_, lines) = table.accept();
    assert_eq!(lines, ["close", "gone before: too many peers"]);
    assert_eq!(table.disconnected(first), ["gone after: closed by the peer"]);
    let (conn, lines) = table.accept();
    assert_eq!(lines, [""; 0]);
    assert_eq!(table.receive(conn, &bytes(&version())).len(), 4);
}

#[test]
fn stopping_closes_all() {
    let mut table = Table::new(1);
    table.connect();
    table.accept();
    assert_eq!(
        table.input(Input::Stop),
        ["close", "gone after: the server was stopped", "close", "gone before: the server was stopped"]
    );
    assert_eq!(table.pass(Duration::from_secs(100_000)), [""; 0]);
    let (_, lines) = table.accept();
    assert_eq!(lines, ["close", "gone before: the server was stopped"]);
}
