//! Where a chain of headers begins: compiled-in points, a user's own, and what becomes of a store that began elsewhere.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;
mod ledger;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, BlockId, Command, Config, Event, Failure, HeaderError, HeaderQuery, Misbehaviour, Reason, Start,
};
use andon_bitcoin::points::{StartPoint, start_points};
use andon_kernel::UnixTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, Network, ScriptBuf, TxMerkleNode, Work};
use ledger::{Ledger, PAYEES, Room, Shelf, payee, same};

/// Blocks of a difficulty period.
const PERIOD: u32 = 2016;

/// Where most chains here begin: the first block of a period.
const START: u32 = 4032;

const TIP: u32 = 6500;

fn chain() -> &'static Arc<Ledger> {
    static CHAIN: OnceLock<Arc<Ledger>> = OnceLock::new();
    CHAIN.get_or_init(|| Arc::new(Ledger::regtest(TIP)))
}

fn config(start: Start) -> Config {
    Config { start, discovery: None, ..Config::new(Network::Regtest, [3; 32]) }
}

/// A user's own start: the headers from one height to another, with the work that they have.
fn point(ledger: &Ledger, from: u32, height: u32) -> StartPoint {
    StartPoint { height, work: ledger.work(height), headers: ledger.headers(from, height).to_vec() }
}

/// The least that a start without a known block above it must bring.
fn whole(ledger: &Ledger, height: u32) -> StartPoint {
    point(ledger, (height / PERIOD * PERIOD).min(height.saturating_sub(10)), height)
}

fn misbehaved(misbehaviour: Misbehaviour) -> Reason {
    Reason::Misbehaved(misbehaviour)
}

fn solve(header: &mut Header) {
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
}

/// A header after `parent`, with regtest's proof of work.
fn mined(parent: &Header, time: u32, tag: u8) -> Header {
    let mut header = Header {
        version: Version::from_consensus(4),
        prev_blockhash: parent.block_hash(),
        merkle_root: TxMerkleNode::from_byte_array([tag; 32]),
        time,
        bits: parent.bits,
        nonce: 0,
    };
    solve(&mut header);
    header
}

/// As many headers after `parent`, a minute apart.
fn mined_after(parent: &Header, count: u32, tag: u8) -> Vec<Header> {
    let next = |parent: &mut Header| {
        *parent = mined(parent, parent.time + 60, tag);
        *parent
    };
    std::iter::repeat_n((), count as usize).scan(*parent, |parent, ()| Some(next(parent))).collect()
}

/// The median of the eleven last times.
fn median(headers: &[Header]) -> u32 {
    let mut times: Vec<u32> = headers[headers.len() - 11..].iter().map(|header| header.time).collect();
    times.sort_unstable();
    times[5]
}

/// A peer that has a part of the chain below, and these headers above it.
fn with(below: &[Header], above: &[Header], base: u32) -> Arc<Ledger> {
    Arc::new(Ledger::real(Network::Regtest, base, &[below, above].concat()))
}

// Which point.

/// The block that a client without peers starts with on an empty store.
fn begins(network: Network, start: Start) -> BlockId {
    let config = Config { start, discovery: None, ..Config::new(network, [3; 32]) };
    let room = Room::new(config, Shelf::new(), &[]);
    let (tip, checked) = room.started().unwrap_or_else(|| panic!("{}", room.story()));
    assert_eq!(checked, None);
    tip
}

