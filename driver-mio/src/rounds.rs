//! The loop: rounds of bounded work, timers before each piece of it, and a wait when there is none.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use andon_kernel::{ConnId, Input, Instant, Link, Machine, Shell, Store};
use mio::{Events, Poll};

use crate::Waker;
use crate::datagram::DATAGRAMS_PER_ROUND;
use crate::driver::{DATAGRAMS, FIRST_LISTENER, Sockets, WAKER};
use crate::engine::Engine;
use crate::handle::{DriverError, Shared, Stopper};
use crate::listener::Listener;
use crate::network::Network;
use crate::resolver::Resolver;

/// What is lent to the machine for a turn: as much as a socket usually holds, and any datagram fits.
const BUFFER_BYTES: usize = 64 * 1024;

/// How often one connection is read from in one round.
const READS_PER_ROUND: usize = 4;

/// How many completions of the store, and how many commands, are taken in one round.
const TURNS_PER_ROUND: usize = 64;

/// How many sockets the system reports at once; the others follow in the next round.
const EVENTS: usize = 1024;

/// Systems wait in steps of a millisecond. A machine that has cut its work in pieces is due a microsecond later each
/// time, and must not take a millisecond for each: up to this time the driver only looks and goes on.
const NO_WAIT: Duration = Duration::from_micros(100);

/// How this round left the store's completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completions {
    /// It had no more.
    Taken,
    /// There was no room for the events of one.
    HeldOff,
    /// The round's share was taken, and there may be more.
    MoreToCome,
}

/// A driver that runs.
pub(crate) struct Rounds<M: Machine, S> {
    engine: Engine<M, S>,
    poll: Poll,
    listeners: Vec<Listener>,
    shared: Arc<Shared<M::Command, M::Event>>,
    stopper: Stopper,
    waker: Waker,
    buffer: Vec<u8>,
    /// Whether the next round has some to look for.
    completions: Completions,
}

