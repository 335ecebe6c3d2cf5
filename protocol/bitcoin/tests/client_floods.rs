//! Peers that send headers without end, and none that are of use: each is let go under a name, nothing of what it sent is
//! stored, memory stays as it was, and whoever is honest stays and is heard.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod lab;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use andon_bitcoin::client::{Config, Endpoint, Event, HeaderError, Misbehaviour, Reason};
use andon_bitcoin::wire::CommandName;
use bitcoin::BlockHash;
use bitcoin::block::Header;
use lab::chain::script;
use lab::peer::{Given, Reply};
use lab::{Chain, Lab, Peer, config, endpoint};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What is allocated is counted for the whole process: the tests of this file run one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that were allocated at most while something was done, more than before it, and those that still are.
fn allocated<T>(act: impl FnOnce() -> T) -> (T, usize, usize) {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage();
    let result = act();
    let (peak, after) = (ALLOCATED.peak_usage(), ALLOCATED.current_usage());
    (result, peak.saturating_sub(before), after.saturating_sub(before))
}

/// Headers that a message has at most, and bytes of such a message.
const MESSAGE: u32 = 2000;
const MESSAGE_BYTES: u64 = 24 + 3 + 81 * 2000;

/// Headers by which a chain may be longer than its peer claims, before it has shown its work.
const SLACK: u32 = 20_000;

/// What may be allocated at once, whatever comes: a few messages on their way, each in a few copies.
const FEW_MESSAGES: usize = 10 * MESSAGE_BYTES as usize;

/// A long chain that nobody else has. Blocks are as hard as those of any chain here: it is of little work where more is
/// asked for than it shows.
fn endless() -> Rc<Chain> {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    Rc::new(CHAIN.get_or_init(|| Chain::with_height(85_000, 9)).clone())
}

/// The best one, and the work that is asked of any: no chain that is let go in these tests has it.
const TIP: u32 = 82_000;

fn honest() -> Rc<Chain> {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    Rc::new(CHAIN.get_or_init(|| Chain::with_height(TIP, 0)).clone())
}

fn with_minimum(peers: usize, height: u32) -> Config {
    let mut config = config(peers);
    config.minimum_work = Some(Chain::new().work(height));
    config
}

fn misbehaved(peer: usize, misbehaviour: Misbehaviour) -> (Endpoint, Reason) {
    (endpoint(peer), Reason::Misbehaved(misbehaviour))
}

/// Requests for headers that peers got, as bytes on the wire.
#[derive(Clone, Default)]
struct Requests(Rc<RefCell<Vec<usize>>>);

impl Requests {
    fn count(&self) -> usize {
        self.0.borrow().len()
    }

    fn bytes(&self) -> u64 {
        self.0.borrow().iter().map(|hashes| (24 + 4 + 1 + 32 * hashes + 32) as u64).sum()
    }

    /// A peer that notes what it is asked.
    fn noted_by(
        &self,
        peer: Peer,
        mut conduct: impl FnMut(&Chain, &[BlockHash], BlockHash) -> Reply + 'static,
    ) -> Peer {
        let noted = self.0.clone();
        peer.acting(move |chain, locator, stop| {
            noted.borrow_mut().push(locator.len());
            conduct(chain, locator, stop)
        })
    }
}

fn serving(chain: &Chain, locator: &[BlockHash], stop: BlockHash) -> Reply {
    Reply::Headers(chain.answer(locator, stop))
}

/// A row, by its key.
type Row = (Vec<u8>, Vec<u8>);

/// All that a client stores that watches nothing.
fn stored(lab: &Lab) -> [Vec<Row>; 5] {
    ["headers", "filter_headers", "hashes", "staged", "meta"].map(|space| lab.rows(space))
}

/// What a client has stored that has heard of nothing.
fn has_nothing(lab: &Lab, what: &str) {
    let mut fresh = Lab::new(config(0), Vec::new());
    fresh.run_for(Duration::from_secs(1));
    let [headers, filter_headers, rest @ ..] = stored(lab);
    let [no_headers, _, nothing @ ..] = stored(&fresh);
    assert!((headers, rest) == (no_headers, nothing), "{what}: something is stored");
    // That of the first block, which anybody has.
    assert!(filter_headers.len() <= 1, "{what}: something is stored");
}

/// What is stored is what a client stores that knew the honest peer alone.
fn has_only(lab: &Lab, chain: &Rc<Chain>, what: &str) {
    let mut fresh =
        Lab::new(Config { peers: vec![endpoint(0)], ..lab.config.clone() }, vec![Peer::new(chain)]);
    fresh.sync();
    assert!(stored(lab) == stored(&fresh), "{what}: something else is stored");
}

