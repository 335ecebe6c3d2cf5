//! What the client tells of itself, to one reader.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use andon_bitcoin::client::{Command, Event};
use andon_driver::{Application, EventStream, Received};

/// What the client tells that nobody asked for, in order, each event once: for one reader, that blocks or awaits.
///
/// The queue is bounded, and [must be read](crate#events-must-be-read-or-let-go). Dropping this drops what is in it, and what comes
/// after. The driver runs on while there is this or a [`Client`](crate::Client).
#[derive(Debug)]
pub struct Events {
    application: Application<Command, Event>,
    stream: EventStream<Command, Event>,
}

impl Events {
    pub(crate) fn new(application: Application<Command, Event>) -> Self {
        let stream = application.events();
        Self { application, stream }
    }

    /// Waits for the next event and blocks the thread meanwhile. `None`: the driver has ended, and every event was taken.
    pub fn recv(&mut self) -> Option<Event> {
        self.application.recv()
    }

    /// As [`recv`](Self::recv), for `timeout` at most.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Received<Event> {
        self.application.recv_timeout(timeout)
    }

    /// The events one after the other, each waited for as by [`recv`](Self::recv), until the driver has ended.
    pub fn blocking_iter(&mut self) -> impl Iterator<Item = Event> + '_ {
        std::iter::from_fn(|| self.recv())
    }

    /// The next event, under any executor. `None`: the driver has ended, and every event was taken. Dropping the future
    /// before it is ready loses no event.
    pub fn next_event(&mut self) -> Next<'_> {
        Next { events: self }
    }

    /// The next event; if there is none yet, `context` is woken when it is worth asking again.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.stream.poll_next(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.application.ignore_events();
    }
}

/// The next event, when there is one. See [`Events::next_event`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Next<'a> {
    events: &'a mut Events,
}

impl Future for Next<'_> {
    type Output = Option<Event>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().events.poll_next(context)
    }
}

#[cfg(feature = "stream")]
impl futures_core::Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().stream.poll_next(context)
    }
}
