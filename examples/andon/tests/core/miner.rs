//! Chains with payments, made on a node without a wallet: coins that anybody can spend pay to watched and other scripts
//! of every common type, and the coins that these received are spent again, signed by the node.

use std::collections::BTreeSet;

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::opcodes::all::OP_CHECKSIG;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, CompressedPublicKey, Network, OutPoint, PrivateKey, ScriptBuf, Sequence, Transaction, TxIn,
    TxOut, Witness,
};
use serde_json::{Value, json};

use crate::bitcoind::Bitcoind;

/// A script of one output type, and all that is needed to spend from it.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    pub(crate) script: ScriptBuf,
    redeem_script: Option<ScriptBuf>,
    witness_script: Option<ScriptBuf>,
    key: PrivateKey,
}

/// How many types of locks there are: P2PKH, P2SH, P2WPKH, P2WSH, P2TR.
const TYPES: u8 = 5;

impl Lock {
    /// Lock number `index` of a series; the types take turns.
    pub(crate) fn new(series: u8, index: u8) -> Self {
        let mut secret = [1; 32];
        (secret[0], secret[1]) = (series, index);
        let key = PrivateKey::new(SecretKey::from_slice(&secret).unwrap(), Network::Regtest);
        let secp = Secp256k1::new();
        let public = CompressedPublicKey::from_private_key(&secp, &key).unwrap();
        let (mut redeem_script, mut witness_script) = (None, None);
        let script = match index % TYPES {
            0 => ScriptBuf::new_p2pkh(&public.pubkey_hash()),
            1 => {
                let redeem = ScriptBuf::new_p2wpkh(&public.wpubkey_hash());
                let script = redeem.to_p2sh();
                redeem_script = Some(redeem);
                script
            }
            2 => ScriptBuf::new_p2wpkh(&public.wpubkey_hash()),
            3 => {
                let witness = Builder::new().push_key(&public.into()).push_opcode(OP_CHECKSIG).into_script();
                let script = witness.to_p2wsh();
                witness_script = Some(witness);
                script
            }
            _ => {
                // The output key itself signs: there is no tweak, so that the node needs to know of none.
                let key = public.0.x_only_public_key().0.serialize();
                Builder::new()
                    .push_opcode(bitcoin::opcodes::all::OP_PUSHNUM_1)
                    .push_slice(PushBytesBuf::from(key))
                    .into_script()
            }
        };
        Self { script, redeem_script, witness_script, key }
    }

    /// The locks of a series.
    pub(crate) fn series(series: u8, count: u8) -> Vec<Self> {
        (0..count).map(|index| Self::new(series, index)).collect()
    }
}

/// An output that a [`Lock`] guards.
#[derive(Clone, Debug)]
pub(crate) struct Coin {
    pub(crate) outpoint: OutPoint,
    pub(crate) amount: Amount,
    pub(crate) lock: Lock,
}

/// Makes blocks on a node.
#[derive(Debug)]
pub(crate) struct Miner<'a> {
    pub(crate) node: &'a Bitcoind,
    /// Outputs of this many satoshis each that anybody can spend, in blocks that stay.
    purse: Vec<OutPoint>,
    /// So that no two blocks are alike.
    made: u32,
    /// The hashes of all blocks that it has made, and of those among them with the reward for a script.
    pub(crate) mined: Vec<String>,
    pub(crate) rewards: BTreeSet<String>,
}

/// In each of the purse's coins.
const COIN: u64 = 10_000_000;

impl<'a> Miner<'a> {
    /// Mines what is needed before anything can be paid: 102 blocks.
    pub(crate) fn new(node: &'a Bitcoind) -> Self {
        let mut miner =
            Self { node, purse: Vec::new(), made: 0, mined: Vec::new(), rewards: BTreeSet::new() };
        miner.empty(101);
        let coinbase = node.block(&node.hash_at(1)).txdata[0].compute_txid();
        let output = TxOut { value: Amount::from_sat(COIN), script_pubkey: anybody() };
        let fan = transaction([OutPoint::new(coinbase, 0)], vec![output; 490]);
        let txid = fan.compute_txid();
        miner.block(&[fan]);
        miner.purse = (0..490).map(|output| OutPoint::new(txid, output)).collect();
        miner
    }

