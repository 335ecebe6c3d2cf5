//! What an input may spend, by its shape: told without the output that it spends, wherever the rules of the chain allow it.

use bitcoin::hashes::Hash;
use bitcoin::script::Instruction;
use bitcoin::{PubkeyHash, Script, ScriptBuf, ScriptHash, TxIn, WPubkeyHash, WScriptHash, Witness};

/// The first byte of an annex (BIP341).
const ANNEX: u8 = 0x50;

/// Which shapes some scripts have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shapes {
    /// To a hash of a key or of a script, without a witness or through one (P2PKH, P2SH).
    hashed: bool,
    /// The same in a witness program of version 0 (P2WPKH, P2WSH).
    witness: bool,
    /// Taproot.
    taproot: bool,
    /// Anything else. Nothing is known of what spends it.
    other: bool,
}

impl Shapes {
    /// The shapes of these.
    pub(super) fn of<'a>(scripts: impl IntoIterator<Item = &'a ScriptBuf>) -> Self {
        let mut shapes = Self::default();
        for script in scripts {
            if script.is_p2pkh() || script.is_p2sh() {
                shapes.hashed = true;
            } else if script.is_p2wpkh() || script.is_p2wsh() {
                shapes.witness = true;
            } else if script.is_p2tr() {
                shapes.taproot = true;
            } else {
                shapes.other = true;
            }
        }
        shapes
    }

    /// Whether an input may spend one of the scripts, of which `holds` says whether it is among them. False only if that
    /// can't be: a hash does not fit, or a witness has no shape that taproot takes.
    pub(super) fn may_spend(self, input: &TxIn, holds: impl Fn(&Script) -> bool) -> bool {
        if self.other {
            return true;
        }
        if input.script_sig.is_empty() && input.witness.is_empty() {
            // Witness programs could be spent so before their rules were in force.
            return self.witness || self.taproot;
        }
        if !input.script_sig.is_empty() {
            return self.hashed && may_spend_hashed(&input.script_sig, holds);
        }
        let annexed =
            input.witness.len() > 1 && input.witness.last().is_some_and(|last| last.first() == Some(&ANNEX));
        (self.taproot && may_spend_taproot(&input.witness, annexed))
            || (self.witness && may_spend_witness(&input.witness, holds))
    }
}

/// What is on top of the stack at the end of a signature script is what a P2PKH or P2SH output has the hash of.
fn may_spend_hashed(script_sig: &Script, holds: impl Fn(&Script) -> bool) -> bool {
    let mut top: Option<&[u8]> = None;
    for instruction in script_sig.instructions() {
        match instruction {
            Ok(Instruction::PushBytes(bytes)) => top = Some(bytes.as_bytes()),
            // A small number, which pushes bytes as well, or what computes something. Nobody does either for a script of
            // these; the rules do not forbid it.
            _ => return true,
        }
    }
    top.is_some_and(|top| {
        holds(&ScriptBuf::new_p2pkh(&PubkeyHash::hash(top)))
            || holds(&ScriptBuf::new_p2sh(&ScriptHash::hash(top)))
    })
}

/// A witness of version 0 ends with the key or the script that the output has the hash of (BIP141).
fn may_spend_witness(witness: &Witness, holds: impl Fn(&Script) -> bool) -> bool {
    let Some(last) = witness.last() else { return false };
    (witness.len() == 2 && holds(&ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(last))))
        || holds(&ScriptBuf::new_p2wsh(&WScriptHash::hash(last)))
}

/// A witness for taproot is a signature, or ends with the path to its script (BIP341). That advises against versions of
/// scripts whose paths look like public keys, so that inputs can be told apart as is done here.
fn may_spend_taproot(witness: &Witness, annexed: bool) -> bool {
    let count = witness.len() - usize::from(annexed);
    match count.checked_sub(1).and_then(|last| Some((count, witness.nth(last)?))) {
        None => false,
        Some((1, signature)) => matches!(signature.len(), 64 | 65),
        Some((_, path)) => {
            let is_path =
                path.len() >= 33 && (path.len() - 33).is_multiple_of(32) && path.len() <= 33 + 128 * 32;
            let is_key = matches!((path.len(), path.first()), (33, Some(0x02 | 0x03)));
            is_path && !is_key
        }
    }
}
