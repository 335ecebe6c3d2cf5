//! What machines of a group are to each other: nothing.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use andon_kernel::{
    Batch, Completion, Input, Instant, Machine, MemoryStore, Now, Outbox, Scan, Store, Ticket,
};
use andon_mio::{DriverError, Group, Handle, Options, Received};

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Command {
    Mark(u32),
    Panic,
}

/// Sends back what it receives, and tells of marks and of wakes.
#[derive(Default)]
struct Echo {
    every: Option<Duration>,
    deadline: Option<Instant>,
    /// How often the driver looked at the deadline, as it does in each round.
    looks: Arc<AtomicU64>,
    wakes: Arc<AtomicU64>,
}

impl Machine for Echo {
    type Command = Command;
    type Event = u32;

    fn handle(&mut self, now: Now, input: Input<'_, Command>, out: &mut Outbox<u32>) {
        match input {
            Input::Start => self.deadline = self.every.map(|every| now.instant + every),
            Input::Stop => self.deadline = None,
            Input::Wake => {
                self.wakes.fetch_add(1, Ordering::SeqCst);
                self.deadline = self.every.map(|every| now.instant + every);
            }
            Input::Received { conn, bytes } => out.send(conn, |buffer| buffer.extend_from_slice(bytes)),
            Input::Command(Command::Mark(mark)) => out.event(mark),
            Input::Command(Command::Panic) => panic!("told to panic"),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.deadline
    }
}

type Run = Handle<Command, u32>;

fn start(group: &Group, echo: Echo) -> (Run, SocketAddr) {
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let driver = group.driver(Options { listen, ..Options::default() }).unwrap();
    let addr = driver.local_addresses()[0];
    (driver.spawn(echo, MemoryStore::new()).unwrap(), addr)
}

fn answers(run: &Run, mark: u32) {
    run.command(Command::Mark(mark)).unwrap();
    assert_eq!(run.recv_timeout(LIMIT), Received::Event(mark));
}

fn ends(run: Run) {
    run.stop();
    run.join().unwrap();
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LIMIT.as_millis() / 5 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} did not come about");
}

/// How many threads of this process have a name that begins so.
fn threads(name: &str) -> usize {
    let names = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == name).count()
}

#[test]
fn a_panic_of_one_leaves_the_others() {
    let group = Group::new().unwrap();
    let (bad, addr) = start(&group, Echo::default());
    let (good, _) = start(&group, Echo::default());
    let mut peer = TcpStream::connect(addr).unwrap();
    peer.write_all(b"1").unwrap();
    peer.read_exact(&mut [0]).unwrap();
    bad.command(Command::Panic).unwrap();
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
    match bad.join() {
        Err(DriverError::Panicked(message)) => assert_eq!(message, "told to panic"),
        other => panic!("{other:?}"),
    }
    answers(&good, 1);
    // Its number is another's now.
    let (next, _) = start(&group, Echo::default());
    answers(&next, 2);
    answers(&good, 3);
    ends(good);
    ends(next);
}

/// A store that is closed when it is let, and not before.
struct Slow {
    inner: MemoryStore,
    gate: Mutex<Receiver<()>>,
}

impl Store for Slow {
    type Error = Infallible;

    fn load(&mut self, scan: Scan<'_>) -> Result<(), Infallible> {
        self.inner.load(scan)
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> Result<(), Infallible> {
        self.inner.store(ticket, batch)
    }

    fn complete(&mut self) -> Result<Option<Completion<'_>>, Infallible> {
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
        let _ = self.gate.get_mut().unwrap().recv();
    }
}

#[test]
fn a_store_that_takes_its_time_to_close_holds_nobody_up() {
    let group = Group::new().unwrap();
    let (open, gate) = channel();
    let slow = Slow { inner: MemoryStore::new(), gate: Mutex::new(gate) };
    let closing = group.driver(Options::default()).unwrap().spawn(Echo::default(), slow).unwrap();
    let (other, _) = start(&group, Echo::default());
    closing.stop();
    for mark in 0..100 {
        answers(&other, mark);
    }
    // Whoever hears of the end may open the store again, so it is not told before.
    assert_eq!(closing.recv_timeout(Duration::from_millis(100)), Received::TimedOut);
    open.send(()).unwrap();
    assert_eq!(closing.recv(), None);
    closing.join().unwrap();
    ends(other);
}

