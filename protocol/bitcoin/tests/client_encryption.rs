//! Encrypted connections of the client, byte by byte: when it goes without, and what a peer can do to them.

mod desk;
#[path = "transport/pair.rs"]
mod pair;

use std::time::Duration;

use andon_bitcoin::client::{Config, Encryption, Endpoint, Event, Misbehaviour, Reason};
use andon_bitcoin::transport::{TransportVersion, respond};
use andon_bitcoin::wire::Message;
use andon_kernel::{ConnId, Disconnect};
use bitcoin::Network;
use desk::{Desk, peer_address, version};
use pair::{MAGIC, Side, by, shaped};

/// A client of one peer, which prefers encryption unless it is said otherwise.
fn desk_of(encryption: Encryption) -> (Desk, ConnId) {
    let mut config = Config::new(Network::Regtest, [9; 32]);
    config.discovery = None;
    assert_eq!(config.encryption, Encryption::Preferred, "it is the default");
    config.peers = vec![Endpoint::Address(peer_address(0))];
    config.encryption = encryption;
    let desk = Desk::encrypting(config);
    let conn = desk.dialled[0];
    (desk, conn)
}

fn preferring() -> (Desk, ConnId) {
    desk_of(Encryption::Preferred)
}

/// The bytes sent since this was asked last.
fn sent(desk: &mut Desk) -> Vec<u8> {
    std::mem::take(&mut desk.sent).into_iter().flat_map(|(_, bytes)| bytes).collect()
}

/// Whether what was sent is the beginning of an encrypted handshake.
fn is_key(bytes: &[u8]) -> bool {
    (64..=64 + 4095).contains(&bytes.len()) && !bytes.starts_with(&MAGIC)
}

/// Carries bytes between the client and an encrypted peer until neither has anything to say.
fn carry(desk: &mut Desk, conn: ConnId, peer: &mut Side) {
    loop {
        let bytes = sent(desk);
        if bytes.is_empty() && peer.sent.is_empty() {
            return;
        }
        assert_eq!(peer.receive_in(&bytes, 0), None);
        let bytes = std::mem::take(&mut peer.sent);
        if !bytes.is_empty() {
            desk.bytes(conn, &bytes);
        }
    }
}

/// A peer that has taken the client's key.
fn encrypted_peer(desk: &mut Desk, conn: ConnId, garbage: u16) -> Side {
    desk.connect(conn);
    let mut peer = Side::new(respond(MAGIC, by(1), shaped(garbage)), Vec::new());
    carry(desk, conn, &mut peer);
    assert_eq!(peer.version(), Some(TransportVersion::V2));
    peer
}

fn names(peer: &mut Side) -> Vec<String> {
    peer.read.drain(..).map(|(command, _)| command.to_string()).collect()
}

#[test]
fn an_encrypted_handshake_is_followed_by_the_usual_one() {
    for garbage in [0, 4095] {
        for piece in [1, usize::MAX] {
            let (mut desk, conn) = preferring();
            desk.piece = piece;
            let mut peer = encrypted_peer(&mut desk, conn, garbage);
            assert_eq!(names(&mut peer), ["version"]);
            peer.write(&Message::Version(version(0)));
            carry(&mut desk, conn, &mut peer);
            assert_eq!(names(&mut peer), ["wtxidrelay", "sendaddrv2", "verack"]);
            peer.write(&Message::Verack);
            carry(&mut desk, conn, &mut peer);
            assert_eq!(names(&mut peer), ["sendheaders", "getheaders"]);
            let told = desk.events.iter().any(
                |event| matches!(event, Event::PeerConnected { transport, .. } if *transport == TransportVersion::V2),
            );
            assert!(told, "the version of the transport is told");
            assert_eq!(desk.farewell(), None);
        }
    }
}

/// Only a peer that took our key and closed without a byte is dialled without encryption, and at once.
#[test]
fn who_closes_without_a_byte_is_dialled_without_encryption() {
    for reason in [Disconnect::ClosedByPeer, Disconnect::Reset] {
        let (mut desk, conn) = preferring();
        desk.connect(conn);
        assert!(is_key(&sent(&mut desk)));
        desk.disconnect(conn, reason);
        assert_eq!((desk.dialled.len(), desk.farewell()), (2, None), "at once, and silently");
        let again = desk.dialled[1];
        desk.connect(again);
        assert_eq!(desk.take_sent(), ["version"]);
        // It closes that too: it may be full. The next attempt is encrypted again.
        desk.disconnect(again, reason);
        assert_eq!(desk.farewell(), Some(Reason::ClosedBeforeVersion));
        desk.pass(Duration::from_secs(6));
        let third = desk.dialled[2];
        desk.connect(third);
        assert!(is_key(&sent(&mut desk)));
        // Now it takes the unencrypted one, and this is remembered.
        desk.disconnect(third, reason);
        let fourth = desk.dialled[3];
        desk.handshake(fourth, 0);
        assert_eq!(desk.take_sent()[..4], ["version", "wtxidrelay", "sendaddrv2", "verack"]);
        desk.disconnect(fourth, Disconnect::ClosedByPeer);
        desk.pass(Duration::from_secs(6));
        let fifth = desk.dialled[4];
        desk.connect(fifth);
        assert_eq!(desk.take_sent(), ["version"]);
    }
}