/// Each birthday's block lies above the start, so that its filter can be checked; the next start point does not.
#[test]
fn a_birthday_chooses_the_last_point_before_it() {
    let networks = [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest];
    for network in networks {
        let genesis = bitcoin::constants::genesis_block(network).header;
        assert_eq!(begins(network, Start::Genesis), BlockId { height: 0, hash: genesis.block_hash() });
        let points = start_points(network);
        let block = |index: usize| {
            let point: &StartPoint = &points[index];
            BlockId { height: point.height, hash: point.headers[0].block_hash() }
        };
        for (index, point) in points.iter().enumerate() {
            let before = |birthday| begins(network, Start::Before(birthday));
            let what = format!("{network} {}", point.height);
            assert_eq!(before(Birthday::Height(point.height + 1)), block(index), "{what}");
            assert_eq!(before(Birthday::Height(point.height)), block(index.saturating_sub(1)), "{what}");
            // A day after its time, and a second earlier.
            let day = u64::from(point.headers[0].time) + 24 * 60 * 60;
            assert_eq!(before(Birthday::Time(UnixTime::from_secs(day))), block(index), "{what}");
            let earlier = Birthday::Time(UnixTime::from_secs(day - 1));
            assert_eq!(before(earlier), block(index.saturating_sub(1)), "{what}");
        }
        let last = block(points.len() - 1);
        assert_eq!(begins(network, Start::Before(Birthday::Height(u32::MAX))), last);
        assert_eq!(begins(network, Start::Before(Birthday::Time(UnixTime::from_secs(u64::MAX)))), last);
        assert_eq!(begins(network, Start::Before(Birthday::Height(0))), block(0));
        assert_eq!(begins(network, Start::Before(Birthday::Time(UnixTime::from_secs(0)))), block(0));
    }
    // Some of them, by height alone.
    let heights = [
        (Network::Bitcoin, 700_000, 689_472),
        (Network::Bitcoin, 900_000, 899_136),
        (Network::Bitcoin, 60_480, 0),
        (Network::Testnet4, 100_000, 0),
        (Network::Regtest, 100_000, 0),
    ];
    for (network, birthday, expected) in heights {
        let begins = begins(network, Start::Before(Birthday::Height(birthday)));
        assert_eq!(begins.height, expected, "{network} {birthday}");
    }
    // Segregated witness, on the 24th of August 2017; the start of the year 2022.
    for (time, expected) in [(1_503_539_857, 479_808), (1_640_995_200, 689_472)] {
        let birthday = Birthday::Time(UnixTime::from_secs(time));
        assert_eq!(begins(Network::Bitcoin, Start::Before(birthday)).height, expected, "{time}");
    }
}

/// A start that can't be begun with is told, nothing is stored, and nobody is dialled.
#[test]
fn an_unusable_start_is_named() {
    let ledger = chain();
    let genesis = ledger.header(0);
    let with_work = |work: Work| StartPoint { work, ..whole(ledger, START) };
    let mut gap = whole(ledger, START + 40);
    gap.headers.remove(20);
    let mut no_work = whole(ledger, START);
    while no_work.headers[10].target().is_met_by(no_work.headers[10].block_hash()) {
        no_work.headers[10].nonce += 1;
    }
    let mut hard = whole(ledger, START);
    hard.headers[10].bits = CompactTarget::from_consensus(0x2100_ffff);
    let other_first = {
        let mut first = genesis;
        first.time += 1;
        solve(&mut first);
        let headers: Vec<Header> = [vec![first], mined_after(&first, 20, 1)].concat();
        let work = headers.iter().skip(1).fold(headers[0].work(), |work, header| work + header.work());
        StartPoint { height: 20, work, headers }
    };
    let one = genesis.work();
    let known = |height: u32, block: BlockId| vec![BlockId { height, hash: block.hash }];
    let unknown = known(START - 5, ledger.block(START - 6));
    let missing = "do not follow each other, lack proof of work, or do not reach down";
    let eleven = "eleven headers are needed";
    let work = "its work is not that of its headers";
    let table: Vec<(&str, StartPoint, Vec<BlockId>, &str)> = vec![
        ("none", StartPoint { headers: Vec::new(), ..whole(ledger, START) }, vec![], "no header"),
        ("one above the others as the first", point(ledger, 5, 5), vec![], missing),
        (
            "another first block",
            StartPoint { height: 0, work: one, headers: vec![ledger.header(1)] },
            vec![],
            "not the network's first block",
        ),
        ("a gap", gap, vec![], missing),
        ("one without work", no_work, vec![], missing),
        ("one above the limit", hard, vec![], missing),
        ("not down to the period", point(ledger, START + 1, START + 40), vec![], missing),
        ("ten", point(ledger, START - 9, START), vec![], eleven),
        ("one alone", point(ledger, START, START), vec![], eleven),
        // A known block that far above knows too few of the times.
        ("one, and a block close above", point(ledger, START, START), vec![ledger.block(START + 10)], eleven),
        ("one, and a block below", point(ledger, START, START), vec![ledger.block(START)], eleven),
        ("more than there are", StartPoint { height: 9, ..whole(ledger, START) }, vec![], missing),
        ("less work than its headers", with_work(ledger.work(9)), vec![], work),
        (
            "from the first on, with more work",
            StartPoint { work: ledger.work(51), ..point(ledger, 0, 50) },
            vec![],
            work,
        ),
        ("from another first block on", other_first, vec![], "does not go back to the network's first block"),
        ("against a known block", whole(ledger, START), unknown, "contradicts a block that is known"),
        (
            "against a known block at its own height",
            whole(ledger, START),
            known(START, ledger.block(START + 1)),
            "contradicts a block that is known",
        ),
        (
            "as high as no chain is",
            StartPoint { height: u32::MAX - u32::MAX % PERIOD, ..whole(ledger, START) },
            vec![],
            "no chain is that long",
        ),
    ];
    for (what, point, known, why) in table {
        let mut config = config(Start::Point(point));
        config.known_blocks = known;
        let mut room = Room::new(config, Shelf::new(), &[ledger]);
        room.pass(Duration::from_secs(60));
        let Some(Failure::UnusableStart { why: told }) = room.failure() else {
            panic!("{what}: {}", room.story());
        };
        assert!(told.contains(why), "{what}: {told}");
        assert_eq!(room.events.len(), 1, "{what}: {:?}", room.events);
        assert!(room.end().dump().is_empty(), "{what}: something is stored");
    }
}