impl<M, S> Rounds<M, S>
where
    M: Machine,
    S: Store,
    S::Error: Send + Sync,
{
    pub(crate) fn new(
        machine: M,
        store: S,
        sockets: Sockets,
        network: Network,
        shared: Arc<Shared<M::Command, M::Event>>,
        stopper: Stopper,
        waker: Waker,
    ) -> Self {
        let Sockets { poll, listeners, datagrams } = sockets;
        let resolver = Resolver::new(waker.clone());
        let shell = Shell::new(machine, store);
        let engine = Engine::new(shell, Arc::clone(&shared), network, resolver, datagrams);
        let buffer = vec![0; BUFFER_BYTES];
        Self { engine, poll, listeners, shared, stopper, waker, buffer, completions: Completions::Taken }
    }

    /// Runs until the machine has been stopped and everything is closed and stored.
    pub(crate) fn run(mut self) -> Result<(), DriverError> {
        let mut events = Events::with_capacity(EVENTS);
        self.engine.turn(Input::Start)?;
        loop {
            self.engine.tick()?;
            self.stop_if_asked()?;
            self.take_ends()?;
            self.take_answers()?;
            self.take_commands()?;
            self.accept()?;
            self.receive_datagrams()?;
            self.serve_connections()?;
            self.engine.network.serve_closing(&mut self.buffer);
            // Last, for a store may complete at once and wake nobody: what this round asked of it must not wait.
            self.take_completions()?;
            if self.is_finished() {
                return Ok(());
            }
            self.wait(&mut events)?;
        }
    }

    fn stop_if_asked(&mut self) -> Result<(), DriverError> {
        if self.engine.is_stopped() || !self.stopper.is_stopped() {
            return Ok(());
        }
        for command in self.shared.commands.close() {
            self.engine.turn(Input::Command(command))?;
        }
        self.listeners.clear();
        self.engine.stop()
    }

    fn is_finished(&self) -> bool {
        self.engine.is_stopped() && self.engine.network.is_empty() && self.engine.outstanding() == 0
    }

    fn take_completions(&mut self) -> Result<(), DriverError> {
        for _ in 0..TURNS_PER_ROUND {
            self.engine.tick()?;
            if !self.engine.takes_completions() {
                self.completions = Completions::HeldOff;
                return Ok(());
            }
            if !self.engine.complete()? {
                self.completions = Completions::Taken;
                return Ok(());
            }
        }
        self.completions = Completions::MoreToCome;
        Ok(())
    }

    fn take_ends(&mut self) -> Result<(), DriverError> {
        for _ in 0..self.engine.network.ended() {
            if !self.may_go_on()? {
                break;
            }
            let Some((conn, reason)) = self.engine.network.take_ended() else { break };
            self.engine.turn(Input::Disconnected { conn, reason })?;
        }
        Ok(())
    }

    fn take_answers(&mut self) -> Result<(), DriverError> {
        for _ in 0..self.engine.resolver.done() {
            if !self.may_go_on()? {
                break;
            }
            let Some(answer) = self.engine.resolver.take() else { break };
            self.engine.turn(Input::Resolved { ticket: answer.ticket, addrs: &answer.addrs })?;
        }
        Ok(())
    }

    fn take_commands(&mut self) -> Result<(), DriverError> {
        for _ in 0..TURNS_PER_ROUND {
            if self.shared.commands.is_empty() || !self.may_go_on()? {
                break;
            }
            let Some(command) = self.shared.commands.pop() else { break };
            self.engine.turn(Input::Command(command))?;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), DriverError> {
        for listener in &mut self.listeners {
            self.engine.tick()?;
            if self.engine.takes_input() {
                listener.accept(self.engine.now().instant, &mut self.engine.network);
            }
        }
        Ok(())
    }

    fn receive_datagrams(&mut self) -> Result<(), DriverError> {
        for _ in 0..DATAGRAMS_PER_ROUND {
            if !self.datagram_waits() || !self.may_go_on()? {
                break;
            }
            let Some(datagrams) = &mut self.engine.datagrams else { break };
            let Some((count, from)) = datagrams.receive(&mut self.buffer) else { break };
            self.engine.turn(Input::Datagram { from, bytes: &mut self.buffer[..count] })?;
        }
        Ok(())
    }

    /// A stopped machine gets no more of them.
    fn datagram_waits(&self) -> bool {
        !self.engine.is_stopped()
            && self.engine.datagrams.as_ref().is_some_and(|datagrams| datagrams.is_ready())
    }

    fn serve_connections(&mut self) -> Result<(), DriverError> {
        for _ in 0..self.engine.network.ready() {
            if !self.may_go_on()? {
                break;
            }
            let Some(conn) = self.engine.network.take_ready() else { break };
            self.serve(conn)?;
            self.engine.network.queue(conn);
        }
        Ok(())
    }

    /// One bounded piece of work for one connection. Any turn may end or pause it, so each step looks it up again.
    fn serve(&mut self, conn: ConnId) -> Result<(), DriverError> {
        if let Some(remote) = self.engine.network.take_connected(conn) {
            let link = if conn.is_accepted() { Link::Inbound } else { Link::Outbound };
            self.engine.turn(Input::Connected { conn, remote, link })?;
        }
        for _ in 0..READS_PER_ROUND {
            if !self.may_go_on()? {
                break;
            }
            let drained = self.engine.network.take_drained(conn);
            if drained {
                self.engine.turn(Input::Drained { conn })?;
            }
            if !self.may_go_on()? {
                break;
            }
            match self.engine.network.read(conn, &mut self.buffer) {
                Some(count) => {
                    self.engine.turn(Input::Received { conn, bytes: &mut self.buffer[..count] })?;
                }
                None if drained => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Timers first; then whether the machine may be given what comes next.
    fn may_go_on(&mut self) -> Result<bool, DriverError> {
        self.engine.tick()?;
        Ok(self.engine.takes_input())
    }

    /// Waits until a socket, a thread or the clock has something; not at all if there is something already.
    fn wait(&mut self, events: &mut Events) -> Result<(), DriverError> {
        let timeout = if self.has_work() { Some(Duration::ZERO) } else { self.time_to_deadline() };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(DriverError::Io(error)),
        }
        for event in events.iter() {
            let token = event.token();
            if token == WAKER {
                self.waker.seen();
            } else if token == DATAGRAMS {
                if let Some(datagrams) = &mut self.engine.datagrams {
                    datagrams.set_ready();
                }
            } else if let Some(listener) = self.listeners.get_mut(token.0 - FIRST_LISTENER) {
                listener.set_ready();
            } else {
                self.engine.network.notice(event);
            }
        }
        Ok(())
    }

    fn has_work(&self) -> bool {
        // Asking the engine notes that the driver waits for room, if it has to: then the application wakes it.
        let completions = match self.completions {
            Completions::Taken => false,
            Completions::HeldOff | Completions::MoreToCome => self.engine.takes_completions(),
        };
        if completions || self.engine.network.has_closing() {
            return true;
        }
        self.engine.takes_input()
            && (self.engine.network.ready() > 0
                || self.engine.network.ended() > 0
                || self.engine.resolver.done() > 0
                || !self.shared.commands.is_empty()
                || self.datagram_waits())
    }

    fn time_to_deadline(&self) -> Option<Duration> {
        let takes_input = self.engine.takes_input();
        let resume = self.listeners.iter().filter_map(Listener::due).filter(|_| takes_input).min();
        let deadlines = [self.engine.deadline(), self.engine.network.deadline(), resume];
        let earliest: Instant = deadlines.into_iter().flatten().min()?;
        let left = earliest.since(self.engine.now().instant);
        Some(if left <= NO_WAIT { Duration::ZERO } else { left })
    }
}
