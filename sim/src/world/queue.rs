//! What is to happen, by time and, at the same time, in the order in which it was put there.
//!
//! A timing wheel in levels (Varghese and Lauck 1987): what lies far ahead is kept by the coarser, and comes down as its time
//! comes near. It only says when to look at what. The order is decided by a heap of what is next, which is small enough for
//! the nearest cache however much is to happen later: a heap of everything is walked from top to bottom for each thing that happens,
//! through memory that has been forgotten since.

use super::time::Time;

/// What is to happen at a time.
#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    at: Time,
    sequence: u64,
    what: T,
}

impl<T> Entry<T> {
    /// Time and place in one number, so that one comparison decides.
    const fn key(&self) -> u128 {
        (self.at.as_nanos() as u128) << 64 | self.sequence as u128
    }

    const fn tick(&self) -> u64 {
        self.at.as_nanos() >> TICK_BITS
    }
}

/// A queue ordered by time and sequence.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// All up to and with the tick `reached`.
    near: Heap<T>,
    reached: u64,
    /// All behind it: by the highest digit in which its tick differs from `reached`, which is its level, and by that digit's value.
    slots: Vec<Vec<Entry<T>>>,
    /// Of each level, which slots hold something.
    taken: [u64; LEVELS],
    sequence: u64,
    len: usize,
}

/// A tick is 2¹⁶ ns, some 66 µs.
const TICK_BITS: u32 = 16;
/// A digit of a tick: 64 slots, for which one word says which are taken.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// As many digits as a tick has: so everything has a slot, up to the end of time.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(DIGIT_BITS) as usize;
/// A slot of the second level, of 4 ms, that holds no more than this is not spread over the first.
const FEW: usize = 16;
/// Entries for which an emptied slot, or the heap, keeps its memory.
const KEPT: usize = 1024;

impl<T: Copy> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            near: Heap(Vec::new()),
            reached: 0,
            slots: (0..LEVELS * SLOTS).map(|_| Vec::new()).collect(),
            taken: [0; LEVELS],
            sequence: 0,
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
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
        self.len += 1;
        self.put(Entry { at, sequence, what });
    }

    fn put(&mut self, entry: Entry<T>) {
        let tick = entry.tick();
        if tick <= self.reached {
            return self.near.push(entry);
        }
        let level = ((tick ^ self.reached).ilog2() / DIGIT_BITS) as usize;
        let digit = digit(tick, level);
        self.taken[level] |= 1 << digit;
        self.slots[level * SLOTS + digit].push(entry);
    }

    /// When the next thing happens, and whether it and others behind it have just come near.
    pub(super) fn next(&mut self) -> Option<(Time, bool)> {
        let is_fresh = self.near.0.is_empty();
        self.come_near();
        self.near.0.first().map(|entry| (entry.at, is_fresh))
    }

    /// What has come near, in no order.
    pub(super) fn near(&self) -> impl Iterator<Item = T> {
        self.near.0.iter().map(|entry| entry.what)
    }

    pub(super) fn pop(&mut self) -> Option<(Time, T)> {
        self.come_near();
        let &Entry { at, what, .. } = self.near.0.first()?;
        self.near.remove_first();
        self.len -= 1;
        Some((at, what))
    }

    /// Sees to it that what is next is in the heap.
    fn come_near(&mut self) {
        while self.near.0.is_empty() && self.advance() {}
    }

    /// Takes the next slot that holds something apart: all of it lies behind `reached`, and before everything in later slots and in
    /// higher levels. False: none does.
    fn advance(&mut self) -> bool {
        self.near.0.shrink_to(KEPT);
        let Some(level) = self.taken.iter().position(|&taken| taken != 0) else { return false };
        let next = self.taken[level].trailing_zeros() as usize;
        self.taken[level] &= self.taken[level] - 1;
        let slot = level * SLOTS + next;
        let below = DIGIT_BITS * level as u32;
        // The digits above stay, since all in this level has them; those below begin anew.
        let above = self.reached >> below >> DIGIT_BITS << DIGIT_BITS;
        self.reached = (above | next as u64) << below;
        if level == 1 && self.slots[slot].len() <= FEW {
            self.reached |= (1 << below) - 1;
        }
        let mut entries = core::mem::take(&mut self.slots[slot]);
        for entry in entries.drain(..) {
            self.put(entry);
        }
        if entries.capacity() <= KEPT {
            self.slots[slot] = entries;
        }
        true
    }
}

