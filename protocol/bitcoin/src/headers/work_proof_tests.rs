//! The two passes of a chain of little work.

use std::vec::Vec;

use andon_kernel::{Rng, UnixTime};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Network, TxMerkleNode, Work};

use super::super::{HeaderError, Lineage, Rules};
use super::{HELD_BACK, Kept, WorkProof, WorkProofError};

const NOW: UnixTime = UnixTime::from_secs(1_900_000_000);

fn mined(parent: &Header, count: usize, tag: u8) -> Vec<Header> {
    let mut parent = *parent;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut header = Header {
            version: Version::from_consensus(4),
            prev_blockhash: parent.block_hash(),
            merkle_root: TxMerkleNode::from_byte_array([tag; 32]),
            time: parent.time + 60,
            bits: parent.bits,
            nonce: 0,
        };
        while !header.target().is_met_by(header.block_hash()) {
            header.nonce += 1;
        }
        headers.push(header);
        parent = header;
    }
    headers
}

fn hashed(headers: &[Header]) -> impl Iterator<Item = (Header, BlockHash)> {
    headers.iter().map(|header| (*header, header.block_hash()))
}

fn proof(rules: &Rules, goal: Work, limit: u32) -> WorkProof {
    WorkProof::new(rules.clone(), Lineage::genesis(rules), goal, limit, NOW, &mut Rng::new([5; 32]))
}

/// Gives a proof the messages of a chain until it says something else than to go on.
fn give(proof: &mut WorkProof, chain: &[Header], released: &mut Vec<Header>) -> Result<Kept, WorkProofError> {
    for message in chain.chunks(2000) {
        match proof.take(hashed(message), NOW, released) {
            Ok(Kept::More) => {}
            other => return other,
        }
    }
    Ok(Kept::More)
}

#[test]
fn a_chain_is_shown_then_taken() {
    let rules = Rules::new(Network::Regtest);
    let genesis = rules.genesis();
    let chain = mined(&genesis, 40_000, 1);
    let works: Vec<Work> = chain
        .iter()
        .scan(genesis.work(), |work, header| {
            *work = *work + header.work();
            Some(*work)
        })
        .collect();
    let mut proof = proof(&rules, works[39_499], 1_000_000);
    let mut released = Vec::new();
    assert_eq!(give(&mut proof, &chain[..38_000], &mut released), Ok(Kept::More));
    assert_eq!((proof.last().height(), released.len(), proof.is_proven()), (38_000, 0, false));
    assert_eq!(give(&mut proof, &chain[38_000..], &mut released), Ok(Kept::Again));
    assert_eq!((proof.last().height(), proof.is_proven()), (0, true));
    // The second time it is let go in order, the first of it when enough has come behind it.
    assert_eq!(give(&mut proof, &chain[..20_000], &mut released), Ok(Kept::More));
    assert_eq!(released, chain[..20_000 - HELD_BACK]);
    assert_eq!(give(&mut proof, &chain[20_000..], &mut released), Ok(Kept::Done));
    assert_eq!(released, chain);
    assert_eq!((proof.last().height(), proof.last().work()), (40_000, works[39_999]));
}

#[test]
fn another_chain_the_second_time_is_found_out_before_any_of_it_is_let_go() {
    let rules = Rules::new(Network::Regtest);
    let genesis = rules.genesis();
    let chain = mined(&genesis, 20_000, 1);
    let goal = chain.iter().fold(genesis.work(), |work, header| work + header.work());
    let other = [&chain[..100], &mined(&chain[99], 19_900, 2)].concat();
    let mut proof = proof(&rules, goal, 1_000_000);
    let mut released = Vec::new();
    assert_eq!(give(&mut proof, &chain, &mut released), Ok(Kept::Again));
    assert_eq!(give(&mut proof, &other, &mut released), Err(WorkProofError::Changed));
    assert_eq!(released, []);
}

#[test]
fn a_chain_that_goes_on_and_on_or_breaks_a_rule_is_given_up() {
    let rules = Rules::new(Network::Regtest);
    let genesis = rules.genesis();
    let chain = mined(&genesis, 6000, 1);
    let goal = chain.iter().fold(genesis.work(), |work, header| work + header.work());
    let mut released = Vec::new();
    assert_eq!(give(&mut proof(&rules, goal, 5000), &chain, &mut released), Err(WorkProofError::TooLong));
    assert_eq!(
        give(&mut proof(&rules, goal, 5999), &chain, &mut released),
        Ok(Kept::Again),
        "the last has the work"
    );
    // However long it may be: no more blocks fit between the base and now.
    let soon = UnixTime::from_secs(u64::from(genesis.time) + 100);
    let mut hurried =
        WorkProof::new(rules.clone(), Lineage::genesis(&rules), goal, u32::MAX, soon, &mut Rng::new([5; 32]));
    assert_eq!(hurried.limit, (7200 + 100) * 6);
    let ahead = hurried.take(hashed(&chain), soon, &mut released);
    assert_eq!(ahead, Err(WorkProofError::Invalid(HeaderError::NotYet)));
    let mut gap = chain.clone();
    gap.remove(3000);
    assert_eq!(give(&mut proof(&rules, goal, 9000), &gap, &mut released), Err(WorkProofError::Discontinuous));
    assert_eq!(released, []);
}