#[test]
fn nobody_else_is_dialled_without_encryption() {
    let (_, conn) = preferring();
    /// What a peer does after the dial: whether it takes the connection, what it sends, and how it ends.
    type Case = (bool, &'static [u8], Disconnect);
    let table: [Case; 8] = [
        (false, &[], Disconnect::Refused),
        (false, &[], Disconnect::TimedOut),
        (false, &[], Disconnect::Unreachable),
        (true, &[], Disconnect::TimedOut),
        (true, &[], Disconnect::Failed),
        (true, &[1], Disconnect::ClosedByPeer),
        (true, &[1; 79], Disconnect::Reset),
        (true, &[1; 80], Disconnect::Reset),
    ];
    for (takes, says, reason) in table {
        let (mut desk, _) = preferring();
        if takes {
            desk.connect(conn);
        }
        if !says.is_empty() {
            desk.bytes(conn, says);
        }
        desk.disconnect(conn, reason);
        // Behind its key there was enough for the end of its garbage, and it was not that.
        let expected =
            if says.len() >= 64 + 16 { Reason::ForeignHandshake } else { Reason::Connection(reason) };
        assert_eq!(desk.farewell(), Some(expected), "{takes} {says:?}");
        assert_eq!(desk.dialled.len(), 1, "not at once");
        sent(&mut desk);
        desk.pass(Duration::from_secs(6));
        let again = desk.dialled[1];
        desk.connect(again);
        assert!(is_key(&sent(&mut desk)), "{takes} {says:?} {reason}");
    }
    // And with encryption required or off nothing else is tried.
    let (mut desk, conn) = desk_of(Encryption::Required);
    desk.connect(conn);
    desk.disconnect(conn, Disconnect::ClosedByPeer);
    assert_eq!(desk.farewell(), Some(Reason::EncryptionRefused));
    assert_eq!(desk.dialled.len(), 1);
    let (mut desk, conn) = desk_of(Encryption::Off);
    desk.connect(conn);
    assert_eq!(desk.take_sent(), ["version"]);
    desk.disconnect(conn, Disconnect::ClosedByPeer);
    assert_eq!(desk.farewell(), Some(Reason::ClosedBeforeVersion));
    assert_eq!(desk.dialled.len(), 1);
}

/// A handshake that does not go on ends in time, wherever it stops.
#[test]
fn a_handshake_that_stops_ends_in_time() {
    // Of key, garbage, terminator, version packet.
    for length in [1, 63, 64, 70, 64 + 30 + 15, 64 + 30 + 16, 64 + 30 + 16 + 19, 64 + 30 + 16 + 20] {
        let (mut desk, conn) = preferring();
        desk.connect(conn);
        let mut peer = Side::new(respond(MAGIC, by(1), shaped(30)), Vec::new());
        assert_eq!(peer.receive_in(&sent(&mut desk), 0), None);
        assert_eq!(peer.sent.len(), 64 + 30 + 16 + 20);
        desk.bytes(conn, &peer.sent[..length]);
        // Behind the key the end of the garbage comes soon, or never; sixteen bytes could have been it.
        let (limit, expected) = match length {
            0..64 | 110.. => (60, Reason::HandshakeTimeout),
            64..80 => (15, Reason::HandshakeTimeout),
            _ => (15, Reason::ForeignHandshake),
        };
        desk.pass(Duration::from_secs(limit - 1));
        assert_eq!(desk.farewell(), None, "{length} bytes");
        desk.pass(Duration::from_secs(2));
        assert_eq!(desk.farewell(), Some(expected), "{length} bytes");
        assert_eq!(desk.closed, [conn]);
    }
    // A peer of another network derives other keys.
    let (mut desk, conn) = preferring();
    desk.connect(conn);
    let other = Network::Signet.magic().to_bytes();
    let mut peer = Side::new(respond(other, by(1), shaped(30)), Vec::new());
    assert_eq!(peer.receive_in(&sent(&mut desk), 0), None);
    desk.bytes(conn, &peer.sent);
    desk.pass(Duration::from_secs(16));
    assert_eq!(desk.farewell(), Some(Reason::ForeignHandshake));
    // Who takes its time between key and garbage, and then goes on, has as long as any other.
    let (mut desk, conn) = preferring();
    desk.connect(conn);
    let mut peer = Side::new(respond(MAGIC, by(1), shaped(30)), Vec::new());
    assert_eq!(peer.receive_in(&sent(&mut desk), 0), None);
    let said = std::mem::take(&mut peer.sent);
    desk.bytes(conn, &said[..64]);
    desk.pass(Duration::from_secs(14));
    desk.bytes(conn, &said[64..]);
    desk.pass(Duration::from_secs(45));
    assert_eq!(desk.farewell(), None);
    desk.pass(Duration::from_secs(2));
    assert_eq!(desk.farewell(), Some(Reason::HandshakeTimeout));
}

#[test]
fn what_a_peer_does_to_an_encrypted_connection_has_a_name() {
    type Fault = fn(&mut Side) -> Vec<u8>;
    let table: [(&str, Fault, Misbehaviour); 4] = [
        (
            "a forged packet",
            |peer| {
                peer.write(&Message::Verack);
                peer.sent[5] ^= 1;
                peer.sent.clone()
            },
            Misbehaviour::ForgedPacket,
        ),
        (
            "a packet again",
            |peer| {
                peer.write(&Message::Version(version(0)));
                let first = peer.sent.clone();
                // Its length is read as another, of a packet that never comes whole, or as one too long.
                peer.write(&Message::Ping(1));
                let second = peer.sent[first.len()..].to_vec();
                let swapped = [&second[..3], &first[3..20 + 12], &[0; 30]].concat();
                [first, swapped].concat()
            },
            Misbehaviour::ForgedPacket,
        ),
        (
            "verack first",
            |peer| {
                peer.write(&Message::Verack);
                peer.sent.clone()
            },
            Misbehaviour::OutOfTurn(andon_bitcoin::wire::CommandName::new("verack")),
        ),
        (
            "a malformed version",
            |peer| {
                let name = andon_bitcoin::wire::CommandName::new("version");
                peer.write(&Message::Other(name, &[1, 2, 3]));
                peer.sent.clone()
            },
            Misbehaviour::Malformed(andon_bitcoin::wire::CommandName::new("version")),
        ),
    ];
    for (what, fault, misbehaviour) in table {
        for piece in [1, usize::MAX] {
            let (mut desk, conn) = preferring();
            desk.piece = piece;
            let mut peer = encrypted_peer(&mut desk, conn, 3);
            peer.sent.clear();
            desk.bytes(conn, &fault(&mut peer));
            assert_eq!(desk.farewell(), Some(Reason::Misbehaved(misbehaviour)), "{what}");
        }
    }
    let (mut desk, conn) = preferring();
    desk.connect(conn);
    desk.bytes(conn, &[7; 64 + 4095 + 16]);
    assert_eq!(desk.farewell(), Some(Reason::Misbehaved(Misbehaviour::EndlessGarbage)));
    let (mut desk, conn) = preferring();
    desk.connect(conn);
    desk.receive(conn, &Message::Version(version(0)));
    assert_eq!(desk.farewell(), Some(Reason::Misbehaved(Misbehaviour::UnencryptedAnswer)));
    let (mut desk, conn) = preferring();
    desk.connect(conn);
    let own = sent(&mut desk);
    desk.bytes(conn, &own);
    assert_eq!(desk.farewell(), Some(Reason::SelfConnection));
}

/// Decoys are taken at any time, and are counted as what nobody has asked for.
#[test]
fn decoys_do_no_harm_until_they_are_a_flood() {
    for before_the_version in [true, false] {
        let (mut desk, conn) = preferring();
        let mut peer = encrypted_peer(&mut desk, conn, 0);
        peer.decoy(1000);
        if !before_the_version {
            peer.write(&Message::Version(version(0)));
            peer.decoy(0);
            peer.write(&Message::Verack);
        }
        carry(&mut desk, conn, &mut peer);
        let mut flood = 0;
        while desk.farewell().is_none() {
            peer.decoy(50_000);
            flood += 50_000;
            desk.bytes(conn, &std::mem::take(&mut peer.sent));
            assert!(flood <= 4_000_000, "no more than that");
        }
        assert_eq!(desk.farewell(), Some(Reason::Misbehaved(Misbehaviour::Flooding)));
        assert!(flood > 3_900_000, "and no less");
    }
    // Slowly it may send as many as it likes.
    let (mut desk, conn) = preferring();
    let mut peer = encrypted_peer(&mut desk, conn, 0);
    peer.write(&Message::Version(version(0)));
    peer.write(&Message::Verack);
    carry(&mut desk, conn, &mut peer);
    peer.write(&Message::Headers([].as_slice().into()));
    for _ in 0..1000 {
        peer.decoy(19_000);
        carry(&mut desk, conn, &mut peer);
        desk.pass(Duration::from_secs(1));
    }
    assert_eq!(desk.farewell(), None);
}

/// The same inputs give the same bytes, and no two connections the same key.
#[test]
fn keys_repeat_with_their_seed_and_with_nothing_else() {
    let first_words = |seed: u8| {
        let mut config = Config::new(Network::Regtest, [seed; 32]);
        config.discovery = None;
        config.peers = (0..3).map(|index| Endpoint::Address(peer_address(index))).collect();
        let mut desk = Desk::encrypting(config);
        for conn in desk.dialled.clone() {
            desk.connect(conn);
        }
        std::mem::take(&mut desk.sent).into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    let first = first_words(1);
    assert_eq!(first, first_words(1));
    let mut all = [first, first_words(2)].concat();
    assert_eq!(all.len(), 6);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6);
}
