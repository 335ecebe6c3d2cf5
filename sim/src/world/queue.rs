//! What is to happen, by time and, at the same time, in the order in which it was put there.
//!
//! A heap of four children each: half as deep as one of two, and the four lie in one or two lines of the cache.

use super::time::Time;

/// What is to happen at a time.
#[derive(Clone, Debug)]
struct Entry<T> {
    at: Time,
    sequence: u64,
    what: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Time, u64) {
        (self.at, self.sequence)
    }
}

/// A queue ordered by time and sequence.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: Vec<Entry<T>>,
    sequence: u64,
}

const CHILDREN: usize = 4;

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { heap: Vec::new(), sequence: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// A place in the order of what happens at the same time, for something that is put into the queue later.
    pub(super) const fn sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(super) fn push(&mut self, at: Time, what: T) {
        let sequence = self.sequence();
        self.push_in_place(at, sequence, what);
    }

    /// Puts something in with a place that it was given before.
    pub(super) fn push_in_place(&mut self, at: Time, sequence: u64, what: T) {
        let mut hole = self.heap.len();
        self.heap.push(Entry { at, sequence, what });
        while hole > 0 {
            let parent = (hole - 1) / CHILDREN;
            if self.heap[parent].key() <= self.heap[hole].key() {
                break;
            }
            self.heap.swap(parent, hole);
            hole = parent;
        }
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Option<Time> {
        self.heap.first().map(|entry| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<(Time, T)> {
        if self.heap.is_empty() {
            return None;
        }
        let first = self.heap.swap_remove(0);
        let mut hole = 0;
        loop {
            let children = hole * CHILDREN + 1..(hole * CHILDREN + 1 + CHILDREN).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child].key()) else { break };
            if self.heap[hole].key() <= self.heap[least].key() {
                break;
            }
            self.heap.swap(hole, least);
            hole = least;
        }
        Some((first.at, first.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn gives_back_by_time_and_then_in_order() {
        let mut stream = Stream::new(1);
        let mut queue = Queue::new();
        let mut expected = Vec::new();
        for index in 0..5000_u64 {
            let at = Time::from_nanos(stream.below(300));
            queue.push(at, index);
            expected.push((at, index));
            if stream.below(3) == 0 {
                expected.sort();
                assert_eq!(queue.pop(), Some(expected.remove(0)));
            }
        }
        expected.sort();
        assert_eq!(queue.len(), expected.len());
        for entry in expected {
            assert_eq!(queue.next(), Some(entry.0));
            assert_eq!(queue.pop(), Some(entry));
        }
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_place_that_was_given_before_counts() {
        let mut queue = Queue::new();
        let early = queue.sequence();
        queue.push(Time::from_nanos(5), "later");
        queue.push_in_place(Time::from_nanos(5), early, "first");
        assert_eq!(queue.pop(), Some((Time::from_nanos(5), "first")));
        assert_eq!(queue.pop(), Some((Time::from_nanos(5), "later")));
    }
}
