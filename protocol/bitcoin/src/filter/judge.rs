//! Judging a filter by its block: which script the block shows that the filter does not hold.
//!
//! A block shows the scripts of its outputs, and of what it spends as much as the inputs tell. What a filter holds beyond
//! that can be the script of an input that tells nothing, so a filter with too much in it can't be told from a right one.

use alloc::vec::Vec;

use bitcoin::key::Secp256k1;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::Instruction;
use bitcoin::secp256k1::VerifyOnly;
use bitcoin::taproot::{ControlBlock, LeafVersion, TapNodeHash};
use bitcoin::{
    Block, BlockHash, OutPoint, Script, ScriptBuf, ScriptHash, TapTweakHash, TxIn, Txid, WPubkeyHash,
    WScriptHash, Witness,
};
use bitcoin::{PubkeyHash, hashes::Hash};

use super::decode::{DecodeError, Elements};
use super::siphash::Keys;
use super::{keys_of, range_of, reduce};

/// The first byte of an annex (BIP341), which no script of a taproot input has in its place.
const ANNEX: u8 = 0x50;

/// A script that a block shows and its filter does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omission {
    /// The transaction of the block that shows it.
    pub txid: Txid,
    /// Where in the transaction.
    pub place: Place,
    /// The script. Of an input that could spend one of several, as a witness script that could be a public key, the
    /// likeliest; the filter holds none of them.
    pub script: ScriptBuf,
}

/// Where a transaction shows a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The output with this index pays it.
    Output(u32),
    /// The input with this index spends it: the output that it spends is known.
    Spent(u32),
    /// The input with this index spends it, as its signature script and its witness tell.
    Input(u32),
}

/// The first script that `block` shows and `filter` does not hold. `None`: nothing can be said against the filter.
///
/// What an input spends is known if it is an output of the same block or `known_script` knows it. Else the input tells
/// it if it is of one of these shapes: a public key and its signature (P2PKH, P2WPKH), a multisignature script by its
/// hash (P2SH), a witness by its script's hash (P2WSH) or through P2SH, a taproot script with its path (BIP341). Nothing
/// is concluded from others, taproot signatures among them.
///
/// One reservation: a witness alone does not say which version of witness programs it is for, and versions that have no
/// rules yet take any (BIP141); neither does a signature script rule out a script that nobody uses. Such spends are not
/// relayed; a miner can put them into a block.
///
/// # Errors
/// If `filter` is no filter. No honest node has such.
pub fn omission<S: AsRef<[u8]>>(
    block: &Block,
    filter: &[u8],
    mut known_script: impl FnMut(&OutPoint) -> Option<S>,
) -> Result<Option<Omission>, DecodeError> {
    let set = Set::new(&block.block_hash(), filter)?;
    for transaction in &block.txdata {
        for (index, output) in (0..).zip(&transaction.output) {
            let script = output.script_pubkey.as_bytes();
            let counts = script.first() != Some(&OP_RETURN.to_u8());
            if counts && !set.holds(script) {
                let place = Place::Output(index);
                return Ok(Some(Omission {
                    txid: transaction.compute_txid(),
                    place,
                    script: output.script_pubkey.clone(),
                }));
            }
        }
    }
    let created: alloc::collections::BTreeMap<Txid, &bitcoin::Transaction> =
        block.txdata.iter().map(|transaction| (transaction.compute_txid(), transaction)).collect();
    let secp = Secp256k1::verification_only();
    for transaction in block.txdata.iter().skip(1) {
        for (index, input) in (0..).zip(&transaction.input) {
            let outpoint = &input.previous_output;
            let known = match created.get(&outpoint.txid) {
                Some(parent) => {
                    parent.output.get(outpoint.vout as usize).map(|output| output.script_pubkey.clone())
                }
                None => known_script(outpoint).map(|script| ScriptBuf::from_bytes(script.as_ref().into())),
            };
            let (place, missing) = match known {
                Some(script) => (Place::Spent(index), (!set.holds(script.as_bytes())).then_some(script)),
                None => (Place::Input(index), missing_of(&set, &secp, input)),
            };
            if let Some(script) = missing {
                return Ok(Some(Omission { txid: transaction.compute_txid(), place, script }));
            }
        }
    }
    Ok(None)
}

/// What an input spends, if it tells and the set holds none of what that can be.
fn missing_of(set: &Set, secp: &Secp256k1<VerifyOnly>, input: &TxIn) -> Option<ScriptBuf> {
    let likely = likely_of(input);
    if likely.is_empty() || likely.iter().any(|script| set.holds(script.as_bytes())) {
        return None;
    }
    // The tweak costs more than all else: it is computed only where no other script is there.
    let taproot = input.script_sig.is_empty().then(|| taproot_output(secp, &input.witness)).flatten();
    match taproot {
        Some(script) if set.holds(script.as_bytes()) => None,
        // Nobody's control block looks like a public key, though it could.
        Some(script) if likely.len() == 1 => Some(script),
        _ => likely.into_iter().next(),
    }
}

/// What an input may spend, the likeliest first, if it tells. One of them is right for all that nodes relay.
pub(crate) fn scripts_told(input: &TxIn) -> Vec<ScriptBuf> {
    let mut scripts = likely_of(input);
    if !scripts.is_empty() && input.script_sig.is_empty() {
        scripts.extend(taproot_output(&Secp256k1::verification_only(), &input.witness));
    }
    scripts
}