    /// Goes on with what [`purse`](Self::purse) held.
    pub(crate) fn resume(node: &'a Bitcoind, purse: Vec<OutPoint>) -> Self {
        Self { node, purse, made: 1 << 31, mined: Vec::new(), rewards: BTreeSet::new() }
    }

    /// Mines blocks without payments.
    pub(crate) fn empty(&mut self, count: u32) {
        /// So that no call takes long.
        const AT_ONCE: u32 = 500;
        for first in (0..count).step_by(AT_ONCE as usize) {
            let descriptor = self.coinbase();
            let count = (count - first).min(AT_ONCE);
            let mined = self.node.call("generatetodescriptor", json!([count, descriptor]));
            let hashes = mined.as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().to_owned());
            assert_eq!(hashes.len(), count as usize);
            self.mined.extend(hashes);
        }
    }

    /// Mines a block with these transactions; gives its hash.
    pub(crate) fn block(&mut self, transactions: &[Transaction]) -> String {
        let descriptor = self.coinbase();
        self.block_to(&descriptor, transactions)
    }

    /// The same, with the reward for a script.
    pub(crate) fn block_for(&mut self, script: &ScriptBuf, transactions: &[Transaction]) -> String {
        let descriptor = self.checked(&format!("raw({})", script.to_hex_string()));
        let hash = self.block_to(&descriptor, transactions);
        self.rewards.insert(hash.clone());
        hash
    }

    fn block_to(&mut self, descriptor: &str, transactions: &[Transaction]) -> String {
        let transactions: Vec<String> = transactions.iter().map(serialize_hex).collect();
        let mined = self.node.call("generateblock", json!([descriptor, transactions]));
        let hash = mined["hash"].as_str().unwrap().to_owned();
        self.mined.push(hash.clone());
        hash
    }

    /// Pays scripts from a coin of the purse; what is left is the fee.
    pub(crate) fn pay(&mut self, payments: impl IntoIterator<Item = (ScriptBuf, u64)>) -> Transaction {
        let outputs = payments
            .into_iter()
            .map(|(script_pubkey, sats)| TxOut { value: Amount::from_sat(sats), script_pubkey })
            .collect();
        transaction([self.purse.pop().expect("the purse is full enough")], outputs)
    }

    /// What is in the purse: to be put back when a branch is left, or to resume with.
    pub(crate) fn purse(&self) -> Vec<OutPoint> {
        self.purse.clone()
    }

    /// Puts a purse back.
    pub(crate) fn put_back(&mut self, purse: Vec<OutPoint>) {
        self.purse = purse;
    }

    /// Spends coins, to one output; what is left is the fee. The node signs.
    pub(crate) fn spend(&self, coins: &[Coin], script_pubkey: ScriptBuf, sats: u64) -> Transaction {
        let output = TxOut { value: Amount::from_sat(sats), script_pubkey };
        let unsigned = transaction(coins.iter().map(|coin| coin.outpoint), vec![output]);
        let keys: Vec<String> = coins.iter().map(|coin| coin.lock.key.to_wif()).collect();
        let previous: Vec<Value> = coins
            .iter()
            .map(|coin| {
                let mut previous = json!({
                    "txid": coin.outpoint.txid.to_string(),
                    "vout": coin.outpoint.vout,
                    "scriptPubKey": coin.lock.script.to_hex_string(),
                    "amount": coin.amount.to_btc(),
                });
                if let Some(script) = &coin.lock.redeem_script {
                    previous["redeemScript"] = script.to_hex_string().into();
                }
                if let Some(script) = &coin.lock.witness_script {
                    previous["witnessScript"] = script.to_hex_string().into();
                }
                previous
            })
            .collect();
        let parameters = json!([serialize_hex(&unsigned), keys, previous]);
        let signed = self.node.call("signrawtransactionwithkey", parameters);
        assert_eq!(signed["complete"], true, "{signed}");
        deserialize_hex(signed["hex"].as_str().unwrap()).unwrap()
    }

    /// Mines blocks in which watched and other scripts are paid, and coins of watched scripts are spent: some blocks
    /// have nothing, some much, and some coins are received and spent in the same block.
    pub(crate) fn history(&mut self, blocks: u32, watched: &[Lock]) {
        let others = Lock::series(200, TYPES);
        let mut coins: Vec<Coin> = Vec::new();
        for number in 0..blocks {
            let mut transactions = Vec::new();
            let lock = |offset: u32| &watched[(number * 7 + offset) as usize % watched.len()];
            match number % 6 {
                0 => {
                    let payments = [(lock(0).clone(), 10_000), (lock(1).clone(), 20_000 + u64::from(number))];
                    transactions.push(self.pay_locks(&payments, &mut coins));
                }
                1 => {
                    let other = others[number as usize % others.len()].clone();
                    transactions.push(self.pay_locks(&[(other, 5_000)], &mut Vec::new()));
                }
                2 if coins.len() > 3 => {
                    // Several types at once, paying a script that is watched too.
                    let spent: Vec<Coin> = coins.drain(..3).collect();
                    let sats = spent.iter().map(|coin| coin.amount.to_sat()).sum::<u64>() - 1000;
                    let payment = self.spend(&spent, lock(2).script.clone(), sats);
                    coins.push(coin_of(&payment, 0, lock(2).clone()));
                    transactions.push(payment);
                }
                3 => {
                    let mut received = Vec::new();
                    transactions.push(self.pay_locks(&[(lock(3).clone(), 50_000)], &mut received));
                    let others = others[number as usize % others.len()].script.clone();
                    transactions.push(self.spend(&received, others, 49_000));
                }
                4 => {
                    self.block_for(&lock(4).script, &[]);
                    continue;
                }
                _ => {}
            }
            self.block(&transactions);
        }
    }

    /// Pays locks, and adds what they received to `coins`.
    pub(crate) fn pay_locks(&mut self, payments: &[(Lock, u64)], coins: &mut Vec<Coin>) -> Transaction {
        let payment = self.pay(payments.iter().map(|(lock, sats)| (lock.script.clone(), *sats)));
        coins.extend((0..).zip(payments).map(|(output, (lock, _))| coin_of(&payment, output, lock.clone())));
        payment
    }

    /// Where the reward goes that nobody looks at: another script for each call.
    fn coinbase(&mut self) -> String {
        self.made += 1;
        let number = PushBytesBuf::from(self.made.to_le_bytes());
        let script = Builder::new().push_slice(number).push_int(1).into_script();
        let script = if self.node.height() == 0 { anybody() } else { script };
        self.checked(&format!("raw({})", script.to_hex_string()))
    }

    fn checked(&self, descriptor: &str) -> String {
        let information = self.node.call("getdescriptorinfo", json!([descriptor]));
        information["descriptor"].as_str().unwrap().to_owned()
    }
}

/// A script that anybody can spend from, without a signature.
pub(crate) fn anybody() -> ScriptBuf {
    Builder::new().push_int(1).into_script()
}

/// An output of a transaction.
pub(crate) fn coin_of(transaction: &Transaction, output: u32, lock: Lock) -> Coin {
    let amount = transaction.output[output as usize].value;
    Coin { outpoint: OutPoint::new(transaction.compute_txid(), output), amount, lock }
}

/// A transaction without signatures.
pub(crate) fn transaction(inputs: impl IntoIterator<Item = OutPoint>, output: Vec<TxOut>) -> Transaction {
    let input = inputs
        .into_iter()
        .map(|previous_output| TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        })
        .collect();
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}
