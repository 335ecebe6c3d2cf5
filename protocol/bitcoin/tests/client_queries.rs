//! Headers that are looked up, taken out and brought in.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;
mod ledger;

use std::sync::{Arc, OnceLock};

use andon_bitcoin::client::{
    BlockId, Client, Command, Config, Event, HeaderError, HeaderQuery, Import, ImportError, Start,
};
use andon_bitcoin::points::StartPoint;
use andon_kernel::{Checked, Effect, Input, Instant, Now, Rng, Shell, UnixTime};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, FilterHeader, Network, Work};
use ledger::{BEGIN, Dump, Ledger, Room, Shelf, payee};

/// In the middle of a row and of a period: more than three periods below it are not at hand.
const TIP: u32 = 20_003;

/// Heights at which something begins or ends: rows, periods, what is at hand.
fn edges() -> Vec<u32> {
    let window = TIP - 3 * 2016;
    let around = [0, 16, 32, 2016, 4032, 12_096, 18_144, window, window - window % 2016, TIP];
    let mut heights: Vec<u32> =
        around.into_iter().flat_map(|height| height.saturating_sub(17)..=(height + 17).min(TIP)).collect();
    heights.dedup();
    heights
}

fn config() -> Config {
    Config { discovery: None, ..Config::new(Network::Regtest, [3; 32]) }
}

fn chain() -> &'static Arc<Ledger> {
    static CHAIN: OnceLock<Arc<Ledger>> = OnceLock::new();
    CHAIN.get_or_init(|| Arc::new(Ledger::regtest(TIP)))
}

/// What a client has of [`chain`] that watches nothing.
fn stored() -> Shelf {
    static STORED: OnceLock<Shelf> = OnceLock::new();
    STORED.get_or_init(|| synced(config(), chain()).end()).clone()
}

fn synced(config: Config, ledger: &Arc<Ledger>) -> Room {
    let mut room = Room::new(config, Shelf::new(), &[ledger]);
    room.sync(ledger.tip().height);
    room
}

/// A client without peers on what is stored.
fn offline(shelf: Shelf) -> Room {
    Room::new(config(), shelf, &[])
}

fn by_height(room: &mut Room, height: u32) -> Option<(BlockId, Header)> {
    room.find(HeaderQuery::Height(height))
}

fn by_hash(room: &mut Room, hash: BlockHash) -> Option<(BlockId, Header)> {
    room.find(HeaderQuery::Hash(hash))
}

/// Each block of the chain at these heights is found, by its height and by its hash.
fn all_are_found(room: &mut Room, ledger: &Ledger, heights: impl IntoIterator<Item = u32>, what: &str) {
    for height in heights {
        let expected = Some((ledger.block(height), ledger.header(height)));
        assert_eq!(by_height(room, height), expected, "{what}: height {height}");
        assert_eq!(by_hash(room, ledger.block(height).hash), expected, "{what}: hash of {height}");
    }
}

fn nothing_is_found(room: &mut Room, ledger: &Ledger, heights: impl IntoIterator<Item = u32>, what: &str) {
    for height in heights {
        assert_eq!(by_hash(room, ledger.block(height).hash), None, "{what}: hash of {height}");
    }
}

// Looking up.

#[test]
fn every_header_is_found_by_height_and_by_hash() {
    let mut room = offline(stored());
    all_are_found(&mut room, chain(), 0..=TIP, "all");
    for height in [TIP + 1, TIP + 2, TIP + 2016, u32::MAX] {
        assert_eq!(by_height(&mut room, height), None, "above the tip: {height}");
    }
    let mut rng = Rng::new([5; 32]);
    for round in 0..200 {
        let hash = BlockHash::hash(&rng.u64().to_le_bytes());
        assert_eq!(by_hash(&mut room, hash), None, "an unknown hash, round {round}");
    }
    // One that differs in a byte that the index does not hold, in each byte of one that is in it.
    for height in [5, 7000, TIP - 5] {
        for byte in 0..32 {
            let mut bytes = chain().block(height).hash.to_byte_array();
            bytes[byte] ^= 1;
            assert_eq!(by_hash(&mut room, BlockHash::from_byte_array(bytes)), None, "{height}, byte {byte}");
        }
    }
    assert_eq!(room.repairs(), []);
}

