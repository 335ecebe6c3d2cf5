//! Headers, filters and blocks: what is answered at each limit, and what ends the connection.

use std::sync::LazyLock;

use andon_bitcoin::server::{Command, Server};
use andon_bitcoin::wire::{
    FilterRequest, FrameReader, INV_BLOCK, INV_TX, INV_WITNESS_BLOCK, INV_WITNESS_TX, INV_WTX, Inventory,
    Message,
};
use andon_bitcoin::{filter, fixture};
use andon_kernel::ConnId;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{Block, BlockHash, FilterHeader};

use crate::common::{self, START, branch};
use crate::table::{MAGIC, Table, config, get_headers, zero};

static BLOCKS: LazyLock<Vec<Block>> = LazyLock::new(|| common::blocks(4101));

/// A server of 4101 blocks, and a peer.
fn table() -> (Table, ConnId) {
    let mut table = Table::with(config(), BLOCKS.clone());
    let conn = table.connect();
    (table, conn)
}

fn hash(height: u32) -> BlockHash {
    BLOCKS[height as usize].block_hash()
}

const REFUSED: &str = "gone after: ";

/// Whether the effects are the end of the connection, for this reason.
#[track_caller]
fn assert_refused(lines: &[String], reason: &str) {
    assert_eq!(lines, ["close".to_string(), format!("{REFUSED}{reason}")]);
}

#[test]
fn headers_at_each_limit() {
    let (mut table, conn) = table();
    let unknown = BlockHash::from_byte_array([1; 32]);
    for (locator, stop, expected) in [
        (vec![hash(0)], zero(), "headers 1 to 2000"),
        (vec![hash(2000)], zero(), "headers 2001 to 4000"),
        (vec![hash(2099)], zero(), "headers 2100 to 4099"),
        (vec![hash(2100)], zero(), "headers 2101 to 4100"),
        (vec![hash(2101)], zero(), "headers 2102 to 4100"),
        (vec![hash(4099)], zero(), "headers 4100 to 4100"),
        (vec![hash(4100)], zero(), "headers none"),
        // The first that is known counts, whatever comes behind it.
        (vec![hash(4000), hash(100), hash(0)], zero(), "headers 4001 to 4100"),
        (vec![hash(100), hash(4000), hash(0)], zero(), "headers 101 to 2100"),
        (vec![unknown, hash(7), hash(8)], zero(), "headers 8 to 2007"),
        // Of one that has nothing in common, not even the genesis block: all.
        (vec![unknown], zero(), "headers 1 to 2000"),
        (vec![hash(10)], hash(10), "headers 11 to 2010"),
        (vec![hash(10)], hash(11), "headers 11 to 11"),
        (vec![hash(10)], hash(500), "headers 11 to 500"),
        (vec![hash(10)], hash(2010), "headers 11 to 2010"),
        (vec![hash(10)], hash(2011), "headers 11 to 2010"),
        (vec![hash(10)], hash(3), "headers 11 to 2010"),
        (vec![], hash(17), "headers 17 to 17"),
        (vec![], hash(4100), "headers 4100 to 4100"),
    ] {
        assert_eq!(table.ask(conn, &get_headers(&locator, stop)), [expected]);
    }
    for stop in [zero(), unknown] {
        assert_eq!(table.ask(conn, &get_headers(&[], stop)), [""; 0]);
    }
    let most = [[unknown; 100].as_slice(), &[hash(50)]].concat();
    assert_eq!(table.ask(conn, &get_headers(&most, zero())), ["headers 51 to 2050"]);
    let more = [[unknown; 101].as_slice(), &[hash(50)]].concat();
    let lines = table.ask(conn, &get_headers(&more, zero()));
    assert_refused(&lines, "it sent a locator of more than 101 hashes");
}

#[test]
fn a_node_that_is_syncing_has_no_headers() {
    let mut config = config();
    config.minimum_height = 3;
    let mut table = Table::with(config, common::blocks(3));
    let conn = table.connect();
    let locator = [table.hash(0)];
    assert_eq!(table.ask(conn, &get_headers(&locator, zero())), ["headers none"]);
    let more = branch(table.hash(2), 3, 1, 0);
    table.name("", 3, &more);
    assert_eq!(table.command(Command::Extend(more)), ["tip 3", "inv block 3"]);
    assert_eq!(table.ask(conn, &get_headers(&locator, zero())), ["headers 1 to 3"]);
}

fn request(start_height: u32, stop_hash: BlockHash) -> FilterRequest {
    FilterRequest { filter_type: 0, start_height, stop_hash }
}

