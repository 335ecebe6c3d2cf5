//! What this driver is to the runtime that it runs on.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use andon_kernel::{
    Batch, Completion, Input, Instant, Machine, MemoryStore, Now, Outbox, Scan, Store, Ticket,
};
use andon_tokio::{Driver, DriverError, Options, Received};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

/// Sends back what it receives.
struct Echo;

impl Machine for Echo {
    type Command = ();
    type Event = ();

    fn handle(&mut self, _: Now, input: Input<'_, ()>, out: &mut Outbox<()>) {
        match input {
            Input::Received { conn, bytes } => out.send(conn, |buffer| buffer.extend_from_slice(bytes)),
            Input::Command(()) => out.event(()),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn driver() -> (Driver, SocketAddr) {
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let driver = Driver::new(Options { listen, ..Options::default() }).unwrap();
    let addr = driver.local_addresses()[0];
    (driver, addr)
}

fn echoed(peer: &mut TcpStream) {
    peer.write_all(b"echo").unwrap();
    peer.read_exact(&mut [0; 4]).unwrap();
}

#[test]
fn it_is_one_task_however_many_peers_there_are() {
    let runtime = runtime();
    let (driver, addr) = driver();
    let handle = driver.spawn_on(runtime.handle(), Echo, MemoryStore::new()).unwrap();
    let metrics = runtime.metrics();
    let peers = thread::spawn(move || {
        let mut peers: Vec<_> = (0..200).map(|_| TcpStream::connect(addr).unwrap()).collect();
        peers.iter_mut().for_each(echoed);
        assert_eq!(metrics.num_alive_tasks(), 1);
        handle.stop();
        handle.join()
    });
    runtime.block_on(async {
        while runtime.metrics().num_alive_tasks() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    });
    peers.join().unwrap().unwrap();
}

#[test]
fn the_application_may_run_in_the_same_thread() {
    let runtime = runtime();
    let (driver, _) = driver();
    let result = runtime.block_on(async {
        let handle = driver.spawn_on(&tokio::runtime::Handle::current(), Echo, MemoryStore::new()).unwrap();
        let (application, ending) = handle.split();
        let other = application.clone();
        let taker = tokio::spawn(async move {
            let mut taken = 0;
            while other.recv_async().await.is_some() {
                taken += 1;
            }
            taken
        });
        for _ in 0..50 {
            application.command(()).unwrap();
            tokio::task::yield_now().await;
        }
        application.stop();
        assert_eq!(taker.await.unwrap(), 50);
        ending.await
    });
    result.unwrap();
}

#[test]
fn a_flood_leaves_the_thread_to_other_tasks() {
    let runtime = runtime();
    let (driver, addr) = driver();
    let flooder = thread::spawn(move || {
        let mut peer = TcpStream::connect(addr).unwrap();
        let mut reading = peer.try_clone().unwrap();
        let reader = thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()).is_ok());
        while peer.write_all(&[7; 64 * 1024]).is_ok() {}
        reader.join().unwrap()
    });
    runtime.block_on(async {
        let handle = driver.spawn_on(&tokio::runtime::Handle::current(), Echo, MemoryStore::new()).unwrap();
        // Each is one look of the runtime at its timers: a task that kept the thread would never let it.
        for _ in 0..200 {
            sleep(Duration::from_millis(1)).await;
        }
        let (application, ending) = handle.split();
        application.stop();
        ending.await.unwrap();
    });
    flooder.join().unwrap();
}

#[test]
fn a_runtime_that_goes_takes_the_driver_with_it() {
    let runtime = runtime();
    let (driver, addr) = driver();
    let handle = driver.spawn_on(runtime.handle(), Echo, MemoryStore::new()).unwrap();
    let peer = thread::spawn(move || {
        let mut peer = TcpStream::connect(addr).unwrap();
        echoed(&mut peer);
        peer
    });
    let mut peer = runtime.block_on(async {
        while !peer.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
        peer.join().unwrap()
    });
    drop(runtime);
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(handle.recv(), None);
    assert!(handle.command(()).is_err());
    assert!(matches!(handle.join(), Err(DriverError::Abandoned)));
}

/// A store whose end takes as long as somebody else likes.
struct Slow {
    inner: MemoryStore,
    begins: Sender<()>,
    gate: Mutex<Receiver<()>>,
}

impl Store for Slow {
    type Error = std::convert::Infallible;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), Self::Error> {
        self.inner.load(scan)
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), Self::Error> {
        self.inner.store(ticket, batch)
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, Self::Error> {
        self.inner.complete()
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn is_congested(&self) -> bool {
        false
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.begins.send(()).unwrap();
        // A thread that waited for this to end could not let it.
        self.gate.get_mut().unwrap().recv_timeout(Duration::from_secs(20)).expect("the executor goes on");
    }
}

#[test]
fn a_store_that_takes_its_time_to_close_holds_no_other_task_up() {
    let runtime = runtime();
    let (driver, _) = driver();
    let ((begins, begun), (open, gate)) = (channel(), channel());
    let slow = Slow { inner: MemoryStore::new(), begins, gate: Mutex::new(gate) };
    let handle = driver.spawn_on(runtime.handle(), Echo, slow).unwrap();
    handle.stop();
    runtime.block_on(async {
        while begun.try_recv().is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        // Whoever hears of the end may open the store again, so it is not told before; nor is the task over.
        for _ in 0..50 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(handle.recv_timeout(Duration::ZERO), Received::TimedOut);
        assert_eq!(runtime.metrics().num_alive_tasks(), 1);
        open.send(()).unwrap();
        let (_application, ending) = handle.split();
        ending.await.unwrap();
        while runtime.metrics().num_alive_tasks() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    });
}