/// A chain that never has the work, by a peer that goes on and on: it ends where it can't be honest any more.
#[test]
fn an_endless_chain_of_too_little_work_costs_its_peer_more_than_us() {
    let _alone = alone();
    let chain = endless();
    for claims in [0, 20_000, 60_000] {
        let requests = Requests::default();
        let peer = requests.noted_by(Peer::new(&chain).claiming(claims as i32), serving);
        let mut lab = Lab::new(with_minimum(1, TIP - 10), vec![peer]);
        lab.run_until("the handshake", |lab| !lab.events.is_empty());
        let batches = lab.batches();
        let ((), peak, kept) = allocated(|| lab.run_until("the end", |lab| !lab.farewells().is_empty()));
        let what = format!("{claims} claimed");
        assert_eq!(lab.farewells(), [misbehaved(0, Misbehaviour::LowWorkChain)], "{what}");
        has_nothing(&lab, &what);
        // The whole chain is more than a hundred bytes for each of so many headers.
        assert!(peak < FEW_MESSAGES, "{what}: {peak} bytes at once");
        // The place for the headers of one message is kept.
        assert!(kept < 400_000, "{what}: {kept} bytes are kept");
        // It had to send all that it can have, and one more message at most.
        let sent = lab.peers[0].headers_sent;
        let limit = u64::from(claims + SLACK);
        assert!((limit..=limit + u64::from(MESSAGE)).contains(&sent), "{what}: {sent}");
        // A message of it costs one request of a hundred bytes, and the whole of it one batch.
        let messages = sent.div_ceil(u64::from(MESSAGE));
        assert_eq!(requests.count() as u64, messages, "{what}");
        assert!(requests.bytes() <= messages * 125 + 100, "{what}: {}", requests.bytes());
        assert!(requests.bytes() * 1000 <= lab.bytes, "{what}: {} for {}", requests.bytes(), lab.bytes);
        assert!(lab.batches() <= batches + 1, "{what}: {}", lab.batches() - batches);
        assert_eq!((lab.synced, lab.progress.headers.done), (None, 0), "{what}");
    }
}

/// Many such peers at once, and an honest one that is asked last: it is heard, and what is stored is its chain alone.
#[test]
fn many_endless_chains_at_once_do_not_keep_an_honest_peer_from_being_heard() {
    let _alone = alone();
    let (chain, best) = (endless(), honest());
    const LIARS: usize = 6;
    let mut lab = Lab::new(with_minimum(LIARS + 1, TIP - 10), Vec::new());
    for peer in 0..LIARS {
        lab.peers.push(Peer::new(&chain).claiming(2000 * peer as i32));
    }
    lab.peers.push(Peer::new(&best));
    let ((), peak, _) = allocated(|| {
        lab.run_until("the end of the liars", |lab| lab.farewells().len() == LIARS);
    });
    assert!(peak < 2 * FEW_MESSAGES, "{peak} bytes at once");
    let expected: Vec<_> = (0..LIARS).map(|peer| misbehaved(peer, Misbehaviour::LowWorkChain)).collect();
    let mut farewells = lab.farewells();
    farewells.sort_by_key(|(endpoint, _)| endpoint.clone());
    assert_eq!(farewells, expected);
    has_nothing(&lab, "before the honest peer is heard");
    lab.sync_to(best.tip());
    assert_eq!(lab.farewells().len(), LIARS, "the honest peer stays");
    has_only(&lab, &best, "after it");
}

/// They come back, for a day: nothing grows.
#[test]
fn endless_chains_one_after_another_leave_memory_as_it_was() {
    let _alone = alone();
    let chain = endless();
    let mut lab = Lab::new(with_minimum(2, TIP - 10), Vec::new());
    (0..2).for_each(|_| lab.peers.push(Peer::new(&chain).claiming(0)));
    let mut kept = Vec::new();
    let mut total = 0;
    for round in 0..6 {
        let before = lab.peers.iter().map(|peer| peer.connections).sum::<u32>();
        let ((), peak, _) = allocated(|| {
            // A peer that broke the protocol is dialled again after 500 seconds.
            lab.run_for(Duration::from_secs(520));
        });
        let after = lab.peers.iter().map(|peer| peer.connections).sum::<u32>();
        assert!(after > before, "round {round}: none came back");
        assert!(peak < 2 * FEW_MESSAGES, "round {round}: {peak} bytes at once");
        let farewells = lab.farewells();
        assert!(farewells.iter().all(|(_, why)| *why == Reason::Misbehaved(Misbehaviour::LowWorkChain)));
        total += farewells.len();
        // What the laboratory itself remembers.
        lab.events = Vec::new();
        lab.peers.iter_mut().for_each(|peer| peer.asked = Vec::new());
        kept.push(ALLOCATED.current_usage());
        has_nothing(&lab, &format!("round {round}"));
    }
    assert!(total >= 12, "{total}");
    let (least, most) = (kept[2..].iter().min().unwrap(), kept[2..].iter().max().unwrap());
    assert!(most - least < 10_000, "memory is not flat: {kept:?}");
}

