//! What is known of fees: what blocks paid, and what peers take at least.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use andon_bitcoin::fees::{BlockFees, FeeFilters, MAX_BLOCKS, NoFees, RecentBlocks, subsidy};
use andon_bitcoin::headers::BlockId;
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, Weight,
};

fn id(height: u32) -> BlockId {
    BlockId { height, hash: BlockHash::from_byte_array([height as u8; 32]) }
}

fn rate(sat_per_vb: u64) -> FeeRate {
    FeeRate::from_sat_per_vb(sat_per_vb).unwrap()
}

#[test]
fn subsidies_halve_as_the_rules_have_it() {
    for (height, network, expected) in [
        (0, Network::Bitcoin, 5_000_000_000),
        (209_999, Network::Bitcoin, 5_000_000_000),
        (210_000, Network::Bitcoin, 2_500_000_000),
        (840_000, Network::Bitcoin, 312_500_000),
        (32 * 210_000, Network::Bitcoin, 1),
        (33 * 210_000, Network::Bitcoin, 0),
        (64 * 210_000, Network::Bitcoin, 0),
        (u32::MAX, Network::Bitcoin, 0),
        (149, Network::Regtest, 5_000_000_000),
        (150, Network::Regtest, 2_500_000_000),
        (u32::MAX, Network::Regtest, 0),
    ] {
        assert_eq!(subsidy(height, network).to_sat(), expected, "{network} {height}");
    }
}

/// A block whose coinbase takes `fees` beyond the subsidy, with as many other transactions.
fn block(height: u32, fees: i64, others: u8) -> bitcoin::Block {
    let mut coinbase = common::coinbase(1, common::script(1));
    let subsidy = subsidy(height, Network::Bitcoin).to_sat();
    coinbase.output[0].value = Amount::from_sat(subsidy.checked_add_signed(fees).unwrap());
    let spend = |number: u8| {
        common::spend(OutPoint::new(Txid::from_byte_array([number; 32]), 0), common::script(number.into()))
    };
    let transactions = [coinbase].into_iter().chain((0..others).map(spend)).collect();
    common::block(BlockHash::all_zeros(), 0, transactions)
}

#[test]
fn a_block_says_what_its_transactions_paid_together() {
    let fees = BlockFees::of(&block(210_000, 1000, 5), 210_000, Network::Bitcoin).unwrap();
    // Each has 82 bytes: version, input of 41, output of 31, two counts, lock time.
    assert_eq!(fees, BlockFees { total: Amount::from_sat(1000), weight: Weight::from_wu(5 * 4 * 82) });
    assert_eq!(fees.average(), FeeRate::from_sat_per_kwu(1000 * 1000 / 1640));
    assert_eq!(BlockFees::of(&block(0, 0, 0), 0, Network::Bitcoin), Err(NoFees::Empty));
    assert_eq!(BlockFees::of(&block(0, -1, 1), 0, Network::Bitcoin), Err(NoFees::Coinbase));
    assert_eq!(BlockFees::of(&block(0, 0, 1), 0, Network::Bitcoin).unwrap().average(), FeeRate::ZERO);
    // More than 252 transactions: their number takes three bytes.
    let many = block(0, 7, 255);
    assert_eq!(BlockFees::of(&many, 0, Network::Bitcoin).unwrap().weight, Weight::from_wu(255 * 4 * 82));
    let mut endless = block(0, 0, 1);
    endless.txdata[0].output = vec![endless.txdata[0].output[0].clone(); 2];
    endless.txdata[0].output[0].value = Amount::MAX;
    assert_eq!(BlockFees::of(&endless, 0, Network::Bitcoin), Err(NoFees::Coinbase));
}

/// Real blocks, whose transactions are weighed one by one here.
#[test]
fn real_blocks() {
    let Some(blocks) = common::large_blocks() else { return };
    for large in blocks {
        let height: u32 = large.name.split('-').nth(1).unwrap().parse().unwrap();
        let network = if large.name.starts_with("main") { Network::Bitcoin } else { Network::Testnet };
        let fees = BlockFees::of(&large.block, height, network).unwrap();
        let others: Weight = large.block.txdata.iter().skip(1).map(bitcoin::Transaction::weight).sum();
        assert_eq!(fees.weight, others, "{}", large.name);
        // New money in these blocks, by the rule's own table.
        let new = match height {
            300_025 => 2_500_000_000,
            866_342 | 928_848 => 312_500_000,
            1_087_400 => 156_250_000,
            _ => panic!("{height}"),
        };
        let paid: Amount = large.block.txdata[0].output.iter().map(|output| output.value).sum();
        assert_eq!(fees.total.to_sat(), paid.to_sat() - new, "{}", large.name);
        println!("{}: {} for {}, {} sat/kwu", large.name, fees.total, fees.weight, fees.average());
        // Between a quarter of a satoshi and 4000 for a byte.
        assert!((60..1_000_000).contains(&fees.average().to_sat_per_kwu()), "{}", large.name);
    }
}

