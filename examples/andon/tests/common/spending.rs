//! Transactions to broadcast to our own nodes, which look at no signatures, and what is to come of it.

use std::collections::BTreeSet;

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxIn, TxOut};

use super::{Ended, blocks};

/// Transactions that each spend the coinbase of a block of the bundled chain, which nothing in the chain does.
pub(crate) fn spending() -> impl Iterator<Item = Transaction> {
    let chain = blocks(0..290);
    let transactions = chain.iter().flat_map(|block| &block.txdata);
    let spent: BTreeSet<OutPoint> =
        transactions.flat_map(|transaction| &transaction.input).map(|input| input.previous_output).collect();
    let coinbases = chain.into_iter().skip(1).map(|block| OutPoint::new(block.txdata[0].compute_txid(), 0));
    coinbases.filter(move |outpoint| !spent.contains(outpoint)).map(|previous_output| {
        let input = TxIn { previous_output, ..TxIn::default() };
        let script_pubkey = ScriptBuf::from_bytes([&[0x00, 0x20][..], &[7; 32]].concat());
        let output = TxOut { value: Amount::from_sat(1000), script_pubkey };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![input],
            output: vec![output],
        }
    })
}

/// Demands that a broadcast went well, as far as another than the one that was told.
#[track_caller]
pub(crate) fn assert_spread(ended: &Ended) {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let objects = ended.objects();
    let states = objects.iter().filter(|object| object["event"] == "broadcast");
    let states: Vec<&str> = states.map(|object| object["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["waiting", "announced", "sent", "seen"], "{ended:?}");
}
