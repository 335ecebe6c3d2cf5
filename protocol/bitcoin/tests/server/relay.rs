//! Transactions: asked for, kept, told to others, and served.

use std::time::Duration;

use andon_bitcoin::server::{Command, Config};
use andon_bitcoin::wire::{INV_TX, INV_WITNESS_TX, INV_WTX, Inventory, Message, Version};
use andon_kernel::ConnId;
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Transaction, Witness};

use crate::common;
use crate::table::{Table, bytes, config};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A peer that wants to hear of transactions.
pub(super) fn connect(table: &mut Table, by_wtxid: bool) -> ConnId {
    let (conn, _) = table.accept();
    let Message::Version(mut version) = crate::table::version() else { panic!() };
    version.relay = true;
    let said: Version<'_> = version;
    let mut hello = bytes(&Message::Version(said));
    if by_wtxid {
        hello.extend(bytes(&Message::WtxidRelay));
    }
    hello.extend(bytes(&Message::Verack));
    table.receive(conn, &hello);
    conn
}

pub(super) fn table_with(config: Config) -> Table {
    Table::with(config, common::blocks(5))
}

/// As many outputs in one transaction, and transactions that spend one each.
pub(super) fn fan(count: u32) -> (Transaction, Vec<Transaction>) {
    let mut root = spend(1);
    root.output = vec![root.output[0].clone(); count as usize];
    let txid = root.compute_txid();
    let spends = |vout| common::spend(OutPoint::new(txid, vout), common::script(u64::from(vout) + 1000));
    (root, (0..count).map(spends).collect())
}

/// A transaction that spends the coinbase at a height, with a witness.
pub(super) fn spend(height: u32) -> Transaction {
    let number = u64::from(height);
    let coinbase = common::blocks(5)[height as usize].txdata[0].compute_txid();
    let mut transaction = common::spend(OutPoint::new(coinbase, 0), common::script(number + 50));
    transaction.input[0].witness = Witness::from_slice(&[[1; 10]]);
    transaction
}

pub(super) fn child(parent: &Transaction) -> Transaction {
    common::spend(OutPoint::new(parent.compute_txid(), 0), common::script(99))
}

pub(super) fn wtx(transaction: &Transaction) -> Inventory {
    Inventory { kind: INV_WTX, hash: transaction.compute_wtxid().to_byte_array() }
}

pub(super) fn tx(transaction: &Transaction, kind: u32) -> Inventory {
    Inventory { kind, hash: transaction.compute_txid().to_byte_array() }
}

pub(super) fn announce(table: &mut Table, conn: ConnId, inventory: Inventory) -> Vec<String> {
    table.ask(conn, &Message::Inv([inventory].as_slice().into()))
}

pub(super) fn ask_for(table: &mut Table, conn: ConnId, inventory: Inventory) -> Vec<String> {
    table.ask(conn, &Message::GetData([inventory].as_slice().into()))
}

pub(super) fn send(table: &mut Table, conn: ConnId, transaction: &Transaction) -> Vec<String> {
    table.ask(conn, &Message::Tx(&bitcoin::consensus::serialize(transaction)))
}

#[test]
fn an_announced_transaction_is_asked_for_kept_and_told_to_others() {
    for by_wtxid in [true, false] {
        let mut table = table_with(config());
        let from = connect(&mut table, by_wtxid);
        let transaction = spend(1);
        let name = if by_wtxid { wtx(&transaction) } else { tx(&transaction, INV_TX) };
        assert_eq!(announce(&mut table, from, name), [""; 0]);
        assert_eq!(table.pass(2 * SECOND - Duration::from_micros(1)), [""; 0]);
        let expected = if by_wtxid { "getdata wtx" } else { "getdata witness tx" };
        assert_eq!(table.pass(Duration::from_micros(1)), [expected]);
        let to = connect(&mut table, true);
        let old = connect(&mut table, false);
        let deaf = table.connect();
        assert_eq!(send(&mut table, from, &transaction), ["kept"]);
        assert_eq!(table.machine().transactions(), [transaction.compute_txid()]);
        let mut lines = table.pass(3 * SECOND);
        lines.sort();
        assert_eq!(lines, ["inv tx", "inv wtx"]);
        // Whoever was told gets it.
        for (conn, name) in [(to, wtx(&transaction)), (old, tx(&transaction, INV_WITNESS_TX))] {
            assert_eq!(ask_for(&mut table, conn, name), [format!("tx {}", transaction.total_size())]);
        }
        let bare = tx(&transaction, INV_TX);
        assert_eq!(ask_for(&mut table, old, bare), [format!("tx {}", transaction.base_size())]);
        assert_eq!(ask_for(&mut table, deaf, bare), [""; 0], "it wants to hear of none");
        // It is not asked for again, nor told to whoever is known to have it.
        assert_eq!(announce(&mut table, to, wtx(&transaction)), [""; 0]);
        assert_eq!(send(&mut table, to, &transaction), [""; 0]);
        let lines = table.pass(30 * SECOND);
        assert_eq!(lines, [""; 0]);
    }
}