/// Known blocks that would take too much memory, or contradict each other or the rules, are refused by name.
#[test]
fn known_blocks_that_can_not_be_used_are_named() {
    let ledger = chain();
    let at = |height: u32, tag: u8| BlockId { height, hash: BlockHash::from_byte_array([tag; 32]) };
    let start = Start::Point(whole(ledger, START));
    let table = [
        ("far up", Start::Genesis, vec![at(32_001, 1)], "apart"),
        ("far apart", Start::Genesis, vec![at(96_003, 4), at(32_000, 2), at(64_000, 3)], "apart"),
        ("far above a start", start.clone(), vec![at(START + 32_001, 1)], "apart"),
        ("two at once", Start::Genesis, vec![at(5, 1), at(5, 2)], "same height"),
        ("not the first", Start::Genesis, vec![at(0, 1)], "same height"),
    ];
    for (what, start, known_blocks, why) in table {
        let mut room = Room::new(Config { known_blocks, ..config(start) }, Shelf::new(), &[ledger]);
        room.pass(Duration::from_secs(60));
        let Some(Failure::UnusableKnownBlocks { why: told }) = room.failure() else {
            panic!("{what}: {}", room.story());
        };
        assert!(told.contains(why), "{what}: {told}");
        assert!(room.end().dump().is_empty(), "{what}: something is stored");
    }
    for (what, start, known_blocks) in [
        ("as far up as can be", Start::Genesis, vec![at(32_000, 1), at(64_000, 2)]),
        ("above a start", start.clone(), vec![at(START + 32_000, 1)]),
        ("below a start", start, vec![at(5, 1)]),
        ("twice the same", Start::Genesis, vec![at(5, 1), at(5, 1)]),
    ] {
        let room = Room::new(Config { known_blocks, ..config(start) }, Shelf::new(), &[]);
        assert_eq!(room.failure(), None, "{what}");
    }

    // A chain that has what is known, and breaks the rules on the way.
    let mut headers = ledger.headers(0, 30).to_vec();
    let early = headers[20].time - 3600;
    headers.push(mined(&headers[30], early, 7));
    let above = mined_after(&headers[31], 10, 8);
    let broken = with(&headers, &above, 0);
    let known_blocks = vec![broken.block(40)];
    let mut room = Room::new(Config { known_blocks, ..config(Start::Genesis) }, Shelf::new(), &[&broken]);
    room.pass(Duration::from_secs(60));
    assert!(matches!(room.failure(), Some(Failure::UnusableKnownBlocks { .. })), "{}", room.story());
}

