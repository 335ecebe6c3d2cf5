//! The application's end of a driver: commands in, events out, stopping.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::queue::Seat;
use crate::shared::Shared;
use crate::{CommandError, Desk, Received, Stopper};

/// An application's end of a driver: as many of them as are wanted, for threads and for tasks of any executor.
///
/// An event goes to one of those who receive. When the last end has been dropped the driver stops, without anybody
/// waiting for it.
#[derive(Debug)]
pub struct Application<C, E> {
    shared: Arc<Shared<C, E>>,
    /// Whether it goes because somebody waits for the driver's end.
    joins: bool,
}

impl<C, E> Application<C, E> {
    /// The first end; the others are its clones.
    pub(crate) fn new(shared: Arc<Shared<C, E>>) -> Self {
        Self { shared, joins: false }
    }

    /// Gives the machine a command. Never blocks.
    ///
    /// # Errors
    /// Gives the command back if too many wait already, or if the driver has ended or been asked to.
    pub fn command(&self, command: C) -> Result<(), CommandError<C>> {
        if self.shared.stopper.is_stopped() {
            return Err(CommandError::Ended(command));
        }
        self.shared.commands.push(command)?;
        self.shared.stopper.waker().wake();
        Ok(())
    }

    /// Waits for the next event and blocks the thread meanwhile. `None`: the driver has ended and every event was taken.
    pub fn recv(&self) -> Option<E> {
        match self.shared.events.pop(None) {
            Received::Event(event) => Some(event),
            Received::Ended | Received::TimedOut => None,
        }
    }

    /// Waits for the next event, for `timeout` at most, and blocks the thread meanwhile.
    pub fn recv_timeout(&self, timeout: Duration) -> Received<E> {
        self.shared.events.pop(Some(timeout))
    }

    /// Waits for the next event under any executor. `None`: the driver has ended and every event was taken.
    ///
    /// An event is taken only when the future is ready, so dropping one that is not loses none.
    pub fn recv_async(&self) -> Receive<'_, C, E> {
        Receive { application: self, seat: Seat::default() }
    }

    /// The events one after the other, to be polled: what `Stream` of the futures crates needs.
    pub fn events(&self) -> EventStream<C, E> {
        EventStream { application: self.clone(), seat: Seat::default() }
    }

    /// Asks for an orderly stop: commands given before are still given to the machine, which closes its connections, and the store
    /// finishes. What the machine can't do without more of the network or of the store than has come by then is not
    /// done. Events of all that can be received until [`recv`](Self::recv) says that the end has come.
    pub fn stop(&self) {
        self.shared.stopper.stop();
    }

    /// Something that stops the driver from anywhere, such as a handler for Ctrl-C. It is no end: events wait for none.
    pub fn stopper(&self) -> Stopper {
        self.shared.stopper.clone()
    }

    /// Puts a desk in front of the queues, for all ends: once, and before anything that it is to take part in. One that comes
    /// when the driver has ended is told of that at once.
    ///
    /// # Panics
    /// If there is one.
    pub fn set_desk(&self, desk: Arc<dyn Desk<C, E>>) {
        self.shared.set_desk(desk);
    }

    /// Has the driver look whether its [desk](Desk) has a command.
    pub fn wake(&self) {
        self.shared.stopper.waker().wake();
    }

    /// Nobody takes events any more, from this end or any other: those that wait are dropped, and so is each that comes, so
    /// that the driver never waits for room. Who waits for one is told of the driver's end only.
    pub fn ignore_events(&self) {
        self.shared.events.abandon();
    }

    /// Drops this end, as a join begins: that it goes is no wish to stop.
    pub(crate) fn leave_to_join(mut self) {
        self.joins = true;
    }
}

impl<C, E> Clone for Application<C, E> {
    fn clone(&self) -> Self {
        self.shared.add_end();
        Self { shared: Arc::clone(&self.shared), joins: false }
    }
}

impl<C, E> Drop for Application<C, E> {
    fn drop(&mut self) {
        self.shared.remove_end(self.joins);
    }
}

/// The next event, when there is one. See [`Application::recv_async`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Receive<'a, C, E> {
    application: &'a Application<C, E>,
    seat: Seat,
}

impl<C, E> Future for Receive<'_, C, E> {
    type Output = Option<E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<E>> {
        let this = self.get_mut();
        this.application.shared.events.poll_pop(&mut this.seat, context.waker())
    }
}

impl<C, E> Drop for Receive<'_, C, E> {
    fn drop(&mut self) {
        self.application.shared.events.leave(&mut self.seat);
    }
}

/// An application's end that gives events one after the other. See [`Application::events`].
#[derive(Debug)]
pub struct EventStream<C, E> {
    application: Application<C, E>,
    seat: Seat,
}

impl<C, E> EventStream<C, E> {
    /// The next event; if there is none yet, `context` is woken when it is worth asking again. `None`: the driver has
    /// ended and every event was taken.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<E>> {
        self.application.shared.events.poll_pop(&mut self.seat, context.waker())
    }
}

impl<C, E> Drop for EventStream<C, E> {
    fn drop(&mut self) {
        self.application.shared.events.leave(&mut self.seat);
    }
}
