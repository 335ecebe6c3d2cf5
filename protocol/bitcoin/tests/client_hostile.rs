//! What a peer may send that it should not, or leave out, and what comes of it: a named disconnect, or patience.

mod desk;

use std::time::Duration;

use andon_bitcoin::client::{Event, HeaderError, Misbehaviour, Reason};
use andon_bitcoin::filter;
use andon_bitcoin::wire::{CommandName, FILTER_TYPE_BASIC, INV_BLOCK, Inventory, Message};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, FilterHash, FilterHeader};
use desk::{Desk, frame, version};

fn misbehaved(misbehaviour: Misbehaviour) -> Option<Reason> {
    Some(Reason::Misbehaved(misbehaviour))
}

const fn name(text: &str) -> CommandName {
    CommandName::new(text)
}

/// Bytes that a peer may send unasked at once, and what a message weighs besides its contents.
const ALLOWANCE: usize = 4_000_000;
const MESSAGE_WEIGHT: usize = 96;
/// What the handshake weighs: a `version` of 94 bytes, and a `verack`.
const HANDSHAKE: usize = 94 + 2 * MESSAGE_WEIGHT;

/// Which message of such a weight is too many, if all come in no time and none is an answer.
const fn flood_of(weight: usize) -> usize {
    (ALLOWANCE - HANDSHAKE) / weight + 1
}

#[test]
fn headers_that_break_a_rule() {
    let honest = Desk::new(1).headers(1, 20);
    let mut hard = honest[0];
    hard.bits = CompactTarget::from_consensus(0x1d00_ffff);
    let mut no_work = honest[0];
    while bitcoin::Target::from_compact(no_work.bits).is_met_by(no_work.block_hash()) {
        no_work.nonce += 1;
    }
    let mut old = honest[0];
    old.time = 1_296_688_602;
    while !bitcoin::Target::from_compact(old.bits).is_met_by(old.block_hash()) {
        old.nonce += 1;
    }
    let many: Vec<_> = honest.iter().copied().cycle().take(2001).collect();
    let table = vec![
        ("2001 of them", many, Misbehaviour::TooManyHeaders, 1),
        ("a gap", vec![honest[0], honest[2]], Misbehaviour::HeadersDiscontinuous, 1),
        // Of unknown parents, and so few that they may be news ahead of the answer that is awaited: 128 for each header.
        ("in reverse", vec![honest[1], honest[0]], Misbehaviour::Flooding, flood_of(2 * 128)),
        ("other difficulty", vec![hard], Misbehaviour::InvalidHeader(HeaderError::Difficulty), 1),
        ("no work", vec![no_work], Misbehaviour::InvalidHeader(HeaderError::ProofOfWork), 1),
        ("not after the median time", vec![old], Misbehaviour::InvalidHeader(HeaderError::TimeTooEarly), 1),
    ];
    for (what, headers, expected, messages) in table {
        let mut desk = Desk::new(1);
        let conn = desk.dialled[0];
        desk.handshake(conn, 20);
        for count in 1..=messages {
            assert!(desk.closed.is_empty(), "{what}: before message {count}");
            desk.receive(conn, &Message::Headers(headers.as_slice().into()));
        }
        assert_eq!(desk.farewell(), misbehaved(expected), "{what}");
    }
}

#[test]
fn a_header_from_the_future_waits() {
    let mut desk = Desk::new(1);
    let conn = desk.dialled[0];
    desk.handshake(conn, 1);
    let mut header = desk.headers(1, 1)[0];
    header.time = desk::BEGIN as u32 + 2 * 60 * 60 + 60;
    while !bitcoin::Target::from_compact(header.bits).is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    desk.receive(conn, &Message::Headers([header].as_slice().into()));
    assert_eq!(desk.farewell(), None);
    assert!(!desk.is_synced());
    desk.take_sent();
    // It is asked for again, and has its time then.
    desk.pass(Duration::from_secs(90));
    assert!(desk.take_sent().contains(&"getheaders 0".to_string()));
    desk.receive(conn, &Message::Headers([header].as_slice().into()));
    assert_eq!(desk.farewell(), None);
    assert_eq!(desk.take_sent(), ["getcfheaders 0..=?", "getcfilters 0..=?"]);
}

