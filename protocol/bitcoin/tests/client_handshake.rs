//! The handshake, what may go wrong with it, and how long a peer may be silent.

mod desk;

use std::time::Duration;

use andon_bitcoin::client::{Client, Command, Config, Endpoint, Event, Misbehaviour, Reason};
use andon_bitcoin::wire::{CommandName, FrameReader, Message, Version};
use andon_kernel::{
    Checked, Completion, Disconnect, Input, Instant, Machine, MemoryStore, Now, Outbox, Output, Store,
    UnixTime,
};
use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;
use desk::{Desk, MAGIC, frame, peer_address, services, version};

const fn name(text: &str) -> CommandName {
    CommandName::new(text)
}

#[test]
fn a_handshake_goes_as_bitcoin_core_wants_it() {
    let mut desk = Desk::new(1);
    let conn = desk.dialled[0];
    assert_eq!(desk.take_sent(), [""; 0], "nothing is said before the connection stands");
    desk.connect(conn);
    assert_eq!(desk.take_sent(), ["version"]);
    desk.receive(conn, &Message::Version(version(0)));
    assert_eq!(desk.take_sent(), ["wtxidrelay", "sendaddrv2", "verack"]);
    desk.receive(conn, &Message::WtxidRelay);
    desk.receive(conn, &Message::SendAddrV2);
    assert_eq!(desk.take_sent(), [""; 0]);
    desk.receive(conn, &Message::Verack);
    assert_eq!(desk.take_sent(), ["sendheaders", "getheaders 0"]);
    assert_eq!(desk.farewell(), None);
}

#[test]
fn a_handshake_that_goes_wrong_has_a_name() {
    let with = |change: fn(&mut Version<'_>)| {
        let mut version = version(0);
        change(&mut version);
        let mut bytes = Vec::new();
        Message::Version(version).write(&mut bytes, MAGIC);
        bytes
    };
    let mut long_agent = frame("version", &[0; 81]);
    long_agent.truncate(0);
    let mut payload = vec![0; 80];
    payload.extend([0xfd, 0x01, 0x01]);
    payload.extend([b'a'; 257]);
    long_agent.extend(frame("version", &payload));
    let mut wrong_sum = frame("version", &[0; 86]);
    wrong_sum[20] ^= 1;
    let table: Vec<(&str, Vec<u8>, Reason)> = vec![
        (
            "other network",
            vec![0xf9, 0xbe, 0xb4, 0xd9],
            Reason::Misbehaved(Misbehaviour::WrongNetwork([0xf9, 0xbe, 0xb4, 0xd9])),
        ),
        (
            "http",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Reason::Misbehaved(Misbehaviour::WrongNetwork(*b"HTTP")),
        ),
        (
            "a claim of 4 GiB",
            [MAGIC.as_slice(), b"version\0\0\0\0\0", &[0xff; 4], &[0; 4]].concat(),
            Reason::Misbehaved(Misbehaviour::MessageTooLong(u32::MAX)),
        ),
        (
            "one byte too long",
            [MAGIC.as_slice(), b"version\0\0\0\0\0", &4_000_001u32.to_le_bytes(), &[0; 4]].concat(),
            Reason::Misbehaved(Misbehaviour::MessageTooLong(4_000_001)),
        ),
        ("checksum", wrong_sum, Reason::Misbehaved(Misbehaviour::WrongChecksum(name("version")))),
        ("cut off", frame("version", &[0; 45]), Reason::Misbehaved(Misbehaviour::Malformed(name("version")))),
        ("user agent", long_agent, Reason::Misbehaved(Misbehaviour::Malformed(name("version")))),
        ("verack first", frame("verack", &[]), Reason::Misbehaved(Misbehaviour::OutOfTurn(name("verack")))),
        ("obsolete", with(|version| version.protocol = 70012), Reason::ObsoleteVersion(70012)),
        (
            "no filters",
            with(|version| version.services = ServiceFlags::NETWORK | ServiceFlags::WITNESS),
            Reason::MissingServices(ServiceFlags::COMPACT_FILTERS),
        ),
        (
            "no blocks",
            with(|version| version.services = ServiceFlags::COMPACT_FILTERS | ServiceFlags::WITNESS),
            Reason::MissingServices(ServiceFlags::NETWORK),
        ),
    ];
    for (what, bytes, expected) in table {
        for piece in [1, usize::MAX] {
            let mut desk = Desk::new(1);
            desk.piece = piece;
            let conn = desk.dialled[0];
            desk.connect(conn);
            desk.bytes(conn, &bytes);
            assert_eq!(desk.farewell(), Some(expected.clone()), "{what}");
            assert_eq!(desk.closed, [conn], "{what}");
        }
    }
    assert_eq!(services().to_u64(), 73);
}