#[test]
fn whoever_has_agreed_to_wtxids_announces_nothing_else() {
    for (by_wtxid, kind) in [(true, INV_TX), (false, INV_WTX), (true, INV_WITNESS_TX)] {
        let mut table = table_with(config());
        let conn = connect(&mut table, by_wtxid);
        let transaction = spend(1);
        announce(&mut table, conn, Inventory { kind, ..wtx(&transaction) });
        assert_eq!(table.pass(10 * SECOND), [""; 0]);
    }
}

#[test]
fn another_is_asked_when_the_first_does_not_answer() {
    // How the first one fails, and after how long the second is asked.
    enum Fails {
        SaysNothing,
        SaysSo,
        Leaves,
        SendsAnother,
    }
    for (fails, seconds) in
        [(Fails::SaysNothing, 57), (Fails::SaysSo, 0), (Fails::Leaves, 0), (Fails::SendsAnother, 57)]
    {
        for first_is_older in [true, false] {
            let mut table = table_with(config());
            let (older, newer) = (connect(&mut table, true), connect(&mut table, true));
            let (first, second) = if first_is_older { (older, newer) } else { (newer, older) };
            let transaction = spend(1);
            for conn in [first, second] {
                announce(&mut table, conn, wtx(&transaction));
                table.pass(Duration::from_micros(1));
            }
            assert_eq!(table.pass(5 * SECOND - Duration::from_micros(2)), ["getdata wtx"]);
            assert_eq!(table.sent_last(), first);
            match fails {
                Fails::SaysNothing => {}
                Fails::SaysSo => {
                    table.ask(first, &Message::NotFound([wtx(&transaction)].as_slice().into()));
                }
                Fails::Leaves => assert_eq!(table.disconnected(first).len(), 1),
                Fails::SendsAnother => assert_eq!(send(&mut table, first, &spend(2)), ["kept"]),
            }
            if seconds > 0 {
                let wait = (seconds * SECOND).checked_sub(Duration::from_micros(1)).unwrap();
                let mut lines = table.pass(wait);
                lines.retain(|line| line != "inv wtx");
                assert_eq!(lines, [""; 0]);
            }
            assert_eq!(table.pass(Duration::from_micros(1)), ["getdata wtx"]);
            assert_eq!(table.sent_last(), second);
            assert_eq!(table.pass(200 * SECOND), [""; 0], "nobody is left, and nobody is asked twice");
            assert_eq!(send(&mut table, second, &transaction), ["kept"]);
        }
    }
}

#[test]
fn what_came_under_another_name_is_waited_for_no_longer() {
    let mut table = table_with(config());
    let (old, new) = (connect(&mut table, false), connect(&mut table, true));
    let (root, spends) = fan(101);
    table.command(Command::AddTransaction(root));
    table.pass(3 * SECOND);
    let (last, all) = spends.split_last().unwrap();
    // As many as are asked of one peer at a time; another sends them, without a question.
    for transaction in all {
        assert_eq!(announce(&mut table, old, tx(transaction, INV_TX)), [""; 0]);
    }
    let asked =
        |lines: &[String]| lines.iter().map(|line| line.matches(" witness tx").count()).sum::<usize>();
    assert_eq!(asked(&table.pass(2 * SECOND)), 100);
    for transaction in all {
        assert_eq!(send(&mut table, new, transaction), ["kept"]);
    }
    table.pass(70 * SECOND);
    announce(&mut table, old, tx(last, INV_TX));
    assert_eq!(table.pass(2 * SECOND), ["getdata witness tx"]);
}

