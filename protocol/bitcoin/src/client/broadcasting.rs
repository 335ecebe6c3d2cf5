//! Transactions that are broadcast: what is wanted, what is stored of them, and the search for them in blocks. Whom to tell of
//! which, and what that means, is decided by [`Outgoing`].
//!
//! Nobody who is asked for filters, headers or blocks is told of a transaction, or hears that this client wants to hear of
//! any (`relay` is false there). While something is to be announced or has not been seen, there are a few connections for
//! nothing else, to nodes of the address book; where it has none, or there is none, to peers that were given, once
//! more. A private transaction has a connection that ends with it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use andon_kernel::{Instant, Now, Order as ScanOrder, Rng, Rows, UnixTime};
use bitcoin::Txid;

use super::api::{BroadcastOptions, RequestId, Submission, SubmitError};
use super::start::{ALL, Fault, Loading, PAGE, Step, Went};
use super::{Client, Event, Reason, Then, Timer, Turn, record};
use crate::addresses::RowError;
use crate::broadcast::{BROADCASTS, Notice, Outgoing, Restoring};
use crate::wire::Message;

/// Connections that transactions are announced over, and listened for: half of them each, so that one node that swallows
/// them, and one that lies, are not alone.
pub(super) const CONNECTIONS: usize = 4;

/// When somebody is looked for again where there was nobody, or who there was could not be reached or took nothing.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// How often that doubles where that goes for as many as there are places: up to five minutes. A phone in a tunnel shall not
/// burn its battery, and what pays too little is taken nowhere for days, perhaps.
const MAX_DOUBLINGS: u32 = 6;

/// Blocks below the tip in which a transaction that is given is looked for too: the application may have given it to others. And
/// one more for so much time since then, half of what a block takes on average.
const LOOK_BACK: u32 = 6;
const BLOCK_TIME: u64 = 5 * 60;

/// The time between a broadcast and the search for it, drawn from these: filters that are asked for once more in the moment of
/// a broadcast would show whose it is. Nobody is to be seen through who is told of it anyway.
const BEFORE_SEARCH: Range<u64> = 20..120;

/// Transactions, and the state of their connections.
#[derive(Debug)]
pub(super) struct Broadcasting {
    pub(super) outgoing: Outgoing,
    pub(super) rng: Rng,
    orders: VecDeque<(Option<RequestId>, Order)>,
    /// Whether something may be to be done.
    pub(super) is_due: bool,
    /// Nobody is dialled before.
    pub(super) retry_at: Instant,
    /// Nodes in a row that could not be reached, or took nothing of what is to be told.
    pub(super) useless: u32,
    /// Since when nodes of the address book are tried in vain.
    pub(super) nobody_since: Option<Instant>,
    /// What was given and is not looked for yet.
    placing: Option<Placing>,
    /// For which of their states the scripts are looked for.
    traced: Option<u64>,
}

/// What the application wants.
#[derive(Debug)]
pub(super) enum Order {
    Submit { transactions: Vec<Submission>, options: BroadcastOptions },
    Withdraw(Txid),
}

/// From when on transactions are looked for, and since when they are there.
#[derive(Clone, Copy, Debug)]
struct Placing {
    at: Instant,
    since: UnixTime,
    /// Whether nothing was looked for before.
    is_fresh: bool,
    /// Whether some of them have not been looked for at all.
    has_new: bool,
}

impl Broadcasting {
    pub(super) fn new(rng: &Rng) -> Self {
        Self {
            outgoing: Outgoing::new(rng.fork("outgoing")),
            rng: rng.fork("broadcasting"),
            orders: VecDeque::new(),
            is_due: true,
            retry_at: Instant::ZERO,
            useless: 0,
            nobody_since: None,
            placing: None,
            traced: None,
        }
    }

    pub(super) fn order(&mut self, request: Option<RequestId>, order: Order) {
        self.orders.push_back((request, order));
    }

    /// How many orders wait.
    pub(super) fn orders(&self) -> usize {
        self.orders.len()
    }

    /// After a pause: whoever could not be reached may be reached now.
    pub(super) fn resume(&mut self, now: Now) {
        (self.retry_at, self.useless, self.nobody_since) = (now.instant, 0, None);
        self.wake(now);
    }

