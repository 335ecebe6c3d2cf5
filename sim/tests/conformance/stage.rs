//! The stage: a world in which everything has its own port of loopback.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use andon_driver_conformance::Options;
use andon_driver_conformance::stage::Stage;
use andon_kernel::{Instant, Now, UnixTime};
use andon_sim::world::{
    Latency, Limits, Links, Name, Node, NodeId, NodeInput, Place, Port, Reach, Time, World,
};

use crate::application::{Application, Bound, Subject};
use crate::sockets::{Datagrams, Listener, Sockets, Stream};
use crate::turns::{Scene, Turns, Worker};

/// What a line carries, in bytes a second.
const LINE: u32 = 100_000_000;

/// The way to the world.
pub(crate) type Stagehands = Turns<Scenery>;

/// The stage. Bytes come in pieces of up to `PIECES`, if that is not zero, and with jitter then.
#[derive(Clone)]
pub(crate) struct Simulated<const PIECES: u32>(Stagehands);

impl<const PIECES: u32> Default for Simulated<PIECES> {
    fn default() -> Self {
        Self(Turns::new(|| Scenery::new(PIECES)))
    }
}

impl<const PIECES: u32> Simulated<PIECES> {
    /// Of all that has happened so far.
    pub(crate) fn digest(&self) -> u64 {
        self.0.act(|scene| scene.world.digest())
    }
}

impl<const PIECES: u32> Stage for Simulated<PIECES> {
    type Bound = Bound;
    type Application = Application;
    type Listener = Listener;
    type Stream = Stream;
    type Datagrams = Datagrams;
    type Silence = ();
    type Work = Worker<Scenery>;

    fn driver(&self, options: Options) -> io::Result<Bound> {
        Bound::new(&self.0, options)
    }

    fn listen(&self, at: SocketAddr) -> io::Result<Listener> {
        Listener::new(&self.0, at)
    }

    fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        Stream::connect(&self.0, to)
    }

    fn datagrams(&self) -> io::Result<Datagrams> {
        Ok(Datagrams::new(&self.0))
    }

    fn silent(&self) -> Option<(SocketAddr, ())> {
        let node = self.0.act(|scene| {
            let node = scene.add_sockets(None);
            scene.world.set_reach(node, Reach::Hidden);
            scene.world.address(node)
        });
        Some((node, ()))
    }

    fn sleep(&self, time: Duration) {
        self.0.ask(time, |_| None::<()>);
    }

    /// A step is a fraction of what a byte takes to the other side.
    fn hesitate(&self, steps: u32) {
        self.sleep(Duration::from_nanos(5) * steps);
    }

    fn work(&self, work: impl FnOnce() + Send + 'static) -> Worker<Scenery> {
        self.0.work(work)
    }
}

/// Who is in the world.
pub(crate) enum Member {
    /// A driver that has no machine yet.
    Bound,
    Host(Box<dyn Subject>),
    Sockets(Sockets),
}

impl Node for Member {
    fn turn(&mut self, now: Now, input: NodeInput<'_>, port: &mut Port<'_>) {
        match self {
            Self::Bound => {}
            Self::Host(host) => host.turn(now, input, port),
            Self::Sockets(sockets) => sockets.turn(now, input, port),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Bound => None,
            Self::Host(host) => host.deadline(),
            Self::Sockets(sockets) => sockets.deadline(),
        }
    }

    fn reads(&self) -> bool {
        match self {
            Self::Bound => false,
            Self::Host(host) => host.reads(),
            Self::Sockets(sockets) => sockets.reads(),
        }
    }

    fn keeps_half(&self) -> bool {
        matches!(self, Self::Sockets(_))
    }
}

/// A driver as its system has it.
struct Process {
    node: NodeId,
    addresses: Vec<SocketAddr>,
    is_woken: Arc<AtomicBool>,
}

/// The world and what is in it.
pub(crate) struct Scenery {
    pub(crate) world: World<Member>,
    next_port: u16,
    processes: Vec<Process>,
}

impl Scene for Scenery {
    fn now(&self) -> Time {
        self.world.now()
    }

    fn step(&mut self, limit: Time) -> bool {
        self.look_after_processes();
        self.world.step(limit).is_some()
    }
}

impl Scenery {
    fn new(pieces: u32) -> Self {
        let links = Links {
            latency: Latency::Fixed(Duration::from_micros(20)),
            jitter: if pieces == 0 { 0 } else { 500 },
            pieces: (pieces > 0).then_some(pieces),
            ..Links::default()
        };
        let mut world = World::new(1, UnixTime::from_secs(1_800_000_000), links);
        world.set_nowhere(Reach::Closed);
        let local = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        world.set_name("localhost", Some(Name::of(local.map(|ip| SocketAddr::new(ip, 0)).to_vec())));
        Self { world, next_port: 10_000, processes: Vec::new() }
    }

