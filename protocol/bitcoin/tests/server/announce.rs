//! New blocks and reorganisations, as peers hear of them; and commands that can't be carried out.

use andon_bitcoin::server::Command;
use andon_bitcoin::wire::{INV_BLOCK, Inventory, Message};

use crate::common::{self, branch};
use crate::table::{Table, bytes, get_headers, version, zero};

/// A server with 21 blocks, and a peer that has asked for headers up to the tip if `synced`.
fn table(synced: bool, prefers_headers: bool) -> (Table, andon_kernel::ConnId) {
    let mut table = Table::new(21);
    let conn = table.connect();
    if prefers_headers {
        assert_eq!(table.ask(conn, &Message::SendHeaders), [""; 0]);
    }
    if synced {
        let locator = [table.hash(0)];
        assert_eq!(table.ask(conn, &get_headers(&locator, zero())), ["headers 1 to 20"]);
    }
    (table, conn)
}

#[test]
fn new_blocks_come_as_headers_or_as_an_inv() {
    for (synced, prefers_headers, count, expected) in [
        (true, true, 1, "headers 21 to 21"),
        (true, true, 2, "headers 21 to 22"),
        (true, true, 8, "headers 21 to 28"),
        // Only the newest eight are told of, and the first of them does not connect.
        (true, true, 9, "inv block 29"),
        (true, true, 30, "inv block 50"),
        (true, false, 1, "inv block 21"),
        (true, false, 8, "inv block 28"),
        (false, true, 1, "inv block 21"),
        (false, false, 1, "inv block 21"),
    ] {
        let (mut table, _) = table(synced, prefers_headers);
        let blocks = branch(table.hash(20), 21, count, 0);
        table.name("", 21, &blocks);
        let tip = format!("tip {}", 20 + count);
        assert_eq!(table.command(Command::Extend(blocks)), [tip.as_str(), expected]);
    }
}

#[test]
fn a_reorganisation_comes_as_headers_or_as_an_inv() {
    let cases = [
        (19, 2, "headers b20 to b21"),
        (17, 4, "headers b18 to b21"),
        (13, 8, "headers b14 to b21"),
        (10, 11, "inv block b21"),
    ];
    for ((fork_height, count, expected), follows) in
        cases.into_iter().flat_map(|case| [(case, false), (case, true)])
    {
        let (mut table, conn) = table(true, true);
        let blocks = branch(table.hash(fork_height), fork_height + 1, count, 5);
        table.name("b", fork_height + 1, &blocks);
        let command = if follows {
            let mut later = table.chain().clone();
            later.reorganise(fork_height, &blocks).unwrap();
            Command::Follow(later)
        } else {
            Command::Reorganise { fork_height, blocks }
        };
        assert_eq!(table.command(command), ["tip 21", expected]);

        // The peer's tip is on a branch that was left: its locator leads back to the fork.
        let old = [common::blocks(21)[20].block_hash(), table.hash(fork_height)];
        let answer = format!("headers b{} to b21", fork_height + 1);
        assert_eq!(table.ask(conn, &get_headers(&old, zero())), [answer]);
    }
}

/// Of a chain that others share, a server sees what it follows and nothing else.
#[test]
fn a_copy_is_followed_when_told_to_and_no_other_chain_is() {
    let (mut table, _) = table(true, true);
    let before = table.chain().clone();
    let mut later = before.clone();
    later.extend(&branch(table.hash(20), 21, 2, 0)).unwrap();
    assert_eq!((table.chain().height(), before.height(), later.height()), (20, 20, 22));
    table.name("", 21, &branch(table.hash(20), 21, 2, 0));
    assert_eq!(table.command(Command::Follow(later.clone())), ["tip 22", "headers 21 to 22"]);
    assert_eq!(table.chain().tip(), later.tip());
    // The same once more, an earlier one, one that went another way, and one that is equal but no copy.
    let mut apart = before.clone();
    apart.extend(&branch(table.hash(20), 21, 3, 7)).unwrap();
    let equal = [common::blocks(21), branch(table.hash(20), 21, 3, 0)].concat();
    let equal = andon_bitcoin::server::Chain::new(equal).unwrap();
    for (other, expected) in [
        (later, "the new branch has no more work than the old one"),
        (before, "it is no later copy of the chain"),
        (apart, "it is no later copy of the chain"),
        (equal, "it is no later copy of the chain"),
    ] {
        assert_eq!(table.command(Command::Follow(other)), [format!("rejected: {expected}")]);
    }
}

