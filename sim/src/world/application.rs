//! The application's end of a machine: what takes its events, and how much of them it has room for.

use std::collections::VecDeque;

use andon_kernel::Now;

/// The application: takes what a machine tells it.
pub trait Watch<E> {
    /// An event.
    fn event(&mut self, now: Now, event: E);

    /// How much it may be told. Asked before each turn; what one turn tells is taken in any case.
    fn room(&self) -> Room {
        Room::Open
    }
}

/// How much a machine may be given, as far as its events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Any input.
    Open,
    /// Timers and commands only.
    Full,
    /// Nothing.
    Overfull,
}

/// An application that forgets.
impl<E> Watch<E> for () {
    fn event(&mut self, _: Now, _: E) {}
}

/// An application that keeps everything.
impl<E> Watch<E> for Vec<E> {
    fn event(&mut self, _: Now, event: E) {
        self.push(event);
    }
}

/// A bounded queue of events, as a driver has: for an application that takes them when it likes.
///
/// When it is full the machine is given nothing from the network, as long as timers and commands have not filled it once more. After
/// events have been taken, [`Host::go_on`](super::Host::go_on) is to be called.
#[derive(Debug)]
pub struct EventQueue<E> {
    capacity: usize,
    events: VecDeque<E>,
    is_abandoned: bool,
}

impl<E> EventQueue<E> {
    /// For so many events, one at least.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), events: VecDeque::new(), is_abandoned: false }
    }

    /// The next event.
    pub fn take(&mut self) -> Option<E> {
        self.events.pop_front()
    }

    /// Nobody takes events any more: those that wait are dropped, and so is each that comes.
    pub fn abandon(&mut self) {
        self.is_abandoned = true;
        self.events.clear();
    }
}

impl<E> Watch<E> for EventQueue<E> {
    fn event(&mut self, _: Now, event: E) {
        if !self.is_abandoned {
            self.events.push_back(event);
        }
    }

    fn room(&self) -> Room {
        if self.events.len() < self.capacity {
            Room::Open
        } else if self.events.len() < self.capacity.saturating_mul(2) {
            Room::Full
        } else {
            Room::Overfull
        }
    }
}