#[test]
fn percentiles_are_of_the_blocks_from_a_height_on() {
    let mut recent = RecentBlocks::new();
    assert_eq!(recent.percentile(50, 0), None);
    let fees = |sats: u64| BlockFees {
        total: Amount::from_sat(sats * 1000),
        weight: Weight::from_vb(1000).unwrap(),
    };
    for (height, rate) in [(10, 5), (11, 1), (12, 3), (13, 1_000_000), (14, 4)] {
        recent.add(id(height), fees(rate));
    }
    for (percent, from, expected) in [
        (0, 0, Some((1, 5))),
        (20, 0, Some((1, 5))),
        (21, 0, Some((3, 5))),
        (50, 0, Some((4, 5))),
        (80, 0, Some((5, 5))),
        (100, 0, Some((1_000_000, 5))),
        (50, 12, Some((4, 3))),
        (50, 13, Some((4, 2))),
        (50, 15, None),
    ] {
        let expected = expected.map(|(sats, count)| (rate(sats), count));
        assert_eq!(recent.percentile(percent, from), expected, "{percent} from {from}");
    }
    // A branch takes the place of what was there.
    assert!(recent.has(&id(14)));
    recent.rewind(12);
    assert!(!recent.has(&id(13)) && !recent.has(&id(14)) && recent.has(&id(12)));
    assert_eq!(recent.percentile(100, 0), Some((rate(5), 3)));
    recent.add(BlockId { height: 12, hash: BlockHash::all_zeros() }, fees(9));
    assert!(!recent.has(&id(12)));
    assert_eq!(recent.percentile(100, 0), Some((rate(9), 3)));
}

#[test]
fn a_days_blocks_are_remembered() {
    let mut recent = RecentBlocks::new();
    for height in 0..1000 {
        recent.add(
            id(height),
            BlockFees { total: Amount::from_sat(height.into()), weight: Weight::from_wu(1000) },
        );
    }
    let rates = recent.rates(0);
    assert_eq!(rates.len(), MAX_BLOCKS);
    assert_eq!(rates[0], FeeRate::from_sat_per_kwu(1000 - MAX_BLOCKS as u64));
}

/// A peer: its name, its group, and what it takes at least.
type Named = (u8, u8, u64);
/// The median, in satoshis for 1000 virtual bytes, and of how many groups it is.
type Expected = Option<(u64, usize)>;

#[test]
fn one_group_of_peers_has_one_vote() {
    let cases: [(&[Named], Expected); 9] = [
        (&[], None),
        (&[(1, 1, 1000)], Some((1000, 1))),
        // The lower one of two.
        (&[(1, 1, 1000), (2, 2, 5000)], Some((1000, 2))),
        // Kyoto takes the highest that any peer names: one is enough to freeze it.
        (&[(1, 1, 1000), (2, 2, 1100), (3, 3, 8_999_999)], Some((1100, 3))),
        // A hundred connections of one group are one vote.
        (
            &[(1, 1, 1000), (2, 2, 1100), (3, 3, 5000), (4, 3, 5000), (5, 3, 5000), (6, 3, 5000)],
            Some((1100, 3)),
        ),
        (&[(1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 2, 1000), (5, 3, 1004)], Some((1000, 3))),
        // Nodes that are syncing take nothing.
        (&[(1, 1, 9_170_997)], None),
        (&[(1, 1, 9_170_997), (2, 2, u64::MAX), (3, 3, 1000)], Some((1000, 1))),
        // The last word counts.
        (&[(1, 1, 5000), (1, 1, 1000)], Some((1000, 1))),
    ];
    for (peers, expected) in cases {
        let mut filters = FeeFilters::new();
        for (peer, group, least) in peers {
            filters.set(*peer, *group, *least);
        }
        let expected = expected.map(|(least, groups)| (FeeRate::from_sat_per_kwu(least.div_ceil(4)), groups));
        assert_eq!(filters.median(), expected, "{peers:?}");
        for (peer, ..) in peers {
            filters.remove(peer);
        }
        assert_eq!(filters.median(), None);
    }
}

/// Nobody checks here that a coinbase makes no more than it may: what a miner claims beyond all money says nothing.
#[test]
fn a_coinbase_of_more_money_than_there_is_says_nothing() {
    for claimed in [Amount::MAX, Amount::MAX_MONEY + Amount::from_sat(5_000_000_001)] {
        let output = TxOut { value: claimed, script_pubkey: ScriptBuf::new() };
        let coinbase = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn::default()],
            output: vec![output],
        };
        let weight = coinbase.weight() + Weight::from_wu(4);
        assert_eq!(BlockFees::new(&coinbase, weight, 2, 0, Network::Bitcoin), Err(NoFees::Coinbase));
    }
    let most = BlockFees { total: Amount::MAX, weight: Weight::ZERO };
    assert_eq!(most.average(), FeeRate::from_sat_per_kwu(u64::MAX));
}
