//! The transport: what is written on one side is read on the other, in whatever pieces it comes and whoever wrote the other
//! side; what is no transport of ours has a name; nothing grows by what a peer claims.

#[path = "transport/pair.rs"]
mod pair;
#[path = "transport/theirs.rs"]
mod theirs;

use andon_bitcoin::transport::{Incoming, Shape, TransportError, TransportVersion, initiate, respond};
use andon_bitcoin::wire::{CommandName, FrameError, Message};
use andon_kernel::Rng;
use pair::{MAGIC, Side, by, exchange, named, pair, quiet, shaped};

/// In pieces of each of these sizes; zero is any size, drawn anew for each.
const PIECES: [usize; 5] = [1, 7, 1000, 0, usize::MAX];

#[test]
fn both_sides_agree_whatever_the_pieces_and_the_garbage() {
    for (round, garbage) in [0..=0, 4095..=4095, 0..=4095, 1..=1, 15..=17].into_iter().enumerate() {
        for decoys in [None, Some(0), Some(3000)] {
            for piece in PIECES {
                let shape = Shape { garbage: garbage.clone(), decoys };
                let (mut ours, mut theirs) = pair(round as u64, shape);
                exchange(&mut ours, &mut theirs, piece);
                assert_eq!(ours.version(), Some(TransportVersion::V2));
                assert_eq!(theirs.version(), Some(TransportVersion::V2));
                let block = vec![7; 70_000];
                let messages = [
                    Message::Verack,
                    Message::Ping(5),
                    Message::Block(&block),
                    Message::Other(CommandName::new("twelve_bytes"), &[1, 2, 3]),
                    Message::GetAddr,
                ];
                for message in &messages {
                    ours.write(message);
                    theirs.write(message);
                }
                exchange(&mut ours, &mut theirs, piece);
                let expected: Vec<_> = messages.iter().map(named).collect();
                assert_eq!(ours.read, expected, "{garbage:?} {decoys:?} in pieces of {piece}");
                assert_eq!(theirs.read, expected);
                assert_eq!((ours.pending(), theirs.pending()), (0, 0));
                // The version packet counts as passed over, as decoys do.
                assert_eq!(ours.passed_over > 1000, decoys == Some(3000));
            }
        }
    }
}

/// Twenty times the packets that one key is used for, in both directions, some of them decoys.
#[test]
fn keys_change_and_nobody_notices() {
    let (mut ours, mut theirs) = pair(1, quiet());
    exchange(&mut ours, &mut theirs, 0);
    let mut rng = Rng::new([8; 32]);
    let mut expected = Vec::new();
    for number in 0..4480 {
        let length = rng.below(40) as usize;
        if rng.below(3) == 0 {
            theirs.decoy(length);
        }
        let payload = vec![number as u8; length];
        let message = Message::Tx(&payload);
        theirs.write(&message);
        ours.write(&Message::Pong(number));
        expected.push(named(&message));
    }
    exchange(&mut ours, &mut theirs, 0);
    assert_eq!(ours.read, expected);
    assert_eq!(theirs.read.len(), 4480);
    assert!(theirs.read.iter().zip(0..).all(|(read, number)| *read == named(&Message::Pong(number))));
}

/// A message that came whole is opened in the bytes that were lent, and one in pieces takes the memory of what came.
#[test]
fn nothing_is_copied_and_nothing_grows_by_a_claim() {
    let (mut ours, mut theirs) = pair(2, quiet());
    exchange(&mut ours, &mut theirs, 0);
    let payload = vec![9; 3_999_999];
    theirs.write(&Message::Block(&payload));
    let mut bytes = std::mem::take(&mut theirs.sent);
    let lent = bytes.as_ptr_range();
    let mut incoming = Incoming::new(&mut bytes);
    let frame = ours.reader.next(&mut incoming).unwrap().unwrap();
    assert!(lent.contains(&frame.payload.as_ptr()), "it lies where it came");
    assert_eq!(frame.payload, payload);
    assert!(ours.reader.next(&mut incoming).unwrap().is_none());
    // The beginning of another that claims as much.
    theirs.write(&Message::Block(&payload));
    let mut bytes = std::mem::take(&mut theirs.sent);
    ours.receive(&mut bytes[..100]);
    assert_eq!(ours.pending(), 97, "its length has been read");
}

