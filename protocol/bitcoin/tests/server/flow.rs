//! How answers flow: in slices, in order, whatever the split of the bytes; and what time does.

use std::time::Duration;

use andon_bitcoin::server::Command;
use andon_bitcoin::wire::{FilterRequest, INV_BLOCK, INV_WITNESS_BLOCK, Inventory, Message};
use andon_kernel::ConnId;
use bitcoin::{Block, ScriptBuf, TxOut};

use crate::common::{self, branch};
use crate::table::{Table, bytes, config, get_headers, version, zero};

/// Blocks with filters of some 5 kB and 50 kB of their own.
fn large_blocks(count: u32) -> Vec<Block> {
    let mut parent = zero();
    (0..count)
        .map(|height| {
            let mut coinbase = common::coinbase(height.into(), common::script(height.into()));
            coinbase.output.extend((0..2000).map(|number| TxOut {
                value: bitcoin::Amount::ZERO,
                script_pubkey: common::script(u64::from(height) << 32 | number),
            }));
            let block = common::block(parent, common::START, vec![coinbase]);
            parent = block.block_hash();
            block
        })
        .collect()
}

fn get_filters(table: &Table, stop: u32) -> Message<'static> {
    Message::GetCFilters(FilterRequest { filter_type: 0, start_height: 0, stop_hash: table.hash(stop) })
}

#[test]
fn a_large_answer_comes_in_slices() {
    let mut table = Table::with(config(), large_blocks(200));
    let conn = table.connect();
    let before = table.sent(conn).len();
    let mut lines = table.receive(conn, &bytes(&get_filters(&table, 199)));
    let mut slices = 0;
    let mut filters = 0;
    let mut sent = before;
    while table.waits(conn) {
        slices += 1;
        let first = slices == 1;
        let end = if first { &["pause", "flush"][..] } else { &["flush"] };
        let (answers, flow) = lines.split_at(lines.len() - end.len());
        assert_eq!(flow, end);
        for line in answers {
            assert_eq!(*line, format!("cfilter {filters}"));
            filters += 1;
        }
        let size = table.sent(conn).len() - sent;
        assert!(size < 256 * 1024 + 6000, "a slice of {size} bytes");
        sent = table.sent(conn).len();
        lines = table.drain(conn);
    }
    assert_eq!(lines.pop().unwrap(), "resume");
    assert_eq!(filters + lines.len(), 200);
    assert_eq!(slices, (sent - 1) / (256 * 1024));
    assert!(slices >= 3);
}

#[test]
fn what_came_behind_a_request_is_answered_behind_it() {
    let mut table = Table::with(config(), large_blocks(200));
    let conn = table.connect();
    let locator = [table.hash(0)];
    let inventory: Vec<_> =
        (0..40).map(|height| Inventory::block(INV_WITNESS_BLOCK, table.hash(height))).collect();
    let requests = [
        bytes(&get_filters(&table, 150)),
        bytes(&Message::Ping(1)),
        bytes(&Message::GetData(inventory.as_slice().into())),
        bytes(&Message::Ping(2)),
        bytes(&get_headers(&locator, zero())),
        bytes(&get_filters(&table, 100)),
        bytes(&Message::Ping(3)),
    ]
    .concat();
    let mut expected: Vec<String> = (0..=150).map(|height| format!("cfilter {height}")).collect();
    expected.push("pong 1".into());
    expected.extend((0..40).map(|height| format!("block {height}")));
    expected.extend(["pong 2".into(), "headers 1 to 199".into()]);
    expected.extend((0..=100).map(|height| format!("cfilter {height}")));
    expected.push("pong 3".into());

    let mut lines = table.receive(conn, &requests);
    // News that come meanwhile are told between two answers.
    let blocks = branch(table.hash(199), 200, 1, 0);
    table.name("", 200, &blocks);
    assert_eq!(table.command(Command::Extend(blocks)), ["tip 200"]);
    expected.insert(151, "inv block 200".into());
    expected[151 + 1 + 1 + 40 + 1] = "headers 1 to 200".into();
    while table.waits(conn) {
        lines.extend(table.drain(conn));
    }
    lines.retain(|line| !["pause", "flush", "resume"].contains(&line.as_str()));
    assert_eq!(lines, expected);
}