#[test]
fn answers_that_nobody_asked_for() {
    let none: [Inventory; 0] = [];
    let block = Desk::new(1).fixture.chain[5];
    let filter =
        Message::CFilter { filter_type: FILTER_TYPE_BASIC, block_hash: block.hash(), filter: block.filter };
    let filter_headers = Message::CFHeaders {
        filter_type: FILTER_TYPE_BASIC,
        stop_hash: block.hash(),
        previous_filter_header: FilterHeader::all_zeros(),
        filter_hashes: [].as_slice().into(),
    };
    let checkpoints = Message::CFCheckpt {
        filter_type: FILTER_TYPE_BASIC,
        stop_hash: block.hash(),
        filter_headers: [].as_slice().into(),
    };
    let table = [
        (filter, Some(Misbehaviour::Unrequested(name("cfilter")))),
        (filter_headers, Some(Misbehaviour::Unrequested(name("cfheaders")))),
        (checkpoints, Some(Misbehaviour::Unrequested(name("cfcheckpt")))),
        (Message::Block(block.bytes), Some(Misbehaviour::Unrequested(name("block")))),
        (Message::Version(version(0)), Some(Misbehaviour::OutOfTurn(name("version")))),
        // These do no harm.
        (Message::Verack, None),
        (Message::Pong(5), None),
        (Message::NotFound(none.as_slice().into()), None),
        (Message::SendCmpct { high_bandwidth: true, version: 2 }, None),
        (Message::FeeFilter(1000), None),
        (Message::Other(name("whatsthis"), &[1, 2, 3]), None),
        (Message::Tx(&[1]), None),
    ];
    for (message, expected) in table {
        let mut desk = Desk::new(1);
        let conn = desk.dialled[0];
        desk.handshake(conn, 0);
        desk.receive(conn, &message);
        assert_eq!(desk.farewell(), expected.and_then(misbehaved), "{:?}", message.command());
    }
}

#[test]
fn filter_headers_that_do_not_fit() {
    let (desk, _) = Desk::with_headers(20);
    let hashes = desk.filter_hashes(0, 20);
    let (stop, other) = (desk.hash(20), desk.hash(19));
    let zero = FilterHeader::all_zeros();
    let message = |filter_type, stop_hash, previous, hashes: &'static [FilterHash]| Message::CFHeaders {
        filter_type,
        stop_hash,
        previous_filter_header: previous,
        filter_hashes: hashes.into(),
    };
    let hashes: &'static [FilterHash] = hashes.leak();
    let cfheaders = name("cfheaders");
    let table = [
        ("other type", message(1, stop, zero, hashes), Misbehaviour::WrongAnswer(cfheaders)),
        ("other stop", message(0, other, zero, &hashes[..20]), Misbehaviour::WrongAnswer(cfheaders)),
        ("too few", message(0, stop, zero, &hashes[..20]), Misbehaviour::WrongAnswer(cfheaders)),
        ("none", message(0, stop, zero, &[]), Misbehaviour::WrongAnswer(cfheaders)),
        (
            "other start",
            message(0, stop, FilterHeader::from_byte_array([1; 32]), hashes),
            Misbehaviour::FilterHeadersDiscontinuous,
        ),
    ];
    for (what, message, expected) in table {
        let (mut desk, conn) = Desk::with_headers(20);
        desk.receive(conn, &message);
        assert_eq!(desk.farewell(), misbehaved(expected), "{what}");
    }
    let (mut desk, conn) = Desk::with_filter_headers(20);
    assert_eq!(desk.farewell(), None);
    desk.give_filter_headers(conn, 0, 20);
    assert_eq!(desk.farewell(), misbehaved(Misbehaviour::Unrequested(cfheaders)), "twice");
}

