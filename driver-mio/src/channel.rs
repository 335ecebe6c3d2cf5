//! The two queues between the application's threads and the driver's: commands in, events out. Both bounded.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Waker;
use crate::handle::{CommandError, Received};

/// Commands on their way to the machine.
#[derive(Debug)]
pub(crate) struct Commands<C> {
    capacity: usize,
    state: Mutex<CommandState<C>>,
}

#[derive(Debug)]
struct CommandState<C> {
    queue: VecDeque<C>,
    closed: bool,
}

impl<C> Commands<C> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = CommandState { queue: VecDeque::new(), closed: false };
        Self { capacity: capacity.max(1), state: Mutex::new(state) }
    }

    /// The application's side.
    pub(crate) fn push(&self, command: C) -> Result<(), CommandError<C>> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(CommandError::Ended(command));
        }
        if state.queue.len() >= self.capacity {
            return Err(CommandError::Full(command));
        }
        state.queue.push_back(command);
        Ok(())
    }

    /// The driver's side.
    pub(crate) fn pop(&self) -> Option<C> {
        lock(&self.state).queue.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).queue.is_empty()
    }

    /// Takes no more. Those that were taken are handed out, so that none is lost between the two.
    pub(crate) fn close(&self) -> VecDeque<C> {
        let mut state = lock(&self.state);
        state.closed = true;
        std::mem::take(&mut state.queue)
    }
}

/// Events on their way to the application.
///
/// The driver may always push: it asks for [`room`](Self::room) before each turn, so what exceeds the capacity is what
/// one turn emitted, and what timers do.
#[derive(Debug)]
pub(crate) struct Events<E> {
    capacity: usize,
    state: Mutex<EventState<E>>,
    arrived: Condvar,
    waker: Waker,
}

#[derive(Debug)]
struct EventState<E> {
    queue: VecDeque<E>,
    /// How many threads wait for an event.
    waiting: usize,
    /// Whether the driver holds inputs off until there is room.
    driver_waits: bool,
    /// The driver has ended.
    ended: bool,
    /// Nobody will take events any more.
    abandoned: bool,
}

/// How much the machine may be given, as far as events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Any input.
    Open,
    /// Timers only.
    Full,
    /// Nothing: timers alone have filled the queue once more.
    Overfull,
}

impl<E> Events<E> {
    pub(crate) fn new(capacity: usize, waker: Waker) -> Self {
        let state = EventState {
            queue: VecDeque::new(),
            waiting: 0,
            driver_waits: false,
            ended: false,
            abandoned: false,
        };
        Self { capacity: capacity.max(1), state: Mutex::new(state), arrived: Condvar::new(), waker }
    }

    /// The driver's side.
    pub(crate) fn push(&self, event: E) {
        let mut state = lock(&self.state);
        if state.abandoned {
            drop(state);
            return; // The event is dropped outside of the lock, as its `Drop` is the application's code.
        }
        state.queue.push_back(event);
        let notify = state.waiting > 0;
        drop(state);
        if notify {
            self.arrived.notify_one();
        }
    }

    /// The driver's side. Unless it is open, the driver is woken when half of the queue has been taken: not at the first
    /// event, for then each one would cost a switch of threads.
    pub(crate) fn room(&self) -> Room {
        let mut state = lock(&self.state);
        let len = state.queue.len();
        state.driver_waits = len >= self.capacity;
        if !state.driver_waits {
            Room::Open
        } else if len < self.capacity.saturating_mul(2) {
            Room::Full
        } else {
            Room::Overfull
        }
    }

    /// The driver has ended: those who wait for an event are told when there is none left.
    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
        self.arrived.notify_all();
    }

    /// The application takes no more.
    pub(crate) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        let left = std::mem::take(&mut state.queue);
        drop(state);
        drop(left);
        self.waker.wake();
    }

    /// The application's side: waits for an event, with no limit if `timeout` is none.
    pub(crate) fn pop(&self, timeout: Option<Duration>) -> Received<E> {
        let mut state = lock(&self.state);
        if state.queue.is_empty() && !state.ended {
            state.waiting += 1;
            let nothing = |state: &mut EventState<E>| state.queue.is_empty() && !state.ended;
            state = match timeout {
                None => self.arrived.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let waited = self.arrived.wait_timeout_while(state, timeout, nothing);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting -= 1;
        }
        let Some(event) = state.queue.pop_front() else {
            return if state.ended { Received::Ended } else { Received::TimedOut };
        };
        let wake = state.driver_waits && state.queue.len() <= self.capacity / 2;
        if wake {
            state.driver_waits = false;
        }
        drop(state);
        if wake {
            self.waker.wake();
        }
        Received::Event(event)
    }
}

/// No code that can panic runs while a queue is locked, so a poisoned lock guards a sound queue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