#[test]
fn what_went_and_comes_again_is_told_again() {
    for hears_only in [true, false] {
        let mut table = table_with(config());
        let conn = connect(&mut table, true);
        let lost = spend(4);
        let offers = |table: &mut Table| {
            if !hears_only {
                announce(table, conn, wtx(&lost));
            }
        };
        table.command(Command::AddTransaction(lost.clone()));
        offers(&mut table);
        assert_eq!(table.pass(3 * SECOND).len(), usize::from(hears_only));
        // A branch without the coinbase that it spends, and then one that has it again.
        let old: Vec<_> = common::blocks(7).split_off(4);
        let other = common::branch(table.hash(3), 4, 2, 9);
        table.command(Command::Reorganise { fork_height: 3, blocks: other });
        assert_eq!(table.machine().transactions(), []);
        table.command(Command::Reorganise { fork_height: 3, blocks: old });
        table.command(Command::AddTransaction(lost.clone()));
        assert_eq!(table.pass(3 * SECOND), ["inv wtx"]);
    }
}

#[test]
fn nothing_is_asked_or_told_while_an_answer_waits_to_be_taken() {
    let mut table = table_with(config());
    let (conn, other) = (connect(&mut table, true), connect(&mut table, true));
    for height in 1..4 {
        let mut transaction = spend(height);
        transaction.input[0].witness = Witness::from_slice(&[vec![0; 150_000]]);
        table.command(Command::AddTransaction(transaction));
    }
    table.pass(3 * SECOND);
    let names: Vec<_> = table
        .machine()
        .transactions()
        .iter()
        .map(|txid| Inventory { kind: INV_WITNESS_TX, hash: txid.to_byte_array() })
        .collect();
    // It announces one, and then asks for more than it takes.
    let announced = [Inventory { kind: INV_WTX, hash: [5; 32] }];
    let said = [
        bytes(&Message::Inv(announced.as_slice().into())),
        bytes(&Message::GetData(names.as_slice().into())),
    ];
    let lines = table.receive(conn, &said.concat());
    assert_eq!(lines.last().map(String::as_str), Some("flush"), "{lines:?}");
    assert_eq!(send(&mut table, other, &spend(4)), ["kept"]);
    assert_eq!(table.pass(10 * SECOND), [""; 0]);
    let mut lines = Vec::new();
    while table.waits(conn) {
        lines.extend(table.drain(conn));
    }
    lines.retain(|line| !line.starts_with("tx "));
    assert_eq!(lines, ["getdata wtx", "inv wtx", "resume"]);
}

#[test]
fn a_thousand_are_told_at_once() {
    let mut table = table_with(config());
    connect(&mut table, true);
    let (root, spends) = fan(2500);
    for transaction in [root].into_iter().chain(spends) {
        assert_eq!(table.command(Command::AddTransaction(transaction)), ["kept"]);
    }
    let counts: Vec<_> = table.pass(2 * SECOND).iter().map(|line| line.matches(" wtx").count()).collect();
    assert_eq!(counts, [1000, 1000, 501]);
}

#[test]
fn what_spends_what_does_not_exist_or_is_spent_is_not_kept() {
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    let transaction = spend(1);
    assert_eq!(send(&mut table, conn, &transaction), ["kept"]);
    let mut rival = transaction.clone();
    rival.output[0].script_pubkey = common::script(1234);
    let mut bottomless = child(&transaction);
    bottomless.input[0].previous_output.vout = 7;
    let mut twice = spend(2);
    twice.input.push(twice.input[0].clone());
    let mut hollow = spend(2);
    hollow.output.clear();
    let mut heavy = spend(2);
    heavy.input[0].witness = Witness::from_slice(&[vec![0; 400_000]]);
    let coinbase = common::coinbase(5, common::script(5));
    for refused in [&transaction, &rival, &bottomless, &twice, &hollow, &heavy, &coinbase] {
        assert_eq!(send(&mut table, conn, refused), [""; 0]);
        let lines = table.command(Command::AddTransaction(refused.clone()));
        assert_eq!(lines, ["rejected: the transaction is not taken"]);
    }
    assert_eq!(table.ask(conn, &Message::Tx(&[1, 2, 3])), [""; 0]);
    assert_eq!(table.machine().transactions(), [transaction.compute_txid()]);
    let good = spend(3);
    assert_eq!(table.command(Command::AddTransaction(good)), ["kept"]);
    assert_eq!(table.pass(3 * SECOND), ["inv wtx"]);
}