#[test]
fn filters_in_any_order_and_each_once() {
    let (mut desk, conn) = Desk::with_filter_headers(20);
    assert_eq!(desk.take_sent().last().map(String::as_str), Some("getcfilters 0..=20"));
    for height in (0..=20).rev() {
        assert!(!desk.is_synced());
        desk.give_filter(conn, height);
    }
    assert!(desk.is_synced(), "{:?}", desk.events);

    let (mut desk, conn) = Desk::with_filter_headers(20);
    desk.give_filter(conn, 7);
    desk.give_filter(conn, 7);
    assert_eq!(desk.farewell(), misbehaved(Misbehaviour::Unrequested(name("cfilter"))));
}

#[test]
fn filters_that_lie() {
    let (mut desk, conn) = Desk::with_filter_headers(20);
    let block_hash = desk.hash(3);
    let mut bytes = desk.fixture.chain[3].filter.to_vec();
    *bytes.last_mut().expect("a filter is not empty") ^= 1;
    desk.receive(conn, &Message::CFilter { filter_type: FILTER_TYPE_BASIC, block_hash, filter: &bytes });
    assert_eq!(desk.farewell(), misbehaved(Misbehaviour::WrongFilter));

    let (mut desk, conn) = Desk::with_filter_headers(20);
    let block = desk.fixture.chain[3];
    desk.receive(conn, &Message::CFilter { filter_type: 1, block_hash, filter: block.filter });
    assert_eq!(desk.farewell(), misbehaved(Misbehaviour::WrongAnswer(name("cfilter"))));
}

/// A peer that makes filter headers up can make them fit any filter: claims of up to 2^64-1 elements, bits that end.
#[test]
fn filters_that_fit_their_headers_and_are_none() {
    let hostile: [&[u8]; 6] = [
        &[],
        &[0xff; 9],
        &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xfd, 0xff, 0xff, 0xff, 0xff],
        &[0x10, 0xff, 0xff, 0xff],
        &[0x01],
    ];
    for bytes in hostile {
        for piece in [1, usize::MAX] {
            let (mut desk, conn) = Desk::with_headers(3);
            desk.piece = piece;
            let hashes = [filter::hash(bytes); 4];
            desk.receive(
                conn,
                &Message::CFHeaders {
                    filter_type: FILTER_TYPE_BASIC,
                    stop_hash: desk.hash(3),
                    previous_filter_header: FilterHeader::all_zeros(),
                    filter_hashes: hashes.as_slice().into(),
                },
            );
            let block_hash = desk.hash(0);
            desk.receive(
                conn,
                &Message::CFilter { filter_type: FILTER_TYPE_BASIC, block_hash, filter: bytes },
            );
            assert_eq!(desk.farewell(), misbehaved(Misbehaviour::UndecodableFilter), "{bytes:02x?}");
        }
    }
}

#[test]
fn a_filter_left_out_is_noticed_and_asked_of_another() {
    let mut desk = Desk::new(2);
    let (first, second) = (desk.dialled[0], desk.dialled[1]);
    desk.handshake(first, 20);
    let headers = desk.headers(1, 20);
    desk.receive(first, &Message::Headers(headers.as_slice().into()));
    desk.give_filter_headers(first, 0, 20);
    (0..=20).filter(|height| *height != 11).for_each(|height| desk.give_filter(first, height));
    desk.handshake(second, 20);
    let tip = desk.headers(20, 20);
    desk.receive(second, &Message::Headers(tip.as_slice().into()));
    // It is asked for no filter before it has named the same filter headers.
    desk.give_filter_headers(second, 20, 20);
    assert!(!desk.is_synced());
    desk.take_sent();
    desk.pass(Duration::from_secs(45));
    let sent = desk.take_sent();
    assert!(sent.contains(&"getcfilters 11..=11".to_string()), "{sent:?}");
    assert_eq!(desk.farewell(), None, "an index may lag: it is no fault");
    // What comes late is no fault either.
    desk.give_filter(first, 11);
    assert_eq!(desk.farewell(), None);
    desk.give_filter(second, 11);
    assert!(desk.is_synced());
}

