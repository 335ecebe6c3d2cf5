//! Transactions that the program broadcasts to real nodes: they reach the mempools of others, or it says why not.

use std::time::Instant;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Amount, OutPoint, Transaction, TxOut, Txid};
use serde_json::{Value, json};

use crate::bitcoind::{Bitcoind, FILTERS, wait_for};
use crate::common::{Ended, andon, run};
use crate::miner::{Coin, Lock, Miner, coin_of, transaction};

/// What a coin has at first.
const SATS: u64 = 1_000_000;

/// How many types of locks there are: only the first has no witness.
const TYPES: u8 = 5;

/// Coins in the chain that only their owner can spend; the types of their locks take turns.
fn coins(miner: &mut Miner<'_>, count: u8) -> Vec<Coin> {
    let locks = Lock::series(150, count);
    let payments: Vec<(Lock, u64)> = locks.into_iter().map(|lock| (lock, SATS)).collect();
    let mut coins = Vec::new();
    let payment = miner.pay_locks(&payments, &mut coins);
    miner.block(&[payment]);
    coins
}

fn broadcast(
    home: &tempfile::TempDir,
    nodes: &[&Bitcoind],
    transactions: &[&Transaction],
    more: &[&str],
) -> Ended {
    let mut command = andon(home.path(), ["broadcast", "--json", "--network", "regtest"]);
    for transaction in transactions {
        command.arg(serialize_hex(*transaction));
    }
    for node in nodes {
        command.arg("--peer").arg(node.address.to_string());
    }
    command.arg("--data-dir").arg(home.path().join("data")).args(more);
    run(&mut command)
}

fn home() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("andon-core-home-").tempdir().unwrap()
}

fn has(node: &Bitcoind, txid: Txid) -> bool {
    let mempool = node.call("getrawmempool", json!([]));
    mempool.as_array().unwrap().iter().any(|held| held == &json!(txid.to_string()))
}

/// The states that a transaction went through.
fn states(ended: &Ended, txid: Txid) -> Vec<String> {
    let objects = ended.objects();
    let of_it = |object: &&Value| object["event"] == "broadcast" && object["txid"] == txid.to_string();
    objects.iter().filter(of_it).map(|object| object["state"].as_str().unwrap().to_owned()).collect()
}

/// Two nodes of one chain, connected to each other.
fn pair(first: &[&str], second: &[&str]) -> Option<[Bitcoind; 2]> {
    let first: Vec<&str> = FILTERS.iter().chain(first).copied().collect();
    let second: Vec<&str> = FILTERS.iter().chain(second).copied().collect();
    Some([Bitcoind::start_with(&first)?, Bitcoind::start_with(&second)?])
}

fn join(nodes: &[Bitcoind; 2]) {
    nodes[1].connect(&nodes[0]);
    nodes[1].wait_for_tip(nodes[0].tip().parse().unwrap());
    nodes.iter().for_each(Bitcoind::wait_for_filters);
    // Whoever is in initial download asks for no transaction.
    for node in nodes {
        wait_for("the end of initial download", || {
            (node.call("getblockchaininfo", json!([]))["initialblockdownload"] == false).then_some(())
        });
    }
}

