//! The server beside a real Bitcoin Core: the same chain, the same requests, the same answers, byte for byte.
//!
//! It needs a `bitcoind` in `BITCOIND_EXE`, and talks to it over loopback only.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod bitcoin_core;
#[path = "../common/mod.rs"]
mod common;
mod node;
mod ours;

use andon_bitcoin::fixture::{self, FixtureBlock};
use andon_bitcoin::wire::{
    CommandName, FilterRequest, GetHeaders, INV_BLOCK, INV_TX, INV_WITNESS_BLOCK, Inventory, Message,
};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, Block, BlockHash, ScriptBuf};

use bitcoin_core::Core;
use node::{Answer, MAGIC, Node, ask, bytes, version};
use ours::Ours;

/// Blocks in all: more than one answer of any kind can cover.
const HEIGHT: u32 = 2400;

#[test]
fn bitcoin_core_answers_alike() {
    let Some(program) = std::env::var_os("BITCOIND_EXE") else {
        println!("skipped: BITCOIND_EXE is not set");
        return;
    };
    let fixture = fixture::regtest();
    let read = |blocks: &[FixtureBlock]| blocks.iter().map(FixtureBlock::block).collect::<Vec<_>>();
    let (mut best, stale) = (read(&fixture.chain), read(&fixture.stale));
    mine(&mut best, HEIGHT + 1, 0);

    let mut core = Core::start(&program, &best, &stale);
    let mut ours = Ours::start(&best, &stale, fixture.fork_height);
    core.wait_for(HEIGHT, best[HEIGHT as usize].block_hash());

    let hash = |height: u32| best[height as usize].block_hash();
    let stale_tip = stale[6].block_hash();
    let filters =
        |filter_type, start_height, stop_hash| FilterRequest { filter_type, start_height, stop_hash };
    let headers = |locator: &[BlockHash], stop_hash| {
        bytes(&Message::GetHeaders(GetHeaders { locator: locator.into(), stop_hash }))
    };
    let data = |inventory: &[Inventory]| bytes(&Message::GetData(inventory.into()));
    let zero = BlockHash::all_zeros();
    let unknown = BlockHash::from_byte_array([1; 32]);

    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    let mut case = |name: String, bytes: Vec<u8>| cases.push((name, bytes));
    for (start, stop) in [
        (0, hash(0)),
        (0, hash(998)),
        (0, hash(999)),
        (0, hash(1000)),
        (1401, hash(HEIGHT)),
        (1400, hash(HEIGHT)),
        (HEIGHT, hash(HEIGHT)),
        (HEIGHT + 1, hash(HEIGHT)),
        (u32::MAX, hash(HEIGHT)),
        (0, unknown),
        (0, stale_tip),
        (280, stale_tip),
        (288, stale_tip),
    ] {
        for filter_type in [0, 1] {
            let request = filters(filter_type, start, stop);
            case(format!("getcfilters {filter_type} {start} {stop}"), bytes(&Message::GetCFilters(request)));
        }
    }
    for (start, stop) in [
        (0, hash(0)),
        (0, hash(1998)),
        (0, hash(1999)),
        (0, hash(2000)),
        (401, hash(HEIGHT)),
        (400, hash(HEIGHT)),
        (HEIGHT, hash(HEIGHT)),
        (5, hash(4)),
        (0, zero),
        (281, stale_tip),
        (282, stale_tip),
    ] {
        for filter_type in [0, 255] {
            let request = filters(filter_type, start, stop);
            case(
                format!("getcfheaders {filter_type} {start} {stop}"),
                bytes(&Message::GetCFHeaders(request)),
            );
        }
    }
    for stop_hash in
        [hash(0), hash(999), hash(1000), hash(1999), hash(2000), hash(HEIGHT), stale_tip, unknown]
    {
        for filter_type in [0, 1] {
            let request = Message::GetCFCheckpt { filter_type, stop_hash };
            case(format!("getcfcheckpt {filter_type} {stop_hash}"), bytes(&request));
        }
    }
    for (locator, stop) in [
        (vec![hash(0)], zero),
        (vec![hash(400)], zero),
        (vec![hash(399)], zero),
        (vec![hash(401)], zero),
        (vec![hash(HEIGHT)], zero),
        (vec![hash(HEIGHT - 1)], zero),
        (vec![unknown], zero),
        (vec![unknown, hash(5), hash(9)], zero),
        (vec![stale_tip, hash(270)], zero),
        (vec![stale_tip], zero),
        (vec![hash(7)], hash(7)),
        (vec![hash(7)], hash(8)),
        (vec![hash(7)], hash(3)),
        (vec![hash(7)], hash(2007)),
        (vec![hash(7)], stale_tip),
        (vec![], hash(17)),
        (vec![], stale_tip),
        (vec![], unknown),
        (vec![], zero),
        ([[unknown; 100].as_slice(), &[hash(50)]].concat(), zero),
        ([[unknown; 101].as_slice(), &[hash(50)]].concat(), zero),
    ] {
        case(format!("getheaders {} {stop}", locator.len()), headers(&locator, stop));
    }
    let block = Inventory::block;
    let transaction = Inventory { kind: INV_TX, hash: [3; 32] };
    for inventory in [
        vec![],
        vec![block(INV_WITNESS_BLOCK, hash(200)), block(INV_BLOCK, hash(200)), block(INV_BLOCK, hash(1))],
        vec![block(INV_WITNESS_BLOCK, stale_tip), block(INV_BLOCK, unknown), block(INV_BLOCK, hash(3))],
        vec![transaction; 3],
        vec![
            transaction,
            block(INV_BLOCK, hash(3)),
            transaction,
            block(9, hash(3)),
            block(INV_BLOCK, hash(4)),
        ],
        vec![block(4, hash(100)), block(3, hash(100))],
        vec![transaction; 50_001],
    ] {
        case(format!("getdata {:?}", inventory.len()), data(&inventory));
    }
    let frame = |name, payload: &[u8]| bytes(&Message::Other(CommandName::new(name), payload));
    let mut wrong = bytes(&Message::Ping(5));
    wrong[23] ^= 1;
    for (name, sent) in [
        ("a wrong checksum", wrong),
        ("an unknown message", frame("nonsense", &[1, 2])),
        ("a cut getheaders", frame("getheaders", &[1, 2])),
        ("a cut getcfilters", frame("getcfilters", &[0; 36])),
        ("a getcfilters with more behind it", frame("getcfilters", &[0; 40])),
        ("a cut getdata", frame("getdata", &[5, 0, 0])),
        ("a huge getdata", frame("getdata", &[0xff; 9])),
        ("mempool", frame("mempool", &[])),
        ("filterload", frame("filterload", &[])),
        ("filteradd", frame("filteradd", &[])),
        ("filterclear", frame("filterclear", &[])),
        ("sendcmpct", frame("sendcmpct", &[2, 2, 0, 0, 0, 0, 0, 0, 0])),
        ("a second version", bytes(&version(true))),
        ("a second verack", bytes(&Message::Verack)),
        ("wtxidrelay", bytes(&Message::WtxidRelay)),
        ("sendaddrv2", bytes(&Message::SendAddrV2)),
        ("too many headers", frame("headers", &[0xfd, 0xd1, 0x07])),
        ("no headers", frame("headers", &[0])),
        ("a cut ping", frame("ping", &[1])),
        ("getaddr of a node that knows none", bytes(&Message::GetAddr)),
        ("another network", [0xf9, 0xbe, 0xb4, 0xd9].repeat(6)),
        (
            "too long",
            [MAGIC.as_slice(), b"ping\0\0\0\0\0\0\0\0", &4_000_001_u32.to_le_bytes(), &[0; 4]].concat(),
        ),
    ] {
        case(name.into(), sent);
    }

    let mut messages = 0;
    let mut closed = 0;
    for relay in [false, true] {
        for (name, request) in &cases {
            let answers = [&mut core as &mut dyn Node, &mut ours].map(|node| {
                node.connect();
                node.say(&[bytes(&version(relay)), bytes(&Message::Verack)].concat());
                let greeting = ask(node, &[], 1);
                (greeting, ask(node, request, 2))
            });
            let [(greeting, answer), (our_greeting, our_answer)] = answers;
            let names = |answer: &Answer| answer.0.iter().map(|message| message.0).collect::<Vec<_>>();
            assert_eq!(names(&our_greeting), names(&greeting), "greeting, relay {relay}");
            assert!(our_answer == answer, "{name}, relay {relay}: {}", differ(&our_answer, &answer));
            // Eight filters, seven of them of the branch that was left: so Core has it, and serves it.
            assert!(!name.starts_with("getcfilters 0 280 ") || answer.0.len() == 8, "{name}");
            messages += answer.0.len();
            closed += u32::from(answer.1);
        }
    }
    println!("{} requests: {messages} equal messages, {closed} disconnects", 2 * cases.len());

    // Announcements, to peers that want headers and to others, that know the parent and that don't.
    let mut tip = best.clone();
    for (prefers_headers, synced) in [(true, true), (true, false), (false, true), (false, false)] {
        for reorganise in [false, true] {
            let fork_height = tip.len() as u32 - 1 - u32::from(reorganise);
            let locator = [hash(0), tip[fork_height as usize].block_hash()];
            tip.truncate(fork_height as usize + 1);
            mine(&mut tip, fork_height + 2 + u32::from(reorganise), 1 + fork_height);
            let blocks = &tip[fork_height as usize + 1..];
            let announcements = [&mut core as &mut dyn Node, &mut ours].map(|node| {
                node.connect();
                node.say(&[bytes(&version(false)), bytes(&Message::Verack)].concat());
                if prefers_headers {
                    node.say(&bytes(&Message::SendHeaders));
                }
                if synced {
                    node.say(&headers(&locator[1..], zero));
                }
                ask(node, &[], 3);
                node.adopt(fork_height, blocks)
            });
            let case = format!("headers {prefers_headers}, synced {synced}, reorganisation {reorganise}");
            assert_eq!(announcements[1], announcements[0], "{case}");
        }
    }
}