/// Bitcoin Core says nothing when its index has not come that far; but it answers the ping behind the request.
#[test]
fn silence_before_a_pong_is_an_answer() {
    let (mut desk, conn) = Desk::with_headers(20);
    assert_eq!(desk.take_sent().last().map(String::as_str), Some("getcfheaders 0..=20"));
    for seconds in [1, 2, 4, 8, 16, 32, 32] {
        let nonce = desk.pings.pop().expect("a ping is sent behind the request");
        desk.receive(conn, &Message::Pong(nonce));
        desk.pass(Duration::from_millis(seconds * 1000 - 1));
        assert_eq!(desk.take_sent(), [""; 0], "before {seconds} seconds are over");
        desk.pass(Duration::from_millis(1));
        assert_eq!(desk.take_sent(), ["getcfheaders 0..=20"]);
    }
    desk.give_filter_headers(conn, 0, 20);
    assert_eq!(desk.take_sent(), ["getcfilters 0..=20"]);
    // What was given up may still come, seven times: each is passed over.
    for _ in 0..7 {
        desk.give_filter_headers(conn, 0, 20);
    }
    assert_eq!(desk.farewell(), None);
    let nonce = desk.pings.pop().expect("a ping is sent behind the request");
    desk.give_filter(conn, 0);
    desk.receive(conn, &Message::Pong(nonce));
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.take_sent(), ["getcfilters 1..=20"], "those that were left out are asked for again");
    [1, 2, 4, 6, 7].into_iter().for_each(|height| desk.give_filter(conn, height));
    let nonce = desk.pings.pop().expect("a ping is sent behind the request");
    desk.receive(conn, &Message::Pong(nonce));
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.take_sent(), ["getcfilters 3..=20"]);
    // Those among them that had come are no fault, once.
    (3..=20).for_each(|height| desk.give_filter(conn, height));
    assert!(desk.is_synced());
    assert_eq!(desk.farewell(), None);
}

#[test]
fn blocks_that_lie() {
    let matching = Desk::new(1).fixture.expected[0].height;
    let sync = || {
        let (mut desk, conn) = Desk::with_filter_headers(matching);
        (0..=matching).for_each(|height| desk.give_filter(conn, height));
        let sent = desk.take_sent();
        let last = sent.last().cloned().unwrap_or_default();
        assert!(last.starts_with("getdata") && last.contains(&matching.to_string()), "{sent:?}");
        (desk, conn)
    };
    let (desk, _) = sync();
    let honest = desk.fixture.chain[matching as usize];
    let mut changed = honest.bytes.to_vec();
    let last = changed.len() - 6;
    changed[last] ^= 1;
    let mut longer = honest.bytes.to_vec();
    longer.push(0);
    let shorter = honest.bytes[..honest.bytes.len() - 1].to_vec();
    for (what, bytes) in [("changed", changed), ("longer", longer), ("shorter", shorter)] {
        let (mut desk, conn) = sync();
        desk.receive(conn, &Message::Block(&bytes));
        assert_eq!(desk.farewell(), misbehaved(Misbehaviour::WrongBlock), "{what}");
        assert!(!desk.is_synced());
    }
    let (mut desk, conn) = sync();
    desk.receive(conn, &Message::Block(&[1, 2, 3]));
    assert_eq!(desk.farewell(), misbehaved(Misbehaviour::Malformed(name("block"))));
    let (mut desk, conn) = sync();
    desk.give_block(conn, matching);
    desk.give_block(conn, matching);
    assert_eq!(desk.farewell(), misbehaved(Misbehaviour::Unrequested(name("block"))), "twice");
    assert!(desk.events.iter().any(|event| matches!(event, Event::Touched(_))));
}

