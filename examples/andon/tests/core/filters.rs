//! Filters and filter headers that we compute from Core's blocks, against those that Core computes itself.

use std::collections::BTreeMap;

use andon_bitcoin::filter;
use andon_bitcoin::server::Chain;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash;
use bitcoin::hex::DisplayHex;
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG, OP_PUSHNUM_1, OP_PUSHNUM_2, OP_RETURN};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{BlockHash, FilterHeader, OutPoint, ScriptBuf, Transaction, TxOut};
use serde_json::json;

use crate::bitcoind::Bitcoind;
use crate::miner::{Lock, Miner, coin_of, transaction};

/// Output scripts of every type that is common, and of some that are not.
fn scripts() -> Vec<ScriptBuf> {
    let hex = |text: &str| ScriptBuf::from_hex(text).unwrap();
    let key = [2; 33];
    let push = |length: usize| {
        Builder::new().push_slice(PushBytesBuf::try_from(vec![7; length]).unwrap()).into_script()
    };
    let mut scripts: Vec<ScriptBuf> = Lock::series(10, 10).into_iter().map(|lock| lock.script).collect();
    scripts.extend([
        ScriptBuf::new(),
        Builder::new().push_slice(key).push_opcode(OP_CHECKSIG).into_script(),
        Builder::new()
            .push_opcode(OP_PUSHNUM_1)
            .push_slice(key)
            .push_slice(key)
            .push_opcode(OP_PUSHNUM_2)
            .push_opcode(OP_CHECKMULTISIG)
            .into_script(),
        Builder::new().push_opcode(OP_RETURN).into_script(),
        Builder::new().push_opcode(OP_RETURN).push_slice([1; 40]).into_script(),
        // Only the first byte makes it a data output.
        Builder::new().push_int(1).push_opcode(OP_RETURN).into_script(),
        // A pay-to-anchor output, a witness program of a later version, and one that is cut off.
        hex("51024e73"),
        hex("6014aabbccddeeff00112233445566778899aabbccdd"),
        hex("4c"),
        hex("ff"),
        push(520),
        hex(&"61".repeat(10_001)),
    ]);
    scripts
}

#[test]
fn ours_are_those_of_core() {
    let Some(node) = Bitcoind::start() else { return };
    let locks = Lock::series(11, 10);
    let mut miner = Miner::new(&node);
    miner.history(30, &locks);

    let scripts = scripts();
    let all = miner.pay(scripts.iter().map(|script| (script.clone(), 1000)));
    let empty = OutPoint::new(
        all.compute_txid(),
        scripts.iter().position(|script| script.is_empty()).unwrap() as u32,
    );
    // Paid twice in a block, and spent in the block that they are paid in.
    let twice = miner.pay([(locks[0].script.clone(), 700), (locks[0].script.clone(), 800)]);
    let within = miner.spend(&[coin_of(&twice, 1, locks[0].clone())], locks[1].script.clone(), 600);
    miner.block(&[all, twice, within]);
    // What spends an output without a script must leave something true.
    let mut spends_empty: Transaction = transaction(
        [empty],
        vec![TxOut { value: bitcoin::Amount::from_sat(900), script_pubkey: ScriptBuf::new() }],
    );
    spends_empty.input[0].script_sig = Builder::new().push_int(1).into_script();
    miner.block(&[spends_empty]);
    // A block of data outputs alone has an empty filter.
    miner.block_for(&Builder::new().push_opcode(OP_RETURN).push_slice([9; 8]).into_script(), &[]);
    node.wait_for_filters();

    let blocks = node.blocks_from(0);
    let chain = Chain::new(blocks.iter().cloned()).unwrap();
    let mut outputs: BTreeMap<OutPoint, ScriptBuf> = BTreeMap::new();
    let mut header = FilterHeader::all_zeros();
    let (mut bytes, mut empty) = (0, 0);
    for block in &blocks {
        let hash: BlockHash = block.block_hash();
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            for (output, number) in transaction.output.iter().zip(0..) {
                outputs.insert(OutPoint::new(txid, number), output.script_pubkey.clone());
            }
        }
        // What Core says that was spent is what we looked up.
        let spent = node.call("getblock", json!([hash.to_string(), 3]));
        let inputs = block.txdata.iter().skip(1).flat_map(|transaction| &transaction.input);
        let told =
            spent["tx"].as_array().unwrap().iter().skip(1).flat_map(|tx| tx["vin"].as_array().unwrap());
        let previous: BTreeMap<OutPoint, ScriptBuf> = inputs
            .zip(told)
            .map(|(input, told)| {
                let script = told["prevout"]["scriptPubKey"]["hex"].as_str().unwrap();
                (input.previous_output, ScriptBuf::from_hex(script).unwrap())
            })
            .collect();
        assert!(previous.iter().all(|(outpoint, script)| outputs.get(outpoint) == Some(script)));

        let ours = filter::basic(block, |outpoint| previous.get(outpoint)).unwrap();
        header = filter::header(filter::hash(&ours), header);
        let core = node.call("getblockfilter", json!([hash.to_string(), "basic"]));
        assert_eq!(ours.to_lower_hex_string(), core["filter"], "{}", serialize_hex(block));
        assert_eq!(header.to_string(), core["header"]);
        assert_eq!(chain.filter_header(&hash), Some(header));
        bytes += ours.len();
        empty += usize::from(ours == [0]);
    }
    assert_eq!(empty, 1);
    println!("{} filters of {bytes} bytes and their headers are those of Core", blocks.len());
}