/// What an input may spend, if it tells, but for taproot.
fn likely_of(input: &TxIn) -> Vec<ScriptBuf> {
    match (input.script_sig.is_empty(), input.witness.is_empty()) {
        (_, true) => from_signature_script(&input.script_sig),
        // A witness beside a signature script is through P2SH, and the script is a push of the program (BIP141).
        (false, false) => vec_of(only_push(&input.script_sig).map(paying_script_hash)),
        (true, false) => from_witness(&input.witness),
    }
}

fn vec_of(script: Option<ScriptBuf>) -> Vec<ScriptBuf> {
    script.into_iter().collect()
}

/// What an input without a witness spends, if it tells.
fn from_signature_script(script_sig: &Script) -> Vec<ScriptBuf> {
    let mut pushes: Vec<&[u8]> = Vec::new();
    for instruction in script_sig.instructions() {
        match instruction {
            Ok(Instruction::PushBytes(bytes)) => pushes.push(bytes.as_bytes()),
            _ => return Vec::new(),
        }
    }
    let Some((last, before)) = pushes.split_last() else { return Vec::new() };
    match before {
        [signature] if is_signature(signature) && is_public_key(last) => {
            let key = ScriptBuf::new_p2pkh(&PubkeyHash::hash(last));
            [key, paying_script_hash(last)].into()
        }
        // The empty push is the one that OP_CHECKMULTISIG takes too many.
        [[], signatures @ ..]
            if !signatures.is_empty()
                && signatures.iter().all(|signature| is_signature(signature))
                && Script::from_bytes(last).is_multisig() =>
        {
            [paying_script_hash(last)].into()
        }
        _ => Vec::new(),
    }
}

/// What an input with nothing but a witness spends, if it tells and it is not for taproot.
fn from_witness(witness: &Witness) -> Vec<ScriptBuf> {
    let stack: Vec<&[u8]> = witness.iter().collect();
    let [before @ .., last] = stack.as_slice() else { return Vec::new() };
    // A signature of a taproot key, or one and an annex.
    let annexed = last.first() == Some(&ANNEX);
    if before.is_empty() || (annexed && before.len() == 1) {
        return Vec::new();
    }
    let by_script = ScriptBuf::new_p2wsh(&WScriptHash::hash(last));
    match before {
        [_] if is_public_key(last) => [ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(last)), by_script].into(),
        _ => [by_script].into(),
    }
}

/// The output that a witness with a taproot script and its path spends (BIP341).
fn taproot_output(secp: &Secp256k1<VerifyOnly>, witness: &Witness) -> Option<ScriptBuf> {
    let mut stack: Vec<&[u8]> = witness.iter().collect();
    if stack.len() >= 2 && stack.last()?.first() == Some(&ANNEX) {
        stack.pop();
    }
    let control = ControlBlock::decode(stack.pop()?).ok()?;
    let script = Script::from_bytes(stack.pop()?);
    let version: LeafVersion = control.leaf_version;
    let leaf = TapNodeHash::from_script(script, version);
    let root =
        control.merkle_branch.iter().fold(leaf, |node, other| TapNodeHash::from_node_hashes(node, *other));
    let tweak = TapTweakHash::from_key_and_tweak(control.internal_key, Some(root)).to_scalar();
    let (key, _) = control.internal_key.add_tweak(secp, &tweak).ok()?;
    let mut bytes = Vec::from([0x51, 0x20]);
    bytes.extend_from_slice(&key.serialize());
    Some(ScriptBuf::from_bytes(bytes))
}

fn paying_script_hash(script: &[u8]) -> ScriptBuf {
    ScriptBuf::new_p2sh(&ScriptHash::hash(script))
}

/// The bytes that a script pushes, if it does nothing else.
fn only_push(script: &Script) -> Option<&[u8]> {
    let mut instructions = script.instructions();
    match (instructions.next(), instructions.next()) {
        (Some(Ok(Instruction::PushBytes(bytes))), None) => Some(bytes.as_bytes()),
        _ => None,
    }
}

/// Whether bytes have the shape of an ECDSA signature with its type.
fn is_signature(bytes: &[u8]) -> bool {
    (9..=73).contains(&bytes.len()) && bytes.first() == Some(&0x30) && bytes[1] as usize + 3 == bytes.len()
}

/// Whether bytes have the shape of a public key.
fn is_public_key(bytes: &[u8]) -> bool {
    matches!((bytes.len(), bytes.first()), (33, Some(0x02 | 0x03)) | (65, Some(0x04)))
}

/// What a filter holds.
struct Set {
    keys: Keys,
    range: u64,
    /// In order.
    elements: Vec<u64>,
}

impl Set {
    fn new(block_hash: &BlockHash, filter: &[u8]) -> Result<Self, DecodeError> {
        let elements = Elements::new(filter)?;
        let range = range_of(elements.count());
        // There are bits for all of them: they have three times the bytes of the filter, and a fifth more, at most.
        let mut all = Vec::with_capacity(elements.count() as usize);
        elements.each(|element| {
            all.push(element);
            true
        })?;
        Ok(Self { keys: keys_of(block_hash), range, elements: all })
    }

    /// Whether it holds a script. An empty one is in no filter: it counts as held.
    fn holds(&self, script: &[u8]) -> bool {
        script.is_empty() || self.elements.binary_search(&reduce(self.keys.hash(script), self.range)).is_ok()
    }
}