#[test]
fn who_has_nothing_to_do_is_not_looked_at() {
    const COUNT: usize = 1_000;
    let group = Group::new().unwrap();
    let mut idle = Vec::new();
    let mut looks = Vec::new();
    for _ in 0..COUNT {
        let echo = Echo { every: Some(Duration::from_secs(3600)), ..Echo::default() };
        looks.push(Arc::clone(&echo.looks));
        idle.push(group.driver(Options::default()).unwrap().spawn(echo, MemoryStore::new()).unwrap());
    }
    let (busy, addr) = start(&group, Echo { every: Some(Duration::from_millis(1)), ..Echo::default() });
    let each = || looks.iter().map(|looks| looks.load(Ordering::SeqCst)).collect::<Vec<_>>();
    let sum = || each().into_iter().sum::<u64>();
    wait_until("rest", || {
        let before = sum();
        thread::sleep(Duration::from_millis(100));
        before > 0 && sum() == before
    });
    let before = each();
    let mut peer = TcpStream::connect(addr).unwrap();
    for mark in 0..100 {
        peer.write_all(b"1").unwrap();
        peer.read_exact(&mut [0]).unwrap();
        answers(&busy, mark);
    }
    assert_eq!(each(), before);
    // Those that are spoken to are, and no others.
    answers(&idle[COUNT / 2], 7);
    let after = each();
    let looked: Vec<usize> = (0..COUNT).filter(|&index| after[index] != before[index]).collect();
    assert_eq!(looked, [COUNT / 2]);
    drop(peer);
    ends(busy);
    idle.iter().for_each(Handle::stop);
    idle.into_iter().for_each(|run| run.join().unwrap());
}

#[test]
fn neither_a_flood_nor_work_in_pieces_of_one_starves_another() {
    let group = Group::new().unwrap();
    let (flooded, addr) = start(&group, Echo::default());
    let (cut, _) = start(&group, Echo { every: Some(Duration::from_micros(1)), ..Echo::default() });
    let timed = Echo { every: Some(Duration::from_millis(1)), ..Echo::default() };
    let wakes = Arc::clone(&timed.wakes);
    let (timed, _) = start(&group, timed);
    let over = Arc::new(AtomicBool::new(false));
    let flooders: Vec<_> = (0..4)
        .map(|_| {
            let over = Arc::clone(&over);
            let mut peer = TcpStream::connect(addr).unwrap();
            let mut reading = peer.try_clone().unwrap();
            thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()).is_ok());
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    peer.write_all(&[7; 64 * 1024]).unwrap();
                }
                peer.shutdown(Shutdown::Both).unwrap();
            })
        })
        .collect();
    for mark in 0..50 {
        answers(&timed, mark);
        answers(&cut, mark);
    }
    let before = wakes.load(Ordering::SeqCst);
    wait_until("50 wakes in the flood", || wakes.load(Ordering::SeqCst) >= before + 50);
    over.store(true, Ordering::SeqCst);
    flooders.into_iter().for_each(|flooder| flooder.join().unwrap());
    for run in [timed, cut, flooded] {
        ends(run);
    }
}

#[test]
fn a_driver_that_is_not_started_leaves_its_place_to_another() {
    let group = Group::new().unwrap();
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let driver = group.driver(Options { listen, ..Options::default() }).unwrap();
    let (addr, waker) = (driver.local_addresses()[0], driver.waker());
    // Somebody waits, and a store says that it has something, before there is a machine.
    let mut peer = TcpStream::connect(addr).unwrap();
    waker.wake();
    thread::sleep(Duration::from_millis(20));
    let run = driver.spawn(Echo::default(), MemoryStore::new()).unwrap();
    peer.write_all(b"1").unwrap();
    peer.read_exact(&mut [0]).unwrap();
    drop(group.driver(Options::default()).unwrap());
    answers(&run, 1);
    drop(peer);
    ends(run);
    // It does nothing any more.
    waker.wake();
    drop(group);
    waker.wake();
}

/// Runs itself again, alone in its process: it counts threads.
#[cfg(target_os = "linux")]
#[test]
fn the_thread_ends_with_the_last_machine_and_group() {
    const MARK: &str = "ANDON_GROUP_TEST_THREADS";
    if std::env::var_os(MARK).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_thread_ends_with_the_last_machine_and_group"])
            .env(MARK, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let group = Group::new().unwrap();
    let other = group.clone();
    let runs: Vec<Run> = (0..50).map(|_| start(&group, Echo::default()).0).collect();
    wait_until("the thread", || threads("andon-mio") == 1);
    drop(group);
    let (last, _) = start(&other, Echo::default());
    drop(other);
    runs.into_iter().for_each(ends);
    answers(&last, 1);
    assert_eq!(threads("andon-mio"), 1);
    ends(last);
    wait_until("the end", || threads("andon-mio") + threads("andon-mio-close") == 0);
}