/// From each kind of start that can be begun with, a client takes the same chain, asks for nothing below, and goes on from
/// its tip after a restart.
#[test]
fn a_chain_is_taken_from_any_start() {
    let ledger = chain();
    let proven = vec![ledger.block(START + 11)];
    let further = vec![ledger.block(START + 4), ledger.block(START + 8), ledger.block(START + 2000)];
    let table: Vec<(&str, StartPoint, Vec<BlockId>)> = vec![
        ("the first block", point(ledger, 0, 0), vec![]),
        ("all of them", point(ledger, 0, 500), vec![]),
        ("the ten first", point(ledger, 0, 9), vec![]),
        ("eleven", whole(ledger, START), vec![]),
        ("down to the period", whole(ledger, START + 40), vec![]),
        ("the last of a period", whole(ledger, START - 1), vec![]),
        ("more than are needed", point(ledger, 1000, START + 1), vec![]),
        ("one, and a block above", point(ledger, START, START), proven.clone()),
        ("eleven, and a block above", whole(ledger, START), proven),
        ("one, and several above", point(ledger, START, START), further),
        ("five of a period, and a block above", point(ledger, START, START + 4), vec![ledger.block(TIP)]),
        ("the tip", whole(ledger, TIP), vec![]),
    ];
    for (what, start, known) in table {
        let height = start.height;
        let mut config = config(Start::Point(start));
        config.known_blocks = known;
        // A peer that has nothing from below.
        let high = Arc::new(ledger_from(ledger, height));
        let mut room = Room::new(config.clone(), Shelf::new(), &[&high]);
        assert_eq!(room.started(), Some((ledger.block(height), None)), "{what}");
        room.sync(TIP);
        assert_eq!(room.farewells(), [], "{what}");
        let stored = |room: &mut Room| {
            let mut all = Vec::new();
            while let (headers, _) = room.export(height + all.len() as u32, 2000)
                && !headers.is_empty()
            {
                all.extend(headers);
            }
            all
        };
        assert!(stored(&mut room) == ledger.headers(height, TIP), "{what}");
        let shelf = room.end();
        let dump = shelf.dump();
        // The start is what is stored: what is configured then is not looked at.
        for start in [config.start.clone(), Start::Genesis, Start::Point(point(ledger, 5, 5))] {
            let config = Config { start, ..config.clone() };
            let mut room = Room::new(config, shelf.clone(), &[&high]);
            assert_eq!(room.started(), Some((ledger.block(TIP), None)), "{what}");
            room.sync(TIP);
            assert_eq!((room.farewells(), room.failure()), (vec![], None), "{what}");
            assert!(stored(&mut room) == ledger.headers(height, TIP), "{what}");
            let found = [height, TIP].map(|height| room.find(HeaderQuery::Height(height)).unwrap().0);
            assert_eq!(found, [height, TIP].map(|height| ledger.block(height)), "{what}");
            same(&room.end().dump(), &dump, what);
        }
    }
}

/// The chain from a height on.
fn ledger_from(ledger: &Ledger, height: u32) -> Ledger {
    Ledger::real(ledger.network, height, ledger.headers(height, ledger.tip().height))
}

// What is right above.

/// Each header from the one right above a start on is held to the median of the eleven times before it, those below the
/// start among them, to the second; and to the difficulty.
#[test]
fn nothing_right_above_a_start_is_passed_over() {
    let ledger = chain();
    for height in [START, START + 3, START + 40, START - 1, 20] {
        let start = whole(ledger, height);
        for above in 0..13 {
            let what = format!("{above} above {height}");
            let sound = ledger.headers(height - 10, height + above);
            let limit = median(sound);
            let parent = sound.last().unwrap();
            let mut hard = mined(parent, parent.time + 60, 9);
            hard.bits = CompactTarget::from_consensus(0x1f00_ffff);
            solve(&mut hard);
            let mut idle = mined(parent, parent.time + 60, 9);
            while idle.target().is_met_by(idle.block_hash()) {
                idle.nonce += 1;
            }
            let table = [
                ("at the median", mined(parent, limit, 9), Some(HeaderError::TimeTooEarly)),
                ("far below it", mined(parent, 1, 9), Some(HeaderError::TimeTooEarly)),
                ("right above it", mined(parent, limit + 1, 9), None),
                ("of another difficulty", hard, Some(HeaderError::Difficulty)),
                ("without work", idle, Some(HeaderError::ProofOfWork)),
            ];
            for (kind, header, fault) in table {
                let peer = with(&sound[10..], &[header], height);
                let mut room = Room::new(config(Start::Point(start.clone())), Shelf::new(), &[&peer]);
                room.pass(Duration::from_secs(1));
                let expected: Vec<Reason> =
                    fault.map(|fault| misbehaved(Misbehaviour::InvalidHeader(fault))).into_iter().collect();
                assert_eq!(room.farewells(), expected, "{what}, {kind}");
                // What comes before it in the same message is sound, and kept.
                let tip = room.find(HeaderQuery::Height(height + above + 1)).map(|found| found.1);
                assert_eq!(tip, fault.is_none().then_some(header), "{what}, {kind}");
                let below = room.find(HeaderQuery::Height(height + above)).map(|found| found.0);
                assert_eq!(below, Some(ledger.block(height + above)), "{what}, {kind}");
                assert_eq!(room.is_synced(height + above + 1), fault.is_none(), "{what}, {kind}");
            }
        }
    }
}