    /// Something may be to be done.
    pub(super) fn is_due(&mut self) {
        self.is_due = true;
    }

    pub(super) fn wake(&mut self, now: Now) {
        self.outgoing.wake(now);
        self.is_due = true;
    }

    /// Somebody could not be reached, or is of no use: after a while another is tried, and after a longer one the more of them
    /// there are, so that a book of nothing else is not dialled through.
    pub(super) fn put_off(&mut self, now: Instant) {
        let doublings = (self.useless / CONNECTIONS as u32).min(MAX_DOUBLINGS);
        self.retry_at = self.retry_at.max(now + RETRY * (1 << doublings));
        self.useless = self.useless.saturating_add(1);
    }

    /// Somebody was reached who is there for something else: the network is back, if it was away. Who spreads what is told to
    /// one alone is heard only by those who are connected then.
    pub(super) fn reached(&mut self, now: Instant) {
        if self.outgoing.needs_peers() && self.useless > 0 {
            (self.retry_at, self.useless) = (now, 0);
            self.is_due = true;
        }
    }

    /// Blocks below a height have been looked through.
    pub(super) fn searched(&mut self, next: u32) {
        self.outgoing.set_searched(next);
        self.outgoing.bury(next.saturating_sub(1));
        self.is_due = true;
    }

    /// The chain has grown: what lies deep in it is forgotten, also when nothing is looked for any more.
    pub(super) fn grown(&mut self, tip: u32) {
        if !self.outgoing.is_empty() {
            self.outgoing.bury(tip);
            self.is_due = true;
        }
    }

    /// Blocks from a height on, or their filters, are not those that they were.
    pub(super) fn rewind(&mut self, height: u32, now: Now) {
        self.outgoing.rewind(height.saturating_sub(1), now.instant);
        self.is_due = true;
    }
}

impl Client {
    /// Begins to read what is stored of them.
    pub(super) fn load_broadcasts(&mut self, turn: &mut Turn<'_>, loading: &mut Loading) {
        loading.broadcasts = Some(Box::new(Restoring::new(self.rng.fork("outgoing"))));
        self.load_step(turn, loading, Step::Broadcasts, BROADCASTS, ALL, ScanOrder::Ascending, PAGE);
    }

    pub(super) fn take_broadcasts(
        &mut self,
        turn: &mut Turn<'_>,
        loading: &mut Loading,
        rows: Rows<'_>,
        more: bool,
    ) -> Result<Went, Fault> {
        let Some(restoring) = &mut loading.broadcasts else { return Ok(Went::Done) };
        let (mut is_lost, mut is_search_lost) = (false, false);
        for (key, value) in rows.iter() {
            // What another version wrote is no loss: it is left where it is.
            let took = restoring.take(key, value, turn.now);
            let unusable = took.is_err_and(|error| !matches!(error, RowError::Version(_)));
            let of_search = Restoring::is_of_search(key);
            is_lost |= unusable && !of_search;
            is_search_lost |= unusable && of_search;
        }
        let kept = self.chain.tip();
        if is_search_lost {
            let what = "how far transactions were looked for was unreadable: they are looked for again";
            turn.out.event(Event::Repaired { what, kept });
        }
        if is_lost {
            let what = "a transaction that was being broadcast was unreadable, and is lost";
            turn.out.event(Event::Repaired { what, kept });
        }
        if self.load_more(turn, loading, rows, more) {
            return Ok(Went::On);
        }
        if let Some(restoring) = loading.broadcasts.take() {
            self.broadcasting.outgoing = restoring.finish();
        }
        Ok(Went::Done)
    }

