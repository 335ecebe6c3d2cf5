//! The loop: rounds of bounded work, timers before each piece of it, and word of how long to wait after each.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use andon_kernel::{Input, Instant, Link, Machine, Shell, Store};

use crate::engine::Engine;
use crate::listener::{Listener, REST};
use crate::network::Network;
use crate::queue::Room;
use crate::reactor::{Reactor, Source};
use crate::resolver::Resolver;
use crate::shared::Shared;
use crate::slots::Place;
use crate::{Buffer, DriverEnd, DriverError, Options};

/// How many connections are served in one round, of each kind (open ones, those of which something was noticed, closed ones);
/// the others are the first in the next.
const CONNECTIONS_PER_ROUND: usize = 64;

/// How often one connection is read from in one round.
const READS_PER_ROUND: usize = 4;

/// How many datagrams are given to the machine in one round.
const DATAGRAMS_PER_ROUND: usize = 64;

/// How many completions of the store, and how many commands, are taken in one round.
const TURNS_PER_ROUND: usize = 64;

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

/// What follows a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The machine has been stopped, and everything is closed and stored: there is no other round.
    Finished,
    /// There is more to do: the next round, as soon as the reactor has looked at its sockets.
    Round,
    /// The next round when a socket is ready, the [`Waker`](crate::Waker) was called or this time has come, if there is
    /// one.
    Wait(Option<Instant>),
}

/// A machine that runs over a store and a reactor's sockets: a driver but for the wait.
pub struct Rounds<M: Machine, S, R: Reactor> {
    engine: Engine<M, S, R>,
    listeners: Vec<Listener>,
    /// From when on there may be a datagram; none: when the reactor says so.
    datagrams: Option<Instant>,
    shared: Arc<Shared<M::Command, M::Event>>,
    /// Once a stop was asked for: the commands that were given before it, which the machine has not had.
    last_commands: Option<VecDeque<M::Command>>,
    /// Whether the next round has some to look for.
    completions: Completions,
    started: bool,
}