#[test]
fn a_running_client_and_a_fresh_one_answer_alike() {
    for tip in [0, 1, 15, 16, 2015, 2016, 4031, 9000] {
        let ledger = Arc::new(chain().up_to(tip));
        let mut room = Room::new(config(), Shelf::new(), &[&ledger]);
        room.sync(tip);
        let heights: Vec<u32> = edges().into_iter().filter(|height| *height <= tip).collect();
        all_are_found(&mut room, &ledger, heights.iter().copied(), "running");
        nothing_is_found(&mut room, chain(), tip + 1..tip + 20, "running, above the tip");
        let mut again = offline(room.end());
        all_are_found(&mut again, &ledger, heights, "after a restart");
        nothing_is_found(&mut again, chain(), tip + 1..tip + 20, "after a restart, above the tip");
        assert_eq!(again.repairs(), []);
    }
}

#[test]
fn after_a_reorganisation_the_other_branch_is_found_and_the_old_one_is_not() {
    // Within a row, across rows, across periods, from below the window, to a tip in the same period and in the next one.
    let cases = [
        (TIP - 1, TIP + 1),
        (TIP - 20, TIP + 1),
        (18_143, TIP + 1),
        (18_142, TIP + 3),
        (16_000, TIP + 300),
        (9000, TIP + 1),
    ];
    for (fork, tip) in cases {
        let what = format!("fork at {fork}, tip at {tip}");
        let branch = Arc::new(chain().branch(fork, tip, 7));
        let mut room = Room::new(config(), stored(), &[chain()]);
        room.sync(TIP);
        room.announce(0, &branch);
        room.sync(tip);
        let mut heights: Vec<u32> = edges();
        heights.extend((fork - 20..=fork + 20).filter(|height| *height <= tip));
        heights.extend(tip - 3..=tip);
        all_are_found(&mut room, &branch, heights.iter().copied(), &what);
        let lost = (fork + 1..=TIP).step_by(7);
        nothing_is_found(&mut room, chain(), lost.clone(), &what);
        let mut again = offline(room.end());
        all_are_found(&mut again, &branch, heights, &format!("{what}, after a restart"));
        nothing_is_found(&mut again, chain(), lost, &format!("{what}, after a restart"));
        assert_eq!(again.repairs(), []);
    }
}

/// A chain that starts in the middle of a row, in a period of which the index has a part.
#[test]
fn below_the_start_nothing_is_found() {
    for start in [4100, 4111, 4112, 4031, 4032, 4042] {
        let from = (start - start % 2016).min(start - 10);
        let mut config = config();
        config.start = Start::Point(StartPoint {
            height: start,
            work: chain().work(start),
            headers: chain().headers(from, start).into(),
        });
        let mut room = synced(config.clone(), chain());
        for round in ["running", "after a restart"] {
            let above = (start..start + 40).chain((start..=TIP).step_by(997)).chain([6047, 6048, TIP]);
            all_are_found(&mut room, chain(), above, round);
            nothing_is_found(&mut room, chain(), (0..start).step_by(61).chain([0, start - 1]), round);
            for height in [0, 1, 16, 2016, start - 1] {
                assert_eq!(by_height(&mut room, height), None, "{round}: {height} is below {start}");
                assert_eq!(room.export(height, 10), (Vec::new(), Vec::new()));
            }
            let (headers, filter_headers) = room.export(start, 2000);
            assert_eq!(headers, chain().headers(start, start + 1999), "{round}");
            assert_eq!(filter_headers, chain().filter_headers(start, start + 1999), "{round}");
            assert_eq!(room.repairs(), []);
            room = Room::new(config.clone(), room.end(), &[]);
        }
    }
}

