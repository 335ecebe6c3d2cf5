//! What the application's ends and the driver's have in common.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::queue::{Commands, Events};
use crate::{Desk, Options, Stopper, Waker};

/// The queues between the two, and who is left at the application's end of them.
#[derive(Debug)]
pub(crate) struct Shared<C, E> {
    pub(crate) commands: Commands<C>,
    pub(crate) events: Events<E>,
    pub(crate) stopper: Stopper,
    /// In front of the queues, if anything is.
    pub(crate) desk: OnceLock<Arc<dyn Desk<C, E>>>,
    /// Whether the driver takes no more commands, and whether it has ended: for a desk that comes after that.
    closed: AtomicBool,
    ended: AtomicBool,
    /// How many ends the application holds.
    ends: AtomicUsize,
}

impl<C, E> Shared<C, E> {
    /// With one end, which is the caller's to make.
    pub(crate) fn new(options: &Options, waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            commands: Commands::new(options.command_queue),
            events: Events::new(options.event_queue, waker.clone()),
            stopper: Stopper::new(waker),
            desk: OnceLock::new(),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            ends: AtomicUsize::new(1),
        })
    }

    /// Whether there is a command for the machine.
    pub(crate) fn has_command(&self) -> bool {
        !self.commands.is_empty() || self.desk.get().is_some_and(|desk| desk.has_command())
    }

    /// The next command for the machine.
    pub(crate) fn take_command(&self) -> Option<C> {
        self.commands.pop().or_else(|| self.desk.get()?.take_command())
    }

    /// Takes no more commands. Those that were taken are handed out, so that none is lost between the two.
    pub(crate) fn close_commands(&self) -> VecDeque<C> {
        let mut commands = self.commands.close();
        self.closed.store(true, Ordering::SeqCst);
        if let Some(desk) = self.desk.get() {
            commands.extend(desk.close());
        }
        commands
    }

    /// Puts a desk in front of the queues. Whatever has happened by then it is told; what happens meanwhile it may hear twice.
    pub(crate) fn set_desk(&self, desk: Arc<dyn Desk<C, E>>) {
        let set = self.desk.set(Arc::clone(&desk));
        assert!(set.is_ok(), "a driver has one desk");
        if self.closed.load(Ordering::SeqCst) {
            drop(desk.close());
        }
        if self.ended.load(Ordering::SeqCst) {
            desk.ended();
        }
    }

    /// Tells the desk that the driver has ended, whatever the desk does.
    pub(crate) fn tell_desk_of_the_end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(desk) = self.desk.get()
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| desk.ended()))
        {
            std::mem::forget(payload);
        }
    }

    /// Tells the application of an event.
    pub(crate) fn tell(&self, event: E) {
        let event = match self.desk.get() {
            Some(desk) => desk.route(event),
            None => Some(event),
        };
        if let Some(event) = event {
            self.events.push(event);
        }
    }

    pub(crate) fn add_end(&self) {
        self.ends.fetch_add(1, Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(crate) fn ends(&self) -> usize {
        self.ends.load(Ordering::SeqCst)
    }

    /// After the last nobody can receive any more, and a full queue must not keep the driver from ending. That one asks for a
    /// stop, unless it `joins`: then somebody waits, and no wish to stop is in that.
    pub(crate) fn remove_end(&self, joins: bool) {
        if self.ends.fetch_sub(1, Ordering::SeqCst) == 1 {
            if !joins {
                self.stopper.stop();
            }
            self.events.abandon();
        }
    }
}