/// A chain that ends without the work, and another, and another: each is given up, and in the end the peer.
#[test]
fn chains_of_too_little_work_that_end_are_counted() {
    let _alone = alone();
    let chain = endless();
    let forks: Vec<Chain> = (0..20).map(|tag| Chain::with_height(MESSAGE, 10 + tag)).collect();
    let requests = Requests::default();
    let mut next = 0;
    let peer = requests.noted_by(Peer::new(&chain).claiming(2000), move |chain, locator, _| {
        // The first message of another chain each time, and nothing behind it.
        if locator.contains(&chain.hash(0)) {
            next += 1;
            Reply::Headers(forks[next % forks.len()].headers(1, MESSAGE).to_vec())
        } else {
            Reply::Headers(Vec::new())
        }
    });
    let mut lab = Lab::new(with_minimum(1, TIP - 10), vec![peer]);
    let ((), peak, _) = allocated(|| lab.run_until("the end", |lab| !lab.farewells().is_empty()));
    assert_eq!(lab.farewells(), [misbehaved(0, Misbehaviour::LowWorkChain)]);
    has_nothing(&lab, "after many chains");
    assert!(peak < FEW_MESSAGES, "{peak} bytes at once");
    assert_eq!(requests.count(), 22, "eleven chains, each asked for twice");
}

/// A peer that shows the work with one chain, and sends another when it is asked for it again.
#[test]
fn another_chain_the_second_time_is_named_and_not_kept() {
    let _alone = alone();
    let (shown, best) = (endless(), honest());
    for (from, alone_) in [(0, true), (0, false), (9000, true), (9000, false)] {
        let what = format!("another from {from}, alone: {alone_}");
        let other = if from == 0 { (*best).clone() } else { shown.fork(from, 31_000, 3) };
        // What is taken the second time is held back until it is sure: the fork is at a height below that.
        let minimum = 30_000;
        let liar = |shown: &Rc<Chain>| {
            let (mut again, other) = (false, other.clone());
            let mut reached = 0;
            Peer::new(shown).acting(move |chain, locator, stop| {
                let at = locator.iter().find_map(|hash| chain.height_of(hash)).unwrap_or(0);
                again |= at < reached && reached >= minimum;
                let chain = if again { &other } else { chain };
                let headers = chain.answer(locator, stop);
                reached = reached.max(at + headers.len() as u32);
                Reply::Headers(headers)
            })
        };
        let mut lab = Lab::new(with_minimum(if alone_ { 1 } else { 2 }, minimum), vec![liar(&shown)]);
        if !alone_ {
            lab.peers.push(Peer::new(&best));
        }
        let ((), peak, _) = allocated(|| lab.run_until("the end", |lab| !lab.farewells().is_empty()));
        assert_eq!(lab.farewells(), [misbehaved(0, Misbehaviour::ChangedChain)], "{what}");
        has_nothing(&lab, &what);
        // It holds back 15,000 headers.
        assert!(peak < 2 * FEW_MESSAGES + 15_000 * 200, "{what}: {peak} bytes at once");
        if !alone_ {
            lab.peers[0].up = false;
            lab.sync_to(best.tip());
            has_only(&lab, &best, &what);
        }
    }
}

/// How a peer answers its requests, by their number.
type Answer = Box<dyn FnMut(&Chain, u32) -> Vec<Header>>;

/// Lets the liar, the first of two peers, go on until it is let go, and the honest one be heard.
fn is_let_go(mut lab: Lab, best: &Rc<Chain>, misbehaviour: Misbehaviour, what: &str) {
    lab.run_for(Duration::from_secs(5));
    let ended = |reason: &Reason| matches!(reason, Reason::Misbehaved(_));
    assert!(lab.farewells().iter().any(|(_, reason)| ended(reason)), "{what}: it goes on");
    lab.peers[0].up = false;
    lab.sync_to(best.tip());
    let refused = |(who, reason): &(Endpoint, Reason)| *who != endpoint(0) || ended(reason);
    let farewells: Vec<_> = lab.farewells().into_iter().filter(refused).collect();
    assert_eq!(farewells, [misbehaved(0, misbehaviour)], "{what}");
    has_only(&lab, best, what);
}

