//! Frames and messages: what is written is read, in whatever pieces it comes; what is no message is an error.

use andon_bitcoin::wire::{
    CommandName, FilterRequest, FrameError, FrameReader, GetHeaders, Host, Inventory, MAX_PAYLOAD, Message,
    NodeAddress, Version, write_frame,
};
use andon_kernel::Rng;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{BlockHash, CompactTarget, FilterHash, FilterHeader, TxMerkleNode};

const MAGIC: [u8; 4] = [0xf9, 0xbe, 0xb4, 0xd9];

fn with_messages(test: impl Fn(&[Message<'_>])) {
    let hash = BlockHash::from_byte_array([1; 32]);
    let header = Header {
        version: bitcoin::block::Version::from_consensus(4),
        prev_blockhash: hash,
        merkle_root: TxMerkleNode::from_byte_array([2; 32]),
        time: 3,
        bits: CompactTarget::from_consensus(4),
        nonce: 5,
    };
    let headers = [header; 3];
    let hashes = [hash; 101];
    let filter_hashes = [FilterHash::from_byte_array([6; 32]); 300];
    let filter_headers = [FilterHeader::from_byte_array([7; 32]); 2];
    let inventory = [Inventory::block(2, hash), Inventory { kind: 5, hash: [9; 32] }];
    let request = FilterRequest { filter_type: 0, start_height: 77, stop_hash: hash };
    let address = |host| NodeAddress { time: 11, services: ServiceFlags::from(u64::MAX), host, port: 8333 };
    let ip4 = address(Host::Ip([203, 0, 113, 5].into()));
    let ip6 = address(Host::Ip([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()));
    let hidden = [
        address(Host::TorV3([1; 32])),
        address(Host::I2p([2; 32])),
        address(Host::Cjdns([0xfc00, 0, 0, 0, 0, 0, 0, 2].into())),
    ];
    let long = vec![8; 70_000];
    let version = Version {
        protocol: 70016,
        services: ServiceFlags::NETWORK,
        time: -5,
        nonce: 6,
        user_agent: b"/me/",
        start_height: -1,
        relay: false,
    };
    test(&[
        Message::Addr(vec![ip4, ip6]),
        Message::AddrV2([[ip4, ip6].as_slice(), &hidden].concat()),
        Message::Block(&long),
        Message::CFCheckpt {
            filter_type: 0,
            stop_hash: hash,
            filter_headers: filter_headers.as_slice().into(),
        },
        Message::CFHeaders {
            filter_type: 0,
            stop_hash: hash,
            previous_filter_header: filter_headers[0],
            filter_hashes: filter_hashes.as_slice().into(),
        },
        Message::CFilter { filter_type: 0, block_hash: hash, filter: &long[..300] },
        Message::FeeFilter(1000),
        Message::GetAddr,
        Message::GetCFCheckpt { filter_type: 0, stop_hash: hash },
        Message::GetCFHeaders(request),
        Message::GetCFilters(request),
        Message::GetData(inventory.as_slice().into()),
        Message::GetHeaders(GetHeaders { locator: hashes.as_slice().into(), stop_hash: hash }),
        Message::Headers(headers.as_slice().into()),
        Message::Inv(inventory.as_slice().into()),
        Message::NotFound([].as_slice().into()),
        Message::Ping(1),
        Message::Pong(2),
        Message::SendAddrV2,
        Message::SendCmpct { high_bandwidth: true, version: 2 },
        Message::SendHeaders,
        Message::Tx(&long[..100]),
        Message::Verack,
        Message::Version(version),
        Message::WtxidRelay,
        Message::Other(CommandName::new("twelve_bytes"), &[1, 2, 3]),
    ]);
}

#[test]
fn what_is_written_is_read_in_any_pieces() {
    with_messages(|messages| {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| message.write(&mut bytes, MAGIC));
        let mut rng = Rng::new([5; 32]);
        for round in 0..20 {
            let mut reader = FrameReader::new(MAGIC);
            let mut count = 0;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let length = match round {
                    0 => 1,
                    1 => rest.len(),
                    _ => rng.below(200_000) as usize + 1,
                };
                let (mut piece, after) = rest.split_at(length.min(rest.len()));
                rest = after;
                while let Some(frame) = reader.next(&mut piece).unwrap() {
                    let message = Message::decode(frame.command, frame.payload).unwrap();
                    assert_eq!(message, messages[count]);
                    assert_eq!(message.command(), messages[count].command());
                    count += 1;
                }
            }
            assert_eq!((count, reader.pending()), (messages.len(), 0));
        }
    });
}

#[test]
fn what_is_cut_short_is_no_message() {
    with_messages(|messages| {
        for message in messages {
            let mut bytes = Vec::new();
            message.write(&mut bytes, MAGIC);
            let payload = &bytes[24..];
            let opaque = matches!(message, Message::Block(_) | Message::Tx(_) | Message::Other(..));
            // What may be missing from a version: all behind the receiver's address, or behind a field.
            let optional =
                |length: usize| matches!(message, Message::Version(_)) && [46, 80, 85, 89].contains(&length);
            for length in (0..payload.len().min(2000)).filter(|&length| !opaque && !optional(length)) {
                let read = Message::decode(message.command(), &payload[..length]);
                assert!(read.is_err(), "{} with {length} bytes of {}", message.command(), payload.len());
            }
            let longer = [payload, &[0; 5]].concat();
            assert!(Message::decode(message.command(), &longer).is_ok(), "{}", message.command());
        }
    });
}

#[test]
fn any_bytes_are_a_message_or_an_error() {
    let mut rng = Rng::new([6; 32]);
    with_messages(|messages| {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| message.write(&mut bytes, MAGIC));
        assert!(!bytes.is_empty());
    });
    let names =
        ["addr", "addrv2", "cfcheckpt", "cfheaders", "cfilter", "headers", "inv", "getheaders", "version"];
    for _ in 0..20_000 {
        let mut payload = vec![0; rng.below(200) as usize];
        rng.fill(&mut payload);
        let name = CommandName::new(names[rng.below(names.len() as u64) as usize]);
        if let Ok(message) = Message::decode(name, &payload) {
            // What was taken for a message can be written and is the same when it is read again.
            let mut bytes = Vec::new();
            message.write(&mut bytes, MAGIC);
            assert_eq!(Message::decode(name, &bytes[24..]).as_ref(), Ok(&message));
        }
    }
}

