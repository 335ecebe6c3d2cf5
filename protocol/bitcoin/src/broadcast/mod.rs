//! Transactions that are being broadcast: whom they are announced to and when, what is served, and what is known of how they
//! spread.
//!
//! [`Outgoing`] is pure: time comes in with each call, randomness with the first, peers have names that say nothing, and
//! what is to be sent is given back. What it follows:
//!
//! - **Announce, then serve on request.** A peer is told the wtxid (BIP339; the txid, if it speaks no BIP339), and gets the
//!   transaction, and those of its parents that are here, when it asks. A parent below the peer's fee filter is not
//!   announced to it: its child is, by what both pay together, and the peer asks for the parent when it needs it (what
//!   Bitcoin Core 28 and later do with one parent and one child).
//! - **Some peers are only listened to.** Of those that take transactions half are told, drawn anew in each round; the
//!   others too if nobody has asked after 20 seconds. That a peer asked ([`State::Sent`]) says nothing about what it
//!   thinks: a refusal is not told. That a peer which was *not* told of it announces it ([`State::Seen`]) says that it
//!   has spread, or that several peers lie together. What a peer was told it can repeat, on that connection or on another,
//!   and that counts for nothing: but if nobody else is there who would take the transaction, what the only one says on
//!   another connection counts after half a minute.
//! - **Whoever was told in vain leaves its place.** In the next round of what was not seen yet others are told, and who was
//!   told in the one before is let go for somebody else: it may keep what it gets to itself, and it can show nothing any more.
//! - **Not asking is no refusal.** Nodes wait for seconds before they ask, do not ask while they are syncing, and never
//!   for what they have. Nothing ends a broadcast but a block, the application, or time.
//! - **Again and again**: what was not seen yet every 10 to 15 minutes, what was seen every 12 to 36 hours, until it is in
//!   a block, contradicted by one, or 14 days old. A reorganisation begins it again.
//! - **Private**, if asked for: each transaction, or each family of parents and children that are given together, goes
//!   over a connection of its own to a peer that is used for nothing else and told nothing else, and no other peer is told.
//!
//! Nobody's scripts or signatures are checked here: what a transaction spends is not known. A transaction that no node takes is
//! announced until its time is over.

mod chain;
mod entry;
mod limits;
mod peers;
mod private;
mod rows;
mod submission;

pub use chain::Touch;
pub use entry::State;
pub use limits::*;
pub use peers::{Identity, Skip, Traits};
pub use rows::{BROADCASTS, Restoring};
pub use submission::{Options, Submission, SubmitError};

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{ConnId, Instant, Now, Rng, UnixTime};
use bitcoin::{Amount, OutPoint, Transaction, Txid, Wtxid};

use entry::{Entry, Progress};
use peers::Peer;

/// How often the calendar is looked at for what has expired, at most: the clock may be set meanwhile.
const CALENDAR: Duration = Duration::from_secs(60 * 60);

/// The transactions that are being broadcast.
#[derive(Debug)]
pub struct Outgoing {
    entries: BTreeMap<Txid, Entry>,
    by_wtxid: BTreeMap<Wtxid, Txid>,
    spenders: BTreeMap<OutPoint, BTreeSet<Txid>>,
    bytes: usize,
    peers: BTreeMap<ConnId, Peer>,
    /// Whose rows are to be written or removed.
    changed: BTreeMap<Txid, rows::Changed>,
    /// Keys of rows that could not be read.
    unreadable: Vec<Vec<u8>>,
    notices: VecDeque<Notice>,
    calendar: Instant,
    /// No private connection begins before.
    private_at: Instant,
    watched: u64,
    /// The first height whose block has not been looked through for them.
    searched: Option<u32>,
    searched_changed: bool,
    /// Whether another version wrote down how far that is, which is not overwritten.
    searched_is_foreign: bool,
    rng: Rng,
}

