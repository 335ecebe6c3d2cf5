//! Transactions that are broadcast: the connections that are made for them, what is stored of them, and the search for them
//! in blocks. Whom to tell of which, and what that means, is decided by [`Outgoing`].
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

use andon_kernel::{ConnId, Instant, Now, Order as ScanOrder, Rng, Rows, UnixTime};
use bitcoin::Txid;
use bitcoin::hashes::Hash;

use super::agreement::Voter;
use super::api::{BroadcastOptions, Fees, Submission};
use super::config::Endpoint;
use super::dial::TargetId;
use super::peer::{Handshake, Origin, Peer, Whom};
use super::start::{ALL, Fault, Loading, PAGE, Step, Went};
use super::ways::Way;
use super::{Client, Event, Misbehaviour, Reason, Then, Timer, Turn};
use crate::broadcast::{BROADCASTS, Identity, Notice, Outgoing, Restoring};
use crate::fees::{FeeFilters, RecentBlocks};
use crate::wire::{INV_TX, INV_WITNESS_FLAG, INV_WTX, Inventory, MAX_INVENTORY, Message};

/// Connections that transactions are announced over, and listened for: half of them each, so that one node that swallows
/// them, and one that lies, are not alone.
const CONNECTIONS: usize = 4;

/// The same to a peer that is the only one: one that is told, and one on which it says what it has.
const CONNECTIONS_TO_THE_ONLY_ONE: usize = 2;

/// How long nodes of the address book are tried before peers that were given are told, where both are to be had: those are
/// asked for filters.
const BEFORE_GIVEN: Duration = Duration::from_secs(60);

/// When somebody is looked for again where there was nobody, or who there was could not be reached or took nothing.
const RETRY: Duration = Duration::from_secs(5);

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
    rng: Rng,
    orders: VecDeque<Order>,
    /// Whether something may be to be done.
    is_due: bool,
    /// Nobody is dialled before.
    retry_at: Instant,
    /// Nodes in a row that could not be reached, or took nothing of what is to be told.
    useless: u32,
    /// Since when nodes of the address book are tried in vain.
    nobody_since: Option<Instant>,
    /// What was given and is not looked for yet.
    placing: Option<Placing>,
    /// For which of their states the scripts are looked for.
    traced: Option<u64>,
    /// What peers take at least, and what the blocks paid that were read.
    pub(super) fee_filters: FeeFilters<ConnId, Voter>,
    pub(super) recent: RecentBlocks,
}