#[test]
fn news_follow_one_another() {
    let (mut table, conn) = table(true, true);
    for height in 21..25 {
        let blocks = branch(table.hash(height - 1), height, 1, 0);
        table.name("", height, &blocks);
        let lines = [format!("tip {height}"), format!("headers {height} to {height}")];
        assert_eq!(table.command(Command::Extend(blocks)), lines);
    }
    // A peer that has the block already, by its own word, is not told.
    let blocks = branch(table.hash(24), 25, 1, 0);
    table.name("", 25, &blocks);
    let (other, _) = table.accept();
    table.receive(other, &bytes(&version()));
    let tip = blocks[0].block_hash();
    assert_eq!(table.command(Command::Extend(blocks)), ["tip 25", "headers 25 to 25"]);
    // One that connected before the news hears of the tip after its handshake.
    let lines = table.receive(other, &bytes(&Message::Verack));
    assert_eq!(lines, ["connected /test/", "sendcmpct", "ping", "feefilter", "inv block 25"]);
    let _ = table.disconnected(other);
    let inventory = [Inventory::block(INV_BLOCK, tip)];
    assert_eq!(table.ask(conn, &Message::Inv(inventory.as_slice().into())), [""; 0]);
}

#[test]
fn a_peer_that_has_a_block_is_not_told_of_it() {
    let (mut table, conn) = table(false, false);
    let left = branch(table.hash(20), 21, 1, 0);
    let best = branch(table.hash(20), 21, 2, 1);
    table.name("", 21, &left);
    table.name("b", 21, &best);
    assert_eq!(table.command(Command::Extend(left.clone())), ["tip 21", "inv block 21"]);
    let reorganise = Command::Reorganise { fork_height: 20, blocks: best };
    assert_eq!(table.command(reorganise), ["tip 22", "inv block b22"]);
    let inventory = [Inventory::block(INV_BLOCK, left[0].block_hash())];
    table.ask(conn, &Message::Inv(inventory.as_slice().into()));
    // It becomes the best chain again, with two more; the first of them is no news, the last is.
    let mut blocks = left;
    blocks.extend(branch(blocks[0].block_hash(), 22, 2, 0));
    table.name("", 21, &blocks);
    table.ask(conn, &Message::SendHeaders);
    let reorganise = Command::Reorganise { fork_height: 20, blocks };
    assert_eq!(table.command(reorganise), ["tip 23", "headers 22 to 23"]);
}

#[test]
fn commands_that_can_not_be_carried_out_change_nothing() {
    let (mut table, _) = table(true, true);
    let tip = table.chain().tip();
    let good = branch(tip, 21, 2, 0);
    let mut missing = good.clone();
    let outpoint = bitcoin::OutPoint::new(good[0].txdata[0].compute_txid(), 7);
    let transactions =
        vec![common::coinbase(99, common::script(99)), common::spend(outpoint, common::script(1))];
    missing[1] = common::block(good[0].block_hash(), 0, transactions);
    let swapped = vec![good[1].clone(), good[0].clone()];
    let fork_at = |fork_height, blocks| Command::Reorganise { fork_height, blocks };
    let equal = branch(table.hash(18), 19, 2, 1);
    let mut bad = branch(table.hash(18), 19, 4, 1);
    bad[3] = common::block(bad[2].block_hash(), 0, missing[1].txdata.clone());
    for (command, expected) in [
        (Command::Extend(vec![]), "there is no block".to_string()),
        (
            Command::Extend(swapped),
            format!("block {} does not follow the one before it", good[1].block_hash()),
        ),
        (Command::Extend(missing), format!("the block spends {outpoint}, which is not known")),
        (fork_at(21, good.clone()), "the chain has no block at height 21".to_string()),
        (fork_at(u32::MAX, good.clone()), "the chain has no block at height 4294967295".to_string()),
        (fork_at(18, equal), "the new branch has no more work than the old one".to_string()),
        (fork_at(18, bad), format!("the block spends {outpoint}, which is not known")),
    ] {
        assert_eq!(table.command(command), [format!("rejected: {expected}")]);
        assert_eq!((table.chain().tip(), table.chain().height()), (tip, 20));
    }
    // What was undone on the way is whole again.
    table.name("", 21, &good);
    assert_eq!(table.command(Command::Extend(good)), ["tip 22", "headers 21 to 22"]);
}

#[test]
fn a_transaction_may_spend_across_a_reorganisation() {
    let (mut table, _) = table(true, true);
    let outpoint = bitcoin::OutPoint::new(common::blocks(4)[3].txdata[0].compute_txid(), 0);
    let spending = |height: u32, tag| {
        let transactions =
            vec![common::coinbase(tag, common::script(tag)), common::spend(outpoint, common::script(tag))];
        (height, transactions)
    };
    let (_, transactions) = spending(21, 1000);
    let first = vec![common::block(table.hash(20), 0, transactions)];
    table.name("a", 21, &first);
    assert_eq!(table.command(Command::Extend(first.clone())), ["tip 21", "headers a21 to a21"]);
    // Spent already.
    let (_, transactions) = spending(22, 1001);
    let again = vec![common::block(first[0].block_hash(), 0, transactions)];
    assert!(table.command(Command::Extend(again))[0].starts_with("rejected: the block spends"));
    // On another branch it is not.
    let (_, transactions) = spending(21, 1002);
    let mut other = vec![common::block(table.hash(20), 0, transactions)];
    other.extend(branch(other[0].block_hash(), 22, 1, 3));
    table.name("b", 21, &other);
    let command = Command::Reorganise { fork_height: 20, blocks: other };
    assert_eq!(table.command(command), ["tip 22", "headers b21 to b22"]);
}
