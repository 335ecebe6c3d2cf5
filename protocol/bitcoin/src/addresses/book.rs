//! The address book: nodes that were heard of and nodes that were reached, and the rules by which they come, go, and are
//! chosen.
//!
//! The rules are Bitcoin Core's, but for two that a client needs which is not always running or connected (see
//! [`AddressBook::resolve_collisions`]), and for one place where its choice favours some nodes by chance (see
//! [`AddressBook::select`]).

use alloc::vec::Vec;
use core::time::Duration;

use andon_kernel::{Rng, UnixTime};
use bitcoin::p2p::ServiceFlags;

use super::entry::{Entry, is_longer};
use super::group::{Group, Grouping};
use super::limits::{
    CONNECTED_STEP, MAX_COLLISIONS, MAX_LOOK_GAP, MAX_REFERENCES, OFFLINE_STEP, ONLINE, ONLINE_STEP,
    REPLACEMENT, TEST_WINDOW, TRIAL,
};
use super::location::{Location, Source};
use super::network::{AddressNetworks, is_routable};
use super::placement::{Cell, Placement};
use super::tables::{Index, Table, Tables};
use crate::wire::NodeAddress;

/// Nodes that were heard of, and nodes that were reached.
///
/// Nothing in it grows beyond the places of its two tables, 65,536 and 16,384, and an empty one takes ten kilobytes. All
/// that it draws comes from the generator that it is given, and nobody who does not know its secret can tell where in
/// the tables an address has its places.
#[derive(Debug)]
pub struct AddressBook {
    pub(super) tables: Tables,
    /// Nodes that were reached while another stood in their place among the tried, oldest first.
    collisions: Vec<Collision>,
    /// When a node was last reached.
    pub(super) last_good: u32,
    /// When something last showed that we are online.
    pub(super) last_online: u32,
    /// When the collisions were last looked at.
    last_look: u32,
    pub(super) state_changed: bool,
    pub(super) rewrite: bool,
}

/// A node that waits until the one in its place has been tested.
#[derive(Clone, Copy, Debug)]
struct Collision {
    location: Location,
    since: u32,
    /// Seconds in which the test could have been made.
    waited: u32,
}

/// What became of an address that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is in the book from now on.
    New,
    /// It was there, and got one more place.
    Reference,
    /// It was there; what was told of it may be noted.
    Known,
    /// Its place is taken by one that is worth it.
    Taken,
    /// It can't be reached from elsewhere: see [`is_routable`].
    Unroutable,
}

/// What became of a node that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It is not in the book.
    Unknown,
    /// It stood among the tried already.
    Tried,
    /// It stands among the tried from now on.
    Moved,
    /// Another one stands in its place among the tried, and is to be tested first.
    Collides(Location),
}

/// What is to be chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Only nodes of these networks.
    pub networks: AddressNetworks,
    /// Only nodes that were never reached, or not lately.
    pub only_new: bool,
}

impl AddressBook {
    /// An empty book with a new secret.
    pub fn new(grouping: Grouping, rng: &mut Rng) -> Self {
        Self::with_placement(grouping, Placement::new(rng.bytes()))
    }

    /// An empty book with this secret.
    pub fn with_placement(grouping: Grouping, placement: Placement) -> Self {
        Self {
            tables: Tables::new(grouping, placement),
            collisions: Vec::new(),
            last_good: 1,
            last_online: 0,
            last_look: 0,
            state_changed: true,
            rewrite: true,
        }
    }

    /// How addresses are grouped.
    pub const fn grouping(&self) -> &Grouping {
        &self.tables.grouping
    }

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.tables.entries().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many nodes of these networks a table has.
    pub fn count(&self, table: Table, networks: AddressNetworks) -> usize {
        self.tables.count(table, networks)
    }

    /// What is known of a node.
    pub fn entry(&self, location: &Location) -> Option<&Entry> {
        self.tables.find(location).map(|index| self.tables.entry(index))
    }

