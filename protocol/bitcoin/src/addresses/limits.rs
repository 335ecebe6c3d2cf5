//! The numbers that the address book's rules are made of, each with its reason. Those of the tables and of the rules
//! for replacing, choosing and telling are Bitcoin Core's: what is known of attacks on them holds here too.

use core::time::Duration;

/// Buckets of the table of nodes that were heard of. With [`NEW_BUCKETS_PER_SOURCE_GROUP`] no group fills more than a
/// sixteenth of it.
pub const NEW_BUCKETS: u16 = 1024;

/// Buckets of the table of nodes that were reached.
pub const TRIED_BUCKETS: u16 = 256;

/// Places in a bucket.
pub const BUCKET_SIZE: u16 = 64;

/// Over how many buckets the nodes that one group of sources tells of are spread: so whoever has one group of
/// addresses, and tells of whatever it likes, reaches these and no others.
pub const NEW_BUCKETS_PER_SOURCE_GROUP: u64 = 64;

/// Over how many buckets the nodes of one group that were reached are spread: 512 places for a whole IPv4 /16.
pub const TRIED_BUCKETS_PER_GROUP: u64 = 8;

/// Places that one address takes among the new ones at most. More than one makes what many sources tell of likelier.
pub const MAX_REFERENCES: usize = 8;

/// What was last heard of longer ago is not worth a place: half of all nodes are gone by then.
pub const HORIZON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Attempts after which a node that was never reached is given up.
pub const MAX_ATTEMPTS_UNREACHED: u8 = 3;

/// Attempts in a row after which a node is given up that was last reached longer than [`FAILING_FOR`] ago.
pub const MAX_FAILURES: u8 = 10;

/// See [`MAX_FAILURES`]: a week off, as on a holiday, is forgiven.
pub const FAILING_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What was tried within this time is not removed: the attempt may still be under way.
pub const TRIAL: Duration = Duration::from_secs(60);

/// A time further ahead is a lie or a broken clock.
pub const MAX_AHEAD: Duration = Duration::from_secs(10 * 60);

/// What was tried within this time is chosen a hundred times less often.
pub const RECENT: Duration = Duration::from_secs(10 * 60);

/// After this many failures in a row the chance to be chosen shrinks no more: a 28th is left.
pub const MAX_PENALISED_ATTEMPTS: u8 = 8;

/// Nodes that wait at most until the one in their place among the tried has been tested. A node beyond them waits for
/// its next connection.
pub const MAX_COLLISIONS: usize = 10;

/// A node that was reached within this time keeps its place without a test; a failed test counts for as long.
pub const REPLACEMENT: Duration = Duration::from_secs(4 * 60 * 60);

/// How long a test may stay away until the newer node takes the place all the same: the older one can't be dialled.
pub const TEST_WINDOW: Duration = Duration::from_secs(40 * 60);

/// Time between two looks at the collisions counts for [`TEST_WINDOW`] up to this much: what lies beyond was sleep, and
/// nobody was tested in it.
pub const MAX_LOOK_GAP: Duration = Duration::from_secs(10 * 60);

/// A connection moves the time at which its node was last heard of, when that is so far behind. Coarse, so that what is
/// told to others does not show who is connected.
pub const CONNECTED_STEP: Duration = Duration::from_secs(20 * 60);

/// By how much the time in gossip is set back: what is told at second hand is worth less than what a node says itself.
pub const GOSSIP_PENALTY: Duration = Duration::from_secs(2 * 60 * 60);

/// A node that is said to have been seen within this time counts as online.
pub const ONLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// By how much a later time must exceed the known one to be noted, for a node that counts as online.
pub const ONLINE_STEP: Duration = Duration::from_secs(60 * 60);

/// The same for any other.
pub const OFFLINE_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The share of the book that one peer is told of, in percent: it must not learn the whole of it.
pub const MAX_TOLD_PERCENT: usize = 23;

/// The age that gossip gets whose own time can't be right.
pub const AGE_OF_UNKNOWN: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// A time before this one (March 1973) is none.
pub const LEAST_TIME: u32 = 100_000_000;

/// A peer may tell one address in this time unasked: as much as the network has news of, shared by its nodes.
pub const GOSSIP_INTERVAL: Duration = Duration::from_secs(10);

/// Addresses that a peer may have saved up, and that one request of ours is worth.
pub const GOSSIP_BURST: u64 = 1000;

/// Nodes that are dialled for the client's work, all at once, unless the caller says otherwise.
pub const OUTBOUND: usize = 8;

/// Time between two dials, once as many have been made at once as there are to be connections.
pub const DIAL_INTERVAL: Duration = Duration::from_millis(500);

/// After so many failures in a row, and each time as many more, the time between two dials doubles: it is us who are
/// offline, and a phone in a tunnel shall not burn its battery.
pub const FAILURES_TO_SLOW: u32 = 16;

/// How often it doubles: up to half a minute.
pub const MAX_SLOWINGS: u32 = 6;

/// A book with fewer nodes is poor: who does not serve what is required is asked for addresses before it goes.
pub const POOR_BOOK: usize = 1000;

/// How long to wait for another look when the book had nobody to dial.
pub const NOBODY_WAIT: Duration = Duration::from_secs(10);

/// How often that doubles while it goes on, up to five minutes: somebody is asked for addresses each time.
pub const MAX_NOBODY_DOUBLINGS: u32 = 5;

/// Nodes that are remembered over a restart as those to dial first: an attacker who made the client restart, and filled
/// its book before, does not get these two.
pub const ANCHORS: usize = 2;

/// How long a connection must have served before its node becomes an anchor.
pub const ANCHOR_AGE: Duration = Duration::from_secs(10 * 60);

/// The mean time between two feelers, drawn from an exponential distribution, so that none foretells the next.
pub const FEELER_INTERVAL: Duration = Duration::from_secs(2 * 60);

/// Draws from the book for one dial at most.
pub const MAX_DRAWS: u32 = 100;

/// For so many draws a node is passed over that was tried within [`RECENT`].
pub const DRAWS_BEFORE_RECENT: u32 = 30;

/// For so many draws a node is passed over on a port that belongs to another service: nobody shall make clients knock
/// at other people's doors by gossip.
pub const DRAWS_BEFORE_BAD_PORTS: u32 = 50;

/// Further draws for a node that speaks the encrypted transport, when the first that would do does not.
pub const DRAWS_FOR_ENCRYPTED: u32 = 10;

/// Groups that must be connected before a failed attempt counts against a node: with fewer it may be us who are offline.
pub const GROUPS_TO_COUNT_FAILURES: usize = 2;

/// Nodes that are remembered to have been told of transactions, so that they are not asked for filters; and as many the other
/// way round.
pub const MAX_LATELY: usize = 512;

/// Hosts that are discouraged until the older half is forgotten.
pub const MAX_DISCOURAGED: usize = 10_000;

/// After this time the older half of what is discouraged is forgotten even so.
pub const DISCOURAGED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Bans at most: each is looked at for every address that is considered.
pub const MAX_BANS: usize = 10_000;

/// How long a ban lasts unless the caller says otherwise.
pub const BAN: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an empty book waits for DNS seeds and configured peers before the fixed seeds are taken.
pub const FIXED_SEEDS_AFTER: Duration = Duration::from_secs(60);

/// The largest AS map that is read, in bytes; that of 2025 has 1.5 MB.
pub const MAX_AS_MAP: usize = 16 << 20;
