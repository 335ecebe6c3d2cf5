//! What can be broadcast at all: the bounds that every node has, checked before anybody is told.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, Txid};

use super::limits::{
    EXPIRY, MAX_BYTES, MAX_EXPIRY, MAX_PACKAGE, MAX_SCRIPT, MAX_SCRIPT_SIG, MAX_TRANSACTIONS, MAX_VERSION,
    MAX_WEIGHT, MIN_BASE_SIZE,
};

/// A transaction to be broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Submission {
    /// Signed.
    pub transaction: Transaction,
    /// What it pays. Only who knows what is spent knows that; without it no peer is passed over for its fee filter.
    #[cfg_attr(feature = "record", serde(with = "bitcoin::amount::serde::as_sat::opt", default))]
    pub fee: Option<Amount>,
    /// The scripts of the outputs that it spends, one for each input, or none at all. They find what contradicts it where
    /// its inputs do not tell them: a spending by a taproot key.
    pub spent_scripts: Vec<ScriptBuf>,
}

impl Submission {
    /// A transaction of which nothing else is known.
    pub const fn new(transaction: Transaction) -> Self {
        Self { transaction, fee: None, spent_scripts: Vec::new() }
    }

    /// The same, with what it pays.
    pub const fn with_fee(mut self, fee: Amount) -> Self {
        self.fee = Some(fee);
        self
    }

    /// Bytes, as they are counted for [`MAX_BYTES`].
    pub(super) fn size(&self) -> usize {
        self.transaction.total_size() + self.spent_scripts.iter().map(|script| script.len()).sum::<usize>()
    }
}

/// How transactions are broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "record", serde(default))]
pub struct Options {
    /// Over a connection of its own for each transaction, to a peer that is used for nothing else.
    pub private: bool,
    /// For how long, at most a year.
    pub expiry: Duration,
}

impl Default for Options {
    /// To several peers, for 14 days.
    fn default() -> Self {
        Self { private: false, expiry: EXPIRY }
    }
}

/// Why transactions are not broadcast. None of those given together is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// There is no transaction.
    Empty,
    /// There are more than [`MAX_PACKAGE`].
    TooMany,
    /// Two of them spend the same output, or are the same.
    Contradictory,
    /// It has no input or no output.
    Hollow(Txid),
    /// It is a coinbase, or has an input like one.
    Coinbase(Txid),
    /// It spends an output twice.
    SpendsTwice(Txid),
    /// Its outputs have more than there is, or what it pays is more than that.
    Amounts(Txid),
    /// It weighs more than [`MAX_WEIGHT`].
    TooHeavy(Txid),
    /// It has fewer than [`MIN_BASE_SIZE`] bytes without witnesses.
    TooSmall(Txid),
    /// Nodes do not relay its version.
    Version(Txid),
    /// A signature script is longer than nodes relay, or is no list of pushes.
    ScriptSig(Txid),
    /// As many scripts as it has inputs were not given, or one is too long.
    SpentScripts(Txid),
    /// The time is zero or longer than a year.
    Expiry,
    /// As many transactions, or bytes of them, as can be are being broadcast.
    Full,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no transaction was given"),
            Self::TooMany => write!(f, "more than {MAX_PACKAGE} transactions were given at once"),
            Self::Contradictory => {
                f.write_str("two of the transactions spend the same output, or are the same")
            }
            Self::Hollow(txid) => write!(f, "transaction {txid} has no input or no output"),
            Self::Coinbase(txid) => write!(f, "transaction {txid} has the input of a coinbase"),
            Self::SpendsTwice(txid) => write!(f, "transaction {txid} spends an output twice"),
            Self::Amounts(txid) => write!(f, "transaction {txid} has amounts above 21 million bitcoin"),
            Self::TooHeavy(txid) => write!(f, "transaction {txid} weighs more than {MAX_WEIGHT}"),
            Self::TooSmall(txid) => {
                write!(f, "transaction {txid} has fewer than {MIN_BASE_SIZE} bytes without witnesses")
            }
            Self::Version(txid) => write!(f, "transaction {txid} is of a version that nodes do not relay"),
            Self::ScriptSig(txid) => {
                write!(f, "transaction {txid} has a signature script that nodes do not relay")
            }
            Self::SpentScripts(txid) => {
                write!(f, "for transaction {txid} there is not one script for each input, or one is too long")
            }
            Self::Expiry => {
                f.write_str("a transaction is broadcast for more than no time and at most a year")
            }
            Self::Full => write!(
                f,
                "{MAX_TRANSACTIONS} transactions, or {MAX_BYTES} bytes of them, are being broadcast already"
            ),
        }
    }
}

impl core::error::Error for SubmitError {}

/// Checks transactions that are given together.
pub(super) fn check(package: &[Submission], options: &Options) -> Result<(), SubmitError> {
    if package.is_empty() {
        return Err(SubmitError::Empty);
    }
    if package.len() > MAX_PACKAGE {
        return Err(SubmitError::TooMany);
    }
    if options.expiry < Duration::from_secs(1) || options.expiry > MAX_EXPIRY {
        return Err(SubmitError::Expiry);
    }
    let mut spent: BTreeMap<OutPoint, Txid> = BTreeMap::new();
    for submission in package {
        let txid = submission.transaction.compute_txid();
        check_one(submission, txid)?;
        for input in &submission.transaction.input {
            if spent.insert(input.previous_output, txid).is_some() {
                return Err(SubmitError::Contradictory);
            }
        }
    }
    Ok(())
}

fn check_one(submission: &Submission, txid: Txid) -> Result<(), SubmitError> {
    let transaction = &submission.transaction;
    if transaction.input.is_empty() || transaction.output.is_empty() {
        return Err(SubmitError::Hollow(txid));
    }
    if transaction.input.iter().any(|input| input.previous_output.is_null()) {
        return Err(SubmitError::Coinbase(txid));
    }
    let spent: BTreeSet<&OutPoint> = transaction.input.iter().map(|input| &input.previous_output).collect();
    if spent.len() < transaction.input.len() {
        return Err(SubmitError::SpendsTwice(txid));
    }
    let outputs = transaction.output.iter().try_fold(Amount::ZERO, |sum, output| {
        sum.checked_add(output.value).filter(|sum| *sum <= Amount::MAX_MONEY)
    });
    let all = outputs.and_then(|sum| sum.checked_add(submission.fee.unwrap_or(Amount::ZERO)));
    if all.is_none_or(|all| all > Amount::MAX_MONEY) {
        return Err(SubmitError::Amounts(txid));
    }
    if transaction.weight().to_wu() > MAX_WEIGHT {
        return Err(SubmitError::TooHeavy(txid));
    }
    if transaction.base_size() < MIN_BASE_SIZE {
        return Err(SubmitError::TooSmall(txid));
    }
    if !(1..=MAX_VERSION).contains(&transaction.version.0) {
        return Err(SubmitError::Version(txid));
    }
    let is_relayed =
        |script: &ScriptBuf| script.len() <= MAX_SCRIPT_SIG && (script.is_empty() || script.is_push_only());
    if !transaction.input.iter().all(|input| is_relayed(&input.script_sig)) {
        return Err(SubmitError::ScriptSig(txid));
    }
    let scripts = &submission.spent_scripts;
    let is_fitting = scripts.is_empty() || scripts.len() == transaction.input.len();
    if !is_fitting || scripts.iter().any(|script| script.len() > MAX_SCRIPT) {
        return Err(SubmitError::SpentScripts(txid));
    }
    Ok(())
}