/// A start without the times below it is proven by the next known block: what does not lead there is let go when it gets
/// there, with nothing of it stored; what leads there is held to all rules above.
#[test]
fn what_does_not_lead_to_the_block_above_a_bare_start_is_not_kept() {
    let ledger = chain();
    let known = START + 100;
    for above in [0, 1, 5, 9, 10, 50] {
        let sound = ledger.headers(START - 10, START + above);
        let parent = sound.last().unwrap();
        let (early, limit) = (mined(parent, median(sound), 9), median(sound));
        let lie = [vec![early], mined_after(&early, known - START - above + 50, 9)].concat();
        assert!(early.time == limit);
        let liar = with(&sound[10..], &lie, START);
        let mut config = config(Start::Point(point(ledger, START, START)));
        config.known_blocks = vec![ledger.block(known)];
        let mut room = Room::new(config, Shelf::new(), &[&liar]);
        room.pass(Duration::from_secs(1));
        let what = format!("{above} above the start");
        assert_eq!(room.farewells(), [misbehaved(Misbehaviour::ContradictsKnownBlock(known))], "{what}");
        assert_eq!(room.shelf().rows("headers").len(), 1, "{what}: something is stored");
        assert_eq!(room.find(HeaderQuery::Height(START + 1)), None, "{what}");
        let honest = room.lend(ledger);
        room.command(Command::AddPeer(honest));
        room.sync(TIP);
        assert_eq!(room.find(HeaderQuery::Height(known)).unwrap().0, ledger.block(known), "{what}");
        // Above the known block all times are known.
        let sound = ledger.headers(known - 10, known);
        let early = mined(sound.last().unwrap(), median(sound), 9);
        let peer = with(ledger.headers(START, known), &[early], START);
        let mut config = room_config(ledger, known);
        config.start = Start::Point(point(ledger, START, START));
        let mut room = Room::new(config, Shelf::new(), &[&peer]);
        room.pass(Duration::from_secs(1));
        let fault = Misbehaviour::InvalidHeader(HeaderError::TimeTooEarly);
        assert_eq!(room.farewells(), [misbehaved(fault)], "{what}");
        assert_eq!(room.find(HeaderQuery::Height(known)).unwrap().0, ledger.block(known), "{what}");
        assert_eq!(room.find(HeaderQuery::Height(known + 1)), None, "{what}");
    }
}

fn room_config(ledger: &Ledger, known: u32) -> Config {
    Config { known_blocks: vec![ledger.block(known)], ..config(Start::Genesis) }
}

/// A process that ends between a bare start and the block that proves it goes on from there.
#[test]
fn a_restart_between_a_bare_start_and_the_block_that_proves_it() {
    let ledger = chain();
    let mut config = config(Start::Point(point(ledger, START, START)));
    config.known_blocks = [2, 5, 9, 10, 11, 12, 40].map(|above| ledger.block(START + above)).into();
    let whole = |config: Config, shelf| {
        let mut room = Room::new(config, shelf, &[ledger]);
        room.sync(TIP);
        assert_eq!((room.farewells(), room.repairs()), (vec![], vec![]));
        room.end()
    };
    let expected = whole(config.clone(), Shelf::new()).dump();
    let mut ends = Vec::new();
    for batches in 0..40 {
        let mut room = Room::new(config.clone(), Shelf::new().cut_after(batches), &[ledger]);
        room.pass(Duration::from_secs(5));
        let shelf = room.end();
        let tip = Room::new(config.clone(), shelf.clone(), &[]).started().unwrap().0;
        assert_eq!(tip, ledger.block(tip.height));
        ends.push(tip.height);
        same(&whole(config.clone(), shelf).dump(), &expected, &format!("after {batches} batches"));
    }
    // Each of the known blocks is a place to end at.
    for above in [0, 2, 5, 9, 10, 11, 12, 40] {
        assert!(ends.contains(&(START + above)), "{ends:?}");
    }
}

// What is below.

fn scripts() -> Vec<ScriptBuf> {
    (0..PAYEES).map(payee).collect()
}

fn told(room: &Room, event: &Event) -> usize {
    room.events.iter().filter(|told| *told == event).count()
}

