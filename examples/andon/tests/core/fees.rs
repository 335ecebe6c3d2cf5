//! What blocks paid and what a node takes at least, beside what the node itself says.

use bitcoin::consensus::encode::serialize_hex;
use serde_json::json;

use crate::bitcoind::{Bitcoind, FILTERS, wait_for};
use crate::common::{andon, run};
use crate::miner::{Coin, Lock, Miner};

const SATS: u64 = 1_000_000;

#[test]
fn blocks_and_nodes_are_understood_as_a_node_does() {
    let Some(node) = Bitcoind::start_with(&FILTERS) else { return };
    let mut miner = Miner::new(&node);
    let payments: Vec<(Lock, u64)> = Lock::series(151, 10).into_iter().map(|lock| (lock, SATS)).collect();
    let mut coins: Vec<Coin> = Vec::new();
    let payment = miner.pay_locks(&payments, &mut coins);
    miner.block(&[payment]);
    wait_for("the end of initial download", || {
        (node.call("getblockchaininfo", json!([]))["initialblockdownload"] == false).then_some(())
    });
    // One to three transactions in a block, and one block without any.
    let mut coins = coins.into_iter();
    for (count, fee) in [(1, 900), (3, 5_000), (0, 0), (2, 70_000), (1, 1_234)] {
        for coin in coins.by_ref().take(count) {
            let spent = miner.spend(std::slice::from_ref(&coin), coin.lock.script.clone(), SATS - fee);
            node.call("sendrawtransaction", json!([serialize_hex(&spent), 0]));
        }
        node.call("generatetodescriptor", json!([1, "raw(51)"]));
    }
    node.wait_for_filters();
    let tip = node.height();
    let mut expected: Vec<u64> = (tip - 4..=tip)
        .map(|height| node.call("getblockstats", json!([height, ["totalfee", "total_weight"]])))
        .filter(|stats| stats["total_weight"] != 0)
        .map(|stats| {
            let (fees, weight) =
                (stats["totalfee"].as_u64().unwrap(), stats["total_weight"].as_u64().unwrap());
            fees * 1000 / weight * 4
        })
        .collect();
    expected.sort_unstable();
    assert_eq!(expected.len(), 4);
    let home = tempfile::Builder::new().prefix("andon-core-home-").tempdir().unwrap();
    let mut command = andon(home.path(), ["fees", "--json", "--network", "regtest", "--blocks", "5"]);
    command.arg("--peer").arg(node.address.to_string()).arg("--data-dir").arg(home.path().join("data"));
    let ended = run(&mut command);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let objects = ended.objects();
    let fees = objects.last().unwrap();
    assert_eq!((&fees["event"], &fees["tip"]), (&json!("fees"), &json!(tip)));
    assert_eq!(fees["paid_sat_per_kvb"], json!(expected));
    // The node rounds what it says, so that it is not known by it.
    let least = node.call("getmempoolinfo", json!([]))["minrelaytxfee"].as_f64().unwrap() * 1e8;
    let said = fees["least_sat_per_kvb"].as_f64().unwrap();
    assert!((0.85 * least..=1.15 * least).contains(&said), "{said} for {least}");
    assert_eq!(fees["least_groups"], 1);
    // More than a driver's queue takes at once.
    let mut command = andon(home.path(), ["fees", "--network", "regtest", "--blocks", "144"]);
    command.arg("--peer").arg(node.address.to_string()).arg("--data-dir").arg(home.path().join("data"));
    let ended = run(&mut command);
    assert_eq!((ended.code, ended.stdout.is_empty()), (Some(0), false), "{}", ended.stderr);
    println!("{}", ended.stdout);
    println!("paid {expected:?} sat/kvB; taken {said} at least, where the node has {least}");
}