    /// Everything is read: what was broadcast goes on.
    pub(super) fn begin_broadcasting(&mut self, turn: &mut Turn<'_>) {
        let tip = self.chain.tip_height();
        let states = self.broadcasting.outgoing.iter().map(|(txid, broadcast)| Event::Broadcast {
            txid,
            wtxid: broadcast.wtxid,
            state: broadcast.state,
        });
        let states = states.collect();
        self.tell_again(turn, states);
        self.journal_begun(turn);
        let outgoing = &mut self.broadcasting.outgoing;
        // The chain may have changed without these having been told.
        let replaced = outgoing.settled_in().filter(|block| {
            block.height > tip || self.chain.at(block.height).is_some_and(|(_, hash)| hash != block.hash)
        });
        if let Some(lowest) = replaced.map(|block| block.height).min() {
            outgoing.rewind(lowest.saturating_sub(1), turn.now.instant);
        }
        match outgoing.searched() {
            // What was given last may not have been looked for when the last run ended.
            Some(searched) if outgoing.oldest_added().is_some() => {
                outgoing.set_searched(searched.min((tip + 1).saturating_sub(LOOK_BACK)));
            }
            Some(_) => {}
            None => {
                self.broadcasting.placing = outgoing.oldest_added().map(|since| Placing {
                    at: turn.now.instant,
                    since,
                    is_fresh: true,
                    has_new: true,
                });
            }
        }
        self.broadcasting.wake(turn.now);
    }

    pub(super) fn carry_out_broadcast_orders(&mut self, turn: &mut Turn<'_>) {
        while let Some((request, order)) = self.broadcasting.orders.pop_front() {
            match order {
                Order::Submit { transactions, options } => {
                    let txids = transactions.iter().map(|one| one.transaction.compute_txid()).collect();
                    if let Err(error) = self.submit(turn, transactions, &options) {
                        self.answer(turn, request, Event::BroadcastRefused { txids, error });
                        continue;
                    }
                }
                Order::Withdraw(txid) => {
                    self.broadcasting.outgoing.withdraw(&txid, turn.now.instant);
                    self.broadcasting.is_due = true;
                }
            }
            if let Some(id) = request {
                // It is not stored yet.
                self.requests.broadcasts.push(id);
            }
        }
    }

    /// # Errors
    /// If they can't be broadcast.
    fn submit(
        &mut self,
        turn: &Turn<'_>,
        transactions: Vec<Submission>,
        options: &BroadcastOptions,
    ) -> Result<(), SubmitError> {
        let can_hide = self.nodes.is_some();
        let broadcasting = &mut self.broadcasting;
        let is_fresh = broadcasting.outgoing.scripts().is_empty();
        broadcasting.outgoing.submit(transactions, options, turn.now)?;
        broadcasting.is_due = true;
        // Others may take this one.
        (broadcasting.retry_at, broadcasting.useless) = (turn.now.instant, 0);
        let Range { start, end } = BEFORE_SEARCH;
        let wait = if can_hide { start + broadcasting.rng.below(end - start) } else { 0 };
        let placing = broadcasting.placing.get_or_insert(Placing {
            at: turn.now.instant + Duration::from_secs(wait),
            since: turn.now.unix,
            is_fresh,
            has_new: true,
        });
        placing.has_new = true;
        Ok(())
    }

