//! All that a machine with one peer needs of a system: a socket that blocks, a clock, and a thread that waits.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use andon_kernel::{
    self as kernel, ConnId, Disconnect, Effect, Input, Link, Machine, Now, Shell, Store, UnixTime,
};

/// How long a dial may take, and how long a peer may read nothing of what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine over a store, with at most one connection.
///
/// It looks no names up, sends no datagrams, and does not pause: a client of one socket address asks for none of these.
pub(crate) struct Blocking<M: Machine, S> {
    shell: Shell<M, S>,
    /// What the machine is given next.
    inputs: VecDeque<Input<'static, M::Command>>,
    peer: Option<(ConnId, TcpStream)>,
    buffer: Vec<u8>,
    begin: Instant,
}

impl<M: Machine, S: Store> Blocking<M, S> {
    /// Nothing runs until [`next`](Self::next). The store unparks the thread that calls that, when a request is complete.
    #[expect(clippy::disallowed_methods, reason = "it is the machine's clock")]
    pub(crate) fn new(machine: M, store: S) -> Self {
        let (shell, inputs) = (Shell::new(machine, store), VecDeque::from([Input::Start]));
        Self { shell, inputs, peer: None, buffer: vec![0; 64 * 1024], begin: Instant::now() }
    }

    /// Gives the machine a command, or tells it to stop.
    pub(crate) fn give(&mut self, input: Input<'static, M::Command>) {
        self.inputs.push_back(input);
    }

    /// Waits for the next event. `None`: the machine has stopped, its connection is closed, and all is stored.
    ///
    /// # Errors
    /// If the store can go on no longer, or the socket can't be waited for.
    pub(crate) fn next(&mut self) -> Result<Option<M::Event>, Box<dyn Error>>
    where
        S::Error: 'static,
    {
        loop {
            // What the last turn left is carried out, in order, before the next.
            while let Some(effect) = self.shell.pop()? {
                match effect {
                    Effect::Event(event) => return Ok(Some(event)),
                    Effect::Connect { conn, addr } => self.connect(conn, addr),
                    Effect::Send { conn, bytes } => {
                        if let Some((_, socket)) = self.peer.as_mut().filter(|(open, _)| *open == conn)
                            && let Err(error) = socket.write_all(bytes)
                        {
                            self.end(conn, reason(&error));
                        }
                    }
                    Effect::Close { conn, .. } => self.end(conn, Disconnect::Closed),
                    // Whatever was sent has gone.
                    Effect::Flush { conn } => self.give(Input::Drained { conn }),
                    Effect::Resolve { ticket, .. } => self.give(Input::Resolved { ticket, addrs: &[] }),
                    Effect::Pause { .. } | Effect::Datagram { .. } => {}
                }
            }
            let now = self.now();
            if let Some(input) = self.inputs.pop_front() {
                self.shell.turn(now, input);
            } else if !self.shell.wake(now) && !self.shell.complete(now)? {
                // Nothing is due: it waits for the store, which is never long, or for the peer until the deadline.
                let wait = self.shell.deadline().map(|deadline| deadline.since(now.instant));
                match (&self.peer, wait) {
                    _ if self.shell.outstanding() > 0 => thread::park(),
                    (Some(_), wait) => self.receive(wait)?,
                    (None, Some(wait)) => thread::sleep(wait),
                    (None, None) => return Ok(None),
                }
            }
        }
    }

    fn now(&self) -> Now {
        let unix = UNIX_EPOCH.elapsed().unwrap_or_default();
        Now {
            instant: kernel::Instant::ZERO + self.begin.elapsed(),
            unix: UnixTime::from_secs(unix.as_secs()),
        }
    }

    fn connect(&mut self, conn: ConnId, addr: SocketAddr) {
        let dialled = if self.peer.is_some() { Err(Disconnect::TooManyConnections) } else { dial(addr) };
        match dialled {
            Ok(socket) => {
                self.peer = Some((conn, socket));
                self.give(Input::Connected { conn, remote: addr, link: Link::Outbound });
            }
            Err(reason) => self.give(Input::Disconnected { conn, reason }),
        }
    }

    /// Reads once and gives the machine what came, if anything did in that time.
    fn receive(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let Some((conn, socket)) = &mut self.peer else { return Ok(()) };
        let conn = *conn;
        // No time at all would be an error, and none given is for ever.
        socket.set_read_timeout(wait.map(|wait| wait.max(Duration::from_micros(1))))?;
        match socket.read(&mut self.buffer) {
            Ok(0) => self.end(conn, Disconnect::ClosedByPeer),
            Ok(count) => {
                let now = self.now();
                self.shell.turn(now, Input::Received { conn, bytes: &mut self.buffer[..count] });
            }
            Err(error) => match reason(&error) {
                Disconnect::TimedOut => {}
                reason => self.end(conn, reason),
            },
        }
        Ok(())
    }
    /// Closes the connection if it is open, and tells the machine.
    fn end(&mut self, conn: ConnId, reason: Disconnect) {
        if self.peer.take_if(|(open, _)| *open == conn).is_some() {
            self.give(Input::Disconnected { conn, reason });
        }
    }
}

fn dial(addr: SocketAddr) -> Result<TcpStream, Disconnect> {
    let dialled = TcpStream::connect_timeout(&addr, PATIENCE).and_then(|socket| {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    });
    dialled.map_err(|error| reason(&error))
}

fn reason(error: &io::Error) -> Disconnect {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Disconnect::TimedOut,
        ErrorKind::ConnectionRefused => Disconnect::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Disconnect::Reset,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Disconnect::Unreachable,
        _ => Disconnect::Failed,
    }
}