#[test]
fn filters_at_each_limit() {
    for (start, stop, count) in
        [(0, 0, 1), (4100, 4100, 1), (0, 998, 999), (0, 999, 1000), (3101, 4100, 1000)]
    {
        let (mut table, conn) = table();
        let lines = table.ask(conn, &Message::GetCFilters(request(start, hash(stop))));
        let expected: Vec<String> = (start..=stop).map(|height| format!("cfilter {height}")).collect();
        assert_eq!((lines.len(), lines), (count, expected));
    }
    for (start, stop) in [(0, 1000), (3100, 4100), (1, 0), (4101, 4100), (u32::MAX, 4100)] {
        let (mut table, conn) = table();
        let lines = table.ask(conn, &Message::GetCFilters(request(start, hash(stop))));
        assert_refused(&lines, "it asked for too many filters, or for none");
    }
}

#[test]
fn filter_headers_at_each_limit() {
    for (start, stop, count) in
        [(0, 0, 1), (0, 1998, 1999), (0, 1999, 2000), (2101, 4100, 2000), (4100, 4100, 1)]
    {
        let (mut table, conn) = table();
        let lines = table.ask(conn, &Message::GetCFHeaders(request(start, hash(stop))));
        assert_eq!(lines, [format!("cfheaders {count} to {stop}")]);
        let mut rest = table.sent(conn);
        let mut reader = FrameReader::new(MAGIC);
        let mut last = None;
        while let Some(frame) = reader.next(&mut rest).unwrap() {
            last = Some((frame.command, frame.payload.to_vec()));
        }
        let (command, payload) = last.unwrap();
        let Ok(Message::CFHeaders { previous_filter_header, filter_hashes, .. }) =
            Message::decode(command, &payload)
        else {
            panic!()
        };
        // The hashes lead from the previous header to the one that the chain has.
        let known = |height: u32| table.chain().filter_header(&hash(height));
        let previous = start.checked_sub(1).map_or(Some(FilterHeader::all_zeros()), known);
        assert_eq!(Some(previous_filter_header), previous);
        let header = filter_hashes
            .iter()
            .fold(previous_filter_header, |previous, hash| filter::header(hash, previous));
        assert_eq!(Some(header), known(stop));
    }
    for (start, stop) in [(0, 2000), (2100, 4100), (1, 0), (u32::MAX, 4100)] {
        let (mut table, conn) = table();
        let lines = table.ask(conn, &Message::GetCFHeaders(request(start, hash(stop))));
        assert_refused(&lines, "it asked for too many filters, or for none");
    }
}

fn get_checkpoints(stop_hash: BlockHash) -> Message<'static> {
    Message::GetCFCheckpt { filter_type: 0, stop_hash }
}

