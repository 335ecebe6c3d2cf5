//! The header chain against Bitcoin Core's own engine: random trees of headers, the same verdict for each header and
//! the same best block after each message.
//!
//! `ANDON_TREES` is how many trees there are, in cases of twenty; `ANDON_FIRST_CASE` is the first case. A failure tells
//! the number of the case and the smallest one that shows the same difference.

mod case;
mod compare;
mod faulty;
mod ours;
mod random;
mod reference;
mod screen;
mod shrink;
mod tree;

use std::env;
use std::time::Instant;

use andon_bitcoin::headers::{SLACK, WINDOW};
use bitcoin::Network;
use bitcoinkernel::ChainType;
use case::{Case, FIRST_BLOCK, Message, Node, Parent, REGTEST_BITS};
use compare::{Difference, Kind, Tally, compare};
use faulty::{Fault, Faulty};
use ours::Ours;
use reference::Engine;
use screen::Screened;
use tree::{HeaderTree, Refusal};

/// How many trees a run compares that does not say otherwise.
const TREES: u64 = 2000;

/// How many kinds of difference are looked for before a run ends.
const ENOUGH_KINDS: usize = 4;

fn number(variable: &str, otherwise: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => otherwise,
    }
}

fn try_case<S: HeaderTree>(
    engine: &Engine,
    case: &Case,
    subject: impl FnOnce() -> S,
    tally: &mut Tally,
) -> Result<(), Difference> {
    compare(case, &mut engine.tree(), &mut subject(), tally)
}

/// The smallest case of the same difference, and what it is.
fn smallest<S: HeaderTree>(
    engine: &Engine,
    case: Case,
    kind: Kind,
    subject: impl Fn() -> S,
) -> (Case, Difference) {
    let run = |case: &Case| try_case(engine, case, &subject, &mut Tally::default()).err();
    let small = shrink::shrink(case, kind, |case| run(case).map(|difference| difference.kind));
    let difference = run(&small).expect("the smallest case differs");
    (small, difference)
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long it took is told, and decides nothing")]
fn random_trees_have_the_same_verdicts_and_the_same_tip() {
    let (first, trees) = (number("ANDON_FIRST_CASE", 0), number("ANDON_TREES", TREES));
    let engine = Engine::hold(ChainType::Regtest);
    let begun = Instant::now();
    let mut tally = Tally::default();
    let (mut told, mut found) = (0, Vec::new());
    for seed in first..first + trees.div_ceil(random::TREES) {
        let case = random::case(seed);
        told += random::TREES;
        if let Err(Difference { kind, .. }) = try_case(&engine, &case, ours, &mut tally)
            && !found.contains(&kind)
        {
            let (small, Difference { message, detail, .. }) = smallest(&engine, case, kind, ours);
            eprintln!(
                "case {seed} differs in {kind:?}; the smallest that does, in message {message}: {detail}\n{small}"
            );
            found.push(kind);
            if found.len() == ENOUGH_KINDS {
                break;
            }
        }
        if told.is_multiple_of(5000) {
            eprintln!("{told} of {trees} trees after {:?}", begun.elapsed());
        }
    }
    println!("{told} trees from case {first} on, in {:?}: {tally}", begun.elapsed());
    assert!(found.is_empty(), "they differ, as told above: {found:?}");
    // All this says something only of what came up.
    if trees >= TREES {
        for refusal in Refusal::ALL {
            assert!(tally.refused.get(&refusal).is_some_and(|&count| count > 100), "hardly any {refusal:?}");
        }
        assert!(tally.reorganisations > 100 && tally.ties > 100 && tally.known > 100);
    }
}

fn ours() -> Ours {
    Ours::new(Network::Regtest)
}

#[test]
fn a_chain_longer_than_what_is_kept_goes_on_the_same() {
    let engine = Engine::hold(ChainType::Regtest);
    let mut tally = Tally::default();
    for (seed, length) in [(0, u64::from(WINDOW + SLACK) - 20), (1, u64::from(WINDOW + SLACK) + 30)] {
        let case = random::case_upon(seed, length, 4);
        if let Err(Difference { kind, message, detail }) = try_case(&engine, &case, ours, &mut tally) {
            panic!("the chain of {length} differs in {kind:?}, in message {message}: {detail}");
        }
    }
    println!("{tally}");
    assert!(tally.taken > 2 * u64::from(WINDOW));
}

/// Bitcoin Core judges a message by its work before its engine sees it. That part is not in the engine, so a model of
/// it stands before it.
#[test]
fn what_begins_deep_needs_the_work() {
    let engine = Engine::hold(ChainType::Regtest);
    let mut tally = Tally::default();
    for seed in 0..100 {
        let case = random::deep_case(seed);
        if let Err(difference) = compare(&case, &mut Screened(engine.tree()), &mut ours(), &mut tally) {
            panic!("deep case {seed}: {difference:?}");
        }
    }
    println!("{tally}");
    let low = tally.refused.get(&Refusal::LowWork).copied().unwrap_or(0);
    assert!(low > 50 && tally.messages - low > 100 && tally.deepest_fork > 145);
}

/// Two hours ahead of the clock is allowed, a second more is not; and the clock is the one that was set.
#[test]
fn the_clock_is_the_one_that_was_set() {
    let engine = Engine::hold(ChainType::Regtest);
    for now in [1_300_000_000, 1_900_000_000, 3_000_000_000_u64] {
        let times = [(now + 7200, None), (now + 7201, Some(Refusal::TooNew))];
        for (time, refused) in times {
            let node = Node {
                parent: Parent::Node(FIRST_BLOCK),
                version: 4,
                time: time as u32,
                bits: REGTEST_BITS,
                mined: true,
                salt: 0,
            };
            let message = Message { now, nodes: vec![1] };
            let case = Case { nodes: vec![Node::first_block(), node], messages: vec![message] };
            let mut tally = Tally::default();
            compare(&case, &mut engine.tree(), &mut ours(), &mut tally).expect("both say the same");
            assert_eq!(tally.refused.keys().next().copied(), refused, "at {now}");
        }
    }
}

#[test]
fn a_fault_is_found_and_told_by_a_small_case() {
    let engine = Engine::hold(ChainType::Regtest);
    let table = [
        (Fault::FastClock, Kind::Verdict(Some(Refusal::TooNew), None), 1),
        (Fault::LastSeenWins, Kind::Tip, 2),
        (Fault::Forgets, Kind::Known, 2),
        (Fault::UnsignedVersions, Kind::Verdict(Some(Refusal::Version), None), 1),
        (Fault::PanicsAtTheEnd, Kind::Panic, 1),
    ];
    for (fault, kind, size) in table {
        let faulty = || Faulty { side: ours(), fault, last_seen: None };
        let mut found = (0..50).filter_map(|seed| {
            let case = random::case(seed);
            let difference = try_case(&engine, &case, faulty, &mut Tally::default()).err()?;
            (difference.kind == kind).then_some(case)
        });
        let case = found.next().unwrap_or_else(|| panic!("{fault:?} was not found"));
        let (small, difference) = smallest(&engine, case, kind, faulty);
        assert_eq!(difference.kind, kind);
        let headers = small.nodes.len() - 1;
        assert!(headers <= size, "{fault:?}: {headers} headers are left:\n{small}");
    }
}