/// What is asked for before the store has been read is answered when it has.
#[test]
fn questions_before_the_start_is_over_are_answered_in_order() {
    let time = Now { instant: Instant::ZERO, unix: UnixTime::from_secs(BEGIN) };
    let mut shell = Shell::new(Checked::new(Client::new(config())), stored());
    shell.turn(time, Input::Start);
    let queries: Vec<HeaderQuery> = [TIP, 3, 20_000, 77, TIP + 1].map(HeaderQuery::Height).into();
    let mut answers = Vec::new();
    let mut pop = |shell: &mut Shell<Checked<Client>, Shelf>| {
        while let Some(effect) = shell.pop().unwrap() {
            if let Effect::Event(Event::Header { query, found }) = effect {
                answers.push((query, found.map(|(block, _)| block)));
            }
        }
    };
    pop(&mut shell);
    for query in &queries {
        shell.turn(time, Input::Command(Command::FindHeader(*query)));
        pop(&mut shell);
    }
    while shell.complete(time).unwrap() {
        pop(&mut shell);
    }
    answers.sort_by_key(|(query, _)| queries.iter().position(|asked| asked == query));
    let expected: Vec<_> = queries
        .iter()
        .map(|query| match query {
            HeaderQuery::Height(height) if *height <= TIP => (*query, Some(chain().block(*height))),
            query => (*query, None),
        })
        .collect();
    assert_eq!(answers, expected);
}

// Taking out.

#[test]
fn pieces_of_any_size_from_any_height_are_what_the_chain_has() {
    let mut room = offline(stored());
    for count in [1, 2, 15, 16, 17, 1999, 2000, 2001, 5000, u32::MAX] {
        for from in edges() {
            let to = TIP.min(from.saturating_add(count.min(2000) - 1));
            let (headers, filter_headers) = room.export(from, count);
            assert_eq!(headers, chain().headers(from, to), "{count} from {from}");
            assert_eq!(filter_headers, chain().filter_headers(from, to), "{count} from {from}");
        }
        for from in [TIP + 1, TIP + 2000, u32::MAX] {
            assert_eq!(room.export(from, count), (Vec::new(), Vec::new()), "{count} from {from}");
        }
    }
    for from in edges() {
        assert_eq!(room.export(from, 0), (Vec::new(), Vec::new()), "none from {from}");
    }
    assert_eq!(room.repairs(), []);
}

/// Headers for which there are no filter headers yet are given without.
#[test]
fn filter_headers_are_given_as_far_as_they_are_known() {
    for known in [0, 1, 15, 16, 2000, 5000] {
        let mut room = offline(Shelf::new());
        for at in (1..=6000).step_by(2000) {
            let headers = chain().headers(at, (at + 1999).min(6000)).into();
            assert_eq!(room.import(Import { headers, ..Import::default() }).2, None);
        }
        for at in (0..known).step_by(2000) {
            let filter_headers = chain().filter_headers(at, (at + 1999).min(known - 1)).into();
            let import = Import { filter_headers_from: at, filter_headers, ..Import::default() };
            assert_eq!(room.import(import).2, None);
        }
        for round in ["running", "after a restart"] {
            for from in [0, 1, 14, 15, 16, 1999, 2000, 4990, 4999, 5000, 5001] {
                let (headers, filter_headers) = room.export(from, 100);
                assert_eq!(headers, chain().headers(from, from + 99), "{round}");
                let end = known.min(from + 100);
                let expected = if from < end { chain().filter_headers(from, end - 1) } else { &[] };
                assert_eq!(filter_headers, expected, "{round}: {known} known, from {from}");
            }
            assert_eq!(room.repairs(), []);
            room = offline(room.end());
        }
    }
}

// Bringing in.

/// Consecutive pieces of a chain from its first block on: headers and filter headers of the same heights.
fn pieces(ledger: &Ledger, size: u32) -> impl Iterator<Item = Import> {
    let tip = ledger.tip().height;
    (0..=tip).step_by(size as usize).map(move |from| {
        let to = tip.min(from + size - 1);
        Import {
            headers: ledger.headers(from, to).into(),
            filter_headers_from: from,
            filter_headers: ledger.filter_headers(from, to).into(),
        }
    })
}