#[test]
fn checkpoints_at_each_limit() {
    let (mut table, conn) = table();
    for (stop, count) in [(0, 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (2001, 2), (4100, 4)] {
        let lines = table.ask(conn, &get_checkpoints(hash(stop)));
        assert_eq!(lines, [format!("cfcheckpt {count} to {stop}")]);
    }
}

#[test]
fn requests_for_filters_that_end_the_connection() {
    type Ask = fn(u8, BlockHash) -> Message<'static>;
    let asks: [Ask; 3] = [
        |filter_type, stop_hash| {
            Message::GetCFilters(FilterRequest { filter_type, start_height: 0, stop_hash })
        },
        |filter_type, stop_hash| {
            Message::GetCFHeaders(FilterRequest { filter_type, start_height: 0, stop_hash })
        },
        |filter_type, stop_hash| Message::GetCFCheckpt { filter_type, stop_hash },
    ];
    for ask in asks {
        for (filter_type, stop, reason) in [
            (1, hash(5), "it asked for filters of a type that is not served"),
            (255, hash(5), "it asked for filters of a type that is not served"),
            (0, zero(), "it asked for filters up to a block that is not served"),
        ] {
            let (mut table, conn) = table();
            assert_refused(&table.ask(conn, &ask(filter_type, stop)), reason);
        }
        let mut config = config();
        config.services.remove(ServiceFlags::COMPACT_FILTERS);
        let mut table = Table::with(config, common::blocks(6));
        let conn = table.connect();
        let lines = table.ask(conn, &ask(0, hash(5)));
        assert_refused(&lines, "it asked for filters of a type that is not served");
    }
}

#[test]
fn an_index_that_lags_is_silent() {
    let mut config = config();
    config.filter_index_height = Some(2500);
    let mut table = Table::with(config, BLOCKS.clone());
    let conn = table.connect();
    for (message, expected) in [
        (Message::GetCFilters(request(2500, hash(2500))), ["cfilter 2500"].as_slice()),
        (Message::GetCFilters(request(2500, hash(2501))), &[]),
        (Message::GetCFHeaders(request(1000, hash(2500))), &["cfheaders 1501 to 2500"]),
        (Message::GetCFHeaders(request(1000, hash(2501))), &[]),
        // Only the filter headers that it takes need be there.
        (get_checkpoints(hash(2999)), &["cfcheckpt 2 to 2999"]),
        (get_checkpoints(hash(3000)), &[]),
    ] {
        assert_eq!(table.ask(conn, &message), expected, "{message:?}");
    }
    let lines = table.ask(conn, &Message::GetCFilters(request(0, hash(2501))));
    assert_refused(&lines, "it asked for too many filters, or for none");
}

/// A server whose blocks from 11 on were replaced: those that left are named with an `s`.
fn after_reorganisation(age: u32) -> (Table, ConnId, Vec<Block>) {
    let mut table = Table::new(11);
    let stale = branch(table.hash(10), 11, 3, 1);
    table.name("s", 11, &stale);
    table.command(Command::Extend(stale.clone()));
    let mut blocks = branch(table.hash(10), 11, 4, 2);
    let last = blocks.pop().unwrap();
    let time = START + 13 * 600 + age;
    blocks.push(common::block(last.header.prev_blockhash, time, last.txdata));
    table.name("", 11, &blocks);
    let conn = table.connect();
    table.command(Command::Reorganise { fork_height: 10, blocks });
    (table, conn, stale)
}

#[test]
fn what_left_the_chain_is_served_for_a_month() {
    let month = 30 * 24 * 60 * 60;
    for (age, served) in [(0, true), (month - 1, true), (month, false), (month + 1, false)] {
        let tip = |(table, conn, stale): (Table, ConnId, Vec<Block>)| (table, conn, stale[2].block_hash());
        let (mut table, conn, hash) = tip(after_reorganisation(age));
        let inventory = [Inventory::block(INV_WITNESS_BLOCK, hash)];
        let lines = table.ask(conn, &Message::GetData(inventory.as_slice().into()));
        assert_eq!(lines, Vec::from_iter(served.then_some("block s13")));
        let lines = table.ask(conn, &get_headers(&[], hash));
        assert_eq!(lines, Vec::from_iter(served.then_some("headers s13 to s13")));
        for (message, expected) in [
            (
                Message::GetCFilters(request(9, hash)),
                vec!["cfilter 9", "cfilter 10", "cfilter s11", "cfilter s12", "cfilter s13"],
            ),
            (Message::GetCFHeaders(request(0, hash)), vec!["cfheaders 14 to s13"]),
            (get_checkpoints(hash), vec!["cfcheckpt 0 to s13"]),
        ] {
            let (mut table, conn, _) = after_reorganisation(age);
            let lines = table.ask(conn, &message);
            if served {
                assert_eq!(lines, expected);
            } else {
                assert_refused(&lines, "it asked for filters up to a block that is not served");
            }
        }
    }
}

#[test]
fn what_left_the_chain_is_served_until_a_month_of_work_is_done() {
    for (more, served) in [(4319, true), (4320, false)] {
        let mut table = Table::new(1);
        let stale = branch(table.hash(0), 1, 1, 1);
        table.name("s", 1, &stale);
        table.command(Command::Extend(stale.clone()));
        // All at about the same time, so that only the work tells.
        let mut parent = table.hash(0);
        let blocks: Vec<_> = (0..more + 1)
            .map(|number| {
                let block =
                    common::block(parent, START, vec![common::coinbase(number, common::script(number))]);
                parent = block.block_hash();
                block
            })
            .collect();
        table.command(Command::Reorganise { fork_height: 0, blocks });
        let conn = table.connect();
        let inventory = [Inventory::block(INV_WITNESS_BLOCK, stale[0].block_hash())];
        let lines = table.ask(conn, &Message::GetData(inventory.as_slice().into()));
        assert_eq!(lines, Vec::from_iter(served.then_some("block s1")), "{more}");
    }
}

#[test]
fn data_in_the_order_of_bitcoin_core() {
    let (mut table, conn) = table();
    let block = |kind, height| Inventory::block(kind, hash(height));
    let other = |kind| Inventory { kind, hash: [3; 32] };
    for (inventory, expected) in [
        (vec![], vec![]),
        (vec![block(INV_BLOCK, 3), block(INV_WITNESS_BLOCK, 2)], vec!["block 3", "block 2"]),
        // Unknown blocks and unknown kinds are passed over; so are transactions, for a peer that wants none.
        (vec![other(INV_BLOCK), other(INV_TX), other(77), block(INV_BLOCK, 1)], vec!["block 1"]),
        // A bloom-filtered block: there is no filter. A compact one comes whole.
        (vec![block(3, 1), block(4, 2)], vec!["block 2"]),
        (vec![block(INV_BLOCK, 9), block(INV_BLOCK, 9)], vec!["block 9", "block 9"]),
    ] {
        let lines = table.ask(conn, &Message::GetData(inventory.as_slice().into()));
        assert_eq!(lines, expected);
    }

    let (conn, _) = table.accept();
    let Message::Version(mut version) = crate::table::version() else { panic!() };
    version.relay = true;
    table.ask(conn, &Message::Version(version));
    table.ask(conn, &Message::Verack);
    for (inventory, expected) in [
        (vec![other(INV_TX)], vec!["notfound 1"]),
        (vec![other(INV_TX), other(INV_WTX), other(INV_WITNESS_TX)], vec!["notfound 3"]),
        (
            vec![other(INV_TX), block(INV_BLOCK, 3), other(INV_TX)],
            vec!["block 3", "notfound 1", "notfound 1"],
        ),
    ] {
        let lines = table.ask(conn, &Message::GetData(inventory.as_slice().into()));
        assert_eq!(lines, expected);
    }
    let most = vec![other(INV_TX); 50_000];
    assert_eq!(table.ask(conn, &Message::GetData(most.as_slice().into())), ["notfound 50000"]);
    let more = vec![other(INV_TX); 50_001];
    let lines = table.ask(conn, &Message::GetData(more.as_slice().into()));
    assert_refused(&lines, "it sent more than 50,000 entries");
}

#[test]
fn a_pruned_node_serves_290_blocks() {
    let limited = ServiceFlags::NETWORK_LIMITED | ServiceFlags::WITNESS;
    for (services, depth, served) in [
        (limited, 290, true),
        (limited, 291, false),
        (limited | ServiceFlags::NETWORK, 291, true),
        (ServiceFlags::NETWORK, 400, true),
        (ServiceFlags::NONE, 400, true),
    ] {
        let mut config = config();
        config.services = services;
        let mut table = Table::with(config, common::blocks(500));
        let conn = table.connect();
        let inventory = [Inventory::block(INV_BLOCK, hash(499 - depth))];
        let lines = table.ask(conn, &Message::GetData(inventory.as_slice().into()));
        if served {
            assert_eq!(lines, [format!("block {}", 499 - depth)]);
        } else {
            assert_refused(&lines, "it asked for a block deeper than a pruned node serves");
        }
    }
}

#[test]
fn the_fixture_is_served_as_its_makers_would() {
    let fixture = fixture::regtest();
    let blocks = fixture.chain.iter().map(|block| block.block()).collect();
    let mut table = Table::with(config(), blocks);
    let conn = table.connect();
    let tip = fixture.chain[289].hash();
    table.ask(conn, &get_headers(&[fixture.chain[0].hash()], zero()));
    table.ask(conn, &Message::GetCFHeaders(request(0, tip)));
    table.ask(conn, &Message::GetCFilters(request(0, tip)));
    for kind in [INV_WITNESS_BLOCK, INV_BLOCK] {
        let inventory: Vec<_> =
            fixture.chain.iter().map(|block| Inventory::block(kind, block.hash())).collect();
        table.ask(conn, &Message::GetData(inventory.as_slice().into()));
    }

    let mut reader = FrameReader::new(MAGIC);
    let mut rest = table.sent(conn);
    let (mut headers, mut filters, mut whole) = (1, 0, 0);
    while let Some(frame) = reader.next(&mut rest).unwrap() {
        match Message::decode(frame.command, frame.payload).unwrap() {
            Message::Headers(list) => {
                for header in list.iter() {
                    assert_eq!(header.block_hash(), fixture.chain[headers].hash());
                    headers += 1;
                }
            }
            Message::CFHeaders { filter_hashes, .. } => {
                let mut header = FilterHeader::all_zeros();
                for (hash, block) in filter_hashes.iter().zip(&fixture.chain) {
                    header = filter::header(hash, header);
                    assert_eq!(header, block.filter_header);
                }
                assert_eq!(filter_hashes.len(), 290);
            }
            Message::CFilter { block_hash, filter, .. } => {
                let block = fixture.chain[filters];
                assert_eq!((block_hash, filter), (block.hash(), block.filter));
                filters += 1;
            }
            Message::Block(bytes) => {
                let expected = fixture.chain[whole % 290];
                if whole < 290 {
                    assert_eq!(bytes, expected.bytes);
                } else {
                    let stripped: Block = deserialize(bytes).unwrap();
                    let inputs = || stripped.txdata.iter().flat_map(|tx| &tx.input);
                    assert!(inputs().all(|input| input.witness.is_empty()));
                    assert_eq!(stripped.compute_merkle_root(), Some(stripped.header.merkle_root));
                    assert_eq!(
                        (serialize(&stripped), stripped.block_hash()),
                        (bytes.into(), expected.hash())
                    );
                }
                whole += 1;
            }
            _ => {}
        }
    }
    assert_eq!((headers, filters, whole), (290, 290, 580));
    fn is_machine<M: andon_kernel::Machine>() {}
    is_machine::<Server>();
}
