//! What the application's ends and the driver's have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::queue::{Commands, Events};
use crate::{Options, Stopper, Waker};

/// The queues between the two, and who is left at the application's end of them.
#[derive(Debug)]
pub(crate) struct Shared<C, E> {
    pub(crate) commands: Commands<C>,
    pub(crate) events: Events<E>,
    pub(crate) stopper: Stopper,
    /// How many ends the application holds.
    ends: AtomicUsize,
    /// Whether a whole handle is being joined: then the last end that goes asks for no stop.
    joined: AtomicBool,
}

impl<C, E> Shared<C, E> {
    /// With one end, which is the caller's to make.
    pub(crate) fn new(options: &Options, waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            commands: Commands::new(options.command_queue),
            events: Events::new(options.event_queue, waker.clone()),
            stopper: Stopper::new(waker),
            ends: AtomicUsize::new(1),
            joined: AtomicBool::new(false),
        })
    }

    pub(crate) fn add_end(&self) {
        self.ends.fetch_add(1, Ordering::SeqCst);
    }

    /// After the last nobody can receive any more, and a full queue must not keep the driver from ending.
    pub(crate) fn remove_end(&self) {
        if self.ends.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.events.abandon();
            if !self.joined.load(Ordering::SeqCst) {
                self.stopper.stop();
            }
        }
    }

    pub(crate) fn set_joined(&self) {
        self.joined.store(true, Ordering::SeqCst);
    }
}