#[test]
fn what_was_taken_out_makes_the_same_store_when_it_is_brought_in() {
    let expected = stored().dump();
    let mut source = offline(stored());
    for size in [333, 1999, 2000] {
        let mut room = offline(Shelf::new());
        for from in (0..=TIP).step_by(size as usize) {
            let (headers, filter_headers) = source.export(from, size);
            let last = from + headers.len() as u32 - 1;
            let import = Import { headers, filter_headers_from: from, filter_headers };
            assert_eq!(room.import(import), (chain().block(last), last + 1, None), "{size} from {from}");
        }
        same(&room.end().dump(), &expected, &format!("in pieces of {size}"));
    }
    // Small ones, of a shorter chain.
    let short = Arc::new(chain().up_to(4100));
    let expected = synced(config(), &short).end().dump();
    for size in [1, 15, 16, 17] {
        let mut room = offline(Shelf::new());
        for import in pieces(&short, size) {
            assert_eq!(room.import(import).2, None);
        }
        same(&room.end().dump(), &expected, &format!("in pieces of {size}"));
    }
}

/// Between blocks that are known nothing is kept before all of it is there: but the pieces may be of any size.
#[test]
fn pieces_are_brought_in_between_known_blocks_too() {
    let ledger = chain().up_to(9000);
    let expected = synced(config(), &Arc::new(ledger.clone())).end().dump();
    let mut config = config();
    config.known_blocks = [1000, 1001, 3016, 4032, 8000].map(|height| ledger.block(height)).into();
    for size in [1, 17, 600, 1999, 2000] {
        let mut room = Room::new(config.clone(), Shelf::new(), &[]);
        // Filter headers come after all headers here, since those are kept later.
        for import in pieces(&ledger, size) {
            let import = Import { headers: import.headers, ..Import::default() };
            assert_eq!(room.import(import).2, None, "pieces of {size}");
        }
        for import in pieces(&ledger, size) {
            assert_eq!(room.import(Import { headers: Vec::new(), ..import }).2, None, "pieces of {size}");
        }
        same(&room.end().dump(), &expected, &format!("in pieces of {size}"));
    }
}

#[test]
fn an_import_that_was_cut_short_goes_on_where_it_was() {
    let ledger = chain().up_to(9000);
    let expected = synced(config(), &Arc::new(ledger.clone())).end().dump();
    let mut known = config();
    known.known_blocks = [1000, 3016, 3017, 4032, 8000].map(|height| ledger.block(height)).into();
    for (name, config) in [("plain", config()), ("known blocks", known)] {
        let mut shelf = Shelf::new();
        let mut rng = Rng::new([6; 32]);
        for run in 0.. {
            assert!(run < 200, "{name}: it gets no further");
            let cut = rng.below(6) as usize;
            let mut room = Room::new(config.clone(), shelf.cut_after(cut + 1), &[]);
            // As an application does: it asks where the client is, and goes on from there.
            let mut at = (0, 0);
            while !room.shelf().is_cut() {
                let Some((tip, filter_headers)) = try_import(&mut room, Import::default()) else { break };
                assert_eq!(tip, ledger.block(tip.height), "{name}");
                if (tip.height, filter_headers) == (9000, 9001) {
                    break;
                }
                // Headers that are held back until a known block are not in the chain yet.
                at = (at.0.max(tip.height), filter_headers);
                let to = 9000.min(at.0 + 700);
                let import = Import {
                    headers: if at.0 < to { ledger.headers(at.0 + 1, to).into() } else { Vec::new() },
                    filter_headers_from: filter_headers,
                    filter_headers: match tip.height.min(filter_headers + 900) {
                        end if end >= filter_headers => ledger.filter_headers(filter_headers, end).into(),
                        _ => Vec::new(),
                    },
                };
                at.0 = to;
                try_import(&mut room, import);
            }
            let done = !room.shelf().is_cut();
            shelf = room.end();
            if done {
                break;
            }
        }
        same(&shelf.dump(), &expected, name);
    }
}