/// The filter of the block that a chain starts with can't be checked: what is to be watched from there or from below is
/// watched from the next block on, and the application is told.
#[test]
fn a_birthday_below_the_start_is_told() {
    let ledger = chain();
    let first = START + 1;
    for (birthday, is_below) in [(0, true), (START - 1, true), (START, true), (first, false), (TIP, false)] {
        let mut room = Room::new(config(Start::Point(whole(ledger, START))), Shelf::new(), &[ledger]);
        room.watch(&scripts(), birthday);
        room.sync(TIP);
        let event = Event::BirthdayBelowStart { birthday, first };
        assert_eq!(told(&room, &event), usize::from(is_below), "{birthday}");
        let any = room.events.iter().any(|event| matches!(event, Event::BirthdayBelowStart { .. }));
        assert_eq!(any, is_below, "{birthday}");
        assert_eq!(room.findings(), ledger.findings(&scripts(), birthday.max(first)), "{birthday}");
        assert_eq!(room.farewells(), [], "{birthday}");
        // It is told when it is asked for, and not at each start.
        let mut again = Room::new(config(Start::Genesis), room.end(), &[ledger]);
        again.sync(TIP);
        assert_eq!(told(&again, &event), 0, "{birthday}");
        assert_eq!(again.findings(), ledger.findings(&scripts(), birthday.max(first)), "{birthday}");
    }
    // Of the network's first block the filter can be checked.
    let mut room = Room::new(config(Start::Genesis), Shelf::new(), &[ledger]);
    room.watch(&scripts(), 0);
    room.sync(TIP);
    assert!(!room.events.iter().any(|event| matches!(event, Event::BirthdayBelowStart { .. })));
}

/// A later run whose birthday has a lower start begins there: all is fetched anew, and what is watched can go back.
#[test]
fn a_lower_birthday_begins_lower() {
    let ledger = chain();
    let began = |start| {
        let mut room = Room::new(config(start), Shelf::new(), &[ledger]);
        room.watch(&scripts(), START + 1);
        room.sync(TIP);
        room.end()
    };
    let shelf = began(Start::Point(whole(ledger, START)));
    let truth = ledger.findings(&scripts(), START + 1);
    assert!(truth.len() > 3);
    // Regtest has no start point but its first block: any birthday is lower.
    let lower = config(Start::Before(Birthday::Height(3000)));
    let mut room = Room::new(lower.clone(), shelf.clone(), &[]);
    assert_eq!(room.started(), Some((ledger.block(0), Some(0))), "the start is the first block");
    let touched = room.events.iter().filter(|event| matches!(event, Event::Touched(_))).count();
    assert_eq!(touched, truth.len(), "what was found is told");
    assert_eq!(room.findings(), BTreeSet::new(), "and void until it is found again");
    assert_eq!(room.find(HeaderQuery::Height(TIP)), None);
    // The search begins where the chain does.
    let truth = ledger.findings(&scripts(), 1);
    let mut room = Room::new(lower.clone(), shelf.clone(), &[ledger]);
    assert_eq!(room.started(), Some((ledger.block(0), Some(0))));
    room.sync(TIP);
    assert_eq!(room.findings(), truth, "what was watched is found again");
    room.watch(&scripts(), 1);
    room.sync(TIP);
    assert_eq!(room.findings(), truth);
    assert_eq!((room.farewells(), room.repairs()), (vec![], vec![]));
    let mut fresh = Room::new(config(Start::Genesis), Shelf::new(), &[ledger]);
    fresh.watch(&scripts(), 1);
    fresh.sync(TIP);
    let dump = room.end();
    same(&dump.dump(), &fresh.end().dump(), "begun lower, and begun there");
    // The next run goes on; a higher birthday changes nothing.
    for start in
        [lower.start.clone(), Start::Before(Birthday::Height(u32::MAX)), Start::Point(whole(ledger, START))]
    {
        let room = Room::new(config(start), dump.clone(), &[]);
        assert_eq!(room.started().unwrap().0, ledger.tip());
    }
    // However the process ends in between, the next one is on its way from the lower start.
    for batches in 0..6 {
        let mut room = Room::new(lower.clone(), shelf.clone().cut_after(batches), &[ledger]);
        room.pass(Duration::from_secs(2));
        let mut room = Room::new(lower.clone(), room.end(), &[ledger]);
        room.sync(TIP);
        assert_eq!(room.findings(), truth, "after {batches} batches");
        assert_eq!(room.find(HeaderQuery::Height(1)).unwrap().0, ledger.block(1), "after {batches} batches");
        assert_eq!(room.repairs(), [], "after {batches} batches");
    }
}