#[test]
fn version_1_is_told_by_its_first_bytes() {
    for piece in PIECES {
        let mut theirs = Side::unencrypted();
        let mut ours = Side::new(respond(MAGIC, by(3), Shape::default()), Vec::new());
        theirs.write(&Message::Version(pair::version()));
        theirs.write(&Message::Verack);
        exchange(&mut ours, &mut theirs, piece);
        assert_eq!(ours.version(), Some(TransportVersion::V1));
        assert_eq!(ours.read, [named(&Message::Version(pair::version())), named(&Message::Verack)]);
        ours.write(&Message::Verack);
        exchange(&mut ours, &mut theirs, piece);
        assert_eq!(theirs.read, [named(&Message::Verack)]);
    }
    // A responder says nothing until it knows, and then at once.
    let mut ours = Side::new(respond(MAGIC, by(3), Shape::default()), Vec::new());
    let mut begin = [MAGIC.as_slice(), b"version\0\0\0\0\x01"].concat();
    ours.receive(&mut begin[..15]);
    assert_eq!((ours.sent.len(), ours.pending(), ours.version()), (0, 15, None));
    ours.receive(&mut begin[15..]);
    assert!((64..=64 + 4095).contains(&ours.sent.len()));
    assert_eq!(ours.version(), None);
}

#[test]
fn what_goes_wrong_has_a_name() {
    let other = [0xf9, 0xbe, 0xb4, 0xd9];
    let version = |magic: [u8; 4]| [&magic[..], b"version\0\0\0\0\0", &[0; 60]].concat();
    let table: Vec<(&str, Vec<u8>, TransportError)> = vec![
        ("another network", version(other), FrameError::WrongMagic(other).into()),
        ("an unencrypted answer", version(MAGIC), TransportError::Unencrypted),
        ("no end of the garbage", vec![0x55; 64 + 4095 + 16], TransportError::NoTerminator),
    ];
    for (what, bytes, error) in table {
        for piece in PIECES {
            let mut sent = Vec::new();
            let halves = initiate(MAGIC, by(4), quiet(), &mut sent);
            let mut ours = Side::new(halves, sent);
            assert_eq!(ours.receive_in(&bytes, piece), Some(error), "{what} in pieces of {piece}");
            let mut sent = Vec::new();
            let halves = initiate(MAGIC, by(4), quiet(), &mut sent);
            let mut ours = Side::new(halves, sent);
            let most = if bytes.len() > 76 { bytes.len() } else { 16 };
            assert_eq!(ours.receive_in(&bytes[..most - 1], piece), None, "{what}, one byte less");
        }
    }
    // A mirror.
    let mut sent = Vec::new();
    let mut ours = Side::new(initiate(MAGIC, by(5), quiet(), &mut sent), Vec::new());
    assert_eq!(ours.receive_in(&sent, 0), Some(TransportError::OwnKey));
    // The other side's keys are of another network, so neither finds the other's terminator.
    let mut sent = Vec::new();
    let mut ours = Side::new(initiate(MAGIC, by(6), shaped(4095), &mut sent), Vec::new());
    let mut theirs = Side::new(respond(other, by(7), shaped(4095)), Vec::new());
    assert_eq!(theirs.receive_in(&sent, 0), None, "a terminator may still come");
    let answer = std::mem::take(&mut theirs.sent);
    assert_eq!(ours.receive_in(&answer, 0), Some(TransportError::NoTerminator));
}

/// Each bit of a packet, of its tag, and of the garbage that it vouches for counts.
#[test]
fn what_was_changed_is_not_read() {
    let prepared = || {
        let (mut ours, mut theirs) = pair(9, shaped(20));
        let opening = std::mem::take(&mut ours.sent);
        assert_eq!(theirs.receive_in(&opening, 0), None);
        (ours, theirs)
    };
    // The key, the garbage, the terminator, the version packet.
    let (_, theirs) = prepared();
    assert_eq!(theirs.sent.len(), 64 + 20 + 16 + 20);
    for place in 64..theirs.sent.len() {
        let (mut ours, mut theirs) = prepared();
        theirs.sent[place] ^= 1 << (place % 8);
        // Behind it more than garbage may be; and for another length than was sent, more than any length that may be.
        let mut bytes = std::mem::take(&mut theirs.sent);
        let of_the_length = (100..103).contains(&place);
        bytes.resize(bytes.len() + if of_the_length { 4_100_000 } else { 5000 }, 0);
        let error = ours.receive_in(&bytes, usize::MAX).expect("it is not read");
        match place {
            84..100 => assert_eq!(error, TransportError::NoTerminator, "byte {place}"),
            _ if of_the_length && matches!(error, TransportError::Frame(FrameError::TooLong(_))) => {}
            _ => assert_eq!(error, TransportError::Forged, "byte {place}"),
        }
    }
}

