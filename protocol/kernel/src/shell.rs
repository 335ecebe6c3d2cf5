//! What every driver has in common: a machine, its outbox and its store. A driver adds sockets, a clock and a wait.

use core::net::SocketAddr;

use alloc::string::String;

use crate::{Completion, ConnId, Input, Instant, Machine, Now, Outbox, Output, Store, Ticket};

/// Runs a machine's turns and carries its store requests; hands the driver the rest.
///
/// A driver's loop is: one input to [`turn`](Self::turn), all effects from [`pop`](Self::pop), the store's
/// completions by [`complete`](Self::complete) with their effects, [`wake`](Self::wake), then wait for sockets, the
/// store or [`deadline`](Self::deadline). Completions are asked for last before the wait: a store that completes at
/// once wakes nobody.
#[derive(Debug)]
pub struct Shell<M: Machine, S> {
    machine: M,
    store: S,
    outbox: Outbox<M::Event>,
}

/// An effect that is the driver's to carry out: [`Output`] without what the store does.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is the output of the same name")]
pub enum Effect<'a, E> {
    Connect { conn: ConnId, addr: SocketAddr },
    Send { conn: ConnId, bytes: &'a [u8] },
    Pause { conn: ConnId, paused: bool },
    Flush { conn: ConnId },
    Close { conn: ConnId, flush: bool },
    Datagram { to: SocketAddr, bytes: &'a [u8] },
    Resolve { ticket: Ticket, host: String, port: u16 },
    Event(E),
}

impl<M: Machine, S: Store> Shell<M, S> {
    /// A machine with its store. Nothing runs until the first turn.
    pub fn new(machine: M, store: S) -> Self {
        Self { machine, store, outbox: Outbox::new() }
    }

    /// Gives the machine one input.
    ///
    /// # Panics
    /// If effects of an earlier turn have not been popped: effects happen before the next input.
    pub fn turn(&mut self, now: Now, input: Input<'_, M::Command>) {
        assert!(self.outbox.is_empty(), "a turn began before the effects of the last one were carried out");
        self.machine.handle(now, input, &mut self.outbox);
    }

    /// The next effect for the driver. Requests to the store on the way to it are submitted.
    ///
    /// # Errors
    /// If the store can go on no longer; the driver then stops with that error.
    pub fn pop(&mut self) -> Result<Option<Effect<'_, M::Event>>, S::Error> {
        while self.outbox.store_is_next() {
            match self.outbox.pop() {
                Some(Output::Load(scan)) => self.store.load(scan)?,
                Some(Output::Store { ticket, batch }) => self.store.store(ticket, batch)?,
                _ => unreachable!("the next effect was seen to be for the store"),
            }
        }
        Ok(self.outbox.pop().map(|output| match output {
            Output::Connect { conn, addr } => Effect::Connect { conn, addr },
            Output::Send { conn, bytes } => Effect::Send { conn, bytes },
            Output::Pause { conn, paused } => Effect::Pause { conn, paused },
            Output::Flush { conn } => Effect::Flush { conn },
            Output::Close { conn, flush } => Effect::Close { conn, flush },
            Output::Datagram { to, bytes } => Effect::Datagram { to, bytes },
            Output::Resolve { ticket, host, port } => Effect::Resolve { ticket, host, port },
            Output::Event(event) => Effect::Event(event),
            Output::Load(_) | Output::Store { .. } => {
                unreachable!("the next effect was seen not to be for the store")
            }
        }))
    }

    /// Gives the machine the store's next completion, as one turn. False: there is none yet.
    ///
    /// # Errors
    /// If the store can go on no longer.
    ///
    /// # Panics
    /// As [`turn`](Self::turn).
    pub fn complete(&mut self, now: Now) -> Result<bool, S::Error> {
        assert!(self.outbox.is_empty(), "a turn began before the effects of the last one were carried out");
        let input = match self.store.complete()? {
            None => return Ok(false),
            Some(Completion::Loaded { ticket, rows, more }) => Input::Loaded { ticket, rows, more },
            Some(Completion::Stored { ticket }) => Input::Stored { ticket },
        };
        self.machine.handle(now, input, &mut self.outbox);
        Ok(true)
    }

    /// Wakes the machine if its deadline has come. False: it has not.
    ///
    /// # Panics
    /// As [`turn`](Self::turn); and if the machine's deadline is not later afterwards, for the driver would spin.
    pub fn wake(&mut self, now: Now) -> bool {
        if self.deadline().is_none_or(|deadline| deadline > now.instant) {
            return false;
        }
        self.turn(now, Input::Wake);
        assert!(
            self.deadline().is_none_or(|deadline| deadline > now.instant),
            "the machine was woken and its deadline is still due"
        );
        true
    }

    /// When [`wake`](Self::wake) is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    /// Whether the store holds so much unfinished work that the driver should stop reading sockets.
    pub fn is_congested(&self) -> bool {
        self.store.is_congested()
    }

    /// How many requests to the store are not complete.
    pub fn outstanding(&self) -> usize {
        self.store.outstanding()
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The store, to look at.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store, for one that is to be driven from outside, as a simulated disk is.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The machine and the store, after the last turn.
    pub fn into_parts(self) -> (M, S) {
        (self.machine, self.store)
    }
}
