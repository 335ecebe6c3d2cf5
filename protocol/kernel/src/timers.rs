//! Keyed timers: at most one deadline for each key, and the earliest is the machine's deadline.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::Instant;

/// Deadlines by key. Setting a key again moves it.
///
/// Ties fire in the order of their keys, so that the same run fires the same way.
#[derive(Debug)]
pub struct Timers<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Timers<K> {
    /// No timer is set.
    pub const fn new() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// Sets `key` to fire at `at`, in place of what it was set to.
    pub fn set(&mut self, key: K, at: Instant) {
        self.cancel(key);
        self.by_key.insert(key, at);
        self.by_time.insert((at, key));
    }

    /// Unsets `key`; nothing happens if it is not set.
    pub fn cancel(&mut self, key: K) {
        if let Some(at) = self.by_key.remove(&key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// When `key` fires.
    pub fn get(&self, key: K) -> Option<Instant> {
        self.by_key.get(&key).copied()
    }

    /// When the earliest fires.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Takes out the earliest timer that is due at `now`.
    pub fn expire(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.cancel(key);
        Some(key)
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn fires_in_order_of_time_then_key() {
        let mut timers = Timers::new();
        timers.set('c', at(5));
        timers.set('a', at(9));
        timers.set('b', at(5));
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.expire(at(4)), None);
        let fired: Vec<char> = core::iter::from_fn(|| timers.expire(at(9))).collect();
        assert_eq!(fired, ['b', 'c', 'a']);
        assert!(timers.is_empty());
    }

    #[test]
    fn setting_again_moves_and_cancelling_forgets() {
        let mut timers = Timers::new();
        timers.set(1, at(5));
        timers.set(1, at(7));
        timers.set(2, at(6));
        timers.cancel(2);
        timers.cancel(3);
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.expire(at(6)), None);
        assert_eq!(timers.expire(at(7)), Some(1));
        assert_eq!(timers.next(), None);
    }
}