    /// Wakes those whose stores ask for it, and gives the addresses of those that have ended back.
    fn look_after_processes(&mut self) {
        let mut at = 0;
        while let Some(process) = self.processes.get(at) {
            let node = process.node;
            let Member::Host(host) = self.world.node(node) else {
                at += 1;
                continue;
            };
            if host.end().is_some() {
                for address in self.processes.swap_remove(at).addresses {
                    self.world.remove_address(address);
                }
                continue;
            }
            if process.is_woken.swap(false, Ordering::SeqCst) {
                self.host(node, |host, now, port| host.go_on(now, port));
            }
            at += 1;
        }
    }

    /// An address that nobody has, with a new port if the one that is asked for has none.
    pub(crate) fn free_address(&mut self, mut at: SocketAddr) -> io::Result<SocketAddr> {
        self.look_after_processes();
        if at.port() == 0 {
            self.next_port += 1;
            at.set_port(self.next_port);
        }
        if self.world.at(at).is_some() { Err(ErrorKind::AddrInUse.into()) } else { Ok(at) }
    }

    fn add(&mut self, place: Place, member: Member) -> NodeId {
        let node = self.world.add(Place { bandwidth: (LINE, LINE), ..place }, member);
        // It starts.
        self.world.run_until(self.world.now());
        node
    }

    /// Sockets that listen at an address, or that only dial.
    pub(crate) fn add_sockets(&mut self, listens: Option<SocketAddr>) -> NodeId {
        let reach = if listens.is_some() { Reach::Open } else { Reach::Closed };
        let fresh = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = listens.unwrap_or_else(|| self.free_address(fresh).expect("a port"));
        self.add(Place { reach, ..Place::at(address) }, Member::Sockets(Sockets::default()))
    }

    /// Binds what a driver's options name. Gives where it listens, and where its socket for datagrams is.
    pub(crate) fn bind(
        &mut self,
        options: &Options,
        is_woken: Arc<AtomicBool>,
    ) -> io::Result<(NodeId, Vec<SocketAddr>, Option<SocketAddr>)> {
        let listening: Vec<SocketAddr> =
            options.listen.iter().map(|at| self.free_address(*at)).collect::<io::Result<_>>()?;
        let datagram = options.datagram.map(|at| self.free_address(at)).transpose()?;
        let mut addresses: Vec<_> = datagram.into_iter().chain(listening.iter().copied()).collect();
        if addresses.is_empty() {
            // It dials from either family.
            addresses.push(self.free_address((Ipv4Addr::LOCALHOST, 0).into())?);
            addresses.push(self.free_address((Ipv6Addr::LOCALHOST, 0).into())?);
        }
        let place = Place {
            reach: if listening.is_empty() { Reach::Closed } else { Reach::Open },
            limits: Limits {
                connections: u32::try_from(options.max_connections).unwrap_or(u32::MAX),
                send_queue: options.send_queue_bytes,
                dial: options.connect_timeout,
                datagrams: datagram.is_some(),
            },
            ..Place::at(addresses[0])
        };
        let node = self.add(place, Member::Bound);
        for address in &addresses[1..] {
            self.world.add_address(node, *address);
        }
        self.processes.push(Process { node, addresses, is_woken });
        Ok((node, listening, datagram))
    }

    /// A host, for a turn of the case's making.
    pub(crate) fn host<R>(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&mut dyn Subject, Now, &mut Port<'_>) -> R,
    ) -> R {
        self.world.with(node, |member, now, port| match member {
            Member::Host(host) => act(&mut **host, now, port),
            Member::Bound | Member::Sockets(_) => panic!("{node:?} is no host"),
        })
    }

    /// A host, without a turn: whether it has ended, and what is left of it.
    pub(crate) fn ended_host(&mut self, node: NodeId) -> &mut dyn Subject {
        match self.world.node_mut(node) {
            Member::Host(host) => &mut **host,
            Member::Bound | Member::Sockets(_) => panic!("{node:?} is no host"),
        }
    }

    /// Sockets, for what their owner does.
    pub(crate) fn sockets<R>(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&mut Sockets, &mut Port<'_>) -> R,
    ) -> R {
        self.world.with(node, |member, _, port| match member {
            Member::Sockets(sockets) => act(sockets, port),
            Member::Bound | Member::Host(_) => panic!("{node:?} has no sockets of its own"),
        })
    }
}
