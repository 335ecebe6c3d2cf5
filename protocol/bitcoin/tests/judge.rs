//! Judging filters by their blocks: real blocks of every age, and each kind of spend on its own.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::collections::{BTreeMap, HashMap};

use andon_bitcoin::filter::{self, Omission, Place, omission};
use bitcoin::hashes::Hash;
use bitcoin::key::{Secp256k1, UntweakedPublicKey};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::taproot::{LeafVersion, TaprootBuilder};
use bitcoin::{Block, BlockHash, OutPoint, PubkeyHash, Script, ScriptBuf, WPubkeyHash, Witness};

use common::{LargeBlock, RUNS, chain_data, decode, framed_blocks, large_blocks};

/// What nothing is known of but the block.
fn unknown(_: &OutPoint) -> Option<ScriptBuf> {
    None
}

/// The filter of a block whose inputs spend `spent`, without `left_out`.
fn filter_without(block: &Block, spent: &[ScriptBuf], left_out: &Script) -> Vec<u8> {
    let outputs = block.txdata.iter().flat_map(|transaction| &transaction.output);
    let created =
        outputs.map(|output| output.script_pubkey.as_bytes()).filter(|script| script.first() != Some(&0x6a));
    let all = created.chain(spent.iter().map(|script| script.as_bytes()));
    filter::build(&block.block_hash(), all.filter(|script| *script != left_out.as_bytes()))
}

fn kind(script: &Script) -> &'static str {
    match script {
        script if script.is_p2pkh() => "P2PKH",
        script if script.is_p2sh() => "P2SH",
        script if script.is_p2wpkh() => "P2WPKH",
        script if script.is_p2wsh() => "P2WSH",
        script if script.is_p2tr() => "P2TR",
        script if script.is_p2pk() => "P2PK",
        _ => "other",
    }
}

#[test]
fn nothing_is_said_against_the_filters_of_real_chains() {
    let Some(folder) = chain_data() else { return };
    let mut inputs = 0;
    for (blocks, _) in RUNS {
        let mut scripts: HashMap<OutPoint, ScriptBuf> = HashMap::new();
        for bytes in framed_blocks(&folder.join(blocks)) {
            let block = decode(&bytes);
            for transaction in &block.txdata {
                let txid = transaction.compute_txid();
                for (vout, output) in (0..).zip(&transaction.output) {
                    scripts.insert(OutPoint { txid, vout }, output.script_pubkey.clone());
                }
                inputs += transaction.input.len();
            }
            let filter = filter::basic(&block, |outpoint| scripts.get(outpoint)).unwrap();
            assert_eq!(omission(&block, &filter, unknown), Ok(None), "{}", block.block_hash());
            assert_eq!(omission(&block, &filter, |outpoint| scripts.get(outpoint)), Ok(None));
        }
    }
    assert!(inputs > 10_000, "{inputs}");
}

/// Each script of a real block is left out in turn: an output's is always missed, and what an input spends is if the
/// input tells it.
#[test]
fn what_is_left_out_of_large_real_blocks_is_missed() {
    let Some(blocks) = large_blocks() else { return };
    let mut told: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for LargeBlock { name, block, spent, filter: honest } in blocks {
        assert_eq!(omission(&block, &honest, unknown), Ok(None), "{name}");

        let inputs: Vec<_> = block.txdata.iter().skip(1).flat_map(|transaction| &transaction.input).collect();
        assert_eq!(inputs.len(), spent.len());
        for script in spent.iter().filter(|script| !script.is_empty()).step_by(31) {
            let lie = filter_without(&block, &spent, script);
            let (all, missed) = told.entry(kind(script)).or_default();
            *all += 1;
            if let Some(found) = omission(&block, &lie, unknown).unwrap() {
                assert_eq!(found.script, *script, "{found:?}");
                *missed += 1;
            }
            // Whoever knows what is spent misses all of them.
            let by_outpoint: HashMap<_, _> =
                inputs.iter().map(|input| input.previous_output).zip(&spent).collect();
            let found = omission(&block, &lie, |outpoint| by_outpoint.get(outpoint)).unwrap().unwrap();
            assert_eq!(found.script, *script);
        }
        let outputs = block.txdata.iter().flat_map(|transaction| &transaction.output);
        for output in outputs.filter(|output| !output.script_pubkey.is_op_return()).step_by(97) {
            let script = &output.script_pubkey;
            let lie = filter_without(&block, &spent, script);
            let found = omission(&block, &lie, unknown).unwrap();
            assert_eq!(
                found.map(|found| found.script).as_ref(),
                Some(script).filter(|script| !script.is_empty())
            );
        }
    }
    println!("left out and missed: {told:?}");
    // Of taproot's signatures nothing is told; these are spends of outputs of the same block, or by script.
    for kind in ["P2PKH", "P2SH", "P2WPKH", "P2WSH"] {
        let (all, missed) = told[kind];
        assert!(all > 0 && missed == all, "{kind}: {missed} of {all}");
    }
}

