//! Whom blocks pay: some dozens of scripts, by number.

use bitcoin::hashes::Hash;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{PubkeyHash, ScriptBuf, ScriptHash};

/// How many scripts there are.
pub const SCRIPTS: u8 = 30;

/// The script of a number. Spendings of odd ones show what they are, by a key or a script; those of even ones show nothing.
pub fn script(number: u8) -> ScriptBuf {
    match number % 4 {
        1 => ScriptBuf::new_p2sh(&ScriptHash::hash(key(number).as_bytes())),
        3 => ScriptBuf::new_p2pkh(&PubkeyHash::hash(key(number).as_bytes())),
        _ => {
            let mut bytes = [0; 22];
            (bytes[1], bytes[21]) = (20, number);
            ScriptBuf::from_bytes(bytes.into())
        }
    }
}

/// What an input has that spends the script of a number.
pub(super) fn signature(number: u8) -> ScriptBuf {
    match number % 2 {
        1 => Builder::new().push_slice([1; 9]).push_slice(key(number)).into_script(),
        _ => ScriptBuf::new(),
    }
}

/// The bytes that a script of this number has the hash of.
fn key(number: u8) -> PushBytesBuf {
    let mut bytes = [2; 33];
    bytes[32] = number;
    bytes.into()
}
