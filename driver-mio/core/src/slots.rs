//! Connections by the slots that reactors know them by, and by the names that the machine knows them by.

use std::collections::BTreeMap;

use andon_kernel::ConnId;

/// A connection's name and slot: it is found by these without a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) conn: ConnId,
    pub(crate) slot: usize,
}

/// What is known of each connection. Slots are used again: a late notice for an earlier holder only makes the driver look
/// at a socket for nothing.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    holders: Vec<Option<(ConnId, T)>>,
    free: Vec<usize>,
    by_name: BTreeMap<ConnId, usize>,
    /// The last one that was asked for: a machine that hears from a peer mostly answers that one.
    last: Option<Place>,
}

impl<T> Slots<T> {
    /// None.
    pub(crate) fn new() -> Self {
        Self { holders: Vec::new(), free: Vec::new(), by_name: BTreeMap::new(), last: None }
    }

    /// A slot that nobody holds. To be given to [`insert`](Self::insert) or [`give_back`](Self::give_back).
    pub(crate) fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.holders.push(None);
            self.holders.len() - 1
        })
    }

    /// A slot was taken for nothing.
    pub(crate) fn give_back(&mut self, slot: usize) {
        self.free.push(slot);
    }

    /// Fills a slot that was taken.
    pub(crate) fn insert(&mut self, place: Place, connection: T) {
        self.by_name.insert(place.conn, place.slot);
        self.holders[place.slot] = Some((place.conn, connection));
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        self.get_mut(place)?;
        let (conn, connection) = self.holders[place.slot].take()?;
        self.by_name.remove(&conn);
        self.free.push(place.slot);
        Some(connection)
    }

    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        match self.holders.get_mut(place.slot) {
            Some(Some((conn, connection))) if *conn == place.conn => Some(connection),
            _ => None,
        }
    }

    /// Where a connection is that may have ended.
    pub(crate) fn find(&mut self, conn: ConnId) -> Option<Place> {
        if let Some(last) = self.last
            && last.conn == conn
        {
            return Some(last);
        }
        let place = Place { conn, slot: *self.by_name.get(&conn)? };
        self.last = Some(place);
        Some(place)
    }

    /// Who holds a slot.
    pub(crate) fn holder(&self, slot: usize) -> Option<Place> {
        self.holders.get(slot)?.as_ref().map(|&(conn, _)| Place { conn, slot })
    }

    /// All, by their names in order.
    pub(crate) fn names(&self) -> Vec<ConnId> {
        self.by_name.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_of_one_connection_alone() {
        let mut slots = Slots::new();
        let [first, second, third] = [0, 1, 2].map(ConnId::dialled);
        let place = Place { conn: first, slot: slots.take() };
        slots.insert(place, "first");
        assert_eq!((slots.find(first), slots.find(second)), (Some(place), None));
        assert_eq!(slots.remove(place), Some("first"));
        assert_eq!(slots.remove(place), None);
        assert_eq!(slots.get_mut(place), None);
        assert_eq!(slots.holder(place.slot), None);
        // The slot has another holder: who knew it under the first name finds nobody.
        let other = Place { conn: second, slot: slots.take() };
        assert_eq!(other.slot, place.slot);
        slots.insert(other, "second");
        assert_eq!(slots.get_mut(place), None);
        assert_eq!(slots.remove(place), None);
        assert!(slots.find(first).is_none_or(|stale| stale == place));
        assert_eq!(slots.find(second), Some(other));
        assert_eq!(slots.holder(other.slot), Some(other));
        let given_back = slots.take();
        assert_ne!(given_back, other.slot);
        slots.give_back(given_back);
        let next = Place { conn: third, slot: slots.take() };
        assert_eq!(next.slot, given_back);
        slots.insert(next, "third");
        assert_eq!((slots.names(), slots.len()), (vec![second, third], 2));
    }
}