#[test]
fn an_answer_outlives_a_reorganisation() {
    let mut table = Table::with(config(), large_blocks(200));
    let conn = table.connect();
    let mut lines = table.receive(conn, &bytes(&get_filters(&table, 199)));
    let blocks = branch(table.hash(10), 11, 190, 5);
    table.name("b", 11, &blocks);
    assert_eq!(table.command(Command::Reorganise { fork_height: 10, blocks }), ["tip 200"]);
    while table.waits(conn) {
        lines.extend(table.drain(conn));
    }
    lines.retain(|line| !["pause", "flush", "resume"].contains(&line.as_str()));
    let mut expected: Vec<String> = (0..200).map(|height| format!("cfilter {height}")).collect();
    expected.push("inv block b200".into());
    assert_eq!(lines, expected);
}

#[test]
fn many_small_requests_are_bounded_too() {
    let mut table = Table::new(2001);
    let conn = table.connect();
    // 100 requests of 6 kB in one read ask for 16 MB.
    let locator = [table.hash(0)];
    let requests = bytes(&get_headers(&locator, zero())).repeat(100);
    let mut turns = vec![table.receive(conn, &requests)];
    while table.waits(conn) {
        turns.push(table.drain(conn));
    }
    let headers = |turn: &Vec<String>| turn.iter().filter(|line| *line == "headers 1 to 2000").count();
    assert!(turns.iter().all(|turn| headers(turn) <= 2), "{turns:?}");
    assert_eq!(turns.iter().map(headers).sum::<usize>(), 100);
}

/// Everything a peer might say, with what it asks for.
fn conversation(table: &Table) -> Vec<u8> {
    let locator = [table.hash(0)];
    let inventory: Vec<_> = (0..60).map(|height| Inventory::block(INV_BLOCK, table.hash(height))).collect();
    let mut wrong = bytes(&Message::Ping(9));
    wrong[20] ^= 1;
    [
        bytes(&Message::Ping(0)),
        bytes(&version()),
        bytes(&Message::SendAddrV2),
        bytes(&Message::Verack),
        bytes(&Message::SendHeaders),
        wrong,
        bytes(&get_headers(&locator, zero())),
        bytes(&get_filters(table, 99)),
        bytes(&Message::GetData(inventory.as_slice().into())),
        bytes(&Message::Ping(7)),
        crate::table::frame("nonsense", &[1, 2, 3]),
        crate::table::frame("getheaders", &[1, 2, 3]),
        bytes(&Message::WtxidRelay),
        bytes(&Message::Ping(8)),
    ]
    .concat()
}

/// The effects of a conversation that comes in pieces of `size` bytes.
fn hold(size: usize) -> (Vec<String>, Vec<u8>) {
    let mut table = Table::with(config(), large_blocks(100));
    let conversation = conversation(&table);
    let (conn, mut lines) = table.accept();
    let mut rest = conversation.as_slice();
    // While the server waits it is sent nothing, as the contract demands.
    loop {
        while table.waits(conn) {
            lines.extend(table.drain(conn));
        }
        if rest.is_empty() || lines.contains(&"close".into()) {
            let sent = table.sent(conn).to_vec();
            // Between two slices it may have nothing to do, or the next request at hand: then it goes on at once.
            lines.retain(|line| line != "pause" && line != "resume");
            return (lines, sent);
        }
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        lines.extend(table.receive(conn, piece));
    }
}

#[test]
fn any_split_of_the_bytes_has_the_same_effects() {
    let whole = hold(usize::MAX);
    assert_eq!(whole.0[..5], ["version", "wtxidrelay", "sendaddrv2", "verack", "connected /test/"]);
    assert_eq!(whole.0[whole.0.len() - 2], "close");
    assert!(whole.0.iter().filter(|line| *line == "flush").count() > 3);
    for size in [1, 2, 3, 7, 24, 25, 61, 100, 1000] {
        assert!(hold(size) == whole, "in pieces of {size}");
    }
}

#[test]
fn the_same_inputs_have_the_same_effects() {
    assert!(hold(50) == hold(50));
}

