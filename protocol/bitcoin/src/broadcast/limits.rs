//! The numbers of broadcasting, each with its reason. Those of policy are Bitcoin Core's: what its nodes do not take need not
//! be sent.

use core::time::Duration;

/// Transactions that are kept at once.
pub const MAX_TRANSACTIONS: usize = 256;

/// Bytes of transactions, and of the scripts given with them, that are kept at once: ten of the heaviest.
pub const MAX_BYTES: usize = 4_000_000;

/// Transactions that are given at once: as many as Bitcoin Core takes as a package.
pub const MAX_PACKAGE: usize = 25;

/// The weight above which no node relays a transaction.
pub const MAX_WEIGHT: u64 = 400_000;

/// Bytes without witnesses below which no node relays a transaction: such of 64 could be taken for a part of a merkle tree.
pub const MIN_BASE_SIZE: usize = 65;

/// The highest version of a transaction that nodes relay.
pub const MAX_VERSION: i32 = 3;

/// The longest signature script that nodes relay.
pub const MAX_SCRIPT_SIG: usize = 1650;

/// The longest output script that can be spent.
pub const MAX_SCRIPT: usize = 10_000;

/// How long a transaction is broadcast, if nothing else is said: as long as a node keeps it in its mempool.
pub const EXPIRY: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The longest time that can be asked for.
pub const MAX_EXPIRY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Time between two rounds of announcements of what was not seen yet: this, and up to [`ROUND_SPREAD`] more. As nodes
/// have it for their own transactions.
pub const ROUND: Duration = Duration::from_secs(10 * 60);
/// See [`ROUND`].
pub const ROUND_SPREAD: Duration = Duration::from_secs(5 * 60);

/// The same for what was seen: mempools have it, and may have lost it again. As wallets of nodes have it.
pub const SEEN_ROUND: Duration = Duration::from_secs(12 * 60 * 60);
/// See [`SEEN_ROUND`].
pub const SEEN_ROUND_SPREAD: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the first half of the peers may take to ask before the others are told too. A node waits 2 seconds before it asks
/// someone who has dialled it, 2 more if it is told a txid, and 2 more if it is busy.
pub const FIRST_HALF: Duration = Duration::from_secs(20);

/// Who was told of a transaction is remembered, as many as these for each: if one of them announces it, on whatever connection,
/// it may repeat what it was told.
pub const MAX_INFORMED: usize = 256;

/// How long nobody else who takes a transaction may have been there, until what one repeats that was told of it counts after all.
pub const ALONE: Duration = Duration::from_secs(30);

/// How often a peer is given a transaction in a round: once, and once more if its request came to nothing.
pub const MAX_SERVED: u8 = 2;

/// How long a private connection may last after its handshake: a node that does not ask in this time has the transaction
/// or does not want it. As long as Bitcoin Core's, so that nobody tells one from the other by keeping silent.
pub const PRIVATE_CONNECTION: Duration = Duration::from_secs(3 * 60);

/// Private connections at once. Each is for another transaction, and whoever sees many begin at a stroke knows that they are of one.
pub const MAX_PRIVATE: usize = 4;

/// Time from the beginning of one private connection to that of the next, at least: this, and up to [`PRIVATE_GAP_SPREAD`] more.
pub const PRIVATE_GAP: Duration = Duration::from_secs(2);
/// See [`PRIVATE_GAP`].
pub const PRIVATE_GAP_SPREAD: Duration = Duration::from_secs(8);

/// Time before the next private connection when one came to nothing: this at first, twice as long each time, at most
/// [`MAX_PRIVATE_RETRY`].
pub const PRIVATE_RETRY: Duration = Duration::from_secs(5);
/// See [`PRIVATE_RETRY`].
pub const MAX_PRIVATE_RETRY: Duration = Duration::from_secs(5 * 60);

/// A fee filter, in satoshis for 1000 virtual bytes, from which on a peer takes nothing: nodes that are syncing name the
/// highest that they can express, 9,170,997.
pub const TAKES_NOTHING: u64 = 9_000_000;

/// Blocks, its own among them, after which a transaction in one of them, or one that contradicts it, is not looked at any
/// more.
pub const FINAL_DEPTH: u32 = 100;