/// What a packet may claim, at the edge.
#[test]
fn lengths_are_bounded() {
    let (mut ours, mut theirs) = pair(10, quiet());
    exchange(&mut ours, &mut theirs, 0);
    theirs.decoy(4_000_013);
    exchange(&mut ours, &mut theirs, 65_536);
    assert_eq!(ours.passed_over - 4_000_013, 20 + 20, "the decoy's frame, and the version packet");
    // The length is encrypted by a stream: flipping its bits makes another of it.
    theirs.decoy(4_000_013);
    let mut bytes = std::mem::take(&mut theirs.sent);
    let changed = (4_000_013u32 ^ 4_000_014).to_le_bytes();
    bytes.iter_mut().zip(&changed[..3]).for_each(|(byte, change)| *byte ^= change);
    let error = FrameError::TooLong(4_000_014).into();
    assert_eq!(ours.receive_in(&bytes[..3], 1), Some(error), "its length alone says so");
}

/// A message without a name is passed over, as Bitcoin Core does, and counted.
#[test]
fn names_are_short_long_or_none() {
    let (mut ours, mut theirs) = pair(11, quiet());
    exchange(&mut ours, &mut theirs, 0);
    let before = ours.passed_over;
    // What is written under a long name of these bytes is read under it, or passed over.
    let table: [(&[u8; 12], bool); 6] = [
        (b"anything\0\0\0\0", true),
        (b"all of these", true),
        (b"ping\0\0\0\0\0\0\0\0", true),
        (b"a\0b\0\0\0\0\0\0\0\0\0", false),
        (b"\x01bad\0\0\0\0\0\0\0\0", false),
        (b"\xffbad\0\0\0\0\0\0\0\0", false),
    ];
    let mut expected = Vec::new();
    let mut passed_over = 0;
    for (name, known) in table {
        let command = CommandName::from_bytes(*name);
        theirs.write(&Message::Other(command, &[1; 8]));
        match known {
            true => expected.push((command, vec![1; 8])),
            false => passed_over += 20 + 13 + 8,
        }
    }
    exchange(&mut ours, &mut theirs, 1);
    assert_eq!(ours.read, expected);
    assert_eq!(ours.passed_over - before, passed_over);
}

/// Whatever comes, in whatever pieces, ends in an error with a name or in waiting, and what is kept meanwhile is bounded.
#[test]
fn anything_may_come() {
    let mut rng = Rng::new([6; 32]);
    for round in 0..600 {
        let mut sent = Vec::new();
        let halves = match round % 3 {
            0 => initiate(MAGIC, by(round), Shape::default(), &mut sent),
            1 => respond(MAGIC, by(round), Shape::default()),
            // One that has shaken hands.
            _ => {
                let (mut ours, mut theirs) = pair(round, quiet());
                exchange(&mut ours, &mut theirs, 0);
                (ours.reader, ours.writer)
            }
        };
        let mut side = Side::new(halves, sent);
        let mut bytes = vec![0; rng.below(9000) as usize + 1];
        rng.fill(&mut bytes);
        if rng.below(2) == 0 {
            let prefix = [MAGIC.as_slice(), b"version\0\0\0\0\0"].concat();
            let length = (rng.below(17) as usize).min(bytes.len());
            bytes[..length].copy_from_slice(&prefix[..length]);
        }
        let error = side.receive_in(&bytes, rng.below(300) as usize);
        assert!(side.pending() <= bytes.len(), "{error:?}");
        assert!(side.read.is_empty(), "nothing of it is a message");
    }
}