/// What the application wants.
#[derive(Debug)]
pub(super) enum Order {
    Submit { transactions: Vec<Submission>, options: BroadcastOptions },
    Withdraw(Txid),
    TellFees { blocks: u32 },
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
            fee_filters: FeeFilters::new(),
            recent: RecentBlocks::new(),
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
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
    fn put_off(&mut self, now: Instant) {
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
        self.recent.rewind(height.saturating_sub(1));
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
            let unusable = restoring.take(key, value, turn.now).is_err();
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
        let outgoing = &mut self.broadcasting.outgoing;
        for (txid, broadcast) in outgoing.iter() {
            turn.out.event(Event::Broadcast { txid, wtxid: broadcast.wtxid, state: broadcast.state });
        }
        // The chain may have changed without these having been told.
        let replaced = outgoing.settled_in().filter(|block| {
            block.height > tip || self.chain.at(block.height).is_some_and(|(_, hash)| hash != block.hash)
        });
        if let Some(lowest) = replaced.map(|block| block.height).min() {
            outgoing.rewind(lowest.saturating_sub(1), turn.now.instant);
        }
        match outgoing.searched() {
            // What was given last may not have been looked for when the last run ended.
            Some(searched) if !outgoing.is_empty() => {
                outgoing.set_searched(searched.min((tip + 1).saturating_sub(LOOK_BACK)));
            }
            Some(_) => {}
            None => {
                let oldest = outgoing.iter().map(|(_, broadcast)| broadcast.added).min();
                self.broadcasting.placing = oldest.map(|since| Placing {
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
        while let Some(order) = self.broadcasting.orders.pop_front() {
            match order {
                Order::Submit { transactions, options } => self.submit(turn, transactions, &options),
                Order::TellFees { blocks } => {
                    let from = (self.chain.tip_height() + 1).saturating_sub(blocks);
                    let fees = Fees {
                        least: self.broadcasting.fee_filters.median(),
                        paid: self.broadcasting.recent.rates(from),
                    };
                    turn.out.event(Event::Fees(fees));
                }
                Order::Withdraw(txid) => {
                    self.broadcasting.outgoing.withdraw(&txid, turn.now.instant);
                    self.broadcasting.is_due = true;
                }
            }
        }
    }

    fn submit(&mut self, turn: &mut Turn<'_>, transactions: Vec<Submission>, options: &BroadcastOptions) {
        let can_hide = self.nodes.is_some();
        let broadcasting = &mut self.broadcasting;
        let is_fresh = broadcasting.outgoing.scripts().is_empty();
        let txids = transactions.iter().map(|one| one.transaction.compute_txid()).collect();
        if let Err(error) = broadcasting.outgoing.submit(transactions, options, turn.now) {
            return turn.out.event(Event::BroadcastRefused { txids, error });
        }
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

    /// Lets nodes of the address book go that take nothing of what is to be told, for others to come in their place: after a
    /// while, and after a longer one the more of them there are, so that a book of nothing else is not dialled through.
    fn drop_who_takes_none(&mut self, turn: &mut Turn<'_>) {
        let outgoing = &self.broadcasting.outgoing;
        if !outgoing.needs_peers() {
            return;
        }
        let takes_none = |(conn, peer): &(&ConnId, &Peer)| {
            let is_found = matches!(peer.origin, Origin::Broadcast { whom: Whom::Found(_), only: None });
            is_found && outgoing.is_connected(**conn) && !outgoing.is_of_use(**conn)
        };
        let useless = self.peers.iter().filter(takes_none).map(|(conn, _)| *conn);
        for conn in useless.collect::<Vec<_>>() {
            self.drop_peer(turn, conn, Reason::TakesNone);
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
        if !self.broadcasting.outgoing.is_unstored() {
            return events.into_iter().for_each(|event| turn.out.event(event));
        }
        let empty = Outgoing::new(Rng::new([0; 32]));
        let mut outgoing = core::mem::replace(&mut self.broadcasting.outgoing, empty);
        self.store(turn, events, Then::Nothing, |batch| outgoing.store(batch));
        self.broadcasting.outgoing = outgoing;
    }

    /// How many connections for transactions there are, private ones aside.
    fn broadcast_connections(&self) -> usize {
        self.peers.values().filter(|peer| matches!(peer.origin, Origin::Broadcast { only: None, .. })).count()
    }

    fn needs_dial(&self) -> bool {
        self.broadcasting.outgoing.needs_peers() && self.broadcast_connections() < self.broadcast_target()
    }

    /// How many there are to be.
    fn broadcast_target(&self) -> usize {
        if self.nodes.is_some() {
            return CONNECTIONS;
        }
        CONNECTIONS.min(self.targets.ids().len()) + self.connections_to_one() - 1
    }

    /// How many there may be to one peer that was given: two, if no other that was given takes what is to be told.
    fn connections_to_one(&self) -> usize {
        let takes = self.targets.ids().into_iter().filter(|target| !self.is_useless(*target));
        if takes.count() == 1 { CONNECTIONS_TO_THE_ONLY_ONE } else { 1 }
    }

    /// Whether a peer that was given is known to take nothing of what is to be told.
    fn is_useless(&self, target: TargetId) -> bool {
        let outgoing = &self.broadcasting.outgoing;
        let mut theirs = self.peers.iter().filter(|(_, peer)| {
            matches!(peer.origin, Origin::Broadcast { whom: Whom::Given(other), only: None } if other == target)
        });
        theirs.any(|(conn, _)| outgoing.is_connected(*conn) && !outgoing.is_of_use(*conn))
    }

    fn dial_for_broadcast(&mut self, turn: &mut Turn<'_>) {
        while let Some(txid) = self.broadcasting.outgoing.next_private(turn.now) {
            if let Some(conn) = self.dial_one_for_broadcast(turn, Some(txid)) {
                self.broadcasting.outgoing.dialled(conn, &txid);
            }
        }
        if !self.broadcasting.outgoing.needs_peers() {
            let idle = |peer: &Peer| matches!(peer.origin, Origin::Broadcast { only: None, .. });
            let idle = self.peers.iter().filter(|(_, peer)| idle(peer)).map(|(conn, _)| *conn);
            for conn in idle.collect::<Vec<_>>() {
                self.drop_peer(turn, conn, Reason::Told);
            }
            return;
        }
        while self.needs_dial() && self.broadcasting.retry_at <= turn.now.instant {
            if self.dial_one_for_broadcast(turn, None).is_none() {
                self.broadcasting.put_off(turn.now.instant);
            }
        }
    }

    /// Dials somebody who is asked for nothing else.
    fn dial_one_for_broadcast(&mut self, turn: &mut Turn<'_>, only: Option<Txid>) -> Option<ConnId> {
        let now = turn.now.instant;
        let since = *self.broadcasting.nobody_since.get_or_insert(now);
        let may_be_given = self.nodes.is_none() || now >= since + BEFORE_GIVEN;
        // Where the book's nodes could not be reached, they are tried on beside.
        let given_first = may_be_given && (self.nodes.is_none() || self.broadcasting.rng.below(2) == 0);
        let mut chosen = if given_first { self.given_for_broadcast(only) } else { None };
        if chosen.is_none() {
            chosen = self.found_for_broadcast(turn);
        }
        if chosen.is_none() && may_be_given && !given_first {
            chosen = self.given_for_broadcast(only);
        }
        let (whom, endpoint, may_encrypt) = chosen?;
        let origin = Origin::Broadcast { whom, only };
        let dialled = self.connect(turn, origin, endpoint.clone(), endpoint, may_encrypt).ok();
        if let (None, Whom::Found(location)) = (dialled, whom) {
            self.not_for_broadcast(turn, &location);
        }
        dialled
    }

    fn found_for_broadcast(&mut self, turn: &Turn<'_>) -> Option<(Whom, Endpoint, bool)> {
        let (location, endpoint, may_encrypt) = self.next_for_broadcast(turn)?;
        Some((Whom::Found(location), endpoint, may_encrypt))
    }

    /// A peer goes by another connection from now on.
    pub(super) fn broadcast_peer_moved(&mut self, origin: Origin, conn: ConnId) {
        if let Origin::Broadcast { only: Some(txid), .. } = origin {
            self.broadcasting.outgoing.dialled(conn, &txid);
        }
    }

    /// A peer that was given, with the fewest connections for transactions, and where it is.
    fn given_for_broadcast(&mut self, only: Option<Txid>) -> Option<(Whom, Endpoint, bool)> {
        let open = |target| {
            let theirs = self.peers.values().filter(|peer| match peer.origin {
                Origin::Broadcast { whom: Whom::Given(other), only: theirs } => {
                    other == target && theirs.is_some() == only.is_some()
                }
                _ => false,
            });
            theirs.count()
        };
        let targets = self.targets.ids();
        let most = self.connections_to_one();
        let mut able = Vec::new();
        for target in targets {
            let endpoint = self.targets.endpoint(target);
            let endpoint = match Way::to(endpoint, &self.config) {
                Ok(Way::LookUp) => {
                    // Its name was looked up for the connection that there is.
                    let connected = self.peers.values().find(|peer| peer.origin == Origin::Given(target));
                    connected.map(|peer| peer.remote.clone())
                }
                Ok(_) => Some(endpoint.clone()),
                Err(_) => None,
            };
            let count = open(target);
            let is_able = only.is_some() || (count < most && !self.is_useless(target));
            able.extend(endpoint.filter(|_| is_able).map(|endpoint| (count, target, endpoint)));
        }
        self.broadcasting.rng.shuffle(&mut able);
        let (_, target, endpoint) = able.into_iter().min_by_key(|(count, ..)| *count)?;
        Some((Whom::Given(target), endpoint, true))
    }

    /// Who a peer is to those who tell of transactions. The only one has nobody beside it to show that they spread.
    fn broadcast_identity(&self, conn: ConnId) -> Option<Identity> {
        if self.nodes.is_none() && self.targets.ids().len() == 1 {
            return Some(Identity::Connection(conn));
        }
        Some(match self.voter(self.peers.get(&conn)?) {
            Voter::Group(group) => Identity::Group(group),
            Voter::Own(target) => Identity::Own(target.number()),
        })
    }

    /// A peer that was dialled for transactions has shaken hands.
    pub(super) fn broadcast_peer_ready(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let nonce = self.rng.u64();
        let Some(identity) = self.broadcast_identity(conn) else { return };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if matches!(peer.origin, Origin::Broadcast { whom: Whom::Found(_), .. }) {
            self.broadcasting.nobody_since = None;
        }
        if peer.is_private() {
            self.broadcasting.reached(turn.now.instant);
        }
        let outgoing = &mut self.broadcasting.outgoing;
        match peer.origin {
            Origin::Broadcast { only: Some(txid), .. } if !outgoing.has_parents(&txid) => {
                // At once, as others do who are there for the same.
                outgoing.private_connected(conn, identity, txid, peer.relay, turn.now);
                self.broadcasting.is_due = true;
                self.timers.cancel(Timer::Handshake(conn));
            }
            _ => {
                // Nodes name their fee filter behind the handshake: what it was is known when they answer.
                peer.behind = Some(nonce);
                self.send(turn, conn, &Message::Ping(nonce));
            }
        }
    }

    /// A peer has answered the ping that was sent behind the handshake, or behind a transaction.
    fn broadcast_peer_answered(&mut self, turn: &Turn<'_>, conn: ConnId, nonce: u64) {
        let Some(identity) = self.broadcast_identity(conn) else { return };
        let Some(peer) = self.peers.get_mut(&conn).filter(|peer| peer.behind == Some(nonce)) else { return };
        peer.behind = None;
        self.timers.cancel(Timer::Handshake(conn));
        let outgoing = &mut self.broadcasting.outgoing;
        match peer.origin {
            Origin::Broadcast { only: Some(_), .. } if outgoing.is_connected(conn) => {
                outgoing.acknowledged(conn);
            }
            Origin::Broadcast { only: Some(txid), .. } => {
                outgoing.private_connected(conn, identity, txid, peer.relay, turn.now);
            }
            _ => outgoing.peer_connected(conn, identity, peer.relay),
        }
        if let Some(least) = peer.fee_filter {
            outgoing.fee_filter(conn, least);
        }
        if outgoing.is_of_use(conn) {
            self.broadcasting.useless = 0;
        }
        self.broadcasting.is_due = true;
    }

    pub(super) fn broadcast_peer_gone(
        &mut self,
        turn: &Turn<'_>,
        conn: ConnId,
        peer: &Peer,
        reason: &Reason,
    ) {
        self.broadcasting.fee_filters.remove(&conn);
        if matches!(peer.origin, Origin::Broadcast { .. }) {
            match reason {
                _ if peer.is_private() => {}
                Reason::Told => {}
                Reason::TakesNone => self.broadcasting.put_off(turn.now.instant),
                _ if peer.handshake == Handshake::Broadcast => {
                    let soon = turn.now.instant + RETRY;
                    self.broadcasting.retry_at = self.broadcasting.retry_at.max(soon);
                }
                _ => self.broadcasting.put_off(turn.now.instant),
            }
            self.broadcasting.outgoing.peer_gone(conn);
            self.broadcasting.is_due = true;
        }
    }

    pub(super) fn note_fee_filter(&mut self, conn: ConnId, least: u64) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let voter = self.voter(peer);
        self.broadcasting.fee_filters.set(conn, voter, least);
        if let Some(peer) = self.peers.get_mut(&conn).filter(|peer| peer.handshake == Handshake::Broadcast) {
            peer.fee_filter = Some(least);
            self.broadcasting.outgoing.fee_filter(conn, least);
            self.broadcasting.is_due = true;
        }
    }

    /// A message of a peer that is here for transactions.
    pub(super) fn on_broadcast_message(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        message: Message<'_>,
    ) -> Result<(), Reason> {
        let command = message.command();
        let Some(peer) = self.peers.get(&conn) else { return Ok(()) };
        if let Origin::Broadcast { only: Some(txid), .. } = peer.origin {
            return self.on_private_message(turn, conn, txid, message);
        }
        match message {
            Message::Ping(nonce) => self.send(turn, conn, &Message::Pong(nonce)),
            Message::Pong(nonce) => self.broadcast_peer_answered(turn, conn, nonce),
            Message::FeeFilter(least) => self.note_fee_filter(conn, least),
            Message::Inv(inventory) | Message::GetData(inventory) if inventory.len() > MAX_INVENTORY => {
                return Err(Reason::Misbehaved(Misbehaviour::Malformed(command)));
            }
            Message::Inv(inventory) => {
                for announced in inventory.iter() {
                    self.broadcasting.outgoing.heard(conn, &announced, turn.now);
                }
                self.broadcasting.is_due = true;
            }
            Message::GetData(requests) => {
                let missing = self.serve_transactions(turn, conn, requests.iter());
                if !missing.is_empty() {
                    self.send(turn, conn, &Message::NotFound(missing.as_slice().into()));
                }
            }
            Message::Version(_) => return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(command))),
            // What it has to say of blocks and of other nodes concerns others.
            _ => {}
        }
        Ok(())
    }

    /// A message of a peer that is here for one transaction. It is answered as Bitcoin Core answers there, so that nothing
    /// tells one from the other: pings among what is ignored, and whoever asks for anything else is let go. A family of
    /// several, which Bitcoin Core has not, is served in any order.
    fn on_private_message(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        txid: Txid,
        message: Message<'_>,
    ) -> Result<(), Reason> {
        let command = message.command();
        match message {
            Message::Pong(nonce) => self.broadcast_peer_answered(turn, conn, nonce),
            Message::FeeFilter(least) => self.note_fee_filter(conn, least),
            Message::GetData(requests) => {
                if requests.len() > MAX_INVENTORY {
                    return Err(Reason::Misbehaved(Misbehaviour::Malformed(command)));
                }
                let is_it = |one: &Inventory| one.kind == INV_TX && one.hash == *txid.as_byte_array();
                let is_family = self.broadcasting.outgoing.has_parents(&txid);
                let is_right = is_family || (requests.len() == 1 && requests.iter().all(|one| is_it(&one)));
                if !is_right {
                    return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(command)));
                }
                let missing = self.serve_transactions(turn, conn, requests.iter());
                if !is_family && !missing.is_empty() {
                    return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(command)));
                }
                // Its answer says that the transaction has been read: the connection may end then.
                let nonce = self.rng.u64();
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.behind = Some(nonce);
                }
                self.send(turn, conn, &Message::Ping(nonce));
            }
            Message::Version(_) => return Err(Reason::Misbehaved(Misbehaviour::OutOfTurn(command))),
            _ => {}
        }
        Ok(())
    }

    /// Sends what is asked for. Returns what there is not, or no more.
    fn serve_transactions(
        &mut self,
        turn: &mut Turn<'_>,
        conn: ConnId,
        requests: impl Iterator<Item = Inventory>,
    ) -> Vec<Inventory> {
        const WITNESS_TX: u32 = INV_TX | INV_WITNESS_FLAG;
        let mut missing = Vec::new();
        for request in requests.filter(|request| matches!(request.kind, INV_TX | INV_WTX | WITNESS_TX)) {
            match self.broadcasting.outgoing.serve(conn, &request, turn.now) {
                Some(bytes) => {
                    self.send(turn, conn, &Message::Tx(&bytes));
                    self.broadcasting.is_due = true;
                }
                None => missing.push(request),
            }
        }
        missing
    }
}