/// A peer whose answers bring nothing new, without end, beside one that has the whole chain and is asked after it.
#[test]
fn answers_that_lead_nowhere_do_not_hold_up_the_sync() {
    let _alone = alone();
    let chain = Rc::new(Chain::with_height(7000, 0));
    let far = endless();
    let side = chain.fork(4990, 2000, 3);
    let wrong = Misbehaviour::WrongAnswer(CommandName::new("headers"));
    let unconnected = move |_: &Chain, _| far.headers(10_001, 12_000).to_vec();
    let table: [(&str, Answer, Misbehaviour, usize); 6] = [
        ("the same ones", Box::new(|chain, _| chain.headers(1, 2000).to_vec()), wrong, 12),
        (
            "the same ones of two kinds in turn",
            Box::new(|chain, number| chain.headers(1 + number % 2, 2000 + number % 2).to_vec()),
            wrong,
            12,
        ),
        (
            "one more with each message",
            Box::new(|chain, number| chain.headers(1 + number, 2000 + number).to_vec()),
            wrong,
            12,
        ),
        ("the same branch", Box::new(move |_, _| side.headers(4991, 6990).to_vec()), wrong, 12),
        ("whose parents are unknown", Box::new(unconnected.clone()), Misbehaviour::HeadersUnconnected, 101),
        (
            "whose parents are unknown, and some that are known in between",
            Box::new(move |chain, number| match number % 50 {
                0 => chain.headers(1, 2000).to_vec(),
                _ => unconnected(chain, number),
            }),
            Misbehaviour::HeadersUnconnected,
            104,
        ),
    ];
    for (what, mut answer, misbehaviour, most) in table {
        let requests = Requests::default();
        let mut number = 0;
        let liar = requests.noted_by(Peer::new(&chain), move |chain, _, _| {
            number += 1;
            Reply::Headers(answer(chain, number - 1))
        });
        let mut lab = Lab::new(config(2), vec![liar, Peer::new(&chain)]);
        // A branch is kept only beside a tip.
        lab.peers[0].up = what != "the same branch";
        if !lab.peers[0].up {
            lab.sync();
            lab.peers[0].up = true;
        }
        let ((), peak, _) = allocated(|| {
            lab.run_until(what, |lab| requests.count() == most || lab.now.as_micros() > 60_000_000)
        });
        // What is valid in them is kept, and the window has room for it.
        assert!(peak < 2 * FEW_MESSAGES, "{what}: {peak} bytes at once");
        is_let_go(lab, &chain, misbehaviour, what);
        assert_eq!(requests.count(), most, "{what}");
        // The longest locator, each time.
        assert!(requests.bytes() <= most as u64 * 1200, "{what}: {}", requests.bytes());
    }
}

/// A peer that claims any height, is asked first, and shows a chain of little work so slowly that it takes years: others
/// are heard meanwhile, and it is let go in the end.
#[test]
fn a_chain_that_is_shown_slowly_does_not_hold_up_the_sync() {
    let _alone = alone();
    let (chain, best) = (endless(), honest());
    let slow = Peer::new(&chain).claiming(i32::MAX).acting(|chain, locator, _| {
        // Full messages, each with one header more than the one before it.
        let at = chain.height_of(&locator[0]).unwrap_or(0);
        let first = (at + 2).saturating_sub(MESSAGE).max(1);
        Reply::Headers(chain.headers(first, first + MESSAGE - 1).to_vec())
    });
    let mut lab = Lab::new(with_minimum(2, TIP - 10), vec![slow, Peer::new(&best)]);
    lab.latency = Duration::from_secs(2);
    let minutes = |lab: &Lab| lab.now.as_micros() / 60_000_000;
    lab.run_until("the other's chain", |lab| lab.progress.headers.done == TIP);
    // Ten minutes for the slow one; the other shows its chain twice, with four seconds for a message.
    assert!(minutes(&lab) < 10 + 7, "{:?}", lab.now);
    lab.sync_to(best.tip());
    assert!(minutes(&lab) < 40, "{:?}", lab.now);
    assert_eq!(lab.farewells(), []);
    has_only(&lab, &best, "after the sync");
    lab.run_until("its end", |lab| !lab.farewells().is_empty());
    assert_eq!(lab.farewells(), [misbehaved(0, Misbehaviour::LowWorkChain)]);
}

