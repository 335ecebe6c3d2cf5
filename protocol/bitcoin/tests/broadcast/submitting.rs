//! What can be broadcast, and how much of it.

use andon_bitcoin::broadcast::{MAX_BYTES, MAX_PACKAGE, MAX_TRANSACTIONS, Options, Submission, SubmitError};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid, Witness, transaction::Version};

use super::table::{MINUTE, Table, coin, one, spend};

/// A transaction with its id, and what is said of it.
type Refused = ((Transaction, Txid), fn(Txid) -> SubmitError);

#[test]
fn what_no_node_would_relay_is_refused_with_a_reason() {
    let changed = |change: fn(&mut Transaction)| {
        let mut transaction = one(1);
        change(&mut transaction);
        let txid = transaction.compute_txid();
        (transaction, txid)
    };
    let heavy = |bytes: usize| {
        let mut transaction = one(1);
        transaction.input[0].witness = Witness::from_slice(&[vec![0; bytes]]);
        transaction
    };
    // Its weight without the bytes: the count of elements, and five bytes for the length.
    let bare = heavy(100_000).weight().to_wu() - 100_000;
    let fits = 400_000 - bare as usize;
    let cases: [Refused; 12] = [
        (changed(|transaction| transaction.input.clear()), SubmitError::Hollow),
        (changed(|transaction| transaction.output.clear()), SubmitError::Hollow),
        (
            changed(|transaction| transaction.input[0].previous_output = OutPoint::null()),
            SubmitError::Coinbase,
        ),
        (
            changed(|transaction| transaction.input.push(transaction.input[0].clone())),
            SubmitError::SpendsTwice,
        ),
        (
            changed(|transaction| transaction.output[0].value = Amount::MAX_MONEY + Amount::ONE_SAT),
            SubmitError::Amounts,
        ),
        (
            changed(|transaction| {
                transaction.output = vec![TxOut { value: Amount::MAX, script_pubkey: ScriptBuf::new() }; 3];
            }),
            SubmitError::Amounts,
        ),
        (changed(|transaction| transaction.version = Version(0)), SubmitError::Version),
        (changed(|transaction| transaction.version = Version(4)), SubmitError::Version),
        (changed(|transaction| transaction.version = Version(-1)), SubmitError::Version),
        (
            changed(|transaction| transaction.input[0].script_sig = ScriptBuf::from_bytes(vec![0xac])),
            SubmitError::ScriptSig,
        ),
        (
            changed(|transaction| transaction.input[0].script_sig = ScriptBuf::from_bytes(vec![0; 1651])),
            SubmitError::ScriptSig,
        ),
        (
            changed(|transaction| transaction.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51; 4])),
            SubmitError::TooSmall,
        ),
    ];
    for ((transaction, txid), expected) in cases {
        let mut table = Table::new();
        let result = table.try_submit(&[("a", &transaction, None)], &Options::default());
        assert_eq!(result, Err(expected(txid)));
        assert!(table.outgoing.is_empty() && table.notices().is_empty());
    }
    for (transaction, is_taken) in [(heavy(fits), true), (heavy(fits + 1), false)] {
        let result = Table::new().try_submit(&[("a", &transaction, None)], &Options::default());
        let expected = if is_taken {
            Ok(vec![transaction.compute_txid()])
        } else {
            Err(SubmitError::TooHeavy(transaction.compute_txid()))
        };
        assert_eq!(result, expected);
    }
}