    /// Decides from which block on what was given is looked for, once that is known.
    fn place_broadcasts(&mut self, turn: &Turn<'_>, placing: Placing) {
        let broadcasting = &mut self.broadcasting;
        broadcasting.placing = None;
        let passed = turn.now.unix.as_secs().saturating_sub(placing.since.as_secs());
        let back = u64::from(LOOK_BACK) + passed / BLOCK_TIME;
        let next = self.chain.tip_height() + 1;
        let first = next.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX));
        let searched = broadcasting.outgoing.searched().filter(|_| !placing.is_fresh);
        broadcasting.outgoing.set_searched(searched.map_or(first, |searched| searched.min(first)));
        broadcasting.is_due = true;
    }

    /// Looks for what is broadcast in blocks, from where that has not been done.
    pub(super) fn trace_broadcasts(&mut self, turn: &mut Turn<'_>) {
        if self.broadcasting.outgoing.is_empty() {
            self.broadcasting.placing = None;
        }
        let mut has_new = false;
        if let Some(placing) = self.broadcasting.placing {
            if placing.at > turn.now.instant || !self.headers_are_current() {
                return;
            }
            has_new = placing.has_new;
            self.place_broadcasts(turn, placing);
        }
        let is_traced = |broadcasting: &Broadcasting| {
            let version = broadcasting.outgoing.scripts_version();
            broadcasting.traced == Some(version)
                || (broadcasting.outgoing.is_empty() && broadcasting.traced.is_none())
        };
        if !has_new && is_traced(&self.broadcasting) {
            return;
        }
        // What has been read and not told may be what is looked for.
        self.settle(turn, true);
        let outgoing = &self.broadcasting.outgoing;
        let version = outgoing.scripts_version();
        let scripts = outgoing.scripts();
        let searched = outgoing.searched();
        if scripts.is_empty() {
            self.search.watches.trace(None);
            // A reorganisation may bring it back.
            self.broadcasting.traced = (!self.broadcasting.outgoing.is_empty()).then_some(version);
            return;
        }
        let next = self.chain.tip_height() + 1;
        let under_way = self.search.watches.traced_from();
        // What was matched with more of them need not be matched again. What was read before they were there was not looked
        // through for them.
        let goes_on = searched.zip(under_way).is_some_and(|(searched, under_way)| under_way <= searched);
        if goes_on && !has_new && self.search.watches.trace_fewer(&scripts) {
            self.broadcasting.traced = Some(version);
            self.arrange_groups(turn);
            return;
        }
        let from = searched.unwrap_or(next).min(under_way.unwrap_or(next)).min(next);
        let from = from.max(self.filter_headers.first_filter());
        let group = self.begin_group(from);
        self.search.watches.trace(Some((group, scripts)));
        self.broadcasting.traced = Some(version);
        self.arrange_groups(turn);
    }

    /// Does all that is to be done for transactions now.
    pub(super) fn broadcast(&mut self, turn: &mut Turn<'_>) {
        if !self.broadcasting.is_due {
            return;
        }
        if self.pause.is_paused() {
            // Nobody is told of anything; what was given is kept.
            return self.keep_broadcasts(turn);
        }
        // Whoever is let go leaves a place to another.
        while core::mem::take(&mut self.broadcasting.is_due) {
            // What a change of the chain has made due is due now.
            self.broadcasting.outgoing.wake(turn.now);
            for (conn, inventory) in self.broadcasting.outgoing.announce(turn.now) {
                self.send(turn, conn, &Message::Inv(inventory.as_slice().into()));
            }
            // While those whom it names are here.
            self.keep_broadcasts(turn);
            for conn in self.broadcasting.outgoing.to_close(turn.now) {
                self.drop_peer(turn, conn, Reason::Told);
            }
            self.drop_who_takes_none(turn);
            self.dial_for_broadcast(turn);
        }
        self.keep_broadcasts(turn);
        let dials_at = self.needs_dial().then_some(self.broadcasting.retry_at);
        let placed_at =
            self.broadcasting.placing.map(|placing| placing.at).filter(|at| *at > turn.now.instant);
        let deadlines = self.broadcasting.outgoing.deadline().into_iter();
        match deadlines.chain(dials_at).chain(placed_at).min() {
            Some(deadline) => self.timers.set(Timer::Broadcast, deadline.max(turn.now.instant)),
            None => self.timers.cancel(Timer::Broadcast),
        }
    }

    /// Answers requests whose transactions are stored, when that is durable.
    fn answer_broadcasts(&mut self, turn: &mut Turn<'_>) {
        for id in core::mem::take(&mut self.requests.broadcasts) {
            self.done(turn, Some(id));
        }
    }

    /// Writes down what has changed, and tells it then.
    pub(super) fn keep_broadcasts(&mut self, turn: &mut Turn<'_>) {
        let mut events = Vec::new();
        while let Some(notice) = self.broadcasting.outgoing.next_notice() {
            match notice {
                Notice::Changed { txid, wtxid, state } => {
                    events.push(Event::Broadcast { txid, wtxid, state })
                }
                Notice::Skipped { txid, peer, reason } => {
                    let endpoint = self.peers.get(&peer).map(|peer| peer.endpoint.clone());
                    events.extend(endpoint.map(|endpoint| Event::BroadcastSkipped {
                        txid,
                        endpoint,
                        reason,
                    }));
                }
            }
        }
        if !self.broadcasting.outgoing.is_unstored() && !events.iter().any(record::is_told) {
            events.into_iter().for_each(|event| turn.out.event(event));
            return self.answer_broadcasts(turn);
        }
        let empty = Outgoing::new(Rng::new([0; 32]));
        let mut outgoing = core::mem::replace(&mut self.broadcasting.outgoing, empty);
        self.store(turn, events, Then::Nothing, |batch| outgoing.store(batch));
        self.broadcasting.outgoing = outgoing;
        self.answer_broadcasts(turn);
    }
}
