//! The numbers of a server, each with its reason. They are Bitcoin Core's, where nothing else is said.

use core::time::Duration;

/// Bytes under way to a peer after which no more are made. The server's own.
pub(super) const SLICE: usize = 256 * 1024;

/// The oldest version of the protocol that is talked to.
pub(super) const MIN_VERSION: u32 = 31_800;
/// Versions from which on a peer knows certain messages.
pub(super) const PING_NONCE_SINCE: u32 = 60_001;
/// See [`PING_NONCE_SINCE`].
pub(super) const FEE_FILTER_SINCE: u32 = 70_013;
/// See [`PING_NONCE_SINCE`].
pub(super) const SEND_CMPCT_SINCE: u32 = 70_014;
/// See [`PING_NONCE_SINCE`].
pub(super) const WTXID_RELAY_SINCE: u32 = 70_016;
/// See [`PING_NONCE_SINCE`].
pub(super) const SEND_ADDR_V2_SINCE: u32 = 70_016;
/// The version of compact blocks that is offered (BIP152, with witnesses).
pub(super) const COMPACT_BLOCKS: u64 = 2;

/// Heights between the filter headers of a `cfcheckpt` (BIP157).
pub(super) const CHECKPOINT_INTERVAL: u32 = 1000;
/// Blocks that a pruned node serves: 288 (BIP159), and two for races.
pub(super) const PRUNED_DEPTH: u32 = 290;
/// The most blocks that are announced as headers. A peer that more are new to is told of the tip, and asks.
pub(super) const MAX_ANNOUNCED: usize = 8;
/// A block that is not in the best chain is served for so long, in seconds: a month.
pub(super) const STALE_AGE_LIMIT: u32 = 30 * 24 * 60 * 60;
/// Seconds between blocks, on every network.
pub(super) const SPACING: u32 = 600;

/// Addresses that are known: as many as Bitcoin Core's address book has places for.
pub(super) const MAX_KNOWN_ADDRESSES: usize = (1024 + 256) * 64;
/// The share of the known addresses that one peer may hear of, in percent.
pub(super) const ADDRESS_SHARE: usize = 23;
/// For how long every peer is told the same: 21 hours, and up to [`DRAWN_SPREAD`] seconds more.
pub(super) const DRAWN: Duration = Duration::from_secs(21 * 60 * 60);
/// See [`DRAWN`].
pub(super) const DRAWN_SPREAD: u64 = 6 * 60 * 60;

/// The weight above which no transaction is relayed.
pub(super) const MAX_WEIGHT: u64 = 400_000;
/// Transactions without parents that are kept.
pub(super) const MAX_ORPHANS: usize = 100;
/// Their bytes. The server's own: Bitcoin Core has no such limit.
pub(super) const MAX_ORPHAN_BYTES: usize = 1_000_000;
/// What is remembered of what one peer announces.
pub(super) const MAX_OFFERS: usize = 5000;
/// Transactions that are asked of one peer at a time.
pub(super) const MAX_ASKED: usize = 100;
/// How long a peer may take to send what it was asked for, before another is.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// Entries of an `inv` of transactions, at most.
pub(super) const MAX_TOLD: usize = 1000;
