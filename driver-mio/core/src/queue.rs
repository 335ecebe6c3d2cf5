//! The two queues between the application's threads and the driver's: commands in, events out. Both bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;

use crate::waker::wake_task;
use crate::{CommandError, Received, Waker};

/// Commands on their way to the machine.
#[derive(Debug)]
pub(crate) struct Commands<C> {
    capacity: usize,
    state: Mutex<CommandState<C>>,
    /// How many wait, to be read without the lock: by whoever was woken since.
    len: AtomicUsize,
}

#[derive(Debug)]
struct CommandState<C> {
    queue: VecDeque<C>,
    closed: bool,
}

impl<C> Commands<C> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = CommandState { queue: VecDeque::new(), closed: false };
        Self { capacity: capacity.max(1), state: Mutex::new(state), len: AtomicUsize::new(0) }
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
        self.len.store(state.queue.len(), Ordering::SeqCst);
        Ok(())
    }

    /// The driver's side.
    pub(crate) fn pop(&self) -> Option<C> {
        let mut state = lock(&self.state);
        let command = state.queue.pop_front();
        self.len.store(state.queue.len(), Ordering::SeqCst);
        command
    }

    /// The driver's side. Whoever adds a command wakes the driver afterwards, so it sees that one when it looks again.
    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::SeqCst) == 0
    }

    /// Takes no more. Those that were taken are handed out, so that none is lost between the two.
    pub(crate) fn close(&self) -> VecDeque<C> {
        let mut state = lock(&self.state);
        state.closed = true;
        self.len.store(0, Ordering::SeqCst);
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
    /// How many wait, to be read without the lock. Only the driver adds any, so to the driver it is never too few.
    len: AtomicUsize,
    arrived: Condvar,
    waker: Waker,
}

#[derive(Debug)]
struct EventState<E> {
    queue: VecDeque<E>,
    /// How many threads wait for an event.
    waiting: usize,
    /// The tasks that wait for an event, by their seats. Each is told once and then asks again.
    tasks: BTreeMap<u64, task::Waker>,
    /// The seats that were given out.
    seats: u64,
    /// At or below how many events the driver, which holds inputs off, is to look again.
    driver_waits: Option<usize>,
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
    /// Timers and commands only.
    Full,
    /// Nothing: these alone have filled the queue once more.
    Overfull,
}

impl<E> Events<E> {
    pub(crate) fn new(capacity: usize, waker: Waker) -> Self {
        let state = EventState {
            queue: VecDeque::new(),
            waiting: 0,
            tasks: BTreeMap::new(),
            seats: 0,
            driver_waits: None,
            ended: false,
            abandoned: false,
        };
        Self {
            capacity: capacity.max(1),
            state: Mutex::new(state),
            len: AtomicUsize::new(0),
            arrived: Condvar::new(),
            waker,
        }
    }

    /// The driver's side.
    pub(crate) fn push(&self, event: E) {
        let mut state = lock(&self.state);
        if state.abandoned {
            drop(state);
            return; // The event is dropped outside of the lock, as its `Drop` is the application's code.
        }
        state.queue.push_back(event);
        self.len.store(state.queue.len(), Ordering::SeqCst);
        let notify = state.waiting > 0;
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        if notify {
            self.arrived.notify_one();
        }
        // All of them, for one that is told and then dropped could not pass it on.
        wake(tasks);
    }

    /// The driver's side. Unless it is open, the driver is woken when half of the queue has been taken: not at the first
    /// event, for then each one would cost a switch of threads.
    pub(crate) fn room(&self) -> Room {
        if self.len.load(Ordering::SeqCst) < self.capacity {
            return Room::Open;
        }
        let mut state = lock(&self.state);
        let len = state.queue.len();
        let (room, waits) = if len < self.capacity {
            (Room::Open, None)
        } else if len < self.capacity.saturating_mul(2) {
            (Room::Full, Some(self.capacity / 2))
        } else {
            // Timers go on as soon as there is room for what they tell.
            (Room::Overfull, Some(self.capacity.saturating_mul(2) - 1))
        };
        state.driver_waits = waits;
        room
    }

    /// The driver has ended: those who wait for an event are told when there is none left.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        self.arrived.notify_all();
        wake(tasks);
    }

    /// The application takes no more.
    pub(crate) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        let left = std::mem::take(&mut state.queue);
        self.len.store(0, Ordering::SeqCst);
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
        self.take(state)
    }

    /// The application's side: takes an event, or has the task told when it is worth asking again.
    pub(crate) fn poll_pop(&self, seat: &mut Seat, waker: &task::Waker) -> Poll<Option<E>> {
        let mut state = lock(&self.state);
        if state.queue.is_empty() && !state.ended {
            let number = match seat.0 {
                Some(number) => number,
                None => {
                    state.seats += 1;
                    *seat.0.insert(state.seats)
                }
            };
            if !state.tasks.get(&number).is_some_and(|waiting| waiting.will_wake(waker)) {
                let former = state.tasks.insert(number, waker.clone());
                drop(state);
                drop(former);
            }
            return Poll::Pending;
        }
        match self.take(state) {
            Received::Event(event) => Poll::Ready(Some(event)),
            Received::Ended | Received::TimedOut => Poll::Ready(None),
        }
    }

    /// A task waits no longer.
    pub(crate) fn leave(&self, seat: &mut Seat) {
        if let Some(number) = seat.0.take() {
            let former = lock(&self.state).tasks.remove(&number);
            drop(former);
        }
    }

    fn take(&self, mut state: MutexGuard<'_, EventState<E>>) -> Received<E> {
        let Some(event) = state.queue.pop_front() else {
            return if state.ended { Received::Ended } else { Received::TimedOut };
        };
        self.len.store(state.queue.len(), Ordering::SeqCst);
        let wake = state.driver_waits.is_some_and(|most| state.queue.len() <= most);
        if wake {
            state.driver_waits = None;
        }
        drop(state);
        if wake {
            self.waker.wake();
        }
        Received::Event(event)
    }
}

/// Where a task waits for events; none: it does not wait.
#[derive(Debug, Default)]
pub(crate) struct Seat(Option<u64>);

fn wake(tasks: BTreeMap<u64, task::Waker>) {
    for waker in tasks.into_values() {
        wake_task(waker);
    }
}

/// No code that can panic runs while a queue is locked, so a poisoned lock guards a sound queue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_driver_is_woken_when_there_is_room_for_more_than_there_was() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let waker = Waker::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let events = Events::new(4, waker.clone());
        let look = || {
            waker.seen();
            wakes.store(0, Ordering::SeqCst);
            events.room()
        };
        let take = || {
            assert!(matches!(events.pop(None), Received::Event(())));
            wakes.load(Ordering::SeqCst)
        };
        (0..9).for_each(|_| events.push(()));
        assert_eq!(look(), Room::Overfull);
        assert_eq!((take(), take()), (0, 1), "eight wait, then seven: timers go on");
        assert_eq!(look(), Room::Full);
        assert_eq!([(); 4].map(|()| take()), [0, 0, 0, 0], "three wait");
        assert_eq!((take(), take()), (1, 1), "half of the queue is free; once is enough");
        assert_eq!(look(), Room::Open);
    }
}
