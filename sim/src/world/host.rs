//! A machine of the kernel's, with its store and its application, as a node: the simulator's driver.
//!
//! As with every driver, timers and commands go on while the application has no room for more events, or the store lags, until what they
//! tell has filled the application once more; nothing else does. A stop gives the machine the commands that wait and closes what it leaves
//! open; a store that fails ends it.

use core::error::Error;
use core::fmt;
use std::collections::VecDeque;

use andon_kernel::{Effect, Input, Instant, Machine, Now, Shell};

use super::application::{Room, Watch};
use super::disk::Storage;
use super::node::{Node, NodeInput};
use super::port::Port;

/// A machine with a store and an application.
pub struct Host<M: Machine, S, W> {
    shell: Shell<M, S>,
    /// The application.
    pub watch: W,
    /// What the machine cannot be given yet.
    commands: VecDeque<M::Command>,
    phase: Phase,
}

/// From the first turn to the last.
#[derive(Debug)]
enum Phase {
    Running,
    /// The machine has had its `Stop`. Nothing is held off any more: what can still come is bounded.
    Stopped,
    /// Everything is closed and stored.
    Ended,
    /// The store could go on no longer.
    Failed(Box<dyn Error>),
}

impl<M: Machine + fmt::Debug, S: Storage, W> fmt::Debug for Host<M, S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(self.shell.machine()).finish()
    }
}

impl<M: Machine, S: Storage, W: Watch<M::Event>> Host<M, S, W> {
    /// A machine that starts when the world gives it its first turn.
    pub fn new(machine: M, store: S, watch: W) -> Self {
        let shell = Shell::new(machine, store);
        Self { shell, watch, commands: VecDeque::new(), phase: Phase::Running }
    }

    /// Gives the machine a command, at once or when it [may be given](Self::waiting) one again. After a stop it is dropped.
    pub fn command(&mut self, now: Now, command: M::Command, port: &mut Port<'_>) {
        if matches!(self.phase, Phase::Running) {
            self.commands.push_back(command);
            self.go_on(now, port);
        }
    }

    /// How many commands wait for the application to take events, or for the store.
    pub fn waiting(&self) -> usize {
        self.commands.len()
    }

    /// Gives the machine what waits, as far as there is room: to be called when the application has taken events, or the store has something
    /// that it did not announce by [`Storage::takes`].
    pub fn go_on(&mut self, now: Now, port: &mut Port<'_>) {
        self.complete(now, port);
        while matches!(self.phase, Phase::Running) && self.takes_commands() {
            let Some(command) = self.commands.pop_front() else { break };
            self.handle(now, Input::Command(command), port);
        }
        self.look_for_end(port);
    }