/// Filters and blocks are not held against their checksum, unless something is wrong with them.
#[test]
fn what_changed_on_its_way_is_told_from_what_was_sent_so() {
    let matching = Desk::new(1).fixture.expected[0].height;
    for at in [24, 30, 60, 70] {
        for sound in [false, true] {
            let (mut desk, conn) = Desk::with_filter_headers(matching);
            let block = desk.fixture.chain[0];
            let mut filter = frame(
                "cfilter",
                &[&[0], &block.hash()[..], &[block.filter.len() as u8], block.filter].concat(),
            );
            let Some(byte) = filter.get_mut(at) else { continue };
            *byte ^= 1;
            if sound {
                filter = frame("cfilter", &filter[24..]);
            }
            desk.bytes(conn, &filter);
            let checksum = misbehaved(Misbehaviour::WrongChecksum(name("cfilter")));
            assert_eq!(desk.farewell() == checksum, !sound, "{at}: {:?}", desk.farewell());
            assert!(desk.farewell().is_some());
        }
    }
    let (mut desk, conn) = Desk::with_filter_headers(matching);
    (0..=matching).for_each(|height| desk.give_filter(conn, height));
    let mut bytes = frame("block", desk.fixture.chain[matching as usize].bytes);
    let last = bytes.len() - 6;
    bytes[last] ^= 1;
    desk.bytes(conn, &bytes);
    assert_eq!(desk.farewell(), misbehaved(Misbehaviour::WrongChecksum(name("block"))));
}

#[test]
fn counts_and_lengths_are_never_allocated() {
    let claims: [&[u8]; 3] = [&[0xfe, 0, 0, 0, 1], &[0xfe, 0xff, 0xff, 0xff, 0xff], &[0xff; 9]];
    for command in ["headers", "inv", "notfound", "addr", "addrv2", "getdata"] {
        for claim in claims {
            let mut desk = Desk::new(1);
            let conn = desk.dialled[0];
            desk.handshake(conn, 0);
            desk.bytes(conn, &frame(command, claim));
            let expected = misbehaved(Misbehaviour::Malformed(name(command)));
            assert_eq!(desk.farewell(), expected, "{command} {claim:02x?}");
        }
    }
    for (command, before) in [("cfheaders", 65), ("cfilter", 33), ("cfcheckpt", 33)] {
        for claim in claims {
            let mut desk = Desk::new(1);
            let conn = desk.dialled[0];
            desk.handshake(conn, 0);
            desk.bytes(conn, &frame(command, &[&vec![0; before], claim].concat()));
            let expected = misbehaved(Misbehaviour::Malformed(name(command)));
            assert_eq!(desk.farewell(), expected, "{command} {claim:02x?}");
        }
    }
}