/// What an import came to, unless the process ended before it could.
fn try_import(room: &mut Room, import: Import) -> Option<(BlockId, u32)> {
    let before = room.events.len();
    room.command(Command::Import(import));
    room.events[before..].iter().find_map(|event| match event {
        Event::Imported { tip, filter_headers, stopped } => {
            assert_eq!(*stopped, None);
            Some((*tip, *filter_headers))
        }
        _ => None,
    })
}

#[test]
fn pieces_that_overlap_do_no_harm() {
    let ledger = chain().up_to(9000);
    let expected = synced(config(), &Arc::new(ledger.clone())).end().dump();
    let mut rng = Rng::new([7; 32]);
    for round in 0..5 {
        let mut room = offline(Shelf::new());
        let mut next = 0;
        while next <= 9000 {
            // From up to a few periods below, up to a whole message.
            let from = next - rng.below(u64::from(next.min(4000)) + 1) as u32;
            let to = 9000.min(from + rng.below(2000) as u32);
            let import = Import {
                headers: ledger.headers(from, to).into(),
                filter_headers_from: from,
                filter_headers: ledger.filter_headers(from, to).into(),
            };
            next = next.max(to + 1);
            let known = (ledger.block(next - 1), next, None);
            assert_eq!(room.import(import), known, "round {round}: from {from} to {to}");
        }
        same(&room.end().dump(), &expected, &format!("round {round}"));
    }
}

/// What a range between known blocks holds already may come again.
#[test]
fn pieces_that_overlap_do_no_harm_between_known_blocks() {
    let ledger = chain().up_to(9000);
    let expected = synced(config(), &Arc::new(ledger.clone())).end().dump();
    let mut config = config();
    config.known_blocks = [1000, 3016, 3017, 4032, 8000].map(|height| ledger.block(height)).into();
    let mut room = Room::new(config, Shelf::new(), &[]);
    for from in (0..=9000_u32).step_by(500) {
        let headers = ledger.headers(from.saturating_sub(300), 9000.min(from + 499)).into();
        assert_eq!(room.import(Import { headers, ..Import::default() }).2, None, "from {from}");
    }
    for import in pieces(&ledger, 2000) {
        assert_eq!(room.import(Import { headers: Vec::new(), ..import }).2, None);
    }
    same(&room.end().dump(), &expected, "all");
}

/// The tip of an earlier run lies between two of the blocks that are known in this one.
#[test]
fn an_import_goes_on_from_between_known_blocks() {
    let ledger = chain().up_to(4000);
    let expected = synced(config(), &Arc::new(ledger.clone())).end().dump();
    for reached in [1, 999, 1000, 1001, 1500, 2999] {
        let mut room = offline(Shelf::new());
        let headers = |from, to| Import { headers: ledger.headers(from, to).into(), ..Import::default() };
        assert_eq!(room.import(headers(1, reached.min(1000))).2, None);
        if reached > 1000 {
            assert_eq!(room.import(headers(1001, reached)).2, None);
        }
        let mut config = config();
        config.known_blocks = [1000, 2000, 3000].map(|height| ledger.block(height)).into();
        let mut room = Room::new(config, room.end(), &[]);
        for from in (reached + 1..=4000).step_by(700) {
            assert_eq!(room.import(headers(from, 4000.min(from + 699))).2, None, "{reached}, from {from}");
        }
        for import in pieces(&ledger, 2000) {
            assert_eq!(room.import(Import { headers: Vec::new(), ..import }).2, None);
        }
        same(&room.end().dump(), &expected, &format!("from {reached}"));
    }
}

