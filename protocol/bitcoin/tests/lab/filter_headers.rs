//! Worlds in which filter headers are what matters: chains with whole blocks where they are needed, clients that have the
//! block headers already, what was asked for and what is stored.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::Config;
use andon_kernel::MemoryStore;
use bitcoin::hashes::Hash;
use bitcoin::{FilterHash, FilterHeader};

use super::chain::script;
use super::peer::Given;
use super::{Asked, Chain, Lab, Peer, config, endpoint};

/// What an honest peer's filter headers are, from the height `from` on.
pub(crate) fn filter_headers(chain: &Chain, from: u32) -> Vec<FilterHeader> {
    (from..=chain.height()).map(|height| chain.filter_header(height)).collect()
}

/// All filter headers that are stored, in order.
pub(crate) fn stored(lab: &Lab) -> Vec<FilterHeader> {
    let mut all = Vec::new();
    for (_, value) in lab.rows("filter_headers") {
        let (headers, _) = value.split_at(value.len() - 4);
        all.extend(headers.chunks(32).map(|header| FilterHeader::from_slice(header).unwrap()));
    }
    all
}

/// What is stored of a chain's block headers alone.
pub(crate) fn headers_of(chain: &Rc<Chain>, config: Config) -> MemoryStore {
    let mut lab = Lab::new(Config { peers: vec![endpoint(0)], ..config }, vec![Peer::new(chain)]);
    lab.peers[0].indexed = 0;
    lab.run_until("the block headers", |lab| lab.progress.headers.done >= chain.height());
    lab.let_the_disk_finish();
    assert_eq!(stored(&lab), []);
    lab.store().clone()
}

/// A client that has the block headers of a chain and none of its filter headers, and these peers. A round trip takes 200
/// ms.
pub(crate) fn world(chain: &Rc<Chain>, peers: Vec<Peer>) -> Lab {
    let mut lab = Lab::on(headers_of(chain, config(1)), config(peers.len()), peers);
    lab.latency = Duration::from_millis(100);
    lab
}

pub(crate) fn honest(count: usize, chain: &Rc<Chain>) -> Vec<Peer> {
    (0..count).map(|_| Peer::new(chain)).collect()
}

/// The ranges of filter headers that were asked for, and of whom; what is asked for one filter header is left out.
pub(crate) fn ranges(lab: &Lab) -> Vec<(usize, u32, u32)> {
    let ranges = lab.asked.iter().filter_map(|(_, peer, asked)| match asked {
        Asked::FilterHeaders(start, stop) if stop > start => Some((*peer, *start, *stop)),
        _ => None,
    });
    ranges.collect()
}

/// The heights up to which checkpoints were asked for, and of whom.
pub(crate) fn checkpoints(lab: &Lab) -> Vec<(usize, u32)> {
    let asked = lab.asked.iter().filter_map(|(_, peer, asked)| match asked {
        Asked::Checkpoints(stop) => Some((*peer, *stop)),
        _ => None,
    });
    asked.collect()
}

/// How often more than once ranges were asked for.
pub(crate) fn again(lab: &Lab) -> usize {
    let mut times: BTreeMap<u32, usize> = BTreeMap::new();
    ranges(lab).into_iter().for_each(|(_, start, _)| *times.entry(start).or_default() += 1);
    times.values().map(|times| times - 1).sum()
}

/// Runs until `done`, which is to be within minutes.
pub(crate) fn soon(lab: &mut Lab, what: &str, mut done: impl FnMut(&Lab) -> bool) {
    let limit = lab.now + Duration::from_secs(1000);
    lab.run_until(what, |lab| {
        assert!(
            lab.now < limit,
            "{what} has not come: {:?} {:?}",
            lab.progress.filter_headers,
            lab.farewells()
        );
        done(lab)
    });
}

/// How long until so many filter headers have come.
pub(crate) fn until(lab: &mut Lab, height: u32) -> Duration {
    let begin = lab.now;
    soon(lab, "the filter headers", |lab| lab.progress.filter_headers.done >= height);
    lab.now.since(begin)
}

pub(crate) fn sync(lab: &mut Lab, chain: &Chain) {
    soon(lab, "the sync", |lab| lab.synced == Some(chain.tip()));
}

pub(crate) fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// A chain with whole blocks at its bottom and at the checkpoints, and the same with a lie about one of those, or about all blocks from a height
/// on: whose filter hashes are others, and which nothing proves.
pub(crate) const LIE: u32 = 33;

pub(crate) fn chain_with_blocks(tip: u32) -> Chain {
    let mut chain = Chain::new();
    chain.grow_blocks(LIE + 7, 0, |height| script(u64::from(height)));
    grow(&mut chain, tip, 0);
    chain
}

/// Adds blocks up to a height: whole ones at the checkpoints.
pub(crate) fn grow(chain: &mut Chain, tip: u32, tag: u8) {
    while chain.height() < tip {
        let next = (chain.height() / 1000 + 1) * 1000;
        chain.grow_filters((next - 1).min(tip) - chain.height(), tag, &[0]);
        if next <= tip {
            chain.grow_blocks(1, tag, |height| script(u64::from(height)));
        }
    }
}

pub(crate) fn branch(chain: &Chain, fork: u32, tip: u32, tag: u8) -> Rc<Chain> {
    let mut branch = chain.cut(fork);
    grow(&mut branch, tip, tag);
    Rc::new(branch)
}

/// A peer whose checkpoints are right, and whose filter headers are not: in ranges that begin at or above `from`.
pub(crate) fn sending(
    chain: &Rc<Chain>,
    from: u32,
    lie: fn(&mut FilterHeader, &mut Vec<FilterHash>),
) -> Peer {
    let mut peer = Peer::new(chain);
    peer.gives = Box::new(move |chain, start, stop| {
        if start < from || stop == start {
            return Given::Whole;
        }
        let (mut previous, mut hashes) = chain.filter_range(start, stop);
        lie(&mut previous, &mut hashes);
        Given::These(previous, hashes)
    });
    peer
}
