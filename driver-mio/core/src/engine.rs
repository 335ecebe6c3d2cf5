//! The machine's turns and the effects they have: each turn's are carried out before the next.

use std::sync::Arc;

use andon_kernel::{Effect, Input, Instant, Machine, Now, Shell, Store};

use crate::DriverError;
use crate::clock::Clock;
use crate::held::{Held, HeldCompletion};
use crate::network::Network;
use crate::queue::Room;
use crate::reactor::Reactor;
use crate::resolver::Resolver;
use crate::shared::Shared;

/// The machine with its store, and everything that its effects reach.
pub(crate) struct Engine<M: Machine, S, R: Reactor> {
    shell: Shell<M, S>,
    /// What the store has completed and the machine may not be given yet. It comes before what the store completes next.
    held: Held,
    clock: Clock,
    /// As of the last [`tick`](Self::tick): one reading serves a piece of work.
    now: Now,
    shared: Arc<Shared<M::Command, M::Event>>,
    pub(crate) network: Network<R>,
    pub(crate) resolver: Resolver,
    /// Whether the machine had its `Stop`. Then nothing is held off any more: what can still come is bounded, and a
    /// driver that stops must not wait for an application that may have gone.
    stopped: bool,
}

impl<M, S, R> Engine<M, S, R>
where
    M: Machine,
    R: Reactor,
    S: Store,
    S::Error: Send + Sync,
{
    pub(crate) fn new(
        shell: Shell<M, S>,
        shared: Arc<Shared<M::Command, M::Event>>,
        network: Network<R>,
        resolver: Resolver,
    ) -> Self {
        let mut clock = Clock::start();
        let now = clock.now();
        Self { shell, held: Held::new(), clock, now, shared, network, resolver, stopped: false }
    }

    /// The time when the piece of work at hand began.
    pub(crate) fn now(&self) -> Instant {
        self.now.instant
    }

    /// The time, read anew.
    pub(crate) fn instant(&self) -> Instant {
        self.clock.instant()
    }

    /// When the machine is to be woken; none: not before something else happens.
    pub(crate) fn deadline(&self, room: Room) -> Option<Instant> {
        self.shell.deadline().filter(|_| room != Room::Overfull)
    }

    /// Whether the machine may be given what comes from sockets, look-ups and the application.
    pub(crate) fn takes_input(&self, room: Room) -> bool {
        self.stopped || (room == Room::Open && !self.is_congested())
    }

    /// Whether the machine may be given commands. They are the application's own: as timers, they go on while it does not take
    /// events, until the queue has been filled once more.
    pub(crate) fn takes_commands(&self, room: Room) -> bool {
        self.stopped || (room != Room::Overfull && !self.is_congested())
    }

    fn is_congested(&self) -> bool {
        self.held.is_full() || self.shell.is_congested()
    }

    /// How much the machine may be given. If not everything, the driver is woken when there is room: what is decided
    /// before a wait stands on one answer, as another might say that there is some, and take that back.
    pub(crate) fn room(&self) -> Room {
        if self.stopped { Room::Open } else { self.shared.events.room() }
    }

    /// How many requests to the store the machine has no answer to.
    pub(crate) fn outstanding(&self) -> usize {
        self.held.len() + self.shell.outstanding()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Gives the machine one input, at the time of the last [`tick`](Self::tick), and carries out what follows.
    pub(crate) fn turn(&mut self, input: Input<'_, M::Command>) -> Result<(), DriverError> {
        self.shell.turn(self.now, input);
        self.carry_out(self.now)
    }

    /// Gives the machine its first input.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        self.now = self.clock.now();
        self.turn(Input::Start)
    }

    /// Gives the machine its last input of all but answers.
    pub(crate) fn stop(&mut self) -> Result<(), DriverError> {
        self.stopped = true;
        self.now = self.clock.now();
        self.turn(Input::Stop)?;
        self.network.stop(self.now.instant);
        Ok(())
    }

    /// What is due by the clock, which is read here: the machine's deadline, then the limits of dials and closes.
    pub(crate) fn tick(&mut self) -> Result<(), DriverError> {
        self.now = self.clock.now();
        let now = self.now;
        let is_due = self.shell.deadline().is_some_and(|deadline| deadline <= now.instant);
        if is_due && self.room() != Room::Overfull && self.shell.wake(now) {
            self.carry_out(now)?;
        }
        self.network.expire(now.instant);
        Ok(())
    }

    /// Gives the machine the store's next completion, at the time of the last [`tick`](Self::tick). Whether there was one.
    pub(crate) fn complete(&mut self) -> Result<bool, DriverError> {
        let now = self.now;
        let completed = match self.held.pop() {
            Some(HeldCompletion::Loaded { ticket, rows, more }) => {
                self.shell.turn(now, Input::Loaded { ticket, rows: rows.rows(), more });
                true
            }
            Some(HeldCompletion::Stored { ticket }) => {
                self.shell.turn(now, Input::Stored { ticket });
                true
            }
            None => self.shell.complete(now).map_err(store_failed)?,
        };
        if completed {
            self.carry_out(now)?;
        }
        Ok(completed)
    }

    /// Hears the store, though the machine may not be given what it completes: a store that has failed must not run on, silent, for
    /// as long as nobody takes events.
    pub(crate) fn look_ahead(&mut self) -> Result<(), DriverError> {
        while !self.held.is_full() {
            let Some(completion) = self.shell.store_mut().complete().map_err(store_failed)? else { break };
            self.held.push(completion);
        }
        Ok(())
    }

    fn carry_out(&mut self, now: Now) -> Result<(), DriverError> {
        while let Some(effect) = self.shell.pop().map_err(store_failed)? {
            match effect {
                Effect::Connect { conn, addr } => self.network.dial(now.instant, conn, addr),
                Effect::Send { conn, bytes } => self.network.send(conn, bytes),
                Effect::Pause { conn, paused } => self.network.pause(conn, paused),
                Effect::Flush { conn } => self.network.flush(conn),
                Effect::Close { conn, flush } => self.network.close(now.instant, conn, flush),
                Effect::Datagram { to, bytes } => self.network.reactor.send(to, bytes),
                Effect::Resolve { ticket, host, port } => self.resolver.resolve(ticket, host, port),
                Effect::Event(event) => self.shared.tell(event),
            }
        }
        self.network.end_turn();
        Ok(())
    }
}

fn store_failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> DriverError {
    DriverError::Store(Box::new(error))
}