#[test]
fn frames_that_are_none() {
    let mut good = Vec::new();
    Message::Ping(1).write(&mut good, MAGIC);
    let mut other = good.clone();
    other[3] ^= 1;
    let mut long = good.clone();
    long[16..20].copy_from_slice(&(MAX_PAYLOAD + 1).to_le_bytes());
    let mut sum = good.clone();
    sum[23] ^= 1;
    let wrong = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3] ^ 1];
    let table = [
        (other, FrameError::WrongMagic(wrong)),
        (long, FrameError::TooLong(MAX_PAYLOAD + 1)),
        (sum, FrameError::WrongChecksum(CommandName::new("ping"))),
    ];
    for (bytes, expected) in table {
        for piece in [1, bytes.len()] {
            let mut reader = FrameReader::new(MAGIC);
            let found = bytes.chunks(piece).find_map(|mut chunk| reader.next(&mut chunk).err());
            assert_eq!(found, Some(expected));
        }
    }
    // After a wrong checksum the next frame can be read.
    let mut sum = good.clone();
    sum[23] ^= 1;
    let both = [sum, good].concat();
    let mut reader = FrameReader::new(MAGIC);
    let mut rest = both.as_slice();
    assert!(reader.next(&mut rest).is_err());
    assert!(reader.next(&mut rest).unwrap().is_some());
}

#[test]
fn a_claim_of_a_length_takes_no_memory() {
    let mut frame = Vec::new();
    write_frame(&mut frame, MAGIC, CommandName::new("block"), |out| out.resize(out.len() + 4_000_000, 0));
    let mut reader = FrameReader::new(MAGIC);
    for (count, mut chunk) in frame.chunks(1000).take(100).enumerate() {
        assert_eq!(reader.next(&mut chunk), Ok(None));
        assert_eq!(reader.pending(), (count + 1) * 1000, "it holds what came and no more");
    }
}

#[test]
fn a_name_from_a_peer_does_no_harm_to_a_terminal() {
    assert_eq!(CommandName::from_bytes(*b"\x1b[31mred\0\0\0\0").to_string(), "?[31mred");
    assert_eq!(CommandName::from_bytes(*b"a\0b\0\0\0\0\0\0\0\0\0").to_string(), "a?b");
    assert_eq!(CommandName::new("cfcheckpt").to_string(), "cfcheckpt");
}