#[test]
fn a_mirror_is_seen_through() {
    let mut desk = Desk::new(1);
    let conn = desk.dialled[0];
    desk.connect(conn);
    let own = std::mem::take(&mut desk.sent).remove(0).1;
    desk.bytes(conn, &own);
    assert_eq!(desk.farewell(), Some(Reason::SelfConnection));
}

/// It would say that both are of one client.
#[test]
fn the_nonce_of_another_connection_says_nothing() {
    let mut desk = Desk::new(2);
    let (first, second) = (desk.dialled[0], desk.dialled[1]);
    desk.connect(first);
    let of_the_first = std::mem::take(&mut desk.sent).remove(0).1;
    desk.connect(second);
    let of_the_second = std::mem::take(&mut desk.sent).remove(0).1;
    assert_ne!(of_the_first, of_the_second);
    desk.bytes(second, &of_the_first);
    // It is taken for what it says: a peer without services, which has nothing to do with the nonce.
    assert_eq!(desk.farewell(), Some(Reason::MissingServices(services())));
    let mut reader = FrameReader::new(desk::MAGIC);
    let mut rest = of_the_first.as_slice();
    let frame = reader.next(&mut rest).unwrap().unwrap();
    let Message::Version(said) = Message::decode(frame.command, frame.payload).unwrap() else { panic!() };
    let mut desk = Desk::new(2);
    let (first, second) = (desk.dialled[0], desk.dialled[1]);
    desk.connect(first);
    desk.connect(second);
    desk.receive(second, &Message::Version(Version { nonce: said.nonce, ..desk::version(0) }));
    assert_eq!(desk.farewell(), None);
}

#[test]
fn silence_has_its_limits() {
    let mut desk = Desk::new(1);
    let conn = desk.dialled[0];
    desk.connect(conn);
    desk.pass(Duration::from_secs(59));
    assert_eq!(desk.farewell(), None);
    desk.pass(Duration::from_secs(2));
    assert_eq!(desk.farewell(), Some(Reason::HandshakeTimeout));

    let mut desk = Desk::new(1);
    let conn = desk.dialled[0];
    desk.handshake(conn, 0);
    desk.pass(Duration::from_secs(121));
    assert_eq!(desk.farewell(), Some(Reason::HeadersTimeout));

    let (mut desk, conn) = Desk::with_headers(3);
    desk.give_filter_headers(conn, 0, 3);
    (0..=3).for_each(|height| desk.give_filter(conn, height));
    desk.take_sent();
    desk.pings.clear();
    desk.pass(Duration::from_secs(130));
    assert_eq!(desk.take_sent(), [""; 0]);
    assert_eq!(desk.pings.len(), 1);
    desk.receive(conn, &Message::Pong(1));
    desk.pass(Duration::from_secs(1190));
    assert_eq!(desk.farewell(), None);
    desk.pass(Duration::from_secs(60));
    assert_eq!(desk.farewell(), Some(Reason::PingTimeout));
}