    /// Stops the machine, as a driver is stopped: it is given the commands that wait and closes its connections, and what it leaves open is
    /// closed for it.
    pub fn stop(&mut self, now: Now, port: &mut Port<'_>) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        while let Some(command) = self.commands.pop_front() {
            self.handle(now, Input::Command(command), port);
        }
        if matches!(self.phase, Phase::Running) {
            self.phase = Phase::Stopped;
            self.handle(now, Input::Stop, port);
            port.stop();
            self.look_for_end(port);
        }
    }

    /// Whether it has ended, after a stop or by a fault: nothing happens to it any more.
    pub const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Failed(_))
    }

    /// Why the store could go on no longer, which has ended the machine's process.
    pub fn failure(&self) -> Option<&dyn Error> {
        match &self.phase {
            Phase::Failed(error) => Some(&**error),
            Phase::Running | Phase::Stopped | Phase::Ended => None,
        }
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        self.shell.machine()
    }

    /// The store, to look at.
    pub fn store(&self) -> &S {
        self.shell.store()
    }

    /// The store, to change its pace.
    pub fn store_mut(&mut self) -> &mut S {
        self.shell.store_mut()
    }

    /// The store and the application, of a machine that has ended: for another on the same store.
    pub fn into_parts(self) -> (S, W) {
        let (_, mut store) = self.shell.into_parts();
        store.restart();
        (store, self.watch)
    }

    fn room(&self) -> Room {
        if matches!(self.phase, Phase::Running) { self.watch.room() } else { Room::Open }
    }

    fn takes_commands(&self) -> bool {
        self.room() != Room::Overfull && !self.shell.is_congested()
    }

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>, port: &mut Port<'_>) {
        self.shell.turn(now, input);
        self.carry_out(now, port);
        self.complete(now, port);
    }

    /// Gives the machine what its store has completed, and asks to be called when it has more.
    fn complete(&mut self, now: Now, port: &mut Port<'_>) {
        while !self.has_ended() && self.room() == Room::Open {
            match self.shell.complete(now) {
                Ok(true) => self.carry_out(now, port),
                Ok(false) => break,
                Err(error) => self.fail(error, port),
            }
        }
        if !self.has_ended()
            && let Some(time) = self.shell.store_mut().takes()
        {
            port.after(time);
        }
    }

    fn carry_out(&mut self, now: Now, port: &mut Port<'_>) {
        loop {
            match self.shell.pop() {
                Ok(None) => return,
                Ok(Some(Effect::Connect { conn, addr })) => port.connect(conn, addr),
                Ok(Some(Effect::Send { conn, bytes })) => port.send(conn, bytes),
                Ok(Some(Effect::Pause { conn, paused })) => port.pause(conn, paused),
                Ok(Some(Effect::Flush { conn })) => port.flush(conn),
                Ok(Some(Effect::Close { conn, flush })) => port.close(conn, flush),
                Ok(Some(Effect::Datagram { to, bytes })) => port.datagram(to, bytes),
                Ok(Some(Effect::Resolve { ticket, host, port: number })) => {
                    port.resolve(ticket, &host, number);
                }
                Ok(Some(Effect::Event(event))) => self.watch.event(now, event),
                Err(error) => return self.fail(error, port),
            }
        }
    }

    fn fail(&mut self, error: S::Error, port: &mut Port<'_>) {
        self.phase = Phase::Failed(Box::new(error));
        self.commands.clear();
        port.exit();
    }

    fn look_for_end(&mut self, port: &Port<'_>) {
        let is_stopped = matches!(self.phase, Phase::Stopped);
        if is_stopped && port.connections() == 0 && self.shell.outstanding() == 0 {
            self.phase = Phase::Ended;
        }
    }
}

impl<M: Machine, S: Storage, W: Watch<M::Event>> Node for Host<M, S, W> {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        if self.has_ended() {
            return;
        }
        let input = match input {
            NodeInput::Start => Input::Start,
            NodeInput::Wake => {
                if self.room() != Room::Overfull && self.shell.wake(now) {
                    self.carry_out(now, port);
                    self.complete(now, port);
                }
                return;
            }
            NodeInput::Due => {
                self.shell.store_mut().go_on();
                self.go_on(now, port);
                return;
            }
            NodeInput::Connected { conn, remote, link } => Input::Connected { conn, remote, link },
            NodeInput::Received { conn, bytes } => Input::Received { conn, bytes },
            NodeInput::Drained { conn } => Input::Drained { conn },
            NodeInput::Disconnected { conn, reason } => Input::Disconnected { conn, reason },
            NodeInput::Datagram { from, bytes } => Input::Datagram { from, bytes },
            NodeInput::Resolved { ticket, addrs } => Input::Resolved { ticket, addrs },
            // It keeps no half.
            NodeInput::HalfClosed { .. } => return,
        };
        self.handle(now, input, port);
        self.look_for_end(port);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.has_ended() || self.room() == Room::Overfull { None } else { self.shell.deadline() }
    }

    fn reads(&self) -> bool {
        !matches!(self.phase, Phase::Running) || (self.room() == Room::Open && !self.shell.is_congested())
    }
}