#[test]
fn floods_end() {
    let ping = |desk: &mut Desk, conn| desk.receive(conn, &Message::Ping(1));
    let junk = vec![0; 60_000];
    let unknown = |desk: &mut Desk, conn| desk.receive(conn, &Message::Other(name("junk"), &junk));
    let news = vec![Inventory::block(INV_BLOCK, BlockHash::from_byte_array([7; 32])); 50_000];
    let inv = |desk: &mut Desk, conn| desk.receive(conn, &Message::Inv(news.as_slice().into()));
    let old = Desk::new(1).headers(1, 290 - 1);
    let headers = |desk: &mut Desk, conn| desk.receive(conn, &Message::Headers(old.as_slice().into()));
    type Flood<'a> = &'a dyn Fn(&mut Desk, andon_kernel::ConnId);
    let floods: [(&str, Flood<'_>, usize); 4] = [
        ("pings", &ping, flood_of(8 + MESSAGE_WEIGHT)),
        ("junk", &unknown, flood_of(60_000 + MESSAGE_WEIGHT)),
        ("news", &inv, flood_of(3 + 50_000 * 36 + MESSAGE_WEIGHT)),
        // The first is the answer that is awaited.
        ("headers", &headers, 1 + flood_of(3 + 289 * 81 + MESSAGE_WEIGHT)),
    ];
    for (what, flood, messages) in floods {
        let mut desk = Desk::new(1);
        let conn = desk.dialled[0];
        desk.handshake(conn, 0);
        for count in 1..=messages {
            assert!(desk.closed.is_empty(), "{what}: before message {count}");
            flood(&mut desk, conn);
            desk.sent.clear();
        }
        assert_eq!(desk.farewell(), misbehaved(Misbehaviour::Flooding), "{what}");
    }
}

/// A chain's headers are many times what a peer may send unasked.
#[test]
fn headers_that_were_asked_for_are_no_flood() {
    const TIP: u32 = 60_000;
    let mut desk = Desk::new(1);
    let conn = desk.dialled[0];
    let mut header = desk.fixture.chain[0].block().header;
    let headers: Vec<_> = (1..=TIP)
        .map(|_| {
            header.prev_blockhash = header.block_hash();
            header.version = bitcoin::block::Version::from_consensus(4);
            header.time += 60;
            while !header.target().is_met_by(header.block_hash()) {
                header.nonce += 1;
            }
            header
        })
        .collect();
    desk.handshake(conn, TIP as i32);
    for message in headers.chunks(2000) {
        desk.receive(conn, &Message::Headers(message.into()));
        desk.pass(Duration::from_millis(1));
    }
    assert_eq!(desk.farewell(), None);
    desk.receive(conn, &Message::Headers([].as_slice().into()));
    assert!(desk.take_sent().iter().any(|line| line.starts_with("getcfheaders 0..")));
}

#[test]
fn an_inv_of_an_unknown_block_is_followed_by_a_request() {
    let (mut desk, conn) = Desk::with_headers(5);
    desk.take_sent();
    let known = [Inventory::block(INV_BLOCK, desk.hash(5))];
    desk.receive(conn, &Message::Inv(known.as_slice().into()));
    assert_eq!(desk.take_sent(), [""; 0]);
    let unknown = [Inventory::block(INV_BLOCK, desk.hash(50))];
    desk.receive(conn, &Message::Inv(unknown.as_slice().into()));
    assert_eq!(desk.take_sent(), ["getheaders 4"]);
    desk.receive(conn, &Message::Inv(unknown.as_slice().into()));
    assert_eq!(desk.take_sent(), [""; 0], "one request at a time");
}

/// The whole of a sync, once in one piece for each message and once byte by byte: the same effects.
#[test]
fn any_split_of_the_bytes_gives_the_same_effects() {
    let run = |piece| {
        let mut desk = Desk::new(1);
        desk.piece = piece;
        let conn = desk.dialled[0];
        desk.handshake(conn, 289);
        let headers = desk.headers(1, 289);
        desk.receive(conn, &Message::Headers(headers.as_slice().into()));
        desk.give_filter_headers(conn, 0, 289);
        (0..=289).for_each(|height| desk.give_filter(conn, height));
        let mut sent = Vec::new();
        loop {
            let new = desk.take_sent();
            let wanted = new.iter().filter_map(|line| line.strip_prefix("getdata ").map(str::to_owned));
            let heights: Vec<u32> = wanted
                .flat_map(|line| line.split(',').map(|height| height.parse().unwrap()).collect::<Vec<_>>())
                .collect();
            sent.extend(new);
            if heights.is_empty() {
                break;
            }
            heights.into_iter().for_each(|height| desk.give_block(conn, height));
        }
        assert!(desk.is_synced());
        let told: Vec<Event> =
            desk.events.into_iter().filter(|event| !matches!(event, Event::Progress(_))).collect();
        (sent, told)
    };
    let whole = run(usize::MAX);
    assert_eq!(whole.1.iter().filter(|event| matches!(event, Event::Touched(_))).count(), 76);
    assert_eq!(run(1), whole);
    assert_eq!(run(13), whole);
}