#[test]
fn what_one_node_is_given_another_has() {
    for more in [&[][..], &["--private"], &["--transport", "v1"]] {
        let Some(nodes) = pair(&[], &[]) else { return };
        let mut miner = Miner::new(&nodes[0]);
        let coins = coins(&mut miner, TYPES);
        join(&nodes);
        let payment =
            |coin: &Coin| miner.spend(std::slice::from_ref(coin), coin.lock.script.clone(), SATS - 2_000);
        let payments: Vec<Transaction> = coins.iter().map(payment).collect();
        let payments: Vec<&Transaction> = payments.iter().collect();
        assert_eq!(payments.iter().filter(|payment| payment.input[0].witness.is_empty()).count(), 1);
        let begin = Instant::now();
        let home = home();
        // Of the two, the program knows the first alone.
        let ended = broadcast(&home, &[&nodes[0]], &payments, more);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        for payment in &payments {
            let states = states(&ended, payment.compute_txid());
            assert_eq!(states, ["waiting", "announced", "sent", "seen"], "{}", ended.stdout);
        }
        println!("{more:?}: seen after {:?}", begin.elapsed());
        for payment in &payments {
            wait_for("the other node's mempool", || has(&nodes[1], payment.compute_txid()).then_some(()));
        }
        println!("{more:?}: in the other node's mempool after {:?}", begin.elapsed());
        // It goes on where it was: found in the block in which it is.
        miner.block(&payments.iter().map(|payment| (*payment).clone()).collect::<Vec<_>>());
        nodes[0].wait_for_filters();
        let ended = broadcast(&home, &[&nodes[0]], &payments, &["--until", "confirmed"]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        let objects = ended.objects();
        let results = objects.last().unwrap()["transactions"].as_array().unwrap();
        assert_eq!(results.len(), payments.len());
        for result in results {
            assert_eq!(
                (&result["state"], &result["height"]),
                (&json!("confirmed"), &json!(nodes[0].height()))
            );
        }
    }
}

#[test]
fn a_node_that_takes_no_transactions_is_passed_over() {
    let Some(nodes) = pair(&["-blocksonly=1"], &[]) else { return };
    let mut miner = Miner::new(&nodes[0]);
    let coin = coins(&mut miner, 1).remove(0);
    join(&nodes);
    let payment = miner.spend(std::slice::from_ref(&coin), coin.lock.script.clone(), SATS - 2_000);
    let txid = payment.compute_txid();
    let home = home();
    let ended = broadcast(&home, &[&nodes[0]], &[&payment], &["--timeout", "5"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert_eq!(states(&ended, txid), ["waiting"]);
    let skipped = |ended: &Ended| {
        let objects = ended.objects();
        let skipped = objects.into_iter().find(|object| object["event"] == "broadcast_skipped");
        skipped.map(|object| object["reason"].as_str().unwrap().to_owned())
    };
    assert_eq!(skipped(&ended).as_deref(), Some("it takes no transactions"));
    assert!(nodes.iter().all(|node| !has(node, txid)));
    // It is kept, and goes to whoever takes it in the next run.
    let ended = broadcast(&home, &[&nodes[0], &nodes[1]], &[&payment], &[]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(has(&nodes[1], txid) && !has(&nodes[0], txid));
}

#[test]
fn a_node_whose_fee_filter_is_higher_is_passed_over() {
    let Some(nodes) = pair(&["-minrelaytxfee=0.0001"], &[]) else { return };
    let mut miner = Miner::new(&nodes[0]);
    let coin = coins(&mut miner, 1).remove(0);
    join(&nodes);
    // Three satoshis for a byte, where one node asks for ten.
    let size = miner.spend(std::slice::from_ref(&coin), coin.lock.script.clone(), SATS).vsize() as u64;
    let fee = 3 * size;
    let payment = miner.spend(std::slice::from_ref(&coin), coin.lock.script.clone(), SATS - fee);
    let txid = payment.compute_txid();
    let home = home();
    let ended = broadcast(&home, &[&nodes[0]], &[&payment], &["--timeout", "5", "--fee", &fee.to_string()]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert_eq!(states(&ended, txid), ["waiting"]);
    assert!(ended.stdout.contains("it takes none that pay less than"), "{}", ended.stdout);
    let ended = broadcast(&home, &[&nodes[0], &nodes[1]], &[&payment], &["--fee", &fee.to_string()]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(has(&nodes[1], txid) && !has(&nodes[0], txid));
}

#[test]
fn a_parent_that_pays_too_little_comes_with_the_child_that_pays_for_it() {
    for private in [false, true] {
        let Some(nodes) = pair(&[], &[]) else { return };
        let mut miner = Miner::new(&nodes[0]);
        let coins = coins(&mut miner, TYPES);
        join(&nodes);
        for coin in coins {
            let parent = miner.spend(std::slice::from_ref(&coin), coin.lock.script.clone(), SATS);
            let middle = coin_of(&parent, 0, coin.lock.clone());
            let child = miner.spend(std::slice::from_ref(&middle), coin.lock.script.clone(), SATS - 5_000);
            assert!(!has(&nodes[0], parent.compute_txid()));
            let home = home();
            let mut more = vec!["--fee", "0", "--fee", "5000"];
            if private {
                more.push("--private");
            }
            let begin = Instant::now();
            let ended = broadcast(&home, &[&nodes[0]], &[&parent, &child], &more);
            assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
            println!(
                "private {private}: a parent without a fee and its child are seen after {:?}",
                begin.elapsed()
            );
            for transaction in [&parent, &child] {
                let txid = transaction.compute_txid();
                assert!(has(&nodes[0], txid));
                wait_for("the other node's mempool", || has(&nodes[1], txid).then_some(()));
            }
            // The parent was asked for as the child's.
            assert!(!states(&ended, parent.compute_txid()).contains(&"announced".to_owned()));
        }
    }
}

#[test]
fn what_no_node_takes_is_never_said_to_be_seen() {
    let Some(nodes) = pair(&[], &[]) else { return };
    let mut miner = Miner::new(&nodes[0]);
    let coin = coins(&mut miner, 1).remove(0);
    join(&nodes);
    // Its signature is of another amount.
    let mut payment = miner.spend(std::slice::from_ref(&coin), coin.lock.script.clone(), SATS - 2_000);
    payment.output[0].value = Amount::from_sat(SATS - 3_000);
    let home = home();
    let ended = broadcast(&home, &[&nodes[0]], &[&payment], &["--timeout", "15"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert_eq!(states(&ended, payment.compute_txid()), ["waiting", "announced", "sent"]);
    assert!(ended.stderr.contains("after 15 seconds it is sent"), "{}", ended.stderr);
    // A block with another that spends the same ends it.
    let rival = miner.spend(std::slice::from_ref(&coin), coin.lock.script.clone(), SATS - 4_000);
    miner.block(std::slice::from_ref(&rival));
    nodes[0].wait_for_filters();
    let ended = broadcast(&home, &[&nodes[0]], &[&payment], &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains(&format!("{}, which is in a block, spends", rival.compute_txid())),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_is_no_transaction_is_refused_with_a_reason() {
    let home = home();
    let file = home.path().join("empty");
    std::fs::write(&file, "\n\n").unwrap();
    let hollow = transaction(
        [OutPoint::null()],
        vec![TxOut { value: Amount::ZERO, script_pubkey: Lock::series(1, 1)[0].script.clone() }],
    );
    for (given, expected) in [
        ("00ff".to_owned(), "the transaction can't be read"),
        ("/nowhere/at/all".to_owned(), "can't be read"),
        (file.display().to_string(), "is empty"),
        (serialize_hex(&hollow), "has the input of a coinbase"),
    ] {
        let mut command = andon(home.path(), ["broadcast", "--network", "regtest", "--peer", "127.0.0.1:1"]);
        command.arg(&given).arg("--data-dir").arg(home.path().join("data"));
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(2), "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}