/// A peer that answers no ping, on a table where only time passes.
fn silent() -> (Table, ConnId) {
    let mut table = Table::new(2);
    let conn = table.connect();
    (table, conn)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_handshake_takes_a_minute_at_most() {
    for said in [vec![], bytes(&version())] {
        let mut table = Table::new(1);
        let (conn, _) = table.accept();
        if !said.is_empty() {
            table.receive(conn, &said);
        }
        assert_eq!(table.pass(60 * SECOND - Duration::from_micros(1)), [""; 0]);
        let expected = ["close", "gone before: it did not finish the handshake in time"];
        assert_eq!(table.pass(Duration::from_micros(1)), expected);
    }
}

/// Answers the last ping that a peer was sent.
fn pong(table: &mut Table, conn: ConnId) -> Vec<String> {
    let sent = table.sent(conn);
    let nonce = sent[sent.len() - 8..].try_into().unwrap();
    table.receive(conn, &bytes(&Message::Pong(u64::from_le_bytes(nonce))))
}

#[test]
fn a_peer_is_pinged_every_two_minutes() {
    let mut config = config();
    config.relay = false;
    let mut table = Table::with(config, common::blocks(1));
    let conn = table.connect();
    for _ in 0..30 {
        assert_eq!(table.pass(10 * SECOND), [""; 0]);
        assert_eq!(pong(&mut table, conn), [""; 0]);
        assert_eq!(table.pass(110 * SECOND - Duration::from_micros(1)), [""; 0]);
        assert_eq!(table.pass(Duration::from_micros(1)), ["ping"]);
    }
    // A late answer brings the next ping at once.
    assert_eq!(table.pass(200 * SECOND), [""; 0]);
    assert_eq!(pong(&mut table, conn), ["ping"]);
    // Another's answer is none; zero is one.
    assert_eq!(table.ask(conn, &Message::Pong(1)), [""; 0]);
    assert_eq!(table.pass(121 * SECOND), [""; 0]);
    assert_eq!(table.ask(conn, &Message::Pong(0)), ["ping"]);
}

#[test]
fn a_ping_that_is_never_answered_ends_the_connection() {
    let (mut table, conn) = silent();
    for _ in 0..19 {
        assert_eq!(table.pass(60 * SECOND), [""; 0]);
        assert_eq!(table.ask(conn, &Message::Ping(1)), ["pong 1"]);
    }
    assert_eq!(table.pass(60 * SECOND), ["close", "gone after: it did not answer a ping"]);
}

#[test]
fn silence_ends_the_connection_after_twenty_minutes() {
    let (mut table, conn) = silent();
    pong(&mut table, conn);
    assert_eq!(table.pass(120 * SECOND), [""; 0]);
    let lines = table.pass(1080 * SECOND);
    assert_eq!(lines.last().unwrap(), "gone after: it sent or took nothing for too long");
}

#[test]
fn a_peer_that_takes_nothing_is_dropped_and_one_that_takes_its_time_is_not() {
    for patient in [true, false] {
        let mut table = Table::with(config(), large_blocks(200));
        let conn = table.connect();
        table.receive(conn, &bytes(&get_filters(&table, 199)));
        if patient {
            // Three slices of 19 minutes each; then its answer to the ping, which it could not give before.
            let mut minutes = 0;
            while table.waits(conn) {
                let lines = table.pass(19 * 60 * SECOND);
                assert_eq!(lines, [""; 0]);
                minutes += 19;
                table.drain(conn);
            }
            assert!(minutes > 40);
            assert_eq!(table.pass(19 * 60 * SECOND), [""; 0]);
            assert_eq!(table.ask(conn, &Message::Pong(0)), ["ping"]);
        } else {
            let lines = table.pass(20 * 60 * SECOND);
            assert_eq!(lines, ["close", "gone after: it sent or took nothing for too long"]);
        }
    }
}

#[test]
fn a_script_that_fills_a_block_is_served() {
    // One message longer than a slice.
    let mut coinbase = common::coinbase(0, common::script(0));
    coinbase.output[0].script_pubkey = ScriptBuf::from_bytes(vec![1; 990_000]);
    let block = common::block(zero(), 0, vec![coinbase]);
    let mut table = Table::with(config(), vec![block]);
    let conn = table.connect();
    let inventory = [Inventory::block(INV_BLOCK, table.hash(0)); 3];
    let lines = table.receive(conn, &bytes(&Message::GetData(inventory.as_slice().into())));
    assert_eq!(lines, ["block 0", "pause", "flush"]);
    assert_eq!(table.drain(conn), ["block 0", "flush"]);
    assert_eq!(table.drain(conn), ["block 0", "flush"]);
    assert_eq!(table.drain(conn), ["resume"]);
}