fn key() -> Vec<u8> {
    let mut key = vec![2];
    key.extend_from_slice(&[0x79; 32]);
    key
}

fn signature() -> Vec<u8> {
    let mut signature = vec![0x30, 68];
    signature.resize(71, 2);
    signature
}

fn push(bytes: &[u8]) -> PushBytesBuf {
    PushBytesBuf::try_from(bytes.to_vec()).unwrap()
}

fn script_sig(pushes: &[&[u8]]) -> ScriptBuf {
    pushes.iter().fold(Builder::new(), |builder, bytes| builder.push_slice(push(bytes))).into_script()
}

/// Each kind of spend: its signature script, its witness, what it spends, and whether it tells that.
fn spends() -> Vec<(&'static str, ScriptBuf, Witness, ScriptBuf, bool)> {
    let (key, signature) = (key(), signature());
    let none = ScriptBuf::new();
    let by_key = Witness::from_slice(&[signature.clone(), key.clone()]);
    let program = ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(&key));
    let some_script = ScriptBuf::from_bytes(vec![0x51, 0x75, 0x51]);
    let by_script = Witness::from_slice(&[vec![1], some_script.to_bytes()]);
    let script_program = some_script.to_p2wsh();
    let multisig = Builder::new()
        .push_int(1)
        .push_slice(push(&key))
        .push_int(1)
        .push_opcode(bitcoin::opcodes::all::OP_CHECKMULTISIG)
        .into_script();
    let secp = Secp256k1::new();
    let internal: UntweakedPublicKey =
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
    let taproot = TaprootBuilder::new()
        .add_leaf(1, some_script.clone())
        .unwrap()
        .add_leaf(1, multisig.clone())
        .unwrap()
        .finalize(&secp, internal)
        .unwrap();
    let control = taproot.control_block(&(some_script.clone(), LeafVersion::TapScript)).unwrap();
    let path = [vec![1], some_script.to_bytes(), control.serialize()];
    let annexed = [path.to_vec(), vec![vec![0x50, 7]]].concat();
    let output = ScriptBuf::new_p2tr_tweaked(taproot.output_key());
    vec![
        (
            "P2PKH",
            script_sig(&[&signature, &key]),
            Witness::new(),
            ScriptBuf::new_p2pkh(&PubkeyHash::hash(&key)),
            true,
        ),
        (
            "P2SH",
            script_sig(&[&[], &signature, multisig.as_bytes()]),
            Witness::new(),
            multisig.to_p2sh(),
            true,
        ),
        ("P2WPKH", none.clone(), by_key.clone(), program.clone(), true),
        ("P2SH-P2WPKH", script_sig(&[program.as_bytes()]), by_key.clone(), program.to_p2sh(), true),
        ("P2WSH", none.clone(), by_script.clone(), script_program.clone(), true),
        ("P2SH-P2WSH", script_sig(&[script_program.as_bytes()]), by_script, script_program.to_p2sh(), true),
        (
            "a witness script that looks like a key",
            none.clone(),
            by_key,
            Script::from_bytes(&key).to_p2wsh(),
            true,
        ),
        ("taproot by script", none.clone(), Witness::from_slice(&path), output.clone(), true),
        ("taproot by script, annexed", none.clone(), Witness::from_slice(&annexed), output.clone(), true),
        ("taproot by key", none.clone(), Witness::from_slice(&[[7; 64]]), output.clone(), false),
        (
            "taproot by key, annexed",
            none.clone(),
            Witness::from_slice(&[vec![7; 64], vec![0x50]]),
            output,
            false,
        ),
        ("P2PK", script_sig(&[&signature]), Witness::new(), script_sig(&[&key]), false),
        ("bare multisig", script_sig(&[&[], &signature]), Witness::new(), multisig, false),
        ("a puzzle", script_sig(&[b"one", b"two"]), Witness::new(), some_script, false),
        ("nothing", none.clone(), Witness::new(), none, false),
    ]
}