/// Whatever height a peer claims, its chain gets no more room than the time since its base allows.
#[test]
fn a_claim_of_any_height_is_believed_as_far_as_time_allows() {
    let _alone = alone();
    let best = honest();
    let minimum = with_minimum(1, TIP + 100_000);
    for (hours, limit) in [(1, 60), (100, 6000), (1000, 60_000)] {
        let mut lab = Lab::new(minimum.clone(), vec![Peer::new(&best).claiming(i32::MAX)]);
        lab.begin = u64::from(Chain::new().headers(0, 0)[0].time) + hours * 3600;
        // Ahead of the clock no header is valid: these are a second apart.
        let quick = quick_chain(limit + SLACK + 2 * MESSAGE);
        lab.peers[0].chain = quick;
        lab.run_until("the end", |lab| !lab.farewells().is_empty());
        assert_eq!(lab.farewells(), [misbehaved(0, Misbehaviour::LowWorkChain)]);
        let sent = lab.peers[0].headers_sent;
        assert!(
            u64::from(limit + SLACK) <= sent && sent <= u64::from(limit + SLACK + MESSAGE),
            "{hours}: {sent}"
        );
    }
}

/// Blocks that share a second with as many as the rule for times allows.
fn quick_chain(height: u32) -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.spacing = 1;
    chain.grow(11, 5);
    while chain.height() < height {
        // Five at a time do not reach the median of eleven.
        chain.spacing = 1;
        chain.grow(1, 5);
        chain.spacing = 0;
        chain.grow(4, 5);
    }
    Rc::new(chain)
}

/// Forks of little length near the tip, from many peers: there is room for so many headers and no more.
#[test]
fn forks_near_the_tip_have_a_bound() {
    let _alone = alone();
    let best = Rc::new(Chain::with_height(300, 0));
    const LIARS: usize = 8;
    let mut lab = Lab::new(config(LIARS + 1), (0..=LIARS).map(|_| Peer::new(&best)).collect());
    lab.sync();
    lab.run_for(Duration::from_secs(5));
    let before = (stored(&lab), lab.batches());
    let mut kept = Vec::new();
    for liar in 1..=LIARS {
        let ((), _, more) = allocated(|| {
            // Forty branches of a hundred blocks: as many headers as one peer may have beside the best chain.
            for branch in 0..40 {
                let fork = best.fork(200 - branch % 3, 99, (liar * 20) as u8 + branch as u8 / 3);
                lab.push_headers(liar, fork.headers(201 - branch % 3, 299 - branch % 3));
            }
            lab.run_for(Duration::from_secs(1));
        });
        kept.push(more);
        assert_eq!(lab.farewells(), [], "as many as that are no fault");
    }
    assert_eq!(lab.batches(), before.1, "none of them is stored");
    assert!(stored(&lab) == before.0, "none of them is stored");
    assert!(kept[0] > 500_000, "they are kept: {kept:?}");
    assert!(kept[4..].iter().all(|more| *more < 50_000), "above ten thousand there is no room: {kept:?}");
    // One that is about to win has room all the same, and wins.
    let heavier = Rc::new(best.fork(250, 51, 250));
    lab.switch(0, &heavier);
    lab.sync_to(heavier.tip());
    assert_eq!(lab.reorganisations(), [(best.block(250), best.tip(), heavier.tip())]);
    assert_eq!(lab.farewells(), []);
    // A few more of each peer's are too many.
    for liar in 1..=LIARS {
        let fork = best.fork(230, 60, 251);
        (0..3).for_each(|branch| {
            let fork = fork.fork(240 + branch, 49, (liar + 100) as u8);
            lab.push_headers(liar, fork.headers(231, 289 + branch));
        });
    }
    lab.run_for(Duration::from_secs(1));
    let expected: Vec<_> = (1..=LIARS).map(|liar| misbehaved(liar, Misbehaviour::TooManyBranches)).collect();
    assert_eq!(lab.farewells(), expected);
    assert_eq!(lab.synced, Some(heavier.tip()));
}

