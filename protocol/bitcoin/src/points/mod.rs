//! Blocks that are compiled in: where a client may begin, what it may check a chain against, and the work that it may
//! ask of one. Facts about the public networks, like their first blocks.
//!
//! Two things must not be confused. A *start point* saves headers: what lies below it is never asked for, so no peer
//! can be held to it. A *known block* saves time: headers that lead up to it can come from any peer in any order, and
//! its hash proves them all. A client that uses either can't follow a chain that leaves the best one below it, as with
//! any checkpoint; all were long buried when they were written down.
//!
//! A *known filter header* commits to the filters of all blocks up to its own: whoever shows others is caught by it, so
//! that one peer is enough for what lies below. No hash of a block says so; it is a matter of what was published.
//!
//! Each file beside this one holds a network's tables and says at its top which public lists agree on them.

mod mainnet;
mod signet;
mod table;
mod testnet3;
mod testnet4;

use alloc::vec;
use alloc::vec::Vec;
use core::iter;
use core::time::Duration;

use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::params::Params;
use bitcoin::{BlockHash, FilterHeader, Network, Work};

use table::{FilterHeaderRow, KnownRow, StartRow, block, work};

/// How long before a time a start point must have been mined for [`before_time`] to take it: one day.
///
/// A header's time may be two hours ahead of the clocks when it is mined, and hours behind, since it needs only to
/// exceed the median of eleven blocks'. The rest of the day is for the clock of the device on which the time was taken.
/// Start points are a year apart: the day costs nothing.
pub const TIME_MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// A block with which a client can begin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct StartPoint {
    /// The block's height. In those that are compiled in a difficulty period begins there, so that the rules for
    /// difficulty need nothing that lies below.
    pub height: u32,
    /// Work of the chain up to and with this block.
    pub work: Work,
    /// Headers of consecutive blocks; the last is the block at `height`. Those that are compiled in have just that one.
    pub headers: Vec<Header>,
}

/// The start points of a network, lowest first: its first block (height 0), then those that are compiled in, 52,416
/// blocks or about a year apart (on testnet3, whose blocks come in bursts, twice as many blocks and mostly less time).
///
/// Testnet4 and regtest have their first block only.
pub fn start_points(network: Network) -> Vec<StartPoint> {
    iter::once(first(network)).chain(starts(network).iter().map(StartRow::read)).collect()
}

/// The highest start point whose height is at most `height`.
pub fn before_height(network: Network, height: u32) -> StartPoint {
    highest(network, |start| start.height <= height)
}

/// The highest start point that was mined before `time`, so that every block mined at `time` or later lies above it.
/// There is a [`TIME_MARGIN`] between the time in its header and `time`.
///
/// The network's first block, if `time` is before all of them.
pub fn before_time(network: Network, time: UnixTime) -> StartPoint {
    highest(network, |start| UnixTime::from_secs(start.time().into()) + TIME_MARGIN <= time)
}

/// Known blocks of a network's best chain, lowest first: height and hash. Their heights are all different.
///
/// They begin with the network's first block, and hold every start point and, but for regtest, a block at most 4032
/// above it. Mainnet's are at most 2000 blocks apart up to 810,000, as many as one `headers` message has; from there on,
/// and on the test networks, at most 10,080.
pub fn known_blocks(
    network: Network,
) -> impl DoubleEndedIterator<Item = (u32, BlockHash)> + ExactSizeIterator + Clone {
    known(network).iter().map(KnownRow::read)
}

/// Known headers of basic filters (BIP157, BIP158), lowest first: height and filter header. Their heights are all
/// different.
///
/// Mainnet's are 25,000 blocks apart up to 500,000 and 50,000 at most from there to 960,000; testnet3's are 25,000
/// apart up to 1,450,000, with a gap to 1,600,000 and one from 1,800,000 to the last at 1,900,000; testnet4 has those at
/// 10,000 and 50,000. No public list was found that has signet's; regtest's are each chain's own.
pub fn known_filter_headers(
    network: Network,
) -> impl DoubleEndedIterator<Item = (u32, FilterHeader)> + ExactSizeIterator + Clone {
    let rows: &'static [FilterHeaderRow] = match network {
        Network::Bitcoin => mainnet::FILTER_HEADERS,
        Network::Testnet => testnet3::FILTER_HEADERS,
        Network::Testnet4 => testnet4::FILTER_HEADERS,
        Network::Signet | Network::Regtest => &[],
    };
    rows.iter().map(FilterHeaderRow::read)
}

/// The least work that the best chain of a network is known to have. A chain with less is not the best one, however
/// many peers show it.
///
/// It is the work at the highest of the [`start_points`], below the highest of the [`known_blocks`]. On testnet4 it is
/// what Bitcoin Core has as the minimum, the work at height 123,613; no other source confirms it. On regtest it is
/// zero.
pub fn minimum_chain_work(network: Network) -> Work {
    match network {
        Network::Testnet4 => work(testnet4::MINIMUM_CHAIN_WORK),
        Network::Regtest => work(0),
        Network::Bitcoin | Network::Testnet | Network::Signet => highest(network, |_| true).work,
    }
}

fn highest(network: Network, reached: impl Fn(&StartRow) -> bool) -> StartPoint {
    let start = starts(network).iter().rev().find(|start| reached(start));
    start.map_or_else(|| first(network), StartRow::read)
}

fn first(network: Network) -> StartPoint {
    let header = bitcoin::constants::genesis_block(Params::new(network)).header;
    StartPoint { height: 0, work: header.work(), headers: vec![header] }
}

/// Start points above the first block, lowest first.
fn starts(network: Network) -> &'static [StartRow] {
    match network {
        Network::Bitcoin => mainnet::STARTS,
        Network::Testnet => testnet3::STARTS,
        Network::Signet => signet::STARTS,
        Network::Testnet4 | Network::Regtest => &[],
    }
}

fn known(network: Network) -> &'static [KnownRow] {
    match network {
        Network::Bitcoin => mainnet::KNOWN,
        Network::Testnet => testnet3::KNOWN,
        Network::Testnet4 => testnet4::KNOWN,
        Network::Signet => signet::KNOWN,
        Network::Regtest => &REGTEST,
    }
}

/// Every regtest is a network of its own; they have the first block in common.
static REGTEST: [KnownRow; 1] =
    [block(0, "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206")];