#[test]
fn each_kind_of_spend_tells_what_it_tells() {
    for (name, script_sig, witness, spent, tells) in spends() {
        let outpoint = OutPoint { txid: bitcoin::Txid::from_byte_array([8; 32]), vout: 3 };
        let mut spend = common::spend(outpoint, vec![0x51].into());
        spend.input[0].script_sig = script_sig;
        spend.input[0].witness = witness;
        let block = common::block(
            BlockHash::all_zeros(),
            0,
            vec![common::coinbase(0, vec![0x52].into()), spend.clone()],
        );
        let honest = filter_without(&block, std::slice::from_ref(&spent), Script::from_bytes(&[0xff]));
        let lie = filter_without(&block, &[], Script::from_bytes(&[0xff]));

        assert_eq!(omission(&block, &honest, unknown), Ok(None), "{name}");
        assert_eq!(omission(&block, &honest, |_| Some(&spent)), Ok(None), "{name}");
        let found = omission(&block, &lie, unknown).unwrap();
        assert_eq!(found.is_some(), tells, "{name}: {found:?}");
        if let Some(found) = found {
            assert_eq!((found.txid, found.place), (spend.compute_txid(), Place::Input(0)), "{name}");
        }
        // Whoever knows the output misses it whatever the input tells.
        let found = omission(&block, &lie, |asked| (*asked == outpoint).then_some(&spent)).unwrap();
        let expected = Omission { txid: spend.compute_txid(), place: Place::Spent(0), script: spent.clone() };
        assert_eq!(found, Some(expected).filter(|_| !spent.is_empty()), "{name}");
        // What is held beyond that is no proof of anything.
        let more = filter_without(&block, &[spent, vec![0x53, 0x54].into()], Script::from_bytes(&[0xff]));
        assert_eq!(omission(&block, &more, unknown), Ok(None), "{name}");
    }
}

#[test]
fn an_output_is_missed_and_one_that_carries_data_is_not() {
    let mut coinbase = common::coinbase(0, vec![0x52].into());
    let output = |script: &[u8]| bitcoin::TxOut {
        value: bitcoin::Amount::ZERO,
        script_pubkey: script.to_vec().into(),
    };
    coinbase.output.extend([output(&[]), output(&[0x6a, 1, 7]), output(&[0x53])]);
    let block = common::block(BlockHash::all_zeros(), 0, vec![coinbase.clone()]);
    let hash = block.block_hash();
    let judged = |scripts: &[&[u8]]| {
        omission(&block, &filter::build(&hash, scripts.iter().copied()), unknown).unwrap()
    };
    assert_eq!(judged(&[&[0x52], &[0x53]]), None);
    for (held, index, missing) in [(0x52, 3, 0x53), (0x53, 0, 0x52)] {
        let found = judged(&[&[held]]).unwrap();
        assert_eq!((found.place, found.script), (Place::Output(index), vec![missing].into()));
        assert_eq!(found.txid, coinbase.compute_txid());
    }
    assert_eq!(omission(&block, &[0], unknown).unwrap().unwrap().place, Place::Output(0));
    omission(&block, &[9], unknown).unwrap_err();
    omission(&block, &[], unknown).unwrap_err();
}