#[test]
fn what_is_kept_has_an_end() {
    let mut config = config();
    let large = |height| {
        let mut transaction = spend(height);
        transaction.input[0].witness = Witness::from_slice(&[vec![0; 100_000]]);
        transaction
    };
    config.mempool_bytes = 250_000;
    let mut table = table_with(config.clone());
    let conn = connect(&mut table, true);
    let kept: Vec<_> = (1..5)
        .map(|height| {
            let transaction = large(height);
            send(&mut table, conn, &transaction).len()
        })
        .collect();
    assert_eq!(kept, [1, 1, 0, 0]);
    // None at all, without a question asked.
    config.mempool_bytes = 0;
    let mut table = table_with(config);
    let conn = connect(&mut table, true);
    let transaction = spend(1);
    announce(&mut table, conn, wtx(&transaction));
    assert_eq!(table.pass(10 * SECOND), [""; 0]);
    assert_eq!(send(&mut table, conn, &transaction), [""; 0]);
    // Nor for its parent.
    assert_eq!(send(&mut table, conn, &child(&transaction)), [""; 0]);
    assert_eq!(table.pass(10 * SECOND), [""; 0]);
}

#[test]
fn announcements_without_end_are_bounded() {
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    for turn in 0..3u32 {
        let names: Vec<Inventory> = (0..50_000u32)
            .map(|number| {
                let mut hash = [7; 32];
                hash[..4].copy_from_slice(&number.to_le_bytes());
                hash[4..8].copy_from_slice(&turn.to_le_bytes());
                Inventory { kind: INV_WTX, hash }
            })
            .collect();
        table.ask(conn, &Message::Inv(names.as_slice().into()));
    }
    // A hundred at a time, for a minute each; 5,000 in all.
    let lines = table.pass(60 * SECOND);
    assert_eq!(lines.iter().map(|line| line.matches(" wtx").count()).sum::<usize>(), 100);
}

#[test]
fn blocks_take_out_what_they_have_and_what_it_contradicts() {
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    let (first, second, third) = (spend(1), spend(2), spend(3));
    let lost = child(&second);
    for transaction in [&first, &second, &third, &lost] {
        assert_eq!(send(&mut table, conn, transaction), ["kept"]);
    }
    let mut rival = second.clone();
    rival.output[0].script_pubkey = common::script(1234);
    let block = common::block(table.hash(4), 1, vec![common::coinbase(77, common::script(7)), first, rival]);
    table.command(Command::Extend(vec![block]));
    assert_eq!(table.machine().transactions(), [third.compute_txid()]);
    // What spends an output of a block that is replaced goes with it.
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    let lost = spend(4);
    send(&mut table, conn, &lost);
    let blocks = common::branch(table.hash(3), 4, 2, 9);
    table.command(Command::Reorganise { fork_height: 3, blocks });
    assert_eq!(table.machine().transactions(), []);
}

#[test]
fn whoever_takes_none_disconnects_who_announces_one() {
    let mut config = config();
    config.relay = false;
    let mut table = table_with(config);
    let transaction = spend(1);
    for inventory in [true, false] {
        let conn = connect(&mut table, true);
        let lines = if inventory {
            announce(&mut table, conn, wtx(&transaction))
        } else {
            send(&mut table, conn, &transaction)
        };
        assert_eq!(lines[0], "close");
    }
}

#[test]
fn large_transactions_go_out_in_slices() {
    let mut table = table_with(config());
    let conn = connect(&mut table, true);
    let mut names = Vec::new();
    for height in 1..5 {
        let mut transaction = spend(height);
        transaction.input[0].witness = Witness::from_slice(&[vec![0; 150_000]]);
        names.push(wtx(&transaction));
        table.command(Command::AddTransaction(transaction));
    }
    names.push(Inventory { kind: INV_WTX, hash: [3; 32] });
    let mut lines = table.receive(conn, &bytes(&Message::GetData(names.as_slice().into())));
    assert_eq!(lines.iter().filter(|line| line.starts_with("tx")).count(), 2, "{lines:?}");
    while table.waits(conn) {
        lines.extend(table.drain(conn));
    }
    assert_eq!(lines.iter().filter(|line| line.starts_with("tx")).count(), 4, "{lines:?}");
    assert!(lines.contains(&"notfound 1".into()));
}
