//! A driver before it runs: its sockets are bound, and it waits for a machine and a store.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use andon_driver::{Handle, Options, Rounds, Running, Waker, ends};
use andon_kernel::{Machine, Store};
use mio::Poll;

use crate::group::Place;
use crate::sockets::Sockets;
use crate::tokens::WAKER;
use crate::wait::run;

/// A driver that has its sockets and no machine yet.
#[derive(Debug)]
pub struct Driver {
    options: Options,
    addresses: Vec<SocketAddr>,
    datagram_address: Option<SocketAddr>,
    waker: Waker,
    home: Home,
    sockets: Sockets,
}

/// On which thread it will run.
#[derive(Debug)]
enum Home {
    /// One of its own, with what interrupts its wait.
    Own(Poll, Arc<mio::Waker>),
    /// A group's.
    Group(Place),
}

impl Driver {
    /// Binds the sockets that `options` name. Those who connect from here on are accepted when the machine runs.
    ///
    /// # Errors
    /// If an address can't be bound, as when its port is in use, or the system has no room for a driver.
    pub fn new(options: Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let interrupt = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        // Stoppers are kept for longer than the driver runs, and must not keep a file of the system's.
        let weak = Arc::downgrade(&interrupt);
        let waker = Waker::new(move || weak.upgrade().map_or(Ok(()), |interrupt| interrupt.wake()));
        let sockets = Sockets::bind(Arc::new(poll.registry().try_clone()?), 0, &options)?;
        Self::with(options, waker, Home::Own(poll, interrupt), sockets)
    }

    /// As [`new`](Self::new), for a place in a group.
    pub(crate) fn in_group(place: Place, options: Options) -> io::Result<Self> {
        let sockets = Sockets::bind(place.registry(), place.number(), &options)?;
        Self::with(options, place.waker(), Home::Group(place), sockets)
    }

    fn with(options: Options, waker: Waker, home: Home, sockets: Sockets) -> io::Result<Self> {
        let (addresses, datagram_address) = (sockets.listening()?, sockets.datagrams()?);
        Ok(Self { options, addresses, datagram_address, waker, home, sockets })
    }

    /// Where the driver accepts connections, in the order of [`Options::listen`]; ports that the system chose are known.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the socket for datagrams is bound, if there is one.
    pub fn datagram_address(&self) -> Option<SocketAddr> {
        self.datagram_address
    }

    /// What a store with a thread of its own calls when a request is complete.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Starts a thread, named `andon-mio`, that runs `machine` over `store`; or has the thread of its
    /// [`Group`](crate::Group) run it.
    ///
    /// # Errors
    /// If the system has no room for a thread, or that of the group has ended by a fault.
    pub fn spawn<M, S>(self, machine: M, store: S) -> io::Result<Handle<M::Command, M::Event>>
    where
        M: Machine + Send + 'static,
        S: Store + Send + 'static,
        S::Error: Send + Sync,
        M::Command: Send,
        M::Event: Send,
    {
        let Self { options, waker, home, sockets, .. } = self;
        let (handle, end) = ends(&options, waker.clone());
        match home {
            Home::Own(poll, interrupt) => {
                let rounds = Rounds::new(machine, store, sockets, &options, &end);
                let work = move || {
                    end.run(move || {
                        let ended = run(rounds, poll, &waker);
                        drop(interrupt);
                        ended
                    });
                };
                thread::Builder::new().name("andon-mio".to_owned()).spawn(work)?;
            }
            Home::Group(place) => {
                let running = Running::new(machine, store, sockets, &options, end);
                place.fill(waker, Box::new(running))?;
            }
        }
        Ok(handle)
    }
}