/// What does not lead to a known block is in nobody's way.
#[test]
fn a_lie_between_known_blocks_is_let_go() {
    let ledger = Arc::new(chain().up_to(4000));
    let branch = ledger.branch(300, 900, 3);
    let mut config = config();
    config.known_blocks = [1000, 2000, 3000].map(|height| ledger.block(height)).into();
    let expected = synced(config.clone(), &ledger).end().dump();
    let lie = |room: &mut Room| {
        let import = Import { headers: branch.headers(1, 700).into(), ..Import::default() };
        assert_eq!(room.import(import), (ledger.block(0), 0, None));
        assert_eq!(by_height(room, 1), None, "not before a known block shows that it leads there");
    };
    // The right ones from a file, from their first and from where they differ.
    for from in [1, 200, 301] {
        let mut room = Room::new(config.clone(), Shelf::new(), &[]);
        lie(&mut room);
        let import = Import { headers: ledger.headers(from, 1999).into(), ..Import::default() };
        assert_eq!(room.import(import), (ledger.block(1000), 0, None), "from {from}");
    }
    // And from a peer.
    let mut room = Room::new(config, Shelf::new(), &[]);
    lie(&mut room);
    let peer = room.lend(&ledger);
    room.command(Command::AddPeer(peer));
    room.sync(4000);
    assert_eq!(room.farewells(), []);
    same(&room.end().dump(), &expected, "from a peer");
}

/// An import, what it comes to, and the heights up to which headers and filter headers are known afterwards.
struct Lie {
    what: &'static str,
    import: Import,
    stopped: ImportError,
    tip: u32,
    filter_headers: u32,
}

