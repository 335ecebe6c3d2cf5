//! What blocks say of transactions, and what finds the blocks.

use andon_bitcoin::broadcast::{FINAL_DEPTH, Options, State, Submission};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, ScriptBuf, Transaction, TxOut, WPubkeyHash, WScriptHash, Witness};

use super::common::script;
use super::table::{Table, block, coin, one, output, spend};

#[test]
fn a_block_ends_the_broadcast() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let peer = table.peer();
    table.told();
    assert!(!table.in_block(&one(9), 6));
    assert!(table.in_block(&transaction, 7));
    assert_eq!(table.state(&txid), State::Confirmed { block: block(7) });
    assert!(!table.outgoing.needs_peers());
    assert!(!table.ask(peer, &transaction));
    assert_eq!(table.pass(super::table::HOUR), []);
    assert_eq!(table.notices(), ["a waiting", "a announced", "a confirmed 7"]);
}

#[test]
fn a_transaction_that_spends_the_same_ends_it_and_what_spends_it() {
    let parent = spend(&[coin(1), coin(2)], 1);
    let child = spend(&[output(&parent, 0)], 1);
    let stranger = spend(&[coin(3), coin(2)], 1);
    let mut table = Table::new();
    let txids = table.submit_all(&[("p", &parent, None), ("c", &child, None)], &Options::default());
    assert!(table.in_block(&stranger, 7));
    let expected = State::Conflicted { by: stranger.compute_txid(), block: block(7) };
    assert_eq!([table.state(&txids[0]), table.state(&txids[1])], [expected; 2]);
    // What it looked like before the block.
    table.notices();
    table.outgoing.rewind(6, table.now.instant);
    let mut lines = table.notices();
    lines.sort();
    assert_eq!(lines, ["c waiting", "p waiting"]);
    table.outgoing.wake(table.now);
    let peer = table.peer();
    assert_eq!(table.announce(), [(peer, vec!["p", "c"])]);
}

#[test]
fn a_child_in_a_block_says_that_its_parent_is_in_one() {
    let parent = one(1);
    let child = spend(&[output(&parent, 0)], 1);
    let mut table = Table::new();
    let txids = table.submit_all(&[("p", &parent, None), ("c", &child, None)], &Options::default());
    table.in_block(&child, 7);
    assert_eq!([table.state(&txids[0]), table.state(&txids[1])], [State::Confirmed { block: block(7) }; 2]);
    // Where it really was is told when it is found; the child does not move it up again.
    table.in_block(&parent, 5);
    table.in_block(&child, 7);
    assert_eq!(table.state(&txids[0]), State::Confirmed { block: block(5) });
    // A fork between the two leaves it where it is.
    table.outgoing.rewind(6, table.now.instant);
    assert_eq!(table.state(&txids[0]), State::Confirmed { block: block(5) });
    assert_eq!(table.state(&txids[1]), State::Waiting);
}

#[test]
fn a_reorganisation_begins_it_again() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    let [first, second] = table.peers();
    let told = table.told()[0];
    table.ask(told, &transaction);
    table.hear(if told == first { second } else { first }, &transaction);
    table.in_block(&transaction, 7);
    for fork in [7, 8, u32::MAX] {
        table.outgoing.rewind(fork, table.now.instant);
        assert_eq!(table.state(&txid), State::Confirmed { block: block(7) });
    }
    table.outgoing.rewind(6, table.now.instant);
    assert_eq!(table.state(&txid), State::Seen);
    table.outgoing.wake(table.now);
    assert_eq!(table.told().len(), 1, "it is told of again: mempools may have lost it");
    table.in_block(&transaction, 8);
    assert_eq!(table.state(&txid), State::Confirmed { block: block(8) });
}

#[test]
fn what_is_buried_is_forgotten() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    table.submit("b", &one(2));
    table.in_block(&transaction, 7);
    table.outgoing.bury(7 + FINAL_DEPTH - 2);
    assert!(table.outgoing.find(&txid).is_some());
    table.outgoing.bury(7 + FINAL_DEPTH - 1);
    assert!(table.outgoing.find(&txid).is_none());
    assert_eq!(table.outgoing.len(), 1);
    table.outgoing.bury(u32::MAX);
    assert_eq!(table.outgoing.len(), 1, "what is in no block is not buried");
}