/// Where two answers part.
fn differ(ours: &Answer, theirs: &Answer) -> String {
    let place = ours.0.iter().zip(&theirs.0).take_while(|(ours, theirs)| ours == theirs).count();
    let rest = |answer: &Answer| {
        let next: Vec<_> = answer.0[place..].iter().take(3).collect();
        format!("{} messages, closed {}, then {next:?}", answer.0.len(), answer.1)
    };
    format!("after {place}: ours {}; Core {}", rest(ours), rest(theirs))
}

/// Mines empty blocks until there are so many.
fn mine(blocks: &mut Vec<Block>, count: u32, tag: u32) {
    while blocks.len() < count as usize {
        let tip = blocks.last().unwrap();
        let mut coinbase = common::coinbase(0, common::script(tag.into()));
        let height = bitcoin::script::Builder::new().push_int(blocks.len() as i64).push_int(1000);
        coinbase.input[0].script_sig = height.into_script();
        coinbase.output[0].value = Amount::ZERO;
        coinbase.output[0].script_pubkey =
            ScriptBuf::from_bytes([&[0x51], tag.to_le_bytes().as_slice()].concat());
        let mut block = common::block(tip.block_hash(), tip.header.time + 1, vec![coinbase]);
        block.header.version = bitcoin::block::Version::from_consensus(0x2000_0000);
        while block.header.validate_pow(block.header.target()).is_err() {
            block.header.nonce += 1;
        }
        blocks.push(block);
    }
}