/// Headers that nobody asked for: each kind ends under its name, and none of them costs an answer.
#[test]
fn a_flood_of_headers_that_nobody_asked_for_ends() {
    let _alone = alone();
    let best = Rc::new(Chain::with_height(3000, 0));
    let low = Chain::with_height(2000, 1);
    let far = endless();
    let mut wrong = *best.headers(3000, 3000).first().unwrap();
    wrong.prev_blockhash = best.tip().hash;
    while wrong.target().is_met_by(wrong.block_hash()) {
        wrong.nonce += 1;
    }
    let mut gap = best.headers(2000, 2990).to_vec();
    gap.remove(500);
    let many = [best.headers(1, 2000), best.headers(1, 1)].concat();
    // What one message has, why it ends, with which message, and how many requests have been answered by then.
    //
    // A peer may send 4,000,000 bytes unasked. A message weighs its contents, a count and 81 bytes for a header, and 96 more:
    // so 97 with no header, 178 with one, 745 with eight, 162,018 with 1999, 162,099 with 2000. Nothing is gained back in less
    // than a second.
    //
    // Who sends a full message that nobody asked for has more, and is asked for it; who sends headers of unknown parents is
    // asked for what is between. While that answer is awaited a full message may be it, and is not charged; up to eight
    // headers of unknown parents are news ahead of it, and weigh 128 each and nothing else.
    //
    // Of unknown parents, two bursts of 250 come between a request and the next one: its answer, which connects, comes
    // between the second and the third. Of the first, 97 fill the 64 KiB of one turn, before the request leaves, and weigh
    // 745 each; the 403 others 8 * 128 = 1024. Eight times that are 3,879,496 bytes; what is left is enough for 97 more, and
    // for 47 while the ninth request is under way. More than a hundred of those before a request leaves, which would end it
    // under another name, do not come between two answers.
    //
    // Of too little work, full messages end by the count of such chains, before the allowance does: both numbers are measured.
    let flooding = Misbehaviour::Flooding;
    let table: [(&str, Vec<Header>, Misbehaviour, usize, usize); 9] = [
        // One came while an answer was awaited.
        (
            "known ones, in full messages",
            best.headers(1001, 3000).to_vec(),
            flooding,
            4_000_000 / 162_099 + 2,
            25,
        ),
        ("known ones, one by one", best.headers(3000, 3000).to_vec(), flooding, 4_000_000 / 178 + 1, 0),
        ("none", Vec::new(), flooding, 4_000_000 / 97 + 1, 0),
        ("of too little work", low.headers(1, 1999).to_vec(), flooding, 4_000_000 / 162_018 + 1, 0),
        (
            "of too little work, in full messages",
            low.headers(1, 2000).to_vec(),
            Misbehaviour::LowWorkChain,
            23,
            32,
        ),
        ("of unknown parents", far.headers(9000, 9007).to_vec(), flooding, 8 * 500 + 97 + 47 + 1, 8),
        ("without work", vec![wrong], Misbehaviour::InvalidHeader(HeaderError::ProofOfWork), 1, 0),
        ("with a gap", gap, Misbehaviour::HeadersDiscontinuous, 1, 0),
        ("more than a message has", many, Misbehaviour::TooManyHeaders, 1, 0),
    ];
    for (what, message, misbehaviour, last, cost) in table {
        let requests = Requests::default();
        let liar = requests.noted_by(Peer::new(&best), serving);
        let mut lab = Lab::new(config(2), vec![liar, Peer::new(&best)]);
        lab.sync();
        lab.run_for(Duration::from_secs(5));
        let (stored, before) = (stored(&lab), requests.count());
        let mut count = 0;
        // As many at once as have the headers of a full one: so all is over before the second in which it would gain some back.
        let burst = (2000 / message.len().max(1)).clamp(1, 1000);
        let ((), peak, _) = allocated(|| {
            while lab.farewells().is_empty() {
                (0..burst).for_each(|_| lab.push_headers(0, &message));
                count += burst;
                lab.run_for(lab.latency + Duration::from_millis(1));
                assert!(count < 200_000, "{what}: it goes on");
            }
        });
        assert_eq!(lab.farewells(), [misbehaved(0, misbehaviour)], "{what}");
        assert_eq!(count, last.next_multiple_of(burst), "{what}");
        assert!(peak < FEW_MESSAGES, "{what}: {peak} bytes at once");
        assert_eq!(requests.count() - before, cost, "{what}: requests");
        assert!(self::stored(&lab) == stored, "{what}: something of it is stored");
        // The other is heard as before.
        lab.peers[0].up = false;
        let next = Rc::new(best.fork(3000, 1, 7));
        lab.switch(1, &next);
        lab.sync_to(next.tip());
    }
}