    /// All nodes, in no order that means anything.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.tables.entries().iter()
    }

    /// Who stands in a cell of a table.
    pub fn at(&self, table: Table, cell: Cell) -> Option<&Entry> {
        let exists = table == Table::New || cell.bucket() < super::limits::TRIED_BUCKETS;
        if !exists {
            return None;
        }
        self.tables.at(table, cell).map(|index| self.tables.entry(index))
    }

    /// The place of a node among the tried, whether it stands there or not.
    pub fn tried_cell(&self, location: &Location) -> Cell {
        self.tables.tried_cell(location)
    }

    /// The group of a host.
    pub fn group(&self, location: &Location) -> Group {
        self.tables.grouping.of(&location.host)
    }

    /// Notes an address that `source` told. `penalty` is taken off the time at which it was last heard of, unless it told
    /// its own: [`GOSSIP_PENALTY`](super::limits::GOSSIP_PENALTY) for gossip, nothing for seeds.
    pub fn add(
        &mut self,
        address: &NodeAddress,
        source: &Source,
        penalty: Duration,
        now: UnixTime,
        rng: &mut Rng,
    ) -> Added {
        let (now, location) = (seconds(now), Location::from(address));
        if !is_routable(&location.host) {
            return Added::Unroutable;
        }
        let is_own = *source == Source::Node(location.host);
        let penalty = if is_own { 0 } else { seconds_of(penalty) };
        let time = address.time.saturating_sub(penalty);
        let known = self.tables.find(&location);
        if let Some(index) = known {
            if !self.hear_again(index, address, penalty, now) {
                return Added::Known;
            }
            let entry = self.tables.entry(index);
            // Each further place is half as likely as the one before.
            let references = entry.references();
            if entry.is_tried() || references == MAX_REFERENCES || rng.below(1 << references) != 0 {
                return Added::Known;
            }
        } else if self.tables.is_shadowed(&location) {
            return Added::Taken;
        }

        let group = self.tables.grouping.of(&location.host);
        let source_group = self.tables.grouping.of_source(source);
        let cell = self.tables.placement.new_from(&location, &group, &source_group);
        if let Some(occupant) = self.tables.at(Table::New, cell) {
            if known == Some(occupant) {
                return Added::Known;
            }
            // One that has other places gives this one up to whoever has none.
            let occupant = self.tables.entry(occupant);
            let gives_way = occupant.is_terrible(now) || (occupant.references() > 1 && known.is_none());
            if !gives_way {
                return if known.is_some() { Added::Known } else { Added::Taken };
            }
            self.clear_new(cell);
        }
        // Indices may have changed.
        match known.and_then(|_| self.tables.find(&location)) {
            Some(index) => {
                self.tables.refer(index, cell);
                Added::Reference
            }
            None => {
                self.tables.insert_new(Entry::new(address, time, source), cell);
                Added::New
            }
        }
    }

    /// Notes a dial. It counts as a failure until the node is reached, if `counted`; and once only until any node has
    /// been reached, for it may be us who are offline.
    pub fn attempt(&mut self, location: &Location, counted: bool, now: UnixTime) {
        let (now, last_good) = (seconds(now), self.last_good);
        self.update(location, |entry| {
            entry.last_try = now;
            if counted && entry.last_counted < last_good {
                entry.last_counted = now;
                entry.attempts = entry.attempts.saturating_add(1);
            }
        });
    }

    /// Notes that a node was reached and did what a node does, and moves it to the tried if its place there is empty.
    ///
    /// When it was last heard of stays as it is: what is told to others must not show who is connected.
    pub fn good(&mut self, location: &Location, now: UnixTime) -> Reached {
        let now = seconds(now);
        self.last_good = now;
        self.last_online = now;
        self.state_changed = true;
        let Some(index) = self.tables.find(location) else { return Reached::Unknown };
        self.tables.update(index, |entry| {
            entry.last_success = now;
            entry.last_try = now;
            entry.attempts = 0;
        });
        if self.tables.entry(index).is_tried() {
            return Reached::Tried;
        }
        let Some(older) = self.tables.at(Table::Tried, self.tables.tried_cell(location)) else {
            self.forget_collision(location);
            self.make_tried(location);
            return Reached::Moved;
        };
        let waits = self.collisions.iter().any(|collision| collision.location == *location);
        if !waits && self.collisions.len() < MAX_COLLISIONS {
            self.collisions.push(Collision { location: *location, since: now, waited: 0 });
        }
        Reached::Collides(self.tables.entry(older).location)
    }

    /// Notes that a node is connected, or was until now.
    pub fn connected(&mut self, location: &Location, now: UnixTime) {
        let now = seconds(now);
        self.last_online = now;
        self.update(location, |entry| {
            if is_longer(entry.time, now, CONNECTED_STEP) {
                entry.time = now;
            }
        });
    }

    /// Notes what a node itself said that it serves.
    pub fn set_services(&mut self, location: &Location, services: ServiceFlags) {
        self.update(location, |entry| entry.services = services);
    }

    /// Removes a node. False: it was not there.
    pub fn remove(&mut self, location: &Location) -> bool {
        let Some(index) = self.tables.find(location) else { return false };
        self.tables.forget(index);
        self.forget_collision(location);
        true
    }

    /// Chooses a node to dial, half of the time one that was reached before, then by [`Entry::chance`]. `None`: there is
    /// none of those networks.
    ///
    /// Each draw takes a bucket that has such nodes, then one of those in it, all as likely as the others. It takes about
    /// fifty draws at most.
    pub fn select(&self, choice: Choice, now: UnixTime, rng: &mut Rng) -> Option<&Entry> {
        let now = seconds(now);
        let count = |table| self.tables.count(table, choice.networks);
        let table = match (count(Table::New), count(Table::Tried)) {
            (0, 0) => return None,
            (0, _) if choice.only_new => return None,
            (0, _) => Table::Tried,
            (_, 0) => Table::New,
            _ if choice.only_new || rng.below(2) == 0 => Table::New,
            _ => Table::Tried,
        };
        // Each draw that is not taken makes the next a fifth likelier: so one is taken in the end.
        let mut factor = ONE;
        loop {
            let entry = self.tables.draw(table, choice.networks, rng)?;
            let chance = u128::from(entry.chance(now)) * factor / ONE;
            if u128::from(rng.u64() >> 32) < chance {
                return Some(entry);
            }
            factor += factor / 5;
        }
    }

    /// Nodes to tell somebody of: `percent` in a hundred of the book, and `most` at most, and none that is not worth its
    /// place; of one network if given.
    ///
    /// Whoever asks often learns the whole book, so the same answer is to be given for a day.
    pub fn sample(
        &self,
        most: usize,
        percent: usize,
        network: Option<super::AddressNetwork>,
        now: UnixTime,
        rng: &mut Rng,
    ) -> Vec<NodeAddress> {
        let (now, entries) = (seconds(now), self.tables.entries());
        let wanted = (entries.len() * percent.min(100) / 100).min(most);
        let mut sample = Vec::new();
        // The first part of a shuffle, of which only what was moved is held.
        let mut moved = alloc::collections::BTreeMap::new();
        for place in 0..entries.len() {
            if sample.len() == wanted {
                break;
            }
            let other = place + rng.below((entries.len() - place) as u64) as usize;
            let here = moved.remove(&place).unwrap_or(place);
            let drawn = if other == place { here } else { moved.insert(other, here).unwrap_or(other) };
            let entry = &entries[drawn];
            let is_of = |wanted| super::AddressNetwork::claimed(&entry.location.host) == wanted;
            if network.is_none_or(is_of) && !entry.is_terrible(now) {
                sample.push(entry.address());
            }
        }
        sample
    }

    /// A node among the tried that stands in the place of one that was reached, and is to be tested by a connection.
    /// `None`: there is none.
    pub fn collision(&self, rng: &mut Rng) -> Option<&Entry> {
        if self.collisions.is_empty() {
            return None;
        }
        let collision = &self.collisions[rng.below(self.collisions.len() as u64) as usize];
        let cell = self.tables.tried_cell(&collision.location);
        self.tables.at(Table::Tried, cell).map(|index| self.tables.entry(index))
    }

    /// Whether a node stands in the place of one that waits for it.
    pub fn is_to_be_tested(&self, location: &Location) -> bool {
        let is_tried = self.entry(location).is_some_and(Entry::is_tried);
        let cell = self.tables.tried_cell(location);
        is_tried
            && self.collisions.iter().any(|collision| self.tables.tried_cell(&collision.location) == cell)
    }

    /// How many nodes wait for the place of another.
    pub fn collisions(&self) -> usize {
        self.collisions.len()
    }

    /// Decides on nodes that wait for the place of another among the tried: the older one stays if it was reached within
    /// four hours, and goes if a test failed, or if none was made in forty minutes. To be called before each dial.
    ///
    /// Two things are asked beyond what Bitcoin Core asks, which runs all the time. A failed test, or none, counts only
    /// once something has shown since that we are online. And time between two calls counts up to ten minutes:
    /// a client that slept for an hour tested nobody in it. Without them it would drop nodes untested whenever it wakes up.
    pub fn resolve_collisions(&mut self, now: UnixTime) {
        let now = seconds(now);
        let last_look = core::mem::replace(&mut self.last_look, now);
        let mut at = 0;
        while let Some(collision) = self.collisions.get_mut(at) {
            let step = now.saturating_sub(last_look.max(collision.since));
            collision.waited = collision.waited.saturating_add(step.min(seconds_of(MAX_LOOK_GAP)));
            let collision = *collision;
            let cell = self.tables.tried_cell(&collision.location);
            let Some(older) = self.tables.at(Table::Tried, cell) else {
                self.collisions.remove(at);
                self.make_tried(&collision.location);
                continue;
            };
            let older = self.tables.entry(older);
            let was_tested = !is_at_least(older.last_try, now, REPLACEMENT);
            let failed =
                was_tested && is_longer(older.last_try, now, TRIAL) && self.last_online >= older.last_try;
            let untested = !was_tested
                && collision.waited > seconds_of(TEST_WINDOW)
                && self.last_online > collision.since;
            if !is_at_least(older.last_success, now, REPLACEMENT) {
                self.collisions.remove(at);
            } else if failed || untested {
                self.collisions.remove(at);
                self.make_tried(&collision.location);
            } else {
                at += 1;
            }
        }
    }

    /// Notes what is told again of a node. False: nothing of it is newer than what is known.
    fn hear_again(&mut self, index: Index, address: &NodeAddress, penalty: u32, now: u32) -> bool {
        let is_online = !is_at_least(address.time, now, ONLINE);
        let step = seconds_of(if is_online { ONLINE_STEP } else { OFFLINE_STEP });
        self.tables.update(index, |entry| {
            if i64::from(entry.time) < i64::from(address.time) - i64::from(step) - i64::from(penalty) {
                entry.time = address.time - penalty;
            }
            entry.services |= address.services;
        });
        address.time > self.tables.entry(index).time
    }

    /// Moves a node to the tried. What stands in its place goes to its first place among the new, whoever is there.
    fn make_tried(&mut self, location: &Location) {
        let Some(index) = self.tables.find(location) else { return };
        let entry = *self.tables.entry(index);
        // Taken out first: so that what is moved to the new can't be moved onto it.
        self.tables.forget(index);
        if let Some(older) = self.tables.at(Table::Tried, self.tables.tried_cell(location)) {
            let older = *self.tables.entry(older);
            let cell = self.tables.first_new_cell(&older);
            self.clear_new(cell);
            let index = self.tables.find(&older.location);
            self.tables.make_new(index.expect("what stands among the tried stays until it is moved"), cell);
        }
        self.tables.insert_tried(entry);
    }

    fn clear_new(&mut self, cell: Cell) {
        let occupant = self.tables.at(Table::New, cell).map(|index| self.tables.entry(index).location);
        self.tables.clear_new(cell);
        if let Some(location) = occupant.filter(|location| self.tables.find(location).is_none()) {
            self.forget_collision(&location);
        }
    }

    fn forget_collision(&mut self, location: &Location) {
        self.collisions.retain(|collision| collision.location != *location);
    }

    fn update(&mut self, location: &Location, change: impl FnOnce(&mut Entry)) {
        if let Some(index) = self.tables.find(location) {
            self.tables.update(index, change);
        }
    }
}

/// What a chance is multiplied with at first.
const ONE: u128 = 1 << 32;

/// Seconds since 1970, as far as 32 bits reach: up to the year 2106, as in what nodes tell each other.
pub(super) fn seconds(time: UnixTime) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

pub(super) fn seconds_of(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Whether `duration` or more has gone by since a time.
fn is_at_least(since: u32, now: u32, duration: Duration) -> bool {
    u64::from(now.saturating_sub(since)) >= duration.as_secs()
}