/// On a network with several start points, a store that began at one begins at a lower one if the birthday asks for it, and
/// at no higher one.
#[test]
fn a_store_moves_to_a_lower_point_and_to_no_higher_one() {
    for network in [Network::Bitcoin, Network::Testnet, Network::Signet] {
        let points = start_points(network);
        let birthday = |index: usize| Start::Before(Birthday::Height(points[index].height + 1));
        let last = points.len() - 1;
        let mut shelf = Shelf::new();
        let mut at = last;
        for (index, expected) in [(last, last), (2, 2), (last, 2), (3, 2), (1, 1), (2, 1), (0, 0), (last, 0)]
        {
            let config = Config { start: birthday(index), discovery: None, ..Config::new(network, [3; 32]) };
            let room = Room::new(config, shelf, &[]);
            let tip = room.started().unwrap().0;
            assert_eq!(tip.height, points[expected].height, "{network}: from {at} by {index}");
            assert_eq!(tip.hash, points[expected].headers[0].block_hash());
            assert_eq!(room.failure(), None);
            shelf = room.end();
            assert_eq!(shelf.rows("headers").len(), 1, "{network}: nothing of the other start is left");
            at = expected;
        }
    }
}

/// With a bare start and a block known above it: a peer whose chain leaves ours below the start is told as what it is if its
/// chain has more work, and is not followed; one with less is left alone. Also after a restart.
#[test]
fn a_heavier_chain_from_below_a_bare_start_is_told_and_not_followed() {
    let ledger = chain();
    for (fork, tip, heavier) in [(START - 1, TIP + 1, true), (100, TIP + 1, true), (START - 1, TIP, false)] {
        let what = format!("from {fork} to {tip}");
        let other = Arc::new(ledger.branch(fork, tip, 5));
        let mut config = room_config(ledger, START + 50);
        config.start = Start::Point(point(ledger, START, START));
        let mut shelf = Shelf::new();
        for run in 0..2 {
            let mut room = Room::new(config.clone(), shelf, &[ledger, &other]);
            room.sync(TIP);
            room.pass(Duration::from_secs(100));
            let heavy: Vec<(u32, Work)> = room
                .events
                .iter()
                .filter_map(|event| match event {
                    Event::HeavierBelowStart { height, work, .. } => Some((*height, *work)),
                    _ => None,
                })
                .collect();
            if heavier {
                assert_eq!(heavy, [(tip, other.work(tip))], "{what}, run {run}");
                assert_eq!(room.farewells(), [Reason::OtherChain], "{what}, run {run}");
            } else {
                assert_eq!((heavy, room.farewells()), (vec![], vec![]), "{what}, run {run}");
            }
            assert_eq!(room.find(HeaderQuery::Height(TIP)).unwrap().0, ledger.tip(), "{what}, run {run}");
            assert_eq!(room.find(HeaderQuery::Hash(other.tip().hash)), None, "{what}, run {run}");
            assert!(room.shelf().rows("staged").is_empty(), "{what}, run {run}");
            shelf = room.end();
        }
    }
}

/// A minimum of work holds for a chain from a start as for any other: what is below the start counts, and until all of it is
/// reached nothing above is kept.
#[test]
fn a_minimum_of_work_holds_above_a_start() {
    let ledger = chain();
    for (tip, minimum) in [(START + 20, START + 20), (START + 20, START + 21), (6000, 6000), (6000, 6001)] {
        let short = Arc::new(ledger.up_to(tip));
        let mut config = config(Start::Point(whole(ledger, START)));
        config.minimum_work = Some(ledger.work(minimum));
        let mut room = Room::new(config, Shelf::new(), &[&short]);
        room.pass(Duration::from_secs(100));
        let what = format!("up to {tip}, where {minimum} is asked for");
        assert_eq!(room.farewells(), [], "{what}");
        assert_eq!(room.is_synced(tip), tip >= minimum, "{what}");
        let kept = if tip >= minimum { tip } else { START };
        assert_eq!(room.find(HeaderQuery::Height(kept)).unwrap().0, ledger.block(kept), "{what}");
        assert_eq!(room.find(HeaderQuery::Height(kept + 1)), None, "{what}");
        // One that has it is heard.
        let whole = room.lend(ledger);
        room.command(Command::AddPeer(whole));
        room.sync(TIP);
        assert_eq!(room.farewells(), [], "{what}");
    }
}

// Real chains.

/// Real headers from `first` on; `None`, and a line that says so, where there are none.
fn real(file: &str, first: u32, from: u32, to: u32) -> Option<Vec<Header>> {
    let bytes = common::read(&common::chain_data()?.join("headers").join(file));
    let at = |height: u32| (height - first) as usize * 80;
    let headers = bytes[at(from)..at(to + 1)].chunks_exact(80);
    Some(headers.map(|header| deserialize(header).unwrap()).collect())
}