/// What has happened to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is in another state than before.
    Changed {
        /// Which.
        txid: Txid,
        /// The same, with its witnesses.
        wtxid: Wtxid,
        /// What it is in now.
        state: State,
    },
    /// A peer is not told of it. Once for each peer, transaction and reason.
    Skipped {
        /// Which.
        txid: Txid,
        /// Whom.
        peer: ConnId,
        /// Why.
        reason: Skip,
    },
}

/// One of the transactions.
#[derive(Clone, Copy, Debug)]
pub struct Broadcast<'a> {
    /// Itself.
    pub transaction: &'a Transaction,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// What it pays, if that was said.
    pub fee: Option<Amount>,
    /// Whether it is broadcast privately.
    pub private: bool,
    /// How far it is.
    pub state: State,
    /// When it was given.
    pub added: UnixTime,
    /// When it is given up.
    pub expires: UnixTime,
}

impl Outgoing {
    /// None. The generator draws whom to tell, and when again.
    pub fn new(rng: Rng) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_wtxid: BTreeMap::new(),
            spenders: BTreeMap::new(),
            bytes: 0,
            peers: BTreeMap::new(),
            changed: BTreeMap::new(),
            unreadable: Vec::new(),
            notices: VecDeque::new(),
            calendar: Instant::ZERO,
            private_at: Instant::ZERO,
            watched: 0,
            searched: None,
            searched_changed: false,
            searched_is_foreign: false,
            rng,
        }
    }

    /// Broadcasts transactions that are given together, as parents and children; all of them or none. Returns their ids.
    ///
    /// One that is being broadcast already begins anew, with the fee, the options and the witness that are given now. One
    /// that spends the same as an earlier one takes its place.
    ///
    /// # Errors
    /// If one of them can't be broadcast, or there is no room.
    pub fn submit(
        &mut self,
        package: Vec<Submission>,
        options: &Options,
        now: Now,
    ) -> Result<Vec<Txid>, SubmitError> {
        submission::check(&package, options)?;
        let txids: Vec<Txid> = package.iter().map(|one| one.transaction.compute_txid()).collect();
        self.make_room(&package, &txids)?;
        for (submission, &txid) in package.into_iter().zip(&txids) {
            let mut entry = Entry::new(submission, options.private, now.unix, now.instant);
            entry.expires = now.unix + options.expiry;
            if let Some(before) = self.take_out(&txid) {
                entry.added = before.added;
                entry.progress = before.progress;
                entry.settled = before.settled;
                // What is under way for it goes on.
                entry.connection = before.connection;
                // Who was told of it goes on being no witness of it.
                entry.told = before.told;
                entry.informed = before.informed;
                entry.repeated_by = before.repeated_by;
            }
            self.put_in(txid, entry);
            self.replace_others(txid, now.instant);
            self.note(txid);
        }
        self.calendar = now.instant;
        Ok(txids)
    }

    /// Broadcasts a transaction no more, nor those that spend it. False: it was not being broadcast.
    pub fn withdraw(&mut self, txid: &Txid, now: Instant) -> bool {
        if !self.entries.contains_key(txid) {
            return false;
        }
        for txid in self.descendants(txid).into_iter().chain([*txid]) {
            self.remove(txid, Some(State::Withdrawn), now);
        }
        true
    }

    /// One of them.
    pub fn find(&self, txid: &Txid) -> Option<Broadcast<'_>> {
        self.entries.get(txid).map(view)
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Txid, Broadcast<'_>)> {
        self.entries.iter().map(|(txid, entry)| (*txid, view(entry)))
    }

    /// How many there are, those that are at an end and kept for a while among them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether connections to peers are of use now: something is to be announced, or not seen yet.
    pub fn needs_peers(&self) -> bool {
        self.entries.values().any(Entry::needs_peers)
    }

    /// Whether one of them has not been sent to anybody.
    pub fn has_unsent(&self) -> bool {
        self.iter().any(|(_, broadcast)| matches!(broadcast.state, State::Waiting | State::Announced))
    }

    /// What has happened since it was asked for last, one after the other.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When [`wake`](Self::wake) is due.
    pub fn deadline(&self) -> Option<Instant> {
        let has_place = self.has_private_place();
        let entries = self.entries.iter().filter(|(_, entry)| entry.is_live()).flat_map(|(txid, entry)| {
            let due = if entry.private {
                let waits = has_place && entry.connection.is_none() && !self.is_carried(txid);
                waits.then(|| entry.due.max(self.private_at))
            } else {
                // A round that nobody could be told of goes on until somebody can.
                (!entry.is_open || !entry.told.is_empty()).then_some(entry.due)
            };
            let alone = entry.alone_since.filter(|_| entry.progress < Progress::Seen);
            [due, entry.rest_at, alone.map(|since| since + ALONE)].into_iter().flatten()
        });
        let is_open = self.entries.values().any(|entry| entry.settled.is_none());
        let calendar = is_open.then_some(self.calendar);
        entries.chain(calendar).chain(self.private_ends()).chain(self.leaving()).min()
    }

    /// Does what is due: begins rounds, gives up what is too old. [`announce`](Self::announce),
    /// [`next_private`](Self::next_private) and [`to_close`](Self::to_close) may have something then.
    pub fn wake(&mut self, now: Now) {
        if self.calendar <= now.instant {
            self.expire(now);
        }
        let txids: Vec<Txid> = self.entries.keys().copied().collect();
        for txid in txids {
            self.begin_round(txid, now);
        }
        self.believe_the_only_one(now.instant);
    }

    fn begin_round(&mut self, txid: Txid, now: Now) {
        let Some(entry) = self.entries.get_mut(&txid).filter(|entry| entry.is_live() && !entry.private)
        else {
            return;
        };
        if entry.rest_at.is_some_and(|at| at <= now.instant) {
            entry.rest_at = None;
            match entry.progress {
                Progress::Seen => entry.close_round(),
                Progress::Sent => {}
                Progress::Waiting | Progress::Announced => entry.tells_rest = true,
            }
        }
        if entry.due > now.instant || (entry.is_open && entry.told.is_empty()) {
            return;
        }
        entry.is_open = true;
        entry.tells_rest = false;
        entry.rest_at = None;
        let told = core::mem::take(&mut entry.told);
        let is_seen = entry.progress == Progress::Seen;
        entry.round_since = Some(now.unix);
        entry.due = now.instant + period(entry.progress, &mut self.rng);
        self.changed.entry(txid).or_default();
        for (conn, peer) in &mut self.peers {
            peer.serve_again(&txid);
            if told.contains_key(conn) && !is_seen {
                peer.has_had_its_turn(now.instant);
            }
        }
    }

    fn expire(&mut self, now: Now) {
        let mut left = CALENDAR;
        let expired: Vec<Txid> = self
            .entries
            .iter()
            .filter(|(txid, entry)| {
                let remaining = entry.expires.as_secs().saturating_sub(now.unix.as_secs());
                if remaining > 0 {
                    left = left.min(Duration::from_secs(remaining));
                    return false;
                }
                // What is in a block has come to its end; a parent is needed as long as its children are.
                entry.settled.is_none()
                    && self.descendants(txid).iter().all(|child| self.entries[child].expires <= now.unix)
            })
            .map(|(txid, _)| *txid)
            .collect();
        for txid in expired {
            self.remove(txid, Some(State::Expired), now.instant);
        }
        self.calendar = now.instant + left;
    }

    /// Sees to it that transactions fit in; those whose end lies furthest back go for them.
    fn make_room(&mut self, package: &[Submission], txids: &[Txid]) -> Result<(), SubmitError> {
        let mut count = 0;
        let mut bytes = 0;
        for (submission, txid) in package.iter().zip(txids) {
            let before = self.entries.get(txid);
            count += usize::from(before.is_none());
            bytes += submission.size();
            bytes -= before.map_or(0, |entry| entry.size.min(submission.size()));
        }
        let fits = |count, bytes| count <= MAX_TRANSACTIONS && bytes <= MAX_BYTES;
        let settled = self.entries.iter().filter(|(txid, _)| !txids.contains(txid));
        let mut settled: Vec<_> =
            settled.filter_map(|(txid, entry)| Some((entry.settled?.height(), *txid, entry.size))).collect();
        settled.sort_unstable();
        let mut going = 0;
        let (mut count, mut bytes) = (self.entries.len() + count, self.bytes + bytes);
        while !fits(count, bytes) {
            let (_, _, size) = settled.get(going).ok_or(SubmitError::Full)?;
            (count, bytes, going) = (count - 1, bytes - size, going + 1);
        }
        for (_, txid, _) in settled.drain(..going) {
            self.take_out(&txid);
            self.changed.insert(txid, rows::Changed { body: true });
        }
        Ok(())
    }

    fn put_in(&mut self, txid: Txid, entry: Entry) {
        self.bytes += entry.size;
        self.by_wtxid.insert(entry.wtxid, txid);
        for input in &entry.submission.transaction.input {
            self.spenders.entry(input.previous_output).or_default().insert(txid);
        }
        self.entries.insert(txid, entry);
        self.changed.insert(txid, rows::Changed { body: true });
        self.watched += 1;
    }

    fn take_out(&mut self, txid: &Txid) -> Option<Entry> {
        let entry = self.entries.remove(txid)?;
        self.bytes -= entry.size;
        self.by_wtxid.remove(&entry.wtxid);
        for input in &entry.submission.transaction.input {
            let spenders = self.spenders.get_mut(&input.previous_output).expect("what is spent is entered");
            spenders.remove(txid);
            if spenders.is_empty() {
                self.spenders.remove(&input.previous_output);
            }
        }
        self.watched += 1;
        Some(entry)
    }

    /// Takes one out for good. What it had taken the place of is broadcast again.
    fn remove(&mut self, txid: Txid, told: Option<State>, now: Instant) {
        let Some(entry) = self.take_out(&txid) else { return };
        self.changed.insert(txid, rows::Changed { body: true });
        self.notices.extend(told.map(|state| Notice::Changed { txid, wtxid: entry.wtxid, state }));
        for peer in self.peers.values_mut() {
            peer.forget(&txid);
        }
        let replaced = self.entries.iter().filter(|(_, entry)| entry.replaced_by == Some(txid));
        let mut replaced: Vec<_> = replaced.map(|(other, entry)| (entry.added, *other)).collect();
        // Of several that spend the same the newest is the one to broadcast.
        replaced.sort_unstable_by(|one, other| other.cmp(one));
        for (_, other) in replaced {
            if self.entries[&other].replaced_by != Some(txid) {
                // A newer one that has just come back takes its place.
                continue;
            }
            // Another may have taken its place too, before or since.
            let rival = self.live_rival(&other);
            if rival.is_none() {
                self.replace_others(other, now);
            } else if let Some(entry) = self.entries.get_mut(&other) {
                entry.replaced_by = rival;
            }
            self.note(other);
        }
    }

    /// One that is broadcast and can't stand together with this one: it spends the same as this one, or as what this one spends.
    fn live_rival(&self, txid: &Txid) -> Option<Txid> {
        let family = self.ancestors(txid).into_iter().chain([*txid]);
        let mut rivals = family.flat_map(|one| self.rivals(&one));
        rivals.find(|rival| rival != txid && self.entries[rival].is_live())
    }

    /// Stops what spends the same as one that was just given.
    fn replace_others(&mut self, txid: Txid, now: Instant) {
        for other in self.rivals(&txid) {
            // What spends the earlier one can't stand either.
            for gone in self.descendants(&other).into_iter().chain([other]) {
                let Some(entry) = self.entries.get_mut(&gone) else { continue };
                entry.replaced_by = Some(txid);
                entry.stop();
                self.note(gone);
            }
        }
        let Some(entry) = self.entries.get_mut(&txid) else { return };
        entry.replaced_by = None;
        entry.begin_again(now);
    }

    /// Those that spend an output which this one spends.
    fn rivals(&self, txid: &Txid) -> BTreeSet<Txid> {
        let inputs = self.entries.get(txid).map(|entry| &entry.submission.transaction.input);
        let spenders =
            inputs.into_iter().flatten().filter_map(|input| self.spenders.get(&input.previous_output));
        spenders.flatten().filter(|other| *other != txid).copied().collect()
    }

    /// Those that it spends, and what these spend, as far as they are here.
    fn ancestors(&self, txid: &Txid) -> BTreeSet<Txid> {
        let mut found = BTreeSet::new();
        let mut open = Vec::from([*txid]);
        while let Some(next) = open.pop() {
            let Some(entry) = self.entries.get(&next) else { continue };
            for input in &entry.submission.transaction.input {
                let parent = input.previous_output.txid;
                if self.entries.contains_key(&parent) && found.insert(parent) {
                    open.push(parent);
                }
            }
        }
        found
    }

    /// Those that spend it, and what spends these.
    fn descendants(&self, txid: &Txid) -> BTreeSet<Txid> {
        let mut found = BTreeSet::new();
        let mut open = Vec::from([*txid]);
        while let Some(next) = open.pop() {
            let whole = OutPoint::new(next, 0)..=OutPoint::new(next, u32::MAX);
            for child in self.spenders.range(whole).flat_map(|(_, spenders)| spenders) {
                if found.insert(*child) {
                    open.push(*child);
                }
            }
        }
        found
    }

    /// All of them, parents before their children, the older ones first.
    fn in_order(&self) -> Vec<Txid> {
        let mut by_age: Vec<_> = self.entries.iter().map(|(txid, entry)| (entry.added, *txid)).collect();
        by_age.sort_unstable();
        let mut listed = BTreeSet::new();
        let mut order = Vec::with_capacity(by_age.len());
        for (_, txid) in by_age {
            let mut open = Vec::from([(txid, false)]);
            while let Some((next, is_ready)) = open.pop() {
                if is_ready {
                    order.push(next);
                } else if let Some(entry) = self.entries.get(&next).filter(|_| listed.insert(next)) {
                    open.push((next, true));
                    let inputs = &entry.submission.transaction.input;
                    open.extend(inputs.iter().map(|input| (input.previous_output.txid, false)));
                }
            }
        }
        order
    }

    /// Notes that peers have done more with it than before.
    fn progress(&mut self, txid: Txid, progress: Progress, now: Instant) {
        let Some(entry) = self.entries.get_mut(&txid).filter(|entry| entry.progress < progress) else {
            return;
        };
        entry.progress = progress;
        if progress == Progress::Seen {
            entry.close_round();
            entry.due = now + period(progress, &mut self.rng);
        }
        if entry.is_live() {
            self.note(txid);
        } else {
            self.changed.entry(txid).or_default();
        }
    }

    /// Notes that it is in another state.
    fn note(&mut self, txid: Txid) {
        let Some(entry) = self.entries.get(&txid) else { return };
        self.changed.entry(txid).or_default();
        self.notices.push_back(Notice::Changed { txid, wtxid: entry.wtxid, state: entry.state() });
    }
}

fn view(entry: &Entry) -> Broadcast<'_> {
    Broadcast {
        transaction: &entry.submission.transaction,
        wtxid: entry.wtxid,
        fee: entry.submission.fee,
        private: entry.private,
        state: entry.state(),
        added: entry.added,
        expires: entry.expires,
    }
}

/// Time from one round to the next.
fn period(progress: Progress, rng: &mut Rng) -> Duration {
    let (least, spread) = match progress {
        Progress::Seen => (SEEN_ROUND, SEEN_ROUND_SPREAD),
        _ => (ROUND, ROUND_SPREAD),
    };
    least + Duration::from_micros(rng.below(spread.as_micros() as u64))
}