#[test]
fn lies_are_named_and_what_is_sound_in_them_is_kept() {
    // 5000 headers are known, and filter headers of 4000 of them.
    let ledger = chain();
    let mut base = offline(Shelf::new());
    for import in pieces(&ledger.up_to(5000), 1000) {
        let filter_headers =
            if import.filter_headers_from < 4000 { import.filter_headers } else { Vec::new() };
        assert_eq!(base.import(Import { filter_headers, ..import }).2, None);
    }
    let base = base.end();
    let headers = |from, to| -> Vec<Header> { ledger.headers(from, to).into() };
    let filter_headers = |from, to| -> Vec<FilterHeader> { ledger.filter_headers(from, to).into() };
    let of_headers = |headers| Import { headers, ..Import::default() };
    let of_filters = |filter_headers_from, filter_headers| Import {
        filter_headers_from,
        filter_headers,
        ..Import::default()
    };
    let spoilt = |spoil: fn(&mut Header)| {
        let mut headers = headers(5001, 5100);
        spoil(&mut headers[40]);
        solve(&mut headers[40]);
        headers
    };
    let mut gap = headers(5001, 5100);
    gap.remove(50);
    let mut twice = headers(5001, 5100);
    twice.insert(50, twice[50]);
    let mut unproven = headers(5001, 5041);
    while unproven[40].target().is_met_by(unproven[40].block_hash()) {
        unproven[40].nonce += 1;
    }
    let mut contradicting = filter_headers(3000, 4500);
    contradicting[10] = FilterHeader::hash(b"no");
    let branch = ledger.branch(4800, 5500, 3);
    let connected = Import {
        filter_headers: filter_headers(4002, 4100),
        filter_headers_from: 4002,
        headers: headers(5001, 5010),
    };
    let lies = [
        Lie {
            what: "too many headers",
            import: of_headers(headers(5001, 7001)),
            stopped: ImportError::TooMany,
            tip: 5000,
            filter_headers: 4000,
        },
        Lie {
            what: "too many filter headers, with headers that are sound",
            import: Import {
                headers: headers(5001, 5002),
                ..of_filters(4000, vec![FilterHeader::all_zeros(); 2001])
            },
            stopped: ImportError::TooMany,
            tip: 5000,
            filter_headers: 4000,
        },
        Lie {
            what: "a gap before the first",
            import: of_headers(headers(5002, 5100)),
            stopped: ImportError::Unconnected,
            tip: 5000,
            filter_headers: 4000,
        },
        Lie {
            what: "a branch whose first header is not there",
            import: of_headers(branch.headers(4802, 5500).into()),
            stopped: ImportError::Unconnected,
            tip: 5000,
            filter_headers: 4000,
        },
        Lie {
            what: "a gap in the middle",
            import: of_headers(gap),
            stopped: ImportError::Discontinuous,
            tip: 5050,
            filter_headers: 4000,
        },
        Lie {
            what: "a header twice",
            import: of_headers(twice),
            stopped: ImportError::Discontinuous,
            tip: 5051,
            filter_headers: 4000,
        },
        Lie {
            what: "from the last to the first",
            import: of_headers(headers(5001, 5100).into_iter().rev().collect()),
            stopped: ImportError::Unconnected,
            tip: 5000,
            filter_headers: 4000,
        },
        Lie {
            what: "without proof of work",
            import: of_headers(unproven),
            stopped: ImportError::Invalid(HeaderError::ProofOfWork),
            tip: 5040,
            filter_headers: 4000,
        },
        Lie {
            what: "another difficulty",
            import: of_headers(spoilt(|header| header.bits = CompactTarget::from_consensus(0x207f_fffe))),
            stopped: ImportError::Invalid(HeaderError::Difficulty),
            tip: 5040,
            filter_headers: 4000,
        },
        Lie {
            what: "before the median of the times",
            import: of_headers(spoilt(|header| header.time -= 600)),
            stopped: ImportError::Invalid(HeaderError::TimeTooEarly),
            tip: 5040,
            filter_headers: 4000,
        },
        Lie {
            what: "an obsolete version",
            import: of_headers(spoilt(|header| header.version = Version::from_consensus(1))),
            stopped: ImportError::Invalid(HeaderError::Version),
            tip: 5040,
            filter_headers: 4000,
        },
        Lie {
            what: "from the future",
            import: of_headers(spoilt(|header| header.time = BEGIN as u32 + 7201)),
            stopped: ImportError::Invalid(HeaderError::NotYet),
            tip: 5040,
            filter_headers: 4000,
        },
        Lie {
            what: "sound filter headers behind an unsound header",
            import: Import { headers: headers(5002, 5003), ..of_filters(4000, filter_headers(4000, 4010)) },
            stopped: ImportError::Unconnected,
            tip: 5000,
            filter_headers: 4000,
        },
        Lie {
            what: "filter headers with a gap before them, and sound headers",
            import: connected,
            stopped: ImportError::FilterHeadersUnconnected,
            tip: 5010,
            filter_headers: 4000,
        },
        Lie {
            what: "filter headers of blocks that are not known",
            import: of_filters(4000, filter_headers(4000, 5001)),
            stopped: ImportError::FilterHeadersUnconnected,
            tip: 5000,
            filter_headers: 4000,
        },
        Lie {
            what: "filter headers beyond all numbers",
            import: of_filters(u32::MAX, filter_headers(1, 2)),
            stopped: ImportError::FilterHeadersUnconnected,
            tip: 5000,
            filter_headers: 4000,
        },
        Lie {
            what: "a filter header that is not the one that is known",
            import: of_filters(3000, contradicting),
            stopped: ImportError::FilterHeadersContradict { height: 3010 },
            tip: 5000,
            filter_headers: 4000,
        },
    ];
    for lie in lies {
        let what = lie.what;
        let mut room = offline(base.clone());
        let before = room.shelf().dump();
        let told = (ledger.block(lie.tip), lie.filter_headers, Some(lie.stopped));
        assert_eq!(room.import(lie.import), told, "{what}");
        assert_eq!(room.repairs(), [], "{what}");
        if lie.tip == 5000 {
            same(&room.shelf().dump(), &before, what);
        }
        all_are_found(&mut room, ledger, (0..=lie.tip).step_by(331).chain([5000, lie.tip]), what);
        assert_eq!(by_height(&mut room, lie.tip + 1), None, "{what}");
        // And it can still be done right.
        let rest = Import {
            headers: ledger.headers(lie.tip + 1, 6000).into(),
            filter_headers_from: 4000,
            filter_headers: ledger.filter_headers(4000, 5999).into(),
        };
        assert_eq!(room.import(rest), (ledger.block(6000), 6000, None), "{what}, and then right");
    }
}

