//! The chain alone: most work, ties, locators, the window, what is stored and taken up again.

use std::vec::Vec;

use andon_kernel::UnixTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, Network, TxMerkleNode, Work};

use super::super::branches::MAX_BRANCH_HEADERS;
use super::super::{BlockId, HeaderError, Lineage, Rules};
use super::{HeaderChain, MARGIN, Place, SLACK, Stop, Taken, WINDOW};

const NOW: UnixTime = UnixTime::from_secs(1_900_000_000);

/// `count` headers after `parent`, a minute apart, with regtest's proof of work; branches with other tags differ.
fn mined(parent: &Header, count: u32, tag: u8) -> Vec<Header> {
    let mut parent = *parent;
    (0..count)
        .map(|_| {
            parent = mine(&parent, parent.time + 60, tag);
            parent
        })
        .collect()
}

fn mine(parent: &Header, time: u32, tag: u8) -> Header {
    let mut header = Header {
        version: Version::from_consensus(4),
        prev_blockhash: parent.block_hash(),
        merkle_root: TxMerkleNode::from_byte_array([tag; 32]),
        time,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    header
}

fn new() -> (HeaderChain, Header) {
    let chain = HeaderChain::new(Network::Regtest);
    let genesis = *chain.at(0).expect("the first block is there").0;
    (chain, genesis)
}

fn give(chain: &mut HeaderChain, headers: &[Header]) -> Taken {
    give_at(chain, headers, NOW)
}

fn give_at(chain: &mut HeaderChain, headers: &[Header], now: UnixTime) -> Taken {
    chain.take(headers.iter().map(|header| (*header, header.block_hash())), now)
}

#[test]
fn most_work_wins_and_the_first_seen_on_a_tie() {
    let (mut chain, genesis) = new();
    let first = mined(&genesis, 5, 1);
    let second = mined(&genesis, 6, 2);
    assert_eq!(give(&mut chain, &first).changed_from, Some(1));
    let tie = give(&mut chain, &second[..5]);
    assert_eq!((tie.changed_from, tie.left, tie.beside), (None, None, 5));
    assert_eq!(chain.tip().hash, first[4].block_hash());
    let won = give(&mut chain, &second[5..]);
    assert_eq!(won.changed_from, Some(1));
    assert_eq!(won.left.map(|tip| tip.hash), Some(first[4].block_hash()));
    assert_eq!(chain.tip().hash, second[5].block_hash());
    // And back: what was left is still known, and needs no more than what is new.
    let more = mined(&first[4], 2, 1);
    let back = give(&mut chain, &more);
    assert_eq!((back.changed_from, chain.tip_height()), (Some(1), 7));
    assert_eq!(chain.common(BlockId { height: 6, hash: second[5].block_hash() }), Some(0));
    for (height, header) in (1..).zip(first.iter().chain(&more)) {
        assert_eq!(chain.at(height).map(|(_, hash)| hash), Some(header.block_hash()));
    }
    assert!(give(&mut chain, &second).stopped.is_none(), "what is known is no fault");
}

#[test]
fn a_locator_is_newest_first_and_ever_sparser() {
    let (mut chain, genesis) = new();
    assert_eq!(chain.locator(0), [genesis.block_hash()]);
    let headers = mined(&genesis, 5000, 0);
    give(&mut chain, &headers);
    let locator = chain.locator(4999);
    let heights: Vec<u32> =
        locator.iter().map(|hash| chain.height_of(hash).expect("it is in the chain")).collect();
    assert_eq!(heights[..12], [4999, 4998, 4997, 4996, 4995, 4994, 4993, 4992, 4991, 4990, 4988, 4984]);
    assert_eq!(heights.last(), Some(&0));
    assert!(heights.is_sorted_by(|higher, lower| higher > lower));
    assert!(locator.len() <= 25, "{}", locator.len());
}

#[test]
fn every_block_of_a_locator_can_be_gone_on_from() {
    let (mut chain, genesis) = new();
    let trunk = mined(&genesis, 30_000, 0);
    for message in trunk.chunks(2000) {
        assert!(give(&mut chain, message).stopped.is_none());
    }
    let locator = chain.locator(chain.tip_height());
    assert!(locator.len() <= 101);
    let height =
        |hash| trunk.iter().position(|header| header.block_hash() == hash).map_or(0, |at| at as u32 + 1);
    let heights: Vec<u32> = locator.iter().map(|hash| height(*hash)).collect();
    assert!(heights.is_sorted_by(|higher, lower| higher > lower), "{heights:?}");
    let mut below = 0;
    for (hash, height) in locator.iter().zip(heights) {
        match chain.place(hash) {
            // A heavier branch from there wins at once.
            Place::AtHand => {
                let mut chain = chain.clone();
                let branch = mined(&trunk[height as usize - 1], 30_001 - height, 7);
                assert_eq!(give(&mut chain, &branch).changed_from, Some(height + 1));
                assert_eq!(chain.tip_height(), 30_001);
            }
            Place::Below(block) => {
                assert_eq!(block, BlockId { height, hash: *hash });
                below += 1;
            }
            Place::Start => assert_eq!(height, 0),
            other => panic!("{height}: {other:?}"),
        }
    }
    assert!(below >= 2, "{below}");
    assert_eq!(chain.place(&trunk[100].block_hash()), Place::Unknown);
}

#[test]
fn the_window_is_bounded_and_what_began_below_it_is_let_go() {
    let (mut chain, genesis) = new();
    let trunk = mined(&genesis, WINDOW + 2 * SLACK + 100, 0);
    // A branch from far below, near enough when it comes.
    let fork = 2 * SLACK as usize;
    let branch = mined(&trunk[fork - 100], 150, 1);
    give(&mut chain, &trunk[..fork]);
    give(&mut chain, &branch[..80]);
    assert_eq!(chain.branch_headers(), 80);
    for message in trunk[fork..].chunks(2000) {
        give(&mut chain, message);
    }
    assert!(chain.window.len() <= (WINDOW + SLACK + MARGIN) as usize);
    assert_eq!(chain.at(5), None);
    assert_eq!(chain.branch_headers(), 0);
    let late = give(&mut chain, &branch[80..]);
    assert_eq!(late.stopped, Some(Stop::Unconnected));
    let locator = chain.locator(chain.tip_height());
    assert_eq!(locator.last(), Some(&genesis.block_hash()));
}

#[test]
fn branches_have_an_end_and_the_heaviest_stay() {
    let (mut chain, genesis) = new();
    let trunk = mined(&genesis, 100, 0);
    give(&mut chain, &trunk);
    let honest = mined(&trunk[9], 91, 1);
    // Level with the best chain, and beside it.
    assert_eq!(give(&mut chain, &honest[..90]).beside, 90);
    for number in 0..=MAX_BRANCH_HEADERS as u32 {
        let header = mine(&genesis, genesis.time + 1 + number, 9);
        assert_eq!(give(&mut chain, &[header]).stopped, None);
        assert!(chain.branch_headers() <= MAX_BRANCH_HEADERS);
    }
    // Nothing of the flood has pushed out what is worth more.
    let won = give(&mut chain, &honest[90..]);
    assert_eq!((won.changed_from, chain.tip_height()), (Some(11), 101));
}

#[test]
fn what_lies_too_far_below_the_tip_in_work_is_not_kept() {
    let (mut chain, genesis) = new();
    let trunk = mined(&genesis, 1000, 0);
    give(&mut chain, &trunk);
    let low = mined(&trunk[499], 300, 1);
    let refused = give(&mut chain, &low);
    let Some(Stop::LowWork(from)) = refused.stopped else { panic!("{refused:?}") };
    assert_eq!((from.height(), *from.hash()), (500, trunk[499].block_hash()));
    assert_eq!((refused.changed_from, refused.last, chain.branch_headers()), (None, None, 0));
    // As much as Bitcoin Core asks: no more than 144 blocks' work less than the tip.
    for (count, kept) in [(355, false), (356, true)] {
        let mut chain = chain.clone();
        let taken = give(&mut chain, &mined(&trunk[499], count, 1));
        assert_eq!((taken.stopped.is_none(), chain.branch_headers() > 0), (kept, kept), "{count}");
    }
    // And a chain that has less than it must have, be it the only one.
    let (mut chain, _) = new();
    chain.set_minimum_work(trunk[..600].iter().fold(genesis.work(), |work, header| work + header.work()));
    assert!(matches!(give(&mut chain, &trunk[..599]).stopped, Some(Stop::LowWork(_))));
    assert_eq!(chain.tip_height(), 0);
    assert_eq!(give(&mut chain, &trunk[..600]).stopped, None);
    assert_eq!(chain.tip_height(), 600);
}

#[test]
fn what_was_stored_is_taken_up_as_it_was() {
    let (mut chain, genesis) = new();
    let trunk = mined(&genesis, 20_500, 0);
    let all: Vec<Header> = std::iter::once(genesis).chain(trunk.iter().copied()).collect();
    let hash = |height: u32| Some(all[height as usize].block_hash());
    let restore = |tip: u32, work: Work| {
        let (base, posts) = HeaderChain::needed(0, tip);
        let posts: Vec<u32> = posts.collect();
        let post = |height| posts.contains(&height).then(|| hash(height))?;
        new().0.restore(&all[base as usize..=tip as usize], work, post, base)
    };
    for message in trunk.chunks(1300) {
        give(&mut chain, message);
        let tip = chain.tip_height();
        let restored = restore(tip, chain.work()).expect("it is a chain");
        assert_eq!(restored.lineage(), chain.lineage());
        assert_eq!(restored.locator(tip).last(), Some(&genesis.block_hash()));
        assert_eq!(restored.locator(0)[1..], chain.locator(restored.floor())[1..], "at {tip}");
        for height in restored.base..=tip {
            assert_eq!(
                restored.entry(height).map(|entry| entry.work),
                chain.entry(height).map(|entry| entry.work)
            );
        }
    }
    let (base, _) = HeaderChain::needed(0, 700);
    let upper = &all[base as usize..=700];
    let work = upper[1..].iter().fold(genesis.work(), |work, header| work + header.work());
    let none = |_| None;
    assert!(new().0.restore(upper, work, none, 0).is_some());
    let mut gap = upper.to_vec();
    gap.remove(350);
    assert!(new().0.restore(&gap, work, none, 0).is_none(), "a header is missing");
    assert!(new().0.restore(upper, work + genesis.work(), none, 0).is_none(), "more work than it has");
    assert!(new().0.restore(upper, genesis.work(), none, 0).is_none(), "less work than it has");
    assert!(new().0.restore(&upper[1..], work, none, 0).is_none(), "another network's first block");
    assert!(new().0.restore(&[], work, none, 0).is_none(), "nothing");
}

#[test]
fn a_chain_begins_where_it_is_told_to_with_what_the_rules_need() {
    let (_, genesis) = new();
    let rules = Rules::new(Network::Regtest);
    let trunk = mined(&genesis, 12_000, 0);
    let work = |height: u32| {
        trunk[..height as usize].iter().fold(genesis.work(), |work, header| work + header.work())
    };
    for start in [2016_u32, 2020, 3000, 4031] {
        let from = (start / 2016 * 2016).min(start.saturating_sub(10)) as usize;
        let given = &trunk[from - 1..start as usize];
        let lineage = Lineage::from_headers(&rules, given, start, work(start)).expect("they are a chain");
        let header = trunk[start as usize - 1];
        let mut chain = HeaderChain::from_start(rules.clone(), &header, lineage);
        for message in trunk[start as usize..].chunks(2000) {
            assert_eq!(give(&mut chain, message).stopped, None, "from {start}");
        }
        assert_eq!((chain.tip_height(), chain.work()), (12_000, work(12_000)));
        assert_eq!(
            chain.locator(12_000)[chain.locator(12_000).len() - 2..],
            [header.block_hash(), genesis.block_hash()]
        );
        let place = if chain.base == start { Place::AtHand } else { Place::Start };
        assert_eq!(chain.place(&header.block_hash()), place);
        assert_eq!(chain.place(&genesis.block_hash()), Place::BeforeStart);
        // The rules look at what lies below the start: a time that is not above the median is noticed right after it.
        let early = mine(&header, trunk[start as usize - 7].time, 3);
        let mut chain = HeaderChain::from_start(rules.clone(), &header, lineage);
        assert_eq!(give(&mut chain, &[early]).stopped, Some(Stop::Invalid(HeaderError::TimeTooEarly)));
        // Without what they need nothing is judged by less.
        let short = Lineage::at_period(&trunk[2015], 2016, work(2016));
        let mut chain = HeaderChain::from_start(rules.clone(), &trunk[2015], short);
        assert_eq!(
            give(&mut chain, &trunk[2016..2020]).stopped,
            Some(Stop::Invalid(HeaderError::OutOfReach))
        );
        let proven = trunk[2016..4000].iter().map(|header| (*header, header.block_hash()));
        assert_eq!(chain.take_proven(proven, NOW).stopped, None);
        assert_eq!(give(&mut chain, &trunk[4000..4100]).stopped, None);
        assert_eq!(Lineage::decode(&lineage.encode()), Some(lineage));
        assert_eq!(Lineage::decode(&lineage.encode()[1..]), None);
    }
    assert!(
        Lineage::from_headers(&rules, &trunk[2999..3000], 3000, work(3000)).is_none(),
        "no first of the period"
    );
}

#[test]
fn a_list_is_taken_up_to_what_is_wrong_with_it() {
    let (_, genesis) = new();
    let headers = mined(&genesis, 20, 0);
    let mut early = headers.clone();
    early[15] = mine(&headers[14], headers[9].time, 0);
    let mut old = headers.clone();
    old[3].version = Version::from_consensus(3);
    while !old[3].target().is_met_by(old[3].block_hash()) {
        old[3].nonce += 1;
    }
    let mut easy = headers.clone();
    easy[4].bits = CompactTarget::from_consensus(0x207f_fffe);
    let mut unworked = headers.clone();
    while unworked[5].target().is_met_by(unworked[5].block_hash()) {
        unworked[5].nonce += 1;
    }
    let table: [(Vec<Header>, u32, Stop); 6] = [
        ([&headers[..5], &headers[6..]].concat(), 5, Stop::Discontinuous),
        (early, 15, Stop::Invalid(HeaderError::TimeTooEarly)),
        (old, 3, Stop::Invalid(HeaderError::Version)),
        (easy, 4, Stop::Invalid(HeaderError::Difficulty)),
        (unworked, 5, Stop::Invalid(HeaderError::ProofOfWork)),
        (mined(&mine(&genesis, 9, 9), 2, 0), 0, Stop::Unconnected),
    ];
    for (list, height, stop) in table {
        let mut chain = new().0;
        let taken = give(&mut chain, &list);
        assert_eq!((chain.tip_height(), taken.stopped), (height, Some(stop)));
    }
    let (mut chain, _) = new();
    let soon = UnixTime::from_secs(u64::from(headers[9].time) - 2 * 60 * 60);
    let taken = give_at(&mut chain, &headers, soon);
    assert_eq!((chain.tip_height(), taken.stopped), (10, Some(Stop::Invalid(HeaderError::NotYet))));
    assert_eq!(give(&mut chain, &headers).stopped, None);
    assert_eq!(chain.tip_height(), 20);
    let unknown = BlockId { height: 3, hash: BlockHash::all_zeros() };
    assert_eq!(chain.common(unknown), None);
}