#[test]
fn a_peer_that_closes_without_a_word_is_told_apart() {
    let mut desk = Desk::new(1);
    let conn = desk.dialled[0];
    desk.connect(conn);
    desk.disconnect(conn, Disconnect::ClosedByPeer);
    assert_eq!(desk.farewell(), Some(Reason::ClosedBeforeVersion));
    // It is tried again, later and later.
    for tries in 2..6 {
        desk.pass(Duration::from_millis(5100 << (tries - 2)));
        let conn = *desk.dialled.last().expect("it was dialled");
        assert_eq!(desk.dialled.len(), tries);
        desk.disconnect(conn, Disconnect::Refused);
        assert_eq!(desk.farewell(), Some(Reason::Connection(Disconnect::Refused)));
    }
}

/// A caller's durations can be anything; the contract with the driver holds all the same.
#[test]
fn durations_of_nothing_and_of_ages_do_no_harm() {
    for duration in [Duration::ZERO, Duration::MAX] {
        let mut config = Config::new(Network::Regtest, [1; 32]);
        config.discovery = None;
        config.peers = vec![Endpoint::Address(peer_address(0))];
        config.handshake_timeout = duration;
        config.stall_timeout = duration;
        config.ping_interval = duration;
        config.ping_timeout = duration;
        config.retry_delay = duration;
        let mut desk = Desk::with(config);
        let conn = desk.dialled[0];
        desk.handshake(conn, 20);
        let headers = desk.headers(1, 20);
        desk.receive(conn, &Message::Headers(headers.as_slice().into()));
        desk.pass(Duration::from_millis(50));
        let again = *desk.dialled.last().expect("it was dialled");
        desk.disconnect(again, Disconnect::Refused);
        desk.pass(Duration::from_millis(50));
        assert_eq!(desk.dialled.len() > 1, duration == Duration::ZERO);
    }
}

/// Peers can be given at any time; none is forgotten, dialled twice, or one too many.
#[test]
fn peers_are_given_before_and_after_the_start_is_over() {
    let address = |index| Endpoint::Address(peer_address(index));
    let mut config = Config::new(Network::Regtest, [1; 32]);
    config.discovery = None;
    config.peers = vec![address(0), address(1), address(0)];
    // By hand, so that a peer can be given while what is stored is being read.
    let mut client = Checked::new(Client::new(config));
    let mut out = Outbox::new();
    let now = Now { instant: Instant::ZERO, unix: UnixTime::from_secs(desk::BEGIN) };
    let mut store = MemoryStore::new();
    let mut dialled = Vec::new();
    let mut refused = 0;
    let mut inputs: Vec<Input<'_, Command>> = vec![Input::Start];
    inputs.push(Input::Command(Command::AddPeer(address(2))));
    let mut carry_out = |out: &mut Outbox<Event>, store: &mut MemoryStore| {
        while let Some(output) = out.pop() {
            match output {
                Output::Connect { addr, .. } => dialled.push(addr),
                Output::Load(scan) => store.load(scan).expect("memory"),
                Output::Store { ticket, batch } => {
                    store.store(ticket, batch).expect("memory");
                }
                Output::Event(Event::PeerDisconnected { reason, .. }) => {
                    assert_eq!(reason, Reason::TooManyPeers);
                    refused += 1;
                }
                _ => {}
            }
        }
    };
    for input in inputs {
        client.handle(now, input, &mut out);
        carry_out(&mut out, &mut store);
    }
    let more = (0..260).map(|index| Input::Command(Command::AddPeer(address(index))));
    while let Some(completion) = store.complete().expect("memory") {
        let input = match completion {
            Completion::Loaded { ticket, rows, more } => Input::Loaded { ticket, rows, more },
            Completion::Stored { ticket } => Input::Stored { ticket },
        };
        client.handle(now, input, &mut out);
        carry_out(&mut out, &mut store);
    }
    for input in more {
        client.handle(now, input, &mut out);
        carry_out(&mut out, &mut store);
    }
    assert_eq!((dialled.len(), refused), (256, 4));
    dialled.sort_unstable();
    dialled.dedup();
    assert_eq!(dialled.len(), 256);
    assert!(dialled.contains(&peer_address(2)));
}