/// A branch with less work is kept beside; with more, it is the best chain.
#[test]
fn a_branch_is_brought_in_as_a_peer_s_is() {
    let short = chain().up_to(5000);
    let branch = chain().branch(4800, 5500, 3);
    let mut room = offline(Shelf::new());
    for import in pieces(&short, 2000) {
        assert_eq!(room.import(import).2, None);
    }
    let lighter = Import { headers: branch.headers(4801, 5000).into(), ..Import::default() };
    assert_eq!(room.import(lighter), (short.tip(), 5001, None));
    let heavier = Import { headers: branch.headers(5001, 5500).into(), ..Import::default() };
    assert_eq!(room.import(heavier), (branch.tip(), 4801, None));
    let reorganised = room.events.iter().any(|event| {
        *event == Event::Reorganised { fork: short.block(4800), old_tip: short.tip(), new_tip: branch.tip() }
    });
    assert!(reorganised, "{}", room.story());
    let filters = Import {
        filter_headers_from: 4801,
        filter_headers: branch.filter_headers(4801, 5500).into(),
        ..Import::default()
    };
    assert_eq!(room.import(filters), (branch.tip(), 5501, None));
    all_are_found(&mut room, &branch, 4700..=5500, "the branch");
    nothing_is_found(&mut room, &short, 4801..=5000, "what was left");
    same(&room.end().dump(), &synced(config(), &Arc::new(branch)).end().dump(), "all");
}

/// Headers with less work than the network's best chain has are kept only when all of them have it.
#[test]
fn an_import_of_too_little_work_is_not_kept() {
    let mut config = config();
    config.minimum_work = Some(chain().work(3000));
    let mut room = Room::new(config, Shelf::new(), &[]);
    let import = Import { headers: chain().headers(1, 1999).into(), ..Import::default() };
    assert_eq!(room.import(import), (chain().block(0), 0, Some(ImportError::LowWork)));
    assert_eq!(by_height(&mut room, 1), None);
    assert_eq!(by_hash(&mut room, chain().block(1).hash), None);
}

/// A known block that the pieces do not lead to.
#[test]
fn an_import_that_contradicts_a_known_block_is_not_kept() {
    let branch = chain().branch(900, 3000, 3);
    let mut config = config();
    config.known_blocks = [500, 1000, 2000].map(|height| chain().block(height)).into();
    let mut room = Room::new(config, Shelf::new(), &[]);
    let import = Import { headers: branch.headers(1, 1500).into(), ..Import::default() };
    let (tip, _, stopped) = room.import(import);
    assert_eq!((tip, stopped), (chain().block(500), Some(ImportError::Unconnected)));
    // And it can still be done right.
    let import = Import { headers: chain().headers(501, 2400).into(), ..Import::default() };
    assert_eq!(room.import(import), (chain().block(2400), 0, None));
}

fn same(found: &Dump, expected: &Dump, what: &str) {
    ledger::same(found, expected, what);
}

fn solve(header: &mut Header) {
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
}

/// A client that goes on from what was brought in asks its peers only for what is new.
#[test]
fn a_sync_goes_on_from_what_was_brought_in() {
    let ledger = chain().up_to(9000);
    let mut room = offline(Shelf::new());
    for import in pieces(&ledger.up_to(8990), 2000) {
        assert_eq!(room.import(import).2, None);
    }
    let mut room = Room::new(config(), room.end(), &[&Arc::new(ledger.clone())]);
    let scripts = [payee(0), payee(1), payee(2)];
    room.watch(&scripts, 0);
    room.sync(9000);
    assert_eq!(room.findings(), ledger.findings(&scripts, 0));
    assert_eq!(room.farewells(), []);
    assert!(ledger.work(9000) > Work::from_be_bytes([0; 32]));
}