#[test]
fn what_is_given_together_is_taken_or_refused_together() {
    let (good, bad) = (one(1), one(2));
    let mut bad = bad;
    bad.version = Version(9);
    let mut table = Table::new();
    let result = table.try_submit(&[("a", &good, None), ("b", &bad, None)], &Options::default());
    assert_eq!(result, Err(SubmitError::Version(bad.compute_txid())));
    assert!(table.outgoing.is_empty());
    assert_eq!(table.try_submit(&[], &Options::default()), Err(SubmitError::Empty));
    let same = [("a", &good, None), ("b", &good, None)];
    assert_eq!(table.try_submit(&same, &Options::default()), Err(SubmitError::Contradictory));
    let rival = spend(&[coin(1), coin(5)], 1);
    let rivals = [("a", &good, None), ("b", &rival, None)];
    assert_eq!(table.try_submit(&rivals, &Options::default()), Err(SubmitError::Contradictory));
    let many: Vec<Transaction> = (0..=MAX_PACKAGE as u8).map(one).collect();
    let many: Vec<_> = many.iter().map(|transaction| ("a", transaction, None)).collect();
    assert_eq!(table.try_submit(&many, &Options::default()), Err(SubmitError::TooMany));
    assert_eq!(table.try_submit(&many[1..], &Options::default()).unwrap().len(), MAX_PACKAGE);
}

#[test]
fn what_is_said_beside_a_transaction_is_checked() {
    let transaction = one(1);
    let txid = transaction.compute_txid();
    let mut table = Table::new();
    let mut submit = |submission: Submission, options: Options| {
        table.outgoing.submit(vec![submission], &options, table.now)
    };
    let plain = || Submission::new(transaction.clone());
    let scripts = |scripts: &[ScriptBuf]| Submission { spent_scripts: scripts.to_vec(), ..plain() };
    let expiring = |expiry| Options { expiry, ..Options::default() };
    let rich = plain().with_fee(Amount::MAX_MONEY);
    assert_eq!(submit(rich, Options::default()), Err(SubmitError::Amounts(txid)));
    let two = scripts(&[ScriptBuf::new(), ScriptBuf::new()]);
    assert_eq!(submit(two, Options::default()), Err(SubmitError::SpentScripts(txid)));
    let long = scripts(&[ScriptBuf::from_bytes(vec![0; 10_001])]);
    assert_eq!(submit(long, Options::default()), Err(SubmitError::SpentScripts(txid)));
    assert_eq!(submit(plain(), expiring(std::time::Duration::ZERO)), Err(SubmitError::Expiry));
    assert_eq!(submit(plain(), expiring(MINUTE * 60 * 24 * 366)), Err(SubmitError::Expiry));
    assert_eq!(submit(plain(), expiring(MINUTE)), Ok(vec![txid]));
    table.pass(MINUTE);
    assert!(table.outgoing.is_empty(), "a minute is over");
}

/// Transactions of about a tenth of a megabyte.
fn large(number: u8) -> Transaction {
    let mut transaction = one(number);
    transaction.input[0].witness = Witness::from_slice(&[vec![number; 300_000]]);
    transaction
}

#[test]
fn there_is_an_end_to_what_is_taken() {
    let mut table = Table::new();
    let fitting = (0..255)
        .take_while(|number| table.try_submit(&[("a", &large(*number), None)], &Options::default()).is_ok());
    let fitting = fitting.count();
    assert_eq!(fitting, MAX_BYTES / large(0).total_size());
    // Given again it takes no more room; what is in a block makes some.
    assert!(table.try_submit(&[("a", &large(3), None)], &Options::default()).is_ok());
    let next = large(200);
    assert_eq!(table.try_submit(&[("n", &next, None)], &Options::default()), Err(SubmitError::Full));
    table.in_block(&large(5), 9);
    table.in_block(&large(4), 8);
    assert!(table.try_submit(&[("n", &next, None)], &Options::default()).is_ok());
    assert!(table.outgoing.find(&large(4).compute_txid()).is_none(), "the lowest goes first");
    assert!(table.outgoing.find(&large(5).compute_txid()).is_some());

    let mut table = Table::new();
    for number in 0..MAX_TRANSACTIONS {
        let coin = OutPoint::new(coin(1).txid, number as u32);
        table.submit("a", &spend(&[coin], 1));
    }
    assert_eq!(table.outgoing.len(), MAX_TRANSACTIONS);
    assert_eq!(table.try_submit(&[("n", &one(9), None)], &Options::default()), Err(SubmitError::Full));
}