const fn digit(tick: u64, level: usize) -> usize {
    (tick >> (DIGIT_BITS * level as u32)) as usize % SLOTS
}

/// A heap of four children each: half as deep as one of two, and the four lie in two or three lines of the cache.
#[derive(Debug)]
struct Heap<T>(Vec<Entry<T>>);

const CHILDREN: usize = 4;

impl<T: Copy> Heap<T> {
    fn push(&mut self, entry: Entry<T>) {
        let heap = &mut self.0;
        let mut hole = heap.len();
        heap.push(entry);
        while hole > 0 {
            let parent = (hole - 1) / CHILDREN;
            if heap[parent].key() <= entry.key() {
                break;
            }
            heap[hole] = heap[parent];
            hole = parent;
        }
        heap[hole] = entry;
    }

    fn remove_first(&mut self) {
        let Some(last) = self.0.pop() else { return };
        let heap = &mut self.0[..];
        if heap.is_empty() {
            return;
        }
        let mut hole = 0;
        loop {
            let children = hole * CHILDREN + 1..(hole * CHILDREN + 1 + CHILDREN).min(heap.len());
            let Some(least) = children.min_by_key(|&child| heap[child].key()) else { break };
            if last.key() <= heap[least].key() {
                break;
            }
            heap[hole] = heap[least];
            hole = least;
        }
        heap[hole] = last;
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
            assert_eq!(queue.next().map(|next| next.0), Some(entry.0));
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

    /// Far apart, close together, behind what was looked at already, and at the end of time: as a list that is sorted gives it.
    #[test]
    fn is_as_a_sorted_list_at_every_distance() {
        for seed in 0..20 {
            let mut stream = Stream::new(seed);
            let mut queue = Queue::new();
            let mut expected = std::collections::BTreeSet::new();
            let (mut now, mut reserved) = (0, Vec::new());
            for index in 0..20_000_u64 {
                // Nothing happens in the past; what is given a place keeps it.
                let distance = stream.u64() >> stream.below(64);
                let at = if stream.below(50) == 0 { u64::MAX } else { now + distance % (u64::MAX - now) };
                let at = Time::from_nanos(if stream.below(4) == 0 { now } else { at });
                match stream.below(3) {
                    0 => reserved.push((queue.sequence(), at)),
                    1 => {
                        expected.insert((at, queue.sequence + 1, index));
                        queue.push(at, index);
                    }
                    _ if !reserved.is_empty() => {
                        let (sequence, at) = reserved.swap_remove(stream.index(reserved.len()));
                        let at = at.max(Time::from_nanos(now));
                        expected.insert((at, sequence, index));
                        queue.push_in_place(at, sequence, index);
                    }
                    _ => {}
                }
                // A look ahead changes nothing, also not for what is put before it afterwards.
                if stream.below(3) == 0 {
                    assert_eq!(queue.next().map(|next| next.0), expected.first().map(|first| first.0));
                }
                if stream.below(3) == 0 {
                    let first = expected.pop_first();
                    assert_eq!(queue.pop(), first.map(|(at, _, index)| (at, index)));
                    // Not to the end of time, where nothing would be far any more.
                    now =
                        first.map_or(now, |(at, ..)| at.as_nanos()).min(1 << stream.within(20..=63)).max(now);
                }
                assert_eq!(queue.len(), expected.len());
            }
            for (at, _, index) in expected {
                assert_eq!(queue.pop(), Some((at, index)));
            }
            assert_eq!((queue.next(), queue.pop(), queue.len()), (None, None, 0));
        }
    }
}