/// A peer that shows less than it claims is not believed to have shown all, and is asked again: another that has it is what
/// the client waits for.
#[test]
fn a_peer_that_claims_more_than_it_shows_is_left_for_another() {
    let _alone = alone();
    let best = Rc::new(Chain::with_height(300, 0));
    let half = Rc::new(best.cut(150));
    let empty = || Peer::new(&half).acting(|_, _, _| Reply::Headers(Vec::new()));
    let table: [(&str, Peer, u32); 3] = [
        ("shows nothing", empty().claiming(300), 0),
        ("shows half of it", Peer::new(&half).claiming(300), 150),
        ("claims the highest there is", Peer::new(&half).claiming(i32::MAX), 150),
    ];
    for (what, peer, shown) in table {
        let mut lab = Lab::new(config(2), vec![peer, Peer::new(&best)]);
        lab.peers[1].up = false;
        lab.run_for(Duration::from_secs(95));
        assert_eq!((lab.synced, lab.progress.headers.done), (None, shown), "{what}");
        let claimed = lab.peers[0].claims.unwrap() as u32;
        let told = |lab: &Lab| {
            let told = Event::PeerWithholds { endpoint: endpoint(0), claimed };
            lab.events.iter().filter(|event| **event == told).count()
        };
        // Every half minute.
        assert_eq!((told(&lab), lab.peers[0].asked.len()), (4, 4), "{what}");
        lab.peers[1].up = true;
        lab.sync_to(best.tip());
        let blamed = lab.farewells().iter().any(|(who, _)| *who == endpoint(0));
        assert!(!blamed, "{what}: {:?}", lab.farewells());
        // What it shows in the end counts.
        lab.peers[0] = Peer::new(&best);
        lab.run_for(Duration::from_secs(60));
        assert_eq!(lab.synced, Some(best.tip()), "{what}");
    }
}

/// Silence about the claim of a peer that claims nothing is no proof either.
#[test]
fn an_empty_answer_shows_nothing() {
    let _alone = alone();
    let best = Rc::new(Chain::with_height(300, 0));
    let empty = Peer::new(&best).acting(|_, _, _| Reply::Headers(Vec::new())).claiming(0);
    let mut lab = Lab::new(config(2), vec![empty, Peer::new(&best)]);
    lab.sync();
    assert_eq!(lab.farewells(), []);
    // It has not shown the chain that was found: nothing is asked of it.
    let before = lab.peers[0].asked.len();
    lab.switch(1, &Rc::new(best.fork(300, 5, 1)));
    lab.run_until("the next sync", |lab| lab.synced.is_some_and(|tip| tip.height == 305));
    assert_eq!((lab.farewells(), lab.peers[0].asked.len()), (vec![], before));
}

/// After half an hour without a block one more peer is asked, and another each ten minutes. Nobody is let go for it.
#[test]
fn a_tip_that_stays_away_has_one_more_peer_asked_at_a_time() {
    let _alone = alone();
    let best = Rc::new(Chain::with_height(300, 0));
    let mut lab = Lab::new(config(3), (0..3).map(|_| Peer::new(&best)).collect());
    lab.sync();
    lab.run_for(Duration::from_secs(60));
    let asked = |lab: &Lab| lab.peers.iter().map(|peer| peer.asked.len()).collect::<Vec<_>>();
    let told =
        |lab: &Lab| lab.events.iter().filter(|event| **event == Event::StaleTip { tip: best.tip() }).count();
    let at_first = asked(&lab);
    lab.run_for(Duration::from_secs(28 * 60));
    assert_eq!((told(&lab), asked(&lab)), (0, at_first), "it is too early");
    let mut peers = Vec::new();
    for times in 1..=6 {
        let before = asked(&lab);
        lab.run_for(Duration::from_secs(if times == 1 { 2 * 60 } else { 10 * 60 }));
        assert_eq!(told(&lab), times);
        let more: Vec<usize> = asked(&lab).iter().zip(before).map(|(now, before)| now - before).collect();
        assert_eq!(more.iter().sum::<usize>(), 1, "one is asked: {more:?}");
        peers.push(more.iter().position(|more| *more == 1).unwrap());
    }
    peers[..3].sort_unstable();
    peers[3..].sort_unstable();
    assert_eq!(peers, [0, 1, 2, 0, 1, 2], "each in turn");
    assert_eq!((lab.farewells(), lab.synced), (vec![], Some(best.tip())));
    // A block begins the half hour anew: and it is found with a peer that did not announce it.
    let next = Rc::new(best.fork(300, 1, 1));
    lab.peers.iter_mut().for_each(|peer| peer.chain = next.clone());
    lab.run_for(Duration::from_secs(11 * 60));
    assert_eq!((told(&lab), lab.synced), (7, Some(next.tip())));
    lab.run_for(Duration::from_secs(18 * 60));
    assert_eq!(told(&lab), 7);
    assert!(!lab.events.iter().any(|event| matches!(event, Event::StaleTip { tip } if *tip == next.tip())));
}