impl<M, S, R> Rounds<M, S, R>
where
    M: Machine,
    R: Reactor,
    S: Store,
    S::Error: Send + Sync,
{
    /// Everything is ready, and the clock begins at zero. `reactor` has the listeners, and the socket for datagrams, that
    /// `options` name.
    pub fn new(
        machine: M,
        store: S,
        reactor: R,
        options: &Options,
        end: &DriverEnd<M::Command, M::Event>,
    ) -> Self {
        let shared = Arc::clone(&end.shared);
        let resolver = Resolver::new(shared.stopper.waker().clone());
        let network = Network::new(reactor, options);
        let engine = Engine::new(Shell::new(machine, store), Arc::clone(&shared), network, resolver);
        Self {
            engine,
            listeners: (0..options.listen.len()).map(Listener::new).collect(),
            datagrams: options.datagram.map(|_| Instant::ZERO),
            shared,
            last_commands: None,
            completions: Completions::Taken,
            started: false,
        }
    }

    /// One round: a bounded piece of work for everyone who has some. `buffer` is only for what a round does.
    ///
    /// # Errors
    /// If the store can go on no longer. There is no other round then.
    pub fn round(&mut self, buffer: &mut Buffer) -> Result<Next, DriverError> {
        if !self.started {
            self.started = true;
            self.engine.start()?;
        }
        self.engine.tick()?;
        self.stop_if_asked()?;
        self.take_ends()?;
        self.take_answers()?;
        self.take_commands()?;
        self.accept()?;
        self.receive_datagrams(buffer.bytes())?;
        self.serve_noticed()?;
        self.serve_connections(buffer.bytes())?;
        self.serve_closing(buffer.bytes())?;
        // Last, for a store may complete at once and wake nobody: what this round asked of it must not wait.
        self.take_completions()?;
        Ok(self.next())
    }

    /// Notes that a socket is worth trying again.
    pub fn notice(&mut self, source: Source) {
        match source {
            Source::Listener(number) => {
                if let Some(listener) = self.listeners.get_mut(number) {
                    listener.set_ready();
                }
            }
            Source::Datagrams => self.datagrams = Some(Instant::ZERO),
            Source::Connection { slot, readable, writable, ended } => {
                self.engine.network.notice(slot, readable, writable, ended);
            }
        }
    }

    /// How long it is until a time that [`round`](Self::round) gave.
    pub fn time_until(&self, at: Instant) -> Duration {
        at.since(self.engine.instant())
    }

    /// What the sockets are.
    pub fn reactor(&mut self) -> &mut R {
        &mut self.engine.network.reactor
    }

    /// No command is taken from when a stop is asked for. Those that were given before come first, a share in each round, whether
    /// there is room for what they tell or not: who asks for a stop may take no more.
    fn stop_if_asked(&mut self) -> Result<(), DriverError> {
        if self.engine.is_stopped() || !self.shared.stopper.is_stopped() {
            return Ok(());
        }
        let shared = &self.shared;
        let left = self.last_commands.get_or_insert_with(|| shared.close_commands());
        let share = left.len().min(TURNS_PER_ROUND);
        for command in left.drain(..share).collect::<Vec<_>>() {
            self.engine.tick()?;
            self.engine.turn(Input::Command(command))?;
        }
        if self.has_last_commands() {
            return Ok(());
        }
        self.listeners.clear();
        self.engine.network.reactor.close_listeners();
        self.engine.stop()
    }

    fn has_last_commands(&self) -> bool {
        self.last_commands.as_ref().is_some_and(|left| !left.is_empty())
    }

    fn is_finished(&self) -> bool {
        self.engine.is_stopped() && self.engine.network.is_empty() && self.engine.outstanding() == 0
    }

    fn take_completions(&mut self) -> Result<(), DriverError> {
        for _ in 0..TURNS_PER_ROUND {
            if self.engine.outstanding() > 0 {
                self.engine.tick()?;
            }
            if self.engine.room() != Room::Open {
                self.completions = Completions::HeldOff;
                return self.engine.look_ahead();
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
        // After its stop a machine gets none, not even of a desk that came late.
        if self.engine.is_stopped() {
            return Ok(());
        }
        for _ in 0..TURNS_PER_ROUND {
            if !self.shared.has_command() {
                break;
            }
            self.engine.tick()?;
            if !self.engine.takes_commands(self.engine.room()) {
                break;
            }
            let Some(command) = self.shared.take_command() else { break };
            self.engine.turn(Input::Command(command))?;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), DriverError> {
        for listener in &mut self.listeners {
            if listener.due().is_none_or(|due| due > self.engine.now()) {
                continue;
            }
            self.engine.tick()?;
            if self.engine.takes_input(self.engine.room()) {
                listener.accept(self.engine.now(), &mut self.engine.network);
            }
        }
        Ok(())
    }

    fn receive_datagrams(&mut self, buffer: &mut [u8]) -> Result<(), DriverError> {
        let mut errors = 0;
        for _ in 0..DATAGRAMS_PER_ROUND {
            if !self.datagram_waits() || !self.may_go_on()? {
                return Ok(());
            }
            match self.engine.network.reactor.receive(buffer) {
                Ok((count, from)) => {
                    self.engine.turn(Input::Datagram { from, bytes: &mut buffer[..count] })?;
                    errors = 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.datagrams = None,
                // Of datagrams sent before (nobody was there to take them), each told once.
                Err(_) => errors += 1,
            }
        }
        if errors == DATAGRAMS_PER_ROUND {
            // A socket that gives nothing but errors: trying again at once would spin.
            self.datagrams = Some(self.engine.now() + REST);
        }
        Ok(())
    }

    /// A stopped machine gets no more of them.
    fn datagram_waits(&self) -> bool {
        !self.engine.is_stopped() && self.datagrams.is_some_and(|at| at <= self.engine.now())
    }

    fn serve_connections(&mut self, buffer: &mut [u8]) -> Result<(), DriverError> {
        for _ in 0..self.engine.network.ready().min(CONNECTIONS_PER_ROUND) {
            if !self.may_go_on()? {
                break;
            }
            let Some(place) = self.engine.network.take_ready() else { break };
            self.serve(place, buffer)?;
            self.engine.network.queue(place);
        }
        Ok(())
    }

    /// What needs no machine is not held off.
    fn serve_noticed(&mut self) -> Result<(), DriverError> {
        for _ in 0..self.engine.network.noticed().min(CONNECTIONS_PER_ROUND) {
            self.engine.tick()?;
            self.engine.network.serve_noticed();
        }
        Ok(())
    }

    /// Nor is this.
    fn serve_closing(&mut self, buffer: &mut [u8]) -> Result<(), DriverError> {
        for _ in 0..self.engine.network.closing().min(CONNECTIONS_PER_ROUND) {
            self.engine.tick()?;
            self.engine.network.serve_closing(buffer);
        }
        Ok(())
    }

    /// One bounded piece of work for one connection, for which there is [leave](Self::may_go_on). Any turn may end or pause
    /// it, so each step looks it up again.
    fn serve(&mut self, place: Place, buffer: &mut [u8]) -> Result<(), DriverError> {
        let conn = place.conn;
        if let Some(remote) = self.engine.network.take_connected(place) {
            let link = if conn.is_accepted() { Link::Inbound } else { Link::Outbound };
            self.engine.turn(Input::Connected { conn, remote, link })?;
            if !self.may_go_on()? {
                return Ok(());
            }
        }
        for _ in 0..READS_PER_ROUND {
            if self.engine.network.take_drained(place) {
                self.engine.turn(Input::Drained { conn })?;
                if !self.may_go_on()? {
                    break;
                }
            }
            if let Some(count) = self.engine.network.read(place, buffer) {
                self.engine.turn(Input::Received { conn, bytes: &mut buffer[..count] })?;
            }
            if !self.engine.network.has_input(place) || !self.may_go_on()? {
                break;
            }
        }
        Ok(())
    }

    /// Timers first; then whether the machine may be given what comes next.
    fn may_go_on(&mut self) -> Result<bool, DriverError> {
        self.engine.tick()?;
        Ok(self.engine.takes_input(self.engine.room()))
    }

    fn next(&self) -> Next {
        if self.is_finished() {
            return Next::Finished;
        }
        let room = self.engine.room();
        if self.has_work(room) {
            return Next::Round;
        }
        match self.deadline(room) {
            Some(deadline) if deadline.since(self.engine.now()) <= NO_WAIT => Next::Round,
            deadline => Next::Wait(deadline),
        }
    }

    fn has_work(&self, room: Room) -> bool {
        let completions = match self.completions {
            Completions::Taken => false,
            Completions::HeldOff | Completions::MoreToCome => room == Room::Open,
        };
        if completions || self.engine.network.closing() > 0 || self.engine.network.noticed() > 0 {
            return true;
        }
        if self.has_last_commands() {
            return true;
        }
        if self.engine.takes_commands(room) && self.shared.has_command() {
            return true;
        }
        self.engine.takes_input(room)
            && (self.engine.network.ready() > 0
                || self.engine.network.ended() > 0
                || self.engine.resolver.done() > 0
                || self.datagram_waits())
    }

    fn deadline(&self, room: Room) -> Option<Instant> {
        let takes_input = self.engine.takes_input(room);
        let resume = self.listeners.iter().filter_map(Listener::due).filter(|_| takes_input).min();
        let datagrams = self.datagrams.filter(|_| takes_input && !self.engine.is_stopped());
        let deadlines = [self.engine.deadline(room), self.engine.network.deadline(), resume, datagrams];
        deadlines.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod shares;

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, OnceLock};
    use std::task::Poll;

    use andon_kernel::{MemoryStore, Now, Outbox};

    use super::*;
    use crate::{Application, Stream, Waker, ends};

    /// A network that nothing happens on.
    struct Nowhere;

    fn nothing<T>() -> io::Result<T> {
        Err(ErrorKind::WouldBlock.into())
    }

    impl Reactor for Nowhere {
        type Accepted = ();
        type Stream = Self;

        fn dial(&mut self, _: usize, _: SocketAddr) -> io::Result<Self> {
            nothing()
        }

        fn accept(&mut self, _: usize) -> io::Result<((), SocketAddr)> {
            nothing()
        }

        fn open(&mut self, _: usize, (): ()) -> io::Result<Self> {
            nothing()
        }

        fn close(&mut self, _: Self) {}

        fn close_listeners(&mut self) {}

        fn receive(&mut self, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
            nothing()
        }

        fn send(&mut self, _: SocketAddr, _: &[u8]) {}
    }

    impl Stream for Nowhere {
        fn poll_dial(&mut self) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            nothing()
        }

        fn peer_addr(&self) -> io::Result<SocketAddr> {
            nothing()
        }

        fn set_nodelay(&self) -> io::Result<()> {
            nothing()
        }

        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            nothing()
        }

        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            nothing()
        }

        fn shut(&mut self) -> io::Result<()> {
            nothing()
        }
    }

    /// Tells of each command, and has the application take one event when its deadline is looked at for the nth time.
    struct Taking {
        looks: AtomicUsize,
        at: usize,
        application: Arc<OnceLock<Mutex<Application<(), ()>>>>,
    }

    impl Machine for Taking {
        type Command = ();
        type Event = ();

        fn handle(&mut self, _: Now, input: Input<'_, ()>, out: &mut Outbox<()>) {
            if let Input::Command(()) = input {
                out.event(());
            }
        }

        fn deadline(&self) -> Option<Instant> {
            if self.looks.fetch_add(1, Ordering::SeqCst) == self.at
                && let Some(application) = self.application.get()
            {
                application.lock().unwrap().recv_timeout(Duration::ZERO);
            }
            Some(Instant::ZERO + Duration::from_secs(3600))
        }
    }

    #[test]
    fn whenever_an_event_is_taken_a_driver_that_holds_commands_off_is_woken() {
        const COMMANDS: usize = 16;
        let mut waited = 0;
        for at in 0..40 {
            let wakes = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&wakes);
            let waker = Waker::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            let options = Options { event_queue: 4, ..Options::default() };
            let (handle, end) = ends(&options, waker.clone());
            let application = Arc::new(OnceLock::new());
            let machine = Taking { looks: AtomicUsize::new(0), at, application: Arc::clone(&application) };
            let mut rounds = Rounds::new(machine, MemoryStore::new(), Nowhere, &options, &end);
            (0..COMMANDS).for_each(|_| handle.command(()).unwrap());
            application.set(Mutex::new(handle.application())).unwrap();
            waker.seen();
            let woken = wakes.load(Ordering::SeqCst);
            let mut next = rounds.round(&mut Buffer::new()).unwrap();
            while next == Next::Round {
                next = rounds.round(&mut Buffer::new()).unwrap();
            }
            if !end.shared.commands.is_empty() {
                waited += 1;
                while handle.recv_timeout(Duration::ZERO) == crate::Received::Event(()) {}
                assert!(
                    wakes.load(Ordering::SeqCst) > woken,
                    "taken at look {at}, and nobody woke the driver"
                );
            }
        }
        assert!(waited > 20, "{waited}");
    }
}