/// A child is found by its parent's output: while it may be in a block, or leave one, the parent is kept too.
#[test]
fn a_parent_is_buried_with_its_children() {
    let parent = one(1);
    let child = spend(&[output(&parent, 0)], 1);
    let grandchild = spend(&[output(&child, 0)], 1);
    let mut table = Table::new();
    let family = [("p", &parent, None), ("c", &child, None), ("g", &grandchild, None)];
    table.submit_all(&family, &Options::default());
    table.submit("stranger", &one(2));
    for transaction in [&parent, &one(2)] {
        table.in_block(transaction, 7);
    }
    let found_by = |table: &Table| table.outgoing.scripts().contains(&parent.output[0].script_pubkey);
    table.outgoing.bury(7 + FINAL_DEPTH);
    assert_eq!(table.outgoing.len(), 3, "the stranger is forgotten");
    assert!(found_by(&table));
    // In a block that may be replaced yet.
    table.in_block(&child, 150);
    table.in_block(&grandchild, 160);
    table.outgoing.bury(150 + FINAL_DEPTH);
    assert_eq!(table.outgoing.len(), 3);
    table.outgoing.rewind(149, table.now.instant);
    assert!(found_by(&table));
    table.in_block(&child, 155);
    table.in_block(&grandchild, 160);
    table.outgoing.bury(160 + FINAL_DEPTH - 2);
    assert_eq!(table.outgoing.len(), 3);
    table.outgoing.bury(160 + FINAL_DEPTH - 1);
    assert!(table.outgoing.is_empty());
}

#[test]
fn nothing_is_believed_before_the_block_is_checked() {
    let mut table = Table::new();
    let transaction = one(1);
    let txid = table.submit("a", &transaction);
    assert!(table.outgoing.touch(txid, &transaction).is_some());
    assert_eq!(table.state(&txid), State::Waiting);
}

/// A transaction's witness, its outputs, the scripts that are given, and those that find it.
type Found<'a> = (&'a [Vec<u8>], &'a [TxOut], &'a [ScriptBuf], &'a [ScriptBuf]);

#[test]
fn the_scripts_that_find_it() {
    let paying = |script: ScriptBuf| TxOut { value: Amount::from_sat(1000), script_pubkey: script };
    let data = paying(ScriptBuf::new_op_return([1, 2, 3]));
    let with = |witness: &[Vec<u8>], outputs: &[TxOut]| Transaction {
        output: outputs.to_vec(),
        ..{
            let mut transaction = one(1);
            transaction.input[0].witness = Witness::from_slice(witness);
            transaction
        }
    };
    let (key, signature) = (vec![2; 33], {
        let mut signature = vec![0x30; 71];
        signature[1] = 68;
        signature
    });
    let taproot = [vec![7; 64]];
    let p2wpkh = ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(&key));
    let as_script = ScriptBuf::new_p2wsh(&WScriptHash::hash(&key));
    let given = script(77);
    let cases: [Found<'_>; 5] = [
        (&[signature, key], &[paying(script(5))], &[], &[p2wpkh, as_script]),
        (&taproot, &[data.clone(), paying(script(5)), paying(script(6))], &[], &[script(5)]),
        (&taproot, &[paying(script(5))], std::slice::from_ref(&given), std::slice::from_ref(&given)),
        (&taproot, std::slice::from_ref(&data), &[], &[]),
        (&taproot, &[paying(ScriptBuf::new()), paying(script(9))], &[], &[script(9)]),
    ];
    for (witness, outputs, given, expected) in cases {
        let mut table = Table::new();
        let transaction = with(witness, outputs);
        let submission = Submission { spent_scripts: given.to_vec(), ..Submission::new(transaction.clone()) };
        let before = table.outgoing.scripts_version();
        table.outgoing.submit(vec![submission], &Options::default(), table.now).unwrap();
        assert_ne!(table.outgoing.scripts_version(), before);
        let scripts = table.outgoing.scripts();
        assert!(expected.iter().all(|script| scripts.contains(script)), "{scripts:?}");
        assert!(scripts.len() <= expected.len() + 1, "{scripts:?}");
        // Once it is in a block nothing is looked for.
        let before = table.outgoing.scripts_version();
        table.in_block(&transaction, 3);
        assert_ne!(table.outgoing.scripts_version(), before);
        assert_eq!(table.outgoing.scripts().len(), 0);
        table.outgoing.rewind(2, table.now.instant);
        assert_eq!(table.outgoing.scripts(), scripts);
    }
    // A child is found by its parent's output.
    let parent = one(1);
    let mut child = spend(&[output(&parent, 0)], 1);
    child.input[0].witness = Witness::from_slice(&taproot);
    let mut table = Table::new();
    table.submit_all(&[("p", &parent, None), ("c", &child, None)], &Options::default());
    assert!(table.outgoing.scripts().contains(&parent.output[0].script_pubkey));
    assert!(!table.outgoing.scripts().contains(&child.output[0].script_pubkey));
}