/// Filter headers of ranges whose lowest does not come: as many as may be open, and no more. So with as many checkpoints as
/// the chain has, and a message that says it has more.
#[test]
fn what_waits_for_the_lowest_range_of_filter_headers_is_bounded() {
    const MEGABYTE: usize = 1 << 20;
    let _alone = alone();
    let chain = honest();
    let has_headers = {
        let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
        lab.peers[0].indexed = 0;
        lab.run_until("the block headers", |lab| lab.progress.headers.done >= TIP);
        lab.let_the_disk_finish();
        lab.store().clone()
    };
    let mut lab = Lab::on(has_headers, config(4), (0..4).map(|_| Peer::new(&chain)).collect());
    for peer in &mut lab.peers {
        peer.gives = Box::new(|_, start, _| if start == 0 { Given::Nothing } else { Given::Whole });
    }
    lab.peers[3].names = Box::new(|chain, height| {
        let mut named = chain.checkpoints(height);
        named.resize(124_000, named[0]);
        Some(named)
    });
    lab.run_until("the block headers", |lab| lab.started().is_some());
    let ((), most, rest) = allocated(|| lab.run_for(Duration::from_secs(20)));
    println!("waiting for filter headers: {most} bytes at most, {rest} at the end");
    assert_eq!(lab.progress.filter_headers.done, 0);
    assert!((MEGABYTE / 2..3 * MEGABYTE / 2).contains(&rest), "{rest}");
    // That message has four megabytes, in a few copies.
    assert!(most < 3 * MEGABYTE / 2 + FEW_MESSAGES + 16_000_000, "{most}");
    let wrong = Misbehaviour::WrongAnswer(andon_bitcoin::wire::CommandName::new("cfcheckpt"));
    assert!(lab.farewells().contains(&misbehaved(3, wrong)), "{:?}", lab.farewells());
}

/// A dispute holds two filters and a block, whatever they have and however many differ: each liar names another filter, as
/// large as a message can be.
#[test]
fn what_a_dispute_holds_is_bounded() {
    const LIE: u32 = 7;
    const FILTER: usize = 3_900_000;
    let _alone = alone();
    let mut chain = Chain::new();
    chain.grow_blocks(LIE - 1, 0, |height| script(height.into()));
    chain.bulk = 900_000;
    chain.grow_blocks(1, 0, |height| script(height.into()));
    chain.bulk = 0;
    chain.grow_blocks(10, 0, |height| script(height.into()));
    let chain = Rc::new(chain);
    // Elements that the block does not have, and a count that is as high as their bits allow; or nothing that is a filter.
    let filters = |count: usize, sound: bool| {
        (0..count).map(move |number| {
            let mut filter = vec![0xfe];
            let elements = if sound { FILTER as u32 / 3 } else { u32::MAX };
            filter.extend_from_slice(&elements.to_le_bytes());
            filter.resize(FILTER, number as u8);
            filter
        })
    };
    let mut peaks = Vec::new();
    for (liars, sound) in [(2, false), (2, true), (6, false), (6, true)] {
        let lies: Vec<Rc<Chain>> =
            filters(liars, sound).map(|filter| Rc::new(chain.with_filter(LIE, filter))).collect();
        let mut lab = Lab::new(config(liars + 1), lies.iter().map(Peer::new).collect());
        lab.peers.push(Peer::new(&chain));
        let ((), most, rest) = allocated(|| lab.run_for(Duration::from_secs(300)));
        println!("{liars} liars, {sound}: {most} bytes at most, {rest} at the end");
        let judged = lab
            .events
            .iter()
            .filter(|event| matches!(event, Event::FalseFilter { block, .. } if block.height == LIE));
        assert_eq!(judged.count(), liars, "{sound}: {:?}", lab.farewells());
        assert_eq!(lab.synced, Some(chain.tip()));
        // The laboratory's copies, the reader's and the dispute's, and three times as much for the elements.
        assert!(most < 8 * FILTER, "{liars}, {sound}: {most}");
        assert!(rest < 2_000_000, "{liars}, {sound}: {rest}");
        peaks.push(most);
    }
    assert!(peaks[2] < peaks[0] + FILTER / 2 && peaks[3] < peaks[1] + FILTER / 2, "{peaks:?}");
}