/// What a client has of a chain, which a known block that no peer has keeps from being told to be done.
fn has(room: &mut Room, ledger: &Ledger, from: u32, to: u32, what: &str) {
    let mut next = from;
    while next <= to {
        let (headers, _) = room.export(next, 2000);
        assert!(!headers.is_empty(), "{what}: nothing at {next}");
        let last = next + headers.len() as u32 - 1;
        assert!(headers == ledger.headers(next, last), "{what}: from {next}");
        next = last + 1;
    }
    assert_eq!(next, to + 1, "{what}: more than was shown");
}

/// Mainnet from a compiled-in point: across changes of difficulty, with none of the times and headers below.
#[test]
fn mainnet_is_taken_from_a_start_point() {
    const POINT: u32 = 217_728;
    // The last known block that the peers have.
    const REACHED: u32 = 226_000;
    let Some(headers) = real("main-150000-340000.bin.xz", 150_000, POINT, REACHED) else { return };
    let bits: BTreeSet<u32> = headers.iter().map(|header| header.bits.to_consensus()).collect();
    assert_eq!(bits.len(), 5, "four changes of difficulty");
    let ledger = Arc::new(Ledger::real(Network::Bitcoin, POINT, &headers));
    // The headers are real, the filters are not: the one that is known is that of this chain.
    let with = |start, ledger: &Ledger| Config {
        start,
        known_filter_headers: vec![(225_000, ledger.filter_headers(225_000, 225_000)[0])],
        discovery: None,
        ..Config::new(Network::Bitcoin, [3; 32])
    };
    let mainnet = |start| with(start, &ledger);
    let birthday = Start::Before(Birthday::Height(POINT + 272));
    let time = UnixTime::from_secs(u64::from(headers[0].time) + 2 * 24 * 60 * 60);
    for start in [birthday.clone(), Start::Before(Birthday::Time(time))] {
        let mut room = Room::new(mainnet(start.clone()), Shelf::new(), &[&ledger]);
        assert_eq!(room.started(), Some((ledger.block(POINT), None)));
        room.pass(Duration::from_secs(10));
        has(&mut room, &ledger, POINT, REACHED, "mainnet");
        assert_eq!((room.farewells(), room.repairs()), (vec![], vec![]));
        let mut room = Room::new(mainnet(start), room.end(), &[&ledger]);
        assert_eq!(room.started(), Some((ledger.block(REACHED), None)));
        has(&mut room, &ledger, POINT, REACHED, "after a restart");
        assert_eq!(room.repairs(), []);
    }
    // A user's own, in the middle of a period, with its headers: the compiled-in blocks above it prove the rest.
    let own = POINT + 3000;
    let from = POINT + PERIOD;
    let work = ledger.work_from(start_points(Network::Bitcoin)[4].work, own);
    assert_eq!(start_points(Network::Bitcoin)[4].height, POINT);
    let point = StartPoint { height: own, work, headers: ledger.headers(from, own).to_vec() };
    let high = Arc::new(ledger_from(&ledger, own));
    let mut room = Room::new(with(Start::Point(point), &high), Shelf::new(), &[&high]);
    room.pass(Duration::from_secs(10));
    has(&mut room, &ledger, own, REACHED, "a user's own");
    assert_eq!(room.farewells(), []);

    // One header right above the point is another: of another difficulty, of an early time. Whether those above are the real
    // ones or made to follow, it is found out when they do not lead to the known block, or do not follow; nothing is kept.
    for above in [1, 2, 11, 272] {
        for change in 0..4 {
            let mut lie = headers.clone();
            let header = &mut lie[above];
            match change {
                0 => header.bits = CompactTarget::from_consensus(0x1d00_ffff),
                1 => header.bits = CompactTarget::from_consensus(0x207f_ffff),
                2 => header.time = headers[0].time - 3600,
                _ => header.nonce ^= 1,
            }
            let mut relinked = lie.clone();
            for at in above + 1..=272 {
                relinked[at].prev_blockhash = relinked[at - 1].block_hash();
            }
            let known = Misbehaviour::ContradictsKnownBlock(POINT + 272);
            let apart = if above == 272 { known } else { Misbehaviour::HeadersDiscontinuous };
            for (headers, misbehaviour) in [(&lie, apart), (&relinked, known)] {
                let what = format!("{above} above, change {change}");
                let liar = Arc::new(Ledger::real(Network::Bitcoin, POINT, headers));
                let mut room = Room::new(mainnet(birthday.clone()), Shelf::new(), &[&liar]);
                room.pass(Duration::from_secs(1));
                assert_eq!(room.farewells(), [misbehaved(misbehaviour)], "{what}");
                has(&mut room, &ledger, POINT, POINT, &what);
                assert_eq!(room.shelf().rows("headers").len(), 1, "{what}");
            }
        }
    }
}
