//! A machine's place in a group, and what the group's thread shares with all others.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use andon_driver::Waker;
use mio::Registry;

use super::member::Member;
use crate::tokens::{MAX_MEMBERS, WAKER};

/// What comes to the thread from others.
pub(super) struct Shared {
    interrupt: mio::Waker,
    registry: Arc<Registry>,
    inbox: Mutex<Inbox>,
}

/// What the thread has not looked at.
#[derive(Default)]
pub(super) struct Inbox {
    /// Machines that begin.
    pub(super) arrivals: Vec<Arrival>,
    /// The numbers of machines that were woken; some may have ended, and their numbers be another's.
    pub(super) woken: Vec<usize>,
    /// Whether nobody is left who could bring another machine: neither a group nor a place.
    pub(super) is_last: bool,
    /// How many may: groups and places.
    holders: usize,
    /// Whether the thread has been interrupted and has not looked yet: then another time would be a wasted system call.
    interrupted: bool,
    /// The thread has ended by a fault.
    closed: bool,
    numbers: Numbers,
}

/// A machine that begins.
pub(super) struct Arrival {
    pub(super) place: Place,
    pub(super) waker: Waker,
    pub(super) member: Box<dyn Member>,
}

/// Numbers of machines. They are used again: what comes late for an earlier holder only has the thread look at another for
/// nothing.
#[derive(Default)]
struct Numbers {
    next: usize,
    free: Vec<usize>,
}

impl Shared {
    /// Of one group, which [lets go](Self::let_go) when it is dropped.
    pub(super) fn new(registry: &Registry) -> io::Result<Arc<Self>> {
        let interrupt = mio::Waker::new(registry, WAKER)?;
        let inbox = Mutex::new(Inbox { holders: 1, ..Inbox::default() });
        Ok(Arc::new(Self { interrupt, registry: Arc::new(registry.try_clone()?), inbox }))
    }

    /// Everything that came since the last call.
    pub(super) fn take(&self) -> Inbox {
        let mut inbox = self.lock();
        inbox.interrupted = false;
        Inbox {
            arrivals: std::mem::take(&mut inbox.arrivals),
            woken: std::mem::take(&mut inbox.woken),
            is_last: inbox.holders == 0,
            ..Inbox::default()
        }
    }

    /// The thread ends: nobody begins any more, and those who were about to are given back.
    pub(super) fn close(&self) -> Vec<Arrival> {
        let mut inbox = self.lock();
        inbox.closed = true;
        std::mem::take(&mut inbox.arrivals)
    }

    /// One fewer may bring a machine.
    pub(super) fn let_go(&self) {
        let mut inbox = self.lock();
        inbox.holders -= 1;
        if inbox.holders == 0 {
            // That it fails only keeps an idle thread.
            let _ = self.interrupt(&mut inbox);
        }
    }

    fn wake(&self, number: usize) -> io::Result<()> {
        let mut inbox = self.lock();
        if !inbox.closed {
            inbox.woken.push(number);
            // If it fails this one is in the list, and whoever tries again lists it once more, which does no harm.
            self.interrupt(&mut inbox)?;
        }
        Ok(())
    }

    fn interrupt(&self, inbox: &mut Inbox) -> io::Result<()> {
        if !inbox.interrupted {
            self.interrupt.wake()?;
            inbox.interrupted = true;
        }
        Ok(())
    }

    /// No code that can panic runs while it is locked, so a poisoned lock guards a sound state.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A machine's number in a group. The group's thread goes on as long as there is one.
#[derive(Debug)]
pub(crate) struct Place {
    number: usize,
    shared: Arc<Shared>,
}

impl Place {
    pub(super) fn take(shared: &Arc<Shared>) -> io::Result<Self> {
        let mut inbox = shared.lock();
        let numbers = &mut inbox.numbers;
        let number = match numbers.free.pop() {
            Some(number) => number,
            None if numbers.next < MAX_MEMBERS => {
                numbers.next += 1;
                numbers.next - 1
            }
            None => return Err(ErrorKind::OutOfMemory.into()),
        };
        inbox.holders += 1;
        drop(inbox);
        Ok(Self { number, shared: Arc::clone(shared) })
    }

    /// Which of those that share the thread.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Where its sockets are registered.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.shared.registry)
    }

    /// What has the thread look at this one. It outlives the place, and does nothing then.
    pub(crate) fn waker(&self) -> Waker {
        let (shared, number) = (Arc::downgrade(&self.shared), self.number);
        Waker::new(move || shared.upgrade().map_or(Ok(()), |shared| shared.wake(number)))
    }

    /// Has a machine run in this place. `waker` is the one of this place that everybody has.
    pub(crate) fn fill(self, waker: Waker, member: Box<dyn Member>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.lock();
        let result =
            if inbox.closed { Err(ErrorKind::BrokenPipe.into()) } else { shared.interrupt(&mut inbox) };
        match result {
            Ok(()) => inbox.arrivals.push(Arrival { place: self, waker, member }),
            // Both are dropped outside of the lock.
            Err(_) => drop(inbox),
        }
        result
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.lock().numbers.free.push(self.number);
        self.shared.let_go();
    }
}
