//! The machine under test, in a host, and the application's end of it.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use andon_driver_conformance::stage::{self, LIMIT};
use andon_driver_conformance::{Command, CommandError, DriverError, Event, Options, Puppet, Received, Waker};
use andon_kernel::{Batch, Checked, Completion, Instant, Now, Scan, Store, Ticket};
use andon_sim::world::{EventQueue, Host, Node, NodeId, NodeInput, Port, Storage};

use crate::stage::{Member, Scenery, Stagehands};

/// A store that says by its waker when it goes on.
struct Plain<S>(S);

impl<S: Store> Store for Plain<S> {
    type Error = S::Error;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), S::Error> {
        self.0.load(scan)
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), S::Error> {
        self.0.store(ticket, batch)
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, S::Error> {
        self.0.complete()
    }

    fn outstanding(&self) -> usize {
        self.0.outstanding()
    }

    fn is_congested(&self) -> bool {
        self.0.is_congested()
    }
}

impl<S: Store> Storage for Plain<S> {
    fn takes(&mut self) -> Option<Duration> {
        None
    }

    fn go_on(&mut self) {}

    fn restart(&mut self) {}
}

/// A host, whatever its store. A panic in it ends it, as it ends a driver.
pub(crate) trait Subject: Node {
    fn command(
        &mut self,
        now: Now,
        command: Command,
        port: &mut Port<'_>,
    ) -> Result<(), CommandError<Command>>;
    fn take(&mut self, now: Now, port: &mut Port<'_>) -> Option<Event>;
    fn abandon_events(&mut self, now: Now, port: &mut Port<'_>);
    fn go_on(&mut self, now: Now, port: &mut Port<'_>);
    fn stop(&mut self, now: Now, port: &mut Port<'_>);
    /// Takes an event without a turn.
    fn take_left(&mut self) -> Option<Event>;
    /// Why it has ended; none: it has not.
    fn end(&self) -> Option<Result<(), DriverError>>;
}

struct Hosted<S: Store> {
    host: Host<Checked<Puppet>, Plain<S>, EventQueue<Event>>,
    command_queue: usize,
    is_stopped: bool,
    panic: Option<String>,
}

impl<S: Store> Hosted<S> {
    fn run(
        &mut self,
        port: &mut Port<'_>,
        act: impl FnOnce(&mut Host<Checked<Puppet>, Plain<S>, EventQueue<Event>>, &mut Port<'_>),
    ) {
        if self.panic.is_none()
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| act(&mut self.host, port)))
        {
            self.panic = Some(message(&*payload));
            port.exit();
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl<S: Store> Node for Hosted<S> {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        self.run(port, |host, port| host.turn(now, input, port));
    }

    fn deadline(&self) -> Option<Instant> {
        self.host.deadline()
    }

    fn reads(&self) -> bool {
        self.host.reads()
    }
}

impl<S: Store> Subject for Hosted<S> {
    fn command(
        &mut self,
        now: Now,
        command: Command,
        port: &mut Port<'_>,
    ) -> Result<(), CommandError<Command>> {
        if self.is_stopped {
            return Err(CommandError::Ended(command));
        }
        if self.host.waiting() >= self.command_queue {
            return Err(CommandError::Full(command));
        }
        self.run(port, |host, port| host.command(now, command, port));
        Ok(())
    }

    fn take(&mut self, now: Now, port: &mut Port<'_>) -> Option<Event> {
        let event = self.host.watch.take()?;
        self.go_on(now, port);
        Some(event)
    }

    fn abandon_events(&mut self, now: Now, port: &mut Port<'_>) {
        self.host.watch.abandon();
        self.go_on(now, port);
    }

    fn go_on(&mut self, now: Now, port: &mut Port<'_>) {
        self.run(port, |host, port| host.go_on(now, port));
    }

    fn stop(&mut self, now: Now, port: &mut Port<'_>) {
        self.is_stopped = true;
        self.run(port, |host, port| host.stop(now, port));
    }

    fn take_left(&mut self) -> Option<Event> {
        self.host.watch.take()
    }

    fn end(&self) -> Option<Result<(), DriverError>> {
        if let Some(message) = &self.panic {
            return Some(Err(DriverError::Panicked(message.clone())));
        }
        if let Some(error) = self.host.failure() {
            return Some(Err(DriverError::Store(error.to_string().into())));
        }
        self.host.has_ended().then_some(Ok(()))
    }
}

/// A driver that waits for its machine: its system lets in who dials it.
pub(crate) struct Bound {
    turns: Stagehands,
    node: NodeId,
    options: Options,
    addresses: Vec<SocketAddr>,
    datagram_address: Option<SocketAddr>,
    is_woken: Arc<AtomicBool>,
    is_run: bool,
}

impl Bound {
    pub(crate) fn new(turns: &Stagehands, options: Options) -> std::io::Result<Self> {
        let is_woken = Arc::new(AtomicBool::new(false));
        let (given, flag) = (options.clone(), Arc::clone(&is_woken));
        let (node, addresses, datagram_address) = turns.act(move |scene| scene.bind(&given, flag))?;
        let turns = turns.clone();
        Ok(Self { turns, node, options, addresses, datagram_address, is_woken, is_run: false })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let addresses: Vec<_> = self.addresses.iter().copied().chain(self.datagram_address).collect();
        if !self.is_run {
            self.turns.ask_what_is_there(Duration::ZERO, move |scene| {
                addresses.iter().for_each(|address| scene.world.remove_address(*address));
                Some(())
            });
        }
    }
}

impl stage::Bound for Bound {
    type Application = Application;

    fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn datagram_address(&self) -> Option<SocketAddr> {
        self.datagram_address
    }

    fn waker(&self) -> Waker {
        let is_woken = Arc::clone(&self.is_woken);
        Waker::new(move || {
            is_woken.store(true, Ordering::SeqCst);
            Ok(())
        })
    }

    fn run<S>(mut self, machine: Checked<Puppet>, store: S) -> Application
    where
        S: Store + Send + 'static,
        S::Error: Send + Sync,
    {
        self.is_run = true;
        let node = self.node;
        let (events, commands) = (self.options.event_queue, self.options.command_queue.max(1));
        self.turns.act(move |scene| {
            let host = Host::new(machine, Plain(store), EventQueue::new(events));
            let hosted = Hosted { host, command_queue: commands, is_stopped: false, panic: None };
            *scene.world.node_mut(node) = Member::Host(Box::new(hosted));
            scene.world.with(node, |member, now, port| member.turn(now, NodeInput::Start, port));
        });
        Application { turns: self.turns.clone(), node, is_joined: false }
    }
}

/// The application's end.
pub(crate) struct Application {
    turns: Stagehands,
    node: NodeId,
    is_joined: bool,
}

impl Application {
    /// The next event, or the end.
    fn next(scene: &mut Scenery, node: NodeId) -> Option<Received<Event>> {
        let event = if scene.world.is_up(node) {
            scene.host(node, |host, now, port| host.take(now, port))
        } else {
            scene.ended_host(node).take_left()
        };
        match event {
            Some(event) => Some(Received::Event(event)),
            None => scene.ended_host(node).end().map(|_| Received::Ended),
        }
    }
}

impl stage::Application for Application {
    fn command(&self, command: Command) -> Result<(), CommandError<Command>> {
        let node = self.node;
        self.turns.act(move |scene| {
            if scene.ended_host(node).end().is_some() {
                return Err(CommandError::Ended(command));
            }
            scene.host(node, |host, now, port| host.command(now, command, port))
        })
    }

    fn recv(&self) -> Option<Event> {
        match self.recv_timeout(10 * LIMIT) {
            Received::Event(event) => Some(event),
            Received::Ended => None,
            Received::TimedOut => panic!("neither an event nor the end"),
        }
    }

    fn recv_timeout(&self, timeout: Duration) -> Received<Event> {
        let node = self.node;
        let received = self.turns.ask(timeout, move |scene| Self::next(scene, node));
        received.unwrap_or(Received::TimedOut)
    }

    fn stop(&self) {
        let node = self.node;
        self.turns.act(move |scene| {
            if scene.world.is_up(node) {
                scene.host(node, |host, now, port| host.stop(now, port));
            }
        });
    }

    fn join(mut self) -> Result<(), DriverError> {
        self.is_joined = true;
        let node = self.node;
        self.turns.act(move |scene| {
            if scene.world.is_up(node) {
                scene.host(node, |host, now, port| host.abandon_events(now, port));
            }
        });
        let end = self.turns.ask(10 * LIMIT, move |scene| scene.ended_host(node).end());
        end.expect("the driver ends")
    }

    fn rest(&self) {
        self.turns.ask(Duration::from_millis(1), |_| None::<()>);
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if self.is_joined {
            return;
        }
        let node = self.node;
        self.turns.ask_what_is_there(Duration::ZERO, move |scene| {
            if scene.world.is_up(node) {
                scene.host(node, |host, now, port| {
                    host.stop(now, port);
                    host.abandon_events(now, port);
                });
            }
            Some(())
        });
    }
}
