//! That each round takes its share of everything, with a look at the timers before each piece.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use andon_kernel::{ConnId, MemoryStore, Now, Outbox};

use super::*;
use crate::{Stream, Waker, ends};

const COUNT: usize = 200;

/// What was done to sockets.
#[derive(Debug, Default)]
struct Log {
    /// How often the driver has looked at the machine's deadline.
    looks: AtomicUsize,
    /// Whose socket, and after how many looks.
    pieces: Mutex<Vec<(usize, usize)>>,
    /// Whether sockets take bytes, and whether they have some without end.
    takes: AtomicBool,
    floods: AtomicBool,
}

impl Log {
    fn note(&self, slot: usize) {
        self.pieces.lock().unwrap().push((slot, self.looks.load(Ordering::SeqCst)));
    }

    /// Whose sockets something was done to since the last call, each once for each time in a row.
    fn served(&self) -> Vec<usize> {
        let pieces = std::mem::take(&mut *self.pieces.lock().unwrap());
        for pair in pieces.windows(2) {
            let [(first, before), (second, after)] = pair else { unreachable!("two") };
            assert!(first == second || before < after, "no look at the timers between {first} and {second}");
        }
        let mut slots: Vec<_> = pieces.into_iter().map(|(slot, _)| slot).collect();
        slots.dedup();
        slots
    }
}

struct Busy(Arc<Log>);

struct Socket {
    slot: usize,
    log: Arc<Log>,
}

fn nothing<T>() -> io::Result<T> {
    Err(ErrorKind::WouldBlock.into())
}

impl Reactor for Busy {
    type Accepted = ();
    type Stream = Socket;

    fn dial(&mut self, slot: usize, _: SocketAddr) -> io::Result<Socket> {
        Ok(Socket { slot, log: Arc::clone(&self.0) })
    }

    fn accept(&mut self, _: usize) -> io::Result<((), SocketAddr)> {
        nothing()
    }

    fn open(&mut self, _: usize, (): ()) -> io::Result<Socket> {
        nothing()
    }

    fn close(&mut self, _: Socket) {}

    fn close_listeners(&mut self) {}

    fn receive(&mut self, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        nothing()
    }

    fn send(&mut self, _: SocketAddr, _: &[u8]) {}
}

impl Stream for Socket {
    fn poll_dial(&mut self) -> Poll<io::Result<()>> {
        self.log.note(self.slot);
        Poll::Ready(Ok(()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 2)))
    }

    fn set_nodelay(&self) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.log.floods.load(Ordering::SeqCst) {
            return nothing();
        }
        self.log.note(self.slot);
        Ok(buffer.len())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.log.takes.load(Ordering::SeqCst) {
            return nothing();
        }
        self.log.note(self.slot);
        Ok(bytes.len())
    }

    fn shut(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Dials, sends something to each, and closes when it is told to.
struct Dialler(Arc<Log>);

impl Machine for Dialler {
    type Command = ();
    type Event = ();

    fn handle(&mut self, _: Now, input: Input<'_, ()>, out: &mut Outbox<()>) {
        let conns = || (0..COUNT as u64).map(ConnId::dialled);
        match input {
            Input::Start => {
                conns().for_each(|conn| out.connect(conn, SocketAddr::from((Ipv4Addr::LOCALHOST, 2))));
            }
            Input::Connected { conn, .. } => out.send(conn, |buffer| buffer.extend([7; 1000])),
            Input::Command(()) => conns().for_each(|conn| out.close(conn, true)),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.looks.fetch_add(1, Ordering::SeqCst);
        Some(Instant::ZERO + Duration::from_secs(3600))
    }
}

#[test]
fn what_is_told_of_many_sockets_at_once_is_done_in_shares() {
    let log = Arc::new(Log::default());
    let options = Options { max_connections: COUNT, ..Options::default() };
    let (handle, end) = ends(&options, Waker::new(|| Ok(())));
    let (machine, reactor) = (Dialler(Arc::clone(&log)), Busy(Arc::clone(&log)));
    let mut rounds = Rounds::new(machine, MemoryStore::new(), reactor, &options, &end);
    let mut buffer = Buffer::new();
    assert!(matches!(rounds.round(&mut buffer).unwrap(), Next::Wait(_)));
    let notice = |rounds: &mut Rounds<_, _, _>, readable| {
        for slot in 0..COUNT {
            rounds.notice(Source::Connection { slot, readable, writable: !readable, ended: false });
        }
        assert_eq!(log.served(), [], "a notice is only noted");
    };
    let whole: Vec<_> = (0..COUNT).collect();

    // The dials are answered, and then the sockets take what was sent.
    for takes in [false, true] {
        log.takes.store(takes, Ordering::SeqCst);
        notice(&mut rounds, false);
        let mut all = Vec::new();
        loop {
            let next = rounds.round(&mut buffer).unwrap();
            let served = log.served();
            assert!(served.len() <= CONNECTIONS_PER_ROUND, "{}", served.len());
            all.extend(served);
            if next != Next::Round {
                break;
            }
        }
        assert_eq!(all, whole);
    }

    // They are closed, and what each of them still sends has no end.
    handle.command(()).unwrap();
    while rounds.round(&mut buffer).unwrap() == Next::Round {}
    log.floods.store(true, Ordering::SeqCst);
    notice(&mut rounds, true);
    let mut all = Vec::new();
    while all.len() < COUNT {
        assert_eq!(rounds.round(&mut buffer).unwrap(), Next::Round);
        let served = log.served();
        assert!(served.len() <= CONNECTIONS_PER_ROUND, "{}", served.len());
        all.extend(served);
    }
    assert_eq!(all[..COUNT], whole);
}

/// Tells of each command, and notes how many it had when it was stopped.
struct Counting {
    commands: Arc<AtomicUsize>,
    at_stop: Arc<AtomicUsize>,
}

impl Machine for Counting {
    type Command = ();
    type Event = ();

    fn handle(&mut self, _: Now, input: Input<'_, ()>, out: &mut Outbox<()>) {
        match input {
            Input::Command(()) => {
                self.commands.fetch_add(1, Ordering::SeqCst);
                out.event(());
            }
            Input::Stop => self.at_stop.store(self.commands.load(Ordering::SeqCst), Ordering::SeqCst),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

#[test]
fn what_waits_at_a_stop_is_taken_in_shares_and_all_of_it() {
    let (commands, at_stop) = (Arc::default(), Arc::default());
    let machine = Counting { commands: Arc::clone(&commands), at_stop: Arc::clone(&at_stop) };
    // Nobody takes the events, of which there are many times as many as there is room for.
    let options = Options { command_queue: 1_000, event_queue: 2, ..Options::default() };
    let (handle, end) = ends(&options, Waker::new(|| Ok(())));
    let mut rounds = Rounds::new(machine, MemoryStore::new(), Busy(Arc::default()), &options, &end);
    (0..1_000).for_each(|_| handle.command(()).unwrap());
    handle.stop();
    let mut before = 0;
    loop {
        let next = rounds.round(&mut Buffer::new()).unwrap();
        let taken = commands.load(Ordering::SeqCst);
        assert!(taken - before <= TURNS_PER_ROUND, "{before}, then {taken}");
        assert!(handle.command(()).is_err());
        before = taken;
        if next == Next::Finished {
            break;
        }
        assert_eq!(next, Next::Round);
    }
    assert_eq!((before, at_stop.load(Ordering::SeqCst)), (1_000, 1_000));
}
